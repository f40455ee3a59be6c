//! The properties by their definitions: tries all orders, assignments and interleavings. It shares no code with the
//! package except the history itself.

use super::common;
use common::End;
use seaworthy_check::session::{Guarantee, Options};
use seaworthy_check::{Call, History, KvOperation, OpId, Outcome, Reply, Value, Version};
use std::collections::BTreeMap;

/// An operation that happened, and the source of what it read.
#[derive(Clone, Debug)]
struct Act {
    kv: KvOperation,
    unknown: bool,
    source: Source,
    writes: bool,
    revision: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Source {
    Nothing,
    Initial,
    From(usize),
    Nobody,
}

/// A history with one assignment of sources.
pub struct Oracle {
    acts: Vec<Act>,
}

fn kvs(history: &History) -> Vec<KvOperation> {
    (0u32..).take(history.operations().len()).map(|i| history.kv(OpId(i))).collect()
}

fn writes(kv: &KvOperation) -> Option<Value> {
    match (kv.outcome, kv.call) {
        (Outcome::Ok(Reply::Done { .. }) | Outcome::Info, Call::Put { value, .. }) => Some(value),
        (Outcome::Ok(Reply::Done { .. }) | Outcome::Info, Call::Delete { .. }) => Some(Value::NIL),
        _ => None,
    }
}

/// Returns the value (if reported) and the revision that an operation saw.
fn sees(kv: &KvOperation) -> Option<(Option<Value>, Option<u64>)> {
    if let Outcome::Ok(Reply::Got(seen) | Reply::Refused(seen)) = kv.outcome {
        return Some((Some(seen.map_or(Value::NIL, |v| v.value)), seen.and_then(|v| v.revision)));
    }
    writes(kv)?;
    let when = *kv.call.condition()?;
    if let Some(value) = when.value {
        return Some((Some(value), when.revision.and_then(|r| u64::try_from(r).ok())));
    }
    if when.exists == Some(false) || when.revision.is_some_and(|r| r < 0) {
        return Some((Some(Value::NIL), None));
    }
    when.revision.map(|r| (None, Some(r as u64)))
}

impl Oracle {
    /// Returns one oracle for each assignment of sources that values and revisions allow.
    pub fn all(history: &History) -> Vec<Oracle> {
        let kvs = kvs(history);
        let mut assignments = vec![Vec::new()];
        for (i, kv) in kvs.iter().enumerate() {
            let mut sources = Vec::new();
            if let Some((value, revision)) = sees(kv) {
                for (w, writer) in kvs.iter().enumerate() {
                    let Some(written) = writes(writer) else { continue };
                    let fits = value.is_none_or(|value| value == written);
                    if w != i && writer.key == kv.key && fits {
                        sources.push(Source::From(w));
                    }
                }
                // If a write of the value reported this revision, it is the only source.
                let sure = sources.iter().copied().find(|source| match *source {
                    Source::From(w) => revision.is_some() && kvs[w].outcome == Outcome::Ok(Reply::Done { revision }),
                    _ => false,
                });
                if let Some(sure) = sure {
                    sources = vec![sure];
                } else if value == Some(history.initial()) && revision.is_none() {
                    sources.push(Source::Initial);
                }
                if sources.is_empty() {
                    sources.push(Source::Nobody);
                }
            } else {
                sources.push(Source::Nothing);
            }
            assignments = assignments
                .into_iter()
                .flat_map(|assignment: Vec<Source>| {
                    sources.iter().map(move |&source| [assignment.clone(), vec![source]].concat())
                })
                .collect();
        }
        assignments.iter().map(|sources| Oracle::assigned(&kvs, sources)).collect()
    }

    fn assigned(kvs: &[KvOperation], sources: &[Source]) -> Oracle {
        let mut happened: Vec<bool> = kvs.iter().map(|kv| matches!(kv.outcome, Outcome::Ok(_))).collect();
        for _ in kvs {
            for i in 0..kvs.len() {
                if let (true, Source::From(w)) = (happened[i], sources[i]) {
                    happened[w] = true;
                }
            }
        }
        let place: BTreeMap<usize, usize> =
            (0..kvs.len()).filter(|&i| happened[i]).enumerate().map(|(place, i)| (i, place)).collect();
        let acts = place.keys().map(|&i| Act {
            kv: kvs[i],
            unknown: kvs[i].outcome == Outcome::Info,
            source: match sources[i] {
                Source::From(w) => Source::From(place[&w]),
                other => other,
            },
            writes: writes(&kvs[i]).is_some(),
            revision: match kvs[i].outcome {
                Outcome::Ok(Reply::Done { revision }) => revision,
                _ => None,
            },
        });
        Oracle { acts: acts.collect() }
    }

