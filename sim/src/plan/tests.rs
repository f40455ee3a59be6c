//! Plans of the bundled scenarios, conversion from and to text, and the manual, which is kept equal to the code.

use super::*;
use crate::scenario::{Act, Scenario};
use crate::settings::KINDS;
use crate::world::disk::{Losing, Room};
use proptest::prelude::*;
use seaworthy::types::NodeId;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const SMALL: &str = r#"
name = "small"
description = "A few of everything, for the golden file and the manual."

[workload]
clients = 2
rate = 3

[time]
storm = "6s"
calm = "8s"

[[fault]]
kind = "kill"
target = "leader"
at = "3s"
lasts = "500ms..1s"

[[fault]]
kind = "partition"
follows = "kill"
target = "same"
delay = "1s..2s"
lasts = "1s"

[[fault]]
kind = "clock-jump"
count = 1

[[fault]]
kind = "link"
target = "random"
on = "peers"
loss = 0.2
jitter = "20ms"
at = "5s"
lasts = "1s..2s"
"#;

fn small() -> Scenario {
    Scenario::parse("small.toml", SMALL).unwrap_or_else(|p| panic!("{p}"))
}

fn bundled() -> Vec<(PathBuf, Scenario)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    Scenario::load_dir(&root).unwrap_or_else(|p| panic!("{p}"))
}

#[test]
fn a_small_plan() {
    insta::assert_snapshot!("small_plan", Plan::expand(&small(), 7).write());
    insta::assert_snapshot!("small_facts", serde_json::to_string_pretty(&Plan::expand(&small(), 7).facts()).unwrap());
}

#[test]
fn bundled_scenarios_expand_to_sane_plans() {
    for (_, scenario) in bundled() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let plan = Plan::expand(&scenario, seed);
            let text = plan.write();
            if seed % 10 == 0 {
                assert_eq!(Plan::expand(&scenario, seed).write(), text, "{} {seed}: the same bytes", plan.scenario);
                // Reading checks names, pairs of begin and end, and unique words. It is the inverse of writing.
                let read = Plan::read("plan", &text).unwrap_or_else(|p| panic!("{p}"));
                assert_eq!(read, plan);
            }
            check_times(&plan);
            assert!(seen.insert(text), "{} {seed}: differs from other seeds", plan.scenario);
        }
    }
}

/// Scenarios that last for hours are left out above, but can be loaded like the others.
#[test]
fn nightly_scenarios_are_read_when_they_are_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/nightly");
    let nightly = Scenario::load_dir(&root).unwrap_or_else(|p| panic!("{p}"));
    let plans: Vec<Plan> = nightly.iter().map(|(_, scenario)| Plan::expand(scenario, 1)).collect();
    plans.iter().for_each(check_times);
    assert!(plans.iter().any(|plan| plan.time.storm > Duration::from_secs(3 * 3600 - 1)));
    let names: Vec<String> = bundled().into_iter().map(|(_, scenario)| scenario.name).collect();
    assert!(plans.iter().all(|plan| !names.contains(&plan.scenario)));
}

fn check_times(plan: &Plan) {
    assert!(plan.events.is_sorted_by_key(Event::order));
    let crowded = plan.workload.crowd > 0;
    assert!(!plan.faults().is_empty() || crowded, "{} {}: inert", plan.scenario, plan.seed);
    assert!(plan.operations() > 300 || plan.workload.rate == 0);
    let last = plan.time.ends() - plan.workload.timeout.high;
    let mut lost: Vec<NodeId> = Vec::new();
    for event in &plan.events {
        match &event.what {
            What::End(_) => assert!(event.at <= plan.time.storm_ends()),
            What::Begin { fault, forever, .. } => {
                assert!(event.at >= plan.time.warmup && event.at <= plan.time.storm_ends());
                if let (Target::Nodes(nodes), true) = (&fault.target, *forever || fault.kind.forfeits()) {
                    lost.extend(nodes);
                }
            }
            What::Op { .. } => assert!(event.at < last),
        }
    }
    assert!(lost.len() <= plan.cluster.minority() as usize, "{} {}: {lost:?} lost", plan.scenario, plan.seed);
}

