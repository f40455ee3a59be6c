//! The commands on keys of AP buckets.

use super::connect::{Target, TcpClient, block_on, client};
use super::output::{
    Exit, Failure, Paint, bytes, bytes_json, date, from_hex, millis, ms, paint, print_rows, say, show, to_hex,
};
use crate::client::{ApWrite, ClientError, Found, Wrote};
use crate::dynamo::crdt::{self, FieldOp};
use crate::dynamo::siblings::{Content, Version, WriteId};
use crate::dynamo::{Achieved, Cause, Holding, Sibling, Update};
use crate::kv::{Condition, Write};
use crate::types::{Bytes, Key, Level, MergeKind, NodeId};
use clap::Args;
use serde_json::{Value, json};
use std::io::{Write as _, stdout};
use std::time::{Duration, Instant};

/// How a key of an AP bucket is read.
#[derive(Args, Clone)]
pub(super) struct Reading {
    /// AP buckets: how many replicas to ask: one, quorum, all, local-quorum or a number [default: the bucket's]
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    r: Option<Level>,
}

/// How a key of an AP bucket is written.
#[derive(Args, Clone)]
pub(super) struct Writing {
    /// AP buckets: what the last read of this key gave: the versions it showed are superseded by this write
    #[arg(long, value_name = "TOKEN", value_parser = context)]
    context: Option<Bytes>,
    /// AP buckets: how many must hold the write: one, quorum, all, local-quorum or a number [default: the bucket's]
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    w: Option<Level>,
    /// AP buckets: stand-ins count for replicas that cannot be reached [default: as the bucket says]
    #[arg(long, conflicts_with = "strict")]
    sloppy: bool,
    /// AP buckets: only replicas count
    #[arg(long)]
    strict: bool,
    /// AP buckets: print the versions there are then, and the context for the next write
    #[arg(long)]
    read_back: bool,
}

fn level(text: &str) -> Result<Level, String> {
    Level::parse(text).ok_or_else(|| "expected one, quorum, all, local-quorum or a number from 1 to 7".to_owned())
}

fn context(text: &str) -> Result<Bytes, String> {
    from_hex(text).map(Bytes::from)
}

impl Reading {
    /// Whether any option is given that applies only to keys of AP buckets.
    pub fn is_given(&self) -> bool {
        self.r.is_some()
    }
}

impl Writing {
    /// Whether any option is given that applies only to keys of AP buckets.
    pub fn is_given(&self) -> bool {
        self.context.is_some() || self.w.is_some() || self.sloppy || self.strict || self.read_back
    }

    fn how(&self) -> ApWrite {
        let sloppy = (self.sloppy || self.strict).then_some(self.sloppy);
        ApWrite { w: self.w, sloppy, read_back: self.read_back }
    }
}

pub(super) async fn get(
    client: &mut TcpClient,
    key: Key,
    how: &Reading,
    raw: bool,
    hex: bool,
    json: bool,
) -> Result<Exit, Failure> {
    let begun = Instant::now();
    let found = client.ap_get(key, how.r).await?;
    let took = begun.elapsed();
    let exit = if found.siblings.is_empty() { Exit::Failed } else { Exit::Done };
    match (raw, found.siblings.as_slice()) {
        (false, _) if json => say(&found_json(&found, took).to_string()),
        (false, _) => print_found(&found, hex, took),
        (true, [Sibling { value: Some(value), .. }]) => {
            let written = stdout().write_all(value).and_then(|()| stdout().flush());
            written.map_err(|e| Failure::new(Exit::Failed, format!("standard output: {e}")))?;
        }
        (true, []) => return Err(Failure::new(Exit::Failed, "no such key")),
        (true, several) => {
            let message = format!("the key has {} concurrent versions; read them without --raw", several.len());
            return Err(Failure::new(Exit::Failed, message));
        }
    }
    Ok(exit)
}

/// Performs a write and reports it as `done`.
pub(super) async fn write(
    client: &mut TcpClient,
    key: Key,
    update: Update,
    how: &Writing,
    done: &str,
    (hex, json): (bool, bool),
) -> Result<Exit, Failure> {
    let begun = Instant::now();
    let context = match &how.context {
        Some(context) => context.clone(),
        // A delete without a context would supersede nothing.
        None if update == Update::Delete => client.ap_get(key.clone(), None).await?.context,
        None => Bytes::new(),
    };
    let Wrote { achieved, found, .. } = client.ap_put(key, update, context, how.how()).await?;
    let took = begun.elapsed();
    match found {
        Some(found) if json => {
            let mut object = found_json(&found, took);
            object["done"] = json!(done);
            say(&object.to_string());
        }
        Some(found) => {
            say(&format!("{done}:"));
            print_found(&found, hex, took);
        }
        None if json => {
            say(&json!({ "done": done, "achieved": achieved_json(achieved), "ms": ms(took) }).to_string());
        }
        None => say(&format!("{done}, {} {}", extent(achieved), paint(Paint::Dim, &millis(took), &stdout()))),
    }
    Ok(Exit::Done)
}

