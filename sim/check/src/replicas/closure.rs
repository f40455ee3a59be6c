//! What each write of a key overwrote, directly or not, and the write itself: one bit per pair.
//!
//! Writes are numbered per key, in the order of their calls. The bits of a write are split into blocks of 512. A block
//! that is equal to the one of a write it saw is shared with it. Old blocks soon stop changing, however writes branch.
//! So a key with n writes costs about 64 bytes per write for blocks, and n²/256 bytes to reference them (14 MB for
//! 60,000 writes), unless its writers see very different things throughout. Beyond [`MOST`] bytes the closure is not
//! computed.

use super::set::Set;

/// Maximum number of bytes spent on a key.
pub const MOST: usize = 256 << 20;

/// Words per block.
const WORDS: usize = 8;
/// Bits per block.
const BITS: usize = WORDS * 64;

type Block = [u64; WORDS];

/// The set of writes that each write overwrote.
pub struct Closure {
    blocks: Vec<Block>,
    /// The numbers of each write's blocks, up to the block of its own bit; one write after the other.
    names: Vec<u32>,
    /// Where each write's block numbers begin in `names`.
    starts: Vec<usize>,
}

impl Closure {
    /// Builds the closure of writes that saw earlier ones; `None` if that would take more than `most` bytes.
    pub fn new<'a>(saw: impl Iterator<Item = &'a [u32]>, most: usize) -> Option<Closure> {
        let mut all = Closure { blocks: vec![[0; WORDS]], names: Vec::new(), starts: Vec::new() };
        for (write, saw) in (0u32..).zip(saw) {
            let start = all.names.len();
            all.starts.push(start);
            let length = write as usize / BITS + 1;
            if (start + length) * size_of::<u32>() + all.blocks.len() * size_of::<Block>() > most {
                return None;
            }
            for at in 0..length {
                let name = all.united(saw, at);
                all.names.push(name);
            }
            let mut own = all.blocks[all.names[start + length - 1] as usize];
            own[write as usize / 64 % WORDS] |= 1 << (write % 64);
            all.names[start + length - 1] = all.block(own);
        }
        Some(all)
    }

    /// Returns the numbers of a write's blocks.
    fn names(&self, write: u32) -> &[u32] {
        let start = self.starts[write as usize];
        &self.names[start..=start + write as usize / BITS]
    }

    fn block(&mut self, block: Block) -> u32 {
        self.blocks.push(block);
        // `new` allows fewer than 2^32 blocks.
        (self.blocks.len() - 1) as u32
    }

    /// Returns the block at position `at` of the union of these writes.
    fn united(&mut self, writes: &[u32], at: usize) -> u32 {
        let mut name = 0;
        for &write in writes {
            let other = self.names(write).get(at).copied().unwrap_or(0);
            if other == name || other == 0 {
                continue;
            }
            let (one, other_one) = (self.blocks[name as usize], self.blocks[other as usize]);
            let both: Block = std::array::from_fn(|word| one[word] | other_one[word]);
            name = match both {
                both if both == one => name,
                both if both == other_one => other,
                both => self.block(both),
            };
        }
        name
    }

    /// Returns whether a write overwrote another, directly or not.
    pub fn overwrote(&self, write: u32, other: u32) -> bool {
        if other >= write {
            return false;
        }
        let name = self.names(write)[other as usize / BITS];
        self.blocks[name as usize][other as usize / 64 % WORDS] >> (other % 64) & 1 != 0
    }

    /// Adds these writes and everything they overwrote to a set.
    pub fn cover(&self, writes: &[u32], covered: &mut Set) {
        // The latest write comes first: it needs the most room.
        for &write in writes.iter().rev() {
            if !covered.contains(write) {
                covered.add(self.names(write).iter().map(|&name| &self.blocks[name as usize]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Writes that each saw some of the writes before: mostly at most 5 back, at most 1499.
    fn histories() -> impl Strategy<Value = Vec<Vec<u32>>> {
        let saw = prop::collection::vec(prop_oneof![9 => 1..6u32, 1 => 1..1500u32], 0..4);
        prop::collection::vec(saw, 0..1400).prop_map(|all| {
            let saw = |(write, back): (u32, Vec<u32>)| back.into_iter().filter_map(|n| write.checked_sub(n)).collect();
            (0u32..).zip(all).map(saw).collect()
        })
    }

    fn closure(saw: &[Vec<u32>], most: usize) -> Option<Closure> {
        Closure::new(saw.iter().map(|saw| &saw[..]), most)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn it_is_the_transitive_closure(saw in histories(), pair: [prop::sample::Index; 2]) {
            let closure = closure(&saw, MOST).expect("they are few");
            let mut slow: Vec<BTreeSet<u32>> = Vec::new();
            for saw in &saw {
                let mut all: BTreeSet<u32> = saw.iter().copied().collect();
                saw.iter().for_each(|&before| all.extend(&slow[before as usize]));
                slow.push(all);
            }
            let count = saw.len() as u32;
            for (write, slow) in (0..count).zip(&slow) {
                let fast: BTreeSet<u32> = (0..count).filter(|&other| closure.overwrote(write, other)).collect();
                prop_assert_eq!(&fast, slow, "write {}", write);
            }
            if count > 0 {
                let mut pair = pair.map(|at| at.index(saw.len()) as u32);
                pair.sort_unstable();
                let mut covered = Set::default();
                closure.cover(&pair, &mut covered);
                let slow: BTreeSet<u32> = pair.iter().flat_map(|&at| slow[at as usize].iter().copied().chain([at])).collect();
                prop_assert_eq!(covered.not_in(&Set::default()).collect::<BTreeSet<u32>>(), slow);
            }
        }
    }

    #[test]
    fn a_long_chain_shares_its_blocks_and_the_limit_holds() {
        let chain: Vec<Vec<u32>> = (0..5_000u32).map(|write| write.checked_sub(1).into_iter().collect()).collect();
        let long = closure(&chain, MOST).expect("it is small");
        assert_eq!(long.blocks.len(), 5_001);
        let names: usize = (0..5_000).map(|write| write / BITS + 1).sum();
        assert_eq!(long.names.len(), names);
        let bytes = names * size_of::<u32>() + 5_000 * size_of::<Block>();
        assert!(closure(&chain, bytes).is_some() && closure(&chain, bytes - 1).is_none());
    }
}
