//! A small leaderless store, correct by construction. It has three replicas with dotted version vectors. Messages are
//! delivered in any order, twice or never. Clients use their contexts or forget them. At the end all replicas exchange
//! everything they hold.

use seaworthy_check::replicas::{Call, Dump, End, Observed, Operation, Options, Policy};
use std::collections::VecDeque;

/// A pseudo-random number generator.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// Number of replicas.
const N: usize = 3;

/// The parameters of a run.
#[derive(Clone, Copy)]
pub struct Plan {
    pub strict: bool,
    pub policy: Policy,
    pub clients: u32,
    pub keys: usize,
    pub operations: usize,
    /// Whether each write follows a read of the key by its client.
    pub read_first: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    actor: usize,
    count: u32,
    stamp: u64,
    /// The value; `None` is a tombstone.
    value: Option<String>,
}

#[derive(Clone, Default)]
struct State {
    clock: [u32; N],
    versions: Vec<Version>,
}

impl State {
    fn knows(clock: &[u32; N], version: &Version) -> bool {
        version.count <= clock[version.actor]
    }

    fn merge(&mut self, other: &State, policy: Policy) {
        let (clock, old) = (self.clock, std::mem::take(&mut self.versions));
        let kept = old.iter().filter(|v| other.versions.contains(v) || !State::knows(&other.clock, v));
        let news = other.versions.iter().filter(|v| !old.contains(v) && !State::knows(&clock, v));
        self.versions = kept.chain(news).cloned().collect();
        for actor in 0..N {
            self.clock[actor] = self.clock[actor].max(other.clock[actor]);
        }
        self.settle(policy);
    }

    fn write(&mut self, context: &[u32; N], actor: usize, stamp: u64, value: Option<String>, policy: Policy) {
        self.versions.retain(|v| !State::knows(context, v));
        for (clock, seen) in self.clock.iter_mut().zip(context) {
            *clock = (*clock).max(*seen);
        }
        self.clock[actor] += 1;
        self.versions.push(Version { actor, count: self.clock[actor], stamp, value });
        self.settle(policy);
    }

    fn settle(&mut self, policy: Policy) {
        self.versions.sort();
        if policy == Policy::LastWriter
            && let Some(last) = self.versions.iter().max_by_key(|v| (v.stamp, v.actor, v.count)).cloned()
        {
            self.versions = vec![last];
        }
    }

    fn values(&self) -> Vec<String> {
        self.versions.iter().filter_map(|v| v.value.clone()).collect()
    }
}

#[derive(Clone, Default)]
struct Context {
    clock: [u32; N],
    values: Vec<String>,
    /// Whether the client got this context after its last write.
    fresh: bool,
}

/// A message in transit.
enum Work {
    Apply { op: Option<usize>, replica: usize, key: usize, state: State },
    Write { op: usize, replica: usize, key: usize, context: [u32; N] },
    Ask { op: usize, replica: usize, key: usize },
}

struct Pending {
    op: usize,
    client: usize,
    key: usize,
    heard: Vec<usize>,
    found: State,
    wanted: usize,
}

pub struct Store {
    dice: Dice,
    plan: Plan,
    replicas: Vec<Vec<State>>,
    stamps: [u64; N],
    contexts: Vec<Vec<Context>>,
    idle: Vec<usize>,
    pending: Vec<Pending>,
    work: VecDeque<Work>,
    operations: Vec<Operation>,
    now: u64,
}

/// Runs the store. The resulting history is valid.
pub fn run(seed: u64, plan: Plan) -> (Observed, Options) {
    let keys = plan.keys;
    let mut store = Store {
        dice: Dice::new(seed + 1),
        plan,
        replicas: vec![vec![State::default(); keys]; N],
        stamps: [0, 50, 5],
        contexts: vec![vec![Context::default(); keys]; plan.clients as usize],
        idle: (0..plan.clients as usize).collect(),
        pending: Vec::new(),
        work: VecDeque::new(),
        operations: Vec::new(),
        now: 0,
    };
    while store.operations.len() < plan.operations {
        store.step(true);
    }
    while !store.pending.is_empty() {
        store.step(false);
    }
    for key in 0..keys {
        let mut all = State::default();
        store.replicas.iter().for_each(|replica| all.merge(&replica[key], plan.policy));
        store.replicas.iter_mut().for_each(|replica| replica[key] = all.clone());
    }
    store.work.clear();
    let calm = store.now + 1;
    for _ in 0..plan.operations / 10 {
        store.step(true);
    }
    store.finish(calm)
}

impl Store {
    fn finish(mut self, calm: u64) -> (Observed, Options) {
        while !self.pending.is_empty() {
            self.step(false);
        }
        let mut dumps = Vec::new();
        for key in 0..self.plan.keys {
            let mut all = State::default();
            self.replicas.iter().for_each(|replica| all.merge(&replica[key], self.plan.policy));
            for replica in 0..N {
                let dots: Vec<String> = all.versions.iter().map(|v| format!("{}:{}", v.actor, v.count)).collect();
                let (values, state) = (all.values(), dots.join(","));
                dumps.push(Dump { replica: format!("n{replica}"), key: format!("k{key}"), values, state });
            }
        }
        let options = Options {
            policy: self.plan.policy,
            strict: self.plan.strict,
            final_from: Some(calm),
            ..Options::default()
        };
        (Observed { operations: self.operations, dumps }, options)
    }

