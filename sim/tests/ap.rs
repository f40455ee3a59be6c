//! Runs the same plan against both databases, with the same times and faults, and checks what each gives up.

#![cfg(madsim)]

use seaworthy::dynamo::siblings::Content;
use seaworthy::types::{Key, NodeId};
use seaworthy_check::replicas::{Call, End, Observed};
use seaworthy_check::{End as Ended, Function};
use seaworthy_sim::plan::{Call as Asked, Plan, What};
use seaworthy_sim::report::{ApCounts, Mode, Outcome, Verdict};
use seaworthy_sim::run::{Finished, Options, layout, run};
use seaworthy_sim::scenario::Scenario;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn plan(name: &str, seed: u64) -> Arc<Plan> {
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../scenarios/{name}.toml"));
    Arc::new(Plan::expand(&Scenario::load(&file).unwrap_or_else(|problem| panic!("{problem}")), seed))
}

fn run_in(plan: &Arc<Plan>, mode: Mode) -> Finished {
    let finished = run(plan, Options { mode, ..Options::default() });
    assert_eq!(finished.record.outcome.verdict, Verdict::Pass, "{mode}");
    finished
}

fn observed(finished: &Finished) -> &Observed {
    &finished.observed.as_ref().expect("a run against quorums").0
}

/// Returns the values found by the reads that were called between these times, in seconds.
fn read_between(finished: &Finished, from: f64, to: f64) -> Vec<Vec<String>> {
    let within = |called: u64| (from..to).contains(&(called as f64 / 1e9));
    let reads = observed(finished).operations.iter().filter(|op| op.call == Call::Get && within(op.called));
    let found = |end: &End| match end {
        End::Ok(Some(values)) => {
            let mut values = values.clone();
            values.sort();
            values
        }
        other => panic!("a read ended in {other:?}"),
    };
    reads.map(|op| found(&op.end)).collect()
}

/// Returns how the operations against Raft ended that were called between these times, in seconds.
fn ended_between(finished: &Finished, from: f64, to: f64) -> Vec<(Function, Ended)> {
    let history = &finished.history;
    let within = |event: u32| (from..to).contains(&(history.time(event) as f64 / 1e9));
    history.operations().iter().filter(|op| within(op.called)).map(|op| (op.f, op.end)).collect()
}

#[test]
fn red_and_blue_become_purple() {
    for seed in 1..=3 {
        let plan = plan("ap/red-blue-purple", seed);
        let ap = run_in(&plan, Mode::Ap);
        assert_eq!(read_between(&ap, 5.0, 6.0), [["Red"], ["Blue"]], "each side sees its own");
        assert_eq!(read_between(&ap, 9.0, 9.5), [["Blue", "Red"]], "both are kept");
        assert_eq!(read_between(&ap, 11.0, 12.5), [["Purple"], ["Purple"]]);
        for replica in ap.replicas.values() {
            let entry = &replica.keys[&Key::from_static(b"colour")];
            assert_eq!(entry.siblings.clock().to_string(), "{n1:1, n2:1, n3:1}");
            let [version] = entry.siblings.versions() else { panic!("one version") };
            assert_eq!(
                (version.dot.to_string().as_str(), &version.content),
                ("n3:1", &Content::Value("Purple".into()))
            );
        }
        let cp = run_in(&plan, Mode::Cp);
        let refused = ended_between(&cp, 3.9, 4.1);
        assert!(matches!(refused[..], [(Function::Write, Ended::Fail | Ended::Info)]), "{refused:?}");
        assert_eq!(ended_between(&cp, 4.15, 4.3), [(Function::Write, Ended::Ok)], "the majority goes on");
    }
}

