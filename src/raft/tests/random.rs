//! Random fault schedules: loss, duplication, reordering, partitions, crashes that lose what was not durable,
//! compaction, clock drift. The oracle checks the invariants after every step. Then the faults end and the group must
//! make progress.

use super::cluster::Cluster;
use super::*;
use std::collections::BTreeSet;
use std::time::Duration;

/// Counts of what a fault schedule did, to prove that it tested something.
#[derive(Default, Debug)]
struct Tally {
    /// Entries committed during the faults.
    commits: u64,
    /// Reads answered and snapshots restored, during the faults and after them.
    reads: usize,
    restores: usize,
}

struct Storm {
    cluster: Cluster,
    rng: Rng,
    /// Directed links that lose all messages.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Probability that time leaps, so that many nodes start elections at once.
    leaps: f64,
    /// Probability that a node crashes and restarts just after a message.
    reboots: f64,
    /// Whether idle groups quiesce.
    quiesce: bool,
    /// Randomness for the additional faults of snapshot transfers.
    snapshots: Rng,
}

impl Storm {
    fn new(seed: u64, mutant: Mutant) -> Storm {
        let mut rng = Rng::new(seed, "storm");
        let size = *rng.pick(&[1, 3, 3, 3, 5, 5]).unwrap();
        let lease = rng.chance(0.3);
        let keep = rng.below(5);
        let max_in_flight = rng.between(1, 4) as usize;
        let timeout = Duration::from_millis(*rng.pick(&[40, 150]).unwrap());
        let max_append_bytes = *rng.pick(&[1, 100]).unwrap();
        let quiesce = rng.chance(0.5);
        let mut snapshots = Rng::new(seed, "snapshots");
        let pinned = *snapshots.pick(&[0, 200, 1 << 20]).unwrap();
        let mut cluster = Cluster::new(size, seed, |config| {
            config.mutant = mutant;
            config.lease_ppm = lease.then_some(10_000);
            config.election_timeout = timeout;
            config.heartbeat = timeout / 5;
            config.keep_entries = keep;
            config.max_pinned_bytes = pinned;
            config.max_in_flight = max_in_flight;
            config.max_append_bytes = max_append_bytes;
            config.max_uncommitted_bytes = 1000;
            config.max_pending_reads = 10;
            config.quiesce = quiesce;
        });
        cluster.instant_disk = rng.chance(0.3);
        for n in 1..=size {
            let rate = rng.below(8000) as i64 - 4000;
            cluster.set_clock_rate(id(n), rate);
        }
        let (leaps, reboots) = (*rng.pick(&[0.01, 0.05, 0.2]).unwrap(), *rng.pick(&[0.0, 0.01, 0.03, 0.15]).unwrap());
        Storm { cluster, rng, cut: BTreeSet::new(), leaps, reboots, quiesce, snapshots }
    }

    fn someone(&mut self) -> NodeId {
        id(self.rng.between(1, self.cluster.nodes.len() as u64) as u32)
    }

    /// Returns a node that considers itself the leader, if there is one, in most cases; otherwise any node.
    fn leader(&mut self) -> NodeId {
        let leads = |id: &&NodeId| {
            let node = &self.cluster.nodes[*id];
            node.up && node.raft.status().soft.role == Role::Leader
        };
        let leaders: Vec<NodeId> = self.cluster.nodes.keys().filter(leads).copied().collect();
        let someone = self.someone();
        if self.rng.chance(0.9) { *self.rng.pick(&leaders).unwrap_or(&someone) } else { someone }
    }

    fn run(&mut self, events: usize) {
        for event in 0..events {
            self.event();
            if event % 64 == 0 {
                self.cluster.check_logs();
            }
        }
        self.cluster.check_logs();
    }

    /// Runs short terms: one node after another starts an election, some messages arrive and the rest are lost, and
    /// sometimes a node crashes or restarts. This often produces the situations of figure 8.
    fn reigns(&mut self) {
        self.cluster.instant_disk = true;
        for _ in 0..40 {
            let who = self.someone();
            // Twice, because the first attempt may only learn of a newer term.
            for _ in 0..2 {
                self.cluster.request(who, |_| Request::Wake);
                let due = self.cluster.nodes[&who].raft.deadline().unwrap_or(self.cluster.now);
                self.cluster.now = due.max(self.cluster.now) + Duration::from_millis(self.rng.below(200));
                self.cluster.step(who, Input::Tick);
                let leads = |storm: &Storm| storm.cluster.nodes[&who].raft.status().soft.role == Role::Leader;
                let patience = self.rng.between(8, 20);
                self.deliver_some(patience, leads);
                if leads(self) {
                    // Many terms end before any node hears of them, or with the first entries.
                    let patience = *self.rng.pick(&[0, 0, 0, 4, 6, 8, 40]).unwrap();
                    self.deliver_some(patience, |_| false);
                    break;
                }
            }
            self.cluster.net.clear();
            if self.rng.chance(0.3) {
                let other = self.someone();
                self.crash_or_restart(other);
            }
        }
        self.cluster.check_logs();
    }

