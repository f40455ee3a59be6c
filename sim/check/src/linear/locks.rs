//! Locks. The operations of each process pair into holds, and holds exclude each other.
//!
//! A hold begins at some moment of its `acquire` and ends at some moment of its `release`. Let f be when it has
//! certainly begun and s when it can first end: hold A must be before B exactly if A's f is before B's s, since
//! otherwise B may be over before A begins. A cycle implies one of length two, so either the order of min(f, s) is
//! valid or no order is ([`super::kv`] has the same zones). Fencing tokens give the order directly.
//!
//! Refused acquires. With the order given, holds begin as early and end as late as they can; that can be done for all
//! at once. A refusal is impossible if its whole interval is free even then.
//!
//! Open operations. A process with open releases only: they end, in the order of their calls, the holds that no
//! `release` with a reply ends; the last hold may last forever. A process with open acquires only (called before its
//! last release): they begin the holds that no `acquire` with a reply begins. Other open acquires only add constraints,
//! unless they explain a refusal.
//!
//! A process with open operations of both kinds may have paired them in other ways, and split a hold. If the pairs
//! above give an order, the history is possible. If not, it goes to the search, unless that process is not part of the
//! conflict. Histories in which a process overlaps with itself also go to the search, as do refusals that only an open
//! `acquire` or another order could explain.

use super::direct::{Entry, Finding, Procedure, entries};
use super::{Item, Limits};
use crate::history::{History, NEVER, OpId};
use crate::model::lock::{Act, Lock, act};
use crate::model::sequence::number;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The procedure.
pub struct Locks;

/// A moment after every event.
const FOR_EVER: i64 = i64::MAX / 8;

/// A hold: the events between which it begins and ends.
#[derive(Clone, Copy)]
struct Hold {
    process: u32,
    begins: (i64, i64),
    ends: (i64, i64),
    acquire: OpId,
    /// `None`: never.
    release: Option<OpId>,
    token: Option<i64>,
    /// The returns of the operations of both ends that were answered, and of those that show that it had ended.
    last: i64,
}

impl Hold {
    fn f(&self) -> i64 {
        self.begins.1.min(self.ends.1)
    }

    fn s(&self) -> i64 {
        self.ends.0.max(self.begins.0)
    }
}

/// A refused `release`, and the `acquire` of the hold that must have ended before it.
struct Stranger {
    call: i64,
    id: OpId,
    after: Option<OpId>,
}

/// A part, prepared for the procedure.
struct Problem<'a> {
    entries: Vec<(Entry<'a>, Act)>,
    /// In the order that they must have, once [`Problem::arrange`] has run.
    holds: Vec<Hold>,
    busy: Vec<(i64, i64, OpId)>,
    strangers: Vec<Stranger>,
    /// The first call of an open acquire that no hold needs.
    spare: i64,
    /// Processes whose operations could pair in other ways. Sorted.
    loose: Vec<u32>,
    initial: Option<i64>,
}

/// Why there is no order: some operations conflict, or the history does not have the required form.
enum Stop {
    Clash(Vec<OpId>),
    OtherForm,
}

fn moment(position: u32) -> i64 {
    if position == NEVER { FOR_EVER } else { i64::from(position) }
}

