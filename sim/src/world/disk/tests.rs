//! Tests of the disk model against a plain file system, and of the effect of every fault.

use super::*;
use proptest::prelude::*;
use seaworthy::storage::{Disk, DiskError, DiskFault, FileId};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

const MS: u64 = 1_000_000;

/// A disk and its clock, which the test sets.
struct Bench {
    handle: DiskHandle,
    disk: SimDisk,
    now: Arc<AtomicU64>,
    ledger: Ledger,
}

impl Bench {
    fn new(seed: u64) -> Bench {
        let now = Arc::new(AtomicU64::new(0));
        let time = now.clone();
        let settings = DiskSettings {
            per_operation: Duration::from_micros(10),
            per_kib: Duration::from_micros(1),
            sync: Latency::uniform(Duration::from_millis(2), Duration::from_millis(1)),
            capacity: 1 << 30,
            block_sectors: 1,
            bug: None,
        };
        let ledger = Ledger::default();
        let time: TimeSource = Arc::new(move || time.load(Ordering::Relaxed));
        let handle = DiskHandle::new(seed, NodeId(1), settings, time, Trace::new(), ledger.clone());
        Bench { disk: handle.attach(), handle, now, ledger }
    }

    /// Waits until the disk has finished all requested operations.
    fn wait(&self) {
        self.now.fetch_max(self.handle.busy_until(), Ordering::Relaxed);
    }

    fn crash(&mut self, fault: Option<FaultId>) {
        self.handle.crash(fault);
        self.disk = self.handle.attach();
    }

    fn durable_file(&mut self, name: &str, data: &[u8]) -> FileId {
        let file = self.disk.open(name, true).unwrap();
        self.disk.write_at(file, 0, data).unwrap();
        self.disk.sync(file).unwrap();
        self.disk.sync_dir().unwrap();
        self.wait();
        file
    }

    fn contents(&mut self, name: &str) -> Result<Vec<u8>, DiskError> {
        let file = self.disk.open(name, false)?;
        let mut data = vec![0; self.disk.len(file)? as usize];
        self.disk.read_at(file, 0, &mut data)?;
        self.disk.close(file);
        Ok(data)
    }

    fn fault(&self) -> FaultId {
        self.ledger.request("test", "", 0, None)
    }

    fn effect(&self, id: FaultId, effect: Effect) -> u64 {
        self.ledger.entries()[id.0 as usize].effects.get(&effect).copied().unwrap_or(0)
    }
}

fn what<T: std::fmt::Debug>(result: Result<T, DiskError>) -> DiskFault {
    result.unwrap_err().what
}

#[test]
fn an_unsynced_sector_survives_a_crash_or_does_not_and_not_only_prefixes_do() {
    let (mut all, mut none, mut torn) = (0, 0, 0);
    for seed in 0..300 {
        let mut bench = Bench::new(seed);
        let file = bench.durable_file("log", &[1; 8 * SECTOR]);
        bench.disk.write_at(file, 0, &[2; 8 * SECTOR]).unwrap();
        bench.crash(None);
        let data = bench.contents("log").unwrap();
        let sectors: Vec<u8> = data.chunks(SECTOR).map(|s| s[0]).collect();
        assert!(data.chunks(SECTOR).all(|s| s.iter().all(|b| *b == s[0] && (1..=2).contains(b))), "sectors are whole");
        match sectors.iter().filter(|s| **s == 2).count() {
            0 => none += 1,
            8 => all += 1,
            _ if sectors.windows(2).any(|w| w[0] < w[1]) => torn += 1,
            _ => {}
        }
        let lost = sectors.iter().filter(|s| **s == 1).count() * SECTOR;
        assert_eq!(bench.handle.stats().bytes_lost, lost as u64);
    }
    assert!(all > 30 && none > 30 && torn > 60, "all {all}, none {none}, torn {torn} of 300");
}

