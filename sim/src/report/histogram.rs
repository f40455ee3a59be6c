//! Log-linear histogram of durations: mergeable, with exact counts. Values are rounded up by less than 1/32.
//!
//! A bucket is identified by its lower bound, which is the value with all bits cleared except its six leading ones.
//! Below 64 every value has its own bucket; above that each power of two is divided into 32. (This is the structure of
//! HdrHistogram by Gil Tene. Identifying buckets by their bound avoids index arithmetic and makes the JSON readable.)
//! Only nonempty buckets are stored, in order.
//!
//! A percentile is the nearest-rank one. It is reported as its bucket's upper bound, but never above the largest value:
//! a latency is never shown as better than it was.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::AddAssign};

/// Number of leading bits of a value that are kept.
const KEPT_BITS: u32 = 6;

/// Counts of values. All current uses have nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// Lower bound → number of values in the bucket.
    buckets: BTreeMap<u64, u64>,
    /// The largest value, exact; 0 when empty.
    max: u64,
}

impl Histogram {
    /// Counts `value` once.
    pub fn record(&mut self, value: u64) {
        *self.buckets.entry(value & !low_bits(value)).or_default() += 1;
        self.max = self.max.max(value);
    }

    /// The number of values recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// The largest value recorded; `None` when empty.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        (!self.buckets.is_empty()).then_some(self.max)
    }

    /// The smallest bucket bound that at least `permille` thousandths of the values do not exceed, or `None` when
    /// empty.
    #[must_use]
    pub fn permille(&self, permille: u16) -> Option<u64> {
        let rank = (u128::from(self.count()) * u128::from(permille)).div_ceil(1000).max(1);
        let mut seen = 0u128;
        for (&low, &count) in &self.buckets {
            seen += u128::from(count);
            if seen >= rank {
                return Some((low | low_bits(low)).min(self.max));
            }
        }
        self.max()
    }
}

impl AddAssign<&Histogram> for Histogram {
    fn add_assign(&mut self, other: &Histogram) {
        for (&low, &count) in &other.buckets {
            *self.buckets.entry(low).or_default() += count;
        }
        self.max = self.max.max(other.max);
    }
}

impl FromIterator<u64> for Histogram {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Histogram {
        let mut histogram = Histogram::default();
        values.into_iter().for_each(|v| histogram.record(v));
        histogram
    }
}

/// The bits of `value` that its bucket does not distinguish.
fn low_bits(value: u64) -> u64 {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(KEPT_BITS);
    (1 << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values of all magnitudes, not only huge ones.
    fn values() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec((any::<u64>(), 0u32..64).prop_map(|(v, shift)| v >> shift), 0..200)
    }

    /// The nearest-rank percentile, computed from the sorted values.
    fn naive(values: &[u64], permille: u16) -> Option<u64> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let rank = (sorted.len() * usize::from(permille)).div_ceil(1000).max(1);
        sorted.get(rank - 1).copied()
    }

    proptest! {
        #[test]
        fn percentiles_are_the_naive_ones_rounded_up_by_less_than_a_32nd(values in values(), permille in 0u16..=1000) {
            let histogram: Histogram = values.iter().copied().collect();
            match (histogram.permille(permille), naive(&values, permille)) {
                (Some(shown), Some(exact)) => {
                    prop_assert!(shown >= exact, "{shown} flatters {exact}");
                    prop_assert!(shown - exact <= exact / 32, "{shown} is too far above {exact}");
                }
                (shown, exact) => prop_assert_eq!(shown, exact),
            }
            prop_assert_eq!(histogram.count(), values.len() as u64);
            prop_assert_eq!(histogram.max(), values.iter().max().copied());
        }

        #[test]
        fn merging_is_recording_together(a in values(), b in values()) {
            let mut merged: Histogram = a.iter().copied().collect();
            merged += &b.iter().copied().collect();
            let together: Histogram = a.into_iter().chain(b).collect();
            prop_assert_eq!(merged, together);
        }
    }

    #[test]
    fn small_values_are_exact_and_the_largest_fits() {
        let histogram: Histogram = (0..64).collect();
        assert_eq!(histogram.permille(500), Some(31));
        assert_eq!(histogram.permille(1000), Some(63));
        assert_eq!(Histogram::from_iter([u64::MAX]).permille(500), Some(u64::MAX));
        assert_eq!(Histogram::default().permille(500), None);
    }
}
