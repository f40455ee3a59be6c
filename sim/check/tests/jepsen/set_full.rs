//! Sets that keep their elements: histories with known verdicts, comparison with following each event, and errors.

use super::common::Rng;
use super::{Amount, Analysis, edn, elements, evidence, figure, judged, misfit, verdict};
use seaworthy_check::OpId;
use std::collections::BTreeMap;

const FULL: Analysis = Analysis::SetFull;
const LINEARIZABLE: Analysis = Analysis::SetFullLinearizable;

#[test]
fn everything_stays() {
    let history = edn("1 invoke add 1
        1 ok add 1
        2 invoke read nil
        1 invoke add 2
        2 ok read #{1}
        1 ok add 2
        2 invoke read nil
        2 ok read [2 1]");
    let report = judged(LINEARIZABLE, &history);
    assert!(report.is_valid(), "{report}");
    assert_eq!(figure(&report, "stable-count"), Amount::Count(2));
    assert_eq!(
        figure(&report, "stale-count"),
        Amount::Count(0),
        "the read that misses 2 was called before it was known"
    );
    let quantiles = Amount::Quantiles(["0", "0.5", "0.95", "0.99", "1"].map(|part| (part, 0)).to_vec());
    assert_eq!(figure(&report, "stable-latencies"), quantiles);
}

#[test]
fn lost() {
    let history = edn("1 invoke add 1
        1 ok add 1
        2 invoke read nil
        2 ok read #{1}
        2 invoke read nil
        2 ok read #{}
        1 invoke add 2
        1 ok add 2
        2 invoke read nil
        2 ok read #{2}");
    let report = judged(FULL, &history);
    let evidence = evidence(&report);
    assert_eq!((&*evidence.anomaly, &evidence.core[..]), ("lost element", &[OpId(0), OpId(1), OpId(4)][..]));
    assert_eq!(figure(&report, "lost"), elements(&["1"]));
    // Known at 1 ms; last seen by the read called at 2 ms.
    let Amount::Quantiles(of) = figure(&report, "lost-latencies") else { panic!() };
    assert_eq!(of[0], ("0", 1));
}

#[test]
fn lost_though_its_add_is_unknown_as_a_read_showed_it() {
    let seen = "1 invoke add 1
        1 info add 1
        2 invoke read nil
        2 ok read #{1}
        2 invoke read nil
        2 ok read #{}";
    assert_eq!(verdict(FULL, &edn(seen)), "lost element");
    let unseen = "1 invoke add 1
        1 info add 1
        2 invoke read nil
        2 ok read #{}";
    assert!(verdict(FULL, &edn(unseen)).starts_with("unknown: nothing to judge"));
    assert_eq!(figure(&judged(FULL, &edn(unseen)), "never-read"), elements(&["1"]));
}

#[test]
fn stale_is_not_lost_and_only_linearizable_sets_must_not_be() {
    let history = edn("1 invoke add 1
        1 ok add 1
        2 invoke read nil
        2 ok read #{}
        2 invoke read nil
        2 ok read #{1}");
    assert_eq!(verdict(FULL, &history), "valid");
    assert_eq!(verdict(LINEARIZABLE, &history), "stale element");
    let report = judged(LINEARIZABLE, &history);
    assert_eq!(figure(&report, "stale"), elements(&["1"]));
    assert_eq!(figure(&report, "worst-stale"), elements(&["1: 1 ms"]));
    assert_eq!(evidence(&report).core, [OpId(0), OpId(1), OpId(2)]);
}

#[test]
fn in_a_read_twice() {
    let history = edn("1 invoke add 1
        1 ok add 1
        2 invoke read nil
        2 ok read [1 1]");
    assert_eq!(verdict(FULL, &history), "duplicated element");
    assert_eq!(figure(&judged(FULL, &history), "duplicated"), elements(&["1"]));
}

#[test]
fn from_nowhere() {
    let history = edn("1 invoke add 1
        1 fail add 1
        2 invoke read nil
        2 ok read [1 9]");
    assert_eq!(verdict(FULL, &history), "phantom element");
    assert_eq!(figure(&judged(FULL, &history), "unexpected"), elements(&["1", "9"]));
}

#[test]
fn what_is_malformed_is_refused_where_it_stands() {
    let number = edn("1 invoke add 1\n1 ok add 1\n2 invoke read nil\n2 ok read 7");
    assert_eq!(misfit(FULL, &number), "3: a read of a set sees a list of elements, and this saw 7");
    let removes = edn("1 invoke add 1\n1 ok add 1\n2 invoke remove 1\n2 ok remove 1");
    assert_eq!(misfit(FULL, &removes), "3: set-full is of add and read, and this is remove");
}

/// An element as `jepsen.checker/set-full` tracks it, event by event: the positions of the known event, and of the last
/// calls of reads that show it and that miss it.
#[derive(Default)]
struct Followed {
    known: Option<usize>,
    present: Option<usize>,
    absent: Option<usize>,
}

#[test]
fn agrees_with_following_each_event() {
    let mut rng = Rng(8);
    let mut met: BTreeMap<&str, u64> = BTreeMap::new();
    for n in 0..3_000 {
        // Each process adds an element of its own, or reads.
        let (mut open, mut text, mut followed): (BTreeMap<u64, (usize, Option<u64>)>, _, _) =
            (BTreeMap::new(), String::new(), BTreeMap::<u64, Followed>::new());
        let mut next = 0;
        for event in 0..4 + rng.below(20) as usize {
            let process = rng.below(4);
            match open.remove(&process) {
                None if rng.percent(50) => {
                    text += &format!("{process} invoke add {next}\n");
                    followed.insert(next, Followed::default());
                    open.insert(process, (event, Some(next)));
                    next += 1;
                }
                None => {
                    text += &format!("{process} invoke read nil\n");
                    open.insert(process, (event, None));
                }
                Some((_, Some(added))) => {
                    text += &format!("{process} ok add {added}\n");
                    let element = followed.get_mut(&added).unwrap();
                    element.known = element.known.or(Some(event));
                }
                Some((called, None)) => {
                    let seen: Vec<u64> = (0..next).filter(|_| rng.percent(70)).collect();
                    let list: Vec<String> = seen.iter().map(u64::to_string).collect();
                    text += &format!("{process} ok read [{}]\n", list.join(" "));
                    for (value, element) in &mut followed {
                        if seen.contains(value) {
                            element.known = element.known.or(Some(event));
                            element.present = element.present.max(Some(called));
                        } else {
                            element.absent = element.absent.max(Some(called));
                        }
                    }
                }
            }
        }
        let history = edn(&text);
        let report = judged(FULL, &history);
        let mut expected: BTreeMap<&str, Vec<String>> =
            ["lost", "never-read", "stale"].into_iter().map(|name| (name, Vec::new())).collect();
        let mut stable = 0;
        for (value, Followed { known, present, absent }) in &followed {
            let after_known = known.is_some() && *known < *absent;
            let outcome = match () {
                () if present.is_some() && absent < present => "stable",
                () if after_known && present < absent => "lost",
                () => "never-read",
            };
            stable += u64::from(outcome == "stable");
            *met.entry(outcome).or_default() += 1;
            if let Some(list) = expected.get_mut(outcome) {
                list.push(value.to_string());
            }
            if outcome == "stable" && after_known {
                *met.entry("stale").or_default() += 1;
                expected.get_mut("stale").unwrap().push(value.to_string());
            }
        }
        for (name, list) in expected {
            assert_eq!(figure(&report, name), Amount::Elements(list), "{n}: {name} of\n{text}");
        }
        assert_eq!(figure(&report, "stable-count"), Amount::Count(stable), "{n}:\n{text}");
    }
    assert!(met.len() == 4 && met.values().all(|&times| times > 500), "{met:?}");
}
