//! A slow oracle for the figures of reads. It follows the definitions in `replicas::reads` literally.

use seaworthy_check::replicas::{AGES, Call, End, Level, Observed, Operation, Options, Policy};
use std::collections::{BTreeMap, BTreeSet};

/// The operations of one key, with what each put and delete overwrote.
struct Key<'a> {
    ops: Vec<&'a Operation>,
    overwrote: BTreeMap<usize, BTreeSet<usize>>,
    policy: Policy,
}

fn written(op: &Operation) -> bool {
    matches!(op.call, Call::Put { .. } | Call::Delete { .. }) && op.end != End::Fail
}

fn acked(op: &Operation) -> Option<u64> {
    if matches!(op.end, End::Ok(_)) { op.returned } else { None }
}

impl Key<'_> {
    fn writer(&self, wanted: &str) -> Option<usize> {
        let writes = |op: &Operation| matches!(&op.call, Call::Put { value, .. } if value == wanted) && written(op);
        self.ops.iter().position(|op| writes(op))
    }

    /// Returns what an operation overwrote: follows `saw` until nothing new is found.
    fn closure(&self, at: usize) -> BTreeSet<usize> {
        let (mut found, mut left) = (BTreeSet::new(), vec![at]);
        while let Some(at) = left.pop() {
            let (Call::Put { saw, .. } | Call::Delete { saw }) = &self.ops[at].call else { continue };
            for before in saw.iter().filter_map(|value| self.writer(value)) {
                if found.insert(before) {
                    left.push(before);
                }
            }
        }
        found
    }

    fn deletes(&self, until: u64) -> impl Iterator<Item = usize> + '_ {
        let delete = move |at: &usize| {
            let op = self.ops[*at];
            matches!(op.call, Call::Delete { .. }) && written(op) && op.called <= until
        };
        (0..self.ops.len()).filter(delete)
    }

    fn misses(&self, found: &[usize], returned: u64, write: usize) -> bool {
        let covers = |at: &usize| *at == write || self.overwrote[at].contains(&write);
        if found.iter().any(covers) || self.deletes(returned).any(|delete| self.overwrote[&delete].contains(&write)) {
            return false;
        }
        let mut winners = found.iter();
        let lost = match found {
            [] => self.deletes(returned).next().is_some(),
            _ => winners.any(|winner| !self.overwrote[&write].contains(winner)),
        };
        self.policy != Policy::LastWriter || !lost
    }

    fn found(&self, at: usize) -> Option<Vec<usize>> {
        match (&self.ops[at].call, &self.ops[at].end) {
            (Call::Get, End::Ok(Some(values))) => {
                Some(values.iter().map(|value| self.writer(value).expect("was written")).collect())
            }
            _ => None,
        }
    }

    /// Returns what a client was shown last before a time, and what it was shown earlier and has missed since.
    fn seen(&self, client: u32, before: u64) -> Vec<usize> {
        let mut reads: Vec<usize> = (0..self.ops.len()).filter(|&at| self.found(at).is_some()).collect();
        reads.retain(|&at| self.ops[at].client == client && self.ops[at].returned.unwrap() <= before);
        let mut seen = Vec::new();
        for at in reads {
            let found = self.found(at).unwrap();
            seen.retain(|&old| self.misses(&found, self.ops[at].returned.unwrap(), old));
            seen.extend(found);
        }
        seen
    }

    fn own(&self, client: u32, before: u64, puts: bool) -> Vec<usize> {
        let own = |&at: &usize| {
            let op = self.ops[at];
            let kind = matches!(op.call, Call::Put { .. }) == puts && op.call != Call::Get;
            kind && op.client == client && acked(op).is_some_and(|acked| acked <= before)
        };
        let mut own: Vec<usize> = (0..self.ops.len()).filter(own).collect();
        own.sort_by_key(|&at| self.ops[at].returned);
        own
    }

    fn read(&self, at: usize, found: &[usize], level: &mut Level) {
        let op = self.ops[at];
        let returned = op.returned.unwrap();
        let misses = |&write: &usize| self.misses(found, returned, write);
        level.reads += 1;
        level.conflicts += u64::from(found.len() > 1);
        level.values_max = level.values_max.max(found.len() as u64);
        let (puts, deletes) = (self.own(op.client, op.called, true), self.own(op.client, op.called, false));
        let gone = |write: &usize| deletes.iter().any(|delete| self.overwrote[delete].contains(write));
        if !puts.is_empty() || deletes.iter().any(|delete| !self.overwrote[delete].is_empty()) {
            level.read_your_writes.count(puts.iter().any(misses) || found.iter().any(gone));
        }
        let seen = self.seen(op.client, op.called);
        if !seen.is_empty() {
            level.monotonic_reads.count(seen.iter().any(misses));
        }
        let writer = |write: &usize| (self.ops[*write].client, self.ops[*write].called);
        let earlier: Vec<usize> =
            found.iter().map(writer).flat_map(|(client, called)| self.own(client, called, true)).collect();
        if !earlier.is_empty() {
            level.monotonic_writes.count(earlier.iter().any(misses));
        }
        let shown: Vec<usize> =
            found.iter().map(writer).flat_map(|(client, called)| self.seen(client, called)).collect();
        if !shown.is_empty() {
            level.writes_follow_reads.count(shown.iter().any(misses));
        }
        self.staleness(at, found, level);
    }

    fn staleness(&self, at: usize, found: &[usize], level: &mut Level) {
        let op = self.ops[at];
        let returned = op.returned.unwrap();
        let before = |at: usize| acked(self.ops[at]).filter(|&acked| acked < op.called);
        let all = (0..self.ops.len()).filter(|&at| self.ops[at].call != Call::Get);
        let mut puts: Vec<(u64, usize)> = all
            .filter(|&at| matches!(self.ops[at].call, Call::Put { .. }))
            .filter_map(|at| Some((before(at)?, at)))
            .collect();
        puts.sort_unstable();
        let mut missed: Vec<u64> =
            puts.iter().filter(|(_, at)| self.misses(found, returned, *at)).map(|(acked, _)| *acked).collect();
        // A delete counts only if nothing acknowledged earlier had overwritten the value.
        let first = |write: &usize| {
            let over = |at: &usize| self.overwrote.get(at).is_some_and(|set| set.contains(write));
            (0..self.ops.len()).filter(over).filter_map(|at| Some((before(at)?, at))).min()
        };
        let deletes =
            found.iter().filter_map(first).filter(|(_, at)| matches!(self.ops[*at].call, Call::Delete { .. }));
        missed.extend(deletes.map(|(acked, _)| acked).min());
        if let Some((acked, latest)) = puts.last() {
            let band = AGES.iter().rposition(|&from| from <= op.called - acked).unwrap();
            level.visible[band].count(self.misses(found, returned, *latest));
            level.stale.count(!missed.is_empty());
        }
        if let Some(first) = missed.iter().min() {
            level.versions.count(missed.len() as u64);
            level.micros.count((op.called - first) / 1_000);
        }
    }
}

/// Returns the levels of a history in which every value found was written.
pub fn levels(observed: &Observed, options: &Options) -> BTreeMap<String, Level> {
    let mut levels: BTreeMap<String, Level> = BTreeMap::new();
    let keys: BTreeSet<&str> = observed.operations.iter().map(|op| op.key.as_str()).collect();
    for name in keys {
        let ops: Vec<&Operation> = observed.operations.iter().filter(|op| op.key == name).collect();
        let mut key = Key { ops, overwrote: BTreeMap::new(), policy: options.policy };
        let writes = (0..key.ops.len()).filter(|&at| written(key.ops[at]));
        key.overwrote = writes.map(|at| (at, key.closure(at))).collect();
        for at in 0..key.ops.len() {
            if let Some(found) = key.found(at) {
                key.read(at, &found, levels.entry(key.ops[at].level.clone()).or_default());
            }
        }
    }
    levels
}