    /// Delivers up to `count` messages in order, or until `enough` holds.
    fn deliver_some(&mut self, count: u64, enough: impl Fn(&Storm) -> bool) {
        for _ in 0..count {
            if self.cluster.net.is_empty() || enough(self) {
                return;
            }
            let packet = self.cluster.net.remove(0);
            self.cluster.deliver(packet);
        }
    }

    fn event(&mut self) {
        self.cluster.busy |= self.snapshots.chance(0.01);
        let who = self.someone();
        match self.rng.below(1000) {
            0..560 => self.deliver(),
            560..700 => {
                let most = if self.rng.chance(self.leaps) { 150 } else { 12 };
                let ms = self.rng.below(most);
                self.cluster.pass(ms);
                self.cluster.wake();
            }
            700..850 => {
                let writing: Vec<NodeId> = self.cluster.writing().collect();
                if let Some(&who) = self.rng.pick(&writing) {
                    self.cluster.sync(who);
                }
            }
            850..900 => {
                let text = self.rng.below(1000).to_string();
                let leader = self.leader();
                self.cluster.request(leader, |id| Request::Propose { id, command: command(&text) });
            }
            900..940 => {
                let leader = self.leader();
                self.cluster.request(leader, |id| Request::Read { id });
            }
            940..950 => self.crash_or_restart(who),
            950..975 => self.cluster.compact(who),
            975..980 => self.cluster.checkpoint(who),
            980..984 => {
                let (leader, to) = (self.leader(), self.someone());
                self.cluster.request(leader, |id| Request::Transfer { id, to });
            }
            984..990 => self.cut_links(who),
            990..994 => {
                self.cluster.request(who, |_| Request::Wake);
            }
            _ => self.cut.clear(),
        }
    }

    fn deliver(&mut self) {
        let waiting = self.cluster.net.len() as u64;
        if waiting == 0 {
            return;
        }
        // Mostly one of the oldest messages, sometimes any.
        let among = if self.rng.chance(0.8) { waiting.min(4) } else { waiting };
        let packet = self.cluster.net.remove(self.rng.below(among) as usize);
        if self.cut.contains(&(packet.from, packet.to)) || self.rng.chance(0.05) {
            return;
        }
        if self.rng.chance(0.05) {
            self.cluster.net.push(packet.clone());
        }
        let to = packet.to;
        let state = |storm: &Storm| {
            let status = storm.cluster.nodes[&to].raft.status();
            let leads = status.soft.role == Role::Leader;
            (status.soft.term, status.vote, leads.then_some(status.commit))
        };
        let before = state(self);
        self.cluster.deliver(packet);
        // The worst moments for a crash are right after a vote, after an election, and after a commit by a leader.
        let worst = if state(self) == before { 1.0 } else { 5.0 };
        if self.cluster.nodes[&to].up && self.rng.chance(self.reboots * worst) {
            self.reboot(to);
        }
    }

    /// Crashes a node and restarts it immediately. Its messages in flight may be lost with its connections.
    fn reboot(&mut self, who: NodeId) {
        if self.rng.chance(0.8) {
            self.cluster.sync(who);
        }
        if self.rng.chance(0.7) {
            self.cluster.net.retain(|packet| packet.from != who);
        }
        self.cluster.crash(who, 0);
        self.cluster.restart(who);
    }

    fn crash_or_restart(&mut self, who: NodeId) {
        if self.cluster.nodes[&who].up {
            let lucky = self.rng.below(3) as usize;
            self.cluster.crash(who, lucky);
        } else {
            self.cluster.restart(who);
        }
    }

    /// Cuts a node's links: all or one, in one direction or both.
    fn cut_links(&mut self, who: NodeId) {
        let (ways, one) = (self.rng.below(3), self.rng.chance(0.5).then(|| self.someone()));
        for &other in self.cluster.nodes.keys().filter(|&&other| one.is_none_or(|one| one == other)) {
            if ways != 1 {
                self.cut.insert((who, other));
            }
            if ways != 0 {
                self.cut.insert((other, who));
            }
        }
    }

    /// Runs ten milliseconds without faults.
    fn moment(&mut self) {
        for packet in std::mem::take(&mut self.cluster.net) {
            self.cluster.deliver(packet);
        }
        self.cluster.pass(10);
        self.cluster.wake();
    }

    /// Runs without faults until `holds`. Panics if that takes more than 20 simulated seconds.
    fn until(&mut self, what: &str, holds: impl Fn(&Cluster) -> bool) {
        for _ in 0..2000 {
            if holds(&self.cluster) {
                return;
            }
            self.moment();
        }
        panic!("{what} took too long");
    }

