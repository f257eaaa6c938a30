//! Waking the followers of a stream, a few at a time.
//!
//! One append to a stream with a thousand followers makes a thousand tasks ready. If all were woken at
//! once, the event loop would serve them all before it reads the next append, and each would be told
//! of one append at a time. So they are woken in slices, and between two slices the loop goes round:
//! the writer is answered soon, and who is woken later is told of all that came meanwhile in one go.
//!
//! Two queues: those who wait for the next change, and those of the last change who are not woken yet.
//! A change turns the first into the second.
//!
//! Slices are large at first, so that who polls is answered before others have polled again, and small
//! once a change came before all are woken: then the writer is quicker than its followers can be told,
//! and fewer and larger events are what helps them all.
//!
//! BOUND: [`SLICE`] followers between two rounds of a loop, for each stream with more.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use millrace_env::tasks;
use tokio::sync::{Notify, futures::Notified};

/// How many followers are woken at once.
const SLICE: u32 = 32;
/// How many while changes come faster than followers are woken, and up to how many need no slices.
const SMALL_SLICE: u32 = 8;

/// Who waits for a change of one stream.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    queues: [Notify; 2],
    /// In which queue a new follower waits.
    open: AtomicUsize,
    /// There was a change after the last turn of the queues.
    again: AtomicBool,
    /// Somebody is waking followers slice by slice.
    busy: AtomicBool,
}

impl Changes {
    /// Resolves after the next change. Enable it with [`Self::register`] before looking at what there is.
    pub(crate) fn wait(&self) -> (usize, Notified<'_>) {
        let queue = self.open.load(Ordering::SeqCst);
        (queue, self.queues[queue].notified())
    }

    /// Whether a wait that was enabled stands in the queue that the next change wakes. If not, wait
    /// anew: the queues were turned in between.
    pub(crate) fn is_current(&self, queue: usize) -> bool {
        self.open.load(Ordering::SeqCst) == queue
    }

    /// Wakes all who wait, if they are few: `followers` is about how many there are. Else somebody has
    /// to call [`Self::wake_in_slices`], once for all changes until it is done: true says that it is
    /// the caller.
    pub(crate) fn notify(&self, followers: u32) -> bool {
        if followers <= SMALL_SLICE && !self.busy.load(Ordering::SeqCst) {
            self.queues[self.open.load(Ordering::SeqCst)].notify_waiters();
            return false;
        }
        self.again.store(true, Ordering::SeqCst);
        !self.busy.swap(true, Ordering::SeqCst)
    }

