//! Snapshot files: complete, damaged, sent and received, and which of them are kept.

use super::*;
use crate::storage::{Incoming, MAX_BLOCK_BYTES, snapshot};
use crate::types::Rng;

const BLOCKS: [&[u8]; 3] = [b"one", b"the second block", b"3"];

/// A log at entry 5 with a snapshot at 4 in effect.
fn with_snapshot() -> (MemDisk, Store<MemDisk>) {
    let disk = MemDisk::default();
    let (mut store, _) = must_open(&disk);
    store.append(&[Raft(G, hard_state(1)), Raft(G, entries(1, 5, 10))]).unwrap();
    write_snapshot(&mut store, CORE, meta(4), &BLOCKS);
    store.append(&[Raft(G, Record::Snapshot(meta(4)))]).unwrap();
    (disk, store)
}

#[test]
fn the_snapshot_in_force_comes_back_block_by_block() {
    let (disk, _) = with_snapshot();
    disk.crash(&mut Rng::new(1, "crash"), 0.0);
    let (mut store, found) = must_open(&disk);
    assert_eq!((found[&G].snapshot, found[&G].entries.len()), (meta(4), 1));
    assert_eq!(read_snapshot(&mut store, CORE, meta(4)).unwrap(), BLOCKS);
    let (file, ..) = match store.snapshot_blocks(CORE, meta(3)).err() {
        Some(StorageError::Corrupt { file, offset, .. }) => (file, offset),
        other => panic!("{other:?}"),
    };
    assert_eq!(file, snapshot::name(CORE, meta(3)));
}

#[test]
fn every_flipped_bit_truncation_and_extension_is_refused() {
    let (disk, _) = with_snapshot();
    let name = snapshot::name(CORE, meta(4));
    let whole = disk.read(&name);
    let check = |file: Vec<u8>, what: &str| {
        let copy = disk.copy();
        copy.tamper(&name, |old| *old = file);
        let (refused, ..) = refusal(open(copy));
        assert_eq!(refused, name, "{what}");
    };
    for bit in 0..whole.len() * 8 {
        let mut file = whole.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        check(file, &format!("bit {bit}"));
    }
    for len in 0..whole.len() {
        check(whole[..len].to_vec(), &format!("cut to {len}"));
    }
    check([whole.as_slice(), b"\0"].concat(), "one byte more");
    // The second block removed together with its header: the chained checksums detect it.
    check([&whole[..47], &whole[71..]].concat(), "a block less");
}

#[test]
fn a_missing_snapshot_is_refused_and_so_is_a_missing_log() {
    let (disk, _) = with_snapshot();
    let copy = disk.copy();
    copy.lose(&snapshot::name(CORE, meta(4)));
    assert_eq!(refusal(open(copy)).0, snapshot::name(CORE, meta(4)));
    disk.lose("wal-0000000000000001.log");
    assert_eq!(refusal(open(disk)).0, snapshot::name(CORE, meta(4)));
}

#[test]
fn what_is_not_in_force_goes_at_a_restart_and_what_is_older_on_request() {
    let (disk, mut store) = with_snapshot();
    write_snapshot(&mut store, CORE, meta(5), &BLOCKS);
    store.snapshot_begin(CORE, meta(6)).unwrap();
    store.incoming_chunk(CORE, meta(9), 0, b"beginning", false).unwrap();
    assert_eq!(files(&disk).len(), 5);
    let copy = disk.copy();
    must_open(&copy);
    assert_eq!(files(&copy), [snapshot::name(CORE, meta(4)), "wal-0000000000000001.log".into()]);

    store.append(&[Raft(G, Record::Snapshot(meta(5)))]).unwrap();
    store.snapshot_retain(&[(CORE, meta(5))].into(), &[(CORE, meta(4))].into()).unwrap();
    assert!(disk.names().contains(&snapshot::name(CORE, meta(4))), "on its way to a follower");
    store.snapshot_retain(&[(CORE, meta(5))].into(), &BTreeSet::new()).unwrap();
    assert!(!disk.names().contains(&snapshot::name(CORE, meta(4))));
    assert!(disk.names().contains(&snapshot::name(CORE, meta(5))));
    assert_eq!(store.incoming_chunk(CORE, meta(9), 9, b".", false).unwrap(), Incoming::Next(10), "newer: not given up");
    store.snapshot_retain(&[(CORE, meta(9))].into(), &BTreeSet::new()).unwrap();
    assert_eq!(store.incoming_chunk(CORE, meta(9), 10, b".", false).unwrap(), Incoming::Next(0), "no longer of use");
}

