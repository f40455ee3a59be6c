//! The commands on keys of AP buckets: against servers with scripted answers, and a hint between real processes.

use crate::cluster::{Cluster, PATIENCE, eventually, run};
use seaworthy::dynamo::siblings::{Content, Version, WriteId};
use seaworthy::dynamo::version_vector::{Actor, Dot, VersionVector};
use seaworthy::dynamo::{
    Achieved, Arrival, Cause, ClientReply, ClientRequest, Holding, Refusal, Sibling, Update, crdt,
};
use seaworthy::env::Transport;
use seaworthy::mutant::Mutant;
use seaworthy::node::tcp::{Limits, Secret, TcpConfig, TcpTransport};
use seaworthy::types::{Bytes, Hlc, Level, MergeKind, NodeId, Rng, Wall};
use seaworthy::wire::{Packet, Refused, Request, RequestBody, Response, ResponseBody};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// 2026-11-20T17:40:00Z.
const NOON: u64 = 1_795_196_400_000_000_000;

/// Runs a command against servers n1, n2, … that answer by calling `answer`; also returns the requests they received.
async fn against(
    count: u32,
    arguments: &[&str],
    answer: impl Fn(NodeId, &RequestBody) -> Option<ResponseBody> + Clone + Send + 'static,
) -> ((i32, String, String), Vec<RequestBody>) {
    let (mut addresses, mut servers) = (Vec::new(), Vec::new());
    for n in 1..=count {
        let config = TcpConfig {
            id: NodeId(n),
            cluster: "test".parse().expect("valid"),
            listen: "127.0.0.1:0".to_owned(),
            nodes: BTreeMap::from([(NodeId(n), String::new())]),
            secret: Secret::none(),
            memory: seaworthy::node::Memory(256 << 20),
            limits: Limits::default(),
            layout: 0,
            source: String::new(),
            mutant: Mutant::default(),
        };
        let mut server = TcpTransport::bind(config, Rng::new(1, "told")).await.expect("listens");
        addresses.push(server.local_addr().to_string());
        let (stop, mut stopped) = oneshot::channel::<()>();
        let answer = answer.clone();
        let asked = tokio::spawn(async move {
            let mut asked = Vec::new();
            loop {
                let (from, packet) = tokio::select! {
                    biased;
                    _ = &mut stopped => return asked,
                    received = server.recv() => received,
                };
                let Packet::Request(request) = packet else { panic!("{packet:?}") };
                let Request { id, body, .. } = *request;
                if let Some(body) = answer(NodeId(n), &body) {
                    server.send(from, &Packet::Response(Response { id, body }));
                }
                asked.push(body);
            }
        });
        servers.push((stop, asked));
    }
    let words: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let command = tokio::task::spawn_blocking(move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run(&[&words, &["--timeout", "900", "--node", &addresses.join(",")][..]].concat())
    });
    let said = tokio::time::timeout(PATIENCE, command).await.expect("in time").expect("ran");
    let mut all = Vec::new();
    for (stop, asked) in servers {
        drop(stop);
        all.extend(asked.await.expect("served"));
    }
    (said, all)
}

fn actor(n: u32) -> Actor {
    Actor { node: NodeId(n), incarnation: 0xb0 + u64::from(n) }
}

fn dot(n: u32, count: u64) -> Dot {
    Dot { actor: actor(n), count }
}

fn sibling(n: u32, value: Option<&'static str>) -> Sibling {
    let (write, stamp) = (WriteId { client: 0xc0ffee, number: n.into() }, Hlc(NOON + u64::from(n) * 1_000_000));
    Sibling { value: value.map(|v| Bytes::from_static(v.as_bytes())), dot: dot(n, 1), stamp, write }
}

const STRICT: Achieved = Achieved { wanted: 2, replicas: 2, hints: 0 };
const SLOPPY: Achieved = Achieved { wanted: 2, replicas: 1, hints: 1 };

