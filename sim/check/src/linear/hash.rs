//! Hashing that is the same on every run.

use std::hash::Hasher;

/// SplitMix64's finalizer.
fn mix(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 128 fixed, well-mixed bits for an operation.
pub fn zobrist(op: u32) -> u128 {
    let seed = (u64::from(op) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (u128::from(mix(seed)) << 64) | u128::from(mix(seed ^ 0x5851_f42d_4c95_7f2d))
}

/// Two chains of SplitMix64's finalizer over words: the same on every run.
#[derive(Default)]
pub struct Mix {
    high: u64,
    low: u64,
}

impl Mix {
    pub fn finish_128(&self) -> u128 {
        (u128::from(self.high) << 64) | u128::from(self.low)
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.low
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
        self.write_u64(bytes.len() as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.low = mix((self.low ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15));
        self.high = mix((self.high ^ word).wrapping_mul(0xd605_bbb5_8c8a_bbfd).wrapping_add(1));
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_u128(&mut self, n: u128) {
        self.write_u64(n as u64);
        self.write_u64((n >> 64) as u64);
    }
}

/// Hasher for keys that are already hashes.
#[derive(Default)]
pub struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 << 8) ^ u64::from(byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}
