//! Situations from the interaction tests and unit tests of etcd's Raft library. Each comment names the test it follows.
use super::*;
use crate::raft::progress::Phase;

pub(super) fn phase(s: &Script, leader: u32, follower: u32) -> &'static str {
    let State::Leader(lead) = &s.0.raft(leader).state else { panic!("n{leader} does not lead") };
    match lead.followers.iter().find(|f| f.id == id(follower)).unwrap().phase {
        Phase::Probe { .. } => "probe",
        Phase::Replicate => "replicate",
        Phase::Snapshot(_) => "snapshot",
    }
}

fn leader(s: &Script) -> Option<u32> {
    let leads = |n: &u32| s.0.nodes[&id(*n)].up && s.0.raft(*n).status().soft.role == Role::Leader;
    (1..=s.0.nodes.len() as u32).filter(leads).max_by_key(|n| s.0.raft(*n).status().soft.term)
}

fn settle(s: &mut Script) {
    for _ in 0..100 {
        s.deliver();
        let writing: Vec<NodeId> = s.0.writing().collect();
        if writing.is_empty() && s.0.net.is_empty() {
            return;
        }
        for n in writing {
            s.0.sync(n);
        }
    }
    panic!("does not settle");
}

fn entry(term: Term, text: &str) -> Entry {
    Entry { term, command: command(text) }
}

fn carries(p: &Packet) -> bool {
    matches!(&p.message.body, Body::Append { entries, .. } if !entries.is_empty())
}

/// async_storage_writes_append_aba_race
#[test]
fn aba_race() {
    let mut raft =
        Raft::new(Config::new(id(1), (1..=7).map(NodeId).collect()), Recovered::default(), Time(0), Rng::new(1, "aba"));
    let mut out = Outbox::default();
    let mut disk = Vec::new();
    let mut say = |raft: &mut Raft, from: u32, term, prev: (Index, Term), entries: Vec<Entry>| {
        let body = Body::Append { prev_index: prev.0, prev_term: prev.1, entries, commit: 0, round: 1 };
        raft.step(Time(1), Input::Message(id(from), Message { term, body }), &mut out);
        let sent = std::mem::take(&mut out.sends);
        let taken = out.take_records();
        let ticket = taken.as_ref().map(|(t, _)| *t);
        disk.extend(taken);
        (ticket, sent)
    };
    let (a, _) = say(&mut raft, 2, 1, (0, 0), vec![entry(1, ""), entry(1, "a")]);
    let (b, sent_b) = say(&mut raft, 3, 2, (1, 1), vec![entry(2, "b")]);
    assert_eq!(sent_b.last().unwrap().after, b);
    // A third leader sends an empty append first, which brings its term. Then it sends the *old* entry again, and its
    // no-op.
    let (c, _) = say(&mut raft, 4, 3, (1, 1), vec![]);
    let (d, sent_d) = say(&mut raft, 4, 3, (1, 1), vec![entry(1, "a"), entry(3, "")]);
    let last = sent_d.last().unwrap();
    assert_eq!(last.after, d);
    assert!(matches!(last.message.body, Body::AppendReply { result: AppendResult::Matched(3), .. }));
    let mut o = Outbox::default();
    for (ticket, most) in [(a, 1), (b, 1), (c, 1), (d, 3)] {
        raft.step(Time(2), Input::Persisted(ticket.unwrap()), &mut o);
        assert_eq!(raft.status().durable, most, "after {ticket:?}");
    }
    let mut recovered = Recovered::default();
    for record in disk.into_iter().flat_map(|(_, r)| r) {
        recovered.replay(record).unwrap();
    }
    assert_eq!(recovered.entries.iter().map(|e| e.term).collect::<Vec<_>>(), [1, 1, 3]);
}

