//! All judgements of one history must agree: the check, the verifier of its certificate, and the online checker, which
//! sees no reply before its event, against the check of what was recorded until then. `CHECK_HISTORIES` sets the number
//! of histories of each model.

mod common;
mod objects;

use common::objects::{Object, Script, Size, Val};
use common::workloads::{Bag, Counter as Numbers, Fifo, Mutex};
use common::{Rng, Shape};
use seaworthy_check::certificate::{Verified, certify, verify};
use seaworthy_check::linear::Item;
use seaworthy_check::model::{Model, counter, kv, lock, queue, sequence, set};
use seaworthy_check::online::{Bounds, Online};
use seaworthy_check::{
    Condition, Datum, End, Function as F, History, Kind, OpId, Options, Recorder, Report, Request, Value, Verdict,
    check_as,
};

fn histories() -> u64 {
    let sample = if cfg!(debug_assertions) { 1_500 } else { 6_000 };
    std::env::var("CHECK_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(sample)
}

/// Copies a value of one history into another.
fn copied(history: &History, log: &mut Recorder, value: Value) -> Value {
    match history.datum(value) {
        Datum::List(list) => {
            let list: Vec<Value> = list.iter().map(|&item| copied(history, log, item)).collect();
            log.value(Datum::List(&list))
        }
        datum => log.value(datum),
    }
}

/// Records the first events of a history again, in their order. Stops when `see` returns true.
fn replay(history: &History, events: u32, mut see: impl FnMut(&History, OpId, bool) -> bool) -> History {
    let mut log = Recorder::default();
    let initial = copied(history, &mut log, history.initial());
    log.initial(initial);
    for (event, op, returned) in history.in_order().filter(|(event, ..)| *event < events) {
        let operation = history.operation(op);
        if returned {
            let reply = copied(history, &mut log, operation.reply);
            log.end(op, history.time(event), operation.end, reply, operation.told_revision());
        } else {
            let mut copy = |value| copied(history, &mut log, value);
            let when = history.condition(operation);
            let when = Condition { value: when.value.map(&mut copy), ..when };
            let request = Request { f: operation.f, arg: copy(operation.arg), when };
            let key = copy(history.key_value(operation.key));
            let again = log.begin(operation.process, history.time(event), key, request);
            assert_eq!(again, op, "operations are numbered by call");
        }
        if see(log.history(), op, returned) {
            break;
        }
    }
    log.finish()
}

fn prefix(history: &History, events: u32) -> History {
    replay(history, events, |_, _, _| false)
}

/// Returns the number of events with which the history is first impossible, by the online checker; `Err` if it gave up.
fn online<M: Model>(model: M, history: &History) -> Result<Option<u32>, ()> {
    let mut online = Online::new(model, Bounds { configurations: 1_000_000, open: 64 });
    let mut broken = None;
    let (mut events, mut gave_up) = (0, false);
    replay(history, u32::MAX, |log, op, returned| {
        events += 1;
        if !returned {
            online.called(log, op);
        } else if let Err(impossible) = online.ended(log, op) {
            assert_eq!((impossible.op, impossible.event + 1), (op, events));
            broken = Some(events);
            return true;
        }
        gave_up = online.given_up().next().is_some();
        gave_up
    });
    if gave_up { Err(()) } else { Ok(broken) }
}

#[derive(Default, Debug)]
struct Tally {
    valid: u64,
    invalid: u64,
    judged_online: u64,
}

struct Agreement {
    kind: Kind,
    tally: Tally,
}

impl Agreement {
    fn check(&self, history: &History) -> Report {
        check_as(self.kind, history, &Options::default())
    }

    fn compare(&mut self, history: &History, sure: bool) {
        let report = self.check(history);
        let shown = || format!("{}\n{report}\n{}", self.kind.name(), show(history));
        let text = certify(history, self.kind, &report, &Options::default()).expect("offered");
        let verified = verify(history, &text).unwrap_or_else(|error| panic!("{error}\n{text}{}", shown()));
        for (part, verified) in report.parts.iter().zip(verified) {
            match (&part.verdict, verified) {
                (Verdict::Valid, Verified::Valid) | (Verdict::Invalid(_), Verified::Invalid) => {}
                (_, verified) => panic!("{verified:?}\n{text}{}", shown()),
            }
        }
        assert!(!sure || report.is_valid(), "{}", shown());
        let found = self.online(history);
        for evidence in report.violations() {
            let events = evidence.event.expect("a return breaks it") + 1;
            let of_this = |history: &History| {
                let report = self.check(history);
                report.parts.iter().find(|part| part.name == evidence.part).map(|part| part.verdict.clone())
            };
            let until = of_this(&prefix(history, events));
            assert!(matches!(until, Some(Verdict::Invalid(_))) || failed_later(history, events), "{}", shown());
            let before = of_this(&prefix(history, events - 1));
            assert_eq!(before, Some(Verdict::Valid), "{}", shown());
        }
        *if report.is_valid() { &mut self.tally.valid } else { &mut self.tally.invalid } += 1;
        let Some(Ok(found)) = found else { return };
        self.tally.judged_online += 1;
        assert_eq!(found.is_none(), report.is_valid(), "{found:?} {}", shown());
        if let Some(events) = found {
            assert!(!self.check(&prefix(history, events)).is_valid(), "{events} {}", shown());
            assert!(self.check(&prefix(history, events - 1)).is_valid(), "{events} {}", shown());
        }
    }

    fn online(&self, history: &History) -> Option<Result<Option<u32>, ()>> {
        let items: Vec<Item> =
            (0u32..).take(history.operations().len()).map(|i| Item { op: OpId(i), open: false }).collect();
        Some(match self.kind {
            Kind::Register | Kind::CasRegister | Kind::Kv => online(kv::Kv, history),
            Kind::Counter => online(counter::Counter::new(history, &items), history),
            Kind::Set => online(set::Set, history),
            Kind::Queue => online(queue::Queue, history),
            Kind::Lock => online(lock::Lock, history),
            Kind::Sequence => online(sequence::Sequence, history),
            Kind::Append | Kind::UnorderedQueue => return None,
        })
    }

    /// Checks that both verdicts occur, and that the online checker judged most histories.
    fn finish(&self, judged: u64) {
        let Tally { valid, invalid, judged_online } = self.tally;
        let all = valid + invalid;
        assert!(valid > all / 5 && invalid > all / 20, "{}: {:?}", self.kind.name(), self.tally);
        assert!(judged_online >= all * judged / 100, "{}: {:?}", self.kind.name(), self.tally);
    }
}

/// Returns whether an operation failed whose failure was not yet known: it is known only with hindsight.
fn failed_later(history: &History, events: u32) -> bool {
    history.operations().iter().any(|op| op.end == End::Fail && op.called < events && op.returned >= events)
}

fn show(history: &History) -> String {
    let line = |op: &seaworthy_check::Operation| {
        let [arg, compare, reply] = [op.arg, op.compare, op.reply].map(|value| history.show(value));
        let (f, key) = (history.function(op.f), history.key(op.key));
        let revision = op.told_revision();
        let when = history.condition(op);
        format!(
            "p{} {key} {}..{} {f} {arg} if {compare} {when:?} → {:?} {reply} {revision:?}\n",
            op.process, op.called, op.returned, op.end
        )
    };
    format!("initially {}\n", history.show(history.initial()))
        + &history.operations().iter().map(line).collect::<String>()
}

#[test]
fn on_keys() {
    let mut agreement = Agreement { kind: Kind::Kv, tally: Tally::default() };
    let mut rng = Rng(101);
    for _ in 0..histories() {
        let shape = Shape {
            ops: 2 + rng.below(7) as usize,
            processes: 2 + rng.below(3) as usize,
            keys: 1 + u64::from(rng.percent(20)),
            values: [0, 0, 1, 2, 3][rng.below(5) as usize],
            info: [0, 10, 40][rng.below(3) as usize],
            fail: [0, 10][rng.below(2) as usize],
            conditional: [0, 30, 70][rng.below(3) as usize],
            revisions: [0, 50, 100][rng.below(3) as usize],
        };
        let mut raws = common::generate(shape, &mut rng);
        let lies = rng.below(3);
        for _ in 0..lies {
            common::mutate(&mut raws, &mut rng);
        }
        agreement.compare(&common::record(&raws), lies == 0);
    }
    agreement.finish(99);
}

#[test]
fn on_every_object() {
    let mut rng = Rng(102);
    for kind in Kind::ALL.into_iter().filter(|&kind| kind != Kind::Kv) {
        let mut agreement = Agreement { kind, tally: Tally::default() };
        for _ in 0..histories() {
            let (ops, processes) = (3 + rng.below(6) as usize, 2 + rng.below(3) as usize);
            let (mut raws, _) = objects::play(kind, ops, processes, &mut rng);
            let lies = rng.below(3);
            for _ in 0..lies {
                objects::mutate(&mut raws, &mut rng);
            }
            agreement.compare(&objects::record(&raws), lies == 0);
        }
        agreement.finish(if matches!(kind, Kind::Append | Kind::UnorderedQueue | Kind::Lock | Kind::Sequence) {
            0
        } else {
            99
        });
    }
}

/// Compares on objects that are not empty at first, and that answer in more ways.
fn object<O: Object>(kind: Kind, judged: u64, seed: u64, new: impl Fn(&mut Rng) -> O) {
    let mut agreement = Agreement { kind, tally: Tally::default() };
    let mut rng = Rng(seed);
    for _ in 0..histories() {
        let size = Size {
            ops: 2 + rng.below(7) as usize,
            processes: 2 + rng.below(3) as usize,
            info: [0, 0, 10, 40][rng.below(4) as usize],
            fail: [0, 0, 10][rng.below(3) as usize],
        };
        let mut object = new(&mut rng);
        let initial = object.initial();
        let mut raws = common::objects::generate(size, &mut object, &mut rng);
        let lies = rng.below(3);
        for _ in 0..lies {
            let at = rng.below(raws.len() as u64) as usize;
            if matches!(raws[at].end, End::Ok | End::Refused) && raws[at].events.1.is_some() {
                object.lie(&mut raws[at], &mut rng);
            }
        }
        agreement.compare(&common::objects::record(&initial, &raws), lies == 0);
    }
    agreement.finish(judged);
}

fn some(rng: &mut Rng) -> Vec<i64> {
    (0..rng.below(3) as i64).map(|n| 2 * n).collect()
}

#[test]
fn on_queues() {
    object(Kind::UnorderedQueue, 0, 104, |rng| Fifo::new(some(rng), [0, 0, 3][rng.below(3) as usize], 55, 0));
    object(Kind::Queue, 99, 103, |rng| Fifo::new(some(rng), [0, 0, 3][rng.below(3) as usize], 55, 5));
}

#[test]
fn on_sets() {
    object(Kind::Set, 99, 104, |rng| {
        let mix = [[0, 0, 300], [200, 200, 200], [100, 300, 0]][rng.below(3) as usize];
        Bag::new(some(rng), mix, rng.below(4), [0, 50, 100][rng.below(3) as usize])
    });
}

#[test]
fn on_locks() {
    object(Kind::Lock, 0, 105, |rng| Mutex::new([0, 60, 100][rng.below(3) as usize], 80));
}

#[test]
fn on_sequences() {
    object(Kind::Sequence, 0, 106, |rng| Numbers::new([None, Some(3)][rng.below(2) as usize], 5));
}

/// Checks a history on which two of the judges once disagreed. Returns what the online checker finds.
fn settled(kind: Kind, script: Script, valid: bool) -> Result<Option<u32>, ()> {
    let mut agreement = Agreement { kind, tally: Tally::default() };
    let history = script.finish();
    agreement.compare(&history, valid);
    assert_eq!(agreement.tally.valid, u64::from(valid));
    agreement.online(&history).expect("it has a model")
}

#[test]
fn what_was_refused_can_be_what_clashes() {
    let mut script = Script::default();
    let enqueue = script.call(0, F::Enqueue, Val::Int(1));
    script.ok(1, F::Dequeue, Val::Untold, Val::Int(1));
    script.end(enqueue, End::Refused, Val::Untold);
    assert_eq!(settled(Kind::Queue, script, false), Ok(Some(4)), "only the refusal makes it impossible");
}

#[test]
fn as_many_elements_are_not_the_same_elements() {
    let mut script = Script::default();
    script.ok(0, F::Add, Val::Int(1), Val::Untold);
    script.ok(0, F::Add, Val::Int(2), Val::Untold);
    script.ok(0, F::Read, Val::Untold, Val::List(vec![2, 2]));
    assert_eq!(settled(Kind::Set, script, false), Ok(Some(6)));
}

#[test]
fn the_online_checker_gives_up_what_it_cannot_judge() {
    // The token becomes known only after the lock was seen held.
    let mut script = Script::default();
    let acquire = script.call(0, F::Acquire, Val::Untold);
    script.ok(1, F::Acquire, Val::Untold, Val::Bool(false));
    script.end(acquire, End::Ok, Val::Int(1));
    assert_eq!(settled(Kind::Lock, script, true), Err(()));
    // The read takes effect before a number that was given out while the read was open.
    let mut script = Script::default();
    let read = script.call(0, F::Read, Val::Untold);
    script.ok(1, F::Next, Val::Untold, Val::Int(1));
    script.end(read, End::Ok, Val::Nil);
    assert_eq!(settled(Kind::Sequence, script, true), Err(()));
}
