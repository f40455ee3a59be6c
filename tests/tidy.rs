//! Rules that the compiler cannot enforce, checked line by line on the source tree.
//!
//! Each rule is a function from a [`Source`] to problems, and each is tested with a planted snippet. The parsing is
//! deliberately simple: it recognizes comments that fill a line or end it, and the end of items under `#[cfg(test)]` in
//! code formatted by rustfmt. It does not recognize strings or block comments; a rule that would need that is too
//! complicated.

use std::fs;
use std::path::Path;

/// Pure cores: no IO, no async, no ambient time or entropy, no unordered collections.
const CORES: [&str; 8] = [
    "src/protocol.rs",
    "src/types/",
    "src/raft/",
    "src/kv/",
    "src/dynamo/",
    "src/identity/",
    "src/gossip/",
    "src/placement/",
];
/// The only file of a core that may name a random generator.
const RNG: &str = "src/types/rng.rs";
/// Maximum length of a file, in lines.
const MAX_LINES: usize = 600;
/// Files that may be longer, with the reason.
const LONG: [(&str, &str); 0] = [];
/// Folders of the repository; paths under them are checked when documents mention them.
const MENTIONED: [&str; 9] =
    ["src/", "sim/", "docs/", "scenarios/", "benches/", "tests/", "examples/", ".ci/", ".cargo/"];
/// Words that a newcomer stumbles over. Comments and documents use plain ones.
const MANNERED: [&str; 8] = ["nobody", "somebody", "whom", "lest", "hence", "thereby", "bears", "how-manieth"];
/// This file contains violations on purpose.
const SELF: &str = "tests/tidy.rs";

/// A file, and what is needed to check its lines.
struct Source<'a> {
    path: &'a str,
    lines: Vec<Line<'a>>,
}

struct Line<'a> {
    /// The line as written.
    text: &'a str,
    /// The line without comments.
    code: &'a str,
    /// Whether the line is compiled only for tests.
    test: bool,
}

impl<'a> Source<'a> {
    fn new(path: &'a str, text: &'a str) -> Source<'a> {
        let all_test = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
        let mut lines: Vec<Line> =
            text.lines().map(|text| Line { text, code: without_comment(text), test: all_test }).collect();
        let mut i = 0;
        while i < lines.len() {
            let end = if lines[i].code.trim() == "#[cfg(test)]" { item_end(&lines, i) } else { i };
            if end > i {
                lines[i..=end].iter_mut().for_each(|l| l.test = true);
            }
            i = end + 1;
        }
        Source { path, lines }
    }

    /// Returns the lines that are not only for tests, with their indices.
    fn shipped(&self) -> impl Iterator<Item = (usize, &Line<'a>)> {
        self.lines.iter().enumerate().filter(|(_, l)| !l.test)
    }

    fn problem(&self, index: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, index + 1)
    }

    fn under(&self, folders: &[&str]) -> bool {
        folders.iter().any(|f| self.path.starts_with(f))
    }
}

/// Returns the line without a comment that fills or ends it. A `//` inside a word, as in a URL, is not a comment.
fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with("//") {
        return "";
    }
    line.find(" // ").map_or(line, |at| &line[..at])
}

/// Returns the last line of the item whose attribute is on line `start`: the first line that ends in `;` before a block
/// opens, or the brace that closes the block, which rustfmt puts at the attribute's indentation.
fn item_end(lines: &[Line<'_>], start: usize) -> usize {
    let indent = &lines[start].text[..lines[start].text.len() - lines[start].text.trim_start().len()];
    let close = format!("{indent}}}");
    let mut block = false;
    for (i, line) in lines.iter().enumerate().skip(start + 1) {
        let code = line.code.trim_end();
        if code == close || (!block && (code.ends_with(';') || code.ends_with("{}"))) {
            return i;
        }
        block |= code.ends_with('{');
    }
    lines.len() - 1
}

/// Returns the position of `word` in `text` as a whole word.
fn word<'a>(text: &'a str, word: &'a str) -> Option<usize> {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _)| at).find(|&at| {
        !text[..at].chars().next_back().is_some_and(in_word) && !text[at + word.len()..].starts_with(in_word)
    })
}