#[test]
fn a_crash_leaves_no_trace_of_what_had_not_begun() {
    for (seed, micros) in (0..200).flat_map(|seed| [(seed, 500), (seed, 2_500), (seed, 4_500)]) {
        let mut bench = Bench::new(seed);
        bench.durable_file("old", &[1; SECTOR]);
        // One job: all its operations are executed at once, but each begins when the previous one is done.
        let file = bench.disk.open("temporary", true).unwrap();
        bench.disk.write_at(file, 0, &[2; 4 * SECTOR]).unwrap();
        bench.disk.sync(file).unwrap();
        bench.disk.rename("temporary", "new").unwrap();
        bench.disk.sync_dir().unwrap();
        bench.disk.remove("old").unwrap();
        bench.now.fetch_add(micros * 1_000, Ordering::Relaxed);
        bench.crash(None);
        let (old, new) = (bench.contents("old"), bench.contents("new"));
        assert!(
            old.is_ok() || new.is_ok(),
            "seed {seed}, {micros} us: the old file went before the new one had its name"
        );
        assert!(
            new.is_err() || new.unwrap() == [2; 4 * SECTOR],
            "seed {seed}, {micros} us: named before it was synced"
        );
    }
}

#[test]
fn a_sync_takes_effect_only_when_its_time_has_passed() {
    let lost = (0..100).filter(|&seed| {
        let mut bench = Bench::new(seed);
        let file = bench.durable_file("log", &[1; SECTOR]);
        bench.disk.write_at(file, 0, &[2; SECTOR]).unwrap();
        bench.disk.sync(file).unwrap();
        bench.now.fetch_add(MS, Ordering::Relaxed);
        bench.crash(None);
        bench.contents("log").unwrap()[0] == 1
    });
    assert!(lost.count() > 20, "a sync in flight promises nothing");
    for seed in 0..100 {
        let mut bench = Bench::new(seed);
        let file = bench.durable_file("log", &[1; SECTOR]);
        bench.disk.write_at(file, 0, &[2; SECTOR]).unwrap();
        let before = bench.now.load(Ordering::Relaxed);
        bench.disk.sync(file).unwrap();
        bench.wait();
        assert!((2 * MS..4 * MS).contains(&(bench.now.load(Ordering::Relaxed) - before)));
        bench.crash(None);
        assert_eq!(bench.contents("log").unwrap()[0], 2);
    }
}

#[test]
fn names_are_durable_only_after_the_directory_is_synced() {
    let (mut gone, mut old, mut new) = (0, 0, 0);
    for seed in 0..100 {
        let mut bench = Bench::new(seed);
        bench.durable_file("kept", b"old");
        let file = bench.disk.open("temporary", true).unwrap();
        bench.disk.write_at(file, 0, b"new").unwrap();
        bench.disk.sync(file).unwrap();
        bench.wait();
        bench.disk.rename("temporary", "kept").unwrap();
        bench.disk.open("other", true).unwrap();
        bench.crash(None);
        match &bench.contents("kept").unwrap()[..] {
            b"old" => old += 1,
            b"new" => new += 1,
            other => panic!("{other:?}"),
        }
        gone += usize::from(bench.contents("other").is_err());
    }
    assert!(gone > 20 && old > 20 && new > 20, "gone {gone}, old {old}, new {new}");
}

#[test]
fn a_removed_file_can_come_back_and_a_dead_process_has_no_effect() {
    let back = (0..100).filter(|&seed| {
        let mut bench = Bench::new(seed);
        bench.durable_file("file", b"data");
        bench.disk.remove("file").unwrap();
        assert_eq!(what(bench.contents("file")), DiskFault::Missing);
        bench.crash(None);
        bench.contents("file").is_ok_and(|data| data == b"data")
    });
    assert!(back.count() > 20);
    let mut bench = Bench::new(1);
    let file = bench.durable_file("file", b"data");
    let mut new = bench.handle.attach();
    assert!(bench.disk.write_at(file, 0, b"evil").is_err());
    assert!(bench.disk.remove("file").is_err());
    assert_eq!(new.list().unwrap(), ["file"]);
}

