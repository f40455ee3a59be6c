//! Nothing acknowledged is lost when the leader, and then every node, is killed without warning.
//!
//! Each writer has its own keys, so their expected contents are known exactly. A key written once and acknowledged is
//! at revision 0 with its value, however often the client tried. The writer's counter, each of whose writes is
//! conditional on the revision of the previous one, holds the last acknowledged number at the revision of that number.
//! A retry applied twice, a lost write and a stale read are all detected.
//!
//! Caveat: `kill -9` does not clear the system's page cache, so a missing fsync is not detected here. The simulator's
//! disk loses unsynced data and detects it.

use crate::cluster::{Cluster, PATIENCE, TcpClient, client_of, eventually, signal};
use seaworthy::client::{ClientError, Patience};
use seaworthy::kv::{Condition, Reply};
use seaworthy::types::{Bytes, Key};
use seaworthy::wire::NodeStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

const WRITERS: usize = 4;
/// Number of writes that every writer must get acknowledged in each phase before the next phase begins.
const PROGRESS: u64 = 25;

#[derive(Default)]
struct Shared {
    acknowledged: [AtomicU64; WRITERS],
    stop: AtomicBool,
}

/// Writes until told to stop; returns the numbers whose own key was acknowledged.
async fn writer(me: usize, mut client: TcpClient, shared: Arc<Shared>) -> Vec<u64> {
    let counter = Key::from(format!("counter/{me}"));
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if shared.stop.load(Relaxed) {
            return acknowledged;
        }
        let value = Bytes::from(format!("{me}-{number}"));
        match client.put(format!("once/{me}/{number}").into(), value.clone(), Condition::ALWAYS, None).await {
            Ok(Reply::Done { revision: 0, .. }) => acknowledged.push(number),
            Ok(other) => panic!("writer {me}, number {number}: {other:?}"),
            Err(error) => assert_retriable(&error), // Written or not: it was not acknowledged.
        }

        // The condition allows the write exactly once, so it can be repeated even after an unknown outcome.
        let when = Condition { revision: Some(number as i64 - 1), ..Condition::ALWAYS };
        loop {
            match client.put(counter.clone(), value.clone(), when.clone(), None).await {
                Ok(Reply::Done { revision, .. }) => {
                    assert_eq!(revision, number, "the counter was written once for each number");
                    break;
                }
                Ok(Reply::Refused(Some(present))) if present.value == value => {
                    assert_eq!(present.revision, number);
                    break; // An attempt of unknown outcome had succeeded.
                }
                Ok(other) => panic!("writer {me}, number {number}: {other:?}"),
                Err(error) => assert_retriable(&error),
            }
        }
        let found = read(&mut client, counter.clone()).await.expect("it was acknowledged");
        assert_eq!((found.revision, found.value), (number, value), "a read sees the write before it");
        shared.acknowledged[me].fetch_add(1, Relaxed);
    }
    unreachable!()
}

async fn read(client: &mut TcpClient, key: Key) -> Option<seaworthy::kv::Versioned> {
    loop {
        match client.get(key.clone()).await {
            Ok(found) => return found,
            Err(error) => assert_retriable(&error),
        }
    }
}

fn assert_retriable(error: &ClientError) {
    assert!(!matches!(error, ClientError::Invalid(_)), "{error}");
}

