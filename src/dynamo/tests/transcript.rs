//! The text format of golden transcripts. Operation numbers and incarnations are left out.

use super::super::siblings::{Content, Siblings};
use super::*;
use std::collections::BTreeMap;

type Names = BTreeMap<Key, String>;

fn name(key: &Key, names: &Names) -> String {
    names.get(key).cloned().unwrap_or_else(|| String::from_utf8_lossy(key).into_owned())
}

fn value(value: Option<&Bytes>) -> String {
    value.map_or("†".to_owned(), |v| format!("{:?}", String::from_utf8_lossy(v)))
}

/// Formats siblings, for example `{n1:1} [n1:1 "Red"]`.
pub fn siblings(siblings: &Siblings) -> String {
    if siblings.is_empty() {
        return "nothing".to_owned();
    }
    let version = |v: &super::super::siblings::Version| match &v.content {
        Content::Value(v2) => format!("{} {}", v.dot, value(Some(v2))),
        Content::Tombstone => format!("{} †", v.dot),
        Content::Merge(state) => format!("{} {}", v.dot, state.render()),
    };
    let versions: Vec<String> = siblings.versions().iter().map(version).collect();
    format!("{} [{}]", siblings.clock(), versions.join(", "))
}

pub fn request(request: &ClientRequest, names: &Names) -> String {
    match request {
        ClientRequest::Get { key, r, .. } => {
            let r = r.map_or(String::new(), |r| format!(" r={r}"));
            format!("get {}{r}", name(key, names))
        }
        ClientRequest::Put { key, update, context, w, sloppy, read_back, .. } => {
            let what = match update {
                Update::Set(v) => value(Some(v)),
                Update::Delete => "†".to_owned(),
                Update::Merge(op) => format!("{op:?}"),
            };
            let w = w.map_or(String::new(), |w| format!(" w={w}"));
            let sloppy = sloppy.map_or("", |sloppy| if sloppy { " sloppy" } else { " strict" });
            let seen = match super::super::context::decode(key, context, Mutant::default()) {
                Ok(seen) if seen.clock.is_empty() => String::new(),
                Ok(seen) => format!(" seen {}", seen.clock),
                Err(why) => format!(" context: {why}"),
            };
            let back = if *read_back { " read-back" } else { "" };
            format!("put {} {what}{seen}{w}{sloppy}{back}", name(key, names))
        }
    }
}

fn achieved(achieved: Achieved) -> String {
    let hints = if achieved.hints > 0 { format!(" + {} hint(s)", achieved.hints) } else { String::new() };
    format!("{}{hints} of {} wanted", achieved.replicas, achieved.wanted)
}

pub fn reply(reply: &ClientReply) -> String {
    match reply {
        ClientReply::Value { siblings, achieved: who, .. } => {
            let list: Vec<String> = siblings.iter().map(|s| format!("{} {}", s.dot, value(s.value.as_ref()))).collect();
            format!("value [{}], {}", list.join(", "), achieved(*who))
        }
        ClientReply::Done { achieved: who } => format!("done, {}", achieved(*who)),
        ClientReply::Refused(why) => format!("refused: {why}"),
        ClientReply::UnknownWindow { .. } => "unknown window".to_owned(),
        ClientReply::Unfinished { achieved: who } => format!("unfinished, {}", achieved(*who)),
    }
}

pub fn message(message: &Message, names: &Names) -> String {
    let keys = |list: &Vec<(Key, version_vector::VersionVector)>| {
        let list: Vec<String> = list.iter().map(|(key, clock)| format!("{} {clock}", name(key, names))).collect();
        list.join(", ")
    };
    match message {
        Message::Put { key, siblings: what, owner, cause, epoch, .. } => {
            let owner = owner.map_or(String::new(), |owner| format!(" for {owner}"));
            let cause = match cause {
                Cause::Write(node) => format!("write by {node}"),
                Cause::Handoff(node) => format!("hand-off by {node}"),
                Cause::Repair(node) => format!("repair by {node}"),
            };
            format!("Put {}{owner} {} ({cause}, epoch {epoch})", name(key, names), siblings(what))
        }
        Message::PutReply { result, .. } => format!("PutReply {result:?}"),
        Message::Get { key, .. } => format!("Get {}", name(key, names)),
        Message::GetReply { siblings: what, epoch, .. } => format!("GetReply {} (epoch {epoch})", siblings(what)),
        Message::Forward { request: what, .. } => format!("Forward {}", request(what, names)),
        Message::ForwardReply { reply: what, .. } => format!("ForwardReply {}", reply(what)),
        Message::Epoch { at, want } => format!("Epoch at={at} want={want}"),
        Message::Ask(list) => format!("Ask {}", keys(list)),
        Message::Held(list) => format!("Held {}", keys(list)),
        Message::Forget(list) => format!("Forget {}", keys(list)),
        Message::Forgotten(list) => format!("Forgotten {}", keys(list)),
        Message::Rejoin { at, refill, .. } => {
            format!("Rejoin from epoch {at}{}", if *refill { ", to be refilled" } else { "" })
        }
        Message::Welcome { at, rejoins, refilled, .. } => {
            let told = [(*rejoins, ", rejoins too"), (*refilled, ", all is there")];
            format!("Welcome at {at}{}", told.iter().filter(|(is, _)| *is).map(|(_, text)| *text).collect::<String>())
        }
        Message::Compare { keys, .. } => {
            format!("Compare {}", keys.iter().map(|(key, _)| name(key, names)).collect::<Vec<_>>().join(", "))
        }
        Message::Differ { keys, .. } => {
            format!("Differ {}", keys.iter().map(|key| name(key, names)).collect::<Vec<_>>().join(", "))
        }
    }
}

pub fn effect(effect: &Effect, names: &Names) -> String {
    let key = |key| name(key, names);
    match effect {
        Effect::Reply { id, reply: what } => format!("→ c{id} {}", reply(what)),
        Effect::Note(note) => match note {
            Note::HintStored { owner, key: k } => format!("keeps a hint of {} for {owner}", key(k)),
            Note::HintHandedOver { owner, key: k } => format!("has handed {} over to {owner}", key(k)),
            Note::HintRefused { owner } => format!("has no room for a hint for {owner}"),
            Note::HintExpired { owner, key: k } => format!("drops the old hint of {} for {owner}", key(k)),
            Note::Repaired { node, key: k } => format!("repairs {} on {node}", key(k)),
            Note::Collected { key: k } => format!("forgets {}", key(k)),
            Note::Pruned { key: k, entries } => format!("prunes {entries} entries of {}", key(k)),
            Note::Full { key: k } => format!("refuses a write of {}: full", key(k)),
            Note::Behind { .. } => "refuses a write: its disk is behind".to_owned(),
            Note::Nonsense { from } => format!("ignores nonsense from {from}"),
            Note::Rejoins => "has lost what it held, and rejoins".to_owned(),
            Note::Rejoined => "is a full member again".to_owned(),
        },
    }
}
