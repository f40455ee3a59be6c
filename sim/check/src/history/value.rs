//! Interned values of 32 bits. Equal values have equal numbers.
//!
//! Small whole numbers are stored in the 32 bits. Texts, lists and everything else are stored once in an arena. So a
//! million operations on distinct small numbers need no arena memory, and comparing values is comparing integers.

use hashbrown::HashTable;
use std::fmt;
use xxhash_rust::xxh3::xxh3_64;

/// A value of a [`History`](super::History). A key is a value too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(u32);

/// Numbers from here on are not small numbers but indexes into the arena.
const INTERNED: u32 = 1 << 31;
/// Numbers from here on are the constants below.
const CONSTANTS: u32 = u32::MAX - 7;

impl Value {
    /// Nothing: a missing key, an empty queue, `nil`.
    pub const NIL: Value = Value(u32::MAX);
    /// No value: there was no argument, or the reply is not known.
    pub const UNTOLD: Value = Value(u32::MAX - 1);
    /// True.
    pub const TRUE: Value = Value(u32::MAX - 2);
    /// False.
    pub const FALSE: Value = Value(u32::MAX - 3);

    /// Returns the value unless it is [`Value::UNTOLD`]. [`Value::NIL`] counts as a value.
    #[must_use]
    pub fn told(self) -> Option<Value> {
        (self != Value::UNTOLD).then_some(self)
    }

    /// A small whole number, from 0 to 2^31 - 1, which needs no arena.
    #[must_use]
    pub fn small(n: u32) -> Option<Value> {
        (n < INTERNED).then_some(Value(n))
    }

    /// The number, if this is a small whole number.
    #[must_use]
    pub fn as_small(self) -> Option<u32> {
        (self.0 < INTERNED).then_some(self.0)
    }

    /// The index in the arena; `None` for small numbers and constants.
    fn place(self) -> Option<usize> {
        (INTERNED..CONSTANTS).contains(&self.0).then(|| (self.0 - INTERNED) as usize)
    }

    /// The bits, for tables indexed by value.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::NIL => f.write_str("nil"),
            Value::UNTOLD => f.write_str("untold"),
            Value::TRUE => f.write_str("true"),
            Value::FALSE => f.write_str("false"),
            Value(n) if n < INTERNED => write!(f, "{n}"),
            Value(n) => write!(f, "@{}", n - INTERNED),
        }
    }
}

/// The content of a [`Value`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Datum<'a> {
    /// [`Value::NIL`].
    Nil,
    /// [`Value::UNTOLD`].
    Untold,
    /// [`Value::TRUE`] and [`Value::FALSE`].
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A text.
    Text(&'a str),
    /// Anything else, such as keywords, floats and maps. The format's reader gives equal things the same spelling.
    Symbol(&'a str),
    /// Several values in order.
    List(&'a [Value]),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Int,
    Text,
    Symbol,
    List,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    start: u64,
    length: u32,
    kind: Kind,
}

/// All values of a history except small numbers and constants.
#[derive(Clone, Default)]
pub struct Values {
    spans: Vec<Span>,
    text: String,
    lists: Vec<Value>,
    /// Indexes of the data and their hashes. Only for lookups, never iterated.
    index: HashTable<(u32, u32)>,
}

impl Values {
    /// Memory used, in bytes.
    pub fn bytes(&self) -> usize {
        let index = self.index.capacity() * (size_of::<(u32, u32)>() + 1) * 8 / 7;
        let lists = self.lists.capacity() * size_of::<Value>();
        self.spans.capacity() * size_of::<Span>() + self.text.capacity() + lists + index
    }

    /// Returns the value of a datum. Interns the datum if it is new.
    ///
    /// # Panics
    /// Beyond 2^31 different values.
    pub fn intern(&mut self, datum: Datum<'_>) -> Value {
        match datum {
            Datum::Nil => return Value::NIL,
            Datum::Untold => return Value::UNTOLD,
            Datum::Bool(true) => return Value::TRUE,
            Datum::Bool(false) => return Value::FALSE,
            Datum::Int(n) => {
                if let Some(small) = u32::try_from(n).ok().and_then(Value::small) {
                    return small;
                }
            }
            Datum::Text(_) | Datum::Symbol(_) | Datum::List(_) => {}
        }
        let hash = hash(datum);
        let (spans, text, lists) = (&self.spans, &self.text, &self.lists);
        let same = |&(i, h): &(u32, u32)| h == hash && read(spans[i as usize], text, lists) == datum;
        if let Some(&(place, _)) = self.index.find(spread(hash), same) {
            return Value(INTERNED + place);
        }
        let place = self.spans.len() as u32;
        assert!(place < CONSTANTS - INTERNED, "a history has fewer than 2^31 different values");
        let (kind, start, length) = match datum {
            Datum::List(list) => {
                self.lists.extend_from_slice(list);
                (Kind::List, self.lists.len() - list.len(), list.len())
            }
            Datum::Int(n) => {
                let before = self.text.len();
                fmt::Write::write_fmt(&mut self.text, format_args!("{n}")).unwrap_or_default();
                (Kind::Int, before, self.text.len() - before)
            }
            Datum::Text(chars) | Datum::Symbol(chars) => {
                self.text.push_str(chars);
                let kind = if matches!(datum, Datum::Text(_)) { Kind::Text } else { Kind::Symbol };
                (kind, self.text.len() - chars.len(), chars.len())
            }
            Datum::Nil | Datum::Untold | Datum::Bool(_) => return Value::NIL,
        };
        self.spans.push(Span { start: start as u64, length: length as u32, kind });
        self.index.insert_unique(spread(hash), (place, hash), |&(_, hash)| spread(hash));
        Value(INTERNED + place)
    }

    /// Returns the value of a datum; `None` if it does not occur.
    #[must_use]
    pub fn find(&self, datum: Datum<'_>) -> Option<Value> {
        match datum {
            Datum::Nil => Some(Value::NIL),
            Datum::Untold => Some(Value::UNTOLD),
            Datum::Bool(true) => Some(Value::TRUE),
            Datum::Bool(false) => Some(Value::FALSE),
            Datum::Int(n) if u32::try_from(n).is_ok_and(|n| n < INTERNED) => Value::small(n as u32),
            _ => {
                let found = |&(i, _): &(u32, u32)| read(self.spans[i as usize], &self.text, &self.lists) == datum;
                self.index.find(spread(hash(datum)), found).map(|&(place, _)| Value(INTERNED + place))
            }
        }
    }

    /// Returns the content of a value.
    #[must_use]
    pub fn datum(&self, value: Value) -> Datum<'_> {
        match value {
            Value::NIL => Datum::Nil,
            Value::UNTOLD => Datum::Untold,
            Value::TRUE => Datum::Bool(true),
            Value::FALSE => Datum::Bool(false),
            Value(n) if n < INTERNED => Datum::Int(i64::from(n)),
            value => value.place().map_or(Datum::Untold, |at| read(self.spans[at], &self.text, &self.lists)),
        }
    }

    /// Number of values, without small numbers and constants.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are no such values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The value as text for display. Texts are quoted if `quotes` is set. Everything else has its original spelling.
    #[must_use]
    pub fn show(&self, value: Value, quotes: bool) -> String {
        match self.datum(value) {
            Datum::Nil => "nil".to_owned(),
            Datum::Untold => "?".to_owned(),
            Datum::Bool(yes) => yes.to_string(),
            Datum::Int(n) => n.to_string(),
            Datum::Text(text) if quotes => format!("{text:?}"),
            Datum::Text(text) | Datum::Symbol(text) => text.to_owned(),
            Datum::List(list) => {
                let items: Vec<String> = list.iter().map(|&item| self.show(item, true)).collect();
                format!("[{}]", items.join(" "))
            }
        }
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Values) -> bool {
        (&self.spans, &self.text, &self.lists) == (&other.spans, &other.text, &other.lists)
    }
}

impl Eq for Values {}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries((0..self.spans.len() as u32).map(|i| self.datum(Value(INTERNED + i)))).finish()
    }
}

