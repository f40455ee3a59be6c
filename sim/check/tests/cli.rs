//! The command line end to end: exit statuses, messages, and all output files.

use seaworthy_check::generate::Workload;
use serde_json::Value as Json;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A temporary folder in which the binary runs.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seaworthy-check"));
        command.args(arguments.split_whitespace()).current_dir(self.0.path());
        command
    }

    fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the binary, expects an exit status, and returns what was printed.
    fn told(&self, arguments: &str, status: i32) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments}\n{text}\n{errors}");
        text
    }

    /// Runs the binary, expects one message and exit status 2, and returns the message.
    fn refused(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {errors}");
        assert_eq!(errors.matches("error: ").count(), 1, "{arguments}: {errors}");
        assert!(errors.starts_with("error: ") && !errors.contains("panicked"), "{arguments}: {errors}");
        errors["error: ".len()..].trim_end().to_owned()
    }

    fn generate(&self, name: &str, arguments: &str) {
        let text = self.told(&format!("generate {arguments}"), 0);
        self.file(name, text);
    }
}

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/histories/stale-read.edn")
}

#[test]
fn exit_statuses() {
    let place = Place::new();
    place.generate("valid.jsonl", "register");
    place.generate("broken.jsonl", "register --plant");
    place.generate("hard.jsonl", "cas-register --values 5 --clients 60 --operations 3000");
    assert!(place.told("valid.jsonl", 0).contains("\nVALID: linearizable\n"));
    assert!(place.told("broken.jsonl", 1).contains("\nNOT VALID: not linearizable (1 of 1 parts)\n"));
    place.refused("missing.jsonl");
    let unknown = place.told("hard.jsonl --budget 50ms", 3);
    assert!(unknown.contains("the time limit was reached") && unknown.contains("hint: "), "{unknown}");
}

#[test]
fn errors_are_located() {
    let place = Place::new();
    place.file("empty", "");
    place.file("type.jsonl", "{\"process\":0,\"type\":\"invoke\",\"f\":\"read\"}\n{\"process\":0,\"type\":\"done\"}\n");
    place.file("cut.edn", "{:process 0, :type :invoke, :f :read, :value nil}\n{:process 0, :ty");
    place.file("words.txt", "0 i w 1 2 3\n0 o w 1\n");
    place.file("log.log", "INFO  jepsen.util - 0\t:invoke\t:write\t[1\n");
    place.file("noise", [0u8, 159, 146, 150, 7]);
    place.file("unused.gz", [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1]);
    for (name, at) in [
        ("empty", "empty:1:1: the file is empty"),
        ("type.jsonl", "type.jsonl:2:21: expected one of the types"),
        ("cut.edn", "cut.edn:2:17: the file ends in the middle"),
        ("words.txt", "words.txt:2:1: expected six words"),
        ("log.log", "log.log:1:"),
        ("noise", "noise:1:"),
        ("unused.gz", "unused.gz: cannot be unpacked"),
        ("missing", "missing: "),
        (".", ".: cannot read"),
    ] {
        let told = place.refused(name);
        assert!(told.starts_with(at), "{name}: {told}");
        let told: Json = serde_json::from_slice(&place.run(&format!("{name} --json")).stdout).unwrap();
        assert!(told["error"].as_str().unwrap().starts_with(at), "{told}");
    }
}

#[test]
fn what_cannot_be_asked_is_told_with_what_can() {
    let place = Place::new();
    place.generate("reg.jsonl", "register");
    place.generate("txn.jsonl", "list-append");
    for (arguments, says) in [
        ("reg.jsonl --check serializable", "there are: linearizable, sequential"),
        ("txn.jsonl --check linearizable", "there are: read-uncommitted"),
        ("reg.jsonl --model stack", "there are: register, cas-register"),
        ("reg.jsonl --model queue", "reg.jsonl:1: the model queue has no function"),
        ("reg.jsonl --model list-append", "reg.jsonl:1: list-append is of transactions"),
        ("txn.jsonl --model register", "txn.jsonl:1: the model register has no function txn"),
        ("reg.jsonl --check causal --certificate proof", "there are certificates of linearizable"),
        ("reg.jsonl --budget soon", "neither a time (10s, 500ms, 5m) nor a size"),
        ("reg.jsonl --export knossos:x", "expected edn:FILE or jsonl:FILE"),
        ("reg.jsonl --initial {", "not a value of JSON"),
        ("generate heap", "possible values: register"),
        ("generate register --clients 0", "0 is not in 1.."),
    ] {
        let told = place.refused(arguments);
        assert!(told.contains(says), "{arguments}: {told}");
    }
}

