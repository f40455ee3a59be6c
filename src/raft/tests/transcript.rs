//! Text forms of messages, records and effects for golden transcripts.

use super::*;
use std::fmt::Write;

fn point(meta: SnapshotMeta) -> String {
    format!("{}@{}", meta.index, meta.term)
}

fn entry(index: Index, entry: &Entry) -> String {
    match std::str::from_utf8(&entry.command).unwrap() {
        "" => format!("{index}@{} no-op", entry.term),
        text => format!("{index}@{} {text:?}", entry.term),
    }
}

pub fn entries(first: Index, list: &[Entry]) -> String {
    let list: Vec<String> = list.iter().enumerate().map(|(i, e)| entry(first + i as u64, e)).collect();
    format!("[{}]", list.join(", "))
}

pub fn body(body: &Body) -> String {
    match body {
        Body::Vote { pre, last_index, last_term, transfer } => {
            let name = if *pre { "PreVote" } else { "Vote" };
            let word = if *transfer { " transfer" } else { "" };
            format!("{name} last={last_index}@{last_term}{word}")
        }
        Body::VoteReply { pre, granted } => {
            let name = if *pre { "PreVoteReply" } else { "VoteReply" };
            format!("{name} {}", if *granted { "granted" } else { "refused" })
        }
        Body::Append { prev_index, prev_term, entries: list, commit, round } => {
            let list = entries(prev_index + 1, list);
            format!("Append prev={prev_index}@{prev_term} {list} commit={commit} round={round}")
        }
        Body::AppendReply { result: AppendResult::Matched(index), round } => {
            format!("AppendReply matched={index} round={round}")
        }
        Body::AppendReply { result: AppendResult::Conflict { rejected, hint, hint_term }, round } => {
            format!("AppendReply conflict={rejected} hint={hint}@{hint_term} round={round}")
        }
        Body::Snapshot { meta, offset, data, last, round } => {
            let end = if *last { " last" } else { "" };
            format!("Snapshot {} bytes={offset}..{}{end} round={round}", point(*meta), offset + data.len() as u64)
        }
        Body::SnapshotReply { meta, installed: true, round, .. } => {
            format!("SnapshotReply {} installed round={round}", point(*meta))
        }
        Body::SnapshotReply { meta, next, round, .. } => {
            format!("SnapshotReply {} next={next} round={round}", point(*meta))
        }
        Body::TimeoutNow => "TimeoutNow".to_string(),
        Body::Digest { index, digest } => format!("Digest index={index} {digest:x}"),
        Body::Quiesce { last, round } => format!("Quiesce last={last} round={round}"),
    }
}

pub fn record(record: &Record) -> String {
    match record {
        Record::HardState { term, vote: Some(vote) } => format!("term={term} vote={vote}"),
        Record::HardState { term, vote: None } => format!("term={term} vote=none"),
        Record::Append { first, entries: list } => entries(*first, list),
        Record::Snapshot(meta) => format!("snapshot {}", point(*meta)),
    }
}

/// Returns the text of an effect, or `None` for requests to the node's disk.
pub fn effect(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Accepted { index, term, .. } => format!("accepts {index}@{term}"),
        Effect::Refused { id, why } => format!("refuses request {id}: {why:?}"),
        Effect::TransferStarted { .. } => "starts a transfer".to_string(),
        Effect::ReadAt { id, index } => format!("answers read {id} at index {index}"),
        Effect::Commit { first, entries: list } => format!("commits {}", entries(*first, list)),
        Effect::Restore { meta } => format!("restores snapshot {}", point(*meta)),
        Effect::Became(SoftState { role, leader, .. }) => match (role, leader) {
            (Role::Follower, Some(leader)) => format!("follows {leader}"),
            (Role::Follower, None) => "has no leader".to_string(),
            _ => format!("is {role:?}"),
        },
        Effect::NotCompacted { meta } => format!("does not compact to {}", point(*meta)),
        Effect::Contradicted { from, index, committed, sent } => {
            format!("stops: {from} has {index}@{sent}, committed is {index}@{committed}")
        }
        Effect::LoadChunk { .. } | Effect::SaveChunk { .. } => return None,
    })
}

/// Returns a node's log on one line.
pub fn log(raft: &Raft) -> String {
    let status = raft.status();
    let mut line = format!("{} term={} commit={} log:", raft.config().id, status.soft.term, status.commit);
    if status.snapshot.index > 0 {
        write!(line, " (snapshot {})", point(status.snapshot)).unwrap();
    }
    for (i, e) in raft.entries(0).enumerate() {
        write!(line, " {}", entry(status.first + i as u64, e)).unwrap();
    }
    line
}
