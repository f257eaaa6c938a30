//! A stream that holds a run of a reader's bytes: the stream itself, or an ancestor of a fork.

use std::sync::Arc;

use bytes::Bytes;
use millrace_core::{Refusal, StreamPos};
use millrace_env::tasks;
use millrace_store::{Extent, SegmentRef, Segments, StoreError};

use super::batch::Slice;
use crate::live::{Live, View};

/// `live` holds the positions `from..until` of what is read.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) live: Arc<Live>,
    pub(crate) from: StreamPos,
    pub(crate) until: StreamPos,
}

/// Where bytes are by now that were only in memory.
pub(super) enum Later {
    /// Still there.
    Hot(Vec<Bytes>),
    /// The first of them are in a segment.
    Planned(Vec<Slice>),
}

/// Where a position lies.
enum Place {
    /// In memory, or at a place that needs no looking up.
    Known(StreamPos),
    /// In a segment, whose index has to be asked.
    Stored(SegmentRef, Extent),
}

impl Holder {
    /// `live` holds all.
    pub(crate) fn whole(live: Arc<Live>) -> Self {
        Self {
            live,
            from: StreamPos::ZERO,
            until: StreamPos(u64::MAX),
        }
    }

    /// Plans `from..until`, which must lie in the run: slices of memory and pinned segments. What is
    /// only in memory is left for later where `is_long`.
    pub(crate) fn plan(
        &self,
        segments: &Segments,
        from: StreamPos,
        until: StreamPos,
        is_long: bool,
        slices: &mut Vec<Slice>,
    ) {
        self.plan_in(&self.live.view(), segments, from, until, is_long, slices);
    }

    fn plan_in(
        &self,
        view: &View,
        segments: &Segments,
        from: StreamPos,
        until: StreamPos,
        is_long: bool,
        slices: &mut Vec<Slice>,
    ) {
        let first = view.extents.partition_point(|extent| extent.until <= from);
        for extent in &view.extents[first..] {
            if extent.from >= until {
                return;
            }
            // The pin is taken under the view's lock: a segment is removed only after every view
            // that names it was changed.
            let segment = segments.pin(extent.segment);
            let (from, until) = (from.max(extent.from), until.min(extent.until));
            slices.push(Slice::Stored {
                segment,
                extent: *extent,
                from,
                until,
            });
        }
        let hot_from = from.max(view.sealed());
        if hot_from >= until {
            return;
        }
        if is_long {
            slices.push(Slice::Later {
                holder: self.clone(),
                from: hot_from,
                until,
            });
        } else {
            slices.extend(view.hot.slices(hot_from, until).into_iter().map(Slice::Hot));
        }
    }

    /// What was left for later: its first bytes, up to `stop`, where they are still only in memory, else
    /// a plan of all of it. [`Refusal::NotFound`] when the stream is gone, and its bytes with it;
    /// [`Refusal::OffsetGone`] when they were trimmed.
    pub(super) fn look_up(
        &self,
        segments: &Segments,
        from: StreamPos,
        stop: StreamPos,
        until: StreamPos,
    ) -> Result<Later, Refusal> {
        let view = self.live.view();
        if view.gone {
            return Err(Refusal::NotFound);
        }
        if view.sealed() <= from {
            return Ok(Later::Hot(view.hot.slices(from, stop)));
        }
        let mut slices = Vec::new();
        self.plan_in(&view, segments, from, until, true, &mut slices);
        let planned = slices.iter().map(Slice::len).sum::<u64>();
        if planned < until.since(from) {
            // Flushed and then trimmed.
            return Err(Refusal::OffsetGone {
                earliest: view.state.start_offset(),
            });
        }
        Ok(Later::Planned(slices))
    }

    /// Where the first bytes of `from..until` begin that a repair marked as lost.
    pub(crate) fn lost_in(&self, from: StreamPos, until: StreamPos) -> Option<StreamPos> {
        if from >= until {
            return None;
        }
        let view = self.live.view();
        let first = view.extents.partition_point(|extent| extent.until <= from);
        let inside = view.extents[first..]
            .iter()
            .take_while(|extent| extent.from < until);
        let mut lost = inside.filter(|extent| extent.is_lost());
        lost.next().map(|extent| extent.from.max(from))
    }

