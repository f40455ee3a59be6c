//! Storage on real files, and the thread that storage runs on.

use super::*;
use crate::env::StorageHost;
use crate::env::ThreadHost;
use crate::storage::{DiskFault, RealDisk};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

fn in_directory(f: impl FnOnce(&std::path::Path)) {
    let dir = tempfile::tempdir().unwrap();
    f(&dir.path().join("made/as/needed"));
}

/// Blocks this thread until a future that another thread completes is ready.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park_timeout(Duration::from_secs(10)),
        }
    }
}

#[test]
fn a_store_survives_reopening_on_real_files() {
    in_directory(|path| {
        let mut expected = Groups::default();
        for round in 0..5u64 {
            let (mut store, found) = open(RealDisk::open(path).unwrap()).unwrap();
            assert_eq!(found, expected);
            let first = round * 20 + 1;
            for index in first..first + 20 {
                store.append(&[Raft(G, entries(index, 1, 300)), Raft(G, hard_state(index))]).unwrap();
            }
            if round == 2 {
                write_snapshot(&mut store, CORE, meta(50), &[b"a", b"b"]);
                store.append(&[Raft(G, Record::Snapshot(meta(50)))]).unwrap();
                store
                    .checkpoint(&[
                        Raft(G, hard_state(60)),
                        Raft(G, Record::Snapshot(meta(50))),
                        Raft(G, entries(51, 10, 300)),
                    ])
                    .unwrap();
                store.snapshot_retain(&[(CORE, meta(50))].into(), &BTreeSet::new()).unwrap();
            }
            if round >= 2 {
                assert_eq!(read_snapshot(&mut store, CORE, meta(50)).unwrap(), ["a", "b"]);
            }
            let from = if round >= 2 { 51 } else { 1 };
            let Record::Append { entries, .. } = entries(from, first + 20 - from, 300) else { unreachable!() };
            let snapshot = if round >= 2 { meta(50) } else { SnapshotMeta::default() };
            expected = [(G, Recovered { term: first + 19, vote: Some(NodeId(3)), snapshot, entries })].into();
        }
    });
}

#[test]
fn damage_in_a_real_file_is_refused_at_its_place() {
    in_directory(|path| {
        let (mut store, _) = open(RealDisk::open(path).unwrap()).unwrap();
        store.append(&[Raft(G, entries(1, 1, 300))]).unwrap();
        drop(store);
        let file = path.join("wal-0000000000000001.log");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[1024 + 100] ^= 4;
        std::fs::write(&file, &bytes).unwrap();
        let error = open(RealDisk::open(path).unwrap()).err().unwrap().to_string();
        assert!(error.starts_with("wal-0000000000000001.log, byte 1024: the sector fails its checksum"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "a refused directory was written to");
    });
}

#[test]
fn a_directory_is_one_processs_own() {
    in_directory(|path| {
        let disk = RealDisk::open(path).unwrap();
        let error = RealDisk::open(path).unwrap_err().to_string();
        assert!(error.ends_with("another process has this data directory open"), "{error}");
        drop(disk);
        RealDisk::open(path).unwrap();
    });
}

#[test]
fn the_real_disk_keeps_the_contract() {
    in_directory(|path| {
        let mut disk = RealDisk::open(path).unwrap();
        let what = |result: Result<_, crate::storage::DiskError>| result.map(|_: ()| ()).unwrap_err().what;
        assert_eq!(what(disk.open("a", false).map(drop)), DiskFault::Missing);
        let a = disk.open("a", true).unwrap();
        assert_eq!(what(disk.open("a", true).map(drop)), DiskFault::Exists);
        disk.allocate(a, 100_000).unwrap();
        assert_eq!(disk.len(a).unwrap(), 100_000);
        disk.write_at(a, 99_999, b"end").unwrap();
        let mut buf = [9; 4];
        disk.read_at(a, 99_998, &mut buf).unwrap();
        assert_eq!(&buf, b"\0end");
        assert_eq!(what(disk.read_at(a, 99_999, &mut buf)), DiskFault::PastEnd);
        disk.sync(a).unwrap();
        disk.close(a);
        disk.rename("a", "b").unwrap();
        disk.sync_dir().unwrap();
        assert_eq!(disk.list().unwrap(), ["b"]);
        disk.remove("b").unwrap();
        assert_eq!(what(disk.remove("b")), DiskFault::Missing);
        for name in ["", ".", "..", "../x", "a/b", "lock", "nul\0"] {
            assert!(matches!(what(disk.open(name, true).map(drop)), DiskFault::Io(_)), "{name:?}");
        }
    });
}

#[test]
fn jobs_run_in_order_even_if_nobody_waits() {
    let host = ThreadHost::spawn(must_open(&MemDisk::default()).0).unwrap();
    for index in 1..=300 {
        drop(host.run(move |store| store.append(&[Raft(G, entries(index, 1, 0))]).unwrap()));
    }
    let chunk = wait(host.run(|store| store.snapshot_chunk(CORE, meta(1), 0, 1).unwrap()));
    assert_eq!(chunk, None);
    drop(host);
}

#[test]
fn dropping_the_host_finishes_its_jobs_and_frees_the_directory() {
    in_directory(|path| {
        let host = ThreadHost::spawn(open(RealDisk::open(path).unwrap()).unwrap().0).unwrap();
        for index in 1..=20 {
            drop(host.run(move |store| store.append(&[Raft(G, entries(index, 1, 0))]).unwrap()));
        }
        drop(host);
        let (_, found) = open(RealDisk::open(path).unwrap()).unwrap();
        assert_eq!(found[&G].entries.len(), 20);
    });
}

#[test]
fn a_panic_in_a_job_reaches_all_who_wait_and_all_who_come() {
    let host = ThreadHost::spawn(must_open(&MemDisk::default()).0).unwrap();
    let (hold, held) = mpsc::channel::<()>();
    let first = host.run(move |_| {
        held.recv().unwrap();
        panic!("a broken invariant, on purpose");
    });
    let second = host.run(|_| ());
    hold.send(()).unwrap();
    for future in [catch_unwind(AssertUnwindSafe(|| wait(first))), catch_unwind(AssertUnwindSafe(|| wait(second)))] {
        assert!(future.is_err());
    }
    assert!(catch_unwind(AssertUnwindSafe(|| wait(host.run(|_| ())))).is_err());
}
