//! What a plan's operations do in a bucket of a mergeable type, and how such values are shown.
//!
//! - `counter`, `pn-counter`: a put adds the length of its value; for a `pn-counter` an odd length is subtracted. A
//!   delete is a read, because a sum does not show what was deleted.
//! - `register`: a put assigns the value. A delete is a read.
//! - `set`: a put inserts one of a few elements, chosen by the length of its value. A delete removes a random one of
//!   them.
//! - `map`: depending on the length of its value, a put adds to the field `n`, inserts into `s`, or assigns `r`. A
//!   delete removes an element of `s`.
//!
//! No length is zero, so a lost or repeated operation always changes a sum. Conditions have no counterpart and are
//! ignored. Each field of a map is judged as a separate key.

use super::workload::word_of;
use crate::plan::{Call, Tag};
use seaworthy::dynamo::crdt::{FieldOp, Op};
use seaworthy::types::{MergeKind, Resolve, Rng};
use seaworthy_check::replicas::{self, Dump, End, Observed, Operation};
use serde_json::Value as Json;

/// Number of possible elements of a set.
const ELEMENTS: u64 = 5;

/// The fields of a map and their types.
const FIELDS: [(&str, MergeKind); 3] = [("n", MergeKind::PnCounter), ("r", MergeKind::Register), ("s", MergeKind::Set)];

/// A change of a mergeable value, or of one of its fields.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Change {
    field: Option<&'static str>,
    what: What,
}

#[derive(Clone, PartialEq, Debug)]
enum What {
    Add(i64),
    Assign(Tag),
    Insert(String),
    Remove(String),
}

/// The mergeable type of the bucket's keys, if they have one.
pub(super) fn are_kept(resolve: Resolve) -> Option<MergeKind> {
    match resolve {
        Resolve::Merge(kind) => Some(kind),
        Resolve::Siblings | Resolve::LastWriter => None,
    }
}

fn element(number: u64) -> String {
    format!("e{}", number % ELEMENTS)
}

impl Change {
    /// The change that `call` makes to a value of this type, or `None` for a read.
    pub(super) fn of(kind: MergeKind, call: &Call, rng: &mut Rng) -> Option<Change> {
        let removes = matches!(kind, MergeKind::Set | MergeKind::Map);
        let (field, what) = match call {
            Call::Put { value, .. } => Change::put(kind, value),
            Call::Delete { .. } if removes => {
                ((kind == MergeKind::Map).then_some("s"), What::Remove(element(rng.below(ELEMENTS))))
            }
            Call::Delete { .. } | Call::Get { .. } | Call::Extend { .. } => return None,
        };
        Some(Change { field, what })
    }

    fn put(kind: MergeKind, value: &Tag) -> (Option<&'static str>, What) {
        let length = value.len();
        let amount = i64::try_from(length).unwrap_or(i64::MAX);
        match kind {
            MergeKind::PnCounter if amount % 2 == 1 => (None, What::Add(-amount)),
            MergeKind::Counter | MergeKind::PnCounter => (None, What::Add(amount)),
            MergeKind::Register => (None, What::Assign(value.clone())),
            MergeKind::Set => (None, What::Insert(element(length))),
            MergeKind::Map => {
                let (name, kind) = FIELDS[(length % 3) as usize];
                (Some(name), Change::put(kind, value).1)
            }
        }
    }

    /// The change as an operation of the store.
    pub(super) fn op(&self) -> Op {
        let op = match &self.what {
            What::Add(n) => FieldOp::Add(*n),
            What::Assign(tag) => FieldOp::Assign(tag.bytes().into()),
            What::Insert(element) => FieldOp::Insert(element.clone().into_bytes().into()),
            What::Remove(element) => FieldOp::Remove(element.clone().into_bytes().into()),
        };
        match self.field.and_then(|field| FIELDS.iter().find(|(name, _)| *name == field)) {
            Some((name, kind)) => Op::Field { name: (*name).to_owned(), kind: *kind, op },
            None => op.into(),
        }
    }

    /// The key under which the change is judged: that of the field, if there is one.
    pub(super) fn key(&self, key: &str) -> String {
        self.field.map_or_else(|| key.to_owned(), |field| format!("{key}.{field}"))
    }

    /// The change as a call for the replica checker.
    pub(super) fn call(&self) -> replicas::Call {
        match &self.what {
            What::Add(n) => replicas::Call::Add(*n),
            What::Assign(tag) => replicas::Call::Put { value: tag.word.clone(), saw: Vec::new() },
            What::Insert(element) => replicas::Call::Insert(element.clone()),
            What::Remove(element) => replicas::Call::Remove(element.clone()),
        }
    }

    /// The amount that is added, if this is an addition.
    pub(super) fn amount(&self) -> Option<i64> {
        match self.what {
            What::Add(n) => Some(n),
            _ => None,
        }
    }

    /// The word that is assigned, if this is an assignment.
    pub(super) fn word(&self) -> Option<&str> {
        match &self.what {
            What::Assign(tag) => Some(&tag.word),
            _ => None,
        }
    }

