//! Shows progress on standard error if it is a terminal.

use std::io::{self, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

/// A reader that shows its progress.
pub struct Watched<R> {
    inner: R,
    length: u64,
    done: u64,
    line: Line,
    next: Instant,
}

impl<R: Read> Watched<R> {
    /// A reader of `length` bytes.
    pub fn new(inner: R, length: u64) -> Watched<R> {
        Watched { inner, length, done: 0, line: Line::new(""), next: Instant::now() + PAUSE }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        if self.length > 0 && Instant::now() >= self.next {
            self.next = Instant::now() + PAUSE;
            let percent = (self.done * 100 / self.length).min(100);
            let filled = percent as usize / 4;
            self.line.show(&format!("reading {}{} {percent:>3} %", "█".repeat(filled), "░".repeat(25 - filled)));
        }
        Ok(count)
    }
}

const PAUSE: Duration = Duration::from_millis(100);

/// A line of text that is cleared when it is dropped.
pub struct Line {
    shown: bool,
}

impl Line {
    /// Shows a text unless it is empty.
    pub fn new(text: &str) -> Line {
        let mut line = Line { shown: false };
        if !text.is_empty() {
            line.show(text);
        }
        line
    }

    fn show(&mut self, text: &str) {
        let mut out = io::stderr();
        if out.is_terminal() {
            // There is no other place to report an error.
            let _ = write!(out, "\r\x1b[K{text}");
            let _ = out.flush();
            self.shown = true;
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
