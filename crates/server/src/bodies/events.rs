//! Server-sent events: what a follower is sent, and when (PROTOCOL 5.8, decision 34).
//!
//! INVARIANT: each data event is followed by its control event before anything else, and a control
//! event names no offset past the bytes that were sent before it (T47).
//!
//! BOUND: one event at a time. The next batch is read only when the connection took the last event;
//! a slow follower therefore falls back to reading what is stored, and nobody waits for it (T57,
//! T58). An event holds at most [`EVENT_BYTES_MAX`] wire bytes, or one JSON message.
//!
//! Data events are encoded once for all followers that stand at the same place: see
//! [`millrace_engine::FrameCache`].

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use millrace_core::{ContentKind, Offset, Refusal};
use millrace_engine::{Batch, Changed, FrameKey, Reader, Stopping};
use millrace_env::timeout;
use millrace_wire::sse::{self, Control};

use super::{
    Broken,
    pulled::{Pulled, Source},
};
use crate::{access::Grant, app::App, metrics::Following};

/// The most wire bytes of one event, but for a single JSON message that is larger.
const EVENT_BYTES_MAX: u64 = 64 << 10;
/// Up to here an event goes out in one piece with its control event: a copy costs less than a chunk,
/// or a frame of HTTP/2, of its own, and a client sees both at once.
const TOGETHER_BYTES_MAX: usize = 1 << 10;
/// About what a control event takes.
const CONTROL_BYTES: usize = 160;
/// A stream has one encoding, its kind's.
const ENCODING: u8 = 0;

/// A stream of events.
pub(crate) type EventBody = Pulled<Events>;

/// Where a follower is.
#[derive(Debug)]
pub(crate) struct Events {
    app: Arc<App>,
    following: Following,
    reader: Reader,
    stopping: Stopping,
    kind: ContentKind,
    /// The newest cursor this follower was told.
    cursor: u64,
    /// Text that was read and is not sent yet: the beginning of a code point, or half a line break.
    held: Bytes,
    /// The control event of the data event that was sent last.
    control: Option<Bytes>,
    /// Whether it was told an offset.
    has_spoken: bool,
    /// Whether the last control event said that nothing is left.
    is_caught_up: bool,
    is_over: bool,
    /// When the connection ends, by the stopwatch.
    until: Duration,
}

/// What there is to send.
struct Event {
    data: Option<Bytes>,
    control: Control,
}

impl Events {
    /// Events from where `reader` is, for about a minute, and no longer than `grant` lasts.
    pub(crate) fn body(
        app: Arc<App>,
        grant: &Grant,
        following: Following,
        reader: Reader,
        stopping: Stopping,
        kind: ContentKind,
        cursor: Option<u64>,
    ) -> EventBody {
        let until = app.env.clock.mono() + grant.covers(session(&app), app.now());
        let cursor = app.cursor(cursor);
        let events = Self {
            app,
            following,
            reader,
            stopping,
            kind,
            cursor,
            held: Bytes::new(),
            control: None,
            has_spoken: false,
            is_caught_up: false,
            is_over: false,
            until,
        };
        Pulled::new(events, None)
    }

    /// What is there now; `None` when that was all said before.
    async fn read(&mut self) -> Result<Option<Event>, Refusal> {
        let batch = self.reader.next(EVENT_BYTES_MAX).await?;
        let (up_to_date, closed) = (batch.up_to_date, batch.closed);
        let data = match (batch.len, self.kind) {
            (0, _) if !closed || self.held.is_empty() => None,
            (_, ContentKind::Text) => self.text(batch).await?,
            _ => Some(self.whole(batch).await?),
        };
        let is_news = closed || (up_to_date && !self.is_caught_up);
        if data.is_none() && !is_news {
            return Ok(None);
        }
        self.has_spoken = true;
        self.is_caught_up = up_to_date;
        self.is_over = closed;
        self.cursor = self.cursor.max(self.app.cursor(None));
        let control = Control {
            next: self.reader.offset_before(self.held.len() as u64),
            cursor: Some(self.cursor),
            up_to_date,
            closed,
        };
        Ok(Some(Event { data, control }))
    }

    /// An event of all of `batch`: messages, or bytes.
    async fn whole(&self, batch: Batch) -> Result<Bytes, Refusal> {
        let (from, next, shared) = (batch.from, batch.next, batch.up_to_date);
        if let Some(frame) = self.shared_frame(from, next, shared) {
            return Ok(frame);
        }
        // What is not at the tail is the stream's past, and mostly long.
        let place = if shared {
            None
        } else {
            self.app.bulk.turn().await.ok()
        };
        let bytes = batch.collect().await?;
        drop(place);
        Ok(self.encoded(from, next, shared, &bytes))
    }

