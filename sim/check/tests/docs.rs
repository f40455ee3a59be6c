//! The documents show what the binary does. Their programs are run, and the recorded histories are checked. Their
//! transcripts are regenerated and compared.
//!
//! After a change that alters output on purpose: `UPDATE_DOCS=1 cargo test -p seaworthy-check --test docs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn checked(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seaworthy-check")).args(arguments).current_dir(folder).output().unwrap()
}

/// Returns, for each text between an opening mark (closed by ` -->`) and the next end mark: the rest of the opening
/// mark, the text, and the rest of the end mark.
fn marked<'a>(text: &'a str, opening: &str, end: &str) -> Vec<(&'a str, &'a str, &'a str)> {
    let mut found = Vec::new();
    for block in text.split(opening).skip(1) {
        let (what, rest) = block.split_once(" -->\n").expect("an opening mark ends its line");
        let (content, rest) = rest.split_once(end).expect("what is opened is ended");
        found.push((what, content, rest.split_once("-->").expect("an end mark is closed").0.trim()));
    }
    found
}

/// Returns the text within the only code fence.
fn fenced(block: &str) -> &str {
    let within = block.split_once("```").and_then(|(_, rest)| rest.split_once('\n')).expect("a fence opens").1;
    within.rsplit_once("```").expect("a fence closes").0
}

#[test]
fn programs_of_the_manual_record_what_it_says() {
    let text = fs::read_to_string(root().join("docs/checking.md")).unwrap();
    let programs = marked(&text, "<!-- run: ", "<!-- end: exit ");
    assert_eq!(programs.iter().map(|(language, ..)| *language).collect::<Vec<_>>(), ["python", "sh"]);
    for (language, block, status) in programs {
        let status: i32 = status.parse().unwrap();
        let interpreter = if language == "python" { "python3" } else { "sh" };
        for _ in 0..3 {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("record"), fenced(block)).unwrap();
            let run = Command::new(interpreter).args(["record", "history.jsonl"]).current_dir(folder.path()).output();
            let run = run.unwrap_or_else(|error| panic!("this test needs {interpreter} on the path: {error}"));
            assert!(run.status.success(), "{interpreter}: {}", String::from_utf8_lossy(&run.stderr));
            let output = checked(&["history.jsonl"], folder.path());
            let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(status), "{language}: {told}");
            assert!(told.contains("model: register"), "{told}");
        }
    }
}

/// Replaces durations measured by the machine's clock.
fn settled(output: &str) -> String {
    let line = |line: &str| if line.starts_with("read in ") { "read in … s, checked in … s" } else { line }.to_owned();
    output.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn transcripts_are_real() {
    let mut shown = 0;
    for name in ["README.md", "docs/checking.md"] {
        let path = root().join(name);
        let text = fs::read_to_string(&path).unwrap();
        let mut renewed = text.clone();
        for (arguments, block, _) in marked(&text, "<!-- shows: ", "<!-- end ") {
            let output = checked(&arguments.split(' ').collect::<Vec<_>>(), &root());
            assert!(output.stderr.is_empty(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
            let real = settled(&String::from_utf8(output.stdout).unwrap());
            let real = format!("```console\n$ cargo run --release -p seaworthy-check -- {arguments}\n{real}\n```\n");
            let opening = format!("<!-- shows: {arguments} -->\n");
            renewed =
                renewed.replace(&format!("{opening}{block}<!-- end -->"), &format!("{opening}{real}<!-- end -->"));
            shown += 1;
        }
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, renewed).unwrap();
        } else {
            assert!(text == renewed, "{name} is out of date; UPDATE_DOCS=1 renews it. It should be:\n{renewed}");
        }
    }
    assert!(shown >= 3, "{shown} transcripts");
}

#[test]
fn the_example_of_transactions_is_the_sample() {
    let text = fs::read_to_string(root().join("docs/checking.md")).unwrap();
    let example = text.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(example, fs::read_to_string(root().join("docs/histories/lost-update.jsonl")).unwrap());
}
