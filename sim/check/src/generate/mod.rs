//! Generates random histories for measurements and for learning: random clients of an atomic object, with optional
//! planted errors.
//!
//! Every operation takes effect at one instant between its call and its return. So the history is linearizable and, for
//! transactions, strictly serializable. [`Shape::plant`] makes one reply wrong. The same shape and seed give the same
//! history in every process.

mod txn;

use crate::history::{Condition, Datum, End, Function, History, OpId, Recorder, Request, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The kind of object that clients use, with its operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workload {
    /// Read and write.
    Register,
    /// Read, write and compare-and-set.
    CasRegister,
    /// Read, write, compare-and-set and delete. Replies have revisions.
    Kv,
    /// Read and append texts.
    Append,
    /// Read and add.
    Counter,
    /// Add and remove elements, and ask whether they are contained.
    Set,
    /// Enqueue and dequeue.
    Queue,
    /// Acquire and release, with fencing tokens.
    Lock,
    /// Take the next number.
    Sequence,
    /// Transactions that append to lists and read them.
    ListAppend,
    /// Transactions that write registers and read them.
    RwRegister,
}

impl Workload {
    /// All workloads, with their names on command lines.
    pub const ALL: [(&str, Workload); 11] = [
        ("register", Workload::Register),
        ("cas-register", Workload::CasRegister),
        ("kv", Workload::Kv),
        ("append", Workload::Append),
        ("counter", Workload::Counter),
        ("set", Workload::Set),
        ("queue", Workload::Queue),
        ("lock", Workload::Lock),
        ("sequence", Workload::Sequence),
        ("list-append", Workload::ListAppend),
        ("rw-register", Workload::RwRegister),
    ];
}

/// The parameters of a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Number of operations or transactions.
    pub operations: u32,
    /// Number of concurrent clients.
    pub clients: u32,
    /// Number of keys. For transactions, the number in use at a time: each is replaced by a new key after 32 writes.
    pub keys: u32,
    /// Number of different values; 0 gives every write its own value.
    pub values: u32,
    /// Operations of unknown outcome per thousand. About half of them take effect; transactions always do.
    pub info: u32,
    /// Whether one late reply is of an old state, or of something that never existed. The history is then certainly
    /// impossible if each write has its own value.
    pub plant: bool,
}

/// The SplitMix64 random number generator.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u32) -> u32 {
        (((self.next() >> 32) * u64::from(n.max(1))) >> 32) as u32
    }
}

/// The object of one key. Each workload uses some of the fields.
#[derive(Clone, Default)]
struct Object {
    value: Option<Value>,
    revision: u32,
    text: String,
    number: i64,
    members: BTreeSet<u32>,
    queue: VecDeque<Value>,
    holder: Option<u32>,
}

/// The content of a reply.
#[derive(Clone, Copy)]
struct Answer {
    end: End,
    reply: Value,
    revision: Option<u32>,
}

const DONE: Answer = Answer { end: End::Ok, reply: Value::UNTOLD, revision: None };

/// A pending operation.
struct Pending {
    op: OpId,
    request: Request,
    key: u32,
    process: u32,
    answer: Option<Answer>,
}

/// Generates a history.
///
/// # Panics
/// If the shape has 2^31 operations or more.
#[must_use]
pub fn history(workload: Workload, shape: &Shape, seed: u64) -> History {
    assert!(shape.operations < 1 << 31, "invariant: the caller asks for fewer than 2^31 operations");
    if matches!(workload, Workload::ListAppend | Workload::RwRegister) {
        return txn::transactions(workload == Workload::ListAppend, shape, seed);
    }
    let mut world = World {
        workload,
        shape: *shape,
        rng: Rng(seed),
        recorder: Recorder::default(),
        objects: vec![Object::default(); shape.keys.max(1) as usize],
        calls: 0,
        old: BTreeMap::new(),
    };
    world.run();
    world.recorder.finish()
}

