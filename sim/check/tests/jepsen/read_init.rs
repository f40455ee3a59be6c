//! `read-init`, as in Jepsen's causal test: registers that hold 0 at first.

use super::edn;
use seaworthy_check::session::{Options as Weaker, check_causal};
use seaworthy_check::{Datum, History, Kind, Options, check_as};

/// A history of Jepsen's causal test, with what is read at first, after a write of 1, and after a write of 2.
fn order(seen: [u32; 3]) -> History {
    let [first, second, third] = seen;
    edn(&format!(
        "0 invoke read-init nil
        0 ok read-init {first}
        0 invoke write 1
        0 ok write 1
        0 invoke read nil
        0 ok read {second}
        0 invoke write 2
        0 ok write 2
        0 invoke read nil
        0 ok read {third}"
    ))
}

/// Returns the anomaly that each property finds.
fn found(history: &History) -> [String; 2] {
    let reports = [check_as(Kind::Register, history, &Options::default()), check_causal(history, &Weaker::default())];
    reports.map(|report| report.violations().next().map_or("valid".to_owned(), |evidence| evidence.anomaly.clone()))
}

#[test]
fn the_first_read_sees_what_there_is_at_first() {
    let history = order([0, 1, 2]);
    assert_eq!(history.datum(history.initial()), Datum::Int(0));
    assert_eq!(found(&history), ["valid", "valid"]);
    assert_eq!(found(&order([7, 1, 2])), ["phantom value", "ThinAirRead"]);
    assert_eq!(found(&order([1, 1, 2])), ["future read", "CyclicCO"], "written only later");
}

#[test]
fn what_there_was_at_first_is_gone_once_it_is_overwritten() {
    assert_eq!(found(&order([0, 0, 2])), ["stale read", "WriteCOInitRead"]);
    assert_eq!(found(&order([0, 1, 0])), ["reads go backwards", "WriteCOInitRead"]);
    assert_eq!(found(&order([0, 1, 1])), ["stale read", "WriteCORead"]);
}

#[test]
fn only_where_it_comes_first_it_says_what_there_is_at_first() {
    let history = edn("0 invoke write 1\n0 ok write 1\n0 invoke read-init nil\n0 ok read-init 1");
    assert_eq!(history.datum(history.initial()), Datum::Nil);
    assert_eq!(found(&history), ["valid", "valid"]);
}
