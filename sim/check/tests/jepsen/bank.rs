//! Banks: histories with known verdicts, and errors.

use super::{Amount, Analysis, edn, evidence, figure, judged, misfit, text_of, verdict};
use seaworthy_check::format::{ReadOptions, read};
use seaworthy_check::jepsen::Terms;
use seaworthy_check::{History, OpId, Verdict};

const BANK: Analysis = Analysis::Bank;

/// A transfer and some reads.
fn reads(seen: &[&str]) -> History {
    let mut text =
        "1 invoke transfer {:from 0, :to 1, :amount 5}\n1 ok transfer {:from 0, :to 1, :amount 5}\n".to_owned();
    for seen in seen {
        text += &format!("2 invoke read nil\n2 ok read {seen}\n");
    }
    edn(&text)
}

fn with(terms: &Terms, history: &History) -> String {
    let report = BANK.check(history, terms).unwrap_or_else(|misfit| panic!("{misfit:?}"));
    match &report.parts[0].verdict {
        Verdict::Valid => "valid".to_owned(),
        Verdict::Unknown(why) => why.clone(),
        Verdict::Invalid(evidence) => evidence.anomaly.clone(),
    }
}

#[test]
fn one_total() {
    let history = reads(&["{0 10, 1 20}", "{1 25, 0 5}", "{0 0, 1 30}"]);
    assert_eq!(verdict(BANK, &history), "valid");
    assert_eq!(figure(&judged(BANK, &history), "read-count"), Amount::Count(3));
    assert_eq!(figure(&judged(BANK, &history), "total-amount"), Amount::Sum(30));
    assert_eq!(verdict(BANK, &reads(&["[10 20]", "[5 25]"])), "valid", "balances in a row");
}

#[test]
fn wrong_total() {
    let history = reads(&["{0 10, 1 20}", "{0 10, 1 25}", "{0 10, 1 15}"]);
    let report = judged(BANK, &history);
    let found = evidence(&report);
    assert_eq!((&*found.anomaly, found.breaks), ("wrong total", Some(OpId(2))));
    assert!(found.explanation.contains("35 in all, not 30") && found.explanation.contains("1 more of 3"), "{found}");
    assert_eq!(figure(&report, "lowest"), Amount::Sum(25));
    assert_eq!(figure(&report, "highest"), Amount::Sum(35));
    assert_eq!(figure(&report, "error-count"), Amount::Count(2));
    let told = Terms { total: Some(35), ..Terms::default() };
    let report = BANK.check(&history, &told).unwrap();
    assert_eq!(evidence(&report).breaks, Some(OpId(1)), "the first read is wrong, as the total is told");
}

#[test]
fn negative_balances() {
    let history = reads(&["{0 10, 1 20}", "{0 -1, 1 31}"]);
    assert_eq!(verdict(BANK, &history), "negative value");
    assert_eq!(with(&Terms { negative_balances: true, ..Terms::default() }, &history), "valid");
}

#[test]
fn accounts() {
    assert_eq!(verdict(BANK, &reads(&["{0 10, 1 20}", "{0 10, 1 10, 2 10}"])), "unexpected key");
    assert_eq!(verdict(BANK, &reads(&["{0 10, 1 20}", "{0 30, 1 nil}"])), "nil balance");
    assert_eq!(verdict(BANK, &reads(&["{0 10, 1 20}", "{0 10}"])), "wrong total", "a missing account holds nothing");
    let terms = Terms { accounts: vec!["0".to_owned()], ..Terms::default() };
    assert_eq!(with(&terms, &reads(&["{0 10, 1 20}"])), "unexpected key");
}

#[test]
fn what_there_is_at_first_tells_accounts_and_total() {
    let json = "{\"initial\":{\"a\":10,\"b\":20}}
{\"process\":1,\"type\":\"invoke\",\"f\":\"transfer\",\"value\":{\"from\":\"a\",\"to\":\"b\",\"amount\":1}}
{\"process\":1,\"type\":\"ok\",\"f\":\"transfer\"}
{\"process\":1,\"type\":\"invoke\",\"f\":\"read\"}
{\"process\":1,\"type\":\"ok\",\"f\":\"read\",\"value\":{\"b\":21,\"a\":TAKEN}}
";
    assert_eq!(verdict(BANK, &text_of(&json.replace("TAKEN", "9"))), "valid");
    assert_eq!(verdict(BANK, &text_of(&json.replace("TAKEN", "10"))), "wrong total");
    let options = ReadOptions { initial: Some("{:a 10 :b 20}".to_owned()), ..ReadOptions::default() };
    let edn = "{:process 1, :type :invoke, :f :read}\n{:process 1, :type :ok, :f :read, :value {:a 0, :b 31}}\n";
    let history = read(edn.as_bytes(), &options).unwrap().history;
    assert_eq!(verdict(BANK, &history), "wrong total");
}

#[test]
fn no_read_no_verdict() {
    assert!(verdict(BANK, &reads(&[])).starts_with("unknown: nothing to judge"));
}

#[test]
fn it_is_detected() {
    let detect = seaworthy_check::model::detect::detect;
    assert_eq!(detect(&reads(&["{0 1}"])).model.map(|meant| meant.name()), Some("bank"));
    let other = edn("1 invoke transfer nil\n1 ok transfer nil\n1 invoke deposit 1\n1 ok deposit 1");
    assert_eq!(detect(&other).model, None);
}

#[test]
fn what_is_malformed_is_refused_where_it_stands() {
    for (seen, what) in [
        ("7", "this is 7"),
        ("{0 1.5}", "what is no whole number stands in {0 1.5}"),
        ("[1 :x]", "what is no whole number stands in [1 :x]"),
        (":x", "this is no map: :x"),
        ("{0 99999999999999999999}", "what is no whole number stands in"),
    ] {
        let told = misfit(BANK, &reads(&["{0 1}", seen]));
        assert!(told.starts_with("5: expected balances") && told.contains(what), "{told}");
    }
    let deposits = edn("1 invoke transfer nil\n1 ok transfer nil\n1 invoke write 1\n1 ok write 1");
    assert_eq!(misfit(BANK, &deposits), "3: a bank has read and transfer, and this is write");
}
