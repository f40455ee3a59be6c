//! Reading never panics and never loses anything: files of every shape, cut, spliced and with changed bytes.

mod common;
mod format_common;

use common::Rng;
use flate2::write::GzEncoder;
use format_common::{FILES, show};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use seaworthy_check::format::{Error, Format, ReadOptions, Reading, export, jsonl, read};
use seaworthy_check::jepsen::{Analysis, Terms};
use seaworthy_check::model::detect::detect;
use std::io::Write;

/// Number of cases; set `CHECK_HISTORIES` for more.
fn cases() -> u64 {
    std::env::var("CHECK_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(if cfg!(debug_assertions) {
        4_000
    } else {
        20_000
    })
}

const WORDS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "#",
    "#_",
    "#{",
    "\"",
    "\\",
    ":",
    ",",
    ";",
    "\n",
    " ",
    "nil",
    "null",
    "true",
    "-",
    "1",
    "1e9",
    "99999999999999999999",
    ":ok",
    ":invoke",
    ":info",
    "\"ok\"",
    "\"invoke\"",
    "\"p\":1,",
    ":process 1 ",
    ":value ",
    "\"v\":",
    ":f :txn",
    "\"f\":\"cas\"",
    "[:r 1 nil]",
    "0 i w 0 1 0\n",
    "1 o r 0 0 0\n",
    "9\t:ok\t:read\t[1 2]\n",
    "#<x>",
    "\\u12",
];

fn mutate(file: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..=rng.below(3) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let to = (at + rng.below(12) as usize).min(bytes.len());
        match rng.below(7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..to)),
            2 => {
                let piece = bytes[at..to].to_vec();
                let at = rng.below(bytes.len() as u64 + 1) as usize;
                bytes.splice(at..at, piece);
            }
            3 => {
                let other = FILES[rng.below(FILES.len() as u64) as usize].1.as_bytes();
                let from = rng.below(other.len() as u64 + 1) as usize;
                bytes.splice(at..to, other[from..].iter().copied());
            }
            4 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = rng.below(256) as u8;
                }
            }
            _ => {
                let word = WORDS[rng.below(WORDS.len() as u64) as usize];
                bytes.splice(at..(at + rng.below(2) as usize).min(bytes.len()), word.bytes());
            }
        }
    }
    bytes
}

/// Checks what must hold for everything that was read.
fn whole(reading: &Reading, bytes: &[u8]) {
    let history = &reading.history;
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    // A drain counts as one operation per element it took.
    let drained = history.names().iter().any(|name| name == "drain");
    assert!(drained || reading.understood.events == u64::from(history.events()), "{}", shown());
    for analysis in Analysis::ALL {
        if let Ok(report) = analysis.check(history, &Terms::default()) {
            assert!(analysis == Analysis::LongFork || report.parts.len() == history.keys() as usize, "{}", shown());
        }
    }
    let returns = history.operations().iter().filter(|op| op.returned != u32::MAX).count();
    assert_eq!(history.operations().len() + returns, history.events() as usize, "{}", shown());
    for event in 0..history.events() {
        let line = history.line(event).map(u64::from);
        assert!(line.is_some_and(|line| line <= reading.understood.lines), "event {event} of {}", shown());
    }
    for counted in reading.understood.skipped.iter().chain(&reading.understood.remarks) {
        assert!(counted.times > 0 && counted.first_line <= reading.understood.lines.max(1), "{}", shown());
    }
    assert!(!detect(history).why.is_empty());
    let mut text = Vec::new();
    jsonl::write(history, &mut text).expect("memory takes everything");
    let again = jsonl::read(&text[..])
        .unwrap_or_else(|error| panic!("{error}\nin {}\nof {}", String::from_utf8_lossy(&text), shown()));
    let mut twice = Vec::new();
    jsonl::write(&again, &mut twice).expect("memory takes everything");
    assert_eq!(String::from_utf8_lossy(&twice), String::from_utf8_lossy(&text), "of {}", shown());
    export::write(history, &mut text).expect("memory takes everything");
}

