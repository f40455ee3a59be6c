//! Figures of reads: session guarantees, staleness, conflicts.
//!
//! **Missing.** A read *misses* a write if none of the values it returned is that of the write or overwrote it, directly or not,
//! and no delete that overwrote it, directly or not, may have happened by the time the read returned. By the policy of the
//! last writer it also does not miss what may have lost against a value that it returned, which is any value the write itself had not
//! overwritten; or, if it returned nothing, against any delete. So what is counted is certain.
//!
//! **Session guarantees** (Terry et al. 1994), of a client and a key, counted in reads:
//! - *Read your writes*: a read misses no write of its client acknowledged before, and returns nothing that its client had deleted.
//! - *Monotonic reads*: a read misses none of the values that its client was last shown.
//! - *Monotonic writes*: a read, by whomsoever, that returns a value misses not the write that the same writer had
//!   acknowledged last before writing it.
//! - *Writes follow reads*: a read, by whomsoever, that returns a value misses none of the values that its writer had been shown last
//!   before writing it, whether it gave them as context or not.
//!
//! **Staleness** (Bailis et al. 2012). A read is stale if it misses a write that was acknowledged before it was called, or returns a value that
//! a delete acknowledged before had overwritten. k: how many such writes it misses, and one for such deletes. t: how long before its call
//! the first of them was acknowledged. Visibility after t: of the reads called a time t after the latest acknowledgement of
//! a put of their key, how many do not miss that put.

use super::history::{Keyed, NEVER, cover};
use super::set::Set;
use super::verdicts::outdone;
use super::words;
use super::{AGES, Call, Findings, LATEST, Options, Policy};
use hashbrown::HashMap;

/// What a client has done to a key and seen of it.
#[derive(Default)]
struct Session {
    /// Its acknowledged puts.
    own: Set,
    /// What its acknowledged deletes overwrote.
    deleted: Set,
    /// Its latest acknowledged put.
    last: Option<u32>,
    /// What it was shown last, and before that and has missed since.
    seen: Vec<u32>,
}

/// What a writer had done and seen when it wrote a value.
#[derive(Clone, Default)]
struct Before {
    /// Its put before.
    own: Option<u32>,
    /// What it had been shown.
    seen: bool,
    /// And had not overwritten.
    kept: Vec<u32>,
}

/// What happens at a time; a return comes before a call at the same time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// By position among the writes.
    Acked(u32),
    /// By position among what was shown.
    Shown(u32),
    /// By position among the writes.
    Called(u32),
}

struct Reads<'a> {
    keyed: &'a Keyed<'a>,
    closure: &'a [Set],
    options: &'a Options,
    sessions: HashMap<u32, Session>,
    before: Vec<Before>,
    /// Puts by acknowledgement.
    acked: Vec<(u64, u32)>,
    /// The acknowledged puts that a read can still miss.
    missable: Set,
}

/// Measures the reads of one key; under strict quorums a stale one is a violation.
pub fn check(keyed: &Keyed, closure: &[Set], options: &Options, findings: &mut Findings) {
    if keyed.shown.is_empty() {
        return;
    }
    let count = u32::try_from(keyed.writes.len()).unwrap_or(u32::MAX);
    let acked = (0..count).map(|write| (keyed.writes[write as usize].acked, write));
    let mut acked: Vec<(u64, u32)> =
        acked.filter(|&(acked, write)| acked != NEVER && keyed.writes[write as usize].put).collect();
    acked.sort_unstable();
    let mut missable = Set::default();
    acked.iter().for_each(|&(_, write)| missable.insert(write));
    let mut events: Vec<(u64, Event)> = Vec::with_capacity(2 * keyed.writes.len() + keyed.shown.len());
    for (number, write) in (0u32..).zip(&keyed.writes) {
        events.push((write.called, Event::Called(number)));
        if write.acked != NEVER {
            events.push((write.acked, Event::Acked(number)));
        }
    }
    for (number, shown) in (0u32..).zip(&keyed.shown) {
        events.push((keyed.op(shown.op).returned.unwrap_or(NEVER), Event::Shown(number)));
    }
    events.sort_by_key(|&(time, event)| (time, matches!(event, Event::Called(_))));
    let before = vec![Before::default(); keyed.writes.len()];
    let mut reads = Reads { keyed, closure, options, sessions: HashMap::new(), before, acked, missable };
    let mut last: (&[u32], Set) = (&[], Set::default());
    for (_, event) in events {
        match event {
            Event::Called(write) => reads.called(write),
            Event::Acked(write) => reads.acked(write),
            Event::Shown(number) => {
                let found = &keyed.shown[number as usize].writes[..];
                if found != last.0 {
                    last = (found, cover(found, closure));
                }
                reads.shown(keyed.shown[number as usize].op, found, &last.1, findings);
            }
        }
    }
}

