//! The sequential specifications: what an object does when one client at a time uses it.
//!
//! [`Kind`] names the built-in ones. Implement [`Model`] for your own.

pub mod append;
pub mod counter;
pub mod detect;
pub mod kv;
pub mod lock;
pub mod queue;
pub mod sequence;
pub mod set;

use crate::history::{Function, History, OpId, Operation};
use crate::linear::Judge;
use crate::linear::kv::KvJudge;
use std::hash::Hash;

/// A sequential specification of one object.
///
/// Operations are compiled once and applied often. States are compared and remembered: keep them small, or behind an
/// `Arc`.
///
/// Four methods say what the object does; the rest have defaults and only make a check faster. A bounded stack, whose
/// `push` is answered by nothing and whose `pop` by the element, or by nil when it is empty:
///
/// ```
/// use seaworthy_check::linear::check_model;
/// use seaworthy_check::model::Model;
/// use seaworthy_check::{Datum, End, Function, History, Operation, Options, Recorder, Request, Value};
///
/// struct Stack {
///     room: usize,
/// }
///
/// enum Step {
///     Push { element: Value, full: bool },
///     Pop { answer: Option<Value> },
/// }
///
/// impl Model for Stack {
///     type State = Vec<Value>;
///     type Op = Step;
///
///     fn initial(&self, _: &History) -> Vec<Value> {
///         Vec::new()
///     }
///
///     fn compile(&self, history: &History, op: &Operation, told: bool) -> Option<Step> {
///         Some(match history.function(op.f) {
///             "push" => Step::Push { element: op.arg, full: told && op.end == End::Refused },
///             _ => Step::Pop { answer: told.then_some(op.reply) },
///         })
///     }
///
///     fn apply(&self, stack: &Vec<Value>, op: &Step) -> Option<Vec<Value>> {
///         let mut next = stack.clone();
///         match *op {
///             Step::Push { full, .. } if full != (stack.len() == self.room) => return None,
///             Step::Push { full: true, .. } => {}
///             Step::Push { element, .. } => next.push(element),
///             Step::Pop { answer } => {
///                 let top = next.pop().unwrap_or(Value::NIL);
///                 return (answer.is_none() || answer == Some(top)).then_some(next);
///             }
///         }
///         Some(next)
///     }
///
///     fn reads(&self, op: &Step) -> bool {
///         matches!(op, Step::Push { full: true, .. } | Step::Pop { answer: Some(Value::NIL) })
///     }
/// }
///
/// let mut log = Recorder::default();
/// let push = log.other("push").ok_or("too many functions")?;
/// let pop = log.other("pop").ok_or("too many functions")?;
/// let one = log.value(Datum::Int(1));
/// let op = log.begin(0, 0, Value::NIL, Request::new(push, one));
/// log.end(op, 1, End::Ok, Value::UNTOLD, None);
/// for process in 1..3 {
///     let op = log.begin(process, 2, Value::NIL, Request::new(pop, Value::UNTOLD));
///     log.end(op, 3, End::Ok, one, None); // twice the same element
/// }
/// let report = check_model(|| Stack { room: 10 }, &log.finish(), &Options::default());
/// assert!(!report.is_valid());
/// # Ok::<(), &str>(())
/// ```
pub trait Model {
    /// What the object holds.
    type State: Clone + Eq + Hash;
    /// An operation, ready to be applied.
    type Op;

    /// Before the first operation.
    fn initial(&self, history: &History) -> Self::State;

    /// Prepares an operation. `told` is false if its outcome is unknown or forgotten: it may then have happened with
    /// any reply. `None` if the operation cannot matter, such as a read whose reply is unknown.
    fn compile(&self, history: &History, op: &Operation, told: bool) -> Option<Self::Op>;

