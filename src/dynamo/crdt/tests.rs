//! Mergeable values against a model that knows only the writes and which write knew which; laws, limits, refusals.

use super::*;
use crate::codec;
use crate::dynamo::encoding::Reader;
use crate::dynamo::version_vector::Actor;
use crate::types::{Bytes, NodeId, Resolve};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

fn dot(node: u32, count: u64) -> Dot {
    Dot { actor: Actor { node: NodeId(node), incarnation: 7 }, count }
}

fn encode(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    state.encode(&mut out);
    out
}

/// Decodes a state; `None` if bytes are left over.
fn stored(bytes: &[u8]) -> Option<State> {
    let mut from = Reader::new(bytes);
    State::decode(&mut from).filter(|_| from.rest().is_empty())
}

fn bytes(text: &str) -> Value {
    Bytes::copy_from_slice(text.as_bytes())
}

fn merged(a: &State, b: &State) -> State {
    let mut out = a.clone();
    out.merge(b);
    out
}

/// One step of a random schedule among three replicas.
#[derive(Clone, Debug)]
enum Step {
    Apply(usize, Op, u64),
    Merge(usize, usize),
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("c")]
}

fn leaf_op() -> impl Strategy<Value = FieldOp> {
    prop_oneof![
        (-3..10i64).prop_map(FieldOp::Add),
        name().prop_map(|v| FieldOp::Assign(bytes(v))),
        name().prop_map(|v| FieldOp::Insert(bytes(v))),
        name().prop_map(|v| FieldOp::Remove(bytes(v))),
    ]
}

fn kind() -> impl Strategy<Value = MergeKind> {
    (0..MergeKind::ALL.len()).prop_map(|at| MergeKind::ALL[at].1)
}

/// Operations; about half of them fit `kind`.
fn op(of: MergeKind) -> BoxedStrategy<Op> {
    let field = |kind: MergeKind, op: FieldOp, name: &str| Op::Field { name: name.to_owned(), kind, op };
    let fitting = |op: &FieldOp| match op {
        FieldOp::Add(n) if *n < 0 => MergeKind::PnCounter,
        FieldOp::Add(_) => MergeKind::Counter,
        FieldOp::Assign(_) => MergeKind::Register,
        FieldOp::Insert(_) | FieldOp::Remove(_) => MergeKind::Set,
    };
    match of {
        MergeKind::Map => prop_oneof![
            6 => (leaf_op(), name()).prop_map(move |(op, name)| field(fitting(&op), op, name)),
            1 => (leaf_op(), kind(), name()).prop_map(move |(op, kind, name)| field(kind, op, name)),
            2 => name().prop_map(|name| Op::RemoveField { name: name.to_owned() }),
        ]
        .boxed(),
        _ => leaf_op().prop_map(Op::from).boxed(),
    }
}

fn schedule(of: MergeKind) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..3usize, op(of), 0..20u64).prop_map(|(at, op, stamp)| Step::Apply(at, op, stamp)),
        2 => (0..3usize, 0..3usize).prop_map(|(to, from)| Step::Merge(to, from)),
    ];
    prop::collection::vec(step, 0..40)
}

/// A write that was executed: its operation, its dot, and the writes its coordinator knew.
struct Done {
    op: Op,
    dot: Dot,
    stamp: u64,
    seen: BTreeSet<usize>,
}

/// The model: computes the value by definition, from the writes alone. A replica is the set of writes that it knows.
#[derive(Default)]
struct Model {
    done: Vec<Done>,
}

impl Model {
    /// Whether a replica knows a write that matches `undoes` and that knew of `at`.
    fn undone(&self, known: &BTreeSet<usize>, at: usize, undoes: impl Fn(&Op) -> bool) -> bool {
        known.iter().any(|by| self.done[*by].seen.contains(&at) && undoes(&self.done[*by].op))
    }

