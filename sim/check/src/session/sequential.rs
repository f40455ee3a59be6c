//! Sequential consistency (Lamport, 1979): one order of all operations explains all replies and keeps the order of each
//! session. It is not local: the whole history is judged at once. Deciding it is NP-complete, so the steps are, in
//! order of cost:
//!
//! 1. A history that is not causally convergent is not sequentially consistent ([`super::causal`]); near-linear.
//! 2. Saturation, for histories that fit a bit matrix: where a read saw w, any other write w' of the key is before w or
//!    after the read. If one is excluded, the other follows. This repeats until nothing is new or there is a cycle,
//!    which is the evidence.
//! 3. An order is built greedily from the edges found so far, and replayed: a witness. Where the greedy choice fails,
//!    the search backtracks, and remembers configurations exactly. When it has tried everything, there is no order.
//!    Reads are placed as soon as they fit, and no version is overwritten while a sure reader of it is still to come.
//!
//! The replay uses the full model of a key: conditions, refusals, deletes, revisions. A write of unknown outcome may
//! take effect at any position after the earlier operations of its session, or never.

use super::causal::{Causal, Stop};
use super::closure::Closure;
use super::graph::{Edge, Why, topological};
use super::trace::{INITIAL, NONE, Trace, is_access};
use super::{Options, show, whole};
use crate::evidence::Evidence;
use crate::history::{Call, End, History, KvOperation, OpId, Outcome, Reply, UNTOLD_REVISION, Value, Version};
use crate::linear::{Report, Verdict};
use hashbrown::{HashMap, HashSet};

/// Maximum number of steps spent on making evidence smaller.
const SMALLER_STEPS: u64 = 20_000_000;

/// Decides sequential consistency.
#[must_use]
pub fn check_sequential(history: &History, options: &Options) -> Report {
    let (mut verdict, by, mut steps, _) = decide(history, options);
    if let Verdict::Invalid(evidence) = &mut verdict
        && evidence.edges.is_empty()
        && evidence.core.len() > 1
    {
        steps += smaller(history, options, evidence);
    }
    whole("sequentially consistent", history, verdict, by, steps)
}

/// Returns an order that explains all replies, if one is found within the limits.
#[must_use]
pub fn sequential_witness(history: &History, options: &Options) -> Option<Vec<OpId>> {
    decide(history, options).3
}

fn decide(history: &History, options: &Options) -> (Verdict, &'static str, u64, Option<Vec<OpId>>) {
    let trace = Trace::new(history);
    let mut causal = Causal::new(history, &trace, options);
    let (mut order, mut edges) = match causal.converge() {
        Ok(found) => (found.order, found.edges),
        Err(Stop::Bad(evidence)) => return (Verdict::Invalid(evidence), "causal convergence", 0, None),
        Err(Stop::Limit(_)) => ((0u32..).take(trace.accesses.len()).collect(), Vec::new()),
    };
    if Closure::bytes(trace.accesses.len()) <= options.memory.min(1 << 24) {
        match saturate(history, &trace, options.steps) {
            Ok(more) => edges.extend(more),
            Err(evidence) => return (Verdict::Invalid(evidence), "saturation", 0, None),
        }
        order = topological(trace.accesses.len(), &order, &edges);
    } else {
        order = by_zones(history, &trace);
    }
    let mut search = Search::new(history, &trace, &order, &edges);
    let found = search.run(options);
    let steps = search.steps;
    match found {
        Some(true) => {
            let witness = search.trail.iter().map(|step| search.ops[step.0 as usize].id).collect();
            (Verdict::Valid, "search", steps, Some(witness))
        }
        Some(false) => {
            let core = search.ops.iter().map(|op| op.id).collect();
            let words = format!(
                "No order of the {} operations that holds the order of each session explains all replies: all were tried",
                search.ops.len()
            );
            let mut evidence = show::plain(history, "history", "", core, words);
            evidence.minimal = false;
            evidence.order = search.longest.iter().map(|&op| search.ops[op as usize].id).collect();
            (Verdict::Invalid(evidence), "search", steps, None)
        }
        None => {
            let why = "the limit of steps or memory was reached in the search for an order".to_owned();
            (Verdict::Unknown(why), "search", steps, None)
        }
    }
}

