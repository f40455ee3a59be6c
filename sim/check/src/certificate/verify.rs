//! The verifier of certificates. It shares no code with the procedures that produce them. It has its own sequential
//! specifications, and tries all orders of a core, remembering configurations. See [`super`] for what is and is not
//! verified.

use super::step::{State, makes};
use super::transactions::{self, Level};
use super::{Claim, Header, VERSION, fingerprint};
use crate::history::{Condition, Datum, End, Function as F, History, KeyId, NEVER, Operation, UNTOLD_REVISION, Value};
use crate::model::Kind;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Maximum number of operations of a core.
pub const MAX_CORE: usize = 128;
/// The property whose orders cover all keys together.
pub(super) const SEQUENTIAL: &str = "sequentially consistent";
/// Maximum number of configurations tried for a core.
pub const MAX_STATES: usize = 400_000;

/// What a certificate proves about a part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verified {
    /// Valid: the order explains it.
    Valid,
    /// Not valid: no order explains the core.
    Invalid,
    /// Not proven, with the reason: the certificate claims nothing, or the core exceeds the limits.
    Unknown(String),
}

/// An error in a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// Line of the certificate, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Error {}

/// Verifies a certificate of a history. Returns what it proves about each part.
///
/// # Errors
/// Returns the first line that is malformed, is not about this history, or is not true.
pub fn verify(history: &History, text: &str) -> Result<Vec<Verified>, Error> {
    let mut lines = text.lines().enumerate().map(|(i, line)| (i + 1, line));
    let (_, first) = lines.next().unwrap_or((1, ""));
    let header: Header = serde_json::from_str(first).map_err(|error| Error { line: 1, what: error.to_string() })?;
    let mut checker = Checker::new(history, &header).map_err(|what| Error { line: 1, what })?;
    let mut verified = Vec::new();
    for (line, text) in lines {
        let wrong = |what: String| Error { line, what };
        let claim: Claim = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let (part, due) = (claim.part(), verified.len());
        if part as usize != due || part >= header.parts {
            return Err(wrong(format!("part {part} comes where {due} should, of {}", header.parts)));
        }
        verified.push(checker.check(&claim).map_err(wrong)?);
    }
    if verified.len() < header.parts as usize {
        let what = format!("the certificate ends after {} of {} parts", verified.len(), header.parts);
        return Err(Error { line: text.lines().count() + 1, what });
    }
    Ok(verified)
}

/// Returns what one claim about the only part proves.
pub(super) fn judge(history: &History, header: &Header, claim: &Claim) -> Result<Verified, String> {
    Checker::new(history, header)?.check(claim)
}

/// The property, with the operations that it covers.
enum Property {
    /// Of each key by itself.
    Linearizable(Kind, Vec<Vec<u32>>),
    /// Of all keys together.
    Sequential(Kind),
    /// Of all transactions.
    Isolated(Level),
}

struct Checker<'h> {
    history: &'h History,
    property: Property,
    /// For each operation, whether it is in an order.
    listed: Vec<bool>,
}

