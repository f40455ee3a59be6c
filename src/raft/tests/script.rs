//! Golden transcripts. Each script drives a small group step by step; the snapshot beside it holds what the nodes said.

use super::cluster::{Cluster, Packet};
use super::*;

mod situations;
mod transfers;

/// A group with a transcript.
struct Script(Cluster);

impl Script {
    fn new(size: u32, configure: impl Fn(&mut Config)) -> Script {
        let mut cluster = Cluster::new(size, 1, configure);
        cluster.transcript = Some(String::new());
        Script(cluster)
    }

    /// Adds a heading to the transcript.
    fn says(&mut self, text: &str) {
        self.0.note(&format!("# {text}"));
    }

    /// Advances time until node `n`'s timer expires. Only `n` is woken.
    fn timeout(&mut self, n: u32) {
        self.0.now = self.0.nodes[&id(n)].raft.deadline().unwrap().max(self.0.now);
        self.0.step(id(n), Input::Tick);
    }

    /// Does the same while the other nodes, led by `leader`, go on without being recorded.
    fn timeout_of_isolated(&mut self, n: u32, leader: u32) {
        let transcript = self.0.transcript.take();
        while self.0.nodes[&id(n)].raft.deadline().unwrap() > self.0.now {
            self.pass(100, &[leader]);
            self.deliver_without(&[n]);
        }
        self.0.transcript = transcript;
        self.0.step(id(n), Input::Tick);
    }

    /// Advances time for all nodes. Only those in `woken` get a tick.
    fn pass(&mut self, ms: u64, woken: &[u32]) {
        self.0.pass(ms);
        for &n in woken {
            self.0.step(id(n), Input::Tick);
        }
    }

    /// Delivers messages, oldest first, until none is left. Drops those for which `lost` holds.
    fn deliver_unless(&mut self, lost: impl Fn(&Packet) -> bool) {
        while !self.0.net.is_empty() {
            let packet = self.0.net.remove(0);
            if !lost(&packet) {
                self.0.deliver(packet);
            }
        }
    }

    fn deliver(&mut self) {
        self.deliver_unless(|_| false);
    }

    /// Delivers messages until none is left. Drops those to or from the nodes in `cut`.
    fn deliver_without(&mut self, cut: &[u32]) {
        self.deliver_unless(|p| cut.contains(&p.from.0) || cut.contains(&p.to.0));
    }

    fn elect(&mut self, n: u32) {
        self.timeout(n);
        self.deliver();
    }

    fn propose(&mut self, n: u32, text: &str) {
        self.0.request(id(n), |id| Request::Propose { id, command: command(text) });
    }

    /// Restarts node `n` with this term and a log with entries of these terms.
    fn with_log(&mut self, n: u32, term: Term, terms: &[Term]) {
        let entries =
            terms.iter().enumerate().map(|(i, &term)| Entry { term, command: command(&format!("e{}", i + 1)) });
        let recovered = Recovered { term, entries: entries.collect(), ..Recovered::default() };
        self.0.start_with(id(n), recovered);
    }

    fn logs(&mut self) {
        for node in self.0.nodes.keys().copied().collect::<Vec<_>>() {
            let line = transcript::log(&self.0.nodes[&node].raft);
            self.0.note(&line);
        }
    }

    fn end(mut self) -> String {
        self.0.check_logs();
        self.0.transcript.take().unwrap()
    }
}

/// §5.2: two candidates of one term split the votes; an election in the next term succeeds.
#[test]
fn split_vote() {
    let mut s = Script::new(4, |_| {});
    s.says("n1 and n2 stand at the same time; each is promised a majority before");
    s.timeout(1);
    s.timeout(2);
    let late = |p: &Packet| matches!(p.message.body, Body::Vote { pre: false, .. });
    let mut votes = Vec::new();
    while let Some(packet) = (!s.0.net.is_empty()).then(|| s.0.net.remove(0)) {
        if late(&packet) { votes.push(packet) } else { s.0.deliver(packet) }
    }
    s.says("n3 hears n1 first, n4 hears n2 first");
    votes.sort_by_key(|p| (p.to, p.from.0 ^ if p.to == id(4) { 3 } else { 0 }));
    s.0.net = votes;
    s.deliver();
    s.says("no node has three of four; n1's timer fires first");
    s.elect(1);
    assert_eq!(s.0.raft(1).status().soft, SoftState { role: Role::Leader, term: 2, leader: Some(id(1)) });
    insta::assert_snapshot!(s.end());
}

