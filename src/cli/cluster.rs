//! The commands about the cluster itself: `status` and `transfer`.

use super::connect::{Target, TcpClient, block_on, client, why_not};
use super::output::{Exit, Failure, Paint, millis, ms, paint, print_rows, say};
use crate::client::ClientError;
use crate::identity::Standing;
use crate::raft::Role;
use crate::types::NodeId;
use crate::wire::{Divergence, NodeStatus};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::stdout;
use std::time::{Duration, Instant};

/// How often `transfer` checks whether the new leader leads.
const LOOK: Duration = Duration::from_millis(20);

/// A server, its address, and its status if it answers.
type Row = (Option<NodeId>, String, Option<NodeStatus>);

pub(super) fn status(target: &Target, json: bool) -> Result<Exit, Failure> {
    block_on(async {
        let (servers, silent) = target.servers().await?;
        let mut rows = Vec::new();
        let asked: Vec<_> = servers
            .nodes
            .iter()
            .map(|(node, address)| {
                let (node, address) = (*node, address.clone());
                let mut client = client(&servers, target.patience());
                tokio::spawn(async move { (Some(node), address, client.status(node).await.ok()) })
            })
            .collect();
        for answer in asked {
            rows.extend(answer.await);
        }
        rows.extend(silent.into_iter().map(|address| (None, address, None)));
        let answered: Vec<&NodeStatus> = rows.iter().filter_map(|(.., status)| status.as_ref()).collect();
        let healthy = is_healthy(&answered, rows.len());
        if json {
            let nodes: Vec<Value> =
                rows.iter().map(|(node, a, status)| status_json(*node, a, status.as_ref())).collect();
            let cluster = servers.cluster.map(|name| name.to_string());
            let one_layout = one_layout(&answered);
            say(&json!({ "cluster": cluster, "healthy": healthy, "one_layout": one_layout, "nodes": nodes })
                .to_string());
        } else {
            print_table(&rows, &answered);
            for line in divergences(&answered) {
                say(&format!("{} {line}", paint(Paint::Bad, "ALARM:", &stdout())));
            }
            for (node, ..) in rows.iter().filter(|(.., status)| status.is_none()) {
                if let Some(node) = node
                    && let Some(why) = why_not(&servers, *node, target.patience().attempt).await
                {
                    say(&format!("{node} is not reached: {why}."));
                }
            }
            for status in &answered {
                if let Some(why) = &status.idle {
                    say(&format!("{} is no member: {}.", status.node, paint(Paint::Bad, why, &stdout())));
                }
            }
            if !one_layout(&answered) {
                let of = |s: &&NodeStatus| format!("{} has {:016x}", s.node, s.layout);
                let layouts = answered.iter().map(of).collect::<Vec<_>>().join(", ");
                let what = "The servers disagree on the layout of the cluster and do not work together";
                say(&format!("{}: {layouts}. Compare their files.", paint(Paint::Bad, what, &stdout())));
            }
        }
        Ok(if healthy { Exit::Done } else { Exit::Failed })
    })
}

/// Whether every group has a leader, most servers answer, and they agree on the layout.
fn is_healthy(answered: &[&NodeStatus], asked: usize) -> bool {
    let Some(first) = answered.first() else { return false };
    let members = if first.all_groups == 1 && first.groups == 1 { first.voters.len() } else { asked };
    let led: u32 = answered.iter().map(|status| status.led).sum();
    let alike = answered.iter().all(|status| status.diverged.is_empty());
    led >= first.all_groups && answered.len() * 2 > members && one_layout(answered) && alike
}

/// Returns a sentence for each group whose members' states differ.
fn divergences(answered: &[&NodeStatus]) -> BTreeSet<String> {
    let found = answered.iter().flat_map(|status| &status.diverged);
    let sentence = |Divergence { group, index, minority }: &Divergence| {
        let names = minority.iter().copied().map(name).collect::<Vec<_>>().join(", ");
        let (group, what) = (
            group.0,
            match minority.is_empty() {
                true => "no state is that of most members".to_owned(),
                false => format!("{names} had another state than most members and no longer serves it"),
            },
        );
        format!("group {group}: at index {index} {what}. See docs/deploying.md, \"When replicas differ\".")
    };
    found.map(sentence).collect()
}

