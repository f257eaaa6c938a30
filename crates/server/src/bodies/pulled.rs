//! A body made by an async source, one piece at a time.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Broken;

/// Makes pieces; `None` after the last.
pub(crate) trait Source: 'static {
    /// The next piece.
    fn next(&mut self) -> impl Future<Output = Option<Result<Bytes, Broken>>>;
}

/// The body of a source.
pub(crate) struct Pulled<S> {
    state: State<S>,
    /// How many bytes are still to come, where that is known.
    left: Option<u64>,
}

enum State<S> {
    Resting(S),
    Working(Pin<Box<dyn Future<Output = Step<S>>>>),
    Done,
}

type Step<S> = (S, Option<Result<Bytes, Broken>>);

impl<S: Source> Pulled<S> {
    /// A body of `len` bytes, or of unknown length.
    pub(super) fn new(source: S, len: Option<u64>) -> Self {
        Self {
            state: State::Resting(source),
            left: len,
        }
    }
}

impl<S> Pulled<S> {
    /// The source of a body of which nothing was asked yet, for who asks it without one.
    pub(crate) fn into_source(self) -> Option<S> {
        match self.state {
            State::Resting(source) => Some(source),
            State::Working(_) | State::Done => None,
        }
    }
}

impl<S: Source + Unpin> Body for Pulled<S> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        loop {
            match std::mem::replace(&mut this.state, State::Done) {
                State::Done => return Poll::Ready(None),
                State::Resting(mut source) => {
                    this.state = State::Working(Box::pin(async move {
                        let piece = source.next().await;
                        (source, piece)
                    }));
                }
                State::Working(mut work) => match work.as_mut().poll(cx) {
                    Poll::Pending => {
                        this.state = State::Working(work);
                        return Poll::Pending;
                    }
                    Poll::Ready((_, None)) => return Poll::Ready(None),
                    Poll::Ready((_, Some(Err(broken)))) => return Poll::Ready(Some(Err(broken))),
                    Poll::Ready((source, Some(Ok(piece)))) => {
                        this.state = State::Resting(source);
                        if let Some(left) = &mut this.left {
                            *left -= piece.len() as u64;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0) || matches!(self.state, State::Done)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl<S> fmt::Debug for Pulled<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulled")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