#[test]
fn a_write_that_reached_one_server_is_refused_or_stale() {
    for seed in 1..=3 {
        let plan = plan("ap/three-servers", seed);
        let ap = run_in(&plan, Mode::Ap);
        assert_eq!(read_between(&ap, 5.0, 7.0), [["book"], ["book"]], "stale, but answered");
        assert_eq!(read_between(&ap, 11.0, 17.0), [["book+pen"], ["book+pen"]], "n3 has brought it");
        let outcome = &ap.record.outcome;
        assert_eq!((outcome.linearizable, outcome.lost), (Some(false), 0));
        assert!(outcome.stale.ok >= 2 && outcome.heal_ms.is_some(), "{outcome:?}");
        let cp = run_in(&plan, Mode::Cp);
        let write = ended_between(&cp, 3.4, 3.6);
        assert!(matches!(write[..], [(Function::Write, Ended::Fail | Ended::Info)]), "{write:?}");
        assert_eq!(ended_between(&cp, 6.4, 6.6), [(Function::Read, Ended::Fail)], "no majority, no answer");
        assert_eq!(cp.record.outcome.linearizable, Some(true));
    }
}

#[test]
fn a_stand_in_hands_over_what_it_kept() {
    let plan = plan("ap/hinted-handoff", 1);
    let order = layout(&plan, Mode::Ap).order(b"Key1")[..3].to_vec();
    assert!(order.contains(&NodeId(3)), "the server that is down is to hold Key1: {order:?}");
    let ap = run_in(&plan, Mode::Ap);
    let counts = ap.record.outcome.ap.expect("a run against quorums");
    assert_eq!((counts.hints_stored, counts.handed_over, counts.repairs), (1, 1, 0));
    assert!(ap.replicas.values().all(|replica| replica.hints.is_empty()), "what is handed over is forgotten");
    assert_eq!(read_between(&ap, 5.9, 6.1), [["meanwhile"]]);
}

/// Returns the outcomes of three seeds of a scenario under quorums.
fn outcomes(name: &str) -> [Outcome; 3] {
    [1, 2, 3].map(|seed| run_in(&plan(name, seed), Mode::Ap).record.outcome)
}

/// Returns the counts of the quorum side for three seeds of a scenario.
fn counts(name: &str) -> [ApCounts; 3] {
    outcomes(name).map(|outcome| outcome.ap.expect("a run against quorums"))
}

#[test]
fn clocks_that_jump_lose_writes_to_the_last_writer_and_none_otherwise() {
    for outcome in outcomes("ap/clock-skew-last-writer") {
        assert!(outcome.lost_to_policy > 0 && outcome.lost == 0, "{outcome:?}");
    }
    for outcome in outcomes("ap/clock-skew-versions") {
        assert!(outcome.acknowledged > 500 && outcome.lost == 0 && outcome.lost_to_policy == 0, "{outcome:?}");
    }
}

#[test]
fn stand_ins_make_reads_stale_and_strict_quorums_do_not() {
    let sloppy = outcomes("ap/sloppy-quorum");
    assert!(sloppy.iter().all(|outcome| outcome.stale.ok > 0), "{sloppy:?}");
    let strict = outcomes("ap/strict-quorum");
    assert!(strict.iter().all(|outcome| outcome.stale.ok == 0 && outcome.stale.of > 500), "{strict:?}");
    let storm = |outcomes: &[Outcome; 3]| outcomes.iter().filter_map(|o| o.availability.storm.fraction()).sum::<f64>();
    assert!(storm(&sloppy) > storm(&strict), "staleness buys availability");
}

#[test]
fn hints_are_refused_beyond_their_room_and_expire_in_time() {
    assert!(counts("ap/hint-overload").iter().all(|counts| counts.hints_refused > 0 && counts.handed_over > 0));
    assert!(counts("ap/hint-expiry").iter().all(|counts| counts.hints_expired > 0));
    assert!(counts("ap/holders-restart").iter().all(|counts| counts.handed_over > 0));
    let restarts = counts("ap/hints-and-rolling-restart");
    assert!(restarts.iter().all(|counts| counts.handed_over > 0), "{restarts:?}");
}

