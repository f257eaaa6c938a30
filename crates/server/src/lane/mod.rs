//! The short way of a plain HTTP/1.1 connection: requests that lie whole in its buffer are answered
//! without hyper, which costs as much as all the rest of an append.
//!
//! The short way takes only what leaves no choice of reading: HTTP/1.1, at most one
//! `Content-Length`, a small body, no `Transfer-Encoding`, `Expect`, `Upgrade` or `Connection`. At the
//! first request that is anything else, broken ones included, the connection and all its unread bytes
//! are handed to hyper, for good: what is ambiguous has one judge, and there is nothing to smuggle
//! between two (T94). Answers are the same to the byte, which a test holds against hyper's.
//!
//! - `head.rs`: what lies in the buffer, and whether it is for the short way.
//! - `line.rs`: a connection's bytes in and out, its patience, its end.
//! - `append.rs`, `create.rs`, `read.rs`: the requests that are answered without a map of headers.
//! - `reply.rs`: answers as bytes.
//! - `chunks.rs`: answers without a known end, which are streams of events.
//!
//! Not here: what a request means (`millrace-wire`), all other answers (`router.rs`).
//!
//! Next on the append walk: `append.rs`.

mod append;
mod chunks;
mod create;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod head;
mod line;
mod read;
mod reply;

use std::{pin::pin, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use millrace_core::StreamName;
use millrace_env::Watcher;
use millrace_wire::{HttpFault, Problem, path};
use tokio::io::{AsyncRead, AsyncWrite};

use self::{
    chunks::Follower,
    head::{Append, Create, Look},
    line::{Line, Waited},
    reply::Writer,
};
use crate::{
    answer::{Answer, AnswerBody},
    app::App,
    conn::Prefixed,
    handlers::create::origin_at,
    metrics::{Answered, Timed},
    refusals::Peer,
    router::{self, Panicked, Router, unwinding},
};

/// Answers what goes the short way, for the connections of one core.
#[derive(Debug)]
pub(crate) struct Lane {
    app: Arc<App>,
    router: Rc<Router>,
    writer: Writer,
}

/// Whether a connection goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Go,
    /// The answer could not be sent, or broke off.
    End,
    /// It goes on as events, which the line holds.
    Follow,
}

/// How far a connection went the short way.
pub(crate) enum Served<C> {
    /// To its end.
    Ended,
    /// Up to here; it is to be served on by hyper.
    Rest(Prefixed<C>),
    /// It is sent events, to its end.
    Following(Box<Follower<C>>),
}

impl Lane {
    pub(crate) fn new(router: Rc<Router>) -> Rc<Self> {
        let app = Arc::clone(router.app());
        let writer = Writer::new(&app);
        Rc::new(Self {
            app,
            router,
            writer,
        })
    }