struct World {
    workload: Workload,
    shape: Shape,
    rng: Rng,
    recorder: Recorder,
    objects: Vec<Object>,
    calls: u32,
    /// For each key, what an early read returned. The planted error returns it again.
    old: BTreeMap<u32, Value>,
}

impl World {
    fn run(&mut self) {
        let clients = self.shape.clients.max(1);
        let mut pending: Vec<Option<Pending>> = (0..clients).map(|_| None).collect();
        let mut processes: Vec<u32> = (0..clients).collect();
        let mut next_process = clients;
        let mut busy = 0;
        let mut planted = !self.shape.plant;
        let mut time = 0;
        while self.calls < self.shape.operations || busy > 0 {
            let client = self.rng.below(clients) as usize;
            time += u64::from(self.rng.below(20_000));
            let Some(mut op) = pending[client].take() else {
                if self.calls < self.shape.operations {
                    pending[client] = Some(self.call(processes[client], time));
                    busy += 1;
                }
                continue;
            };
            if op.answer.is_none() {
                let unknown = self.rng.below(1_000) < self.shape.info;
                if unknown {
                    if self.rng.below(2) == 0 {
                        self.apply(&op);
                    }
                    self.recorder.end(op.op, time, End::Info, Value::UNTOLD, None);
                    processes[client] = next_process;
                    next_process += 1;
                    busy -= 1;
                } else {
                    op.answer = Some(self.apply(&op));
                    pending[client] = Some(op);
                }
                continue;
            }
            let Some(mut answer) = op.answer else { continue };
            planted = planted || self.plant(&op, &mut answer);
            self.recorder.end(op.op, time, answer.end, answer.reply, answer.revision);
            busy -= 1;
        }
    }

    fn call(&mut self, process: u32, time: u64) -> Pending {
        self.calls += 1;
        let key = self.rng.below(self.shape.keys);
        let request = self.request(key);
        let name = Value::small(key).unwrap_or(Value::NIL);
        let key_value = if self.shape.keys > 1 { name } else { Value::NIL };
        let op = self.recorder.begin(process, time, key_value, request);
        Pending { op, request, key, process, answer: None }
    }

    fn request(&mut self, key: u32) -> Request {
        use Function::{Acquire, Add, Append, Contains, Delete, Dequeue, Enqueue, Next, Read, Release, Remove, Write};
        let dice = self.rng.below(12);
        let plain = |f| Request::new(f, Value::UNTOLD);
        let fresh = self.fresh();
        match self.workload {
            Workload::Register if dice < 6 => Request::new(Write, fresh),
            Workload::CasRegister | Workload::Kv if dice < 3 => Request::new(Write, fresh),
            Workload::CasRegister | Workload::Kv if dice < 6 => {
                let there = self.objects[key as usize].value.unwrap_or(Value::NIL);
                let from = if dice < 5 { there } else { self.fresh() };
                Request { f: Write, arg: fresh, when: Condition { value: Some(from), ..Condition::ALWAYS } }
            }
            Workload::Kv if dice == 6 => plain(Delete),
            Workload::Append if dice < 6 => {
                let text = format!("x {} {} y", key, self.calls);
                Request::new(Append, self.recorder.value(Datum::Text(&text)))
            }
            Workload::Counter if dice < 6 => Request::new(Add, Value::small(1 + dice % 5).unwrap_or(Value::NIL)),
            Workload::Set if dice == 0 => Request::new(Contains, self.stranger()),
            Workload::Set => {
                let element = Value::small(self.rng.below(self.shape.values.max(10))).unwrap_or(Value::NIL);
                Request::new([Add, Remove, Contains][dice as usize % 3], element)
            }
            Workload::Queue if dice < 6 => Request::new(Enqueue, fresh),
            Workload::Queue => plain(Dequeue),
            Workload::Lock => plain(if dice < 6 { Acquire } else { Release }),
            Workload::Sequence => plain(Next),
            _ => plain(Read),
        }
    }

    /// An element that no client adds.
    fn stranger(&self) -> Value {
        Value::small(self.shape.values.max(10)).unwrap_or(Value::NIL)
    }

