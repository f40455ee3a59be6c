//! Sets of writes as runs of numbers.
//!
//! Writes are numbered by call. What a write of a healthy store has overwritten, directly or not, is nearly all that came before
//! it, so that a few runs hold it whatever the length of the history; a partition interleaves two lines of writes and costs a
//! run for each alternation.

/// A set of numbers: disjoint runs from (with) to (without), ascending, none touching the next.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Runs(Vec<(u32, u32)>);

impl Runs {
    /// Whether a number is in it.
    pub fn contains(&self, number: u32) -> bool {
        let after = self.0.partition_point(|run| run.0 <= number);
        after > 0 && number < self.0[after - 1].1
    }

    /// Adds one number.
    pub fn insert(&mut self, number: u32) {
        let after = self.0.partition_point(|run| run.0 <= number);
        if after > 0 && number < self.0[after - 1].1 {
            return;
        }
        let joins_left = after > 0 && self.0[after - 1].1 == number;
        let joins_right = after < self.0.len() && self.0[after].0 == number + 1;
        match (joins_left, joins_right) {
            (true, true) => {
                self.0[after - 1].1 = self.0[after].1;
                self.0.remove(after);
            }
            (true, false) => self.0[after - 1].1 = number + 1,
            (false, true) => self.0[after].0 = number,
            (false, false) => self.0.insert(after, (number, number + 1)),
        }
    }

    /// Adds another set.
    pub fn union(&mut self, other: &Runs) {
        if other.0.is_empty() || self.0 == other.0 {
            return;
        }
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(self.0.len() + other.0.len());
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let Some(&(from, to)) = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x.0 <= y.0 => a.next(),
            (Some(_), None) => a.next(),
            _ => b.next(),
        } {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        self.0 = merged;
    }

    /// The gaps below a number, ascending: from (with) to (without).
    pub fn gaps(&self, end: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let starts = std::iter::once(0).chain(self.0.iter().map(|run| run.1));
        let ends = self.0.iter().map(|run| run.0).chain(std::iter::once(end));
        starts.zip(ends).map(move |(from, to)| (from, to.min(end))).filter(|(from, to)| from < to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn runs(numbers: &BTreeSet<u32>) -> Runs {
        let mut runs = Runs::default();
        numbers.iter().rev().for_each(|&number| runs.insert(number));
        runs
    }

    proptest! {
        #[test]
        fn runs_are_sets(a: BTreeSet<u8>, b: BTreeSet<u8>, end in 0..300u32) {
            let [a, b] = [a, b].map(|set| set.into_iter().map(u32::from).collect::<BTreeSet<u32>>());
            let both: BTreeSet<u32> = a.union(&b).copied().collect();
            let mut union = runs(&a);
            union.union(&runs(&b));
            prop_assert_eq!(&union, &runs(&both));
            let forward = b.iter().fold(runs(&a), |mut runs, &number| { runs.insert(number); runs });
            prop_assert_eq!(&forward, &union);
            let without: Vec<u32> = (0..end).filter(|number| !both.contains(number)).collect();
            prop_assert_eq!(union.gaps(end).flat_map(|(from, to)| from..to).collect::<Vec<_>>(), without);
            prop_assert!((0..300).all(|number| union.contains(number) == both.contains(&number)));
        }
    }
}