/// Together the bundled scenarios use every kind, shape and selector.
#[test]
fn bundled_scenarios_use_every_kind() {
    let mut kinds = BTreeSet::new();
    let mut targets = BTreeSet::new();
    let mut note = |what: &Act| {
        if let Act::Fault(fault, _) = what {
            kinds.insert(fault.kind.name());
            targets.insert(fault.target.show());
        }
    };
    for (_, scenario) in bundled() {
        for spec in &scenario.faults {
            note(&spec.what);
            if let Act::Swarm(catalogue) = &spec.what {
                catalogue.iter().for_each(|spec| note(&spec.what));
            }
        }
    }
    let missing: Vec<&str> = KINDS.iter().map(|k| k.0).filter(|k| !kinds.contains(k)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "kinds that no scenario tries");
    for selector in
        ["leader", "follower", "leader-minority", "random", "minority", "half", "majority", "region", "all", "same"]
    {
        assert!(targets.contains(selector), "no scenario aims at {selector}");
    }
}

#[test]
fn a_fault_more_changes_neither_operations_nor_other_faults() {
    let more = format!("{SMALL}\n[[fault]]\nkind = \"pause\"\nevery = \"2s\"\n");
    let more = Plan::expand(&Scenario::parse("more.toml", &more).expect("valid"), 7);
    let less = Plan::expand(&small(), 7);
    let without_pauses = |plan: &Plan| -> Vec<(Duration, String)> {
        let keep = |e: &&Event| match &e.what {
            What::Op { .. } => true,
            What::Begin { fault, .. } => {
                !matches!(fault.kind, Kind::Pause) && !matches!(fault.target, Target::SameAs(_))
            }
            What::End(_) => false,
        };
        let plain = |e: &Event| match &e.what {
            What::Begin { fault, .. } => (e.at, format!("{fault:?}")),
            _ => (e.at, e.line()),
        };
        plan.events.iter().filter(keep).map(plain).collect()
    };
    assert!(more.faults().contains_key("pause"));
    assert_eq!(without_pauses(&more), without_pauses(&less));
}

#[test]
fn a_closed_loop_bounds_operations_by_their_pauses() {
    let mut scenario = small();
    scenario.workload.think = Some(Duration::from_millis(500));
    let plan = Plan::expand(&scenario, 1);
    assert_eq!(plan.operations(), 2 * 28, "two clients, 14 s without the last timeout, half a second each");
}

#[test]
fn values_have_their_length() {
    assert_eq!(Tag { word: "c1-2".into(), size: 7 }.bytes(), b"c1-2...");
    assert_eq!(Tag { word: "c1-2".into(), size: 2 }.bytes(), b"c1-2");
}

const HEAD: &str = "seaworthy-plan 1\nscenario x\nseed 7\ncluster\nnetwork\ndisk\nworkload\ntime\nexpect\n";