    /// The value of the writes that `pick` selects; `cleared` matches writes that remove all of it.
    fn leaf(
        &self,
        kind: MergeKind,
        known: &BTreeSet<usize>,
        pick: &dyn Fn(&Op) -> Option<FieldOp>,
        cleared: &dyn Fn(&Op) -> bool,
    ) -> Option<Json> {
        let mine = |at: &usize| pick(&self.done[*at].op);
        match kind {
            MergeKind::Counter | MergeKind::PnCounter => {
                // Each actor's sum since a removal that it knew of. If a removal did not know an actor's last addition,
                // that addition keeps all additions before it.
                let mut sums: BTreeMap<Actor, (i64, usize)> = BTreeMap::new();
                for at in known {
                    let Some(FieldOp::Add(n)) = mine(at) else { continue };
                    let done = &self.done[*at];
                    let before = sums.get(&done.dot.actor).filter(|(_, last)| !self.undone(&done.seen, *last, cleared));
                    let before = before.map_or(0, |(sum, _)| *sum);
                    sums.insert(done.dot.actor, (before + n, *at));
                }
                sums.retain(|_, (_, last)| !self.undone(known, *last, cleared));
                (!sums.is_empty()).then(|| sums.values().map(|(sum, _)| *sum).sum::<i64>().into())
            }
            MergeKind::Register => {
                let gone = |op: &Op| cleared(op) || matches!(pick(op), Some(FieldOp::Assign(_)));
                let open = known.iter().filter(|at| matches!(mine(at), Some(FieldOp::Assign(_))));
                let open = open.filter(|at| !self.undone(known, **at, gone));
                let last = open.max_by_key(|at| (self.done[**at].stamp, self.done[**at].dot))?;
                let Some(FieldOp::Assign(value)) = mine(last) else { return None };
                Some(text(&value))
            }
            MergeKind::Set => {
                let mut elements = BTreeSet::new();
                for at in known {
                    let Some(FieldOp::Insert(element)) = mine(at) else { continue };
                    let gone = |op: &Op| cleared(op) || pick(op) == Some(FieldOp::Remove(element.clone()));
                    if !self.undone(known, *at, gone) {
                        elements.insert(element);
                    }
                }
                (!elements.is_empty()).then(|| elements.iter().map(|e| text(e)).collect())
            }
            MergeKind::Map => None,
        }
    }

    fn value(&self, kind: MergeKind, known: &BTreeSet<usize>) -> Json {
        if kind != MergeKind::Map {
            let pick = |op: &Op| match op.clone() {
                Op::Add(n) => Some(FieldOp::Add(n)),
                Op::Assign(v) => Some(FieldOp::Assign(v)),
                Op::Insert(v) => Some(FieldOp::Insert(v)),
                Op::Remove(v) => Some(FieldOp::Remove(v)),
                _ => None,
            };
            let empty = State::new(kind).render();
            return self.leaf(kind, known, &pick, &|_| false).unwrap_or(empty);
        }
        let mut map = serde_json::Map::new();
        for field in ["a", "b", "c"] {
            let value = |kind: MergeKind| {
                let pick = |op: &Op| match op {
                    Op::Field { name, kind: k, op } if name == field && *k == kind => Some(op.clone()),
                    _ => None,
                };
                let cleared = |op: &Op| matches!(op, Op::RemoveField { name } if name == field);
                Some((Resolve::Merge(kind).to_string(), self.leaf(kind, known, &pick, &cleared)?))
            };
            let mut values: serde_json::Map<_, _> = MergeKind::ALL.into_iter().filter_map(|(_, k)| value(k)).collect();
            match values.len() {
                0 => None,
                1 => map.insert(field.to_owned(), values.remove(&values.keys().next().unwrap().clone()).unwrap()),
                _ => map.insert(field.to_owned(), values.into()),
            };
        }
        map.into()
    }
}