/// The changes that a mergeable value supports.
const CHANGES: &str = "add N, assign VALUE, insert ELEMENT, remove ELEMENT, field NAME TYPE followed by one of these, \
                       or remove-field NAME";

/// Parses a change of a mergeable value.
fn change(words: &[&str], hex: bool) -> Result<crdt::Op, Failure> {
    Ok(match words {
        ["field", name, kind, change @ ..] => {
            let known = MergeKind::ALL.iter().find(|(word, k)| word == kind && *k != MergeKind::Map);
            let Some((_, kind)) = known else {
                let types = "counter, pn-counter, register or set";
                return Err(Failure::bad_input(format!("expected a field's type, {types}, found {kind:?}")));
            };
            crdt::Op::Field { name: (*name).to_owned(), kind: *kind, op: field_change(change, hex)? }
        }
        ["remove-field", name] => crdt::Op::RemoveField { name: (*name).to_owned() },
        _ => field_change(words, hex)?.into(),
    })
}

/// Parses a change of a value that is not a map, or of a field of a map.
fn field_change(words: &[&str], hex: bool) -> Result<FieldOp, Failure> {
    Ok(match words {
        ["add", amount] => FieldOp::Add(
            amount
                .parse()
                .map_err(|_| Failure::bad_input(format!("expected a whole number to add, found {amount:?}")))?,
        ),
        ["assign", value] => FieldOp::Assign(bytes("value", value, hex)?),
        ["insert", element] => FieldOp::Insert(bytes("element", element, hex)?),
        ["remove", element] => FieldOp::Remove(bytes("element", element, hex)?),
        _ => return Err(Failure::bad_input(format!("expected {CHANGES}; found {:?}", words.join(" ")))),
    })
}

pub(super) fn update(key: &str, words: &[String], how: &Writing, target: &Target, json: bool) -> Result<Exit, Failure> {
    let key = checked_key(key, target)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let op = change(&words, target.hex)?;
    block_on(async {
        let mut client = target.connect().await?;
        write(&mut client, key, Update::Merge(op), how, "updated", (target.hex, json)).await
    })
}

pub(super) fn checked_key(text: &str, target: &Target) -> Result<Key, Failure> {
    let key = Key::from(bytes("key", text, target.hex)?);
    let limits = Write::Delete { key: key.clone(), when: Condition::default() }.check_limits();
    limits.map_err(Failure::bad_input)?;
    Ok(key)
}