    /// Returns the state after the operation, or `None` if it cannot give this reply in this state. For an operation
    /// with an unknown reply that the state would refuse, this may return the state unchanged.
    fn apply(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;

    /// Whether it never changes any state. It is then placed as soon as it fits.
    fn reads(&self, op: &Self::Op) -> bool;

    /// Operations that give the same key must be equal: [`Model::apply`] does the same with each of them in every
    /// state. Which of them happened then makes no difference, and only one is ever tried. `None`: equal to no other.
    fn class(&self, _op: &Self::Op) -> Option<u64> {
        None
    }

    /// Returns whether the operation is impossible in this state and in every state reachable from it.
    fn hopeless(&self, _state: &Self::State, _op: &Self::Op) -> bool {
        false
    }

    /// How promising a state is: operations that lead to a higher one are tried first.
    fn promise(&self, _state: &Self::State) -> u8 {
        0
    }

    /// The bytes that a state holds beyond its own size, for the memory limit.
    fn weight(&self, _state: &Self::State) -> usize {
        0
    }
}

/// The built-in models.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Read and write.
    Register,
    /// Read, write and compare-and-set.
    CasRegister,
    /// Keys of a store: read, write, delete, conditions, revisions.
    Kv,
    /// Texts that only grow: read and append.
    Append,
    /// A number: add and read.
    Counter,
    /// Add, remove, contains, and read of the whole set.
    Set,
    /// First in, first out: enqueue and dequeue.
    Queue,
    /// Enqueue and dequeue in any order.
    UnorderedQueue,
    /// Mutual exclusion, with fencing tokens where replies carry them: acquire and release.
    Lock,
    /// Increasing numbers: next, and read of the last one returned.
    Sequence,
}

/// An operation that a model does not know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misfit {
    /// The first such operation.
    pub op: OpId,
    /// What is wrong with it.
    pub what: String,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 10] = [
        Kind::Register,
        Kind::CasRegister,
        Kind::Kv,
        Kind::Append,
        Kind::Counter,
        Kind::Set,
        Kind::Queue,
        Kind::UnorderedQueue,
        Kind::Lock,
        Kind::Sequence,
    ];

    /// Its name on command lines and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Register => "register",
            Kind::CasRegister => "cas-register",
            Kind::Kv => "kv",
            Kind::Append => "append",
            Kind::Counter => "counter",
            Kind::Set => "set",
            Kind::Queue => "queue",
            Kind::UnorderedQueue => "unordered-queue",
            Kind::Lock => "lock",
            Kind::Sequence => "sequence",
        }
    }

    /// The model of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its procedures.
    #[must_use]
    pub fn judge(self) -> Box<dyn Judge> {
        match self {
            Kind::Register | Kind::CasRegister | Kind::Kv => Box::new(KvJudge::default()),
            Kind::Append => append::judge(),
            Kind::Counter => counter::judge(),
            Kind::Set => set::judge(),
            Kind::Queue | Kind::UnorderedQueue => queue::judge(self),
            Kind::Lock => lock::judge(),
            Kind::Sequence => sequence::judge(),
        }
    }

    /// Returns whether it knows a function.
    fn knows(self, f: Function) -> bool {
        use Function::{Acquire, Add, Append, Contains, Delete, Dequeue, Enqueue, Next, Read, Release, Remove, Write};
        match self {
            Kind::Register | Kind::CasRegister => matches!(f, Read | Write),
            Kind::Kv => matches!(f, Read | Write | Delete),
            Kind::Append => matches!(f, Read | Write | Append),
            Kind::Counter => matches!(f, Read | Add),
            Kind::Set => matches!(f, Read | Add | Remove | Contains),
            Kind::Queue | Kind::UnorderedQueue => matches!(f, Enqueue | Dequeue),
            Kind::Lock => matches!(f, Acquire | Release),
            Kind::Sequence => matches!(f, Next | Read),
        }
    }

    /// Checks that the model knows every operation of the history, with its argument and reply.
    ///
    /// # Errors
    /// The first operation that it does not know.
    pub fn accepts(self, history: &History) -> Result<(), Misfit> {
        let misfit = |op: &Operation| {
            let name = self.name();
            if !self.knows(op.f) {
                return Some(format!("the model {name} has no function {}", history.function(op.f)));
            }
            let odd = match self {
                Kind::Append => append::odd(history, op),
                Kind::Counter => counter::odd(history, op),
                Kind::UnorderedQueue => queue::odd(op),
                _ => None,
            }?;
            Some(format!("the model {name} cannot {} {}", history.function(op.f), history.show(odd)))
        };
        let found = (0u32..).zip(history.operations()).find_map(|(i, op)| Some((OpId(i), misfit(op)?)));
        found.map_or(Ok(()), |(op, what)| Err(Misfit { op, what }))
    }
}
