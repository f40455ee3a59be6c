//! A golden transcript: one reply line per input line.
//!
//! `[@ms] [s<session>.<number>] set KEY VALUE | get KEY | del KEY | extend KEY MS | open | expire`. A write may be
//! followed by any of `nx`, `xx`, `cmp=VALUE`, `cmprev=N`, `ttl=MS`. An empty value is written as `""`.

use super::*;
use std::fmt::Write as _;

fn text(word: &str) -> Bytes {
    Bytes::copy_from_slice(if word == "\"\"" { b"" } else { word.as_bytes() })
}

fn show(held: Option<&Versioned>, epoch: u64) -> String {
    held.map_or("nothing".to_owned(), |h| {
        let expires = h.expires.map_or(String::new(), |at| format!(", expires @{}", at.0 / MS - epoch));
        format!("{:?} r{}{expires}", String::from_utf8_lossy(&h.value), h.revision)
    })
}

fn answer(kv: &mut Kv, line: &str, clock: &mut u64) -> String {
    let mut words = line.split_whitespace().peekable();
    if let Some(ms) = words.next_if(|w| w.starts_with('@')) {
        *clock = ms[1..].parse().unwrap();
    }
    let session = words.next_if(|w| w.starts_with('s') && w.contains('.')).map(|w| {
        let (id, number) = w[1..].split_once('.').unwrap();
        (id.parse().unwrap(), number.parse().unwrap())
    });
    let verb = words.next().unwrap();
    let mut arguments = |n: usize| words.by_ref().take(n).map(text).collect::<Vec<_>>();
    let arguments = arguments(match verb {
        "open" | "expire" => 0,
        "set" | "extend" => 2,
        _ => 1,
    });
    let (mut when, mut ttl_ms) = (Condition::ALWAYS, None);
    for word in words {
        match word.split_once('=') {
            None => when.exists = Some(word == "xx"),
            Some(("cmp", value)) => when.value = Some(text(value)),
            Some(("cmprev", n)) => when.revision = Some(n.parse().unwrap()),
            Some((_, ms)) => ttl_ms = Some(ms.parse().unwrap()),
        }
    }
    let op = match (verb, &arguments[..]) {
        ("get", [key]) => return show(kv.get(key).as_ref(), 0),
        ("set", [key, value]) => Op::Write(Write::Put { key: key.clone().into(), value: value.clone(), when, ttl_ms }),
        ("del", [key]) => Op::Write(Write::Delete { key: key.clone().into(), when }),
        ("extend", [key, ms]) => {
            Op::Write(Write::Extend { key: key.clone().into(), ttl_ms: String::from_utf8_lossy(ms).parse().unwrap() })
        }
        ("open", []) => Op::OpenSession,
        ("expire", []) => Op::Expire,
        _ => panic!("{line}"),
    };
    match run(kv, *clock, session, op) {
        Reply::Done { revision, .. } => format!("done r{revision}"),
        Reply::Refused(held) => format!("refused, holds {}", show(held.as_ref(), 0)),
        other => format!("{other:?}").to_lowercase(),
    }
}

#[test]
fn conversation() {
    let (mut kv, mut clock) = (kv(), 0);
    let mut out = String::new();
    for line in SCRIPT.lines().map(str::trim) {
        match line.is_empty() || line.starts_with('#') {
            true => writeln!(out, "{line}").unwrap(),
            false => writeln!(out, "{line:<44} → {}", answer(&mut kv, line, &mut clock)).unwrap(),
        }
    }
    insta::assert_snapshot!(out);
}

const SCRIPT: &str = "\
# Revisions count modifications; a delete that removes takes one.
set k one
get k
set k two
del k
get k
del k
set k three

# Flags: nx, xx, cmp, cmprev, and all together.
set k x nx
set new x xx
set new x nx
set k four cmp=two
set k four cmp=three
set k five cmprev=3
set k five cmprev=4
set k six xx cmp=five cmprev=5
set k seven xx cmp=five cmprev=6
del k cmp=five
del k cmp=six cmprev=6

# A deleted or missing key matches only cmprev=-1, no old number and no empty value.
set k x cmprev=7
set k x cmp=\"\"
set missing x cmp=\"\"
set missing x cmprev=0
set k back cmprev=-1
set k x cmprev=-1
set e \"\"
set e full cmp=\"\"

# Expiry: extend keeps the revision, set without ttl clears it, passing the deadline takes a revision.
@1000 set t v ttl=500
@1400 extend t 300
get t
@1700 expire
get t
extend t 5
@1701 set t w ttl=10
@1705 set t stay
@9000 expire
get t
@9000 set gone x ttl=100
@9101 set gone y nx

# Stamps never run back, so a slow clock cannot un-expire or expire late.
@9200 set s v ttl=100
@3000 set s w xx ttl=100
@9400 get s
expire
get s

# Sessions: a repeat gets the first answer, an older number is stale, a stranger is refused.
open
s42.1 set q a
s37.1 set q a
s37.1 set q a
s37.2 del q
s37.1 set q a
s37.2 del q
get q
";
