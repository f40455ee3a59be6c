//! Appends whose place later reads tell: decided by the times of blocks, after Gibbons and Korach ("Testing shared
//! memories", 1997).
//!
//! If no text is empty or a prefix of another, a content can be parsed in one way only, as a sequence of texts. The
//! time between one write (put) and the next is an *epoch*. A read shows its epoch, by its first text, and the appends
//! in it, in order. Everything that the reads of one epoch show is one *block*: the write, the appends up to the
//! longest content read, and the reads, in a forced order. No other operation that changes the content can be inside a
//! block. A change that was never seen is a block of its own, or did not happen if its outcome is unknown.
//!
//! So the history is linearizable exactly if each block's order respects real time, and the blocks can be put in an
//! order. Let f be the first return and s the last call in a block: A must be before B if f(A) < s(B). If no two blocks
//! must each be before the other, there is no longer cycle either, and the order by f + s is valid: f(A) < s(B) and
//! s(A) ≤ f(B) imply f(A) + s(A) < f(B) + s(B).
//!
//! If a text was appended or written more than once, real time may show which operation a read saw. It is not one
//! called after the read had returned, one after which another write began and ended before the read, or one that
//! belongs elsewhere. Operations that are still ambiguous are first left out: the rest may refute. Then they are
//! guessed: any order found is valid. Otherwise the search decides. This takes O(n log n) comparisons plus the length
//! of the contents read.

use super::Element;
use crate::history::{End, Function, History, NEVER, OpId, Value};
use crate::linear::Item;
use hashbrown::HashMap;

/// The answer of the blocks.
pub enum Finding {
    /// There is an order.
    Possible(Blocks),
    /// There is none. Holds the operations to examine first.
    Impossible(Vec<OpId>),
    /// The search must decide.
    Unclear,
}

const NONE: u32 = u32::MAX;
/// A text that was written more often is left to the search.
const REPEATED: usize = 32;

struct Write {
    source: OpId,
    call: u32,
    ret: u32,
    text: u32,
    put: bool,
    /// Whether it has a place in a block.
    taken: bool,
}

struct Read {
    source: OpId,
    call: u32,
    ret: u32,
    node: u32,
    /// The write (put) that it is after; the number of writes: the beginning; [`NONE`]: unclear.
    epoch: u32,
}

/// A content, as another content plus one text. The first is the empty content.
struct Node {
    parent: u32,
    text: u32,
    depth: u32,
    /// The first text.
    head: u32,
    length: u32,
}

/// A place of a text in an epoch.
struct Slot {
    epoch: u32,
    depth: u32,
    text: u32,
    /// The latest call that comes before it, as far as reads tell; its return must be later.
    after: u32,
    /// The earliest return that comes after it.
    before: u32,
    /// The write that is there; [`NONE`]: unclear.
    write: u32,
}

/// Operations in their forced order, and when they were.
struct Block {
    ops: Vec<OpId>,
    /// The first return, with its operation; moments are shifted by one: 0 is before everything.
    first_return: (u64, OpId),
    last_call: (u64, OpId),
    /// A read that saw all of it.
    witness: OpId,
}

/// An arrangement in blocks.
#[derive(Default)]
pub struct Blocks {
    writes: Vec<Write>,
    /// Writes by text: first the appends, then the puts, each by call.
    by_text: Vec<u32>,
    /// Where those of text t begin in it: at 2t the appends, at 2t + 1 the puts.
    starts: Vec<u32>,
    reads: Vec<Read>,
    nodes: Vec<Node>,
    slots: Vec<Slot>,
    blocks: Vec<Block>,
}