    /// The bytes of `from..until`, read at once.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn bytes(&self, segments: &Segments, from: StreamPos, until: StreamPos) -> Vec<u8> {
        let mut slices = Vec::new();
        self.plan(segments, from, until, false, &mut slices);
        let read = slices.into_iter().flat_map(|slice| match slice {
            Slice::Hot(bytes) => bytes,
            Slice::Later { .. } => unreachable!("nothing is left for later"),
            Slice::Stored {
                segment,
                extent,
                from,
                until,
            } => {
                let len = usize::try_from(until.since(from)).expect("a test's stream");
                segment.read(&extent, from, len).expect("the bytes verify")
            }
        });
        read.collect()
    }

    /// The largest message boundary at or before `pos`.
    pub(crate) async fn boundary_before(
        &self,
        segments: &Segments,
        pos: StreamPos,
    ) -> Result<StreamPos, Refusal> {
        let known = |view: &View| view.hot.boundary_at_or_before(pos).unwrap_or(pos);
        match self.place(segments, pos, known) {
            Place::Known(boundary) => Ok(boundary),
            Place::Stored(segment, extent) => {
                ask(move || segment.boundary_at_or_before(&extent, pos)).await
            }
        }
    }

    /// The first message boundary after `pos`.
    pub(crate) async fn boundary_after(
        &self,
        segments: &Segments,
        pos: StreamPos,
    ) -> Result<StreamPos, Refusal> {
        let known = |view: &View| {
            view.hot
                .message_ends(pos)
                .next()
                .map_or(self.until, |(end, _)| end)
        };
        match self.place(segments, pos, known) {
            Place::Known(boundary) => Ok(boundary),
            Place::Stored(segment, extent) => {
                let after = pos.advance(1);
                ask(move || segment.boundary_at_or_after(&extent, after)).await
            }
        }
    }

    /// Whether a message begins or ends at `pos`.
    pub(crate) async fn is_boundary(
        &self,
        segments: &Segments,
        pos: StreamPos,
    ) -> Result<bool, Refusal> {
        if pos == self.from || pos == self.until {
            return Ok(true);
        }
        let known = |view: &View| {
            let whole = pos == view.state.tail || view.hot.is_boundary(pos);
            if whole { pos } else { StreamPos(u64::MAX) }
        };
        match self.place(segments, pos, known) {
            Place::Known(boundary) => Ok(boundary == pos),
            Place::Stored(segment, extent) => ask(move || segment.is_boundary(&extent, pos)).await,
        }
    }

    /// The message ends after `pos`, in order, each with whether its append ends there too, up to
    /// and including the first append's end and at most `limit`. The run's end ends an append.
    pub(crate) async fn append_after(
        &self,
        segments: &Segments,
        pos: StreamPos,
        limit: usize,
    ) -> Result<Vec<StreamPos>, Refusal> {
        enum Found {
            Known(Vec<StreamPos>),
            Stored(SegmentRef, Extent),
        }
        let found = {
            let view = self.live.view();
            match stored(&view, pos) {
                Some(extent) => Found::Stored(segments.pin(extent.segment), *extent),
                None => Found::Known(first_append(view.hot.message_ends(pos), limit)),
            }
        };
        let ends = match found {
            Found::Known(ends) => ends,
            Found::Stored(segment, extent) => {
                ask(move || stored_append(&segment, &extent, pos, limit)).await?
            }
        };
        let inside = ends.iter().copied().filter(|end| *end < self.until);
        let cut = ends
            .iter()
            .any(|end| *end >= self.until)
            .then_some(self.until);
        Ok(inside.chain(cut).take(limit).collect())
    }

    fn place(
        &self,
        segments: &Segments,
        pos: StreamPos,
        known: impl FnOnce(&View) -> StreamPos,
    ) -> Place {
        let view = self.live.view();
        match stored(&view, pos) {
            Some(extent) => Place::Stored(segments.pin(extent.segment), *extent),
            None => Place::Known(known(&view)),
        }
    }
}

/// The extent that holds the byte at `pos`.
fn stored(view: &View, pos: StreamPos) -> Option<&Extent> {
    let at = view.extents.partition_point(|extent| extent.until <= pos);
    view.extents.get(at).filter(|extent| extent.from <= pos)
}

fn first_append(ends: impl Iterator<Item = (StreamPos, bool)>, limit: usize) -> Vec<StreamPos> {
    let mut found = Vec::new();
    for (end, ends_append) in ends.take(limit) {
        found.push(end);
        if ends_append {
            break;
        }
    }
    found
}

fn stored_append(
    segment: &SegmentRef,
    extent: &Extent,
    pos: StreamPos,
    limit: usize,
) -> Result<Vec<StreamPos>, StoreError> {
    let mut found = Vec::new();
    for mark in segment.messages(extent, pos)? {
        let mark = mark?;
        let begins_next = mark.starts_append && !found.is_empty();
        if begins_next || found.len() == limit {
            break;
        }
        found.push(mark.end);
    }
    Ok(found)
}

/// Runs a look-up in a file beside the event loop.
pub(super) async fn ask<T: Send + 'static>(
    look_up: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Refusal> {
    tasks::blocking(look_up).await.map_err(|error| {
        tracing::error!(%error, "a stored byte range cannot be read");
        Refusal::Corrupt
    })
}