fn plural(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// Describes which nodes hold the write: `strict 2 of 2`, or `sloppy: 1 replica, 1 hint`.
fn extent(achieved: Achieved) -> String {
    let Achieved { wanted, replicas, hints } = achieved;
    if achieved.is_strict() {
        return format!("strict {replicas} of {wanted}");
    }
    format!("sloppy: {}, {}", plural(replicas.into(), "replica"), plural(hints.into(), "hint"))
}

fn achieved_json(achieved: Achieved) -> Value {
    let Achieved { wanted, replicas, hints } = achieved;
    json!({ "wanted": wanted, "replicas": replicas, "hints": hints, "strict": achieved.is_strict() })
}

/// Formats a client's write id, shortened for display.
fn writer(write: WriteId) -> String {
    format!("{:016x}.{}", write.client, write.number)
}

fn print_found(found: &Found, hex: bool, took: Duration) {
    let cells = |s: &Sibling| {
        let value = s.value.as_ref().map_or("(deleted)".to_owned(), |value| show(value, hex));
        vec![value, s.dot.to_string(), date(s.stamp.0), format!("by {}", writer(s.write))]
    };
    print_rows(&found.siblings.iter().map(cells).collect::<Vec<_>>(), |_| None);
    let count = match found.siblings.len() {
        0 => "no such key".to_owned(),
        count => plural(count, "version"),
    };
    let context = if found.context.is_empty() { "none".to_owned() } else { to_hex(&found.context) };
    let time = paint(Paint::Dim, &millis(took), &stdout());
    say(&format!("{count}, {}, context {context} {time}", extent(found.achieved)));
}

fn found_json(found: &Found, took: Duration) -> Value {
    let version = |s: &Sibling| {
        let mut object = json!({ "deleted": s.value.is_none(), "dot": s.dot.to_string(), "stamp": s.stamp.0 });
        object["write"] = json!(writer(s.write));
        if let Some(value) = &s.value {
            bytes_json(&mut object, value);
        }
        object
    };
    json!({
        "found": !found.siblings.is_empty(),
        "versions": found.siblings.iter().map(version).collect::<Vec<_>>(),
        "context": to_hex(&found.context),
        "achieved": achieved_json(found.achieved),
        "ms": ms(took),
    })
}

/// One server's answer about a key; the holdings are `None` if the server did not answer.
type Answer = (Option<NodeId>, String, Option<Vec<Holding>>);

/// Shows what every server holds of a key, and what brought it there.
pub(super) fn why(key: &str, target: &Target, json: bool) -> Result<Exit, Failure> {
    let key = checked_key(key, target)?;
    block_on(async {
        let (servers, silent) = target.servers().await?;
        let asked: Vec<_> = servers
            .nodes
            .iter()
            .map(|(node, address)| {
                let (node, address, key) = (*node, address.clone(), key.clone());
                let mut client = client(&servers, target.patience());
                tokio::spawn(async move { (Some(node), address, client.why(node, key).await) })
            })
            .collect();
        let mut answers: Vec<Answer> = Vec::new();
        for answer in asked {
            let Ok((node, address, answer)) = answer.await else { continue };
            match answer {
                Ok(holdings) => answers.push((node, address, Some(holdings))),
                Err(ClientError::NotDone(_)) => answers.push((node, address, None)),
                Err(error) => return Err(error.into()),
            }
        }
        answers.extend(silent.into_iter().map(|address| (None, address, None)));
        if json {
            say(&json!({ "nodes": answers.iter().map(answer_json).collect::<Vec<_>>() }).to_string());
        } else {
            answers.iter().for_each(|answer| print_answer(answer, target.hex));
        }
        let held = |(_, _, holdings): &Answer| holdings.iter().flatten().any(|h| !h.versions.is_empty());
        Ok(if answers.iter().any(held) { Exit::Done } else { Exit::Failed })
    })
}

/// Describes the node's role for the key.
fn role(holding: &Holding) -> String {
    match (holding.owner, holding.place) {
        (Some(owner), _) => format!("stand-in for {owner}"),
        (None, Some(place)) => format!("replica {}", place + 1),
        (None, None) => "no replica".to_owned(),
    }
}

fn print_answer((node, address, holdings): &Answer, hex: bool) {
    let name = node.map_or(address.clone(), |node| node.to_string());
    let strong = |text: &str| paint(Paint::Strong, text, &stdout());
    let Some(holdings) = holdings else {
        return say(&format!("{}  {}", strong(&name), paint(Paint::Bad, "unreachable", &stdout())));
    };
    if holdings.is_empty() {
        say(&format!("{}  holds nothing", strong(&name)));
    }
    for holding in holdings {
        say(&format!("{}  {}, knows {}", strong(&name), role(holding), holding.clock));
        let rows: Vec<Vec<String>> = holding.versions.iter().map(|version| cells(holding, version, hex)).collect();
        print_rows(&rows, |_| None);
    }
}

fn cells(holding: &Holding, version: &Version, hex: bool) -> Vec<String> {
    let value = match &version.content {
        Content::Value(value) => show(value, hex),
        Content::Tombstone => "(deleted)".to_owned(),
        Content::Merge(state) => state.render().to_string(),
    };
    let arrival = holding.arrivals.iter().rfind(|arrival| arrival.dot == version.dot);
    let how = arrival.map_or("no longer known how".to_owned(), |a| format!("{}, {}", cause(a.cause), date(a.at.0)));
    let by = format!("by {} at {}", writer(version.write), date(version.stamp.0));
    vec!["   ".to_owned(), version.dot.to_string(), value, by, how]
}

/// Describes how a version reached a node.
fn cause(cause: Cause) -> String {
    match cause {
        Cause::Write(node) => format!("write via {node}"),
        Cause::Handoff(node) => format!("hint held by {node}"),
        Cause::Repair(node) => format!("repair by {node}"),
    }
}

fn answer_json((node, address, holdings): &Answer) -> Value {
    let name = node.map(|node| node.to_string());
    let holdings = holdings.as_ref().map(|list| list.iter().map(holding_json).collect::<Vec<_>>());
    json!({ "node": name, "address": address, "reachable": holdings.is_some(), "holds": holdings })
}

fn holding_json(holding: &Holding) -> Value {
    let versions = holding.versions.iter().map(|version| {
        let mut object = json!({ "dot": version.dot.to_string(), "stamp": version.stamp.0 });
        object["incarnation"] = json!(format!("{:016x}", version.dot.actor.incarnation));
        object["write"] = json!(writer(version.write));
        object["deleted"] = json!(version.content == Content::Tombstone);
        match &version.content {
            Content::Value(value) => bytes_json(&mut object, value),
            Content::Tombstone => {}
            Content::Merge(state) => object["value"] = state.render(),
        }
        let arrivals = holding.arrivals.iter().filter(|arrival| arrival.dot == version.dot);
        let arrivals = arrivals.map(|a| json!({ "by": cause(a.cause), "at": a.at.0 }));
        object["arrivals"] = arrivals.collect();
        object
    });
    json!({
        "role": role(holding), "place": holding.place, "owner": holding.owner.map(|node| node.to_string()),
        "clock": holding.clock.to_string(), "versions": versions.collect::<Vec<_>>(),
    })
}
