//! A user-defined model: the example's bank account.

#[allow(dead_code)] // For the example's `main`.
#[path = "../examples/own_model.rs"]
mod example;

use example::Teller;
use seaworthy_check::{End, Evidence, Report};

fn evidence(report: &Report) -> &Evidence {
    report.violations().next().unwrap_or_else(|| panic!("not found: {report}"))
}

/// A deposit of 100, and two concurrent withdrawals of 80 with these outcomes.
fn two_withdrawals(ends: [End; 2]) -> Teller {
    let mut teller = Teller::default();
    let deposit = teller.call(1, "deposit", Some(100));
    teller.answer(deposit, End::Ok, None);
    let withdrawals = [1, 2].map(|client| teller.call(client, "withdraw", Some(80)));
    for (op, end) in withdrawals.into_iter().zip(ends) {
        teller.answer(op, end, None);
    }
    teller
}

#[test]
fn money_that_is_paid_twice() {
    let report = two_withdrawals([End::Ok, End::Ok]).check();
    let evidence = evidence(&report);
    // The core does not need the deposit: it does not cover two withdrawals.
    assert_eq!(evidence.core.iter().map(|op| op.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(evidence.breaks.map(|op| op.0), Some(2));
    assert_eq!((evidence.part.as_str(), evidence.event, evidence.minimal), ("alice", Some(5), true));
    assert!(report.to_string().starts_with("3 operations on 1 key: NOT linearizable on 1 key"), "{report}");
}

#[test]
fn one_is_refused_or_unknown() {
    for ends in [[End::Ok, End::Refused], [End::Refused, End::Ok], [End::Ok, End::Info], [End::Fail, End::Ok]] {
        let report = two_withdrawals(ends).check();
        assert!(report.is_valid(), "{ends:?}: {report}");
    }
    // A refusal means that the other withdrawal was paid. Both were refused, although the money was there.
    let report = two_withdrawals([End::Refused, End::Refused]).check();
    assert_eq!(evidence(&report).core.len(), 3);
}

#[test]
fn balance_that_misses_a_withdrawal() {
    for (balance, valid) in [(20, true), (100, false), (-60, false)] {
        let mut teller = two_withdrawals([End::Ok, End::Info]);
        let look = teller.call(3, "balance", None);
        teller.answer(look, End::Ok, Some(balance));
        let report = teller.check();
        assert_eq!(report.is_valid(), valid, "{balance}: {report}");
    }
}
