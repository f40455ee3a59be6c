//! Error messages for wrong scenarios, and checks that the bundled scenarios are right.

use super::*;

/// Each entry is wrong in one way. The snapshot shows the error message.
const WRONG: &[(&str, &str)] = &[
    ("not TOML", "name = \"x\"\ndescription = \"y\"\n[cluster\nnodes = 3\n"),
    ("misspelt field", "name = \"x\"\ndescription = \"y\"\n[network]\nlatncy = \"1ms\"\n"),
    ("unknown field", "name = \"x\"\ndescription = \"y\"\n[disk]\ncolour = \"blue\"\n"),
    ("misspelt section", "name = \"x\"\ndescription = \"y\"\n[workloads]\nclients = 3\n"),
    ("no name", "description = \"y\"\n"),
    ("spaces in the name", "name = \"two words\"\ndescription = \"y\"\n"),
    ("section that is no table", "name = \"x\"\ndescription = \"y\"\ntime = 3\n"),
    ("duration without unit", "name = \"x\"\ndescription = \"y\"\n[time]\nstorm = 20\n"),
    ("percentage", "name = \"x\"\ndescription = \"y\"\n[network]\nloss = 5\n"),
    ("range turned round", "name = \"x\"\ndescription = \"y\"\n[workload]\nvalue_bytes = \"64..8\"\n"),
    ("slow heartbeat", "name = \"x\"\ndescription = \"y\"\n[cluster]\nelection_timeout = \"200ms\"\n"),
    ("calm too short", "name = \"x\"\ndescription = \"y\"\n[time]\ncalm = \"6s\"\n"),
    ("too many lost", "name = \"x\"\ndescription = \"y\"\n[time]\nlost_nodes = \"1..2\"\n"),
    ("unknown kind", "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"partitoin\"\nevery = \"3s\"\n"),
    ("misspelt kind field", "name = \"x\"\ndescription = \"y\"\n[[fault]]\nknd = \"pause\"\nevery = \"3s\"\n"),
    (
        "field of another kind",
        "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"pause\"\nevery = \"3s\"\nloss = 0.5\n",
    ),
    ("no time", "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"pause\"\n"),
    ("two times", "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"pause\"\nat = \"5s\"\nevery = \"3s\"\n"),
    (
        "time outside the storm",
        "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"pause\"\nat = [\"5s\", \"1m\"]\n",
    ),
    (
        "storm too short",
        "name = \"x\"\ndescription = \"y\"\n[time]\nstorm = \"5s\"\n[[fault]]\nkind = \"pause\"\nevery = \"4s\"\n",
    ),
    (
        "swarm in a short storm",
        "name = \"x\"\ndescription = \"y\"\n[time]\nstorm = \"5s\"\n[[fault]]\nkind = \"swarm\"\n",
    ),
    (
        "unknown target",
        "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"pause\"\ntarget = \"led\"\nevery = \"4s\"\n",
    ),
    (
        "absent server",
        "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"pause\"\ntarget = \"n1,n4\"\nevery = \"4s\"\n",
    ),
    (
        "cut that cuts nothing",
        "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"partition\"\ntarget = \"all\"\nevery = \"4s\"\n",
    ),
    (
        "ring of three",
        "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"partition\"\nshape = \"ring\"\nevery = \"4s\"\n",
    ),
    ("idle link", "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"link\"\nevery = \"4s\"\n"),
    (
        "majority lost",
        "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"kill\"\nlasts = \"forever\"\ncount = \"1..2\"\n",
    ),
    (
        "rot and lost servers",
        "name = \"x\"\ndescription = \"y\"\n[time]\nlost_nodes = 1\n[[fault]]\nkind = \"rot\"\ncount = 1\n",
    ),
    ("rot without bound", "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"rot\"\nevery = \"3s\"\n"),
    (
        "jump with an end",
        "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"clock-jump\"\nevery = \"3s\"\nlasts = \"1s\"\n",
    ),
    (
        "pause for ever",
        "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"pause\"\nat = \"3s\"\nlasts = \"forever\"\n",
    ),
    ("follows no fault", "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"pause\"\nfollows = \"kill\"\n"),
    (
        "same as no fault",
        "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"pause\"\ntarget = \"same\"\nevery = \"4s\"\n",
    ),
    (
        "name taken",
        "name = \"x\"\ndescription = \"y\"\n[[fault]]\nkind = \"pause\"\nevery = \"4s\"\n[[fault]]\nkind = \"kill\"\nname = \"pause\"\nevery = \"4s\"\n",
    ),
    ("single brackets", "name = \"x\"\ndescription = \"y\"\n[fault]\nkind = \"pause\"\n"),
    ("counters under Raft", "name = \"x\"\ndescription = \"y\"\n[bucket]\nresolve = \"pn-counter\"\n"),
    (
        "counters under Raft too",
        "name = \"x\"\ndescription = \"y\"\n[bucket]\nmode = \"both\"\nresolve = \"counter\"\n",
    ),
    (
        "additions with contexts",
        "name = \"x\"\ndescription = \"y\"\n[bucket]\nmode = \"ap\"\nresolve = \"counter\"\ncontext = \"seen\"\n",
    ),
    ("Raft beside Raft", "name = \"x\"\ndescription = \"y\"\n[bucket]\nbeside = true\n"),
    (
        "copies over connections",
        "name = \"x\"\ndescription = \"y\"\n[network]\nconnections = \"ordered\"\nduplicate = 0.1\n",
    ),
    (
        "fault out of order over connections",
        "name = \"x\"\ndescription = \"y\"\n[network]\nconnections = \"ordered\"\n[[fault]]\nkind = \"link\"\nloss = 0.1\nreorder = 0.1\nevery = \"4s\"\n",
    ),
    ("misspelt expectation", "name = \"x\"\ndescription = \"y\"\n[expect]\nmust_fire = \"kill,pauses\"\n"),
];

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let mut said = String::new();
    for (what, text) in WRONG {
        let problem = Scenario::parse("x.toml", text).expect_err(what);
        said += &format!("{what}:\n  {problem}\n");
    }
    insta::assert_snapshot!("wrong_scenarios", said);
}

#[test]
fn every_bundled_scenario_reads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let all = Scenario::load_dir(&root).unwrap_or_else(|p| panic!("{p}"));
    assert!(all.len() >= 22, "{}", all.len());
    for (path, scenario) in &all {
        assert_eq!(path.file_stem().and_then(|s| s.to_str()), Some(scenario.name.as_str()), "named as its file");
        assert!(!scenario.faults.is_empty() || scenario.workload.crowd > 0, "{}", scenario.name);
    }
}

#[test]
fn two_of_one_name_and_an_empty_folder_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    assert!(Scenario::load_dir(dir.path()).expect_err("empty").what.contains("no scenario"));
    for file in ["a.toml", "b.toml"] {
        std::fs::write(dir.path().join(file), "name = \"x\"\ndescription = \"y\"\n").expect("written");
    }
    assert!(Scenario::load_dir(dir.path()).expect_err("twice").what.contains("the name `x`"));
    assert!(Scenario::load(&dir.path().join("c.toml")).expect_err("missing").what.contains("cannot be read"));
}

#[test]
fn defaults_are_valid() {
    let scenario =
        Scenario::parse("x.toml", "name = \"x\"\ndescription = \"\"\"\n  two\n  lines\"\"\"\n").expect("valid");
    assert_eq!(scenario.description, "two lines");
    assert_eq!(scenario.network, Network::default());
    assert_eq!(scenario.cluster, Cluster::default());
}
