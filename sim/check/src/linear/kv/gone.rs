//! Finds a key that must be present but was found missing: a conflict of two operations that depends on all deletes.
//!
//! One operation shows the key present: an acknowledged write, or an operation that saw a value. A second one, called
//! after the first had returned, found the key missing. If every delete called before the second returned is certainly
//! before the first, by its revision or because it had returned before the first was called, nothing can have removed
//! the key in between. So the two conflict, whatever the operations other than these deletes did. This takes O(n log
//! n).

use crate::history::{Condition, End, Function, History, NEVER, OpId, Operation, Value};
use crate::linear::Item;

/// Two operations that exclude each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gone {
    /// It shows the key present.
    pub shows: OpId,
    /// Called after that had returned, it found the key missing.
    pub misses: OpId,
    /// All deletes called before that returned; they are before the first, or were refused.
    pub deletes: Vec<OpId>,
}

/// How late any of some deletes can have taken place.
#[derive(Clone, Copy, Default)]
struct Latest {
    /// The last return.
    ret: u32,
    /// The last return of those whose revision was not told.
    untold: u32,
    /// The highest revision told, and one.
    revision: u32,
}

/// Finds the first such conflict, by the return of the operation that found the key missing.
pub fn find(history: &History, items: &[Item]) -> Option<Gone> {
    let mut shows: Vec<(u32, OpId)> = Vec::new();
    let mut misses: Vec<(u32, OpId)> = Vec::new();
    // Sorted by call. Each has how late it and all before it can have taken place.
    let mut deletes: Vec<(u32, OpId, Latest)> = Vec::new();
    let mut latest = Latest::default();
    for &Item { op: id, open } in items {
        let op = history.operation(id);
        let settled = op.settled().filter(|_| !open);
        let deletes_it = op.f == Function::Delete || (op.f, op.arg) == (Function::Write, Value::NIL);
        if deletes_it && op.end != End::Fail {
            if !(settled.is_some() && op.end == End::Refused) {
                let ret = settled.unwrap_or(NEVER);
                latest.ret = latest.ret.max(ret);
                match op.told_revision().filter(|_| settled.is_some()) {
                    Some(revision) => latest.revision = latest.revision.max(revision + 1),
                    None => latest.untold = latest.untold.max(ret),
                }
            }
            deletes.push((op.called, id, latest));
        }
        let Some(ret) = settled else { continue };
        if is_there(op) {
            shows.push((ret, id));
        }
        if was_missing(history, op) {
            misses.push((ret, id));
        }
    }
    shows.sort_unstable();
    misses.sort_unstable();
    let best = best(history, &shows);
    misses.into_iter().find_map(|(ret, id)| {
        let before = shows.partition_point(|&(shown, _)| shown < history.operation(id).called).checked_sub(1)?;
        let called = deletes.partition_point(|&(call, ..)| call < ret);
        let latest = called.checked_sub(1).map_or(Latest::default(), |last| deletes[last].2);
        let shows = best[before].into_iter().find(|&shows| {
            let op = history.operation(shows);
            let by_revision = latest.untold < op.called && latest.revision <= op.told_revision().unwrap_or(0);
            // Nothing returns at event 0.
            latest.ret == 0 || latest.ret < op.called || by_revision
        })?;
        // An open delete may have taken place at any later time, so all of these are settled.
        let deletes = deletes[..called].iter().map(|&(_, id, ..)| id).collect();
        Some(Gone { shows, misses: id, deletes })
    })
}

/// For each prefix of the operations that show the key present: the one with the highest revision, and the one called
/// last.
fn best(history: &History, shows: &[(u32, OpId)]) -> Vec<[OpId; 2]> {
    let number = |op: OpId| history.operation(op).told_revision().map_or(0, |revision| u64::from(revision) + 1);
    let called = |op: OpId| history.operation(op).called;
    let mut best: Vec<[OpId; 2]> = Vec::with_capacity(shows.len());
    for &(_, op) in shows {
        let [highest, last] = best.last().copied().unwrap_or([op, op]);
        best.push([
            if number(op) >= number(highest) { op } else { highest },
            if called(op) >= called(last) { op } else { last },
        ]);
    }
    best
}

/// Whether a settled operation shows the key present at some moment between its call and its return.
fn is_there(op: &Operation) -> bool {
    match (op.f, op.end) {
        (Function::Write, End::Ok) => op.arg != Value::NIL,
        (Function::Read, End::Ok) | (Function::Write | Function::Delete, End::Refused) => {
            op.reply.told().is_some_and(|value| value != Value::NIL)
        }
        _ => false,
    }
}

/// Whether a settled operation found the key missing.
fn was_missing(history: &History, op: &Operation) -> bool {
    let Condition { exists, value, revision } = history.condition(op);
    match (op.f, op.end) {
        (Function::Read, End::Ok) | (Function::Write | Function::Delete, End::Refused) => op.reply == Value::NIL,
        (Function::Write, End::Ok) => exists == Some(false) || value == Some(Value::NIL) || revision == Some(-1),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Call, Recorder, Reply};

    fn items(history: &History) -> Vec<Item> {
        (0..history.operations().len() as u32).map(|i| Item { op: OpId(i), open: false }).collect()
    }

    /// Two deletes overlap the last write, which was told revision 3; the first was told `revision`.
    fn history(revision: Option<u64>, last: Option<u64>) -> History {
        let mut log = Recorder::default();
        let first = log.invoke(0, 0, "k", Call::put("a"));
        log.ok(first, 0, Reply::Done { revision: Some(0) });
        let delete = log.invoke(1, 0, "k", Call::delete());
        let write = log.invoke(2, 0, "k", Call::put("b"));
        log.ok(delete, 0, Reply::Done { revision });
        log.ok(write, 0, Reply::Done { revision: last });
        let read = log.invoke(0, 0, "k", Call::Get);
        log.ok(read, 0, Reply::Got(None));
        log.finish()
    }

    #[test]
    fn a_delete_must_be_before_by_revision_or_by_time() {
        let found = |history: &History| find(history, &items(history));
        let gone = Gone { shows: OpId(2), misses: OpId(3), deletes: vec![OpId(1)] };
        assert_eq!(found(&history(Some(1), Some(2))), Some(gone));
        assert_eq!(found(&history(Some(2), Some(1))), None, "the delete is the later");
        assert_eq!(found(&history(None, Some(2))), None, "it may be");
        assert_eq!(found(&history(Some(1), None)), None, "it may be");
        let mut open = items(&history(Some(1), Some(2)));
        open[1].open = true;
        assert_eq!(find(&history(Some(1), Some(2)), &open), None, "it may happen at any time");
    }

    #[test]
    fn what_it_finds_is_impossible() {
        let mut found = 0;
        for seed in 0..3_000 {
            let shape = crate::testing::Shape {
                ops: 12,
                processes: 4,
                keys: 1,
                values: 3,
                info: 5,
                fail: 5,
                conditional: 30,
                revisions: seed % 3 * 40,
            };
            let mut rng = crate::testing::Rng(seed);
            let mut raws = crate::testing::generate(shape, &mut rng);
            crate::testing::mutate(&mut raws, &mut rng);
            let history = crate::testing::record(&raws);
            if find(&history, &items(&history)).is_some() {
                found += 1;
                let options = crate::linear::Options { evidence_steps: 0, ..crate::linear::Options::default() };
                let report = crate::linear::check(&history, &options);
                assert_eq!(report.violations().count(), 1, "seed {seed}");
            }
        }
        assert!(found > 20, "{found}");
    }
}
