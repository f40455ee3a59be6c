//! The visible behaviour of expiring keys: linearizability of a key that can disappear on its own.
//!
//! A write or extension with a time to live, called at `c` and answered at `r`, sets a deadline: it takes effect
//! between `c` and `r`, so the deadline is between `c + ttl` and `r + ttl` in true time. The servers' clocks may be
//! wrong by a stated bound. So the key must disappear between `c + ttl - bound` and `r + ttl + bound`, unless it was
//! overwritten or extended meanwhile. An expiry is committed like any change, so it waits for a leader: if the first
//! answer to a change called after `r + ttl` comes later than `r + ttl`, the bound counts from that answer. The expiry
//! is one more operation of the history, called and answered at those times by its own process: an **expiry** deletes
//! the key if its deadline is still the key's, and does nothing otherwise. With these operations the history must be
//! linearizable under [`Expiring`]. That is the case exactly if each key can have disappeared at one instant within its
//! window. An operation of unknown outcome may take effect late, so its expiry has no latest time.
//!
//! It shares nothing with the store's own implementation of deadlines.

use seaworthy_check::linear::check_model;
use seaworthy_check::model::Model;
use seaworthy_check::model::kv::{self, Kv};
use seaworthy_check::{
    Condition, Datum, End, Function, History, OpId, Operation, Options, Recorder, Report, Request, Value,
};
use std::collections::BTreeMap;
use std::time::Duration;

const PUT: &str = "write-ttl";
const EXTEND: &str = "extend";
const EXPIRE: &str = "expire";

/// Records the call of a write with a time to live, by a process at a time. No other write of the history may have the
/// same word.
pub fn put(to: &mut Recorder, by: (u32, u64), key: &str, (word, when): (&str, Condition<&str>)) -> OpId {
    let (name, arg) = (to.value(Datum::Text(key)), to.value(Datum::Text(word)));
    let value = when.value.map(|text| to.value(Datum::Text(text)));
    let when = Condition { exists: when.exists, value, revision: when.revision };
    let f = other(to, PUT);
    to.begin(by.0, by.1, name, Request { f, arg, when })
}

/// Records the call of an extension.
pub fn extend(to: &mut Recorder, by: (u32, u64), key: &str) -> OpId {
    let name = to.value(Datum::Text(key));
    let token = format!("extension {}", to.history().operations().len());
    let (f, arg) = (other(to, EXTEND), to.value(Datum::Text(&token)));
    to.begin(by.0, by.1, name, Request::new(f, arg))
}

fn other(to: &mut Recorder, name: &str) -> Function {
    // invariant: there is room for 256 names, and only three are used.
    to.other(name).expect("room for three functions")
}

/// Checks a history; `lives` has the times to live of its writes and extensions. Keys must expire within `bound` of
/// their deadlines. Without a bound they may expire at any time or never.
#[must_use]
pub fn check(
    history: &History,
    lives: &BTreeMap<OpId, Duration>,
    bound: Option<Duration>,
    options: &Options,
) -> Report {
    check_model(|| Expiring, &with_expiries(history, lives, bound), options)
}

/// An event of the history that is checked.
enum Event {
    Called(OpId),
    Ended(OpId),
    /// The expiry caused by this operation is called.
    May(OpId),
    /// That expiry has completed.
    Must(OpId),
}

