//! Queues that are drained: histories with known verdicts, comparison with plain counting, and errors.

use super::common::Rng;
use super::{Amount, Analysis, edn, elements, evidence, figure, judged, misfit, refused, text_of, verdict};
use seaworthy_check::{History, Kind, OpId, Options, check_as};
use std::collections::BTreeMap;

const QUEUE: Analysis = Analysis::TotalQueue;

#[test]
fn all_that_went_in_came_out() {
    let history = edn("1 invoke enqueue 1
        1 ok enqueue 1
        1 invoke enqueue 1
        1 ok enqueue 1
        2 invoke enqueue 2
        2 info enqueue 2
        3 invoke dequeue nil
        3 ok dequeue 1
        3 invoke dequeue nil
        3 fail dequeue nil
        4 invoke drain nil
        4 ok drain [1 2]");
    let report = judged(QUEUE, &history);
    assert!(report.is_valid(), "{report}");
    for (name, count) in [
        ("attempt-count", 3),
        ("acknowledged-count", 2),
        ("ok-count", 3),
        ("recovered-count", 1),
        ("lost-count", 0),
        ("duplicated-count", 0),
        ("unexpected-count", 0),
    ] {
        assert_eq!(figure(&report, name), Amount::Count(count), "{name}");
    }
    assert_eq!(figure(&report, "recovered"), elements(&["2"]));
}

#[test]
fn lost() {
    let history = edn("1 invoke enqueue 1
        1 ok enqueue 1
        1 invoke enqueue 2
        1 ok enqueue 2
        2 invoke dequeue nil
        2 ok dequeue 1");
    assert!(check_as(Kind::Queue, &history, &Options::default()).is_valid(), "it may still be in the queue");
    let report = judged(QUEUE, &history);
    let evidence = evidence(&report);
    assert_eq!((&*evidence.anomaly, &evidence.core[..]), ("lost", &[OpId(1)][..]));
    assert!(evidence.explanation.contains("never came out"), "{evidence}");
    assert_eq!(figure(&report, "lost"), elements(&["2"]));
}

#[test]
fn lost_once_of_two() {
    let history = edn("1 invoke enqueue 7
        1 ok enqueue 7
        1 invoke enqueue 7
        1 ok enqueue 7
        2 invoke drain nil
        2 ok drain (7)");
    assert_eq!(verdict(QUEUE, &history), "lost");
}

#[test]
fn unexpected() {
    let history = edn("1 invoke enqueue 1
        1 ok enqueue 1
        2 invoke drain nil
        2 ok drain [1 9]");
    assert_eq!(verdict(QUEUE, &history), "unexpected");
    assert_eq!(figure(&judged(QUEUE, &history), "unexpected"), elements(&["9"]));
}

#[test]
fn what_had_failed_does_not_come_out() {
    let history = edn("1 invoke enqueue 1
        1 fail enqueue 1
        2 invoke dequeue nil
        2 ok dequeue 1");
    let report = judged(QUEUE, &history);
    assert!(evidence(&report).explanation.contains("every enqueue of it had failed"), "{report}");
}

#[test]
fn duplicates_are_counted_and_allowed() {
    let history = edn("1 invoke enqueue 1
        1 ok enqueue 1
        2 invoke drain nil
        2 ok drain [1 1 1]");
    let report = judged(QUEUE, &history);
    assert!(report.is_valid(), "{report}");
    assert_eq!(figure(&report, "duplicated"), elements(&["1", "1"]));
    assert_eq!(report.parts[0].counts[0].name, "duplicated");
}

#[test]
fn a_dequeue_of_unknown_outcome_may_have_taken_one() {
    let with = |missing: usize| {
        let mut text = "9 invoke dequeue nil\n9 info dequeue nil\n".to_owned();
        for n in 0..missing {
            text += &format!("1 invoke enqueue {n}\n1 ok enqueue {n}\n");
        }
        edn(&text)
    };
    assert!(verdict(QUEUE, &with(1)).starts_with("unknown: 1 acknowledged elements never came out"));
    assert_eq!(verdict(QUEUE, &with(2)), "lost");
}

/// A crashed drain may have taken everything that is missing, but nothing twice.
#[test]
fn a_drain_of_unknown_outcome() {
    let history = edn("1 invoke enqueue 1
        1 ok enqueue 1
        1 invoke enqueue 2
        1 ok enqueue 2
        2 invoke drain nil
        2 info drain nil
        3 invoke dequeue nil
        3 ok dequeue nil
        4 invoke drain nil");
    assert_eq!(history.operations().len(), 2 + 2 + 1, "{history:?}");
    assert!(verdict(QUEUE, &history).starts_with("unknown: 2 acknowledged"));
    assert!(check_as(Kind::UnorderedQueue, &history, &Options::default()).is_valid());
    assert!(check_as(Kind::Queue, &history, &Options::default()).is_valid());
}

/// A drain takes its elements one by one, and other operations may come between.
#[test]
fn drains_are_no_moment() {
    let history = edn("2 invoke drain nil
        1 invoke enqueue 1
        1 ok enqueue 1
        3 invoke dequeue nil
        3 ok dequeue 1
        1 invoke enqueue 2
        1 ok enqueue 2
        1 invoke enqueue 3
        1 ok enqueue 3
        2 ok drain [2 3]");
    assert!(check_as(Kind::Queue, &history, &Options::default()).is_valid());
    let wrong = edn("1 invoke enqueue 1
        1 ok enqueue 1
        2 invoke drain nil
        2 ok drain []
        3 invoke dequeue nil
        3 ok dequeue 1
        3 invoke drain nil
        3 ok drain [1]");
    assert!(!check_as(Kind::Queue, &wrong, &Options::default()).is_valid());
}

#[test]
fn keys_are_queues_of_their_own() {
    let history = edn("1 invoke enqueue [:a 1]
        1 ok enqueue [:a 1]
        1 invoke enqueue [:b 1]
        1 ok enqueue [:b 1]
        2 invoke drain [:a nil]
        2 ok drain [:a [1]]
        3 invoke drain [:b nil]
        3 ok drain [:b []]");
    let report = judged(QUEUE, &history);
    let verdicts: Vec<(&str, bool)> =
        report.parts.iter().map(|part| (&*part.name, part.verdict == seaworthy_check::Verdict::Valid)).collect();
    assert_eq!(verdicts, [(":a", true), (":b", false)]);
}

#[test]
fn what_is_malformed_is_refused_where_it_stands() {
    let enqueue =
        "{:process 1, :type :invoke, :f :enqueue, :value 1}\n{:process 1, :type :ok, :f :enqueue, :value 1}\n";
    let drain = "{:process 1, :type :invoke, :f :drain}\n{:process 1, :type :ok, :f :drain, :value 5}\n";
    assert_eq!(
        refused(&format!("{enqueue}{drain}")),
        "line 4, column 43: expected the list of the elements that the drain took"
    );
    let json = "{\"process\":1,\"type\":\"invoke\",\"f\":\"drain\"}\n{\"process\":1,\"type\":\"ok\",\"f\":\"drain\",\"value\":\"x\"}\n";
    assert_eq!(refused(json), "line 2, column 46: expected the list of the elements that the drain took");
    let add = "{:process 1, :type :invoke, :f :add, :value 1}\n";
    assert_eq!(
        misfit(QUEUE, &text_of(&format!("{enqueue}{add}"))),
        "3: total-queue is of enqueue, dequeue and drain, and this is add"
    );
}

/// Counts plainly, as `jepsen.checker/total-queue` defines it, with the differences that the module states.
fn counted(script: &[(char, u64, &'static str)]) -> [i64; 5] {
    let mut of: BTreeMap<u64, [i64; 3]> = BTreeMap::new();
    for &(f, value, end) in script {
        let slot = of.entry(value).or_default();
        match (f, end) {
            ('e', "fail") => {}
            ('e', end) => {
                slot[0] += 1;
                slot[1] += i64::from(end == "ok");
            }
            (_, "ok") => slot[2] += 1,
            _ => {}
        }
    }
    let mut all = [0; 5];
    for [tried, acknowledged, out] in of.into_values() {
        all[0] += if tried == 0 { out } else { 0 };
        all[1] += (acknowledged - out).max(0);
        all[2] += if tried > 0 { (out - tried).max(0) } else { 0 };
        all[3] += (out.min(tried) - acknowledged).max(0);
        all[4] += out.min(tried);
    }
    all
}

#[test]
fn agrees_with_plain_counting() {
    let mut rng = Rng(5);
    let (mut valid, mut invalid, mut unknown) = (0, 0, 0);
    for _ in 0..2_000 {
        let (mut script, mut text) = (Vec::new(), String::new());
        for n in 0..rng.below(14) {
            let f = if rng.percent(50) { 'e' } else { 'd' };
            let end = ["ok", "ok", "ok", "ok", "info", "fail"][rng.below(6) as usize];
            let value = rng.below(5);
            script.push((f, value, end));
            let (name, asked) = if f == 'e' { ("enqueue", value.to_string()) } else { ("dequeue", "nil".to_owned()) };
            text += &format!("{n} invoke {name} {asked}\n{n} {end} {name} {value}\n");
        }
        if text.is_empty() {
            continue;
        }
        let history: History = edn(&text);
        let report = judged(QUEUE, &history);
        let names = ["unexpected-count", "lost-count", "duplicated-count", "recovered-count", "ok-count"];
        let found = names.map(|name| match figure(&report, name) {
            Amount::Count(n) => n as i64,
            other => panic!("{other:?}"),
        });
        assert_eq!(found, counted(&script), "{text}");
        let silent = script.iter().filter(|(f, _, end)| (*f, *end) == ('d', "info")).count() as i64;
        let [unexpected, lost, ..] = found;
        let verdict = verdict(QUEUE, &history);
        let expected = match () {
            () if unexpected > 0 => "unexpected",
            () if lost > silent => "lost",
            () if lost > 0 => "unknown",
            () => "valid",
        };
        assert!(verdict.starts_with(expected), "{verdict}, not {expected}: {text}");
        *match expected {
            "valid" => &mut valid,
            "unknown" => &mut unknown,
            _ => &mut invalid,
        } += 1;
    }
    assert!(valid > 100 && invalid > 100 && unknown > 50, "{valid} {invalid} {unknown}");
}
