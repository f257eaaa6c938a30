//! A connection with TLS, that can move from one event loop to another between two reads.
//!
//! The socket sits in a seat of its own below the TLS state, so that it can be taken from one event
//! loop and given to another while keys, sequence numbers and buffers stay as they are.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// Where the socket sits.
#[derive(Debug)]
pub(crate) struct Seat(Option<TcpStream>);

/// A connection whose handshake is done.
#[derive(Debug)]
pub(crate) struct TlsConn {
    stream: TlsStream<Seat>,
    /// What was looked at, and from where on it is still to be read.
    seen: Vec<u8>,
    read: usize,
}

/// A connection on its way to another event loop.
#[derive(Debug)]
pub(crate) struct Parked {
    conn: TlsConn,
    socket: std::net::TcpStream,
}

impl Seat {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self(Some(socket))
    }

    /// An empty seat belongs to a connection on its way, which nobody reads or writes.
    fn socket(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.0
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl TlsConn {
    pub(crate) fn new(stream: TlsStream<Seat>) -> Self {
        Self {
            stream,
            seen: Vec::new(),
            read: 0,
        }
    }

    /// What was looked at so far.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// Looks at more; how much more there was. What is looked at can still be read.
    pub(crate) async fn look(&mut self, bytes: usize) -> io::Result<usize> {
        let mut piece = vec![0; bytes];
        let len = self.stream.read(&mut piece).await?;
        self.seen.extend_from_slice(&piece[..len]);
        Ok(len)
    }

    /// Leaves this event loop.
    pub(crate) fn park(mut self) -> io::Result<Parked> {
        let (seat, _) = self.stream.get_mut();
        let socket = seat.0.take().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Parked {
            conn: self,
            socket: socket.into_std()?,
        })
    }
}

impl Parked {
    /// Goes on, on this event loop.
    pub(crate) fn unpark(self) -> io::Result<TlsConn> {
        let mut conn = self.conn;
        let (seat, _) = conn.stream.get_mut();
        *seat = Seat::new(TcpStream::from_std(self.socket)?);
        Ok(conn)
    }
}

impl AsyncRead for TlsConn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read < this.seen.len() {
            let len = (this.seen.len() - this.read).min(buf.remaining());
            buf.put_slice(&this.seen[this.read..this.read + len]);
            this.read += len;
            if this.read == this.seen.len() {
                (this.seen, this.read) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            // A client that closes its side without saying so in TLS. HTTP tells by itself whether
            // a request is whole, and who asked and then shut down waits for the answer.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(()))
            }
            result => result,
        }
    }
}

impl AsyncWrite for TlsConn {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// Says so in TLS, then closes the socket's side.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Seat {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().socket()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Seat {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().socket()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().socket()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket()?.poll_shutdown(cx)
    }
}