#[test]
fn a_failed_sync_loses_its_pages_and_is_charged() {
    let mut bench = Bench::new(1);
    let file = bench.durable_file("log", &[1; SECTOR]);
    let id = bench.fault();
    bench.handle.trouble(id, DiskTrouble::FailSyncs(1));
    bench.disk.write_at(file, 0, &[2; 2 * SECTOR]).unwrap();
    assert!(matches!(what(bench.disk.sync(file)), DiskFault::Io(_)));
    bench.disk.sync(file).unwrap();
    bench.wait();
    bench.crash(None);
    let data = bench.contents("log").unwrap();
    assert_eq!((data[0], data.get(SECTOR)), (1, Some(&0)), "the later success did not mend it");
    assert_eq!((bench.effect(id, Effect::SyncsFailed), bench.effect(id, Effect::SectorsLost)), (1, 2));
    bench.handle.trouble(id, DiskTrouble::FailSyncs(u64::MAX));
    assert!((0..9).all(|_| bench.disk.sync_dir().is_err()));
    bench.handle.lift(id);
    bench.disk.sync_dir().unwrap();
}

#[test]
fn a_failed_sync_may_leave_its_pages_readable_until_the_power_fails() {
    let sectors = |bench: &mut Bench| -> Vec<u8> {
        bench.contents("log").unwrap().chunks(SECTOR).map(|sector| sector[0]).collect()
    };
    for seed in 0..50 {
        let mut bench = Bench::new(seed);
        let file = bench.durable_file("log", &[1; 3 * SECTOR]);
        let id = bench.fault();
        bench.handle.trouble(id, DiskTrouble::FailDirtySyncs);
        bench.disk.write_at(file, 0, &[2; 2 * SECTOR]).unwrap();
        assert!(matches!(what(bench.disk.sync(file)), DiskFault::Io(_)));
        bench.disk.sync(file).expect("there is nothing left to write");
        bench.handle.lift(id);
        assert_eq!(sectors(&mut bench), [2, 2, 1], "as it was written");
        // One of the two is written again, and that sync succeeds.
        bench.disk.write_at(file, 0, &[2; SECTOR]).unwrap();
        bench.disk.sync(file).unwrap();
        bench.wait();
        assert_eq!(bench.effect(id, Effect::SyncsFailed), 1);
        bench.handle.detach();
        bench.disk = bench.handle.attach();
        assert_eq!(sectors(&mut bench), [2, 2, 1], "the process died, the cache is still there");
        bench.crash(None);
        assert_eq!(sectors(&mut bench), [2, 1, 1], "the other one never reached the disk");
    }
}

#[test]
fn a_lying_disk_forgets_what_it_had_confirmed_unless_an_honest_sync_follows() {
    let (mut forgot, mut torn) = (0, 0);
    for seed in 0..100 {
        for (losing, honest) in [(Losing::All, false), (Losing::Some, false), (Losing::All, true)] {
            let mut bench = Bench::new(seed);
            let file = bench.durable_file("log", &[1; 8 * SECTOR]);
            let id = bench.fault();
            bench.handle.trouble(id, DiskTrouble::LieSyncs(losing));
            bench.disk.write_at(file, 0, &[2; 8 * SECTOR]).unwrap();
            bench.disk.sync(file).unwrap();
            bench.disk.open("new", true).unwrap();
            bench.disk.sync_dir().unwrap();
            bench.wait();
            if honest {
                bench.handle.lift(id);
                bench.disk.sync_dir().unwrap();
                bench.wait();
            }
            bench.crash(None);
            let data = bench.contents("log").unwrap();
            let lost = data.chunks(SECTOR).filter(|sector| sector[0] == 1).count() as u64;
            let gone = u64::from(bench.contents("new").is_err());
            assert_eq!(bench.effect(id, Effect::AcknowledgedLost), lost + gone);
            match (losing, honest) {
                (_, true) => assert_eq!((lost, gone), (0, 0), "a drive empties its cache as a whole"),
                (Losing::All, _) => assert_eq!((lost, gone), (8, 1)),
                (Losing::Some, _) => {
                    forgot += usize::from(lost > 0);
                    torn += usize::from((1..8).contains(&lost));
                }
            }
        }
    }
    assert!(forgot > 40 && torn > 20, "some {forgot}, torn {torn} of 100");
}

