//! The session guarantees (Terry et al., "Session guarantees for weakly consistent replicated data", 1994).
//!
//! As in that paper, the versions of each key have one order, the same for all sessions. A guarantee requires that
//! certain versions come before others in this order. It is violated exactly if no order of a key's versions satisfies
//! these requirements together with what is known of the order, that is, if they form a cycle. Known are: the initial
//! state is first; a write that took effect under a condition on the value comes after the version it replaced;
//! revisions, if [`Options::revisions`]; real time between writes that do not overlap, if [`Options::real_time`].
//! Everything else is free. Without revisions or real time, two versions are therefore compared only by the other
//! requirements. If some order explains the history, nothing counts as a violation.
//!
//! `<` is the order of a key's versions. "Later" refers to the order of one session.
//!
//! - **Read your writes**: if a session wrote u and later read v of the same key, v is u or u < v.
//! - **Monotonic reads**: if a session read u and later v of the same key, v is u or u < v.
//! - **Monotonic writes**: if a session wrote u and later w of the same key, u < w. Also, if any session has read a
//!   write that the first session made after u (to any key), and then reads v of u's key, v is u or u < v.
//! - **Writes follow reads**: if a session read u and later wrote w of the same key, u < w. Also, if any session has
//!   read a write that the first session made after reading u (to any key), and then reads v of u's key, v is u or u <
//!   v.
//!
//! The second halves say "has read, then reads". They attribute to the writer's guarantee what a reader sees, although
//! the reader may have moved between replicas in between. If the readers' own monotonic reads are violated too, look
//! there first.
//!
//! Writes of unknown outcome are not part of their session, but their versions can be read. Conditional writes that
//! took effect are reads of what they replaced.

use super::graph::{self, Cyclic, Edge, Sink, TooMany, Why};
use super::trace::{INITIAL, NONE, Trace, is_access};
use super::{Options, settle, show};
use crate::history::{History, UNTOLD_REVISION};
use crate::linear::{PartReport, Report, Verdict};

/// A session guarantee.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Guarantee {
    /// A session sees its own writes.
    ReadYourWrites,
    /// A session's reads do not go back to older versions.
    MonotonicReads,
    /// A session's writes take effect in the order of the session.
    MonotonicWrites,
    /// A session's writes come after what it had read before.
    WritesFollowReads,
}

impl Guarantee {
    /// All of them.
    pub const ALL: [Guarantee; 4] = [
        Guarantee::ReadYourWrites,
        Guarantee::MonotonicReads,
        Guarantee::MonotonicWrites,
        Guarantee::WritesFollowReads,
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Guarantee::ReadYourWrites => "read your writes",
            Guarantee::MonotonicReads => "monotonic reads",
            Guarantee::MonotonicWrites => "monotonic writes",
            Guarantee::WritesFollowReads => "writes follow reads",
        }
    }

    /// Whether it concerns the versions that sessions wrote (otherwise: those that they read).
    fn of_writes(self) -> bool {
        matches!(self, Guarantee::ReadYourWrites | Guarantee::MonotonicWrites)
    }

    /// Whether its first half concerns the session's own later writes (otherwise: its later reads), and it has a second
    /// half.
    fn has_observers(self) -> bool {
        matches!(self, Guarantee::MonotonicWrites | Guarantee::WritesFollowReads)
    }
}

/// Checks all guarantees; returns one report for each.
#[must_use]
pub fn check_guarantees(history: &History, options: &Options) -> Vec<Report> {
    Guarantee::ALL.iter().map(|&guarantee| check_guarantee(history, guarantee, options)).collect()
}

/// Decides one guarantee, key by key.
#[must_use]
pub fn check_guarantee(history: &History, guarantee: Guarantee, options: &Options) -> Report {
    let property = guarantee.name();
    let trace = Trace::new(history);
    let (mut verdicts, steps) = judge(history, &trace, guarantee, options);
    if !trace.unsure.is_empty() {
        let any = |verdicts: &[Verdict]| {
            let found = verdicts.iter().position(|verdict| *verdict != Verdict::Valid);
            found.map_or(Verdict::Valid, |at| verdicts[at].clone())
        };
        let (verdict, _) = settle(history, &mut |trace| {
            let (verdicts, steps) = judge(history, trace, guarantee, options);
            (any(&verdicts), steps)
        });
        if verdict != Verdict::Valid {
            let why = match verdict {
                Verdict::Unknown(why) => why,
                _ => "equal values: for some operations it is not sure which write they read".to_owned(),
            };
            for verdict in verdicts.iter_mut().filter(|verdict| **verdict == Verdict::Valid) {
                *verdict = Verdict::Unknown(why.clone());
            }
        }
    }
    let mut operations = vec![0; verdicts.len()];
    for op in history.operations() {
        if let Some(count) = operations.get_mut(op.key.0 as usize) {
            *count += 1;
        }
    }
    let name = |key: u32| history.key(crate::history::KeyId(key)).into_owned();
    let parts = (0u32..).zip(verdicts).zip(operations).map(|((key, verdict), operations)| PartReport {
        name: name(key),
        operations,
        verdict,
        by: "order of versions",
        steps: if key == 0 { steps } else { 0 },
        counts: Vec::new(),
        figures: Vec::new(),
    });
    Report { property, parts: parts.collect() }
}

