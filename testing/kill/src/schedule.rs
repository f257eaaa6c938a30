//! What a run does, from its seed: the same seed asks for the same things in the same order, as far
//! as the timing of threads and sockets allows.

use std::{
    hash::{BuildHasher as _, RandomState},
    path::PathBuf,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// How to call it.
const USAGE: &str = "millrace-kill [--kills 100] [--soak] [--minutes 0] [--seed <number>] \
     [--durability local] [--json]; --soak is 10,000 kills; --minutes ends it earlier, 0 never does; \
     MILLRACE_KILLS, MILLRACE_SEED and MILLRACE_DURABILITY do the same, MILLRACE_BIN names the binary";
const KILLS_OF_A_SOAK: u32 = 10_000;

/// A run's settings, from the environment and the command line.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The binary; by default the one beside the test.
    pub binary: PathBuf,
    /// How often the server is killed.
    pub kills: u32,
    /// When to stop killing at the latest.
    pub within: Option<Duration>,
    /// By default another one every time.
    pub seed: u64,
    /// The server's durability.
    pub durability: String,
    /// The summary as JSON.
    pub json: bool,
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
            within: None,
            seed: number("MILLRACE_SEED", RandomState::new().hash_one(()) >> 16)?,
            durability: std::env::var("MILLRACE_DURABILITY").unwrap_or_else(|_| "local".into()),
            json: false,
        })
    }

    /// What the command line says, over what the environment says.
    pub fn with_args(mut self, mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        while let Some(flag) = args.next() {
            match flag.as_str() {
                "--json" => self.json = true,
                "--soak" => self.kills = KILLS_OF_A_SOAK,
                _ => self.set(&flag, &args.next().ok_or(USAGE)?)?,
            }
        }
        Ok(self)
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<(), String> {
        match flag {
            "--kills" => self.kills = number(value)?,
            "--seed" => self.seed = number(value)?,
            "--durability" => self.durability = value.into(),
            "--minutes" => {
                let minutes: u64 = number(value)?;
                self.within = (minutes > 0).then(|| Duration::from_mins(minutes));
            }
            _ => return Err(USAGE.into()),
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    let number = text.parse().ok();
    number.ok_or_else(|| format!("{text:?} is not a number; {USAGE}"))
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
