//! A strict parser for JSON (RFC 8259). Reads one value at a time, directly into a [`Tree`].
//!
//! It accepts and understands the same texts as `serde_json`, apart from the nesting limit, which is deeper there. A
//! differential test checks this. It is written by hand because it is several times faster and has better messages
//! about what was expected.
//!
//! `{"symbol":"…"}` is a symbol, for values that other formats have and JSON does not.

use super::tree::{MAX_DEPTH, Stop, Tree, What};

/// Reads the value at `at`, which is inside `depth` containers. Returns its end.
pub fn value(text: &str, at: usize, depth: usize, tree: &mut Tree) -> Result<usize, Stop> {
    let mut reader = Reader { text, bytes: text.as_bytes(), at, tree };
    reader.value(depth)?;
    Ok(reader.at)
}

/// Reads a whole number or a string without escapes. Returns its end, or `None` if only [`value`] can read the value.
#[inline]
pub fn plain(bytes: &[u8], at: usize) -> Option<(What, usize)> {
    let first = *bytes.get(at)?;
    let mut end = at + 1;
    if first == b'"' {
        while !matches!(bytes.get(end)?, b'"' | b'\\' | 0..0x20) {
            end += 1;
        }
        return (bytes[end] == b'"').then(|| (What::Text(Tree::span(at + 1, end)), end + 1));
    }
    if !matches!(first, b'1'..=b'9') {
        return None;
    }
    let mut n = i64::from(first - b'0');
    while let &digit @ b'0'..=b'9' = bytes.get(end)? {
        n = n.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
        end += 1;
    }
    (end - at <= 18 && matches!(bytes[end], b',' | b'}' | b']')).then_some((What::Int(n), end))
}

/// Length of the separators at the start of the text: space, and the commas of an array.
pub fn separators(text: &str) -> usize {
    text.bytes().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',')).count()
}

struct Reader<'a, 't> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    tree: &'t mut Tree,
}

impl Reader<'_, '_> {
    fn bad<T>(&self, at: usize, what: impl Into<String>) -> Result<T, Stop> {
        Stop::bad(at, what)
    }