/// An AP bucket in which "Red" and "Blue" are concurrent; writes succeed with a stand-in.
fn red_and_blue(_: NodeId, body: &RequestBody) -> Option<ResponseBody> {
    let siblings = vec![sibling(1, Some("Red")), sibling(2, Some("Blue"))];
    let value = |achieved| ClientReply::Value { siblings, context: Bytes::from_static(b"\x01\xff"), achieved };
    Some(match body {
        RequestBody::Ap(ClientRequest::Get { .. }) => ResponseBody::Ap(value(STRICT)),
        RequestBody::Ap(ClientRequest::Put { read_back: true, .. }) => ResponseBody::Ap(value(SLOPPY)),
        RequestBody::Ap(ClientRequest::Put { .. }) => ResponseBody::Ap(ClientReply::Done { achieved: SLOPPY }),
        _ => ResponseBody::Refused(Refused::OtherMode(true)),
    })
}

/// Returns the writes among the requests.
fn puts(asked: &[RequestBody]) -> Vec<&ClientRequest> {
    let put = |body: &RequestBody| matches!(body, RequestBody::Ap(ClientRequest::Put { .. }));
    asked
        .iter()
        .filter(|body| put(body))
        .map(|body| match body {
            RequestBody::Ap(request) => request,
            _ => unreachable!(),
        })
        .collect()
}

/// The output without the time at its end, which differs between runs.
fn timeless(out: &str) -> String {
    let (text, time) = out.trim_end().rsplit_once(' ').expect("a time at the end");
    assert!(time.ends_with("ms"), "{out}");
    text.to_owned()
}

#[tokio::test]
async fn reads_show_every_version_and_the_context() {
    let ((status, out, err), asked) = against(1, &["get", "colours/1"], red_and_blue).await;
    assert_eq!((status, err.as_str()), (0, ""));
    let expected = "\
Red   n1:1  2026-11-20T17:40:00.001Z  by 0000000000c0ffee.1
Blue  n2:1  2026-11-20T17:40:00.002Z  by 0000000000c0ffee.2
2 versions, strict 2 of 2, context 01ff";
    assert_eq!(timeless(&out), expected);
    assert!(matches!(asked[0], RequestBody::Get { .. }), "asked as a key of a CP bucket first: {asked:?}");

    let ((status, out, _), asked) = against(1, &["get", "colours/1", "--r", "all", "--json"], red_and_blue).await;
    let found: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((status, &found["found"], &found["context"]), (0, &json!(true), &json!("01ff")));
    assert_eq!((&found["versions"][1]["value"], &found["versions"][0]["dot"]), (&json!("Blue"), &json!("n1:1")));
    assert_eq!(found["achieved"], json!({ "wanted": 2, "replicas": 2, "hints": 0, "strict": true }));
    assert!(matches!(&asked[..], [RequestBody::Ap(ClientRequest::Get { r: Some(Level::All), .. })]), "{asked:?}");

    let ((status, out, err), _) = against(1, &["get", "colours/1", "--raw"], red_and_blue).await;
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("2 concurrent versions"), "{err}");
}

#[tokio::test]
async fn a_missing_key_and_a_delete_are_told_apart() {
    for (siblings, status, expected) in [
        (vec![], 1, "no such key, strict 2 of 2, context none"),
        (
            vec![sibling(1, None), sibling(2, Some("Blue"))],
            0,
            "(deleted)  n1:1  2026-11-20T17:40:00.001Z  by 0000000000c0ffee.1\n\
             Blue       n2:1  2026-11-20T17:40:00.002Z  by 0000000000c0ffee.2\n\
             2 versions, strict 2 of 2, context none",
        ),
    ] {
        let answer = move |_, _: &RequestBody| {
            let value = ClientReply::Value { siblings: siblings.clone(), context: Bytes::new(), achieved: STRICT };
            Some(ResponseBody::Ap(value))
        };
        let ((found, out, _), _) = against(1, &["get", "k", "--r", "quorum"], answer).await;
        assert_eq!((found, timeless(&out).as_str()), (status, expected));
    }
}

