//! What happened on the network and the disk, in order: a hash of all of it, and the text where
//! somebody wants to read it. Also counts what went wrong.
//!
//! Two runs of one seed must give the same trace, byte for byte. Where they do not, something was
//! decided by other things than the seed, and the texts show where.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use millrace_env::Clock as _;
use millrace_monitor::message::{HASH_START, fold};

use crate::{
    clock::LoopClock,
    mishap::{Mishap, Mishaps},
};

/// A run's trace; cheap to clone.
#[derive(Clone, Debug)]
pub struct Trace {
    clock: Arc<LoopClock>,
    told: Arc<Mutex<Told>>,
}

#[derive(Debug)]
struct Told {
    hash: u64,
    events: u64,
    text: Option<String>,
    mishaps: Mishaps,
}

/// A trace in two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Over the text of all events.
    pub hash: u64,
    /// How many there were.
    pub events: u64,
}

impl Trace {
    /// An empty trace; with `text` it keeps every line.
    pub fn new(clock: Arc<LoopClock>, text: bool) -> Self {
        let told = Told {
            hash: HASH_START,
            events: 0,
            text: text.then(String::new),
            mishaps: Mishaps::new(),
        };
        Self {
            clock,
            told: Arc::new(Mutex::new(told)),
        }
    }

    /// Something happened now.
    pub fn note(&self, event: fmt::Arguments<'_>) {
        let at = self.clock.mono().as_micros();
        let line = format!("{:>5}.{:06} {event}\n", at / 1_000_000, at % 1_000_000);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.hash = fold(told.hash, line.as_bytes());
        told.events += 1;
        if let Some(text) = &mut told.text {
            text.push_str(&line);
        }
    }

    /// One more thing went wrong.
    pub fn count(&self, mishap: Mishap) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told.mishaps.entry(mishap).or_default() += 1;
    }

    /// What went wrong so far.
    pub fn mishaps(&self) -> Mishaps {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.mishaps.clone()
    }

    /// The trace so far.
    pub fn digest(&self) -> Digest {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        Digest {
            hash: told.hash,
            events: told.events,
        }
    }

    /// All lines so far, where they are kept.
    pub fn text(&self) -> Option<String> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.text.clone()
    }
}

/// Bytes in a trace: how many, and their hash.
pub(crate) struct Content<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} #{:08x}",
            self.0.len(),
            fold(HASH_START, self.0) >> 32
        )
    }
}