/// Runs a schedule against the model; returns the replicas' states at its end.
fn run(kind: MergeKind, steps: &[Step]) -> Result<Vec<State>, TestCaseError> {
    let mut replicas = vec![(State::new(kind), BTreeSet::new()); 3];
    let (mut model, mut counts) = (Model::default(), [0u64; 3]);
    for step in steps {
        let changed = match step {
            Step::Apply(at, op, stamp) => {
                let (state, known) = &mut replicas[*at];
                let before = state.clone();
                let dot = dot(*at as u32, counts[*at] + 1);
                match state.apply(op, dot, Hlc(*stamp)) {
                    Ok(()) => {
                        counts[*at] += 1;
                        model.done.push(Done { op: op.clone(), dot, stamp: *stamp, seen: known.clone() });
                        known.insert(model.done.len() - 1);
                    }
                    Err(_) => prop_assert_eq!(&before, state),
                }
                *at
            }
            Step::Merge(to, from) => {
                let (theirs, known) = replicas[*from].clone();
                replicas[*to].0.merge(&theirs);
                replicas[*to].1.extend(known);
                *to
            }
        };
        let (state, known) = &replicas[changed];
        prop_assert_eq!(state.render(), model.value(kind, known), "after {:?}", step);
        prop_assert!(state.is_sane());
        let mut encoded = Vec::new();
        codec::append(state, &mut encoded).unwrap();
        prop_assert_eq!(state.size().bytes, encoded.len());
        let decoded = codec::decode::<State, 65536>(&encoded);
        prop_assert_eq!(decoded.as_ref(), Ok(state));
        prop_assert_eq!(stored(&encode(state)), Some(state.clone()));
    }
    Ok(replicas.into_iter().map(|(state, _)| state).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn replicas_agree_with_the_model((kind, steps) in kind().prop_flat_map(|k| (Just(k), schedule(k)))) {
        let replicas = run(kind, &steps)?;
        let [a, b, c] = [&replicas[0], &replicas[1], &replicas[2]];
        prop_assert_eq!(merged(a, b), merged(b, a));
        prop_assert_eq!(merged(&merged(a, b), c), merged(a, &merged(b, c)));
        prop_assert_eq!(&merged(a, a), a);
        prop_assert_eq!(merged(&merged(a, b), b), merged(a, b));
        prop_assert_eq!(&merged(&State::new(kind), a), a);
    }

    /// A write made on a merged state wins over what was merged, whatever the stamps.
    #[test]
    fn a_write_after_a_merge_supersedes((kind, steps) in kind().prop_flat_map(|k| (Just(k), schedule(k)))) {
        let replicas = run(kind, &steps)?;
        let old = merged(&merged(&replicas[0], &replicas[1]), &replicas[2]);
        let (op, holds): (Op, &dyn Fn(&Json) -> bool) = match kind {
            MergeKind::Counter | MergeKind::PnCounter => {
                (Op::Add(1000), &|v| v.as_i64() == old.render().as_i64().map(|sum| sum + 1000))
            }
            MergeKind::Register => (Op::Assign(bytes("new")), &|v| v == "new"),
            MergeKind::Set => (Op::Remove(bytes("a")), &|v| !v.as_array().unwrap().contains(&json!("a"))),
            MergeKind::Map => (Op::RemoveField { name: "a".to_owned() }, &|v| v.get("a").is_none()),
        };
        let mut new = old.clone();
        prop_assert_eq!(new.apply(&op, dot(9, 1), Hlc(0)), Ok(()));
        let all = replicas.iter().fold(new.clone(), |all, replica| merged(replica, &all));
        prop_assert_eq!(&all, &new);
        prop_assert!(holds(&all.render()), "{}", all.render());
    }

    /// Decoding ends on any bytes, and its result can be checked for sanity.
    #[test]
    fn noise_decodes_to_an_error_or_a_state(noise in prop::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..200)) {
        if let Ok(state) = codec::decode::<State, 65536>(&noise) {
            let _ = (state.is_sane(), state.render(), merged(&state, &state));
        }
        let _ = codec::decode::<Op, 65536>(&noise);
    }

    /// On disk, bytes that decode are exactly what would be written: a state has one encoding, and no other is
    /// accepted.
    #[test]
    fn noise_on_disk_is_no_state_or_just_that_state(
        mut noise in prop::collection::vec(prop_oneof![4 => Just(0u8), 1 => 1..6u8, 1 => any::<u8>()], 0..80),
        kind in kind(),
        flip: Option<(prop::sample::Index, u8)>,
    ) {
        if let Some((at, bits)) = flip {
            let mut state = State::new(kind);
            let op = match kind {
                MergeKind::Counter | MergeKind::PnCounter => Op::Add(3),
                MergeKind::Register => Op::Assign(bytes("v")),
                MergeKind::Set => Op::Insert(bytes("e")),
                MergeKind::Map => field("f", MergeKind::Set, FieldOp::Insert(bytes("e"))),
            };
            apply(&mut state, &op, dot(1, 1)).unwrap();
            noise = encode(&state);
            let at = at.index(noise.len());
            noise[at] ^= bits;
        }
        let mut from = Reader::new(&noise);
        if let Some(state) = State::decode(&mut from) {
            prop_assert!(state.is_sane());
            prop_assert_eq!(&encode(&state)[..], &noise[..noise.len() - from.rest().len()]);
        }
    }
}

fn apply(state: &mut State, op: &Op, dot: Dot) -> Result<(), String> {
    state.apply(op, dot, Hlc(0))
}

fn field(name: &str, kind: MergeKind, op: FieldOp) -> Op {
    Op::Field { name: name.to_owned(), kind, op }
}