impl<'h> Checker<'h> {
    fn new(history: &'h History, header: &Header) -> Result<Checker<'h>, String> {
        let print = format!("{:032x}", fingerprint(history));
        if header.certificate != VERSION {
            return Err(format!("version {} is not known", header.certificate));
        }
        if history.operations().len() as u64 != header.operations {
            return Err("the history has another size".to_owned());
        }
        if print != header.fingerprint {
            return Err(format!("the history has the fingerprint {print}: it is another one"));
        }
        let kind = || {
            let kind = Kind::named(&header.model).ok_or_else(|| format!("there is no model {:?}", header.model))?;
            kind.accepts(history).map(|()| kind).map_err(|misfit| misfit.what)
        };
        let (property, parts) = match (header.property.as_str(), Level::named(&header.property)) {
            ("linearizable", _) => {
                let mut parts: Vec<Vec<u32>> = vec![Vec::new(); history.keys() as usize];
                let kind = kind()?;
                for (i, op) in (0..).zip(history.operations()) {
                    parts.get_mut(op.key.0 as usize).into_iter().for_each(|part| part.push(i));
                }
                (Property::Linearizable(kind, parts), history.keys())
            }
            (SEQUENTIAL, _) => (Property::Sequential(kind()?), 1),
            (_, Some(level)) => (Property::Isolated(level), 1),
            (other, None) => return Err(format!("there are no certificates of {other:?}")),
        };
        if parts != header.parts {
            return Err("the history has another size".to_owned());
        }
        Ok(Checker { history, property, listed: vec![false; history.operations().len()] })
    }

    fn check(&mut self, claim: &Claim) -> Result<Verified, String> {
        let history = self.history;
        match (claim, &self.property) {
            (Claim::Unknown { why, .. }, _) => Ok(Verified::Unknown(why.clone())),
            (Claim::Valid { part, order, .. }, Property::Linearizable(kind, parts)) => {
                let ops = parts.get(*part as usize).map_or(&[][..], Vec::as_slice);
                ordered(history, *kind, (KeyId(*part), ops), order, &mut self.listed).map(|()| Verified::Valid)
            }
            (Claim::Invalid { part, core, .. }, Property::Linearizable(kind, parts)) => {
                let ops = parts.get(*part as usize).map_or(&[][..], Vec::as_slice);
                refuted(history, *kind, KeyId(*part), ops, core)
            }
            (Claim::Valid { order, .. }, Property::Sequential(kind)) => sequential(history, *kind, order),
            (Claim::Valid { order, .. }, Property::Isolated(level)) => transactions::replayed(history, *level, order),
            (Claim::Cycle { cycle, .. }, Property::Isolated(level)) => transactions::cycle(history, *level, cycle),
            (Claim::Anomaly { anomaly, operations, by, .. }, Property::Isolated(level)) => {
                transactions::anomaly(history, *level, anomaly, operations, *by)
            }
            _ => Err("there is no such claim on this property".to_owned()),
        }
    }
}

/// Verifies an order of the operations on all keys. It need only respect the order of each client.
fn sequential(history: &History, kind: Kind, order: &[u32]) -> Result<Verified, String> {
    let mut states = vec![State::first(kind, history); history.keys() as usize];
    let (mut done, mut latest) = (vec![false; history.operations().len()], HashMap::new()); // Only for lookups.
    for &i in order {
        let op = history.operations().get(i as usize).ok_or_else(|| format!("there is no operation {i}"))?;
        let state = states.get_mut(op.key.0 as usize).ok_or_else(|| format!("operation {i} is on no key"))?;
        let own = latest.entry(op.process).or_insert(0);
        let what = match op.settled() {
            _ if std::mem::replace(&mut done[i as usize], true) => "comes twice",
            _ if op.end == End::Fail => "failed, and cannot have taken place",
            Some(returned) if returned < *own => "comes after a later one of its client",
            settled if !state.step(history, op, &history.condition(op), settled.is_some()) => {
                "cannot give its reply here"
            }
            _ => {
                *own = op.called.max(*own);
                continue;
            }
        };
        return Err(format!("operation {i} {what}"));
    }
    match (0..).zip(history.operations()).find(|&(i, op): &(usize, _)| !done[i] && must(kind, op)) {
        Some((i, _)) => Err(format!("operation {i} is missing")),
        None => Ok(Verified::Valid),
    }
}

/// Verifies an order in one pass.
fn ordered(
    history: &History,
    kind: Kind,
    (key, ops): (KeyId, &[u32]),
    order: &[u32],
    listed: &mut [bool],
) -> Result<(), String> {
    let (mut state, mut latest) = (State::first(kind, history), (0, 0));
    for &i in order {
        let op = history.operations().get(i as usize).filter(|op| op.key == key);
        let op = op.ok_or_else(|| format!("operation {i} is not one of this part"))?;
        let what = match op.settled() {
            _ if std::mem::replace(&mut listed[i as usize], true) => "comes twice".to_owned(),
            _ if op.end == End::Fail => "failed, and cannot have taken place".to_owned(),
            Some(ret) if ret < latest.0 => format!("had returned before operation {} was called", latest.1),
            settled if !state.step(history, op, &history.condition(op), settled.is_some()) => {
                format!("cannot give its reply here: {state:?}")
            }
            _ => {
                latest = latest.max((op.called, i));
                continue;
            }
        };
        return Err(format!("operation {i} {what}"));
    }
    match ops.iter().find(|&&i| !listed[i as usize] && must(kind, &history.operations()[i as usize])) {
        Some(i) => Err(format!("operation {i} is missing")),
        None => Ok(()),
    }
}

/// Whether an operation must take place: its outcome is known and has information.
fn must(kind: Kind, op: &Operation) -> bool {
    let told = !(matches!(op.f, F::Read | F::Contains) && op.reply == Value::UNTOLD);
    // The models do not say why these would refuse an operation. The refusal changed nothing.
    let moot = matches!(kind, Kind::Append | Kind::Counter | Kind::Sequence) || op.f == F::Enqueue;
    op.settled().is_some() && told && !(moot && op.end == End::Refused)
}

/// An operation to try: one of the core, or a class of other operations with equal effect and the given calls.
struct Act {
    op: Operation,
    when: Condition,
    calls: Vec<u32>,
}

/// Verifies that the core has no order. The first attempt drops the conditions of the other operations and treats all
/// values that the core does not name as equal. This only makes an order easier to find.
fn refuted(history: &History, kind: Kind, key: KeyId, ops: &[u32], core: &[u32]) -> Result<Verified, String> {
    if core.len() > MAX_CORE {
        return Ok(Verified::Unknown(format!("the core has more than {MAX_CORE} operations")));
    }
    let mut required = Vec::new();
    let sorted: BTreeSet<u32> = core.iter().copied().collect();
    for &i in core {
        let op = history.operations().get(i as usize).filter(|op| op.key == key && op.settled().is_some());
        let op = *op.ok_or_else(|| format!("operation {i} is not one of this part with a known outcome"))?;
        // An operation that need not take place is in conflict with the others because it did not take place.
        if must(kind, &op) {
            required.push(Act { op, when: history.condition(&op), calls: vec![op.called] });
        }
    }
    if sorted.len() < core.len() {
        return Err("an operation comes twice".to_owned());
    }
    let others: Vec<Operation> =
        ops.iter().filter(|i| !sorted.contains(i)).map(|&i| history.operations()[i as usize]).collect();
    let cell = matches!(kind, Kind::Register | Kind::CasRegister | Kind::Kv);
    for relaxed in [true, false].into_iter().filter(|&relaxed| cell || !relaxed) {
        match Search::new(history, kind, &required, &others, relaxed).finds_order() {
            Some(false) => return Ok(Verified::Invalid),
            Some(true) if !relaxed => return Err("the operations of the core can be ordered".to_owned()),
            Some(true) => {}
            None => return Ok(Verified::Unknown(format!("more than {MAX_STATES} configurations of the core"))),
        }
    }
    Err("the core was not tried".to_owned())
}

struct Search<'a> {
    history: &'a History,
    kind: Kind,
    required: &'a [Act],
    others: Vec<Act>,
    relaxed: bool,
    /// Whether revisions matter.
    counts: bool,
    /// The values that the core names. In the relaxed search, a cell treats all other values as one.
    named: BTreeSet<Value>,
}

