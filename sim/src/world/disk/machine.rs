//! The disk's state machine: the duration, effect and failures of each operation.

use super::super::bug::WorldBug;
use super::super::ledger::{Effect, FaultId, Ledger};
use super::super::trace::{Kind, Trace, payload};
use super::super::{Nanos, TimeSource, nanos};
use super::file::{Fall, NEVER, SECTOR, SimFile};
use super::names::{Inode, Names};
use super::{Damage, DiskSettings, DiskStats, DiskTrouble, Losing, Room, Scope};
use seaworthy::storage::{DiskError, DiskFault, FileId};
use seaworthy::types::{Addr, Rng};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A disk and its current faults.
pub(super) struct State {
    pub(super) node: Addr,
    pub(super) settings: DiskSettings,
    pub(super) time: TimeSource,
    pub(super) rng: Rng,
    pub(super) busy_until: Nanos,
    /// When the latest operation began. A job's operations are executed here all at once, yet a crash in the middle of
    /// them must leave no trace of those that had not begun.
    pub(super) begun: Nanos,
    pub(super) names: Names,
    pub(super) files: BTreeMap<Inode, SimFile>,
    pub(super) open: BTreeMap<FileId, (Inode, Arc<str>)>,
    pub(super) next_inode: Inode,
    pub(super) next_file: u64,
    pub(super) session: u64,
    pub(super) troubles: Vec<(FaultId, DiskTrouble)>,
    /// Set while there are syncs that were reported but not done: the fault of the first, and what a power failure
    /// leaves.
    pub(super) lied: Option<(FaultId, Losing)>,
    pub(super) damaged: BTreeMap<(Inode, u32), (FaultId, Damage)>,
    pub(super) stats: DiskStats,
    pub(super) trace: Trace,
    pub(super) ledger: Ledger,
    /// Why the current operation fails, and the fault to blame; charged once the node gets the error.
    pub(super) felt: Option<(FaultId, Effect)>,
}

/// The way a sync fails.
#[derive(Clone, Copy)]
enum SyncFailure {
    /// The unsynced data is lost at once.
    Drops,
    /// The unsynced data stays readable until the power fails.
    Strands,
    /// Like `Strands`, for lack of space.
    NoRoom,
}

/// Builds an error that names the file.
pub(super) fn error(op: &'static str, file: &str, what: DiskFault) -> DiskError {
    DiskError { op, file: file.to_owned(), what }
}

pub(super) fn broken(op: &'static str, file: &str) -> DiskError {
    error(op, file, DiskFault::Io("input/output error".into()))
}

impl State {
    pub(super) fn now(&self) -> Nanos {
        (self.time)()
    }

    pub(super) fn event(&self, kind: Kind, numbers: [u64; 3]) {
        self.trace.event(self.now(), kind, self.node, self.node, numbers);
    }

    pub(super) fn detach(&mut self) {
        self.session += 1;
        self.open.clear();
        self.collect();
    }

    /// Spends `cost` on an operation. Returns when it ends.
    pub(super) fn spend(&mut self, cost: Nanos) -> Nanos {
        let begin = self.busy_until.max(self.now());
        let (mut cost, mut not_before) = (cost, 0);
        for (id, trouble) in &self.troubles {
            match trouble {
                DiskTrouble::Slow(factor) => cost = cost.saturating_mul(u64::from(*factor)),
                DiskTrouble::StallUntil(until) if *until > begin => not_before = not_before.max(*until),
                _ => continue,
            }
            self.ledger.affected(*id, Effect::DiskOpsDelayed, 1);
        }
        self.begun = begin;
        self.busy_until = begin.saturating_add(cost).max(not_before);
        self.busy_until
    }

    pub(super) fn spend_operation(&mut self, bytes: usize) {
        let settings = self.settings;
        let cost = nanos(settings.per_operation) + nanos(settings.per_kib) * bytes as u64 / 1024;
        self.spend(cost);
    }

    pub(super) fn spend_sync(&mut self) -> Nanos {
        let cost = self.settings.sync.sample(&mut self.rng);
        self.spend(cost)
    }