/// Looks at one object's operations, which are in the order of their calls.
pub fn examine<T: Element>(history: &History, items: &[Item]) -> Finding {
    if history.initial() != Value::NIL {
        return Finding::Unclear;
    }
    let mut blocks = Blocks::default();
    match blocks.read_all::<T>(history, items) {
        None => return Finding::Unclear,
        Some(Err(read)) => return Finding::Impossible(vec![read]),
        Some(Ok(())) => {}
    }
    match blocks.arrange(false) {
        Err(suspects) => return Finding::Impossible(suspects),
        Ok(true) => return Finding::Possible(blocks),
        Ok(false) => {}
    }
    match blocks.arrange(true) {
        Ok(true) => Finding::Possible(blocks),
        _ => Finding::Unclear,
    }
}

impl Blocks {
    /// An order that explains everything.
    pub fn order(mut self) -> Vec<OpId> {
        self.blocks.sort_by_key(|block| block.first_return.0 + block.last_call.0);
        self.blocks.into_iter().flat_map(|block| block.ops).collect()
    }

    /// Collects the operations. `None` if some content could be read in several ways. The error is a read of a text
    /// that was never written.
    fn read_all<T: Element>(&mut self, history: &History, items: &[Item]) -> Option<Result<(), OpId>> {
        let mut all: Vec<&[T]> = Vec::new();
        for item in items {
            let op = history.operation(item.op);
            let ret = op.settled().filter(|_| !item.open);
            let refused = op.end == End::Refused && ret.is_some();
            let put = op.f == Function::Write;
            if op.end == End::Fail || refused || !(put || op.f == Function::Append) {
                continue;
            }
            all.push(if put { T::content(history, op.arg) } else { T::appended(history, &op.arg) }?);
            let ret = ret.unwrap_or(NEVER);
            self.writes.push(Write { source: item.op, call: op.called, ret, text: 0, put, taken: false });
        }
        let mut texts = all.clone();
        texts.sort_unstable();
        texts.dedup();
        if texts.first().is_some_and(|text| text.is_empty()) || texts.windows(2).any(|two| two[1].starts_with(two[0])) {
            return None;
        }
        for (write, text) in self.writes.iter_mut().zip(&all) {
            write.text = texts.binary_search(text).map_or(NONE, |at| at as u32);
        }
        self.by_text = (0..self.writes.len() as u32).collect();
        let place = |write: &Write| 2 * write.text + u32::from(write.put);
        self.by_text.sort_by_key(|&i| place(&self.writes[i as usize]));
        let mut at = 0;
        for start in 0..=2 * texts.len() as u32 {
            at += self.by_text[at..].iter().take_while(|&&i| place(&self.writes[i as usize]) < start).count();
            self.starts.push(at as u32);
        }
        self.parse(history, items, &texts)
    }

    /// Reads the contents as sequences of texts, each from where it differs from the one before.
    fn parse<T: Element>(&mut self, history: &History, items: &[Item], texts: &[&[T]]) -> Option<Result<(), OpId>> {
        self.nodes.push(Node { parent: NONE, text: NONE, depth: 0, head: NONE, length: 0 });
        let mut children: HashMap<(u32, u32), u32> = HashMap::new();
        let (mut last, mut content, mut path) = (Value::NIL, T::content(history, Value::NIL)?, vec![0u32]);
        for item in items.iter().filter(|item| !item.open) {
            let op = history.operation(item.op);
            let (true, Some(ret), Some(seen)) = (op.f == Function::Read, op.settled(), op.reply.told()) else {
                continue;
            };
            if seen != last {
                let Some(now) = T::content(history, seen) else { return Some(Err(item.op)) };
                let common = common(content, now);
                while path.len() > 1 && self.nodes[path[path.len() - 1] as usize].length as usize > common {
                    path.pop();
                }
                loop {
                    let at = path[path.len() - 1];
                    let Node { depth, head, length, .. } = self.nodes[at as usize];
                    let rest = &now[length as usize..];
                    if rest.is_empty() {
                        break;
                    }
                    // The only text with which it can begin: the last one that is not greater.
                    let text = texts.partition_point(|text| *text <= rest).wrapping_sub(1);
                    let Some(begin) = texts.get(text).filter(|text| rest.starts_with(text)) else {
                        return Some(Err(item.op));
                    };
                    let (text, fresh) = (text as u32, self.nodes.len() as u32);
                    let node = *children.entry((at, text)).or_insert(fresh);
                    if node == fresh {
                        let head = if depth == 0 { text } else { head };
                        let length = length + begin.len() as u32;
                        self.nodes.push(Node { parent: at, text, depth: depth + 1, head, length });
                    }
                    path.push(node);
                }
                (last, content) = (seen, now);
            }
            let node = path[path.len() - 1];
            self.reads.push(Read { source: item.op, call: op.called, ret, node, epoch: NONE });
        }
        Some(Ok(()))
    }

