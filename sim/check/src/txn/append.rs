//! Lists that transactions append to and read as a whole. Every read shows the order of all appends that it saw.
//!
//! The longest committed read of a key is its version order, and all other reads must be prefixes of it. Appends that
//! no read saw came after all appends that some read saw. Their order among themselves is not known, and
//! serializability does not need it: no read depends on it.
//!
//! Every append counts as a separate write, so transactions whose appends to one list are interleaved form a G0. The
//! order skips elements that an aborted transaction or no transaction appended. Keys whose reads contradict each other,
//! or show an element twice, have no order; only which write each read saw is used.

use super::found::Found;
use super::graph::{Builder, Link};
use super::index::{Index, NONE, Several, Step, Use};
use super::levels::Isolation;
use crate::evidence::Link as Shown;
use crate::history::{End, Function, KeyId, Value};

/// The version orders.
pub struct Lists<'h> {
    /// By key: the longest read, and the transaction that made it ([`NONE`] if there is none).
    pub longest: Vec<(&'h [Value], u32)>,
    /// By key: whether it has no order, because reads contradict each other or show an element twice.
    pub broken: Vec<bool>,
    /// By write: the length of the list just after it; [`NONE`] if no read saw it.
    pub position: Vec<u32>,
    /// By key: where its positions, from 0 to the length of the longest read, begin in the following vectors.
    base: Vec<u32>,
    /// By position: the write that brought the list to this length.
    written: Vec<u32>,
    /// By position: the committed transaction that made the last append up to there.
    before: Vec<u32>,
    /// By position: the committed transaction that made the next append.
    after: Vec<u32>,
    /// By key: the first position that an aborted transaction, or no transaction, appended.
    spoilt: Vec<u32>,
    /// The number of keys with appends by several transactions that no read saw; the order of these is not known.
    pub partial: usize,
}

/// Whether one list begins with another. Compares in blocks, each without early exit: reads are long and mostly agree.
fn starts_with(longest: &[Value], list: &[Value]) -> bool {
    const BLOCK: usize = 16;
    let Some(same) = longest.get(..list.len()) else { return false };
    let differ = |(a, b): (&Value, &Value)| a.bits() ^ b.bits();
    let (whole, rest) = (same.chunks_exact(BLOCK), list.chunks_exact(BLOCK));
    whole.remainder() == rest.remainder()
        && whole.zip(rest).all(|(a, b)| a.iter().zip(b).map(differ).fold(0, |all, bits| all | bits) == 0)
}

/// Returns the list that a committed read saw.
pub fn seen<'h>(index: &Index<'h>, step: &'h Step) -> Option<&'h [Value]> {
    if step.f != Function::Read || index.uses[step.key.0 as usize] == Use::Register {
        return None;
    }
    index.history.list(step).or_else(|| (step.value == Value::NIL).then_some(&[]))
}

