//! What a node refuses: damaged data, a directory in use, garbage on its port, a wrong configuration.

use crate::cluster::{Cluster, PATIENCE, eventually, finished, run};
use seaworthy::client::Patience;
use seaworthy::kv::Condition;
use seaworthy::types::{Bytes, Rng};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;

const SECTOR: usize = 4096;

async fn put(cluster: &Cluster, key: &str) {
    let value = Bytes::from(vec![b'v'; 3 * SECTOR]);
    let patience = Patience { operation: PATIENCE, ..Patience::default() };
    let reply = cluster.client(patience).put(key.to_owned().into(), value, Condition::ALWAYS, None).await;
    assert!(matches!(reply, Ok(seaworthy::kv::Reply::Done { .. })), "{reply:?}");
}

fn log_file(data: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(data).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut logs: Vec<_> = files.filter(|path| path.metadata().is_ok_and(|m| m.len() as usize > SECTOR)).collect();
    logs.sort();
    logs.remove(0)
}

#[tokio::test]
async fn damaged_data_is_refused_with_file_and_offset() {
    let mut cluster = Cluster::started(1, "");
    for key in ["a", "b", "c"] {
        put(&cluster, key).await;
    }
    cluster.kill(1);

    let path = log_file(&cluster.path("n1"));
    let good = std::fs::read(&path).expect("read");
    let at = good.windows(64).position(|w| w == [b'v'; 64]).expect("the first value is in the log") + 100;
    let mut bad = good.clone();
    bad[at] ^= 1;
    std::fs::write(&path, &bad).expect("written");
    let (status, out, err) = finished(&cluster.serve(1).output().expect("runs"));
    assert_eq!((status, out.as_str()), (4, ""), "{err}");
    let name = path.file_name().expect("has a name").to_string_lossy();
    let offset = format!("{name}, byte ");
    let named = err.split(&offset).nth(1).and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
    let named = named.unwrap_or_else(|| panic!("names {offset}…: {err}"));
    assert!((named..named + 2 * SECTOR).contains(&at), "byte {named} is not near the damage at {at}: {err}");
    assert_eq!(std::fs::read(&path).expect("read"), bad, "nothing was written");

    // With that bit restored, all data is there again.
    std::fs::write(&path, good).expect("written");
    cluster.start(1);
    let patience = Patience { operation: PATIENCE, ..Patience::default() };
    let found = cluster.client(patience).get("a".into()).await.expect("read");
    assert_eq!(found.expect("there").value.len(), 3 * SECTOR);
}

#[tokio::test]
async fn a_directory_has_one_process_and_one_node() {
    let mut cluster = Cluster::started(1, "");
    put(&cluster, "a").await;
    let (status, _, err) = finished(&cluster.serve(1).output().expect("runs"));
    assert_eq!(status, 4, "{err}");
    assert!(err.contains("another process has this data directory open"), "{err}");

    cluster.kill(1);
    let other = std::fs::read_to_string(cluster.config()).expect("read").replace("n1 =", "n2 =");
    std::fs::write(cluster.config(), other.replace("node = \"n1\"", "node = \"n2\"")).expect("written");
    let (status, _, err) = finished(&cluster.serve(1).output().expect("runs"));
    assert_eq!(status, 4, "{err}");
    assert!(err.contains("the data directory is of node n1, the configuration says node n2"), "{err}");
}

/// Regression test: data written to an unlinked file is lost with the process, but used to be acknowledged until the
/// log's file was full.
#[tokio::test]
async fn a_node_whose_directory_is_removed_stops_and_says_so() {
    let mut cluster = Cluster::started(1, "");
    put(&cluster, "a").await;
    std::fs::remove_dir_all(cluster.path("n1")).expect("removed");
    let patience = Patience { operation: std::time::Duration::from_secs(1), ..Patience::default() };
    let reply = cluster.client(patience).put("b".into(), Bytes::new(), Condition::ALWAYS, None).await;
    assert!(reply.is_err(), "{reply:?}");
    let status = eventually("it stops", async || cluster.child(1).try_wait().expect("a process")).await;
    let log = cluster.log(1);
    assert_eq!(status.code(), Some(4), "{log}");
    assert!(log.contains("no such file; if the data directory was moved or removed, put it back"), "{log}");

    // A file in place of the directory, and a directory that cannot be created.
    std::fs::write(cluster.path("n1"), "no directory").expect("written");
    let (status, _, err) = finished(&cluster.serve(1).output().expect("runs"));
    assert!(status == 4 && err.contains("n1: it is not a directory"), "{status}: {err}");
}