    /// Finds the place of every operation and compares times. Returns `Ok(false)` if some operation has no place. The
    /// error is a set of suspects.
    fn arrange(&mut self, guess: bool) -> Result<bool, Vec<OpId>> {
        let epochs_clear = self.find_epochs(guess)?;
        self.make_slots()?;
        let slots_clear = self.fill_slots(guess)?;
        self.make_blocks(epochs_clear)?;
        self.compare()?;
        Ok(epochs_clear && slots_clear)
    }

    /// The writes of a text: appends or puts.
    fn writes_of(&self, text: u32, put: bool) -> &[u32] {
        let at = 2 * text as usize + usize::from(put);
        &self.by_text[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    fn find_epochs(&mut self, guess: bool) -> Result<bool, Vec<OpId>> {
        let beginning = self.writes.len() as u32;
        // Required puts by call, each with the first return of it and those called later.
        let mut puts: Vec<(u32, u32, OpId)> = Vec::new();
        for write in self.writes.iter().filter(|write| write.put && write.ret != NEVER) {
            puts.push((write.call, write.ret, write.source));
        }
        for i in (1..puts.len()).rev() {
            if puts[i].1 < puts[i - 1].1 {
                (puts[i - 1].1, puts[i - 1].2) = (puts[i].1, puts[i].2);
            }
        }
        // The first return of a put that came after a moment.
        let ended = |moment: u32| puts.get(puts.partition_point(|put| put.0 <= moment));
        let (mut clear, mut over) = (true, Vec::new());
        for at in 0..self.reads.len() {
            let read = &self.reads[at];
            let head = self.nodes[read.node as usize].head;
            let candidates = if head == NONE { &[] } else { self.writes_of(head, true) };
            if candidates.len() > REPEATED {
                clear = false;
                continue;
            }
            // The latest epoch that it can be in, and how many there are.
            let (mut latest, mut count) = ((0, NONE), 0);
            over.clear();
            if head == NONE || !self.writes_of(head, false).is_empty() {
                match puts.first().filter(|put| put.1 < read.call) {
                    None => (latest, count) = ((0, beginning), 1),
                    Some(put) => over.push(put.2),
                }
            }
            for &i in candidates {
                let put = &self.writes[i as usize];
                match ended(put.ret).filter(|end| put.ret != NEVER && end.1 < read.call) {
                    None if put.call < read.ret => (latest, count) = (latest.max((put.call + 1, i)), count + 1),
                    None => over.push(put.source),
                    Some(end) => over.extend([put.source, end.2]),
                }
            }
            if count == 0 {
                over.push(read.source);
                return Err(over);
            }
            let known = count == 1 || guess;
            clear &= known;
            self.reads[at].epoch = if known { latest.1 } else { NONE };
        }
        Ok(clear)
    }

    /// The places of texts in each epoch, up to the longest content read.
    fn make_slots(&mut self) -> Result<(), Vec<OpId>> {
        let Blocks { writes, reads, nodes, slots, .. } = self;
        slots.clear();
        writes.iter_mut().for_each(|write| write.taken = false);
        reads.sort_by_key(|read| (read.epoch, nodes[read.node as usize].depth, read.call));
        for group in reads.chunk_by(|a, b| a.epoch == b.epoch) {
            let Some(longest) = group.last().filter(|read| read.epoch != NONE) else { continue };
            let start = slots.len();
            let mut path = Vec::new();
            let (mut at, mut before, mut shorter) = (longest.node, NEVER, group.iter().rev().peekable());
            while at != 0 {
                let Node { parent, text, depth, .. } = nodes[at as usize];
                while let Some(read) = shorter.next_if(|read| nodes[read.node as usize].depth == depth) {
                    if read.node != at {
                        return Err(vec![read.source, longest.source]);
                    }
                    before = before.min(read.ret);
                }
                path.push((text, depth, before));
                at = parent;
            }
            let put = writes.get_mut(longest.epoch as usize);
            let (mut after, mut earlier) = (0, group.iter().peekable());
            for &(text, depth, before) in path.iter().rev() {
                while let Some(read) = earlier.next_if(|read| nodes[read.node as usize].depth < depth) {
                    after = after.max(read.call);
                }
                slots.push(Slot { epoch: longest.epoch, depth, text, after, before, write: NONE });
            }
            if let (Some(put), Some(slot)) = (put, slots.get_mut(start)) {
                slot.write = longest.epoch;
                put.taken = true;
            }
        }
        Ok(())
    }

    /// Assigns to each slot the write that must be there. Returns false if some slots have several candidates and none
    /// was guessed.
    fn fill_slots(&mut self, guess: bool) -> Result<bool, Vec<OpId>> {
        // The last round guesses.
        for round in 0..4 {
            let (mut open, mut progress) = (false, false);
            let (mut epoch, mut after) = (NONE, 0);
            for at in 0..self.slots.len() {
                let slot = &self.slots[at];
                if slot.epoch != epoch {
                    (epoch, after) = (slot.epoch, 0);
                }
                after = after.max(slot.after);
                let mut write = slot.write;
                if write == NONE {
                    let all = self.writes_of(slot.text, false);
                    let fits = |i: u32| {
                        let write = &self.writes[i as usize];
                        !write.taken && write.call < slot.before && write.ret > after
                    };
                    let fitting = all.iter().copied().filter(|&i| all.len() <= REPEATED && fits(i));
                    // Writes that certainly happened go before those that may have happened.
                    let first = fitting.clone().min_by_key(|&i| self.writes[i as usize].ret);
                    let only = fitting.take(2).count() == 1;
                    match first {
                        None if all.len() <= REPEATED => return Err(self.without(at, all)),
                        Some(first) if only || guess && round == 3 => write = first,
                        _ => open = true,
                    }
                    self.slots[at].write = write;
                    if let Some(write) = self.writes.get_mut(write as usize) {
                        write.taken = true;
                        progress = true;
                    }
                }
                after = after.max(self.writes.get(write as usize).map_or(0, |write| write.call));
            }
            if !open || !progress && !guess {
                return Ok(!open);
            }
        }
        Ok(false)
    }

    /// Suspects if no write fits a slot: the candidates, the reads that saw it first, and its neighbour.
    fn without(&self, at: usize, all: &[u32]) -> Vec<OpId> {
        let slot = &self.slots[at];
        let mut suspects: Vec<OpId> = all.iter().map(|&i| self.writes[i as usize].source).collect();
        let group = self.reads.iter().filter(|read| read.epoch == slot.epoch);
        let depth = |read: &&Read| self.nodes[read.node as usize].depth;
        suspects.extend(group.clone().filter(|r| depth(r) >= slot.depth).min_by_key(|r| r.ret).map(|r| r.source));
        suspects.extend(group.filter(|r| depth(r) < slot.depth).max_by_key(|r| r.call).map(|r| r.source));
        let earlier = self.slots[..at].iter().rev().take_while(|earlier| earlier.epoch == slot.epoch);
        let earlier = earlier.filter_map(|earlier| self.writes.get(earlier.write as usize));
        suspects.extend(earlier.max_by_key(|write| write.call).map(|write| write.source));
        suspects
    }

    /// Builds the blocks. An append without a place was certainly never seen if no place is left for its text.
    fn make_blocks(&mut self, epochs_clear: bool) -> Result<(), Vec<OpId>> {
        let beginning = self.writes.len() as u32;
        self.blocks.clear();
        let mut slots = self.slots.iter().peekable();
        for group in self.reads.chunk_by(|a, b| a.epoch == b.epoch) {
            let Some(longest) = group.last().filter(|read| read.epoch != NONE) else { continue };
            let mut block = Block::new(longest.source, longest.epoch == beginning);
            for reads in group.chunk_by(|a, b| a.node == b.node) {
                let depth = self.nodes[reads[0].node as usize].depth;
                while let Some(slot) = slots.next_if(|slot| slot.epoch == longest.epoch && slot.depth <= depth) {
                    if let Some(write) = self.writes.get(slot.write as usize) {
                        block.push(block.last_call, write.source, write.call, write.ret)?;
                    }
                }
                let last_call = block.last_call;
                for read in reads {
                    block.push(last_call, read.source, read.call, read.ret)?;
                }
            }
            self.blocks.push(block);
        }
        let mut left: Vec<u32> = self.slots.iter().filter(|slot| slot.write == NONE).map(|slot| slot.text).collect();
        left.sort_unstable();
        let alone = |write: &&Write| write.put || epochs_clear && left.binary_search(&write.text).is_err();
        for write in self.writes.iter().filter(|write| !write.taken && write.ret != NEVER).filter(alone) {
            let mut block = Block::new(write.source, false);
            block.push(block.last_call, write.source, write.call, write.ret)?;
            self.blocks.push(block);
        }
        Ok(())
    }

    /// Whether no two blocks must be before each other.
    fn compare(&self) -> Result<(), Vec<OpId>> {
        let (mut forward, backward): (Vec<&Block>, Vec<&Block>) =
            self.blocks.iter().partition(|block| block.first_return.0 < block.last_call.0);
        forward.sort_unstable_by_key(|block| block.first_return.0);
        let clash = |a: &Block, b: &Block| {
            let both = |block: &Block| [block.first_return.1, block.last_call.1, block.witness];
            let mut suspects = [both(a), both(b)].concat();
            suspects.sort_unstable();
            suspects.dedup();
            suspects.retain(|&op| op != Block::NOBODY);
            Err(suspects)
        };
        if let Some(two) = forward.windows(2).find(|two| two[1].first_return.0 < two[0].last_call.0) {
            return clash(two[0], two[1]);
        }
        for inner in backward {
            let before = forward.partition_point(|outer| outer.first_return.0 < inner.last_call.0);
            if let Some(outer) = before.checked_sub(1).map(|at| forward[at])
                && inner.first_return.0 < outer.last_call.0
            {
                return clash(outer, inner);
            }
        }
        Ok(())
    }
}

/// How many elements two contents have in common at their beginnings.
fn common<T: Element>(a: &[T], b: &[T]) -> usize {
    let same = a.chunks(64).zip(b.chunks(64)).take_while(|(a, b)| a == b).count() * 64;
    let same = same.min(a.len()).min(b.len());
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

impl Block {
    /// The operation before all.
    const NOBODY: OpId = OpId(NONE);

    fn new(witness: OpId, beginning: bool) -> Block {
        let first_return = if beginning { 0 } else { u64::MAX >> 1 };
        Block { ops: Vec::new(), first_return: (first_return, Block::NOBODY), last_call: (0, Block::NOBODY), witness }
    }

    /// Adds an operation, which must not have returned before the last call of those before it.
    fn push(&mut self, before: (u64, OpId), op: OpId, call: u32, ret: u32) -> Result<(), Vec<OpId>> {
        let (call, ret) = (u64::from(call) + 1, u64::from(ret) + 1);
        if ret < before.0 {
            return Err(vec![before.1, op, self.witness]);
        }
        self.ops.push(op);
        if ret <= u64::from(NEVER) && ret < self.first_return.0 {
            self.first_return = (ret, op);
        }
        if call > self.last_call.0 {
            self.last_call = (call, op);
        }
        Ok(())
    }
}
