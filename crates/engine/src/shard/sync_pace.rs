//! Where a shard's syncs run: on its own thread while the disk is quick, on a helper thread while it
//! is slow.
//!
//! On its own thread a sync costs nothing but its time; handing it over costs two wake-ups and, on few
//! cores, the processor of whoever is interrupted for them. But while it runs on the shard's thread,
//! reads on that core wait. So the disk's usual time decides, not its worst: virtual disks have a slow
//! sync every second or so, and a single one says nothing of the next (ADR 14 has the figures).

use std::time::Duration;

/// Syncs that usually take longer go to a helper thread, so that reads do not wait for a slow disk.
const SLOW: Duration = Duration::from_millis(2);
/// They come back when they usually take less than this. Lower, so that they do not go to and fro.
const QUICK: Duration = Duration::from_millis(1);
/// But not before they were away for so long.
const AWAY: Duration = Duration::from_secs(1);
/// How much one sync counts for: a part of 2^4, so that one alone must take 32 ms to move the rest.
const WEIGHT_SHIFT: u32 = 4;

/// How long syncs take, and what follows from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SyncPace {
    /// The smoothed time of a sync.
    usual: Duration,
    /// When syncs went to a helper thread, on the monotonic clock; `None` while they do not.
    away_since: Option<Duration>,
}

impl SyncPace {
    /// Whether the next sync goes to a helper thread.
    pub(super) fn wants_helper(&self) -> bool {
        self.away_since.is_some()
    }

    /// A sync took so long and ended at `now`.
    pub(super) fn took(&mut self, time: Duration, now: Duration) {
        let weight = 1 << WEIGHT_SHIFT;
        self.usual = (self.usual * (weight - 1) + time) / weight;
        match self.away_since {
            None if self.usual > SLOW => self.away_since = Some(now),
            Some(since) if self.usual < QUICK && now >= since + AWAY => self.away_since = None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Syncs of `time` each, one after the other, until `enough`.
    fn syncs(pace: &mut SyncPace, now: &mut Duration, time: Duration, count: u32) {
        for _ in 0..count {
            *now += time;
            pace.took(time, *now);
        }
    }

    const QUARTER: Duration = Duration::from_micros(250);

    #[test]
    fn a_slow_sync_now_and_then_moves_nothing() {
        let (mut pace, mut now) = (SyncPace::default(), Duration::ZERO);
        for _ in 0..20 {
            syncs(&mut pace, &mut now, QUARTER, 50);
            syncs(&mut pace, &mut now, Duration::from_millis(10), 1);
            assert!(!pace.wants_helper());
        }
    }

    #[test]
    fn a_slow_disk_is_left_to_a_helper_after_a_few_syncs() {
        let (mut pace, mut now) = (SyncPace::default(), Duration::ZERO);
        syncs(&mut pace, &mut now, QUARTER, 50);
        syncs(&mut pace, &mut now, Duration::from_millis(5), 8);
        assert!(pace.wants_helper());
    }

    #[test]
    fn a_sync_that_hangs_is_enough() {
        let (mut pace, mut now) = (SyncPace::default(), Duration::ZERO);
        syncs(&mut pace, &mut now, Duration::from_millis(50), 1);
        assert!(pace.wants_helper());
    }

    #[test]
    fn a_disk_that_is_quick_again_is_trusted_after_a_second() {
        let (mut pace, mut now) = (SyncPace::default(), Duration::ZERO);
        syncs(&mut pace, &mut now, Duration::from_millis(50), 1);
        syncs(&mut pace, &mut now, QUARTER, 400);
        assert!(pace.wants_helper(), "it was away for a tenth of a second");
        syncs(&mut pace, &mut now, QUARTER, 4000);
        assert!(!pace.wants_helper());
    }

    #[test]
    fn between_quick_and_slow_it_stays_where_it_is() {
        let (mut pace, mut now) = (SyncPace::default(), Duration::ZERO);
        let between = Duration::from_micros(1500);
        syncs(&mut pace, &mut now, between, 2000);
        assert!(!pace.wants_helper());
        syncs(&mut pace, &mut now, Duration::from_millis(50), 1);
        syncs(&mut pace, &mut now, between, 2000);
        assert!(pace.wants_helper());
    }
}
