//! A simulated store that replicates lazily, with bugs planted one at a time. Each bug breaks the guarantees that it
//! should, and the others hold.
//!
//! Every client writes at its own replica. Writes are versions with a global number, so that revisions give the order
//! of a key's versions; a replica keeps the newest. Messages to the other replicas take random times. Without bugs, a
//! message waits for what its sender had done and seen (causal delivery), in the order of its sender.

mod common;

use common::Rng;
use seaworthy_check::session::{self, Guarantee, Options};
use seaworthy_check::{Call, History, Recorder, Reply, Version, linear};
use std::collections::BTreeMap;

const CLIENTS: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// Clients read at any replica.
    NoStickiness,
    /// Messages of one sender can overtake each other. They still wait for what the sender had read from others.
    OutOfOrder,
    /// Messages wait only for their sender's earlier ones, not for what it had read.
    NoDependencies,
}

#[derive(Clone)]
struct Message {
    key: u64,
    number: u64,
    sender: usize,
    /// Numbers of the messages that must be applied first.
    after: Vec<u64>,
}

#[derive(Default, Clone)]
struct Replica {
    /// The newest number of each key.
    cells: BTreeMap<u64, u64>,
    applied: Vec<u64>,
    inbox: Vec<Message>,
}

/// Runs one operation after the other. The revision of a write is its position among the writes of its key.
fn run(bug: Bug, ops: usize, final_reads: bool, rng: &mut Rng) -> History {
    let mut log = Recorder::default();
    let mut replicas = vec![Replica::default(); CLIENTS];
    // What each client has read and written so far.
    let (mut read, mut wrote) = (vec![Vec::new(); CLIENTS], vec![Vec::new(); CLIENTS]);
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut revisions: BTreeMap<u64, u64> = BTreeMap::new();
    for n in 0..ops {
        let time = 1_000 * n as u64;
        for (at, replica) in replicas.iter_mut().enumerate() {
            if rng.percent(60) {
                deliver(replica, Some(at), rng);
            }
        }
        let client = rng.below(CLIENTS as u64) as usize;
        let key = rng.below(3);
        let name = format!("k{key}");
        if rng.percent(45) {
            let number = n as u64 + 1;
            let after: Vec<u64> = match bug {
                Bug::OutOfOrder => read[client].clone(),
                Bug::NoDependencies => wrote[client].clone(),
                _ => [read[client].clone(), wrote[client].clone()].concat(),
            };
            let message = Message { key, number, sender: client, after };
            apply(&mut replicas[client], &message);
            for (at, replica) in replicas.iter_mut().enumerate() {
                if at != client {
                    replica.inbox.push(message.clone());
                }
            }
            wrote[client].push(number);
            let count = counts.entry(key).or_default();
            revisions.insert(number, *count);
            let value = format!("v{number}");
            let op = log.invoke(client as u32, time, &name, Call::put(&value));
            log.ok(op, time + 500, Reply::Done { revision: Some(*count) });
            *count += 1;
        } else {
            let at = if bug == Bug::NoStickiness { rng.below(CLIENTS as u64) as usize } else { client };
            look(&mut log, &replicas[at], client, key, time, &revisions, &mut read[client]);
        }
    }
    if final_reads {
        for replica in &mut replicas {
            while !replica.inbox.is_empty() {
                deliver(replica, None, rng);
            }
        }
        for client in 0..CLIENTS {
            for key in 0..3 {
                look(&mut log, &replicas[client], client, key, 1_000_000_000, &revisions, &mut read[client]);
            }
        }
    }
    log.finish()
}

fn look(
    log: &mut Recorder,
    replica: &Replica,
    client: usize,
    key: u64,
    time: u64,
    revisions: &BTreeMap<u64, u64>,
    read: &mut Vec<u64>,
) {
    let number = replica.cells.get(&key).copied();
    let value = number.map(|number| format!("v{number}"));
    let revision = number.map(|number| revisions[&number]);
    let op = log.invoke(client as u32, time, &format!("k{key}"), Call::Get);
    log.ok(op, time + 500, Reply::Got(value.as_deref().map(|value| Version { value, revision })));
    // Adds only the newest version: the replica has not kept the older ones.
    read.extend(number);
}

/// Applies one message whose dependencies are met. At replica `at`, messages from its neighbour are slow.
fn deliver(replica: &mut Replica, at: Option<usize>, rng: &mut Rng) {
    let ready = |message: &Message| message.after.iter().all(|number| replica.applied.contains(number));
    let ready: Vec<usize> = (0..replica.inbox.len()).filter(|&i| ready(&replica.inbox[i])).collect();
    if !ready.is_empty() {
        let chosen = ready[rng.below(ready.len() as u64) as usize];
        if at.is_some_and(|at| replica.inbox[chosen].sender == (at + 1) % CLIENTS) && rng.percent(90) {
            return;
        }
        let message = replica.inbox.remove(chosen);
        apply(replica, &message);
    }
}

fn apply(replica: &mut Replica, message: &Message) {
    let cell = replica.cells.entry(message.key).or_default();
    *cell = (*cell).max(message.number);
    replica.applied.push(message.number);
}