    /// The name in the neutral history of a change other than an addition or assignment.
    pub(super) fn name(&self) -> &'static str {
        match (&self.what, self.field) {
            (What::Insert(_), _) => "insert",
            (What::Remove(_), _) => "take out",
            (What::Add(_), _) => "add to a field",
            (What::Assign(_), _) => "assign a field",
        }
    }
}

/// The contents of a value of this type, one text per element. A map is returned whole, for [`apart`] to split.
pub(super) fn told(kind: MergeKind, shown: &str) -> Vec<String> {
    match (kind, serde_json::from_str::<Json>(shown)) {
        (MergeKind::Map, _) | (_, Err(_)) => vec![shown.to_owned()],
        (_, Ok(json)) => things(&json),
    }
}

fn things(json: &Json) -> Vec<String> {
    match json {
        Json::Null => Vec::new(),
        Json::String(text) => vec![word_of(text.as_bytes())],
        Json::Array(elements) => elements.iter().flat_map(things).collect(),
        other => vec![other.to_string()],
    }
}

/// Splits maps into fields. A read of a map, or a replica's copy of it, becomes one for each field.
pub(super) fn apart(observed: Observed) -> Observed {
    let field = |values: &[String], name: &str| -> Vec<String> {
        let maps = values.iter().filter_map(|text| serde_json::from_str::<Json>(text).ok());
        maps.flat_map(|map| map.get(name).map(things).unwrap_or_default()).collect()
    };
    let each = |op: Operation| -> Vec<Operation> {
        if op.call != replicas::Call::Get {
            return vec![op];
        }
        let of = |(name, _): &(&str, MergeKind)| {
            let end = match &op.end {
                End::Ok(Some(values)) => End::Ok(Some(field(values, name))),
                end => end.clone(),
            };
            Operation { key: format!("{}.{name}", op.key), end, ..op.clone() }
        };
        FIELDS.iter().map(of).collect()
    };
    let fields = |dump: Dump| {
        FIELDS.map(|(name, _)| Dump {
            replica: dump.replica.clone(),
            key: format!("{}.{name}", dump.key),
            values: field(&dump.values, name),
            state: dump.state.clone(),
        })
    };
    Observed {
        operations: observed.operations.into_iter().flat_map(each).collect(),
        dumps: observed.dumps.into_iter().flat_map(fields).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::When;

    fn put(word: &str, size: u64) -> Call {
        Call::Put { key: "k".into(), value: Tag { word: word.into(), size }, when: When::Always, ttl: None }
    }

    fn change(kind: MergeKind, size: u64) -> Change {
        Change::of(kind, &put("c1-1", size), &mut Rng::new(1, "test")).expect("a put changes something")
    }

    #[test]
    fn a_put_adds_the_length_of_its_value() {
        assert_eq!([8, 9].map(|size| change(MergeKind::Counter, size).amount()), [Some(8), Some(9)]);
        assert_eq!([8, 9].map(|size| change(MergeKind::PnCounter, size).amount()), [Some(8), Some(-9)]);
        assert_eq!(change(MergeKind::Counter, 1).amount(), Some(4), "a value is at least its word");
    }

    #[test]
    fn sets_take_elements_and_maps_fields() {
        assert_eq!(change(MergeKind::Set, 8).call(), replicas::Call::Insert("e3".into()));
        assert_eq!(change(MergeKind::Register, 8).word(), Some("c1-1"));
        let fields = [9, 10, 11].map(|size| change(MergeKind::Map, size).key("k"));
        assert_eq!(fields, ["k.n", "k.r", "k.s"]);
        let delete = Call::Delete { key: "k".into(), when: When::Always };
        let of = |kind| Change::of(kind, &delete, &mut Rng::new(1, "test"));
        assert_eq!(of(MergeKind::Counter), None, "a delete of a counter is a read");
        assert!(matches!(of(MergeKind::Map), Some(Change { field: Some("s"), what: What::Remove(_) })));
    }

    #[test]
    fn a_map_is_read_field_by_field() {
        let text = r#"{"n":-3,"r":"c1-4....","s":["e1","e2"]}"#;
        assert_eq!(told(MergeKind::Set, r#"["e1","e2"]"#), ["e1", "e2"]);
        assert_eq!(told(MergeKind::Register, r#""c1-4..""#), ["c1-4"]);
        assert_eq!(told(MergeKind::PnCounter, "-3"), ["-3"]);
        let dump = |text: &str| Dump {
            replica: "n1".into(),
            key: "k".into(),
            values: vec![text.into()],
            state: String::new(),
        };
        let all = apart(Observed { operations: Vec::new(), dumps: vec![dump(text), dump("{}")] });
        let values: Vec<(&str, usize)> = all.dumps.iter().map(|d| (d.key.as_str(), d.values.len())).collect();
        assert_eq!(values, [("k.n", 1), ("k.r", 1), ("k.s", 2), ("k.n", 0), ("k.r", 0), ("k.s", 0)]);
        assert_eq!((&all.dumps[0].values[0][..], &all.dumps[1].values[0][..]), ("-3", "c1-4"));
    }
}
