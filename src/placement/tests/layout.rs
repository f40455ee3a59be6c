//! Slots, groups and their voters.

use super::*;
use std::collections::BTreeSet;

fn layout(capacities: &[u32], groups: u32, voters: u32) -> Layout {
    let member = |(id, capacity): (u32, &u32)| Member { capacity: *capacity, ..Member::plain(NodeId(id)) };
    Layout::new((1..).zip(capacities).map(member).collect(), Buckets::default(), groups, voters)
}

/// Returns the number of groups each server is the preferred leader of.
fn leads(layout: &Layout) -> BTreeMap<NodeId, u32> {
    let mut leads = BTreeMap::new();
    layout.all_groups().for_each(|group| *leads.entry(layout.voters_of(group)[0]).or_default() += 1);
    leads
}

#[test]
fn slots_and_groups_are_covered_evenly() {
    for groups in [1, 3, 5, 1000, SLOTS, u32::MAX] {
        let layout = layout(&[1, 1, 1], groups, 3);
        let groups = layout.groups;
        let keys_each = (200_000 / groups).max(20);
        let mut count = vec![0u32; groups as usize];
        (0..groups * keys_each).for_each(|n| count[layout.group_of(&n.to_le_bytes()).0 as usize - 1] += 1);
        let (least, most) = (count.iter().min().unwrap(), count.iter().max().unwrap());
        assert!(*least > 0 && *most < keys_each * 3, "{groups} groups have {least} to {most} keys of {keys_each}");
    }
}

#[test]
fn leads_are_spread() {
    for (nodes, voters) in [(5, 3), (5, 5), (5, 1), (7, 3), (12, 5)] {
        let layout = layout(&vec![1; nodes], 1000, voters);
        let leads = leads(&layout);
        let fair = 1000 / nodes as u32;
        assert_eq!(leads.len(), nodes);
        let near = if voters == 1 { fair * 6 / 10..=fair * 14 / 10 } else { fair * 95 / 100..=fair * 105 / 100 };
        assert!(leads.values().all(|n| near.contains(n)), "{nodes} nodes, {voters} voters: {leads:?}");
    }
    let leads = leads(&layout(&[1, 1, 2, 0, 1], 1000, 3));
    assert_eq!(
        leads.into_iter().collect::<Vec<_>>(),
        [1, 2, 3, 5].map(|n| (NodeId(n), if n == 3 { 400 } else { 200 }))
    );
}

#[test]
fn voters_are_the_first_of_the_order_or_all() {
    let some = layout(&[1; 9], 200, 3);
    for group in some.all_groups() {
        let voters: BTreeSet<NodeId> = some.voters_of(group).into_iter().collect();
        assert_eq!(voters, some.order(&group.0.to_le_bytes())[..3].iter().copied().collect());
    }
    let all = layout(&[1, 0, 1, 1], 3, 9);
    let ids = |group: u32| all.voters_of(GroupId(group)).iter().map(|n| n.0).collect::<Vec<_>>();
    assert_eq!([1, 2, 3].map(ids), [[1, 3, 4], [3, 1, 4], [4, 1, 3]]);
    assert_eq!([0, 4, u32::MAX].map(ids), [[0; 0]; 3]);
    assert_eq!(layout(&[0, 0], 2, 3).voters_of(GroupId(1)), []);
    assert_eq!(layout(&[], 2, 3).voters_of(GroupId(2)), []);
    assert_eq!(layout(&[1; 40], 2, 20).voters_of(GroupId(2)).len(), DEPTH);
}

/// An additional server takes its share of the groups' seats, and no seat moves between the other servers.
#[test]
fn few_groups_move_to_a_new_server() {
    let (small, big) = (layout(&[1; 9], 1000, 3), layout(&[1; 10], 1000, 3));
    let mut moved = 0;
    for group in small.all_groups() {
        let before = small.voters_of(group);
        let gained: Vec<NodeId> = big.voters_of(group).into_iter().filter(|n| !before.contains(n)).collect();
        assert!(gained.is_empty() || gained == [NodeId(10)]);
        moved += gained.len();
    }
    assert!((200..400).contains(&moved), "{moved} of 1,000 groups where 300 is fair");
}

#[test]
fn the_digest_tells_layouts_apart_that_place_differently() {
    let (a, b) = (Member::plain(NodeId(1)), Member::plain(NodeId(2)));
    let of = |members: &[Member], ap: Option<crate::types::Policy>, groups, voters| {
        let named = ap.into_iter().map(|policy| ("carts".to_owned(), Mode::Ap(policy))).collect();
        Layout::new(members.to_vec(), Buckets { default: Mode::Cp, named }, groups, voters).digest()
    };
    let policy = crate::types::Policy::default();
    let first = of(&[a.clone(), b.clone()], Some(policy), 4, 2);
    assert_eq!(
        first,
        of(&[b.clone(), a.clone()], Some(policy), 4, 9),
        "neither order nor more voters than servers count"
    );
    let heavy = Member { capacity: 2, ..b.clone() };
    let far = Member { region: "far".to_owned(), ..b.clone() };
    let others = [
        of(std::slice::from_ref(&a), Some(policy), 4, 2),
        of(&[a.clone(), heavy], Some(policy), 4, 2),
        of(&[a.clone(), far], Some(policy), 4, 2),
        of(&[a.clone(), b.clone()], None, 4, 2),
        of(&[a.clone(), b.clone()], Some(crate::types::Policy { sloppy: false, ..policy }), 4, 2),
        of(&[a.clone(), b.clone()], Some(policy), 5, 2),
        of(&[a, b], Some(policy), 4, 1),
    ];
    let all: BTreeSet<u64> = others.into_iter().chain([first]).collect();
    assert_eq!(all.len(), 8);
}