fn cores_are_pure(source: &Source<'_>) -> Vec<String> {
    const WORDS: [&str; 10] = [
        "tokio",
        "madsim",
        "async",
        "await",
        "Instant",
        "SystemTime",
        "HashMap",
        "HashSet",
        "thread_local",
        "getrandom",
    ];
    const MODULES: [&str; 5] = ["fs", "net", "thread", "env", "process"];
    const ENTROPY: [&str; 2] = ["rand", "rand_chacha"];
    if !source.under(&CORES) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (i, line) in source.shipped() {
        let code = line.code;
        let module = |m: &str| {
            word(code, m).is_some_and(|at| code[at + m.len()..].starts_with("::") || code.starts_with("use std::"))
        };
        let words = WORDS.into_iter().filter(|w| word(code, w).is_some());
        let entropy = ENTROPY.into_iter().filter(|w| source.path != RNG && word(code, w).is_some());
        for found in words.chain(entropy).chain(MODULES.into_iter().filter(|m| module(m))) {
            problems.push(source.problem(i, &format!("`{found}` in a pure core")));
        }
    }
    problems
}

fn select_is_biased(source: &Source<'_>) -> Vec<String> {
    let biased = |i: usize, after: &str| {
        let rest = source.lines[i + 1..].iter().map(|l| l.code.trim());
        let inside = after.trim_start().strip_prefix('{').unwrap_or(after).trim();
        std::iter::once(inside).chain(rest).find(|code| !code.is_empty()).is_some_and(|c| c.starts_with("biased;"))
    };
    let selects = source.lines.iter().enumerate().filter_map(|(i, l)| l.code.split_once("select!").map(|s| (i, s.1)));
    let random = selects.filter(|&(i, after)| !biased(i, after));
    random.map(|(i, _)| source.problem(i, "`select!` without `biased;` first polls in random order")).collect()
}

fn one_source_for_both_worlds(source: &Source<'_>) -> Vec<String> {
    let hit = |l: &Line<'_>| l.code.contains("cfg") && word(l.code, "madsim").is_some();
    let hits = source.lines.iter().enumerate().filter(|(_, l)| source.under(&["src/"]) && hit(l));
    hits.map(|(i, _)| source.problem(i, "`cfg(madsim)` in the database")).collect()
}

fn panics_have_reasons(source: &Source<'_>) -> Vec<String> {
    let reasoned = |i: usize| {
        let above = source.lines[..i].iter().rev().take_while(|l| l.text.trim_start().starts_with("//"));
        above.chain([&source.lines[i]]).any(|l| l.text.contains("// invariant:"))
    };
    let mut problems = Vec::new();
    for (i, line) in source.shipped().filter(|_| source.under(&["src/"])) {
        for found in [".unwrap()", "panic!(", "unreachable!("] {
            if line.code.contains(found) && !reasoned(i) {
                let what = format!("`{found}` needs an `// invariant:` comment that says why it cannot happen");
                problems.push(source.problem(i, &what));
            }
        }
    }
    problems
}

fn nothing_is_unfinished(source: &Source<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    for (i, line) in source.lines.iter().enumerate() {
        for found in ["todo!(", "unimplemented!(", "dbg!("] {
            if line.code.contains(found) {
                problems.push(source.problem(i, &format!("`{found}` is unfinished work")));
            }
        }
    }
    problems
}

fn files_open_with_documentation(source: &Source<'_>) -> Vec<String> {
    let first = source.lines.first().map_or("", |l| l.text);
    let documented = ["//!", "#![doc"].iter().any(|d| first.starts_with(d));
    if documented { Vec::new() } else { vec![source.problem(0, "the file does not open with `//!`")] }
}

