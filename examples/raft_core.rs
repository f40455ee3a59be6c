//! The Raft core as a library: three members in one process, with a simulated network and simulated disks.
//!
//! `cargo run --example raft_core`. A member is a value; [`step`](Protocol::step) takes an input and returns what to
//! write, what to send and what to apply. Here the disks are instant and the network is a queue.

use seaworthy::protocol::{Input, Outbox, Protocol};
use seaworthy::raft::{Config, Effect, Message, Raft, Recovered, Request, Role};
use seaworthy::types::{Bytes, NodeId, Rng, Time};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A member: its core, the core's outbox, and the commands applied so far.
struct Member {
    raft: Raft,
    out: Outbox<Raft>,
    applied: Vec<Bytes>,
}

/// The group, the messages in flight (from, to), and the time.
struct Group {
    members: BTreeMap<NodeId, Member>,
    network: VecDeque<(NodeId, NodeId, Message)>,
    now: Time,
}

impl Group {
    fn new(size: u32) -> Group {
        let voters: Vec<NodeId> = (1..=size).map(NodeId).collect();
        let member = |&id: &NodeId| {
            let config = Config::new(id, voters.clone());
            config.validate().expect("the defaults are sound");
            let raft = Raft::new(config, Recovered::default(), Time(0), Rng::new(7, &id.to_string()));
            (id, Member { raft, out: Outbox::default(), applied: Vec::new() })
        };
        Group { members: voters.iter().map(member).collect(), network: VecDeque::new(), now: Time(0) }
    }

    /// Gives one member an input and executes its outputs.
    fn step(&mut self, id: NodeId, input: Input<Raft>) {
        let member = self.members.get_mut(&id).expect("a member");
        member.raft.step(self.now, input, &mut member.out);
        // A disk would write the records and report that later; until then, messages that wait for the ticket must not
        // be sent.
        while let Some((ticket, _records)) = member.out.take_records() {
            member.raft.step(self.now, Input::Persisted(ticket), &mut member.out);
        }
        self.network.extend(member.out.sends.drain(..).map(|sent| (id, sent.to, sent.message)));
        for effect in member.out.effects.drain(..) {
            if let Effect::Commit { entries, .. } = effect {
                // An empty entry is the no-op of a new leader.
                member.applied.extend(entries.into_iter().map(|entry| entry.command).filter(|c| !c.is_empty()));
            }
        }
    }

    /// Advances time in steps of 10 ms: fires deadlines and delivers messages.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + Duration::from_millis(10);
            for id in self.members.keys().copied().collect::<Vec<_>>() {
                if self.members[&id].raft.deadline().is_some_and(|deadline| deadline <= self.now) {
                    self.step(id, Input::Tick);
                }
            }
            while let Some((from, to, message)) = self.network.pop_front() {
                self.step(to, Input::Message(from, message));
            }
        }
    }

    fn leader(&self) -> Option<NodeId> {
        let leads = |member: &Member| member.raft.status().soft.role == Role::Leader;
        self.members.iter().find(|(_, member)| leads(member)).map(|(id, _)| *id)
    }
}

/// Elects a leader, proposes three commands and shows that all members applied them.
pub fn main() {
    let mut group = Group::new(3);
    group.run(Duration::from_secs(3));
    let leader = group.leader().expect("three seconds are enough to elect a leader");
    println!("{leader} leads");
    for (id, command) in ["set a 1", "set b 2", "delete a"].into_iter().enumerate() {
        let request = Request::Propose { id: id as u64, command: Bytes::from_static(command.as_bytes()) };
        group.step(leader, Input::Request(request));
    }
    group.run(Duration::from_secs(1));
    for (id, member) in &group.members {
        println!("{id} applied {:?}", member.applied);
        assert_eq!(member.applied, ["set a 1", "set b 2", "delete a"]);
    }
}
