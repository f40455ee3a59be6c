//! Checks that every disk must pass.

use seaworthy::storage::{Disk, DiskFault};
use seaworthy::types::Rng;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// A directory, and the process that uses it.
pub trait Bench {
    type Disk: Disk;
    /// The disk as seen by the current process.
    fn disk(&mut self) -> &mut Self::Disk;
    /// The process dies and another one opens the same directory.
    fn restart(&mut self);
}

pub type Check<B> = (&'static str, fn(&mut B));

/// The checks; each runs on an empty directory.
pub fn checks<B: Bench>() -> [Check<B>; 7] {
    [
        ("names exist once", names_exist_once),
        ("reads are exact", reads_are_exact),
        ("files grow with zeros", files_grow_with_zeros),
        ("renames replace", renames_replace),
        ("an open file outlives its name", an_open_file_outlives_its_name),
        ("data outlives the process", data_outlives_the_process),
        ("the disk agrees with a map of byte strings", agrees_with_a_model),
    ]
}

fn fault<T: Debug>(result: Result<T, seaworthy::storage::DiskError>) -> DiskFault {
    result.expect_err("it should be refused").what
}

fn contents(disk: &mut impl Disk, name: &str) -> Vec<u8> {
    let file = disk.open(name, false).unwrap();
    let mut data = vec![0xee; usize::try_from(disk.len(file).unwrap()).unwrap()];
    disk.read_at(file, 0, &mut data).unwrap();
    disk.close(file);
    data
}

fn names_exist_once<B: Bench>(bench: &mut B) {
    let disk = bench.disk();
    assert_eq!(fault(disk.open("a", false)), DiskFault::Missing);
    let file = disk.open("a", true).unwrap();
    assert_eq!(disk.len(file).unwrap(), 0);
    assert_eq!(fault(disk.open("a", true)), DiskFault::Exists);
    disk.open("c", true).unwrap();
    disk.open("b", true).unwrap();
    assert_eq!(disk.list().unwrap(), ["a", "b", "c"], "in order");
    disk.remove("b").unwrap();
    assert_eq!(fault(disk.remove("b")), DiskFault::Missing);
    assert_eq!(fault(disk.rename("b", "d")), DiskFault::Missing);
    assert_eq!(disk.list().unwrap(), ["a", "c"]);
}

fn reads_are_exact<B: Bench>(bench: &mut B) {
    let disk = bench.disk();
    let file = disk.open("a", true).unwrap();
    disk.write_at(file, 0, b"seaworthy").unwrap();
    disk.write_at(file, 3, b"W").unwrap();
    let mut some = [0; 4];
    disk.read_at(file, 2, &mut some).unwrap();
    assert_eq!(&some, b"aWor");
    for (offset, len) in [(9, 1), (6, 4), (0, 10), (1 << 40, 1), (u64::MAX, 2)] {
        let mut beyond = vec![0; len];
        let result = disk.read_at(file, offset, &mut beyond);
        assert!(result.is_err(), "{len} bytes from {offset} of nine");
    }
    disk.read_at(file, 9, &mut []).unwrap();
}

fn files_grow_with_zeros<B: Bench>(bench: &mut B) {
    let disk = bench.disk();
    let file = disk.open("a", true).unwrap();
    disk.write_at(file, 5_000, &[7; 10]).unwrap();
    assert_eq!(disk.len(file).unwrap(), 5_010);
    disk.allocate(file, 9_000).unwrap();
    disk.allocate(file, 100).unwrap();
    assert_eq!(disk.len(file).unwrap(), 9_000, "never shorter");
    let data = contents(disk, "a");
    assert_eq!(data.iter().filter(|byte| **byte == 7).count(), 10);
    assert_eq!(data.iter().filter(|byte| **byte == 0).count(), 8_990);
}

fn renames_replace<B: Bench>(bench: &mut B) {
    let disk = bench.disk();
    for (name, text) in [("old", b"old"), ("new", b"new")] {
        let file = disk.open(name, true).unwrap();
        disk.write_at(file, 0, text).unwrap();
        disk.sync(file).unwrap();
    }
    disk.rename("new", "old").unwrap();
    disk.rename("old", "old").unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(disk.list().unwrap(), ["old"]);
    assert_eq!(contents(disk, "old"), b"new");
}

fn an_open_file_outlives_its_name<B: Bench>(bench: &mut B) {
    let disk = bench.disk();
    let file = disk.open("a", true).unwrap();
    disk.write_at(file, 0, b"old").unwrap();
    disk.remove("a").unwrap();
    let other = disk.open("a", true).unwrap();
    disk.write_at(other, 0, b"new").unwrap();
    let mut data = [0; 3];
    disk.read_at(file, 0, &mut data).unwrap();
    assert_eq!((&data, contents(disk, "a").as_slice()), (b"old", &b"new"[..]));
}

fn data_outlives_the_process<B: Bench>(bench: &mut B) {
    let disk = bench.disk();
    let synced = disk.open("synced", true).unwrap();
    disk.write_at(synced, 0, &[1; 3_000]).unwrap();
    disk.sync(synced).unwrap();
    disk.sync_dir().unwrap();
    let file = disk.open("unsynced", true).unwrap();
    disk.write_at(file, 100, &[2; 50]).unwrap();
    bench.restart();
    let disk = bench.disk();
    assert_eq!(disk.list().unwrap(), ["synced", "unsynced"], "the system has it, though the process is dead");
    assert_eq!(contents(disk, "synced"), [1; 3_000]);
    assert_eq!(contents(disk, "unsynced"), [vec![0; 100], vec![2; 50]].concat());
}

fn agrees_with_a_model<B: Bench>(bench: &mut B) {
    let mut rng = Rng::new(1, "conformance");
    let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for step in 0..400 {
        let name = format!("f{}", rng.below(4));
        let known = model.contains_key(&name);
        let disk = bench.disk();
        match rng.below(10) {
            0 if known => {
                disk.remove(&name).unwrap();
                model.remove(&name);
            }
            1 if known => {
                let to = format!("f{}", rng.below(4));
                disk.rename(&name, &to).unwrap();
                let data = model.remove(&name).unwrap();
                model.insert(to, data);
            }
            2 => bench.restart(),
            _ => {
                let file = disk.open(&name, !known).unwrap();
                let data = model.entry(name).or_default();
                let (offset, len) = (rng.below(9_000) as usize, rng.between(1, 3_000) as usize);
                if data.len() < offset + len {
                    data.resize(offset + len, 0);
                }
                match rng.below(3) {
                    0 => disk.allocate(file, (offset + len) as u64).unwrap(),
                    _ => {
                        let byte = rng.below(256) as u8;
                        disk.write_at(file, offset as u64, &vec![byte; len]).unwrap();
                        data[offset..offset + len].fill(byte);
                    }
                }
                disk.sync(file).unwrap();
                disk.close(file);
            }
        }
        let disk = bench.disk();
        assert_eq!(disk.list().unwrap(), model.keys().cloned().collect::<Vec<_>>(), "after step {step}");
        for (name, data) in &model {
            assert!(contents(disk, name) == *data, "{name} after step {step}");
        }
    }
}
