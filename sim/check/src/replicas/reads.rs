//! Figures of reads: session guarantees, staleness, conflicts.
//!
//! **Missing.** A read *misses* a write if none of the values it returned is that of the write or overwrote it,
//! directly or not, and no delete that overwrote it, directly or not, may have happened by the time the read returned.
//! Under the last-writer policy it also does not miss a write that may have lost. A write may have lost against any
//! returned value that it had not itself overwritten or, if the read returned nothing, against any delete. So every
//! counted miss is certain.
//!
//! **Session guarantees** (Terry et al. 1994), of a client and a key, counted in reads:
//! - *Read your writes*: a read misses no write of its client acknowledged before, and returns nothing that its client
//!   had deleted.
//! - *Monotonic reads*: a read misses none of the values that its client was last shown.
//! - *Monotonic writes*: a read, by any client, that returns a value misses none of the writes of the same writer that
//!   were acknowledged before it wrote that value.
//! - *Writes follow reads*: a read, by any client, that returns a value misses none of the values that its writer had
//!   last been shown before writing it, whether the writer passed them as context or not.
//!
//! **Staleness** (Bailis et al. 2012). A read is stale if it misses a write that was acknowledged before it was called,
//! or returns a value that a delete acknowledged before had overwritten. k: the number of such writes it misses, plus
//! one if there are such deletes. t: the time from the first of these acknowledgements to the read's call. Visibility
//! after t: of the reads called a time t after the latest acknowledgement of a put of their key, the share that does
//! not miss that put.
//!
//! **Pairs.** A stale read is a violation if its quorum met that of a write that it misses. If reads bring the replicas
//! they asked up to date before they return, a read does not go back either. It misses nothing that an earlier read it
//! met has found, acknowledged or not. It also does not find a deleted value that an earlier read it met should have
//! found and no longer did. Two reads meet only by their own quorums, R + R > N. That all reads meet all writes says
//! nothing about two reads: reads of one replica meet writes to all replicas.

use super::closure::Closure;
use super::history::{Keyed, NEVER};
use super::set::Set;
use super::verdicts::outdone;
use super::words;
use super::{AGES, Call, FORWARD, Findings, LATEST, Level, Options, Policy, Quorum};
use hashbrown::HashMap;

/// The state of one client on one key: what it did and what it was shown.
#[derive(Default)]
struct Session {
    /// The client's acknowledged puts.
    own: Set,
    /// What the client's acknowledged deletes overwrote.
    deleted: Set,
    /// The client's latest acknowledged put.
    last: Option<u32>,
    /// What the client was shown last, and what it was shown earlier and has missed since.
    seen: Vec<u32>,
}

/// The state of a writer's session when it wrote a value.
#[derive(Clone, Default)]
struct Before {
    /// The writer's latest acknowledged put before.
    own: Option<u32>,
    /// Whether the writer had been shown anything.
    seen: bool,
    /// What the writer had been shown and did not overwrite.
    kept: Vec<u32>,
}

/// The kinds of events. At the same time, returns come before calls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A write was acknowledged, by its position among the writes.
    Acked(u32),
    /// An operation that showed values returned, by its position in `Keyed::shown`.
    Shown(u32),
    /// A write was called, by its position among the writes.
    Called(u32),
}

/// The context in which reads are judged.
#[derive(Clone, Copy)]
struct Past<'a> {
    keyed: &'a Keyed<'a>,
    closure: &'a Closure,
    options: &'a Options,
}

/// What an operation was shown.
struct Found<'a> {
    /// The writes of the values, ascending.
    writes: &'a [u32],
    /// These writes and everything they overwrote.
    covered: Set,
    /// Time of the operation's return.
    returned: u64,
}

/// The acknowledged writes that a read misses.
struct Missed {
    versions: u64,
    /// The first of them by acknowledgement: its time, and the write.
    first: (u64, u32),
    /// The first of them whose quorum the read met; [`NEVER`] if there is none.
    met: (u64, u32),
}

