//! Server-sent events of many streams on one connection.
//!
//! INVARIANT: an event names no offset past the bytes that it carries (T47).
//!
//! BOUND: one event at a time, of at most [`EVENT_BYTES_MAX`] wire bytes or one JSON message, read when the
//! connection took the last one. Streams take turns: one that has more to say stands behind all that have
//! something to say by then. Of those that have nothing, only the wait is under way, so that a slow client
//! keeps nobody from a place among those who read ([`super::bulk`]).

use std::{pin::Pin, sync::Arc, time::Duration};

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use millrace_core::{ContentKind, Offset, Refusal, StreamName};
use millrace_engine::{Batch, Changed, Reader, Stopping};
use millrace_env::sleep;
use millrace_wire::{
    Problem,
    live::{self, Said},
    sse,
};

use super::{
    Broken,
    events::{joined, session},
    followed::{EventBody, Events},
    pulled::Source,
};
use crate::{access::Grant, app::App, metrics::Following};

/// The most wire bytes of one event, but for a single JSON message that is larger.
const EVENT_BYTES_MAX: u64 = 64 << 10;

/// A stream that is followed.
pub(crate) struct Followed {
    /// Where the request named it.
    pub(crate) place: usize,
    pub(crate) name: StreamName,
    pub(crate) reader: Reader,
    pub(crate) kind: ContentKind,
}

/// A stream, and how far its follower is.
struct Follower {
    stream: Followed,
    /// Text that was read and is not sent yet: the beginning of a code point.
    held: Bytes,
    /// Whether the last event said that nothing is left.
    is_caught_up: bool,
}

type Wait = Pin<Box<dyn Future<Output = (Follower, Changed)>>>;

/// Where the followers of one connection are.
pub(crate) struct ManyEvents {
    app: Arc<App>,
    following: Following,
    stopping: Stopping,
    /// Those that may have something to say, in the order of their turns.
    ready: VecDeque<Follower>,
    /// Those that have nothing to say yet.
    waiting: FuturesUnordered<Wait>,
    /// Streams that cannot be followed, to be told of first.
    lost: VecDeque<(StreamName, Problem)>,
    /// The offset to go on from of each stream, where events carry them all.
    offsets: Option<Vec<Option<Offset>>>,
    /// When it was last sent something, by the stopwatch.
    spoke_at: Duration,
    /// When the connection ends, by the stopwatch.
    until: Duration,
}

impl ManyEvents {
    /// Events of all that are `followed`, for about a minute, and no longer than the grants last.
    /// `offsets_of`: how many streams the request named, where events carry all of their offsets.
    pub(crate) fn body(
        app: Arc<App>,
        grants: &[Grant],
        following: Following,
        stopping: Stopping,
        followed: Vec<Followed>,
        lost: Vec<(StreamName, Problem)>,
        offsets_of: Option<usize>,
    ) -> EventBody {
        let now = app.env.clock.mono();
        let whole = session(&app);
        let lasts = grants.iter().map(|grant| grant.covers(whole, app.now()));
        let until = now + lasts.min().unwrap_or(whole);
        let begins = |stream| Follower {
            stream,
            held: Bytes::new(),
            is_caught_up: false,
        };
        let events = Self {
            app,
            following,
            stopping,
            ready: followed.into_iter().map(begins).collect(),
            waiting: FuturesUnordered::new(),
            lost: lost.into(),
            offsets: offsets_of.map(|count| vec![None; count]),
            spoke_at: now,
            until,
        };
        Events::Many(Box::new(events)).body()
    }

    async fn next_piece(&mut self) -> Option<Bytes> {
        if let Some((name, problem)) = self.lost.pop_front() {
            return Some(self.lost(&name, &problem));
        }
        loop {
            let is_late = self.app.env.clock.mono() >= self.until;
            let is_over = self.ready.is_empty() && self.waiting.is_empty();
            if is_over || is_late || self.stopping.is_stopping() {
                return None;
            }
            self.gather();
            let Some(mut follower) = self.ready.pop_front() else {
                if let Some(sign_of_life) = self.wait().await? {
                    return Some(sign_of_life);
                }
                continue;
            };
            match self.read(&mut follower).await {
                Ok((event, is_over)) => {
                    if !is_over {
                        self.put_back(follower);
                    }
                    if let Some(event) = event {
                        return Some(event);
                    }
                }
                Err(refusal) => {
                    let problem = Problem::from(refusal);
                    return Some(self.lost(&follower.stream.name, &problem));
                }
            }
        }
    }

