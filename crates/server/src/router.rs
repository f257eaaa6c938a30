//! From a request to a handler, and what every answer has in common.
//!
//! One match over paths and methods, written by hand: the routes fit on a screen, and nothing in
//! between rewrites a path (T99).

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header, request::Parts};
use http_body::Body;
use hyper::body::Incoming;
use millrace_core::StreamName;
use millrace_wire::{
    HttpFault, Problem, ReadQuery,
    cors::{self, BATCH_METHODS, READ_METHODS, STREAM_METHODS},
    outcome, path,
    subscription::Control,
};
use tracing::{Instrument as _, Span};

use crate::{
    access::Caller,
    answer::{self, Answer, AnswerBody},
    app::{App, REQUEST_ID},
    conn::Service,
    handlers::{self, read::Asked},
    metrics::{Answered, CoreMetrics, Timed, Watch},
};

/// Whether the process lives.
const HEALTH: &str = "/health";
/// Whether it takes work.
const READY: &str = "/ready";
/// What it has counted.
const METRICS: &str = "/metrics";

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Stream(StreamName),
    Control(Control),
    Listing,
    Batch,
    Health,
    Ready,
    Metrics,
}

impl Route {
    fn parse(path: &str) -> Result<Self, Problem> {
        match path {
            HEALTH => Ok(Self::Health),
            READY => Ok(Self::Ready),
            METRICS => Ok(Self::Metrics),
            path::LISTING => Ok(Self::Listing),
            path::BATCH => Ok(Self::Batch),
            // PROTOCOL 6: before streams, so that none is taken for one.
            _ => match Control::parse(path) {
                Some(control) => Ok(Self::Control(control?)),
                None => match path::stream_name(path) {
                    Some(name) => Ok(Self::Stream(name?)),
                    None => Err(HttpFault::NoRoute.into()),
                },
            },
        }
    }
}

/// Answers the requests of one core's connections.
#[derive(Debug)]
pub(crate) struct Router {
    app: Arc<App>,
    metrics: Arc<CoreMetrics>,
}

impl Router {
    pub(crate) fn new(app: Arc<App>) -> Rc<Self> {
        let metrics = app.metrics.core();
        Rc::new(Self { app, metrics })
    }

    /// What all requests share.
    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The figures of this core.
    pub(crate) fn metrics(&self) -> &Arc<CoreMetrics> {
        &self.metrics
    }
}

impl Service for Router {
    type Body = AnswerBody;

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<AnswerBody> {
        let mut answer = answer(&self, request).await;
        // Hyper would ask the system's clock.
        let date = answer::date(self.app.now());
        answer.headers_mut().insert(header::DATE, date);
        answer
    }
}

/// Answers one request, whatever happens on the way.
pub(crate) async fn answer<B>(router: &Router, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes> + Unpin,
{
    let Router { app, metrics } = router;
    let (head, body) = request.into_parts();
    let id = app.request_id(&head.headers);
    let start = app.env.clock.mono();
    let watch = Watch::new(metrics);
    let span = span(&head, &id);
    let done = pin!(dispatch(app, &watch, &head, body));
    let done = unwinding(done).instrument(span.clone());
    let mut answer = match done.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(problem)) => told(router, &problem),
        Err(Panicked) => told(router, &HttpFault::Internal.into()),
    };
    finish(app, &head.headers, &mut answer, id.clone());
    let took = app.env.clock.mono().saturating_sub(start);
    metrics.answered(Answered {
        method: &head.method,
        status: answer.status(),
        timed: watch.timed.get(),
        took,
    });
    span.record("status", answer.status().as_u16());
    span.in_scope(|| log(&head.method, head.uri.path(), &answer, &id, took));
    answer
}

/// The answer to a request without headers of interest that was refused before it came here.
pub(crate) fn refused(router: &Router, method: &Method, path: &str, problem: &Problem) -> Answer {
    let Router { app, metrics } = router;
    let id = app.request_id(&HeaderMap::new());
    let mut answer = told(router, problem);
    finish(app, &HeaderMap::new(), &mut answer, id.clone());
    let took = std::time::Duration::ZERO;
    metrics.answered(Answered {
        method,
        status: answer.status(),
        timed: Timed::Nothing,
        took,
    });
    log(method, path, &answer, &id, took);
    answer
}

fn told(router: &Router, problem: &Problem) -> Answer {
    router.metrics.refused(problem.code);
    router.app.refusals.add_answer(problem.code);
    answer::problem(problem)
}

/// What log lines written on the way carry, and what a tracing collector is told. Off unless asked
/// for: it costs more than the rest of a small request.
fn span(head: &Parts, id: &HeaderValue) -> Span {
    tracing::debug_span!(
        "request",
        method = %head.method,
        path = head.uri.path(),
        request = id.to_str().unwrap_or_default(),
        status = tracing::field::Empty,
    )
}

