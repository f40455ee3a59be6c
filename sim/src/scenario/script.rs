//! `[[op]]`: an operation at an exact time by an exact client, for scenarios with a fixed sequence of events.

use crate::plan::{Call, Event, How, What, parse_call};
use crate::settings::{Cluster, Fields, Problem, Source, Times, Workload};
use seaworthy::types::NodeId;
use std::time::Duration;

/// Reads one `[[op]]`. `earlier` contains the ones before it.
pub(super) fn read(
    fields: &mut Fields<'_>,
    (cluster, workload, time): (&Cluster, &Workload, &Times),
    earlier: &[Event],
) -> Result<Event, Problem> {
    let at: Duration = fields.need("at")?;
    let client: u32 = fields.need("client")?;
    let text = fields.text("do")?;
    let (call, how) = parse_call(Source { file: "do", text: &text }).map_err(|p| fields.problem("do", p.what))?;
    if at + workload.timeout.high >= time.ends() {
        return Err(fields.problem("at", "too late for it to end before the run does"));
    }
    if !(1..=workload.clients).contains(&client) {
        let clients = workload.clients;
        return Err(fields.problem("client", format!("client {client} of {clients}; expected 1 to {clients}")));
    }
    if let How { via: Some(NodeId(n)), .. } = how
        && n > cluster.nodes
    {
        return Err(fields.problem("do", format!("n{n} in a cluster of {}", cluster.nodes)));
    }
    if let Some(word) = written(&call) {
        let drawn =
            word.strip_prefix('c').and_then(|w| w.split_once('-')).is_some_and(|(c, _)| c.parse::<u32>().is_ok());
        let twice =
            earlier.iter().any(|event| matches!(&event.what, What::Op { call, .. } if written(call) == Some(word)));
        if drawn || twice {
            return Err(fields.problem("do", format!("`{word}` is or may be written by another operation too")));
        }
    }
    Ok(Event { at, what: What::Op { client, call, how } })
}

fn written(call: &Call) -> Option<&str> {
    match call {
        Call::Put { value, .. } => Some(&value.word),
        Call::Get { .. } | Call::Delete { .. } | Call::Extend { .. } => None,
    }
}
