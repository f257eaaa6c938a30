//! One connection: HTTP/1.1, or HTTP/2 where the client begins with its preface (h2c).
//!
//! Generic over the bytes below it, so that a simulated network can stand in. Limits are hyper's
//! where it has them and `socket.rs`'s where it has not.

mod prefixed;
mod sniff;
mod socket;

use std::{convert::Infallible, pin::Pin, rc::Rc, time::Duration};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use millrace_env::timeout;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use self::sniff::{Version, sniff};
pub(crate) use self::{
    prefixed::Prefixed,
    socket::{Activity, Socket},
};
use crate::{config::Times, metrics::Cut};

/// The most bytes of a request's line and headers: a name of 1,024 bytes may take three times that.
const HEAD_BYTES_MAX: usize = 64 << 10;
// The most headers of a request are hyper's default, 100; asked for by number they would be counted
// on the heap, twice a request.
/// The most bytes of an answer that wait for the socket, and of a request that wait for a handler.
const BUFFER_BYTES_MAX: usize = 128 << 10;
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
    http2: http2::Builder<LocalExecutor>,
    times: Times,
}

/// What answers requests.
pub(crate) trait Service: 'static {
    /// The body of an answer.
    type Body: http_body::Body<Data = bytes::Bytes, Error: std::error::Error + Send + Sync>
        + 'static;
    /// Answers one.
    fn answer(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + 'static;
}

impl Protocol {
    pub(crate) fn new(times: Times) -> Self {
        // Without `pipeline_flush`: it holds an answer back while part of a next request is there,
        // and the answer to a broken request for ever.
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(times.idle)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .half_close(true);
        let mut http2 = http2::Builder::new(LocalExecutor);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).expect("small"))
            .max_send_buf_size(BUFFER_BYTES_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(PING_INTERVAL);
        Self {
            http1,
            http2,
            times,
        }
    }

    /// Serves one connection to its end; when `draining` says so, to the end of what is under way.
    /// Says why it was cut, if it was.
    pub(crate) async fn serve<C, S>(
        &self,
        conn: C,
        service: Rc<S>,
        mut draining: watch::Receiver<bool>,
    ) -> Option<Cut>
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
        S: Service,
    {
        let activity = Rc::new(Activity::default());
        let socket = Socket::new(conn, self.times, Rc::clone(&activity));
        let sniffed = tokio::select! {
            biased;
            sniffed = timeout(self.times.head, sniff(socket)) => sniffed,
            _ = draining.wait_for(|draining| *draining) => return None,
        };
        let (socket, version) = match sniffed {
            Some(Ok(sniffed)) => sniffed,
            Some(Err(_)) => return activity.cut(),
            None => return Some(Cut::Head),
        };
        let doing = Rc::clone(&activity);
        let ended = match version {
            Version::One => self.serve_http1(socket, service, doing, draining).await,
            Version::Two => self.serve_http2(socket, service, doing, draining).await,
        };
        let Err(error) = ended else {
            return activity.cut();
        };
        // A client that leaves, or that speaks no HTTP: nothing that a server can mend.
        tracing::debug!(%error, "a connection ended early");
        let idle = error.is_timeout().then_some(Cut::Idle);
        activity.cut().or(idle)
    }

    async fn serve_http1<C, S>(
        &self,
        socket: Prefixed<Socket<C>>,
        service: Rc<S>,
        activity: Rc<Activity>,
        mut draining: watch::Receiver<bool>,
    ) -> hyper::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
        S: Service,
    {
        let answer = answering(service, activity, false);
        let conn = self
            .http1
            .serve_connection(TokioIo::new(socket), service_fn(answer));
        let mut conn = std::pin::pin!(conn);
        tokio::select! {
            biased;
            ended = conn.as_mut() => return ended,
            _ = draining.wait_for(|draining| *draining) => {}
        }
        conn.as_mut().graceful_shutdown();
        conn.await
    }

    async fn serve_http2<C, S>(
        &self,
        socket: Prefixed<Socket<C>>,
        service: Rc<S>,
        activity: Rc<Activity>,
        mut draining: watch::Receiver<bool>,
    ) -> hyper::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin + 'static,
        S: Service,
    {
        let answer = answering(service, activity, true);
        let conn = self
            .http2
            .serve_connection(TokioIo::new(socket), service_fn(answer));
        let mut conn = std::pin::pin!(conn);
        tokio::select! {
            biased;
            ended = conn.as_mut() => return ended,
            _ = draining.wait_for(|draining| *draining) => {}
        }
        conn.as_mut().graceful_shutdown();
        conn.await
    }
}

/// The future of an answer.
type Answering<B> = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>>>>;

/// Answers with `service`, and tells the socket what is going on.
fn answering<S: Service>(
    service: Rc<S>,
    activity: Rc<Activity>,
    multiplexed: bool,
) -> impl Fn(Request<Incoming>) -> Answering<S::Body> {
    move |request| {
        activity.request_began(multiplexed);
        let (service, activity) = (Rc::clone(&service), Rc::clone(&activity));
        Box::pin(async move {
            let response = service.answer(request).await;
            activity.request_ended();
            Ok(response)
        })
    }
}

/// Runs HTTP/2's streams on the connection's own core.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(stream);
    }
}

#[cfg(test)]
mod tests;
