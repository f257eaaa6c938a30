//! What a read came to: a run of wire bytes, fetched piece by piece while it is sent.
//!
//! BOUND: a short run is there at once. Of a long one only the piece that is being sent is held, and
//! counted among what readers hold: bytes that are not flushed yet are looked up when their turn comes,
//! so that a slow client keeps no more of the log in memory than the log does itself.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};
use millrace_core::{Offset, Refusal, StreamPos};
use millrace_store::{Extent, SegmentRef};

use super::holder::{Holder, Later, ask};
use crate::engine::Shared;

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
    /// Was only in memory when it was planned; where it is by now is looked up.
    Later {
        holder: Holder,
        from: StreamPos,
        until: StreamPos,
    },
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
            Self::Later { from, until, .. } | Self::Stored { from, until, .. } => {
                until.since(*from)
            }
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
    /// Whether it is more than a reader should hold at once: to be sent piece by piece.
    pub is_long: bool,
    pub(super) slices: VecDeque<Slice>,
    pub(super) shared: Arc<Shared>,
}

impl Batch {
    /// The next piece, in order; `None` after the last. Bytes from files were verified. After an
    /// error the rest must not be sent as if it were whole.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, Refusal>> {
        loop {
            match self.slices.pop_front()? {
                Slice::Hot(bytes) => return Some(Ok(self.gather(bytes))),
                Slice::Later {
                    holder,
                    from,
                    until,
                } => match self.look_up(holder, from, until) {
                    Ok(None) => {}
                    Ok(Some(bytes)) => return Some(Ok(bytes)),
                    Err(refusal) => return Some(Err(refusal)),
                },
                Slice::Stored {
                    segment,
                    extent,
                    from,
                    until,
                } => return Some(self.fetch(segment, extent, from, until).await),
            }
        }
    }

    /// Whether it can be sent as one piece with what other readers hold. Only a JSON message that is
    /// longer than a piece may be too much.
    pub fn fits(&self) -> bool {
        self.shared.reading.fits(self.len)
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

    /// The next piece of bytes that were not flushed when they were planned; `None` when they are by
    /// now, and were planned anew. A copy: the log's own buffers are large, and shared.
    fn look_up(
        &mut self,
        holder: Holder,
        from: StreamPos,
        until: StreamPos,
    ) -> Result<Option<Bytes>, Refusal> {
        let piece = self.shared.reading.piece_bytes();
        let stop = from.advance(until.since(from).min(piece));
        match holder.look_up(&self.shared.segments, from, stop, until)? {
            Later::Hot(slices) => {
                if stop < until {
                    let from = stop;
                    self.slices.push_front(Slice::Later {
                        holder,
                        from,
                        until,
                    });
                }
                let bytes = Bytes::from(slices.concat());
                Ok(Some(self.shared.reading.hold(bytes)))
            }
            Later::Planned(slices) => {
                for slice in slices.into_iter().rev() {
                    self.slices.push_front(slice);
                }
                Ok(None)
            }
        }
    }

    /// `bytes` on their way to the client, counted among what readers hold until the last slice is gone.
    pub fn hold(&self, bytes: Bytes) -> Bytes {
        self.shared.reading.hold(bytes)
    }

    async fn fetch(
        &mut self,
        segment: SegmentRef,
        extent: Extent,
        from: StreamPos,
        until: StreamPos,
    ) -> Result<Bytes, Refusal> {
        let piece = self.shared.reading.piece_bytes();
        let stop = from.advance(until.since(from).min(piece));
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
        let bytes = ask(move || segment.read(&extent, from, len)).await?;
        Ok(self.shared.reading.hold(bytes))
    }
}
