//! Small files of every shape, and how they are understood.

mod format_common;

use flate2::write::GzEncoder;
use format_common::{FILES, reading, show, told};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use seaworthy_check::format::{Fail, Format, Keys, Nil, ReadOptions, read};
use std::io::{BufReader, Read, Write};

#[test]
fn files_of_every_shape_are_understood() {
    let mut all = String::new();
    for (name, text) in FILES {
        all += &format!("## {name}\n{}\n", told(&reading(text)));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn settings_can_be_told() {
    let text = "{:process 0 :type :invoke :f :write :value [1 2]}\n{:process 0 :type :ok :f :write :value [1 2]}
{:process 0 :type :invoke :f :read :value [1 nil]}\n{:process 0 :type :ok :f :read :value [1 nil]}
{:process 0 :type :invoke :f :cas :value [1 [3 4]]}\n{:process 0 :type :fail :f :cas :value [1 [3 4]]}";
    let initial = Some("\"none\"".to_owned());
    let mut all = told(&reading(text));
    let options = ReadOptions { nil: Some(Nil::Absent), fail: Some(Fail::Refused), initial, ..ReadOptions::default() };
    all += &told(&read(text.as_bytes(), &options));
    all += &told(&read(text.as_bytes(), &ReadOptions { keys: Some(Keys::Field), ..options.clone() }));
    all += &told(&read(text.as_bytes(), &ReadOptions { initial: Some("[1".to_owned()), ..options }));
    let pairs = "{\"p\":0,\"type\":\"invoke\",\"f\":\"add\",\"v\":[7,1]}\n{\"p\":0,\"type\":\"ok\",\"v\":[7,1]}";
    all += &told(&read(pairs.as_bytes(), &ReadOptions { keys: Some(Keys::InValue), ..ReadOptions::default() }));
    insta::assert_snapshot!(all);
}

/// Reads one byte at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let length = out.len().min(1);
        self.0.read(&mut out[..length])
    }
}

#[test]
fn compression_and_pieces_do_not_matter() {
    for (name, text) in FILES {
        let plain = reading(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let gzip = |text: &[u8]| {
            let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
            gzip.write_all(text).expect("memory takes everything");
            gzip.finish().expect("memory takes everything")
        };
        let zstd = |text: &[u8]| compress_to_vec(text, CompressionLevel::Fastest);
        // Each file is compressed in two parts; for zstd, also in one part after a frame that must be skipped.
        let (a, b) = text.as_bytes().split_at(text.len() / 2);
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9].to_vec();
        let files = [
            (None, text.as_bytes().to_vec()),
            (Some("gzip"), [gzip(a), gzip(b)].concat()),
            (Some("zstd"), [zstd(a), zstd(b)].concat()),
            (Some("zstd"), [skipped, zstd(text.as_bytes())].concat()),
        ];
        for (compression, bytes) in files {
            let reading = read(BufReader::with_capacity(1, Slow(&bytes)), &ReadOptions::default());
            let reading = reading.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(reading.compression, compression, "{name}");
            assert_eq!(reading.history, plain.history, "{name}");
            assert_eq!(reading.understood, plain.understood, "{name}");
        }
    }
}

#[test]
fn long_files_keep_their_lines() {
    let mut text = String::from("[");
    for n in 0..20_000 {
        text += &format!("{{:process {}, :type :invoke, :f :write, ; é\n :value {n}}}\n", n % 7);
        text += &format!("{{:process {}, :type :ok, :f :write, :value {n}}}\n", n % 7);
    }
    let whole = format!("{text}]");
    let reading = reading(&whole).expect("right");
    assert_eq!((reading.understood.lines, reading.understood.events), (60_001, 40_000));
    for event in (0..40_000).step_by(997) {
        assert_eq!(reading.history.line(event), Some(event / 2 * 3 + 1 + 2 * (event % 2)), "event {event}");
    }
    let broken = format_common::reading(&format!("{text} {{:process 1 :type :oops}}]"));
    assert_eq!(
        broken.expect_err("wrong").to_string(),
        "line 60001, column 20: expected one of the types invoke, ok, refused, fail, info"
    );
}

#[test]
fn formats_can_be_told() {
    let text = "nothing of a log\n";
    let reading = read(text.as_bytes(), &ReadOptions { format: Some(Format::Log), ..ReadOptions::default() });
    let reading = reading.expect("a log may have any lines");
    assert_eq!((reading.understood.events, reading.understood.skipped[0].times), (0, 1));
    assert_eq!(show(&reading.history), "  at first nil\n");
}
