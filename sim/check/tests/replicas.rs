//! Leaderless stores: planted violations are found, valid histories pass, and the figures agree with a slow oracle.

#[path = "replicas/guarantees.rs"]
mod guarantees;
#[path = "replicas/oracle.rs"]
mod oracle;
#[path = "replicas/store.rs"]
mod store;

use seaworthy_check::replicas::{
    self, CONVERGED, COUNTED, Call, Dump, End, Figures, Findings, LATEST, NONE_INVENTED, NONE_LOST, NONE_RESURRECTED,
    ONCE, Observed, Operation, Options, Policy, Quorum, USABLE, jsonl,
};
use store::{Dice, Plan};

const MS: u64 = 1_000_000;

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

fn operation(client: u32, (called, returned): (u64, u64), call: Call, end: End) -> Operation {
    let (called, returned) = (called * MS, (returned != 0).then_some(returned * MS));
    Operation { client, key: "k".to_owned(), called, returned, call, end, level: "quorum".to_owned(), quorum: None }
}

fn put(client: u32, times: (u64, u64), value: &str, saw: &[&str]) -> Operation {
    let end = if times.1 == 0 { End::Info } else { End::Ok(None) };
    operation(client, times, Call::Put { value: value.to_owned(), saw: strings(saw) }, end)
}

fn delete(client: u32, times: (u64, u64), saw: &[&str]) -> Operation {
    let end = if times.1 == 0 { End::Info } else { End::Ok(None) };
    operation(client, times, Call::Delete { saw: strings(saw) }, end)
}

fn get(client: u32, times: (u64, u64), found: &[&str]) -> Operation {
    operation(client, times, Call::Get, End::Ok(Some(strings(found))))
}

fn add(client: u32, times: (u64, u64), n: i64) -> Operation {
    operation(client, times, Call::Add(n), if times.1 == 0 { End::Info } else { End::Ok(None) })
}

/// A history after which three replicas hold the same values.
fn ending(operations: Vec<Operation>, values: &[&str]) -> Observed {
    let dump = |replica: &str| Dump {
        replica: replica.to_owned(),
        key: "k".to_owned(),
        values: strings(values),
        state: values.concat(),
    };
    Observed { operations, dumps: ["n1", "n2", "n3"].map(dump).to_vec() }
}

fn judge(observed: &Observed, policy: Policy, strict: bool) -> Findings {
    replicas::check(observed, &Options { policy, strict, ..Options::default() })
}

/// Returns the properties that are violated.
fn violated(observed: &Observed, policy: Policy, strict: bool) -> Vec<&'static str> {
    judge(observed, policy, strict).counts.into_keys().collect()
}

fn siblings(operations: Vec<Operation>, values: &[&str]) -> Vec<&'static str> {
    violated(&ending(operations, values), Policy::Siblings, false)
}

#[test]
fn an_acknowledged_write_is_there_or_explained() {
    let a = || put(1, (0, 1), "a", &[]);
    assert!(siblings(vec![a()], &["a"]).is_empty());
    assert_eq!(siblings(vec![a()], &[]), [NONE_LOST]);
    assert_eq!(siblings(vec![a(), put(2, (0, 1), "b", &[])], &["b"]), [NONE_LOST], "a concurrent write is no reason");
    assert!(siblings(vec![a(), put(2, (2, 3), "b", &["a"])], &["b"]).is_empty());
    assert!(siblings(vec![a(), delete(2, (2, 3), &["a"])], &[]).is_empty());
    assert!(siblings(vec![a(), delete(2, (2, 0), &["a"])], &[]).is_empty(), "a delete in doubt may have happened");
    assert_eq!(siblings(vec![a(), delete(2, (2, 3), &[])], &[]), [NONE_LOST], "it deleted nothing");
    let failed = operation(2, (2, 3), Call::Delete { saw: strings(&["a"]) }, End::Fail);
    assert_eq!(siblings(vec![a(), failed], &[]), [NONE_LOST], "it certainly did not happen");
    assert!(siblings(vec![put(1, (0, 0), "a", &[])], &[]).is_empty(), "it was not acknowledged");
    let mut given_up = a();
    given_up.end = End::Info;
    assert!(siblings(vec![given_up], &[]).is_empty(), "its caller gave up at some time");
}

