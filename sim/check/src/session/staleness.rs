//! How stale reads are: Δ-atomicity and k-atomicity (Golab, Li and Shah, "Analyzing consistency properties for fun and
//! profit", 2011).
//!
//! **Δ.** A key is Δ-atomic if it is linearizable when every read is taken to have been called Δ earlier. With
//! distinguishable values, let f be the first return and s the last call among a write and its reads. Version A must be
//! before B iff f(A) < s(B), and there is an order iff no two versions must be before each other (Gibbons and Korach,
//! 1997). An earlier call of a read only makes s smaller, so a Δ-atomic key stays Δ-atomic for a larger Δ. The smallest
//! Δ is found by bisection. Each step is a pass over the zones, which are sorted by f once. Every other key
//! (conditions, deletes, revisions, equal values) is bisected with the exact decision of linearizability on the shifted
//! history. A read that returned before the write of its value was called is impossible for every Δ.
//!
//! Moments are compared by time, then by position. In [`Unit::Events`] the positions are the times.
//!
//! **k.** A key is k-atomic if all operations have an order that respects real time and in which each read sees one of
//! the k latest versions. 1 is linearizability. Lower bound: a read that certainly missed n versions
//! ([`super::figures`]) needs k > n. Upper bound: versions are ordered by f, which respects real time, and each read is
//! placed as early as the writes, and the sources of reads, that returned before its call allow. The versions between a
//! read and its source show a k that suffices. If the two bounds differ, small keys are decided by search; for other
//! keys the bounds are reported.

use super::figures::staleness;
use super::trace::{INITIAL, NOBODY, NONE, Trace, is_access};
use crate::history::{End, Function, History, KeyId, OpId, Operation, Recorder, Request, Value};
use crate::linear::general::General;
use crate::linear::{self, Answer, Item, Judge, Limits};
use crate::model::Model;

/// The unit of Δ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Nanoseconds of the recorded times.
    Nanoseconds,
    /// Positions among the events.
    Events,
}

/// What is known of the smallest Δ or k of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bound {
    /// The key.
    pub key: String,
    /// The number is at least this.
    pub lower: u64,
    /// The number is at most this; `None`: not known, or no number suffices.
    pub upper: Option<u64>,
    /// How the bounds were found, or why they are not known.
    pub by: &'static str,
}

impl Bound {
    /// The number, if it is known exactly.
    #[must_use]
    pub fn exact(&self) -> Option<u64> {
        self.upper.filter(|&upper| upper == self.lower)
    }
}

/// Keys with at most this many operations are searched for k.
const SMALL: usize = 24;
const NEVER: &str = "impossible for every number: a value from nowhere or from the future";

type At = (i64, u32);
const FIRST: At = (i64::MIN, 0);
const LAST: At = (i64::MAX, u32::MAX);

/// A version with its reads.
#[derive(Clone, Copy)]
struct Zone {
    first_return: At,
    write_call: At,
    /// The last call of a read.
    read_call: At,
}

impl Zone {
    fn last_call(&self, delta: i64) -> At {
        let (time, index) = self.read_call;
        self.write_call.max((time.saturating_sub(delta), index))
    }
}

struct Clock<'a> {
    history: &'a History,
    unit: Unit,
}

impl Clock<'_> {
    fn at(&self, event: u32) -> At {
        let time = match self.unit {
            Unit::Nanoseconds => i64::try_from(self.history.time(event)).unwrap_or(i64::MAX / 4).min(i64::MAX / 4),
            Unit::Events => i64::from(event),
        };
        (time, event)
    }
}

/// Returns bounds of the smallest Δ of each key.
#[must_use]
pub fn smallest_delta(history: &History, unit: Unit, options: &linear::Options) -> Vec<Bound> {
    let trace = Trace::new(history);
    let plain = plain_keys(history, &trace);
    let clock = Clock { history, unit };
    let monotone = unit == Unit::Events || (1..history.events()).all(|e| history.time(e - 1) <= history.time(e));
    let mut zones = zones(&trace, history, &clock);
    let parts = linear::parts(history);
    let deltas = parts.iter().zip(&plain).map(|(part, &plain)| {
        let key = history.key(part.key).into_owned();
        let bound = |lower, upper, by| Bound { key: key.clone(), lower, upper, by };
        if !monotone {
            return bound(0, None, "the recorded times go back: only events can be used");
        }
        if !plain {
            return by_search(&clock, part.key, part.ops, options, &bound);
        }
        match zones.get_mut(part.key.0 as usize) {
            Some(Some(zones)) => {
                let delta = by_zones(zones);
                bound(delta, Some(delta), "zones")
            }
            _ => bound(0, None, NEVER),
        }
    });
    deltas.collect()
}