    /// Uses up one count of a counted fault, if there is one. Returns that fault.
    pub(super) fn strike(&mut self, of: impl Fn(&mut DiskTrouble) -> Option<&mut u64>) -> Option<FaultId> {
        let hit = self.troubles.iter_mut().find_map(|(id, trouble)| match of(trouble) {
            Some(left) if *left > 0 => {
                *left = if *left == u64::MAX { u64::MAX } else { *left - 1 };
                Some(*id)
            }
            _ => None,
        })?;
        Some(hit)
    }

    pub(super) fn used(&self) -> u64 {
        self.files.values().map(SimFile::len).sum()
    }

    /// Fails if the file would grow beyond the available space.
    pub(super) fn check_space(
        &mut self,
        op: &'static str,
        name: &str,
        inode: Inode,
        len: u64,
    ) -> Result<(), DiskError> {
        let grows = len.saturating_sub(self.files[&inode].len());
        if grows == 0 {
            return Ok(());
        }
        let needed = self.used() + grows;
        let full = self.troubles.iter().find_map(|(id, trouble)| match trouble {
            DiskTrouble::Full { limit, room: Room::Growth | Room::Writes } if needed > *limit => Some(*id),
            _ => None,
        });
        if full.is_none() && needed <= self.settings.capacity {
            return Ok(());
        }
        self.failure(inode, full, Effect::WritesFailed);
        Err(error(op, name, DiskFault::Full))
    }

    /// On a disk that copies on write, every write needs space.
    fn check_copies(&mut self, name: &str, inode: Inode, bytes: u64) -> Result<(), DiskError> {
        let used = self.used();
        let full = self.troubles.iter_mut().find_map(|(id, trouble)| match trouble {
            DiskTrouble::Full { limit, room: Room::Writes } => match limit.checked_sub(bytes) {
                Some(left) if left >= used => {
                    *limit = left;
                    None
                }
                _ => Some(*id),
            },
            _ => None,
        });
        let Some(id) = full else { return Ok(()) };
        self.failure(inode, Some(id), Effect::WritesFailed);
        Err(error("write", name, DiskFault::Full))
    }

    /// Records that the current operation fails, because of `fault` if given.
    pub(super) fn failure(&mut self, inode: Inode, fault: Option<FaultId>, effect: Effect) {
        self.felt = fault.map(|id| (id, effect));
        self.event(Kind::DiskFailure, [inode, fault.map_or(u64::MAX, |id| u64::from(id.0)), 0]);
    }

    pub(super) fn opened(&self, op: &'static str, file: FileId) -> Result<(Inode, Arc<str>), DiskError> {
        self.open.get(&file).cloned().ok_or_else(|| broken(op, &format!("closed file {}", file.0)))
    }

    pub(super) fn file(&mut self, inode: Inode) -> &mut SimFile {
        self.files.get_mut(&inode).expect("open and named files exist")
    }

    /// Fails if the read meets an unreadable sector. Charges reads of unreadable and of rotten sectors to their faults.
    pub(super) fn check_damage(&mut self, name: &str, inode: Inode, offset: u64, len: usize) -> Result<(), DiskError> {
        let mut fails = None;
        for (&(_, _), &(id, damage)) in self.damaged.range(sectors(inode, offset, len)) {
            self.ledger.affected(id, Effect::BadReads, 1);
            if damage == Damage::Unreadable {
                fails = Some(id);
            }
        }
        let Some(id) = fails else { return Ok(()) };
        self.failure(inode, Some(id), Effect::ReadsFailed);
        Err(broken("read", name))
    }

    pub(super) fn mend(&mut self, inode: Inode, offset: u64, len: usize) {
        if !self.damaged.is_empty() {
            let mended: Vec<_> = self.damaged.range(sectors(inode, offset, len)).map(|(key, _)| *key).collect();
            for key in mended {
                self.damaged.remove(&key);
            }
        }
    }

    pub(super) fn write(&mut self, name: &str, inode: Inode, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.spend_operation(data.len());
        if let Some(id) = self.strike(|t| if let DiskTrouble::FailWrites(left) = t { Some(left) } else { None }) {
            self.failure(inode, Some(id), Effect::WritesFailed);
            return Err(broken("write", name));
        }
        self.check_space("write", name, inode, offset + data.len() as u64)?;
        self.check_copies(name, inode, data.len() as u64)?;
        let offset = self.direct(inode, offset, data.len());
        self.mend(inode, offset, data.len());
        let begun = self.begun;
        self.file(inode).write(begun, offset, data);
        self.stats.writes += 1;
        self.stats.bytes += data.len() as u64;
        self.event(Kind::Write, [inode, offset, payload(data)]);
        Ok(())
    }

