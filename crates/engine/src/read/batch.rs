//! What a read came to: a run of wire bytes, fetched piece by piece while it is sent.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use millrace_core::{Offset, Refusal, StreamPos};
use millrace_store::{Extent, SegmentRef};

use super::holder::ask;

/// The most bytes one piece read from a file has: bounds what a slow client holds in memory.
const PIECE_BYTES_MAX: u64 = 64 << 10;
/// Slices of memory below this size are copied together, so that a page of many small appends is
/// not as many small writes.
const SMALL_BYTES: usize = 4 << 10;
/// The most bytes that are copied together.
const GATHER_BYTES_MAX: usize = 64 << 10;

/// A planned piece.
#[derive(Debug)]
pub(crate) enum Slice {
    /// In memory.
    Hot(Bytes),
    /// In a segment that stays as long as this does.
    Stored {
        segment: SegmentRef,
        extent: Extent,
        from: StreamPos,
        until: StreamPos,
    },
}

impl Slice {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Hot(bytes) => bytes.len() as u64,
            Self::Stored { from, until, .. } => until.since(*from),
        }
    }
}

/// A run of a stream's wire bytes.
#[derive(Debug)]
pub struct Batch {
    /// The offset of its first byte.
    pub from: Offset,
    /// The offset after its last byte: the most that a reply with this batch may claim.
    pub next: Offset,
    /// Whether it reaches the stream's tail as it was when the read was planned.
    pub up_to_date: bool,
    /// Whether it reaches the end of a closed stream.
    pub closed: bool,
    /// The number of wire bytes.
    pub len: u64,
    pub(super) slices: VecDeque<Slice>,
}

impl Batch {
    /// The next piece, in order; `None` after the last. Bytes from files were verified. After an
    /// error the rest must not be sent as if it were whole.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, Refusal>> {
        match self.slices.pop_front()? {
            Slice::Hot(bytes) => Some(Ok(self.gather(bytes))),
            Slice::Stored {
                segment,
                extent,
                from,
                until,
            } => Some(self.fetch(segment, extent, from, until).await),
        }
    }

    /// All of it in one piece. For small batches.
    pub async fn collect(mut self) -> Result<Bytes, Refusal> {
        let Some(first) = self.chunk().await else {
            return Ok(Bytes::new());
        };
        let first = first?;
        if self.slices.is_empty() {
            return Ok(first);
        }
        let mut all = BytesMut::with_capacity(usize::try_from(self.len).unwrap_or_default());
        all.extend_from_slice(&first);
        while let Some(chunk) = self.chunk().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all.freeze())
    }

    fn gather(&mut self, first: Bytes) -> Bytes {
        let small = |slice: Option<&Slice>| match slice {
            Some(Slice::Hot(next)) if next.len() < SMALL_BYTES => Some(next.len()),
            _ => None,
        };
        if first.len() >= SMALL_BYTES || small(self.slices.front()).is_none() {
            return first;
        }
        let mut all = BytesMut::from(&first[..]);
        while let Some(len) = small(self.slices.front()) {
            if all.len() + len > GATHER_BYTES_MAX {
                break;
            }
            let Some(Slice::Hot(next)) = self.slices.pop_front() else {
                break;
            };
            all.extend_from_slice(&next);
        }
        all.freeze()
    }

    async fn fetch(
        &mut self,
        segment: SegmentRef,
        extent: Extent,
        from: StreamPos,
        until: StreamPos,
    ) -> Result<Bytes, Refusal> {
        let stop = from.advance(until.since(from).min(PIECE_BYTES_MAX));
        if stop < until {
            let segment = segment.clone();
            self.slices.push_front(Slice::Stored {
                segment,
                extent,
                from: stop,
                until,
            });
        }
        let len = usize::try_from(stop.since(from)).expect("a piece is small");
        ask(move || segment.read(&extent, from, len)).await
    }
}
