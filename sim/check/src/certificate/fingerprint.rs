//! The fingerprint of a history: XXH3-128 over its events, in order.
//!
//! Every event and value is hashed unambiguously: a tag, then numbers of fixed width. Texts and lists are preceded by
//! their lengths. Times and source lines are left out, because they are only for display and nothing depends on them.

use crate::history::{Datum, End, Function, History, KeyId, Operation, Value};
use xxhash_rust::xxh3::Xxh3;

/// Returns the fingerprint of a history's events, keys, values and initial value.
#[must_use]
pub fn fingerprint(history: &History) -> u128 {
    let mut writer = Writer { history, hash: Xxh3::new() };
    writer.value(history.initial());
    for (_, op, returned) in history.in_order() {
        writer.number(u64::from(op.0));
        let op = history.operation(op);
        if returned {
            writer.end(op);
        } else {
            writer.call(op);
        }
    }
    writer.hash.digest128()
}

struct Writer<'a> {
    history: &'a History,
    hash: Xxh3,
}

impl Writer<'_> {
    fn tag(&mut self, tag: u8) {
        self.hash.update(&[tag]);
    }

    fn number(&mut self, n: u64) {
        self.hash.update(&n.to_le_bytes());
    }

    fn text(&mut self, tag: u8, text: &str) {
        self.tag(tag);
        self.number(text.len() as u64);
        self.hash.update(text.as_bytes());
    }

    /// Nested lists are hashed without recursion. The elements of each list follow at its position.
    fn value(&mut self, value: Value) {
        let mut left = vec![value];
        while let Some(value) = left.pop() {
            match self.history.datum(value) {
                Datum::Nil => self.tag(0),
                Datum::Untold => self.tag(1),
                Datum::Bool(yes) => self.tag(2 + u8::from(yes)),
                Datum::Int(n) => {
                    self.tag(4);
                    self.hash.update(&n.to_le_bytes());
                }
                Datum::Text(text) => self.text(5, text),
                Datum::Symbol(text) => self.text(6, text),
                Datum::List(list) => {
                    self.tag(7);
                    self.number(list.len() as u64);
                    left.extend(list.iter().rev());
                }
            }
        }
    }

    fn key(&mut self, key: KeyId) {
        self.tag(u8::from(key == KeyId::NONE));
        self.value(self.history.key_value(key));
    }

    fn call(&mut self, op: &Operation) {
        self.tag(b'c');
        self.number(u64::from(op.process));
        self.text(0, self.history.function(op.f));
        self.key(op.key);
        let when = self.history.condition(op);
        if op.f == Function::Txn {
            self.steps(op);
        } else {
            self.value(op.arg);
        }
        self.value(op.compare);
        self.tag(when.exists.map_or(0, |exists| 1 + u8::from(exists)));
        self.tag(u8::from(when.revision.is_some()));
        self.hash.update(&when.revision.unwrap_or(0).to_le_bytes());
    }

    fn end(&mut self, op: &Operation) {
        self.tag(match op.end {
            End::Ok => b'o',
            End::Refused => b'r',
            End::Fail => b'f',
            End::Info => b'i',
        });
        if op.f != Function::Txn {
            self.value(op.reply);
        }
        self.number(u64::from(op.revision));
    }

    /// The steps as the client knew them at the end.
    fn steps(&mut self, op: &Operation) {
        let history = self.history;
        let steps = history.micro_ops(op);
        self.number(steps.len() as u64);
        for step in steps {
            self.text(0, history.function(step.f));
            self.key(step.key);
            self.value(step.value);
            let list = history.list(step);
            self.tag(u8::from(list.is_some()));
            self.number(list.map_or(0, <[Value]>::len) as u64);
            for &item in list.unwrap_or_default() {
                self.value(item);
            }
        }
    }
}