#[tokio::test]
async fn writes_say_who_holds_them() {
    let ((status, out, err), asked) = against(1, &["put", "colours/1", "Purple"], red_and_blue).await;
    assert_eq!((status, timeless(&out).as_str(), err.as_str()), (0, "set, sloppy: 1 replica, 1 hint", ""));
    let [ClientRequest::Put { update, context, w, sloppy, .. }] = puts(&asked)[..] else { panic!("{asked:?}") };
    assert_eq!((update, context.len(), w, sloppy), (&Update::Set(Bytes::from_static(b"Purple")), 0, &None, &None));

    let arguments = ["put", "colours/1", "Purple", "--context", "01ff", "--w", "3", "--strict", "--read-back"];
    let ((status, out, _), asked) = against(1, &arguments, red_and_blue).await;
    let [ClientRequest::Put { context, w, sloppy, .. }] = puts(&asked)[..] else { panic!("{asked:?}") };
    assert_eq!((&context[..], *w, *sloppy), (&b"\x01\xff"[..], Some(Level::Count(3)), Some(false)));
    assert!(status == 0 && out.starts_with("set:\nRed ") && out.contains("context 01ff"), "{out}");
    assert_eq!(asked.len(), 1, "with such options no CP bucket is meant");

    let ((status, out, _), asked) = against(1, &["delete", "colours/1"], red_and_blue).await;
    let [ClientRequest::Put { update: Update::Delete, context, .. }] = puts(&asked)[..] else { panic!("{asked:?}") };
    assert_eq!((status, timeless(&out).as_str()), (0, "deleted, sloppy: 1 replica, 1 hint"));
    assert_eq!(&context[..], b"\x01\xff", "it deletes what it has read");

    let ((status, out, _), asked) = against(1, &["update", "hits", "add", "-5", "--json"], red_and_blue).await;
    let [ClientRequest::Put { update: Update::Merge(op), .. }] = puts(&asked)[..] else { panic!("{asked:?}") };
    let said: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((status, &said["done"], &said["achieved"]["strict"]), (0, &json!("updated"), &json!(false)));
    assert_eq!(*op, crdt::Op::Add(-5));
    let arguments = ["update", "users/7", "field", "mails", "set", "insert", "a@b.org"];
    let (_, asked) = against(1, &arguments, red_and_blue).await;
    let [ClientRequest::Put { update: Update::Merge(op), .. }] = puts(&asked)[..] else { panic!("{asked:?}") };
    let field = crdt::FieldOp::Insert(Bytes::from_static(b"a@b.org"));
    assert_eq!(*op, crdt::Op::Field { name: "mails".to_owned(), kind: MergeKind::Set, op: field });
}

#[tokio::test]
async fn what_does_not_fit_is_bad_input() {
    for (arguments, why) in [
        (&["put", "colours/1", "x", "--nx"][..], "and this key is in an AP bucket"),
        (&["put", "colours/1", "x", "--nx", "--w", "1"], "are for keys of CP buckets"),
        (&["extend", "colours/1", "5"], "the key is in an AP bucket"),
        (&["update", "colours/1", "add", "many"], "expected a whole number to add"),
        (&["update", "colours/1", "sub", "1"], "expected add N, assign VALUE"),
        (&["update", "colours/1", "field", "x", "map", "add", "1"], "expected a field's type"),
    ] {
        let ((status, _, err), asked) = against(1, arguments, red_and_blue).await;
        assert!(status == 2 && err.contains(why) && puts(&asked).is_empty(), "{arguments:?}: {err}");
    }
    for arguments in [["get", "k", "--r", "0"], ["put", "k", "v", "--context=0"]] {
        assert_eq!(run(&arguments).0, 2, "{arguments:?}");
    }
    let cp = |_, _: &RequestBody| Some(ResponseBody::Refused(Refused::OtherMode(false)));
    for arguments in [&["put", "k", "v", "--w", "1"][..], &["why", "k"]] {
        let ((status, _, err), _) = against(1, arguments, cp).await;
        assert!(status == 2 && err.contains("the key is in a CP bucket"), "{err}");
    }
}

