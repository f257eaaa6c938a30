//! One connection: HTTP/1.1, or HTTP/2 where the client begins with its preface (h2c).
//!
//! Generic over the bytes below it, so that a simulated network can stand in. Limits are hyper's
//! where it has them and `socket.rs`'s and `streams.rs`'s where it has not.

mod prefixed;
mod sniff;
mod socket;
mod streams;

use std::{convert::Infallible, pin::Pin, rc::Rc, time::Duration};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use millrace_env::{Watcher, timeout};
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::sniff::PREFACE;
pub(crate) use self::{
    prefixed::Prefixed,
    socket::{Activity, Socket},
};
use self::{
    sniff::{Version, sniff},
    streams::{Spawner, Streams, Watched},
};
use crate::{
    config::{Config, HEADER_BYTES_CEILING, Times},
    refusals::{Peer, Refused},
};

/// The most bytes of an answer that wait for an HTTP/2 client's window. On HTTP/1 it is what headers may
/// take, for requests and answers alike: what a slow reader holds is that and one piece more.
const SEND_BYTES_MAX: usize = 128 << 10;
/// The most requests at a time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 1000;
/// How much of one body, and of all, an HTTP/2 client may send ahead.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;
/// How often an HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Serves connections of one core, all alike.
#[derive(Debug)]
pub(crate) struct Protocol {
    http1: http1::Builder,
    header_bytes_max: usize,
    times: Times,
}

/// What answers requests.
pub(crate) trait Service: 'static {
    /// The body of an answer.
    type Body: http_body::Body<Data = bytes::Bytes, Error: std::error::Error + Send + Sync>
        + Unpin
        + 'static;
    /// Answers one.
    fn answer(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + 'static;
}

impl Protocol {
    pub(crate) fn new(config: &Config) -> Self {
        let header_bytes_max = config.header_bytes_max.min(HEADER_BYTES_CEILING);
        // Without `pipeline_flush`: it holds an answer back while part of a next request is there,
        // and the answer to a broken request for ever.
        // The most headers are hyper's default, `config::HEADERS_MAX`: asked for by number they are
        // counted on the heap, twice a request.
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(config.times.idle)
            .max_header_size(header_bytes_max)
            .max_buf_size(header_bytes_max)
            .half_close(true);
        Self {
            http1,
            header_bytes_max,
            times: config.times,
        }
    }

    /// HTTP/2 for one connection, whose streams `spawner` runs.
    fn http2(&self, spawner: Spawner) -> http2::Builder<Spawner> {
        let mut http2 = http2::Builder::new(spawner);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(self.header_bytes_max).expect("small"))
            .max_send_buf_size(SEND_BYTES_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(PING_INTERVAL);
        http2
    }

    /// Serves one connection to its end; when `draining` says so, to the end of what is under way.
    pub(crate) async fn serve<C, S>(&self, conn: C, peer: Peer, service: Rc<S>, draining: Watcher)
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
        S: Service,
    {
        let activity = Rc::new(Activity::default());
        let socket = Socket::new(conn, peer.clone(), self.times, Rc::clone(&activity));
        let sniffed = tokio::select! {
            biased;
            sniffed = timeout(self.times.head, sniff(socket)) => sniffed,
            () = draining.wait() => return,
        };
        let (socket, version) = match sniffed {
            Some(Ok(sniffed)) => sniffed,
            Some(Err(_)) => return,
            None => return peer.refused(Refused::HeaderTimeout),
        };
        let ended = match version {
            Version::One => self.serve_http1(socket, service, activity, draining).await,
            Version::Two => {
                self.serve_http2(socket, &peer, service, activity, draining)
                    .await
            }
        };
        if let Err(error) = ended {
            if error.is_parse_too_large() {
                peer.refused(Refused::HeaderTooLarge);
            } else if error.is_timeout() {
                peer.refused(Refused::Idle);
            }
            // A client that leaves, or that speaks no HTTP: nothing that a server can mend.
            tracing::debug!(%error, "a connection ended early");
        }
    }

    async fn serve_http1<C, S>(
        &self,
        socket: Prefixed<Socket<C>>,
        service: Rc<S>,
        activity: Rc<Activity>,
        draining: Watcher,
    ) -> hyper::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
        S: Service,
    {
        let answer = answering(service, activity);
        let conn = self
            .http1
            .serve_connection(TokioIo::new(socket), service_fn(answer));
        let mut conn = std::pin::pin!(conn);
        tokio::select! {
            biased;
            ended = conn.as_mut() => return ended,
            () = draining.wait() => {}
        }
        conn.as_mut().graceful_shutdown();
        conn.await
    }

    async fn serve_http2<C, S>(
        &self,
        socket: Prefixed<Socket<C>>,
        peer: &Peer,
        service: Rc<S>,
        activity: Rc<Activity>,
        draining: Watcher,
    ) -> hyper::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
        S: Service,
    {
        let streams = Rc::new(Streams::default());
        let answer = answering_watched(service, activity, Rc::clone(&streams));
        let conn = self
            .http2(Spawner::new(Rc::clone(&streams)))
            .serve_connection(TokioIo::new(socket), service_fn(answer));
        let mut conn = std::pin::pin!(conn);
        let mut is_ending = false;
        let mut sweeping = std::pin::pin!(streams.sweep(&self.times, peer));
        loop {
            tokio::select! {
                biased;
                ended = conn.as_mut() => return ended,
                () = draining.wait(), if !is_ending => {}
                () = sweeping.as_mut() => {
                    peer.refused(Refused::Idle);
                    sweeping.set(streams.sweep(&self.times, peer));
                }
            }
            is_ending = true;
            conn.as_mut().graceful_shutdown();
        }
    }
}

/// The future of an answer.
type Answering<B> = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>>>>;

/// Answers with `service`, and tells the socket what is going on.
fn answering<S: Service>(
    service: Rc<S>,
    activity: Rc<Activity>,
) -> impl Fn(Request<Incoming>) -> Answering<S::Body> {
    move |request| {
        activity.request_began(false);
        let (service, activity) = (Rc::clone(&service), Rc::clone(&activity));
        Box::pin(async move {
            let response = service.answer(request).await;
            activity.request_ended();
            Ok(response)
        })
    }
}

/// The same on HTTP/2, where each answer is watched on its own.
fn answering_watched<S: Service>(
    service: Rc<S>,
    activity: Rc<Activity>,
    streams: Rc<Streams>,
) -> impl Fn(Request<Incoming>) -> Answering<Watched<S::Body>> {
    move |request| {
        activity.request_began(true);
        let watch = streams.begin();
        let service = Rc::clone(&service);
        Box::pin(async move {
            let response = service.answer(request).await;
            Ok(response.map(|body| Watched::new(body, watch)))
        })
    }
}

#[cfg(test)]
mod tests;
