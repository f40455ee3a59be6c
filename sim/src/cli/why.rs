//! `run --why KEY`: the timeline of a key, what each server holds of it at the end, and which write, hint or repair
//! caused that.

use super::Failure;
use crate::plan::Plan;
use crate::report::Mode;
use crate::run::{self, Finished};
use seaworthy::dynamo::siblings::{Content, Version};
use seaworthy::dynamo::{Arrival, Cause, Holding};
use seaworthy::types::{Key, Wall};

/// Prints the timeline of `key`.
pub(super) fn say(plan: &Plan, finished: &Finished, key: &str, json: bool) -> Result<(), Failure> {
    let layout = run::layout(plan, Mode::Ap);
    let name = Key::from(key);
    let n = plan.bucket.n as usize;
    let holdings: Vec<Holding> =
        finished.replicas.iter().flat_map(|(node, replica)| replica.holdings(*node, &name, n, &layout)).collect();
    if json {
        say!("{}", super::run::json(&holdings)?);
        return Ok(());
    }
    let order: Vec<String> = layout.order(&name).iter().take(n).map(ToString::to_string).collect();
    say!("");
    for (at, step) in &finished.key_timeline {
        say!("  {:>10.6} s  {step}", *at as f64 / 1e9);
    }
    say!("\n{key} is to be on {}", order.join(", "));
    if holdings.is_empty() {
        say!("  no server holds anything of it");
    }
    for holding in holdings {
        let place = match (holding.owner, holding.place) {
            (Some(owner), _) => format!("for {owner}, which could not be reached"),
            (None, Some(place)) => format!("replica {}", place + 1),
            (None, None) => "though it is no replica".to_owned(),
        };
        say!("  {} {place}, knows {}", holding.node, holding.clock);
        for version in &holding.versions {
            let arrival = holding.arrivals.iter().rev().find(|arrival| arrival.dot == version.dot);
            say!("      {:<6} {:<16} {}", version.dot.to_string(), shown(version), came(arrival));
        }
    }
    Ok(())
}

fn shown(version: &Version) -> String {
    match &version.content {
        Content::Value(value) => String::from_utf8_lossy(value).trim_end_matches('.').to_owned(),
        Content::Tombstone => "(deleted)".to_owned(),
        Content::Merge(state) => state.render().to_string(),
    }
}

fn came(arrival: Option<&Arrival>) -> String {
    let Some(Arrival { cause, at: Wall(at), .. }) = arrival else { return "came before what is remembered".to_owned() };
    let at = at.saturating_sub(run::EPOCH) as f64 / 1e9;
    match cause {
        Cause::Write(node) => format!("written through {node}, here at {at:.3} s"),
        Cause::Handoff(node) => format!("handed over by {node} at {at:.3} s"),
        Cause::Repair(node) => format!("repaired by a read through {node} at {at:.3} s"),
    }
}