impl Reads<'_> {
    fn called(&mut self, write: u32) {
        let client = self.keyed.write(write).client;
        let Some(session) = self.sessions.get(&client) else { return };
        let overwrote = &self.closure[write as usize];
        let kept = session.seen.iter().copied().filter(|&seen| !overwrote.contains(seen)).collect();
        self.before[write as usize] = Before { own: session.last, seen: !session.seen.is_empty(), kept };
    }

    fn acked(&mut self, write: u32) {
        let session = self.sessions.entry(self.keyed.write(write).client).or_default();
        let overwrote = &self.closure[write as usize];
        if !self.keyed.writes[write as usize].put {
            session.deleted.union(overwrote);
            return;
        }
        session.own.insert(write);
        session.last = Some(write);
    }

    /// Whether what was found, by a read that returned at a time, misses a write.
    fn misses(&self, write: u32, found: &[u32], covered: &Set, returned: u64) -> bool {
        !covered.contains(write)
            && self.keyed.writes[write as usize].deleted > returned
            && !(self.options.policy == Policy::LastWriter
                && outdone(self.keyed, &self.closure[write as usize], found, returned))
    }

    fn shown(&mut self, at: u32, found: &[u32], covered: &Set, findings: &mut Findings) {
        let op = self.keyed.op(at);
        let returned = op.returned.unwrap_or(NEVER);
        if op.call == Call::Get {
            let level = findings.figures.level(&op.level);
            level.reads += 1;
            // As told, whoever wrote it.
            let values = super::history::shown(op).map_or(0, <[String]>::len) as u64;
            level.conflicts += u64::from(values > 1);
            level.values_max = level.values_max.max(values);
            self.sessions(op.client, found, covered, returned, level);
            self.staleness(at, found, covered, findings);
        }
        let mut session = self.sessions.remove(&op.client).unwrap_or_default();
        session.seen.retain(|&seen| self.misses(seen, found, covered, returned));
        session.seen.extend_from_slice(found);
        self.sessions.insert(op.client, session);
    }

    fn sessions(&self, client: u32, found: &[u32], covered: &Set, returned: u64, level: &mut super::Level) {
        let misses = |&write: &u32| self.misses(write, found, covered, returned);
        if let Some(session) = self.sessions.get(&client) {
            if !session.own.is_empty() || !session.deleted.is_empty() {
                let back = || found.iter().any(|&write| session.deleted.contains(write));
                level.read_your_writes.count(session.own.not_in(covered).any(|write| misses(&write)) || back());
            }
            if !session.seen.is_empty() {
                level.monotonic_reads.count(session.seen.iter().any(misses));
            }
        }
        let before = || found.iter().map(|&write| &self.before[write as usize]);
        if before().any(|before| before.own.is_some()) {
            level.monotonic_writes.count(before().filter_map(|before| before.own).any(|own| misses(&own)));
        }
        if before().any(|before| before.seen) {
            level.writes_follow_reads.count(before().any(|before| before.kept.iter().any(misses)));
        }
    }

    fn staleness(&mut self, at: u32, found: &[u32], covered: &Set, findings: &mut Findings) {
        let op = self.keyed.op(at);
        let returned = op.returned.unwrap_or(NEVER);
        let (mut versions, mut first) = self.missed(op.called, found, covered, returned);
        // What was deleted.
        let deletes = found.iter().map(|&write| self.keyed.writes[write as usize].overwritten);
        let deletes = deletes.filter(|&(acked, by)| acked < op.called && !self.keyed.writes[by as usize].put);
        if let Some(delete) = deletes.min() {
            versions += 1;
            first = first.min(delete);
        }
        let level = findings.figures.level(&op.level);
        let latest = self.acked.partition_point(|&(acked, _)| acked < op.called);
        if let Some(&(acked, latest)) = self.acked[..latest].last() {
            let age = op.called - acked;
            let band = AGES.partition_point(|&from| from <= age) - 1;
            level.visible[band].count(self.misses(latest, found, covered, returned));
            level.stale.count(versions > 0);
        }
        if versions == 0 {
            return;
        }
        level.versions.count(versions);
        level.micros.count((op.called - first.0) / 1_000);
        if self.options.strict {
            let missed = self.keyed.writes[first.1 as usize].op;
            findings.violated(LATEST, self.keyed.name, &[at, missed], || {
                format!(
                    "{} misses {}, which was acknowledged {} ms before; in all it misses {versions} acknowledged writes",
                    words::op(op),
                    words::op(self.keyed.op(missed)),
                    words::ms(op.called - first.0)
                )
            });
        }
    }

    /// How many puts acknowledged before a read was called it misses, and the first to be acknowledged.
    fn missed(&mut self, called: u64, found: &[u32], covered: &Set, returned: u64) -> (u64, (u64, u32)) {
        let end = self.keyed.writes.partition_point(|write| write.called < called);
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        // By the policy of the last writer only what overwrote all that was found can be missed.
        let by_policy = self.options.policy == Policy::LastWriter;
        let start = found.last().filter(|_| by_policy).map_or(0, |&last| last + 1);
        let (mut versions, mut first) = (0, (NEVER, 0));
        let mut from = start;
        while let Some(write) = self.missable.first_not_in(covered, from).filter(|&write| write < end) {
            let it = &self.keyed.writes[write as usize];
            if it.deleted <= returned {
                // Reads come in the order of their returns: the later ones do not miss it either.
                self.missable.remove(write);
            } else if it.acked < called && self.misses(write, found, covered, returned) {
                versions += 1;
                first = first.min((it.acked, write));
            }
            from = write + 1;
        }
        (versions, first)
    }
}
