//! Registers that transactions read and write. A read shows which write it read from, but little of the order of
//! writes.
//!
//! What is known of a key's version order:
//! - The initial value comes before all others.
//! - What a transaction read of a key comes before what it then wrote to it. This needs read committed: with the
//!   opposite order the transaction would both follow and precede the one it read from, a G1c.
//! - If the caller says so ([`super::Options::linearizable_keys`], [`super::Options::sequential_keys`]): the last
//!   version that a transaction wrote or saw comes before the first version that a later transaction saw or wrote.
//!   "Later" means later in real time, or later in the same client.
//!
//! A cyclic version order is an anomaly. For such keys, only which write each read saw is used.

use super::Options;
use super::found::Found;
use super::graph::{Builder, Link};
use super::index::{Index, NONE, Several, Step, Use};
use super::levels::Isolation;
use crate::evidence::Link as Shown;
use crate::history::{End, Function, KeyId, NEVER, Value};
use hashbrown::HashMap;

/// The version orders, as far as they are known. A version is the place of its write. An initial version is the number
/// of writes plus the key.
pub struct Registers {
    /// Pairs of a version and a version known to be later, sorted.
    order: Vec<(u32, u32)>,
    /// Those pairs that follow from the assumptions about keys, sorted. The others need read committed.
    assumed: Vec<(u32, u32)>,
    /// By key: whether the order is cyclic.
    broken: Vec<bool>,
}

/// What a transaction did to a key.
#[derive(Clone, Copy)]
struct Touch {
    op: u32,
    key: KeyId,
    /// The first version of another transaction that it read.
    read: u32,
    /// Its last write.
    write: u32,
}

impl Touch {
    fn first(&self) -> u32 {
        if self.read != NONE { self.read } else { self.write }
    }

    fn last(&self) -> u32 {
        if self.write != NONE { self.write } else { self.read }
    }
}

impl Registers {
    /// Finds the version orders, adds all dependencies to a graph, and finds the anomalies that need no cycle.
    pub fn new(index: &mut Index<'_>, options: &Options, graph: &mut Builder, found: &mut Found) -> Registers {
        let mut registers = Registers { order: Vec::new(), assumed: Vec::new(), broken: vec![false; index.uses.len()] };
        if !index.uses.contains(&Use::Register) {
            return registers;
        }
        let touches = touches(index, found);
        if options.linearizable_keys {
            registers.real_time(index, &touches);
        }
        if options.sequential_keys {
            registers.by_process(index, &touches);
        }
        registers.order.sort_unstable();
        registers.order.dedup();
        registers.assumed.clone_from(&registers.order);
        for touch in touches.iter().filter(|touch| index.counts(touch.op)) {
            if touch.read != NONE && touch.write != NONE && touch.read != touch.write {
                registers.order.push((touch.read, touch.write));
            }
        }
        registers.order.sort_unstable();
        registers.order.dedup();
        registers.circles(index, found);
        registers.lost_updates(index, &touches, found);
        registers.depend(index, &touches, graph);
        registers
    }

    /// Returns the pairs of a version and each version known to come directly after it. Those of an initial version are
    /// not all listed.
    fn later(&self, version: u32) -> &[(u32, u32)] {
        let start = self.order.partition_point(|&(from, _)| from < version);
        let length = self.order[start..].partition_point(|&(from, _)| from == version);
        &self.order[start..start + length]
    }

    fn real_time(&mut self, index: &Index<'_>, touches: &[Touch]) {
        let operations = index.history.operations();
        let mut events: Vec<(u32, u32)> = Vec::new();
        for (i, touch) in (0u32..).zip(touches).filter(|(_, touch)| index.counts(touch.op) && touch.first() != NONE) {
            let op = &operations[touch.op as usize];
            events.push((op.called, i));
            events.extend(op.settled().map(|returned| (returned, i)));
        }
        events.sort_unstable();
        // By key: the last versions of transactions that returned, with their returns. None of these transactions was
        // called after another one had returned.
        let mut fronts: Vec<Vec<(u32, u32)>> = vec![Vec::new(); index.uses.len()];
        for (event, i) in events {
            let touch = &touches[i as usize];
            let front = &mut fronts[touch.key.0 as usize];
            let called = operations[touch.op as usize].called;
            if event == called {
                let earlier = front.iter().map(|&(_, version)| version).filter(|&version| version != touch.first());
                self.order.extend(earlier.map(|version| (version, touch.first())));
            } else {
                front.retain(|&(returned, _)| returned > called);
                front.push((event, touch.last()));
            }
        }
    }