/// async_storage_writes: two batches in flight, a commit before the leader's own disk is done, a crash of the leader.
#[test]
fn pipeline_of_writes() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    s.0.instant_disk = false;
    s.propose(1, "a");
    s.propose(1, "b");
    s.deliver();
    assert_eq!(s.0.raft(1).status().commit, 1, "no disk has it");
    s.0.sync(id(2));
    s.deliver();
    assert_eq!(s.0.raft(1).status().commit, 1, "one disk of three");
    s.0.sync(id(3));
    s.deliver();
    let status = s.0.raft(1).status();
    assert_eq!((status.commit, status.durable), (3, 1), "two disks, not the leader's");
    s.propose(1, "c");
    s.deliver();
    s.0.crash(id(1), 0);
    s.0.restart(id(1));
    assert_eq!(s.0.raft(1).status().last, 1);
    s.0.pass(1000);
    s.timeout(2);
    settle(&mut s);
    if leader(&s).is_none() {
        s.timeout(3);
        settle(&mut s);
    }
    let l = leader(&s).unwrap();
    s.pass(100, &[l]);
    settle(&mut s);
    assert!((1..=3).all(|n| s.0.raft(n).status().commit >= 4), "{:?}", [1, 2, 3].map(|n| s.0.raft(n).status()));
    s.0.check_logs();
}

/// heartbeat_resp_recovers_from_probing
#[test]
fn heartbeat_ends_probing() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    s.propose(1, "a");
    s.deliver_unless(|p| p.to == id(3) && carries(p));
    s.propose(1, "b");
    s.propose(1, "c");
    // n3 rejects twice, so the earlier append is lost, not late. The probe that follows is lost too.
    let heard = std::cell::Cell::new(0);
    s.deliver_unless(|p| p.to == id(3) && carries(p) && heard.replace(heard.get() + 1) >= 2);
    assert_eq!(phase(&s, 1, 3), "probe");
    s.deliver();
    assert_eq!(phase(&s, 1, 3), "probe", "waits");
    s.pass(100, &[1]);
    s.deliver();
    assert_eq!(phase(&s, 1, 3), "replicate");
    assert_eq!(s.0.raft(3).status().last, 4);
}

/// lagging_commit
#[test]
fn lagging_commit() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    s.propose(1, "a");
    s.propose(1, "b");
    s.deliver_unless(|p| p.from == id(3));
    assert_eq!((s.0.raft(1).status().commit, s.0.raft(3).status().commit), (3, 1));
    s.pass(100, &[1]);
    s.deliver_without(&[3]);
    assert_eq!((s.0.raft(2).status().commit, s.0.raft(3).status().commit), (3, 1));
    s.pass(100, &[1]);
    s.deliver();
    assert_eq!(s.0.raft(3).status().commit, 3, "one heartbeat");
}

/// replicate_pause
#[test]
fn replicate_pause() {
    let mut s = Script::new(3, |c| (c.max_in_flight, c.max_append_bytes) = (3, 1));
    s.elect(1);
    s.pass(100, &[1]);
    s.deliver();
    for n in 0..6 {
        s.propose(1, &n.to_string());
    }
    for n in [2, 3] {
        assert_eq!(s.0.net.iter().filter(|p| p.to == id(n) && carries(p)).count(), 3);
    }
    s.deliver_unless(|p| p.to == id(3));
    assert_eq!(s.0.raft(1).status().commit, 7);
    for n in 0..3 {
        s.propose(1, &n.to_string());
    }
    assert_eq!(s.0.net.iter().filter(|p| p.to == id(3) && carries(p)).count(), 0, "paused");
    s.deliver();
    assert_eq!(s.0.raft(3).status().last, 1);
    s.pass(100, &[1]);
    s.deliver();
    assert_eq!(s.0.raft(3).status().last, 10);
    assert_eq!(phase(&s, 1, 3), "replicate");
}

/// slow_follower_after_compaction
#[test]
fn slow_follower_after_compaction() {
    let mut s = Script::new(3, |c| (c.max_in_flight, c.max_append_bytes, c.keep_entries) = (2, 1, 0));
    s.elect(1);
    for n in 0..3 {
        s.propose(1, &n.to_string());
        s.deliver();
    }
    for n in 0..7 {
        s.propose(1, &n.to_string());
        s.deliver_unless(|p| p.to == id(3) && carries(p));
    }
    assert_eq!(s.0.raft(1).status().commit, 11);
    s.0.compact(id(1));
    assert_eq!(s.0.raft(1).status().first, 12);
    s.pass(100, &[1]);
    s.deliver();
    for _ in 0..3 {
        s.pass(100, &[1]);
        s.deliver();
    }
    assert_eq!(s.0.raft(3).status().commit, 11);
    assert_eq!(phase(&s, 1, 3), "replicate");
}

