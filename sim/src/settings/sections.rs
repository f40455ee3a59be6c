//! The sections of a scenario, which are also the header lines of a plan. Every field has a default.

use super::fields::{Fields, Problem};
use super::setting::{Between, Probability, Setting, words};
use seaworthy::node::MIN_MEMORY_BYTES;
use seaworthy::types::MAX_VALUE_BYTES;
use std::time::Duration;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Declares a section: fields, defaults, reading, writing, JSON and its documentation table, from one list.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Debug)]
        pub struct $name { $($(#[doc = $doc])+ pub $field: $type,)+ }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)+ }
            }
        }

        impl $name {
            /// Reads the fields that are given; the others are as in `base`.
            pub(crate) fn read(fields: &mut Fields<'_>, base: $name) -> Result<$name, Problem> {
                Ok($name { $($field: fields.or(stringify!($field), base.$field)?,)+ })
            }

            /// Name and text of each field.
            pub(crate) fn words(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($field), self.$field.show()),)+]
            }

            /// The section as a JSON object.
            #[must_use]
            pub fn json(&self) -> serde_json::Value {
                let mut object = serde_json::Map::new();
                $(object.insert(stringify!($field).into(), self.$field.json());)+
                object.into()
            }

            /// Name and meaning of each field, for docs/scenarios.md.
            #[cfg(test)]
            pub(crate) fn docs() -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($field), concat!($($doc),+).trim_start()),)+]
            }
        }
    };
}
pub(super) use section;

words! {
    /// The transport of packets between servers and clients.
    Transport {
        /// The simulator's own network model.
        Model = "model",
        /// The deployed server's transport, over madsim's TCP.
        Tcp = "tcp",
    }
}

section! {
    /// `[cluster]`: the servers.
    Cluster {
        /// Servers, named n1, n2, …
        nodes: u32 = 3,
        /// Least election timeout; the real one is drawn from one to two times this.
        election_timeout: Duration = ms(500),
        /// Pause between heartbeats; at most a third of `election_timeout`.
        heartbeat: Duration = ms(100),
        /// Most unanswered appends to one follower.
        max_in_flight: u32 = 32,
        /// Most command bytes in one append; 1 sends every entry by itself.
        max_append_bytes: u64 = 256 << 10,
        /// Entries applied between two snapshots.
        snapshot_entries: u64 = 1000,
        /// Raft: tombstones that a group keeps; beyond it the oldest go.
        max_tombstones: u32 = 4096,
        /// Entries kept behind a snapshot for followers that lag.
        keep_entries: u64 = 100,
        /// Bytes in one piece of a snapshot on its way to a follower.
        snapshot_chunk: u64 = 64 << 10,
        /// Bytes in one file of the write-ahead log.
        segment_bytes: u64 = 1 << 20,
        /// Lease reads under this bound on clock drift, in parts per million; none answers every read with a round.
        lease_ppm: Option<u32> = None,
        /// Raft groups, each with its share of the keys.
        groups: u32 = 1,
        /// Servers in each Raft group, chosen by the ring; none is all.
        voters: Option<u32> = None,
        /// Regions, r1, r2, …; servers are dealt to them in turn.
        regions: u32 = 1,
        /// `model`: the simulator's own network; `tcp`: the deployed server's transport over madsim's TCP, where of
        /// `[network]` only `latency` and `jitter` count and faults of links are not to be had (but partitions are).
        transport: Transport = Transport::Model,
        /// Time on the way between servers of different regions, beyond that of every link.
        region_latency: Duration = ms(0),
        /// Zones in each region; its servers are dealt to them in turn.
        zones: u32 = 1,
        /// AP: a write not acknowledged by a replica after this is given to a stand-in.
        hint_after: Duration = ms(150),
        /// AP: a read not answered by a replica after this asks a further one.
        hedge_after: Duration = ms(30),
        /// AP: of a thousand reads, how many ask all replicas and repair them in the background.
        repair_permille: u32 = 100,
        /// AP: versions of a key beyond which writes without context are refused.
        max_siblings: u32 = 64,
        /// AP: bytes of hints that a server keeps for all others together.
        hint_bytes: u64 = 256 << 20,
        /// AP: age after which a hint is given to another replica instead and dropped.
        hint_age: Duration = Duration::from_secs(3 * 3600),
        /// AP: pause between attempts to hand hints over, to collect tombstones, to move epochs.
        housekeeping: Duration = ms(500),
        /// Bytes that a server's queues may hold together; what would exceed it is refused.
        memory_bytes: u64 = 256 << 20,
        /// Servers start for the first time at moments drawn from zero to this; at most `warmup`.
        boot_spread: Duration = ms(0),
    }
}