fn files_are_short(source: &Source<'_>) -> Vec<String> {
    let lines = source.lines.len();
    let listed = LONG.iter().any(|(path, _)| *path == source.path);
    match (lines > MAX_LINES, listed) {
        (true, false) => vec![source.problem(MAX_LINES, &format!("{lines} lines; split it by role"))],
        (false, true) => vec![source.problem(0, "no longer long: take it off the list in tests/tidy.rs")],
        _ => Vec::new(),
    }
}

fn no_path_of_one_machine(source: &Source<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    for (i, line) in source.lines.iter().enumerate() {
        for home in ["/home/", "/root/", "/Users/", "C:\\Users"] {
            if line.text.contains(home) {
                problems.push(source.problem(i, &format!("`{home}…` is a path of one machine")));
            }
        }
    }
    problems
}

/// Comments, and documents outside of code blocks, use plain words.
fn words_are_plain(source: &Source<'_>) -> Vec<String> {
    let document = source.path.ends_with(".md");
    let mut in_block = false;
    let mut problems = Vec::new();
    for (i, line) in source.lines.iter().enumerate() {
        in_block ^= document && line.text.trim_start().starts_with("```");
        let prose = if document { line.text } else { &line.text[line.code.len()..] };
        if in_block {
            continue;
        }
        let prose = prose.to_lowercase();
        for found in MANNERED.into_iter().filter(|mannered| word(&prose, mannered).is_some()) {
            problems.push(source.problem(i, &format!("`{found}`: say it in plain words")));
        }
    }
    problems
}

/// Documents mention only what exists: the targets of links, and words that look like paths of the repository. `exists`
/// is called with paths relative to the root.
fn mentions_exist(source: &Source<'_>, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut problems = Vec::new();
    for (i, line) in source.lines.iter().enumerate() {
        let links = line.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let links = links.filter(|l| !l.contains(':') && !l.starts_with('#')).map(|link| {
            let link = link.split(['#', ' ']).next().unwrap_or(link);
            resolve(folder, link)
        });
        let outside = |c: char| c.is_whitespace() || "`()[]\"',;|".contains(c);
        let words = line.text.split(outside).filter(|w| MENTIONED.iter().any(|m| w.starts_with(m)));
        let words = words.filter(|w| !w.contains(['*', '<', '>', '{', '…', '$'])).map(|w| {
            let path = w.split([':', '#']).next().unwrap_or(w);
            path.trim_end_matches(['.', '?', '!']).to_owned()
        });
        for path in links.chain(words).filter(|p| !exists(p)) {
            problems.push(source.problem(i, &format!("mentions {path}, which does not exist")));
        }
    }
    problems.dedup();
    problems
}

/// Converts `link`, found in a document in `folder`, to a path relative to the root.
fn resolve(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The rules for Rust sources.
const RULES: [fn(&Source<'_>) -> Vec<String>; 9] = [
    cores_are_pure,
    select_is_biased,
    one_source_for_both_worlds,
    panics_have_reasons,
    nothing_is_unfinished,
    files_open_with_documentation,
    files_are_short,
    no_path_of_one_machine,
    words_are_plain,
];

/// Returns all problems of one file of the repository.
fn problems(path: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let source = Source::new(path, text);
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("rs") if path != SELF => RULES.iter().flat_map(|rule| rule(&source)).collect(),
        Some("md") => {
            [mentions_exist(&source, exists), no_path_of_one_machine(&source), words_are_plain(&source)].concat()
        }
        Some("toml") => no_path_of_one_machine(&source),
        _ => Vec::new(),
    }
}

/// Lists the files below `folder`, as sorted paths relative to the root. Hidden ones and build output are left out,
/// except the project's own hidden folders.
fn files(root: &Path, folder: &str, found: &mut Vec<String>) {
    let mut names: Vec<String> = fs::read_dir(root.join(folder))
        .unwrap_or_else(|e| panic!("{folder}: {e}"))
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    for name in names {
        let hidden = name.starts_with('.') && ![".ci", ".cargo"].contains(&name.as_str());
        if hidden || name == "target" || name == "reports" {
            continue;
        }
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if root.join(&path).is_dir() { files(root, &path, found) } else { found.push(path) }
    }
}

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    files(root, "", &mut paths);
    assert!(paths.iter().any(|p| p == "src/lib.rs") && paths.iter().any(|p| p == SELF), "the walk finds the sources");
    let exists = |path: &str| root.join(path).exists();
    let text = |path: &str| String::from_utf8_lossy(&fs::read(root.join(path)).unwrap()).into_owned();
    let mut all: Vec<String> = paths.iter().flat_map(|p| problems(p, &text(p), &exists)).collect();
    let gone = LONG.iter().filter(|(path, _)| !exists(path));
    all.extend(gone.map(|(path, _)| format!("{SELF}:1: {path} is on the list of long files and does not exist")));
    assert!(all.is_empty(), "\n{}\n", all.join("\n"));
}