#[test]
fn a_physical_block_survives_whole_or_not_at_all_and_may_be_garbled() {
    let (mut old, mut new, mut noise) = (0, 0, 0);
    for seed in 0..200 {
        let mut bench = Bench::new(seed);
        lock(&bench.handle.0).settings.block_sectors = 8;
        let file = bench.durable_file("log", &[1; 16 * SECTOR]);
        // The second block and part of the first.
        bench.disk.write_at(file, 6 * SECTOR as u64, &[2; 10 * SECTOR]).unwrap();
        let id = bench.fault();
        if seed % 2 == 0 {
            bench.handle.crash_garbled(Some(id));
        } else {
            bench.handle.crash(Some(id));
        }
        bench.disk = bench.handle.attach();
        let data = bench.contents("log").unwrap();
        let block = |n: usize| -> Vec<u8> { data.chunks(SECTOR).skip(8 * n).take(8).map(|s| s[0]).collect() };
        let is_noise = |n: usize| data[n * 8 * SECTOR..][..SECTOR].iter().any(|byte| *byte > 2);
        let garbled = [0, 1].into_iter().filter(|n| is_noise(*n)).count();
        assert_eq!(bench.effect(id, Effect::SectorsGarbled), 8 * garbled as u64);
        assert!(garbled == 0 || seed % 2 == 0);
        noise += garbled;
        for (n, written) in [(0, [1, 1, 1, 1, 1, 1, 2, 2]), (1, [2; 8])] {
            match is_noise(n) {
                true => {}
                false if block(n) == [1; 8] => old += 1,
                false if block(n) == written => new += 1,
                false => panic!("block {n} survives in part: {:?}", block(n)),
            }
        }
    }
    assert!(old > 50 && new > 50 && noise > 50, "old {old}, new {new}, noise {noise}");
}

#[test]
fn a_disk_fills_up_where_space_is_allocated_late_and_where_writes_are_copies() {
    let mut bench = Bench::new(6);
    let file = bench.durable_file("log", &[1; 4 * SECTOR]);
    let (late, copies) = (bench.fault(), bench.fault());
    bench.handle.trouble(late, DiskTrouble::Full { limit: SECTOR as u64, room: Room::Syncs });
    let new = bench.disk.open("new", true).unwrap();
    bench.disk.write_at(new, 0, &[2; 2 * SECTOR]).unwrap();
    bench.disk.write_at(file, 0, &[2; SECTOR]).unwrap();
    bench.disk.sync(file).expect("it has not grown");
    assert_eq!(what(bench.disk.sync(new)), DiskFault::Full);
    assert_eq!(bench.effect(late, Effect::SyncsFailed), 1);
    bench.handle.lift(late);
    bench.handle.trouble(copies, DiskTrouble::Full { limit: 2 * SECTOR as u64, room: Room::Writes });
    bench.disk.write_at(file, 0, &[3; SECTOR]).unwrap();
    bench.disk.write_at(file, 0, &[4; SECTOR]).unwrap();
    assert_eq!(what(bench.disk.write_at(file, 0, &[5; SECTOR])), DiskFault::Full);
    assert_eq!(what(bench.disk.write_at(new, 4096, &[5; SECTOR])), DiskFault::Full);
    assert_eq!(bench.effect(copies, Effect::WritesFailed), 2);
}