/// Returns a verdict for each key, and the steps taken.
fn judge(history: &History, trace: &Trace, guarantee: Guarantee, options: &Options) -> (Vec<Verdict>, u64) {
    let keys = history.keys() as usize;
    let versions: Vec<u32> = trace.writes.iter().flatten().copied().collect();
    let mut nodes = vec![NONE; trace.accesses.len()];
    for (node, &version) in (0u32..).zip(&versions) {
        nodes[version as usize] = node;
    }
    let lists = Lists::new(trace, &nodes, guarantee.of_writes());
    let maker = Maker { history, trace, guarantee, options, lists, nodes };
    let mut missed = Vec::new();
    let found = graph::cycles(versions.len(), options.memory / 64, options.steps, &mut |sink| {
        missed.clear();
        maker.make(sink, &mut missed)
    });
    let Ok(mut found) = found else {
        let why = "the limit of steps or memory was reached".to_owned();
        return (vec![Verdict::Unknown(why); keys], options.steps);
    };
    for edge in found.edges.iter_mut().chain(found.cycles.iter_mut().flatten()) {
        (edge.from, edge.to) = (versions[edge.from as usize], versions[edge.to as usize]);
    }
    for miss in &mut missed {
        miss.from = versions[miss.from as usize];
    }
    let mut verdicts = vec![Verdict::Valid; keys];
    let key_of = |access: u32| trace.accesses[access as usize].key as usize;
    let mut counts = vec![0u64; keys];
    for edge in found.edges.iter().filter(|edge| matches!(edge.why, Why::Guarantee(_))) {
        counts[key_of(edge.to)] += 1;
    }
    for miss in &missed {
        counts[key_of(miss.from)] += 1;
    }
    maker.explain(&found, &missed, &counts, &mut verdicts);
    (verdicts, found.steps)
}

/// The versions of each key that each session wrote (or read), in the order of the session. Versions are numbered key
/// by key, so that cycles on different keys are in different segments of the graph.
struct Lists {
    /// First entry of each slot, and the end. A slot is the part of a session on one key.
    starts: Vec<u32>,
    /// First slot of each key, and the end.
    keys: Vec<u32>,
    entries: Vec<Entry>,
    /// By slot: its chain.
    chains: Vec<u32>,
    /// By chain: its listed accesses in order, each with position, key and version.
    in_order: Vec<Vec<(u32, u32, u32)>>,
    /// By chain: its slots, with their keys.
    slots: Vec<Vec<(u32, u32)>>,
}

#[derive(Clone, Copy)]
struct Entry {
    at: u32,
    version: u32,
    /// The newest version up to here, by number. Numbers follow the order of calls.
    newest: u32,
}

impl Lists {
    fn new(trace: &Trace, nodes: &[u32], writes: bool) -> Lists {
        let mut all: Vec<(u32, u32, u32)> = Vec::new();
        let version = |i: u32| nodes[if writes { i } else { trace.accesses[i as usize].source } as usize];
        for (i, access) in (0u32..).zip(&trace.accesses) {
            let listed = if writes { access.writes } else { is_access(access.source) };
            if listed && !access.unknown && trace.chains[access.chain as usize].len() > 1 {
                all.push((access.key, access.chain, i));
            }
        }
        let by_call = all.clone();
        all.sort_unstable();
        let mut lists = Lists {
            starts: Vec::new(),
            keys: vec![0; trace.writes.len() + 1],
            entries: Vec::with_capacity(all.len()),
            chains: Vec::new(),
            in_order: vec![Vec::new(); trace.chains.len()],
            slots: vec![Vec::new(); trace.chains.len()],
        };
        for group in all.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let slot = lists.starts.len() as u32;
            lists.starts.push(lists.entries.len() as u32);
            lists.chains.push(group[0].1);
            lists.slots[group[0].1 as usize].push((group[0].0, slot));
            lists.keys[group[0].0 as usize + 1] = slot + 1;
            let mut newest = 0;
            for &(_, _, i) in group {
                let access = &trace.accesses[i as usize];
                let version = version(i);
                newest = newest.max(version);
                lists.entries.push(Entry { at: access.at, version, newest });
            }
        }
        lists.starts.push(lists.entries.len() as u32);
        for (key, chain, i) in by_call {
            lists.in_order[chain as usize].push((trace.accesses[i as usize].at, key, version(i)));
        }
        for key in 1..lists.keys.len() {
            lists.keys[key] = lists.keys[key].max(lists.keys[key - 1]);
        }
        lists
    }

    /// Returns the range of a slot's entries before a position in its session.
    fn before(&self, slot: u32, at: u32) -> (u32, u32) {
        let (start, end) = (self.starts[slot as usize], self.starts[slot as usize + 1]);
        let entries = &self.entries[start as usize..end as usize];
        (start, start + entries.partition_point(|entry| entry.at < at) as u32)
    }
}