    /// Skips space and returns the next byte.
    #[inline]
    fn peek(&mut self) -> Result<u8, Stop> {
        loop {
            match self.bytes.get(self.at) {
                None => return Err(Stop::More),
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(&byte) => return Ok(byte),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), Stop> {
        let first = self.peek()?;
        if let Some((what, end)) = plain(self.bytes, self.at) {
            self.tree.push(self.at, what);
            self.at = end;
            return Ok(());
        }
        match first {
            b'"' => {
                let (start, end, escaped) = self.string()?;
                self.push_string(start, end, escaped)
            }
            b'-' | b'0'..=b'9' => self.number(),
            b'{' | b'[' if depth == MAX_DEPTH => self.bad(self.at, format!("nested deeper than {MAX_DEPTH}")),
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b't' => self.word("true", What::Bool(true)),
            b'f' => self.word("false", What::Bool(false)),
            b'n' => self.word("null", What::Nil),
            _ => self.bad(self.at, "not JSON: expected a value"),
        }
    }

    fn word(&mut self, word: &str, what: What) -> Result<(), Stop> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(word.as_bytes()) {
            self.tree.push(self.at, what);
            self.at += word.len();
            return Ok(());
        }
        if word.as_bytes().starts_with(rest) { Err(Stop::More) } else { self.bad(self.at, format!("expected {word}")) }
    }

    fn object(&mut self, depth: usize) -> Result<(), Stop> {
        let map = self.tree.len();
        self.tree.push(self.at, What::Map(0));
        self.at += 1;
        if self.peek()? != b'}' {
            loop {
                if self.peek()? != b'"' {
                    return self.bad(self.at, "expected a name in quotes");
                }
                let (start, end, escaped) = self.string()?;
                self.push_string(start, end, escaped)?;
                if self.peek()? != b':' {
                    return self.bad(self.at, "expected : after the name");
                }
                self.at += 1;
                self.value(depth + 1)?;
                match self.peek()? {
                    b',' => self.at += 1,
                    b'}' => break,
                    _ => return self.bad(self.at, "expected , or }"),
                }
            }
        }
        self.at += 1;
        self.tree.close(map);
        if depth > 0 && self.tree.len() == map + 3 {
            self.symbol(map);
        }
        Ok(())
    }

    /// Turns `{"symbol":"…"}` into a symbol.
    fn symbol(&mut self, map: usize) {
        if let (What::Text(name), What::Text(text)) = (self.tree.node(map + 1).what, self.tree.node(map + 2).what)
            && self.tree.text(name, self.text) == "symbol"
        {
            self.tree.replace(map, What::Symbol(text));
            self.tree.cut(map + 1);
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Stop> {
        let list = self.tree.len();
        self.tree.push(self.at, What::List(0));
        self.at += 1;
        if self.peek()? != b']' {
            loop {
                self.value(depth + 1)?;
                match self.peek()? {
                    b',' => self.at += 1,
                    b']' => break,
                    _ => return self.bad(self.at, "expected , or ]"),
                }
            }
        }
        self.at += 1;
        self.tree.close(list);
        Ok(())
    }

    /// Skips a string. Returns the range of its content and whether it has escapes.
    #[inline]
    fn string(&mut self) -> Result<(usize, usize, bool), Stop> {
        let start = self.at + 1;
        let mut escaped = false;
        let mut at = start;
        loop {
            match self.bytes.get(at) {
                None => return Err(Stop::More),
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += 2;
                }
                Some(0..0x20) => return self.bad(at, "a control character in a string must be escaped"),
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        Ok((start, at, escaped))
    }

    #[inline]
    fn push_string(&mut self, start: usize, end: usize, escaped: bool) -> Result<(), Stop> {
        let span = if escaped { self.unescaped(start, end)? } else { Tree::span(start, end) };
        self.tree.push(start - 1, What::Text(span));
        Ok(())
    }

    fn unescaped(&mut self, start: usize, end: usize) -> Result<super::tree::Span, Stop> {
        let mut out = String::with_capacity(end - start);
        let mut rest = &self.text[start..end];
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            out.push_str(&rest[..at]);
            let place = end - rest.len() + at;
            let (c, length) = match rest.as_bytes().get(at + 1) {
                Some(b'n') => ('\n', 2),
                Some(b't') => ('\t', 2),
                Some(b'r') => ('\r', 2),
                Some(b'b') => ('\u{8}', 2),
                Some(b'f') => ('\u{c}', 2),
                Some(&c @ (b'"' | b'\\' | b'/')) => (char::from(c), 2),
                Some(b'u') => match unicode(&rest[at..]) {
                    Some(found) => found,
                    None => return self.bad(place, "expected \\u and four hexadecimal digits, a character's code"),
                },
                _ => return self.bad(place, "there is no such escape"),
            };
            out.push(c);
            rest = &rest[at + length..];
        }
        out.push_str(rest);
        Ok(self.tree.keep(&out))
    }

    #[inline]
    fn number(&mut self) -> Result<(), Stop> {
        let start = self.at;
        let negative = self.bytes[start] == b'-';
        let digits = start + usize::from(negative);
        let mut at = digits;
        let mut n = 0i64;
        while let Some(&digit @ b'0'..=b'9') = self.bytes.get(at) {
            n = n.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            at += 1;
        }
        // The number may continue after the end of the text. In JSON here something always follows a number.
        let Some(&next) = self.bytes.get(at) else { return Err(Stop::More) };
        if at == digits {
            return self.bad(at, "expected a digit");
        }
        if self.bytes[digits] == b'0' && at > digits + 1 {
            return self.bad(digits, "a number does not begin with 0");
        }
        if matches!(next, b'.' | b'e' | b'E') {
            return self.float(start, at);
        }
        self.at = at;
        let text = &self.text[start..at];
        let what = if at - digits <= 18 {
            What::Int(if negative { -n } else { n })
        } else if let Ok(n) = text.parse() {
            What::Int(n)
        } else {
            What::Symbol(Tree::span(start, at))
        };
        self.tree.push(start, what);
        Ok(())
    }

    fn float(&mut self, start: usize, mut at: usize) -> Result<(), Stop> {
        let digits = |mut at: usize| {
            let from = at;
            while self.bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            match self.bytes.get(at) {
                None => Err(Stop::More),
                Some(_) if at == from => self.bad(at, "expected a digit"),
                Some(_) => Ok(at),
            }
        };
        if self.bytes[at] == b'.' {
            at = digits(at + 1)?;
        }
        if matches!(self.bytes[at], b'e' | b'E') {
            let sign = matches!(self.bytes.get(at + 1), Some(b'+' | b'-'));
            at = digits(at + 1 + usize::from(sign))?;
        }
        match self.text[start..at].parse::<f64>() {
            Ok(n) if n.is_finite() => {
                let span = self.tree.keep(&format!("{n:?}"));
                self.tree.push(start, What::Symbol(span));
                self.at = at;
                Ok(())
            }
            _ => self.bad(start, "a number too large"),
        }
    }
}

/// The character of `\uXXXX` or of a surrogate pair, and the length of the escape.
pub fn unicode(text: &str) -> Option<(char, usize)> {
    let code = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let first = code(0)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, 6));
    }
    let second = code(6).filter(|low| (0xdc00..0xe000).contains(low))?;
    Some((char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?, 12))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;
    use serde_json::Value as Json;