#[test]
fn what_is_in_doubt_explains_only_if_it_left_a_trace() {
    let doubted = || vec![put(1, (0, 1), "a", &[]), put(2, (2, 0), "b", &["a"])];
    assert!(siblings(doubted(), &["b"]).is_empty());
    assert!(siblings(doubted(), &["a"]).is_empty());
    assert_eq!(siblings(doubted(), &[]), [NONE_LOST]);
    let mut longer = doubted();
    longer.push(put(3, (4, 5), "c", &["b"]));
    assert!(siblings(longer.clone(), &["c"]).is_empty());
    assert_eq!(
        judge(&ending(longer, &[]), Policy::Siblings, false).counts[NONE_LOST],
        2,
        "a and c, for b was not acknowledged"
    );
}

#[test]
fn the_last_writer_may_lose_others_but_not_all() {
    let both = || vec![put(1, (0, 1), "a", &[]), put(2, (0, 1), "b", &[])];
    let found = judge(&ending(both(), &["b"]), Policy::LastWriter, false);
    assert!(found.is_valid());
    assert_eq!(found.figures.lost_to_policy, 0, "either may be the later");
    let updated = |last: &str| {
        let found = judge(
            &ending(vec![put(1, (0, 1), "a", &[]), put(2, (2, 3), "b", &[])], &[last]),
            Policy::LastWriter,
            false,
        );
        (found.is_valid(), found.figures.lost_to_policy)
    };
    assert_eq!((updated("b"), updated("a")), ((true, 0), (true, 1)), "the second write came after the first");
    let read = |called, value| get(3, (called, called + 1), &[value]);
    let lost = |reads: Vec<Operation>| {
        let writes = vec![put(1, (0, 1), "a", &[]), put(2, (2, 3), "b", &[]), put(1, (20, 21), "c", &[])];
        judge(&ending([writes, reads].concat(), &["c"]), Policy::LastWriter, false).figures.lost_to_policy
    };
    assert_eq!(lost(vec![]), 0, "replaced unseen");
    assert_eq!(lost(vec![read(4, "a")]), 1, "the older value was shown after it");
    assert_eq!(lost(vec![read(4, "a"), read(6, "b")]), 0, "it was shown after all");
    assert_eq!(violated(&ending(both(), &[]), Policy::LastWriter, false), [NONE_LOST]);
    let deleted = [both(), vec![delete(3, (2, 3), &["b"])]].concat();
    assert!(violated(&ending(deleted, &[]), Policy::LastWriter, false).is_empty());
    let back = vec![put(1, (0, 1), "a", &[]), put(2, (2, 0), "b", &["a"]), put(1, (4, 5), "c", &["b"])];
    assert_eq!(
        violated(&ending(back, &["a"]), Policy::LastWriter, false),
        [NONE_LOST, NONE_RESURRECTED],
        "c cannot have lost against a, which it had overwritten"
    );
}

#[test]
fn what_was_overwritten_does_not_come_back() {
    let gone = || vec![put(1, (0, 1), "a", &[]), put(2, (2, 3), "b", &["a"]), delete(3, (4, 5), &["b"])];
    assert!(siblings(gone(), &[]).is_empty());
    assert_eq!(siblings(gone(), &["a"]), [NONE_RESURRECTED], "overwritten at second hand");
    assert_eq!(siblings(gone(), &["b"]), [NONE_RESURRECTED]);
    let read = [gone(), vec![get(1, (6, 7), &["b"])]].concat();
    let at = |final_from, strict| {
        let options = Options { policy: Policy::Siblings, strict, final_from, ..Options::default() };
        replicas::check(&ending(read.clone(), &[]), &options).counts.into_keys().collect::<Vec<_>>()
    };
    assert!(at(None, false).is_empty(), "a stale read, until the replicas have converged");
    assert_eq!(at(Some(6 * MS), false), [NONE_RESURRECTED]);
    assert!(at(Some(7 * MS), false).is_empty());
    assert_eq!(at(None, true), [NONE_RESURRECTED, LATEST]);
    let at_once = [gone(), vec![get(1, (5, 6), &["b"])]].concat();
    let options = Options { policy: Policy::Siblings, strict: true, final_from: Some(5 * MS), ..Options::default() };
    assert!(replicas::check(&ending(at_once, &[]), &options).is_valid(), "called when the delete was acknowledged");
    let beside = vec![put(1, (0, 1), "a", &[]), put(2, (2, 0), "b", &["a"]), get(3, (4, 5), &["a", "b"])];
    assert_eq!(siblings(beside, &["b"]), [NONE_RESURRECTED], "beside what overwrote it");
}

