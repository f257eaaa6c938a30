//! Time: what a clock on the wall says, and what a stopwatch says.
#![allow(clippy::disallowed_methods, reason = "this is the door")]

use std::{
    fmt::Debug,
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

/// Where time comes from.
pub trait Clock: Debug + Send + Sync {
    /// Milliseconds since the Unix epoch. May jump, either way.
    fn wall(&self) -> u64;
    /// Time since some fixed moment. Never goes back.
    fn mono(&self) -> Duration;
}

/// The system's clocks.
#[derive(Debug)]
pub struct RealClock {
    start: Instant,
}

impl RealClock {
    /// Starts the stopwatch.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn wall(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn mono(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct SimClock {
    wall: AtomicU64,
    mono: AtomicU64,
}

impl SimClock {
    /// A clock whose wall shows `wall` milliseconds since the Unix epoch.
    pub fn new(wall: u64) -> Self {
        Self {
            wall: AtomicU64::new(wall),
            mono: AtomicU64::new(0),
        }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.wall.fetch_add(millis, Ordering::SeqCst);
        self.mono.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or a time server might.
    pub fn jump_to(&self, wall: u64) {
        self.wall.store(wall, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn wall(&self) -> u64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn mono(&self) -> Duration {
        Duration::from_millis(self.mono.load(Ordering::SeqCst))
    }
}

/// Waits. Under tokio's paused clock this takes no real time.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits for `future`, but no longer than `limit`; `None` when time ran out.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simulated_clock_moves_only_when_told() {
        let clock = SimClock::new(5_000);
        assert_eq!((clock.wall(), clock.mono()), (5_000, Duration::ZERO));
        clock.advance(Duration::from_secs(2));
        assert_eq!(
            (clock.wall(), clock.mono()),
            (7_000, Duration::from_secs(2))
        );
    }

    #[test]
    fn a_jump_of_the_wall_clock_leaves_the_stopwatch_alone() {
        let clock = SimClock::new(5_000);
        clock.advance(Duration::from_secs(1));
        clock.jump_to(10);
        assert_eq!((clock.wall(), clock.mono()), (10, Duration::from_secs(1)));
    }

    #[test]
    fn the_real_clocks_run() {
        const YEAR_2020: u64 = 1_577_836_800_000;
        let clock = RealClock::new();
        assert!(clock.wall() > YEAR_2020);
        let before = clock.mono();
        assert!(clock.mono() >= before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_cuts_what_takes_longer() {
        let limit = Duration::from_secs(10);
        let wait = |secs| sleep(Duration::from_secs(secs));
        assert_eq!(timeout(limit, wait(9)).await, Some(()));
        assert_eq!(timeout(limit, wait(11)).await, None);
    }
}
