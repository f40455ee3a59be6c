//! The models append and counter, and the engine for any model, compared with a checker that tries every order by its
//! own models. The histories are small and random: valid ones and mutated ones, with unknown outcomes, failures and
//! repeated values. `CHECK_HISTORIES` sets the number of each kind. `planted` has violations by hand.

#[path = "../common/mod.rs"]
mod common;
mod objects;
mod planted;

use common::Rng;
use common::naive::possible;
use objects::{Cell, Growing, Object, Plain, Tally, Texts, generate, mutate, record};
use seaworthy_check::linear::{Item, Limits, check_model};
use seaworthy_check::model::Model;
use seaworthy_check::{End, Evidence, History, OpId, Operation, Options, Verdict};

const LIMITS: Limits = Limits::new(1_000_000, 64 << 20);

/// Number of histories of each kind to check.
fn histories() -> u64 {
    let wanted = std::env::var("CHECK_HISTORIES").ok().and_then(|n| n.parse().ok());
    wanted.unwrap_or(if cfg!(debug_assertions) { 20_000 } else { 100_000 })
}

/// Compares random histories of objects that `shapes` draws. Returns how often suspects were named, and how often the
/// suspects alone were impossible.
fn differential<O: Object>(seed: u64, shapes: impl Fn(&mut Rng) -> O) -> (u64, u64) {
    let mut rng = Rng(seed);
    let (mut valid, mut invalid, mut named, mut guilty) = (0u64, 0u64, 0u64, 0u64);
    let histories = histories();
    for n in 0..histories {
        let object = shapes(&mut rng);
        let fates = ([0, 0, 10, 40][rng.below(4) as usize], [0, 10][rng.below(2) as usize]);
        let (ops, processes) = (2 + rng.below(6) as usize, 2 + rng.below(3) as usize);
        let mut raws = generate(&object, ops, processes, fates, &mut rng);
        let mutations = rng.below(4);
        for _ in 0..mutations {
            mutate(&object, &mut raws, &mut rng);
        }
        let history = record(&raws);
        let expected = possible(&object.naive(), &history, &items(&history, u32::MAX, None));
        assert!(mutations > 0 || expected, "history {n}: the generator made an impossible history: {raws:#?}");
        let report = object.check(&history);
        let items = items(&history, u32::MAX, None);
        let mut judge = object.judge();
        let longest = judge.longest(&history, &items, LIMITS);
        assert!(replay(&object.naive(), &history, &longest), "history {n}: {longest:?}: {raws:#?}");
        match &report.parts[0].verdict {
            Verdict::Valid => {
                assert!(expected, "history {n}: called valid by {}: {raws:#?}", report.parts[0].by);
                let order = judge.witness(&history, &items, LIMITS);
                let order = order.unwrap_or_else(|| panic!("history {n}: no witness: {raws:#?}"));
                assert!(replay(&object.naive(), &history, &order), "history {n}: {order:?}: {raws:#?}");
                assert!(is_complete(&object.naive(), &history, &order), "history {n}: {order:?}: {raws:#?}");
                valid += 1;
            }
            Verdict::Invalid(evidence) => {
                assert!(!expected, "history {n}: called invalid by {}: {raws:#?}\n{evidence}", report.parts[0].by);
                is_minimal(&object, &history, evidence, &format!("history {n}: {raws:#?}"));
                if let Some(suspects) = judge.suspects(&history, &items) {
                    let alone = self::items(&history, u32::MAX, Some(&suspects));
                    named += 1;
                    guilty += u64::from(!possible(&object.naive(), &history, &alone));
                }
                invalid += 1;
            }
            Verdict::Unknown(why) => panic!("history {n}: {why}: {raws:#?}"),
        }
    }
    assert!(valid > histories / 4 && invalid > histories / 6, "{valid} valid, {invalid} invalid: too one-sided");
    assert!(guilty >= named / 10 * 9, "{named} times suspects, {guilty} times guilty");
    println!("{valid} valid, {invalid} invalid, {named} with suspects, {guilty} times guilty");
    (named, guilty)
}

/// Returns the operations called in the first `events` events. Those not in `core`, and those that returned later, are
/// open.
fn items(history: &History, events: u32, core: Option<&[OpId]>) -> Vec<Item> {
    let ops = (0u32..).map(OpId).zip(history.operations()).filter(|(_, op)| op.called < events);
    let open = |id: OpId, op: &Operation| {
        core.is_some_and(|core| !core.contains(&id)) || op.settled().is_none_or(|ret| ret >= events)
    };
    ops.map(|(id, op)| Item { op: id, open: open(id, op) }).collect()
}

fn is_minimal<O: Object>(object: &O, history: &History, evidence: &Evidence, case: &str) {
    let (breaks, event) = (evidence.breaks.expect("an operation"), evidence.event.expect("an event"));
    let possible = |events, core: Option<&[OpId]>| possible(&object.naive(), history, &items(history, events, core));
    assert!(evidence.minimal && evidence.core.contains(&breaks), "{case}\n{evidence}");
    assert!(!possible(event + 1, None) && possible(event, None), "{case}\n{evidence}");
    assert!(!possible(event + 1, Some(&evidence.core)), "{case}\n{evidence}");
    for spared in &evidence.core {
        let rest: Vec<OpId> = evidence.core.iter().copied().filter(|op| op != spared).collect();
        assert!(possible(event + 1, Some(&rest)), "{case}: {spared:?} can be spared\n{evidence}");
    }
}