section! {
    /// `[cpu]`: how long a server processes what it receives and sends. Meanwhile it does nothing else.
    Cpu {
        /// Time of each frame taken or sent.
        per_frame: Duration = ms(0),
        /// Time of each KiB taken or sent, in addition.
        per_kib: Duration = ms(0),
    }
}

section! {
    /// The behaviour of a link: `[network]` without faults, and what a `link` fault adds to it.
    Link {
        /// Least time a frame is on its way.
        latency: Duration = ms(0),
        /// Greatest time beyond that, drawn evenly for each frame; frames may overtake each other only by `reorder`.
        jitter: Duration = ms(0),
        /// Probability that a frame takes much longer still.
        tail: Probability = Probability(0.0),
        /// Greatest such time; a quarter of it on average.
        tail_max: Duration = ms(0),
        /// Probability that a frame is lost.
        loss: Probability = Probability(0.0),
        /// Probability that a frame arrives twice.
        duplicate: Probability = Probability(0.0),
        /// Probability that a frame is held back so that later ones overtake it.
        reorder: Probability = Probability(0.0),
        /// How late a frame held back or a second copy may be.
        reorder_by: Duration = ms(50),
        /// Probability that a frame has a bit flipped.
        corrupt: Probability = Probability(0.0),
        /// Bytes a second and direction; none is unlimited.
        bandwidth: Option<u64> = None,
    }
}

impl Link {
    /// A link without faults: one to two milliseconds, no loss.
    #[must_use]
    pub fn fair() -> Link {
        Link { latency: ms(1), jitter: ms(1), ..Link::default() }
    }
}

words! {
    /// How frames are carried.
    Connections {
        /// Ordered connections, like those of the deployed transport.
        Ordered = "ordered",
        /// Datagrams.
        Datagrams = "datagrams",
    }
}

section! {
    /// How frames are carried, in `[network]`.
    Carriage {
        /// What carries frames: `datagrams`, each by itself; or `ordered`, connections like those that are deployed: a
        /// frame that is lost holds up those behind it until it is sent again, a cut delays, and what breaks is dialled
        /// again.
        connections: Connections = Connections::Datagrams,
        /// Bytes that may wait to be sent on a link, if the servers' memory allows as many; what finds no room is
        /// dropped.
        queue: u64 = 64 << 20,
    }
}

/// `[network]`: the links without faults, and how frames are carried.
#[derive(Clone, PartialEq, Debug)]
pub struct Network {
    /// The behaviour of links.
    pub link: Link,
    /// How frames are carried.
    pub carriage: Carriage,
}

impl Default for Network {
    fn default() -> Network {
        Network { link: Link::fair(), carriage: Carriage::default() }
    }
}

impl Network {
    /// Reads the fields that are given; the others are as in `base`.
    pub(crate) fn read(fields: &mut Fields<'_>, base: Network) -> Result<Network, Problem> {
        let link = Link::read(fields, base.link)?;
        Ok(Network { link, carriage: Carriage::read(fields, base.carriage)? })
    }

    /// Checks that the links have no settings that the kind of connections does not allow.
    pub(crate) fn check(&self, fields: &Fields<'_>) -> Result<(), Problem> {
        self.suits(&self.link, fields)
    }

    /// Checks that a link, by itself or changed by a fault, does nothing that ordered connections cannot do.
    pub(crate) fn suits(&self, link: &Link, fields: &Fields<'_>) -> Result<(), Problem> {
        let of_datagrams = [("duplicate", link.duplicate), ("reorder", link.reorder)];
        match of_datagrams.iter().find(|(_, chance)| self.is_ordered() && chance.0 > 0.0) {
            None => Ok(()),
            Some((name, _)) => {
                let what = format!(
                    "`{name}` over ordered connections, which neither repeat frames nor change their order: leave it out, or \
                     say connections = \"datagrams\" in [network]; what comes late and out of order there is a `delay`"
                );
                Err(fields.problem(name, what))
            }
        }
    }

    /// Name and text of each field.
    pub(crate) fn words(&self) -> Vec<(&'static str, String)> {
        [self.link.words(), self.carriage.words()].concat()
    }

    /// The section as a JSON object.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let mut all = self.link.json();
        if let (Some(all), serde_json::Value::Object(more)) = (all.as_object_mut(), self.carriage.json()) {
            all.extend(more);
        }
        all
    }

    /// Name and meaning of each field, for docs/scenarios.md.
    #[cfg(test)]
    pub(crate) fn docs() -> Vec<(&'static str, &'static str)> {
        [Link::docs(), Carriage::docs()].concat()
    }

    /// Whether frames go over ordered connections.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.carriage.connections == Connections::Ordered
    }
}

