//! A file as a stream of text, decompressed and validated as UTF-8. Tracks lines and columns. Holds one form at a time
//! in memory.

use super::Error;
use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, Cursor, Read};

/// Longest form or line accepted, in bytes.
pub const MAX_FORM_BYTES: usize = 16 << 20;
/// Bytes read at a time.
const CHUNK: usize = 128 << 10;

/// The unread rest of a file.
pub struct Source<'r> {
    input: Box<dyn Read + 'r>,
    text: String,
    /// First bytes of a character that is not yet read completely.
    tail: Vec<u8>,
    /// Number of bytes of `text` already consumed.
    start: usize,
    /// The line of `start`, from 1.
    line: u64,
    /// Number of bytes of that line before `text`, and where in `text` the line begins if it begins there.
    before: usize,
    line_start: usize,
    ended: bool,
    /// The bytes after `text` are not UTF-8.
    broken: bool,
}

impl<'r> Source<'r> {
    /// Opens an input. Detects its compression from the first bytes and returns the name of the compression.
    pub fn open(mut input: impl Read + 'r) -> Result<(Source<'r>, Option<&'static str>), Error> {
        let mut magic = Vec::new();
        input.by_ref().take(4).read_to_end(&mut magic).map_err(Error::Io)?;
        let kind = magic.clone();
        let whole = Cursor::new(magic).chain(input);
        let (input, compression): (Box<dyn Read + 'r>, _) = match kind[..] {
            [0x1f, 0x8b, ..] => (Box::new(MultiGzDecoder::new(whole)), Some("gzip")),
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => (Box::new(Frames::new(whole)), Some("zstd")),
            _ => (Box::new(whole), None),
        };
        let mut source = Source {
            input,
            text: String::new(),
            tail: Vec::new(),
            start: 0,
            line: 1,
            before: 0,
            line_start: 0,
            ended: false,
            broken: false,
        };
        source.more()?;
        if source.text.starts_with('\u{feff}') {
            source.start = '\u{feff}'.len_utf8();
            source.line_start = source.start;
        }
        Ok((source, compression))
    }

    /// The text that is read and not yet consumed.
    pub fn rest(&self) -> &str {
        &self.text[self.start..]
    }

    /// Whether nothing follows [`Source::rest`].
    pub fn is_last(&self) -> bool {
        self.ended && !self.broken
    }

    /// The line on which [`Source::rest`] begins.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Number of lines consumed. The last one may be incomplete.
    pub fn lines(&self) -> u64 {
        self.line - u64::from(self.before == 0 && self.start <= self.line_start)
    }

    /// Reads more text. Returns `false` at the end of the file.
    pub fn more(&mut self) -> Result<bool, Error> {
        if self.is_last() {
            return Ok(false);
        }
        if self.broken {
            return Err(self.malformed(self.rest().len(), "not UTF-8 text".to_owned()));
        }
        if self.rest().len() > MAX_FORM_BYTES {
            let mega = MAX_FORM_BYTES >> 20;
            return Err(self.malformed(0, format!("longer than {mega} MiB, the limit of one line or form")));
        }
        if self.line_start >= self.start {
            self.line_start -= self.start;
        } else {
            self.before += self.start - self.line_start;
            self.line_start = 0;
        }
        self.text.drain(..self.start);
        self.start = 0;
        let mut bytes = std::mem::take(&mut self.tail);
        let wanted = bytes.len() + CHUNK.max(self.text.len());
        let limit = (wanted - bytes.len()) as u64;
        self.input.by_ref().take(limit).read_to_end(&mut bytes).map_err(Error::Io)?;
        self.ended = bytes.len() < wanted;
        match std::str::from_utf8(&bytes) {
            Ok(text) => self.text.push_str(text),
            Err(error) => {
                let (good, bad) = bytes.split_at(error.valid_up_to());
                self.text.push_str(std::str::from_utf8(good).unwrap_or_default());
                if error.error_len().is_some() || self.ended {
                    self.broken = true;
                } else {
                    self.tail = bad.to_vec();
                }
            }
        }
        Ok(true)
    }

    /// Consumes `length` bytes of [`Source::rest`].
    pub fn consume(&mut self, length: usize) {
        let passed = &self.text.as_bytes()[self.start..self.start + length];
        if let Some(first) = memchr::memchr(b'\n', passed) {
            let after = &passed[first + 1..];
            // Most forms are on one line.
            let last = if after.is_empty() { None } else { memchr::memrchr(b'\n', after) };
            self.line += 1 + last.map_or(0, |_| memchr::memchr_iter(b'\n', after).count() as u64);
            self.before = 0;
            self.line_start = self.start + first + 1 + last.map_or(0, |last| last + 1);
        }
        self.start += length;
    }

    /// Returns the error `what` at position `at` of [`Source::rest`].
    pub fn malformed(&self, at: usize, what: String) -> Error {
        let text = self.rest().as_bytes();
        let passed = &text[..at.min(text.len())];
        let lines = memchr::memchr_iter(b'\n', passed).count();
        let column = match memchr::memrchr(b'\n', passed) {
            Some(last) => passed.len() - last,
            None => self.before + (self.start - self.line_start.min(self.start)) + passed.len() + 1,
        };
        Error::Malformed { line: self.line as usize + lines, column, what }
    }
}

/// The content of all frames of a zstd stream.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    /// Whether a frame is open.
    within: bool,
}

impl<R: Read> Frames<R> {
    fn new(source: R) -> Frames<R> {
        Frames { source, decoder: FrameDecoder::new(), within: false }
    }

    /// Starts the next frame. Returns `false` if there is none.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            let mut first = Vec::new();
            if self.source.by_ref().take(1).read_to_end(&mut first)? == 0 {
                return Ok(false);
            }
            let skipped = match self.decoder.reset((&first[..]).chain(&mut self.source)) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => length,
                Err(error) => return Err(io::Error::other(error)),
            };
            io::copy(&mut self.source.by_ref().take(u64::from(skipped)), &mut io::sink())?;
        }
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !out.is_empty() {
            if !self.within && !self.begin()? {
                break;
            }
            self.within = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(io::Error::other)?;
            }
            let length = self.decoder.read(out)?;
            self.within = !(self.decoder.is_finished() && self.decoder.can_collect() == 0);
            if length != 0 {
                return Ok(length);
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_survive_refills() {
        let text = format!("{}x\nab\u{e9}\u{e9}{}", "line\n".repeat(100_000), "y".repeat(300_000));
        let (mut source, _) = Source::open(text.as_bytes()).expect("text");
        loop {
            let mut part = source.rest().len() / 3;
            while !source.rest().is_char_boundary(part) {
                part += 1;
            }
            source.consume(part);
            if !source.more().expect("text") {
                break;
            }
        }
        let end = source.rest().len();
        let Error::Malformed { line, column, .. } = source.malformed(end, String::new()) else { panic!() };
        assert_eq!((line, column), (100_002, 2 + 4 + 300_000 + 1));
    }
}