/// Returns the problems of `text` after a first line of documentation, without the path.
fn planted(path: &str, text: &str) -> Vec<String> {
    let text = format!("//! A module.\n{text}\n");
    let exists = |p: &str| p == "docs/formats.md" || p == "src/lib.rs";
    problems(path, &text, &exists)
        .into_iter()
        .map(|p| p.strip_prefix(&format!("{path}:")).unwrap().to_owned())
        .collect()
}

#[test]
fn mannered_words_are_found_in_prose_only() {
    let found = ["2: `nobody`: say it in plain words"];
    assert_eq!(planted("src/lib.rs", "/// Nobody knows."), found);
    assert_eq!(planted("src/lib.rs", "let x = 1; // which nobody reads"), found);
    assert_eq!(planted("docs/formats.md", "Of which nobody knows."), found);
    assert_eq!(planted("src/lib.rs", "let nobody = \"whom\"; // plain"), Vec::<String>::new());
    assert_eq!(planted("docs/formats.md", "```text\nnobody\n```"), Vec::<String>::new());
}

#[test]
fn impurity_in_a_core_is_found() {
    for (code, what) in [
        ("use tokio::time;", "tokio"),
        ("use std::time::{Duration, Instant};", "Instant"),
        ("let t = std::time::SystemTime::now();", "SystemTime"),
        ("use std::{fmt, fs};", "fs"),
        ("use std::net::TcpStream;", "net"),
        ("std::thread::sleep(d);", "thread"),
        ("async fn f() {}", "async"),
        ("f().await;", "await"),
        ("use rand::random;", "rand"),
        ("use rand_chacha::ChaCha8Rng;", "rand_chacha"),
        ("use std::collections::{BTreeMap, HashMap};", "HashMap"),
        ("let s = HashSet::<u8>::new();", "HashSet"),
    ] {
        let expected = [format!("2: `{what}` in a pure core")];
        assert_eq!(planted("src/raft/x.rs", code), expected, "{code}");
        assert_eq!(planted("src/protocol.rs", code), expected, "{code}");
        assert!(planted("src/node/x.rs", code).is_empty(), "{code}");
    }
    for fine in ["// an async HashMap", "let instant = 1; // not Instant", "let network: MyHashMap;", "use std::fmt;"] {
        assert!(planted("src/raft/x.rs", fine).is_empty(), "{fine}");
    }
    assert!(planted(RNG, "use rand_chacha::ChaCha8Rng;").is_empty());
    assert!(planted("src/raft/x.rs", "#[cfg(test)]\nmod tests {\n    use std::collections::HashMap;\n}").is_empty());
    assert!(planted("src/raft/tests.rs", "use std::fs;").is_empty());
}

#[test]
fn code_after_a_test_item_is_not_a_test() {
    let after = |item: &str| planted("src/raft/x.rs", &format!("#[cfg(test)]\n{item}\nuse tokio::time;")).len();
    for item in ["mod tests;", "mod tests {\n    fn f() {}\n}", "#[allow(x)]\nfn f() {\n    g();\n}", "impl A {}"] {
        assert_eq!(after(item), 1, "{item}");
    }
    let indented = "impl A {\n    #[cfg(test)]\n    fn f() {\n        a.unwrap();\n    }\n\n    fn g() {\n        b.unwrap();\n    }\n}";
    let found = planted("src/raft/x.rs", indented);
    assert!(found.len() == 1 && found[0].starts_with("9: `.unwrap()`"), "{found:?}");
}

