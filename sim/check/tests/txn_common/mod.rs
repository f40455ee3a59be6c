//! Transactions in a short notation, recorded, and put in every order.
#![allow(dead_code)] // Each test uses only a part.

pub mod brute;
pub mod store;

use seaworthy_check::history::recorder::Step;
use seaworthy_check::{Datum, End, Function, History, Recorder, Value};

/// A step of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Appends to a list.
    Append(u32, u32),
    /// Reads a list; `None`: the result is unknown.
    List(u32, Option<Vec<u32>>),
    /// Writes a register.
    Write(u32, u32),
    /// Reads a register; outer `None`: the result is unknown.
    Read(u32, Option<Option<u32>>),
}

/// A transaction. Its events are the call and, unless it never returned, the return.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Txn {
    pub process: u32,
    pub events: (usize, Option<usize>),
    pub end: End,
    pub ops: Vec<Op>,
}

/// Returns the name of a key: x, y, z, w, k4, k5, ….
pub fn key(n: u32) -> String {
    ["x", "y", "z", "w"].get(n as usize).map_or_else(|| format!("k{n}"), |&name| name.to_owned())
}

/// Parses `ax1 rx12 wy3 ry3 ry- rx[]`: append, read a list of digits, write, read a register; `ry-`: nil; `rx[]`: an
/// empty list; `rx?`: unknown result. After `r`, several digits or `[]` are a list; `ry=3` reads a register.
pub fn ops(text: &str) -> Vec<Op> {
    let word = |word: &str| {
        let key = "xyzw".find(&word[1..2]).expect("a key") as u32;
        let rest = &word[2..];
        let digits = |text: &str| text.chars().map(|c| c.to_digit(36).expect("a digit")).collect::<Vec<_>>();
        match (&word[..1], rest) {
            ("a", n) => Op::Append(key, digits(n)[0]),
            ("w", n) => Op::Write(key, digits(n)[0]),
            ("r", "?") => Op::List(key, None),
            ("r", "=?") => Op::Read(key, None),
            ("r", "=-") => Op::Read(key, Some(None)),
            ("r", "[]") => Op::List(key, Some(Vec::new())),
            ("r", n) if n.starts_with('=') => Op::Read(key, Some(Some(digits(&n[1..])[0]))),
            ("r", n) => Op::List(key, Some(digits(n))),
            _ => panic!("what is {word}?"),
        }
    };
    text.split_whitespace().map(word).collect()
}

/// Returns transactions one after the other in real time, each by its own process.
pub fn sequence(texts: &[&str]) -> Vec<Txn> {
    (0..).zip(texts).map(|(i, text)| txn(i, text, (2 * i as usize, 2 * i as usize + 1))).collect()
}

/// Returns concurrent transactions, each by its own process.
pub fn together(texts: &[&str]) -> Vec<Txn> {
    let n = texts.len();
    (0..).zip(texts).map(|(i, text)| txn(i, text, (i as usize, n + i as usize))).collect()
}

/// Parses a transaction. `text` may end in `!` (aborted) or `~` (unknown).
pub fn txn(process: u32, text: &str, events: (usize, usize)) -> Txn {
    let end = match text.chars().last() {
        Some('!') => End::Fail,
        Some('~') => End::Info,
        _ => End::Ok,
    };
    Txn { process, events: (events.0, Some(events.1)), end, ops: ops(text.trim_end_matches(['!', '~'])) }
}

/// Records transactions.
pub fn record(txns: &[Txn]) -> History {
    let mut events: Vec<(usize, usize, bool)> = Vec::new();
    for (i, txn) in txns.iter().enumerate() {
        events.push((txn.events.0, i, false));
        events.extend(txn.events.1.map(|event| (event, i, true)));
    }
    events.sort_unstable();
    let mut recorder = Recorder::default();
    let mut ids = vec![None; txns.len()];
    for (n, (_, i, returned)) in (0u64..).zip(events) {
        let told = returned && txns[i].end == End::Ok;
        let small = |n: u32| Value::small(n).expect("a small number");
        let lists: Vec<Option<Vec<Value>>> = txns[i]
            .ops
            .iter()
            .map(|op| match op {
                Op::List(_, Some(list)) if told => Some(list.iter().map(|&n| small(n)).collect()),
                _ => None,
            })
            .collect();
        let steps: Vec<Step<'_>> = txns[i]
            .ops
            .iter()
            .zip(&lists)
            .map(|(op, list)| {
                let (f, k, value) = match *op {
                    Op::Append(k, n) => (Function::Append, k, small(n)),
                    Op::Write(k, n) => (Function::Write, k, small(n)),
                    Op::Read(k, Some(seen)) if told => (Function::Read, k, seen.map_or(Value::NIL, small)),
                    Op::Read(k, _) | Op::List(k, _) => (Function::Read, k, Value::UNTOLD),
                };
                Step { f, key: recorder.value(Datum::Text(&key(k))), value, list: list.as_deref() }
            })
            .collect();
        match ids[i] {
            None => ids[i] = Some(recorder.begin_txn(txns[i].process, 1_000 * n, &steps)),
            Some(id) => recorder.end_txn(id, 1_000 * n, txns[i].end, told.then_some(&steps)),
        }
    }
    recorder.finish()
}