#[test]
fn values_are_written_before_and_once() {
    let a = || put(1, (0, 1), "a", &[]);
    assert_eq!(siblings(vec![a(), get(2, (2, 3), &["a", "x"])], &["a"]), [NONE_INVENTED]);
    assert_eq!(siblings(vec![a()], &["a", "x"]), [NONE_INVENTED]);
    assert_eq!(siblings(vec![get(2, (0, 1), &["b"]), put(1, (2, 3), "b", &[])], &["b"]), [NONE_INVENTED]);
    assert!(siblings(vec![get(2, (0, 2), &["b"]), put(1, (2, 3), "b", &[])], &["b"]).is_empty());
    let failed = operation(1, (0, 1), Call::Put { value: "f".to_owned(), saw: vec![] }, End::Fail);
    assert!(siblings(vec![failed.clone()], &[]).is_empty());
    let found = judge(&ending(vec![failed], &["f"]), Policy::Siblings, false);
    assert_eq!(found.counts.into_keys().collect::<Vec<_>>(), [NONE_INVENTED]);
    assert!(found.violations[0].words.contains("though its write certainly failed: client 1's"), "it is said how");
    assert_eq!(siblings(vec![put(1, (2, 3), "b", &["z"])], &["b"]), [NONE_INVENTED], "whoever wrote b was shown z");
    let mut other = a();
    other.key = "other".to_owned();
    assert_eq!(siblings(vec![other, get(2, (2, 3), &["a"])], &[]), [NONE_INVENTED], "written to another key");
    assert_eq!(siblings(vec![a(), get(2, (2, 3), &["a", "a"])], &["a"]), [ONCE]);
    assert!(siblings(vec![a()], &["a", "a"]).is_empty(), "copies of a write that was tried again");
    assert_eq!(siblings(vec![a(), put(2, (2, 3), "a", &[])], &["a"]), [USABLE]);
}

#[test]
fn replicas_agree_in_the_end() {
    let mut observed = ending(vec![put(1, (0, 1), "a", &[])], &["a"]);
    observed.dumps[2].state = "older".to_owned();
    assert_eq!(violated(&observed, Policy::Siblings, false), [CONVERGED]);
    observed.dumps[2].values.clear();
    let found = judge(&observed, Policy::Siblings, false);
    assert_eq!(found.violations[0].words, "at the end, replica n1 holds \"a\", and replica n3 holds nothing");
    assert_eq!(found.counts.len(), 1, "the others hold it: nothing is lost");
}

#[test]
fn stale_reads_are_measured_and_strict_quorums_have_none() {
    let writes = [put(1, (0, 10), "a", &[]), put(1, (20, 30), "b", &["a"]), put(1, (40, 50), "c", &["b"])];
    let observed = ending([&writes[..], &[get(2, (150, 151), &["a"])]].concat(), &["c"]);
    let found = judge(&observed, Policy::Siblings, true);
    assert_eq!(found.counts.into_iter().collect::<Vec<_>>(), [(NONE_RESURRECTED, 1), (LATEST, 1)]);
    let level = &found.figures.levels["quorum"];
    assert_eq!((level.stale.judged, level.stale.violated), (1, 1));
    assert_eq!((level.versions.percentile(50), level.micros.percentile(50) / 10_000), (2, 12), "b and c, since 30 ms");
    assert_eq!(level.visible[2].violated, 1, "100 ms after the latest acknowledgement");
    let latest = found.violations.iter().find(|violation| violation.property == LATEST).expect("it is told");
    assert_eq!(latest.operations, [3, 1]);
    assert_eq!(
        latest.words,
        "client 2's read → \"a\" (150 to 151 ms, quorum) misses client 1's write of \"b\" over \"a\" (20 to 30 ms, \
         quorum), which was acknowledged 120 ms before; in all it misses 2 acknowledged writes"
    );
    let fresh = [&writes[..], &[get(2, (45, 151), &["b"])]].concat();
    assert!(violated(&ending(fresh, &["c"]), Policy::Siblings, true).is_empty(), "c was not acknowledged yet");
}

