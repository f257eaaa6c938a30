//! The clocks of a run: they follow the event loop's time, which stands still while anything is left
//! to do and then jumps to the next timer.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use millrace_env::Clock;
use tokio::time::Instant;

/// What the wall shows at the start of every run, in milliseconds since the Unix epoch.
const WALL_AT_START: i64 = 1_790_000_000_000;

/// One clock for the server and its clients.
#[derive(Debug)]
pub struct LoopClock {
    start: Instant,
    /// How far the wall clock was set forward, or back.
    jumped_millis: AtomicI64,
    /// Time that passed while the loop was held up by the disk, in microseconds. Timers do not know
    /// of it and are late, as they are then.
    stalled_micros: AtomicU64,
}

impl LoopClock {
    /// Starts the stopwatch; call it inside the runtime of the run.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            jumped_millis: AtomicI64::new(0),
            stalled_micros: AtomicU64::new(0),
        }
    }

    /// The wall clock is set, and the stopwatch is not.
    pub fn jump(&self, by_millis: i64) {
        self.jumped_millis.fetch_add(by_millis, Ordering::SeqCst);
    }

    /// The loop is held up.
    pub fn stall(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.stalled_micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for LoopClock {
    fn wall(&self) -> u64 {
        let passed = i64::try_from(self.mono().as_millis()).unwrap_or(i64::MAX);
        let jumped = self.jumped_millis.load(Ordering::SeqCst);
        u64::try_from(WALL_AT_START + passed + jumped).unwrap_or(0)
    }

    fn mono(&self) -> Duration {
        self.start.elapsed() + Duration::from_micros(self.stalled_micros.load(Ordering::SeqCst))
    }
}
