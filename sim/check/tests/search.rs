//! Budgets, threads and the clock. Repeated values and many unknown outcomes are decided within small budgets.

mod common;

use common::{End, Raw, Rng, Shape, generate, record};
use seaworthy_check::{Call, Options, Reply, Verdict, Version, check};
use std::time::Duration;

/// Many concurrent writes of the same few values, without revisions.
fn busy(seed: u64, keys: u64) -> Vec<Raw> {
    let shape = Shape { ops: 1_500, processes: 30, keys, values: 5, info: 1, fail: 0, conditional: 30, revisions: 0 };
    let mut raws = generate(shape, &mut Rng(seed));
    for raw in &mut raws {
        if let Call::Put { when, .. } | Call::Delete { when } = &mut raw.call
            && when.revision.take().is_some()
            && matches!(raw.end, End::Ok(Reply::Refused(_)))
        {
            // It was refused because of its revision.
            raw.end = End::Fail;
        }
    }
    raws
}

/// Makes one read in the middle return a value that is written only later.
fn plant(raws: &mut [Raw], key: u64) -> bool {
    let from = raws.len() / 2;
    let late = raws[from..].iter_mut().find(|raw| raw.key == key && matches!(raw.end, End::Ok(Reply::Got(_))));
    let Some(raw) = late else { return false };
    let (process, event) = (raw.process, raw.events.1.unwrap_or(0));
    raw.end = End::Ok(Reply::Got(Some(Version { value: "late".to_owned(), revision: None })));
    let Some(writer) = raws.iter_mut().find(|raw| {
        let write = matches!(raw.call, Call::Put { .. }) && matches!(raw.end, End::Ok(Reply::Done { .. }));
        raw.key == key && raw.process != process && raw.events.0 > event && write
    }) else {
        return false;
    };
    writer.call = Call::put("late".to_owned());
    true
}

#[test]
fn verdicts_are_the_same_on_any_number_of_threads() {
    let mut raws = busy(1, 12);
    assert!(plant(&mut raws, 3) && plant(&mut raws, 9));
    let history = record(&raws);
    let report = |threads| check(&history, &Options { threads, ..Options::default() });
    let alone = report(1);
    assert_eq!(alone.unknowns().count(), 0);
    let mut broken: Vec<&str> = alone.violations().map(|evidence| evidence.part.as_str()).collect();
    broken.sort_unstable();
    assert_eq!(broken, ["k3", "k9"]);
    for threads in [2, 3, 100] {
        assert_eq!(report(threads), alone);
    }
}

#[test]
fn the_clock_ends_a_check_with_the_reason() {
    let history = record(&busy(2, 3));
    let report = check(&history, &Options { time: Some(Duration::ZERO), ..Options::default() });
    assert_eq!(report.parts.len(), 3);
    assert!(report.parts.iter().all(|part| part.verdict == Verdict::Unknown("the time limit was reached".to_owned())));
    let report = check(&history, &Options { time: Some(Duration::from_secs(3_600)), ..Options::default() });
    assert!(report.is_valid());
}

#[test]
fn thirty_clients_and_five_values_are_decided_within_a_small_budget() {
    let options = Options { steps: 20_000_000, evidence_steps: 0, ..Options::default() };
    for seed in 0..5 {
        let mut raws = busy(seed, 1);
        let report = check(&record(&raws), &options);
        assert!(report.is_valid(), "seed {seed}: {report}");
        assert!(plant(&mut raws, 0));
        let report = check(&record(&raws), &options);
        assert_eq!(report.violations().count(), 1, "seed {seed}: {report}");
    }
}
