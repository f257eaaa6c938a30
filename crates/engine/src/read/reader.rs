//! The one reader behind catch-up, long-poll and SSE.
//!
//! INVARIANT: a reader's position moves only by what a batch carries.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use millrace_core::{ContentKind, Offset, Refusal, StreamPos};
use millrace_env::{
    Env,
    mutant::{self, Mutant},
};

use super::{Batch, Holder, batch::Slice};
use crate::{engine::Shared, live::Follow, stream::Stream};

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At the first byte.
    Start,
    /// At the tail as it is when the reader is made.
    Tail,
    /// At an offset, which must be one of the stream's.
    At(Offset),
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// There are bytes past the reader's position.
    More,
    /// The stream is closed and the reader at its end.
    Closed,
    /// The stream was deleted or expired.
    Gone,
    /// The server is stopping; the reader's offset is good to go on from elsewhere.
    Stopping,
}

/// A position in a stream, moving forward.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    stream: Stream,
    /// Who holds which positions, in order; the last is the stream itself.
    holders: Arc<[Holder]>,
    position: StreamPos,
    /// Keeps a sliding lifetime from ending while this waits.
    follow: Option<Follow>,
    /// When the bytes became durable that ended the last wait.
    woken_by: Option<Duration>,
}

impl Reader {
    /// A reader at `from`. `holders` are who holds the stream's bytes.
    pub(crate) async fn new(
        shared: Arc<Shared>,
        stream: Stream,
        holders: Arc<[Holder]>,
        from: From,
    ) -> Result<Self, Refusal> {
        let (position, may_be_inside) = {
            let view = stream.live.view();
            let state = &view.state;
            let position = match from {
                From::Start => StreamPos::ZERO,
                From::Tail => state.tail,
                From::At(offset) if state.owns(offset) => offset.position,
                From::At(_) => {
                    return Err(Refusal::OffsetGone {
                        earliest: state.start_offset(),
                    });
                }
            };
            let may_be_inside = state.kind() == ContentKind::Json && position != state.tail;
            (position, may_be_inside)
        };
        let reader = Self {
            shared,
            stream,
            holders,
            position,
            follow: None,
            woken_by: None,
        };
        if may_be_inside {
            let holder = reader.holder_of(position);
            if !holder
                .is_boundary(&reader.shared.segments, position)
                .await?
            {
                return Err(Refusal::OffsetNotABoundary);
            }
        }
        Ok(reader)
    }

    /// The stream it reads.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Where it is.
    pub fn offset(&self) -> Offset {
        self.stream
            .live
            .view()
            .state
            .generations
            .offset_at(self.position)
    }

    /// The offset that lies `bytes` before where it is: for who holds back the last bytes of what was
    /// read.
    ///
    /// # Panics
    /// When the reader is not that far.
    pub fn offset_before(&self, bytes: u64) -> Offset {
        let position = self.position.get().checked_sub(bytes);
        let position = StreamPos(position.expect("only bytes that were read are held back"));
        let view = self.stream.live.view();
        view.state.generations.offset_at(position)
    }

    /// From here on this is a live reader: the stream's sliding lifetime does not end under it, and
    /// is renewed when it is dropped.
    pub fn follow(&mut self) {
        self.follow.get_or_insert_with(|| self.stream.live.follow());
    }

    /// What is there now, at most about `bytes_max` bytes and, for JSON, at least one whole message.
    /// Empty at the tail. Never waits for new bytes.
    pub async fn next(&mut self, bytes_max: u64) -> Result<Batch, Refusal> {
        let until = self.page_end(bytes_max).await?;
        let batch = self.plan(until)?;
        self.position = batch.next.position;
        Ok(batch)
    }

    /// Waits until there is something to say.
    pub async fn changed(&mut self) -> Changed {
        let stopping = self.shared.stopping();
        loop {
            let changes = self.stream.live.changes();
            let (queue, changed) = changes.wait();
            tokio::pin!(changed);
            // Registered before looking, so that no change falls between the look and the wait.
            changed.as_mut().enable();
            if !changes.is_current(queue) {
                continue;
            }
            if let Some((changed, since)) = self.look() {
                self.woken_by = since;
                return changed;
            }
            tokio::select! {
                biased;
                () = &mut changed => {}
                () = stopping.wait() => return Changed::Stopping,
            }
        }
    }

