//! Damage to the log: what is refused, and exactly what cannot be told from a crash.

use super::*;
use crate::mutant::Mutant;
use crate::storage::sector::{Batch, SECTOR, State, judge};
use crate::storage::segment::{self, Header};
use crate::types::Rng;

/// Two segments of twelve sectors: a checkpoint of one sector, batches of 1, 2, 3 and 4; then, since the next does not
/// fit, a segment with batches of 2, 1 and 1. Gives also the state after all, and after all but the last batch.
fn small_log() -> (MemDisk, Groups, Groups) {
    let disk = MemDisk::default();
    let (mut store, _) = Store::open(disk.clone(), StoreConfig { segment_bytes: 12 * 512, ..config() }).unwrap();
    store.append(&[Raft(G, hard_state(1)), Raft(G, entries(1, 2, 20))]).unwrap();
    store.append(&[Raft(G, entries(3, 3, 200))]).unwrap();
    store.append(&[Raft(G, entries(6, 2, 500)), Raft(GroupId(8), hard_state(5))]).unwrap();
    store.append(&[Raft(G, entries(8, 1, 1700))]).unwrap();
    store.append(&[Raft(G, entries(9, 1, 700))]).unwrap();
    store.append(&[Raft(G, entries(10, 1, 0))]).unwrap();
    let before = durable_state(&disk);
    store.append(&[Raft(G, entries(11, 1, 0))]).unwrap();
    assert_eq!(disk.names(), [segment::name(1), segment::name(2)]);
    let after = durable_state(&disk);
    (disk, after, before)
}

fn lengths(disk: &MemDisk) -> Vec<(String, usize)> {
    disk.names().into_iter().map(|name| (name.clone(), disk.read(&name).len())).collect()
}

#[test]
fn every_single_flipped_bit_is_refused_at_its_sector() {
    let (disk, _, _) = small_log();
    for (name, len) in lengths(&disk) {
        for bit in 0..len * 8 {
            disk.tamper(&name, |file| file[bit / 8] ^= 1 << (bit % 8));
            let (file, offset, what) = refusal(open(disk.clone()));
            let at = (bit / 8 / SECTOR * SECTOR) as u64;
            assert_eq!((file.as_str(), offset), (name.as_str(), at), "bit {bit}: {what}");
            disk.tamper(&name, |file| file[bit / 8] ^= 1 << (bit % 8));
        }
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let (disk, _, _) = small_log();
    for (name, len) in lengths(&disk) {
        let whole = disk.read(&name);
        for short in 0..len {
            disk.tamper(&name, |file| file.truncate(short));
            assert_eq!(refusal(open(disk.clone())).0, name);
            disk.tamper(&name, |file| file.clone_from(&whole));
        }
        disk.tamper(&name, |file| file.resize(len + SECTOR, 0));
        assert_eq!(refusal(open(disk.clone())).0, name);
        disk.tamper(&name, |file| file.clone_from(&whole));
    }
}

/// A sector wiped to zeros is refused unless it is of the very last batch, which then looks as if it was never synced.
#[test]
fn a_wiped_sector_is_refused_except_in_the_last_batch() {
    let (disk, after, before) = small_log();
    for (name, len) in lengths(&disk) {
        for start in (0..len).step_by(SECTOR) {
            let whole = disk.read(&name);
            if whole[start..start + SECTOR] == [0; SECTOR] {
                continue;
            }
            let copy = disk.copy();
            copy.tamper(&name, |file| file[start..start + SECTOR].fill(0));
            if name == segment::name(2) && start == 4 * SECTOR {
                assert_eq!(must_open(&copy).1, before);
            } else {
                assert_eq!(refusal(open(copy)).0, name);
            }
        }
    }
    assert_eq!(must_open(&disk).1, after);
}

#[test]
fn every_sector_written_to_a_wrong_place_is_refused() {
    let (disk, after, _) = small_log();
    for (from, len) in lengths(&disk) {
        for start in (0..len).step_by(SECTOR) {
            let sector = disk.read(&from)[start..start + SECTOR].to_vec();
            for (to, len) in lengths(&disk) {
                for other in (0..len).step_by(SECTOR) {
                    let copy = disk.copy();
                    copy.tamper(&to, |file| file[other..other + SECTOR].copy_from_slice(&sector));
                    // Zeros over something are the test above; the same over the same is no damage.
                    if sector != [0; SECTOR] && (&from, start) != (&to, other) {
                        assert_eq!(refusal(open(copy)).0, to, "{from}:{start} over {to}:{other}");
                    }
                }
            }
        }
    }
    assert_eq!(must_open(&disk).1, after);
}

#[test]
fn a_sector_is_valid_only_at_its_place() {
    let mut batch = Batch::default();
    batch.put(&[1; 600]);
    let sector = &batch.seal(4, 9, 100)[SECTOR..];
    assert!(matches!(judge(sector, 4, 10, Mutant::default()), State::Valid(head) if head.batch == 100));
    for (seq, number) in [(4, 9), (4, 11), (3, 10), (5, 10), (10, 4)] {
        assert_eq!(judge(sector, seq, number, Mutant::default()), State::Rotten);
    }
}

#[test]
fn a_missing_segment_is_refused_except_the_newest() {
    let disk = MemDisk::default();
    let (mut store, _) = must_open(&disk);
    let mut states = Vec::new();
    for index in 0..4 {
        store.append(&[Raft(G, entries(index + 1, 1, 3000))]).unwrap();
        states.push(durable_state(&disk));
    }
    // Seven sectors each, so every batch has a segment of its own, after the one that the log begins with.
    assert_eq!(disk.names().len(), 5);
    for seq in 1..5 {
        let copy = disk.copy();
        copy.lose(&segment::name(seq));
        let (file, _, what) = refusal(open(copy));
        assert_eq!(file, segment::name(if seq == 1 { 2 } else { seq }), "{what}");
    }
    // The newest segment was born with a batch; without it the log ends like one that never had it.
    disk.lose(&segment::name(5));
    assert_eq!(must_open(&disk).1, states[2]);
}

#[test]
fn a_segment_under_anothers_name_is_refused() {
    let (disk, _, _) = small_log();
    let second = disk.read(&segment::name(2));
    disk.plant(&segment::name(3), &second);
    let (file, offset, _) = refusal(open(disk));
    assert_eq!((file, offset), (segment::name(3), 16));
}

#[test]
fn another_nodes_directory_is_refused() {
    let (disk, _, _) = small_log();
    let other = StoreConfig { node: NodeId(2), ..config() };
    let error = Store::open(disk, other).err();
    assert_eq!(error, Some(StorageError::WrongNode { found: NodeId(1), expected: NodeId(2) }));
}

/// Every subset of the sectors of a batch in flight: whole, or erased, and the log goes on after it either way.
#[test]
fn every_torn_tail_is_erased_before_the_log_goes_on() {
    let (disk, _, before) = small_log();
    let torn = disk.copy();
    let (mut store, _) = must_open(&torn);
    store.append(&[Raft(G, entries(12, 1, 1500))]).unwrap();
    let after = durable_state(&torn);
    let name = segment::name(2);
    let (old, new) = (disk.read(&name), torn.read(&name));
    let changed: Vec<usize> =
        (0..old.len()).step_by(SECTOR).filter(|&s| old[s..s + SECTOR] != new[s..s + SECTOR]).collect();
    assert_eq!(changed.len(), 4);
    for subset in 0..1 << changed.len() {
        let copy = disk.copy();
        copy.tamper(&name, |file| {
            for (_, &s) in changed.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1) {
                file[s..s + SECTOR].copy_from_slice(&new[s..s + SECTOR]);
            }
        });
        let (mut store, found) = must_open(&copy);
        if subset == (1 << changed.len()) - 1 {
            assert_eq!(found, after);
            continue;
        }
        assert_eq!(found, durable_state(&disk));
        assert_ne!(found, before);
        assert_eq!(copy.read(&name), old, "remains of the torn batch are still there");
        store.append(&[Raft(G, entries(12, 1, 1)), Raft(G, hard_state(9))]).unwrap();
        let state = &durable_state(&copy)[&G];
        assert_eq!((state.term, state.entries.len()), (9, 12));
    }
}

