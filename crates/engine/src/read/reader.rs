//! The one reader behind catch-up, long-poll and SSE.
//!
//! INVARIANT: a reader's position moves only by what a batch carries.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use millrace_core::{ContentKind, Offset, Refusal, StreamPos, Timestamp};
use millrace_env::{
    Env,
    mutant::{self, Mutant},
};

use super::{Batch, Holder, batch::Slice, messages::Mark};
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
    /// So many messages before the tail, or at the first byte.
    Last(u64),
    /// Before the first message that was appended at this time or later; at the tail when there is
    /// none.
    Since(Timestamp),
}

/// How much a page may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// About the most bytes; one message may have more where messages stay whole.
    pub bytes_max: u64,
    /// The most messages; `u64::MAX` for any number.
    pub messages_max: u64,
    /// Whether messages stay whole in streams that are not JSON, too.
    pub whole: bool,
}

impl Page {
    /// At most about so many bytes.
    pub fn of_bytes(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            messages_max: u64::MAX,
            whole: false,
        }
    }
}

/// Where a message ends, and when it was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageEnd {
    /// The offset after it.
    pub next: Offset,
    /// When it was appended, by the server's clock.
    pub at: Timestamp,
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
        let (position, is_json) = {
            let view = stream.live.view();
            let state = &view.state;
            let position = match from {
                From::Start => state.trimmed,
                From::Tail | From::Last(_) | From::Since(_) => state.tail,
                From::At(offset) if state.reads_from(offset) => offset.position,
                From::At(_) => {
                    return Err(Refusal::OffsetGone {
                        earliest: state.start_offset(),
                    });
                }
            };
            (position, state.kind() == ContentKind::Json)
        };
        let mut reader = Self {
            shared,
            stream,
            holders,
            position,
            follow: None,
            woken_by: None,
        };
        match from {
            From::At(_) if is_json => reader.stands_on_a_boundary().await?,
            From::Last(count) => reader.position = reader.back(position, count).await?,
            From::Since(since) => reader.position = reader.first_since(since).await?,
            From::Start | From::Tail | From::At(_) => {}
        }
        Ok(reader)
    }

    /// [`Refusal::OffsetNotABoundary`] where it stands inside of a message.
    async fn stands_on_a_boundary(&self) -> Result<(), Refusal> {
        if self.position == self.stream.live.view().state.tail {
            return Ok(());
        }
        let holder = self.holder_of(self.position);
        if holder
            .is_boundary(&self.shared.segments, self.position)
            .await?
        {
            Ok(())
        } else {
            Err(Refusal::OffsetNotABoundary)
        }
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

    /// Where it is.
    pub(crate) fn position(&self) -> StreamPos {
        self.position
    }

    /// Goes on from `position`, where a message begins, if that can be read.
    pub(crate) fn skip_to(&mut self, position: StreamPos) -> bool {
        let can = {
            let view = self.stream.live.view();
            (view.state.trimmed..=view.state.tail).contains(&position)
        };
        if can {
            self.position = position;
        }
        can
    }

    /// The first beginning of a message at most `bytes` before where it is; where it is, when the last
    /// message is longer.
    pub(crate) async fn boundary_within(&self, bytes: u64) -> Result<StreamPos, Refusal> {
        let floor = self.trimmed();
        let within = StreamPos(self.position.get().saturating_sub(bytes));
        if within <= floor {
            return Ok(floor);
        }
        // The first boundary after the byte before: `within` itself where that is one.
        let before = StreamPos(within.get() - 1);
        let holder = self.holder_of(before);
        let boundary = holder.boundary_after(&self.shared.segments, before).await?;
        Ok(boundary.min(self.position))
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
        self.next_page(Page::of_bytes(bytes_max)).await
    }

    /// What is there now, as much of it as a page holds. [`Refusal::OffsetNotABoundary`] where messages
    /// stay whole and it stands inside of one.
    pub async fn next_page(&mut self, page: Page) -> Result<Batch, Refusal> {
        if page.whole {
            self.stands_on_a_boundary().await?;
        }
        let until = self.page_end(page).await?;
        let batch = self.plan(until)?;
        self.position = batch.next.position;
        Ok(batch)
    }

    /// The last of what lies before it, as much as a page holds; it goes on after that, where it is.
    pub async fn page_before(&mut self, page: Page) -> Result<Batch, Refusal> {
        let until = self.position;
        let whole = page.whole || self.is_json();
        if whole {
            self.stands_on_a_boundary().await?;
        }
        let mut start = self.back(until, page.messages_max).await?;
        if until.since(start) > page.bytes_max {
            let fits = StreamPos(until.get() - page.bytes_max.max(1));
            start = fits;
            if whole && fits > StreamPos::ZERO {
                let before = StreamPos(fits.get() - 1);
                let holder = self.holder_of(before);
                start = holder.boundary_after(&self.shared.segments, before).await?;
            }
            if whole && start >= until {
                start = self.back(until, 1).await?;
            }
        }
        self.position = start;
        let batch = self.plan(until)?;
        self.position = until;
        // What lies before an offset does not change when the stream grows, and neither does this.
        Ok(Batch {
            up_to_date: false,
            closed: false,
            ..batch
        })
    }

    /// The messages of a batch that begins and ends with one, in order.
    pub async fn messages(&self, batch: &Batch) -> Result<Vec<MessageEnd>, Refusal> {
        let (from, until) = (batch.from.position, batch.next.position);
        let mut marks = Vec::new();
        for holder in self.holders.iter() {
            let (start, stop) = (from.max(holder.from), until.min(holder.until));
            if start < stop {
                let segments = &self.shared.segments;
                marks.extend(holder.marks(segments, start, stop).await?);
            }
        }
        let view = self.stream.live.view();
        let generations = &view.state.generations;
        let message = |mark: Mark| MessageEnd {
            next: generations.offset_at(mark.end),
            at: mark.at,
        };
        Ok(marks.into_iter().map(message).collect())
    }

    /// The position `count` messages before `pos`; the first one where there are fewer.
    async fn back(&self, pos: StreamPos, count: u64) -> Result<StreamPos, Refusal> {
        let (mut pos, mut left) = (pos, count);
        let floor = self.trimmed();
        for holder in self.holders.iter().rev() {
            if left > 0 && holder.from < pos && floor < pos {
                let segments = &self.shared.segments;
                (pos, left) = holder.back(segments, floor, pos, left).await?;
            }
        }
        // One that was cut by the trim begins before it.
        Ok(pos.max(floor))
    }

    fn trimmed(&self) -> StreamPos {
        self.stream.live.view().state.trimmed
    }

    /// The position after `count` messages from `pos` on, at most `until`.
    async fn on(&self, pos: StreamPos, until: StreamPos, count: u64) -> Result<StreamPos, Refusal> {
        let (mut pos, mut left) = (pos, count);
        for holder in self.holders.iter() {
            if left > 0 && pos < holder.until && pos < until {
                (pos, left) = holder.on(&self.shared.segments, pos, left).await?;
            }
        }
        Ok(if left > 0 { until } else { pos.min(until) })
    }

    async fn first_since(&self, since: Timestamp) -> Result<StreamPos, Refusal> {
        let floor = self.trimmed();
        for holder in self.holders.iter().filter(|holder| floor < holder.until) {
            let found = holder.since(&self.shared.segments, floor, since).await?;
            if let Some(pos) = found {
                return Ok(pos.min(self.position).max(floor));
            }
        }
        Ok(self.position)
    }

    fn is_json(&self) -> bool {
        self.stream.live.view().state.kind() == ContentKind::Json
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

    /// Where a page ends.
    async fn page_end(&self, page: Page) -> Result<StreamPos, Refusal> {
        let until = self.bytes_end(page.bytes_max, page.whole).await?;
        if page.messages_max == u64::MAX {
            return Ok(until);
        }
        self.on(self.position, until, page.messages_max).await
    }

    /// Where a page of at most `bytes_max` bytes ends.
    async fn bytes_end(&self, bytes_max: u64, whole: bool) -> Result<StreamPos, Refusal> {
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
        if kind != ContentKind::Json && !whole {
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
            if self.position < view.state.trimmed {
                return Err(Refusal::OffsetGone {
                    earliest: view.state.start_offset(),
                });
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
        let len = until.since(self.position);
        let is_long = len > self.piece_bytes();
        let mut slices: Vec<Slice> = Vec::new();
        for holder in self.holders.iter() {
            let (start, stop) = (self.position.max(holder.from), until.min(holder.until));
            if start < stop {
                holder.plan(&self.shared.segments, start, stop, is_long, &mut slices);
            }
        }
        let len = until.since(self.position);
        let planned = slices.iter().map(Slice::len).sum::<u64>();
        if planned < len {
            // Trimmed since the look above.
            let view = self.stream.live.view();
            if self.position < view.state.trimmed {
                return Err(Refusal::OffsetGone {
                    earliest: view.state.start_offset(),
                });
            }
        }
        assert_eq!(planned, len, "a batch carries its range");
        Ok(Batch {
            from,
            next,
            up_to_date,
            closed,
            len,
            is_long,
            slices: VecDeque::from(slices),
            shared: Arc::clone(&self.shared),
        })
    }

    /// Who holds the byte at `pos`.
    fn holder_of(&self, pos: StreamPos) -> &Holder {
        let at = self.holders.partition_point(|holder| holder.until <= pos);
        &self.holders[at.min(self.holders.len() - 1)]
    }

    /// How many bytes should be read next, to hold no more than one's share.
    pub fn piece_bytes(&self) -> u64 {
        self.shared.reading.piece_bytes()
    }

    /// `bytes` on their way to the client, counted among what readers hold until the last slice is gone.
    pub fn hold(&self, bytes: Bytes) -> Bytes {
        self.shared.reading.hold(bytes)
    }

    /// Whether there is memory for what followers may share.
    pub fn may_share(&self) -> bool {
        self.shared.reading.has_spare()
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