struct Reads<'a> {
    past: Past<'a>,
    sessions: HashMap<u32, Session>,
    before: Vec<Before>,
    /// The acknowledged puts, in the order of their acknowledgements.
    acked: Vec<(u64, u32)>,
    /// The acknowledged puts that a later read can still miss.
    missable: Set,
    /// For each quorum: what its reads have found, and which read found each write first.
    known: Vec<(Quorum, Set, HashMap<u32, u32>)>,
    /// For each deleted write: the first read that met it and did not find it.
    gone: HashMap<u32, u32>,
}

/// Measures the reads of one key. A stale read is a violation if its quorum met that of a write it misses.
pub fn check(keyed: &Keyed, closure: &Closure, options: &Options, findings: &mut Findings) {
    if keyed.shown.is_empty() {
        return;
    }
    let mut acked: Vec<(u64, u32)> = Vec::with_capacity(keyed.writes.len());
    let mut missable = Set::default();
    let mut events: Vec<(u64, Event)> = Vec::with_capacity(2 * keyed.writes.len() + keyed.shown.len());
    for (number, write) in (0u32..).zip(&keyed.writes) {
        events.push((write.called, Event::Called(number)));
        if write.acked == NEVER {
            continue;
        }
        events.push((write.acked, Event::Acked(number)));
        if write.put {
            acked.push((write.acked, number));
            missable.insert(number);
        }
    }
    acked.sort_unstable();
    for (number, shown) in (0u32..).zip(&keyed.shown) {
        events.push((keyed.op(shown.op).returned.unwrap_or(NEVER), Event::Shown(number)));
    }
    events.sort_unstable_by_key(|&(time, event)| (time, matches!(event, Event::Called(_)), event));
    let before = vec![Before::default(); keyed.writes.len()];
    let past = Past { keyed, closure, options };
    let (known, gone) = (Vec::new(), HashMap::new());
    let mut reads = Reads { past, sessions: HashMap::new(), before, acked, missable, known, gone };
    let mut found = Found { writes: &[], covered: Set::default(), returned: 0 };
    for (time, event) in events {
        match event {
            Event::Called(write) => reads.called(write),
            Event::Acked(write) => reads.acked(write),
            Event::Shown(number) => {
                let shown = &keyed.shown[number as usize];
                let writes = keyed.found(shown);
                if writes != found.writes {
                    found.covered.clear();
                    closure.cover(writes, &mut found.covered);
                    found.writes = writes;
                }
                found.returned = time;
                reads.shown(shown.op, &found, findings);
            }
        }
    }
}

impl Past<'_> {
    /// Returns whether the values found miss a write.
    fn misses(&self, write: u32, found: &Found) -> bool {
        !found.covered.contains(write)
            && self.keyed.writes[write as usize].deleted > found.returned
            && !(self.options.policy == Policy::LastWriter
                && outdone(self.keyed, self.closure, write, found.writes, found.returned))
    }
}