    /// Returns whether a comes before b in one session.
    fn session(&self, a: usize, b: usize) -> bool {
        a < b && self.acts[a].kv.process == self.acts[b].kv.process && !self.acts[a].unknown
    }

    fn same_key(&self, a: usize, b: usize) -> bool {
        self.acts[a].kv.key == self.acts[b].kv.key
    }

    /// Returns whether the versions of each key have an order that satisfies a guarantee.
    pub fn guarantee(&self, guarantee: Guarantee, options: &Options) -> bool {
        let n = self.acts.len();
        // Pairs of versions that must be in this order; `None`: the initial version.
        let mut pairs: Vec<(usize, Option<usize>)> = Vec::new();
        let source = |i: usize| match self.acts[i].source {
            Source::From(w) => Some(Some(w)),
            Source::Initial => Some(None),
            _ => None,
        };
        let definite = |i: usize| !self.acts[i].unknown;
        let earlier = |a: usize, b: usize| self.session(a, b) && definite(b);
        for a in 0..n {
            for b in (0..n).filter(|&b| earlier(a, b)) {
                let (wrote, read) = (self.acts[a].writes.then_some(a), source(a).flatten());
                let then_wrote = self.acts[b].writes.then_some(b);
                let subject = match guarantee {
                    Guarantee::ReadYourWrites | Guarantee::MonotonicWrites => wrote,
                    Guarantee::MonotonicReads | Guarantee::WritesFollowReads => read,
                };
                let Some(subject) = subject else { continue };
                if matches!(guarantee, Guarantee::ReadYourWrites | Guarantee::MonotonicReads) {
                    if self.same_key(a, b) {
                        pairs.extend(source(b).map(|seen| (subject, seen)));
                    }
                    continue;
                }
                let Some(later) = then_wrote else { continue };
                if self.same_key(a, b) {
                    pairs.push((subject, Some(later)));
                }
                for r1 in (0..n).filter(|&r1| source(r1) == Some(Some(later)) && definite(r1)) {
                    for r2 in (0..n).filter(|&r2| earlier(r1, r2) && self.same_key(r2, a)) {
                        pairs.extend(source(r2).map(|seen| (subject, seen)));
                    }
                }
            }
        }
        pairs.retain(|&(a, b)| Some(a) != b);
        for a in 0..n {
            for b in (0..n).filter(|&b| a != b && self.same_key(a, b) && self.acts[a].writes && self.acts[b].writes) {
                let (old, new) = (&self.acts[a], &self.acts[b]);
                let told = matches!((old.revision, new.revision), (Some(x), Some(y)) if x < y);
                let over = old.kv.settled().is_some_and(|ret| ret < new.kv.called.index);
                if new.source == Source::From(a) || options.revisions && told || options.real_time && over {
                    pairs.push((a, Some(b)));
                }
            }
        }
        // Check that an order of the versions exists.
        let versions: Vec<usize> = (0..n).filter(|&i| self.acts[i].writes).collect();
        let mut order = Vec::new();
        pairs.iter().all(|pair| pair.1.is_some()) && arrange(&versions, &pairs, &mut order)
    }

    /// Returns causal order as a matrix; `None` if it has a cycle, or if a value was read that no operation wrote.
    fn order(&self) -> Option<Vec<Vec<bool>>> {
        let n = self.acts.len();
        let mut before = vec![vec![false; n]; n];
        for b in 0..n {
            for (a, row) in before.iter_mut().enumerate() {
                row[b] = self.session(a, b) || self.acts[b].source == Source::From(a);
            }
        }
        for k in 0..n {
            for a in 0..n {
                for b in 0..n {
                    before[a][b] |= before[a][k] && before[k][b];
                }
            }
        }
        let sound = (0..n).all(|i| !before[i][i] && self.acts[i].source != Source::Nobody);
        sound.then_some(before)
    }

