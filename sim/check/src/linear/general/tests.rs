//! Tests of internals: fingerprints that collide.

use super::*;
use crate::history::{Function, Operation, Value};
use crate::linear::Answer;
use crate::testing::naive::possible;
use crate::testing::{Rng, Shape, generate, mutate, record};

/// A register that can be deleted if it is present.
struct Cell;

#[derive(Clone, Copy)]
enum Step {
    Write(Value),
    Delete,
    See(Value),
}

impl Model for Cell {
    type State = Value;
    type Op = Step;

    fn initial(&self, _: &History) -> Value {
        Value::NIL
    }

    fn compile(&self, _: &History, op: &Operation, told: bool) -> Option<Step> {
        match op.f {
            _ if told && (op.f == Function::Read || op.end == End::Refused) => Some(Step::See(op.reply)),
            Function::Write => Some(Step::Write(op.arg)),
            Function::Delete => Some(Step::Delete),
            _ => None,
        }
    }

    fn apply(&self, state: &Value, op: &Step) -> Option<Value> {
        match *op {
            Step::Write(value) => Some(value),
            Step::Delete => (*state != Value::NIL).then_some(Value::NIL),
            Step::See(value) => (value == *state).then_some(value),
        }
    }

    fn reads(&self, op: &Step) -> bool {
        matches!(op, Step::See(_))
    }
}

#[test]
fn colliding_fingerprints_refute_nothing() {
    let mut rng = Rng(5);
    let limits = Limits::new(10_000_000, 64 << 20);
    let (mut valid, mut misled) = (0, 0);
    for n in 0..4_000 {
        let values = 2 + rng.below(2);
        let shape = Shape { ops: 9, processes: 4, keys: 1, values, info: 10, fail: 0, conditional: 0, revisions: 0 };
        let mut raws = generate(shape, &mut rng);
        for _ in 0..rng.below(3) {
            mutate(&mut raws, &mut rng);
        }
        let history = record(&raws);
        let items: Vec<Item> = (0u32..9).map(|i| Item { op: OpId(i), open: false }).collect();
        let expected = if possible(&Cell, &history, &items) { Answer::Possible } else { Answer::Impossible };
        let problem = Problem::new(&Cell, &history, &items);
        for mask in [0, 0b11, u128::MAX] {
            let decision = search::decide_with(&problem, limits, mask);
            assert_eq!(decision.answer, expected, "history {n}, mask {mask:b}: {raws:#?}");
        }
        valid += u32::from(expected == Answer::Possible);
        // With all fingerprints equal the memory alone would be wrong.
        misled += u32::from(expected == Answer::Possible && search::hashed_alone(&problem, limits, 0) != expected);
    }
    assert!((1_000..3_600).contains(&valid) && misled > 10, "{valid} valid, {misled} misled");
}

#[test]
fn limits_end_the_search() {
    // Equal numbers of different writes and reads at the same time: no order, and very many to try.
    let mut log = crate::history::Recorder::default();
    let writes: Vec<OpId> =
        (0..16).map(|i| log.invoke(i, 0, "k", crate::Call::put(["a", "b", "c"][i as usize % 3]))).collect();
    let read = log.invoke(99, 0, "k", crate::Call::Get);
    log.ok(read, 0, crate::Reply::Got(Some(crate::Version { value: "nobody's", revision: None })));
    for op in writes {
        log.ok(op, 0, crate::Reply::Done { revision: None });
    }
    let history = log.finish();
    let items: Vec<Item> = (0u32..17).map(|i| Item { op: OpId(i), open: false }).collect();
    let answer = |steps, memory| General(Cell).decide(&history, &items, Limits::new(steps, memory)).answer;
    assert_eq!(answer(10_000, 64 << 20), Answer::GaveUp("the step limit was reached"));
    assert_eq!(answer(u64::MAX, 100_000), Answer::GaveUp("the memory limit was reached"));
    assert_eq!(answer(u64::MAX, 256 << 20), Answer::Impossible);
}

#[test]
fn a_long_history_needs_no_deep_stack() {
    let mut log = crate::history::Recorder::default();
    for i in 0..200_000u32 {
        let op = log.invoke(0, 0, "k", crate::Call::put(["a", "b"][i as usize % 2]));
        log.ok(op, 0, crate::Reply::Done { revision: None });
    }
    let read = log.invoke(0, 0, "k", crate::Call::Get);
    log.ok(read, 0, crate::Reply::Got(None));
    let history = log.finish();
    let items: Vec<Item> = (0u32..200_001).map(|i| Item { op: OpId(i), open: false }).collect();
    let limits = Limits::new(10_000_000, 64 << 20);
    assert_eq!(General(Cell).decide(&history, &items, limits).answer, Answer::Impossible);
}
