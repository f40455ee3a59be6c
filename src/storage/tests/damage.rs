//! Damage to the log: what is refused, and exactly which damage cannot be distinguished from a crash.

use super::*;
use crate::mutant::Mutant;
use crate::storage::identity::Identity;
use crate::storage::sector::{Batch, SECTOR, State, judge};
use crate::storage::segment::{self, Header};
use crate::types::Rng;

/// Two segments of thirteen sectors. The first has a checkpoint of one sector, the process start, and batches of 1, 2,
/// 3 and 4 sectors; the next batch does not fit, so a second segment has batches of 2, 1 and 1. Also returns the state
/// after all batches and after all but the last.
fn small_log() -> (MemDisk, Groups, Groups) {
    let disk = MemDisk::default();
    let (mut store, _) =
        Store::open(disk.clone(), &StoreConfig { segment_bytes: 13 * 512, ..config() }, &mut rng()).unwrap();
    store.append(&[Raft(G, hard_state(1)), Raft(G, entries(1, 2, 20))]).unwrap();
    store.append(&[Raft(G, entries(3, 3, 200))]).unwrap();
    store.append(&[Raft(G, entries(6, 2, 500)), Raft(GroupId(8), hard_state(5))]).unwrap();
    store.append(&[Raft(G, entries(8, 1, 1700))]).unwrap();
    store.append(&[Raft(G, entries(9, 1, 700))]).unwrap();
    store.append(&[Raft(G, entries(10, 1, 0))]).unwrap();
    let before = durable_state(&disk);
    store.append(&[Raft(G, entries(11, 1, 0))]).unwrap();
    assert_eq!(files(&disk), [segment::name(1), segment::name(2)]);
    let after = durable_state(&disk);
    (disk, after, before)
}

fn lengths(disk: &MemDisk) -> Vec<(String, usize)> {
    files(disk).into_iter().map(|name| (name.clone(), disk.read(&name).len())).collect()
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

/// A zeroed sector is refused unless it belongs to the very last batch, which then looks as if it was never synced.
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
                    // Zeros over data are covered by the test above; a sector over an identical one is no damage.
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
    // Seven sectors each, so every batch has its own segment, after the segment that the log begins with.
    assert_eq!(files(&disk).len(), 5);
    for seq in 1..5 {
        let copy = disk.copy();
        copy.lose(&segment::name(seq));
        let (file, _, what) = refusal(open(copy));
        assert_eq!(file, segment::name(if seq == 1 { 2 } else { seq }), "{what}");
    }
    // The newest segment was created with its batch; without it the log ends as if that batch had never been written.
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
fn a_directory_of_another_node_cluster_or_layout_is_refused() {
    let cluster = |node, name: &str, nodes: u32, groups| {
        let members = (1..=nodes).map(|n| crate::placement::Member::plain(NodeId(n))).collect();
        let layout = crate::placement::Layout::new(members, crate::placement::Buckets::default(), groups, 3);
        StoreConfig::new(NodeId(node)).bound_to(name, &layout)
    };
    let disk = MemDisk::default();
    drop(Store::open(disk.clone(), &cluster(1, "here", 3, 1), &mut rng()).expect("a new directory"));
    let before = disk.changes();
    for (other, found, configured) in [
        (cluster(2, "here", 3, 1), "node n1", "node n2"),
        (cluster(1, "there", 3, 1), "cluster here", "cluster there"),
        (cluster(1, "here", 3, 4), "groups 1", "groups 4"),
        (cluster(1, "here", 4, 1), "no n4", "n4 capacity 1, zone \"\", region \"\""),
        (StoreConfig::new(NodeId(1)), "cluster here", "no cluster"),
    ] {
        let error = Store::open(disk.clone(), &other, &mut rng()).err();
        let (found, configured) = (found.to_owned(), configured.to_owned());
        assert_eq!(error, Some(StorageError::Foreign { found, configured }));
    }
    assert_eq!(disk.changes(), before, "nothing was written");
    assert!(Store::open(disk, &cluster(1, "here", 3, 1), &mut rng()).is_ok());
}

#[test]
fn whose_data_it_is_must_be_known() {
    let (disk, _, _) = small_log();
    let text = disk.read("identity");
    for bit in 0..text.len() * 8 {
        disk.tamper("identity", |file| file[bit / 8] ^= 1 << (bit % 8));
        assert_eq!(refusal(open(disk.clone())).0, "identity", "bit {bit}");
        disk.tamper("identity", |file| file.clone_from(&text));
    }
    for short in 0..text.len() {
        disk.tamper("identity", |file| file.truncate(short));
        assert_eq!(refusal(open(disk.clone())).0, "identity", "{short} bytes");
        disk.tamper("identity", |file| file.clone_from(&text));
    }
    let other = MemDisk::default();
    drop(must_open(&other));
    let (lost, mixed) = (disk.copy(), disk.copy());
    lost.lose("identity");
    assert_eq!(refusal(open(lost)).0, "identity");
    let text = String::from_utf8(other.read("identity")).unwrap();
    let another = Identity { directory: 99, facts: vec![("node".to_owned(), "n1".to_owned())] };
    let fresh = MemDisk::default();
    another.make(&mut fresh.clone()).unwrap();
    assert_ne!(String::from_utf8(fresh.read("identity")).unwrap(), text);
    mixed.tamper("identity", |file| *file = fresh.read("identity"));
    assert_eq!(refusal(open(mixed)).0, segment::name(2), "a log of another directory");
}

#[test]
fn every_start_has_a_number_of_its_own_and_says_what_it_found() {
    let disk = MemDisk::default();
    let mut rng = rng();
    let mut start = || {
        let (store, found) = Store::open(disk.clone(), &config(), &mut rng).expect("in order");
        (store, found.identity)
    };
    let ((_, first), (mut store, second)) = (start(), start());
    assert_eq!((first.directory, first.found), (second.directory, second.found));
    assert_ne!(first.incarnation, second.incarnation);
    assert_eq!((first.found, store.last_batch()), (1, 3), "the checkpoint that a log begins with, and two starts");
    store.append(&[LogRecord::Node(crate::identity::Record::Member)]).unwrap();
    let third = start().1;
    assert_eq!((third.found, third.settled), (4, false), "the second was a member");
    assert_eq!(start().1.found, 4, "the third was not");
}

/// Every subset of the sectors of a batch in flight: the batch is complete or is erased, and appending works either
/// way.
#[test]
fn every_torn_tail_is_erased_before_the_log_goes_on() {
    let (disk, _, before) = small_log();
    let torn = disk.copy();
    let (mut store, _) = must_open(&torn);
    // Every opening records a process start.
    let disk = torn.copy();
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
        let left = copy.read(&name);
        let erased = |s: &usize| left[*s..*s + SECTOR] == [0; SECTOR];
        assert!(changed[1..].iter().all(erased), "remains of the torn batch are still there, after the start");
        store.append(&[Raft(G, entries(12, 1, 1)), Raft(G, hard_state(9))]).unwrap();
        let state = &durable_state(&copy)[&G];
        assert_eq!((state.term, state.entries.len()), (9, 12));
    }
}