fn one_layout(answered: &[&NodeStatus]) -> bool {
    answered.windows(2).all(|pair| pair[0].layout == pair[1].layout)
}

fn name(node: NodeId) -> String {
    node.to_string()
}

fn status_json(node: Option<NodeId>, address: &str, status: Option<&NodeStatus>) -> Value {
    let Some(status) = status else {
        return json!({ "node": node.map(name), "address": address, "reachable": false });
    };
    let raft = &status.raft;
    let ap = status.ap.map(|ap| json!({ "keys": ap.keys, "hints": ap.hints, "epoch": ap.epoch }));
    json!({
        "node": name(status.node), "address": address, "reachable": true,
        "voters": status.voters.iter().copied().map(name).collect::<Vec<_>>(),
        "role": role(raft.soft.role), "term": raft.soft.term, "leader": raft.soft.leader.map(name),
        "vote": raft.vote.map(name), "commit": raft.commit, "applied": status.applied, "last": raft.last,
        "durable": raft.durable, "first": raft.first, "log_bytes": raft.log_bytes,
        "snapshot": { "index": raft.snapshot.index, "term": raft.snapshot.term },
        "groups": { "all": status.all_groups, "in": status.groups, "led": status.led },
        "keys": status.keys, "sessions": status.sessions, "bad_frames": status.bad_frames,
        "ap": ap, "down": status.down.iter().copied().map(name).collect::<Vec<_>>(),
        "standing": status.standing, "idle": status.idle,
        "layout": format!("{:016x}", status.layout),
        "diverged": status.diverged.iter().map(diverged_json).collect::<Vec<_>>(),
    })
}