impl<'h> Lists<'h> {
    /// Finds the order of each list.
    pub fn new(index: &mut Index<'h>, found: &mut Found) -> Lists<'h> {
        let keys = index.uses.len();
        let mut lists = Lists {
            longest: vec![(&[], NONE); keys],
            broken: vec![false; keys],
            position: vec![NONE; index.writes.len()],
            base: Vec::with_capacity(keys),
            written: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            spoilt: vec![NONE; keys],
            partial: 0,
        };
        lists.find_longest(index);
        lists.compare_reads(index, found);
        for key in 0..keys as u32 {
            lists.place(index, found, KeyId(key));
        }
        lists.neighbours(index);
        lists.compare_own(index, found);
        lists
    }

    /// Checks that a transaction's appends to a list are in the list in the order in which it made them.
    fn compare_own(&self, index: &Index<'h>, found: &mut Found) {
        for key in (0..index.uses.len() as u32).map(KeyId).filter(|key| !self.broken[key.0 as usize]) {
            for at in index.of_key(key).skip(1) {
                let (first, second) = (index.writes[at - 1], index.writes[at]);
                let together = first.op == second.op && index.counts(second.op);
                // A read saw the second without the first, so the first, which must come before it, never can.
                let swapped = self.position[at] != NONE && self.position[at - 1] > self.position[at];
                if !together || !swapped || index.find(key, first.value) == Err(Several) {
                    continue;
                }
                let (list, by) = self.longest[key.0 as usize];
                found.add(index, "misordered appends", &[second.op, by][..1 + usize::from(by != second.op)], |words| {
                    let (name, reader, shown) = (words.name(second.op), words.name(by), words.key(key));
                    let (a, b, list) = (words.value(first.value), words.value(second.value), words.list(list));
                    format!("{name} appended {a} to {shown} and then {b}, but {reader} read {shown} = {list}")
                });
            }
        }
    }

    fn find_longest(&mut self, index: &Index<'h>) {
        for (i, op) in (0u32..).zip(index.history.operations()).filter(|(_, op)| op.end == End::Ok) {
            for step in index.history.micro_ops(op) {
                if let Some(list) = seen(index, step) {
                    let longest = &mut self.longest[step.key.0 as usize];
                    if longest.1 == NONE || list.len() > longest.0.len() {
                        *longest = (list, i);
                    }
                }
            }
        }
    }

    fn compare_reads(&mut self, index: &mut Index<'h>, found: &mut Found) {
        for (i, op) in (0u32..).zip(index.history.operations()).filter(|(_, op)| op.end == End::Ok) {
            for step in index.history.micro_ops(op) {
                let Some(list) = seen(index, step) else { continue };
                let (longest, by) = self.longest[step.key.0 as usize];
                if starts_with(longest, list) {
                    continue;
                }
                self.broken[step.key.0 as usize] = true;
                for &value in list {
                    index.seen(index.writer(step.key, value));
                }
                found.add(index, "incompatible order", &[by, i], |words| {
                    let key = words.key(step.key);
                    let (a, b) = (words.list(longest), words.list(list));
                    format!(
                        "{} read {key} = {a} and {} read {key} = {b}: neither is a prefix of the other, so no \
                             order of the appends explains both",
                        words.name(by),
                        words.name(i)
                    )
                });
            }
        }
    }

    /// Gives each element of a key's longest read its position.
    fn place(&mut self, index: &mut Index<'h>, found: &mut Found, key: KeyId) {
        let (list, by) = self.longest[key.0 as usize];
        self.base.push(self.written.len() as u32);
        self.written.push(NONE);
        let mut dirty = NONE;
        for (&value, position) in list.iter().zip(1u32..) {
            let at = index.find(key, value);
            let written = at.unwrap_or(NONE);
            self.written.push(written);
            let Some(place) = self.position.get_mut(written as usize) else {
                if at == Ok(NONE) {
                    self.spoilt[key.0 as usize] = self.spoilt[key.0 as usize].min(position);
                }
                continue;
            };
            if *place != NONE {
                self.broken[key.0 as usize] = true;
                found.add(index, "duplicate elements", &[by], |words| {
                    let (value, key, list) = (words.value(value), words.key(key), words.list(list));
                    format!(
                        "{} read {key} = {list}, which holds {value} twice, but it was appended once",
                        words.name(by)
                    )
                });
                continue;
            }
            *place = position;
            let writer = index.writes[written as usize].op;
            index.seen(writer);
            if index.aborted(writer) {
                self.spoilt[key.0 as usize] = self.spoilt[key.0 as usize].min(position);
                dirty = written;
            } else if index.counts(writer) && dirty != NONE {
                let lost = index.writes[std::mem::replace(&mut dirty, NONE) as usize];
                found.add(index, "dirty update", &[lost.op, writer], |words| {
                    let (a, b, key) = (words.name(lost.op), words.name(writer), words.key(key));
                    let (old, new) = (words.value(lost.value), words.value(value));
                    format!(
                        "{b} committed its append of {new} to {key}, on top of {old}, which {a} had appended; \
                             but {a} aborted"
                    )
                });
            }
        }
    }

    fn neighbours(&mut self, index: &Index<'h>) {
        let committed = |write: u32| {
            let op = index.writes.get(write as usize).map_or(NONE, |write| write.op);
            if index.counts(op) { op } else { NONE }
        };
        self.before = vec![NONE; self.written.len()];
        self.after = vec![NONE; self.written.len()];
        for key in 0..self.base.len() {
            let start = self.base[key] as usize;
            let end = self.base.get(key + 1).map_or(self.written.len(), |&next| next as usize);
            let mut last = NONE;
            for at in start..end {
                let op = committed(self.written[at]);
                last = if op == NONE { last } else { op };
                self.before[at] = last;
            }
            let mut next = NONE;
            for at in (start..end).rev() {
                self.after[at] = next;
                let op = committed(self.written[at]);
                next = if op == NONE { next } else { op };
            }
        }
    }

    /// Adds all dependencies to a graph, and finds the anomalies that need no cycle.
    pub fn depend(&mut self, index: &Index<'h>, graph: &mut Builder, found: &mut Found) {
        let mut fans = Vec::new();
        for key in 0..index.uses.len() as u32 {
            let fan = self.unread(index, KeyId(key));
            let (start, length) = (self.base[key as usize] as usize, self.longest[key as usize].0.len());
            if self.broken[key as usize] {
                fans.push(None);
                continue;
            }
            if let [only] = fan[..] {
                // If a single transaction made the unread appends, it comes last.
                let place = self.after[start..=start + length].iter_mut().rev();
                place.take_while(|after| **after == NONE).for_each(|after| *after = only);
            }
            let mut last = NONE;
            for &op in self.before[start + 1..=start + length].iter().filter(|&&op| op != NONE) {
                if op != last && last != NONE {
                    graph.add(last, op, Link::Ww);
                }
                last = op;
            }
            self.partial += usize::from(fan.len() > 1);
            let fan = (!fan.is_empty()).then(|| graph.fan(fan));
            if let (Some(fan), true) = (&fan, last != NONE) {
                graph.spread(last, fan, Link::Ww);
            }
            fans.push(fan);
        }
        let mut scan = Scan {
            own: vec![Own::default(); index.uses.len()],
            next: index.first.clone(),
            updated: vec![NONE; self.written.len()],
            overtaken: Vec::new(),
        };
        for (i, op) in (0u32..).zip(index.history.operations()) {
            for step in index.history.micro_ops(op) {
                match step.f {
                    Function::Append => scan.append(self, index, found, i, step),
                    Function::Read if op.end == End::Ok => {
                        let Some(length) = scan.read(self, index, found, i, step) else { continue };
                        self.link(index, graph, i, step, length);
                        let at = (self.base[step.key.0 as usize] + length) as usize;
                        if let (false, Some(fan)) = (self.broken[step.key.0 as usize], &fans[step.key.0 as usize])
                            && self.after[at] == NONE
                        {
                            graph.spread(i, fan, Link::Rw);
                        }
                    }
                    _ => {}
                }
            }
        }
        self.overtaken(index, found, &scan.overtaken);
    }

    /// Reports appends that came between what a transaction read and what it appended. If both transactions had read
    /// the same list, it is a lost update, and reported as one.
    fn overtaken(&self, index: &Index<'h>, found: &mut Found, overtaken: &[(u32, u32, KeyId, u32)]) {
        if found.rules_out(Isolation::CursorStability) {
            return;
        }
        for &(op, other, key, length) in overtaken {
            found.add(index, "G-cursor", &[op, other], |words| {
                let list = words.list(&self.longest[key.0 as usize].0[..length as usize]);
                let (a, b, shown) = (words.name(op), words.name(other), words.key(key));
                let read = format!("rw {shown}: {a} read {shown} = {list}, without what {b} appended");
                words.edge(op, other, Shown::Rw(key), read);
                words.edge(other, op, Shown::Ww(key), format!("ww {shown}: {a} appended to {shown} after {b}"));
                format!("{a} read {shown} = {list} and appended to it, but {b} had appended in between")
            });
        }
    }

    /// Returns the committed transactions with appends to a key that no read saw.
    fn unread(&self, index: &Index<'h>, key: KeyId) -> Vec<u32> {
        if index.uses[key.0 as usize] != Use::List {
            return Vec::new();
        }
        let writes = index.of_key(key).filter(|&at| self.position[at] == NONE);
        let writes = writes.map(|at| index.writes[at]).filter(|write| index.counts(write.op));
        let mut ops: Vec<u32> =
            writes.filter(|write| index.find(key, write.value) != Err(Several)).map(|write| write.op).collect();
        ops.dedup();
        ops
    }

    /// Adds the dependencies of a read that saw `length` elements of other transactions: what it depends on, and what
    /// depends on it.
    fn link(&self, index: &Index<'h>, graph: &mut Builder, op: u32, step: &'h Step, length: u32) {
        let key = step.key.0 as usize;
        if self.broken[key] {
            let last = seen(index, step).and_then(|list| list.get((length as usize).checked_sub(1)?));
            let writer = last.map_or(NONE, |&value| index.writer(step.key, value));
            if index.counts(writer) {
                graph.add(writer, op, Link::Wr);
            }
            return;
        }
        let at = (self.base[key] + length) as usize;
        if self.before[at] != NONE {
            graph.add(self.before[at], op, Link::Wr);
        }
        if self.after[at] != NONE {
            graph.add(op, self.after[at], Link::Rw);
        }
    }

    /// Returns the committed transactions that made the last append up to a length and the next one after it; `None` if
    /// the order is not known.
    pub fn around(&self, key: KeyId, length: usize) -> Option<(u32, u32)> {
        let at = self.base[key.0 as usize] as usize + length;
        (!self.broken[key.0 as usize]).then(|| (self.before[at], self.after[at]))
    }
}

/// What a transaction has done to a key so far.
#[derive(Clone, Copy)]
struct Own {
    op: u32,
    /// Its first append, and the number of its appends.
    first: u32,
    count: u32,
    /// The number of elements of other transactions that its first read saw.
    read: u32,
    /// The length of its longest read.
    most: u32,
}

impl Default for Own {
    fn default() -> Own {
        Own { op: NONE, first: NONE, count: 0, read: NONE, most: 0 }
    }
}

/// Goes through the transactions and checks each by itself.
struct Scan {
    /// By key.
    own: Vec<Own>,
    /// By key: the place of its next write in the index.
    next: Vec<u32>,
    /// By position: the first committed transaction that read the list up to there and appended to it.
    updated: Vec<u32>,
    /// Transactions that read a list and appended to it after another transaction had appended to what they read. Each
    /// with the other transaction, the key, and the number of elements read.
    overtaken: Vec<(u32, u32, KeyId, u32)>,
}

impl Scan {
    fn own(&mut self, op: u32, key: KeyId) -> &mut Own {
        let own = &mut self.own[key.0 as usize];
        if own.op != op {
            *own = Own { op, ..Own::default() };
        }
        own
    }