/// Returns which keys are only read and written, without conditions and revisions, and have only sure sources.
fn plain_keys(history: &History, trace: &Trace) -> Vec<bool> {
    let mut plain = vec![true; history.keys() as usize];
    for (i, op) in (0u32..).zip(history.operations()) {
        let conditional = history.kv(OpId(i)).call.condition().is_some_and(|when| !when.is_always());
        let known = matches!(op.f, Function::Read | Function::Write);
        if conditional || !known || op.end == End::Refused || op.told_revision().is_some() {
            plain[op.key.0 as usize] = false;
        }
    }
    for &op in &trace.unsure {
        plain[history.operation(op).key.0 as usize] = false;
    }
    plain
}

/// Returns the zones of each key, sorted by first return; `None` for keys that are impossible for every Δ.
fn zones(trace: &Trace, history: &History, clock: &Clock<'_>) -> Vec<Option<Vec<Zone>>> {
    let start = Zone { first_return: FIRST, write_call: FIRST, read_call: FIRST };
    let mut initial: Vec<Zone> = vec![start; trace.writes.len()];
    let mut impossible = vec![false; trace.writes.len()];
    let mut zones = vec![start; trace.accesses.len()];
    let returned = |i: u32| match trace.returned(history, i) {
        u32::MAX => LAST,
        event => clock.at(event),
    };
    for (i, access) in (0u32..).zip(&trace.accesses) {
        let called = clock.at(history.operation(access.op).called);
        if access.writes {
            zones[i as usize] = Zone { first_return: returned(i), write_call: called, read_call: FIRST };
        }
    }
    for (i, access) in (0u32..).zip(&trace.accesses) {
        let zone = match access.source {
            INITIAL => &mut initial[access.key as usize],
            NOBODY => {
                impossible[access.key as usize] = true;
                continue;
            }
            source if is_access(source) => &mut zones[source as usize],
            _ => continue,
        };
        zone.first_return = zone.first_return.min(returned(i));
        zone.read_call = zone.read_call.max(clock.at(history.operation(access.op).called));
        impossible[access.key as usize] |= zone.first_return < zone.write_call;
    }
    let of_key = |(key, writes): (usize, &Vec<u32>)| {
        let mut all: Vec<Zone> = writes.iter().map(|&w| zones[w as usize]).collect();
        all.push(initial[key]);
        all.sort_unstable_by_key(|zone| zone.first_return);
        (!impossible[key]).then_some(all)
    };
    trace.writes.iter().enumerate().map(of_key).collect()
}

/// Whether no two versions must be before each other. The zones must be sorted by first return.
fn ordered(zones: &[Zone], delta: i64, forward: &mut Vec<(At, At)>) -> bool {
    forward.clear();
    for zone in zones {
        let (first, last) = (zone.first_return, zone.last_call(delta));
        if first < last {
            if forward.last().is_some_and(|&(_, end)| first < end) {
                return false;
            }
            forward.push((first, last));
        }
    }
    zones.iter().all(|zone| {
        let (first, last) = (zone.first_return, zone.last_call(delta));
        let before = if first < last { 0 } else { forward.partition_point(|&(start, _)| start < last) };
        before == 0 || forward[before - 1].1 <= first
    })
}

fn by_zones(zones: &[Zone]) -> u64 {
    let mut forward = Vec::new();
    if ordered(zones, 0, &mut forward) {
        return 0;
    }
    let reads = || zones.iter().map(|zone| zone.read_call.0).filter(|&time| time != i64::MIN);
    let starts =
        zones.iter().flat_map(|zone| [zone.write_call.0, zone.first_return.0]).filter(|&time| time != i64::MIN);
    // With this Δ every read is called before everything else.
    let span = reads().max().unwrap_or(0).saturating_sub(starts.min().unwrap_or(0)).saturating_add(1);
    let (mut low, mut high) = (0, span.max(1));
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if ordered(zones, middle, &mut forward) { high = middle } else { low = middle }
    }
    high as u64
}

