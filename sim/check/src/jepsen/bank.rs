//! `jepsen.tests.bank`: clients transfer money between accounts and read all balances, whose sum never changes.
//!
//! At most one error is reported per answered read, the first of these: it has an unknown account (*unexpected key*),
//! an account without a balance (*nil balance*), another sum (*wrong total*), or a balance below zero (*negative
//! value*), unless that is allowed. An answer must be a map from accounts to integers, or a list of balances; anything
//! else is an error of the file.
//!
//! The accounts and the total are those that the caller gives; else those of the initial balances (`--initial`), if
//! given; else those of the first read. In the last case one wrong read among right ones is always detected, though the
//! right ones may be the ones that are shown.

use super::{Judged, NOTHING, Terms, counts, evidence, figure};
use crate::evidence::capital;
use crate::evidence::show::{during, subject};
use crate::format::maps::{Entry, entries};
use crate::history::{Datum, End, Function, History, OpId, Operation, Value};
use crate::linear::{Amount, Figure, Part, Verdict};
use crate::model::Misfit;

/// The name of the function that transfers money.
pub const TRANSFER: &str = "transfer";

/// Balances by account; `None`: the read shows no balance for it.
type Balances = Vec<(String, Option<i64>)>;

/// The errors of a read, by Jepsen's names, worst first.
const KINDS: [&str; 4] = ["wrong total", "negative value", "nil balance", "unexpected key"];

/// What all reads must agree with.
struct Bank {
    accounts: Vec<String>,
    total: i128,
    negative: bool,
}

/// An error of a read.
struct Wrong {
    kind: &'static str,
    op: OpId,
    what: String,
    total: i128,
}

pub fn judge(history: &History, part: Part<'_>, terms: &Terms) -> Result<Judged, Misfit> {
    let mut reads: Vec<(OpId, Balances)> = Vec::new();
    for &id in part.ops {
        let op = history.operation(id);
        if op.f == Function::Read && op.end == End::Ok && op.reply != Value::UNTOLD {
            reads.push((id, balances(history, op.reply).map_err(|what| Misfit { op: id, what })?));
        } else if op.f != Function::Read && history.function(op.f) != TRANSFER {
            let what = format!("a bank has read and transfer, and this is {}", history.function(op.f));
            return Err(Misfit { op: id, what });
        }
    }
    let (bank, by) = bank(history, &reads, terms);
    let wrong: Vec<Wrong> = reads.iter().filter_map(|(id, balances)| bank.wrong(history, *id, balances)).collect();
    let times = |kind: &str| wrong.iter().filter(|wrong| wrong.kind == kind).count() as u64;
    let totals = || wrong.iter().filter(|wrong| wrong.kind == "wrong total").map(|wrong| wrong.total);
    let sum = |name, sum: Option<i128>| sum.map(|sum| Figure { name, amount: Amount::Sum(sum) });
    let mut figures = vec![figure("read-count", reads.len() as u64), figure("error-count", wrong.len() as u64)];
    figures.extend(sum("total-amount", (!reads.is_empty()).then_some(bank.total)));
    figures.extend(sum("lowest", totals().min()).into_iter().chain(sum("highest", totals().max())));
    let key = history.key(part.key);
    let verdict = match wrong.first() {
        None if reads.is_empty() => Verdict::Unknown(format!("{NOTHING}: no read was answered")),
        None => Verdict::Valid,
        Some(Wrong { kind, op, what, .. }) => {
            let read = history.operation(*op);
            let more = match wrong.len() - 1 {
                0 => String::new(),
                n => format!(" {n} more of {} reads are wrong.", reads.len()),
            };
            let text = format!("{}'s read {} {what}.{more}", subject(read), during(history, read));
            evidence(history, &key, kind, (vec![*op], Some(*op)), capital(&text))
        }
    };
    Ok(Judged { verdict, by, counts: counts(&KINDS.map(|kind| (kind, times(kind)))), figures })
}

/// Returns what the caller gives, else what the initial balances or the first read say.
fn bank(history: &History, reads: &[(OpId, Balances)], terms: &Terms) -> (Bank, &'static str) {
    let first = match history.initial() {
        Value::NIL => None,
        initial => balances(history, initial).ok(),
    };
    let told = terms.total.is_some() || first.is_some();
    let model = first.as_ref().or(reads.first().map(|(_, balances)| balances));
    let accounts = match (&terms.accounts[..], model) {
        ([], Some(model)) => model.iter().map(|(account, _)| account.clone()).collect(),
        (told, _) => told.to_vec(),
    };
    let total = terms.total.unwrap_or_else(|| model.map_or(0, total));
    let by = if told {
        "the sum of each read"
    } else {
        "the sum of each read, compared with the first: --total says what it is"
    };
    (Bank { accounts, total, negative: terms.negative_balances }, by)
}

fn total(balances: &Balances) -> i128 {
    balances.iter().map(|(_, balance)| i128::from(balance.unwrap_or(0))).sum()
}

/// Reads balances from a value.
fn balances(history: &History, value: Value) -> Result<Balances, String> {
    let wrong = |what: &str| {
        format!("expected balances, as {{account amount, …}} or a list of amounts: {what} {}", history.show(value))
    };
    match history.datum(value) {
        Datum::Nil => Ok(Vec::new()),
        Datum::List(list) => {
            let each = list.iter().enumerate().map(|(account, &balance)| match history.datum(balance) {
                Datum::Int(n) => Ok((account.to_string(), Some(n))),
                Datum::Nil => Ok((account.to_string(), None)),
                _ => Err(wrong("what is no whole number stands in")),
            });
            each.collect()
        }
        Datum::Symbol(spelling) => {
            let each = entries(spelling).ok_or_else(|| wrong("this is no map:"))?.into_iter();
            let each = each.map(|(account, entry)| match entry {
                Entry::Number(n) => Ok((account, Some(n))),
                Entry::Nil => Ok((account, None)),
                Entry::Other(_) => Err(wrong("what is no whole number stands in")),
            });
            each.collect()
        }
        _ => Err(wrong("this is")),
    }
}

impl Bank {
    fn wrong(&self, history: &History, op: OpId, balances: &Balances) -> Option<Wrong> {
        let sum = total(balances);
        let strange = || balances.iter().find(|(account, _)| !self.accounts.contains(account));
        let silent = || balances.iter().find(|(_, balance)| balance.is_none());
        let below = || balances.iter().find(|(_, balance)| !self.negative && balance.is_some_and(|n| n < 0));
        let (kind, what) = if let Some((account, _)) = strange() {
            ("unexpected key", format!("shows an account {account:?}, which there is not"))
        } else if let Some((account, _)) = silent() {
            ("nil balance", format!("shows nothing for the account {account:?}"))
        } else if sum != self.total {
            let seen = shown(history, history.operation(op));
            ("wrong total", format!("shows {seen}, which is {sum} in all, not {}", self.total))
        } else if let Some((account, balance)) = below() {
            ("negative value", format!("shows {} in the account {account:?}", balance.unwrap_or(0)))
        } else {
            return None;
        };
        Some(Wrong { kind, op, what, total: sum })
    }
}

fn shown(history: &History, op: &Operation) -> String {
    crate::evidence::show::quoted(history, op.reply)
}
