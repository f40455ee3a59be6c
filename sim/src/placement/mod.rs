//! How many keys move when a cluster grows or shrinks by one server: the ring compared with modulo hashing, range
//! partitioning and the theoretical minimum.
//!
//! Everything is counted, key by key, on complete placements before and after. Only the minimum is derived from theory:
//! if load is even, one server of n+1 holds 1/(n+1) of the keys, and only this server needs to receive any. A figure
//! below the minimum means that the new server received less than its share. The keys are always the same, so the
//! figures are too.
//!
//! The alternatives are built in the usual way. *Modulo*: servers in a list; `hash mod n` and the next two of the list.
//! *Ranges*: n equal ranges of the (hashed) key space in the order of the list, and the next two. A new server is added
//! at the end of the list; a leaving server is removed from the middle. So ranges are fully affected by the former and
//! less by the latter.

mod chart;
mod tables;

pub use chart::svg;
pub use tables::{markdown, text};

use seaworthy::placement::{Member, Ring};
use seaworthy::types::NodeId;
use serde::Serialize;

/// Number of replicas of a key in figures about more than the first replica.
pub const REPLICAS: usize = 3;

/// A placement strategy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Not a placement: the theoretical minimum.
    Least,
    /// The ring with this number of virtual nodes per server.
    Ring(u32),
    /// Equal ranges of the key space.
    Ranges,
    /// The hash modulo the number of servers.
    Modulo,
}

/// The strategies compared.
pub const STRATEGIES: [Strategy; 7] = [
    Strategy::Least,
    Strategy::Ring(1),
    Strategy::Ring(16),
    Strategy::Ring(64),
    Strategy::Ring(256),
    Strategy::Ranges,
    Strategy::Modulo,
];

impl Strategy {
    /// The name in tables.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Strategy::Least => "least".to_owned(),
            Strategy::Ring(vnodes) => format!("ring × {vnodes}"),
            Strategy::Ranges => "ranges".to_owned(),
            Strategy::Modulo => "modulo".to_owned(),
        }
    }
}

/// Fractions of the keys that move.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Moved {
    /// Keys whose first replica changes.
    pub first: f64,
    /// Keys whose set of [`REPLICAS`] replicas changes.
    pub any: f64,
}

/// The results of one strategy in a cluster.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Cell {
    /// Keys that move when a server is added.
    pub join: Moved,
    /// Keys that move when a server is removed.
    pub leave: Moved,
    /// Keys of the fullest server by first replica, relative to the mean.
    pub fullest: f64,
}

/// The results for one cluster size.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// The number of servers before the change.
    pub nodes: u32,
    /// The results of each strategy, in the order of the strategies.
    pub cells: Vec<Cell>,
}

/// All measurements.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The number of keys placed.
    pub keys: u32,
    /// The strategies compared.
    pub strategies: [Strategy; STRATEGIES.len()],
    /// Clusters from three servers on.
    pub rows: Vec<Row>,
}

/// Places `keys` keys on clusters of 3 to `nodes` servers, and on each of these with one server more and one less.
#[must_use]
pub fn measure(nodes: u32, keys: u32) -> Report {
    let keys: Vec<Key> = (0..keys).map(Key::new).collect();
    let mut rows: Vec<Row> = (3..=nodes).map(|nodes| Row { nodes, cells: Vec::new() }).collect();
    for strategy in STRATEGIES {
        let mut before = place(strategy, &all(3), &keys);
        for row in &mut rows {
            let n = row.nodes;
            let mut rest = all(n);
            rest.remove(rest.len() / 2);
            let (more, less) = (place(strategy, &all(n + 1), &keys), place(strategy, &rest, &keys));
            row.cells.push(match strategy {
                Strategy::Least => Cell { join: least(n + 1), leave: least(n), fullest: 1.0 },
                _ => Cell { join: moved(&before, &more), leave: moved(&before, &less), fullest: fullest(n, &before) },
            });
            before = more;
        }
    }
    Report { keys: keys.len() as u32, strategies: STRATEGIES, rows }
}

struct Key {
    name: String,
    /// The position of the key for modulo and ranges.
    hash: u64,
}

impl Key {
    fn new(number: u32) -> Key {
        let name = format!("key-{number:09}");
        Key { hash: xxhash_rust::xxh3::xxh3_64(name.as_bytes()), name }
    }
}

/// The servers of a key, starting with the first replica; 0 where there are fewer.
type Placed = [u32; REPLICAS];

