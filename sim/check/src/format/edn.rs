//! A parser for EDN as Clojure prints it. Reads one form at a time, directly into a [`Tree`].
//!
//! Beyond the specification it accepts syntax found in real files: unreadable objects (`#<…>`), regular expressions,
//! metadata (left out), symbolic values (`##NaN`), namespaced maps, hexadecimal and octal escapes in strings. Floats,
//! ratios, decimals, characters, keywords and symbols are all symbols here. Whole numbers with `N` are numbers if they
//! fit.

use super::json::unicode;
use super::tree::{MAX_DEPTH, Span, Stop, Tree, What};

/// The next item outside of all maps.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// A form, now in the tree.
    Form,
    /// A form without meaning: metadata or a discarded form.
    Nothing,
    /// The start of a vector or list, with its closing bracket.
    Open(u8),
    /// The end of a vector or list.
    Close(u8),
    /// The end of the file.
    End,
}

/// Returns the length of the space and comments at the start of the text.
pub fn space(text: &str, last: bool) -> Result<usize, Stop> {
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0, last, tree: &mut Tree::default() };
    reader.space()?;
    Ok(reader.at)
}

/// Reads the item at the start of the text. Returns its end and what it is. `last`: nothing follows the text.
pub fn item(text: &str, last: bool, tree: &mut Tree) -> Result<(usize, Item), Stop> {
    tree.clear();
    match text.as_bytes().first() {
        None if last => Ok((0, Item::End)),
        None => Err(Stop::More),
        Some(b'[') => Ok((1, Item::Open(b']'))),
        Some(b'(') => Ok((1, Item::Open(b')'))),
        Some(&closer @ (b']' | b')')) => Ok((1, Item::Close(closer))),
        Some(_) => {
            let mut reader = Reader { text, bytes: text.as_bytes(), at: 0, last, tree };
            let counts = reader.form(0)?;
            Ok((reader.at, if counts { Item::Form } else { Item::Nothing }))
        }
    }
}

/// Reads the first form at or after `from` into the tree. Returns its end, or `None` if there is no form.
pub fn form(text: &str, from: usize, tree: &mut Tree) -> Result<Option<usize>, Stop> {
    let mut reader = Reader { text, bytes: text.as_bytes(), at: from, last: true, tree };
    loop {
        reader.space()?;
        if reader.at == text.len() {
            return Ok(None);
        }
        if reader.form(0)? {
            return Ok(Some(reader.at));
        }
    }
}

struct Reader<'a, 't> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    last: bool,
    tree: &'t mut Tree,
}

fn is_end(byte: u8) -> bool {
    matches!(byte, 0..=b' ' | b',' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'"' | b';' | 0x7f)
}

impl Reader<'_, '_> {
    fn bad<T>(&self, at: usize, what: impl Into<String>) -> Result<T, Stop> {
        Stop::bad(at, what)
    }