#[test]
fn a_begun_snapshot_is_given_up_for_the_next() {
    let (disk, mut store) = with_snapshot();
    store.snapshot_begin(CORE, meta(5)).unwrap();
    write_snapshot(&mut store, CORE, meta(5), &[&[7; 100]]);
    assert_eq!(read_snapshot(&mut store, CORE, meta(5)).unwrap(), [vec![7; 100]]);
    assert!(disk.names().iter().all(|name| !name.ends_with(".tmp")));
}

/// Sends the snapshot at 4 in chunks of `max` bytes, each twice and one of them too early.
fn transfer(from: &mut Store<MemDisk>, to: &mut Store<MemDisk>, max: usize, spoil: Option<u64>) -> Incoming {
    let mut offset = 0;
    loop {
        let (data, last) = from.snapshot_chunk(CORE, meta(4), offset, max).unwrap().expect("the file and offset exist");
        let mut data = data.to_vec();
        if spoil == Some(offset) {
            data[0] ^= 1;
        }
        let next = offset + data.len() as u64;
        if offset > 0 {
            assert_eq!(to.incoming_chunk(CORE, meta(4), next, b"early", true).unwrap(), Incoming::Next(offset));
        }
        match to.incoming_chunk(CORE, meta(4), offset, &data, last).unwrap() {
            Incoming::Next(n) => assert_eq!((n, last), (next, false)),
            end => return end,
        }
        if offset > 0 {
            assert_eq!(to.incoming_chunk(CORE, meta(4), offset, &data, last).unwrap(), Incoming::Next(next), "twice");
        }
        offset = next;
    }
}

#[test]
fn a_snapshot_travels_in_pieces() {
    let (_, mut from) = with_snapshot();
    for max in [1, 7, 36, 1000] {
        let disk = MemDisk::default();
        let (mut to, _) = must_open(&disk);
        assert_eq!(transfer(&mut from, &mut to, max, None), Incoming::Complete);
        to.append(&[Raft(G, Record::Snapshot(meta(4)))]).unwrap();
        disk.crash(&mut Rng::new(1, "crash"), 0.0);
        let (mut to, found) = must_open(&disk);
        assert_eq!((found[&G].snapshot, found[&G].entries.len()), (meta(4), 0));
        assert_eq!(read_snapshot(&mut to, CORE, meta(4)).unwrap(), BLOCKS);
    }
    assert_eq!(from.snapshot_chunk(CORE, meta(3), 0, 10).unwrap(), None);
    assert_eq!(from.snapshot_chunk(CORE, meta(4), 1 << 40, 10).unwrap(), None);
}

#[test]
fn a_spoiled_transfer_is_refused_and_may_start_again() {
    let (_, mut from) = with_snapshot();
    let (disk, mut to) = {
        let disk = MemDisk::default();
        (disk.clone(), must_open(&disk).0)
    };
    for byte in 0..104 {
        let refused = transfer(&mut from, &mut to, 1, Some(byte));
        assert!(matches!(refused, Incoming::Refused(_)), "byte {byte}: {refused:?}");
        assert_eq!(files(&disk), ["wal-0000000000000001.log"]);
    }
    assert_eq!(transfer(&mut from, &mut to, 1, None), Incoming::Complete);
}

