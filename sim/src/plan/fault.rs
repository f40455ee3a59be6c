//! Faults: a [`Kind`] and its targets.
//!
//! Faults can overlap freely. A server is down while any kill on it lasts. A pair is cut while any partition cuts it.
//! Several link faults on one link add up. So the run keeps the set of active faults and derives the state of the world
//! from it, instead of applying and undoing changes.

pub use super::cuts::{Clients, Shape};
use crate::settings::setting::words;
use crate::settings::{Fields, KINDS, Link, Probability, Problem, Setting, Shift, suggestion};
use crate::world::disk::{Losing, Room, SECTOR};
use std::time::Duration;

/// A kind of fault and its targets. `T` is [`Selector`](super::Selector) in a scenario and [`Target`](super::Target) in
/// a plan.
#[derive(Clone, PartialEq, Debug)]
pub struct Fault<T> {
    /// The kind of fault.
    pub kind: Kind,
    /// The affected servers. For a transfer: the new leader.
    pub target: T,
}

words! {
    /// Which links of the target's servers a `link` fault affects, in both directions.
    Links {
        /// Links to other servers.
        Peers = "peers",
        /// Links to clients.
        Clients = "clients",
        /// Both.
        Both = "both",
    }
}

words! {
    /// Which direction of a server's links is affected.
    Way {
        /// Outgoing messages.
        Out = "out",
        /// Incoming messages.
        In = "in",
        /// Either.
        Both = "both",
    }
}

words! {
    /// What happens to written but unsynced sectors when a server is killed.
    Unsynced {
        /// They stay in the cache, as when only the process dies.
        Keep = "keep",
        /// Each survives or is lost at random, as when the power fails.
        Tear = "tear",
        /// As `tear`; in addition, some of the physical blocks being written contain noise.
        Garble = "garble",
    }
}

words! {
    /// What happens to pages whose sync failed.
    Pages {
        /// They are lost at once.
        Dropped = "dropped",
        /// They stay readable and count as clean, until the power fails.
        Clean = "clean",
    }
}

words! {
    /// Which durable bytes are damaged.
    Part {
        /// Bytes of the log.
        Log = "log",
        /// The headers of the log's sectors.
        Header = "header",
        /// Bytes of snapshots.
        Snapshot = "snapshot",
    }
}

impl Part {
    /// The prefix of the file names, and the number of bytes of each sector that can be damaged.
    #[must_use]
    pub fn place(self) -> (&'static str, usize) {
        match self {
            Part::Log => ("wal-", SECTOR),
            Part::Header => ("wal-", 16),
            Part::Snapshot => ("snap-", SECTOR),
        }
    }
}

impl Setting for Losing {
    fn what() -> String {
        "all or some".into()
    }
    fn parse(text: &str) -> Option<Self> {
        match text {
            "all" => Some(Losing::All),
            "some" => Some(Losing::Some),
            _ => None,
        }
    }
    fn show(&self) -> String {
        match self {
            Losing::All => "all",
            Losing::Some => "some",
        }
        .into()
    }
}

impl Setting for Room {
    fn what() -> String {
        "growth, syncs or writes".into()
    }
    fn parse(text: &str) -> Option<Self> {
        [Room::Growth, Room::Syncs, Room::Writes].into_iter().find(|room| room.show() == text)
    }
    fn show(&self) -> String {
        match self {
            Room::Growth => "growth",
            Room::Syncs => "syncs",
            Room::Writes => "writes",
        }
        .into()
    }
}

words! {
    /// The content of a forged frame.
    Lie {
        /// The highest possible term.
        Term = "term",
        /// Entries that replace committed ones.
        Entries = "entries",
    }
}

words! {
    /// The data directory that a server finds instead of its own.
    Directory {
        /// An empty one: the disk is new.
        Empty = "empty",
        /// Its own from some time ago, restored from a backup.
        Old = "old",
        /// A copy of the next server's directory.
        Another = "another",
        /// The directory of the server with the same name in another cluster, with a later term and a longer log.
        Foreign = "foreign",
        /// Its own, with an empty state in its snapshots.
        Altered = "altered",
    }
}

