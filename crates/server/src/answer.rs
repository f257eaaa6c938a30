//! Answers: from what `millrace-wire` says to what hyper sends.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Empty, Full};
use millrace_wire::{Problem, cache::NO_STORE, outcome::Reply};

use crate::bodies::{Broken, EventBody, PageBody};

/// An answer.
pub(crate) type Answer = Response<AnswerBody>;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    /// Nothing.
    Empty(Empty<Bytes>),
    /// All of it, in memory.
    Full(Full<Bytes>),
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
            Self::Empty(body) => Pin::new(body).poll_frame(cx).map_err(never),
            Self::Full(body) => Pin::new(body).poll_frame(cx).map_err(never),
            Self::Page(body) => Pin::new(body).poll_frame(cx),
            Self::Events(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty(body) => body.is_end_stream(),
            Self::Full(body) => body.is_end_stream(),
            Self::Page(body) => body.is_end_stream(),
            Self::Events(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty(body) => body.size_hint(),
            Self::Full(body) => body.size_hint(),
            Self::Page(body) => body.size_hint(),
            Self::Events(body) => body.size_hint(),
        }
    }
}

fn never(never: Infallible) -> Broken {
    match never {}
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
    with_body(reply, AnswerBody::Full(Full::new(body.into())))
}

/// An answer without a body.
pub(crate) fn empty(reply: Reply) -> Answer {
    with_body(reply, AnswerBody::Empty(Empty::new()))
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
    let mut answer = Response::new(AnswerBody::Full(Full::new(body.into())));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let content_type = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    answer
}