#[test]
fn a_transfer_under_another_name_is_refused() {
    let (_, mut from) = with_snapshot();
    let (mut to, _) = must_open(&MemDisk::default());
    let (data, last) = from.snapshot_chunk(CORE, meta(4), 0, 1000).unwrap().unwrap();
    for (core, meta) in [(CORE, meta(5)), (CoreId::Group(GroupId(8)), meta(4))] {
        assert!(matches!(to.incoming_chunk(core, meta, 0, &data, last).unwrap(), Incoming::Refused(_)));
    }
}

#[test]
fn noise_never_panics() {
    let (mut store, _) = must_open(&MemDisk::default());
    let (_, mut from) = with_snapshot();
    let (whole, _) = from.snapshot_chunk(CORE, meta(4), 0, 1000).unwrap().unwrap();
    let mut rng = Rng::new(1, "noise");
    for round in 0..2000 {
        let kept = if round % 2 == 0 { rng.below(whole.len() as u64) } else { 0 } as usize;
        let noise = (0..rng.below(200)).map(|_| if rng.chance(0.5) { 0 } else { rng.next() as u8 });
        let file: Vec<u8> = whole[..kept].iter().copied().chain(noise).collect();
        assert!(matches!(store.incoming_chunk(CORE, meta(4), 0, &file, true).unwrap(), Incoming::Refused(_)));
    }
}

#[test]
#[should_panic(expected = "a block of 8388609 bytes")]
fn a_block_too_large_is_a_bug() {
    let (_, mut store) = with_snapshot();
    store.snapshot_begin(CORE, meta(5)).unwrap();
    let _ = store.snapshot_write(&vec![0; MAX_BLOCK_BYTES + 1]);
}

/// The effect of each record on a group, and which records cannot follow.
#[test]
fn records_mean_what_raft_says() {
    let state = |records: &[Record]| {
        let mut state = Recovered::default();
        records.iter().try_for_each(|r| state.replay(r.clone()).map_err(|why| why.to_string()))?;
        Ok::<_, String>((state.snapshot.index, state.entries.iter().map(|e| e.command[0]).collect::<Vec<_>>()))
    };
    let append = |first, count| entries(first, count, 0);
    let snap = |index| Record::Snapshot(meta(index));
    let ok = |records: &[Record], snapshot: u64, entries: &[u8]| {
        assert_eq!(state(records).unwrap(), (snapshot, entries.to_vec()), "{records:?}");
    };
    ok(&[append(1, 4), append(3, 1)], 0, &[1, 2, 3]);
    ok(&[append(1, 4), append(3, 0)], 0, &[1, 2]);
    ok(&[append(1, 4), snap(3)], 3, &[4]);
    ok(&[append(1, 4), snap(3), snap(3)], 3, &[4]);
    ok(&[append(1, 4), snap(4)], 4, &[]);
    ok(&[append(1, 4), snap(9), append(10, 1)], 9, &[10]);
    ok(&[append(1, 4), Record::Snapshot(SnapshotMeta { index: 3, term: 2 })], 3, &[]);
    for refused in [
        vec![append(2, 1)],
        vec![append(0, 1)],
        vec![snap(3), append(1, 5)],
        vec![snap(3), append(4, 2), append(2, 2)],
        vec![append(1, 1), append(3, 1)],
        vec![snap(3), append(5, 1)],
        vec![snap(3), snap(2)],
        vec![snap(3), Record::Snapshot(SnapshotMeta { index: 3, term: 2 })],
        vec![snap(u64::MAX)],
        vec![snap(u64::MAX - 1), append(u64::MAX, 1), append(u64::MAX, 2), snap(u64::MAX)],
        vec![hard_state(3), hard_state(2)],
    ] {
        assert!(state(&refused).is_err(), "{refused:?}");
    }
}
