//! Wrong data directories: another node's, another cluster's, of another layout, empty, or old.

use crate::cluster::{Cluster, PATIENCE, eventually, finished, run, seaworthy};
use seaworthy::client::Patience;
use seaworthy::identity::Standing;
use seaworthy::kv::{Condition, Reply};
use seaworthy::types::{Bytes, Key, NodeId};
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

async fn put(cluster: &Cluster, key: &'static str) {
    let patience = Patience { operation: PATIENCE, ..Patience::default() };
    let (key, value) = (Key::from_static(key.as_bytes()), Bytes::from_static(b"v"));
    let reply = cluster.client(patience).put(key, value, Condition::ALWAYS, None).await;
    assert!(matches!(reply, Ok(Reply::Done { .. })), "{reply:?}");
}

async fn holds(cluster: &Cluster, key: &'static str) {
    let patience = Patience { operation: PATIENCE, ..Patience::default() };
    let found = cluster.client(patience).get(Key::from_static(key.as_bytes())).await.expect("read");
    assert_eq!(found.map(|found| found.value), Some(Bytes::from_static(b"v")), "{key}");
}

async fn stands(cluster: &Cluster, node: usize, standing: Standing) {
    eventually(&format!("n{node} is {standing:?}"), async || {
        let statuses = cluster.statuses().await;
        statuses[node - 1].as_ref().is_some_and(|status| status.standing == standing).then_some(())
    })
    .await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// Checks that the node refuses to start and that its message contains all of `words`.
fn refuses(cluster: &Cluster, node: usize, words: &[&str]) {
    let (status, _, err) = finished(&cluster.serve(node).output().expect("runs"));
    assert_eq!(status, 4, "{err}");
    assert!(words.iter().all(|word| err.contains(word)), "{words:?} in: {err}");
}

fn replace(cluster: &Cluster, node: usize, from: &str, to: &str) {
    let path = cluster.path(&format!("n{node}.toml"));
    let text = fs::read_to_string(&path).expect("read");
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).expect("written");
}

#[tokio::test]
async fn a_directory_of_another_node_cluster_or_layout_is_refused() {
    let mut cluster = Cluster::started(3, "");
    put(&cluster, "a").await;
    cluster.kill_all();

    let (one, two, aside) = (cluster.path("n1"), cluster.path("n2"), cluster.path("aside"));
    let swap = || {
        fs::rename(&one, &aside).expect("moved");
        fs::rename(&two, &one).expect("moved");
        fs::rename(&aside, &two).expect("moved");
    };
    swap();
    refuses(&cluster, 1, &["in ", "identity: the data directory is of node n2, the configuration says node n1"]);
    refuses(&cluster, 2, &["identity: the data directory is of node n1, the configuration says node n2"]);
    swap();

    replace(&cluster, 1, "cluster = \"test\"", "cluster = \"elsewhere\"");
    refuses(&cluster, 1, &["the data directory is of cluster test, the configuration says cluster elsewhere"]);
    replace(&cluster, 1, "cluster = \"elsewhere\"", "cluster = \"test\"");
    replace(&cluster, 1, "[nodes]", "groups = 4\n[nodes]");
    refuses(&cluster, 1, &["the data directory is of groups 1, the configuration says groups 4", "cannot be changed"]);
    replace(&cluster, 1, "groups = 4\n[nodes]", "[nodes]");
    fs::rename(one.join("identity"), &aside).expect("moved");
    refuses(&cluster, 1, &["identity, byte 0: the file is missing"]);
    fs::rename(&aside, one.join("identity")).expect("moved");

    cluster.start_all();
    holds(&cluster, "a").await;
}

