//! A leader lacks a committed entry, or has a different one in its place: the leader or this node does not have the
//! data it wrote.

use super::*;

fn entries(terms: &[Term]) -> Vec<Entry> {
    terms.iter().map(|term| Entry { term: *term, command: command("x") }).collect()
}

/// Returns the outbox of node 1 after node 2, in `term`, sends an `Append` with these entries after `prev`.
fn append(raft: &mut Raft, term: Term, prev: (Index, Term), terms: &[Term], commit: Index) -> Outbox<Raft> {
    let (prev_index, prev_term) = prev;
    let body = Body::Append { prev_index, prev_term, entries: entries(terms), commit, round: 1 };
    let mut out = Outbox::default();
    raft.step(Time(1), Input::Message(id(2), Message { term, body }), &mut out);
    out
}

/// A follower that holds entries of terms 1, 1, 2 and 2, the first three of them committed.
fn follower() -> Raft {
    let config = Config::new(id(1), vec![id(1), id(2), id(3)]);
    let mut raft = Raft::new(config, Recovered::default(), Time(0), Rng::new(1, "follower"));
    append(&mut raft, 2, (0, 0), &[1, 1, 2, 2], 3);
    assert_eq!((raft.status().commit, raft.status().last), (3, 4));
    raft
}

#[test]
fn a_leader_that_contradicts_a_committed_entry_stops_the_node() {
    for (prev, terms, at) in [
        ((0, 0), &[1, 1, 3][..], Some((3, 2, 3))),
        ((1, 1), &[2, 2][..], Some((2, 1, 2))),
        ((3, 3), &[3][..], Some((3, 2, 3))),
        ((2, 2), &[][..], Some((2, 1, 2))),
        ((0, 0), &[1, 1, 2, 3, 3][..], None),
        ((2, 1), &[2, 3][..], None),
        ((3, 2), &[][..], None),
        ((4, 3), &[3][..], None),
    ] {
        let mut raft = follower();
        let out = append(&mut raft, 3, prev, terms, 3);
        let stops = out.effects.iter().find_map(|effect| match effect {
            Effect::Contradicted { from, index, committed, sent } => {
                assert_eq!(*from, id(2));
                Some((*index, *committed, *sent))
            }
            _ => None,
        });
        assert_eq!(stops, at, "{prev:?} {terms:?}");
        let answered = out.sends.iter().any(|sent| matches!(sent.message.body, Body::AppendReply { .. }));
        assert_eq!(answered, at.is_none(), "{prev:?} {terms:?}");
        if at.is_some() {
            assert_eq!(
                (raft.status().commit, raft.status().last, raft.term_at(4)),
                (3, 4, Some(2)),
                "nothing is taken"
            );
        }
    }
}