    /// Serves a connection for as long as it goes the short way. Box the future and let go of it: what
    /// requests need is much more than what followers do, and there are thousands of those.
    pub(crate) async fn serve<C>(&self, conn: C, peer: Peer, draining: Watcher) -> Served<C>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut line = Line::new(conn, peer, self.app.config.times, draining);
        loop {
            // Hyper ends a connection in order: its last answer says that it is the last.
            if line.is_draining() && !line.input().is_empty() {
                return hand_over(line).await;
            }
            // Where requests are logged, one place logs them.
            let shortest = !tracing::enabled!(tracing::Level::DEBUG);
            let (input, memo) = line.input_and_memo();
            let memo = shortest.then_some(memo);
            let next = match head::look(input, &self.app.config.access, memo) {
                Look::Partial { in_body } => match line.wait(in_body).await {
                    Waited::More => Next::Go,
                    Waited::Slow => return Served::Rest(line.hand_over()),
                    Waited::Ended => Next::End,
                },
                Look::Other => return hand_over(line).await,
                Look::Append(append) => {
                    line.began(append.length);
                    self.append(append, &mut line).await
                }
                Look::Create(create) => {
                    line.began(create.length);
                    self.create(create, &mut line).await
                }
                Look::Read(read) => {
                    line.began(read.length);
                    self.read(read, &mut line).await
                }
                Look::Head(head) => {
                    line.began(head.length);
                    self.head(head, &mut line).await
                }
                Look::Plain { request, length } => {
                    line.began(length);
                    self.plain(request, &mut line).await
                }
            };
            match next {
                Next::Go => {}
                Next::End => {
                    line.close().await;
                    return Served::Ended;
                }
                Next::Follow => {
                    return match Follower::new(line) {
                        Some(follower) => Served::Following(Box::new(follower)),
                        None => Served::Ended,
                    };
                }
            }
        }
    }

    /// Appends; only what is refused takes the router's way to an answer.
    async fn append<C>(&self, append: Append, line: &mut Line<C>) -> Next
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let name = append.name.clone();
        let begun = self.app.env.clock.mono();
        let done = pin!(append::append(&self.app, append));
        match flat(unwinding(done).await) {
            Ok((outcome, brought_bytes)) => {
                let id = self.app.new_request_id();
                let out = line.output_mut();
                let status = self.writer.append(&outcome, brought_bytes, &id, out);
                self.count(&Method::POST, status, Timed::Append, begun);
                line.flush_if_large().await
            }
            Err(problem) => self.refuse(&Method::POST, &name, &problem, line).await,
        }
    }

    /// Creates; as [`Self::append`].
    async fn create<C>(&self, create: Create, line: &mut Line<C>) -> Next
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let name = create.name.clone();
        let host = create.host.clone();
        let begun = self.app.env.clock.mono();
        let done = pin!(create::create(&self.app, create));
        match flat(unwinding(done).await) {
            Ok(outcome) => {
                let id = self.app.new_request_id();
                let origin = origin_at(&self.app, host.as_deref());
                let out = line.output_mut();
                let status = self.writer.create(&outcome, &origin, &name, &id, out);
                self.count(&Method::PUT, status, Timed::Nothing, begun);
                line.flush_if_large().await
            }
            Err(problem) => self.refuse(&Method::PUT, &name, &problem, line).await,
        }
    }

    /// Answers a request that was refused before the router saw it.
    async fn refuse<C>(
        &self,
        method: &Method,
        name: &StreamName,
        problem: &Problem,
        line: &mut Line<C>,
    ) -> Next
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let answer = router::refused(&self.router, method, &path::location(name), problem);
        self.send(answer, method == Method::HEAD, line).await
    }

    /// A request that began then was answered without the router.
    fn count(&self, method: &Method, status: StatusCode, timed: Timed, begun: Duration) {
        self.router.metrics().answered(Answered {
            method,
            status,
            timed,
            took: self.app.env.clock.mono().saturating_sub(begun),
        });
    }

    /// Answers by the router, as hyper would have it answered.
    async fn plain<C>(&self, request: Request<Full<Bytes>>, line: &mut Line<C>) -> Next
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        // It may wait, for others or for a turn: what was asked before is not kept back by that.
        if line.flush().await == Next::End {
            return Next::End;
        }
        let is_head = request.method() == Method::HEAD;
        // Boxed: what a request needs on its way is much, and a connection is mostly idle.
        let answer = Box::pin(router::answer(&self.router, request)).await;
        self.send(answer, is_head, line).await
    }

    /// Sends an answer to its end.
    async fn send<C>(&self, answer: Answer, is_head: bool, line: &mut Line<C>) -> Next
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let (head, body) = answer.into_parts();
        if let AnswerBody::Events(body) = body {
            self.writer.head(&head, None, false, line.output_mut());
            return match body.into_source() {
                Some(events) => line.follow(events),
                None => Next::End,
            };
        }
        let bytes = body.bytes();
        self.writer
            .head(&head, Some(bytes), is_head, line.output_mut());
        let body = if is_head { AnswerBody::EMPTY } else { body };
        line.send_body(body).await
    }
}

/// To hyper, once what is answered is on its way.
async fn hand_over<C>(mut line: Line<C>) -> Served<C>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    if line.flush().await == Next::Go {
        return Served::Rest(line.hand_over());
    }
    line.close().await;
    Served::Ended
}

/// A request's own panic is an answer too.
fn flat<T>(done: Result<Result<T, Problem>, Panicked>) -> Result<T, Problem> {
    done.unwrap_or_else(|Panicked| Err(HttpFault::Internal.into()))
}