    fn append(&mut self, lists: &Lists<'_>, index: &Index<'_>, found: &mut Found, op: u32, step: &Step) {
        let place = self.next[step.key.0 as usize];
        self.next[step.key.0 as usize] += 1;
        let own = self.own(op, step.key);
        own.count += 1;
        if own.count == 1 {
            own.first = place;
        }
        let own = *own;
        if !index.counts(op) || lists.broken[step.key.0 as usize] {
            return;
        }
        if lists.position[place as usize] <= own.most {
            found.add(index, "future read", &[op], |words| {
                let (name, value, key) = (words.name(op), words.value(step.value), words.key(step.key));
                format!("{name} read its own {value} in {key} before it appended it")
            });
        }
        if own.count > 1 || own.read == NONE {
            return;
        }
        let at = (lists.base[step.key.0 as usize] + own.read) as usize;
        let next = lists.after[at];
        if next != NONE && next != op {
            self.overtaken.push((op, next, step.key, own.read));
        }
        let slot = &mut self.updated[at];
        if *slot == NONE {
            *slot = op;
            return;
        }
        let other = *slot;
        found.add(index, "lost update", &[other, op], |words| {
            let list = words.list(&lists.longest[step.key.0 as usize].0[..own.read as usize]);
            let (a, b, key) = (words.name(other), words.name(op), words.key(step.key));
            words.edge(
                other,
                op,
                Shown::Rw(step.key),
                format!("rw {key}: {a} read {key} = {list}, without what {b} appended"),
            );
            words.edge(
                op,
                other,
                Shown::Rw(step.key),
                format!("rw {key}: {b} read {key} = {list}, without what {a} appended"),
            );
            format!("{a} and {b} both read {key} = {list} and then appended to it: neither saw what the other did")
        });
    }