section! {
    /// `[disk]`: the disks without faults.
    Disk {
        /// Time of each operation other than a sync.
        operation: Duration = Duration::from_micros(10),
        /// Time of each KiB read or written, in addition.
        per_kib: Duration = Duration::from_micros(1),
        /// Least time of a sync.
        sync: Duration = ms(1),
        /// Greatest time beyond that, drawn evenly for each sync.
        jitter: Duration = ms(1),
        /// Bytes it can hold.
        capacity: u64 = 1 << 30,
        /// Bytes in a physical block, which survives a power failure whole or not at all: 512 or 4096.
        block: Block = Block::Small,
    }
}

words! {
    /// The size of a physical block of a disk, in bytes.
    Block {
        /// One sector.
        Small = "512",
        /// Eight sectors, as on most current drives.
        Large = "4096",
    }
}

impl Block {
    /// The size in sectors of 512 bytes.
    #[must_use]
    pub fn sectors(self) -> u32 {
        match self {
            Block::Small => 1,
            Block::Large => 8,
        }
    }
}

words! {
    /// How keys are chosen.
    Skew {
        /// All keys with equal probability.
        Uniform = "uniform",
        /// The n-th key with a probability proportional to 1/n.
        Zipf = "zipf",
    }
}

section! {
    /// `[workload]`: the operations of clients.
    Workload {
        /// Clients, named c1, c2, …; each does one operation at a time.
        clients: u32 = 5,
        /// Open loop: operations a second of all clients together, at instants drawn evenly; 0 for scripted ones alone.
        rate: u64 = 50,
        /// Closed loop, instead of `rate`: the pause of a client between an answer and its next operation.
        think: Option<Duration> = None,
        /// Keys, named k1, k2, …
        keys: u64 = 10,
        /// How keys are chosen: `uniform`, all alike, or `zipf`, the n-th key in proportion to 1/n.
        skew: Skew = Skew::Zipf,
        /// Weight of reads.
        get: u64 = 40,
        /// Weight of unconditional writes.
        put: u64 = 35,
        /// Weight of deletes; one in four is conditional on the revision the client saw last.
        delete: u64 = 5,
        /// Weight of writes conditional on the value or the revision that the client saw last.
        cas: u64 = 15,
        /// Weight of writes with another condition: nx, xx, cmp or cmprev with a fixed operand.
        conditional: u64 = 5,
        /// Weight of unconditional writes with a time to live. Quorums have none: there they are writes like others.
        expiring: u64 = 0,
        /// Weight of new expiries of a key that stays as it is. Under quorums these are reads.
        extend: u64 = 0,
        /// Time to live of such writes and extensions, in whole milliseconds.
        ttl: Between<Duration> = Between { low: ms(1000), high: ms(5000) },
        /// Length of written values; at least that of their tag, such as `c3-12`.
        value_bytes: Between<u64> = Between { low: 8, high: 32 },
        /// Open loop: what comes in so long a time comes all at its beginning, within a hundredth of it; none spreads
        /// it evenly.
        burst: Option<Duration> = None,
        /// After this an operation is given up: a write's outcome is then unknown. Of a range each client draws its
        /// own.
        timeout: Between<Duration> = Between { low: ms(2000), high: ms(2000) },
        /// After this one try is given up and the next server asked.
        attempt: Duration = ms(400),
        /// Most tries of one operation.
        tries: u32 = 20,
        /// More clients, for the storm only: each asks every `crowd_pause`, or as soon as it can, until the storm is
        /// over.
        crowd: u32 = 0,
        /// Pause between two operations of a client of the crowd.
        crowd_pause: Duration = ms(200),
    }
}

section! {
    /// `[time]`: the phases of a run: warm-up, storm, calm.
    Times {
        /// Fair weather before the first fault.
        warmup: Duration = ms(2000),
        /// Faults begin and end within this.
        storm: Duration = ms(20_000),
        /// Fair weather after the storm.
        calm: Duration = ms(10_000),
        /// What begins later than this after the storm must succeed.
        grace: Duration = ms(5000),
        /// Servers that die for good when the storm ends, at random; never more than a minority.
        lost_nodes: Between<u32> = Between { low: 0, high: 0 },
    }
}

impl Times {
    /// The end of the storm.
    #[must_use]
    pub fn storm_ends(&self) -> Duration {
        self.warmup + self.storm
    }

    /// The end of the run.
    #[must_use]
    pub fn ends(&self) -> Duration {
        self.storm_ends() + self.calm
    }
}