    /// Calls `holds` with the orders of some operations that extend causal order, until it returns true.
    fn extend(
        &self,
        before: &[Vec<bool>],
        members: &[usize],
        order: &mut Vec<usize>,
        holds: &dyn Fn(&[usize]) -> bool,
    ) -> bool {
        if order.len() == members.len() {
            return holds(order);
        }
        for &next in members.iter().filter(|next| !order.contains(next)).copied().collect::<Vec<_>>().iter() {
            if members.iter().any(|&other| before[other][next] && !order.contains(&other)) {
                continue;
            }
            order.push(next);
            let found = self.extend(before, members, order, holds);
            order.pop();
            if found {
                return true;
            }
        }
        false
    }

    /// Returns whether a read sees the last write of its key before it, of those that count.
    fn explained(&self, order: &[usize], read: usize, counts: &dyn Fn(usize) -> bool) -> bool {
        let earlier = order.iter().copied().take_while(|&a| a != read);
        let last = earlier.filter(|&w| self.acts[w].writes && self.same_key(w, read) && counts(w)).last();
        match self.acts[read].source {
            Source::Nothing => true,
            Source::Initial => last.is_none(),
            Source::From(w) => last == Some(w),
            Source::Nobody => false,
        }
    }

    fn past(&self, before: &[Vec<bool>], o: usize) -> Vec<usize> {
        (0..self.acts.len()).filter(|&a| a == o || before[a][o]).collect()
    }

    /// CC: each operation alone can be explained by an order of its causal past.
    pub fn causal(&self) -> bool {
        let Some(before) = self.order() else { return false };
        (0..self.acts.len()).all(|o| {
            let past = self.past(&before, o);
            self.extend(&before, &past, &mut Vec::new(), &|order| self.explained(order, o, &|_| true))
        })
    }

    /// CM: the operations of a session up to each can be explained together by an order of its causal past.
    pub fn memory(&self) -> bool {
        let Some(before) = self.order() else { return false };
        (0..self.acts.len()).all(|o| {
            let past = self.past(&before, o);
            let own: Vec<usize> = past.iter().copied().filter(|&a| a == o || self.session(a, o)).collect();
            self.extend(&before, &past, &mut Vec::new(), &|order| {
                own.iter().all(|&read| self.explained(order, read, &|_| true))
            })
        })
    }