/// A follower with a stalled disk does not count as lost.
#[test]
fn a_heartbeat_is_answered_while_the_disk_is_busy() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    s.0.instant_disk = false;
    s.says("all disks stand still; what is proposed waits for them");
    s.propose(1, "a");
    s.deliver();
    for _ in 0..8 {
        s.pass(300, &[1]);
        s.deliver();
    }
    assert_eq!(s.0.raft(1).status().soft, SoftState { role: Role::Leader, term: 1, leader: Some(id(1)) });
    assert_eq!(s.0.raft(1).status().commit, 1);
    s.says("the disk of n2 goes on, and that of n1");
    s.0.sync(id(2));
    s.0.sync(id(1));
    s.deliver();
    assert_eq!(s.0.raft(1).status().commit, 2);
    insta::assert_snapshot!(s.end());
}

/// Figure 7: a new leader and the six kinds of follower it may meet.
#[test]
fn figure_7() {
    let mut s = Script::new(7, |_| {});
    let logs: [&[Term]; 7] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    for (n, log) in (1..).zip(logs) {
        s.with_log(n, 7, log);
    }
    s.logs();
    s.says("n1 is elected in term 8 by n2, n3, n6, n7: n4 and n5 have more");
    s.elect(1);
    s.says("the next heartbeat tells the commit index");
    s.pass(200, &[1]);
    s.deliver();
    s.logs();
    for n in 2..=7 {
        assert!(s.0.raft(n).entries(1).eq(s.0.raft(1).entries(1)), "n{n} differs");
    }
    insta::assert_snapshot!(s.end());
}

/// Figure 8: an entry of an older term is not committed merely because a majority of disks holds it.
#[test]
fn figure_8() {
    let mut s = Script::new(5, |config| config.max_append_bytes = 1);
    s.says("(a) n1 leads term 2 and brings its entry 2 to n2 only");
    for n in 1..=5 {
        s.with_log(n, 1, &[1]);
    }
    s.timeout(1);
    s.deliver_unless(|p| matches!(p.message.body, Body::Append { .. }) && p.to != id(2));
    s.says("(b) n1 crashes; n5 leads term 3 with the votes of n3 and n4, and keeps its entry 2 to itself");
    s.0.crash(id(1), 0);
    s.timeout(5);
    s.deliver_unless(|p| p.to == id(2) || matches!(p.message.body, Body::Append { .. }));
    s.says("(c) n5 crashes; n1 leads term 4 and brings the entry of term 2 to n3: on a majority, yet not committed");
    s.0.crash(id(5), 0);
    s.0.restart(id(1));
    s.timeout(1);
    let new = |p: &Packet| match &p.message.body {
        Body::Append { entries, .. } => p.to == id(4) || entries.iter().any(|e| e.term == 4),
        _ => false,
    };
    s.deliver_unless(new);
    s.says("n1 has learnt of term 3 and tries again; its no-op of term 4 reaches no other node");
    s.timeout(1);
    s.deliver_unless(new);
    s.pass(100, &[1]);
    s.deliver_unless(new);
    assert_eq!(s.0.raft(1).status().soft, SoftState { role: Role::Leader, term: 4, leader: Some(id(1)) });
    assert_eq!(s.0.raft(3).term_at(2), Some(2));
    assert_eq!(s.0.raft(1).status().commit, 0, "committed by counting");
    s.logs();
    s.says("(d) n1 crashes; n5 may lead term 5 and replace it everywhere");
    s.0.crash(id(1), 0);
    s.0.restart(id(5));
    s.timeout(5);
    s.deliver();
    s.timeout(5);
    s.deliver();
    s.0.restart(id(1));
    s.pass(100, &[5]);
    s.deliver();
    s.logs();
    assert!((1..=5).all(|n| s.0.raft(n).term_at(2) == Some(3)));
    insta::assert_snapshot!(s.end());
}

/// Thesis §9.6: a node that was partitioned away returns without a higher term, and gets no answer to its pre-votes.
#[test]
fn prevote_of_an_isolated_node() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    s.says("n3 is cut off and stands again and again; its term stays");
    for _ in 0..3 {
        s.timeout_of_isolated(3, 1);
        s.deliver_without(&[3]);
    }
    s.says("it comes back, still asking; the others are loyal to n1 and say nothing");
    s.timeout_of_isolated(3, 1);
    s.deliver();
    s.says("the next heartbeat makes it a follower");
    s.pass(100, &[1]);
    s.deliver();
    assert_eq!(s.0.raft(3).status().soft, SoftState { role: Role::Follower, term: 1, leader: Some(id(1)) });
    insta::assert_snapshot!(s.end());
}