/// The core operations that took place, how many of each class did, the state, and whether an operation of a class was
/// last.
type Node = (u128, Vec<u32>, State, bool);

impl<'a> Search<'a> {
    fn new(history: &'a History, kind: Kind, required: &'a [Act], others: &[Operation], relaxed: bool) -> Search<'a> {
        let mut named = BTreeSet::from([Value::NIL]);
        for act in required {
            named.extend([act.op.reply, act.op.compare]);
            named.extend(matches!(kind, Kind::Set).then_some(act.op.arg));
            if let Datum::List(list) = history.datum(act.op.reply) {
                named.extend(list);
            }
        }
        let asks = |op: &Operation, when: &Condition| op.revision != UNTOLD_REVISION || when.revision.is_some();
        let mut counts = required.iter().any(|act| asks(&act.op, &act.when));
        let mut classes: BTreeMap<_, Act> = BTreeMap::new();
        for op in others.iter().filter(|op| op.end != End::Fail && !matches!(op.f, F::Read | F::Contains)) {
            let when = if relaxed { Condition::ALWAYS } else { history.condition(op) };
            counts |= when.revision.is_some();
            let mut op = *op;
            op.process = if kind == Kind::Lock { op.process } else { 0 };
            match kind {
                Kind::Set | Kind::Queue | Kind::UnorderedQueue
                    if op.arg.told().is_some_and(|arg| !named.contains(&arg)) =>
                {
                    // Elements that the core does not name can only be an obstacle.
                    continue;
                }
                _ if relaxed && !named.contains(&op.arg) => op.arg = Value::UNTOLD,
                _ => {}
            }
            let class = (op.f, op.arg, when, op.process);
            classes.entry(class).or_insert(Act { op, when, calls: Vec::new() }).calls.push(op.called);
        }
        let others = classes.into_values().collect();
        Search { history, kind, required, others, relaxed, counts, named }
    }

    /// Whether the core can be ordered with some of the others; `None` if there are too many configurations.
    fn finds_order(&self) -> Option<bool> {
        let first = (0, vec![0; self.others.len()], self.merged(State::first(self.kind, self.history)), false);
        let mut seen = BTreeSet::from([first.clone()]);
        let mut left = vec![first];
        while let Some((done, used, state, idle)) = left.pop() {
            let pending = || (0..self.required.len()).filter(move |i| done >> i & 1 == 0);
            let deadline = pending().map(|i| self.required[i].op.returned).min().unwrap_or(NEVER);
            if deadline == NEVER {
                return Some(true);
            }
            let mut next: Vec<Node> = Vec::new();
            for i in pending().filter(|&i| self.required[i].op.called < deadline) {
                next.extend(
                    self.after(&state, &self.required[i], true)
                        .map(|state| (done | 1 << i, used.clone(), state, false)),
                );
            }
            // Of consecutive unconditional writes without an observation between them, only the last one matters,
            // unless revisions count them.
            for (class, act) in self.others.iter().enumerate().filter(|_| !idle || !self.relaxed || self.counts) {
                if act.calls.get(used[class] as usize).is_none_or(|&call| call > deadline) {
                    continue;
                }
                if let Some(state) = self.after(&state, act, false).filter(|next| *next != state) {
                    let mut used = used.clone();
                    used[class] += 1;
                    next.push((done, used, state, !self.counts));
                }
            }
            for node in next.into_iter().filter(|(done, _, state, _)| !self.hopeless(*done, state)) {
                if seen.insert(node.clone()) {
                    left.push(node);
                }
            }
            if seen.len() > MAX_STATES {
                return None;
            }
        }
        Some(false)
    }

    fn after(&self, state: &State, act: &Act, told: bool) -> Option<State> {
        // Numbers that no client saw matter only to a later read, and one number is enough for that read.
        if let (State::Last(_, 1..), false) = (state, told) {
            return None;
        }
        let mut next = state.clone();
        next.step(self.history, &act.op, &act.when, told).then(|| self.merged(next))
    }

    fn merged(&self, state: State) -> State {
        match state {
            State::Cell(value, count) => {
                let other = self.relaxed && !self.named.contains(&value);
                State::Cell(if other { Value::UNTOLD } else { value }, if self.counts { count } else { 0 })
            }
            state => state,
        }
    }

    /// Whether some pending operation has become impossible: its revision has passed, or its text has a different
    /// beginning.
    fn hopeless(&self, done: u128, state: &State) -> bool {
        let grows = !self.required.iter().chain(&self.others).any(|act| act.op.f == F::Write);
        let mut pending = (0..self.required.len()).filter(|i| done >> i & 1 == 0).map(|i| &self.required[i].op);
        match state {
            State::Cell(_, count) => pending.any(|op| {
                let after = u64::from(op.end == End::Refused || op.f == F::Read);
                op.revision != UNTOLD_REVISION && op.reply != Value::NIL && *count > u64::from(op.revision) + after
            }),
            State::Pieces(held) if grows => {
                pending.any(|op| op.f == F::Read && !makes(self.history, held, op.reply, true))
            }
            _ => false,
        }
    }
}