fn diverged_json(found: &Divergence) -> Value {
    let minority = found.minority.iter().copied().map(name).collect::<Vec<_>>();
    json!({ "group": found.group.0, "index": found.index, "minority": minority })
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

/// The table's columns that are relevant for this cluster.
#[derive(Clone, Copy)]
struct Columns {
    /// There is one Raft group: show its state instead of the number of groups.
    one_group: bool,
    /// Some bucket is an AP bucket.
    ap: bool,
    /// Servers monitor each other.
    down: bool,
}

fn print_table(rows: &[Row], answered: &[&NodeStatus]) {
    let one_group = answered.iter().all(|status| status.all_groups == 1);
    let ap = answered.iter().any(|status| status.ap.is_some());
    let columns = Columns { one_group, ap, down: ap || !one_group };
    let head = [
        "node address",
        if one_group { "role term leader commit applied durable log snapshot" } else { "groups led" },
        "keys sessions",
        if ap { "ap-keys hints epoch" } else { "" },
        if columns.down { "down" } else { "" },
        "bad-frames",
    ];
    let head = head.iter().flat_map(|words| words.split_whitespace()).map(str::to_owned).collect();
    let mut table: Vec<Vec<String>> = vec![head];
    table.extend(rows.iter().map(|(node, address, status)| cells(*node, address, status.as_ref(), columns)));
    print_rows(&table, |row| match row.get(2).map(String::as_str) {
        Some("role" | "groups") => Some(Paint::Strong),
        Some("leader") => Some(Paint::Good),
        Some("unreachable") => Some(Paint::Bad),
        _ => None,
    });
}

fn cells(node: Option<NodeId>, address: &str, status: Option<&NodeStatus>, columns: Columns) -> Vec<String> {
    let shown = |node: Option<NodeId>| node.map_or("?".to_owned(), name);
    let Some(status) = status else { return vec![shown(node), address.to_owned(), "unreachable".to_owned()] };
    let raft = &status.raft;
    let mut cells = vec![name(status.node), address.to_owned()];
    if columns.one_group {
        cells.extend([
            match status.standing {
                Standing::Member => role(raft.soft.role).to_owned(),
                Standing::Starting => "starting".to_owned(),
                Standing::Lost => "lost-data".to_owned(),
            },
            raft.soft.term.to_string(),
            shown(raft.soft.leader),
            raft.commit.to_string(),
            status.applied.to_string(),
            raft.durable.to_string(),
            format!("{}..{} {}", raft.first, raft.last, size(raft.log_bytes)),
            raft.snapshot.index.to_string(),
        ]);
    } else {
        cells.extend([status.groups, status.led].map(|count| count.to_string()));
    }
    cells.extend([status.keys, status.sessions].map(|count| count.to_string()));
    if columns.ap {
        let ap = status.ap.map(|ap| [ap.keys, ap.hints, ap.epoch].map(|count| count.to_string()));
        cells.extend(ap.unwrap_or_default());
    }
    if columns.down {
        let down = status.down.iter().copied().map(name).collect::<Vec<_>>().join(",");
        cells.push(if down.is_empty() { "-".to_owned() } else { down });
    }
    cells.push(status.bad_frames.to_string());
    cells
}

fn size(bytes: usize) -> String {
    match bytes {
        0..10_240 => format!("{bytes}B"),
        10_240..10_485_760 => format!("{}K", bytes >> 10),
        _ => format!("{}M", bytes >> 20),
    }
}

pub(super) fn transfer(to: NodeId, target: &Target, json: bool) -> Result<Exit, Failure> {
    block_on(async {
        let begun = Instant::now();
        let mut client = target.connect().await?;
        let patience = target.patience().operation;
        let servers: Vec<NodeId> = target.servers().await?.0.nodes.into_keys().collect();
        let mut status = statuses(&mut client, &servers).await;
        let one_group = status.iter().all(|status| status.all_groups == 1);
        if one_group {
            client.transfer(to).await?;
        }
        loop {
            let rest = if one_group { leads_not(&status, to) } else { hand_over(&mut client, &status, to).await? };
            if !rest {
                break;
            }
            if begun.elapsed() > patience {
                let what = if one_group { "" } else { " everything it could" };
                let message =
                    format!("handing over to {to} has begun, but {to} did not lead{what} within {patience:?}");
                return Err(Failure::new(Exit::Unknown, message));
            }
            tokio::time::sleep(LOOK).await;
            status = statuses(&mut client, &servers).await;
        }
        let took = begun.elapsed();
        let now = client.status(to).await.ok();
        let groups = now.filter(|_| !one_group).map(|status| (status.led, status.all_groups));
        if json {
            let groups = groups.map(|(led, all)| json!({ "led": led, "all": all }));
            say(&json!({ "leader": name(to), "groups": groups, "ms": ms(took) }).to_string());
        } else {
            let of = groups.map_or(String::new(), |(led, all)| format!(" {led} of {all} groups"));
            say(&format!("{to} leads{of} {}", paint(Paint::Dim, &millis(took), &stdout())));
        }
        Ok(Exit::Done)
    })
}

/// Returns the status of each server that answers.
async fn statuses(client: &mut TcpClient, servers: &[NodeId]) -> Vec<NodeStatus> {
    let mut found = Vec::new();
    for node in servers {
        found.extend(client.status(*node).await.ok());
    }
    found
}

/// Whether `to` does not lead the only group.
fn leads_not(status: &[NodeStatus], to: NodeId) -> bool {
    !status.iter().any(|status| status.node == to && status.led > 0)
}

/// Asks all other servers to transfer the groups they lead that `to` is a member of. Returns whether any of them still
/// led one.
async fn hand_over(client: &mut TcpClient, status: &[NodeStatus], to: NodeId) -> Result<bool, Failure> {
    if !status.iter().any(|status| status.node == to) {
        return Err(Failure::new(Exit::Failed, format!("{to} does not answer")));
    }
    let mut rest = false;
    for other in status.iter().filter(|status| status.node != to && status.led > 0) {
        match client.transfer_from(other.node, to).await {
            Ok(some) => rest |= some,
            Err(ClientError::NotDone(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rest)
}