#[test]
fn writes_fail_go_astray_and_run_out_of_space() {
    let mut bench = Bench::new(2);
    let file = bench.durable_file("log", &[1; 8 * SECTOR]);
    let ids = [bench.fault(), bench.fault(), bench.fault()];
    bench.handle.trouble(ids[0], DiskTrouble::FailWrites(1));
    assert!(matches!(what(bench.disk.write_at(file, 0, &[9; 8])), DiskFault::Io(_)));
    bench.handle.trouble(ids[1], DiskTrouble::Misdirect(1));
    bench.disk.write_at(file, 0, &[2; SECTOR]).unwrap();
    let data = bench.contents("log").unwrap();
    assert_eq!(data[0], 1);
    assert_eq!(data.iter().filter(|b| **b == 2).count(), SECTOR);
    bench.handle.trouble(ids[2], DiskTrouble::Full { limit: SECTOR as u64, room: Room::Growth });
    bench.disk.write_at(file, 8 * SECTOR as u64, &[3; SECTOR]).unwrap();
    assert_eq!(what(bench.disk.write_at(file, 9 * SECTOR as u64, &[3])), DiskFault::Full);
    assert_eq!(what(bench.disk.allocate(file, 1 << 20)), DiskFault::Full);
    bench.disk.write_at(file, 0, &[4; SECTOR]).unwrap();
    assert_eq!(bench.effect(ids[0], Effect::WritesFailed), 1);
    assert_eq!(bench.effect(ids[1], Effect::WritesMisdirected), 1);
    assert_eq!(bench.effect(ids[2], Effect::WritesFailed), 2);
    assert_eq!(what(bench.disk.write_at(file, u64::MAX, &[1])), DiskFault::Full);
}

#[test]
fn damage_hits_durable_sectors_in_scope_and_is_seen_when_read() {
    let mut bench = Bench::new(3);
    let log = bench.durable_file("log-1", &[1; 8 * SECTOR]);
    bench.durable_file("snap-1", &[1; 8 * SECTOR]);
    bench.disk.allocate(log, 64 * SECTOR as u64).unwrap();
    bench.disk.write_at(log, 0, &[2; 2 * SECTOR]).unwrap();
    let (rot, spoil) = (bench.fault(), bench.fault());
    let scope = Scope { prefix: "log".into(), oldest: 0.5, bytes: SECTOR };
    let hit = bench.handle.damage(rot, &scope, Damage::Rotten, 100);
    assert_eq!(hit.iter().map(|(_, sector)| *sector).collect::<BTreeSet<_>>(), BTreeSet::from([2, 3, 4]));
    assert!(hit.iter().all(|(name, _)| name == "log-1"));
    assert_eq!(bench.effect(rot, Effect::BadReads), 0, "not read yet");
    let data = bench.contents("log-1").unwrap();
    let flipped: u32 = data[2 * SECTOR..8 * SECTOR].iter().map(|b| (b ^ 1).count_ones()).sum();
    assert_eq!((flipped, bench.effect(rot, Effect::BadReads)), (3, 3));
    let snaps = Scope { prefix: "snap".into(), oldest: 1.0, bytes: SECTOR };
    let hit = bench.handle.damage(spoil, &snaps, Damage::Unreadable, 1);
    assert!(matches!(what(bench.contents("snap-1")), DiskFault::Io(_)));
    let file = bench.disk.open("snap-1", false).unwrap();
    bench.disk.write_at(file, u64::from(hit[0].1) * SECTOR as u64, &[5; SECTOR]).unwrap();
    bench.contents("snap-1").expect("a sector written anew is mended");
    assert_eq!(bench.effect(spoil, Effect::BadReads), 1);
}

#[test]
fn a_slow_or_stalled_disk_takes_longer() {
    let mut bench = Bench::new(4);
    let file = bench.durable_file("log", &[1; SECTOR]);
    let took = |bench: &mut Bench| {
        let before = bench.now.load(Ordering::Relaxed);
        bench.disk.write_at(file, 0, &[2; 4096]).unwrap();
        bench.wait();
        bench.now.load(Ordering::Relaxed) - before
    };
    assert_eq!(took(&mut bench), 14_000);
    let (slow, stall) = (bench.fault(), bench.fault());
    bench.handle.trouble(slow, DiskTrouble::Slow(10));
    assert_eq!(took(&mut bench), 140_000);
    bench.handle.trouble(stall, DiskTrouble::StallUntil(bench.now.load(Ordering::Relaxed) + 70 * MS));
    assert_eq!(took(&mut bench), 70 * MS);
    assert_eq!(took(&mut bench), 140_000);
    assert_eq!((bench.effect(slow, Effect::DiskOpsDelayed), bench.effect(stall, Effect::DiskOpsDelayed)), (3, 1));
}

