//! A user-defined model: bank accounts with deposit, withdraw and balance, recorded by hand and checked. Run `cargo run
//! --release --example own_model` in this package's folder.

use seaworthy_check::linear::check_model;
use seaworthy_check::model::Model;
use seaworthy_check::{Datum, End, History, OpId, Operation, Options, Recorder, Report, Request, Value};

/// An account. A withdrawal is refused if the balance does not cover it.
pub struct Account;

/// An operation.
pub enum Step {
    /// A deposit of this amount.
    Deposit(i64),
    /// A withdrawal of this amount.
    Withdraw(i64),
    /// A withdrawal that was refused, because the balance was below this amount.
    Refused(i64),
    /// A read that saw this balance.
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
            // A read of the balance without a reply gives no information.
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

/// Records operations on one customer's account.
#[derive(Default)]
pub struct Teller {
    log: Recorder,
}

impl Teller {
    /// Records that a client calls a function, with an amount if it takes one.
    pub fn call(&mut self, client: u32, function: &str, amount: Option<i64>) -> OpId {
        // This function is not in the vocabulary of the built-in models.
        let f = self.log.other(function).expect("there is room for 256 functions");
        let (customer, amount) = (self.log.value(Datum::Text("alice")), self.number(amount));
        self.log.begin(client, 0, customer, Request::new(f, amount))
    }

    /// Records the reply, with an amount if it has one.
    pub fn answer(&mut self, op: OpId, end: End, amount: Option<i64>) {
        let amount = self.number(amount);
        self.log.end(op, 0, end, amount, None);
    }

    fn number(&mut self, n: Option<i64>) -> Value {
        n.map_or(Value::UNTOLD, |n| self.log.value(Datum::Int(n)))
    }

    /// Checks the history.
    pub fn check(self) -> Report {
        check_model(|| Account, &self.log.finish(), &Options::default())
    }
}

fn main() {
    let mut teller = Teller::default();
    let deposit = teller.call(1, "deposit", Some(100));
    teller.answer(deposit, End::Ok, None);
    // Two clients withdraw at the same time, and both are paid.
    let first = teller.call(1, "withdraw", Some(80));
    let second = teller.call(2, "withdraw", Some(80));
    teller.answer(first, End::Ok, None);
    teller.answer(second, End::Ok, None);
    let balance = teller.call(3, "balance", None);
    teller.answer(balance, End::Ok, Some(20));
    print!("{}", teller.check());
}
