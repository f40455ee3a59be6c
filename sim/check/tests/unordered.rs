//! Unordered queues: the direct procedure compared with trying every order, and planted bugs.

mod common;
mod objects;

use common::Rng;
use common::objects::{Script, Val, assert_caught, assert_valid, enqueued_and_dequeued as run, sweep_longer};
use common::workloads::Fifo;
use objects::{mutate, play, possible, record};
use seaworthy_check::Function::{Dequeue, Enqueue};
use seaworthy_check::model::queue::Unordered;
use seaworthy_check::{End, Kind, OpId, Options, check_as};

#[test]
fn agrees_with_trying_every_order() {
    let mut rng = Rng(11);
    let (mut valid, mut invalid, mut direct) = (0u64, 0u64, 0u64);
    let histories = objects::histories(if cfg!(debug_assertions) { 6_000 } else { 30_000 });
    for n in 0..histories {
        let (mut raws, _) = play(Kind::UnorderedQueue, 3 + rng.below(6) as usize, 3, &mut rng);
        for _ in 0..rng.below(6) {
            mutate(&mut raws, &mut rng);
        }
        let history = record(&raws);
        let all: Vec<usize> = (0..raws.len()).collect();
        let expected = possible(Kind::UnorderedQueue, &raws, &all);
        let report = check_as(Kind::UnorderedQueue, &history, &Options::default());
        assert_eq!(report.is_valid(), expected, "{n}: {report}\n{raws:#?}");
        assert_eq!(report.unknowns().count(), 0);
        direct += report.parts.iter().filter(|part| !part.by.contains("search")).count() as u64;
        *if expected { &mut valid } else { &mut invalid } += 1;
    }
    assert!(valid > histories / 3 && invalid > histories / 8 && direct > histories / 2, "{valid} {invalid} {direct}");
}

/// This comparison also replays witnesses.
#[test]
fn agrees_with_the_search_on_longer_histories() {
    let fifo = |rng: &mut Rng| Fifo::new(vec![7], if rng.percent(40) { 3 } else { 0 }, 55, 0);
    let (valid, invalid) = sweep_longer(Kind::UnorderedQueue, Unordered, 12, fifo);
    assert!(valid > 100 && invalid > 100, "{valid} valid, {invalid} invalid");
}

#[test]
fn any_order_will_do() {
    assert_valid(Kind::UnorderedQueue, &run(&[1, 2], &[Val::Int(2), Val::Int(1), Val::Nil]));
    assert_valid(Kind::UnorderedQueue, &run(&[1, 2, 1], &[Val::Int(1), Val::Int(1), Val::Int(2), Val::Nil]));
}

#[test]
fn taken_twice() {
    let history = run(&[1, 2], &[Val::Int(2), Val::Int(2)]);
    assert_caught(Kind::UnorderedQueue, &history, OpId(3), &[OpId(2), OpId(3)]);
    let history = run(&[1, 1, 2], &[Val::Int(1), Val::Int(1), Val::Int(1)]);
    assert_caught(Kind::UnorderedQueue, &history, OpId(5), &[OpId(3), OpId(4), OpId(5)]);
}

#[test]
fn from_nowhere() {
    assert_caught(Kind::UnorderedQueue, &run(&[1, 1], &[Val::Int(3)]), OpId(2), &[OpId(2)]);
}

#[test]
fn wrong_empty() {
    let history = run(&[1, 2], &[Val::Int(2), Val::Nil]);
    assert_caught(Kind::UnorderedQueue, &history, OpId(3), &[OpId(0), OpId(2), OpId(3)]);
    let report = check_as(Kind::UnorderedQueue, &history, &Options::default());
    assert_eq!(report.violations().next().map(|evidence| evidence.anomaly.as_str()), Some("wrong empty"));
}

#[test]
fn an_open_dequeue_explains_one_loss() {
    let build = |missing: i64| {
        let mut script = Script::default();
        let open = script.call(9, Dequeue, Val::Untold);
        for value in 0..missing {
            script.ok(1, Enqueue, Val::Int(value), Val::Untold);
        }
        script.ok(2, Dequeue, Val::Untold, Val::Nil);
        script.end(open, End::Info, Val::Untold);
        script.finish()
    };
    assert_valid(Kind::UnorderedQueue, &build(0));
    assert_valid(Kind::UnorderedQueue, &build(1));
    assert_caught(Kind::UnorderedQueue, &build(2), OpId(3), &[OpId(1), OpId(2), OpId(3)]);
}
