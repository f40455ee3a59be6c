//! Detection of the model that fits a history.

use seaworthy_check::format::jsonl;
use seaworthy_check::model::Kind;
use seaworthy_check::model::detect::{Meant, detect};

/// A history in which each of these functions is called and answered `ok`.
fn of(calls: &[&str]) -> seaworthy_check::History {
    let mut text = String::new();
    for (i, call) in calls.iter().enumerate() {
        let (called, answer) = call.split_once(" -> ").unwrap_or((call, ""));
        let kind = if answer.starts_with("refused") { "refused" } else { "ok" };
        let answer = answer.trim_start_matches("refused").trim();
        let comma = if answer.is_empty() { "" } else { "," };
        text +=
            &format!("{{\"p\":{i},\"type\":\"invoke\",{called}}}\n{{\"p\":{i},\"type\":\"{kind}\"{comma}{answer}}}\n");
    }
    jsonl::read(text.as_bytes()).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

#[test]
fn every_model_is_found() {
    let (read, write) = (r#""f":"read" -> "v":1"#, r#""f":"write","v":1"#);
    let cases: &[(&[&str], &str)] = &[
        (&[read, write], "register"),
        (&[read], "register"),
        (&[read, write, r#""f":"cas","v":[1,2]"#], "cas-register"),
        (&[read, r#""f":"cas","v":[1,2] -> refused "v":3"#], "cas-register"),
        (&[write, r#""f":"delete""#], "kv"),
        (&[r#""f":"write","v":1,"if":{"exists":true}"#], "kv"),
        (&[r#""f":"write","v":1 -> "rev":7"#], "kv"),
        (&[r#""f":"write","v":1 -> refused"#], "kv"),
        (&[], "kv"),
        (&[r#""f":"append","v":"x""#, r#""f":"get" -> "v":"x""#], "append"),
        (&[r#""f":"add","v":1"#, read], "counter"),
        (&[r#""f":"dec""#], "counter"),
        (&[r#""f":"add","v":1"#, r#""f":"read" -> "v":[1]"#], "set"),
        (&[r#""f":"add","v":"x""#], "set"),
        (&[r#""f":"add","v":1"#, r#""f":"contains","v":1 -> "v":true"#], "set"),
        (&[r#""f":"remove","v":1"#], "set"),
        (&[r#""f":"enqueue","v":1"#], "queue"),
        (&[r#""f":"pop" -> "v":null"#], "queue"),
        (&[r#""f":"acquire" -> "v":4"#, r#""f":"unlock""#], "lock"),
        (&[r#""f":"next" -> "v":4"#, read], "sequence"),
        (&[r#""f":"txn","v":[["r",1],["append",1,2]] -> "v":[["r",1,[]],["append",1,2]]"#], "list-append"),
        (&[r#""f":"txn","v":[["r",1]] -> "v":[["r",1,[3]]]"#], "list-append"),
        (&[r#""f":"txn","v":[["r",1],["w",1,2]] -> "v":[["r",1,null],["w",1,2]]"#], "rw-register"),
        (&[r#""f":"txn","v":[["r",1]] -> "v":[["r",1,3]]"#], "rw-register"),
    ];
    for (calls, name) in cases {
        let found = detect(&of(calls));
        assert_eq!(found.model.map(Meant::name), Some(*name), "{calls:?}: {}", found.why);
        assert_eq!(Meant::named(name), found.model);
        if let Some(Meant::Objects(kind)) = found.model {
            assert_eq!(kind.accepts(&of(calls)), Ok(()));
        }
    }
    // No history shows whether a queue promises an order.
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::UnorderedQueue) {
        assert!(cases.iter().any(|(_, name)| *name == kind.name()), "{} is never found", kind.name());
    }
}

#[test]
fn what_belongs_to_no_model_is_told() {
    let cases: &[(&[&str], &str)] = &[
        (&[r#""f":"rotate""#], "no model has a function rotate"),
        (
            &[r#""f":"enqueue","v":1"#, r#""f":"write","v":1"#],
            "there is enqueue or dequeue, but the model queue has no function write",
        ),
        (
            &[r#""f":"txn","v":[["w",1,2]]"#, r#""f":"write","v":1"#],
            "transactions read and write, but a transaction cannot be checked with write",
        ),
        (
            &[r#""f":"txn","v":[["w",1,2],["append",1,2]]"#],
            "some transactions append and some write: Elle's models have either",
        ),
    ];
    for (calls, why) in cases {
        let found = detect(&of(calls));
        assert_eq!((found.model, found.why.as_str()), (None, *why));
    }
}