/// Each entry is wrong in one way: a header and the line with the error.
const WRONG: &[(&str, &str)] = &[
    ("no such word", "storm 3\n"),
    ("no time", "begin f1 pause target=n1\n"),
    ("bad time", "3 begin f1 pause target=n1\n"),
    ("bad verb", "3s start f1 pause target=n1\n"),
    ("bad id", "3s begin 1 pause target=n1\n"),
    ("bad kind", "3s begin f1 puase target=n1\n"),
    ("no target", "3s begin f1 pause\n"),
    ("bad target", "3s begin f1 pause target=boss\n"),
    ("bad field", "3s begin f1 kill target=n1 unsinced=tear\n4s end f1\n"),
    ("no value", "3s begin f1 kill target=n1 tear\n4s end f1\n"),
    ("given twice", "3s begin f1 kill target=n1 target=n2\n4s end f1\n"),
    ("no end", "3s begin f1 pause target=n1\n"),
    ("end before begin", "3s end f1\n4s begin f1 pause target=n1\n"),
    ("second end", "3s begin f1 pause target=n1\n4s end f1\n5s end f1\n"),
    ("second begin", "3s begin f1 pause target=n1\n4s end f1\n5s begin f1 pause target=n1\n"),
    ("absent server", "3s begin f1 pause target=n4\n4s end f1\n"),
    ("unbegun fault", "3s begin f1 pause target=f2\n4s end f1\n"),
    ("drawn clients", "3s begin f1 partition target=n1\n4s end f1\n"),
    ("absent client", "3s c6 get k1\n"),
    ("after the end", "33s c1 get k1\n"),
    ("bad operation", "3s c1 take k1\n"),
    ("no key", "3s c1 get\n"),
    ("bad condition", "3s c1 put k1 c1-1 if=maybe\n"),
    ("condition on a read", "3s c1 get k1 if=nx\n"),
    ("word used twice", "3s c1 put k1 c1-1\n4s c1 put k1 c1-1\n"),
    ("unknown word", "3s c1 delete k1 if=cmp:c1-1\n"),
    ("huge value", "3s c1 put k1 c1-1 size=999999999999\n"),
    ("absent server to ask", "3s c1 get k1 via=n4\n"),
    ("level of a write on a read", "3s c1 get k1 w=one\n"),
    ("bad level", "3s c1 get k1 r=most\n"),
    ("header twice", "seed 8\n"),
];

#[test]
fn what_is_wrong_is_said_with_its_place() {
    assert!(Plan::read("x.plan", HEAD).is_ok());
    let mut said = String::new();
    for (what, lines) in WRONG {
        let problem = Plan::read("x.plan", &format!("{HEAD}{lines}")).expect_err(what);
        said += &format!("{what}:\n  {problem}\n");
    }
    for (what, text) in [
        ("empty", String::new()),
        ("not a plan", "{\"a\": 1}\n".into()),
        ("newer version", HEAD.replace("plan 1", "plan 2")),
        ("no seed", HEAD.replace("seed 7\n", "")),
        ("bad setting", HEAD.replace("cluster", "cluster nodes=three")),
        ("wrong setting", HEAD.replace("time", "time calm=1s")),
    ] {
        let problem = Plan::read("x.plan", &text).expect_err(what);
        said += &format!("{what}:\n  {problem}\n");
    }
    insta::assert_snapshot!("wrong_plans", said);
}

#[test]
fn events_may_stand_in_any_order() {
    let lines = "5s end f1\n4s c1 get k1\n4s begin f1 pause target=n1\n";
    let plan = Plan::read("x.plan", &format!("{HEAD}{lines}")).unwrap_or_else(|p| panic!("{p}"));
    let order: Vec<String> = plan.events.iter().map(Event::line).collect();
    assert_eq!(order, ["  4.000s begin f1 pause target=n1\n", "  4.000s c1 get k1\n", "  5.000s end f1\n"]);
}

fn any_when() -> impl Strategy<Value = When> {
    prop_oneof![
        Just(When::Always),
        Just(When::Missing),
        Just(When::Present),
        Just(When::SawValue),
        Just(When::SawRevision),
        any::<i64>().prop_map(When::Revision),
    ]
}