#[test]
fn counters_add_up() {
    let counted = |operations: Vec<Operation>, value: &str, strict| {
        violated(&ending(operations, &[value]), Policy::Counter, strict)
    };
    let adds = || vec![add(1, (0, 1), 5), add(2, (0, 0), 2), add(3, (0, 3), -1), add(4, (2, 0), -10)];
    for (value, valid) in [("4", true), ("6", true), ("-6", true), ("7", false), ("-7", false)] {
        assert_eq!(counted(adds(), value, false).is_empty(), valid, "{value}");
    }
    assert_eq!(counted(adds(), "9", false), [COUNTED]);
    assert_eq!(counted(adds(), "five", false), [NONE_INVENTED]);
    let read = |found: &str| [adds(), vec![get(5, (2, 3), &[found])]].concat();
    assert!(counted(read("-11"), "4", false).is_empty());
    assert_eq!(counted(read("8"), "4", false), [NONE_INVENTED]);
    assert_eq!(counted(read("-11"), "4", true), [LATEST], "5 was acknowledged");
    assert!(counted(read("7"), "4", true).is_empty());
    let read = |times, found: &str, strict| counted(vec![add(1, (3, 4), 5), get(2, times, &[found])], "5", strict);
    assert!(read((4, 5), "0", true).is_empty(), "called when 5 was acknowledged");
    assert_eq!(read((5, 6), "0", true), [LATEST]);
    assert!(read((2, 3), "5", false).is_empty(), "returned when 5 was called");
    assert_eq!(read((1, 2), "5", false), [NONE_INVENTED]);
    let mut failed = add(1, (0, 1), 5);
    failed.end = End::Fail;
    assert_eq!(counted(vec![failed], "5", false), [COUNTED], "it was certainly not added");
    let judged = Options { policy: Policy::Counter, strict: true, ..Options::default() };
    assert_eq!(
        judged.properties(&Observed::default()).collect::<Vec<_>>(),
        [NONE_INVENTED, ONCE, CONVERGED, LATEST, COUNTED]
    );
    let huge = vec![add(1, (0, 1), i64::MAX), add(1, (2, 3), i64::MAX)];
    assert_eq!(counted(huge, "1", false), [COUNTED]);
}

fn plan(seed: u64) -> Plan {
    let policy = if seed.is_multiple_of(3) { Policy::LastWriter } else { Policy::Siblings };
    Plan {
        strict: seed.is_multiple_of(2),
        policy,
        clients: 4,
        keys: 2,
        operations: 60,
        read_first: seed.is_multiple_of(5),
    }
}

#[test]
fn valid_histories_pass_and_their_figures_agree() {
    let (mut together, mut lost) = (Figures::default(), 0);
    for seed in 0..3_000 {
        let (observed, options) = store::run(seed, plan(seed));
        let found = replicas::check(&observed, &options);
        assert!(found.is_valid(), "seed {seed}: {:#?}", found.violations);
        assert_eq!(found.figures.levels, oracle::levels(&observed, &options), "seed {seed}");
        lost += found.figures.lost_to_policy;
        together += &found.figures;
    }
    let (one, quorum) = (&together.levels["one"], &together.levels["quorum"]);
    assert_eq!(quorum.stale.violated, 0);
    assert!(lost > 0 && lost == together.lost_to_policy);
    let kinds = [one.read_your_writes, one.monotonic_reads, one.monotonic_writes, one.writes_follow_reads, one.stale];
    assert!(kinds.iter().all(|tally| tally.violated >= 5), "the store is not weak enough to tell anything: {one:?}");
    assert!(one.conflicts > 100 && quorum.conflicts > 100);
}

/// Returns whether no write or delete that may have happened saw this value.
fn kept(observed: &Observed, key: &str, value: &String) -> bool {
    let saw = |op: &&Operation| {
        matches!(&op.call, Call::Put { saw, .. } | Call::Delete { saw } if saw.contains(value)) && op.end != End::Fail
    };
    !observed.operations.iter().filter(|op| op.key == key).any(|op| saw(&op))
}