    fn step(&mut self, more: bool) {
        self.now += 1 + self.dice.below(3) as u64 * 4_000_000;
        let choice = self.dice.below(10);
        if more && choice < 3 && !self.idle.is_empty() {
            self.call();
        } else if choice == 3 && self.dice.percent(if more { 10 } else { 100 }) && !self.pending.is_empty() {
            let at = self.dice.below(self.pending.len());
            self.end(at, End::Info);
        } else if !self.work.is_empty() {
            // Messages may be late, but are eventually considered.
            let at = self.dice.below(self.work.len().min(60));
            if let Some(work) = self.work.remove(at).filter(|_| self.dice.percent(95)) {
                self.work(work);
            }
        }
    }

    fn call(&mut self) {
        let client = self.idle.swap_remove(self.dice.below(self.idle.len()));
        let (mut key, op) = (self.dice.below(self.plan.keys), self.operations.len());
        let (replica, mut kind) = (self.dice.below(N), self.dice.below(100));
        let mut remembers = self.dice.percent(70);
        if self.plan.read_first {
            let read = self.contexts[client].iter().position(|context| context.fresh);
            (key, remembers) = (read.unwrap_or(key), true);
            kind = if read.is_some() { 50 + kind / 2 } else { 0 };
            self.contexts[client][key].fresh = false;
        }
        let context = if remembers { self.contexts[client][key].clone() } else { Context::default() };
        let saw = context.values.clone();
        let call = match kind {
            0..50 => Call::Get,
            50..92 => Call::Put { value: format!("v{op}"), saw },
            _ => Call::Delete { saw },
        };
        let wanted = if self.plan.strict { 2 } else { 1 };
        let write = call != Call::Get;
        let level = if self.plan.strict { "quorum" } else { "one" }.to_owned();
        let (key_name, called) = (format!("k{key}"), self.now);
        let end = End::Info;
        let operation =
            Operation { client: client as u32, key: key_name, called, returned: None, call, end, level, quorum: None };
        self.operations.push(operation);
        self.pending.push(Pending { op, client, key, heard: Vec::new(), found: State::default(), wanted });
        if write && self.dice.percent(3) {
            let at = self.pending.len() - 1;
            self.now += 1;
            self.end(at, End::Fail);
        } else if write {
            self.work.push_back(Work::Write { op, replica, key, context: context.clock });
        } else {
            self.work.extend((0..N).map(|replica| Work::Ask { op, replica, key }));
        }
    }

    fn work(&mut self, work: Work) {
        let policy = self.plan.policy;
        match work {
            Work::Write { op, replica, key, context } => {
                let value = match &self.operations[op].call {
                    Call::Put { value, .. } => Some(value.clone()),
                    _ => None,
                };
                let seen = self.replicas[replica][key].versions.iter().map(|v| v.stamp).max().unwrap_or(0);
                self.stamps[replica] = self.stamps[replica].max(seen) + 1;
                let stamp = self.stamps[replica];
                self.replicas[replica][key].write(&context, replica, stamp, value, policy);
                let state = self.replicas[replica][key].clone();
                let others = (0..N).filter(|&other| other != replica);
                self.work.extend(others.map(|replica| Work::Apply {
                    op: Some(op),
                    replica,
                    key,
                    state: state.clone(),
                }));
                self.heard(op, replica, None);
            }
            Work::Apply { op, replica, key, state } => {
                self.replicas[replica][key].merge(&state, policy);
                if let Some(op) = op {
                    self.heard(op, replica, None);
                    if self.dice.percent(10) {
                        self.work.push_back(Work::Apply { op: Some(op), replica, key, state });
                    }
                }
            }
            Work::Ask { op, replica, key } => {
                let state = self.replicas[replica][key].clone();
                self.heard(op, replica, Some(&state));
            }
        }
    }

    fn heard(&mut self, op: usize, replica: usize, state: Option<&State>) {
        let policy = self.plan.policy;
        let Some(at) = self.pending.iter().position(|pending| pending.op == op) else { return };
        let pending = &mut self.pending[at];
        if pending.heard.contains(&replica) {
            return;
        }
        pending.heard.push(replica);
        if let Some(state) = state {
            pending.found.merge(state, policy);
        }
        if pending.heard.len() < pending.wanted {
            return;
        }
        let (client, key, found) = (pending.client, pending.key, pending.found.clone());
        if state.is_none() {
            self.end(at, End::Ok(None));
            return;
        }
        if self.dice.percent(50) {
            self.work.extend((0..N).map(|replica| Work::Apply { op: None, replica, key, state: found.clone() }));
        }
        self.contexts[client][key] = Context { clock: found.clock, values: found.values(), fresh: true };
        self.end(at, End::Ok(Some(found.values())));
    }

    fn end(&mut self, at: usize, end: End) {
        let pending = self.pending.swap_remove(at);
        let op = &mut self.operations[pending.op];
        op.returned = (end != End::Info).then_some(self.now);
        op.end = end;
        self.idle.push(pending.client);
    }
}