/// Makes evidence smaller: forgets outcomes, many at once and then fewer, while the rest stays impossible. Returns the
/// steps spent.
fn smaller(history: &History, options: &Options, evidence: &mut Box<Evidence>) -> u64 {
    let mut keep = vec![false; history.operations().len()];
    for op in &evidence.core {
        keep[op.0 as usize] = true;
    }
    let mut left = options.steps.min(SMALLER_STEPS);
    let mut spent = 0;
    let mut size = evidence.core.len().div_ceil(2);
    let mut sure = true;
    while size > 0 {
        let mut dropped = false;
        let kept: Vec<usize> = (0..keep.len()).filter(|&i| keep[i]).collect();
        for chunk in kept.chunks(size) {
            // Reading the history again takes some steps for each operation.
            let cost = 16 * keep.len() as u64;
            if left <= cost {
                sure = false;
                break;
            }
            let mut fewer = keep.clone();
            chunk.iter().for_each(|&i| fewer[i] = false);
            let limited = Options { steps: (left / 16).min(200_000), ..*options };
            let (verdict, _, steps, _) = decide(&history.forgetting(&fewer), &limited);
            left = left.saturating_sub(steps + cost);
            spent += steps + cost;
            match verdict {
                Verdict::Invalid(found) => {
                    // A cycle among fewer operations says more than that all orders were tried.
                    if !found.edges.is_empty() {
                        **evidence = *found;
                        return spent;
                    }
                    (keep, dropped) = (fewer, true);
                }
                Verdict::Valid => {}
                Verdict::Unknown(_) => sure = false,
            }
        }
        if left <= 16 * keep.len() as u64 {
            break;
        }
        if !(dropped && size == 1) {
            size /= 2;
        }
    }
    let core: Vec<OpId> = (0u32..).zip(&keep).filter(|(_, keep)| **keep).map(|(i, _)| OpId(i)).collect();
    let words = format!(
        "No order of the {} operations below that holds the order of each session explains all their replies, whatever the \
         others did: all were tried",
        core.len()
    );
    let order = std::mem::take(&mut evidence.order);
    **evidence = *show::plain(history, "history", "", core, words);
    (evidence.minimal, evidence.order) = (sure && size == 0, order);
    spent
}

/// Returns edges that hold in every order. If they have a cycle, it is the evidence.
fn saturate(history: &History, trace: &Trace, limit: u64) -> Result<Vec<Edge>, Box<Evidence>> {
    let mut relation = Closure::new(trace.accesses.len());
    for (i, access) in (0u32..).zip(&trace.accesses) {
        for (pred, why) in [(access.before, Why::Session), (access.source, Why::ReadsFrom)] {
            if is_access(pred) {
                relation.add(pred, i, why);
            }
        }
    }
    for writes in &trace.writes {
        let told = |&w: &u32| trace.accesses[w as usize].revision != UNTOLD_REVISION;
        let mut told: Vec<u32> = writes.iter().copied().filter(told).collect();
        told.sort_by_key(|&w| trace.accesses[w as usize].revision);
        for pair in told.windows(2) {
            if trace.accesses[pair[0] as usize].revision < trace.accesses[pair[1] as usize].revision {
                relation.add(pair[0], pair[1], Why::Revisions);
            }
        }
    }
    loop {
        let mut news = false;
        for (read, access) in (0u32..).zip(&trace.accesses) {
            let source = access.source;
            if source != INITIAL && !is_access(source) {
                continue;
            }
            for &w in &trace.writes[access.key as usize] {
                relation.steps += 1;
                if w == source || w == read {
                    continue;
                }
                if is_access(source) && relation.has(w, read) {
                    news |= relation.add(w, source, Why::Seen(read));
                }
                if source == INITIAL || relation.has(source, w) {
                    news |= relation.add(read, w, Why::Unseen(read));
                }
            }
        }
        if let Some(cycle) = relation.cycle() {
            let intro = "not sequentially consistent: these must be before each other in every order";
            return Err(show::cycle(history, trace, "history", "", intro, &cycle));
        }
        if !news || relation.steps > limit {
            return Ok(relation.edges);
        }
    }
}