fn read<'a>(span: Span, text: &'a str, lists: &'a [Value]) -> Datum<'a> {
    let range = span.start as usize..span.start as usize + span.length as usize;
    match span.kind {
        Kind::Text => Datum::Text(&text[range]),
        Kind::Symbol => Datum::Symbol(&text[range]),
        Kind::Int => Datum::Int(text[range].parse().unwrap_or(0)),
        Kind::List => Datum::List(&lists[range]),
    }
}

/// Derives the table's hash from the hash of a datum, so growing the table does not read the data.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn hash(datum: Datum<'_>) -> u32 {
    let hash = match datum {
        Datum::Text(text) => xxh3_64(text.as_bytes()),
        Datum::Symbol(text) => !xxh3_64(text.as_bytes()),
        Datum::Int(n) => xxh3_64(&n.to_le_bytes()).rotate_left(1),
        Datum::List(list) => list.iter().fold(list.len() as u64, |hash, value| {
            (hash.rotate_left(5) ^ u64::from(value.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        }),
        Datum::Nil | Datum::Untold | Datum::Bool(_) => 0,
    };
    (hash >> 32) as u32 ^ hash as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_data_are_equal_values_and_come_back() {
        let mut values = Values::default();
        let one = values.intern(Datum::Int(1));
        let list = [one, values.intern(Datum::Text("a"))];
        let data = [
            Datum::Nil,
            Datum::Bool(true),
            Datum::Bool(false),
            Datum::Int(0),
            Datum::Int(i64::from(i32::MAX)),
            Datum::Int(i64::from(i32::MAX) + 1),
            Datum::Int(-1),
            Datum::Int(i64::MIN),
            Datum::Text(""),
            Datum::Text("1"),
            Datum::Symbol("1"),
            Datum::List(&[]),
            Datum::List(&list),
        ];
        let interned: Vec<Value> = data.iter().map(|&datum| values.intern(datum)).collect();
        for (i, (&datum, &value)) in data.iter().zip(&interned).enumerate() {
            assert_eq!(values.datum(value), datum);
            assert_eq!(values.intern(datum), value);
            assert_eq!(values.find(datum), Some(value));
            assert_eq!(interned.iter().position(|&other| other == value), Some(i), "{datum:?}");
        }
        assert_eq!(values.find(Datum::Text("b")), None);
        assert_eq!(values.show(interned[12], true), "[1 \"a\"]");
    }
}
