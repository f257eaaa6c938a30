//! A connection with the bytes put back that were looked at to tell HTTP/1 from HTTP/2.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What HTTP/2 begins with where the client knows beforehand that the server speaks it.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose first bytes were looked at.
#[derive(Debug)]
pub(crate) struct Sniffed<C> {
    conn: C,
    seen: [u8; PREFACE.len()],
    /// Which of the seen bytes are still to be read.
    unread: std::ops::Range<usize>,
}

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// Looks at as many bytes as it takes.
pub(crate) async fn sniff<C: AsyncRead + Unpin>(mut conn: C) -> io::Result<(Sniffed<C>, Version)> {
    let mut seen = [0; PREFACE.len()];
    let mut len = 0;
    let version = loop {
        let read = conn.read(&mut seen[len..]).await?;
        len += read;
        if read == 0 || seen[..len] != PREFACE[..len] {
            break Version::One;
        }
        if len == PREFACE.len() {
            break Version::Two;
        }
    };
    let unread = 0..len;
    Ok((Sniffed { conn, seen, unread }, version))
}

impl<C: AsyncRead + Unpin> AsyncRead for Sniffed<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            return Pin::new(&mut this.conn).poll_read(cx, buf);
        }
        let len = this.unread.len().min(buf.remaining());
        let from = this.unread.start;
        buf.put_slice(&this.seen[from..from + len]);
        this.unread.start += len;
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Sniffed<C> {
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
        ready!(Pin::new(&mut self.get_mut().conn).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    async fn told(pieces: &[&[u8]]) -> (Version, Vec<u8>) {
        let (mut client, server) = tokio::io::duplex(64);
        let write = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(client);
        };
        let read = async {
            let (mut conn, version) = sniff(server).await.unwrap();
            let mut all = Vec::new();
            conn.read_to_end(&mut all).await.unwrap();
            (version, all)
        };
        tokio::join!(write, read).1
    }

    #[tokio::test]
    async fn the_preface_tells_and_nothing_is_lost() {
        let http2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest";
        for (pieces, version) in [
            (vec![http2], Version::Two),
            (vec![&http2[..3], &http2[3..20], &http2[20..]], Version::Two),
            (vec![&b"PUT / HTTP/1.1\r\n\r\n"[..]], Version::One),
            (vec![&b"P"[..], &b"RI * HTTP/1.1\r\n\r\n"[..]], Version::One),
            (vec![&b"PRI"[..]], Version::One),
            (vec![], Version::One),
        ] {
            assert_eq!(told(&pieces).await, (version, pieces.concat()));
        }
    }
}