/// Returns the accesses sorted by when their versions begin. A linearizable history can be replayed in about this
/// order. A version begins at the first return or the last call among its write and its reads, whichever comes first
/// (see [`super::staleness`]).
fn by_zones(history: &History, trace: &Trace) -> Vec<u32> {
    let called = |i: u32| history.operation(trace.accesses[i as usize].op).called;
    let all = || (0u32..).take(trace.accesses.len());
    let mut zones: Vec<(u32, u32)> = all().map(|i| (trace.returned(history, i), called(i))).collect();
    for i in all() {
        let source = trace.accesses[i as usize].source;
        if is_access(source) {
            let zone = &mut zones[source as usize];
            *zone = (zone.0.min(trace.returned(history, i)), zone.1.max(called(i)));
        }
    }
    let mut order: Vec<u32> = all().collect();
    order.sort_by_key(|&i| zones[i as usize].0.min(zones[i as usize].1));
    order
}

/// What a key holds, and the operation that wrote it.
#[derive(Clone, Copy)]
struct State {
    value: Value,
    count: u64,
    version: u32,
}

struct Op {
    id: OpId,
    kv: KvOperation,
    /// Its session, and how many of that session's operations come before it.
    session: u32,
    after: u32,
    optional: bool,
    /// Position in the preferred order.
    rank: u32,
    /// The operation that it read from, if that is sure.
    source: u32,
}

struct Frame {
    choices: Vec<u32>,
    next: usize,
    /// Length of the trail when the frame was entered.
    trail: usize,
}

struct Search {
    ops: Vec<Op>,
    /// Required operations of each session in order, and how many are done.
    sessions: Vec<Vec<u32>>,
    positions: Vec<u32>,
    optional: Vec<u32>,
    done: Vec<bool>,
    /// Pairs (later, earlier), sorted.
    edges: Vec<(u32, u32)>,
    states: Vec<State>,
    /// The number of sure readers still to come: of each operation's version, and of each key's initial version.
    readers: Vec<u32>,
    first_readers: Vec<u32>,
    trail: Vec<(u32, State)>,
    longest: Vec<u32>,
    left: usize,
    steps: u64,
}

impl Search {
    fn new(history: &History, trace: &Trace, order: &[u32], edges: &[Edge]) -> Search {
        let loose = loose_keys(history, trace);
        let mut access_of = vec![NONE; history.operations().len()];
        for (i, access) in (0u32..).zip(&trace.accesses) {
            access_of[access.op.0 as usize] = i;
        }
        let mut rank = vec![0; trace.accesses.len()];
        for (i, &access) in (0u32..).zip(order) {
            rank[access as usize] = i;
        }
        let mut search = Search {
            ops: Vec::new(),
            sessions: Vec::new(),
            positions: Vec::new(),
            optional: Vec::new(),
            done: Vec::new(),
            edges: Vec::new(),
            states: vec![State { value: history.initial(), count: 0, version: INITIAL }; history.keys() as usize],
            readers: Vec::new(),
            first_readers: vec![0; history.keys() as usize],
            trail: Vec::new(),
            longest: Vec::new(),
            left: 0,
            steps: 0,
        };
        let mut names: HashMap<u32, u32> = HashMap::new();
        let mut op_of = vec![NONE; trace.accesses.len()];
        for (i, op) in (0u32..).zip(history.operations()) {
            let kv = history.kv(OpId(i));
            let access = access_of[i as usize];
            let unknown = kv.outcome == Outcome::Info;
            let idle = unknown && (kv.call == Call::Get || access == NONE && !loose[op.key.0 as usize]);
            if op.end == End::Fail || history.call(op).is_none() || idle {
                continue;
            }
            let session = *names.entry(op.process).or_insert_with(|| {
                search.sessions.push(Vec::new());
                search.sessions.len() as u32 - 1
            });
            let place = search.ops.len() as u32;
            let queue = &mut search.sessions[session as usize];
            let after = queue.len() as u32;
            if unknown {
                search.optional.push(place);
            } else {
                queue.push(place);
                search.left += 1;
            }
            let mut at = search.ops.last().map_or(0, |op: &Op| op.rank);
            if let Some(&rank) = rank.get(access as usize) {
                op_of[access as usize] = place;
                at = rank;
            }
            search.ops.push(Op { id: OpId(i), kv, session, after, optional: unknown, rank: at, source: NONE });
        }
        search.connect(trace, &access_of, &op_of, edges);
        search
    }