/// Segments with correct checksums but random contents give an error or a state, never a panic.
#[test]
fn noise_never_panics() {
    let mut rng = Rng::new(1, "noise");
    for round in 0..3000 {
        let mut noise: Vec<u8> = (0..rng.between(1, 3000)).map(|_| rng.next() as u8).collect();
        if round % 2 == 0 {
            // Resembles records: small tags and numbers.
            noise.iter_mut().for_each(|b| *b = if *b < 200 { 0 } else { *b % 4 });
        }
        let disk = MemDisk::default();
        let mut batch = Batch::default();
        batch.put(&noise);
        let sectors = batch.sectors();
        let length = (1 + sectors) * SECTOR as u64;
        let header = Header { node: NodeId(1), directory: 1, seq: 1, length, first_batch: 1, checkpoint: true };
        let mut file = header.encode().to_vec();
        file.extend_from_slice(batch.seal(1, 1, 1));
        plant_identity(&disk);
        disk.plant(&segment::name(1), &file);
        if let Err(error) = open(disk) {
            assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
        }
        let raw = MemDisk::default();
        plant_identity(&raw);
        raw.plant(&segment::name(1), &noise);
        refusal(open(raw));
    }
}

/// The planted bug is detectable: a command with a flipped bit is recovered as if it had been appended.
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
        if Store::open(copy, &careless, &mut rng()).is_ok_and(|(_, found)| found.groups != after) {
            wrong += 1;
        }
        disk.tamper(&segment::name(1), |file| file[byte] ^= 1);
    }
    assert!(wrong > 1000, "wrong data for {wrong} flipped bits only");
}

/// Plants the identity file of node 1's directory, number 1.
fn plant_identity(disk: &MemDisk) {
    let identity = Identity { directory: 1, facts: vec![("node".to_owned(), "n1".to_owned())] };
    identity.make(&mut disk.clone()).expect("a disk in order");
}