impl<'a> Problem<'a> {
    fn new(history: &'a History, items: &'a [Item]) -> Problem<'a> {
        let known = entries(history, items).filter_map(|e| Some((e, act(history, e.op, e.told())?)));
        Problem {
            entries: known.collect(),
            holds: Vec::new(),
            busy: Vec::new(),
            strangers: Vec::new(),
            spare: FOR_EVER,
            loose: Vec::new(),
            initial: number(history, history.initial()).flatten(),
        }
    }

    fn solve(&mut self) -> Result<(), Stop> {
        self.tokens()?;
        let mut by_process = self.entries.clone();
        by_process.sort_by_key(|(e, _)| e.op.process);
        for ops in by_process.chunk_by(|(a, _), (b, _)| a.op.process == b.op.process) {
            self.pair(ops)?;
        }
        self.arrange()?;
        self.refusals()
    }

    /// Checks that tokens increase: looks for an operation that returned before one with a smaller token was called.
    fn tokens(&self) -> Result<(), Stop> {
        let told = |&(e, act): &(Entry<'_>, Act)| match act {
            Act::Acquire(Some(token)) => Some((e.ret, token, e.id)),
            _ => None,
        };
        let mut by_return: Vec<(u32, i64, OpId)> = self.entries.iter().filter_map(told).collect();
        by_return.sort_unstable();
        let mut over = by_return.iter().peekable();
        let mut largest: Option<(i64, OpId)> = None;
        for entry in &self.entries {
            let Some((_, token, id)) = told(entry) else { continue };
            while let Some(&(_, token, id)) = over.next_if(|(ret, ..)| *ret < entry.0.call) {
                largest = largest.max(Some((token, id)));
            }
            if let Some((_, other)) = largest.filter(|(other, _)| *other >= token) {
                return Err(Stop::Clash(vec![other, id]));
            }
            if Some(token) <= self.initial {
                return Err(Stop::Clash(vec![id]));
            }
        }
        let mut tokens: Vec<(i64, OpId)> = by_return.iter().map(|&(_, token, id)| (token, id)).collect();
        tokens.sort_unstable();
        match tokens.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(twins) => Err(Stop::Clash(vec![twins[0].1, twins[1].1])),
            None => Ok(()),
        }
    }

    /// Pairs the operations of one process into holds.
    fn pair(&mut self, ops: &[(Entry<'a>, Act)]) -> Result<(), Stop> {
        let (told, open): (Vec<_>, Vec<_>) = ops.iter().copied().partition(|(e, _)| e.told());
        if told.windows(2).any(|pair| pair[1].0.call < pair[0].0.ret) {
            return Err(Stop::OtherForm);
        }
        let last_release = told.iter().rev().find(|(_, act)| *act == Act::Release).map_or(0, |(e, _)| e.ret);
        let useful = |e: &Entry<'_>, act: &Act| *act == Act::Release || e.call < last_release;
        let mut acquires =
            open.iter().filter(|(e, act)| *act != Act::Release && useful(e, act)).map(|(e, _)| e).peekable();
        let mut releases = open.iter().filter(|(_, act)| *act == Act::Release).map(|(e, _)| e).peekable();
        let loose = acquires.peek().is_some() && releases.peek().is_some();
        self.loose.extend(loose.then_some(ops[0].0.op.process));
        let clash = |until: i64| {
            if loose {
                return Err(Stop::OtherForm);
            }
            let told = told.iter().filter(move |(e, _)| moment(e.call) < until);
            Err(Stop::Clash(told.map(|(e, _)| e.id).collect()))
        };
        // A hold whose end is still to be found; and the last refused release since the last hold.
        let mut current: Option<Hold> = None;
        let mut stranger = -1;
        for &(e, act) in &told {
            let (call, ret) = (moment(e.call), moment(e.ret));
            match (act, current) {
                (Act::Busy, _) => self.busy.push((call, ret, e.id)),
                (Act::Stranger, _) => {
                    self.strangers.push(Stranger { call, id: e.id, after: current.map(|hold| hold.acquire) });
                    stranger = call;
                    if let Some(hold) = &mut current {
                        hold.ends.1 = hold.ends.1.min(ret);
                        hold.last = ret;
                    }
                }
                (Act::Acquire(token), before) => {
                    if let Some(hold) = before {
                        let Some(hold) = ended(hold, releases.next()) else { return clash(ret) };
                        self.holds.push(hold);
                    }
                    current = Some(Hold {
                        process: e.op.process,
                        begins: (call, ret),
                        ends: (FOR_EVER, FOR_EVER),
                        acquire: e.id,
                        release: None,
                        token,
                        last: ret,
                    });
                }
                (Act::Release, Some(hold)) => {
                    if hold.ends.1 < FOR_EVER {
                        return clash(ret);
                    }
                    self.holds.push(Hold { ends: (call, ret), release: Some(e.id), last: ret, ..hold });
                    (current, stranger) = (None, -1);
                }
                (Act::Release, None) => {
                    let Some(acquire) = acquires.next().filter(|a| moment(a.call) < ret) else { return clash(ret) };
                    self.holds.push(Hold {
                        process: e.op.process,
                        begins: (moment(acquire.call).max(stranger), ret),
                        ends: (call, ret),
                        acquire: acquire.id,
                        release: Some(e.id),
                        token: None,
                        last: ret,
                    });
                    stranger = -1;
                }
            }
        }
        if let Some(hold) = current {
            match ended(hold, releases.next()) {
                Some(hold) => self.holds.push(hold),
                None if hold.ends.1 < FOR_EVER => return clash(FOR_EVER),
                None => self.holds.push(hold),
            }
        }
        let first =
            acquires.chain(open.iter().filter(|(e, act)| !useful(e, act)).map(|(e, _)| e)).map(|e| e.call).min();
        self.spare = self.spare.min(first.map_or(FOR_EVER, moment));
        Ok(())
    }

    /// Sorts the holds into a valid order, if there is one.
    fn arrange(&mut self) -> Result<(), Stop> {
        let by_token = self.holds.iter().all(|hold| hold.token.is_some());
        if by_token {
            self.holds.sort_by_key(|hold| hold.token);
        } else {
            self.holds.sort_by_key(|hold| hold.f().min(hold.s()));
        }
        let mut latest: Option<&Hold> = None;
        for hold in &self.holds {
            if let Some(early) = latest.filter(|early| hold.f() < early.s()) {
                let loose = [early, hold].iter().any(|hold| self.loose.binary_search(&hold.process).is_ok());
                return Err(if loose { Stop::OtherForm } else { Stop::Clash(self.of_both(early, hold)) });
            }
            if latest.is_none_or(|latest| latest.s() < hold.s()) {
                latest = Some(hold);
            }
        }
        if self.holds.iter().filter_map(|hold| hold.token).is_sorted() {
            return Ok(());
        }
        match line(&self.holds) {
            Some(line) => {
                self.holds = line.into_iter().map(|i| self.holds[i]).collect();
                Ok(())
            }
            None => Err(self.all_clash()),
        }
    }

    /// The conflict when no two operations alone explain it: all operations.
    fn all_clash(&self) -> Stop {
        if !self.loose.is_empty() {
            return Stop::OtherForm;
        }
        Stop::Clash(self.entries.iter().filter(|(e, _)| e.told()).map(|(e, _)| e.id).collect())
    }

    /// The operations of the processes of two holds until both holds were over.
    fn of_both(&self, a: &Hold, b: &Hold) -> Vec<OpId> {
        let until = a.last.max(b.last);
        let theirs = self
            .entries
            .iter()
            .filter(|(e, _)| [a.process, b.process].contains(&e.op.process) && e.told() && moment(e.call) < until);
        theirs.map(|(e, _)| e.id).collect()
    }

    /// For each hold the earliest event after which it can begin, and the latest before which it can end.
    fn widest(&self) -> Vec<(i64, i64)> {
        let mut early = -1;
        let mut widest = Vec::with_capacity(self.holds.len());
        for hold in &self.holds {
            early = hold.begins.0.max(early);
            widest.push((early, 0));
            early = early.max(hold.ends.0);
        }
        let mut late = FOR_EVER;
        for (hold, wide) in self.holds.iter().zip(&mut widest).rev() {
            late = hold.ends.1.min(late);
            wide.1 = late;
            late = late.min(hold.begins.1);
        }
        widest
    }

    /// Looks for a refused acquire at a time when no process can have held the lock.
    fn refusals(&self) -> Result<(), Stop> {
        let widest = self.widest();
        let ordered = self.holds.iter().all(|hold| hold.f() < hold.s()) || self.holds.iter().all(|h| h.token.is_some());
        for &(call, ret, _) in &self.busy {
            // The first hold that can end after the call.
            let next = widest.partition_point(|&(_, end)| end < call);
            if widest.get(next).is_some_and(|&(begin, _)| begin < ret) {
                continue;
            }
            if !ordered || self.spare < ret {
                return Err(Stop::OtherForm);
            }
            // Any other hold, at another time, could have explained the refusal.
            return Err(self.all_clash());
        }
        Ok(())
    }

    /// All operations by the moments at which they take place: event p is the moment 4p, which nothing takes place on.
    fn schedule(&self) -> Vec<OpId> {
        let widest = self.widest();
        let begin = |i: usize| widest.get(i).map_or(4 * FOR_EVER, |&(early, _)| 4 * early + 1);
        let spans: Vec<(i64, i64)> =
            widest.iter().enumerate().map(|(i, &(_, late))| (begin(i), (4 * late - 1).min(begin(i + 1)))).collect();
        let mut plan: Vec<(i64, usize, OpId)> = Vec::new();
        for (i, (hold, &(begin, end))) in self.holds.iter().zip(&spans).enumerate() {
            plan.push((begin, 4 * i + 1, hold.acquire));
            plan.extend(hold.release.map(|release| (end, 4 * i + 3, release)));
        }
        for &(call, _, id) in &self.busy {
            let next = spans.partition_point(|&(_, end)| end < 4 * call + 1);
            let begin = spans.get(next).map_or(0, |&(begin, _)| begin);
            plan.push((begin.max(4 * call + 1), 4 * next + 2, id));
        }
        let mut begun: Vec<(OpId, usize)> = self.holds.iter().map(|hold| hold.acquire).zip(0..).collect();
        begun.sort_unstable();
        for &Stranger { call, id, after } in &self.strangers {
            let hold = after.and_then(|acquire| begun.binary_search_by_key(&acquire, |&(id, _)| id).ok());
            let hold = hold.map(|at| begun[at].1);
            let moment = hold.map_or(0, |i| spans[i].1).max(4 * call + 1);
            plan.push((moment, hold.map_or(0, |i| 4 * i + 4), id));
        }
        plan.sort_by_key(|&(moment, rank, _)| (moment, rank));
        plan.into_iter().map(|(.., id)| id).collect()
    }
}

/// Returns an order of the holds in which tokens increase, and A is before B if A's f is before B's s. Repeatedly takes
/// a hold that no remaining hold must precede.
fn line(holds: &[Hold]) -> Option<Vec<usize>> {
    let sorted = |key: &dyn Fn(usize) -> i64| {
        let mut order: Vec<usize> = (0..holds.len()).collect();
        order.sort_by_key(|&i| key(i));
        order
    };
    let (by_f, by_s) = (sorted(&|i| holds[i].f()), sorted(&|i| holds[i].s()));
    let mut tokens = sorted(&|i| holds[i].token.unwrap_or(0));
    tokens.retain(|&i| holds[i].token.is_some());
    let (mut tokens, mut by_s) = (tokens.into_iter().peekable(), by_s.into_iter().peekable());
    let key = |i: usize| holds[i].f().min(holds[i].s());
    let (mut taken, mut ready) = (vec![false; holds.len()], vec![false; holds.len()]);
    // Ready and without a token.
    let mut heap = BinaryHeap::new();
    let mut line = Vec::with_capacity(holds.len());
    // The two remaining holds that begin for certain before all others: places in `by_f`.
    let (mut first, mut second) = (0, 1);
    while line.len() < holds.len() {
        while taken[by_f[first]] {
            first = second;
            second += 1;
        }
        while by_f.get(second).is_some_and(|&i| taken[i]) {
            second += 1;
        }
        let limit = |place: usize| by_f.get(place).map_or(i64::MAX, |&i| holds[i].f());
        while let Some(i) = by_s.next_if(|&i| holds[i].s() < limit(first)) {
            ready[i] = true;
            if holds[i].token.is_none() {
                heap.push(Reverse((key(i), i)));
            }
        }
        while heap.peek().is_some_and(|Reverse((_, i))| taken[*i]) {
            heap.pop();
        }
        // The first hold is blocked only by itself.
        let alone = Some(by_f[first]).filter(|&i| holds[i].s() < limit(second));
        let told = tokens.peek().copied().filter(|&i| ready[i] || alone == Some(i));
        let alone = alone.filter(|&i| holds[i].token.is_none());
        let free = heap.peek().map(|&Reverse((_, i))| i);
        let next = [alone, told, free].into_iter().flatten().min_by_key(|&i| key(i))?;
        taken[next] = true;
        line.push(next);
        tokens.next_if_eq(&next);
    }
    Some(line)
}

/// Returns the hold, ended by an open release. `None` if there is none, or if it was called too late.
fn ended(hold: Hold, release: Option<&Entry<'_>>) -> Option<Hold> {
    let release = release.filter(|release| moment(release.call) < hold.ends.1)?;
    Some(Hold { ends: (moment(release.call), hold.ends.1), release: Some(release.id), ..hold })
}

impl Procedure for Locks {
    type Model = Lock;

    fn find(&mut self, history: &History, items: &[Item], _: Limits) -> Option<Finding> {
        let result = match Problem::new(history, items).solve() {
            Ok(()) => Ok(()),
            Err(Stop::Clash(clash)) => Err(clash),
            Err(Stop::OtherForm) => return None,
        };
        Some(Finding::new("holds that exclude each other", items, result))
    }

    fn order(&mut self, history: &History, items: &[Item], _: Limits) -> Option<Vec<OpId>> {
        let mut problem = Problem::new(history, items);
        problem.solve().ok()?;
        Some(problem.schedule())
    }
}