    fn connect(&mut self, trace: &Trace, access_of: &[u32], op_of: &[u32], edges: &[Edge]) {
        self.positions = vec![0; self.sessions.len()];
        self.done = vec![false; self.ops.len()];
        self.readers = vec![0; self.ops.len()];
        for op in &mut self.ops {
            let Some(access) = trace.accesses.get(access_of[op.id.0 as usize] as usize) else { continue };
            op.source = access.source;
            if is_access(access.source) {
                op.source = op_of[access.source as usize];
            }
            // A refused write and a write that takes effect have both seen the previous version.
            match op.source {
                INITIAL => self.first_readers[access.key as usize] += 1,
                source if is_access(source) => self.readers[source as usize] += 1,
                _ => {}
            }
        }
        self.edges = edges.iter().map(|edge| (op_of[edge.to as usize], op_of[edge.from as usize])).collect();
        self.edges.sort_unstable();
        self.edges.dedup();
    }

    /// Returns whether there is an order; `None`: a limit was reached.
    fn run(&mut self, options: &Options) -> Option<bool> {
        let mut failed: HashSet<Box<[u32]>> = HashSet::new();
        let mut memory = 0;
        let mut frames: Vec<Frame> = Vec::new();
        loop {
            self.place_reads();
            if self.left == 0 {
                return Some(true);
            }
            if self.trail.len() > self.longest.len() && !frames.is_empty() && !failed.is_empty() {
                self.longest = self.trail.iter().map(|step| step.0).collect();
            }
            let known = !failed.is_empty() && failed.contains(&self.configuration());
            let choices = if known { Vec::new() } else { self.choices() };
            frames.push(Frame { choices, next: 0, trail: self.trail.len() });
            if self.steps > options.steps {
                return None;
            }
            loop {
                let Some(frame) = frames.last_mut() else { return Some(false) };
                let (choice, trail) = (frame.choices.get(frame.next).copied(), frame.trail);
                frame.next += 1;
                self.undo(trail);
                if let Some(op) = choice {
                    self.apply(op);
                    break;
                }
                if self.trail.len() > self.longest.len() {
                    self.longest = self.trail.iter().map(|step| step.0).collect();
                }
                let configuration = self.configuration();
                memory += 4 * configuration.len() + 32;
                self.steps += configuration.len() as u64;
                failed.insert(configuration);
                if memory > options.memory {
                    return None;
                }
                frames.pop();
            }
        }
    }

    /// Returns the part of the state that the rest of the search depends on.
    fn configuration(&self) -> Box<[u32]> {
        let used = self.optional.iter().filter(|&&op| self.done[op as usize]).copied();
        let states = self.states.iter().flat_map(|state| [state.value.bits(), state.count as u32, state.version]);
        self.positions.iter().copied().chain(states).chain(used).collect()
    }

    fn heads(&self) -> impl Iterator<Item = u32> {
        self.sessions.iter().zip(&self.positions).filter_map(|(queue, &at)| queue.get(at as usize).copied())
    }

    /// Whether an operation can come next: it fits the state, and everything that must be before it is done.
    fn ready(&self, op: u32) -> bool {
        let it = &self.ops[op as usize];
        let state = self.states[it.kv.key.0 as usize];
        let sure = match it.source {
            INITIAL => state.version == INITIAL,
            source if is_access(source) => state.version == source,
            _ => true,
        };
        if !sure || self.positions[it.session as usize] < it.after || after(&it.kv, state).is_none() {
            return false;
        }
        let first = self.edges.partition_point(|&(to, _)| to < op);
        self.edges[first..].iter().take_while(|edge| edge.0 == op).all(|edge| self.done[edge.1 as usize])
    }

    fn place_reads(&mut self) {
        let mut news = true;
        while news {
            news = false;
            for session in 0..self.sessions.len() {
                while let Some(&op) = self.sessions[session].get(self.positions[session] as usize) {
                    self.steps += 1;
                    if changes(&self.ops[op as usize].kv) || !self.ready(op) {
                        break;
                    }
                    self.apply(op);
                    news = true;
                }
            }
        }
    }

    /// Returns the changes that may come next, the preferred one first.
    fn choices(&mut self) -> Vec<u32> {
        let optional = self.optional.iter().copied().filter(|&op| !self.done[op as usize]);
        let all: Vec<u32> = self.heads().chain(optional).collect();
        self.steps += all.len() as u64;
        let mut choices: Vec<u32> = all.into_iter().filter(|&op| self.may_change(op)).collect();
        choices.sort_by_key(|&op| self.ops[op as usize].rank);
        choices
    }

