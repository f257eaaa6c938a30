//! A stream's bytes that are durable in the log but not yet in a segment: the only copy that reads
//! can reach, so they stay in memory until a flush has sealed them.

use std::collections::VecDeque;

use bytes::Bytes;
use millrace_core::{Payload, StreamPos, Timestamp};
use millrace_store::Chunk;

use super::messages::Mark;

/// Consecutive appends, in order.
#[derive(Debug, Default)]
pub(crate) struct HotTail {
    chunks: VecDeque<Chunk>,
}

impl HotTail {
    /// Takes over the next append.
    ///
    /// # Panics
    /// When it does not follow the last one.
    pub(crate) fn push(&mut self, from: StreamPos, payload: Payload, at: Timestamp) {
        if let Some(last) = self.chunks.back() {
            assert_eq!(end(last), from, "appends are contiguous");
        }
        self.chunks.push_back(Chunk { from, payload, at });
    }

    /// The first position it holds; `None` when it is empty.
    pub(crate) fn from(&self) -> Option<StreamPos> {
        self.chunks.front().map(|chunk| chunk.from)
    }

    /// Lets go of what lies wholly before `sealed`.
    pub(crate) fn release(&mut self, sealed: StreamPos) {
        while self
            .chunks
            .front()
            .is_some_and(|chunk| end(chunk) <= sealed)
        {
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            self.chunks.shrink_to_fit();
        }
    }

    /// A copy of its appends from `from` on, for a flush.
    pub(crate) fn appends_from(&self, from: StreamPos) -> Vec<Chunk> {
        let first = self.index_of(from);
        self.chunks.range(first..).cloned().collect()
    }

    /// The bytes of `from..until`, as slices of the appends.
    pub(crate) fn slices(&self, from: StreamPos, until: StreamPos) -> Vec<Bytes> {
        let mut slices = Vec::new();
        for chunk in self.chunks.range(self.index_of(from)..) {
            if chunk.from >= until {
                break;
            }
            let start = index(from.max(chunk.from).since(chunk.from));
            let stop = index(until.min(end(chunk)).since(chunk.from));
            slices.push(chunk.payload.bytes().slice(start..stop));
        }
        slices
    }

    /// The ends of its messages after `from`, each with whether its append ends there too.
    pub(crate) fn message_ends(
        &self,
        from: StreamPos,
    ) -> impl Iterator<Item = (StreamPos, bool)> + '_ {
        let chunks = self.chunks.range(self.index_of(from)..);
        let ends = chunks.flat_map(|chunk| {
            let last = end(chunk);
            chunk.payload.lengths().scan(chunk.from, move |pos, len| {
                *pos = pos.advance(u64::from(len));
                Some((*pos, *pos == last))
            })
        });
        ends.skip_while(move |(end, _)| *end <= from)
    }

    /// The position `count` messages before `pos`, at most back to `floor`, and how many are missing
    /// there. A message that `pos` cuts counts as one.
    pub(crate) fn back(
        &self,
        floor: StreamPos,
        mut pos: StreamPos,
        mut count: u64,
    ) -> (StreamPos, u64) {
        let chunks = self.chunks.range(self.index_of(floor)..);
        for chunk in chunks.rev() {
            if count == 0 {
                break;
            }
            if chunk.from >= pos {
                continue;
            }
            let starts = starts(chunk).take_while(|start| *start < pos);
            let starts: Vec<StreamPos> = starts.collect();
            let taken = usize::try_from(count).map_or(starts.len(), |most| most.min(starts.len()));
            pos = starts[starts.len() - taken];
            count -= taken as u64;
        }
        (pos, count)
    }

    /// The position after `count` messages from `pos` on, and how many are not there.
    pub(crate) fn on(&self, mut pos: StreamPos, mut count: u64) -> (StreamPos, u64) {
        for (end, _) in self.message_ends(pos) {
            if count == 0 {
                break;
            }
            pos = end;
            count -= 1;
        }
        (pos, count)
    }

    /// Where the first append from `floor` on begins that is not older than `since`. Where the clock
    /// was set back, one that follows an older one.
    pub(crate) fn since(&self, floor: StreamPos, since: Timestamp) -> Option<StreamPos> {
        let first = self.index_of(floor);
        // What lies before the floor is sealed, and so older than all that is not.
        let at = self.chunks.partition_point(|chunk| chunk.at < since);
        self.chunks.get(at.max(first)).map(|chunk| chunk.from)
    }

    /// The messages of `from..until`.
    pub(crate) fn marks(&self, from: StreamPos, until: StreamPos) -> Vec<Mark> {
        let chunks = self.chunks.range(self.index_of(from)..);
        let marks = chunks.take_while(|chunk| chunk.from < until);
        let marks = marks.flat_map(|chunk| {
            let ends = starts(chunk).skip(1).chain([end(chunk)]);
            ends.map(|end| Mark { end, at: chunk.at })
        });
        marks
            .skip_while(|mark| mark.end <= from)
            .scan(false, |is_over, mark| {
                let end = mark.end.min(until);
                let goes_on = !std::mem::replace(is_over, mark.end >= until);
                goes_on.then_some(Mark { end, ..mark })
            })
            .collect()
    }

    /// Whether a message begins or ends at `pos`, which must lie inside or at an end.
    pub(crate) fn is_boundary(&self, pos: StreamPos) -> bool {
        if self
            .chunks
            .iter()
            .last()
            .is_some_and(|last| end(last) == pos)
        {
            return true;
        }
        let Some(chunk) = self.chunks.get(self.index_of(pos)) else {
            return false;
        };
        starts(chunk)
            .take_while(|start| *start <= pos)
            .any(|start| start == pos)
    }

    /// The largest message boundary at or before `pos`.
    pub(crate) fn boundary_at_or_before(&self, pos: StreamPos) -> Option<StreamPos> {
        let chunk = self.chunks.get(self.index_of(pos))?;
        let mut boundary = chunk.from;
        for len in chunk.payload.lengths() {
            let next = boundary.advance(u64::from(len));
            if next > pos {
                break;
            }
            boundary = next;
        }
        Some(boundary)
    }

    /// The index of the append that holds `pos`, or comes first after it.
    fn index_of(&self, pos: StreamPos) -> usize {
        self.chunks.partition_point(|chunk| end(chunk) <= pos)
    }
}

/// Where its messages begin.
fn starts(chunk: &Chunk) -> impl Iterator<Item = StreamPos> + '_ {
    chunk.payload.lengths().scan(chunk.from, |at, len| {
        let start = *at;
        *at = at.advance(u64::from(len));
        Some(start)
    })
}

fn end(chunk: &Chunk) -> StreamPos {
    chunk.from.advance(chunk.payload.len())
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a slice of bytes that are in memory")
}