#[tokio::test]
async fn nothing_acknowledged_is_lost() {
    // Small limits, so that within the test snapshots are taken and nodes recover by snapshot.
    let mut cluster = Cluster::started(3, "snapshot_entries = 100\nsegment_mib = 1\n");
    let shared = Arc::new(Shared::default());
    let patience = Patience { operation: PATIENCE / 4, ..Patience::default() };
    let writers: Vec<_> =
        (0..WRITERS).map(|me| tokio::spawn(writer(me, cluster.client(patience), shared.clone()))).collect();
    let progress = async |during: &str| {
        let before: Vec<u64> = shared.acknowledged.iter().map(|n| n.load(Relaxed)).collect();
        eventually(&format!("progress {during}"), async || {
            assert!(writers.iter().all(|writer| !writer.is_finished()), "a writer failed {during}");
            let moved = |(now, before): (&AtomicU64, &u64)| now.load(Relaxed) >= before + PROGRESS;
            shared.acknowledged.iter().zip(&before).all(moved).then_some(())
        })
        .await;
    };
    progress("at first").await;

    let leader = cluster.leader().await;
    cluster.kill(leader);
    progress("with the leader killed").await;
    let second = cluster.leader().await;
    assert_ne!(second, leader);

    cluster.start(leader);
    let goal = cluster.statuses().await[second - 1].as_ref().expect("leads").raft.commit;
    eventually("the killed node catches up", async || {
        cluster.statuses().await[leader - 1].as_ref().filter(|s| s.applied >= goal).map(drop)
    })
    .await;

    for _ in 0..2 {
        cluster.kill_all();
        cluster.start_all();
        progress("after all were killed").await;
    }

    shared.stop.store(true, Relaxed);
    let mut written = Vec::new();
    for writer in writers {
        written.push(writer.await.expect("writers do not fail"));
    }
    let mut client = cluster.client(patience);
    for (me, numbers) in written.iter().enumerate() {
        assert!(numbers.len() as u64 > 3 * PROGRESS, "writer {me} got hardly anything acknowledged");
        for number in numbers {
            let key = format!("once/{me}/{number}");
            let found = read(&mut client, key.clone().into()).await;
            let found = found.unwrap_or_else(|| panic!("{key} was acknowledged and is lost"));
            assert_eq!((found.revision, found.value), (0, Bytes::from(format!("{me}-{number}"))), "{key}");
        }
    }
    eventually("all nodes hold the same", async || {
        let statuses: Vec<_> = cluster.statuses().await.into_iter().collect::<Option<_>>()?;
        let same = |s: &NodeStatus| (s.keys, s.applied) == (statuses[0].keys, statuses[0].applied);
        statuses.iter().all(same).then_some(())
    })
    .await;
    let snapshots = cluster.statuses().await.into_iter().flatten().filter(|s| s.raft.snapshot.index > 0).count();
    assert_eq!(snapshots, 3, "the log was compacted under way on every node");
}

/// Caveat: a leader that resumes notices at once how late it is and steps down by check-quorum, before it processes the
/// messages that arrived. That ReadIndex alone is sufficient must be shown by the simulator.
#[tokio::test]
async fn a_leader_that_slept_through_its_deposition_finds_its_place_again() {
    let mut cluster = Cluster::started(3, "");
    let patience = Patience { operation: PATIENCE, ..Patience::default() };
    let mut client = cluster.client(patience);
    let key = Key::from("k");
    let done = |reply| assert!(matches!(reply, Ok(Reply::Done { .. })), "{reply:?}");
    done(client.put(key.clone(), "old".into(), Condition::ALWAYS, None).await);

    let leader = cluster.leader().await;
    // This client asks only that leader, over a connection that is already open: the request waits in the socket until
    // the leader resumes.
    let mut servers = cluster.servers();
    servers.nodes.retain(|id, _| id.0 as usize == leader);
    let mut asking = client_of(servers, Patience { operation: PATIENCE / 2, attempt: PATIENCE / 2, ..patience });
    assert_eq!(asking.get(key.clone()).await.expect("read").expect("there").value, "old");
    signal(cluster.child(leader), "STOP");
    done(client.put(key.clone(), "new".into(), Condition::ALWAYS, None).await);
    let asked = tokio::spawn(async move { asking.get(key).await });
    eventually("the others notice that the link is silent", async || {
        let noticed = |i: usize| {
            let log = std::fs::read_to_string(cluster.path(&format!("n{i}.log"))).unwrap_or_default();
            log.contains(&format!("link to n{leader} ")) && log.contains("is down: silent")
        };
        (1..=3).filter(|i| *i != leader).all(noticed).then_some(())
    })
    .await;
    signal(cluster.child(leader), "CONT");
    match asked.await.expect("no panic") {
        Ok(found) => assert_eq!(found.expect("there").value, "new"),
        Err(error) => assert!(!error.happened(), "{error}"),
    }
    eventually("it follows again", async || {
        let statuses: Vec<_> = cluster.statuses().await.into_iter().collect::<Option<_>>()?;
        statuses.iter().all(|s| s.applied == statuses[0].applied).then_some(())
    })
    .await;
}
