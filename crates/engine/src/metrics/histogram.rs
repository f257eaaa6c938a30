//! Histograms with fixed buckets: two for each power of two, so that a figure read from one is off
//! by at most half.
//!
//! Recording is an index computed from the value's leading bits and two additions: no lock, no
//! allocation, no search. BOUND: [`BUCKETS`] numbers and a sum, whatever is recorded.
//!
//! Not here: names and units, which the exposition has (`millrace-server`).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How many buckets have a bound. The last bound is 2^26: of microseconds, 67 s.
pub const BUCKETS: usize = 52;

/// What was recorded, by size. Written by one thread mostly, read by any.
#[derive(Debug)]
pub struct Histogram {
    /// The last one counts what is beyond every bound.
    counts: [AtomicU64; BUCKETS + 1],
    sum: AtomicU64,
}

/// A histogram as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// How many values lie at or below [`bound`] of the index and above the one before; the last,
    /// how many lie beyond.
    pub counts: [u64; BUCKETS + 1],
    /// The sum of all values.
    pub sum: u64,
}

/// The largest value that bucket `index` takes.
///
/// # Panics
/// When there is no such bucket.
pub const fn bound(index: usize) -> u64 {
    assert!(index < BUCKETS, "a bucket with a bound");
    match index {
        0 => 1,
        1 => 2,
        // Between 2^n and 2^(n+1) there is one more bound, half way.
        odd if odd % 2 == 1 => 2 << (odd / 2),
        even => 3 << (even / 2 - 1),
    }
}

/// The bucket of a value: the first whose bound is not below it.
fn index_of(value: u64) -> usize {
    if value <= 1 {
        return 0;
    }
    let below = value - 1;
    let power = below.ilog2();
    // The bit after the leading one: whether the value is beyond half way. After 1 comes 2 at once.
    let upper = (((below << 1) | 1) >> power) & 1;
    (2 * power as usize + usize::from(upper == 1)).min(BUCKETS)
}

impl Histogram {
    /// Counts a value.
    pub fn record(&self, value: u64) {
        self.counts[index_of(value)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a time, in whole microseconds.
    pub fn record_time(&self, time: Duration) {
        let micros = u64::from(time.subsec_micros());
        self.record(
            time.as_secs()
                .saturating_mul(1_000_000)
                .saturating_add(micros),
        );
    }

    /// What was counted so far.
    pub fn read(&self) -> Distribution {
        Distribution {
            counts: std::array::from_fn(|index| self.counts[index].load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
        }
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS + 1],
            sum: 0,
        }
    }
}

impl Distribution {
    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Takes in what another recorder of the same thing recorded.
    pub fn merge(&mut self, other: &Self) {
        for (own, other) in self.counts.iter_mut().zip(&other.counts) {
            *own += other;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_by_half_at_most() {
        let bounds: Vec<u64> = (0..BUCKETS).map(bound).collect();
        assert_eq!(bounds[..10], [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]);
        assert_eq!(bounds[BUCKETS - 1], 1 << 26);
        for pair in bounds.windows(2).skip(1) {
            assert!(
                pair[0] < pair[1] && 2 * pair[1] <= 3 * pair[0] + 1,
                "{pair:?}"
            );
        }
    }

    #[test]
    fn a_value_is_in_the_first_bucket_that_holds_it() {
        let around = (0..BUCKETS).flat_map(|index| {
            let bound = bound(index);
            [bound - 1, bound, bound + 1]
        });
        for value in around.chain(0..10_000) {
            let want = (0..BUCKETS).find(|index| value <= bound(*index));
            assert_eq!(index_of(value), want.unwrap_or(BUCKETS), "{value}");
        }
        assert_eq!(index_of(u64::MAX), BUCKETS);
    }

    #[test]
    fn what_was_recorded_is_counted_once() {
        let histogram = Histogram::default();
        for value in [0, 1, 2, 5, 6, 7, u64::MAX / 2] {
            histogram.record(value);
        }
        let read = histogram.read();
        assert_eq!(read.count(), 7);
        assert_eq!(read.counts[..6], [2, 1, 0, 0, 2, 1]);
        assert_eq!(read.counts[BUCKETS], 1);
        assert_eq!(read.sum, 21 + u64::MAX / 2);
    }

    #[test]
    fn times_are_microseconds() {
        let histogram = Histogram::default();
        histogram.record_time(Duration::from_nanos(1_999));
        histogram.record_time(Duration::from_millis(2_500));
        let read = histogram.read();
        assert_eq!(read.sum, 1 + 2_500_000);
        assert_eq!((read.counts[0], read.count()), (1, 2));
    }

    #[test]
    fn two_recorders_merge_into_what_one_would_have() {
        let (a, b, both) = (
            Histogram::default(),
            Histogram::default(),
            Histogram::default(),
        );
        for value in 0..1_000 {
            if value % 3 == 0 { &a } else { &b }.record(value * value);
            both.record(value * value);
        }
        let mut merged = a.read();
        merged.merge(&b.read());
        assert_eq!(merged, both.read());
    }
}
