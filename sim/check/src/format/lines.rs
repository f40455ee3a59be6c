//! Reads histories with one event per line of words: Jepsen's text log, and the plain format.

use super::Error;
use super::edn;
use super::intake::{Event, Intake, fault};
use super::source::Source;
use super::tree::{Fault, Stop, Tree, What};
use super::words::Type;

/// Records every line of a source.
fn each_line(
    source: &mut Source,
    intake: &mut Intake,
    mut take: impl FnMut(&str, &mut Intake) -> Result<(), Fault>,
) -> Result<(), Error> {
    let mut searched = 0;
    loop {
        let rest = source.rest();
        let (length, line) = match memchr::memchr(b'\n', &rest.as_bytes()[searched..]) {
            Some(at) => (searched + at + 1, &rest[..searched + at]),
            None if !source.is_last() => {
                searched = rest.len();
                source.more()?;
                continue;
            }
            None if rest.is_empty() => return Ok(()),
            None => (rest.len(), rest),
        };
        intake.line = source.line();
        take(line, intake).map_err(|fault| source.malformed(fault.at, fault.what))?;
        source.consume(length);
        searched = 0;
    }
}

/// A word and its position in the line.
type Word<'a> = (usize, &'a str);

/// The words of a line, separated by white space.
fn words(line: &str) -> impl Iterator<Item = Word<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &line[at..];
        let start = at + rest.len() - rest.trim_start().len();
        let length = line[start..].find(char::is_whitespace).unwrap_or(line.len() - start);
        at = start + length;
        (length != 0).then(|| (start, &line[start..at]))
    })
}

/// Parses an operation of Jepsen's text log. Returns its process, type and function, and where the rest of the line
/// begins.
fn logged(line: &str) -> Option<(Word<'_>, Type, Word<'_>, usize)> {
    let mut words = words(line);
    let mut process = words.next()?;
    loop {
        let word = words.next()?;
        if let Some(kind) = word.1.strip_prefix(':').and_then(Type::named) {
            let f = words.next().filter(|(_, f)| f.starts_with(':') || *f == "nil")?;
            let rest = f.0 + f.1.len();
            return Some((process, kind, f, rest));
        }
        process = word;
    }
}

/// Whether a line is an operation of Jepsen's text log.
pub fn is_logged(line: &str) -> bool {
    logged(line).is_some()
}

/// Reads Jepsen's text log: `… <process> :<type> :<f> <value>`.
pub fn log(source: &mut Source, intake: &mut Intake) -> Result<(), Error> {
    let mut tree = Tree::default();
    each_line(source, intake, |line, intake| {
        let Some((process, kind, f, rest)) = logged(line) else {
            if !line.trim().is_empty() {
                intake.skip("lines that are no operation");
            }
            return Ok(());
        };
        let Ok(number) = process.1.parse::<u32>() else {
            intake.skip(&format!("operations of {}, which is no client", process.1));
            return Ok(());
        };
        tree.clear();
        let mut event = Event { at: process.0, process_at: process.0, ..Event::default() };
        // After an error the rest of the line can be anything. It is ignored.
        if matches!(kind, Type::Invoke | Type::Ok) {
            match edn::form(line, rest, &mut tree) {
                Ok(found) => {
                    event.value = found.map(|_| 0);
                    if found.is_some_and(|end| !line[end..].trim().is_empty()) {
                        intake.skip("words after the value of an operation");
                    }
                }
                Err(Stop::Bad(fault)) => return Err(*fault),
                Err(Stop::More) => return fault(line.len(), "the line ends in the middle of the value"),
            }
        }
        let name = tree.len();
        let span = Tree::span(f.0, f.0 + f.1.len());
        tree.push(f.0, if f.1 == "nil" { What::Nil } else { What::Symbol(span) });
        event.f = Some(name);
        intake.take(&tree, line, number, kind, &event)
    })
}

/// Whether a line is an event of the plain format.
pub fn is_plain(line: &str) -> bool {
    let words: Vec<&str> = words(line).map(|(_, word)| word).collect();
    matches!(words[..], [process, "i" | "o" | "f" | "?", "r" | "w" | "c", _, _, _] if process.parse::<u32>().is_ok())
}

/// Reads `<process> <i|o|f|?> <r|w|c> <key> <a> <b>`, all numbers. The letters mean invoke, ok, fail, unknown. A read
/// returns `a` on its `o`. A write writes `a`. A compare-and-set replaces `a` by `b`; its `f` says that `a` was not
/// there. `#` starts a comment.
pub fn plain(source: &mut Source, intake: &mut Intake) -> Result<(), Error> {
    let mut tree = Tree::default();
    each_line(source, intake, |line, intake| {
        let words: Vec<Word> = words(line).collect();
        if words.first().is_none_or(|(_, word)| word.starts_with('#')) {
            return Ok(());
        }
        let [process, kind, f, key, a, b] = words[..] else {
            return fault(0, "expected six words: process, i|o|f|?, r|w|c, key, a, b");
        };
        let number = |(at, word): Word| match word.parse::<i64>() {
            Ok(n) => Ok(n),
            Err(_) => fault(at, "expected a whole number"),
        };
        let kind = match kind.1 {
            "i" => Type::Invoke,
            "o" => Type::Ok,
            "f" => Type::Fail,
            "?" => Type::Info,
            _ => return fault(kind.0, "expected i (invoke), o (ok), f (fail) or ? (unknown)"),
        };
        if !matches!(f.1, "r" | "w" | "c") {
            return fault(f.0, "expected r (read), w (write) or c (compare-and-set)");
        }
        let Ok(client) = u32::try_from(number(process)?) else {
            return fault(process.0, "a process is a number from 0 to 4294967295");
        };
        tree.clear();
        tree.push(key.0, What::Int(number(key)?));
        let name = tree.keep(if f.1 == "c" { "cas" } else { f.1 });
        tree.push(f.0, What::Symbol(name));
        if f.1 == "c" {
            tree.push(a.0, What::List(0));
        }
        tree.push(a.0, What::Int(number(a)?));
        let b = number(b)?;
        if f.1 == "c" {
            tree.push(a.0, What::Int(b));
            tree.close(2);
        }
        let value = (f.1, kind) != ("r", Type::Invoke);
        let event = Event {
            f: Some(1),
            key: Some(0),
            value: value.then_some(2),
            at: process.0,
            process_at: process.0,
            ..Event::default()
        };
        intake.take(&tree, line, client, kind, &event)
    })
}
