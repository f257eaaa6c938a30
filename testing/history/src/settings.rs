//! What a run does, from the command line.

use std::{
    hash::{BuildHasher as _, RandomState},
    path::PathBuf,
    time::Duration,
};

/// How to call it.
const USAGE: &str = "millrace-history [--rounds 100] [--minutes 0] [--seed <number>] \
     [--durability local] [--judge both|order|watcher]; --minutes ends it earlier, 0 never does; MILLRACE_BIN names the binary";

/// The settings of one run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The binary under test.
    pub binary: PathBuf,
    /// How many rounds.
    pub rounds: u32,
    /// When to end at the latest.
    pub within: Option<Duration>,
    /// Decides what is done, as far as the timing of threads and sockets allows.
    pub seed: u64,
    /// The server's durability.
    pub durability: String,
    /// Who says what is wrong.
    pub judge: Judge,
}

/// Who says what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// Each of the others.
    Both,
    /// The search for an order that explains every answer.
    Order,
    /// The watcher of `testing/monitor`.
    Watcher,
}

impl Settings {
    /// From the arguments after the program's name.
    pub fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self {
            binary: millrace_harness::binary(),
            rounds: 100,
            within: None,
            seed: RandomState::new().hash_one(()) >> 16,
            durability: "local".into(),
            judge: Judge::Both,
        };
        while let Some(flag) = args.next() {
            let value = args.next().ok_or(USAGE)?;
            match flag.as_str() {
                "--rounds" => settings.rounds = number(&value)?,
                "--seed" => settings.seed = number(&value)?,
                "--durability" => settings.durability = value,
                "--judge" => settings.judge = judge(&value)?,
                "--minutes" => {
                    let minutes: u64 = number(&value)?;
                    settings.within = (minutes > 0).then(|| Duration::from_mins(minutes));
                }
                _ => return Err(USAGE.into()),
            }
        }
        Ok(settings)
    }
}

fn judge(text: &str) -> Result<Judge, String> {
    match text {
        "both" => Ok(Judge::Both),
        "order" => Ok(Judge::Order),
        "watcher" => Ok(Judge::Watcher),
        _ => Err(USAGE.into()),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    let number = text.parse().ok();
    number.ok_or_else(|| format!("{text:?} is not a number; {USAGE}"))
}
