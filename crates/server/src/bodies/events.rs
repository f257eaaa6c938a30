//! Server-sent events of one stream: what a follower is sent, and when (PROTOCOL 5.8, decision 34).
//!
//! INVARIANT: each data event is followed by its control event before anything else, and a control
//! event names no offset past the bytes that were sent before it (T47).
//!
//! BOUND: one event at a time. The next batch is read only when the connection took the last event;
//! a slow follower therefore falls back to reading what is stored, and nobody waits for it (T57,
//! T58). An event holds at most [`EVENT_BYTES_MAX`] wire bytes, or one JSON message, and fewer the more
//! all readers hold; a message that is too much with what they hold ends the connection before it, and
//! who comes back meanwhile is told 429.
//!
//! Events are made once for all followers that stand at the same place: see
//! [`millrace_engine::FrameCache`]. Small ones are shared whole, with their control event, which is the
//! same for all who are told the same cursor; of large ones the data.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use millrace_core::{ContentKind, Offset, Refusal};
use millrace_engine::{Batch, Changed, FrameKey, Reader, Stopping};
use millrace_env::sleep;
use millrace_wire::sse::{self, Control};

use super::{
    Broken,
    followed::{EventBody, Events},
    pulled::Source,
};
use crate::{access::Grant, app::App, metrics::Following};

/// The most wire bytes of one event, but for a single JSON message that is larger.
const EVENT_BYTES_MAX: u64 = 64 << 10;
/// Up to here an event goes out in one piece with its control event: a copy costs less than a chunk,
/// or a frame of HTTP/2, of its own, and a client sees both at once.
const TOGETHER_BYTES_MAX: usize = 1 << 10;
/// About what a control event takes.
const CONTROL_BYTES: usize = 160;
/// The form of a data event alone: a stream has one encoding, its kind's. Other forms are those of
/// whole events, told apart by their cursor.
const DATA_ALONE: u64 = 0;

/// Where a follower is.
pub(crate) struct StreamEvents {
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
    /// When it was last sent something, by the stopwatch.
    spoke_at: Duration,
    /// Rings when it may be time for a sign of life. Set anew only when it rang: events cost nothing.
    alarm: Option<Alarm>,
    /// When the connection ends, by the stopwatch.
    until: Duration,
}

type Alarm = Pin<Box<dyn Future<Output = ()>>>;

/// What there is to send.
enum Event {
    /// What another follower at the same place was sent.
    Shared(Bytes),
    /// Data, if there is any, and its control event.
    Own {
        data: Option<Bytes>,
        control: Control,
        /// Where the others may find it.
        shared: Option<FrameKey>,
    },
}