    /// Skips space, commas and comments.
    #[inline]
    fn space(&mut self) -> Result<(), Stop> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b',' | b'\n' | b'\r' | b'\t' | 0xb | 0xc | 0x1c..=0x1f) => self.at += 1,
                Some(b';') => match memchr::memchr(b'\n', &self.bytes[self.at..]) {
                    Some(length) => self.at += length,
                    None if self.last => self.at = self.bytes.len(),
                    None => return Err(Stop::More),
                },
                _ => return Ok(()),
            }
        }
    }

    fn peek(&mut self) -> Result<u8, Stop> {
        self.space()?;
        self.bytes.get(self.at).copied().ok_or(Stop::More)
    }

    /// Reads a form. Returns `false` for one without meaning.
    fn form(&mut self, depth: usize) -> Result<bool, Stop> {
        if depth > MAX_DEPTH {
            return self.bad(self.at, format!("nested deeper than {MAX_DEPTH}"));
        }
        let start = self.at;
        match self.peek()? {
            b'{' => self.container(depth, 1, b'}', What::Map(0))?,
            b'[' => self.container(depth, 1, b']', What::List(0))?,
            b'(' => self.container(depth, 1, b')', What::List(0))?,
            b'"' => {
                let span = self.string()?;
                self.tree.push(start, What::Text(span));
            }
            b'\\' => self.character()?,
            b'#' => return self.dispatch(depth),
            b'^' => {
                self.at += 1;
                self.discard(depth)?;
                return Ok(false);
            }
            closer @ (b'}' | b']' | b')') => {
                return self.bad(self.at, format!("nothing that {} could close", char::from(closer)));
            }
            b'0'..=b'9' => self.number()?,
            b'+' | b'-' => match self.bytes.get(self.at + 1) {
                Some(b'0'..=b'9') => self.number()?,
                None if !self.last => return Err(Stop::More),
                _ => self.symbol()?,
            },
            0..=b' ' | 0x7f => return self.bad(self.at, "a control character"),
            _ => self.symbol()?,
        }
        Ok(true)
    }

    /// Reads forms up to and including one that has meaning.
    fn some_form(&mut self, depth: usize) -> Result<(), Stop> {
        loop {
            self.peek()?;
            if self.form(depth)? {
                return Ok(());
            }
        }
    }

    fn discard(&mut self, depth: usize) -> Result<(), Stop> {
        let before = self.tree.len();
        self.some_form(depth + 1)?;
        self.tree.cut(before);
        Ok(())
    }

    fn container(&mut self, depth: usize, opener: usize, closer: u8, what: What) -> Result<(), Stop> {
        let node = self.tree.len();
        let start = self.at;
        self.tree.push(start, what);
        self.at += opener;
        let mut forms = 0usize;
        loop {
            let next = self.peek()?;
            if next == closer {
                break;
            }
            if matches!(next, b'}' | b']' | b')') {
                let wanted = char::from(closer);
                return self.bad(self.at, format!("expected {wanted}, found {}", char::from(next)));
            }
            forms += usize::from(self.form(depth + 1)?);
        }
        if matches!(what, What::Map(_)) && forms % 2 == 1 {
            return self.bad(self.at, "a map needs a value for each of its names");
        }
        self.at += 1;
        self.tree.close(node);
        Ok(())
    }

    /// Reads what begins with `#`.
    fn dispatch(&mut self, depth: usize) -> Result<bool, Stop> {
        let start = self.at;
        let Some(&next) = self.bytes.get(start + 1) else { return Err(Stop::More) };
        match next {
            b'{' => self.container(depth, 2, b'}', What::Set(0))?,
            b'_' => {
                self.at += 2;
                self.discard(depth)?;
                return Ok(false);
            }
            b'<' => {
                let rest = &self.bytes[start..];
                let Some(end) = memchr::memchr2(b'>', b'\n', rest) else { return Err(Stop::More) };
                if rest[end] == b'\n' {
                    return self.bad(start, "an object in #< without its > on the same line");
                }
                self.at = start + end + 1;
                self.tree.push(start, What::Symbol(Tree::span(start, self.at)));
            }
            b'"' => {
                self.at += 1;
                self.raw_string()?;
                self.tree.push(start, What::Symbol(Tree::span(start, self.at)));
            }
            b'#' | b'\'' => self.symbol()?,
            _ if is_end(next) => return self.bad(start, "expected a tag after #"),
            _ => {
                let node = self.tree.len();
                self.tree.push(start, What::Tagged(0));
                self.symbol()?;
                self.some_form(depth + 1)?;
                self.tree.close(node);
            }
        }
        Ok(true)
    }

    /// Returns the end of the token here. A token ends before space or a bracket.
    fn token(&self) -> Result<usize, Stop> {
        let mut at = self.at + 1;
        loop {
            match self.bytes.get(at) {
                None if self.last => return Ok(at),
                None => return Err(Stop::More),
                Some(&byte) if is_end(byte) => return Ok(at),
                Some(_) => at += 1,
            }
        }
    }

    fn symbol(&mut self) -> Result<(), Stop> {
        let (start, end) = (self.at, self.token()?);
        self.at = end;
        let what = match &self.text[start..end] {
            "nil" => What::Nil,
            "true" => What::Bool(true),
            "false" => What::Bool(false),
            ":" => return self.bad(start, "expected a keyword after :"),
            _ => What::Symbol(Tree::span(start, end)),
        };
        self.tree.push(start, what);
        Ok(())
    }

    fn character(&mut self) -> Result<(), Stop> {
        let start = self.at;
        let Some(c) = self.text[start + 1..].chars().next() else { return Err(Stop::More) };
        // The character itself may be a bracket. The rest belongs to a name, as in \newline.
        self.at += c.len_utf8();
        let end = self.token()?;
        self.at = end;
        self.tree.push(start, What::Symbol(Tree::span(start, end)));
        Ok(())
    }

    fn number(&mut self) -> Result<(), Stop> {
        let (start, end) = (self.at, self.token()?);
        let text = &self.text[start..end];
        let whole = text.strip_suffix('N').unwrap_or(text);
        let what = if let Ok(n) = whole.parse() {
            What::Int(n)
        } else if whole.trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit()) {
            What::Symbol(self.tree.keep(whole.trim_start_matches('+')))
        } else if let Ok(n) = text.parse::<f64>() {
            What::Symbol(self.tree.keep(&format!("{n:?}")))
        } else if text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'+' | b'-')) {
            // Ratios, decimals, numbers in other bases.
            What::Symbol(Tree::span(start, end))
        } else {
            return self.bad(start, format!("not a number: {text}"));
        };
        self.at = end;
        self.tree.push(start, what);
        Ok(())
    }

    /// Skips a string. Returns the range of its content and whether it has escapes.
    fn raw_string(&mut self) -> Result<(usize, usize, bool), Stop> {
        let start = self.at + 1;
        let (mut at, mut escaped) = (start, false);
        loop {
            match self.bytes.get(at) {
                None => return Err(Stop::More),
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += 2;
                }
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        Ok((start, at, escaped))
    }

    fn string(&mut self) -> Result<Span, Stop> {
        let (start, end, escaped) = self.raw_string()?;
        if !escaped {
            return Ok(Tree::span(start, end));
        }
        let mut out = String::with_capacity(end - start);
        let mut rest = &self.text[start..end];
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            out.push_str(&rest[..at]);
            let Some((c, length)) = escape(&rest[at..]) else {
                return self.bad(end - rest.len() + at, "there is no such escape in a string");
            };
            out.push(c);
            rest = &rest[at + length..];
        }
        out.push_str(rest);
        Ok(self.tree.keep(&out))
    }
}

/// Returns the character of an escape and the length of the escape.
fn escape(text: &str) -> Option<(char, usize)> {
    Some(match text.as_bytes().get(1)? {
        b'n' => ('\n', 2),
        b't' => ('\t', 2),
        b'r' => ('\r', 2),
        b'b' => ('\u{8}', 2),
        b'f' => ('\u{c}', 2),
        &c @ (b'"' | b'\\' | b'/' | b'\'') => (char::from(c), 2),
        b'u' => return unicode(text),
        b'0'..=b'7' => {
            let digits = text[1..].bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
            (char::from(u8::from_str_radix(&text[1..=digits], 8).ok()?), 1 + digits)
        }
        _ => return None,
    })
}