#[test]
fn tombstones_are_collected_once_every_replica_has_them() {
    assert!(counts("ap/tombstone-and-the-absent").iter().all(|counts| counts.collected > 0));
}

#[test]
fn blind_writers_are_refused_when_there_are_as_many_versions_as_may_be() {
    for seed in 1..=3 {
        let plan = plan("ap/sibling-explosion", seed);
        let finished = run_in(&plan, Mode::Ap);
        let most = finished.replicas.values().flat_map(|r| r.keys.values()).map(|e| e.siblings.versions().len()).max();
        // Each of two coordinators may accept one more before it learns of the other's.
        assert!(most >= Some(plan.cluster.max_siblings as usize), "{most:?}");
        assert!(most <= Some(3 * plan.cluster.max_siblings as usize), "{most:?}");
        assert!(finished.record.outcome.ops.fail > 100, "{:?}", finished.record.outcome.ops);
    }
}

#[test]
fn a_write_with_a_wrong_context_is_refused() {
    for outcome in outcomes("ap/confused-clients") {
        assert!(outcome.ops.fail > 50 && outcome.lost == 0, "{:?}", outcome.ops);
    }
}

/// Additions of all kinds were executed: positive and negative, acknowledged and of unknown outcome, and through
/// stand-ins. Each corresponds to a put of the plan.
#[test]
fn counters_are_added_to_through_storms() {
    for seed in 1..=3 {
        let plan = plan("ap/counters", seed);
        let finished = run_in(&plan, Mode::Ap);
        assert!(finished.record.outcome.ap.expect("a run against quorums").handed_over > 0);
        let operations = &observed(&finished).operations;
        let additions =
            || operations.iter().filter_map(|op| if let Call::Add(n) = op.call { Some((op, n)) } else { None });
        let count = |which: &dyn Fn(&End, i64) -> bool| additions().filter(|(op, n)| which(&op.end, *n)).count();
        let [up, down, unknown] = [
            count(&|end, n| matches!(end, End::Ok(Some(_))) && n > 0),
            count(&|end, n| matches!(end, End::Ok(Some(_))) && n < 0),
            count(&|end, _| *end == End::Info),
        ];
        assert!(up > 400 && down > 400 && unknown > 5, "{up} up, {down} down, {unknown} unknown");
        assert!(operations.iter().all(|op| matches!(op.call, Call::Get | Call::Add(_))), "no key is put or deleted");
        let lengths = plan.events.iter().filter_map(|event| match &event.what {
            What::Op { call: Asked::Put { key, value, .. }, .. } => Some((key.clone(), value.size)),
            _ => None,
        });
        let mut put: Vec<(String, u64)> = lengths.collect();
        let mut added: Vec<(String, u64)> = additions().map(|(op, n)| (op.key.clone(), n.unsigned_abs())).collect();
        put.sort();
        added.sort();
        assert_eq!(added, put);
        assert!(additions().all(|(_, n)| (n > 0) == (n % 2 == 0)), "odd lengths are taken away");
    }
}

#[test]
fn both_regions_go_on_by_quorums_and_one_by_raft() {
    for seed in 1..=3 {
        let plan = plan("ap/region-cut-off", seed);
        let (ap, cp) = (run_in(&plan, Mode::Ap).record.outcome, run_in(&plan, Mode::Cp).record.outcome);
        let storm = |outcome: &Outcome| outcome.availability.storm.fraction().expect("a storm");
        assert!(storm(&ap) > 0.99 && storm(&cp) < 0.97, "{} {}", storm(&ap), storm(&cp));
        assert!(ap.conflicts.ok > 0 && ap.lost == 0, "both sides write, and both are kept: {ap:?}");
    }
}