#[test]
fn analyses_of_jepsen_and_their_exit_statuses() {
    let place = Place::new();
    let queue = |rest: &str| {
        let event =
            |kind: &str, f: &str, value: &str| format!("{{:process 1, :type :{kind}, :f :{f}, :value {value}}}\n");
        event("invoke", "enqueue", "1") + &event("ok", "enqueue", "1") + &event("invoke", "drain", "nil") + rest
    };
    place.file("whole.edn", queue("{:process 1, :type :ok, :f :drain, :value [1]}"));
    place.file("lost.edn", queue("{:process 1, :type :ok, :f :drain, :value []}"));
    place.file("crashed.edn", queue("{:process 1, :type :info, :f :drain}"));
    assert!(place.told("whole.edn", 0).contains("\nVALID: a total queue\n"));
    let lost = place.told("lost.edn --html page.html", 1);
    assert!(lost.contains("\nVALID: linearizable\n") && lost.contains("\n  lost-count           1\n"), "{lost}");
    assert!(place.read("page.html").contains("An element that was acknowledged never came out of the queue."));
    place.told("crashed.edn", 3);
    let json: Json = serde_json::from_str(&place.told("lost.edn --check total-queue --json", 1)).unwrap();
    let part = &json["reports"][0]["parts"][0];
    assert_eq!((&part["figures"]["lost"][0], &part["anomalies"]["lost"]), (&"1".into(), &1.into()));

    let bank =
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"read\"}\n{\"process\":0,\"type\":\"ok\",\"f\":\"read\",\"value\":";
    place.file("bank.jsonl", format!("{bank}{{\"a\":-1,\"b\":4}}}}\n"));
    assert!(place.told("bank.jsonl --model bank", 1).contains("not a bank of one total"));
    place.told("bank.jsonl --model bank --negative-balances --total 3 --accounts a,b", 0);
    place.told("bank.jsonl --model bank --negative-balances --total -3", 1);
    place.told("bank.jsonl --model bank --negative-balances --accounts a", 1);
    place.file("odd.jsonl", format!("{bank}{{\"a\":\"x\"}}}}\n"));
    assert!(place.refused("odd.jsonl --model bank").starts_with("odd.jsonl:1: expected balances"));

    place.file("set.jsonl", "{\"process\":0,\"type\":\"invoke\",\"f\":\"remove\",\"value\":1}\n");
    let refused = place.refused("set.jsonl --check set-full");
    assert_eq!(refused, "set.jsonl:1: set-full is of add and read, and this is remove");
    assert!(
        place.told("set.jsonl --check all", 0).contains("left out of all: set-full, as set-full is of add and read")
    );
    place.file("fork.edn", "{:process 1, :type :invoke, :f :write, :value [[:w 0 1]]}");
    place.told("fork.edn --check long-fork", 3);
}

#[test]
fn weaker_properties_stay_within_the_memory() {
    let place = Place::new();
    place.generate("h.jsonl", "register --operations 20000 --keys 10");
    let at = |property: &str, budget: &str, status: i32| {
        place.told(&format!("h.jsonl --check {property} --budget {budget}"), status)
    };
    for property in ["sequential", "staleness"] {
        let told = at(property, "7MB", 3);
        assert!(
            told.contains("the limit of memory was reached: to judge 20000 operations on 10 keys takes about"),
            "{told}"
        );
        assert!(told.contains("hint: give it more"), "{told}");
        at(property, "40MB", 0);
    }
    for property in ["causal", "monotonic-reads", "phantom-writes"] {
        at(property, "7MB", 0);
    }
}