/// Returns the history together with the expiries of its writes and extensions.
fn with_expiries(history: &History, lives: &BTreeMap<OpId, Duration>, bound: Option<Duration>) -> History {
    // At equal times, a window opens before all other events and closes after them.
    let mut events: Vec<((u64, u8, u32), Event)> = history
        .in_order()
        .map(|(at, op, ended)| ((history.time(at), 1, at), if ended { Event::Ended(op) } else { Event::Called(op) }))
        .collect();
    let changes = Changes::of(history);
    for (&op, &ttl) in lives {
        let operation = history.operation(op);
        if matches!(operation.end, End::Fail | End::Refused) {
            continue;
        }
        let (ttl, slack) = (nanos(ttl), bound.map(nanos));
        let from = history.time(operation.called).saturating_add(ttl.saturating_sub(slack.unwrap_or(ttl)));
        events.push(((from, 0, op.0), Event::May(op)));
        if let (Some(returned), Some(slack)) = (operation.settled(), slack) {
            let deadline = history.time(returned).saturating_add(ttl);
            let until = changes.first_after(deadline).max(deadline).saturating_add(slack);
            events.push(((until, 2, op.0), Event::Must(op)));
        }
    }
    events.sort_by_key(|(at, _)| *at);
    let mut to = Recorder::default();
    // Each expiry has its own process, numbered after those of the clients.
    let processes = history.operations().iter().map(|op| op.process).max().map_or(0, |last| last + 1);
    let (mut copies, mut expiries) = (BTreeMap::new(), BTreeMap::new());
    for ((time, ..), event) in events {
        match event {
            Event::Called(op) => {
                copies.insert(op, call(&mut to, history, op, time));
            }
            Event::Ended(op) => {
                let Operation { end, reply, .. } = *history.operation(op);
                let revision = history.operation(op).told_revision();
                let reply = copy(&mut to, history, reply);
                to.end(copies[&op], time, end, reply, revision);
            }
            Event::May(op) => {
                let Operation { key, arg, .. } = *history.operation(op);
                let (name, cause) = (copy(&mut to, history, history.key_value(key)), copy(&mut to, history, arg));
                let f = other(&mut to, EXPIRE);
                expiries.insert(op, to.begin(processes + op.0, time, name, Request::new(f, cause)));
            }
            Event::Must(op) => to.end(expiries[&op], time, End::Ok, Value::UNTOLD, None),
        }
    }
    to.finish()
}

/// The call times of acknowledged changes, each with the first answer to it or to a later change.
struct Changes(Vec<(u64, u64)>);

impl Changes {
    fn of(history: &History) -> Changes {
        let done = history.operations().iter().filter(|op| op.f != Function::Read && op.end == End::Ok);
        let times = done.filter_map(|op| Some((history.time(op.called), history.time(op.settled()?))));
        let mut changes: Vec<(u64, u64)> = times.collect();
        changes.sort_unstable();
        let mut first = u64::MAX;
        for (_, answered) in changes.iter_mut().rev() {
            first = first.min(*answered);
            *answered = first;
        }
        Changes(changes)
    }

    /// Returns the time of the first answer to a change called at this time or later; 0 if there was none.
    fn first_after(&self, time: u64) -> u64 {
        let at = self.0.partition_point(|(called, _)| *called < time);
        self.0.get(at).map_or(0, |(_, answered)| *answered)
    }
}

fn call(to: &mut Recorder, history: &History, op: OpId, time: u64) -> OpId {
    let operation = history.operation(op);
    let name = copy(to, history, history.key_value(operation.key));
    let when = history.condition(operation);
    let when = Condition { value: when.value.map(|value| copy(to, history, value)), ..when };
    let f = match operation.f {
        f @ Function::Other(_) => other(to, history.function(f)),
        f => f,
    };
    let arg = copy(to, history, operation.arg);
    to.begin(operation.process, time, name, Request { f, arg, when })
}

fn copy(to: &mut Recorder, history: &History, value: Value) -> Value {
    match value.told() {
        None => Value::UNTOLD,
        Some(value) => to.value(history.datum(value)),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The model of a key that can expire.
pub struct Expiring;

/// The state of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    held: kv::State,
    /// Identifies the deadline: the argument of the write or extension that set it; [`Value::NIL`]: none.
    deadline: Value,
}

/// An operation on a key.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Counts the bytes that wait in the network: exactly, or as an upper bound that is not over the argument.
    Plain(kv::Op, Value),
    /// Sets another deadline if the key exists.
    Extend {
        /// The new deadline.
        deadline: Value,
        /// The unchanged revision, if known.
        revision: Option<u64>,
        /// Whether the key is known to have existed.
        told: bool,
    },
    /// Deletes the key if it still has this deadline.
    Expire(Value),
}

