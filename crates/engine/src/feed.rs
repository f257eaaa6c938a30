//! The feed of changed streams, for who watches all of them.
//!
//! A stream that changed is in it once, however often it changed before it was taken: so the feed is
//! bounded by the number of streams, and an append to a stream that is in it costs one look at a flag.
//! Nothing is gathered before somebody asked for it.
//!
//! The server's own streams (`__ds/…`) are never in it.
//!
//! Not here: what a change means to whom (`millrace-subscribe`).

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use millrace_core::{Offset, StreamId, StreamName};
use tokio::sync::Notify;

use crate::{Engine, live::Live};

/// Changed streams, on their way from the shards to who watches them.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// Whether anybody watches.
    is_on: AtomicBool,
    /// BOUND: each stream once.
    changed: Mutex<Vec<Arc<Live>>>,
    news: Notify,
}

/// A stream that changed, as it is when it is taken from the feed.
#[derive(Clone, Debug)]
pub struct Change {
    /// The stream.
    pub id: StreamId,
    /// Its name.
    pub name: StreamName,
    /// The offset of its first byte.
    pub start: Offset,
    /// The offset after its last byte.
    pub tail: Offset,
    /// Whether it is gone.
    pub gone: bool,
}

impl Feed {
    /// Reports streams whose changes are published.
    pub(crate) fn report(&self, changed: &[Arc<Live>]) {
        if !self.is_on.load(Ordering::Relaxed) {
            return;
        }
        let mut queue = None;
        for live in changed.iter().filter(|live| live.is_news()) {
            queue
                .get_or_insert_with(|| self.queue())
                .push(Arc::clone(live));
        }
        if queue.is_some() {
            drop(queue);
            self.news.notify_one();
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Live>>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// From here on changed streams are gathered for [`Self::changes`].
    pub fn watch_changes(&self) {
        self.shared.feed.is_on.store(true, Ordering::SeqCst);
    }

    /// From here on nothing is gathered; what was is forgotten.
    pub fn ignore_changes(&self) {
        self.shared.feed.is_on.store(false, Ordering::SeqCst);
        drop(self.changes());
    }

    /// The streams that changed since they were last taken, each once, in the order of their first
    /// change. A change that was answered before this is called is in it.
    pub fn changes(&self) -> Vec<Change> {
        let changed = std::mem::take(&mut *self.shared.feed.queue());
        let change = |live: Arc<Live>| {
            live.take_up();
            let view = live.view();
            Change {
                id: live.id,
                name: view.state.config.name.clone(),
                start: view.state.start_offset(),
                tail: view.state.tail_offset(),
                gone: view.gone || view.state.soft_deleted,
            }
        };
        changed.into_iter().map(change).collect()
    }

    /// Waits until streams changed, for one who waits; they may have been taken meanwhile.
    pub async fn changed(&self) {
        self.shared.feed.news.notified().await;
    }
}
