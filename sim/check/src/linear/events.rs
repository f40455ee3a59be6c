//! The calls and returns of a search's required operations that are not yet placed, in real-time order. This is the
//! linked list of Lowe ("Testing for linearizability", 2017): removing an operation and putting it back take constant
//! time.

/// A circular list. Node 0 is its head; the call of operation i is node 2i + 1, its return 2i + 2.
pub struct Events {
    next: Vec<u32>,
    prev: Vec<u32>,
}

impl Events {
    /// Creates the list. `calls` has, for each operation in order, the position of its call and whether it is required.
    /// `returns` has the position and the operation of each required operation's return, in order.
    pub fn new(calls: impl ExactSizeIterator<Item = (u64, bool)>, returns: impl Iterator<Item = (u64, u32)>) -> Events {
        let nodes = 2 * calls.len() + 1;
        let mut events = Events { next: vec![0; nodes], prev: vec![0; nodes] };
        let mut last = 0;
        let mut returns = returns.peekable();
        for (i, (call, required)) in (0u32..).zip(calls) {
            while let Some((_, returned)) = returns.next_if(|(ret, _)| *ret < call) {
                events.append(&mut last, 2 * returned + 2);
            }
            if required {
                events.append(&mut last, 2 * i + 1);
            }
        }
        for (_, returned) in returns {
            events.append(&mut last, 2 * returned + 2);
        }
        events.next[last as usize] = 0;
        events.prev[0] = last;
        events
    }

    fn append(&mut self, last: &mut u32, node: u32) {
        self.next[*last as usize] = node;
        self.prev[node as usize] = *last;
        *last = node;
    }

    /// The node after this one; 0 after the last.
    pub fn after(&self, node: u32) -> u32 {
        self.next[node as usize]
    }

    /// Removes an operation.
    pub fn take(&mut self, op: u32) {
        for node in [2 * op + 2, 2 * op + 1] {
            let (before, after) = (self.prev[node as usize], self.next[node as usize]);
            self.next[before as usize] = after;
            self.prev[after as usize] = before;
        }
    }

    /// Puts back the operation that was removed last.
    pub fn put_back(&mut self, op: u32) {
        for node in [2 * op + 1, 2 * op + 2] {
            let (before, after) = (self.prev[node as usize], self.next[node as usize]);
            self.next[before as usize] = node;
            self.prev[after as usize] = node;
        }
    }

    /// The operations in the list whose number is below `end`, in order.
    pub fn below(&self, end: u32) -> impl Iterator<Item = u32> {
        let walk = std::iter::successors(Some(self.after(0)), |&node| Some(self.after(node)));
        let nodes = walk.take_while(move |&node| node != 0 && (node - 1) / 2 < end);
        nodes.filter(|node| node % 2 == 1).map(|node| (node - 1) / 2)
    }
}