/// What a session has read of each session so far, and what this requires for each key.
struct Observer {
    /// By session: the position before which everything is required, and the number of listed accesses before it.
    seen: Vec<(u32, u32)>,
    /// By slot: the reading session, and the end of the required entries when they were last computed.
    ends: Vec<(u32, u32)>,
    /// By key: the reading session, and the newest required version.
    newest: Vec<(u32, u32)>,
}

struct Maker<'a> {
    history: &'a History,
    trace: &'a Trace,
    guarantee: Guarantee,
    options: &'a Options,
    lists: Lists,
    /// By access: the number of its version.
    nodes: Vec<u32>,
}

impl Maker<'_> {
    /// Returns the number of the version that an access wrote.
    fn node(&self, access: u32) -> u32 {
        if is_access(access) { self.nodes[access as usize] } else { access }
    }

    fn make(&self, sink: &mut Sink, missed: &mut Vec<Edge>) -> Result<(), TooMany> {
        self.known(sink)?;
        let mut observer = Observer {
            seen: vec![(0, 0); self.trace.sessions],
            ends: vec![(NONE, 0); self.lists.starts.len()],
            newest: vec![(NONE, 0); self.trace.writes.len()],
        };
        // By key: the current session and its slot.
        let mut own = vec![(NONE, 0); self.trace.writes.len()];
        for session in 0..self.trace.sessions as u32 {
            observer.seen.fill((0, 0));
            for &(key, slot) in &self.lists.slots[session as usize] {
                own[key as usize] = (session, slot);
            }
            sink.spend(1 + self.trace.sessions as u64 / 16)?;
            for &e in &self.trace.chains[session as usize] {
                let access = &self.trace.accesses[e as usize];
                if access.unknown {
                    continue;
                }
                let reads = is_access(access.source) || access.source == INITIAL;
                let target = if self.guarantee.has_observers() {
                    access.writes.then_some(e)
                } else {
                    reads.then_some(access.source)
                };
                let (owner, slot) = own[access.key as usize];
                if let Some(target) = target
                    && owner == session
                {
                    self.require(sink, missed, self.lists.before(slot, access.at), self.node(target), e)?;
                }
                if self.guarantee.has_observers() && reads {
                    self.observe(sink, missed, &mut observer, session, e)?;
                }
            }
        }
        Ok(())
    }

    /// Requires that all versions of a range of entries are before a target, except the target itself.
    fn require(
        &self,
        sink: &mut Sink,
        missed: &mut Vec<Edge>,
        (start, end): (u32, u32),
        target: u32,
        by: u32,
    ) -> Result<(), TooMany> {
        if target == INITIAL {
            if let Some(last) = (start..end).last() {
                missed.push(Edge {
                    from: self.lists.entries[last as usize].version,
                    to: INITIAL,
                    why: Why::Guarantee(by),
                });
            }
            return Ok(());
        }
        let floor = sink.floor(target);
        for entry in self.lists.entries[start as usize..end as usize].iter().rev() {
            if entry.newest < floor {
                break;
            }
            sink.spend(1)?;
            if entry.version != target {
                sink.add(entry.version, target, Why::Guarantee(by));
            }
        }
        Ok(())
    }

    /// Applies the second half of a guarantee: requires that a read does not miss what the session's earlier reads
    /// imply. Then records what this read implies.
    fn observe(
        &self,
        sink: &mut Sink,
        missed: &mut Vec<Edge>,
        observer: &mut Observer,
        session: u32,
        e: u32,
    ) -> Result<(), TooMany> {
        let access = &self.trace.accesses[e as usize];
        let (key, target) = (access.key as usize, self.node(access.source));
        let (owner, newest) = observer.newest[key];
        if owner == session && (target == INITIAL || newest >= sink.floor(target)) {
            for slot in self.lists.keys[key]..self.lists.keys[key + 1] {
                let (start, last) = (self.lists.starts[slot as usize], self.lists.starts[slot as usize + 1]);
                let seen = observer.seen.get(self.lists.chains[slot as usize] as usize).map_or(0, |seen| seen.0);
                let (owner, end) = &mut observer.ends[slot as usize];
                if *owner != session {
                    (*owner, *end) = (session, start);
                }
                let from = *end;
                while *end < last && self.lists.entries[*end as usize].at < seen {
                    *end += 1;
                }
                let end = *end;
                sink.spend(1 + u64::from(end - from))?;
                self.require(sink, missed, (start, end), target, e)?;
            }
        }
        if !is_access(access.source) {
            return Ok(());
        }
        let source = &self.trace.accesses[access.source as usize];
        let seen = observer.seen.get_mut(source.chain as usize);
        let Some(seen) = seen.filter(|seen| seen.0 < source.at && !source.unknown) else { return Ok(()) };
        let listed = &self.lists.in_order[source.chain as usize][seen.1 as usize..];
        let mut steps = 0;
        for &(_, key, version) in listed.iter().take_while(|listed| listed.0 < source.at) {
            let newest = &mut observer.newest[key as usize];
            *newest = if newest.0 == session { (session, newest.1.max(version)) } else { (session, version) };
            steps += 1;
        }
        *seen = (source.at, seen.1 + steps);
        sink.spend(u64::from(steps))
    }

    /// Adds what is known of the order of versions.
    fn known(&self, sink: &mut Sink) -> Result<(), TooMany> {
        let accesses = &self.trace.accesses;
        for (i, access) in (0u32..).zip(accesses) {
            if access.writes && is_access(access.source) {
                sink.add(self.node(access.source), self.node(i), Why::ReadsFrom);
            }
        }
        for writes in &self.trace.writes {
            if self.options.revisions {
                let told = |&i: &u32| (accesses[i as usize].revision != UNTOLD_REVISION).then_some(i);
                let mut told: Vec<u32> = writes.iter().filter_map(told).collect();
                told.sort_by_key(|&i| accesses[i as usize].revision);
                let groups: Vec<&[u32]> =
                    told.chunk_by(|&a, &b| accesses[a as usize].revision == accesses[b as usize].revision).collect();
                for pair in groups.windows(2) {
                    sink.spend((pair[0].len() * pair[1].len()) as u64)?;
                    for (&from, &to) in pair[0].iter().flat_map(|from| pair[1].iter().map(move |to| (from, to))) {
                        sink.add(self.node(from), self.node(to), Why::Revisions);
                    }
                }
            }
            if self.options.real_time {
                for (at, &to) in writes.iter().enumerate() {
                    let called = self.history.operation(accesses[to as usize].op).called;
                    let floor = sink.floor(self.node(to));
                    for &from in writes[..at].iter().rev().take_while(|&&from| self.node(from) >= floor) {
                        sink.spend(1)?;
                        if self.trace.returned(self.history, from) < called {
                            sink.add(self.node(from), self.node(to), Why::RealTime);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Sets the verdicts of the keys that have violations, with evidence.
    fn explain(&self, found: &Cyclic, missed: &[Edge], counts: &[u64], verdicts: &mut [Verdict]) {
        let (history, trace) = (self.history, self.trace);
        let name = self.guarantee.name();
        let key_of = |access: u32| trace.accesses[access as usize].key;
        let text = |key: u32| history.key(crate::history::KeyId(key)).into_owned();
        let intro = |key: u32| {
            let n = counts[key as usize];
            let untold = trace.writes[key as usize]
                .iter()
                .filter(|&&i| trace.accesses[i as usize].revision == UNTOLD_REVISION)
                .count();
            let order = match (self.options.revisions && untold == 0, self.options.real_time) {
                (true, _) => "revisions tell the order of all its versions".to_owned(),
                (false, true) => format!("{untold} of its versions are ordered by real time and conditions only"),
                (false, false) => {
                    format!("{untold} of its versions are ordered by conditions and by what is asked only")
                }
            };
            format!("key {}: {name} violated; {n} pairs of versions clash; {order}", text(key))
        };
        for miss in missed {
            let Why::Guarantee(by) = miss.why else { continue };
            let key = key_of(miss.from);
            if verdicts[key as usize] != Verdict::Valid {
                continue;
            }
            let (write, read) = (trace.accesses[miss.from as usize].op, trace.accesses[by as usize].op);
            let explanation = format!(
                "{}. {} saw the initial state, though it had to see {} or something newer",
                intro(key),
                show::op(history, read),
                show::op(history, write)
            );
            let core = trace.ops(&[miss.from, by]);
            verdicts[key as usize] = Verdict::Invalid(show::plain(history, &text(key), name, core, explanation));
        }
        for cycle in &found.cycles {
            let key = key_of(cycle[0].from);
            if verdicts[key as usize] == Verdict::Valid {
                let evidence = show::cycle(history, trace, &text(key), name, &intro(key), cycle);
                verdicts[key as usize] = Verdict::Invalid(evidence);
            }
        }
    }
}