impl Model for Expiring {
    type State = State;
    type Op = Op;

    fn initial(&self, history: &History) -> State {
        State { held: Kv.initial(history), deadline: Value::NIL }
    }

    fn compile(&self, history: &History, op: &Operation, told: bool) -> Option<Op> {
        match history.function(op.f) {
            EXPIRE => Some(Op::Expire(op.arg)),
            EXTEND if told && op.end == End::Refused => {
                let found = kv::Op::See { value: Value::NIL, revision: None, refused: None };
                Some(Op::Plain(found, Value::NIL))
            }
            EXTEND if op.end == End::Fail => None,
            EXTEND => {
                let revision = op.told_revision().filter(|_| told).map(u64::from);
                Some(Op::Extend { deadline: op.arg, revision, told })
            }
            PUT => {
                let mut write = *op;
                write.f = Function::Write;
                Some(Op::Plain(Kv.compile(history, &write, told)?, op.arg))
            }
            _ => Some(Op::Plain(Kv.compile(history, op, told)?, Value::NIL)),
        }
    }

    fn apply(&self, state: &State, op: &Op) -> Option<State> {
        let present = state.held.value != Value::NIL;
        match *op {
            Op::Plain(op, deadline) => {
                let held = Kv.apply(&state.held, &op)?;
                Some(if Kv.reads(&op) { *state } else { State { held, deadline } })
            }
            Op::Extend { deadline, revision, .. } if present => {
                let fits = revision.is_none_or(|r| r.checked_add(1) == Some(state.held.count));
                fits.then_some(State { deadline, ..*state })
            }
            Op::Extend { told, .. } => (!told).then_some(*state),
            Op::Expire(deadline) if deadline == state.deadline => {
                let held = kv::State { value: Value::NIL, count: state.held.count + 1 };
                Some(State { held, deadline: Value::NIL })
            }
            Op::Expire(_) => Some(*state),
        }
    }

    fn reads(&self, op: &Op) -> bool {
        matches!(op, Op::Plain(op, _) if Kv.reads(op))
    }