    /// Returns the offset at which a write lands: its own, or another that fits in the file if the write is
    /// misdirected.
    pub(super) fn direct(&mut self, inode: Inode, offset: u64, len: usize) -> u64 {
        let room = self.files[&inode].len().saturating_sub(len as u64) / SECTOR as u64;
        let own = offset / SECTOR as u64;
        if room == 0 || own > room {
            return offset;
        }
        match self.strike(|t| if let DiskTrouble::Misdirect(left) = t { Some(left) } else { None }) {
            Some(id) => {
                self.ledger.affected(id, Effect::WritesMisdirected, 1);
                let shift = 1 + self.rng.below(room);
                (own + shift) % (room + 1) * SECTOR as u64
            }
            None => offset,
        }
    }

    pub(super) fn sync(&mut self, name: &str, inode: Inode) -> Result<(), DiskError> {
        let effective = self.spend_sync();
        let now = self.now();
        if let Some((id, what)) = self.fails_sync(inode) {
            let lost = match what {
                SyncFailure::Drops => self.file(inode).drop_dirty(),
                SyncFailure::Strands | SyncFailure::NoRoom => {
                    self.file(inode).strand_dirty();
                    0
                }
            };
            self.ledger.affected(id, Effect::SectorsLost, lost);
            self.failure(inode, Some(id), Effect::SyncsFailed);
            if self.settings.bug == Some(WorldBug::SyncErrorsHidden) {
                return Ok(());
            }
            return Err(match what {
                SyncFailure::NoRoom => error("sync", name, DiskFault::Full),
                SyncFailure::Drops | SyncFailure::Strands => broken("sync", name),
            });
        }
        let effective = self.honest(effective);
        let file = self.file(inode);
        file.settle(now);
        file.begin_sync(effective);
        self.stats.syncs += 1;
        self.event(Kind::Sync, [inode, effective, 0]);
        Ok(())
    }

    /// Whether a sync of the file fails. If so, returns the fault and what becomes of the unsynced data.
    fn fails_sync(&mut self, inode: Inode) -> Option<(FaultId, SyncFailure)> {
        if self.troubles.is_empty() {
            return None;
        }
        if let Some(id) = self.strike(|t| if let DiskTrouble::FailSyncs(left) = t { Some(left) } else { None }) {
            return Some((id, SyncFailure::Drops));
        }
        let (dirty, grown, used) = (self.files[&inode].is_dirty(), self.files[&inode].has_grown(), self.used());
        self.troubles.iter().find_map(|(id, trouble)| match trouble {
            DiskTrouble::FailDirtySyncs if dirty => Some((*id, SyncFailure::Strands)),
            DiskTrouble::Full { limit, room: Room::Syncs } if dirty && grown && used > *limit => {
                Some((*id, SyncFailure::NoRoom))
            }
            _ => None,
        })
    }

    /// Returns when a sync that would take effect at `effective` really does: never if the disk lies. A real sync also
    /// makes all earlier pretended ones take effect, because a drive empties its cache as a whole.
    fn honest(&mut self, effective: Nanos) -> Nanos {
        let lies = self.troubles.iter().find_map(|(id, trouble)| match trouble {
            DiskTrouble::LieSyncs(losing) => Some((*id, *losing)),
            _ => None,
        });
        if lies.is_some() {
            self.lied = self.lied.or(lies);
            return NEVER;
        }
        if self.lied.take().is_some() {
            self.files.values_mut().for_each(|file| file.flush(effective));
            self.names.flush(effective);
        }
        effective
    }

    pub(super) fn sync_dir(&mut self) -> Result<(), DiskError> {
        let effective = self.spend_sync();
        let now = self.now();
        if let Some(id) = self.strike(|t| if let DiskTrouble::FailSyncs(left) = t { Some(left) } else { None }) {
            self.failure(0, Some(id), Effect::SyncsFailed);
            if self.settings.bug == Some(WorldBug::SyncErrorsHidden) {
                return Ok(());
            }
            return Err(broken("sync", "the directory"));
        }
        let effective = self.honest(effective);
        if self.names.settle(now) {
            self.collect();
        }
        self.names.begin_sync(effective);
        self.stats.syncs += 1;
        self.event(Kind::Sync, [0, effective, 0]);
        Ok(())
    }