    /// Returns how many elements of other transactions a read saw; `None` if this is not known, or the read contradicts
    /// the transaction itself.
    fn read(&mut self, lists: &Lists<'_>, index: &Index<'_>, found: &mut Found, op: u32, step: &Step) -> Option<u32> {
        // Skip reads of registers, and reads without a known result.
        if index.uses[step.key.0 as usize] == Use::Register {
            return None;
        }
        let list = index.history.list(step).or_else(|| (step.value == Value::NIL).then_some(&[]))?;
        let length = list.len() as u32;
        let own = self.own(op, step.key);
        own.most = own.most.max(length);
        let before = *own;
        let mine = index.writes.get(before.first as usize..(before.first.wrapping_add(before.count)) as usize);
        let mine = mine.unwrap_or(&[]);
        let ends = list.len() >= mine.len() && {
            let tail = &list[list.len() - mine.len()..];
            tail.iter().zip(mine).all(|(&value, write)| value == write.value)
        };
        if !ends {
            found.add(index, "internal", &[op], |words| {
                let values: Vec<Value> = mine.iter().map(|write| write.value).collect();
                let (name, key, seen, own) =
                    (words.name(op), words.key(step.key), words.list(list), words.list(&values));
                format!("{name} had appended {own} to {key}, and then read {key} = {seen}, which does not end so")
            });
            return None;
        }
        let others = length - mine.len() as u32;
        match before.read {
            NONE => self.own[step.key.0 as usize].read = others,
            first if first != others => found.add(index, "non-repeatable read", &[op], |words| {
                let (name, key, seen) = (words.name(op), words.key(step.key), words.list(list));
                format!(
                    "{name} read {key} twice: first with {first} elements of others, and then {seen}, with {others}"
                )
            }),
            _ => {}
        }
        self.judge(lists, index, found, (op, step, &list[..others as usize]));
        Some(others)
    }

