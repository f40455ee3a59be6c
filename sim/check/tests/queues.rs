//! Queues: the direct procedure compared with trying every order, and planted bugs.

mod common;

use common::Rng;
use common::objects::{
    Script, Val, assert_caught, assert_valid, enqueued_and_dequeued as run, histories, sweep, sweep_longer,
};
use common::workloads::Fifo;
use seaworthy_check::model::queue::Queue;
use seaworthy_check::{End, Function, Kind, OpId};

fn fifo(rng: &mut Rng) -> Fifo {
    let first: Vec<i64> = (0..[0, 0, 1, 2][rng.below(4) as usize]).map(|i| 100 + i).collect();
    let enqueues = [35, 50, 70][rng.below(3) as usize];
    Fifo::new(first, if rng.percent(10) { 3 } else { 0 }, enqueues, 2)
}

#[test]
fn agrees_with_trying_every_order() {
    let tally = sweep(Kind::Queue, &Queue, 2, fifo);
    let all = tally.valid + tally.invalid;
    assert!(tally.valid > all / 4 && tally.invalid > all / 6, "{tally:?}");
    assert!(tally.direct.0 > tally.valid * 7 / 10 && tally.direct.1 > tally.invalid * 7 / 10, "{tally:?}");
}

#[test]
fn agrees_with_the_search_on_longer_histories() {
    let (valid, invalid) = sweep_longer(Kind::Queue, Queue, 9, fifo);
    let all = histories() / 20;
    assert!(valid > all / 5 && invalid > all / 10, "{valid} valid, {invalid} invalid of {all}");
}

use Function::{Dequeue, Enqueue};

#[test]
fn lost() {
    // 2 is never seen, though 3, which came later, is.
    let history = run(&[1, 2, 3], &[Val::Int(1), Val::Int(3)]);
    assert_caught(Kind::Queue, &history, OpId(4), &[OpId(1), OpId(3), OpId(4)]);
}

#[test]
fn duplicated() {
    let history = run(&[1, 2], &[Val::Int(1), Val::Int(1)]);
    assert_caught(Kind::Queue, &history, OpId(3), &[OpId(2), OpId(3)]);
}

#[test]
fn reordered() {
    let history = run(&[1, 2], &[Val::Int(2), Val::Int(1)]);
    assert_caught(Kind::Queue, &history, OpId(2), &[OpId(0), OpId(2)]);
}

#[test]
fn reordered_when_it_was_not_yet_certain() {
    let mut script = Script::default();
    script.ok(1, Enqueue, Val::Int(1), Val::Untold);
    script.ok(1, Enqueue, Val::Int(2), Val::Untold);
    let open = script.call(3, Dequeue, Val::Untold);
    script.ok(2, Dequeue, Val::Untold, Val::Int(2));
    let last = script.ok(2, Dequeue, Val::Untold, Val::Int(1));
    script.end(open, End::Info, Val::Untold);
    assert_caught(Kind::Queue, &script.finish(), last, &[OpId(0), OpId(3), last]);
}

#[test]
fn phantom() {
    let history = run(&[1], &[Val::Int(7)]);
    assert_caught(Kind::Queue, &history, OpId(1), &[OpId(1)]);
}

#[test]
fn wrong_empty() {
    let history = run(&[1], &[Val::Nil, Val::Int(1)]);
    assert_caught(Kind::Queue, &history, OpId(1), &[OpId(0), OpId(1)]);
}

/// The queue is never empty, although no element is in it throughout.
#[test]
fn wrong_empty_because_of_two_elements_that_overlap() {
    let build = |overlap: bool| {
        let mut script = Script::default();
        let first = script.ok(1, Enqueue, Val::Int(1), Val::Untold);
        let empty = script.call(3, Dequeue, Val::Untold);
        let early = (!overlap).then(|| script.ok(2, Dequeue, Val::Untold, Val::Int(1)));
        let second = script.ok(1, Enqueue, Val::Int(2), Val::Untold);
        let taken = early.unwrap_or_else(|| script.ok(2, Dequeue, Val::Untold, Val::Int(1)));
        script.end(empty, End::Ok, Val::Nil);
        let last = script.ok(2, Dequeue, Val::Untold, Val::Int(2));
        (script.finish(), [first, empty, second, taken, last])
    };
    assert_valid(Kind::Queue, &build(false).0);
    let (history, [first, empty, second, ..]) = build(true);
    assert_caught(Kind::Queue, &history, empty, &[first, empty, second]);
}

#[test]
fn an_open_dequeue_explains_one_loss() {
    let build = |missing: usize| {
        let mut script = Script::default();
        let open = script.call(9, Dequeue, Val::Untold);
        for value in 0..=missing as i64 {
            script.ok(1, Enqueue, Val::Int(value), Val::Untold);
        }
        let last = script.ok(2, Dequeue, Val::Untold, Val::Int(missing as i64));
        script.end(open, End::Info, Val::Untold);
        (script.finish(), last)
    };
    assert_valid(Kind::Queue, &build(0).0);
    assert_valid(Kind::Queue, &build(1).0);
    let (history, last) = build(2);
    assert_caught(Kind::Queue, &history, last, &[OpId(1), OpId(2), last]);
}

/// Few values and many clients: which `enqueue` an element comes from becomes known late, if ever.
fn crowd(rng: &mut Rng, ops: usize, clients: usize) -> (Val, Vec<common::objects::Raw>) {
    let size = common::objects::Size { ops, processes: clients, info: 0, fail: 0 };
    let mut object = Fifo::new(Vec::new(), 3, 50 + rng.below(15), 0);
    let raws = common::objects::generate(size, &mut object, rng);
    (Val::Nil, raws)
}

fn decided(history: &seaworthy_check::History) -> (bool, u64) {
    let options = seaworthy_check::Options { steps: 50_000_000, evidence_steps: 0, ..Default::default() };
    let report = seaworthy_check::check_as(Kind::Queue, history, &options);
    assert_eq!(report.unknowns().count(), 0, "{report}");
    (report.is_valid(), report.parts[0].steps)
}

#[test]
fn twenty_clients_and_three_values_are_decided() {
    let mut rng = Rng(20);
    let (mut refuted, mut most) = (0, 0);
    for n in 0..40 {
        let (initial, mut raws) = crowd(&mut rng, 1_000, 20);
        let (valid, steps) = decided(&common::objects::record(&initial, &raws));
        assert!(valid, "history {n}");
        most = most.max(steps);
        // Change an answer in the second half.
        let taken = |i: &usize| matches!(raws[*i].reply, Val::Int(_));
        let answers: Vec<usize> = (500..raws.len()).filter(taken).collect();
        let at = answers[rng.below(answers.len() as u64) as usize];
        let Val::Int(value) = raws[at].reply else { unreachable!() };
        raws[at].reply = Val::Int((value + 1) % 3);
        let (valid, steps) = decided(&common::objects::record(&initial, &raws));
        refuted += u64::from(!valid);
        most = most.max(steps);
    }
    println!("{refuted} of 40 changed histories refuted, with at most {most} steps");
    assert!(refuted >= 30, "{refuted} of 40");
}

#[test]
fn repeated_values_agree_with_trying_every_order() {
    let values = |rng: &mut Rng| {
        let first: Vec<i64> = (0..rng.below(3)).map(|_| rng.below(2) as i64).collect();
        Fifo::new(first, 2, [40, 55, 70][rng.below(3) as usize], 0)
    };
    let tally = sweep(Kind::Queue, &Queue, 31, values);
    let all = tally.valid + tally.invalid;
    assert!(tally.valid > all / 4 && tally.invalid > all / 8, "{tally:?}");
}