fn any_kind() -> impl Strategy<Value = Kind> {
    use crate::settings::{Link, Probability, Shift};
    let link =
        (0u64..1 << 40, 0.0..=1.0f64, proptest::option::of(any::<u64>()), 0.0..=1.0f64).prop_map(|(l, p, b, q)| {
            let latency = Duration::from_nanos(l + 1);
            Link { latency, loss: Probability(p), bandwidth: b, corrupt: Probability(q), ..Link::default() }
        });
    let shape =
        prop_oneof![Just(Shape::Split), Just(Shape::Mute), Just(Shape::Deaf), Just(Shape::Bridge), Just(Shape::Ring)];
    let clients = prop_oneof![
        Just(Clients::Free),
        Just(Clients::Inside(Vec::new())),
        prop::collection::vec(1u32..=5, 1..4).prop_map(Clients::Inside)
    ];
    let unsynced = prop_oneof![Just(Unsynced::Keep), Just(Unsynced::Tear), Just(Unsynced::Garble)];
    prop_oneof![
        (shape, clients).prop_map(|(shape, clients)| Kind::Partition { shape, clients }),
        (prop_oneof![Just(Links::Peers), Just(Links::Clients), Just(Links::Both)], link)
            .prop_map(|(on, add)| Kind::Link { on, add }),
        unsynced.prop_map(|unsynced| Kind::Kill { unsynced }),
        (1u64..60).prop_map(|s| Kind::Directory { with: Directory::Old, age: Duration::from_secs(s) }),
        any::<u32>().prop_map(|times| Kind::DiskSlow { times }),
        (any::<u64>(), 0.0..=1.0f64, prop_oneof![Just(Part::Log), Just(Part::Header), Just(Part::Snapshot)])
            .prop_map(|(sectors, p, of)| Kind::Rot { of, sectors, oldest: Probability(p) }),
        (any::<u64>(), prop_oneof![Just(Room::Growth), Just(Room::Syncs), Just(Room::Writes)])
            .prop_map(|(free, refuses)| Kind::DiskFull { free, refuses }),
        prop_oneof![Just(Pages::Dropped), Just(Pages::Clean)].prop_map(|pages| Kind::FsyncFail { pages }),
        prop_oneof![Just(Losing::All), Just(Losing::Some)].prop_map(|loses| Kind::FsyncLie { loses }),
        (-i64::MAX..i64::MAX).prop_map(|by| Kind::ClockJump { by: Shift(by) }),
        (-900_000i64..=900_000).prop_map(|ppm| Kind::ClockDrift { ppm }),
        (prop_oneof![Just(Way::Out), Just(Way::In), Just(Way::Both)], 0u64..1 << 40)
            .prop_map(|(way, by)| Kind::Delay { on: Links::Both, way, by: Duration::from_nanos(by) }),
        Just(Kind::Pause),
        Just(Kind::Transfer),
    ]
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        (0u32..=9).prop_map(Target::Leader),
        (1u32..=9).prop_map(Target::Follower),
        Just(Target::Nodes(vec![NodeId(1)])),
        Just(Target::Nodes(vec![NodeId(3), NodeId(1)])),
    ]
}

fn any_how() -> impl Strategy<Value = How> {
    use seaworthy::types::Level;
    let level =
        prop_oneof![Just(Level::One), Just(Level::All), Just(Level::LocalQuorum), (1u8..=7).prop_map(Level::Count)];
    let (level, via) = (proptest::option::of(level), proptest::option::of((1u32..=3).prop_map(NodeId)));
    (level, via).prop_map(|(level, via)| How { level, via })
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let fault = (any_kind(), any_target(), 0u64..20_000_000_000, 1u64..10_000_000_000, any::<bool>());
    let op = (0u64..30_000_000_000, 1u32..=5, 0usize..3, any_when(), 0u64..100_000, any_how());
    let lists = (prop::collection::vec(fault, 0..12), prop::collection::vec(op, 0..30), any::<u64>());
    lists.prop_map(|(faults, ops, seed)| {
        let mut plan = Plan::read("head", HEAD).expect("the header");
        plan.seed = seed;
        for (n, (kind, target, at, length, forever)) in faults.into_iter().enumerate() {
            let id = FaultId(n as u32 + 1);
            let forever = forever && kind.lasts();
            let end = (kind.lasts() && !forever).then_some(Duration::from_nanos(at + length));
            let at = Duration::from_nanos(at);
            plan.events.push(Event { at, what: What::Begin { id, fault: Fault { kind, target }, forever } });
            plan.events.extend(end.map(|at| Event { at, what: What::End(id) }));
        }
        for (n, (at, client, verb, when, size, how)) in ops.into_iter().enumerate() {
            let key = format!("k{}", n % 3);
            let value = Tag { word: format!("c{client}-{n}"), size };
            let call = match verb {
                0 => Call::Get { key },
                1 => Call::Put { key, value, when, ttl: (n % 4 == 0).then_some(Duration::from_millis(1500)) },
                3 => Call::Extend { key, ttl: Duration::from_secs(2) },
                _ => Call::Delete { key, when },
            };
            plan.events.push(Event { at: Duration::from_nanos(at), what: What::Op { client, call, how } });
        }
        plan.events.sort_by_key(Event::order);
        plan
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_is_the_inverse_of_writing(plan in any_plan()) {
        let text = plan.write();
        let read = Plan::read("plan", &text).map_err(|p| TestCaseError::fail(p.to_string()))?;
        prop_assert_eq!(read.write(), text);
        prop_assert_eq!(read, plan);
    }

    /// Whatever a plan or scenario contains, reading it returns a value or a problem. It never panics.
    #[test]
    fn reading_never_panics(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<char>()), 1..6)) {
        let plan = Plan::expand(&small(), 3).write();
        for text in [plan.as_str(), SMALL] {
            let mut chars: Vec<char> = text.chars().collect();
            for (at, c) in &edits {
                let at = at.index(chars.len());
                chars[at] = *c;
            }
            let text: String = chars.into_iter().collect();
            let _ = Plan::read("plan", &text);
            if let Ok(scenario) = Scenario::parse("scenario", &text) {
                let _ = Plan::expand(&scenario, 1);
            }
        }
    }
}

