//! Compares the log with a model that never crashes: everything acknowledged is there, and nothing that was never
//! appended is.

use super::*;
use crate::types::Rng;
use proptest::prelude::*;

/// Replays records naively: a map from index to entry for each group.
#[derive(Clone, Default)]
struct Model {
    hard: BTreeMap<GroupId, (u64, Option<NodeId>)>,
    logs: BTreeMap<GroupId, BTreeMap<u64, Entry>>,
    made: u64,
}

impl Model {
    fn apply(&mut self, records: &[LogRecord]) {
        for record in records {
            let Raft(group, record) = record else { unreachable!("not made here") };
            let log = self.logs.entry(*group).or_default();
            let hard = self.hard.entry(*group).or_default();
            match record {
                Record::HardState { term, vote } => *hard = (*term, *vote),
                Record::Append { first, entries } => {
                    log.retain(|index, _| index < first);
                    log.extend((*first..).zip(entries.iter().cloned()));
                }
                Record::Snapshot(_) => unreachable!("not made here"),
            }
        }
    }

    fn state(&self) -> Groups {
        let group = |(group, log): (&GroupId, &BTreeMap<u64, Entry>)| {
            let (term, vote) = self.hard[group];
            let entries = log.values().cloned().collect();
            (*group, Recovered { term, vote, entries, ..Recovered::default() })
        };
        self.logs.iter().map(group).collect()
    }

    /// Generates records that may follow, with every command different from all earlier ones.
    fn invent(&mut self, rng: &mut Rng) -> Vec<LogRecord> {
        let mut after = self.clone();
        let mut records = Vec::new();
        for _ in 0..rng.between(1, 3) {
            let group = GroupId(1 + rng.below(3) as u32);
            let record = if rng.chance(0.3) {
                let term = after.hard.get(&group).map_or(0, |hard| hard.0) + rng.below(2);
                let vote = rng.chance(0.5).then_some(NodeId(rng.below(5) as u32));
                Record::HardState { term, vote }
            } else {
                let last = after.logs.get(&group).map_or(0, |log| log.len() as u64);
                let first = rng.between((last + 1).saturating_sub(3).max(1), last + 1);
                let entries = (0..rng.below(4)).map(|_| self.entry(rng)).collect();
                Record::Append { first, entries }
            };
            records.push(Raft(group, record));
            after.apply(&records[records.len() - 1..]);
        }
        records
    }

    fn entry(&mut self, rng: &mut Rng) -> Entry {
        self.made += 1;
        let size = if rng.chance(0.1) { rng.below(6000) } else { rng.below(700) };
        let mut command = self.made.to_le_bytes().to_vec();
        command.resize(8 + size as usize, self.made as u8);
        Entry { term: 1, command: command.into() }
    }

    fn restated(&self) -> Vec<LogRecord> {
        let group = |(group, state): (GroupId, Recovered)| {
            [
                Raft(group, Record::HardState { term: state.term, vote: state.vote }),
                Raft(group, Record::Append { first: 1, entries: state.entries }),
            ]
        };
        self.state().into_iter().flat_map(group).collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// Power is cut after this many changes, and each unsynced sector or name survives with this probability in
    /// percent.
    PowerCut(u64, u8),
    /// Syncs fail, then the process restarts, then power is cut.
    SyncFails,
    /// The process is killed after this many changes.
    Kill(u64),
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Append,
    Checkpoint,
    End(End),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let end = prop_oneof![
        4 => (0..9u64, 0..=100u8).prop_map(|(after, keep)| End::PowerCut(after, keep)),
        1 => Just(End::SyncFails),
        1 => (0..9u64).prop_map(End::Kill),
    ];
    let op = prop_oneof![6 => Just(Op::Append), 1 => Just(Op::Checkpoint), 3 => end.prop_map(Op::End)];
    prop::collection::vec(op, 1..30)
}

/// Appends and checkpoints until the disk fails, and returns the records of the append in flight, if it was an append.
fn until_failure(store: &mut Store<MemDisk>, model: &mut Model, rng: &mut Rng) -> Vec<LogRecord> {
    loop {
        if rng.chance(0.2) {
            if store.checkpoint(&model.restated()).is_err() {
                return Vec::new();
            }
            continue;
        }
        let records = model.invent(rng);
        if store.append(&records).is_err() {
            assert!(matches!(store.append(&records), Err(StorageError::Poisoned)), "the store goes on after a failure");
            return records;
        }
        model.apply(&records);
    }
}

fn run(ops: &[Op], seed: u64) -> Result<(), TestCaseError> {
    let rng = &mut Rng::new(seed, "log");
    let disk = MemDisk::default();
    let mut model = Model::default();
    let (mut store, _) = must_open(&disk);
    for op in ops {
        match op {
            Op::Append => {
                let records = model.invent(rng);
                store.append(&records).unwrap();
                model.apply(&records);
            }
            Op::Checkpoint => store.checkpoint(&model.restated()).unwrap(),
            Op::End(end) => {
                match end {
                    End::PowerCut(after, _) | End::Kill(after) => disk.cut_power_after(*after),
                    End::SyncFails => disk.fail_syncs(),
                }
                let in_flight = until_failure(&mut store, &mut model, rng);
                drop(store);
                match end {
                    End::PowerCut(_, keep) => disk.crash(rng, f64::from(*keep) / 100.0),
                    End::SyncFails | End::Kill(_) => disk.kill(),
                }
                // Recovery itself may be interrupted.
                if rng.chance(0.5) {
                    disk.cut_power_after(rng.below(6));
                    let _ = open(disk.clone());
                    disk.crash(rng, 0.5);
                }
                let (opened, found) = must_open(&disk);
                store = opened;
                if found != model.state() {
                    model.apply(&in_flight);
                }
                prop_assert_eq!(&found, &model.state(), "neither with nor without the batch in flight");
                prop_assert_eq!(&durable_state(&disk), &found, "recovery told what was not durable");
            }
        }
    }
    prop_assert_eq!(durable_state(&disk), model.state());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_survives_and_nothing_else_appears(ops in ops(), seed: u64) {
        run(&ops, seed)?;
    }
}
