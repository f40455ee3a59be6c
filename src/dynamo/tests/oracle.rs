//! The oracle: invariants of every run, checked against what clients asked and were told and what nodes wrote to disk.

use super::super::context;
use super::super::siblings::{Siblings, WriteId};
use super::super::version_vector::{Dot, VersionVector};
use super::*;
use std::collections::{BTreeMap, BTreeSet};

type Writes = BTreeSet<WriteId>;

#[derive(Default)]
pub struct Oracle {
    /// The writes that clients requested.
    issued: BTreeMap<WriteId, (Key, Update)>,
    /// The write of each dot that is on some disk.
    dots: BTreeMap<Key, BTreeMap<Dot, WriteId>>,
    /// The dot of each write.
    names: BTreeMap<WriteId, Dot>,
    /// The writes that the client of each write had been shown directly.
    saw: BTreeMap<WriteId, Writes>,
    /// Acknowledged writes, in order.
    pub acked: BTreeMap<Key, Vec<WriteId>>,
    /// Deletes that were on some disk and whose tombstones were forgotten.
    collected: BTreeMap<Key, Writes>,
    /// Reads in progress: how many writes of their key were acknowledged before they began.
    reads: BTreeMap<RequestId, (Key, usize)>,
    /// Whether quorums are strict and intersect.
    pub strict: bool,
    /// Whether concurrent writes are kept.
    pub keeps_siblings: bool,
}

impl Oracle {
    /// Records a client's request.
    pub fn asked(&mut self, id: RequestId, request: &ClientRequest) {
        match request {
            ClientRequest::Get { key, .. } => {
                self.reads.insert(id, (key.clone(), self.acked.get(key).map_or(0, Vec::len)));
            }
            ClientRequest::Put { write, key, update, context, .. } => {
                self.issued.entry(*write).or_insert_with(|| (key.clone(), update.clone()));
                if !self.saw.contains_key(write) {
                    let seen = context::decode(key, context, Mutant::default()).unwrap_or_default();
                    let saw = self.covered(key, &seen.clock);
                    self.saw.insert(*write, saw);
                }
            }
        }
    }

    /// The writes that a version vector covers.
    fn covered(&self, key: &Key, clock: &VersionVector) -> Writes {
        let dots = self.dots.get(key).into_iter().flatten();
        dots.filter(|(dot, _)| clock.contains(**dot)).map(|(_, write)| *write).collect()
    }

    /// These writes and, transitively, all writes that their clients had been shown.
    fn known(&self, writes: impl IntoIterator<Item = WriteId>) -> Writes {
        let mut known = Writes::new();
        let mut left: Vec<WriteId> = writes.into_iter().collect();
        while let Some(write) = left.pop() {
            if known.insert(write) {
                left.extend(self.saw.get(&write).into_iter().flatten());
            }
        }
        known
    }

    fn is_delete(&self, write: WriteId) -> bool {
        self.issued.get(&write).is_some_and(|(_, update)| *update == Update::Delete)
    }

    /// Records that an entry or a hint of a node has become durable and replaces the previous one.
    pub fn writes(&mut self, record: &Record, before: &Recovered) {
        let (key, entry, old) = match record {
            Record::Key(key, entry) => (key, entry.as_ref(), before.keys.get(key)),
            Record::Hint(_, key, hint) => (key, hint.as_ref().map(|hint| &hint.entry), None),
            _ => return,
        };
        // A rejoining node drops whatever it has.
        if let (None, Some(old)) = (entry, old.filter(|_| !before.rejoining)) {
            let gone: Writes = old.siblings.versions().iter().map(|v| v.write).collect();
            assert!(gone.iter().all(|w| self.is_delete(*w)), "more than deletes were forgotten");
            self.collected.entry(key.clone()).or_default().extend(gone);
        }
        let there = entry.iter().flat_map(|entry| entry.siblings.versions()).map(|v| (v.write, v.dot));
        for (write, dot) in there {
            let known = *self.names.entry(write).or_insert(dot);
            assert_eq!(known, dot, "a write taken twice: {write:?}");
        }
        for version in entry.iter().flat_map(|entry| entry.siblings.versions()) {
            let issued = self.issued.get(&version.write);
            assert!(issued.is_some_and(|(of, _)| of == key), "an invented write: {version:?}");
            let named = *self.dots.entry(key.clone()).or_default().entry(version.dot).or_insert(version.write);
            assert_eq!(named, version.write, "two writes of one name");
        }
    }

    /// Checks an answer to a client.
    pub fn told(&mut self, id: RequestId, request: &ClientRequest, reply: &ClientReply) {
        let key = request.key();
        if let (ClientRequest::Put { write, .. }, ClientReply::Done { .. } | ClientReply::Value { .. }) =
            (request, reply)
        {
            self.acked.entry(key.clone()).or_default().push(*write);
        }
        let before = self.reads.remove(&id).map_or(0, |(_, before)| before);
        let ClientReply::Value { siblings, context, .. } = reply else { return };
        let seen = context::decode(key, context, Mutant::default()).expect("a context as it was given");
        let covered = self.covered(key, &seen.clock);
        let shown: Writes = match siblings.is_empty() {
            true => covered.iter().copied().filter(|w| self.is_delete(*w)).collect(),
            false => siblings.iter().map(|s| s.write).collect(),
        };
        let known = self.known(shown.iter().copied());
        if self.keeps_siblings {
            let hidden: Vec<_> = covered.difference(&known).collect();
            assert!(hidden.is_empty(), "a context covers what its client was not shown: {hidden:?}, shown {shown:?}");
        }
        for sibling in siblings {
            let (_, update) = &self.issued[&sibling.write];
            let right = match update {
                Update::Set(value) => sibling.value.as_ref() == Some(value),
                Update::Delete => sibling.value.is_none(),
                Update::Merge(_) => true,
            };
            assert!(right, "another value than was written: {sibling:?}, written {update:?}");
        }
        if self.strict && self.keeps_siblings {
            let forgotten = self.known(self.collected.get(key).into_iter().flatten().copied());
            let acked = self.acked.get(key).into_iter().flatten().take(before);
            let stale: Vec<_> = acked.filter(|w| !known.contains(w) && !forgotten.contains(w)).collect();
            assert!(stale.is_empty(), "a stale read: {stale:?} had been acknowledged, shown {shown:?}");
        }
    }

    /// Checks what all replicas hold of a key after the faults have ended.
    pub fn in_the_end(&self, key: &Key, held: &Siblings) {
        let there: Writes = held.versions().iter().map(|v| v.write).collect();
        let forgotten = self.collected.get(key).into_iter().flatten();
        let known = self.known(there.iter().chain(forgotten).copied());
        if !self.keeps_siblings {
            return;
        }
        for write in self.acked.get(key).into_iter().flatten() {
            assert!(known.contains(write), "an acknowledged write is lost: {write:?} of {key:?}, there is {there:?}");
            let superseded = self.saw.get(write).into_iter().flatten().find(|old| there.contains(old));
            assert!(superseded.is_none(), "a superseded write came back: {superseded:?} of {key:?}");
        }
    }
}
