//! Something that is switched on once, and everyone who waits for it.
//!
//! Like a `watch` channel of a bool, but for the order in which those who wait are woken: `watch` draws
//! that from a generator which no seed reaches, and a simulation would not repeat itself.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Those who wait stand in so many queues, so that many threads do not meet in one.
const QUEUES: usize = 8;

/// Is switched on once, or by being dropped: what is gone is over, too.
#[derive(Debug, Default)]
pub struct Switch(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_on: AtomicBool,
    queues: [Notify; QUEUES],
    /// The queue of the next watcher.
    next: AtomicUsize,
}

/// Sees a [`Switch`]; cheap to clone.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    queue: usize,
}

impl Switch {
    /// One that is off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Switches it on, and wakes everyone who waits.
    pub fn on(&self) {
        if !self.0.is_on.swap(true, Ordering::SeqCst) {
            self.0.queues.iter().for_each(Notify::notify_waiters);
        }
    }

    /// Somebody to see it.
    pub fn watcher(&self) -> Watcher {
        Watcher::new(&self.0)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.on();
    }
}

impl Watcher {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            queue: shared.next.fetch_add(1, Ordering::Relaxed) % QUEUES,
        }
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.shared.is_on.load(Ordering::SeqCst)
    }

    /// Waits until it is on.
    pub async fn wait(&self) {
        // Made before looking: it is told of whatever comes after it.
        let told = self.shared.queues[self.queue].notified();
        if !self.is_on() {
            told.await;
        }
    }
}

impl Clone for Watcher {
    fn clone(&self) -> Self {
        Self::new(&self.shared)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::timeout;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_and_who_comes_later_need_not_wait() {
        let switch = Switch::new();
        let first = switch.watcher();
        let watchers: Vec<Watcher> = (0..20).map(|_| first.clone()).collect();
        let waiting = watchers
            .into_iter()
            .map(|watcher| tokio::spawn(async move { timeout(LONG, watcher.wait()).await }));
        let waiting: Vec<_> = waiting.collect();
        tokio::task::yield_now().await;
        assert!(!first.is_on());
        assert!(timeout(LONG / 2, first.wait()).await.is_none());
        switch.on();
        for told in waiting {
            assert_eq!(told.await.expect("no panic"), Some(()));
        }
        assert!(first.is_on());
        assert_eq!(timeout(LONG, switch.watcher().wait()).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_is_over() {
        let switch = Switch::new();
        let watcher = switch.watcher();
        drop(switch);
        assert!(watcher.is_on());
        assert_eq!(timeout(LONG, watcher.wait()).await, Some(()));
    }
}
