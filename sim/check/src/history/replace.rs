//! Replaces operations by several others, for checks that need this: the drain of a queue becomes one dequeue for each
//! element removed.

use super::{History, NEVER, OpId, Operation};
use std::collections::BTreeMap;

impl History {
    /// Returns the same history with some operations replaced. Each replacement is called and returns when the original
    /// did. Of a replacement, the function, the argument, the end and the reply are used. Each is given a client that
    /// does nothing else.
    #[must_use]
    pub fn replacing(&self, by: &BTreeMap<OpId, Vec<Operation>>) -> History {
        let mut history = History {
            operations: Vec::with_capacity(self.operations.len()),
            times: Vec::with_capacity(self.times.len()),
            lines: Vec::with_capacity(self.lines.len()),
            ..self.without_events()
        };
        let mut clients = self.unused_processes();
        // Current indexes of the operations that are open.
        let mut open: BTreeMap<OpId, Vec<usize>> = BTreeMap::new();
        for (event, op, returned) in self.in_order() {
            if returned {
                for place in open.remove(&op).unwrap_or_default() {
                    history.operations[place].returned = history.times.len() as u32;
                    history.copy_event(self, event);
                }
                continue;
            }
            let old = &self.operations[op.0 as usize];
            let others = by.get(&op).map_or(std::slice::from_ref(old), Vec::as_slice);
            for other in others {
                let process = if by.contains_key(&op) { clients.next().unwrap_or(old.process) } else { old.process };
                let called = history.times.len() as u32;
                open.entry(op).or_default().push(history.operations.len());
                history.operations.push(Operation { process, key: old.key, called, returned: NEVER, ..*other });
                history.copy_event(self, event);
            }
        }
        history
    }

    fn copy_event(&mut self, from: &History, event: u32) {
        self.times.push(from.time(event));
        if !from.lines.is_empty() {
            self.lines.push(from.lines.get(event as usize).copied().unwrap_or(0));
        }
    }

    /// A copy without operations and events.
    fn without_events(&self) -> History {
        History {
            operations: Vec::new(),
            times: Vec::new(),
            lines: Vec::new(),
            values: self.values.clone(),
            keys: self.keys.clone(),
            key_ids: self.key_ids.clone(),
            conditions: self.conditions.clone(),
            micro_ops: self.micro_ops.clone(),
            elements: self.elements.clone(),
            names: self.names.clone(),
            initial: self.initial,
        }
    }

    /// Process numbers that the history does not use, starting above the largest one in use.
    fn unused_processes(&self) -> impl Iterator<Item = u32> + use<> {
        let mut used: Vec<u32> = self.operations.iter().map(|op| op.process).collect();
        used.sort_unstable();
        used.dedup();
        let most = used.last().copied();
        let above = (most.unwrap_or(0)..=u32::MAX).skip(usize::from(most.is_some()));
        above.chain((0..most.unwrap_or(0)).filter(move |process| used.binary_search(process).is_err()))
    }
}