/// Breaks a history in one way, if possible. Returns the property that is then violated.
fn break_it(observed: &mut Observed, options: &Options, way: usize, dice: &mut Dice) -> Option<&'static str> {
    let acked = |op: &Operation| matches!(op.end, End::Ok(_)) && op.call != Call::Get;
    let pick = |of: usize, dice: &mut Dice| (of > 0).then(|| dice.below(of));
    let whole = observed.clone();
    let puts = whole.operations.iter().filter_map(|op| match &op.call {
        Call::Put { value, .. } if acked(op) => Some((&op.key, value, op.returned?)),
        _ => None,
    });
    let puts: Vec<_> = puts.collect();
    let reads: Vec<usize> = (0..whole.operations.len())
        .filter(|&at| matches!(&whole.operations[at].end, End::Ok(Some(found)) if !found.is_empty()))
        .collect();
    let found = |op: &mut Operation, change: &dyn Fn(&mut Vec<String>)| {
        if let End::Ok(Some(found)) = &mut op.end {
            change(found);
        }
    };
    match way {
        // Drop a value.
        0 if options.policy == Policy::Siblings => {
            let kept: Vec<_> = puts.iter().filter(|(key, value, _)| kept(&whole, key, value)).collect();
            let (key, value, _) = kept[pick(kept.len(), dice)?];
            for dump in observed.dumps.iter_mut().filter(|dump| &dump.key == *key) {
                dump.values.retain(|held| held != *value);
            }
            Some(NONE_LOST)
        }
        // Resurrect one.
        1 => {
            let over = whole.operations.iter().filter(|op| acked(op)).filter_map(|op| match &op.call {
                Call::Put { saw, .. } | Call::Delete { saw } => Some((&op.key, saw.first()?)),
                _ => None,
            });
            let over: Vec<_> = over.collect();
            let (key, value) = over[pick(over.len(), dice)?];
            let dump = observed.dumps.iter_mut().find(|dump| dump.key == *key)?;
            dump.values.push(value.clone());
            Some(NONE_RESURRECTED)
        }
        // Invent one.
        2 => {
            let at = reads[pick(reads.len(), dice)?];
            found(&mut observed.operations[at], &|found| found.push("nobody's".to_owned()));
            Some(NONE_INVENTED)
        }
        // Double one.
        3 => {
            let at = reads[pick(reads.len(), dice)?];
            found(&mut observed.operations[at], &|found| found.push(found[0].clone()));
            Some(ONCE)
        }
        // Diverge.
        4 => {
            let at = pick(observed.dumps.len(), dice)?;
            observed.dumps[at].state.push('x');
            Some(CONVERGED)
        }
        // Read an older state.
        5 if options.strict && options.policy == Policy::Siblings => {
            let mut stale = Vec::new();
            for &at in &reads {
                let op = &whole.operations[at];
                let End::Ok(Some(found)) = &op.end else { continue };
                for (_, value, _) in puts.iter().filter(|(key, value, acked)| {
                    **key == op.key && *acked < op.called && found.contains(value) && kept(&whole, key, value)
                }) {
                    stale.push((at, (*value).clone()));
                }
            }
            let (at, value) = stale[pick(stale.len(), dice)?].clone();
            found(&mut observed.operations[at], &|found| found.retain(|held| *held != value));
            Some(LATEST)
        }
        _ => None,
    }
}

#[test]
fn broken_histories_are_found() {
    let mut broken = [0; 6];
    for seed in 0..1_500 {
        let (observed, options) = store::run(seed, plan(seed));
        for (way, broken) in broken.iter_mut().enumerate() {
            let mut changed = observed.clone();
            let Some(property) = break_it(&mut changed, &options, way, &mut Dice::new(seed + 7)) else { continue };
            let found = replicas::check(&changed, &options);
            assert!(found.counts.contains_key(property), "seed {seed}: {property}: {:#?}", found.violations);
            let told = found.violations.iter().find(|violation| violation.property == property).expect("it is told");
            assert!(told.words.len() > 20 && told.operations.iter().all(|&at| at < changed.operations.len()));
            *broken += 1;
        }
    }
    assert!(broken.iter().all(|&times| times > 300), "{broken:?}");
}