    fn by_process(&mut self, index: &Index<'_>, touches: &[Touch]) {
        // For look-ups only, never iterated.
        let mut left: HashMap<(u32, KeyId), (u32, u32)> = HashMap::new();
        for touch in touches.iter().filter(|touch| index.counts(touch.op) && touch.first() != NONE) {
            let op = &index.history.operations()[touch.op as usize];
            let slot = left.entry((op.process, touch.key)).or_insert((NEVER, NONE));
            if slot.0 < op.called && slot.1 != touch.first() {
                self.order.push((slot.1, touch.first()));
            }
            if let Some(returned) = op.settled() {
                *slot = (returned, touch.last());
            }
        }
    }

    /// Finds keys whose version order is cyclic: from the assumptions alone, or together with what transactions read
    /// and wrote.
    fn circles(&mut self, index: &Index<'_>, found: &mut Found) {
        let assumed = circles_of(index, &self.assumed);
        for circle in circles_of(index, &self.order) {
            let certain = assumed.iter().any(|other| other.iter().any(|version| circle.binary_search(version).is_ok()));
            let level = if certain { Isolation::ReadUncommitted } else { Isolation::ReadCommitted };
            let version = |v: u32| index.writes.get(v as usize).map(|write| write.value);
            let Some(key) = circle.first().and_then(|&first| key_of(index, first)) else { continue };
            self.broken[key.0 as usize] = true;
            let ops: Vec<u32> = circle.iter().filter_map(|&v| Some(index.writes.get(v as usize)?.op)).collect();
            found.add_told(index, "cyclic versions", (&ops[..ops.len().min(8)], true), &[level], |words| {
                let shown: Vec<String> = circle
                    .iter()
                    .take(8)
                    .map(|&v| match version(v) {
                        Some(value) => words.value(value),
                        None => "the initial value".to_owned(),
                    })
                    .collect();
                let key = words.key(key);
                format!("the versions {} of {key} would each have to come before the others", shown.join(", "))
            });
        }
    }

    fn lost_updates(&self, index: &Index<'_>, touches: &[Touch], found: &mut Found) {
        let mut updated = vec![NONE; index.writes.len() + index.uses.len()];
        for touch in touches.iter().filter(|touch| index.counts(touch.op)) {
            if touch.read == NONE || touch.write == NONE {
                continue;
            }
            let slot = &mut updated[touch.read as usize];
            if *slot == NONE {
                *slot = touch.op;
                continue;
            }
            let (other, op) = (*slot, touch.op);
            found.add(index, "lost update", &[other, op], |words| {
                let value = index.writes.get(touch.read as usize).map(|write| write.value);
                let value = value.map_or_else(|| "the initial value".to_owned(), |value| words.value(value));
                let (a, b, key) = (words.name(other), words.name(op), words.key(touch.key));
                words.edge(
                    other,
                    op,
                    Shown::Rw(touch.key),
                    format!("rw {key}: {a} read {key} = {value}, which {b} overwrote"),
                );
                words.edge(
                    op,
                    other,
                    Shown::Rw(touch.key),
                    format!("rw {key}: {b} read {key} = {value}, which {a} overwrote"),
                );
                format!(
                    "{a} and {b} both read {key} = {value} and then wrote to it: one has overwritten the other unseen"
                )
            });
        }
    }