/// snapshot_succeed_via_app_resp: the snapshot ends with the leader's last entry, and the reply is lost.
#[test]
fn snapshot_answer_lost() {
    let mut s = Script::new(3, |c| c.keep_entries = 0);
    s.timeout(1);
    s.deliver_without(&[3]);
    s.propose(1, "a");
    s.deliver_without(&[3]);
    s.0.compact(id(1));
    s.pass(100, &[1]);
    s.deliver_unless(|p| matches!(p.message.body, Body::SnapshotReply { installed: true, .. }));
    assert_eq!((s.0.raft(3).status().commit, phase(&s, 1, 3)), (2, "snapshot"));
    s.pass(100, &[1]);
    let again = std::cell::Cell::new(0);
    s.deliver_unless(|p| {
        again.set(again.get() + u32::from(matches!(p.message.body, Body::Snapshot { .. })));
        false
    });
    assert_eq!((phase(&s, 1, 3), again.get()), ("replicate", 0));
    s.propose(1, "b");
    s.deliver();
    assert_eq!(s.0.raft(3).status().last, 3);
}

/// snapshot_succeed_via_app_resp_behind: the installed snapshot is older than the entries the leader still has.
#[test]
fn snapshot_behind() {
    let mut s = Script::new(3, |c| (c.keep_entries, c.max_pinned_bytes) = (0, 0));
    s.timeout(1);
    s.deliver_without(&[3]);
    s.propose(1, "a");
    s.deliver_without(&[3]);
    s.0.compact(id(1));
    s.pass(100, &[1]);
    s.deliver_unless(|p| matches!(p.message.body, Body::SnapshotReply { installed: true, .. }));
    assert_eq!(s.0.raft(3).status().commit, 2);
    s.propose(1, "b");
    s.propose(1, "c");
    s.deliver_without(&[3]);
    s.0.compact(id(1));
    assert_eq!(s.0.raft(1).status().first, 5);
    let mut beats = 0;
    while s.0.raft(3).status().commit < 4 {
        s.pass(100, &[1]);
        s.deliver();
        beats += 1;
        assert!(beats < 10);
    }
    assert_eq!(phase(&s, 1, 3), "replicate");
}

/// prevote: a node with an outdated log gets no pre-vote, although no node is sticky any more.
#[test]
fn prevote_behind() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    s.propose(1, "a");
    s.deliver_without(&[3]);
    s.0.crash(id(1), 0);
    s.0.pass(2000);
    s.timeout(3);
    s.deliver();
    assert_eq!(leader(&s), None);
    assert!((2..=3).all(|n| s.0.raft(n).status().soft.term == 1));
    s.timeout(2);
    s.deliver();
    assert_eq!((leader(&s), s.0.raft(2).status().soft.term), (Some(2), 2));
}

/// checkquorum: the old leader's heartbeats arrive after it stepped down.
#[test]
fn checkquorum_slow_network() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    for _ in 0..6 {
        s.pass(100, &[1]);
    }
    assert_eq!(s.0.raft(1).status().soft.role, Role::Follower);
    assert!(!s.0.net.is_empty());
    s.deliver();
    assert_eq!(s.0.raft(1).status().soft, SoftState { role: Role::Follower, term: 1, leader: None });
    s.timeout(2);
    s.deliver();
    assert_eq!((leader(&s), s.0.raft(1).status().soft.leader), (Some(2), Some(id(2))));
}

/// prevote_checkquorum: a quorum that does not hear the leader replaces it, although the leader is healthy.
#[test]
fn quorum_of_precandidates() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    for _ in 0..4 {
        s.pass(100, &[1]);
        s.deliver_unless(|p| p.from == id(1));
    }
    // n1 was not heard for long. n2 and n3 campaign, and one of them wins while n1 still considers itself the leader.
    s.0.pass(400);
    s.timeout(2);
    s.deliver_without(&[1]);
    if leader(&s) == Some(1) {
        s.timeout(3);
        s.deliver_without(&[1]);
    }
    let l = leader(&s).unwrap();
    assert_ne!(l, 1);
    assert_eq!(s.0.raft(1).status().soft.role, Role::Leader, "has not noticed");
    s.pass(100, &[1, l]);
    s.deliver();
    assert_eq!((s.0.raft(1).status().soft.role, s.0.raft(1).status().soft.leader), (Role::Follower, Some(id(l))));
}

