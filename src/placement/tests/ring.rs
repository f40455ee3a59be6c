//! Compares the ring with its definition; tests balance, weights, spread and movement.

use super::*;
use proptest::prelude::*;

fn member(id: u32, capacity: u32, region: usize, zone: usize) -> Member {
    Member { id: NodeId(id), capacity, zone: format!("z{zone}"), region: format!("r{region}") }
}

fn plain(nodes: u32) -> Vec<Member> {
    (1..=nodes).map(|id| Member::plain(NodeId(id))).collect()
}

fn key(n: u64) -> [u8; 8] {
    n.to_le_bytes()
}

/// The literal definition: of the servers left, the least used region, then zone, then the nearest on the walk.
fn defined(members: &[&Member], tokens: &[(u64, u32)], point: u64) -> Vec<NodeId> {
    let (before, after): (Vec<_>, Vec<_>) = tokens.iter().partition(|(token, _)| *token < point);
    let mut left: Vec<&Member> = Vec::new();
    for (_, who) in after.iter().chain(&before) {
        if !left.iter().any(|m| m.id == members[*who as usize].id) {
            left.push(members[*who as usize]);
        }
    }
    let mut taken: Vec<&Member> = Vec::new();
    while taken.len() < DEPTH && !left.is_empty() {
        let region = |m: &Member| taken.iter().filter(|t| t.region == m.region).count();
        let zone = |m: &Member| taken.iter().filter(|t| (&t.region, &t.zone) == (&m.region, &m.zone)).count();
        let best = (0..left.len()).min_by_key(|at| (region(left[*at]), zone(left[*at]), *at)).unwrap();
        let next = left.remove(best);
        taken.push(next);
    }
    taken.iter().map(|m| m.id).collect()
}

proptest! {
    /// Arbitrary tokens, including colliding ones; arbitrary zones; more servers, zones and regions than an order has
    /// entries.
    #[test]
    fn the_order_is_what_is_defined(
        places in prop::collection::vec((0..20usize, 0..20usize), 1..60),
        (regions, zones) in (1..=20usize, 1..=20usize),
        tokens in prop::collection::vec((prop_oneof![any::<u64>(), 0..20u64, u64::MAX - 5..=u64::MAX], any::<u32>()), 0..150),
        points in prop::collection::vec(prop_oneof![any::<u64>(), 0..20u64, u64::MAX - 5..=u64::MAX], 1..10),
    ) {
        let members: Vec<Member> = (1..).zip(&places).map(|(id, (r, z))| member(id, 1, r % regions, z % zones)).collect();
        let members: Vec<&Member> = members.iter().collect();
        let mut tokens: Vec<(u64, u32)> = tokens.iter().map(|(point, who)| (*point, who % members.len() as u32)).collect();
        let ring = Ring::of(&members, tokens.clone());
        tokens.sort_unstable();
        for point in points.into_iter().chain(tokens.iter().map(|t| t.0)) {
            prop_assert_eq!(ring.at(point), defined(&members, &tokens, point));
        }
    }

    /// The ring does not depend on the order in which members are listed.
    #[test]
    fn members_may_be_listed_in_any_order(mut ids in prop::collection::vec(0..50u32, 0..12), n in any::<u64>()) {
        let ring = |ids: &[u32]| Ring::new(&ids.iter().map(|id| member(*id, id % 3, *id as usize % 2, 0)).collect::<Vec<_>>(), 5);
        let one = ring(&ids).order(&key(n)).to_vec();
        ids.reverse();
        let other = ring(&ids);
        prop_assert_eq!(one, other.order(&key(n)));
    }
}

#[test]
fn nobody_to_hold_anything_is_an_empty_order() {
    for (members, vnodes) in [(vec![], 64), (vec![member(1, 0, 0, 0)], 64), (plain(3), 0)] {
        let ring = Ring::new(&members, vnodes);
        assert_eq!((ring.order(b"k"), ring.at(0), ring.at(u64::MAX), ring.tokens()), (&[][..], &[][..], &[][..], 0));
    }
    let one = Ring::new(&[member(1, 1, 0, 0), member(2, 0, 0, 0)], 1);
    assert_eq!([0, 1, u64::MAX / 2, u64::MAX].map(|point| one.at(point)), [&[NodeId(1)]; 4]);
}

/// Returns the share of keys, in permille, for which each server is first in the order.
fn shares(ring: &Ring, keys: u64) -> BTreeMap<NodeId, f64> {
    let mut shares = BTreeMap::new();
    for n in 0..keys {
        *shares.entry(ring.order(&key(n))[0]).or_insert(0.0) += 1000.0 / keys as f64;
    }
    shares
}