    fn depend(&self, index: &Index<'_>, touches: &[Touch], graph: &mut Builder) {
        let writes = index.writes.len() as u32;
        let writer = |version: u32| index.writes.get(version as usize).map_or(NONE, |write| write.op);
        let mut initial: Vec<Vec<u32>> = vec![Vec::new(); index.uses.len()];
        let touches = || touches.iter().filter(|touch| index.counts(touch.op));
        for touch in touches().filter(|touch| touch.write != NONE) {
            initial[touch.key.0 as usize].push(touch.op);
        }
        let initial: Vec<_> = initial.into_iter().map(|ops| graph.fan(ops)).collect();
        let mut fans = HashMap::new(); // Look-ups only: never iterated.
        for touch in touches() {
            let key = touch.key.0 as usize;
            if touch.read != NONE && index.counts(writer(touch.read)) {
                graph.add(writer(touch.read), touch.op, Link::Wr);
            }
            if self.broken[key] || touch.read == NONE {
                continue;
            }
            if touch.read >= writes {
                graph.spread(touch.op, &initial[key], Link::Rw);
                continue;
            }
            let later = self.later(touch.read);
            let writers = || later.iter().map(|&(_, to)| writer(to)).filter(|&op| index.counts(op));
            if later.len() <= 3 {
                writers().for_each(|to| graph.add(touch.op, to, Link::Rw));
                continue;
            }
            let fan = fans.entry(touch.read).or_insert_with(|| graph.fan(writers().collect()));
            graph.spread(touch.op, fan, Link::Rw);
        }
        for &(from, to) in &self.order {
            let (a, b) = (writer(from), writer(to));
            if index.counts(a) && index.counts(b) && key_of(index, to).is_some_and(|key| !self.broken[key.0 as usize]) {
                graph.add(a, b, Link::Ww);
            }
        }
    }

    /// Returns the registers whose order of writes is not known: the replies leave several orders possible.
    pub fn loose(&self, index: &Index<'_>) -> Vec<KeyId> {
        let keys = (0..index.uses.len() as u32).map(KeyId);
        keys.filter(|&key| index.uses[key.0 as usize] == Use::Register && !self.is_total(index, key)).collect()
    }

    /// Whether the order of a key's versions is total: each version except the first is known to come directly after
    /// another one, and no two after the same one.
    fn is_total(&self, index: &Index<'_>, key: KeyId) -> bool {
        let versions = index.of_key(key).filter(|&at| index.writes[at].last && index.counts(index.writes[at].op));
        let mut versions: Vec<u32> = versions.map(|at| at as u32).collect();
        if self.broken[key.0 as usize] || versions.len() < 2 {
            return !self.broken[key.0 as usize];
        }
        // In a total order, the number of later versions gives the position.
        let mut memo: HashMap<u32, usize> = HashMap::with_capacity(versions.len()); // Look-ups only: never iterated.
        let mut path: Vec<u32> = versions.clone();
        while let Some(&version) = path.last() {
            let later = || self.later(version).iter().map(|&(_, to)| to);
            let open: Vec<u32> = later().filter(|to| !memo.contains_key(to)).collect();
            if open.is_empty() {
                let length = later().filter_map(|to| memo.get(&to)).max().map_or(0, |length| length + 1);
                memo.insert(version, length);
                path.pop();
            } else {
                path.extend(open);
            }
        }
        versions.sort_by_key(|version| std::cmp::Reverse(memo.get(version).copied().unwrap_or(0)));
        versions.windows(2).all(|pair| self.precedes(index, pair[0], pair[1]))
    }

    /// Whether this order of two versions is known without read committed.
    pub fn is_assumed(&self, from: u32, to: u32) -> bool {
        self.assumed.binary_search(&(from, to)).is_ok()
    }

    /// Whether one version of a key is known to come directly before another.
    pub fn precedes(&self, index: &Index<'_>, from: u32, to: u32) -> bool {
        let initial = from >= index.writes.len() as u32;
        initial || self.order.binary_search(&(from, to)).is_ok()
    }
}

/// Returns groups of versions in which each version comes before all others of its group. Each group is sorted.
fn circles_of(index: &Index<'_>, order: &[(u32, u32)]) -> Vec<Vec<u32>> {
    let writes = index.writes.len() as u32;
    let mut versions = Builder::new(index.writes.len() + index.uses.len(), order.len());
    for &(from, to) in order {
        versions.add(from, to, Link::Ww);
        if to >= writes {
            versions.add(to, from, Link::Ww); // The initial version is before all others.
        }
    }
    versions.finish().map_or(Vec::new(), |versions| versions.components(Link::Ww.mask()).nodes)
}

/// The key of a version.
fn key_of(index: &Index<'_>, version: u32) -> Option<KeyId> {
    let writes = index.writes.len() as u32;
    if version >= writes {
        return Some(KeyId(version - writes));
    }
    // Keys without writes begin where the next key does.
    (index.first.partition_point(|&start| start <= version) as u32).checked_sub(1).map(KeyId)
}

