//! All of a segment's index, message by message, in pieces: to see that it is whole. What the
//! checksums of its blocks cannot say is whether extents, pages and messages join.
//!
//! Not here: the checksums themselves (`file`), and what the catalog makes of the extents.

use std::sync::Arc;

use millrace_core::{FilePos, StreamPos};

use super::{Extent, file::SegmentFile, format::HEADER_BYTES, read::IndexReader};
use crate::StoreError;

/// A place in the index of a segment.
#[derive(Debug)]
pub(crate) struct IndexWalk {
    extents: Vec<Extent>,
    /// Which of them is next.
    at: usize,
    /// Its next page.
    page: u32,
    /// Where that page's first message has to begin.
    end: StreamPos,
    /// How many messages its pages before had.
    messages: u64,
}

impl IndexWalk {
    /// Reads the extent directory: extents lie one behind the other, inside of the data.
    pub(crate) fn new(file: &SegmentFile) -> Result<Self, StoreError> {
        let extents = file.extents()?;
        let mut end = FilePos(HEADER_BYTES);
        for extent in &extents {
            let data_end = extent.data.get().checked_add(extent.bytes());
            let inside = data_end.is_some_and(|end| end <= file.trailer().index.get());
            if extent.data < end || !inside {
                return Err(file.corrupt("its extents overlap, or lie outside of its data"));
            }
            end = FilePos(extent.data.get() + extent.bytes());
        }
        Ok(Self {
            end: extents.first().map_or(StreamPos::ZERO, |first| first.from),
            extents,
            at: 0,
            page: 0,
            messages: 0,
        })
    }

    /// Looks at up to `pages` more pages, and says whether there are others. Every message joins the
    /// one before, and they are as many as their extent says.
    pub(crate) fn walk(&mut self, file: &Arc<SegmentFile>, pages: u32) -> Result<bool, StoreError> {
        let Some(mut extent) = self.extents.get(self.at).copied() else {
            return Ok(false);
        };
        let mut index = IndexReader::new(Arc::clone(file), extent);
        for _ in 0..pages {
            let (first, marks) = index.page(self.page)?;
            if first != self.end {
                return Err(file.corrupt("the pages of an index do not join"));
            }
            self.messages += marks.len() as u64;
            self.end = marks.last().map_or(self.end, |mark| mark.end);
            self.page += 1;
            if self.page < extent.index_pages {
                continue;
            }
            if (self.end, self.messages) != (extent.until, extent.messages) {
                return Err(file.corrupt("an index does not have the messages of its extent"));
            }
            let Some(next) = self.next_extent() else {
                return Ok(false);
            };
            extent = next;
            index.turn_to(extent);
        }
        Ok(true)
    }

    fn next_extent(&mut self) -> Option<Extent> {
        self.at += 1;
        let next = self.extents.get(self.at).copied()?;
        (self.page, self.messages, self.end) = (0, 0, next.from);
        Some(next)
    }

    /// All extents of the segment.
    pub(crate) fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The same, for good.
    pub(crate) fn into_extents(self) -> Vec<Extent> {
        self.extents
    }
}