async fn dispatch<B>(
    app: &Arc<App>,
    watch: &Watch,
    head: &Parts,
    body: B,
) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let path = head.uri.path();
    if head.method == Method::OPTIONS {
        let methods = match path {
            path::BATCH => BATCH_METHODS,
            path if path.starts_with(path::STREAM_PREFIX) => STREAM_METHODS,
            _ => READ_METHODS,
        };
        return Ok(handlers::options::options(methods));
    }
    let route = Route::parse(path);
    let caller = match route {
        // Whoever watches over the process has no key, and learns nothing of streams.
        Ok(Route::Health | Route::Ready) => Caller::Unknown,
        // Whoever works for a wake shows its token instead; public keys are public.
        Ok(Route::Control(ref control)) if handlers::subscriptions::is_open(control) => {
            Caller::Unknown
        }
        _ => app.config.access.identify(&head.headers)?,
    };
    match route? {
        Route::Stream(name) => stream(app, watch, &caller, name, head, body).await,
        Route::Control(control) => {
            Box::pin(handlers::subscriptions::answer(
                app, &caller, control, head, body,
            ))
            .await
        }
        Route::Listing => match head.method {
            Method::GET | Method::HEAD => Box::pin(handlers::list::list(app, &caller, head)).await,
            _ => Err(not_allowed(READ_METHODS)),
        },
        Route::Batch => match head.method {
            Method::POST => {
                watch.timed.set(Timed::Append);
                Box::pin(handlers::batch::batch(app, &caller, head, body)).await
            }
            _ => Err(not_allowed(BATCH_METHODS)),
        },
        Route::Health => match head.method {
            Method::GET | Method::HEAD => Ok(handlers::status::health()),
            _ => Err(not_allowed(READ_METHODS)),
        },
        Route::Ready => match head.method {
            Method::GET | Method::HEAD => Ok(handlers::status::ready(app)),
            _ => Err(not_allowed(READ_METHODS)),
        },
        Route::Metrics => match head.method {
            Method::GET | Method::HEAD => handlers::status::metrics(app, &caller),
            _ => Err(not_allowed(READ_METHODS)),
        },
    }
}

async fn stream<B>(
    app: &Arc<App>,
    watch: &Watch,
    caller: &Caller,
    name: StreamName,
    head: &Parts,
    body: B,
) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    // Boxed but for reads: a future has room for the largest of its parts and is moved a few times
    // on its way, which for 10 KiB costs more than the box.
    match head.method {
        Method::GET => {
            let known = head.headers.get_all(header::IF_NONE_MATCH);
            let known: Vec<&[u8]> = known.iter().map(HeaderValue::as_bytes).collect();
            let asked = Asked {
                query: ReadQuery::parse(head.uri.query(), &head.headers)?,
                known: &known,
                version: head.version,
            };
            let answer = handlers::read::read(app, watch, caller, &name, asked).await?;
            Ok(answer.into_answer())
        }
        Method::POST => {
            watch.timed.set(Timed::Append);
            Box::pin(handlers::append::append(app, caller, &name, head, body)).await
        }
        Method::PUT => Box::pin(handlers::create::create(app, caller, name, head, body)).await,
        Method::HEAD => {
            let facts = handlers::head::head(app, caller, &name).await?;
            Ok(answer::empty(outcome::head(&facts)))
        }
        Method::DELETE => Box::pin(handlers::delete::delete(app, caller, &name)).await,
        _ => Err(not_allowed(STREAM_METHODS)),
    }
}

pub(crate) fn not_allowed(allow: &'static str) -> Problem {
    HttpFault::Method { allow }.into()
}

/// What every answer carries.
pub(crate) fn finish(app: &App, request: &HeaderMap, answer: &mut Answer, id: HeaderValue) {
    let headers = answer.headers_mut();
    cors::add_security(headers);
    if let Some(origin) = app.config.origins.allowed(request.get(header::ORIGIN)) {
        cors::add_origin(headers, origin);
    } else {
        // Caches must not take this answer for one to a page that may see it.
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    headers.insert(REQUEST_ID, id);
}

fn log(method: &Method, path: &str, answer: &Answer, id: &HeaderValue, took: std::time::Duration) {
    let status = answer.status().as_u16();
    let id = id.to_str().unwrap_or_default();
    // Whoever asks `/ready` wants to hear "no" too.
    if answer.status().is_server_error() && path != READY {
        tracing::warn!(%method, path, status, request = id, ?took, "request failed");
    } else {
        tracing::debug!(%method, path, status, request = id, ?took, "request");
    }
}

/// A request's future panicked. The panic itself was told by the panic hook.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Runs `future`; a panic in it ends it alone, not the connection and not the core. Pinned by the
/// caller: futures are large, and would be moved for nothing.
pub(crate) async fn unwinding<F: Future>(mut future: Pin<&mut F>) -> Result<F::Output, Panicked> {
    std::future::poll_fn(move |cx| {
        // What a request shares with others is behind locks that keep it whole.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

#[cfg(test)]
mod tests;
