//! Catch-up reads: page after page, up to the tail.

use http::Method;
use millrace_wire::headers;

use crate::{
    client::{Ask, Repeat, Whole},
    error::Error,
    offset::Offset,
    page::Page,
    stream::{Stream, is_true},
};

/// Reads what is there.
#[derive(Debug)]
pub struct Reader {
    stream: Stream,
    offset: Offset,
    is_done: bool,
}

impl Reader {
    pub(crate) fn new(stream: Stream, offset: Offset) -> Self {
        Self {
            stream,
            offset,
            is_done: false,
        }
    }

    /// Where the next page begins.
    pub fn offset(&self) -> &Offset {
        &self.offset
    }

    /// The next page; `None` once a page said that it reached the tail. Safe to drop: the page is
    /// asked for again.
    pub async fn next(&mut self) -> Result<Option<Page>, Error> {
        if self.is_done {
            return Ok(None);
        }
        let page = page(&self.stream, &self.offset, "").await?;
        if !page.up_to_date && page.next == self.offset {
            let client = self.stream.client();
            return Err(client.answer("a page that neither advances nor reaches the tail"));
        }
        self.offset = page.next.clone();
        self.is_done = page.up_to_date;
        Ok(Some(page))
    }
}

/// Asks for a page; `more` is what the query says beside the offset.
pub(crate) async fn page(stream: &Stream, from: &Offset, more: &str) -> Result<Page, Error> {
    let answer = stream.client().whole(ask(stream, from, more)).await?;
    page_of(stream, from, answer)
}

pub(crate) fn ask(stream: &Stream, from: &Offset, more: &str) -> Ask {
    let mut ask = stream.ask(Method::GET, Repeat::Freely);
    ask.target = format!("{}?offset={from}{more}", ask.target);
    ask
}

pub(crate) fn page_of(stream: &Stream, from: &Offset, answer: Whole) -> Result<Page, Error> {
    let closed = is_true(&answer.headers, &headers::STREAM_CLOSED);
    Ok(Page {
        from: from.clone(),
        next: stream.next_offset(&answer.headers)?,
        kind: stream.content_type(&answer.headers)?.kind(),
        body: answer.body,
        up_to_date: closed || answer.headers.contains_key(&headers::STREAM_UP_TO_DATE),
        closed,
    })
}
