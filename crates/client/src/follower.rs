//! Live reads: everything that is there, then everything as it comes, across broken connections and
//! restarts, until the stream is closed.
//!
//! INVARIANT: `offset` moves only with a page that is handed out, so whatever happens to a
//! connection, the next one begins where the caller is. A data event counts only together with its
//! control event, which names the offset after it.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use hyper::body::Incoming;
use millrace_core::ContentKind;
use millrace_wire::headers;

use crate::{
    client::Ask,
    error::Error,
    events::{Control, Decoder, Event, Raw, base64},
    offset::Offset,
    page::Page,
    patience::{Tries, Trouble},
    reader::{ask, page_of},
    stream::{Stream, is_true, value},
};

/// The server sends a sign of life well within this.
pub(crate) const SILENCE_MAX: Duration = Duration::from_mins(1);
/// The longest long-poll that can be configured, and some.
const POLL_WITHIN: Duration = Duration::from_secs(630);

/// How new bytes are waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Live {
    /// Server-sent events, but for `text/*`, whose exact bytes events do not carry.
    #[default]
    Auto,
    /// Server-sent events; text comes with its line ends as LF.
    Sse,
    /// Long-polls: one request an answer.
    LongPoll,
}

/// Reads and goes on reading.
#[derive(Debug)]
pub struct Follower {
    stream: Stream,
    offset: Offset,
    live: Live,
    cursor: Option<String>,
    /// Known from the first answer on.
    kind: Option<ContentKind>,
    at_tail: bool,
    events: Option<Events>,
    tries: Tries,
    trouble: Trouble,
}

/// An open connection.
#[derive(Debug)]
struct Events {
    body: Incoming,
    decoder: Decoder,
    is_base64: bool,
    /// Decoded and not looked at yet.
    ready: VecDeque<Event>,
    /// A data event that waits for its control event.
    data: Vec<u8>,
}

impl Follower {
    pub(crate) fn new(stream: Stream, offset: Offset, live: Live) -> Self {
        Self {
            stream,
            offset,
            live,
            cursor: None,
            kind: None,
            at_tail: false,
            events: None,
            tries: Tries::new(),
            trouble: Trouble::default(),
        }
    }

    /// Tells `tell` when something broke and is being tried again; once until it goes well again.
    #[must_use]
    pub fn on_trouble(mut self, tell: impl FnMut(&Error) + Send + 'static) -> Self {
        self.trouble = Trouble::told_to(tell);
        self
    }

    /// Where the next page begins.
    pub fn offset(&self) -> &Offset {
        &self.offset
    }

    /// The next page, which may be empty when it only says that the tail was reached or the stream
    /// closed. After a page that is `closed` there is none.
    ///
    /// Safe to drop: the next call goes on where this one was, though a connection may have to be
    /// made anew. Errors are those that trying again does not mend, or that outlasted the client's
    /// patience.
    pub async fn next(&mut self) -> Result<Page, Error> {
        loop {
            let error = match self.attempt().await {
                Ok(Some(page)) => {
                    self.tries.reset();
                    self.trouble.is_over();
                    self.offset = page.next.clone();
                    self.at_tail = page.up_to_date;
                    self.kind = Some(page.kind);
                    return Ok(page);
                }
                Ok(None) => {
                    self.tries.reset();
                    self.trouble.is_over();
                    continue;
                }
                Err(error) => error,
            };
            self.events = None;
            if !error.is_retryable() {
                return Err(error);
            }
            let client = self.stream.client().clone();
            let patience = client.patience_left();
            self.trouble.tell(&error, patience);
            self.tries.wait(error, patience, client.rng()).await?;
        }
    }

