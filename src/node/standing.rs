//! The node's standing among its peers ([`crate::identity`]) within the driver. Until the node is a member, its other
//! cores are on the shelf: they accept nothing and are not run, and checkpoints restate their state. If the node has
//! lost data, the cores of Raft groups go to the shelf, or stay there, for good. The AP core then has its peers refill
//! it.

use super::ap::ApHost;
use super::group::Group;
use super::host::Host;
use super::turn::{Now, TurnContext};
use super::{Driver, NodeConfig, Observer};
use crate::dynamo;
use crate::env::{Clock, StorageHost, Transport};
use crate::identity::{self, Accepted, Durable, Effect, Greeting, Identity, Origin, Record, Standing};
use crate::mutant::Bug;
use crate::protocol::{Input, Protocol, Ticket};
use crate::types::{CoreId, GroupId, NodeId, Time};
use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;
use tracing::{error, info, warn};

/// How late a member's greetings may be.
const UNHURRIED: Duration = Duration::from_secs(1);

/// The identity core and its own state in the driver.
pub(super) struct StandingHost {
    host: Host<Identity>,
    /// The objection of the peer, if this process found out that the node has lost data.
    lost: Option<String>,
}

impl StandingHost {
    pub(super) fn new(config: &NodeConfig, recovered: identity::Recovered, now: Time) -> StandingHost {
        let config = identity::Config {
            id: config.raft.id,
            peers: config.layout.nodes().collect(),
            patience: config.raft.election_timeout,
            beat: config.beat,
            mutant: config.mutant,
        };
        let identity = Identity::new(config, recovered, now);
        StandingHost { host: Host::new(identity), lost: None }
    }

    pub(super) fn step(&mut self, input: Input<Identity>, at: Now) {
        self.host.step(input, at.time);
    }

    pub(super) fn standing(&self) -> Standing {
        self.host.core.standing()
    }

    pub(super) fn origin(&self) -> Origin {
        self.host.core.origin()
    }

    /// Returns when the core needs a turn. A member's greetings can wait a while for a turn that happens anyway.
    pub(super) fn deadline(&self) -> Option<Time> {
        let waits = if self.standing() == Standing::Member { UNHURRIED } else { Duration::ZERO };
        self.host.core.deadline().map(|at| at + waits)
    }

    /// Returns which messages of a peer's process are accepted.
    pub(super) fn accepts(&mut self, from: NodeId, origin: Origin) -> Accepted {
        self.host.core.accepts(from, origin, &mut self.host.outbox)
    }

    /// Returns why clients are refused, unless the node is a member.
    pub(super) fn refusal(&self) -> Option<String> {
        match self.standing() {
            Standing::Member => None,
            Standing::Starting => Some("it waits until its peers have confirmed that it has all its data".to_owned()),
            Standing::Lost => {
                let lost = self.lost.as_deref().unwrap_or("as its log says");
                Some(format!(
                    "it has lost data ({lost}) and takes no part in Raft groups any more: it must be replaced"
                ))
            }
        }
    }

    /// Handles the completion of the log up to `batch`.
    pub(super) fn durable(&mut self, batch: u64, at: Now) {
        self.step(Input::Request(Durable(batch)), at);
    }

    pub(super) fn persisted(&mut self, ticket: Ticket, at: Now, turn: &mut TurnContext) {
        self.step(Input::Persisted(ticket), at);
        let (outbound, held) = (&mut turn.outbound, &mut turn.held);
        self.host.durable(ticket, held, |(to, _, greeting)| outbound.greet(to, greeting));
    }

    /// Carries out what the core asked for. Returns the effects that are left to the driver.
    fn settle(&mut self, at: Now, turn: &mut TurnContext) -> Vec<Effect> {
        if self.host.is_due(at.time) {
            turn.outbound.sent().for_each(|(peer, time)| self.host.core.sent(peer, time));
            self.step(Input::Tick, at);
        }
        let (outbound, held) = (&mut turn.outbound, &mut turn.held);
        self.host.send(false, |_| size_of::<Greeting>(), held, |(to, _, greeting)| outbound.greet(to, greeting));
        mem::take(&mut self.host.outbox.effects)
    }

    pub(super) fn take_records(&mut self) -> Option<(Ticket, Vec<Record>)> {
        self.host.take_records()
    }

    /// Returns records that are added to a batch but do not cause one.
    pub(super) fn claims(&mut self) -> Vec<Record> {
        self.host.core.claims()
    }

    pub(super) fn state_records(&self) -> Vec<Record> {
        self.host.core.state_records()
    }
}

/// The other cores while they do not take part.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) groups: BTreeMap<GroupId, Group>,
    pub(super) ap: Option<ApHost>,
}

impl<T: Transport, C: Clock, H: StorageHost, O: Observer> Driver<T, C, H, O> {
    /// Moves the other cores off or onto the shelf as the node's standing changes.
    pub(super) fn settle_standing(&mut self, at: Now) {
        for effect in self.standing.settle(at, &mut self.turn) {
            self.observer.stands(self.standing.standing());
            match effect {
                Effect::Member(confirmed) => {
                    match confirmed {
                        true => info!("peers have confirmed this node's data; it takes part"),
                        false => warn!("too few peers answer to confirm this node's data; it takes part all the same"),
                    }
                    let Shelf { groups, ap } = mem::take(&mut self.shelf);
                    self.dirty.extend(groups.keys());
                    (self.groups, self.ap) = (groups, ap);
                }
                Effect::Lost(peer, objection) => {
                    error!(
                        "this node has lost data: {peer} {objection}. It takes no part in Raft groups any more. If it was \
                         started on a wrong or old directory, start it on its own; if that is lost, replace the node"
                    );
                    self.standing.lost = Some(format!("{peer} {objection}"));
                    if self.turn.config.mutant.is(Bug::AmnesiacCounts) {
                        self.groups.append(&mut self.shelf.groups);
                        self.dirty.extend(self.groups.keys());
                    } else {
                        self.shelf.groups.append(&mut self.groups);
                    }
                    self.snapshots.retain(|core| *core == CoreId::Ap);
                    // Peers send it the data of AP buckets that it has lost.
                    self.ap = self.ap.take().or_else(|| self.shelf.ap.take());
                    if let Some(ap) = &mut self.ap {
                        ap.step(Input::Request(dynamo::Request::Rejoin), at);
                    }
                }
            }
        }
    }
}