fn broken(report: &linear::Report) -> bool {
    assert!(report.unknowns().next().is_none(), "{report}");
    report.violations().next().is_some()
}

#[test]
fn each_bug_breaks_what_it_should() {
    let runs = 150;
    let mut found: BTreeMap<String, [u32; 7]> = BTreeMap::new();
    for bug in [Bug::None, Bug::NoStickiness, Bug::OutOfOrder, Bug::NoDependencies] {
        for seed in 0..runs {
            let history = run(bug, 150, false, &mut Rng(seed));
            let options = Options::default();
            let counts = found.entry(format!("{bug:?}")).or_default();
            for (count, report) in counts.iter_mut().zip(&session::check_guarantees(&history, &options)) {
                *count += u32::from(broken(report));
            }
            counts[4] += u32::from(broken(&session::check_causal(&history, &options)));
            counts[5] += u32::from(broken(&session::check_causal_convergence(&history, &options)));
            counts[6] += u32::from(broken(&seaworthy_check::check(&history, &linear::Options::default())));
        }
    }
    println!("violated of {runs}, in order {:?}, CC, CCv, linear: {found:#?}", Guarantee::ALL.map(Guarantee::name));
    let often = runs as u32 / 10;
    assert_eq!(found["None"][..6], [0; 6]);
    assert!(found["None"][6] > often, "copies lag");
    let [ryw, mr, ..] = found["NoStickiness"];
    assert!(ryw > often && mr > often);
    let [ryw, mr, mw, wfr, _, ccv, _] = found["OutOfOrder"];
    assert_eq!((ryw, mr, wfr), (0, 0, 0));
    assert!(mw > often && ccv > often);
    let [ryw, mr, mw, wfr, _, ccv, _] = found["NoDependencies"];
    assert_eq!((ryw, mr, mw), (0, 0, 0));
    assert!(wfr > often && ccv > often);
}

#[test]
fn copies_agree_in_the_end() {
    for seed in 0..30 {
        let history = run(Bug::None, 60, true, &mut Rng(seed));
        let options = Options::default();
        assert!(session::check_convergence(&history, &options).is_valid());
        assert!(session::check_phantom_writes(&history).is_valid());
        assert!(!broken(&session::check_lost_writes(&history, &options)));
    }
}

fn write(log: &mut Recorder, process: u32, time: u64, value: &str) {
    let op = log.invoke(process, time, "k", Call::put(value));
    log.ok(op, time + 1, Reply::Done { revision: None });
}

fn read(log: &mut Recorder, process: u32, time: u64, value: Option<&str>) {
    let op = log.invoke(process, time, "k", Call::Get);
    log.ok(op, time + 1, Reply::Got(value.map(|value| Version { value, revision: None })));
}

fn anomaly(report: &linear::Report) -> String {
    report.violations().map(|evidence| evidence.anomaly.clone()).collect()
}

#[test]
fn lost_phantom_and_diverging_writes_are_found() {
    let mut log = Recorder::default();
    write(&mut log, 0, 0, "a");
    write(&mut log, 1, 10, "b");
    read(&mut log, 0, 20, Some("a"));
    read(&mut log, 1, 30, Some("a"));
    let options = Options::default();
    let history = log.finish();
    assert_eq!(anomaly(&session::check_lost_writes(&history, &options)), "lost write");
    assert!(session::check_convergence(&history, &options).is_valid());
    let quiet = Options { quiet: 1_000, ..options };
    assert!(session::check_lost_writes(&history, &quiet).unknowns().next().is_some());

    let mut log = Recorder::continuing(history);
    read(&mut log, 2, 40, Some("b"));
    let history = log.finish();
    assert!(session::check_lost_writes(&history, &options).is_valid());
    assert_eq!(anomaly(&session::check_convergence(&history, &options)), "divergence");

    let mut log = Recorder::continuing(history);
    let failed = log.invoke(0, 50, "k", Call::put("c"));
    log.fail(failed, 51);
    read(&mut log, 2, 60, Some("c"));
    let report = session::check_phantom_writes(&log.finish());
    assert_eq!(anomaly(&report), "phantom write");
    assert!(report.to_string().contains("did not happen"), "{report}");
}

#[test]
fn staleness_is_measured() {
    let mut log = Recorder::default();
    for (i, value) in ["a", "b", "c"].iter().enumerate() {
        write(&mut log, 0, 10_000_000 * i as u64, value);
    }
    read(&mut log, 1, 25_000_000, Some("a"));
    read(&mut log, 1, 26_000_000, Some("c"));
    let figures = session::measure(&log.finish());
    assert_eq!(figures.get("stale reads"), Some(1.0));
    assert_eq!(figures.get("staleness in versions, max"), Some(2.0));
    // "b" returned at 10.000001 ms, and the read was called at 25 ms.
    assert!((figures.get("staleness in ms, max").unwrap_or_default() - 14.999_999).abs() < 1e-9, "{figures}");
    assert!(serde_json::to_string(&figures).is_ok_and(|json| json.contains("\"stale reads\"")));
}