    /// An event of `batch` and the text before it that was held back, up to the last whole code
    /// point; `None` when there is none.
    async fn text(&mut self, batch: Batch) -> Result<Option<Bytes>, Refusal> {
        let (closed, shared) = (batch.closed, batch.up_to_date);
        let read = batch.collect().await?;
        let from = self
            .reader
            .offset_before((self.held.len() + read.len()) as u64);
        let text = joined(&self.held, read);
        let len = if closed {
            text.len()
        } else {
            sse::text_event_len(&text, !shared)
        };
        // A copy, so that a few bytes do not keep a whole batch in memory.
        self.held = Bytes::copy_from_slice(&text[len..]);
        if len == 0 {
            return Ok(None);
        }
        let next = self.reader.offset_before(self.held.len() as u64);
        let frame = self.shared_frame(from, next, shared);
        Ok(Some(frame.unwrap_or_else(|| {
            self.encoded(from, next, shared, &text[..len])
        })))
    }

    /// What another follower at the same place was sent. Only at the tail, where they meet.
    fn shared_frame(&self, from: Offset, next: Offset, shared: bool) -> Option<Bytes> {
        let frames = shared.then(|| self.reader.stream().frames())?;
        frames.get(key(from, next))
    }

    fn encoded(&self, from: Offset, next: Offset, shared: bool, wire: &[u8]) -> Bytes {
        let mut frame = Vec::new();
        sse::data_event(&mut frame, self.kind, wire, next);
        let frame = Bytes::from(frame);
        if shared {
            let frames = self.reader.stream().frames();
            frames.put(key(from, next), frame.clone());
        }
        frame
    }

    /// Waits for something to say. What to send meanwhile, or `None` when the connection ends.
    async fn wait(&mut self) -> Option<Option<Bytes>> {
        let left = self.until.saturating_sub(self.app.env.clock.mono());
        let quiet = self.app.config.times.keep_alive.min(left);
        match timeout(quiet, self.reader.changed()).await {
            // Whether the stream is gone is what the next read says.
            Some(Changed::More | Changed::Closed | Changed::Gone) => Some(None),
            Some(Changed::Stopping) => None,
            None if quiet == left => None,
            None => Some(Some(Bytes::from_static(sse::KEEP_ALIVE))),
        }
    }

    /// Whether this connection has lasted long enough, or the server stops. A follower that was told
    /// no offset yet is told one first.
    fn is_time(&self) -> bool {
        let is_late = self.app.env.clock.mono() >= self.until;
        self.has_spoken && (is_late || self.stopping.is_stopping())
    }

    /// The first piece of an event; its control event follows, or is part of it when both are small.
    fn send(&mut self, event: Event) -> Bytes {
        if event.data.is_some() {
            self.count_delivery();
        }
        let data = event.data.unwrap_or_default();
        if data.len() > TOGETHER_BYTES_MAX {
            let mut control = Vec::with_capacity(CONTROL_BYTES);
            sse::control_event(&mut control, event.control);
            self.control = Some(control.into());
            return data;
        }
        let mut both = Vec::with_capacity(CONTROL_BYTES + data.len());
        both.extend_from_slice(&data);
        sse::control_event(&mut both, event.control);
        both.into()
    }

    /// How long it took from the append that woke this follower to here.
    fn count_delivery(&mut self) {
        if let Some(since) = self.reader.take_woken_by() {
            let waited = self.app.env.clock.mono().saturating_sub(since);
            self.following.delivered(waited);
        }
    }
}

impl Source for Events {
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        if let Some(control) = self.control.take() {
            return Some(Ok(control));
        }
        while !self.is_over && !self.is_time() {
            match self.read().await {
                Ok(Some(event)) => return Some(Ok(self.send(event))),
                Ok(None) => {}
                Err(refusal) => {
                    // The last control event says where to go on; asking again tells the reason.
                    tracing::debug!(?refusal, "an event stream ends");
                    return None;
                }
            }
            if let Some(sign_of_life) = self.wait().await? {
                return Some(Ok(sign_of_life));
            }
        }
        None
    }
}

fn key(from: Offset, next: Offset) -> FrameKey {
    FrameKey {
        from: from.position,
        until: next.position,
        encoding: ENCODING,
    }
}

fn joined(held: &Bytes, read: Bytes) -> Bytes {
    if held.is_empty() {
        return read;
    }
    let mut text = BytesMut::with_capacity(held.len() + read.len());
    text.extend_from_slice(held);
    text.extend_from_slice(&read);
    text.freeze()
}

/// How long this connection is to last.
fn session(app: &App) -> Duration {
    let times = &app.config.times;
    let jitter = u64::try_from(times.sse_jitter.as_millis()).unwrap_or(u64::MAX);
    let drawn = app
        .env
        .rng
        .below(jitter.saturating_mul(2).saturating_add(1));
    times.sse.saturating_sub(times.sse_jitter) + Duration::from_millis(drawn)
}
