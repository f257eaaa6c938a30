//! What a connection is allowed to do to the server: the deadlines that hyper does not keep.
//!
//! - The head of a request is there within [`Times::head`] of its first byte (T94). Between requests
//!   [`Times::idle`] applies, which hyper keeps.
//! - A client that takes nothing of its answer for [`Times::write`] is cut: whoever reads slowly may,
//!   whoever does not read at all holds memory for nothing (T58).
//! - After the server closed its side it reads on until the client closes, for at most
//!   [`Times::linger`]: a socket closed with unread bytes sends a reset, which can take the last
//!   bytes of the answer with it (T49).
//!
//! A deadline costs a timer only while something is slow.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use millrace_env::sleep;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    config::Times,
    refusals::{Peer, Refused},
};

/// What a connection is doing, told by the socket and by the requests on it.
#[derive(Debug, Default)]
pub(crate) struct Activity(Cell<Doing>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Doing {
    /// No request yet, or none any more.
    #[default]
    Nothing,
    /// The head of a request has begun.
    Head,
    /// A request is answered; what is read belongs to it.
    Request,
    /// Many requests at a time, each with its own streams: HTTP/2 keeps its own order.
    Multiplexed,
}

impl Activity {
    /// The head of a request is whole.
    pub(crate) fn request_began(&self, multiplexed: bool) {
        self.0.set(if multiplexed {
            Doing::Multiplexed
        } else {
            Doing::Request
        });
    }

    /// The answer is made.
    pub(crate) fn request_ended(&self) {
        if self.0.get() == Doing::Request {
            self.0.set(Doing::Nothing);
        }
    }

    fn bytes_came(&self) {
        if self.0.get() == Doing::Nothing {
            self.0.set(Doing::Head);
        }
    }

    fn is_in_head(&self) -> bool {
        self.0.get() == Doing::Head
    }
}

type Timer = Pin<Box<dyn Future<Output = ()>>>;

/// A connection with deadlines.
pub(crate) struct Socket<C> {
    conn: C,
    peer: Peer,
    times: Times,
    activity: Rc<Activity>,
    head: Option<Timer>,
    write: Option<Timer>,
    linger: Option<Timer>,
    /// Whether the client closed its side.
    is_ended: bool,
}

impl<C> Socket<C> {
    pub(crate) fn new(conn: C, peer: Peer, times: Times, activity: Rc<Activity>) -> Self {
        Self {
            conn,
            peer,
            times,
            activity,
            head: None,
            write: None,
            linger: None,
            is_ended: false,
        }
    }

    /// The connection without its deadlines.
    pub(crate) fn into_conn(self) -> C {
        self.conn
    }

    /// Whether `timer` ran out; starts it when it is not running.
    fn is_over(timer: &mut Option<Timer>, after: Duration, cx: &mut Context<'_>) -> bool {
        let timer = timer.get_or_insert_with(|| Box::pin(sleep(after)));
        timer.as_mut().poll(cx).is_ready()
    }

    /// The result of a write, with the patience for a client that takes nothing.
    fn written<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write = None;
        } else if Self::is_over(&mut self.write, self.times.write, cx) {
            self.peer.refused(Refused::SlowReader);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        result
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Socket<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.conn).poll_read(cx, buf);
        if !this.activity.is_in_head() {
            this.head = None;
        }
        match &result {
            Poll::Ready(Ok(())) if buf.filled().len() > before => this.activity.bytes_came(),
            Poll::Ready(_) => this.is_ended = true,
            Poll::Pending if this.activity.is_in_head() => {
                if Self::is_over(&mut this.head, this.times.head, cx) {
                    this.peer.refused(Refused::HeaderTimeout);
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
            Poll::Pending => {}
        }
        result
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.conn).poll_write(cx, buf);
        this.written(result, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.conn).poll_write_vectored(cx, bufs);
        this.written(result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.conn.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.conn).poll_flush(cx);
        this.written(result, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.conn).poll_shutdown(cx))?;
        }
        let mut waste = [0; 4096];
        while !this.is_ended {
            if Self::is_over(&mut this.linger, this.times.linger, cx) {
                break;
            }
            let mut buf = ReadBuf::new(&mut waste);
            let read = ready!(Pin::new(&mut this.conn).poll_read(cx, &mut buf));
            this.is_ended = read.is_err() || buf.filled().is_empty();
        }
        Poll::Ready(Ok(()))
    }
}

impl<C> std::fmt::Debug for Socket<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket")
            .field("activity", &self.activity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