    /// Reports the values that a read must not have seen: phantom values, aborted writes (G1a), and intermediate writes
    /// (G1b).
    fn judge(&self, lists: &Lists<'_>, index: &Index<'_>, found: &mut Found, (op, step, list): (u32, &Step, &[Value])) {
        let key = step.key;
        let whole = !lists.broken[key.0 as usize];
        if !whole || lists.spoilt[key.0 as usize] as usize <= list.len() {
            let (mut aborted, mut phantom) = (false, false);
            for &value in list {
                let writer = index.writer(key, value);
                if writer == NONE && !std::mem::replace(&mut phantom, true) {
                    found.add(index, "phantom value", &[op], |words| {
                        let (name, key, list) = (words.name(op), words.key(key), words.list(list));
                        format!("{name} read {key} = {list}, but nobody ever appended {}", words.value(value))
                    });
                } else if index.aborted(writer) && !std::mem::replace(&mut aborted, true) {
                    found.add(index, "G1a", &[writer, op], |words| {
                        let (a, b, list) = (words.name(writer), words.name(op), words.list(list));
                        let (key, value) = (words.key(key), words.value(value));
                        words.edge(
                            writer,
                            op,
                            Shown::Wr(step.key),
                            format!("wr {key}: {b} read the {value} that {a} appended"),
                        );
                        format!("{b} read {key} = {list}, where {a} had appended {value}; but {a} aborted")
                    });
                }
            }
        }
        let written = match (whole, list) {
            (_, []) => return,
            // Do not access the list itself: it is far away in memory.
            (true, _) => lists.written[lists.base[key.0 as usize] as usize + list.len()],
            (false, [.., last]) => index.find(key, *last).unwrap_or(NONE),
        };
        let Some(write) = index.writes.get(written as usize) else { return };
        if !write.last && write.op != op && index.counts(write.op) {
            found.add(index, "G1b", &[write.op, op], |words| {
                let (a, b, list) = (words.name(write.op), words.name(op), words.list(list));
                let (key, value) = (words.key(key), words.value(write.value));
                words.edge(
                    write.op,
                    op,
                    Shown::Wr(step.key),
                    format!("wr {key}: {b} read the {value} that {a} appended"),
                );
                format!(
                    "{b} read {key} = {list}, up to the {value} that {a} had appended; but {a} went on to append \
                         more to {key}, so {b} saw it half done"
                )
            });
        }
    }
}
