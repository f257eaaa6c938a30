//! What happens to a connection between its accept and its hand-over: TLS, and the first look.
//!
//! The handshake is made here rather than on the core, because only then can the front answer
//! `/health` while every core stalls, and because a connection that never finishes its handshake
//! then reaches no core. Waiting for one client's next message delays nobody: each connection is a
//! task. Its arithmetic takes a fraction of a millisecond of this thread.
//!
//! BOUND: [`crate::Times::head`] for all of it.

use std::{io, rc::Rc};

use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use millrace_core::Refusal;
use millrace_env::Watcher;
use millrace_wire::{HttpFault, Problem};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use super::{
    handed::Wire,
    look::{plain_stays, tls_stays},
};
use crate::{
    answer::{self, AnswerBody},
    conn::{Protocol, Service},
    refusals::Peer,
    tls::{Seat, Tls, TlsConn},
};

/// A connection that was looked at.
#[derive(Debug)]
pub(super) enum Arrival {
    /// To be served: here, or by a core.
    Served { conn: Wire, stays: bool },
    /// Plain HTTP where TLS is spoken.
    NotTls(TcpStream),
}

/// Makes the handshake, if there is to be one, and waits for the first bytes.
pub(super) async fn arrive(conn: TcpStream, tls: Option<&Tls>) -> io::Result<Arrival> {
    let Some(tls) = tls else {
        let stays = plain_stays(&conn).await?;
        let conn = Wire::Plain(conn);
        return Ok(Arrival::Served { conn, stays });
    };
    if begins_as_http(&conn).await? {
        return Ok(Arrival::NotTls(conn));
    }
    let acceptor = TlsAcceptor::from(tls.config());
    let stream = acceptor.accept(Seat::new(conn)).await?;
    let mut conn = TlsConn::new(stream);
    let stays = tls_stays(&mut conn).await?;
    let conn = Wire::Tls(Box::new(conn));
    Ok(Arrival::Served { conn, stays })
}

/// Whether the first byte begins a method, as no record of TLS does.
async fn begins_as_http(conn: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let len = conn.peek(&mut first).await?;
    Ok(len == 1 && first[0].is_ascii_uppercase())
}

/// Tells whoever sent plain HTTP what is spoken here.
pub(super) async fn refuse(protocol: &Protocol, conn: TcpStream, peer: Peer, draining: Watcher) {
    always(protocol, conn, peer, draining, HttpFault::TlsRequired).await;
}

/// Tells whoever came when all connections are taken to come again later.
pub(super) async fn shed(protocol: &Protocol, conn: Wire, peer: Peer, draining: Watcher) {
    always(protocol, conn, peer, draining, Refusal::Overloaded).await;
}

/// Answers all requests with one problem. The same connection as any other, deadlines and close
/// included; only the answer is always this one.
async fn always<C>(
    protocol: &Protocol,
    conn: C,
    peer: Peer,
    draining: Watcher,
    problem: impl Into<Problem>,
) where
    C: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = Always(problem.into());
    protocol.serve(conn, peer, Rc::new(service), draining).await;
}

/// Answers everything in the same way.
struct Always(Problem);

impl Service for Always {
    type Body = AnswerBody;

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<AnswerBody> {
        let mut answer = answer::problem(&self.0);
        if request.version() <= Version::HTTP_11 {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
        answer
    }
}