/// Each database gives up something: Raft availability, quorums the latest value.
#[test]
fn quorums_of_one_trade_the_latest_for_an_answer() {
    for name in ["leader-isolated", "majority-partition"] {
        let storm = |outcome: &Outcome| outcome.availability.storm.fraction().expect("a storm");
        let mut stale = 0;
        for seed in 1..=3 {
            let plan = plan(&format!("cp/{name}"), seed);
            let cp = run_in(&plan, Mode::Cp);
            let ap = run(&plan, Options { mode: Mode::Ap, met: cp.met.clone(), ..Options::default() }).record.outcome;
            let cp = cp.record.outcome;
            assert_eq!(ap.verdict, Verdict::Pass);
            assert!(storm(&ap) > 0.99 && storm(&ap) > storm(&cp), "{name}: {} {}", storm(&ap), storm(&cp));
            assert_eq!((cp.stale.ok, cp.linearizable, ap.linearizable), (0, Some(true), Some(false)));
            stale += ap.stale.ok;
        }
        assert!(stale > 0, "{name}: no read was stale");
    }
}

/// Under quorums, a fault aimed at the leader hits the servers that it hit under Raft. The operations are the same.
#[test]
fn both_databases_meet_the_same_faults_and_operations() {
    let plan = plan("cp/leader-isolated", 2);
    assert!(plan.aims_at_leaders());
    let cp = run_in(&plan, Mode::Cp);
    let ap = run(&plan, Options { mode: Mode::Ap, met: cp.met.clone(), ..Options::default() });
    assert!(!cp.met.is_empty());
    assert_eq!(ap.met, cp.met);
    let asked = |finished: &Finished| finished.record.outcome.faults.iter().map(|f| f.requested).sum::<u64>();
    assert_eq!(asked(&ap), asked(&cp));
    let due = |finished: &Finished| finished.record.outcome.availability.storm.of;
    assert_eq!(due(&ap), due(&cp), "the same operations were due");
}

#[test]
fn quorums_run_the_same_again() {
    for (name, seed) in [("cp/swarm", 3), ("cp/torn-writes", 3), ("ap/hinted-handoff", 3)] {
        let plan = plan(name, seed);
        let outcome = || run(&plan, Options { mode: Mode::Ap, ..Options::default() }).record.outcome;
        assert_eq!(outcome(), outcome(), "{name}");
    }
}

#[test]
fn groups_share_servers_and_keep_their_promises() {
    let text = "name = \"groups\"\ndescription = \"Eight groups.\"\n[cluster]\nnodes = 5\ngroups = 8\nvoters = 3\n\
                [workload]\nkeys = 30\n[[fault]]\nkind = \"kill\"\ntarget = \"leader\"\nevery = \"5s\"\n";
    let plan = Arc::new(Plan::expand(&Scenario::parse("groups", text).unwrap(), 1));
    let finished = run_in(&plan, Mode::Cp);
    assert!(finished.record.outcome.ops.ok > 800, "{:?}", finished.record.outcome.ops);
}

/// A key that is written and deleted repeatedly, through servers that join and leave, keeps a version vector of bounded
/// size.
#[test]
fn spent_clock_entries_are_pruned() {
    let pruned = |seed: u64| {
        let finished = run_in(&plan("ap/short-lives", seed), Mode::Ap);
        finished.record.outcome.ap.expect("a run against quorums").pruned
    };
    assert!((1..=4).map(pruned).sum::<u64>() > 100);
}

/// Each bucket has its own history, and both buckets have a comparable number of operations.
#[test]
fn both_databases_are_loaded_at_once() {
    let plan = plan("ap/two-buckets", 1);
    let finished = run_in(&plan, Mode::Ap);
    let beside = finished.beside.as_ref().expect("a CP bucket beside");
    assert!(beside.operations().len() as u64 > plan.operations() / 2, "{}", beside.operations().len());
    assert!((0..beside.keys()).all(|key| beside.key(seaworthy_check::history::KeyId(key)).starts_with("raft/")));
    assert!(observed(&finished).operations.iter().all(|op| !op.key.starts_with("raft/")));
}