#[tokio::test]
async fn certainly_not_done_and_perhaps_done_have_their_own_status() {
    let cases = [
        (ClientReply::Refused(Refusal::Unavailable { wanted: 2, reachable: 1 }), 1, "1 of the 2 servers needed"),
        (ClientReply::Refused(Refusal::TooManySiblings(64)), 1, "64 concurrent versions"),
        (ClientReply::Refused(Refusal::Invalid("bad context".into())), 2, "bad context"),
        (
            ClientReply::Unfinished { achieved: Achieved { wanted: 2, replicas: 1, hints: 0 } },
            3,
            "it may have happened",
        ),
    ];
    for (reply, expected, why) in cases {
        let answer = move |_, _: &RequestBody| Some(ResponseBody::Ap(reply.clone()));
        let ((status, out, err), _) = against(2, &["put", "k", "v", "--w", "quorum"], answer).await;
        assert_eq!((status, out.as_str()), (expected, ""), "{err}");
        assert!(err.contains(why), "{err}");
    }
}

fn version(n: u32, content: Content) -> Version {
    let Sibling { dot, stamp, write, .. } = sibling(n, None);
    Version { dot, stamp, write, content }
}

#[tokio::test]
async fn why_tells_what_brought_each_version() {
    let answer = |node: NodeId, body: &RequestBody| {
        let RequestBody::Why { .. } = body else { panic!("{body:?}") };
        let (red, gone) = (version(1, Content::Value(Bytes::from_static(b"Red"))), version(2, Content::Tombstone));
        let arrival = |n, cause| Arrival { dot: dot(n, 1), cause, at: Wall(NOON + 5_000_000) };
        let holding = |place, owner, versions, arrivals| Holding {
            node,
            place,
            owner,
            clock: VersionVector::of([(actor(1), 1), (actor(2), 1)]),
            versions,
            arrivals,
        };
        Some(ResponseBody::Why(match node.0 {
            1 => {
                let arrivals = vec![arrival(1, Cause::Write(NodeId(1))), arrival(2, Cause::Handoff(NodeId(3)))];
                vec![holding(Some(0), None, vec![red, gone], arrivals)]
            }
            2 => vec![holding(Some(1), None, vec![red, gone], vec![arrival(1, Cause::Repair(NodeId(1)))])],
            3 => vec![holding(None, Some(NodeId(4)), vec![gone], vec![arrival(2, Cause::Write(NodeId(2)))])],
            5 => vec![],
            _ => return None,
        }))
    };
    let ((status, out, err), _) = against(5, &["why", "colours/1"], answer).await;
    assert_eq!((status, err.as_str()), (0, ""));
    let by = |n: u32| format!("by 0000000000c0ffee.{n} at 2026-11-20T17:40:00.00{n}Z");
    let at = "2026-11-20T17:40:00.005Z";
    let expected = format!(
        "n1  replica 1, knows {{n1:1, n2:1}}\n     n1:1  Red        {}  write via n1, {at}\n     \
         n2:1  (deleted)  {}  hint held by n3, {at}\n\
         n2  replica 2, knows {{n1:1, n2:1}}\n     n1:1  Red        {}  repair by n1, {at}\n     \
         n2:1  (deleted)  {}  no longer known how\n\
         n3  stand-in for n4, knows {{n1:1, n2:1}}\n     n2:1  (deleted)  {}  write via n2, {at}\n\
         n4  unreachable\nn5  holds nothing\n",
        by(1),
        by(2),
        by(1),
        by(2),
        by(2),
    );
    assert_eq!(out, expected);

    let ((_, out, _), _) = against(5, &["why", "colours/1", "--json"], answer).await;
    let said: Value = serde_json::from_str(&out).expect("JSON");
    let first = &said["nodes"][0]["holds"][0];
    assert_eq!((&first["role"], &first["versions"][0]["value"]), (&json!("replica 1"), &json!("Red")));
    assert_eq!(first["versions"][1]["arrivals"][0]["by"], json!("hint held by n3"));
    assert_eq!((&said["nodes"][2]["holds"][0]["owner"], &said["nodes"][3]["reachable"]), (&json!("n4"), &json!(false)));

    let ((status, out, _), _) = against(1, &["why", "k"], |_, _: &RequestBody| Some(ResponseBody::Why(vec![]))).await;
    assert_eq!((status, out.as_str()), (1, "n1  holds nothing\n"));
}

