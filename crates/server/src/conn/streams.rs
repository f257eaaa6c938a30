//! The streams of one HTTP/2 connection, and those whose client takes nothing.
//!
//! HTTP/2 gives each answer a window that the client opens. A client that never opens it, on a
//! connection that is otherwise well, holds what was made of the answer for ever: the socket takes all
//! that is written, so `socket.rs` sees nothing. Therefore answers are handed to hyper in slices that
//! tell when they were sent; an answer of which no slice was sent for [`Times::write`] is reset, and
//! its stream alone. Whoever takes a slice in that time may be as slow as it likes.
//!
//! A connection without a stream for [`Times::idle`] is asked to end, as on HTTP/1.
//!
//! Time is counted in looks at the whole connection: no answer costs a timer.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use millrace_env::sleep;
use tokio::task::AbortHandle;

use crate::{
    config::Times,
    refusals::{Peer, Refused},
};

/// What is sent and counted as one: the largest frame that a client takes by default.
const SLICE_BYTES: usize = 16 << 10;
/// How many looks fit into the shorter of the times that are kept.
const LOOKS: u32 = 4;

/// The streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: RefCell<Vec<Stream>>,
}

#[derive(Debug)]
struct Stream {
    watch: Arc<Watch>,
    /// What makes and sends the answer; ending it resets the stream. Set right after it began.
    task: Option<AbortHandle>,
    /// How many looks saw slices wait, and none go.
    stalled: u32,
}

/// What a stream's answer tells of itself. Shared with slices, which may be dropped anywhere.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Slices that were handed over and not sent yet.
    held: AtomicUsize,
    /// Whether one was sent since the last look.
    has_moved: AtomicBool,
    /// Who waits for the last slice.
    waiting: Mutex<Option<Waker>>,
}

impl Streams {
    /// A request has come. What is spawned next is what answers it.
    pub(super) fn begin(&self) -> Arc<Watch> {
        let watch = Arc::<Watch>::default();
        self.open.borrow_mut().push(Stream {
            watch: Arc::clone(&watch),
            task: None,
            stalled: 0,
        });
        watch
    }

    /// Looks after the streams until there was none for a while.
    pub(super) async fn sweep(&self, times: &Times, peer: &Peer) {
        let look = times.write.min(times.idle) / LOOKS;
        let mut idle = Duration::ZERO;
        while idle < times.idle {
            sleep(look).await;
            // Streams that ended since the last look are still there: they were no idle time.
            let is_idle = self.open.borrow().is_empty();
            self.look(look, times.write, peer);
            idle = if is_idle { idle + look } else { Duration::ZERO };
        }
    }

    fn look(&self, since_last: Duration, patience: Duration, peer: &Peer) {
        self.open.borrow_mut().retain_mut(|stream| {
            let Some(task) = stream.task.as_ref().filter(|task| !task.is_finished()) else {
                return false;
            };
            let is_stuck = stream.watch.is_held() && !stream.watch.take_moved();
            stream.stalled = if is_stuck { stream.stalled + 1 } else { 0 };
            if since_last * stream.stalled < patience {
                return true;
            }
            peer.refused(Refused::StalledStream);
            task.abort();
            false
        });
    }
}

/// Runs a connection's streams on its own core, and remembers them.
#[derive(Clone, Debug)]
pub(super) struct Spawner(Rc<Streams>);

impl Spawner {
    pub(super) fn new(streams: Rc<Streams>) -> Self {
        Self(streams)
    }
}

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, stream: F) {
        let task = tokio::task::spawn_local(stream).abort_handle();
        // hyper calls the service and spawns what came of it in one go.
        if let Some(last) = self.0.open.borrow_mut().last_mut() {
            last.task.get_or_insert(task);
        }
    }
}

impl Watch {
    fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed) > 0
    }

    fn take_moved(&self) -> bool {
        self.has_moved.swap(false, Ordering::Relaxed)
    }

    /// `bytes`, watched until they are sent or given up.
    fn slice(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        self.held.fetch_add(1, Ordering::Relaxed);
        let watch = Arc::clone(self);
        Bytes::from_owner(Slice { bytes, watch })
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of an answer on its way.
struct Slice {
    bytes: Bytes,
    watch: Arc<Watch>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        self.watch.has_moved.store(true, Ordering::Relaxed);
        if self.watch.held.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(waker) = self.watch.waiting().take()
        {
            waker.wake();
        }
    }
}

/// An answer in slices. It ends only after its last slice was sent: what hyper has let go of cannot be
/// reset any more.
#[derive(Debug)]
pub(super) struct Watched<B> {
    body: B,
    watch: Arc<Watch>,
    rest: Bytes,
}

impl<B> Watched<B> {
    pub(super) fn new(body: B, watch: Arc<Watch>) -> Self {
        let rest = Bytes::new();
        Self { body, watch, rest }
    }

    fn slice(&mut self) -> Frame<Bytes> {
        let len = self.rest.len().min(SLICE_BYTES);
        Frame::data(self.watch.slice(self.rest.split_to(len)))
    }

    fn poll_sent(&self, cx: &Context<'_>) -> Poll<()> {
        let mut waiting = self.watch.waiting();
        if !self.watch.is_held() {
            return Poll::Ready(());
        }
        *waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        loop {
            if !this.rest.is_empty() {
                return Poll::Ready(Some(Ok(this.slice())));
            }
            match std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => return this.poll_sent(cx).map(|()| None),
                Some(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && !self.watch.is_held() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        let mut all = SizeHint::new();
        if let Some(upper) = hint.upper() {
            all.set_upper(upper + rest);
        }
        all.set_lower(hint.lower() + rest);
        all
    }
}

#[cfg(test)]
mod tests;
