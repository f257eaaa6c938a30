//! Walking a holder's run of bytes by messages: a few back, a few on, those since a moment, and where
//! each ends and when it was appended.
//!
//! A message of a JSON stream is a value; of any other stream, an append. Where a fork cuts one off, the
//! part that it inherits is one.
//!
//! Extents answer from their indexes, beside the event loop; what is in memory is walked in place.

use millrace_core::{Refusal, StreamPos, Timestamp};
use millrace_store::{Extent, SegmentRef, Segments, StoreError};

use super::holder::{Holder, ask};
use crate::live::View;

/// A message's end, and when it was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) end: StreamPos,
    pub(crate) at: Timestamp,
}

/// Extents in order, whose files stay as long as this does.
struct Pinned(Vec<(SegmentRef, Extent)>);

impl Pinned {
    /// Those that overlap `from..until`. Taken under the view's lock: a segment is removed only after
    /// every view that names it was changed.
    fn new(view: &View, segments: &Segments, from: StreamPos, until: StreamPos) -> Self {
        let first = view.extents.partition_point(|extent| extent.until <= from);
        let overlapping = view.extents[first..]
            .iter()
            .take_while(|extent| extent.from < until);
        Self(
            overlapping
                .map(|extent| (segments.pin(extent.segment), *extent))
                .collect(),
        )
    }

    /// [`Holder::back`], from the end of the last extent or inside of it.
    fn back(&self, mut pos: StreamPos, mut count: u64) -> Result<(StreamPos, u64), StoreError> {
        for (segment, extent) in self.0.iter().rev() {
            let begun = if pos < extent.until {
                segment.count_before(extent, pos)?.begun
            } else {
                extent.messages
            };
            if begun >= count {
                return Ok((segment.message_start(extent, begun - count)?, 0));
            }
            count -= begun;
            pos = extent.from;
        }
        Ok((pos, count))
    }

    /// [`Holder::on`], from the beginning of the first extent or inside of it.
    fn on(&self, mut pos: StreamPos, mut count: u64) -> Result<(StreamPos, u64), StoreError> {
        for (segment, extent) in &self.0 {
            let ended = if pos > extent.from {
                segment.count_before(extent, pos)?.ended
            } else {
                0
            };
            if extent.messages - ended >= count {
                return Ok((segment.message_start(extent, ended + count)?, 0));
            }
            count -= extent.messages - ended;
            pos = extent.until;
        }
        Ok((pos, count))
    }

    /// [`Holder::since`].
    fn since(&self, since: Timestamp) -> Result<Option<StreamPos>, StoreError> {
        let (mut low, mut high) = (0, self.0.len());
        while low < high {
            let middle = low.midpoint(high);
            let (segment, extent) = &self.0[middle];
            let mut messages = segment.messages(extent, extent.from)?;
            let first = messages.next().transpose()?;
            if first.is_some_and(|mark| mark.at < since) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let begins = self.0.get(high).map(|(_, extent)| extent.from);
        let Some((segment, extent)) = high.checked_sub(1).map(|before| &self.0[before]) else {
            return Ok(begins);
        };
        Ok(segment.first_since(extent, since)?.or(begins))
    }

    fn marks(&self, from: StreamPos, until: StreamPos) -> Result<Vec<Mark>, StoreError> {
        let mut marks = Vec::new();
        for (segment, extent) in &self.0 {
            for mark in segment.messages(extent, from.max(extent.from))? {
                let mark = mark?;
                marks.push(Mark {
                    end: mark.end.min(until),
                    at: mark.at,
                });
                if mark.end >= until {
                    break;
                }
            }
        }
        Ok(marks)
    }
}

impl Holder {
    /// The position `count` messages before `pos`, and how many of them lie before this run, or before
    /// the message that holds `floor`. A message that `pos` cuts counts as one.
    pub(super) async fn back(
        &self,
        segments: &Segments,
        floor: StreamPos,
        pos: StreamPos,
        count: u64,
    ) -> Result<(StreamPos, u64), Refusal> {
        let (pinned, pos, count) = {
            let view = self.live.view();
            let sealed = view.sealed();
            let (pos, count) = if pos > sealed {
                view.hot.back(sealed, pos, count)
            } else {
                (pos, count)
            };
            if count == 0 || pos <= self.from.max(floor) {
                return Ok((pos, count));
            }
            let pinned = Pinned::new(&view, segments, self.from.max(floor), pos);
            (pinned, pos, count)
        };
        ask(move || pinned.back(pos, count)).await
    }

    /// The position after `count` messages from `pos` on, and how many of them lie past this run or
    /// are not there yet. The rest of a message that `pos` cuts counts as one.
    pub(super) async fn on(
        &self,
        segments: &Segments,
        mut pos: StreamPos,
        mut count: u64,
    ) -> Result<(StreamPos, u64), Refusal> {
        // A flush may seal what was in memory while extents are looked at.
        while count > 0 && pos < self.until {
            let pinned = {
                let view = self.live.view();
                if pos >= view.sealed() {
                    (pos, count) = view.hot.on(pos, count);
                    break;
                }
                Pinned::new(&view, segments, pos, self.until)
            };
            let walked = move || pinned.on(pos, count);
            (pos, count) = ask(walked).await?;
        }
        Ok((pos.min(self.until), count))
    }

    /// Where the first message of this run begins that was appended at `since` or later and is not
    /// wholly before `floor`; `None` when all are older.
    pub(super) async fn since(
        &self,
        segments: &Segments,
        floor: StreamPos,
        since: Timestamp,
    ) -> Result<Option<StreamPos>, Refusal> {
        let (pinned, hot) = {
            let view = self.live.view();
            let sealed = view.sealed();
            let from = self.from.max(floor);
            let pinned = Pinned::new(&view, segments, from, self.until.min(sealed));
            (pinned, view.hot.since(sealed.max(floor), since))
        };
        let stored = ask(move || pinned.since(since)).await?;
        Ok(stored.or(hot).filter(|pos| *pos < self.until))
    }

    /// The messages of `from..until`, which must lie in the run and begin and end with messages.
    pub(super) async fn marks(
        &self,
        segments: &Segments,
        from: StreamPos,
        until: StreamPos,
    ) -> Result<Vec<Mark>, Refusal> {
        let (pinned, sealed, hot) = {
            let view = self.live.view();
            let sealed = view.sealed();
            let pinned = Pinned::new(&view, segments, from, until.min(sealed));
            (pinned, sealed, view.hot.marks(from.max(sealed), until))
        };
        let mut marks = ask(move || pinned.marks(from, until.min(sealed))).await?;
        marks.extend(hot);
        Ok(marks)
    }
}