    /// Takes in those whose wait is over by now.
    fn gather(&mut self) {
        use futures_util::FutureExt as _;
        while let Some(Some((follower, changed))) = self.waiting.next().now_or_never() {
            self.woken(follower, changed);
        }
    }

    fn woken(&mut self, follower: Follower, changed: Changed) {
        // Whether the stream is gone is what the next read says; a server that stops ends all.
        match changed {
            Changed::More | Changed::Closed | Changed::Gone | Changed::Stopping => {
                self.ready.push_back(follower);
            }
        }
    }

    fn put_back(&mut self, mut follower: Follower) {
        if !follower.is_caught_up {
            self.ready.push_back(follower);
            return;
        }
        self.waiting.push(Box::pin(async move {
            let changed = follower.stream.reader.changed().await;
            (follower, changed)
        }));
    }

    /// Waits for something to say. What to send meanwhile, or `None` when the connection ends.
    async fn wait(&mut self) -> Option<Option<Bytes>> {
        let now = self.app.env.clock.mono();
        let quiet_until = self.spoke_at + self.app.config.times.keep_alive;
        if now >= quiet_until {
            return Some(Some(Bytes::from_static(sse::KEEP_ALIVE)));
        }
        let alarm = sleep(quiet_until.min(self.until).saturating_sub(now));
        tokio::select! {
            biased;
            woken = self.waiting.next() => {
                let (follower, changed) = woken?;
                self.woken(follower, changed);
            }
            () = alarm => {}
        }
        Some(None)
    }

    /// The next event of a stream, if there is anything to say, and whether it was the last.
    async fn read(&mut self, follower: &mut Follower) -> Result<(Option<Bytes>, bool), Refusal> {
        let batch = follower.stream.reader.next(EVENT_BYTES_MAX).await?;
        let (up_to_date, closed) = (batch.up_to_date, batch.closed);
        let wire = self.content(follower, batch).await?;
        let is_news = closed || (up_to_date && !follower.is_caught_up);
        follower.is_caught_up = up_to_date;
        if wire.is_empty() && !is_news {
            return Ok((None, closed));
        }
        let reader = &mut follower.stream.reader;
        let next = reader.offset_before(follower.held.len() as u64);
        if let Some(since) = reader.take_woken_by() {
            let waited = self.app.env.clock.mono().saturating_sub(since);
            self.following.delivered(waited);
        }
        if let Some(offsets) = &mut self.offsets {
            offsets[follower.stream.place] = Some(next);
        }
        let said = Said {
            stream: &follower.stream.name,
            next,
            up_to_date,
            closed,
        };
        let mut event = Vec::new();
        let offsets = self.offsets.as_deref();
        live::event(&mut event, said, follower.stream.kind, &wire, offsets);
        Ok((Some(event.into()), closed))
    }

    /// The bytes to send of `batch` and of what was held back; text up to its last whole code point.
    async fn content(&self, follower: &mut Follower, batch: Batch) -> Result<Bytes, Refusal> {
        let (closed, is_past) = (batch.closed, !batch.up_to_date);
        // What is not at the tail is the stream's past, and mostly long.
        let place = if is_past {
            self.app.bulk.turn().await.ok()
        } else {
            None
        };
        let read = batch.collect().await?;
        drop(place);
        if follower.stream.kind != ContentKind::Text {
            return Ok(read);
        }
        let mut text = joined(&follower.held, read);
        let len = if closed {
            text.len()
        } else {
            sse::text_event_len(&text, false)
        };
        // A copy, so that a few bytes do not keep a whole batch in memory.
        follower.held = Bytes::copy_from_slice(&text[len..]);
        text.truncate(len);
        Ok(text)
    }

    fn lost(&self, name: &StreamName, problem: &Problem) -> Bytes {
        let mut event = Vec::new();
        live::lost(&mut event, name, problem, self.offsets.as_deref());
        event.into()
    }
}

impl Source for ManyEvents {
    // What was sent says of each stream where to go on.
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        let piece = self.next_piece().await;
        if piece.is_some() {
            self.spoke_at = self.app.env.clock.mono();
        }
        piece.map(Ok)
    }
}
