//! Exit status, errors, and human-readable output of bytes.

use crate::client::ClientError;
use crate::kv::Versioned;
use crate::storage::StorageError;
use crate::types::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write as _, stdout};
use std::process::ExitCode;
use std::time::Duration;

/// The exit status of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Certainly not done: a condition did not hold, the key is missing, or no server could do it.
    Failed = 1,
    /// The command line or the configuration is wrong; nothing was sent or written.
    BadInput = 2,
    /// No answer came: the write may have happened, or may still happen.
    Unknown = 3,
    /// The data directory is damaged or in use, or the disk failed.
    Storage = 4,
}

/// An error that ends a command.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub exit: Exit,
    /// One sentence for the user.
    pub message: String,
}

impl Failure {
    /// Creates a failure with this exit status.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into() }
    }

    pub(super) fn bad_input(message: impl Into<String>) -> Failure {
        Failure::new(Exit::BadInput, message)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let exit = match &error {
            ClientError::NotDone(_) | ClientError::Busy(_) | ClientError::Refused(_) => Exit::Failed,
            ClientError::Unknown(_) | ClientError::SessionExpired | ClientError::Confused(_) => Exit::Unknown,
            ClientError::Invalid(_) | ClientError::OtherMode(_) => Exit::BadInput,
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Failure {
        Failure::new(Exit::Storage, error.to_string())
    }
}

/// Ends the process; prints the error, if any.
pub(super) fn finish(result: Result<Exit, Failure>, json: bool) -> ExitCode {
    let exit = match result {
        Ok(exit) => exit,
        Err(Failure { exit, message }) => {
            if json {
                let outcome = if exit == Exit::Unknown { "unknown" } else { "not done" };
                say(&json!({ "error": message, "outcome": outcome, "exit": exit as u8 }).to_string());
            } else {
                let _ = writeln!(std::io::stderr(), "{} {message}", paint(Paint::Bad, "error:", &std::io::stderr()));
            }
            exit
        }
    };
    ExitCode::from(exit as u8)
}

/// Prints a line. A closed standard output is not treated as an error.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The meaning of a colour.
#[derive(Clone, Copy)]
pub(super) enum Paint {
    Good,
    Bad,
    Dim,
    Strong,
}

/// Colours `text` if `stream` is a terminal and the user has not set NO_COLOR.
pub(super) fn paint(paint: Paint, text: &str, stream: &impl IsTerminal) -> String {
    if !stream.is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) {
        return text.to_owned();
    }
    let code = match paint {
        Paint::Good => 32,
        Paint::Bad => 31,
        Paint::Dim => 2,
        Paint::Strong => 1,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Formats a duration as `9ms`; below a millisecond as `0.4ms`.
pub(super) fn millis(took: Duration) -> String {
    match took.as_millis() {
        0 => format!("{:.1}ms", took.as_secs_f64() * 1e3),
        ms => format!("{ms}ms"),
    }
}

/// Formats bytes for a terminal: text as it is, everything else (and control characters, which could drive the
/// terminal) as hex.
pub(super) fn show(bytes: &[u8], hex: bool) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !hex && !text.chars().any(char::is_control) => text.to_owned(),
        _ if hex => to_hex(bytes),
        _ => format!("0x{}", to_hex(bytes)),
    }
}

/// Formats bytes as two hexadecimal digits each.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// Parses bytes given as two hexadecimal digits each.
pub(super) fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    if let Some(other) = text.chars().find(|c| !c.is_ascii_hexdigit()) {
        return Err(format!("expected hexadecimal digits, found {other:?}"));
    }
    hex::decode(text).map_err(|_| format!("expected two hexadecimal digits a byte, found {} digits", text.len()))
}

/// Formats nanoseconds since the Unix epoch as a date, to the millisecond: `2026-11-20T17:40:00.123Z`.
pub(super) fn date(nanos: u64) -> String {
    let date = Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::MAX);
    format!("{date:.3}")
}

/// The bytes that a command-line argument named `what` stands for.
pub(super) fn bytes(what: &str, text: &str, hex: bool) -> Result<Bytes, Failure> {
    if !hex {
        return Ok(Bytes::copy_from_slice(text.as_bytes()));
    }
    let decoded = from_hex(text).map_err(|why| Failure::bad_input(format!("{what}: {why}")))?;
    Ok(decoded.into())
}

/// A duration in milliseconds, for JSON.
pub(super) fn ms(took: Duration) -> Value {
    json!((took.as_secs_f64() * 1e6).round() / 1e3)
}

/// Prints rows in columns, each as wide as its widest cell.
pub(super) fn print_rows(table: &[Vec<String>], colour: impl Fn(&[String]) -> Option<Paint>) {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width = |text: &String| text.chars().count();
    let widths: Vec<usize> =
        (0..columns).map(|c| table.iter().filter_map(|row| row.get(c)).map(width).max().unwrap_or(0)).collect();
    for row in table {
        let padded: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let text = padded.join("  ");
        let text = text.trim_end();
        say(&colour(row).map_or(text.to_owned(), |colour| paint(colour, text, &stdout())));
    }
}

/// Adds a value to a JSON object: as `value` if it is text, as `value_hex` otherwise.
pub(super) fn bytes_json(object: &mut Value, value: &[u8]) {
    match std::str::from_utf8(value) {
        Ok(text) => object["value"] = json!(text),
        Err(_) => object["value_hex"] = json!(to_hex(value)),
    }
}

/// Formats a version of a key in a CP bucket as JSON.
pub(super) fn versioned_json(found: &Versioned) -> Value {
    let mut object = json!({
        "revision": found.revision,
        "commit": found.commit.0,
        "expires": found.expires.map(|at| at.0),
    });
    bytes_json(&mut object, &found.value);
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways_and_refuses_the_rest() {
        assert_eq!(from_hex("00fF10"), Ok(vec![0, 255, 16]));
        assert_eq!(to_hex(&[0, 255, 16]), "00ff10");
        assert!(from_hex("0").is_err_and(|e| e.contains("1 digits")));
        assert!(from_hex("0g").is_err_and(|e| e.contains("'g'")));
        assert!(from_hex("aé").is_err_and(|e| e.contains("'é'")));
    }

    #[test]
    fn terminals_are_not_driven_by_values() {
        assert_eq!(show("schön".as_bytes(), false), "schön");
        assert_eq!(show(b"\x1b[31m", false), "0x1b5b33316d");
        assert_eq!(show(b"ab", true), "6162");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date(951_782_399_999_999_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(date(951_782_400_000_000_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(date(1_735_689_599_000_000_000), "2024-12-31T23:59:59.000Z");
        assert_eq!(date(u64::MAX), "2554-07-21T23:34:33.709Z");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(millis(Duration::from_micros(430)), "0.4ms");
        assert_eq!(millis(Duration::from_micros(9_800)), "9ms");
    }
}