/// Finds the smallest Δ by bisection, with the exact decision on shifted histories.
fn by_search(
    clock: &Clock<'_>,
    key: KeyId,
    ops: &[OpId],
    options: &linear::Options,
    bound: &dyn Fn(u64, Option<u64>, &'static str) -> Bound,
) -> Bound {
    let options = linear::Options { evidence_steps: 0, ..*options };
    let gave_up = "a search ended at its limit";
    let decided = |delta: i64| {
        let report = linear::check(&shifted(clock, key, ops, delta), &options);
        report.unknowns().next().is_none().then(|| report.is_valid())
    };
    match decided(0) {
        Some(true) => return bound(0, Some(0), "linearizability"),
        Some(false) => {}
        None => return bound(0, None, gave_up),
    }
    let events = clock.history.events().saturating_sub(1);
    let (mut low, mut high) = (0, clock.at(events).0.saturating_sub(clock.at(0).0).saturating_add(1));
    match decided(high) {
        Some(true) => {}
        Some(false) => return bound(0, None, NEVER),
        None => return bound(1, None, gave_up),
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match decided(middle) {
            Some(true) => high = middle,
            Some(false) => low = middle,
            None => return bound(low as u64 + 1, Some(high as u64), gave_up),
        }
    }
    bound(high as u64, Some(high as u64), "linearizability, bisected")
}

/// Returns the history of one key with all reads called `delta` earlier.
fn shifted(clock: &Clock<'_>, key: KeyId, ops: &[OpId], delta: i64) -> History {
    let history = clock.history;
    let mut events: Vec<(At, OpId, bool)> = Vec::new();
    for &op in ops {
        let it = history.operation(op);
        let (time, index) = clock.at(it.called);
        let early = if it.f == Function::Read { delta } else { 0 };
        events.push(((time - early, index), op, false));
        if it.returned != crate::history::NEVER {
            events.push((clock.at(it.returned), op, true));
        }
    }
    events.sort_unstable_by_key(|event| event.0);
    let mut log = Recorder::default();
    let same = |log: &mut Recorder, value: Value| match value {
        Value::UNTOLD => Value::UNTOLD,
        value => log.value(history.datum(value)),
    };
    let initial = same(&mut log, history.initial());
    log.initial(initial);
    let name = same(&mut log, history.key_value(key));
    let mut ids = std::collections::BTreeMap::new();
    for (_, op, returned) in events {
        let it = history.operation(op);
        if returned {
            let reply = same(&mut log, it.reply);
            if let Some(&id) = ids.get(&op) {
                log.end(id, 0, it.end, reply, it.told_revision());
            }
        } else {
            let mut when = history.condition(it);
            when.value = when.value.map(|value| same(&mut log, value));
            let request = Request { f: it.f, arg: same(&mut log, it.arg), when };
            ids.insert(op, log.begin(it.process, 0, name, request));
        }
    }
    log.finish()
}

/// Returns bounds of the smallest k of each key.
#[must_use]
pub fn smallest_k(history: &History, options: &linear::Options) -> Vec<Bound> {
    let trace = Trace::new(history);
    let plain = plain_keys(history, &trace);
    let clock = Clock { history, unit: Unit::Events };
    let zones = zones(&trace, history, &clock);
    let known = bounds_of_k(history);
    let parts = linear::parts(history);
    let bounds = parts.iter().map(|part| {
        let at = part.key.0 as usize;
        let key = history.key(part.key).into_owned();
        let bound = |lower, upper, by| Bound { key: key.clone(), lower, upper, by };
        if plain[at] {
            let Some(Some(zones)) = zones.get(at) else { return bound(1, None, NEVER) };
            if ordered(zones, 0, &mut Vec::new()) {
                return bound(1, Some(1), "zones");
            }
        }
        if let Some(Some((lower, upper))) = known.get(at)
            && lower.max(&2) == upper
        {
            return bound(*upper, Some(*upper), "bounds that meet");
        }
        let conditions = part.ops.iter().map(|&op| history.operation(op)).any(|op| !Stale::accepts(op));
        if part.ops.len() <= SMALL && !conditions {
            return search_k(history, part.ops, options, &bound);
        }
        match known.get(at) {
            Some(&Some((lower, upper))) => bound(lower.max(2), Some(upper), "bounds"),
            _ => bound(1, None, "too large to search, and not only plain reads and writes of distinct values"),
        }
    });
    bounds.collect()
}

/// Returns bounds of the smallest k without a search, for keys with only plain reads and writes; `None` for other keys.
#[must_use]
pub fn bounds_of_k(history: &History) -> Vec<Option<(u64, u64)>> {
    let trace = Trace::new(history);
    let mut lower = vec![1u64; history.keys() as usize];
    for read in staleness(history, &trace) {
        let access = &trace.accesses[read.read as usize];
        lower[access.key as usize] = lower[access.key as usize].max(read.versions + 1);
    }
    let clock = Clock { history, unit: Unit::Events };
    let possible = zones(&trace, history, &clock);
    let bounds = lower.into_iter().zip(upper_bounds(history, &trace));
    let sound = plain_keys(history, &trace).into_iter().zip(possible).map(|(plain, zones)| plain && zones.is_some());
    bounds.zip(sound).map(|(bounds, sound)| sound.then_some(bounds)).collect()
}

/// Returns a k that suffices for each key, provided that the key has only plain reads and writes.
fn upper_bounds(history: &History, trace: &Trace) -> Vec<u64> {
    // The order of versions: by the first return among the write and its reads.
    let mut first: Vec<u32> = (0u32..).take(trace.accesses.len()).map(|i| trace.returned(history, i)).collect();
    for (i, access) in (0u32..).zip(&trace.accesses) {
        if is_access(access.source) {
            first[access.source as usize] = first[access.source as usize].min(trace.returned(history, i));
        }
    }
    let mut place = vec![0u64; trace.accesses.len()];
    for writes in &trace.writes {
        let mut sorted = writes.clone();
        sorted.sort_by_key(|&w| first[w as usize]);
        for (at, w) in (1u64..).zip(sorted) {
            place[w as usize] = at;
        }
    }
    let mut access_of = vec![NONE; history.operations().len()];
    for (i, access) in (0u32..).zip(&trace.accesses) {
        access_of[access.op.0 as usize] = i;
    }
    let mut reached = vec![0u64; trace.writes.len()];
    let mut upper = vec![1u64; trace.writes.len()];
    for (_, op, returned) in history.in_order() {
        let Some(&i) = access_of.get(op.0 as usize).filter(|&&i| i != NONE) else { continue };
        let access = &trace.accesses[i as usize];
        let source = if is_access(access.source) { place[access.source as usize] } else { 0 };
        let key = access.key as usize;
        if returned && trace.returned(history, i) != u32::MAX {
            reached[key] = reached[key].max(if access.writes { place[i as usize] } else { source });
        } else if !returned && !access.writes {
            upper[key] = upper[key].max(reached[key].saturating_sub(source) + 1);
        }
    }
    upper
}

/// A register whose reads see one of the `k` latest versions.
struct Stale {
    k: usize,
}

/// An operation on this register.
enum StaleOp {
    See(Value),
    Put { value: Value, compare: Value, sure: bool },
}

impl Stale {
    /// Whether the model covers everything about the operation.
    fn accepts(op: &Operation) -> bool {
        matches!(op.f, Function::Read | Function::Write)
            && op.end != End::Refused
            && op.told_revision().is_none()
            && !op.has_further_conditions()
    }
}

impl Model for Stale {
    type State = Vec<Value>;
    type Op = StaleOp;

    fn initial(&self, history: &History) -> Vec<Value> {
        vec![history.initial()]
    }

    fn compile(&self, _: &History, op: &Operation, told: bool) -> Option<StaleOp> {
        match op.f {
            Function::Read => (told && op.reply != Value::UNTOLD).then_some(StaleOp::See(op.reply)),
            _ => Some(StaleOp::Put { value: op.arg, compare: op.compare, sure: told }),
        }
    }

    fn apply(&self, state: &Vec<Value>, op: &StaleOp) -> Option<Vec<Value>> {
        match *op {
            StaleOp::See(value) => state.contains(&value).then(|| state.clone()),
            StaleOp::Put { value, compare, sure } => {
                if compare != Value::UNTOLD && state.first() != Some(&compare) {
                    return (!sure).then(|| state.clone());
                }
                Some(std::iter::once(value).chain(state.iter().copied()).take(self.k).collect())
            }
        }
    }

    fn reads(&self, op: &StaleOp) -> bool {
        matches!(op, StaleOp::See(_))
    }
}

/// Tries one k after the other. With k greater than the number of writes, every version is still available.
fn search_k(
    history: &History,
    ops: &[OpId],
    options: &linear::Options,
    bound: &dyn Fn(u64, Option<u64>, &'static str) -> Bound,
) -> Bound {
    let items: Vec<Item> = ops.iter().map(|&op| Item { op, open: false }).collect();
    let limits = Limits::new(options.steps, options.memory);
    for k in 1..=ops.len() + 1 {
        match General(Stale { k }).decide(history, &items, limits).answer {
            Answer::Possible => return bound(k as u64, Some(k as u64), "search"),
            Answer::Impossible => {}
            Answer::GaveUp(_) => return bound(k as u64, None, "a search ended at its limit"),
        }
    }
    bound(1, None, NEVER)
}