/// What a fault does.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "KINDS below says it of each, for the manual too")]
pub enum Kind {
    Partition { shape: Shape, clients: Clients },
    Link { on: Links, add: Link },
    Kill { unsynced: Unsynced },
    Directory { with: Directory, age: Duration },
    Pause,
    Hang { on: Links },
    Delay { on: Links, way: Way, by: Duration },
    Reset { on: Links },
    DiskSlow { times: u32 },
    DiskStall,
    DiskFull { free: u64, refuses: Room },
    FsyncFail { pages: Pages },
    FsyncLie { loses: Losing },
    ReadError { of: Part, sectors: u64, oldest: Probability },
    Rot { of: Part, sectors: u64, oldest: Probability },
    Misdirect { writes: u64 },
    ClockJump { by: Shift },
    ClockDrift { ppm: i64 },
    ClockStrobe { by: Shift, period: Duration },
    ClockFreeze,
    Transfer,
    Stop,
    Forge { lie: Lie },
}

impl Kind {
    /// Reads the kind called `name`, which was found in the field or word `at`.
    pub(crate) fn read(name: &str, fields: &mut Fields<'_>) -> Result<Kind, Problem> {
        Ok(match name {
            "partition" => Kind::Partition {
                shape: fields.or("shape", Shape::Split)?,
                clients: fields.or("clients", Clients::Drawn)?,
            },
            "link" => {
                let on = fields.or("on", Links::Both)?;
                let add = Link::read(fields, Link::default())?;
                if add == Link::default() {
                    return Err(fields.problem("kind", "a link fault that changes nothing; expected e.g. loss = 0.1"));
                }
                Kind::Link { on, add }
            }
            "kill" => Kind::Kill { unsynced: fields.or("unsynced", Unsynced::Tear)? },
            "directory" => Kind::Directory {
                with: fields.or("with", Directory::Empty)?,
                age: fields.or("age", Duration::from_secs(3))?,
            },
            "pause" => Kind::Pause,
            "hang" => Kind::Hang { on: fields.or("on", Links::Both)? },
            "delay" => Kind::Delay {
                on: fields.or("on", Links::Peers)?,
                way: fields.or("way", Way::Out)?,
                by: fields.or("by", Duration::from_secs(2))?,
            },
            "reset" => Kind::Reset { on: fields.or("on", Links::Both)? },
            "disk-slow" => Kind::DiskSlow { times: fields.or("times", 20)? },
            "disk-stall" => Kind::DiskStall,
            "disk-full" => Kind::DiskFull { free: fields.or("free", 0)?, refuses: fields.or("refuses", Room::Growth)? },
            "fsync-fail" => Kind::FsyncFail { pages: fields.or("pages", Pages::Dropped)? },
            "fsync-lie" => Kind::FsyncLie { loses: fields.or("loses", Losing::All)? },
            "read-error" => Kind::ReadError {
                of: match fields.or("of", Part::Log)? {
                    Part::Header => {
                        return Err(
                            fields.problem("of", "a sector is read whole or not at all; expected log or snapshot")
                        );
                    }
                    of => of,
                },
                sectors: fields.or("sectors", 1)?,
                oldest: fields.or("oldest", Probability(0.5))?,
            },
            "rot" => Kind::Rot {
                of: fields.or("of", Part::Log)?,
                sectors: fields.or("sectors", 1)?,
                oldest: fields.or("oldest", Probability(0.5))?,
            },
            "misdirect" => Kind::Misdirect { writes: fields.or("writes", 1)? },
            "clock-jump" => Kind::ClockJump { by: fields.or("by", Shift(30_000_000_000))? },
            "clock-drift" => {
                let ppm = fields.or("ppm", 10_000)?;
                if !(-900_000..=900_000).contains(&ppm) {
                    return Err(fields.problem("ppm", "a drift beyond 90 %; expected -900000 to 900000"));
                }
                Kind::ClockDrift { ppm }
            }
            "clock-strobe" => {
                let by = fields.or("by", Shift(500_000_000))?;
                let period = fields.or("period", Duration::from_millis(100))?;
                if period < Duration::from_millis(1) {
                    return Err(fields.problem("period", "a period below 1ms; expected 1ms or more"));
                }
                Kind::ClockStrobe { by, period }
            }
            "clock-freeze" => Kind::ClockFreeze,
            "transfer" => Kind::Transfer,
            "stop" => Kind::Stop,
            "forge" => Kind::Forge { lie: fields.or("lie", Lie::Term)? },
            _ => {
                let near = suggestion(name, &KINDS.map(|k| k.0));
                return Err(fields.problem("kind", format!("`{name}` is no kind of fault{near}")));
            }
        })
    }

