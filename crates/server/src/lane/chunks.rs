//! Answers without a known end: each piece is a chunk of its own (RFC 9112, 7.1).
//!
//! The connection ends with the answer, which says so in its head. Until then nothing is read from it:
//! what a client sends behind its request is nobody's, and one that leaves is noticed when the next
//! piece, or sign of life, cannot be sent.

use std::io::Write as _;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Next, line::Line};
use crate::bodies::Source;

/// A chunk's size and line break, at most.
const SIZE_BYTES_MAX: usize = 18;

/// Sends the pieces of `source` until there are no more.
pub(super) async fn follow<C, S>(mut source: S, line: &mut Line<C>) -> Next
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: Source,
{
    // The head waits for the first piece, which is there at once.
    line.expect_no_more();
    while let Some(piece) = source.next().await {
        // Broken off: the client sees that the last chunk is missing.
        let Ok(piece) = piece else { return Next::End };
        if piece.is_empty() {
            // An empty chunk would be the last.
            continue;
        }
        let mut size = [0; SIZE_BYTES_MAX];
        let mut left = size.as_mut_slice();
        write!(left, "{:X}\r\n", piece.len()).expect("any length fits");
        let used = SIZE_BYTES_MAX - left.len();
        if line.send_parts([&size[..used], &piece, b"\r\n"]).await == Next::End {
            return Next::End;
        }
    }
    // Nobody to tell if it cannot be sent: the connection ends either way.
    let _ = line.send_parts([b"0\r\n\r\n", b"", b""]).await;
    Next::End
}