#[test]
fn files_come_back_as_they_were() {
    for seed in 0..50 {
        let (observed, options) = store::run(seed, plan(seed));
        let mut file = Vec::new();
        jsonl::write(&observed, &options, &mut file).expect("memory takes it");
        let (again, promised) = jsonl::read(&file[..]).expect("it is well-formed");
        assert!(again == observed && promised == options, "seed {seed}");
    }
}

#[test]
fn files_that_are_wrong_are_refused_where_they_are() {
    let wrong = [
        (
            "{\"policy\":\"best\"}",
            "line 1, column 1: no policy is called \"best\"; there are siblings, last-writer, counter, register, set, map",
        ),
        ("{\"replica\":\"n\",\"key\":\"k\"}", "line 1, column 1: a dump needs \"found\""),
        (
            "\n{\"client\":1,\"key\":\"k\"}",
            "line 2, column 1: neither an operation, which has \"f\", nor a dump, which has \"replica\"",
        ),
        (
            "{\"f\":\"get\",\"end\":\"ok\",\"client\":1,\"key\":\"k\",\"called\":1}",
            "line 1, column 1: what ended in ok needs \"returned\"",
        ),
        (
            "{\"f\":\"get\",\"end\":\"ok\",\"client\":1,\"key\":\"k\",\"called\":2,\"returned\":1}",
            "line 1, column 1: it returned before it was called",
        ),
        (
            "{\"f\":\"get\",\"end\":\"info\",\"client\":1,\"key\":\"k\",\"called\":2,\"value\":\"x\"}",
            "line 1, column 1: \"value\" has no meaning in this get",
        ),
    ];
    for (text, expected) in wrong {
        let error = jsonl::read(text.as_bytes()).expect_err("it is wrong");
        assert_eq!(error.to_string(), expected);
    }
    for text in ["[]", "{\"f\":3}", "{\"x\":1}", "{", "\"", "nonsense", "{\"client\":-1}"] {
        let error = jsonl::read(text.as_bytes()).expect_err("it is wrong").to_string();
        assert!(error.starts_with("line 1, column "), "{text}: {error}");
    }
}

/// Random nonsense: values read before they are written, cycles of `saw`, times that run backwards.
fn nonsense(dice: &mut Dice) -> Observed {
    let value = |dice: &mut Dice| format!("v{}", dice.below(12));
    let values = |dice: &mut Dice| (0..dice.below(4)).map(|_| value(dice)).collect::<Vec<_>>();
    let times = [0, 1, 2, 3, 4, u64::MAX - 1, u64::MAX];
    let operation = |dice: &mut Dice| Operation {
        client: dice.below(2) as u32,
        key: "k".to_owned(),
        called: times[dice.below(times.len())],
        returned: dice.percent(70).then(|| times[dice.below(times.len())]),
        call: match dice.below(10) {
            0..3 => Call::Get,
            3..6 => Call::Put { value: value(dice), saw: values(dice) },
            6 => Call::Delete { saw: values(dice) },
            7 => Call::Insert(value(dice)),
            8 => Call::Remove(value(dice)),
            _ => Call::Add(if dice.percent(50) { i64::MIN } else { i64::MAX }),
        },
        end: match dice.below(4) {
            0 => End::Fail,
            1 => End::Info,
            2 => End::Ok(None),
            _ => End::Ok(Some(values(dice))),
        },
        level: String::new(),
        quorum: dice.percent(50).then(|| {
            let replicas = dice.below(4) as u32;
            Quorum { replicas, of: replicas + dice.below(2) as u32, region: dice.below(3) as u32 }
        }),
    };
    let operations = (0..dice.below(14)).map(|_| operation(dice)).collect();
    let dump = |dice: &mut Dice| Dump {
        replica: "n".to_owned(),
        key: "k".to_owned(),
        values: values(dice),
        state: value(dice),
    };
    let dumps = (0..dice.below(3)).map(|_| dump(dice)).collect();
    Observed { operations, dumps }
}

#[test]
fn nothing_makes_it_panic() {
    let mut dice = Dice::new(1);
    for _ in 0..50_000 {
        let observed = nonsense(&mut dice);
        for (_, policy) in Policy::ALL {
            let options = Options {
                policy,
                strict: dice.percent(50),
                forward: dice.percent(50),
                skew: dice.percent(50).then_some(1),
                final_from: dice.percent(50).then_some(2),
            };
            let found = replicas::check(&observed, &options);
            let known =
                found.counts.keys().all(|&count| options.properties(&observed).any(|property| property == count));
            assert!(known, "{:?}", found.counts);
            assert!(!found.figures.to_string().is_empty());
        }
    }
}

