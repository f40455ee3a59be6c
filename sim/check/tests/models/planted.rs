//! Violations planted by hand, one for each way in which these objects can break.

use crate::objects::Plain;
use seaworthy_check::{End, Function, History, Kind, OpId, Options, Recorder, Request, Value, Verdict, check_as};

/// Each step: process, function, argument, reply, and whether it ends before the next begins.
fn script(steps: &[(u32, Function, Plain, Plain, bool)]) -> History {
    let mut log = Recorder::default();
    let mut open = Vec::new();
    for (process, f, arg, reply, ends) in steps {
        let arg = arg.record(&mut log);
        let reply = reply.record(&mut log);
        let op = log.begin(*process, 0, Value::NIL, Request::new(*f, arg));
        open.push((op, reply));
        if *ends {
            open.drain(..).for_each(|(op, reply)| log.end(op, 0, End::Ok, reply, None));
        }
    }
    log.finish()
}

fn append(process: u32, text: &str, ends: bool) -> (u32, Function, Plain, Plain, bool) {
    (process, Function::Append, Plain::Text(text.to_owned()), Plain::Untold, ends)
}

fn put(process: u32, text: &str) -> (u32, Function, Plain, Plain, bool) {
    (process, Function::Write, Plain::Text(text.to_owned()), Plain::Untold, true)
}

fn add(process: u32, n: i64, ends: bool) -> (u32, Function, Plain, Plain, bool) {
    (process, Function::Add, Plain::Int(n), Plain::Untold, ends)
}

fn read(process: u32, reply: Plain, ends: bool) -> (u32, Function, Plain, Plain, bool) {
    (process, Function::Read, Plain::Untold, reply, ends)
}

fn text(text: &str) -> Plain {
    Plain::Text(text.to_owned())
}

/// Returns the operations that clash, and the one whose return reveals it.
fn clash(kind: Kind, history: &History) -> (Vec<u32>, u32) {
    let report = check_as(kind, history, &Options::default());
    let Verdict::Invalid(evidence) = &report.parts[0].verdict else { panic!("not found: {report}") };
    assert!(evidence.minimal);
    assert!(report.to_string().contains("NOT linearizable"));
    (evidence.core.iter().map(|op| op.0).collect(), evidence.breaks.unwrap_or(OpId(u32::MAX)).0)
}

fn is_valid(kind: Kind, history: &History) -> bool {
    check_as(kind, history, &Options::default()).is_valid()
}

#[test]
fn append_that_was_lost() {
    let history =
        script(&[append(0, "a1", true), append(1, "b1", true), append(2, "c1", true), read(3, text("a1c1"), true)]);
    assert_eq!(clash(Kind::Append, &history), (vec![1, 3], 3));
    // An append of unknown outcome may take effect later.
    let mut log = Recorder::default();
    let texts = ["a1", "b1", "a1"].map(|t| text(t).record(&mut log));
    for (arg, end) in [(texts[0], End::Ok), (texts[1], End::Info)] {
        let op = log.begin(0, 0, Value::NIL, Request::new(Function::Append, arg));
        log.end(op, 0, end, Value::UNTOLD, None);
    }
    let op = log.begin(1, 0, Value::NIL, Request::new(Function::Read, Value::UNTOLD));
    log.end(op, 0, End::Ok, texts[2], None);
    assert!(is_valid(Kind::Append, &log.finish()));
}

#[test]
fn append_that_took_effect_twice() {
    let history = script(&[append(0, "a1", true), append(1, "b1", true), read(3, text("a1b1a1"), true)]);
    assert_eq!(clash(Kind::Append, &history), (vec![2], 2));
}

#[test]
fn appends_seen_in_two_orders() {
    let both = [append(0, "a1", false), append(1, "b1", true)];
    let reads = [read(2, text("a1b1"), true), read(3, text("b1a1"), true)];
    let history = script(&[&both[..], &reads[..]].concat());
    assert_eq!(clash(Kind::Append, &history), (vec![2, 3], 3));
    assert!(is_valid(Kind::Append, &script(&[&both[..], &reads[..1]].concat())));
    assert!(is_valid(Kind::Append, &script(&[&both[..], &reads[1..]].concat())));
}

#[test]
fn appends_in_the_wrong_order() {
    let history = script(&[append(0, "a1", true), append(1, "b1", true), read(2, text("b1a1"), true)]);
    assert_eq!(clash(Kind::Append, &history), (vec![0, 2], 2));
}

