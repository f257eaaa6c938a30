//! Answers: from what `millrace-wire` says to what hyper sends.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use millrace_core::Timestamp;
use millrace_wire::{Problem, cache::NO_STORE, outcome::Reply};

use crate::bodies::{Broken, EventBody, PageBody};

/// An answer.
pub(crate) type Answer = Response<AnswerBody>;

/// `Date`, at `now`.
pub(crate) fn date(now: Timestamp) -> HeaderValue {
    let time = UNIX_EPOCH + Duration::from_millis(now.0);
    HeaderValue::from_str(&httpdate::fmt_http_date(time)).expect("a date is ASCII")
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    /// All of it, in memory; `None` for nothing, and once it was sent.
    Memory(Option<Bytes>),
    /// A page that is read while it is sent.
    Page(PageBody),
    /// Server-sent events.
    Events(EventBody),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Memory(body) => Poll::Ready(body.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Page(body) => Pin::new(body).poll_frame(cx),
            Self::Events(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Memory(body) => body.is_none(),
            Self::Page(body) => body.is_end_stream(),
            Self::Events(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Memory(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Page(body) => body.size_hint(),
            Self::Events(body) => body.size_hint(),
        }
    }
}

impl AnswerBody {
    /// No body.
    pub(crate) const EMPTY: Self = Self::Memory(None);

    /// How many bytes are still to come.
    ///
    /// # Panics
    /// With events, which have no known end.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = self.size_hint().exact();
        bytes.expect("only events have no known end, and they go out in chunks")
    }
}

impl<B: Into<Bytes>> From<B> for AnswerBody {
    fn from(bytes: B) -> Self {
        let bytes = bytes.into();
        // A piece without bytes would be a frame without meaning.
        Self::Memory((!bytes.is_empty()).then_some(bytes))
    }
}

/// An answer with a body.
pub(crate) fn with_body(reply: Reply, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = reply.status;
    *answer.headers_mut() = reply.headers;
    answer
}

/// An answer with all of its body.
pub(crate) fn full(reply: Reply, body: impl Into<Bytes>) -> Answer {
    with_body(reply, AnswerBody::from(body))
}

/// An answer without a body.
pub(crate) fn empty(reply: Reply) -> Answer {
    with_body(reply, AnswerBody::EMPTY)
}

/// An answer that is not success.
pub(crate) fn problem(problem: &Problem) -> Answer {
    let reply = Reply {
        status: problem.status(),
        headers: problem.headers(),
    };
    full(reply, problem.body())
}

/// A small JSON document that nobody keeps.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(AnswerBody::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let content_type = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    answer
}