/// A list of `nodes` servers.
fn all(nodes: u32) -> Vec<u32> {
    (1..=nodes).collect()
}

fn place(strategy: Strategy, nodes: &[u32], keys: &[Key]) -> Vec<Placed> {
    let from = |first: u64| {
        let mut placed = Placed::default();
        let chosen = nodes.iter().cycle().skip(first as usize).take(REPLICAS.min(nodes.len()));
        placed.iter_mut().zip(chosen).for_each(|(to, node)| *to = *node);
        placed
    };
    let n = nodes.len() as u64;
    match strategy {
        Strategy::Least => Vec::new(),
        Strategy::Modulo => keys.iter().map(|key| from(key.hash % n)).collect(),
        Strategy::Ranges => {
            keys.iter().map(|key| from(((u128::from(key.hash) * u128::from(n)) >> 64) as u64)).collect()
        }
        Strategy::Ring(vnodes) => {
            let members: Vec<Member> = nodes.iter().map(|node| Member::plain(NodeId(*node))).collect();
            let ring = Ring::new(&members, vnodes);
            let on_ring = |key: &Key| {
                let mut placed = Placed::default();
                placed.iter_mut().zip(ring.order(key.name.as_bytes())).for_each(|(to, node)| *to = node.0);
                placed
            };
            keys.iter().map(on_ring).collect()
        }
    }
}

fn moved(before: &[Placed], after: &[Placed]) -> Moved {
    let share = |differ: fn(&Placed, &Placed) -> bool| {
        let count = before.iter().zip(after).filter(|(before, after)| differ(before, after)).count();
        count as f64 / before.len() as f64
    };
    Moved {
        first: share(|before, after| before[0] != after[0]),
        any: share(|before, after| sorted(before) != sorted(after)),
    }
}

fn sorted(placed: &Placed) -> Placed {
    let mut set = *placed;
    set.sort_unstable();
    set
}

/// The minimum that must move if one of `nodes` servers joins or leaves and load is even.
fn least(nodes: u32) -> Moved {
    let share = |replicas: usize| (replicas as f64 / f64::from(nodes)).min(1.0);
    Moved { first: share(1), any: share(REPLICAS) }
}

fn fullest(nodes: u32, placed: &[Placed]) -> f64 {
    let mut counts = vec![0u32; nodes as usize + 1];
    placed.iter().for_each(|placed| counts[placed[0] as usize] += 1);
    f64::from(counts.into_iter().max().unwrap_or(0)) * f64::from(nodes) / placed.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(report: &Report, nodes: u32, strategy: Strategy) -> Cell {
        let at = STRATEGIES.iter().position(|s| *s == strategy).unwrap();
        report.rows[nodes as usize - 3].cells[at]
    }

    /// The counts agree with the results of arithmetic.
    #[test]
    fn rivals_move_what_arithmetic_says() {
        let report = measure(10, 20_000);
        let near = |got: f64, want: f64| assert!((got - want).abs() < 0.015, "{got} where {want} is right");
        for n in [3u32, 5, 9] {
            let of = f64::from(n);
            // A key keeps its residue only if its hash has the same remainder by n and n + 1: n of n(n + 1) hashes.
            near(cell(&report, n, Strategy::Modulo).join.first, 1.0 - 1.0 / (of + 1.0));
            near(cell(&report, n, Strategy::Ranges).join.first, 0.5);
            near(cell(&report, n, Strategy::Least).join.first, 1.0 / (of + 1.0));
            assert!((1.0..1.06).contains(&cell(&report, n, Strategy::Modulo).fullest));
        }
        assert_eq!(cell(&report, 3, Strategy::Ring(64)).leave.any, 1.0, "of three servers every key loses one");
        assert_eq!(cell(&report, 3, Strategy::Least).leave.any, 1.0);
    }

    /// The ring is near the minimum, and nearer with more virtual nodes.
    #[test]
    fn the_ring_is_near_the_least() {
        let report = measure(30, 5_000);
        let excess = |vnodes: u32| {
            let off = report.rows.iter().map(|row| {
                let (got, least) = (cell(&report, row.nodes, Strategy::Ring(vnodes)), least(row.nodes + 1));
                (got.join.first / least.first - 1.0).abs() + (got.join.any / least.any - 1.0).abs()
            });
            off.sum::<f64>() / report.rows.len() as f64 / 2.0
        };
        let (one, few, many) = (excess(1), excess(16), excess(256));
        assert!(many < 0.12 && many < few && few < one, "off by {one:.2}, {few:.2} and {many:.2}");
    }
}