#[tokio::test]
async fn a_node_that_returns_with_an_empty_directory_takes_no_part_until_it_has_its_own() {
    let mut cluster = Cluster::started(3, "");
    put(&cluster, "a").await;
    for node in 1..=3 {
        stands(&cluster, node, Standing::Member).await;
    }
    cluster.kill(2);
    fs::rename(cluster.path("n2"), cluster.path("aside")).expect("moved");
    cluster.start(2);
    stands(&cluster, 2, Standing::Lost).await;
    let log = fs::read_to_string(cluster.path("n2.log")).expect("a log");
    assert!(log.contains("this node has lost data") && log.contains("knows it under another data directory"), "{log}");
    let (_, out, err) = run(&["status", "--cluster", &cluster.config()]);
    assert!(out.contains("lost-data") && out.contains("n2 is no member: it has lost data"), "{out}{err}");
    put(&cluster, "b").await;

    // Without n1, n2 and n3 would be a majority; n2 must not count.
    cluster.kill(1);
    let patience = Patience { operation: std::time::Duration::from_secs(3), ..Patience::default() };
    let refused = cluster.client(patience).put("c".into(), Bytes::new(), Condition::ALWAYS, None).await;
    assert!(refused.is_err(), "{refused:?}");
    cluster.start(1);
    holds(&cluster, "b").await;

    // n2 remembers this, and is a member again when it has its own directory back.
    cluster.kill(2);
    cluster.start(2);
    stands(&cluster, 2, Standing::Lost).await;
    cluster.kill(2);
    fs::remove_dir_all(cluster.path("n2")).expect("removed");
    fs::rename(cluster.path("aside"), cluster.path("n2")).expect("moved");
    cluster.start(2);
    stands(&cluster, 2, Standing::Member).await;
    cluster.kill(1);
    holds(&cluster, "a").await;
}

#[tokio::test]
async fn a_node_that_returns_with_an_old_copy_takes_no_part() {
    let mut cluster = Cluster::started(3, "");
    put(&cluster, "a").await;
    cluster.kill(3);
    copy(&cluster.path("n3"), &cluster.path("backup"));
    cluster.start(3);
    stands(&cluster, 3, Standing::Member).await;
    put(&cluster, "b").await;
    eventually("n3 has applied it, and its peers know", async || {
        let statuses = cluster.statuses().await;
        let all: Option<Vec<u64>> = statuses.iter().map(|status| Some(status.as_ref()?.applied)).collect();
        all.filter(|all| all.iter().all(|applied| *applied == all[0]))
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    cluster.kill(3);
    fs::remove_dir_all(cluster.path("n3")).expect("removed");
    fs::rename(cluster.path("backup"), cluster.path("n3")).expect("moved");
    cluster.start(3);
    stands(&cluster, 3, Standing::Lost).await;
    let log = fs::read_to_string(cluster.path("n3.log")).expect("a log");
    assert!(log.contains("knows that its log was durable up to batch"), "{log}");
    put(&cluster, "c").await;
}

/// A second process that claims to be n1 does no harm, and the others report that there are two.
#[tokio::test]
async fn two_processes_that_claim_to_be_one_node_are_told_of() {
    let mut cluster = Cluster::started(3, "");
    put(&cluster, "a").await;
    let text = fs::read_to_string(cluster.config()).expect("read");
    let text = text.replace("data_dir = \"n1\"", "data_dir = \"twin\"");
    let twin = cluster.path("twin.toml");
    fs::write(&twin, text.replace("[nodes]", "listen = \"127.0.0.1:0\"\n[nodes]")).expect("written");
    let mut command = seaworthy();
    command.args(["serve", "--config"]).arg(twin).stderr(Stdio::null());
    struct Twin(Child);
    impl Drop for Twin {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let twin = Twin(command.spawn().expect("starts"));
    for n in [2, 3] {
        eventually("the others notice", async || cluster.log(n).contains("two processes dial as n1").then_some(()))
            .await;
    }
    put(&cluster, "b").await;
    drop(twin);
    for node in 1..=3 {
        stands(&cluster, node, Standing::Member).await;
    }
    cluster.kill(3);
    holds(&cluster, "b").await;
}

#[tokio::test]
async fn all_at_once_restart_as_members() {
    let mut cluster = Cluster::started(3, "");
    put(&cluster, "a").await;
    cluster.kill_all();
    // A majority is sufficient.
    cluster.start(2);
    cluster.start(3);
    holds(&cluster, "a").await;
    assert!(cluster.servers().nodes.contains_key(&NodeId(1)));
    for node in [2, 3] {
        stands(&cluster, node, Standing::Member).await;
    }
}