/// Returns the version that a committed read of a register saw; [`NONE`] if it is not known.
pub fn version(index: &Index<'_>, step: &Step) -> u32 {
    if step.f != Function::Read || index.uses[step.key.0 as usize] != Use::Register || step.value == Value::UNTOLD {
        return NONE;
    }
    match index.find(step.key, step.value) {
        Ok(NONE) if step.value == index.history.initial() => index.writes.len() as u32 + step.key.0,
        Ok(at) if step.value != index.history.initial() => at,
        Ok(_) | Err(Several) => NONE,
    }
}

/// Goes through the transactions and checks each by itself.
fn touches(index: &mut Index<'_>, found: &mut Found) -> Vec<Touch> {
    let history = index.history;
    for op in history.operations().iter().filter(|op| op.end == End::Ok) {
        for step in history.micro_ops(op) {
            let writer = index.writes.get(version(index, step) as usize).map_or(NONE, |write| write.op);
            index.seen(writer);
        }
    }
    let index = &*index;
    let (mut touches, mut next) = (Vec::<Touch>::new(), index.first.clone());
    let mut at = vec![NONE; index.uses.len()];
    for (i, op) in (0u32..).zip(history.operations()) {
        for step in history.micro_ops(op).iter().filter(|step| index.uses[step.key.0 as usize] == Use::Register) {
            let slot = &mut at[step.key.0 as usize];
            if touches.get(*slot as usize).is_none_or(|touch| touch.op != i) {
                *slot = touches.len() as u32;
                touches.push(Touch { op: i, key: step.key, read: NONE, write: NONE });
            }
            let touch = &mut touches[*slot as usize];
            if step.f != Function::Read {
                let place = next[step.key.0 as usize];
                next[step.key.0 as usize] += 1;
                let clear = index.find(step.key, step.value) == Ok(place);
                touch.write = if clear { place } else { NONE };
            } else if op.end == End::Ok {
                read(index, found, touch, step);
            }
        }
    }
    touches
}

/// Records a read, and reports the anomalies that it shows.
fn read(index: &Index<'_>, found: &mut Found, touch: &mut Touch, step: &Step) {
    let (op, key, seen) = (touch.op, step.key, version(index, step));
    if step.value == Value::UNTOLD {
        return;
    }
    if touch.write != NONE {
        let own = index.writes[touch.write as usize].value;
        if own != step.value {
            found.add(index, "internal", &[op], |words| {
                let (name, key) = (words.name(op), words.key(key));
                let (own, value) = (words.value(own), words.value(step.value));
                format!("{name} had written {own} to {key}, and then read {key} = {value}")
            });
        }
        return;
    }
    if seen == NONE {
        if index.find(key, step.value) == Ok(NONE) {
            found.add(index, "phantom value", &[op], |words| {
                let (name, key, value) = (words.name(op), words.key(key), words.value(step.value));
                format!("{name} read {key} = {value}, but nobody ever wrote that")
            });
        }
        return;
    }
    if touch.read != NONE && touch.read != seen {
        found.add(index, "non-repeatable read", &[op], |words| {
            let (name, key, value) = (words.name(op), words.key(key), words.value(step.value));
            format!("{name} read {key} twice, and the second time it found another value, {value}")
        });
        return;
    }
    touch.read = seen;
    let Some(write) = index.writes.get(seen as usize) else { return };
    let (writer, last) = (write.op, write.last);
    let kind = match (index.aborted(writer), writer == op, last) {
        (_, true, _) => "future read",
        (true, ..) => "G1a",
        (false, false, false) => "G1b",
        (false, false, true) => return,
    };
    if writer == op {
        touch.read = NONE;
    }
    let ops = if writer == op { vec![op] } else { vec![writer, op] };
    found.add(index, kind, &ops, |words| {
        let (a, b, key, value) = (words.name(writer), words.name(op), words.key(key), words.value(step.value));
        if writer == op {
            return format!("{b} read its own {value} in {key} before it wrote it");
        }
        words.edge(writer, op, Shown::Wr(step.key), format!("wr {key}: {b} read the {value} that {a} wrote"));
        match kind {
            "G1a" => format!("{b} read {key} = {value}, which {a} had written; but {a} aborted"),
            _ => format!(
                "{b} read {key} = {value}, which {a} had written; but {a} went on to write {key} again, so \
                          {b} saw it half done"
            ),
        }
    });
}