#[test]
fn no_output_destroys_the_history_or_another_output() {
    let place = Place::new();
    place.generate("h.jsonl", "register");
    let before = place.read("h.jsonl");
    for arguments in ["--html h.jsonl", "--certificate ./h.jsonl", "--export edn:h.jsonl", "--html x --export jsonl:x"]
    {
        let told = place.refused(&format!("h.jsonl {arguments}"));
        assert!(told.contains("would be written over"), "{told}");
    }
    assert_eq!(place.read("h.jsonl"), before);
    assert!(!place.path("x").exists());
    assert!(place.refused("h.jsonl --html missing/x.html").starts_with("missing/x.html: "));
}

/// Replaces durations measured by the machine's clock by 0.
fn without_times(mut told: Json) -> Json {
    for part in ["reading", "checking"] {
        assert!(told["seconds"][part].as_f64().unwrap() >= 0.0);
        told["seconds"][part] = Json::from(0);
    }
    told
}

#[test]
fn json_has_a_stable_shape() {
    let place = Place::new();
    fs::copy(sample(), place.path("stale-read.edn")).unwrap();
    let told: Json = serde_json::from_str(&place.told("stale-read.edn --json", 1)).unwrap();
    insta::assert_snapshot!("cli_json", serde_json::to_string_pretty(&without_times(told)).unwrap());
    place.generate("valid.jsonl", "register");
    let told: Json = serde_json::from_str(&place.told("valid.jsonl --check all --json", 0)).unwrap();
    assert_eq!(told["verdict"], "valid");
    assert_eq!(told["left_out"].as_array().unwrap().len(), 2, "nobody reads last: {told}");
    assert_eq!(told["reports"].as_array().unwrap().len(), 10);
    assert_eq!(told["staleness"]["k"][0]["at_most"], 1);
}

#[test]
fn all_properties_make_sense_for_every_workload() {
    let place = Place::new();
    for (name, _) in Workload::ALL {
        place.generate("h.jsonl", &format!("{name} --operations 300"));
        let text = place.told("h.jsonl --check all", 0);
        assert!(text.contains("\nVALID: ") && !text.contains("UNKNOWN"), "{name}: {text}");
    }
}