    /// Converts our tree into a value of `serde_json`.
    fn theirs(tree: &Tree, text: &str, node: usize) -> Json {
        match tree.node(node).what {
            What::Nil => Json::Null,
            What::Bool(yes) => yes.into(),
            What::Int(n) => n.into(),
            What::Text(span) => tree.text(span, text).into(),
            What::Symbol(span) if text.as_bytes()[tree.node(node).at as usize] == b'{' => {
                [("symbol".to_owned(), tree.text(span, text).into())]
                    .into_iter()
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }
            What::Symbol(span) => {
                let digits = tree.text(span, text);
                digits.parse::<u64>().map_or_else(|_| digits.parse::<f64>().expect("a number").into(), Json::from)
            }
            What::List(_) | What::Set(_) | What::Tagged(_) => {
                tree.content(node).map(|item| theirs(tree, text, item)).collect::<Vec<_>>().into()
            }
            What::Map(_) => {
                let parts: Vec<Json> = tree.content(node).map(|part| theirs(tree, text, part)).collect();
                let entry = |entry: &[Json]| (entry[0].as_str().unwrap_or_default().to_owned(), entry[1].clone());
                parts.chunks(2).map(entry).collect::<serde_json::Map<_, _>>().into()
            }
        }
    }

    fn same(a: &Json, b: &Json) -> bool {
        match (a, b) {
            (Json::Number(a), Json::Number(b)) => {
                let (x, y) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(1.0));
                // `serde_json` rounds the last bit differently.
                a == b || (x - y).abs() <= x.abs() * 1e-15
            }
            (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
            (Json::Object(a), Json::Object(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k == l && same(a, b))
            }
            _ => a == b,
        }
    }

    fn generate(rng: &mut Rng, depth: u64, out: &mut String) {
        const SCALARS: [&str; 24] = [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "7",
            "-12",
            "1234567890123456789",
            "9223372036854775807",
            "-9223372036854775808",
            "18446744073709551615",
            "123456789012345678901234567890",
            "1.5",
            "-0.25e+3",
            "1E9",
            "0.0",
            "\"\"",
            "\"symbol\"",
            "\"a b\"",
            "\"\\n\\\"\\\\\\/\"",
            "\"\\u00e9\\ud83d\\ude00\"",
            "\"\u{e9}\"",
            "\"\\u0000\"",
            "1e308",
        ];
        const SPACE: [&str; 4] = ["", "", " ", "\n\t"];
        out.push_str(SPACE[rng.below(4) as usize]);
        let choice = rng.below(10);
        if depth == 0 || choice < 6 {
            out.push_str(SCALARS[rng.below(24) as usize]);
        } else {
            let object = choice < 8;
            out.push(if object { '{' } else { '[' });
            for i in 0..rng.below(4) {
                if i != 0 {
                    out.push(',');
                }
                if object {
                    out.push_str(["\"symbol\":", "\"a\":", "\"\\u0061\" :", "\"b\": "][rng.below(4) as usize]);
                }
                generate(rng, depth - 1, out);
            }
            out.push(if object { '}' } else { ']' });
        }
        out.push_str(SPACE[rng.below(4) as usize]);
    }

    #[test]
    fn the_same_as_serde_json() {
        let depth = std::env::var("CHECK_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
        let (mut right, mut wrong) = (0, 0);
        for seed in 0..depth {
            let mut rng = Rng(seed);
            let mut text = String::new();
            generate(&mut rng, 4, &mut text);
            if rng.percent(60) {
                let mut chars: Vec<char> = text.chars().collect();
                let with: Vec<char> = "{}[]\",:\\ue0.-+1 n\n\u{e9}".chars().collect();
                for _ in 0..=rng.below(2) {
                    let at = rng.below(chars.len() as u64) as usize;
                    let c = with[rng.below(with.len() as u64) as usize];
                    match rng.below(3) {
                        0 => chars.insert(at, c),
                        1 => chars[at] = c,
                        _ => drop(chars.remove(at)),
                    }
                    chars.push(' ');
                }
                text = chars.into_iter().collect();
            }
            text.push(' ');
            let mut tree = Tree::default();
            let ours = value(&text, 0, 0, &mut tree).ok().filter(|&end| text[end..].trim().is_empty());
            match serde_json::from_str::<Json>(&text) {
                Err(error) => {
                    assert!(ours.is_none(), "{text:?}: they say {error}");
                    wrong += 1;
                }
                Ok(value) => {
                    assert!(ours.is_some(), "{text:?}: they read it");
                    let ours = theirs(&tree, &text, 0);
                    assert!(same(&ours, &value), "{text:?}: {ours} and {value}");
                    right += 1;
                }
            }
        }
        assert!(right > depth / 4 && wrong > depth / 8, "{right} right, {wrong} wrong");
    }
}