/// TestFreeStuckCandidateWithCheckQuorum: a candidate with a term higher than its group's rejoins the group.
#[test]
fn stuck_candidate() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    s.0.request(id(1), |id| Request::Transfer { id, to: NodeId(3) });
    s.deliver_unless(|p| p.from == id(3) && matches!(p.message.body, Body::Vote { .. }));
    assert_eq!((s.0.raft(3).status().soft.term, s.0.raft(3).status().soft.role), (2, Role::Candidate));
    assert_eq!(s.0.raft(1).status().soft.term, 1);
    let mut waits = 0;
    loop {
        s.pass(100, &[]);
        s.0.wake();
        s.deliver();
        waits += 1;
        let l = leader(&s);
        if l.is_some_and(|l| (1..=3).all(|n| s.0.raft(n).status().soft.leader == Some(id(l)))) {
            break;
        }
        assert!(waits < 100, "no leader");
    }
    s.0.check_logs();
}

/// TestNodeWithSmallerTermCanCompleteElection
#[test]
fn smaller_term_completes_election() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    s.pass(100, &[1]);
    s.deliver();
    // n3 is cut off during terms 2 and 3.
    for n in [2, 1] {
        s.0.pass(1000);
        s.timeout(n);
        s.deliver_without(&[3]);
    }
    let term = s.0.raft(2).status().soft.term;
    assert!(term >= 2 && s.0.raft(3).status().soft.term == 1);
    // n2 misses nothing and n1 crashes. n2 and n3 are left, and n3 lacks no-ops, so n2 must win in the end.
    s.0.crash(id(1), 0);
    let mut waits = 0;
    while leader(&s).is_none() {
        s.pass(100, &[]);
        s.0.wake();
        s.deliver();
        waits += 1;
        assert!(waits < 100, "no leader");
    }
    assert_eq!(leader(&s), Some(2));
}

/// TestLeaderTransferAfterSnapshot
#[test]
fn transfer_after_snapshot() {
    let mut s = Script::new(3, |c| c.keep_entries = 0);
    s.elect(1);
    s.propose(1, "a");
    s.deliver_without(&[3]);
    s.propose(1, "b");
    s.deliver_without(&[3]);
    s.0.compact(id(1));
    s.0.request(id(1), |id| Request::Transfer { id, to: NodeId(3) });
    let mut beats = 0;
    while leader(&s) != Some(3) {
        s.deliver();
        s.pass(100, &[1]);
        s.deliver();
        beats += 1;
        assert!(beats < 20, "not handed over: {:?}", [1, 2, 3].map(|n| s.0.raft(n).status().soft));
    }
}

/// TestRestoreIgnoreSnapshot: a late copy of a snapshot has no effect.
#[test]
fn late_snapshot() {
    let mut s = Script::new(3, |c| c.keep_entries = 0);
    s.timeout(1);
    s.deliver_without(&[3]);
    s.propose(1, "a");
    s.deliver_without(&[3]);
    s.0.compact(id(1));
    s.pass(100, &[1]);
    let copies = std::cell::RefCell::new(Vec::new());
    s.deliver_unless(|p| {
        if matches!(p.message.body, Body::Snapshot { .. }) {
            copies.borrow_mut().push(p.clone());
        }
        false
    });
    s.propose(1, "b");
    s.deliver();
    s.pass(100, &[1]);
    s.deliver();
    let before = s.0.raft(3).status();
    assert_eq!(before.commit, 3);
    let restored = s.0.oracle.snapshots_restored;
    for p in copies.into_inner() {
        s.0.deliver(p);
        s.deliver();
    }
    let after = s.0.raft(3).status();
    assert_eq!((after.commit, after.snapshot, s.0.oracle.snapshots_restored), (3, before.snapshot, restored));
    assert_eq!(phase(&s, 1, 3), "replicate");
}

/// Counts of the messages to one follower.
#[derive(Default)]
struct Traffic {
    appends: std::cell::Cell<usize>,
    entries: std::cell::Cell<usize>,
}

