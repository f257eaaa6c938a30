//! Durations counted in buckets that are at most 1/128 wide: recording one costs a few nanoseconds,
//! and memory does not grow with a run.

use std::time::Duration;

/// Bits of a value that are kept.
const KEPT: u32 = 7;
const BUCKETS: usize = 58 << KEPT;

/// Durations, from nanoseconds to centuries.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            count: 0,
            longest: Duration::ZERO,
        }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.count += 1;
        self.longest = self.longest.max(duration);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Exact, unlike the others.
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// What so many in a thousand lie at or below, rounded up to the end of its bucket.
    pub(crate) fn per_mille(&self, part: u64) -> Duration {
        let rank = (self.count * part).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(end_of(bucket)).min(self.longest);
            }
        }
        Duration::ZERO
    }
}

/// Values below 256 have buckets of their own; above, 128 buckets share each power of two.
fn bucket(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(KEPT + 1);
    let top = usize::try_from(nanos >> shift).expect("at most 255");
    ((shift as usize) << KEPT) + top
}

fn end_of(bucket: usize) -> u64 {
    let shift = (bucket >> KEPT).saturating_sub(1);
    let top = (bucket - (shift << KEPT)) as u64;
    ((top + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        let mut values: Vec<u64> = (0..10_000).collect();
        values.extend((10..56).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]));
        for value in values {
            let end = end_of(bucket(value));
            assert!(end >= value, "{value} lies above {end}");
            assert!(end - value <= value / 128, "{value} is far from {end}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.per_mille(500), Duration::ZERO);
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (part, micros) in [(500, 500), (990, 990), (999, 999), (1000, 1000)] {
            let got = histogram.per_mille(part).as_nanos();
            let want = u128::from(micros * 1000_u64);
            assert!(got >= want && got <= want + want / 127, "{part}: {got}");
        }
        assert_eq!(histogram.longest(), Duration::from_millis(1));
        assert_eq!(histogram.count(), 1000);
    }
}
