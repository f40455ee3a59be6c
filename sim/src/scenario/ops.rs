//! The operations of a plan.
//!
//! Open loop: instants are drawn uniformly over the run, which is a Poisson process given its count. Closed loop: each
//! client gets as many operations as its pauses would allow if answers took no time; each is due no earlier than the
//! pauses before it permit. Operations stop one timeout before the end of the run, so that each can finish. The crowd's
//! operations are due throughout the storm. Each client of the crowd starts at a random point of its first pause.

use crate::plan::{Call, Event, How, Tag, What, When};
use crate::settings::{Between, Bucket, Levels, Skew, Times, Workload};
use seaworthy::types::{Level, Rng};
use std::collections::BTreeMap;
use std::time::Duration;

/// Draws the operations, in order of time.
pub(super) fn draw(workload: &Workload, bucket: &Bucket, time: &Times, seed: u64) -> Vec<Event> {
    let mut levels = Rng::new(seed, "levels");
    let mut rng = Rng::new(seed, "operations");
    let until = (time.ends() - workload.timeout.high).as_millis() as u64;
    let mut slots: Vec<(u64, u32)> = match workload.think {
        None => {
            let count = workload.rate * until / 1000;
            (0..count).map(|_| (rng.below(until), rng.between(1, u64::from(workload.clients)) as u32)).collect()
        }
        Some(think) => {
            let step = think.as_millis() as u64;
            (1..=workload.clients).flat_map(|c| (0..until.div_ceil(step)).map(move |i| (i * step, c))).collect()
        }
    };
    if let Some(burst) = workload.burst.map(|burst| burst.as_millis() as u64) {
        for (at, _) in &mut slots {
            *at = *at / burst * burst + *at % burst / 100;
        }
    }
    slots.sort_unstable();
    let mut caller = Caller::new(workload);
    let mut op = |(at, client)| {
        let level = match bucket.levels {
            Levels::Bucket => None,
            Levels::Mixed => Some([Level::One, Level::Quorum, Level::All][levels.below(3) as usize]),
        };
        let how = How { level, via: None };
        let what = What::Op { client, call: caller.call(client, &mut rng), how };
        Event { at: Duration::from_millis(at), what }
    };
    let mut drawn: Vec<Event> = slots.into_iter().map(&mut op).collect();
    drawn.extend(crowd(workload, time, &mut caller, seed));
    drawn
}

/// The operations of the crowd, client by client.
fn crowd(workload: &Workload, time: &Times, caller: &mut Caller<'_>, seed: u64) -> Vec<Event> {
    let mut rng = Rng::new(seed, "crowd");
    let (pause, ends) = (workload.crowd_pause.as_millis() as u64, time.storm_ends().as_millis() as u64);
    let mut drawn = Vec::new();
    for client in workload.clients + 1..=workload.all_clients() {
        let mut at = time.warmup.as_millis() as u64 + rng.below(pause);
        while at < ends {
            let what = What::Op { client, call: caller.call(client, &mut rng), how: How::default() };
            drawn.push(Event { at: Duration::from_millis(at), what });
            at += pause;
        }
    }
    drawn
}

/// Chooses the operations of clients.
struct Caller<'a> {
    workload: &'a Workload,
    /// Cumulative weights: element i is the sum of the weights of the first i + 1 keys.
    keys: Vec<f64>,
    /// Puts of each client so far. The words of values contain this number.
    puts: BTreeMap<u32, u64>,
    /// The last word put to each key.
    last: BTreeMap<String, String>,
}

impl<'a> Caller<'a> {
    fn new(workload: &'a Workload) -> Caller<'a> {
        let mut sum = 0.0;
        let weight = |n: u64| match workload.skew {
            Skew::Uniform => 1.0,
            Skew::Zipf => 1.0 / n as f64,
        };
        let keys = (1..=workload.keys).map(|n| {
            sum += weight(n);
            sum
        });
        Caller { workload, keys: keys.collect(), puts: BTreeMap::new(), last: BTreeMap::new() }
    }

    fn call(&mut self, client: u32, rng: &mut Rng) -> Call {
        let key = self.key(rng);
        let Workload { get, put, delete, cas, conditional, expiring, extend, .. } = *self.workload;
        let mut dice = rng.below(get + put + delete + cas + conditional + expiring + extend);
        let mut falls = |weight: u64| {
            let hit = dice < weight;
            dice = dice.saturating_sub(weight);
            hit
        };
        if falls(get) {
            Call::Get { key }
        } else if falls(put) {
            self.put(client, key, When::Always, rng)
        } else if falls(delete) {
            let when = if rng.chance(0.25) { When::SawRevision } else { When::Always };
            Call::Delete { key, when }
        } else if falls(cas) {
            let when = if rng.chance(0.5) { When::SawRevision } else { When::SawValue };
            self.put(client, key, when, rng)
        } else if falls(expiring) {
            let ttl = Some(self.ttl(rng));
            match self.put(client, key, When::Always, rng) {
                Call::Put { key, value, when, .. } => Call::Put { key, value, when, ttl },
                other => other,
            }
        } else if falls(extend) {
            Call::Extend { key, ttl: self.ttl(rng) }
        } else {
            let when = match rng.below(4) {
                0 => When::Missing,
                1 => When::Present,
                2 => When::Revision(rng.below(6) as i64 - 1),
                _ => self.last.get(&key).map_or(When::Missing, |word| When::Value(word.clone())),
            };
            self.put(client, key, when, rng)
        }
    }

    fn put(&mut self, client: u32, key: String, when: When, rng: &mut Rng) -> Call {
        let count = self.puts.entry(client).or_default();
        *count += 1;
        let word = format!("c{client}-{count}");
        let size = rng.between(self.workload.value_bytes.low, self.workload.value_bytes.high).max(word.len() as u64);
        self.last.insert(key.clone(), word.clone());
        Call::Put { key, value: Tag { word, size }, when, ttl: None }
    }

    fn ttl(&self, rng: &mut Rng) -> Duration {
        let Between { low, high } = self.workload.ttl;
        Duration::from_millis(rng.between(low.as_millis() as u64, high.as_millis() as u64))
    }

    fn key(&self, rng: &mut Rng) -> String {
        let point = rng.unit() * self.keys.last().copied().unwrap_or(1.0);
        format!("k{}", self.keys.partition_point(|sum| *sum <= point) + 1)
    }
}