#[test]
fn changed_files_are_read_or_refused() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..cases() {
        let mut rng = Rng(seed);
        let file = FILES[rng.below(FILES.len() as u64) as usize].1.as_bytes();
        let bytes = mutate(file, &mut rng);
        let format = rng.percent(10).then(|| Format::ALL[rng.below(4) as usize]);
        match read(&bytes[..], &ReadOptions { format, ..ReadOptions::default() }) {
            Ok(reading) => {
                whole(&reading, &bytes);
                good += 1;
            }
            Err(Error::Malformed { line, column, what }) => {
                let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
                let found = line.checked_sub(1).and_then(|line| lines.get(line));
                assert!(
                    found.is_some_and(|found| (1..=found.len() + 1).contains(&column)),
                    "line {line}, column {column}: {what}\nof {}",
                    String::from_utf8_lossy(&bytes)
                );
                bad += 1;
            }
            Err(error) => panic!("{error} of {}", String::from_utf8_lossy(&bytes)),
        }
    }
    assert!(good > cases() / 20 && bad > cases() / 4, "{good} good, {bad} bad");
}

#[test]
fn noise_is_read_or_refused() {
    for seed in 0..cases() {
        let mut rng = Rng(seed);
        let length = rng.below(60);
        let words = rng.percent(50);
        let bytes: Vec<u8> = (0..length)
            .flat_map(|_| {
                if words {
                    WORDS[rng.below(WORDS.len() as u64) as usize].as_bytes().to_vec()
                } else {
                    vec![rng.below(256) as u8]
                }
            })
            .collect();
        for format in Format::ALL.map(Some).into_iter().chain([None]) {
            if let Ok(reading) = read(&bytes[..], &ReadOptions { format, ..ReadOptions::default() }) {
                whole(&reading, &bytes);
            }
        }
    }
}

#[test]
fn broken_compression_is_read_or_refused() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..cases() / 4 {
        let mut rng = Rng(seed);
        let file = FILES[rng.below(FILES.len() as u64) as usize].1.as_bytes();
        let mut bytes = if rng.percent(50) {
            let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
            gzip.write_all(file).expect("memory takes everything");
            gzip.finish().expect("memory takes everything")
        } else {
            compress_to_vec(file, CompressionLevel::Fastest)
        };
        for _ in 0..=rng.below(2) {
            let at = 4 + rng.below(bytes.len() as u64 - 4) as usize;
            if rng.percent(30) {
                bytes.truncate(at.max(5));
            } else if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        match read(&bytes[..], &ReadOptions::default()) {
            Ok(_) => good += 1,
            Err(_) => bad += 1,
        }
    }
    assert!(bad > good, "{good} good, {bad} bad");
}

/// The fast and the slow path of JSON lines agree. Any space in an object selects the slow one.
#[test]
fn both_ways_of_json_agree() {
    let files: Vec<&str> = FILES.iter().filter(|(name, _)| name.starts_with("json")).map(|(_, text)| *text).collect();
    let (mut good, mut bad) = (0, 0);
    for seed in 0..cases() {
        let mut rng = Rng(seed);
        let file = files[rng.below(files.len() as u64) as usize];
        let bytes = if rng.percent(20) { file.as_bytes().to_vec() } else { mutate(file.as_bytes(), &mut rng) };
        let spaced: Vec<u8> = spaced(&bytes);
        let options = ReadOptions { format: Some(Format::JsonLines), ..ReadOptions::default() };
        match (read(&bytes[..], &options), read(&spaced[..], &options)) {
            (Ok(quick), Ok(long)) => {
                assert_eq!(show(&quick.history), show(&long.history));
                assert_eq!(quick.history, long.history);
                assert_eq!(quick.understood, long.understood);
                good += 1;
            }
            (Err(Error::Malformed { line: a, what: b, .. }), Err(Error::Malformed { line: c, what: d, .. })) => {
                assert_eq!((a, b), (c, d), "of {}", String::from_utf8_lossy(&bytes));
                bad += 1;
            }
            (quick, long) => panic!("{quick:?}\n{long:?}\nof {}", String::from_utf8_lossy(&bytes)),
        }
    }
    assert!(good > cases() / 8 && bad > cases() / 4, "{good} good, {bad} bad");
}

/// Inserts a space before every colon that follows a quote, outside of strings.
fn spaced(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut within, mut escaped) = (Vec::new(), false, false);
    for &byte in bytes {
        if byte == b':' && !within && out.last() == Some(&b'"') {
            out.push(b' ');
        }
        if byte == b'"' && !escaped {
            within = !within;
        }
        escaped = within && byte == b'\\' && !escaped;
        out.push(byte);
    }
    out
}
