//! What a run does, from its seed: the same seed asks for the same things in the same order, as far
//! as the timing of threads and sockets allows.

use std::{
    hash::{BuildHasher as _, RandomState},
    path::PathBuf,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// A run's settings, from the environment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `MILLRACE_BIN`: the binary; by default the one beside the test.
    pub binary: PathBuf,
    /// `MILLRACE_KILLS`: how often the server is killed; 100.
    pub kills: u32,
    /// `MILLRACE_SEED`: by default another one every time.
    pub seed: u64,
    /// `MILLRACE_DURABILITY`: `local`.
    pub durability: String,
}

impl Settings {
    /// Reads the environment; a value that is no number is an error.
    pub fn from_env() -> Result<Self, String> {
        let number = |name: &str, otherwise: u64| match std::env::var(name) {
            Ok(text) => text
                .parse()
                .map_err(|_| format!("{name}={text} is not a number")),
            Err(_) => Ok(otherwise),
        };
        let kills = number("MILLRACE_KILLS", 100)?;
        Ok(Self {
            binary: millrace_harness::binary(),
            kills: u32::try_from(kills).map_err(|_| "MILLRACE_KILLS is too large")?,
            seed: number("MILLRACE_SEED", RandomState::new().hash_one(()) >> 16)?,
            durability: std::env::var("MILLRACE_DURABILITY").unwrap_or_else(|_| "local".into()),
        })
    }
}

/// A thread's own source of chance.
#[derive(Debug)]
pub struct Chance(StdRng);

impl Chance {
    /// The numbers of thread `thread` in the run of `seed`.
    pub fn new(seed: u64, thread: u64) -> Self {
        Self(StdRng::seed_from_u64(seed.wrapping_mul(1_000_003) ^ thread))
    }

    /// A number from `low` up to, but without, `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..high)
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.0.random_range(0..len)
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.between(0, 100) < percent
    }

    /// A time from `low` to `high` milliseconds.
    pub fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }
}