/// Returns what `why` reports for each node: its role for the key and how its one version got there.
fn held(config: &str) -> BTreeMap<String, (String, Value, String)> {
    let (_, out, err) = run(&["why", "carts/17", "--json", "--cluster", config, "--timeout", "2000"]);
    let said: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    let nodes = said["nodes"].as_array().expect("nodes").iter();
    nodes
        .filter_map(|node| {
            let holding = &node["holds"][0];
            let version = &holding["versions"][0];
            let by = version["arrivals"][0]["by"].as_str()?.to_owned();
            Some((
                node["node"].as_str()?.to_owned(),
                (holding["role"].as_str()?.to_owned(), version["value"].clone(), by),
            ))
        })
        .collect()
}

/// `kill -9` of a replica, a write that a stand-in accepts for it, `kill -9` of the stand-in, and both restart.
#[tokio::test]
async fn a_hint_outlives_its_holder_and_reaches_its_owner() {
    let mut cluster = Cluster::started(4, "[[bucket]]\nname = \"carts\"\nmode = \"ap\"\n");
    let config = cluster.config();
    let shell = |arguments: &[&str]| run(&[arguments, &["--cluster", &config, "--timeout", "10000"]].concat());
    // A stand-in may have been needed while the cluster started.
    let replicas = eventually("all replicas have the first value, and no other node", async || {
        let (status, ..) = shell(&["put", "carts/17", "Red", "--w", "all", "--strict"]);
        let held = held(&config);
        let are_replicas = held.values().all(|(role, ..)| role.starts_with("replica"));
        (status == 0 && are_replicas && held.len() == 3).then_some(held)
    })
    .await;
    let number = |name: &str| name[1..].parse::<usize>().expect("a node's name");
    let owner =
        replicas.iter().find(|(_, (role, ..))| role == "replica 3").map(|(node, _)| number(node)).expect("three");
    let holder = (1..=4).find(|n| !replicas.contains_key(&format!("n{n}"))).expect("one is no replica");

    cluster.kill(owner);
    let (_, out, _) = shell(&["get", "carts/17", "--json"]);
    let found: Value = serde_json::from_str(&out).expect("JSON");
    let context = found["context"].as_str().unwrap_or_else(|| panic!("no context: {out}"));
    let (status, out, err) = shell(&["put", "carts/17", "Purple", "--context", context, "--w", "all"]);
    assert_eq!((status, timeless(&out).as_str()), (0, "set, sloppy: 2 replicas, 1 hint"), "{err}");
    let hint = (format!("stand-in for n{owner}"), json!("Purple"));
    let hint_of = |held: &BTreeMap<String, (String, Value, String)>| {
        held.get(&format!("n{holder}")).map(|(role, value, _)| (role.clone(), value.clone()))
    };
    assert_eq!(hint_of(&held(&config)), Some(hint.clone()));

    cluster.kill(holder);
    cluster.start(holder);
    eventually("the hint is there again", async || (hint_of(&held(&config)) == Some(hint.clone())).then_some(())).await;
    // The other replicas are killed, so that only the hint can bring the write to its owner.
    let others: Vec<usize> = (1..=4).filter(|n| *n != owner && *n != holder).collect();
    others.iter().for_each(|n| cluster.kill(*n));
    cluster.start(owner);
    eventually("the owner has it and the holder has let it go", async || {
        let held = held(&config);
        let arrived = ("replica 3".to_owned(), json!("Purple"), format!("hint held by n{holder}"));
        (held.get(&format!("n{owner}")) == Some(&arrived) && hint_of(&held).is_none()).then_some(())
    })
    .await;
}

