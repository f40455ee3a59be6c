//! Sets of writes: one bit per write.
//!
//! Writes are numbered per key, in the order of their calls.

/// A set of numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Set(Vec<u64>);

impl Set {
    /// Returns whether no number was ever added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether a number is in the set.
    pub fn contains(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
    }

    /// Adds a number.
    pub fn insert(&mut self, number: u32) {
        let at = number as usize / 64;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] |= 1 << (number % 64);
    }

    /// Removes a number.
    pub fn remove(&mut self, number: u32) {
        if let Some(word) = self.0.get_mut(number as usize / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    /// Removes all numbers.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a set, given as blocks of words.
    pub fn add<'a, const N: usize>(&mut self, blocks: impl ExactSizeIterator<Item = &'a [u64; N]>) {
        let words = blocks.len() * N;
        if self.0.len() < words {
            self.0.resize(words, 0);
        }
        for (words, block) in self.0.chunks_exact_mut(N).zip(blocks) {
            words.iter_mut().zip(block).for_each(|(word, other)| *word |= other);
        }
    }

    /// Returns the first number, at or after `from`, that is in this set and not in `other`.
    pub fn first_not_in(&self, other: &Set, from: u32) -> Option<u32> {
        let start = from as usize / 64;
        let mut mask = u64::MAX << (from % 64);
        for (at, word) in self.0.iter().enumerate().skip(start) {
            let left = word & !other.0.get(at).unwrap_or(&0) & mask;
            if left != 0 {
                return u32::try_from(at * 64).ok().map(|base| base + left.trailing_zeros());
            }
            mask = u64::MAX;
        }
        None
    }

    /// Returns the numbers that are in this set and not in `other`, ascending.
    pub fn not_in<'a>(&'a self, other: &'a Set) -> impl Iterator<Item = u32> + 'a {
        let next = move |from: u32| self.first_not_in(other, from);
        std::iter::successors(next(0), move |last| next(last + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(numbers: &BTreeSet<u32>) -> Set {
        let mut set = Set::default();
        numbers.iter().for_each(|&number| set.insert(number));
        set
    }

    proptest! {
        #[test]
        fn bits_are_sets(a: BTreeSet<u8>, b: BTreeSet<u8>, gone: u8) {
            let [a, b] = [a, b].map(|set| set.into_iter().map(u32::from).collect::<BTreeSet<u32>>());
            let both: BTreeSet<u32> = a.union(&b).copied().collect();
            let mut union = set(&a);
            let blocks: Vec<[u64; 2]> = set(&b).0.chunks(2).map(|pair| [pair[0], *pair.get(1).unwrap_or(&0)]).collect();
            union.add(blocks.iter());
            prop_assert!((0..300).all(|number| union.contains(number) == both.contains(&number)));
            let without: Vec<u32> = a.difference(&b).copied().collect();
            prop_assert_eq!(set(&a).not_in(&set(&b)).collect::<Vec<_>>(), without);
            prop_assert_eq!(union.is_empty(), both.is_empty());
            union.remove(u32::from(gone));
            prop_assert!((0..300).all(|n| union.contains(n) == (both.contains(&n) && n != u32::from(gone))));
            union.clear();
            prop_assert!(union.is_empty() && !union.contains(0));
        }
    }
}