    fn hopeless(&self, state: &State, op: &Op) -> bool {
        match op {
            Op::Plain(op, _) => Kv.hopeless(&state.held, op),
            Op::Extend { revision, .. } => revision.is_some_and(|r| state.held.count > r.saturating_add(1)),
            Op::Expire(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seaworthy_check::{Reply, Version};

    const S: u64 = 1_000_000_000;

    /// A history of one key, with a time to live of two seconds and a bound of one second.
    #[derive(Default)]
    struct Log {
        recorder: Recorder,
        lives: BTreeMap<OpId, Duration>,
    }

    impl Log {
        fn put(&mut self, at: u64, word: &str, revision: u64) -> OpId {
            let op = put(&mut self.recorder, (1, at * S), "k", (word, Condition::ALWAYS));
            self.lives.insert(op, Duration::from_secs(2));
            self.recorder.ok(op, at * S + 1, Reply::Done { revision: Some(revision) });
            op
        }

        fn extend(&mut self, at: u64, revision: Option<u64>) {
            let op = extend(&mut self.recorder, (1, at * S), "k");
            self.lives.insert(op, Duration::from_secs(2));
            let reply = revision.map_or(Reply::Refused(None), |_| Reply::Done { revision });
            self.recorder.ok(op, at * S + 1, reply);
        }

        fn get(&mut self, at: u64, found: Option<(&str, u64)>) {
            let op = self.recorder.invoke(2, at * S + 2, "k", seaworthy_check::Call::Get);
            let found = found.map(|(value, revision)| Version { value, revision: Some(revision) });
            self.recorder.ok(op, at * S + 3, Reply::Got(found));
        }

        fn holds(self) -> bool {
            let report = check(&self.recorder.finish(), &self.lives, Some(Duration::from_secs(1)), &Options::default());
            assert_eq!(report.unknowns().count(), 0);
            report.is_valid()
        }
    }

    /// Whether a key written at 10 s with a time to live of 2 s may be found, or not found, at a time.
    fn found_at(at: u64, found: bool) -> bool {
        let mut log = Log::default();
        log.put(10, "a", 0);
        log.get(at, found.then_some(("a", 0)));
        log.holds()
    }

    #[test]
    fn a_key_is_there_before_its_window_and_gone_after() {
        assert_eq!([10, 11, 12, 13, 14].map(|at| found_at(at, true)), [true, true, true, false, false]);
        assert_eq!([10, 11, 12, 13, 14].map(|at| found_at(at, false)), [false, true, true, true, true]);
    }

    #[test]
    fn what_is_gone_stays_gone_and_takes_a_revision() {
        let back = |found: bool, revision: u64| {
            let mut log = Log::default();
            log.put(10, "a", 0);
            log.get(12, None);
            if found {
                log.get(13, Some(("a", 0)));
            }
            log.put(14, "b", revision);
            log.holds()
        };
        assert!(!back(true, 2));
        assert!(back(false, 2), "the expiry took revision 1");
        assert!(!back(false, 1));
    }

    #[test]
    fn an_extension_counts_from_itself_and_a_write_over_it_ends_all() {
        let extended = |at: u64, found: Option<(&str, u64)>| {
            let mut log = Log::default();
            log.put(10, "a", 0);
            log.extend(11, Some(0));
            log.get(at, found);
            log.holds()
        };
        assert!(extended(13, Some(("a", 0))) && !extended(14, Some(("a", 0))));
        assert!(!extended(11, None) && extended(13, None));
        let mut log = Log::default();
        log.put(10, "a", 0);
        let op = log.recorder.invoke(1, 11 * S, "k", seaworthy_check::Call::put("b"));
        log.recorder.ok(op, 11 * S + 1, Reply::Done { revision: Some(1) });
        log.get(60, Some(("b", 1)));
        assert!(log.holds(), "it has no deadline any more");
        let mut log = Log::default();
        log.extend(11, None);
        log.put(12, "a", 0);
        let op = log.recorder.invoke(3, 15 * S, "other", seaworthy_check::Call::put("b"));
        log.recorder.ok(op, 15 * S + 1, Reply::Done { revision: Some(0) });
        log.extend(20, Some(0));
        assert!(!log.holds(), "nothing was left to be extended");
    }

    #[test]
    fn while_nothing_is_committed_nothing_expires() {
        let found = |at: u64| {
            let mut log = Log::default();
            log.put(10, "a", 0);
            let op = log.recorder.invoke(3, 13 * S, "other", seaworthy_check::Call::put("b"));
            let late = log.recorder.invoke(4, 13 * S, "other", seaworthy_check::Call::put("c"));
            if at < 20 {
                log.get(at, Some(("a", 0)));
            }
            log.recorder.ok(op, 20 * S, Reply::Done { revision: Some(0) });
            if at >= 20 {
                log.get(at, Some(("a", 0)));
            }
            log.recorder.info(late, 60 * S);
            log.holds()
        };
        assert_eq!([13, 19, 20, 21, 30].map(found), [true, true, true, false, false]);
    }

    #[test]
    fn a_write_of_unknown_outcome_has_no_latest_expiry() {
        let mut log = Log::default();
        let op = put(&mut log.recorder, (1, 10 * S), "k", ("a", Condition::ALWAYS));
        log.lives.insert(op, Duration::from_secs(2));
        log.recorder.info(op, 11 * S);
        log.get(60, Some(("a", 0)));
        log.get(61, None);
        assert!(log.holds());
    }
}
