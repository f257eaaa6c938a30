//! A stream in memory: what its shard publishes and every core may read.
//!
//! One short lock guards one stream's view. Only the shard that owns the stream writes it, once a
//! turn, after the turn's sync: so whatever a reader finds is durable. Readers copy out what they
//! plan to send and let go before any I/O.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use millrace_core::{Lifetime, StreamId, StreamPos, Timestamp, stream::StreamState};
use millrace_store::Extent;

use crate::{changes::Changes, frames::FrameCache, read::HotTail};

/// A stream in memory. Shared by its shard, the directory and every reader.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: StreamId,
    view: Mutex<View>,
    /// Made by the first follower, so that an idle stream does not pay for it.
    changed: OnceLock<Box<Changes>>,
    frames: OnceLock<Box<FrameCache>>,
    /// When it was last read, in milliseconds: renews a sliding lifetime without a write.
    read_at: AtomicU64,
    /// Open live readers: none of them may see the stream expire.
    followers: AtomicU32,
    /// Whether it waits to be taken up by who watches all streams (see `feed.rs`). Always, where it is
    /// one of the server's own: those are never taken up.
    reported: AtomicBool,
}

/// What is durable of a stream.
#[derive(Debug)]
pub(crate) struct View {
    /// The rules' state.
    pub(crate) state: StreamState,
    /// The bytes that are in segments, in order, contiguous from the stream's own first position.
    pub(crate) extents: Arc<Vec<Extent>>,
    /// The bytes that are not, following them.
    pub(crate) hot: HotTail,
    /// Whether the stream is gone: deleted, expired, or given back after its last fork.
    pub(crate) gone: bool,
    /// When its last bytes became durable. Kept from the first follower on.
    pub(crate) recent: Option<Box<Recent>>,
}

/// How many of a stream's last turns are remembered.
const RECENT_MAX: usize = 8;

/// When the last turns of a stream became durable, oldest first, each with the tail it made: how long
/// a follower's bytes have waited for it. A follower further behind than this is taken to wait for
/// the oldest of them.
#[derive(Debug, Default)]
pub(crate) struct Recent(VecDeque<(StreamPos, Duration)>);

impl Recent {
    fn push(&mut self, tail: StreamPos, at: Duration) {
        if self.0.back().is_some_and(|(last, _)| *last >= tail) {
            return;
        }
        if self.0.len() == RECENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((tail, at));
    }

    /// When the first byte after `pos` became durable.
    pub(crate) fn after(&self, pos: StreamPos) -> Option<Duration> {
        let first = self.0.iter().find(|(tail, _)| *tail > pos);
        first.map(|(_, at)| *at)
    }
}

impl View {
    /// The position up to which the bytes are in segments.
    pub(crate) fn sealed(&self) -> StreamPos {
        // Without extents, nothing was sealed or all of it was trimmed.
        let unsealed = || self.hot.from().unwrap_or(self.state.tail);
        self.extents
            .last()
            .map_or_else(unsealed, |extent| extent.until)
    }

    /// Forgets extents that nobody needs any more: the catalog gives them back with the next flush.
    pub(crate) fn let_go_of_trimmed(&mut self) {
        let needed_from = self.state.needed_from();
        let gone = self
            .extents
            .partition_point(|extent| extent.until <= needed_from);
        if gone > 0 {
            self.extents = Arc::new(self.extents[gone..].to_vec());
        }
    }

    /// Its state became what it is with a turn that was durable at `at`.
    pub(crate) fn published(&mut self, at: Duration) {
        if let Some(recent) = &mut self.recent {
            recent.push(self.state.tail, at);
        }
    }
}

impl Live {
    /// A stream of which `extents` are sealed and nothing is hot. `read_at` is the moment from which
    /// its sliding lifetime counts at least.
    pub(crate) fn new(state: StreamState, extents: Vec<Extent>, read_at: Timestamp) -> Self {
        let is_internal = state.config.name.is_internal();
        Self {
            id: state.id,
            reported: AtomicBool::new(is_internal),
            view: Mutex::new(View {
                state,
                extents: Arc::new(extents),
                hot: HotTail::default(),
                gone: false,
                recent: None,
            }),
            changed: OnceLock::new(),
            frames: OnceLock::new(),
            read_at: AtomicU64::new(read_at.get()),
            followers: AtomicU32::new(0),
        }
    }

    /// The view; hold it briefly and never across I/O or an await.
    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        // A panic while holding it leaves a whole view: it is written by single assignments, and the
        // shard is poisoned by any panic in its turn.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for a change. Coalesced: many changes, one wake. True: there are many, and
    /// the caller has to run [`Self::wake_followers`] for them.
    #[must_use]
    pub(crate) fn notify(&self) -> bool {
        let changed = self.changed.get();
        changed.is_some_and(|changed| changed.notify(self.followers.load(Ordering::Relaxed)))
    }

    /// Wakes many followers, in slices.
    pub(crate) async fn wake_followers(&self) {
        if let Some(changed) = self.changed.get() {
            let followers = || self.followers.load(Ordering::Relaxed);
            changed.wake_in_slices(followers).await;
        }
    }

    pub(crate) fn changes(&self) -> &Changes {
        self.changed.get_or_init(Box::default)
    }

    pub(crate) fn frames(&self) -> &FrameCache {
        self.frames.get_or_init(Box::default)
    }

    /// Whether a change of it has to be reported: nobody has, since it was last taken up. Call it after
    /// the change is in the view.
    pub(crate) fn is_news(&self) -> bool {
        !self.reported.load(Ordering::SeqCst) && !self.reported.swap(true, Ordering::SeqCst)
    }

    /// It is taken up: look at the view after this, and later changes are reported again.
    pub(crate) fn take_up(&self) {
        self.reported.store(false, Ordering::SeqCst);
    }

    /// Renews a sliding lifetime.
    pub(crate) fn touch(&self, now: Timestamp) {
        self.read_at.fetch_max(now.get(), Ordering::Relaxed);
    }

    pub(crate) fn last_read_at(&self) -> Timestamp {
        Timestamp(self.read_at.load(Ordering::Relaxed))
    }

    /// Counts a live reader until the guard is dropped, at `now` as read by its clock.
    pub(crate) fn follow(self: &Arc<Self>) -> Follow {
        self.followers.fetch_add(1, Ordering::Relaxed);
        self.view().recent.get_or_insert_default();
        Follow(Arc::clone(self))
    }

    pub(crate) fn is_followed(&self) -> bool {
        self.followers.load(Ordering::Relaxed) > 0
    }

    /// When its life ends, as moved by reads; `None` for never.
    pub(crate) fn deadline(&self, state: &StreamState) -> Option<Timestamp> {
        let logged = state.deadline?;
        match state.config.lifetime {
            Lifetime::Ttl(_) => state
                .config
                .lifetime
                .deadline(self.last_read_at())
                .max(Some(logged)),
            _ => Some(logged),
        }
    }

    /// Whether its life is over at `now`.
    pub(crate) fn is_expired(&self, state: &StreamState, now: Timestamp) -> bool {
        let sliding = matches!(state.config.lifetime, Lifetime::Ttl(_));
        let held = sliding && self.is_followed();
        !held && self.deadline(state).is_some_and(|deadline| deadline <= now)
    }
}

/// A live reader's hold on a sliding lifetime.
#[derive(Debug)]
pub(crate) struct Follow(Arc<Live>);

impl Drop for Follow {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::Relaxed);
    }
}
