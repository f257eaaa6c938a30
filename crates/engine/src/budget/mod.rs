//! Byte budgets for what is held in memory on behalf of clients. One is for writers: bodies being read
//! ([`Growing`]), commands that wait, and bytes that are not flushed yet. Another is for readers
//! ([`Reading`]): pieces of answers that a client has not taken yet. They are apart, so that who reads
//! slowly keeps nobody from writing.
//!
//! BOUND: what is charged is given back when its last holder is dropped, so a budget bounds memory and
//! not merely intake.

mod growing;
mod reading;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use millrace_core::Refusal;
use millrace_env::Clock;

use self::growing::Bodies;
pub use self::growing::Growing;
pub(crate) use self::reading::Reading;

/// The budget; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Gauge>);

#[derive(Debug)]
struct Gauge {
    used: AtomicU64,
    max: u64,
    /// Bodies that are still coming.
    bodies: Bodies,
}

/// Bytes taken from the budget until this is dropped.
#[derive(Debug)]
pub struct Permit {
    gauge: Arc<Gauge>,
    bytes: u64,
}

impl Budget {
    /// `max` bytes, of which bodies that are still coming take at most half, or `body_max`.
    pub(crate) fn new(max: u64, body_max: u64) -> Self {
        Self(Arc::new(Gauge {
            used: AtomicU64::new(0),
            max,
            bodies: Bodies::new((max / 2).max(body_max).min(max)),
        }))
    }

    /// Takes `bytes`, or refuses when the budget would be exceeded. A single request larger than the
    /// whole budget is let in when nothing else is. Bodies of which nothing comes give way to it.
    pub(crate) async fn admit(&self, bytes: u64, clock: &dyn Clock) -> Result<Permit, Refusal> {
        let take = || self.take(bytes);
        match take() {
            Ok(permit) => Ok(permit),
            Err(_) => Box::pin(self.0.wait_for(bytes, u64::MAX, clock, take)).await,
        }
    }

    fn take(&self, bytes: u64) -> Result<Permit, Refusal> {
        self.0.take(bytes, 0)?;
        Ok(Permit {
            gauge: Arc::clone(&self.0),
            bytes,
        })
    }

    /// Takes `bytes` without asking: for bytes that are already logged and have to be held.
    pub(crate) fn charge(&self, bytes: u64) -> Permit {
        self.0.used.fetch_add(bytes, Ordering::Relaxed);
        Permit {
            gauge: Arc::clone(&self.0),
            bytes,
        }
    }

    /// The most that is admitted.
    pub(crate) fn max(&self) -> u64 {
        self.0.max
    }

    pub(crate) fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// `bytes` charged for as long as any slice of the answer lives.
    pub(crate) fn hold(&self, bytes: Bytes) -> Bytes {
        let permit = self.charge(bytes.len() as u64);
        Bytes::from_owner(Held {
            bytes,
            _permit: permit,
        })
    }
}

impl Gauge {
    /// Takes `bytes` for who has `own` already, or refuses.
    fn take(&self, bytes: u64, own: u64) -> Result<(), Refusal> {
        let fits = |used: u64| (used == own || used + bytes <= self.max).then_some(used + bytes);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map(drop)
            .map_err(|_| Refusal::Overloaded)
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gauge.give_back(self.bytes);
    }
}

struct Held {
    bytes: Bytes,
    _permit: Permit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_charged_until_the_last_slice_is_gone() {
        let budget = Budget::new(100, 0);
        let held = budget.hold(Bytes::from_static(b"0123456789"));
        let slice = held.slice(2..4);
        drop(held);
        assert_eq!(budget.used(), 10);
        drop(slice);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn work_beyond_the_budget_is_refused_and_nothing_is_charged_for_it() {
        let budget = Budget::new(100, 0);
        let first = budget.take(80).expect("it fits");
        assert_eq!(budget.take(21).err(), Some(Refusal::Overloaded));
        assert_eq!(budget.used(), 80);
        drop(first);
        assert!(
            budget.take(500).is_ok(),
            "one large request alone is let in"
        );
    }
}
