//! Fractured reads: a transaction saw one write of another transaction, and for another key a version older than that
//! transaction's write (Bailis and others, "Scalable Atomic Visibility with RAMP Transactions", 2014). Read atomic
//! forbids them.
//!
//! For lists they are found exactly. For registers they are found only if the order of the two versions is known.

use super::append::{Lists, seen};
use super::found::Found;
use super::index::{Index, NONE, Use};
use super::register::{Registers, version};
use crate::evidence::Link as Shown;
use crate::history::{End, Function, KeyId};
use hashbrown::HashMap;

/// A read of what other transactions wrote.
#[derive(Clone, Copy)]
struct Read {
    key: KeyId,
    /// For a list: the number of elements of other transactions. For a register: the version.
    seen: u32,
    /// The transaction that wrote the last of it; [`NONE`] if there is none, or it is not known.
    writer: u32,
}

/// Finds the fractured reads, at most one for each transaction that reads.
pub fn find(index: &Index<'_>, lists: &Lists<'_>, registers: &Registers, found: &mut Found) {
    let mut reads = Vec::new();
    for (op, operation) in (0u32..).zip(index.history.operations()).filter(|(_, op)| op.end == End::Ok) {
        if index.history.micro_ops(operation).len() < 2 {
            continue;
        }
        reads_of(index, lists, op, &mut reads);
        'writers: for from in reads.iter().filter(|read| read.writer != NONE && read.writer != op) {
            for old in reads.iter().filter(|old| old.key != from.key) {
                if is_older(index, lists, registers, *old, from.writer) {
                    tell(index, found, op, from, old);
                    break 'writers;
                }
            }
        }
    }
}

fn reads_of(index: &Index<'_>, lists: &Lists<'_>, op: u32, reads: &mut Vec<Read>) {
    reads.clear();
    let mut own: HashMap<KeyId, u32> = HashMap::new(); // Look-ups only: never iterated.
    let committed = |writer: u32| if index.counts(writer) { writer } else { NONE };
    for step in index.steps(op) {
        if step.f != Function::Read {
            *own.entry(step.key).or_insert(0) += 1;
        } else if index.uses[step.key.0 as usize] == Use::Register {
            let seen = version(index, step);
            if seen != NONE && !own.contains_key(&step.key) {
                let writer = index.writes.get(seen as usize).map_or(NONE, |write| write.op);
                reads.push(Read { key: step.key, seen, writer: committed(writer) });
            }
        } else if let Some(list) = seen(index, step) {
            let own = own.get(&step.key).copied().unwrap_or(0);
            let Some(length) = (list.len() as u32).checked_sub(own) else { continue };
            if let Some((before, _)) = lists.around(step.key, length as usize) {
                reads.push(Read { key: step.key, seen: length, writer: before });
            }
        }
    }
}

/// Whether the version that was read of a key comes before what a transaction wrote to it.
fn is_older(index: &Index<'_>, lists: &Lists<'_>, registers: &Registers, old: Read, writer: u32) -> bool {
    let writes = index.steps(writer).iter().filter(|step| step.f != Function::Read && step.key == old.key);
    writes.filter_map(|step| index.find(step.key, step.value).ok().filter(|&place| place != NONE)).any(|place| {
        if index.uses[old.key.0 as usize] == Use::Register {
            let last = index.writes[place as usize].last;
            return last && place != old.seen && registers.precedes(index, old.seen, place);
        }
        // Appends that no read saw came after all appends that some read saw.
        lists.position[place as usize] > old.seen
    })
}

fn tell(index: &Index<'_>, found: &mut Found, op: u32, new: &Read, old: &Read) {
    let writer = new.writer;
    found.add(index, "fractured read", &[writer, op], |words| {
        let (a, b) = (words.name(writer), words.name(op));
        let (new, old) = (new.key, old.key);
        let (new_key, old_key) = (words.key(new), words.key(old));
        words.edge(writer, op, Shown::Wr(new), format!("wr {new_key}: {b} read what {a} wrote to {new_key}"));
        words.edge(
            op,
            writer,
            Shown::Rw(old),
            format!("rw {old_key}: {b} read {old_key} without what {a} wrote to it"),
        );
        format!("{b} saw what {a} wrote to {new_key}, but not what it wrote to {old_key}")
    });
}
