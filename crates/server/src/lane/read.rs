//! Reads on the short way: answered by the same handlers as all, but written to the socket as they are,
//! without a map of headers on either side.
//!
//! Next on the read walk: `handlers/read.rs`.

use std::pin::pin;

use http::{HeaderMap, Method, Version};
use millrace_wire::{Live, Problem};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Lane, Next, flat,
    head::{Head, Read},
    line::Line,
};
use crate::{
    access::Caller,
    handlers::{
        self,
        read::{Asked, ReadAnswer, Told},
    },
    metrics::{Timed, Watch},
    router::{self, unwinding},
};

impl Lane {
    /// Answers GET; what is refused and what goes on as events takes the router's way to an answer.
    pub(super) async fn read<C>(&self, read: Read, line: &mut Line<C>) -> Next
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let waits = matches!(&read.query, Ok(query) if query.live != Live::CatchUp);
        // What was asked before is not kept back by a wait.
        if waits && line.flush().await == Next::End {
            return Next::End;
        }
        let begun = self.app.env.clock.mono();
        let watch = Watch::new(self.router.metrics());
        let done = pin!(self.read_answer(&watch, &read));
        let done = unwinding(done).await;
        let answered = |status| self.count(&Method::GET, status, watch.timed.get(), begun);
        match flat(done) {
            Ok(ReadAnswer::Told(Told { facts, body })) => {
                let id = self.app.new_request_id();
                let bytes = body.bytes();
                let out = line.output_mut();
                answered(self.writer.read(&facts, bytes, &id, out));
                line.send_body(body).await
            }
            Ok(ReadAnswer::Events(mut answer)) => {
                let none = HeaderMap::new();
                router::finish(&self.app, &none, &mut answer, self.app.request_id(&none));
                answered(answer.status());
                self.send(answer, false, line).await
            }
            Err(problem) => self.refuse(&Method::GET, &read.name, &problem, line).await,
        }
    }

    async fn read_answer(&self, watch: &Watch, read: &Read) -> Result<ReadAnswer, Problem> {
        let known = read.known.as_deref();
        let asked = Asked {
            query: read.query.clone()?,
            known: known.as_slice(),
            version: Version::HTTP_11,
        };
        // The shortest way is for who may do everything; it is asked all the same.
        let caller = Caller::Master;
        handlers::read::read(&self.app, watch, &caller, &read.name, asked).await
    }

    /// Answers HEAD.
    pub(super) async fn head<C>(&self, head: Head, line: &mut Line<C>) -> Next
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = self.app.env.clock.mono();
        let done = pin!(handlers::head::head(&self.app, &Caller::Master, &head.name));
        match flat(unwinding(done).await) {
            Ok(facts) => {
                let id = self.app.new_request_id();
                let status = self.writer.stream_head(&facts, &id, line.output_mut());
                self.count(&Method::HEAD, status, Timed::Nothing, begun);
                line.flush_if_large().await
            }
            Err(problem) => self.refuse(&Method::HEAD, &head.name, &problem, line).await,
        }
    }
}