impl Traffic {
    fn see(&self, packet: &Packet) {
        if let (true, Body::Append { entries, .. }) = (packet.to == id(3), &packet.message.body) {
            self.appends.set(self.appends.get() + 1);
            self.entries.set(self.entries.get() + entries.len());
        }
    }
}

/// The `Append`s of a burst arrive in reverse order: nothing is sent twice.
#[test]
fn reordered_burst() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    s.pass(100, &[1]);
    s.deliver();
    for n in 0..20 {
        s.propose(1, &n.to_string());
    }
    s.0.net.reverse();
    let traffic = Traffic::default();
    s.deliver_unless(|p| {
        traffic.see(p);
        false
    });
    assert_eq!((s.0.raft(3).status().last, phase(&s, 1, 3)), (21, "replicate"));
    assert_eq!((traffic.appends.get(), traffic.entries.get()), (20, 20));
    s.0.check_logs();
}

/// One `Append` of a stream is lost: the second one after it makes the leader resend, without waiting for a heartbeat.
#[test]
fn one_lost_of_a_stream() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    s.pass(100, &[1]);
    s.deliver();
    let traffic = Traffic::default();
    for n in 0..20 {
        s.propose(1, &n.to_string());
        s.deliver_unless(|p| {
            traffic.see(p);
            n == 5 && p.to == id(3)
        });
    }
    assert_eq!((s.0.raft(3).status().last, phase(&s, 1, 3)), (21, "replicate"));
    assert!(traffic.entries.get() <= 24, "{} entries", traffic.entries.get());
    s.0.check_logs();
}

/// The early `Append`s that a follower keeps are bounded, and are dropped when the term changes.
#[test]
fn early_appends_are_bounded_and_of_one_term() {
    let mut s = Script::new(3, |c| c.max_append_bytes = 100);
    s.elect(1);
    s.pass(100, &[1]);
    s.deliver();
    for n in 0..20 {
        s.propose(1, &format!("{n:020}"));
    }
    let lost = std::cell::Cell::new(true);
    let first = |p: &Packet| p.to == id(3) && carries(p) && lost.replace(false);
    s.deliver_unless(|p| first(p) || p.to == id(1));
    assert_eq!(s.0.raft(3).status().last, 1, "the first is missing");
    assert!(format!("{:?}", s.0.raft(3).early).matches("Entry {").count() == 1, "{:?}", s.0.raft(3).early);
    s.0.pass(1000);
    s.timeout(2);
    s.deliver();
    assert_eq!((leader(&s), s.0.raft(3).status().last), (Some(2), 22));
    assert!(!format!("{:?}", s.0.raft(3).early).contains("Entry {"), "the term is over");
    s.0.check_logs();
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let with = |change: fn(&mut Config)| {
        let mut config = Config::new(id(1), vec![id(1), id(2), id(3)]);
        change(&mut config);
        config.validate().map_err(|bad| bad.to_string())
    };
    assert_eq!(with(|_| {}), Ok(()));
    let says = |change, text: &str| assert_eq!(with(change), Err(text.to_owned()));
    says(|c| c.max_in_flight = 0, "max_in_flight is 0; expected at least 1");
    says(|c| c.snapshot_chunk = 0, "snapshot_chunk is 0; expected at least 1");
    says(|c| c.voters = vec![id(2)], "voters is [n2]; expected to hold this node, n1");
    says(
        |c| c.heartbeat = c.election_timeout * 2,
        "heartbeat is 1s; expected more than 0 and at most a third of 500ms",
    );
    says(|c| c.lease_ppm = Some(1_000_000), "lease_ppm is 1000000; expected less than 1000000");
    let refused = std::panic::catch_unwind(|| Cluster::new(3, 1, |c| c.max_append_bytes = 0));
    assert!(refused.is_err(), "and no node is made of it");
}

#[test]
fn a_compaction_that_is_refused_says_so() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    s.propose(1, "a");
    s.deliver();
    let before = s.0.raft(1).status();
    for (index, term) in [(9, 1), (2, 7), (0, 0)] {
        s.0.request(id(1), |_| Request::Compact { meta: SnapshotMeta { index, term } });
    }
    assert_eq!(s.0.raft(1).status(), before);
    let said = s.end();
    let refusals = said.lines().filter(|line| line.contains("does not compact")).count();
    assert_eq!(refusals, 3, "{said}");
}
