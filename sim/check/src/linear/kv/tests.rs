//! Tests each procedure against a checker that tries every order, and the procedures against each other where that
//! takes too long.

use super::backward::Backward;
use super::depth_first::{Memory, Search};
use super::jit::Jit;
use super::problem::{OPEN, Problem, Scratch};
use super::zones;
use crate::history::{History, OpId};
use crate::linear::{Answer, Item, Limits};
use crate::testing::{End, Raw, Rng, Shape, brute_force, generate, mutate, record};

const LIMITS: Limits = Limits::new(1_000_000, 1 << 24);

/// Number of random histories: a small sample, unless the environment sets it.
fn histories(sample: u64) -> u64 {
    std::env::var("CHECK_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(sample)
}

fn problem(history: &History) -> Problem {
    let items: Vec<Item> =
        (0u32..).take(history.operations().len()).map(|i| Item { op: OpId(i), open: false }).collect();
    Problem::new(history, &items, &mut Scratch::default())
}

/// Makes some refused writes tell nothing.
fn decline(raws: &mut [Raw], percent: u64, rng: &mut Rng) {
    for raw in raws {
        if let End::Ok(reply @ crate::Reply::Refused(_)) = &mut raw.end
            && rng.percent(percent)
        {
            *reply = crate::Reply::Declined;
        }
    }
}

fn random(shape: Shape, rng: &mut Rng) -> Vec<Raw> {
    let mut raws = generate(shape, rng);
    for _ in 0..rng.below(3) {
        mutate(&mut raws, rng);
    }
    let percent = [0, 50, 100][rng.below(3) as usize];
    decline(&mut raws, percent, rng);
    raws
}

/// Whether an order has every required operation once, respects real time, and explains every reply.
fn explains(problem: &Problem, order: &[u32]) -> bool {
    let mut state = problem.initial;
    let mut placed = vec![false; problem.ops.len()];
    let mut latest_call = 0;
    for &i in order {
        let op = &problem.ops[i as usize];
        // Nothing placed before it may have been called after it returned.
        if placed[i as usize] || op.ret < latest_call || !op.act.allowed(state) {
            return false;
        }
        latest_call = latest_call.max(op.call);
        placed[i as usize] = true;
        state = op.act.after(state);
    }
    problem.ops.iter().zip(&placed).all(|(op, placed)| *placed || op.ret == OPEN)
}

/// The answer of each procedure, and whether the orders that they give are orders.
fn answers(problem: &Problem, limits: Limits) -> Vec<(&'static str, Answer)> {
    let mut answers = Vec::new();
    for (name, memory) in [("hashed", Memory::hashed()), ("exact", Memory::exact())] {
        let mut search = Search::new(problem, limits, memory);
        let answer = search.run();
        assert!(answer != Answer::Possible || explains(problem, &search.placed), "{name} gives no order");
        answers.push((name, answer));
    }
    for full_trace in [false, true] {
        let Some(mut jit) = Jit::new(problem, full_trace) else { continue };
        let answer = jit.run(limits);
        assert!(!(full_trace && answer == Answer::Possible) || explains(problem, &jit.order()), "no order");
        answers.push(("just in time", answer));
    }
    if let Some(mut backward) = Backward::new(problem) {
        answers.push(("backward", backward.run(limits)));
    }
    answers
}

#[test]
fn each_procedure_agrees_with_trying_every_order() {
    let mut rng = Rng(11);
    let (mut clashes, mut possible, mut impossible, mut just_in_time) = (0, 0, 0, [0; 2]);
    let count = histories(if cfg!(debug_assertions) { 20_000 } else { 100_000 });
    for n in 0..count {
        let shape = Shape {
            ops: 3 + rng.below(6) as usize,
            processes: 2 + rng.below(4) as usize,
            keys: 1,
            values: [0, 1, 2, 2, 3][rng.below(5) as usize],
            info: [0, 20, 40][rng.below(3) as usize],
            fail: [0, 10][rng.below(2) as usize],
            conditional: [0, 40, 80][rng.below(3) as usize],
            revisions: [0, 0, 0, 50][rng.below(4) as usize],
        };
        let raws = random(shape, &mut rng);
        let history = record(&raws);
        let problem = problem(&history);
        let expected = if brute_force(&history, "k0", u32::MAX, None) { Answer::Possible } else { Answer::Impossible };
        for (name, answer) in answers(&problem, LIMITS) {
            assert_eq!(answer, expected, "{name}, history {n}: {raws:#?}");
            just_in_time[usize::from(expected == Answer::Possible)] += u64::from(name == "just in time");
        }
        if zones::clash(&problem) {
            assert_eq!(expected, Answer::Impossible, "history {n}: {raws:#?}");
            clashes += 1;
        }
        possible += u64::from(expected == Answer::Possible);
        impossible += u64::from(expected == Answer::Impossible);
    }
    assert!(
        clashes > count / 50 && possible > count / 4 && impossible > count / 10,
        "{clashes}, {possible}, {impossible}"
    );
    assert!(just_in_time.iter().all(|&n| n > count / 8), "{just_in_time:?}: too one-sided");
}

#[test]
fn the_procedures_agree_where_trying_every_order_takes_too_long() {
    let mut rng = Rng(13);
    let (mut possible, mut impossible, mut undecided) = (0, 0, 0);
    let count = histories(if cfg!(debug_assertions) { 2_000 } else { 20_000 });
    for n in 0..count {
        let shape = Shape {
            ops: 10 + rng.below(50) as usize,
            processes: 3 + rng.below(8) as usize,
            keys: 1,
            values: [0, 2, 3, 5][rng.below(4) as usize],
            info: [0, 10, 30][rng.below(3) as usize],
            fail: 0,
            conditional: [0, 30, 80][rng.below(3) as usize],
            revisions: 0,
        };
        let mut raws = random(shape, &mut rng);
        if rng.percent(50) {
            // Conditions on the revision make it matter.
            for raw in &mut raws {
                if let crate::Call::Put { when, .. } | crate::Call::Delete { when } = &mut raw.call {
                    when.revision = None;
                }
            }
        }
        let history = record(&raws);
        let answers = answers(&problem(&history), Limits::new(100_000, 1 << 24));
        let mut decided = answers.iter().filter(|(_, answer)| !matches!(answer, Answer::GaveUp(_)));
        let Some(&(first, expected)) = decided.next() else {
            undecided += 1;
            continue;
        };
        for &(name, answer) in decided {
            assert_eq!(answer, expected, "{name} against {first}, history {n}: {raws:#?}");
        }
        possible += u64::from(expected == Answer::Possible);
        impossible += u64::from(expected == Answer::Impossible);
    }
    assert!(possible > count / 5 && impossible > count / 5, "{possible} possible, {impossible} impossible");
    assert!(undecided < count / 20, "{undecided} undecided");
}
