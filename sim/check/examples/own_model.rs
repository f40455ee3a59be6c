//! A model of your own: bank accounts with deposit, withdraw and balance, recorded by hand and checked.
//! `cargo run --release --example own_model` in this package's folder.

use seaworthy_check::linear::check_model;
use seaworthy_check::model::Model;
use seaworthy_check::{Datum, End, Function, History, Operation, Options, Recorder, Request, Value};

/// An account: what is withdrawn must be there, else the withdrawal is refused.
struct Account;

enum Step {
    Deposit(i64),
    Withdraw(i64),
    /// A withdrawal that was refused: so much was not there.
    Refused(i64),
    Balance(i64),
}

impl Model for Account {
    type State = i64;
    type Op = Step;

    fn initial(&self, _: &History) -> i64 {
        0
    }

    fn compile(&self, history: &History, op: &Operation, told: bool) -> Option<Step> {
        let number = |value| match history.datum(value) {
            Datum::Int(n) => Some(n),
            _ => None,
        };
        match history.function(op.f) {
            "deposit" => Some(Step::Deposit(number(op.arg)?)),
            "withdraw" if told && op.end == End::Refused => Some(Step::Refused(number(op.arg)?)),
            "withdraw" => Some(Step::Withdraw(number(op.arg)?)),
            // Without its answer a look at the balance tells nothing.
            "balance" if told => Some(Step::Balance(number(op.reply)?)),
            _ => None,
        }
    }

    fn apply(&self, balance: &i64, op: &Step) -> Option<i64> {
        match *op {
            Step::Deposit(n) => Some(balance + n),
            Step::Withdraw(n) => (*balance >= n).then(|| balance - n),
            Step::Refused(n) => (*balance < n).then_some(*balance),
            Step::Balance(n) => (*balance == n).then_some(n),
        }
    }

    fn reads(&self, op: &Step) -> bool {
        matches!(op, Step::Balance(_) | Step::Refused(_))
    }

    // Only for speed: equal deposits are interchangeable, and so are equal withdrawals.
    fn class(&self, op: &Step) -> Option<u64> {
        match *op {
            Step::Deposit(n) => Some(n.cast_unsigned() << 1),
            Step::Withdraw(n) => Some(n.cast_unsigned() << 1 | 1),
            Step::Refused(_) | Step::Balance(_) => None,
        }
    }
}

fn main() {
    let mut log = Recorder::default();
    let alice = log.value(Datum::Text("alice"));
    let withdraw = function(&mut log, "withdraw");
    let (hundred, eighty, twenty) = (int(&mut log, 100), int(&mut log, 80), int(&mut log, 20));
    let deposit = function(&mut log, "deposit");
    let op = log.begin(1, 0, alice, Request::new(deposit, hundred));
    log.end(op, 1, End::Ok, Value::UNTOLD, None);
    // Two clients withdraw at the same time, and both are paid.
    let first = log.begin(1, 2, alice, Request::new(withdraw, eighty));
    let second = log.begin(2, 3, alice, Request::new(withdraw, eighty));
    log.end(first, 4, End::Ok, Value::UNTOLD, None);
    log.end(second, 5, End::Ok, Value::UNTOLD, None);
    let balance = function(&mut log, "balance");
    let op = log.begin(3, 6, alice, Request::new(balance, Value::UNTOLD));
    log.end(op, 7, End::Ok, twenty, None);
    print!("{}", check_model(|| Account, &log.finish(), &Options::default()));
}

fn int(log: &mut Recorder, n: i64) -> Value {
    log.value(Datum::Int(n))
}

/// A function that is not in the vocabulary of the built-in models.
fn function(log: &mut Recorder, name: &str) -> Function {
    log.other(name).expect("there is room for 256 functions")
}
