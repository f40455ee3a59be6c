//! Checkpoints: power is cut at every single step, and all, none or some of the unsynced data survives.

use super::*;
use crate::storage::segment;
use crate::types::Rng;

/// Appends, a snapshot, a checkpoint and more appends; passes `reached` the number of acknowledged steps.
fn script(disk: &MemDisk, mut reached: impl FnMut(usize)) -> Result<(), StorageError> {
    let (mut store, _) = open(disk.clone())?;
    let append = |store: &mut Store<MemDisk>, record| store.append(&[Raft(G, record)]);
    reached(0);
    append(&mut store, entries(1, 6, 400))?;
    reached(1);
    append(&mut store, hard_state(3))?;
    reached(2);
    append(&mut store, entries(7, 5, 400))?;
    reached(3);
    store.snapshot_begin(CORE, meta(8))?;
    store.snapshot_write(b"state after entry 8")?;
    store.snapshot_finish()?;
    append(&mut store, Record::Snapshot(meta(8)))?;
    reached(4);
    store.snapshot_retain(&[(CORE, meta(8))].into(), &BTreeSet::new())?;
    store.checkpoint(&[Raft(G, hard_state(3)), Raft(G, Record::Snapshot(meta(8))), Raft(G, entries(9, 3, 400))])?;
    append(&mut store, entries(12, 5, 400))?;
    reached(5);
    store.snapshot_begin(CORE, meta(12))?;
    store.snapshot_write(b"state after entry 12")?;
    store.snapshot_finish()?;
    append(&mut store, Record::Snapshot(meta(12)))?;
    reached(6);
    store.snapshot_retain(&[(CORE, meta(12))].into(), &BTreeSet::new())?;
    store.checkpoint(&[Raft(G, hard_state(3)), Raft(G, Record::Snapshot(meta(12))), Raft(G, entries(13, 4, 400))])?;
    append(&mut store, hard_state(4))?;
    reached(7);
    Ok(())
}

#[test]
fn power_cut_at_every_step_loses_nothing_acknowledged() {
    let whole = MemDisk::default();
    let mut states = Vec::new();
    script(&whole, |_| states.push(durable_state(&whole))).unwrap();
    let rng = &mut Rng::new(1, "checkpoint");
    for step in 0..whole.changes() {
        let disk = MemDisk::default();
        disk.cut_power_after(step);
        let mut acknowledged = None;
        script(&disk, |n| acknowledged = Some(n)).expect_err("the power was cut");
        let n = acknowledged.unwrap_or(0);
        let check = |disk: &MemDisk, how: &str| {
            let (_, found) = must_open(disk);
            assert!(found == states[n] || found == states[n + 1], "step {step}, {how}: after {n} found {found:?}");
            assert_eq!(durable_state(disk), found, "step {step}, {how}: recovery told what was not durable");
        };
        for keep in [0.0, 1.0, 0.5, 0.5, 0.5] {
            let copy = disk.copy();
            copy.crash(rng, keep);
            check(&copy, "crash");
        }
        disk.kill();
        check(&disk.copy(), "kill");
        for later in (0..10).flat_map(|later| [later; 4]) {
            let copy = disk.copy();
            copy.cut_power_after(later);
            let _ = open(copy.clone());
            copy.crash(rng, 0.5);
            check(&copy, "kill, then crash while opening");
        }
    }
}

#[test]
fn a_checkpoint_replaces_all_older_segments_and_may_exceed_a_segment() {
    let disk = MemDisk::default();
    let (mut store, _) = must_open(&disk);
    for index in 1..10 {
        store.append(&[Raft(G, entries(index, 1, 2000))]).unwrap();
    }
    assert!(disk.names().len() > 3);
    store.checkpoint(&[Raft(G, hard_state(2)), Raft(G, entries(1, 9, 2000))]).unwrap();
    let [ref log] = files(&disk)[..] else { panic!("{:?}", disk.names()) };
    assert!(disk.read(log).len() > 18_000);
    store.append(&[Raft(G, entries(10, 1, 10_000))]).unwrap();
    let state = &must_open(&disk).1[&G];
    assert_eq!((state.term, state.entries.len()), (2, 10));
    assert_eq!(state.entries[9].command.len(), 10_008);
}

#[test]
fn a_checkpoint_is_wanted_when_more_was_appended_than_it_would_rewrite() {
    let disk = MemDisk::default();
    let (mut store, _) = must_open(&disk);
    let mut batches = 0;
    while !store.wants_checkpoint() {
        batches += 1;
        store.append(&[Raft(G, entries(batches, 1, 0))]).unwrap();
    }
    // Together with the record of the process start, these are four segments' worth of one-sector batches.
    assert_eq!(batches, 31);
    assert!(must_open(&disk).0.wants_checkpoint(), "forgotten by a restart");
    // 81 sectors, which is more than four segments.
    store.checkpoint(&[Raft(G, entries(1, 1, 40_000))]).unwrap();
    for index in 2..83 {
        assert!(!store.wants_checkpoint(), "wanted after {index}");
        store.append(&[Raft(G, entries(index, 1, 0))]).unwrap();
    }
    assert!(store.wants_checkpoint());
}

#[test]
fn segments_left_from_before_a_checkpoint_are_removed() {
    let disk = MemDisk::default();
    let (mut store, _) = must_open(&disk);
    store.append(&[Raft(G, hard_state(1))]).unwrap();
    let old = disk.read(&segment::name(1));
    store.checkpoint(&[Raft(G, hard_state(2))]).unwrap();
    disk.plant(&segment::name(1), &old);
    disk.plant("wal-0000000000000003.log.tmp", b"half made");
    disk.plant("report.tmp", b"not ours");
    assert_eq!(must_open(&disk).1[&G].term, 2);
    assert_eq!(files(&disk), ["report.tmp".into(), segment::name(2)]);
}
