//! From a request to a handler, and what every answer has in common.
//!
//! One match over paths and methods, written by hand: the routes fit on a screen, and nothing in
//! between rewrites a path (T99).

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
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
    HttpFault, Problem,
    cors::{self, READ_METHODS, STREAM_METHODS},
    path,
};

use crate::{
    access::Caller,
    answer::{self, Answer, AnswerBody},
    app::{App, REQUEST_ID},
    conn::Service,
    handlers,
};

/// Whether the process lives.
const HEALTH: &str = "/health";
/// Whether it takes work.
const READY: &str = "/ready";

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Stream(StreamName),
    Listing,
    Health,
    Ready,
}

impl Route {
    fn parse(path: &str) -> Result<Self, Problem> {
        match path {
            HEALTH => Ok(Self::Health),
            READY => Ok(Self::Ready),
            path::LISTING => Ok(Self::Listing),
            _ => match path::stream_name(path) {
                Some(name) => Ok(Self::Stream(name?)),
                None => Err(HttpFault::NoRoute.into()),
            },
        }
    }
}

/// Answers the requests of one core's connections.
#[derive(Debug)]
pub(crate) struct Router {
    app: Arc<App>,
}

impl Router {
    pub(crate) fn new(app: Arc<App>) -> Rc<Self> {
        Rc::new(Self { app })
    }
}

impl Service for Router {
    type Body = AnswerBody;

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<AnswerBody> {
        answer(&self.app, request).await
    }
}

/// Answers one request, whatever happens on the way.
pub(crate) async fn answer<B>(app: &Arc<App>, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes> + Unpin,
{
    let (head, body) = request.into_parts();
    let id = app.request_id(&head.headers);
    let start = app.env.clock.mono();
    let mut answer = match unwinding(dispatch(app, &head, body)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(problem)) => {
            app.refusals.add_answer(problem.code);
            answer::problem(&problem)
        }
        Err(Panicked) => answer::problem(&HttpFault::Internal.into()),
    };
    finish(app, &head.headers, &mut answer, id.clone());
    let took = app.env.clock.mono().saturating_sub(start);
    log(&head.method, head.uri.path(), &answer, &id, took);
    answer
}

/// The answer to a request without headers of interest that was refused before it came here.
pub(crate) fn refused(app: &App, method: &Method, path: &str, problem: &Problem) -> Answer {
    app.refusals.add_answer(problem.code);
    let id = app.request_id(&HeaderMap::new());
    let mut answer = answer::problem(problem);
    finish(app, &HeaderMap::new(), &mut answer, id.clone());
    log(method, path, &answer, &id, std::time::Duration::ZERO);
    answer
}

async fn dispatch<B>(app: &Arc<App>, head: &Parts, body: B) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let path = head.uri.path();
    if head.method == Method::OPTIONS {
        let is_stream = path.starts_with(path::STREAM_PREFIX);
        let methods = if is_stream {
            STREAM_METHODS
        } else {
            READ_METHODS
        };
        return Ok(handlers::options::options(methods));
    }
    let route = Route::parse(path);
    let caller = match route {
        // Whoever watches over the process has no key, and learns nothing of streams.
        Ok(Route::Health | Route::Ready) => Caller::Unknown,
        _ => app.config.access.identify(&head.headers)?,
    };
    match route? {
        Route::Stream(name) => stream(app, &caller, name, head, body).await,
        Route::Listing => match head.method {
            Method::GET | Method::HEAD => handlers::list::list(app, &caller, head).await,
            _ => Err(not_allowed(READ_METHODS)),
        },
        Route::Health => match head.method {
            Method::GET | Method::HEAD => Ok(handlers::status::health()),
            _ => Err(not_allowed(READ_METHODS)),
        },
        Route::Ready => match head.method {
            Method::GET | Method::HEAD => Ok(handlers::status::ready(app)),
            _ => Err(not_allowed(READ_METHODS)),
        },
    }
}

async fn stream<B>(
    app: &Arc<App>,
    caller: &Caller,
    name: StreamName,
    head: &Parts,
    body: B,
) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    match head.method {
        Method::GET => handlers::read::read(app, caller, &name, head).await,
        Method::POST => handlers::append::append(app, caller, &name, head, body).await,
        Method::PUT => handlers::create::create(app, caller, name, head, body).await,
        Method::HEAD => handlers::head::head(app, caller, &name).await,
        Method::DELETE => handlers::delete::delete(app, caller, &name).await,
        _ => Err(not_allowed(STREAM_METHODS)),
    }
}

fn not_allowed(allow: &'static str) -> Problem {
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

/// Runs `future`; a panic in it ends it alone, not the connection and not the core.
pub(crate) async fn unwinding<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
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