/// Thesis §6.4: a deposed leader that does not know it yet answers no read.
#[test]
fn read_on_a_deposed_leader() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    s.says("a read takes a round");
    s.0.request(id(1), |id| Request::Read { id });
    s.deliver();
    s.says("n1 is cut off and its clock stands still; n2 leads and commits");
    s.0.set_clock_rate(id(1), -900_000);
    s.pass(500, &[]);
    s.timeout(2);
    s.deliver_without(&[1]);
    s.propose(2, "new");
    s.deliver_without(&[1]);
    s.says("a read at n1 waits: no node answers its round");
    let read = s.0.request(id(1), |id| Request::Read { id });
    s.deliver_without(&[1]);
    s.says("the link mends; n1 hears of term 2 and refuses");
    s.pass(100, &[2]);
    s.deliver();
    let refusal = format!("refuses request {read}");
    let text = s.end();
    assert!(text.contains(&refusal));
    insta::assert_snapshot!(text);
}

/// §7: a follower whose next entry is compacted away gets the snapshot in chunks, then the log.
#[test]
fn snapshot_to_a_lagging_follower() {
    let mut s = Script::new(3, |config| config.keep_entries = 1);
    s.elect(1);
    s.says("n3 sleeps while two entries are committed and compacted");
    for text in ["a", "b"] {
        s.propose(1, text);
        s.deliver_without(&[3]);
    }
    s.0.compact(id(1));
    s.logs();
    s.says("n3 wakes up; one chunk is lost on the way");
    s.pass(100, &[1]);
    let lost = std::cell::Cell::new(false);
    s.deliver_unless(|p| matches!(p.message.body, Body::Snapshot { offset: 7, .. }) && !lost.replace(true));
    s.says("no answer for an election timeout: it is sent again");
    for _ in 0..6 {
        s.pass(100, &[1]);
        s.deliver();
    }
    s.logs();
    assert_eq!(s.0.raft(3).status().commit, 3);
    insta::assert_snapshot!(s.end());
}

/// Thesis §3.10: the leader stops proposals, the target catches up and campaigns at once, and stickiness does not
/// prevent it.
#[test]
fn transfer() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    s.says("n3 misses an entry, then is to take over");
    s.propose(1, "x");
    s.deliver_without(&[3]);
    s.0.request(id(1), |request| Request::Transfer { id: request, to: id(3) });
    s.propose(1, "too late");
    s.pass(100, &[1]);
    s.deliver();
    assert_eq!(s.0.raft(3).status().soft.role, Role::Leader);
    s.says("a transfer to one who is away is given up after an election timeout");
    s.0.request(id(3), |request| Request::Transfer { id: request, to: id(1) });
    for _ in 0..6 {
        s.pass(100, &[3]);
        s.deliver_without(&[1]);
    }
    s.propose(3, "open again");
    s.deliver();
    insta::assert_snapshot!(s.end());
}

/// Thesis §6.2: a leader that gets no answer from a majority steps down after an election timeout.
#[test]
fn check_quorum() {
    let mut s = Script::new(3, |_| {});
    s.elect(1);
    s.says("n1 receives nothing");
    for _ in 0..6 {
        s.pass(100, &[1]);
        s.deliver_without(&[1]);
    }
    assert_eq!(s.0.raft(1).status().soft, SoftState { role: Role::Follower, term: 1, leader: None });
    insta::assert_snapshot!(s.end());
}

/// A message is sent only once its records are durable: a crash between writing and sending loses both.
#[test]
fn crash_between_persist_and_send() {
    let mut s = Script::new(3, |_| {});
    s.0.instant_disk = false;
    s.says("n2's vote for n1 is written, not durable: the answer waits, and is lost with it");
    s.timeout(1);
    s.deliver_without(&[3]);
    s.0.sync(id(1));
    s.deliver_without(&[3]);
    s.0.crash(id(2), 0);
    s.0.restart(id(2));
    s.deliver();
    assert_eq!((s.0.raft(2).status().soft.term, s.0.raft(1).status().soft.role), (0, Role::Candidate));
    s.says("n2 is free to vote for n3 in the same term");
    s.timeout(3);
    s.deliver_without(&[1]);
    s.0.sync(id(3));
    s.deliver_without(&[1]);
    s.0.sync(id(2));
    s.deliver_without(&[1]);
    assert_eq!(s.0.raft(3).status().soft, SoftState { role: Role::Leader, term: 1, leader: Some(id(3)) });
    s.says("n3's entry is sent while its own disk still writes, but counts there only once durable");
    s.0.sync(id(2));
    s.deliver_without(&[1]);
    assert_eq!(s.0.raft(3).status().commit, 0);
    s.0.sync(id(3));
    assert_eq!(s.0.raft(3).status().commit, 1);
    insta::assert_snapshot!(s.end());
}