#[test]
fn an_unbiased_select_is_found() {
    let random = "2: `select!` without `biased;` first polls in random order";
    for path in ["src/node/x.rs", "sim/src/x.rs", "src/node/tests.rs"] {
        assert_eq!(planted(path, "tokio::select! {\n    x = f() => {}\n}"), [random]);
        assert_eq!(planted(path, "select! { x = f() => {} }"), [random]);
        assert!(planted(path, "tokio::select! {\n    // In order.\n    biased;\n    x = f() => {}\n}").is_empty());
        assert!(planted(path, "select! { biased; x = f() => {} }").is_empty());
    }
}

#[test]
fn a_second_world_in_the_database_is_found() {
    let found = ["2: `cfg(madsim)` in the database"];
    assert_eq!(planted("src/node/x.rs", "#[cfg(madsim)]"), found);
    assert_eq!(planted("src/node/x.rs", "if cfg!(not(madsim)) {"), found);
    assert!(planted("sim/src/x.rs", "#[cfg(madsim)]").is_empty());
}

#[test]
fn a_panic_without_a_reason_is_found() {
    for code in ["let x = y.unwrap();", "panic!(\"no\");", "_ => unreachable!(),"] {
        assert_eq!(planted("src/kv/x.rs", code).len(), 1, "{code}");
        assert!(planted("src/kv/x.rs", &format!("// invariant: checked on entry,\n// above.\n{code}")).is_empty());
        assert!(planted("src/kv/x.rs", &format!("{code} // invariant: checked on entry")).is_empty());
        assert!(planted("src/kv/x.rs", &format!("#[cfg(test)]\nmod tests {{\n    {code}\n}}")).is_empty());
    }
    assert!(planted("src/kv/x.rs", "let x = y.unwrap_or(0);").is_empty());
}

#[test]
fn unfinished_work_is_found_in_tests_too() {
    for code in ["todo!()", "unimplemented!(\"later\")", "dbg!(x)"] {
        assert_eq!(planted("sim/src/tests.rs", code).len(), 1, "{code}");
    }
}

#[test]
fn a_file_without_documentation_is_found() {
    let exists = |_: &str| true;
    for text in ["use std::fmt;\n", "", "/// An item.\n"] {
        assert_eq!(problems("sim/x.rs", text, &exists), ["sim/x.rs:1: the file does not open with `//!`"]);
    }
}

#[test]
fn a_long_file_is_found() {
    assert!(planted("src/x.rs", &"\n".repeat(MAX_LINES - 2)).is_empty());
    assert_eq!(planted("src/x.rs", &"\n".repeat(MAX_LINES)), ["601: 602 lines; split it by role"]);
}

#[test]
fn a_dead_mention_is_found() {
    for text in ["[f](docs/none.md)", "see `docs/none.md`.", "(docs/none.md:12)", "docs/none.md."] {
        assert_eq!(planted("README.md", text), ["2: mentions docs/none.md, which does not exist"], "{text}");
    }
    assert_eq!(planted("docs/a.md", "[f](b.md#x)"), ["2: mentions docs/b.md, which does not exist"]);
    for text in ["[f](formats.md#wal)", "[f](../src/lib.rs)", "`src/lib.rs`", "`src/*/x.rs`", "[f](#x)", "`src/<name>`"]
    {
        assert!(planted("docs/a.md", text).is_empty(), "{text}");
    }
}

#[test]
fn a_path_of_one_machine_is_found() {
    for path in ["src/x.rs", "docs/a.md", "scenarios/a.toml"] {
        assert_eq!(planted(path, "\"/home/me/x\"").len(), 1, "{path}");
    }
}