#[test]
fn a_wiped_disk_is_empty() {
    let mut bench = Bench::new(5);
    bench.durable_file("log", &[1; SECTOR]);
    let id = bench.fault();
    bench.handle.wipe(id);
    assert!(bench.disk.list().is_err());
    assert_eq!(bench.handle.attach().list().unwrap(), Vec::<String>::new());
    assert_eq!(bench.effect(id, Effect::FilesWiped), 1);
}

/// The allowed contents of a file after a crash: for each byte, the values it had since it was last known to be
/// durable.
#[derive(Clone, Default)]
struct ModelFile {
    data: Vec<u8>,
    durable: Vec<u8>,
    /// Contents at each moment since then, oldest first; the last is `data`.
    versions: Vec<Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Step {
    Write { file: usize, offset: usize, len: usize, byte: u8 },
    Allocate { file: usize, len: usize },
    Sync(usize),
    SyncNoWait(usize),
    Crash,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2usize, 0..40_000usize, 1..3_000usize, 1u8..).prop_map(|(file, offset, len, byte)| {
            Step::Write { file, offset, len, byte }
        }),
        1 => (0..2usize, 0..60_000usize).prop_map(|(file, len)| Step::Allocate { file, len }),
        2 => (0..2usize).prop_map(Step::Sync),
        1 => (0..2usize).prop_map(Step::SyncNoWait),
        2 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ]
}

impl ModelFile {
    fn changed(&mut self) {
        self.versions.push(self.data.clone());
    }

    fn synced(&mut self) {
        self.durable = self.data.clone();
        self.versions.clear();
    }

    /// Whether `found` is a possible outcome of a crash now: each sector whole, from the durable or a later version,
    /// zero if it is past that version's end. The file is at least as long as the durable version.
    fn allows(&self, found: &[u8]) -> bool {
        let versions = || [&self.durable].into_iter().chain(&self.versions);
        versions().any(|v| v.len() == found.len())
            && found.chunks(SECTOR).enumerate().all(|(i, sector)| {
                versions().any(|v| (0..sector.len()).all(|j| sector[j] == v.get(i * SECTOR + j).copied().unwrap_or(0)))
            })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Without crashes the disk is a plain file system. After a crash all synced data is there, and each sector has
    /// some contents that it had since.
    #[test]
    fn the_disk_agrees_with_a_simple_model(seed in any::<u64>(), steps in prop::collection::vec(step(), 1..60)) {
        let mut bench = Bench::new(seed);
        let names = ["a", "b"];
        let mut files: Vec<FileId> = names.iter().map(|name| bench.durable_file(name, b"")).collect();
        let mut models = vec![ModelFile::default(); 2];
        for step in steps {
            match step {
                Step::Write { file, offset, len, byte } => {
                    bench.disk.write_at(files[file], offset as u64, &vec![byte; len]).unwrap();
                    let model = &mut models[file];
                    if model.data.len() < offset + len {
                        model.data.resize(offset + len, 0);
                    }
                    model.data[offset..offset + len].fill(byte);
                    model.changed();
                }
                Step::Allocate { file, len } => {
                    bench.disk.allocate(files[file], len as u64).unwrap();
                    let model = &mut models[file];
                    if model.data.len() < len {
                        model.data.resize(len, 0);
                    }
                    model.changed();
                }
                Step::Sync(file) => {
                    bench.disk.sync(files[file]).unwrap();
                    bench.wait();
                    models[file].synced();
                }
                Step::SyncNoWait(file) => bench.disk.sync(files[file]).unwrap(),
                Step::Crash => {
                    bench.crash(None);
                    for (name, model) in names.iter().zip(&mut models) {
                        let found = bench.contents(name).unwrap();
                        prop_assert!(model.allows(&found), "{name} holds what it never held");
                        model.data = found;
                        model.synced();
                    }
                }
                Step::Restart => bench.disk = bench.handle.attach(),
            }
            for (i, name) in names.iter().enumerate() {
                prop_assert_eq!(&bench.contents(name).unwrap(), &models[i].data);
                files[i] = bench.disk.open(name, false).unwrap();
            }
        }
    }
}