#[test]
fn an_add_wins_over_a_concurrent_remove() {
    let mut a = State::new(MergeKind::Set);
    apply(&mut a, &Op::Insert(bytes("milk")), dot(1, 1)).unwrap();
    let mut b = a.clone();
    apply(&mut a, &Op::Remove(bytes("milk")), dot(1, 2)).unwrap();
    assert_eq!(merged(&a, &b).render(), json!([]), "what the remove has seen does not come back");
    apply(&mut b, &Op::Insert(bytes("milk")), dot(2, 1)).unwrap();
    assert_eq!(merged(&a, &b).render(), json!(["milk"]));
    assert_eq!(merged(&b, &a), merged(&a, &b));
}

#[test]
fn removing_a_field_leaves_what_was_concurrent() {
    let mut a = State::new(MergeKind::Map);
    apply(&mut a, &field("cart", MergeKind::Set, FieldOp::Insert(bytes("milk"))), dot(1, 1)).unwrap();
    apply(&mut a, &field("views", MergeKind::Counter, FieldOp::Add(5)), dot(1, 2)).unwrap();
    let mut b = a.clone();
    apply(&mut b, &field("views", MergeKind::Counter, FieldOp::Add(2)), dot(2, 1)).unwrap();
    let mut c = b.clone();
    for (count, name) in [(1, "cart"), (2, "views")] {
        apply(&mut c, &Op::RemoveField { name: name.to_owned() }, dot(3, count)).unwrap();
    }
    assert_eq!(c.render(), json!({}));
    assert_eq!(merged(&c, &b).render(), json!({}));
    apply(&mut b, &field("cart", MergeKind::Set, FieldOp::Insert(bytes("eggs"))), dot(2, 2)).unwrap();
    apply(&mut b, &field("views", MergeKind::Counter, FieldOp::Add(1)), dot(2, 3)).unwrap();
    assert_eq!(
        merged(&c, &b).render(),
        json!({"cart": ["eggs"], "views": 3}),
        "the server's own 2 come back with its 1"
    );
}

#[test]
fn one_field_of_two_types_is_shown_by_type() {
    let mut a = State::new(MergeKind::Map);
    let mut b = a.clone();
    apply(&mut a, &field("x", MergeKind::Register, FieldOp::Assign(bytes("v"))), dot(1, 1)).unwrap();
    apply(&mut b, &field("x", MergeKind::PnCounter, FieldOp::Add(-1)), dot(2, 1)).unwrap();
    let mut both = merged(&a, &b);
    assert_eq!(both.render(), json!({"x": {"pn-counter": -1, "register": "v"}}));
    apply(&mut both, &Op::RemoveField { name: "x".to_owned() }, dot(1, 2)).unwrap();
    assert_eq!(merged(&both, &b).render(), json!({}));
}

#[test]
fn bytes_that_are_no_text_are_shown_as_hexadecimal() {
    let mut set = State::new(MergeKind::Set);
    for (count, element) in [(1, &b"\xff\x00"[..]), (2, "é".as_bytes()), (3, b"")] {
        apply(&mut set, &Op::Insert(Bytes::copy_from_slice(element)), dot(1, count)).unwrap();
    }
    assert_eq!(set.render(), json!(["", "é", {"hex": "ff00"}]));
}

#[test]
fn counters_stop_where_numbers_do() {
    let mut counter = State::new(MergeKind::PnCounter);
    for (node, n) in [(1, i64::MAX), (1, i64::MAX), (2, i64::MAX), (3, i64::MIN)] {
        let count = counter.clock.count(dot(node, 1).actor) + 1;
        apply(&mut counter, &Op::Add(n), dot(node, count)).unwrap();
    }
    assert_eq!(counter.render(), json!(i64::MAX as u64 * 2 - 1));
    let full = apply(&mut counter, &Op::Add(i64::MAX), dot(1, 3)).unwrap_err();
    assert_eq!(full, "the counter is full: it cannot count any further this way");
}