    /// The power fails. With `garbles`, blocks that are being written may contain anything afterwards.
    pub(super) fn crash(&mut self, fault: Option<FaultId>, garbles: bool) {
        let now = self.now();
        let lied = self.lied.take();
        let empties = lied.is_some_and(|(_, losing)| losing == Losing::All);
        let at_stake = self.files.values_mut().fold(false, |any, file| {
            file.settle(now);
            any | file.at_stake(now)
        });
        self.ledger.charge(fault, Effect::UnsyncedAtStake, u64::from(at_stake));
        if self.settings.bug == Some(WorldBug::UnsyncedKept) {
            self.busy_until = now;
            return self.detach();
        }
        self.names.settle(now);
        let (names_lost, mut forgotten) = self.names.crash(now, empties, &mut self.rng);
        let fall = Fall { now, block: self.settings.block_sectors, garbles, empties };
        let (mut kept, mut lost, mut torn, mut garbled) = (0, 0, 0, 0);
        for file in self.files.values_mut() {
            let wreck = file.crash(fall, &mut self.rng);
            kept += wreck.kept;
            lost += wreck.lost;
            forgotten += wreck.forgotten;
            garbled += wreck.garbled;
            torn += u64::from(wreck.kept > 0 && wreck.lost > 0);
        }
        self.stats.crashes += 1;
        self.stats.bytes_lost += lost * SECTOR as u64;
        self.stats.files_torn += torn;
        self.stats.names_lost += names_lost;
        self.ledger.charge(fault, Effect::SectorsLost, lost);
        self.ledger.charge(fault, Effect::FilesTorn, torn);
        self.ledger.charge(fault, Effect::NamesLost, names_lost);
        self.ledger.charge(fault, Effect::SectorsGarbled, garbled);
        self.ledger.charge(lied.map(|(id, _)| id), Effect::AcknowledgedLost, forgotten);
        self.event(Kind::Crash, [kept, lost, names_lost]);
        self.busy_until = now;
        self.detach();
    }

    pub(super) fn damage(&mut self, id: FaultId, scope: &Scope, damage: Damage, count: usize) -> Vec<(String, u32)> {
        self.ledger.fired(id);
        let now = self.now();
        let mut candidates = Vec::new();
        for (name, inode) in self.names.iter().filter(|(name, _)| name.starts_with(&scope.prefix)) {
            let file = self.files.get_mut(&inode).expect("named files exist");
            file.settle(now);
            candidates.extend(file.durable_sectors().into_iter().map(|sector| (name.clone(), inode, sector)));
        }
        candidates.truncate((candidates.len() as f64 * scope.oldest).ceil() as usize);
        self.rng.shuffle(&mut candidates);
        candidates.truncate(count);
        for (_, inode, sector) in &candidates {
            let bit = match damage {
                Damage::Rotten => {
                    let bytes = self.files[inode].len() - u64::from(*sector) * SECTOR as u64;
                    let bit = self.rng.below(bytes.min(scope.bytes as u64) * 8);
                    self.file(*inode).flip(*sector, bit as usize);
                    self.ledger.affected(id, Effect::BitsFlipped, 1);
                    bit
                }
                Damage::Unreadable => {
                    self.ledger.affected(id, Effect::SectorsSpoiled, 1);
                    u64::MAX
                }
            };
            self.damaged.insert((*inode, *sector), (id, damage));
            self.event(Kind::Rot, [*inode, u64::from(*sector), bit]);
        }
        candidates.into_iter().map(|(name, _, sector)| (name, sector)).collect()
    }

    /// Frees files that no name and no open handle refers to.
    pub(super) fn collect(&mut self) {
        let (names, open) = (&self.names, &self.open);
        self.files.retain(|inode, _| names.leads_to(*inode) || open.values().any(|(other, _)| other == inode));
    }
}

/// The keys of the damage table that cover a byte range of a file.
fn sectors(inode: Inode, offset: u64, len: usize) -> std::ops::Range<(Inode, u32)> {
    let sector = SECTOR as u64;
    (inode, (offset / sector) as u32)..(inode, (offset + len as u64).div_ceil(sector) as u32)
}
