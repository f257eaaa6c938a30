//! Tells HTTP/1 from HTTP/2.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Prefixed;

/// What HTTP/2 begins with where the client knows beforehand that the server speaks it.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// Looks at as many bytes as it takes, and puts them back.
pub(crate) async fn sniff<C: AsyncRead + Unpin>(mut conn: C) -> io::Result<(Prefixed<C>, Version)> {
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
    let seen = Bytes::copy_from_slice(&seen[..len]);
    Ok((Prefixed::new(conn, seen), version))
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