/// The kinds of fault that must have had an effect; otherwise the run counts as inert.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MustFire {
    /// Each kind in the plan.
    All,
    /// At least one of the kinds in the plan: for storms so random that a fault may hit a server that is already down.
    Any,
    /// These kinds. If empty, no kind is required.
    Kinds(Vec<String>),
}

impl Setting for MustFire {
    fn what() -> String {
        format!("all, any, none, or kinds of fault among {}", super::KINDS.map(|k| k.0).join(", "))
    }
    fn parse(text: &str) -> Option<Self> {
        let known = |kind: &&str| super::KINDS.iter().any(|k| k.0 == *kind);
        match text {
            "all" => Some(MustFire::All),
            "any" => Some(MustFire::Any),
            "none" => Some(MustFire::Kinds(Vec::new())),
            _ => text.split(',').map(|k| known(&k).then(|| k.into())).collect::<Option<_>>().map(MustFire::Kinds),
        }
    }
    fn show(&self) -> String {
        match self {
            MustFire::All => "all".into(),
            MustFire::Any => "any".into(),
            MustFire::Kinds(kinds) if kinds.is_empty() => "none".into(),
            MustFire::Kinds(kinds) => kinds.join(","),
        }
    }
}

section! {
    /// `[expect]`: what a run must show in addition to the invariants, which always hold.
    Expect {
        /// The history is linearizable.
        linearizable: bool = true,
        /// How much earlier or later than its deadline a key may expire, in true time, as clients can tell.
        expiry: Duration = ms(1000),
        /// Within this after the storm, while the load goes on, all living servers have what was there when it ended:
        /// under Raft what was committed, under quorums each key alike on its replicas. Not asked for without it.
        heal: Option<Duration> = None,
        /// Operations that succeed, at least.
        min_ok: u64 = 100,
        /// The longest time in the storm and the calm without any answer; none is unlimited.
        max_outage: Option<Duration> = None,
        /// Elections won after the warm-up, at most; none does not ask.
        elections: Option<u64> = None,
        /// Operations that succeed in a second of the storm, its first left out, as a share of those in the best five
        /// seconds of the run, at least; 0 does not ask.
        goodput: Probability = Probability(0.0),
        /// Raft: log entries that are sent to a follower again, as a share of all that are sent, at most; none does not
        /// ask.
        resent: Option<Probability> = None,
        /// Tombstones that a server holds at the end, of one Raft group or for quorums, at most; none does not ask.
        tombstones: Option<u64> = None,
        /// Kinds of fault that must have had an effect at least once: `all` of the plan, `any` of it (at least one),
        /// `none`, or those listed.
        must_fire: MustFire = MustFire::All,
    }
}

impl Cluster {
    /// The largest number of servers that a cluster can do without.
    #[must_use]
    pub fn minority(&self) -> u32 {
        (self.nodes - 1) / 2
    }

    pub(crate) fn check(&self, fields: &Fields<'_>) -> Result<(), Problem> {
        if !(1..=9).contains(&self.nodes) {
            return Err(fields.problem("nodes", format!("{} servers; expected 1 to 9", self.nodes)));
        }
        if self.heartbeat.is_zero() || self.heartbeat * 3 > self.election_timeout {
            let what = format!(
                "a heartbeat every {} with an election timeout of {}; expected at most a third of it, and not 0",
                self.heartbeat.show(),
                self.election_timeout.show()
            );
            let place = if fields.has("heartbeat") { "heartbeat" } else { "election_timeout" };
            return Err(fields.problem(place, what));
        }
        for (name, value) in [
            ("max_in_flight", u64::from(self.max_in_flight)),
            ("max_append_bytes", self.max_append_bytes),
            ("snapshot_entries", self.snapshot_entries),
            ("snapshot_chunk", self.snapshot_chunk),
        ] {
            within(fields, name, value, 1, 1 << 40)?;
        }
        within(fields, "groups", u64::from(self.groups), 1, 4096)?;
        within(fields, "voters", u64::from(self.voters.unwrap_or(self.nodes)), 1, u64::from(self.nodes))?;
        within(fields, "regions", u64::from(self.regions), 1, u64::from(self.nodes))?;
        within(fields, "zones", u64::from(self.zones), 1, u64::from(self.nodes))?;
        within(fields, "repair_permille", u64::from(self.repair_permille), 0, 1000)?;
        within(fields, "max_siblings", u64::from(self.max_siblings), 1, 10_000)?;
        if self.housekeeping < ms(1) {
            return Err(fields.problem("housekeeping", "a pause below 1ms; expected 1ms or more"));
        }
        within(fields, "memory_bytes", self.memory_bytes, MIN_MEMORY_BYTES as u64, 1 << 40)?;
        within(fields, "segment_bytes", self.segment_bytes, 4096, 1 << 30)
    }
}