#[test]
fn files_full_of_noise_are_refused_or_read() {
    let (observed, options) = store::run(1, plan(1));
    let mut file = Vec::new();
    jsonl::write(&observed, &options, &mut file).expect("memory takes it");
    let mut dice = Dice::new(2);
    for _ in 0..2_000 {
        let mut noisy = file.clone();
        for _ in 0..=dice.below(3) {
            let at = dice.below(noisy.len());
            noisy[at] = b" \n\"{}[]:,0a\xff"[dice.below(12)];
        }
        if let Ok((observed, options)) = jsonl::read(&noisy[..]) {
            let _ = replicas::check(&observed, &options);
        }
    }
}

#[test]
fn figures_come_back_as_they_were_and_add_up() {
    let figures = |seed| {
        let (observed, options) = store::run(seed, plan(seed));
        replicas::check(&observed, &options).figures
    };
    let text = serde_json::to_string(&figures(1)).expect("figures are plain");
    assert_eq!(serde_json::from_str::<Figures>(&text).expect("as written"), figures(1));
    assert!(text.len() < 1_500, "compact: {}", text.len());
    let mut both = figures(1);
    both += &figures(3);
    assert_eq!(both.operations, figures(1).operations + figures(3).operations);
    assert_eq!(
        both.overall().versions.len(),
        figures(1).overall().versions.len() + figures(3).overall().versions.len()
    );
}

#[test]
fn histograms_are_close() {
    let mut all = replicas::Histogram::default();
    assert_eq!(all.percentile(99), 0);
    (0..=1_000_000).for_each(|n| all.count(n));
    for percent in 1..=100 {
        let (told, true_one) = (all.percentile(percent), percent * 10_000);
        assert!(told >= true_one && told - true_one <= true_one / 8, "p{percent}: {told}");
    }
    let mut ends = replicas::Histogram::default();
    ends.count(u64::MAX);
    assert_eq!(ends.percentile(100), u64::MAX);
}

#[test]
fn the_command_line_judges_files() {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let run = |content: &[u8], arguments: &[&str]| {
        let file = folder.path().join("observed.jsonl");
        std::fs::write(&file, content).expect("it can be written");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_seaworthy-check"));
        let output = command.arg("replicas").arg(&file).args(arguments).output().expect("it runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let lost = ending(vec![put(1, (0, 1), "a", &[]), put(2, (2, 3), "b", &[])], &["a"]);
    let mut file = Vec::new();
    jsonl::write(&lost, &Options::default(), &mut file).expect("memory takes it");
    let (status, text) = run(&file, &[]);
    assert_eq!(status, Some(1));
    assert!(
        text.contains("NOT VALID: no acknowledged write lost (1)\n  k: client 2's write of \"b\" (2 to 3 ms"),
        "{text}"
    );
    assert!(text.contains("\nVALID: convergence\n"), "{text}");
    let (status, text) = run(&file, &["--policy", "last-writer", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).expect("one object");
    assert_eq!((status, &json["figures"]["lost_to_policy"]), (Some(0), &serde_json::json!(1)));
    let properties = json["properties"].as_object().expect("an object");
    assert_eq!((properties.len(), &json["verdict"]), (6, &serde_json::json!("valid")));
    assert!(properties.values().all(|count| *count == 0), "{properties:?}");
    let (status, text) = run(&file, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).expect("one object");
    assert_eq!((status, &json["verdict"]), (Some(1), &serde_json::json!("not valid")));
    assert_eq!(json["properties"][NONE_LOST], 1);
    assert_eq!(json["violations"][0]["operations"], serde_json::json!([1]));
    let (status, text) = run(b"{\"policy\":\"siblings\"}\n{\"f\":\"gut\"}\n", &["--json"]);
    assert_eq!(status, Some(2));
    assert!(text.contains("observed.jsonl:2:1: ") && text.starts_with("{\"error\":"), "{text}");
    assert_eq!(run(b"{}", &["--json"]).0, Some(2));
    assert_eq!(run(b"", &[]).0, Some(2));
}