#[test]
fn refusals_say_why() {
    let refused = |kind: MergeKind, op: &Op| apply(&mut State::new(kind), op, dot(1, 1)).unwrap_err();
    let long = || bytes(&"x".repeat(MAX_KEY_BYTES + 1));
    let nested = Op::Field { name: "m".to_owned(), kind: MergeKind::Map, op: FieldOp::Add(1) };
    let said = [
        refused(MergeKind::Counter, &Op::Add(-1)),
        refused(MergeKind::PnCounter, &Op::Assign(bytes("x"))),
        refused(MergeKind::Register, &Op::Add(1)),
        refused(MergeKind::Set, &Op::Assign(bytes("x"))),
        refused(MergeKind::Set, &Op::Insert(long())),
        refused(MergeKind::Map, &Op::Add(1)),
        refused(MergeKind::Map, &nested),
        refused(MergeKind::Map, &field("f", MergeKind::Set, FieldOp::Add(1))),
        refused(MergeKind::Map, &field(&"x".repeat(5000), MergeKind::Set, FieldOp::Insert(bytes("x")))),
        refused(MergeKind::Map, &field("f", MergeKind::Set, FieldOp::Insert(long()))),
        refused(MergeKind::Register, &Op::Assign(vec![0; MAX_VALUE_BYTES].into())),
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
    this counter only grows
    a counter can only be added to
    a register can only be assigned to
    a set only takes inserts and removes of elements
    an element has at most 4096 bytes, this one 4097
    a map only takes changes of its fields
    maps do not nest: a field is a counter, a register or a set
    a set only takes inserts and removes of elements
    a field's name has at most 4096 bytes, this one 5000
    an element has at most 4096 bytes, this one 4097
    the value would have 1048656 bytes, at most 1048576 are allowed
    ");
    let mut map = State::new(MergeKind::Map);
    apply(&mut map, &field("f", MergeKind::PnCounter, FieldOp::Add(1)), dot(1, 1)).unwrap();
    let clash = apply(&mut map, &field("f", MergeKind::Set, FieldOp::Insert(bytes("x"))), dot(1, 2)).unwrap_err();
    assert_eq!(clash, "the field `f` is a pn-counter already; remove it first");
}

/// A full set accepts no more elements, but elements can be removed and others inserted in their place; a merge may
/// exceed the limit.
#[test]
fn a_state_has_its_limits() {
    let entries = (1..=MAX_PARTS as u32).map(|node| (dot(node, 1).actor, 1));
    let mut set = State { clock: VersionVector::of(entries), ..State::new(MergeKind::Set) };
    let full = apply(&mut set, &Op::Insert(bytes("x")), dot(1, 2)).unwrap_err();
    assert!(full.starts_with("the value would have 16385 parts"), "{full}");

    let big = |n: u64| Value::from([&n.to_le_bytes()[..], &[0; MAX_KEY_BYTES - 8]].concat());
    let mut set = State::new(MergeKind::Set);
    let mut filled = 0;
    while apply(&mut set, &Op::Insert(big(filled)), dot(1, filled + 1)).is_ok() {
        filled += 1;
    }
    assert_eq!(filled, 253, "elements of 4 KiB in 1 MiB");
    apply(&mut set, &Op::Remove(big(0)), dot(1, 300)).unwrap();
    apply(&mut set, &Op::Insert(big(1000)), dot(1, 301)).unwrap();
    let mut other = State::new(MergeKind::Set);
    apply(&mut other, &Op::Insert(big(2000)), dot(2, 1)).unwrap();
    let mut both = merged(&set, &other);
    assert_eq!(both.render().as_array().unwrap().len(), 254);
    assert!(apply(&mut both, &Op::Insert(bytes("x")), dot(1, 302)).is_err());
    apply(&mut both, &Op::Remove(big(2000)), dot(1, 302)).unwrap();
}

#[test]
fn what_no_replica_can_hold_is_not_sane() {
    let mut set = State::new(MergeKind::Set);
    apply(&mut set, &Op::Insert(bytes("x")), dot(1, 2)).unwrap();
    let mut counter = State::new(MergeKind::PnCounter);
    apply(&mut counter, &Op::Add(-1), dot(1, 1)).unwrap();
    let mut map = State::new(MergeKind::Map);
    apply(&mut map, &field("f", MergeKind::Counter, FieldOp::Add(1)), dot(1, 1)).unwrap();
    for state in [&set, &counter, &map] {
        assert!(state.is_sane());
        let unknown = State { clock: VersionVector::default(), ..state.clone() };
        assert!(!unknown.is_sane(), "{unknown:?}");
    }
    let Body::Leaf(Leaf::PnCounter(tallies)) = &counter.body else { panic!("a counter") };
    let shrunk = State { body: Body::Leaf(Leaf::Counter(tallies.clone())), ..counter.clone() };
    assert!(!shrunk.is_sane());
    let mut twice = tallies.clone();
    counter::add(&mut twice, 1, dot(2, 1)).unwrap();
    twice.0.extend(tallies.0.iter().map(|(held, tally)| (Dot { count: held.count + 1, ..*held }, *tally)));
    let clock = VersionVector::of([(dot(1, 1).actor, 2), (dot(2, 1).actor, 1)]);
    assert!(!State { clock, body: Body::Leaf(Leaf::PnCounter(twice)) }.is_sane());
}