/// A client's handshake that names no cluster (docs/formats.md).
fn hello() -> Vec<u8> {
    crate::hostile::hello(2, 0, 0, [0; 32])
}

#[tokio::test]
async fn noise_on_the_port_is_counted_and_does_no_harm() {
    let cluster = Cluster::started(1, "");
    put(&cluster, "before").await;
    let address = cluster.servers().nodes.into_values().next().expect("one node");
    let mut rng = Rng::new(7, "noise");
    let mut random = |n: usize| -> Vec<u8> { (0..n).map(|_| rng.next() as u8).collect() };
    // The header of a frame: magic, version, flags, checksum, length of the body.
    let frame = |version: u16, body_bytes: u32| {
        let mut bytes = b"SEAW".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend([0; 4]);
        bytes.extend(body_bytes.to_le_bytes());
        bytes
    };
    let noise = [
        random(56),
        random(5_000),
        [hello(), frame(1, u32::MAX)].concat(),
        [hello(), random(300)].concat(),
        [hello(), frame(2, 10), vec![0; 10]].concat(),
        [hello(), frame(1, 10), vec![0; 10]].concat(),
        [hello(), frame(1, 1_000), vec![0; 10]].concat(),
        [hello(), frame(1, 10)[..9].to_vec()].concat(),
    ];
    let expected = noise.len() as u64;
    for bytes in noise {
        let mut stream = TcpStream::connect(&address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        // The server may close the connection before it has read everything.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest).map_err(|e| e.kind());
        assert!(matches!(ended, Ok(_) | Err(std::io::ErrorKind::ConnectionReset)), "the server hangs up: {ended:?}");
    }
    put(&cluster, "after").await;
    let status = cluster.statuses().await.remove(0).expect("it serves on");
    assert_eq!((status.bad_frames, status.keys), (expected, 2));
    let log = std::fs::read_to_string(cluster.path("n1.log")).expect("a log");
    assert!(log.contains("this one has 4294967311"), "the reason is logged: {log}");
    let lines = log.matches("WARN").count();
    assert!((2..expected as usize).contains(&lines), "a line of either kind, and not one for each: {log}");
}

#[tokio::test]
async fn a_wrong_configuration_is_located_and_nothing_is_written() {
    let cluster = Cluster::new(1, "heartbeat_ms = \"often\"\n");
    let (status, out, err) = finished(&cluster.serve(1).output().expect("runs"));
    assert_eq!((status, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("n1.toml:8:16: invalid type: string \"often\""), "{err}");
    assert!(!cluster.path("n1").exists(), "no data directory was made");
    for wrong in [vec!["serve"], vec!["put", "k"], vec!["put", "k", "v", "--ttl", "soon"], vec!["get", "", "--hex"]] {
        let (status, _, err) = run(&[&wrong[..], &["--cluster", "/nowhere.toml"][..]].concat());
        assert_eq!(status, 2, "{wrong:?}: {err}");
    }
}

#[tokio::test]
async fn a_server_of_another_cluster_is_refused() {
    let mut cluster = Cluster::new(2, "");
    let other = std::fs::read_to_string(cluster.path("n2.toml")).expect("read").replace("\"test\"", "\"elsewhere\"");
    std::fs::write(cluster.path("n2.toml"), other).expect("written");
    cluster.start_all();
    eventually("both say why", async || {
        let log = |i| std::fs::read_to_string(cluster.path(&format!("n{i}.log"))).unwrap_or_default();
        let said = |log: &str| {
            log.contains("cannot prove it: another cluster name or secret")
                && log.contains("the cluster's name or its secret is not the same")
        };
        (said(&log(1)) && said(&log(2))).then_some(())
    })
    .await;
    let statuses = cluster.statuses().await;
    assert!(statuses.iter().flatten().all(|s| s.raft.soft.term == 0), "no election came about: {statuses:?}");
}
