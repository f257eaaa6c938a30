//! Hyper, configured as the server does, over bytes in memory.

use std::{
    cell::RefCell,
    convert::Infallible,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Body, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The server's default limit.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// A connection over bytes that are all there is done long before.
const POLLS_MAX: usize = 10_000;

/// A request as hyper gives it to a service.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) head: Parts,
    /// `None` when the connection ended within it.
    pub(super) body: Option<Bytes>,
}

/// The requests that hyper finds in `bytes`, to the end or to the first that is broken.
pub(super) fn serve(bytes: &[u8]) -> Vec<Arrived> {
    let arrived = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let arrived = Rc::clone(&arrived);
        async move {
            let (head, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .ok()
                .map(http_body_util::Collected::to_bytes);
            arrived.borrow_mut().push(Arrived { head, body });
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut http1 = http1::Builder::new();
    http1
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .half_close(true);
    let conn = http1.serve_connection(TokioIo::new(Memory(bytes.to_vec(), 0)), service);
    // Broken requests end in an error, which is hyper's business.
    drop(at_once(conn));
    Rc::into_inner(arrived)
        .map(RefCell::into_inner)
        .expect("the connection is gone")
}

/// All of a body that is in memory.
pub(super) fn collected<B: Body<Data = Bytes, Error = Infallible>>(body: B) -> Option<Bytes> {
    let collected = at_once(body.collect());
    collected.ok().map(http_body_util::Collected::to_bytes)
}

/// Polls what waits for nothing until it is done.
fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return done;
        }
    }
    panic!("it waits for something")
}

/// Bytes to read, and how many were; whatever is written is forgotten.
struct Memory(Vec<u8>, usize);

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self(bytes, at) = &mut *self;
        let len = buf.remaining().min(bytes.len() - *at);
        buf.put_slice(&bytes[*at..*at + len]);
        *at += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