#[test]
fn a_page_needs_nothing_else() {
    let place = Place::new();
    fs::copy(sample(), place.path("h.edn")).unwrap();
    place.told("h.edn --html page.html", 1);
    let page = place.read("page.html");
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg") && page.contains("stale read"), "{page}");
    for outside in ["src=\"http", "href=\"http", "url(http", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn certificates_hold_for_their_history_alone() {
    let place = Place::new();
    place.generate("valid.jsonl", "cas-register --keys 3");
    place.generate("broken.jsonl", "cas-register --plant");
    place.generate("other.jsonl", "cas-register --keys 3 --seed 2");
    place.told("valid.jsonl --certificate valid.proof", 0);
    place.told("broken.jsonl --certificate broken.proof", 1);
    assert!(place.told("verify valid.jsonl valid.proof", 0).starts_with("verified: 3 parts valid, 0 not valid"));
    assert!(place.told("verify broken.jsonl broken.proof", 1).starts_with("verified: 0 parts valid, 1 not valid"));

    // Swap two distant operations of the order.
    let proof = place.read("valid.proof");
    let mut lines: Vec<String> = proof.lines().map(str::to_owned).collect();
    let mut claim: Json = serde_json::from_str(&lines[1]).unwrap();
    let order = claim["order"].as_array_mut().unwrap();
    let last = order.len() - 1;
    order.swap(0, last);
    lines[1] = claim.to_string();
    place.file("tampered.proof", lines.join("\n"));
    assert!(place.refused("verify valid.jsonl tampered.proof").starts_with("tampered.proof:2: "));

    // Change one value that was read.
    let history = place.read("valid.jsonl");
    let read = |line: &&str| line.contains("\"type\":\"ok\",\"f\":\"get\"") && line.contains("\"v\":");
    let seen = history.lines().filter(read).nth(5).unwrap();
    place.file("tampered.jsonl", history.replace(seen, &seen.replace("\"v\":", "\"v\":9")));
    assert!(place.refused("verify tampered.jsonl valid.proof").contains("does not prove it"));
    assert!(place.refused("verify other.jsonl valid.proof").contains("does not prove it"));
    assert!(place.refused("verify broken.jsonl valid.proof").contains("does not prove it"));

    // Remove the operation that breaks the core, so that the rest can be ordered.
    let proof = place.read("broken.proof");
    let mut lines: Vec<String> = proof.lines().map(str::to_owned).collect();
    let mut claim: Json = serde_json::from_str(&lines[1]).unwrap();
    claim["core"].as_array_mut().unwrap().pop().unwrap();
    lines[1] = claim.to_string();
    place.file("tampered.proof", lines.join("\n"));
    let status = place.run("verify broken.jsonl tampered.proof").status.code();
    assert!(matches!(status, Some(2 | 3)), "refuted, or given up: {status:?}");
}

#[test]
fn exports_are_read_back_with_the_same_verdict() {
    let place = Place::new();
    let mut broken = 0;
    for (name, _) in Workload::ALL {
        for (options, status) in [("", 0), ("--plant", 1), ("--info 20 --keys 2", 0), ("--values 3", 0)] {
            place.generate("h.jsonl", &format!("{name} --operations 400 {options}"));
            let text = place.told("h.jsonl --export edn:x.edn --export jsonl:x.jsonl", status);
            let model = |text: &str| text.lines().find(|line| line.starts_with("  model: ")).unwrap().to_owned();
            assert_eq!(model(&place.told("x.edn", status)), model(&text), "{name} {options}");
            assert_eq!(place.read("x.jsonl"), place.read("h.jsonl"), "{name} {options}");
            broken += status;
        }
    }
    assert_eq!(broken, 11);
}

#[test]
fn standard_input_and_compressed_files() {
    let place = Place::new();
    place.generate("h.jsonl", "register --plant");
    let text = place.read("h.jsonl");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(text.as_bytes()).unwrap();
    place.file("h.jsonl.gz", packed.finish().unwrap());
    place.file(
        "h.jsonl.zst",
        ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest),
    );
    let verdict = |text: &str| text.split_once("\nNOT VALID").unwrap().1.split_once("\nread in").unwrap().0.to_owned();
    let plain = place.told("h.jsonl", 1);
    for (name, how) in [("h.jsonl.gz", "jsonl, gzip,"), ("h.jsonl.zst", "jsonl, zstd,")] {
        let told = place.told(name, 1);
        assert!(told.contains(how), "{told}");
        assert_eq!(verdict(&told), verdict(&plain));
    }
    let mut child = place.command("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(verdict(&String::from_utf8(output.stdout).unwrap()), verdict(&plain));
}

#[test]
fn generated_histories_are_the_same_every_time() {
    let place = Place::new();
    for (name, _) in Workload::ALL {
        for format in ["jsonl", "edn"] {
            let arguments =
                |seed| format!("generate {name} --operations 200 --info 10 --format {format} --seed {seed}");
            let first = place.told(&arguments(7), 0);
            assert!(first.lines().count() >= 400, "{first}");
            assert_eq!(first, place.told(&arguments(7), 0));
            assert_ne!(first, place.told(&arguments(8), 0));
        }
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let place = Place::new();
    place.generate("h.jsonl", "register --plant");
    for (arguments, status) in [("generate register --operations 100000", 0), ("h.jsonl --check all", 1)] {
        let mut child = place.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments}");
        assert!(output.stderr.is_empty(), "{arguments}: nothing is shown where nobody is looking");
    }
}

/// A stale read of nothing. An export states what its nil means. Without that statement the meaning is unknown, and the
/// verdict says so.
#[test]
fn what_nil_says_is_stated_or_asked_for() {
    let place = Place::new();
    place.file(
        "h.jsonl",
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"key\":\"a\",\"value\":1}\n\
         {\"process\":0,\"type\":\"ok\"}\n\
         {\"process\":1,\"type\":\"invoke\",\"f\":\"read\",\"key\":\"a\"}\n\
         {\"process\":1,\"type\":\"ok\",\"value\":null}\n",
    );
    place.told("h.jsonl --export edn:h.edn", 1);
    let stated = place.told("h.edn", 1);
    assert!(stated.contains("note: the file states what its words mean"), "{stated}");
    assert!(stated.contains("a read of nil: nothing there\n"), "{stated}");
    // Files of other tools do not state it, and an export without its first line does not either.
    place.file("cut.edn", place.read("h.edn").split_once('\n').unwrap().1);
    let open = place.told("cut.edn", 3);
    assert!(open.contains("it hangs on what a read of nil says: not valid if that nothing was there"), "{open}");
    assert!(open.contains("hint: say what it says: --nil absent"), "{open}");
    place.told("cut.edn --nil absent", 1);
    place.told("cut.edn --nil unknown", 0);
    // The command line overrides the file.
    place.told("h.edn --nil unknown", 0);
    for (line, says) in [
        ("{:nil :absnt}", "the setting cannot be absnt"),
        ("{:nul :absent}", "no setting called nul"),
        ("{:nil", "expected a map of settings"),
    ] {
        place.file("wrong.edn", format!("; seaworthy-check {line}\n"));
        let told = place.refused("wrong.edn");
        assert!(told.starts_with("wrong.edn:1:") && told.contains(says), "{told}");
    }
    // A violation under both meanings is decided.
    let more = "{:process 0, :type :invoke, :f :read, :value [\"a\" nil]}\n\
                {:process 0, :type :ok, :f :read, :value [\"a\" 7]}\n";
    place.file("both.edn", place.read("cut.edn") + more);
    let both = place.told("both.edn", 1);
    assert!(both.contains("read 7") && !both.contains("missing"), "{both}");
}

#[test]
fn a_delete_that_finds_nothing_is_what_was_said() {
    let place = Place::new();
    let event = |f: &str, kind: &str, value: &str| {
        format!("{{\"process\":0,\"type\":\"{kind}\",\"f\":\"{f}\",\"key\":\"a\",\"value\":{value}}}\n")
    };
    let call = |f: &str, asked: &str, told: &str| event(f, "invoke", asked) + &event(f, "ok", told);
    let twice = call("write", "1", "1") + &call("delete", "null", "null") + &call("delete", "null", "null");
    place.file("twice.jsonl", &twice);
    let found = place.told("twice.jsonl", 1);
    assert!(
        found.contains("an ok delete: found the key\n") && found.contains("hint: an ok delete is taken"),
        "{found}"
    );
    let any = place.told("twice.jsonl --delete any", 0);
    assert!(any.contains("an ok delete: found the key or found nothing\n"), "{any}");
    place.told("twice.jsonl --format edn", 2);
    // Whatever the delete found, the key is missing afterwards.
    place.file("after.jsonl", twice + &call("read", "null", "1"));
    place.told("after.jsonl --delete any", 1);
    // EDN has no word for a delete that found nothing.
    let edn = "{:process 0, :type :invoke, :f :delete, :key :a}\n{:process 0, :type :ok, :f :delete, :key :a}\n";
    place.file("h.edn", edn);
    place.told("h.edn", 0);
    place.told("h.edn --delete found", 1);
    // A store that reports revisions tells with each operation whether it was a change.
    place.file(
        "counted.jsonl",
        call("write", "1", "1")
            + &call("delete", "null", "null")
            + &call("delete", "null", "null")
            + &call("write", "2", "2").replace("\"ok\"", "\"ok\",\"rev\":2"),
    );
    let counted = place.told("counted.jsonl --delete any", 1);
    assert!(
        counted.contains("note: ok deletes of keys with revisions: taken to have found the key (2, first on line 3)"),
        "{counted}"
    );
}

#[test]
fn an_ok_unlike_its_call_counts_as_was_said() {
    let place = Place::new();
    place.file(
        "cas.jsonl",
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"value\":3}\n\
         {\"process\":0,\"type\":\"ok\"}\n\
         {\"process\":0,\"type\":\"invoke\",\"f\":\"cas\",\"value\":[1,2]}\n\
         {\"process\":0,\"type\":\"ok\",\"f\":\"cas\",\"value\":[3,4]}\n\
         {\"process\":1,\"type\":\"invoke\",\"f\":\"read\"}\n\
         {\"process\":1,\"type\":\"ok\",\"f\":\"read\",\"value\":4}\n",
    );
    let call = place.told("cas.jsonl", 1);
    assert!(
        call.contains("note: oks that name other values than their calls: the calls count (1, first on line 4)"),
        "{call}"
    );
    assert!(call.contains("an ok unlike its call: the call counts\n"), "{call}");
    let ok = place.told("cas.jsonl --mismatch ok", 0);
    assert!(
        ok.contains("the oks count (1, first on line 4)") && ok.contains("an ok unlike its call: the ok counts\n"),
        "{ok}"
    );
    let error = place.refused("cas.jsonl --mismatch error");
    assert!(error.starts_with("cas.jsonl:4:44: another value than its call names on line 3"), "{error}");
}

#[test]
fn the_value_of_a_refusal_says_what_was_said() {
    let place = Place::new();
    let history = |found: &str| {
        format!(
            "{{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"value\":1}}\n{{\"process\":0,\"type\":\"ok\"}}\n\
             {{\"process\":0,\"type\":\"invoke\",\"f\":\"cas\",\"value\":[2,3]}}\n\
             {{\"process\":0,\"type\":\"refused\",\"f\":\"cas\",\"value\":{found}}}\n"
        )
    };
    place.file("found.jsonl", history("1"));
    assert!(place.told("found.jsonl", 0).contains("the value of a refusal: what was there\n"));
    place.file("other.jsonl", history("3"));
    place.told("other.jsonl", 1);
    assert!(place.told("other.jsonl --refused ignored", 0).contains("the value of a refusal: not looked at\n"));
    // Jepsen's clients repeat the request in a refusal.
    place.file("repeats.jsonl", history("[2,3]"));
    assert!(
        place
            .told("repeats.jsonl", 0)
            .contains("note: refusals that repeat what was asked: what was there is not known")
    );
}

/// A small compressed file that expands to more than the budget allows.
#[test]
fn a_history_that_does_not_fit_is_unknown() {
    let place = Place::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let one = "{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"value\":1}\n{\"process\":0,\"type\":\"ok\"}\n";
    let many = one.repeat(1_000);
    for _ in 0..400 {
        gzip.write_all(many.as_bytes()).unwrap();
    }
    place.file("bomb.gz", gzip.finish().unwrap());
    let output = place.run("bomb.gz --budget 20MB");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.starts_with("unknown: bomb.gz:") && told.contains("the history does not fit"), "{told}");
    assert!(told.contains("give it more, as --budget"), "{told}");
    let json: Json = serde_json::from_slice(&place.run("bomb.gz --budget 20MB --json").stdout).unwrap();
    assert_eq!(json["verdict"], "unknown");
    place.told("bomb.gz --budget 1GB", 0);
}

#[test]
fn evidence_need_not_be_looked_for() {
    let place = Place::new();
    place.generate("broken.jsonl", "cas-register --plant --keys 3");
    let looked = place.told("broken.jsonl", 1);
    assert!(looked.contains("✗") && looked.contains("The history is impossible from event"), "{looked}");
    let not = place.told("broken.jsonl --no-evidence", 1);
    assert!(!not.contains("✗") && not.contains("which of them clash is not known"), "{not}");
    let verdict = |text: &str| text.lines().find(|line| line.starts_with("NOT VALID")).map(str::to_owned);
    assert_eq!(verdict(&looked), verdict(&not));
    let json: Json = serde_json::from_slice(&place.run("broken.jsonl --no-evidence --json").stdout).unwrap();
    assert_eq!(json["verdict"], "not valid");
}

/// The page summarizes every violation in one sentence. On a phone it shows only the clashing operations.
#[test]
fn every_refutation_has_a_headline() {
    let place = Place::new();
    let mut sentences = std::collections::BTreeSet::new();
    for (name, _) in Workload::ALL {
        for seed in [1, 2] {
            place.generate("h.jsonl", &format!("{name} --plant --operations 120 --seed {seed}"));
            place.told("h.jsonl --check all --html h.html --budget 5s", 1);
            let page = place.read("h.html");
            for violation in page.split("<section class=\"violation\"").skip(1) {
                let (_, rest) = violation.split_once("<p class=\"headline\">").expect("a headline");
                let sentence = rest.split_once("</p>").expect("an end").0;
                assert!(sentence.ends_with('.') && sentence.len() > 20, "{name}: {sentence}");
                sentences.insert(sentence.to_owned());
                let narrow = violation.split_once("<div class=\"narrow\">").expect("for phones").1;
                let narrow = narrow.split_once("<div class=\"roomy\">").expect("for others").0;
                let ops = narrow.matches("<g class=\"op ").count();
                assert!(ops > 0 && ops == narrow.matches("<g class=\"op core").count(), "{name}");
            }
        }
    }
    assert!(sentences.len() > 10, "{sentences:?}");
}
