//! How fast the properties of sessions are checked: `cargo run --release --example session_speed` in this package's folder.
//!
//! The histories are those of an atomic store, and of one that replicates lazily (each client reads a copy that lags by up to
//! a thousand operations), with 100 processes and 1,000 keys.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Rng, Shape, generate, record};
use seaworthy_check::session::{self, Guarantee, Options, Unit};
use seaworthy_check::{Call, History, OpId, Recorder, Reply, Version, linear};
use std::time::Instant;

fn main() {
    let ops = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    show("atomic store, revisions", &atomic(ops, 1_000, 100, true, &mut Rng(1)));
    show("atomic store, no revisions", &atomic(ops, 1_000, 100, false, &mut Rng(1)));
    show("atomic store, one key, no revisions", &atomic(ops, 1, 100, false, &mut Rng(1)));
    show("lagging copies, no revisions", &lagging(ops, 1_000, 100, 1_000, &mut Rng(3)));
    let shape =
        Shape { ops, processes: 100, keys: 1_000, values: 0, info: 1, fail: 1, conditional: 20, revisions: 100 };
    show("1 % unknown outcomes, cas, deletes", &record(&generate(shape, &mut Rng(1))));
}

/// Each operation takes effect at a moment between its call and its return.
fn atomic(ops: usize, keys: usize, clients: usize, revisions: bool, rng: &mut Rng) -> History {
    let mut log = Recorder::default();
    let mut cells: Vec<Option<(String, u64)>> = vec![None; keys];
    // The client's operation, its key, what it writes, and the answer.
    type Open = (OpId, usize, Option<String>, Option<(Option<String>, u64)>);
    let mut open: Vec<Option<Open>> = vec![None; clients];
    let (mut begun, mut time) = (0, 0);
    while begun < ops {
        let client = rng.below(clients as u64) as usize;
        time += 1_000;
        open[client] = match open[client].take() {
            None => {
                let key = rng.below(keys as u64) as usize;
                let value = rng.percent(50).then(|| format!("v{begun}"));
                let call = value.as_deref().map_or(Call::Get, Call::put);
                begun += 1;
                Some((log.invoke(client as u32, time, &format!("k{key}"), call), key, value, None))
            }
            Some((op, key, value, None)) => {
                if let Some(value) = &value {
                    let next = cells[key].as_ref().map_or(0, |cell| cell.1 + 1);
                    cells[key] = Some((value.clone(), next));
                }
                let seen = cells[key].as_ref().map_or((None, 0), |cell| (Some(cell.0.clone()), cell.1));
                Some((op, key, value, Some(seen)))
            }
            Some((op, _, value, Some((seen, revision)))) => {
                let revision = revisions.then_some(revision);
                let seen = seen.as_deref().map(|value| Version { value, revision });
                let reply = if value.is_some() { Reply::Done { revision } } else { Reply::Got(seen) };
                log.ok(op, time, reply);
                None
            }
        };
    }
    log.finish()
}

/// Every client has a copy of all keys of some moment ago; the moment moves on by jumps.
fn lagging(ops: usize, keys: usize, clients: usize, lag: u64, rng: &mut Rng) -> History {
    let mut log = Recorder::default();
    let mut written: Vec<Vec<(usize, String)>> = vec![Vec::new(); keys];
    let mut moments = vec![0usize; clients];
    for n in 0..ops {
        let (client, key) = (rng.below(clients as u64) as usize, rng.below(keys as u64) as usize);
        let time = 1_000 * n as u64;
        let name = format!("k{key}");
        if rng.percent(50) {
            let value = format!("v{n}");
            let op = log.invoke(client as u32, time, &name, Call::put(&value));
            log.ok(op, time + 500, Reply::Done { revision: None });
            written[key].push((n, value));
        } else {
            moments[client] = moments[client].max(n.saturating_sub(rng.below(lag) as usize));
            let at = written[key].partition_point(|(moment, _)| *moment < moments[client]);
            let seen = at.checked_sub(1).map(|at| Version { value: written[key][at].1.as_str(), revision: None });
            let op = log.invoke(client as u32, time, &name, Call::Get);
            log.ok(op, time + 500, Reply::Got(seen));
        }
    }
    log.finish()
}

fn show(name: &str, history: &History) {
    println!("{name}: {} operations, {} keys", history.operations().len(), history.keys());
    let options = Options::default();
    for guarantee in Guarantee::ALL {
        timed(guarantee.name(), || verdict(&session::check_guarantee(history, guarantee, &options)));
    }
    timed("causal (CC)", || verdict(&session::check_causal(history, &options)));
    timed("causal convergence (CCv)", || verdict(&session::check_causal_convergence(history, &options)));
    timed("sequential", || verdict(&session::check_sequential(history, &options)));
    timed("staleness figures", || {
        let figures = session::measure(history);
        format!("{:.2} % stale", figures.get("stale reads, percent").unwrap_or_default())
    });
    let limits = linear::Options::default();
    if history.operations().len() <= 2_000_000 {
        timed("smallest Δ", || {
            let bounds = session::smallest_delta(history, Unit::Nanoseconds, &limits);
            let zones = bounds.iter().filter(|bound| bound.by == "zones").count();
            let most = bounds.iter().filter_map(seaworthy_check::session::Bound::exact).max();
            format!("{most:?} ns at most, {zones} keys by zones")
        });
        timed("smallest k", || {
            let bounds = session::smallest_k(history, &limits);
            let exact = bounds.iter().filter(|bound| bound.exact().is_some()).count();
            format!("{exact} keys exact, {:?} at most", bounds.iter().filter_map(|bound| bound.upper).max())
        });
    }
}

/// The shortest of three runs.
fn timed(name: &str, run: impl Fn() -> String) {
    let mut best = f64::MAX;
    let mut said = String::new();
    for _ in 0..3 {
        let start = Instant::now();
        said = run();
        best = best.min(start.elapsed().as_secs_f64());
        if best > 3.0 {
            break;
        }
    }
    println!("  {name:<26} {:>8.0} ms  {said}", best * 1e3);
}

fn verdict(report: &linear::Report) -> String {
    match (report.violations().next(), report.unknowns().next()) {
        (Some(evidence), _) => format!("not ({} {}; core {})", evidence.part, evidence.anomaly, evidence.core.len()),
        (None, Some((_, why))) => format!("unknown: {why}"),
        (None, None) => "valid".to_owned(),
    }
}