    /// Wakes all who wait, slice by slice, until there was no change meanwhile.
    pub(crate) async fn wake_in_slices(&self, followers: impl Fn() -> u32) {
        loop {
            while self.again.swap(false, Ordering::SeqCst) {
                let closed = self.open.fetch_xor(1, Ordering::SeqCst);
                // Who appended was answered just now, and may be a process of this machine that waits
                // for this very core.
                tasks::let_others_run();
                let mut left = followers();
                loop {
                    let is_hasty = self.again.load(Ordering::SeqCst);
                    let slice = if is_hasty { SMALL_SLICE } else { SLICE };
                    if left <= slice {
                        break;
                    }
                    for _ in 0..slice {
                        self.queues[closed].notify_one();
                    }
                    left -= slice;
                    tokio::task::yield_now().await;
                }
                // Those who are left, and whoever waits without being counted.
                self.queues[closed].notify_waiters();
                tokio::task::yield_now().await;
            }
            self.busy.store(false, Ordering::SeqCst);
            // A change that came before that line found this busy.
            if !self.again.load(Ordering::SeqCst) || self.busy.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, pin::pin, rc::Rc};

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    /// A stream whose only content is a number.
    #[derive(Default)]
    struct Stream {
        changes: Changes,
        value: Cell<u32>,
        wakes: Cell<u32>,
        done: Cell<u32>,
    }

    impl Stream {
        fn set(self: &Rc<Self>, value: u32, followers: u32) {
            self.value.set(value);
            if self.changes.notify(followers) {
                let stream = Rc::clone(self);
                spawn_local(async move { stream.changes.wake_in_slices(|| followers).await });
            }
        }

        /// Follows until it sees `last`; how many values it saw.
        async fn follow(self: Rc<Self>, last: u32) -> u32 {
            let (mut seen, mut count) = (0, 0);
            while seen < last {
                let (queue, changed) = self.changes.wait();
                let mut changed = pin!(changed);
                changed.as_mut().enable();
                if !self.changes.is_current(queue) {
                    continue;
                }
                if self.value.get() > seen {
                    (seen, count) = (self.value.get(), count + 1);
                    continue;
                }
                changed.await;
                self.wakes.set(self.wakes.get() + 1);
            }
            self.done.set(self.done.get() + 1);
            count
        }
    }

    #[tokio::test]
    async fn whoever_follows_sees_the_last_change() {
        let run = async {
            for (followers, counted) in [
                (1, 1),
                (40, 40),
                (100, 100),
                (100, 90),
                (100, 300),
                (100, 0),
            ] {
                let stream = Rc::new(Stream::default());
                for _ in 0..followers {
                    spawn_local(Rc::clone(&stream).follow(50));
                }
                for value in 1..=50 {
                    stream.set(value, counted);
                    for _ in 0..value % 5 {
                        yield_now().await;
                    }
                }
                for _ in 0..1000 {
                    yield_now().await;
                }
                assert_eq!(
                    stream.done.get(),
                    followers,
                    "{followers} of whom {counted} are counted"
                );
            }
        };
        LocalSet::new().run_until(run).await;
    }

    #[tokio::test]
    async fn between_two_rounds_of_the_loop_a_slice_is_woken() {
        let run = async {
            let stream = Rc::new(Stream::default());
            for _ in 0..1000 {
                spawn_local(Rc::clone(&stream).follow(2));
            }
            for _ in 0..50 {
                yield_now().await;
            }
            stream.set(1, 1000);
            let mut before = 0;
            while stream.wakes.get() < 1000 {
                yield_now().await;
                let now = stream.wakes.get();
                assert!(now - before <= 2 * SLICE, "{before} to {now}");
                before = now;
            }
        };
        LocalSet::new().run_until(run).await;
    }

    #[tokio::test]
    async fn slices_are_small_once_changes_come_faster_than_followers_are_woken() {
        let run = async {
            let stream = Rc::new(Stream::default());
            for _ in 0..1000 {
                spawn_local(Rc::clone(&stream).follow(3));
            }
            for _ in 0..50 {
                yield_now().await;
            }
            stream.set(1, 1000);
            yield_now().await;
            stream.set(2, 1000);
            for _ in 0..2 {
                yield_now().await;
            }
            let mut before = stream.wakes.get();
            for _ in 0..10 {
                yield_now().await;
                let now = stream.wakes.get();
                assert!(now - before <= 2 * SMALL_SLICE, "{before} to {now}");
                before = now;
            }
            assert!(before < 1000, "not all were woken meanwhile");
        };
        LocalSet::new().run_until(run).await;
    }

    #[tokio::test]
    async fn who_is_woken_late_is_told_once_of_all_that_came() {
        let run = async {
            let stream = Rc::new(Stream::default());
            let follow = |_| spawn_local(Rc::clone(&stream).follow(100));
            let all: Vec<_> = (0..1000).map(follow).collect();
            for _ in 0..50 {
                yield_now().await;
            }
            for value in 1..=100 {
                stream.set(value, 1000);
                yield_now().await;
            }
            let mut told = 0;
            for follower in all {
                told += follower.await.expect("no panic");
            }
            assert!(
                told < 10 * 1000,
                "{told} for 100 changes and 1,000 followers"
            );
        };
        LocalSet::new().run_until(run).await;
    }
}
