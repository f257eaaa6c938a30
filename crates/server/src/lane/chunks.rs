//! Answers without a known end: each piece is a chunk of its own (RFC 9112, 7.1).
//!
//! The connection ends with the answer, which says so in its head. Until then nothing is read from it:
//! what a client sends behind its request is nobody's, and one that leaves is noticed when the next
//! piece, or sign of life, cannot be sent.

use std::io::Write as _;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Next, line::Line};
use crate::bodies::{Events, Source as _};

/// A chunk's size and line break, at most.
const SIZE_BYTES_MAX: usize = 18;

/// A connection that is sent events until there are no more.
pub(crate) struct Follower<C> {
    line: Line<C>,
    events: Box<Events>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Follower<C> {
    /// `None` when the line holds no events.
    pub(super) fn new(mut line: Line<C>) -> Option<Self> {
        let events = line.take_events()?;
        Some(Self { line, events })
    }

    /// Sends them, and ends the connection.
    pub(crate) async fn run(mut self) {
        self.send_all().await;
        self.line.close().await;
    }

    async fn send_all(&mut self) {
        // The head waits for the first piece, which is there at once.
        while let Some(piece) = self.events.next().await {
            // Broken off: the client sees that the last chunk is missing.
            let Ok(piece) = piece else { return };
            if piece.is_empty() {
                // An empty chunk would be the last.
                continue;
            }
            let mut size = [0; SIZE_BYTES_MAX];
            let mut left = size.as_mut_slice();
            write!(left, "{:X}\r\n", piece.len()).expect("any length fits");
            let used = SIZE_BYTES_MAX - left.len();
            let parts = [&size[..used], &piece, b"\r\n"];
            if self.line.send_parts(parts).await == Next::End {
                return;
            }
        }
        // Nobody to tell if it cannot be sent: the connection ends either way.
        let _ = self.line.send_parts([b"0\r\n\r\n", b"", b""]).await;
    }
}