    fn may_change(&self, op: u32) -> bool {
        let it = &self.ops[op as usize];
        let key = it.kv.key.0 as usize;
        let version = self.states[key].version;
        let waiting = match version {
            INITIAL => self.first_readers[key],
            version => self.readers[version as usize],
        };
        let own = u32::from(it.source == version);
        changes(&it.kv) && waiting <= own && self.ready(op)
    }

    fn apply(&mut self, op: u32) {
        let it = &self.ops[op as usize];
        let key = it.kv.key.0 as usize;
        let old = self.states[key];
        if let Some((value, count)) = after(&it.kv, old) {
            let version = if changes(&it.kv) { op } else { old.version };
            self.states[key] = State { value, count, version };
        }
        self.turn(op, true);
        self.trail.push((op, old));
    }

    fn undo(&mut self, length: usize) {
        while self.trail.len() > length {
            let Some((op, old)) = self.trail.pop() else { return };
            self.states[self.ops[op as usize].kv.key.0 as usize] = old;
            self.turn(op, false);
        }
    }

    /// Marks an operation as done or not.
    fn turn(&mut self, op: u32, done: bool) {
        let it = &self.ops[op as usize];
        self.done[op as usize] = done;
        let readers = match it.source {
            INITIAL => self.first_readers.get_mut(it.kv.key.0 as usize),
            source => self.readers.get_mut(source as usize),
        };
        if let Some(readers) = readers {
            *readers = if done { *readers - 1 } else { *readers + 1 };
        }
        if !it.optional {
            let position = &mut self.positions[it.session as usize];
            *position = if done { *position + 1 } else { *position - 1 };
            self.left = if done { self.left - 1 } else { self.left + 1 };
        }
    }
}

/// Returns the keys on which a write of unknown outcome that no operation certainly read may still be needed.
fn loose_keys(history: &History, trace: &Trace) -> Vec<bool> {
    let mut loose = vec![false; history.keys() as usize];
    for (i, op) in (0u32..).zip(history.operations()) {
        let conditional = history.kv(OpId(i)).call.condition().is_some_and(|when| !when.is_always());
        let delete = matches!(history.call(op), Some(Call::Delete { .. }));
        if let Some(loose) = loose.get_mut(op.key.0 as usize) {
            *loose |= conditional || delete || op.end == End::Refused || op.told_revision().is_some();
        }
    }
    for &op in &trace.unsure {
        if let Some(loose) = loose.get_mut(history.operation(op).key.0 as usize) {
            *loose = true;
        }
    }
    loose
}

/// Whether an operation makes a version when it takes effect.
fn changes(kv: &KvOperation) -> bool {
    kv.call != Call::Get && matches!(kv.outcome, Outcome::Ok(Reply::Done { .. }) | Outcome::Info)
}

/// Returns the value and the count of modifications after an operation; `None` if the operation is impossible in this
/// state.
fn after(kv: &KvOperation, state: State) -> Option<(Value, u64)> {
    let here = state.value != Value::NIL;
    let revision = state.count.checked_sub(1);
    let shows = |seen: Option<Version>| match seen {
        None => !here,
        Some(v) => v.value == state.value && v.revision.is_none_or(|r| Some(r) == revision),
    };
    let same = (state.value, state.count);
    let number = if here { i64::try_from(state.count).map_or(i64::MAX, |count| count - 1) } else { -1 };
    let holds = kv.call.condition().is_some_and(|when| {
        when.exists.is_none_or(|wanted| wanted == here)
            && when.value.is_none_or(|value| value == state.value)
            && when.revision.is_none_or(|n| n == number)
            && (here || !matches!(kv.call, Call::Delete { .. }))
    });
    let next = match kv.call {
        Call::Put { value, .. } => value,
        Call::Delete { .. } | Call::Get => Value::NIL,
    };
    match kv.outcome {
        Outcome::Ok(Reply::Got(seen)) => shows(seen).then_some(same),
        Outcome::Ok(Reply::Refused(seen)) => (!holds && shows(seen)).then_some(same),
        Outcome::Ok(Reply::Declined) => (!holds).then_some(same),
        Outcome::Ok(Reply::Done { revision: told }) => {
            (holds && told.is_none_or(|r| r == state.count)).then_some((next, state.count + 1))
        }
        Outcome::Info => holds.then_some((next, state.count + 1)),
        Outcome::Fail => None,
    }
}