#[test]
fn append_from_nowhere() {
    let history = script(&[append(0, "a1", true), read(2, text("a1z9"), true)]);
    assert_eq!(clash(Kind::Append, &history), (vec![1], 1));
}

#[test]
fn write_that_came_back() {
    let steps =
        [put(0, "p1"), append(1, "a1", true), put(0, "p2"), read(2, text("p2"), true), read(3, text("p1a1"), true)];
    assert_eq!(clash(Kind::Append, &script(&steps)), (vec![0, 2, 4], 4));
    assert!(is_valid(Kind::Append, &script(&steps[..4])));
}

#[test]
fn list_that_lost_an_element() {
    let push = |n| (0, Function::Append, Plain::Int(n), Plain::Untold, true);
    let steps =
        [push(1), push(2), read(1, Plain::List(vec![1, 2]), true), push(3), read(2, Plain::List(vec![1, 3]), true)];
    assert_eq!(clash(Kind::Append, &script(&steps)), (vec![2, 4], 4));
    assert!(is_valid(Kind::Append, &script(&steps[..3])));
}

#[test]
fn increment_that_was_lost() {
    let history = script(&[add(0, 1, false), add(1, 1, true), read(2, Plain::Int(1), true)]);
    assert_eq!(clash(Kind::Counter, &history), (vec![0, 1, 2], 2));
    let history = script(&[add(0, 1, false), add(1, 1, false), read(2, Plain::Int(1), true)]);
    assert!(is_valid(Kind::Counter, &history));
}

#[test]
fn increment_that_took_effect_twice() {
    let history = script(&[add(0, 1, true), add(1, 5, true), read(2, Plain::Int(7), true)]);
    assert_eq!(clash(Kind::Counter, &history), (vec![2], 2));
}

#[test]
fn counter_that_goes_backwards() {
    let history = script(&[
        add(0, 2, true),
        read(1, Plain::Int(2), true),
        add(0, 3, false),
        read(1, Plain::Int(5), true),
        read(2, Plain::Int(2), true),
    ]);
    assert_eq!(clash(Kind::Counter, &history).1, 4);
}

/// Whether some of forty ambiguous adds make up a sum that needs many of them: subset sum.
#[test]
fn sums_of_ambiguous_adds_end_in_unknown() {
    let mut log = Recorder::default();
    let amounts: Vec<i64> = (0..40).map(|i| 3 * (1_000_003 + i * 7_919 * i % 1_000_000)).collect();
    for (process, &n) in (0u32..).zip(&amounts) {
        let arg = Plain::Int(n).record(&mut log);
        let op = log.begin(process, 0, Value::NIL, Request::new(Function::Add, arg));
        log.end(op, 0, End::Info, Value::UNTOLD, None);
    }
    // Every amount is a multiple of three; this sum is not.
    let half = Plain::Int(amounts.iter().sum::<i64>() / 6 * 3 + 1).record(&mut log);
    let op = log.begin(99, 0, Value::NIL, Request::new(Function::Read, Value::UNTOLD));
    log.end(op, 0, End::Ok, half, None);
    let options = Options { steps: 300_000, ..Options::default() };
    let report = check_as(Kind::Counter, &log.finish(), &options);
    assert_eq!(report.parts[0].verdict, Verdict::Unknown("the step limit was reached".to_owned()));
}

#[test]
fn what_a_model_cannot_understand_is_refused() {
    let misfit = |kind: Kind, history| kind.accepts(&history).map_err(|misfit| (misfit.op.0, misfit.what));
    let append_number = || (0, Function::Append, Plain::Int(1), Plain::Untold, true);
    assert_eq!(misfit(Kind::Append, script(&[append(0, "a1", true), read(1, text("a1"), true)])), Ok(()));
    assert_eq!(misfit(Kind::Append, script(&[append_number(), read(1, Plain::List(vec![1]), true)])), Ok(()));
    let read_number = read(1, Plain::Int(7), true);
    let what = Err((1, "the model append cannot read 7".to_owned()));
    assert_eq!(misfit(Kind::Append, script(&[append(0, "a1", true), read_number.clone()])), what);
    assert_eq!(misfit(Kind::Counter, script(&[add(0, -3, true), read_number, read(1, Plain::Untold, true)])), Ok(()));
    let word = (0, Function::Add, text("one"), Plain::Untold, true);
    let what = Err((0, "the model counter cannot add \"one\"".to_owned()));
    assert_eq!(misfit(Kind::Counter, script(&[word])), what);
    let what = Err((0, "the model counter has no function append".to_owned()));
    assert_eq!(misfit(Kind::Counter, script(&[append(0, "a1", true)])), what);
}