/// §5.2, §8: a group of one waits for its own disk, and for nothing else.
#[test]
fn group_of_one() {
    let mut s = Script::new(1, |_| {});
    s.0.instant_disk = false;
    s.timeout(1);
    assert_eq!(s.0.raft(1).status().soft.role, Role::Candidate);
    s.0.sync(id(1));
    s.propose(1, "x");
    s.0.request(id(1), |id| Request::Read { id });
    s.0.sync(id(1));
    assert_eq!(s.0.raft(1).status().commit, 2);
    insta::assert_snapshot!(s.end());
}

/// An idle group quiesces, a late copy of the `Quiesce` does no harm, and a proposal wakes the group.
#[test]
fn falls_asleep_and_wakes() {
    let mut s = Script::new(3, |config| config.quiesce = true);
    s.elect(1);
    s.propose(1, "x");
    s.deliver();
    s.says("at the next heartbeat nothing is left to do; n3 does not hear it");
    s.pass(100, &[1]);
    let copy = s.0.net[0].clone();
    s.deliver_without(&[3]);
    assert_eq!([1, 2, 3].map(|n| s.0.raft(n).is_asleep()), [false, true, false]);
    s.says("so n1 says it again");
    s.pass(100, &[1]);
    s.deliver();
    assert!((1..=3).all(|n| s.0.raft(n).is_asleep() && s.0.raft(n).deadline().is_none()));
    s.says("a minute later: a proposal wakes all");
    s.pass(60_000, &[1, 2, 3]);
    s.propose(1, "y");
    s.deliver();
    assert_eq!(s.0.raft(1).status().commit, 3);
    s.says("a late copy does not speak of the end of n2's log: it stays awake");
    s.0.deliver(copy);
    s.deliver();
    assert!(!s.0.raft(2).is_asleep());
    s.says("and all fall asleep again");
    s.pass(100, &[1]);
    s.deliver();
    assert!((1..=3).all(|n| s.0.raft(n).is_asleep()));
    insta::assert_snapshot!(s.end());
}

/// Bulk data has its own lane, so an append may arrive after all members have quiesced. It wakes a follower. The
/// follower's reply wakes the leader, which quiesces it again. Otherwise the follower would depose a healthy leader.
#[test]
fn what_comes_late_does_not_depose_a_sleeping_leader() {
    let mut s = Script::new(3, |config| config.quiesce = true);
    s.elect(1);
    s.propose(1, "x");
    let late = s.0.net[0].clone();
    s.deliver();
    s.pass(100, &[1]);
    s.deliver();
    assert!((1..=3).all(|n| s.0.raft(n).is_asleep()));
    s.says("a copy of the append arrives after all have fallen asleep");
    s.0.deliver(late);
    assert!(!s.0.raft(2).is_asleep());
    s.deliver();
    assert!((1..=3).all(|n| s.0.raft(n).is_asleep()));
    insta::assert_snapshot!(s.end());
}

/// The leader of a quiesced group fails: waking one follower is enough to elect a new leader.
#[test]
fn a_sleeping_group_elects_another_leader() {
    let mut s = Script::new(3, |config| config.quiesce = true);
    s.elect(1);
    s.pass(100, &[1]);
    s.deliver();
    s.says("a needless alarm: n2 asks the leader, who answers, and all sleep on");
    s.pass(60_000, &[]);
    s.0.request(id(2), |_| Request::Wake);
    s.deliver();
    assert!((1..=3).all(|n| s.0.raft(n).is_asleep()));
    s.says("n1 dies and n2 is told");
    s.0.crash(id(1), 0);
    s.0.request(id(2), |_| Request::Wake);
    s.deliver();
    s.says("n3 still slept: the first pre-vote only wakes it, the second is answered");
    s.elect(2);
    assert!(!s.0.raft(3).is_asleep());
    s.elect(2);
    assert_eq!(s.0.raft(2).status().soft, SoftState { role: Role::Leader, term: 2, leader: Some(id(2)) });
    insta::assert_snapshot!(s.end());
}

/// A lease expires while its leader is quiesced: quiescence does not renew it, and a later read takes a round.
#[test]
fn a_lease_does_not_outlast_sleep() {
    let mut s = Script::new(3, |config| (config.quiesce, config.lease_ppm) = (true, Some(0)));
    s.0.pass(1000);
    s.elect(1);
    s.pass(100, &[1]);
    s.deliver();
    assert!(s.0.raft(1).is_asleep());
    s.says("the followers owe n1 an election timeout from when it last asked: for so long it answers at once");
    s.pass(499, &[]);
    s.0.request(id(1), |id| Request::Read { id });
    s.deliver();
    s.pass(500, &[]);
    s.says("asked again, and later than that: a round, for which all wake");
    s.0.request(id(1), |id| Request::Read { id });
    s.deliver();
    insta::assert_snapshot!(s.end());
}
