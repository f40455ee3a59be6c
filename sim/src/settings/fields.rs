//! Named values read from text, either from a TOML table or from the words of a plan's line, with errors that contain
//! the position.
//!
//! Both formats are reduced to `name = value` with a position. So every setting is read, checked and written in one
//! place ([`Setting`]), and its text is the same in a scenario and in a plan. Fields are taken one by one. Any that are
//! left at [`Fields::finish`] are unknown; the names taken so far are the possible ones.

use super::setting::Setting;
use std::fmt;
use strsim::levenshtein;
use toml::de::{DeTable, DeValue};

/// An error in a scenario or a plan, with its position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The file, as named by the user.
    pub file: String,
    /// Line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What was found and what was expected.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            _ => write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.what),
        }
    }
}

impl std::error::Error for Problem {}

/// A text and its file name for error messages.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    /// Creates a problem at a byte offset of the text.
    pub fn problem(&self, offset: usize, what: impl Into<String>) -> Problem {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Problem {
            file: self.file.into(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            what: what.into(),
        }
    }
}

struct Field {
    name: String,
    name_at: usize,
    value: String,
    value_at: usize,
    taken: bool,
}

/// The fields of one table or line.
pub(crate) struct Fields<'a> {
    source: Source<'a>,
    place: &'a str,
    start: usize,
    fields: Vec<Field>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The fields of a TOML table that starts at `start`. `place` is its name in error messages.
    pub fn of_table(
        source: Source<'a>,
        place: &'a str,
        start: usize,
        table: &DeTable<'_>,
    ) -> Result<Fields<'a>, Problem> {
        let mut fields = Vec::new();
        for (name, value) in table {
            let at = value.span().start;
            let Some(text) = plain(value.get_ref()) else {
                return Err(source.problem(
                    at,
                    format!("`{}` in {place} is a table or a date; expected a plain value", name.get_ref()),
                ));
            };
            let name_at = name.span().start;
            fields.push(Field { name: name.get_ref().to_string(), name_at, value: text, value_at: at, taken: false });
        }
        fields.sort_by_key(|f| f.name_at);
        Ok(Fields { source, place, start, fields, known: Vec::new() })
    }

    /// The fields given as `name=value` words, each with its offset.
    pub fn of_words(
        source: Source<'a>,
        place: &'a str,
        start: usize,
        words: &[(usize, &str)],
    ) -> Result<Fields<'a>, Problem> {
        let mut fields: Vec<Field> = Vec::new();
        for &(at, word) in words {
            let Some((name, value)) = word.split_once('=') else {
                return Err(source.problem(at, format!("found `{word}` in {place}, expected name=value")));
            };
            if fields.iter().any(|f| f.name == name) {
                return Err(source.problem(at, format!("`{name}` is given twice in {place}")));
            }
            let value_at = at + name.len() + 1;
            fields.push(Field { name: name.into(), name_at: at, value: value.into(), value_at, taken: false });
        }
        Ok(Fields { source, place, start, fields, known: Vec::new() })
    }

    /// Takes the value of `name`, if it is given.
    pub fn take<T: Setting>(&mut self, name: &'static str) -> Result<Option<T>, Problem> {
        self.known.push(name);
        let Some(field) = self.fields.iter_mut().find(|f| f.name == name) else { return Ok(None) };
        field.taken = true;
        match T::parse(&field.value) {
            Some(value) => Ok(Some(value)),
            None => {
                let what = format!("`{name}` in {} is `{}`, expected {}", self.place, field.value, T::what());
                Err(self.source.problem(field.value_at, what))
            }
        }
    }

    /// Takes the value of `name`, or returns `default`.
    pub fn or<T: Setting>(&mut self, name: &'static str, default: T) -> Result<T, Problem> {
        Ok(self.take(name)?.unwrap_or(default))
    }

    /// Takes the value of `name`, which must be given.
    pub fn need<T: Setting>(&mut self, name: &'static str) -> Result<T, Problem> {
        match self.take(name)? {
            Some(value) => Ok(value),
            None => {
                // A misspelt required field is reported as such rather than as missing.
                if let Some(close) = self.fields.iter().find(|f| !f.taken && levenshtein(&f.name, name) <= 2) {
                    return Err(self.unknown(close));
                }
                let what = format!("{} lacks `{name}`, expected {}", self.place, T::what());
                Err(self.source.problem(self.start, what))
            }
        }
    }

    /// Takes the text of `name`, which must be given and may contain spaces.
    pub fn text(&mut self, name: &'static str) -> Result<String, Problem> {
        self.known.push(name);
        match self.fields.iter_mut().find(|f| f.name == name) {
            Some(field) => {
                field.taken = true;
                Ok(field.value.clone())
            }
            None => Err(self.source.problem(self.start, format!("{} lacks `{name}`, expected a text", self.place))),
        }
    }

    /// Whether `name` is given.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|f| f.name == name)
    }

    /// Creates a problem at the value of `name`, or at the table if `name` is missing.
    pub fn problem(&self, name: &str, what: impl Into<String>) -> Problem {
        let at = self.fields.iter().find(|f| f.name == name).map_or(self.start, |f| f.value_at);
        self.source.problem(at, what)
    }

    /// Checks that no fields are left.
    pub fn finish(self) -> Result<(), Problem> {
        match self.fields.iter().find(|f| !f.taken) {
            None => Ok(()),
            Some(field) => Err(self.unknown(field)),
        }
    }

    fn unknown(&self, field: &Field) -> Problem {
        let what = format!("{} has no field `{}`{}", self.place, field.name, suggestion(&field.name, &self.known));
        self.source.problem(field.name_at, what)
    }
}

/// The text of a scalar, or of an array of scalars joined by commas.
fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.as_str().into()),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::Array(items) => Some(items.iter().map(|i| plain(i.get_ref())).collect::<Option<Vec<_>>>()?.join(",")),
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

/// Returns "; did you mean …?" with the nearest of `known`, or the whole list if none is near.
pub(crate) fn suggestion(found: &str, known: &[&str]) -> String {
    match known.iter().min_by_key(|k| levenshtein(k, found)) {
        Some(near) if levenshtein(near, found) < near.len().max(found.len()).min(3 + found.len() / 5) => {
            format!("; did you mean `{near}`?")
        }
        None => "; expected none".into(),
        _ => format!("; expected one of {}", known.join(", ")),
    }
}