/// A share is the sum of v independent parts, so its relative spread is about 1/√v.
#[test]
fn more_virtual_nodes_balance_better() {
    for (vnodes, limit) in [(64, 1.4), (256, 1.2)] {
        for nodes in [3, 10, 30] {
            let shares = shares(&Ring::new(&plain(nodes), vnodes), 30_000);
            let most = shares.values().fold(0.0f64, |most, share| most.max(*share)) * f64::from(nodes) / 1000.0;
            assert!(most < limit, "{nodes} nodes × {vnodes}: the fullest has {most:.2} of the mean");
        }
    }
}

#[test]
fn weights_are_respected() {
    let members: Vec<Member> = (1..=6).map(|id| member(id, [0, 1, 1, 2, 2, 4][id as usize - 1], 0, 0)).collect();
    let shares = shares(&Ring::new(&members, 256), 50_000);
    assert_eq!(shares.get(&NodeId(1)), None);
    for m in &members[1..] {
        let (share, fair) = (shares[&m.id], f64::from(m.capacity) * 100.0);
        assert!((0.8..1.2).contains(&(share / fair)), "{} has {share:.0}‰ and should have {fair:.0}‰", m.id);
    }
}

/// Three regions of two zones of two servers: any three replicas are in three regions, any six in six zones.
#[test]
fn replicas_are_spread() {
    let members: Vec<Member> = (0..12).map(|id| member(id, 1, id as usize % 3, id as usize / 3 % 2)).collect();
    let ring = Ring::new(&members, 64);
    let place = |id: &NodeId| (id.0 % 3, id.0 / 3 % 2);
    for n in 0..2000 {
        let order = ring.order(&key(n));
        assert_eq!(order.len(), 12);
        let distinct = |n: usize| order[..n].iter().map(place).collect::<std::collections::BTreeSet<_>>().len();
        let regions: std::collections::BTreeSet<u32> = order[..3].iter().map(|id| place(id).0).collect();
        assert_eq!((regions.len(), distinct(6)), (3, 6), "{order:?}");
    }
}

/// Compares `small` with `big`, which has one more server. Returns how many of `keys`, in permille, changed their first
/// server and their first three. Checks that keys moved only to the new server or, in the other direction, only from
/// the removed one.
fn moved(small: &Ring, big: &Ring, new: NodeId, keys: u64) -> [f64; 2] {
    let mut counts = [0u64; 2];
    for n in 0..keys {
        let (before, after) = (small.order(&key(n)), big.order(&key(n)));
        for (i, replicas) in [1, 3].into_iter().enumerate() {
            let (before, after) = (&before[..replicas], &after[..replicas]);
            let gained: Vec<NodeId> = after.iter().filter(|id| !before.contains(id)).copied().collect();
            assert!(gained.is_empty() || gained == [new], "{before:?} became {after:?}");
            counts[i] += u64::from(!gained.is_empty());
        }
    }
    counts.map(|count| count as f64 * 1000.0 / keys as f64)
}

#[test]
fn one_server_more_or_less_moves_its_share_and_no_more() {
    for nodes in [3, 5, 10, 40] {
        for gone in [1, nodes / 2 + 1, nodes + 1] {
            let all = plain(nodes + 1);
            let rest: Vec<Member> = all.iter().filter(|m| m.id != NodeId(gone)).cloned().collect();
            let moved = moved(&Ring::new(&rest, 128), &Ring::new(&all, 128), NodeId(gone), 10_000);
            for (moved, least) in moved.into_iter().zip([1000.0, 3000.0].map(|k| k / f64::from(nodes + 1))) {
                assert!((0.7..1.35).contains(&(moved / least)), "n{gone} of {nodes}: {moved:.0}‰ for {least:.0}‰");
            }
        }
    }
}

/// With zones the first replica still moves only to the new server, and no more keys move.
#[test]
fn zones_do_not_make_first_replicas_move() {
    let all: Vec<Member> = (0..13).map(|id| member(id, 1, id as usize % 3, id as usize % 2)).collect();
    let (small, big) = (Ring::new(&all[..12], 64), Ring::new(&all, 64));
    let to_new = |n: &u64| small.order(&key(*n))[0] != big.order(&key(*n))[0];
    let moved: Vec<u64> = (0..10_000).filter(to_new).collect();
    assert!(moved.iter().all(|n| big.order(&key(*n))[0] == NodeId(12)));
    assert!((500..1100).contains(&moved.len()), "{} of 10,000, where 769 is fair", moved.len());
}
