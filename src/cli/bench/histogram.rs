//! A latency histogram of fixed size with a bounded relative error.
//!
//! Log-linear, as HdrHistogram does it: every power of two is cut into [`SUB_BUCKETS`] equal parts,
//! so a bucket is never wider than 1/128 of its values and a reported quantile is at most 0.8 % too
//! high. Recording costs a few instructions and never allocates.
//!
//! Invariants: `count` is the sum of all buckets; a quantile is never below the true value's bucket
//! and never above `max`.

use std::time::Duration;

/// 2^7 parts per power of two: a relative error of 1/128, below the 1 % we promise.
const SUB_BUCKET_BITS: u32 = 7;
const SUB_BUCKETS: usize = 1 << SUB_BUCKET_BITS;

/// Values have at most 37 bits of nanoseconds, about 137 s: longer than any useful timeout. What is
/// longer still is counted in the last bucket, and `max` keeps its true length.
const VALUE_BITS: u32 = 37;
const LARGEST_VALUE: u64 = (1 << VALUE_BITS) - 1;
const BUCKETS: usize = (VALUE_BITS - SUB_BUCKET_BITS + 1) as usize * SUB_BUCKETS;

/// A quantile in parts of 100,000, so that ranks are exact integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quantile(u64);

impl Quantile {
    const WHOLE: u64 = 100_000;

    pub(super) const P50: Self = Self(50_000);
    pub(super) const P90: Self = Self(90_000);
    pub(super) const P99: Self = Self(99_000);
    pub(super) const P999: Self = Self(99_900);

    /// The nearest rank, from 1 to `count`; 0 when there is nothing to rank.
    pub(super) fn rank(self, count: u64) -> u64 {
        count
            .saturating_mul(self.0)
            .div_ceil(Self::WHOLE)
            .min(count)
    }
}

/// Latencies of one operation.
pub(super) struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    max: Duration,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            buckets: vec![0; BUCKETS].into_boxed_slice(),
            count: 0,
            max: Duration::ZERO,
        }
    }

    /// Counts one latency.
    pub(super) fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(nanoseconds.min(LARGEST_VALUE))] += 1;
        self.count += 1;
        self.max = self.max.max(latency);
    }

    /// How many latencies were counted.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The largest latency, exact; zero when nothing was counted.
    pub(super) fn max(&self) -> Duration {
        self.max
    }

    /// The latency that the given share of all stayed within, at most 0.8 % too high; zero when
    /// nothing was counted.
    pub(super) fn quantile(&self, quantile: Quantile) -> Duration {
        let rank = quantile.rank(self.count);
        if rank == 0 {
            return Duration::ZERO;
        }
        let mut seen = 0;
        for (index, in_bucket) in self.buckets.iter().enumerate() {
            seen += in_bucket;
            if seen >= rank {
                return Duration::from_nanos(largest_value_of(index)).min(self.max);
            }
        }
        self.max
    }
}

/// The bucket of a value; the value is at most [`LARGEST_VALUE`].
fn bucket_of(value: u64) -> usize {
    if value < SUB_BUCKETS as u64 {
        return value as usize;
    }
    let highest_bit = u64::BITS - 1 - value.leading_zeros();
    let shift = highest_bit - SUB_BUCKET_BITS;
    let part = (value >> shift) as usize - SUB_BUCKETS;
    (shift as usize + 1) * SUB_BUCKETS + part
}

/// The largest value that falls into a bucket.
fn largest_value_of(bucket: usize) -> u64 {
    if bucket < SUB_BUCKETS {
        return bucket as u64;
    }
    let shift = bucket / SUB_BUCKETS - 1;
    let part = bucket % SUB_BUCKETS;
    ((SUB_BUCKETS + part + 1) as u64 * (1 << shift)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gap_or_overlap() {
        for bucket in 0..BUCKETS {
            let largest = largest_value_of(bucket);
            assert_eq!(bucket_of(largest), bucket);
            if bucket + 1 < BUCKETS {
                assert_eq!(bucket_of(largest + 1), bucket + 1);
            }
        }
        assert_eq!(largest_value_of(BUCKETS - 1), LARGEST_VALUE);
    }

    #[test]
    fn a_bucket_is_at_most_one_percent_wide() {
        let mut value = 1_u64;
        while value <= LARGEST_VALUE {
            let reported = largest_value_of(bucket_of(value));
            assert!(reported >= value);
            assert!(
                (reported - value) * 100 <= value,
                "{value} was reported as {reported}"
            );
            value = value + value / 3 + 1;
        }
    }

    #[test]
    fn quantiles_of_a_uniform_load_are_within_one_percent() {
        let mut histogram = Histogram::new();
        for microseconds in 1..=10_000_u64 {
            histogram.record(Duration::from_micros(microseconds));
        }
        for (quantile, expected_microseconds) in [
            (Quantile::P50, 5_000),
            (Quantile::P90, 9_000),
            (Quantile::P99, 9_900),
            (Quantile::P999, 9_990),
        ] {
            let expected = Duration::from_micros(expected_microseconds);
            let reported = histogram.quantile(quantile);
            assert!(reported >= expected, "{reported:?} is below {expected:?}");
            assert!(
                reported <= expected + expected / 100,
                "{reported:?} is above {expected:?}"
            );
        }
        assert_eq!(histogram.count(), 10_000);
        assert_eq!(histogram.max(), Duration::from_micros(10_000));
    }

    #[test]
    fn an_empty_histogram_reports_zero() {
        let histogram = Histogram::new();
        assert_eq!(histogram.quantile(Quantile::P99), Duration::ZERO);
        assert_eq!(histogram.max(), Duration::ZERO);
        assert_eq!(histogram.count(), 0);
    }

    #[test]
    fn one_latency_is_every_quantile_and_is_exact() {
        let mut histogram = Histogram::new();
        let latency = Duration::from_nanos(1_234_567);
        histogram.record(latency);
        assert_eq!(histogram.quantile(Quantile::P50), latency);
        assert_eq!(histogram.quantile(Quantile::P999), latency);
    }

    #[test]
    fn a_latency_beyond_the_range_is_counted_and_its_maximum_kept() {
        let mut histogram = Histogram::new();
        let hour = Duration::from_secs(3_600);
        histogram.record(hour);
        assert_eq!(histogram.count(), 1);
        assert_eq!(histogram.max(), hour);
    }

    #[test]
    fn ranks_are_nearest_ranks() {
        assert_eq!(Quantile::P99.rank(0), 0);
        assert_eq!(Quantile::P50.rank(1), 1);
        assert_eq!(Quantile::P99.rank(30), 30);
        assert_eq!(Quantile::P99.rank(100), 99);
        assert_eq!(Quantile::P999.rank(1_000), 999);
    }
}