/// Two writes without a context are both kept; a third whose context covers both supersedes them; counters add up.
#[tokio::test]
async fn siblings_are_shown_and_resolved_and_counters_count() {
    let buckets = "[[bucket]]\nname = \"carts\"\nmode = \"ap\"\n[[bucket]]\nname = \"hits\"\nmode = \"ap\"\n\
                   resolve = \"counter\"\n";
    let cluster = Cluster::started(3, buckets);
    let config = cluster.config();
    let json = |arguments: &[&str]| {
        let (status, out, err) = run(&[arguments, &["--json", "--cluster", &config, "--timeout", "20000"]].concat());
        let said: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}{err}"));
        (status, said)
    };
    let values = |found: &Value| -> Vec<String> {
        let versions = found["versions"].as_array().expect("versions").iter();
        let mut values: Vec<String> = versions.map(|v| v["value"].as_str().expect("text").to_owned()).collect();
        values.sort();
        values
    };
    for colour in ["Red", "Blue"] {
        assert_eq!(json(&["put", "carts/1", colour]).0, 0);
    }
    let (status, found) = json(&["get", "carts/1"]);
    assert_eq!((status, values(&found)), (0, vec!["Blue".to_owned(), "Red".to_owned()]));
    let context = found["context"].as_str().expect("a context");
    assert_eq!(json(&["put", "carts/1", "Purple", "--context", context]).0, 0);
    let (_, found) = json(&["get", "carts/1"]);
    assert_eq!(values(&found), ["Purple"]);

    let shown = |found: &Value| found["versions"][0]["value"].to_string().replace('"', "");
    for (amount, sum) in [("5", "5"), ("2", "7")] {
        let (status, found) = json(&["update", "hits/home", "add", amount, "--read-back"]);
        assert_eq!((status, shown(&found).as_str()), (0, sum), "{found}");
    }
    // `--w 3` under a strict quorum while one replica is unreachable.
    let mut cluster = cluster;
    cluster.kill(3);
    eventually("the others have noticed", async || {
        let strict = ["put", "carts/2", "x", "--w", "all", "--strict", "--cluster", &config, "--timeout", "3000"];
        let (status, _, err) = run(&strict);
        (status == 1 && err.contains("2 of the 3 servers needed")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn many_groups_have_one_status_and_are_handed_over_together() {
    let mut cluster = Cluster::with(3, "groups = 12\n", "");
    cluster.start_all();
    let config = cluster.config();
    let status = || {
        let (exit, out, _) = run(&["status", "--json", "--cluster", &config]);
        (exit, serde_json::from_str::<Value>(&out).expect("JSON"))
    };
    let led = |found: &Value| -> Vec<u64> {
        let nodes = found["nodes"].as_array().expect("nodes").iter();
        nodes.map(|node| node["groups"]["led"].as_u64().unwrap_or(0)).collect()
    };
    eventually("leaders are spread", async || {
        let (exit, found) = status();
        (exit == 0 && led(&found) == [4, 4, 4]).then_some(())
    })
    .await;
    let (exit, out, err) = run(&["transfer", "n2", "--cluster", &config, "--timeout", "20000"]);
    assert!(exit == 0 && out.starts_with("n2 leads 12 of 12 groups "), "{out}{err}");
    assert_eq!(led(&status().1), [0, 12, 0]);
    // n2 was told to lead: this stays so as long as the others stay up.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(led(&status().1), [0, 12, 0]);

    cluster.kill(2);
    eventually("the others lead instead", async || {
        let (exit, found) = status();
        (exit == 0 && led(&found)[1] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn servers_with_another_layout_are_refused() {
    let mut cluster = Cluster::with(3, "groups = 4\n", "");
    let path = cluster.path("n3.toml");
    let other = std::fs::read_to_string(&path).expect("read").replace("groups = 4", "groups = 5");
    std::fs::write(&path, other).expect("written");
    cluster.start_all();
    let config = cluster.config();
    eventually("status says so", async || {
        let (exit, out, _) = run(&["status", "--cluster", &config]);
        (exit == 1 && out.contains("The servers disagree on the layout of the cluster")).then_some(())
    })
    .await;
    for (node, of) in [(1, "n3"), (3, "n1")] {
        eventually("the log says which files to compare", async || {
            let log = std::fs::read_to_string(cluster.path(&format!("n{node}.log"))).ok()?;
            let told = format!("{of} has another layout of the cluster");
            let file = format!("in its configuration file with {}", cluster.path(&format!("n{node}.toml")).display());
            (log.contains(&told) && log.contains(&file)).then_some(())
        })
        .await;
    }
}
