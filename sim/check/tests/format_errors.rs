//! Errors of malformed input: each names its position and what was expected.

mod format_common;

use format_common::reading;
use seaworthy_check::format::{Error, Format, MAX_FORM_BYTES, ReadOptions, read};
use std::io::{BufReader, Read};

fn errors(cases: &[&str]) -> String {
    cases.iter().map(|case| format!("{case}\n    {}\n", reading(case).expect_err(case))).collect()
}

#[test]
fn of_json() {
    let call = r#"{"i":0,"t":1,"p":3,"type":"invoke","f":"put","k":"a","v":"x"}"#;
    let after = |line: &str| format!("{call}\n{line}");
    let told = errors(&[
        "{\"i\":0,",
        "{\"p\":0,\"type\":\"invoke\",\"f\":\"get\"}\n{\"p\":0,\"ty",
        "[{\"p\":0,\"type\":\"invoke\",\"f\":\"get\"}",
        "[] []",
        "{}",
        "{\"p\":0} 7",
        "{\"p\":0}",
        "{\"p\" 0}",
        "{\"p\":0 \"f\":1}",
        "{p:0}",
        "{\"p\":01}",
        "{\"p\":nul}",
        "{\"p\":-1,\"type\":\"ok\"}",
        "{\"p\":\"client\",\"type\":\"ok\"}",
        "{\"p\":1.5,\"type\":\"ok\"}",
        "{\"p\":1,\"p\":1,\"type\":\"ok\"}",
        "{\"p\":1,\"type\":\"ok\",\"v\":\"\\x\"}",
        "{\"p\":1,\"type\":\"ok\",\"v\":\"\\ud800\"}",
        "{\"p\":1,\"type\":\"ok\",\"v\":1e999}",
        "{\"p\":1,\"type\":\"ok\",\"v\":\"a\nb\"}",
        r#"{"i":0,"t":1,"p":3,"type":"invoke","f":"put","k":"a"}"#,
        r#"{"i":0,"t":1,"p":3,"type":"began","f":"get","k":"a"}"#,
        r#"{"i":1,"t":1,"p":3,"type":"invoke","f":"get","k":"a"}"#,
        r#"{"p":3,"type":"invoke","k":"a"}"#,
        r#"{"p":3,"type":"invoke","f":"cas","v":1}"#,
        r#"{"p":3,"type":"invoke","f":"cas","v":[1,2],"if":{"value":1}}"#,
        r#"{"p":3,"type":"invoke","f":"append"}"#,
        r#"{"p":3,"type":"invoke","f":"dec","v":"x"}"#,
        r#"{"p":3,"type":"invoke","f":"put","v":1,"rev":3}"#,
        r#"{"p":3,"type":"invoke","f":"put","v":1,"if":{"exist":true}}"#,
        r#"{"p":3,"type":"invoke","f":"put","v":1,"if":{"exists":1}}"#,
        r#"{"p":3,"type":"invoke","f":"txn","v":[["a",1,2]]}"#,
        r#"{"p":3,"type":"invoke","f":"txn","v":[["append",1]]}"#,
        r#"{"p":3,"type":"invoke","f":"txn"}"#,
        r#"{"i":0,"t":1,"p":3,"type":"ok","f":"get","k":"a","v":null}"#,
        r#"{"i":0,"t":1,"p":3,"type":"invoke","f":"get","k":"a","if":{"exists":true}}"#,
        &after(call),
        &after(r#"{"i":1,"t":1,"p":3,"type":"invoke","f":"get","k":"a"}"#),
        &after(r#"{"i":1,"t":1,"p":3,"type":"ok","f":"get","k":"a","v":null}"#),
        &after(r#"{"i":1,"t":1,"p":3,"type":"ok","f":"put","k":"b"}"#),
        &after(r#"{"i":1,"t":1,"p":3,"type":"ok","f":"put","if":{}}"#),
        &after("\n{\"i\":1,\"t\":1,\"p\":3,\"type\":\"fail\",\"f\":\"put\",\"k\":\"a\",\"rev\":1}"),
        &after(r#"{"i":1,"t":1,"p":3,"type":"refused","f":"put","k":"a","v":null,"rev":3}"#),
        &after(r#"{"i":1,"t":1,"p":3,"type":"ok","f":"put","k":"a","rev":-3}"#),
        &after(r#"{"initial":7}"#),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn of_edn() {
    let read = "{:process 1 :type :invoke :f :read :value nil}\n";
    let after = |line: &str| format!("{read}{line}");
    let told = errors(&[
        "[{:process 1",
        "[{:process 1 :type :invoke :f :read}\n\n",
        "({:process 1 :type :invoke :f :read}]",
        "[{:process 1 :type :invoke :f :read}] {:process 2}",
        "{:process 1 :type}",
        "{:process [1 2}}",
        "[[{:process 1}]]",
        "[:a]",
        "{:process -1 :type :invoke :f :read}",
        "{:process \"a\" :type :ok}",
        "{:process 1 :type :oh}",
        "{:process 1 :f :read}",
        "{:process 1 :type :invoke :value 3}",
        "{:process 1 :process 2}",
        "{:process 1x}",
        "{:process 1 :error \"a",
        "{:process 1 :error \"\\q\"}",
        "{:process 1 :error #<never\n}",
        "{:process 1 :error : }",
        "{:process 1 :error # }",
        "{:process 1 #_}",
        &after("{:process 1 :type :invoke :f :read :value nil}"),
        &after("{:process 2 :type :ok :f :read :value nil}"),
        &after("{:process 1 :type :ok :f :write :value nil}"),
        &after("{:process 1 :type :ok :f :cas :value [1 2]}"),
        "{:process 1 :type :invoke :f :cas :value 3}",
        "{:process 1 :type :invoke :f :write :value [1 2]}\n{:process 1 :type :ok :f :write :value 2}",
        "{:process 1 :type :invoke :f :write :key 5 :value 2}\n{:process 1 :type :ok :f :write :key 6 :value 2}",
        "{:process 1 :type :invoke :f :txn :value [[:r 1] 7]}",
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn of_lines() {
    let told = errors(&[
        "0 i w 0 1 0\n0 i w 0 1 0",
        "0 i w 0 1 0\n0 o r 0 1 0",
        "0 i w 0 1 0\n0 o w 1 1 0",
        "0 i w 0 1 0\n0 o w 0",
        "0 i w 0 1 0\n1 o w 0 1 0",
        "0 i w 0 1 0\n1 x w 0 1 0",
        "0 i w 0 1 0\n1 i q 0 1 0",
        "0 i w 0 1 0\n1 i w 0 one 0",
        "0 i w 0 1 0\n-1 i w 0 1 0",
        "INFO jepsen.util - 0 :invoke :read nil\nINFO jepsen.util - 0 :invoke :read nil",
        "INFO jepsen.util - 0 :invoke :read nil\nINFO jepsen.util - 1 :ok :read nil",
        "INFO jepsen.util - 0 :invoke :cas [1",
        "INFO jepsen.util - 0 :invoke :cas 1]",
        "INFO jepsen.util - 0 :invoke :write ]",
        "INFO jepsen.util - 0 :invoke :write",
        "once upon a time",
        "7",
        "\"text\"",
        "\u{0}\u{1}",
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn of_bytes_that_are_no_text() {
    let error = |bytes: &[u8]| read(bytes, &ReadOptions::default()).expect_err("no text").to_string();
    assert_eq!(error(b"{\"p\":1}"), "line 1, column 1: expected \"type\": invoke, ok, fail or info");
    assert_eq!(error(b"{\"i\xff"), "line 1, column 4: not UTF-8 text");
    assert_eq!(error(b"{:process 1 :type :invoke :f :read}\n{\xc3"), "line 2, column 2: not UTF-8 text");
    assert!(error(&[0x1f, 0x8b, 1, 2, 3]).starts_with("cannot read: "));
    assert!(error(&[0x28, 0xb5, 0x2f, 0xfd, 1, 2]).starts_with("cannot read: "));
}

#[test]
fn of_forms_without_end() {
    let endless = |start: &str, again: &str| {
        let text = start.to_owned() + &again.repeat(2 * MAX_FORM_BYTES / again.len());
        reading(&text).expect_err("too long").to_string()
    };
    let limit = "line 1, column 1: longer than 16 MiB, the limit of one line or form";
    assert_eq!(endless("{\"p\":\"", "abcd"), limit);
    assert_eq!(endless("{:process [", "1 2 {} "), limit);
    assert_eq!(endless("0 :invoke :write 1 ", "    "), limit);
    let deep = "[".repeat(1_000_000);
    assert_eq!(
        reading(&format!("{{:value {deep}")).expect_err("too deep").to_string(),
        "line 1, column 73: nested deeper than 64"
    );
    assert_eq!(
        reading(&format!("{{\"value\":{deep}")).expect_err("too deep").to_string(),
        "line 1, column 73: nested deeper than 64"
    );
    let tags = "#a ".repeat(1_000_000);
    assert!(reading(&format!("{{:value {tags}")).expect_err("too deep").to_string().ends_with("deeper than 64"));
    let discards = "#_ ".repeat(1_000_000);
    assert!(reading(&format!("{{:value {discards}")).expect_err("too deep").to_string().ends_with("deeper than 64"));
}

#[test]
fn of_reading() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    for format in Format::ALL {
        let options = ReadOptions { format: Some(format), ..ReadOptions::default() };
        let error = read(BufReader::new(Broken), &options).expect_err("gone");
        assert!(matches!(error, Error::Io(_)));
        assert_eq!(error.to_string(), "cannot read: the disk is gone");
    }
}
