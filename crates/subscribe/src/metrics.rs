//! What is counted of subscriptions.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) subscriptions: Counter,
    pub(crate) changed_streams: Counter,
    pub(crate) wakes: Counter,
    pub(crate) delivered: Counter,
    pub(crate) failed: Counter,
    pub(crate) expired: Counter,
    pub(crate) fenced: Counter,
}

/// Written by the driver's thread, read by all.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All figures at one moment; counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionFigures {
    /// Subscriptions that there are.
    pub subscriptions: u64,
    /// Changed streams that some subscription has still to look at, each once.
    pub changed_streams: u64,
    /// Wakes that began.
    pub wakes: u64,
    /// Deliveries that webhooks took, and wake events that were appended.
    pub delivered: u64,
    /// Deliveries that failed.
    pub failed: u64,
    /// Leases that ran out.
    pub expired: u64,
    /// Requests for a wake that was not the current one.
    pub fenced: u64,
}

impl Counters {
    pub(crate) fn figures(&self) -> SubscriptionFigures {
        SubscriptionFigures {
            subscriptions: self.subscriptions.get(),
            changed_streams: self.changed_streams.get(),
            wakes: self.wakes.get(),
            delivered: self.delivered.get(),
            failed: self.failed.get(),
            expired: self.expired.get(),
            fenced: self.fenced.get(),
        }
    }
}
