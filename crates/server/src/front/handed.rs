//! Connections on their way from the front to a core, and what a core gets.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use millrace_env::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{Mutex, mpsc},
};

use crate::{
    held::{Held, Ticket},
    tls::{Parked, TlsConn},
};

/// The most connections on their way to one core.
const HANDED_MAX: usize = 1024;

/// A connection on its way to a core.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(super) conn: Packed,
    pub(super) peer: SocketAddr,
    pub(super) ticket: Ticket,
}

/// A connection that belongs to no event loop.
#[derive(Debug)]
pub(super) enum Packed {
    Plain(std::net::TcpStream),
    Tls(Box<Parked>),
}

/// A connection with or without TLS. One branch a call; nothing is boxed or looked up without it.
#[derive(Debug)]
pub(crate) enum Wire {
    /// HTTP in the clear.
    Plain(TcpStream),
    /// HTTP inside TLS, whose handshake is done.
    Tls(Box<TlsConn>),
}

/// Takes the connections that the front hands over.
#[derive(Debug)]
pub(crate) struct Inlet(Mutex<mpsc::Receiver<Handed>>);

/// The front's end of an [`Inlet`].
pub(crate) type Outlet = mpsc::Sender<Handed>;

/// A way from the front to a core.
pub(crate) fn way() -> (Outlet, Inlet) {
    let (outlet, inlet) = mpsc::channel(HANDED_MAX);
    (outlet, Inlet(Mutex::new(inlet)))
}

impl Listener for Inlet {
    type Conn = Held<Wire>;

    async fn accept(&self) -> io::Result<(Self::Conn, SocketAddr)> {
        let Some(handed) = self.0.lock().await.recv().await else {
            // The front has ended; no more will come.
            return std::future::pending().await;
        };
        let conn = match handed.conn {
            Packed::Plain(conn) => Wire::Plain(TcpStream::from_std(conn)?),
            Packed::Tls(parked) => Wire::Tls(Box::new(parked.unpark()?)),
        };
        Ok((Held::new(conn, handed.ticket), handed.peer))
    }
}

impl Wire {
    /// Leaves this event loop.
    pub(super) fn pack(self) -> io::Result<Packed> {
        Ok(match self {
            Self::Plain(conn) => Packed::Plain(conn.into_std()?),
            Self::Tls(conn) => Packed::Tls(Box::new(conn.park()?)),
        })
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(conn) => Pin::new(conn).poll_read(cx, buf),
            Self::Tls(conn) => Pin::new(conn).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(conn) => Pin::new(conn).poll_write(cx, buf),
            Self::Tls(conn) => Pin::new(conn).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(conn) => Pin::new(conn).poll_write_vectored(cx, bufs),
            Self::Tls(conn) => Pin::new(conn).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(conn) => conn.is_write_vectored(),
            Self::Tls(conn) => conn.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(conn) => Pin::new(conn).poll_flush(cx),
            Self::Tls(conn) => Pin::new(conn).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(conn) => Pin::new(conn).poll_shutdown(cx),
            Self::Tls(conn) => Pin::new(conn).poll_shutdown(cx),
        }
    }
}