/// The parts of docs/scenarios.md that are generated from the code. `UPDATE_DOCS=1` rewrites them.
#[test]
fn the_manual_says_what_the_code_says() {
    use crate::settings::{Bucket, Cluster, Cpu, Disk, Expect, Times, Workload};
    let row = |(name, meaning): (&str, &str), value: &str| format!("| `{name}` | `{value}` | {meaning} |\n");
    let table = |docs: Vec<(&'static str, &'static str)>, words: Vec<(&'static str, String)>| -> String {
        let rows: String = docs.into_iter().zip(words).map(|(doc, (_, value))| row(doc, &value)).collect();
        format!("| field | default | meaning |\n|---|---|---|\n{rows}")
    };
    let kinds: String = KINDS
        .iter()
        .map(|(name, fields, what)| {
            let fields = fields.split_whitespace().map(|f| format!("`{f}`")).collect::<Vec<_>>().join(" ");
            format!("| `{name}` | {fields} | {what} |\n")
        })
        .collect();
    let plan = Plan::expand(&small(), 7).write();
    let names: String = bundled().iter().map(|(_, s)| format!("| `{}` | {} |\n", s.name, s.description)).collect();
    let parts = [
        ("cluster", table(Cluster::docs(), Cluster::default().words())),
        ("network", table(Network::docs(), Network::default().words())),
        ("disk", table(Disk::docs(), Disk::default().words())),
        ("cpu", table(Cpu::docs(), Cpu::default().words())),
        ("bucket", table(Bucket::docs(), Bucket::default().words())),
        ("workload", table(Workload::docs(), Workload::default().words())),
        ("time", table(Times::docs(), Times::default().words())),
        ("expect", table(Expect::docs(), Expect::default().words())),
        ("kinds", format!("| kind | fields and defaults | what happens |\n|---|---|---|\n{kinds}")),
        ("scenario", format!("```toml\n{}```\n", SMALL.trim_start())),
        ("plan", format!("```text\n{}```\n", plan.lines().take(40).map(|l| format!("{l}\n")).collect::<String>())),
        ("bundled", format!("| scenario | what it does |\n|---|---|\n{names}")),
    ];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scenarios.md");
    let mut manual = std::fs::read_to_string(&path).expect("docs/scenarios.md");
    let found = manual.clone();
    for (name, text) in parts {
        let (open, close) = (format!("<!-- {name}: kept by a test -->\n"), "<!-- end -->");
        let begin = manual.find(&open).unwrap_or_else(|| panic!("the manual lacks the part {name}")) + open.len();
        let end = begin + manual[begin..].find(close).expect("the end of the part");
        manual.replace_range(begin..end, &text);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &manual).expect("written");
        return;
    }
    assert!(manual == found, "docs/scenarios.md is out of date: run this test with UPDATE_DOCS=1");
}