/// Segments whose checksums are right but whose contents are noise: an error or a state, never a panic.
#[test]
fn noise_never_panics() {
    let mut rng = Rng::new(1, "noise");
    for round in 0..3000 {
        let mut noise: Vec<u8> = (0..rng.between(1, 3000)).map(|_| rng.next() as u8).collect();
        if round % 2 == 0 {
            // Something like records: small tags and numbers.
            noise.iter_mut().for_each(|b| *b = if *b < 200 { 0 } else { *b % 4 });
        }
        let disk = MemDisk::default();
        let mut batch = Batch::default();
        batch.put(&noise);
        let sectors = batch.sectors();
        let length = (1 + sectors) * SECTOR as u64;
        let header = Header { node: NodeId(1), seq: 1, length, first_batch: 1, checkpoint: true };
        let mut file = header.encode().to_vec();
        file.extend_from_slice(batch.seal(1, 1, 1));
        disk.plant(&segment::name(1), &file);
        if let Err(error) = open(disk) {
            assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
        }
        let raw = MemDisk::default();
        raw.plant(&segment::name(1), &noise);
        refusal(open(raw));
    }
}

/// The planted bug is one: the flipped bit of a command comes back as if it had been appended.
#[cfg(feature = "mutants")]
#[test]
fn skip_checksum_gives_wrong_data_back() {
    use crate::mutant::Bug;
    let (disk, after, _) = small_log();
    let mut wrong = 0;
    for byte in SECTOR..12 * SECTOR {
        disk.tamper(&segment::name(1), |file| file[byte] ^= 1);
        refusal(open(disk.clone()));
        let careless = StoreConfig { mutant: Mutant::planted(Bug::SkipChecksum), ..config() };
        let copy = disk.copy();
        if Store::open(copy, careless).is_ok_and(|(_, found)| found.groups != after) {
            wrong += 1;
        }
        disk.tamper(&segment::name(1), |file| file[byte] ^= 1);
    }
    assert!(wrong > 1000, "wrong data for {wrong} flipped bits only");
}