    /// CCv: one order of everything, in which each operation sees the last of the writes in its causal past.
    pub fn convergent(&self) -> bool {
        let Some(before) = self.order() else { return false };
        let all: Vec<usize> = (0..self.acts.len()).collect();
        self.extend(&before, &all, &mut Vec::new(), &|order| {
            all.iter().all(|&read| self.explained(order, read, &|w| before[w][read]))
        })
    }
}

/// Returns whether some order of the versions satisfies all pairs.
fn arrange(versions: &[usize], pairs: &[(usize, Option<usize>)], order: &mut Vec<usize>) -> bool {
    if order.len() == versions.len() {
        return true;
    }
    let open: Vec<usize> = versions.iter().copied().filter(|v| !order.contains(v)).collect();
    open.iter().any(|&next| {
        if pairs.iter().any(|&(a, b)| b == Some(next) && !order.contains(&a)) {
            return false;
        }
        order.push(next);
        let found = arrange(versions, pairs, order);
        order.pop();
        found
    })
}

/// Returns the state of a key after an operation; `None` if the operation is impossible in this state.
fn step(kv: &KvOperation, value: Value, count: u64) -> Option<(Value, u64)> {
    let here = value != Value::NIL;
    let shows = |seen: Option<Version>| match seen {
        None => !here,
        Some(v) => v.value == value && v.revision.is_none_or(|r| r + 1 == count),
    };
    let same = Some((value, count));
    let (to, when) = match kv.call {
        Call::Get => {
            return match kv.outcome {
                Outcome::Ok(Reply::Got(seen)) if !shows(seen) => None,
                _ => same,
            };
        }
        Call::Put { value, when } => (value, when),
        Call::Delete { when } => (Value::NIL, when),
    };
    let number = if here { count as i64 - 1 } else { -1 };
    let takes = when.exists.is_none_or(|e| e == here)
        && when.value.is_none_or(|v| v == value)
        && when.revision.is_none_or(|r| r == number)
        && (here || to != Value::NIL);
    match kv.outcome {
        Outcome::Ok(Reply::Done { revision }) => {
            (takes && revision.is_none_or(|r| r == count)).then_some((to, count + 1))
        }
        Outcome::Ok(Reply::Refused(seen)) => {
            if !takes && shows(seen) {
                same
            } else {
                None
            }
        }
        Outcome::Ok(_) => {
            if takes {
                None
            } else {
                same
            }
        }
        _ => {
            if takes {
                Some((to, count + 1))
            } else {
                same
            }
        }
    }
}

type States = BTreeMap<u32, (Value, u64)>;

/// Returns whether an interleaving of the sessions explains all replies: any interleaving, or the given one.
pub fn sequential(history: &History, witness: Option<&[OpId]>) -> bool {
    let kvs = kvs(history);
    let mut done = vec![false; kvs.len()];
    let states = States::new();
    match witness {
        Some(order) => {
            let mut states = states;
            for &OpId(op) in order {
                let Some(next) = interleave(&kvs, history.initial(), &done, op as usize, &states) else { return false };
                states = next;
                done[op as usize] = true;
            }
            (0..kvs.len()).all(|i| done[i] || !matches!(kvs[i].outcome, Outcome::Ok(_)))
        }
        None => any_interleaving(&kvs, history.initial(), &mut done, &states),
    }
}

fn interleave(kvs: &[KvOperation], initial: Value, done: &[bool], op: usize, states: &States) -> Option<States> {
    let kv = &kvs[op];
    let waits = |i: usize| !done[i] && kvs[i].process == kv.process && matches!(kvs[i].outcome, Outcome::Ok(_));
    if done[op] || kv.outcome == Outcome::Fail || (0..op).any(waits) {
        return None;
    }
    let (value, count) = states.get(&kv.key.0).copied().unwrap_or((initial, 0));
    let next = step(kv, value, count)?;
    let mut states = states.clone();
    states.insert(kv.key.0, next);
    Some(states)
}

fn any_interleaving(kvs: &[KvOperation], initial: Value, done: &mut [bool], states: &States) -> bool {
    if (0..kvs.len()).all(|i| done[i] || !matches!(kvs[i].outcome, Outcome::Ok(_))) {
        return true;
    }
    (0..kvs.len()).any(|op| {
        let Some(next) = interleave(kvs, initial, done, op, states) else { return false };
        done[op] = true;
        let found = any_interleaving(kvs, initial, done, &next);
        done[op] = false;
        found
    })
}

/// Returns whether k-atomicity is defined for this kind of operation.
pub fn stale_model_knows(call: &Call<String>, end: &End) -> bool {
    let told = match end {
        End::Ok(Reply::Got(Some(Version { revision, .. })) | Reply::Done { revision }) => revision.is_some(),
        End::Ok(Reply::Refused(_) | Reply::Declined) => true,
        _ => false,
    };
    let plain = match call {
        Call::Get => true,
        Call::Put { when, .. } => when.exists.is_none() && when.revision.is_none(),
        Call::Delete { .. } => false,
    };
    plain && !told
}

/// Returns whether the operations of the only key can be ordered so that each read sees one of the k latest versions.
pub fn k_atomic(history: &History, k: usize) -> bool {
    let kvs: Vec<KvOperation> = kvs(history).into_iter().filter(|kv| kv.outcome != Outcome::Fail).collect();
    stale(&kvs, &mut vec![false; kvs.len()], &[history.initial()], k)
}

fn stale(kvs: &[KvOperation], done: &mut [bool], latest: &[Value], k: usize) -> bool {
    let left: Vec<usize> = (0..kvs.len()).filter(|&i| !done[i]).collect();
    let deadline = left.iter().filter_map(|&i| kvs[i].settled()).min();
    let Some(deadline) = deadline else { return true };
    left.iter().filter(|&&i| kvs[i].called.index < deadline || kvs[i].settled() == Some(deadline)).any(|&i| {
        let mut next = latest.to_vec();
        match (kvs[i].call, kvs[i].outcome) {
            (Call::Get, Outcome::Ok(Reply::Got(seen))) if !latest.contains(&seen.map_or(Value::NIL, |v| v.value)) => {
                return false;
            }
            (Call::Put { value, when }, outcome) => {
                if when.value.is_none_or(|from| latest[0] == from) {
                    next.insert(0, value);
                    next.truncate(k);
                } else if matches!(outcome, Outcome::Ok(_)) {
                    return false;
                }
            }
            _ => {}
        }
        done[i] = true;
        let found = stale(kvs, done, &next, k);
        done[i] = false;
        found
    })
}