    /// A value to write.
    fn fresh(&mut self) -> Value {
        let n = if self.shape.values == 0 { self.calls } else { 1 + self.rng.below(self.shape.values) };
        Value::small(n).unwrap_or(Value::NIL)
    }

    /// Applies the operation to its object.
    fn apply(&mut self, op: &Pending) -> Answer {
        let object = &mut self.objects[op.key as usize];
        let told = |reply| Answer { reply, ..DONE };
        let yes = |yes| told(if yes { Value::TRUE } else { Value::FALSE });
        let refused = Answer { end: End::Refused, ..DONE };
        let kv = self.workload == Workload::Kv;
        let arg = op.request.arg;
        match op.request.f {
            Function::Write | Function::Delete => {
                let there = object.value.unwrap_or(Value::NIL);
                let compared = op.request.when.value.is_none_or(|value| value == there);
                if !compared || op.request.f == Function::Delete && object.value.is_none() {
                    let seen = Some(object.revision.wrapping_sub(1)).filter(|_| kv && object.value.is_some());
                    return if kv { Answer { reply: there, revision: seen, ..refused } } else { refused };
                }
                object.value = (op.request.f == Function::Write).then_some(arg);
                object.revision += 1;
                Answer { revision: kv.then_some(object.revision - 1), ..DONE }
            }
            Function::Append => {
                if let Datum::Text(text) = self.recorder.history().datum(arg) {
                    object.text.push_str(text);
                }
                DONE
            }
            Function::Add if self.workload == Workload::Counter => {
                object.number += i64::from(arg.as_small().unwrap_or(0));
                DONE
            }
            Function::Add => {
                object.members.insert(arg.bits());
                DONE
            }
            Function::Remove => {
                object.members.remove(&arg.bits());
                DONE
            }
            Function::Contains => yes(object.members.contains(&arg.bits())),
            Function::Enqueue => {
                object.queue.push_back(arg);
                DONE
            }
            Function::Dequeue => told(object.queue.pop_front().unwrap_or(Value::NIL)),
            Function::Acquire if object.holder.is_none() => {
                object.holder = Some(op.process);
                object.number += 1;
                told(Value::small(object.number as u32).unwrap_or(Value::NIL))
            }
            Function::Release if object.holder == Some(op.process) => {
                object.holder = None;
                DONE
            }
            Function::Acquire | Function::Release => refused,
            Function::Next => {
                object.number += 1;
                told(Value::small(object.number as u32).unwrap_or(Value::NIL))
            }
            Function::Read | Function::Txn | Function::Other(_) => match self.workload {
                Workload::Append => {
                    let text = object.text.clone();
                    told(self.recorder.value(Datum::Text(&text)))
                }
                Workload::Counter => {
                    let number = object.number;
                    told(self.recorder.value(Datum::Int(number)))
                }
                _ => {
                    let revision = Some(object.revision.wrapping_sub(1)).filter(|_| kv && object.value.is_some());
                    Answer { revision, ..told(object.value.unwrap_or(Value::NIL)) }
                }
            },
        }
    }

    /// Makes a late reply wrong: it repeats an early reply of the same kind on the same key.
    fn plant(&mut self, op: &Pending, answer: &mut Answer) -> bool {
        let tells = matches!(
            op.request.f,
            Function::Read | Function::Contains | Function::Dequeue | Function::Acquire | Function::Next
        );
        if !tells || answer.end != End::Ok || answer.reply == Value::NIL {
            return false;
        }
        let late = self.calls >= self.shape.operations / 10 * 9;
        if op.request.f == Function::Contains {
            let phantom = late && op.request.arg == self.stranger();
            answer.reply = if phantom { Value::TRUE } else { answer.reply };
            return phantom;
        }
        if !late {
            if self.calls > self.shape.operations / 3 {
                self.old.entry(op.key).or_insert(answer.reply);
            }
            return false;
        }
        let Some(&old) = self.old.get(&op.key).filter(|&&old| old != answer.reply) else { return false };
        *answer = Answer { reply: old, revision: None, ..*answer };
        true
    }
}