    /// When the first of the bytes became durable that the last [`Self::changed`] told of, by the
    /// stopwatch. Told once, and to who [`Self::follow`]s.
    pub fn take_woken_by(&mut self) -> Option<Duration> {
        self.woken_by.take()
    }

    /// What there is to say, and since when where it is bytes that were waited for.
    fn look(&self) -> Option<(Changed, Option<Duration>)> {
        let view = self.stream.live.view();
        if view.gone || view.state.soft_deleted {
            Some((Changed::Gone, None))
        } else if view.state.tail > self.position {
            let recent = view.recent.as_ref();
            let since = recent.and_then(|recent| recent.after(self.position));
            Some((Changed::More, since))
        } else if view.state.is_closed() {
            Some((Changed::Closed, None))
        } else {
            None
        }
    }

    /// Where a page of at most `bytes_max` bytes ends.
    async fn page_end(&self, bytes_max: u64) -> Result<StreamPos, Refusal> {
        let (tail, kind) = {
            let view = self.stream.live.view();
            (view.state.tail, view.state.kind())
        };
        let limit = StreamPos(self.position.get().saturating_add(bytes_max.max(1)));
        if let Some(lost) = self.lost_before(limit.min(tail)) {
            return Ok(lost);
        }
        if limit >= tail {
            return Ok(tail);
        }
        if kind != ContentKind::Json {
            return Ok(limit);
        }
        let segments = &self.shared.segments;
        let before = self
            .holder_of(limit)
            .boundary_before(segments, limit)
            .await?;
        if before > self.position {
            return Ok(before);
        }
        self.holder_of(self.position)
            .boundary_after(segments, self.position)
            .await
    }

    /// Where bytes begin, after the position and before `limit`, that a repair marked as lost: what lies
    /// before them is read like any other, and only the read that begins with them fails.
    fn lost_before(&self, limit: StreamPos) -> Option<StreamPos> {
        let holders = self.holders.iter();
        let mut lost = holders.filter_map(|holder| {
            let (from, until) = (self.position.max(holder.from), limit.min(holder.until));
            holder.lost_in(from, until)
        });
        lost.next().filter(|lost| *lost > self.position)
    }

    fn plan(&self, until: StreamPos) -> Result<Batch, Refusal> {
        let (from, next, up_to_date, closed) = {
            let view = self.stream.live.view();
            if view.gone {
                return Err(Refusal::NotFound);
            }
            if view.state.soft_deleted {
                return Err(Refusal::SoftDeleted);
            }
            let up_to_date = until == view.state.tail;
            let at = |pos| view.state.generations.offset_at(pos);
            let closed = up_to_date && view.state.is_closed();
            let next = match until {
                _ if mutant::is(Mutant::MovePastBytes) => view.state.tail,
                until => until,
            };
            (at(self.position), at(next), up_to_date, closed)
        };
        let mut slices: Vec<Slice> = Vec::new();
        for holder in self.holders.iter() {
            let (start, stop) = (self.position.max(holder.from), until.min(holder.until));
            if start < stop {
                holder.plan(&self.shared.segments, start, stop, &mut slices);
            }
        }
        let len = until.since(self.position);
        assert_eq!(
            slices.iter().map(Slice::len).sum::<u64>(),
            len,
            "a batch carries its range"
        );
        Ok(Batch {
            from,
            next,
            up_to_date,
            closed,
            len,
            slices: VecDeque::from(slices),
        })
    }

    /// Who holds the byte at `pos`.
    fn holder_of(&self, pos: StreamPos) -> &Holder {
        let at = self.holders.partition_point(|holder| holder.until <= pos);
        &self.holders[at.min(self.holders.len() - 1)]
    }

    /// The outside world, for those who wait.
    pub fn env(&self) -> &Env {
        &self.shared.env
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.follow.is_some() {
            // The end of a live read renews the lifetime that it held.
            self.stream.touch();
        }
    }
}