    /// One answer, or one event; `None` when a connection ended in good order, or a wait did.
    async fn attempt(&mut self) -> Result<Option<Page>, Error> {
        if self.events.is_some() {
            return self.event().await;
        }
        if !self.at_tail {
            let asked = ask(&self.stream, &self.offset, "");
            let answer = self.stream.client().once(&asked).await?;
            let page = page_of(&self.stream, &self.offset, answer)?;
            if !page.up_to_date && page.next == self.offset {
                let client = self.stream.client();
                return Err(client.answer("a page that neither advances nor reaches the tail"));
            }
            return Ok(Some(page));
        }
        match (self.live, self.kind) {
            (Live::LongPoll, _) | (Live::Auto, Some(ContentKind::Text)) => self.long_poll().await,
            _ => {
                self.connect().await?;
                Ok(None)
            }
        }
    }

    fn asked(&self, live: &str) -> Ask {
        let mut more = format!("&live={live}");
        if let Some(cursor) = &self.cursor {
            more.push_str("&cursor=");
            more.push_str(cursor);
        }
        ask(&self.stream, &self.offset, &more)
    }

    async fn long_poll(&mut self) -> Result<Option<Page>, Error> {
        let mut asked = self.asked("long-poll");
        asked.within = POLL_WITHIN;
        let answer = self.stream.client().once(&asked).await?;
        self.cursor = value(&answer.headers, &headers::STREAM_CURSOR).map(str::to_owned);
        let closed = is_true(&answer.headers, &headers::STREAM_CLOSED);
        if answer.status == StatusCode::NO_CONTENT {
            let next = self.stream.next_offset(&answer.headers)?;
            let moved = next != self.offset;
            return Ok((closed || moved).then(|| self.nothing(next, true, closed)));
        }
        page_of(&self.stream, &self.offset, answer).map(Some)
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let response = self.stream.client().open(&self.asked("sse")).await?;
        let encoding = value(response.headers(), &headers::STREAM_SSE_DATA_ENCODING);
        let is_base64 = encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case("base64"));
        self.events = Some(Events {
            is_base64,
            body: response.into_body(),
            decoder: Decoder::default(),
            ready: VecDeque::new(),
            data: Vec::new(),
        });
        Ok(())
    }

    async fn event(&mut self) -> Result<Option<Page>, Error> {
        let client = self.stream.client().clone();
        let events = self.events.as_mut().expect("a connection is open");
        loop {
            while let Some(event) = events.ready.pop_front() {
                match event {
                    Event::Data(data) if events.is_base64 => {
                        let bytes = base64(&data);
                        let bytes = bytes.ok_or_else(|| client.broken("an event is no base64"))?;
                        events.data.extend_from_slice(&bytes);
                    }
                    Event::Data(data) => events.data.extend_from_slice(&data),
                    Event::Malformed => return Err(client.broken("a control event is no JSON")),
                    Event::Control(control) => {
                        let data = std::mem::take(&mut events.data);
                        return self.page(control, data.into());
                    }
                }
            }
            let Some(bytes) = client.piece(&mut events.body, SILENCE_MAX).await? else {
                // The server ends connections from time to time; the next one goes on.
                self.events = None;
                return Ok(None);
            };
            let decoded = events.decoder.push(&bytes).into_iter();
            events.ready.extend(decoded.filter_map(Raw::of_stream));
        }
    }

    fn page(&mut self, control: Control, body: Bytes) -> Result<Option<Page>, Error> {
        let client = self.stream.client();
        let next = Offset::new(&control.stream_next_offset)
            .ok_or_else(|| client.broken("a control event without an offset"))?;
        self.cursor = control.stream_cursor;
        let (up_to_date, closed) = (control.up_to_date, control.stream_closed);
        if body.is_empty() && !closed && next == self.offset {
            return Ok(None);
        }
        let page = self.nothing(next, up_to_date || closed, closed);
        Ok(Some(Page { body, ..page }))
    }

    fn nothing(&self, next: Offset, up_to_date: bool, closed: bool) -> Page {
        Page {
            from: self.offset.clone(),
            next,
            kind: self.kind.unwrap_or(ContentKind::Binary),
            body: Bytes::new(),
            up_to_date,
            closed,
        }
    }
}
