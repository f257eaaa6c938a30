//! One byte budget for everything that is held in memory on behalf of clients: bodies being read,
//! commands that wait, and bytes that are not flushed yet.
//!
//! BOUND: what is charged is given back when its last holder is dropped, slow followers included, so
//! the budget bounds memory and not merely intake.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use millrace_core::Refusal;

/// The budget; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Gauge>);

#[derive(Debug)]
struct Gauge {
    used: AtomicU64,
    max: u64,
}

/// Bytes taken from the budget until this is dropped.
#[derive(Debug)]
pub struct Permit {
    gauge: Arc<Gauge>,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(max: u64) -> Self {
        Self(Arc::new(Gauge {
            used: AtomicU64::new(0),
            max,
        }))
    }

    /// Takes `bytes`, or refuses when the budget would be exceeded. A single request larger than the
    /// whole budget is let in when nothing else is.
    pub(crate) fn admit(&self, bytes: u64) -> Result<Permit, Refusal> {
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
}

impl Permit {
    /// Takes `bytes` more, on the same terms as the first ones: for a body that is charged as it
    /// comes. [`Refusal::Overloaded`] when there are none.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.gauge.take(bytes, self.bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gauge.used.fetch_sub(self.bytes, Ordering::Relaxed);
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
        let budget = Budget::new(100);
        let held = budget.hold(Bytes::from_static(b"0123456789"));
        let slice = held.slice(2..4);
        drop(held);
        assert_eq!(budget.used(), 10);
        drop(slice);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_permit_grows_while_there_is_room_and_is_given_back_once() {
        let budget = Budget::new(100);
        let mut permit = budget.admit(10).expect("it fits");
        permit.grow(20).expect("it fits");
        assert_eq!(budget.used(), 30);
        let other = budget.admit(60).expect("it fits");
        assert_eq!(permit.grow(11), Err(Refusal::Overloaded));
        assert_eq!(budget.used(), 90);
        drop(other);
        permit.grow(500).expect("one large request alone is let in");
        drop(permit);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn work_beyond_the_budget_is_refused_and_nothing_is_charged_for_it() {
        let budget = Budget::new(100);
        let first = budget.admit(80).expect("it fits");
        assert_eq!(budget.admit(21).err(), Some(Refusal::Overloaded));
        assert_eq!(budget.used(), 80);
        drop(first);
        assert!(
            budget.admit(500).is_ok(),
            "one large request alone is let in"
        );
    }
}
