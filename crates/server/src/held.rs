//! A connection that counts against the number of connections for as long as it is open.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
};

use crate::addresses::Place;

/// What a connection takes of those that there may be.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// Of all.
    _room: OwnedSemaphorePermit,
    /// Of those of its address, where they are counted.
    _place: Option<Place>,
}

impl Ticket {
    pub(crate) fn new(room: OwnedSemaphorePermit, place: Option<Place>) -> Self {
        Self {
            _room: room,
            _place: place,
        }
    }
}

/// A connection and its ticket.
#[derive(Debug)]
pub(crate) struct Held<C> {
    conn: C,
    _ticket: Ticket,
}

impl<C> Held<C> {
    pub(crate) fn new(conn: C, ticket: Ticket) -> Self {
        Self {
            conn,
            _ticket: ticket,
        }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Held<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().conn).poll_read(cx, buf)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Held<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().conn).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().conn).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.conn.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().conn).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().conn).poll_shutdown(cx)
    }
}
