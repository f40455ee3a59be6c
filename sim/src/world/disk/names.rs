//! The directory: the current names, the names that survive a crash, and the changes between them.

use super::super::Nanos;
use super::file::NEVER;
use seaworthy::types::Rng;
use std::collections::{BTreeMap, VecDeque};

/// Identifies a file, independently of its names.
pub(super) type Inode = u64;

#[derive(Clone)]
enum Change {
    Link(String, Inode),
    Unlink(String),
    Rename(String, String, Inode),
}

/// The directory of one disk.
#[derive(Default)]
pub(super) struct Names {
    now: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
    /// Changes that are not durable yet, each with the time at which it began.
    pending: VecDeque<(Nanos, Change)>,
    /// Syncs in progress: when they take effect, and how many of the pending changes they cover.
    syncing: VecDeque<(Nanos, usize)>,
}

impl Names {
    pub(super) fn get(&self, name: &str) -> Option<Inode> {
        self.now.get(name).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, Inode)> {
        self.now.iter().map(|(name, inode)| (name, *inode))
    }

    /// Whether any name refers to the file, now or after a crash.
    pub(super) fn leads_to(&self, inode: Inode) -> bool {
        let changes = self.pending.iter().any(|(_, change)| match change {
            Change::Link(_, i) | Change::Rename(_, _, i) => *i == inode,
            Change::Unlink(_) => false,
        });
        changes || self.now.values().chain(self.durable.values()).any(|i| *i == inode)
    }

    pub(super) fn create(&mut self, begun: Nanos, name: &str, inode: Inode) {
        self.change(begun, Change::Link(name.to_owned(), inode));
    }

    /// Adds a name that is durable from the start.
    pub(super) fn put_durable(&mut self, name: &str, inode: Inode) {
        self.now.insert(name.to_owned(), inode);
        self.durable.insert(name.to_owned(), inode);
    }

    pub(super) fn remove(&mut self, begun: Nanos, name: &str) {
        self.change(begun, Change::Unlink(name.to_owned()));
    }

    pub(super) fn rename(&mut self, begun: Nanos, from: &str, to: &str, inode: Inode) {
        self.change(begun, Change::Rename(from.to_owned(), to.to_owned(), inode));
    }

    pub(super) fn begin_sync(&mut self, effective: Nanos) {
        self.flush(effective);
        let covered: usize = self.syncing.iter().map(|(_, count)| count).sum();
        self.syncing.push_back((effective, self.pending.len() - covered));
    }

    /// Makes the pretended syncs take effect at `effective`.
    pub(super) fn flush(&mut self, effective: Nanos) {
        for (lied, _) in self.syncing.iter_mut().rev().take_while(|(lied, _)| *lied == NEVER) {
            *lied = effective;
        }
    }

    /// Makes the changes of syncs that are in effect by `now` durable. Returns whether there was one.
    pub(super) fn settle(&mut self, now: Nanos) -> bool {
        let mut any = false;
        while let Some(&(effective, count)) = self.syncing.front()
            && effective <= now
        {
            for (_, change) in self.pending.drain(..count) {
                apply(&mut self.durable, &change);
            }
            self.syncing.pop_front();
            any = true;
        }
        any
    }

    /// The power fails at `now`: some of the pending changes that had begun survive, or none (`empties`). Returns how
    /// many changes are lost, and how many of those belong to a sync that had been reported as done.
    pub(super) fn crash(&mut self, now: Nanos, empties: bool, rng: &mut Rng) -> (u64, u64) {
        let pending: Vec<(Nanos, Change)> = self.pending.drain(..).collect();
        let covered: usize = self.syncing.iter().map(|(_, count)| count).sum();
        let honest: usize = self.syncing.iter().filter(|(effective, _)| *effective != NEVER).map(|(_, n)| n).sum();
        self.syncing.clear();
        let keep = match rng.below(4) {
            _ if empties => 0.0,
            0 => 1.0,
            1 => 0.0,
            _ => rng.unit(),
        };
        let (mut lost, mut forgotten) = (0, 0);
        for (place, (begun, change)) in pending.iter().enumerate() {
            if *begun <= now && rng.chance(keep) {
                apply(&mut self.durable, change);
            } else {
                lost += 1;
                forgotten += u64::from((honest..covered).contains(&place));
            }
        }
        self.now = self.durable.clone();
        (lost, forgotten)
    }

    fn change(&mut self, begun: Nanos, change: Change) {
        apply(&mut self.now, &change);
        self.pending.push_back((begun, change));
    }
}

fn apply(names: &mut BTreeMap<String, Inode>, change: &Change) {
    match change {
        Change::Link(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        Change::Unlink(name) => {
            names.remove(name);
        }
        Change::Rename(from, to, inode) => {
            if names.get(from) == Some(inode) {
                names.remove(from);
            }
            names.insert(to.clone(), *inode);
        }
    }
}
