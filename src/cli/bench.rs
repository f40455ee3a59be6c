//! `seaworthy bench`: a closed loop of writers against a running cluster, in a bucket of either mode.
//!
//! Every client has its own connections and session and issues its next write as soon as the previous one completes.
//! Each write puts a new value under one of the client's own keys. The figures describe this load, not the store's
//! maximum: they hold for this number of clients, this value size and this machine, on which the load generator itself
//! uses part of the processors.

use super::connect::{Target, block_on, client};
use super::output::{Exit, Failure, say};
use crate::client::{ApWrite, Client, ClientError};
use crate::dynamo::Update;
use crate::env::{Clock, Transport};
use crate::kv::Condition;
use crate::types::{Bytes, Key, Value};
use clap::Args;
use serde_json::json;
use std::time::{Duration, Instant};

/// Number of keys each client writes in rotation.
const KEYS: u64 = 16;

#[derive(Args)]
pub(super) struct Options {
    /// Clients at a time, each with one write under way
    #[arg(long, default_value = "64", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    clients: u64,
    /// How long
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Bytes in a value
    #[arg(long, default_value = "100", value_parser = clap::value_parser!(u64).range(8..=1_048_576))]
    value_bytes: u64,
    /// The bucket to write to; of AP buckets one in which the last writer wins, since writes carry no context
    #[arg(long, default_value = "bench")]
    bucket: String,
    #[command(flatten)]
    target: Target,
}

/// Results of one client.
#[derive(Default)]
struct Seen {
    micros: Vec<u64>,
    /// Number of writes that certainly did not happen, and of those that may have.
    refused: u64,
    unknown: u64,
}

pub(super) fn run(options: &Options, json: bool) -> Result<Exit, Failure> {
    let (took, mut seen) = block_on(load(options))?;
    seen.micros.sort_unstable();
    let quantile = |q: f64| {
        let rank = (seen.micros.len() as f64 * q) as usize;
        seen.micros.get(rank.min(seen.micros.len().saturating_sub(1))).map_or(0.0, |us| *us as f64 / 1e3)
    };
    let (done, seconds) = (seen.micros.len(), took.as_secs_f64());
    let rate = done as f64 / seconds;
    let (p50, p99, most) = (quantile(0.5), quantile(0.99), quantile(1.0));
    let Options { clients, value_bytes, .. } = options;
    if json {
        let object = json!({
            "clients": clients, "value_bytes": value_bytes, "seconds": seconds, "puts": done, "refused": seen.refused,
            "unknown": seen.unknown, "puts_per_second": rate, "p50_ms": p50, "p99_ms": p99, "max_ms": most,
        });
        say(&object.to_string());
    } else {
        say(&format!(
            "{clients} clients, {value_bytes}-byte values, {seconds:.1} s: {done} puts, {} refused, {} of unknown outcome\n\
             {rate:.0} puts/s, p50 {p50:.1} ms, p99 {p99:.1} ms, max {most:.1} ms",
            seen.refused, seen.unknown
        ));
    }
    Ok(if seen.refused + seen.unknown == 0 && done > 0 { Exit::Done } else { Exit::Failed })
}

async fn load(options: &Options) -> Result<(Duration, Seen), Failure> {
    let (servers, _) = options.target.servers().await?;
    let mut clients: Vec<_> = (0..options.clients).map(|_| client(&servers, options.target.patience())).collect();
    let mut ap = false;
    // Sessions and connections are opened first, so that they are not measured.
    for (i, client) in clients.iter_mut().enumerate() {
        put(client, key(&options.bucket, i as u64, 0), Bytes::from_static(b"warm"), &mut ap).await?;
    }
    let begun = Instant::now();
    let end = begun + Duration::from_secs(options.seconds);
    let value_bytes = options.value_bytes as usize;
    let running: Vec<_> = (0..)
        .zip(clients)
        .map(|(i, mut client)| {
            let (bucket, mut ap) = (options.bucket.clone(), ap);
            tokio::spawn(async move {
                let mut seen = Seen::default();
                for number in 0u64.. {
                    let at = Instant::now();
                    if at >= end {
                        break;
                    }
                    let mut value = number.to_le_bytes().to_vec();
                    value.resize(value_bytes, b'.');
                    match put(&mut client, key(&bucket, i, number), value.into(), &mut ap).await {
                        Ok(()) => seen.micros.push(at.elapsed().as_micros() as u64),
                        Err(error) if error.happened() => seen.unknown += 1,
                        Err(_) => seen.refused += 1,
                    }
                }
                seen
            })
        })
        .collect();
    let mut all = Seen::default();
    for client in running {
        let seen = client.await.map_err(|e| Failure::new(Exit::Failed, format!("a client failed: {e}")))?;
        all.micros.extend(seen.micros);
        all.refused += seen.refused;
        all.unknown += seen.unknown;
    }
    Ok((begun.elapsed(), all))
}

fn key(bucket: &str, client: u64, number: u64) -> Key {
    format!("{bucket}/{client}/{}", number % KEYS).into()
}

/// Writes one value; switches to quorum writes if the key's bucket turns out to be an AP bucket.
async fn put<T: Transport, C: Clock>(
    client: &mut Client<T, C>,
    key: Key,
    value: Value,
    ap: &mut bool,
) -> Result<(), ClientError> {
    if !*ap {
        match client.put(key.clone(), value.clone(), Condition::ALWAYS, None).await {
            Err(ClientError::OtherMode(true)) => *ap = true,
            put => return put.map(drop),
        }
    }
    client.ap_put(key, Update::Set(value), Bytes::new(), ApWrite::default()).await.map(drop)
}
