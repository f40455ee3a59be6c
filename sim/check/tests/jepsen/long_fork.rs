//! Long forks: histories with known verdicts, comparison with all pairs, and errors.

use super::common::Rng;
use super::{Amount, Analysis, edn, evidence, figure, judged, misfit, text_of, verdict};
use seaworthy_check::{Function, OpId, Report};

const FORK: Analysis = Analysis::LongFork;

/// Writes of keys 0 to 3, and then reads that see this.
fn reads(seen: &[&str]) -> seaworthy_check::History {
    let mut text = String::new();
    for key in 0..4 {
        text += &format!("{key} invoke write [[:w {key} 1]]\n{key} ok write [[:w {key} 1]]\n");
    }
    for seen in seen {
        text += &format!("9 invoke read [[:r 0 nil] [:r 1 nil]]\n9 ok read {seen}\n");
    }
    edn(&text)
}

#[test]
fn reads_in_a_row() {
    let history = reads(&[
        "[[:r 0 nil] [:r 1 nil]]",
        "[[:r 1 nil] [:r 0 1]]",
        "[[:r 0 1] [:r 1 1]]",
        "[[:r 2 nil] [:r 3 1]]",
        "[[:r 0 1] [:r 1 nil]]",
    ]);
    assert!(history.operations().iter().all(|op| op.f == Function::Txn), "{history:?}");
    let report = judged(FORK, &history);
    assert!(report.is_valid(), "{report}");
    assert_eq!(figure(&report, "reads-count"), Amount::Count(5));
    assert_eq!(figure(&report, "early-read-count"), Amount::Count(1));
    assert_eq!(figure(&report, "late-read-count"), Amount::Count(1));
}

#[test]
fn a_fork() {
    let history = reads(&["[[:r 0 1] [:r 1 nil]]", "[[:r 0 1] [:r 1 1]]", "[[:r 1 1] [:r 0 nil]]"]);
    let report = judged(FORK, &history);
    let found = evidence(&report);
    assert_eq!((&*found.anomaly, &found.core[..]), ("long fork", &[OpId(0), OpId(1), OpId(4), OpId(6)][..]));
    assert!(found.explanation.contains("opposite orders"), "{found}");
    assert_eq!(report.parts[0].counts[0].name, "long fork");
}

/// The same history with other names of transactions, and as JSON.
#[test]
fn other_spellings() {
    let plain = edn("1 invoke txn [[:w 0 1]]
        1 ok txn [[:w 0 1]]
        2 invoke txn [[:w 1 1]]
        2 ok txn [[:w 1 1]]
        3 invoke txn [[:r 0 nil] [:r 1 nil]]
        3 ok txn [[:r 0 1] [:r 1 nil]]
        3 invoke txn [[:r 0 nil] [:r 1 nil]]
        3 ok txn [[:r 0 nil] [:r 1 1]]");
    assert_eq!(verdict(FORK, &plain), "long fork");
    let line = |kind: &str, f: &str, value: &str| {
        format!("{{\"process\":1,\"type\":\"{kind}\",\"f\":\"{f}\",\"value\":{value}}}\n")
    };
    let mut json = String::new();
    for (f, asked, told) in [
        ("write", "[[\"w\",0,1]]", "[[\"w\",0,1]]"),
        ("write", "[[\"w\",1,1]]", "[[\"w\",1,1]]"),
        ("read", "[[\"r\",0,null],[\"r\",1,null]]", "[[\"r\",0,1],[\"r\",1,null]]"),
        ("read", "[[\"r\",0,null],[\"r\",1,null]]", "[[\"r\",0,null],[\"r\",1,1]]"),
    ] {
        json += &(line("invoke", f, asked) + &line("ok", f, told));
    }
    assert_eq!(verdict(FORK, &text_of(&json)), "long fork");
}

#[test]
fn lists_of_lists_are_still_values_of_registers() {
    let history =
        edn("1 invoke write [[1 2] [3 4] [5 6]]\n1 ok write [[1 2] [3 4] [5 6]]\n1 invoke write []\n1 ok write []");
    assert!(history.operations().iter().all(|op| op.f == Function::Write), "{history:?}");
}

#[test]
fn multiple_writes() {
    let history = edn("1 invoke write [[:w 0 1]]
        1 ok write [[:w 0 1]]
        1 invoke write [[:w 0 2]]
        1 ok write [[:w 0 2]]
        3 invoke read [[:r 0 nil]]
        3 ok read [[:r 0 2]]");
    assert!(verdict(FORK, &history).starts_with("unknown: multiple writes: 0 was written at line 1 and at line 3"));
}

#[test]
fn what_is_malformed_is_refused_where_it_stands() {
    let told = |text: &str| misfit(FORK, &edn(text));
    let write = "1 invoke write [[:w 0 1]]\n1 ok write [[:w 0 1]]\n";
    assert_eq!(
        told(&format!("{write}1 invoke txn [[:w 1 1] [:r 0 nil]]\n1 ok txn [[:w 1 1] [:r 0 1]]")),
        "3: long-fork is of transactions that only read, or only write one key, and this does more"
    );
    let read = |seen: &str| format!("2 invoke read {seen}\n2 ok read {seen}\n");
    assert_eq!(
        told(&(read("[[:r 0 nil] [:r 1 nil]]") + &read("[[:r 0 nil]]"))),
        "3: reads of long-fork are of as many keys each: this is of 1, others of 2"
    );
    assert_eq!(told(&(read("[[:r 0 1]]") + &read("[[:r 0 2]]"))), "3: 0 is written once, and was read as 2 and as 1");
    assert!(told(&read("[[:r 0 1] [:r 0 1]]")).starts_with("1: long-fork is of transactions that read each key once"));
    assert!(told("1 invoke add 1\n1 ok add 1").starts_with("1: long-fork is of transactions"));
    let bad = "{:process 1, :type :invoke, :f :read, :value [[:r 0 nil]]}\n{:process 1, :type :ok, :f :write, :value [[:r 0]}";
    assert!(super::refused(bad).starts_with("line 2"), "{}", super::refused(bad));
}

/// Compares all pairs, as Jepsen does.
#[test]
fn agrees_with_comparing_all_pairs() {
    let mut rng = Rng(6);
    let (mut valid, mut invalid) = (0, 0);
    for _ in 0..2_000 {
        let mut all: Vec<u8> = Vec::new();
        for _ in 0..1 + rng.below(5) {
            // Most reads see a state in which keys 0 to 3 were written in this order.
            let row = [0b0000, 0b0001, 0b0011, 0b0111, 0b1111][rng.below(5) as usize];
            all.push(if rng.percent(25) { rng.below(16) as u8 } else { row });
        }
        let seen = |bits: &u8| {
            let step = |key: u8| format!("[:r {key} {}]", if bits >> key & 1 == 1 { "1" } else { "nil" });
            format!("[{}]", (0..4).map(step).collect::<Vec<_>>().join(" "))
        };
        let lists: Vec<String> = all.iter().map(seen).collect();
        let report: Report = judged(FORK, &reads(&lists.iter().map(String::as_str).collect::<Vec<_>>()));
        let fork = all.iter().any(|a| all.iter().any(|b| a & !b != 0 && b & !a != 0));
        assert_eq!(report.is_valid(), !fork, "{all:?}: {report}");
        *if fork { &mut invalid } else { &mut valid } += 1;
    }
    assert!(valid > 300 && invalid > 300, "{valid} {invalid}");
}