impl StreamEvents {
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
        let now = app.env.clock.mono();
        let until = now + grant.covers(session(&app), app.now());
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
            spoke_at: now,
            alarm: None,
            until,
        };
        Events::One(Box::new(events)).body()
    }

    /// What is there now; `None` when that was all said before.
    async fn read(&mut self) -> Result<Option<Event>, Refusal> {
        let bytes_max = self.reader.piece_bytes().min(EVENT_BYTES_MAX);
        let batch = self.reader.next(bytes_max).await?;
        if !batch.fits() {
            return Err(Refusal::Overloaded);
        }
        let (up_to_date, closed) = (batch.up_to_date, batch.closed);
        let at = (batch.from, batch.next);
        let is_shared = up_to_date && !closed && batch.len > 0 && self.held.is_empty();
        let now = self.app.cursor(None);
        self.cursor = self.cursor.max(now);
        let shared = (is_shared && self.cursor == now).then(|| key(at, 1 + now));
        if let Some(event) = shared.and_then(|key| self.reader.stream().frames().get(key)) {
            self.has_spoken = true;
            self.is_caught_up = true;
            return Ok(Some(Event::Shared(event)));
        }
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
        let control = Control {
            next: self.reader.offset_before(self.held.len() as u64),
            cursor: Some(self.cursor),
            up_to_date,
            closed,
        };
        Ok(Some(Event::Own {
            data,
            control,
            shared: shared.filter(|_| self.held.is_empty()),
        }))
    }

    /// An event of all of `batch`: messages, or bytes.
    async fn whole(&self, batch: Batch) -> Result<Bytes, Refusal> {
        let (from, next, shared) = (batch.from, batch.next, batch.up_to_date);
        if let Some(frame) = self.shared_data((from, next), shared) {
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
        Ok(self.encoded((from, next), shared, &bytes))
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
        let frame = self.shared_data((from, next), shared);
        Ok(Some(frame.unwrap_or_else(|| {
            self.encoded((from, next), shared, &text[..len])
        })))
    }

    /// What another follower at the same place was sent. Only at the tail, where they meet.
    fn shared_data(&self, at: (Offset, Offset), shared: bool) -> Option<Bytes> {
        let frames = shared.then(|| self.reader.stream().frames())?;
        frames.get(key(at, DATA_ALONE))
    }

    fn encoded(&self, at: (Offset, Offset), shared: bool, wire: &[u8]) -> Bytes {
        let mut frame = Vec::new();
        sse::data_event(&mut frame, self.kind, wire, at.1);
        let frame = self.reader.hold(Bytes::from(frame));
        // A small one is shared with its control event.
        if shared && frame.len() > TOGETHER_BYTES_MAX && self.reader.may_share() {
            let frames = self.reader.stream().frames();
            frames.put(key(at, DATA_ALONE), frame.clone());
        }
        frame
    }

    /// Waits for something to say. What to send meanwhile, or `None` when the connection ends.
    async fn wait(&mut self) -> Option<Option<Bytes>> {
        let keep_alive = self.app.config.times.keep_alive;
        loop {
            let now = self.app.env.clock.mono();
            let quiet_until = self.spoke_at + keep_alive;
            if now >= self.until {
                return None;
            }
            if now >= quiet_until {
                return Some(Some(Bytes::from_static(sse::KEEP_ALIVE)));
            }
            let alarm = self.alarm.get_or_insert_with(|| {
                let at = quiet_until.min(self.until);
                Box::pin(sleep(at.saturating_sub(now)))
            });
            tokio::select! {
                biased;
                changed = self.reader.changed() => return match changed {
                    // Whether the stream is gone is what the next read says.
                    Changed::More | Changed::Closed | Changed::Gone => Some(None),
                    Changed::Stopping => None,
                },
                () = alarm => self.alarm = None,
            }
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
        let (data, control, shared) = match event {
            Event::Shared(both) => {
                self.count_delivery();
                return both;
            }
            Event::Own {
                data,
                control,
                shared,
            } => (data, control, shared),
        };
        if data.is_some() {
            self.count_delivery();
        }
        let data = data.unwrap_or_default();
        if data.len() > TOGETHER_BYTES_MAX {
            let mut following = Vec::with_capacity(CONTROL_BYTES);
            sse::control_event(&mut following, control);
            self.control = Some(following.into());
            return data;
        }
        let mut both = Vec::with_capacity(CONTROL_BYTES + data.len());
        both.extend_from_slice(&data);
        sse::control_event(&mut both, control);
        let both = Bytes::from(both);
        if let Some(key) = shared {
            self.reader.stream().frames().put(key, both.clone());
        }
        both
    }

    async fn next_piece(&mut self) -> Option<Bytes> {
        if let Some(control) = self.control.take() {
            return Some(control);
        }
        while !self.is_over && !self.is_time() {
            // Who was told all there was has nothing to read before there is more.
            if self.is_caught_up
                && let Some(sign_of_life) = self.wait().await?
            {
                return Some(sign_of_life);
            }
            match self.read().await {
                Ok(Some(event)) => return Some(self.send(event)),
                Ok(None) => {}
                Err(refusal) => {
                    // Asking again tells the reason.
                    tracing::debug!(?refusal, "an event stream ends");
                    return None;
                }
            }
        }
        None
    }

    /// How long it took from the append that woke this follower to here.
    fn count_delivery(&mut self) {
        if let Some(since) = self.reader.take_woken_by() {
            let waited = self.app.env.clock.mono().saturating_sub(since);
            self.following.delivered(waited);
        }
    }
}

impl Source for StreamEvents {
    // An event stream that ends early ends in order: its last control event says where to go on.
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        let piece = self.next_piece().await;
        if piece.is_some() {
            self.spoke_at = self.app.env.clock.mono();
        }
        piece.map(Ok)
    }
}

fn key((from, next): (Offset, Offset), form: u64) -> FrameKey {
    FrameKey {
        from: from.position,
        until: next.position,
        form,
    }
}

/// Text that was held back, and what follows it.
pub(super) fn joined(held: &Bytes, read: Bytes) -> Bytes {
    if held.is_empty() {
        return read;
    }
    let mut text = BytesMut::with_capacity(held.len() + read.len());
    text.extend_from_slice(held);
    text.extend_from_slice(&read);
    text.freeze()
}

/// How long a connection that is sent events is to last.
pub(super) fn session(app: &App) -> Duration {
    let times = &app.config.times;
    let jitter = u64::try_from(times.sse_jitter.as_millis()).unwrap_or(u64::MAX);
    let drawn = app
        .env
        .rng
        .below(jitter.saturating_mul(2).saturating_add(1));
    times.sse.saturating_sub(times.sse_jitter) + Duration::from_millis(drawn)
}