    /// The kind's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Partition { .. } => "partition",
            Kind::Link { .. } => "link",
            Kind::Hang { .. } => "hang",
            Kind::Delay { .. } => "delay",
            Kind::Reset { .. } => "reset",
            Kind::Kill { .. } => "kill",
            Kind::Directory { .. } => "directory",
            Kind::Pause => "pause",
            Kind::DiskSlow { .. } => "disk-slow",
            Kind::DiskStall => "disk-stall",
            Kind::DiskFull { .. } => "disk-full",
            Kind::FsyncFail { .. } => "fsync-fail",
            Kind::FsyncLie { .. } => "fsync-lie",
            Kind::ReadError { .. } => "read-error",
            Kind::Rot { .. } => "rot",
            Kind::Misdirect { .. } => "misdirect",
            Kind::ClockJump { .. } => "clock-jump",
            Kind::ClockDrift { .. } => "clock-drift",
            Kind::ClockStrobe { .. } => "clock-strobe",
            Kind::ClockFreeze => "clock-freeze",
            Kind::Transfer => "transfer",
            Kind::Stop => "stop",
            Kind::Forge { .. } => "forge",
        }
    }

    /// Whether this kind is possible when the deployed transport runs over madsim's TCP.
    #[must_use]
    pub fn suits_tcp(&self) -> bool {
        !matches!(self, Kind::Link { .. } | Kind::Hang { .. } | Kind::Reset { .. } | Kind::Transfer)
    }

    /// Whether the fault has an end. Other kinds happen at one instant.
    #[must_use]
    pub fn lasts(&self) -> bool {
        !matches!(
            self,
            Kind::ReadError { .. }
                | Kind::Rot { .. }
                | Kind::Misdirect { .. }
                | Kind::Reset { .. }
                | Kind::ClockJump { .. }
                | Kind::Transfer
                | Kind::Forge { .. }
        )
    }

    /// Whether an affected server may legitimately refuse to start from then on.
    #[must_use]
    pub fn ruins(&self) -> bool {
        matches!(
            self,
            Kind::ReadError { .. }
                | Kind::Rot { .. }
                | Kind::Misdirect { .. }
                | Kind::FsyncLie { .. }
                | Kind::Kill { unsynced: Unsynced::Garble }
        )
    }

    /// Whether an affected server may stop taking part from then on, even if it can start.
    #[must_use]
    pub fn forfeits(&self) -> bool {
        self.ruins() || matches!(self, Kind::Directory { .. })
    }

    /// The fields as words. Fields of a link that add nothing are left out.
    pub(crate) fn words(&self) -> Vec<(&'static str, String)> {
        match self {
            Kind::Partition { shape, clients } => vec![("shape", shape.show()), ("clients", clients.show())],
            Kind::Link { on, add } => {
                let nothing = Link::default().words();
                let added = add.words().into_iter().filter(|word| !nothing.contains(word));
                [("on", on.show())].into_iter().chain(added).collect()
            }
            Kind::Kill { unsynced } => vec![("unsynced", unsynced.show())],
            Kind::Directory { with: Directory::Old, age } => {
                vec![("with", Directory::Old.show()), ("age", age.show())]
            }
            Kind::Directory { with, .. } => vec![("with", with.show())],
            Kind::Hang { on } | Kind::Reset { on } => vec![("on", on.show())],
            Kind::Delay { on, way, by } => vec![("on", on.show()), ("way", way.show()), ("by", by.show())],
            Kind::DiskSlow { times } => vec![("times", times.show())],
            Kind::DiskFull { free, refuses } => vec![("free", free.show()), ("refuses", refuses.show())],
            Kind::FsyncFail { pages } => vec![("pages", pages.show())],
            Kind::FsyncLie { loses } => vec![("loses", loses.show())],
            Kind::ReadError { of, sectors, oldest } | Kind::Rot { of, sectors, oldest } => {
                vec![("of", of.show()), ("sectors", sectors.show()), ("oldest", oldest.show())]
            }
            Kind::Misdirect { writes } => vec![("writes", writes.show())],
            Kind::ClockJump { by } => vec![("by", by.show())],
            Kind::ClockDrift { ppm } => vec![("ppm", ppm.show())],
            Kind::ClockStrobe { by, period } => vec![("by", by.show()), ("period", period.show())],
            Kind::Forge { lie } => vec![("lie", lie.show())],
            Kind::Pause | Kind::DiskStall | Kind::ClockFreeze | Kind::Transfer | Kind::Stop => Vec::new(),
        }
    }
}