/// Returns whether an order respects real time and explains the replies.
fn replay<M: Model>(model: &M, history: &History, order: &[OpId]) -> bool {
    let mut state = model.initial(history);
    let mut latest = 0;
    let mut seen = vec![false; history.operations().len()];
    for &id in order {
        let op = history.operation(id);
        let settled = op.settled();
        let Some(step) = model.compile(history, op, settled.is_some()) else { return false };
        let Some(next) = model.apply(&state, &step) else { return false };
        if op.end == End::Fail || settled.is_some_and(|ret| ret < latest) || seen[id.0 as usize] {
            return false;
        }
        seen[id.0 as usize] = true;
        latest = latest.max(op.called);
        state = next;
    }
    true
}

/// Returns whether an order contains everything that certainly happened.
fn is_complete<M: Model>(model: &M, history: &History, order: &[OpId]) -> bool {
    (0u32..)
        .map(OpId)
        .zip(history.operations())
        .all(|(id, op)| op.settled().is_none() || order.contains(&id) || model.compile(history, op, true).is_none())
}

#[test]
fn any_model_agrees_with_trying_every_order() {
    differential(11, |rng| Cell { value: Plain::Nil, values: rng.below(4) });
}

#[test]
fn counter_agrees_with_trying_every_order() {
    let amounts: [&[i64]; 5] = [&[1], &[1, 2], &[0, 1, 5], &[1, -1], &[3, -2, 7, -7]];
    let (named, guilty) = differential(12, |rng| Tally { sum: 0, amounts: amounts[rng.below(5) as usize] });
    // If bounds are violated, the suspects alone are always impossible.
    assert!(named == guilty && named > 0, "{guilty} of {named}");
}

#[test]
fn append_agrees_with_trying_every_order() {
    let kinds = [Texts::Distinct, Texts::Few, Texts::Unclear, Texts::List, Texts::RepeatedList];
    differential(13, |rng| {
        let texts = kinds[rng.below(5) as usize];
        let list = matches!(texts, Texts::List | Texts::RepeatedList);
        let content = if list { Plain::List(Vec::new()) } else { Plain::Text(String::new()) };
        Growing { content, puts: [0, 0, 20, 50][rng.below(4) as usize], texts }
    });
}

/// Longer histories with many consecutive blocks, compared with the search whose states are whole contents.
#[test]
fn blocks_agree_with_the_search() {
    let mut rng = Rng(14);
    let (mut valid, mut blocks, mut given_up) = (0, 0, 0);
    let histories = histories() / 50;
    for n in 0..histories {
        let texts = [Texts::Distinct, Texts::Some, Texts::Few, Texts::List][rng.below(4) as usize];
        let content = if texts == Texts::List { Plain::List(Vec::new()) } else { Plain::Text(String::new()) };
        let object = Growing { content, puts: [0, 20, 50][rng.below(3) as usize], texts };
        let (ops, processes) = (20 + rng.below(40) as usize, 2 + rng.below(4) as usize);
        let mut raws = generate(&object, ops, processes, ([0, 10][rng.below(2) as usize], 0), &mut rng);
        for _ in 0..rng.below(3) {
            mutate(&object, &mut raws, &mut rng);
        }
        let history = record(&raws);
        let options = Options { evidence_steps: 0, ..Options::default() };
        let report = object.check(&history);
        let expected = check_model(|| object.naive(), &history, &Options { steps: 100_000, ..options });
        assert!(report.unknowns().next().is_none(), "history {n}: {report}");
        if expected.unknowns().next().is_some() {
            given_up += 1;
            continue;
        }
        let by = report.parts[0].by;
        assert_eq!(report.is_valid(), expected.is_valid(), "history {n}, by {by}: {raws:#?}");
        if report.is_valid() {
            let order = object.judge().witness(&history, &items(&history, u32::MAX, None), LIMITS);
            let order = order.unwrap_or_else(|| panic!("history {n}: no witness: {raws:#?}"));
            assert!(replay(&object.naive(), &history, &order), "history {n}: {order:?}: {raws:#?}");
            assert!(is_complete(&object.naive(), &history, &order), "history {n}: {order:?}: {raws:#?}");
        }
        valid += u64::from(report.is_valid());
        blocks += u64::from(by == "blocks");
    }
    assert!((histories / 4..histories / 4 * 3).contains(&valid), "{valid} of {histories} valid");
    assert!(blocks > histories / 2, "{blocks} of {histories} by blocks");
    assert!(given_up < histories / 10, "{given_up} of {histories} were too much for the search with whole contents");
    println!("{valid} of {histories} valid, {blocks} by blocks, {given_up} given up");
}
