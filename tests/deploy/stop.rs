//! SIGTERM: a node transfers the groups it leads before it stops, and no acknowledged write is lost.

use crate::cluster::{Cluster, PATIENCE, TcpClient, eventually};
use seaworthy::client::Patience;
use seaworthy::kv::{Condition, Reply};
use seaworthy::raft::Role;
use seaworthy::types::Bytes;
use seaworthy::wire::NodeStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const WRITERS: usize = 8;

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Number of acknowledged writes.
    count: AtomicU64,
}

/// Writes one key after another until told to stop; returns the acknowledged writes and when they were acknowledged.
async fn writer(me: usize, mut client: TcpClient, shared: Arc<Shared>) -> Vec<(u64, Instant)> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if shared.stop.load(Relaxed) {
            break;
        }
        let value = Bytes::from(format!("{me}-{number}"));
        match client.put(format!("{me}/{number}").into(), value, Condition::ALWAYS, None).await {
            Ok(Reply::Done { revision: 0, .. }) => {
                acknowledged.push((number, Instant::now()));
                shared.count.fetch_add(1, Relaxed);
            }
            other => panic!("writer {me}, number {number}: {other:?}"),
        }
    }
    acknowledged
}

async fn progress(shared: &Shared) {
    let goal = shared.count.load(Relaxed) + 100;
    eventually("writes go on", async || (shared.count.load(Relaxed) >= goal).then_some(())).await;
}

fn leads(status: &NodeStatus) -> bool {
    status.raft.soft.role == Role::Leader
}

#[tokio::test]
async fn a_leader_that_is_stopped_hands_over_first() {
    let mut cluster = Cluster::started(3, "");
    let patience = Patience { operation: PATIENCE, ..Patience::default() };
    let shared = Arc::new(Shared::default());
    let writers: Vec<_> =
        (0..WRITERS).map(|me| tokio::spawn(writer(me, cluster.client(patience), shared.clone()))).collect();
    let links = |cluster: &Cluster| (1..=3).map(|i| cluster.log(i).matches("is up").count()).sum::<usize>();
    let mut stops = Vec::new();
    for round in 0..4 {
        progress(&shared).await;
        let leader = cluster.leader().await;
        let before = cluster.statuses().await[leader - 1].as_ref().map(|s| s.raft.soft.term).expect("leads");
        let begun = Instant::now();
        let (status, took) = cluster.stop(leader).await;
        stops.push((begun, took));
        assert_eq!(status, Some(0), "round {round}");
        assert!(took < Duration::from_secs(3), "it took {took:?} to stop");
        assert!(cluster.log(leader).trim_end().ends_with("stopped"), "round {round}: it ended as it should");
        // The others have a leader as soon as it is gone, without waiting for an election timeout.
        let statuses: Vec<_> = cluster.statuses().await.into_iter().flatten().collect();
        let successor = statuses.iter().find(|status| leads(status)).expect("a leader");
        assert!(successor.raft.soft.term > before);
        progress(&shared).await;
        let before = links(&cluster);
        cluster.start(leader);
        // Its outgoing connections and those of the others to it: only then can another node be stopped.
        eventually("it is back", async || (links(&cluster) >= before + 4).then_some(())).await;
        let goal = cluster.statuses().await.into_iter().flatten().map(|s| s.raft.commit).max();
        eventually("it has caught up", async || {
            cluster.statuses().await[leader - 1].as_ref().filter(|s| Some(s.applied) >= goal).map(drop)
        })
        .await;
    }
    shared.stop.store(true, Relaxed);
    let mut written = Vec::new();
    for writer in writers {
        written.push(writer.await.expect("writers do not fail"));
    }

    let mut answers: Vec<Instant> = written.iter().flatten().map(|(_, at)| *at).collect();
    answers.sort();
    for (begun, took) in stops {
        let around = |pair: &&[Instant]| pair[1] > begun && pair[0] < begun + took + Duration::from_millis(500);
        let gap = answers.windows(2).filter(around).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        println!("stopped in {took:?}; no write was acknowledged for {gap:?} at most");
    }
    let mut client = cluster.client(patience);
    for (me, numbers) in written.iter().enumerate() {
        assert!(numbers.len() > 50, "writer {me} got hardly anything acknowledged");
        for (number, _) in numbers.iter().rev().step_by(7) {
            let found = client.get(format!("{me}/{number}").into()).await.expect("read");
            assert_eq!(found.map(|found| found.value), Some(Bytes::from(format!("{me}-{number}"))), "{me}/{number}");
        }
    }
}

/// A node without peers has no transfer target, and does not wait for one.
#[tokio::test]
async fn a_node_alone_stops_at_once() {
    let mut cluster = Cluster::started(1, "");
    cluster.leader().await;
    let (status, took) = cluster.stop(1).await;
    assert_eq!(status, Some(0));
    assert!(took < Duration::from_secs(1), "it took {took:?}");
}