    /// Checks quiescence after the faults. The group quiesces and sends nothing more. A member that restarts, or a
    /// needless `Wake`, does not depose the leader. When the leader is dead, a `Wake` is enough for the other members
    /// to elect a new one.
    fn sleep(&mut self) {
        let asleep = |c: &Cluster| c.net.is_empty() && c.nodes.values().all(|n| !n.up || n.raft.deadline().is_none());
        self.until("falling asleep", asleep);
        let term = |c: &Cluster| c.nodes.values().map(|n| n.raft.status().soft.term).max();
        let before = term(&self.cluster);
        let leads = |c: &Cluster, id: NodeId| c.nodes[&id].up && c.nodes[&id].raft.status().soft.role == Role::Leader;
        let members: Vec<NodeId> = self.cluster.nodes.keys().copied().collect();
        let leader = *members.iter().find(|id| leads(&self.cluster, **id)).expect("someone leads");
        let other = *members.iter().rfind(|id| **id != leader).unwrap_or(&leader);
        self.cluster.pass(60_000);
        self.cluster.request(other, |_| Request::Wake);
        self.until("falling asleep after a needless alarm", asleep);
        if other != leader {
            self.reboot(other);
            self.until("falling asleep with a member that restarted", asleep);
        }
        assert!(leads(&self.cluster, leader) && term(&self.cluster) == before, "a sleeping leader was deposed");
        if members.len() > 2 {
            self.cluster.crash(leader, 0);
            self.cluster.request(other, |_| Request::Wake);
            let elected = |c: &Cluster| {
                members.iter().any(|id| leads(c, *id) && c.raft(id.0).status().commit == c.raft(id.0).status().last)
            };
            self.until("an election among sleepers", elected);
            self.cluster.restart(leader);
            self.until("falling asleep under another leader", asleep);
        }
        self.cluster.check_logs();
    }

    /// Ends the faults. Within 20 simulated seconds a new proposal must be committed and all nodes must catch up.
    fn calm(&mut self) -> Tally {
        self.cluster.instant_disk = true;
        for node in self.cluster.nodes.keys().copied().collect::<Vec<_>>() {
            if self.cluster.nodes[&node].up {
                self.cluster.sync(node);
            } else {
                self.cluster.restart(node);
            }
        }
        let before = self.cluster.oracle.commit();
        for round in 0..2000 {
            if round == 1980 {
                self.cluster.transcript = Some(String::new());
            }
            self.moment();
            if round % 20 == 0 {
                for n in 1..=self.cluster.nodes.len() as u32 {
                    self.cluster.request(id(n), |id| Request::Propose { id, command: command("calm") });
                    self.cluster.request(id(n), |id| Request::Read { id });
                }
            }
            let commits: BTreeSet<Index> = self.cluster.nodes.values().map(|n| n.raft.status().commit).collect();
            if commits.len() == 1 && self.cluster.oracle.commit() > before {
                self.cluster.check_logs();
                let oracle = &self.cluster.oracle;
                let (reads, restores) = (oracle.reads_answered, oracle.snapshots_restored);
                return Tally { commits: before, reads, restores };
            }
        }
        let logs: Vec<String> = self.cluster.nodes.values().map(|n| transcript::log(&n.raft)).collect();
        panic!("no progress in the calm:\n{}{}", self.cluster.transcript.take().unwrap_or_default(), logs.join("\n"));
    }
}

/// Runs one fault schedule. Panics if the oracle or the core itself finds a violation.
fn storm(seed: u64, mutant: Mutant, events: usize) -> Tally {
    let mut storm = Storm::new(seed, mutant);
    if seed.is_multiple_of(3) {
        storm.reigns();
    } else {
        storm.run(events);
    }
    let tally = storm.calm();
    if storm.quiesce {
        storm.sleep();
    }
    tally
}

#[test]
fn storms_break_nothing() {
    let mut total = Tally::default();
    for seed in 0..4000 {
        let result = std::panic::catch_unwind(|| storm(seed, Mutant::default(), 1500));
        let tally = result.unwrap_or_else(|_| panic!("seed {seed}"));
        total.commits += tally.commits;
        total.reads += tally.reads;
        total.restores += tally.restores;
    }
    println!("{total:?}");
    assert!(total.commits > 10_000 && total.reads > 5_000 && total.restores > 500, "a calm, not a storm: {total:?}");
}

/// Every planted bug is found, and by the property it violates.
#[cfg(feature = "mutants")]
#[test]
fn planted_bugs_are_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    let cases = [
        (Bug::VoteTwice, vec!["election safety"]),
        (Bug::CommitOldTerm, vec!["state machine safety", "leader completeness"]),
        (Bug::StaleRead, vec!["stale read"]),
        (Bug::CommitBeyondMatch, vec!["state machine safety", "leader completeness"]),
        (Bug::StaleSnapshotInstalled, vec!["the commit index would go back"]),
    ];
    let caught = cases.map(|(bug, properties)| {
        let found = (0..10_000).find_map(|seed| {
            let panic = std::panic::catch_unwind(|| storm(seed, Mutant::planted(bug), 1500)).err()?;
            let fixed = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = panic.downcast::<String>().ok().map(|text| *text).or(fixed);
            let text = text.unwrap_or_else(|| "?".to_owned());
            Some((seed, text))
        });
        (bug, properties, found)
    });
    let _ = std::panic::take_hook();
    for (bug, properties, found) in caught {
        let (seed, text) = found.unwrap_or_else(|| panic!("{bug:?} was not caught"));
        println!("{bug:?}: seed {seed}: {text}");
        assert!(properties.iter().any(|p| text.contains(p)), "{bug:?}: {text}");
    }
}
