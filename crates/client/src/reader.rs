//! Catch-up reads: page after page, up to the tail.

use http::Method;
use millrace_core::Timestamp;
use millrace_wire::headers;

use crate::{
    client::{Ask, Repeat, Whole},
    error::Error,
    offset::Offset,
    page::Page,
    stream::{Stream, is_true},
};

/// Which messages are read. A message of a JSON stream is a value; of any other stream, what one
/// append brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// From an offset to the tail.
    From(Offset),
    /// The last so many, from 1 on, and what follows them.
    Last(u64),
    /// From the first one on that was appended then or later, by the server's clock.
    Since(Timestamp),
    /// One page of the last ones before an offset, which may be [`Offset::now`]; whole messages.
    Before(Offset),
}

/// Reads what is there.
#[derive(Debug)]
pub struct Reader {
    stream: Stream,
    place: Place,
    limit: Option<u64>,
    is_done: bool,
}

impl Place {
    fn query(&self) -> String {
        match self {
            Self::From(offset) => format!("offset={offset}"),
            Self::Last(count) => format!("last={count}"),
            Self::Since(at) => format!("since={}", at.get()),
            Self::Before(offset) => format!("before={offset}"),
        }
    }
}

impl Reader {
    pub(crate) fn new(stream: Stream, place: Place) -> Self {
        Self {
            stream,
            place,
            limit: None,
            is_done: false,
        }
    }

    /// At most so many messages a page, from 1 on; a page is never longer than the server's
    /// `--read-bytes-max` either.
    #[must_use]
    pub fn limit(mut self, messages: u64) -> Self {
        self.limit = Some(messages);
        self
    }

    /// Where the next page begins; `None` until a first page has told.
    pub fn offset(&self) -> Option<&Offset> {
        match &self.place {
            Place::From(offset) => Some(offset),
            _ => None,
        }
    }

    /// The next page; `None` once a page said that it reached the tail, or was [`Place::Before`]
    /// something. Safe to drop: the page is asked for again.
    pub async fn next(&mut self) -> Result<Option<Page>, Error> {
        if self.is_done {
            return Ok(None);
        }
        let answer = self.answer("").await?;
        let kind = self.stream.content_type(&answer.headers)?.kind();
        let mut page = self.stretch(&answer)?.page(kind);
        page.body = answer.body;
        self.advance(&page.next, page.up_to_date);
        Ok(Some(page))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Asks for a page; `more` is what the query says beside what this reader knows.
    pub(crate) async fn answer(&self, more: &str) -> Result<Whole, Error> {
        let limit = match self.limit {
            None => String::new(),
            Some(limit) => format!("&limit={limit}"),
        };
        let mut ask = self.stream.ask(Method::GET, Repeat::Freely);
        ask.target = format!("{}?{}{limit}{more}", ask.target, self.place.query());
        self.stream.client().whole(ask).await
    }

    /// From where to where an answer goes; it goes on, or reaches the tail.
    pub(crate) fn stretch(&self, answer: &Whole) -> Result<Stretch, Error> {
        let stretch = Stretch::of(&self.stream, self.offset(), answer)?;
        if !stretch.up_to_date && Some(&stretch.next) == self.offset() {
            let client = self.stream.client();
            return Err(client.answer("a page that neither advances nor reaches the tail"));
        }
        Ok(stretch)
    }

    /// The next page begins at `next`, if there is one.
    pub(crate) fn advance(&mut self, next: &Offset, up_to_date: bool) {
        self.is_done = up_to_date || matches!(self.place, Place::Before(_));
        self.place = Place::From(next.clone());
    }
}

/// From where to where an answer goes.
pub(crate) struct Stretch {
    pub(crate) from: Offset,
    pub(crate) next: Offset,
    pub(crate) up_to_date: bool,
    pub(crate) closed: bool,
}

impl Stretch {
    /// `from` is where it was asked from; the answer tells it where something else was asked.
    fn of(stream: &Stream, from: Option<&Offset>, answer: &Whole) -> Result<Self, Error> {
        let closed = is_true(&answer.headers, &headers::STREAM_CLOSED);
        let start = answer.headers.get(&headers::STREAM_START_OFFSET);
        let start = start.and_then(Offset::from_header);
        let from = start.or_else(|| from.cloned());
        Ok(Self {
            from: from.ok_or_else(|| stream.client().answer("no Stream-Start-Offset"))?,
            next: stream.next_offset(&answer.headers)?,
            up_to_date: closed || answer.headers.contains_key(&headers::STREAM_UP_TO_DATE),
            closed,
        })
    }

    fn page(self, kind: millrace_core::ContentKind) -> Page {
        Page {
            from: self.from,
            next: self.next,
            kind,
            body: bytes::Bytes::new(),
            up_to_date: self.up_to_date,
            closed: self.closed,
        }
    }
}

pub(crate) fn ask(stream: &Stream, from: &Offset, more: &str) -> Ask {
    let mut ask = stream.ask(Method::GET, Repeat::Freely);
    ask.target = format!("{}?offset={from}{more}", ask.target);
    ask
}

pub(crate) fn page_of(stream: &Stream, from: &Offset, answer: Whole) -> Result<Page, Error> {
    let kind = stream.content_type(&answer.headers)?.kind();
    let page = Stretch::of(stream, Some(from), &answer)?.page(kind);
    Ok(Page {
        body: answer.body,
        ..page
    })
}