impl Workload {
    /// The number of clients, including the crowd.
    #[must_use]
    pub fn all_clients(&self) -> u32 {
        self.clients + self.crowd
    }

    pub(crate) fn check(&self, fields: &Fields<'_>) -> Result<(), Problem> {
        within(fields, "clients", u64::from(self.clients), 1, 1000)?;
        within(fields, "crowd", u64::from(self.crowd), 0, 1000)?;
        if self.crowd_pause < ms(1) {
            return Err(fields.problem("crowd_pause", "a pause below 1ms; expected 1ms or more"));
        }
        within(fields, "keys", self.keys, 1, 1_000_000)?;
        within(fields, "rate", self.rate, 0, 100_000)?;
        within(fields, "tries", u64::from(self.tries), 1, 1000)?;
        let weights = [
            ("get", self.get),
            ("put", self.put),
            ("delete", self.delete),
            ("cas", self.cas),
            ("conditional", self.conditional),
            ("expiring", self.expiring),
            ("extend", self.extend),
        ];
        for (name, weight) in weights {
            within(fields, name, weight, 0, 1_000_000)?;
        }
        if weights.iter().all(|w| w.1 == 0) {
            return Err(fields.problem("get", "every weight of the operations is 0; expected at least one above"));
        }
        if self.value_bytes.high > MAX_VALUE_BYTES as u64 {
            return Err(fields.problem("value_bytes", format!("longer than the {MAX_VALUE_BYTES} bytes of a value")));
        }
        if self.ttl.low < ms(1) {
            return Err(fields.problem("ttl", "a time to live below 1ms; expected 1ms or more"));
        }
        if self.burst.is_some_and(|burst| burst < ms(100) || self.think.is_some()) {
            return Err(fields.problem("burst", "bursts are of an open loop, 100ms or more apart"));
        }
        if self.think.is_some_and(|t| t < ms(1)) {
            return Err(fields.problem("think", "a pause below 1ms; expected 1ms or more"));
        }
        if self.attempt < ms(1) || self.attempt > self.timeout.low {
            let what = format!("`attempt` is {}; expected 1ms to the least `timeout`", self.attempt.show());
            return Err(fields.problem("attempt", what));
        }
        Ok(())
    }
}

impl Times {
    pub(crate) fn check(&self, fields: &Fields<'_>, cluster: &Cluster, workload: &Workload) -> Result<(), Problem> {
        let day = Duration::from_secs(86_400);
        if [self.warmup, self.storm, self.calm].iter().any(|phase| *phase > day) {
            return Err(fields.problem("storm", "a phase of more than a day of simulated time"));
        }
        if self.storm < ms(10) {
            return Err(fields.problem("storm", format!("a storm of {}; expected 10ms or more", self.storm.show())));
        }
        let operations = match workload.think {
            None => workload.rate * self.ends().as_secs(),
            Some(think) => u64::from(workload.clients) * (self.ends().as_millis() / think.as_millis().max(1)) as u64,
        };
        let pauses = self.storm.as_millis() / workload.crowd_pause.as_millis().max(1);
        let operations = operations + u64::from(workload.crowd) * pauses as u64;
        if operations > 10_000_000 {
            return Err(fields.problem("storm", format!("{operations} operations; expected at most ten million")));
        }
        if self.grace + workload.timeout.high >= self.calm {
            let what = format!(
                "a calm of {} leaves no time to demand progress in; expected more than grace ({}) and an operation's \
                 timeout ({}) together",
                self.calm.show(),
                self.grace.show(),
                workload.timeout.high.show()
            );
            return Err(fields.problem("calm", what));
        }
        if cluster.boot_spread > self.warmup {
            let what = format!("servers start within {}; expected at most `boot_spread`", self.warmup.show());
            return Err(fields.problem("warmup", what));
        }
        if self.lost_nodes.high > cluster.minority() {
            let (lost, may) = (self.lost_nodes.high, cluster.minority());
            let what = format!("{lost} of {} servers lost for good; expected at most {may}", cluster.nodes);
            return Err(fields.problem("lost_nodes", what));
        }
        Ok(())
    }
}

pub(super) fn within(fields: &Fields<'_>, name: &str, value: u64, least: u64, most: u64) -> Result<(), Problem> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(fields.problem(name, format!("`{name}` is {value}; expected {least} to {most}"))),
    }
}