impl Reads<'_> {
    fn called(&mut self, write: u32) {
        let Past { keyed, closure, .. } = self.past;
        let Some(session) = self.sessions.get(&keyed.write(write).client) else { return };
        let kept = session.seen.iter().copied().filter(|&seen| !closure.overwrote(write, seen)).collect();
        self.before[write as usize] = Before { own: session.last, seen: !session.seen.is_empty(), kept };
    }

    fn acked(&mut self, write: u32) {
        let Past { keyed, closure, .. } = self.past;
        let session = self.sessions.entry(keyed.write(write).client).or_default();
        let it = &keyed.writes[write as usize];
        if !it.put {
            closure.cover(keyed.saw(it), &mut session.deleted);
            return;
        }
        session.own.insert(write);
        session.last = Some(write);
    }

    fn shown(&mut self, at: u32, found: &Found, findings: &mut Findings) {
        let past = self.past;
        let op = past.keyed.op(at);
        if op.call == Call::Get {
            let level = findings.figures.level(&op.level);
            level.reads += 1;
            // The reported number of values, whether or not their writes are known.
            let values = super::history::shown(op).map_or(0, <[String]>::len) as u64;
            level.conflicts += u64::from(values > 1);
            level.values_max = level.values_max.max(values);
            self.sessions(op.client, found, level);
        }
        let session = self.sessions.entry(op.client).or_default();
        session.seen.retain(|&seen| past.misses(seen, found));
        session.seen.extend_from_slice(found.writes);
        if op.call == Call::Get {
            self.staleness(at, found, findings);
            if past.options.forward && past.options.policy == Policy::Siblings {
                self.forward(at, found, findings);
            }
        }
    }

    /// Checks a read against earlier reads that it meets: it must not miss what they found, and must not return what
    /// they no longer found.
    fn forward(&mut self, at: u32, found: &Found, findings: &mut Findings) {
        let keyed = self.past.keyed;
        let op = keyed.op(at);
        let Some(quorum) = op.quorum else { return };
        let before = |&earlier: &u32| keyed.op(earlier).returned.is_some_and(|returned| returned < op.called);
        let mut back: Option<(u32, u32)> = None;
        for (_, known, first) in self.known.iter_mut().filter(|(by, ..)| by.meets(quorum)) {
            let mut from = 0;
            while let Some(write) = known.first_not_in(&found.covered, from) {
                if keyed.writes[write as usize].deleted <= found.returned {
                    known.remove(write);
                } else if let Some(&earlier) = first.get(&write).filter(|earlier| before(earlier)) {
                    back = back.or(Some((write, earlier)));
                }
                from = write + 1;
            }
        }
        if let Some((write, earlier)) = back {
            findings.violated(FORWARD, keyed.name, &[at, earlier], || {
                let (late, early, value) = (words::op(op), words::op(keyed.op(earlier)), keyed.value(write));
                format!("{late} misses {value:?}, which an earlier read that it meets had found: {early}")
            });
        }
        let gone =
            |&write: &u32| self.gone.get(&write).filter(|earlier| before(earlier)).map(|&earlier| (write, earlier));
        let returns = found.writes.iter().find_map(gone);
        let met = |&(_, earlier): &(u32, u32)| keyed.op(earlier).quorum.is_some_and(|by| by.meets(quorum));
        if let Some((write, earlier)) = returns.filter(met) {
            findings.violated(FORWARD, keyed.name, &[at, earlier], || {
                let (late, early, value) = (words::op(op), words::op(keyed.op(earlier)), keyed.value(write));
                format!("{late} found {value:?}, which an earlier read that it meets had found deleted: {early}")
            });
        }
        let place = self.known.iter().position(|(by, ..)| *by == quorum).unwrap_or_else(|| {
            self.known.push((quorum, Set::default(), HashMap::new()));
            self.known.len() - 1
        });
        let (_, known, first) = &mut self.known[place];
        for &write in found.writes {
            first.entry(write).or_insert_with(|| {
                known.insert(write);
                at
            });
        }
    }

    /// Counts what a read says about the guarantees, before the read itself is added to the session.
    fn sessions(&self, client: u32, found: &Found, level: &mut Level) {
        let misses = |&write: &u32| self.past.misses(write, found);
        if let Some(session) = self.sessions.get(&client) {
            if !session.own.is_empty() || !session.deleted.is_empty() {
                let back = || found.writes.iter().any(|&write| session.deleted.contains(write));
                level.read_your_writes.count(session.own.not_in(&found.covered).any(|write| misses(&write)) || back());
            }
            if !session.seen.is_empty() {
                level.monotonic_reads.count(session.seen.iter().any(misses));
            }
        }
        let before = || found.writes.iter().map(|&write| (write, &self.before[write as usize]));
        if before().any(|(_, before)| before.own.is_some()) {
            level.monotonic_writes.count(before().any(|(write, before)| self.misses_earlier(write, before.own, found)));
        }
        if before().any(|(_, before)| before.seen) {
            level.writes_follow_reads.count(before().any(|(_, before)| before.kept.iter().any(misses)));
        }
    }

    /// Returns whether what was found misses one of the writer's puts, up to `latest`, that were acknowledged when it
    /// wrote.
    fn misses_earlier(&self, write: u32, latest: Option<u32>, found: &Found) -> bool {
        let session = self.sessions.get(&self.past.keyed.write(write).client);
        let (Some(latest), Some(session)) = (latest, session) else { return false };
        let mut earlier = session.own.not_in(&found.covered).take_while(|&own| own <= latest);
        earlier.any(|own| self.past.misses(own, found))
    }

    fn staleness(&mut self, at: u32, found: &Found, findings: &mut Findings) {
        let past = self.past;
        let op = past.keyed.op(at);
        let Missed { mut versions, mut first, mut met } = self.missed(at, found);
        // Deleted values that were returned.
        let deletes = found.writes.iter().map(|&write| past.keyed.writes[write as usize].overwritten);
        let deletes = deletes.filter(|&(acked, by)| acked < op.called && !past.keyed.writes[by as usize].put);
        if let Some(delete) = deletes.min() {
            versions += 1;
            first = first.min(delete);
            if past.options.meet(op, past.keyed.write(delete.1)) {
                met = met.min(delete);
            }
        }
        let level = findings.figures.level(&op.level);
        let latest = self.acked.partition_point(|&(acked, _)| acked < op.called);
        if let Some(&(acked, latest)) = self.acked[..latest].last() {
            let age = op.called - acked;
            let band = AGES.partition_point(|&from| from <= age) - 1;
            level.visible[band].count(past.misses(latest, found));
            level.stale.count(versions > 0);
        }
        if versions == 0 {
            return;
        }
        level.versions.count(versions);
        level.micros.count((op.called - first.0) / 1_000);
        if met.0 != NEVER {
            let missed = past.keyed.writes[met.1 as usize].op;
            findings.violated(LATEST, past.keyed.name, &[at, missed], || {
                format!(
                    "{} misses {}, which was acknowledged {} ms before; in all it misses {versions} acknowledged writes",
                    words::op(op),
                    words::op(past.keyed.op(missed)),
                    words::ms(op.called - met.0)
                )
            });
        }
    }

    /// Returns the puts that a read misses of those acknowledged before it was called.
    fn missed(&mut self, at: u32, found: &Found) -> Missed {
        let past = self.past;
        let read = past.keyed.op(at);
        let called = read.called;
        let meets = |write: u32| past.options.meet(read, past.keyed.write(write));
        let end = past.keyed.writes.partition_point(|write| write.called < called);
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        // Under the last-writer policy, only what overwrote everything found can be missed.
        let by_policy = past.options.policy == Policy::LastWriter;
        let start = found.writes.last().filter(|_| by_policy).map_or(0, |&last| last + 1);
        let mut missed = Missed { versions: 0, first: (NEVER, 0), met: (NEVER, 0) };
        let mut from = start;
        while let Some(write) = self.missable.first_not_in(&found.covered, from).filter(|&write| write < end) {
            let it = &past.keyed.writes[write as usize];
            if it.deleted <= found.returned {
                // Reads are processed in the order of their returns, so later reads do not miss it either.
                self.missable.remove(write);
                if it.acked < called && meets(write) {
                    self.gone.entry(write).or_insert(at);
                }
            } else if it.acked < called && past.misses(write, found) {
                missed.versions += 1;
                missed.first = missed.first.min((it.acked, write));
                if meets(write) {
                    missed.met = missed.met.min((it.acked, write));
                }
            }
            from = write + 1;
        }
        missed
    }
}
