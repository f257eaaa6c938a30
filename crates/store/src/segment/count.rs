//! Messages by number and by time: what a pinned segment answers to who asks for the last few, for a
//! few, or for those since a moment.
//!
//! Pages but the last of an extent are full, so a number leads to its page without reading others; a
//! time is found by bisection over the pages' first messages. Both read a handful of pages, however
//! many messages the extent has.
//!
//! Times are those of the server's clock when a message was appended. Where that was set back, a
//! bisection finds *a* message that is not older than what is asked for and follows one that is.

use millrace_core::{StreamPos, Timestamp};

use super::{
    Extent, SegmentRef,
    index::PAGE_MESSAGES,
    read::{IndexReader, MessageMarks},
};
use crate::StoreError;

/// How many messages of an extent lie before a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Those that end at or before it.
    pub ended: u64,
    /// Those that begin before it: one more where it lies inside of a message.
    pub begun: u64,
}

impl SegmentRef {
    /// How many messages of `extent` lie before `pos`.
    ///
    /// # Panics
    /// When the position does not lie in the extent, or the extent not in this segment.
    pub fn count_before(&self, extent: &Extent, pos: StreamPos) -> Result<Counted, StoreError> {
        if pos == extent.until {
            let all = extent.messages;
            return Ok(Counted {
                ended: all,
                begun: all,
            });
        }
        let MessageMarks {
            next_page,
            first,
            page,
            ..
        } = self.page_at(extent, pos)?;
        let before = u64::from(next_page - 1) * PAGE_MESSAGES as u64;
        let marks = page.as_slice();
        let ended = marks.partition_point(|mark| mark.end <= pos);
        let start = match ended {
            0 => first,
            ended => marks[ended - 1].end,
        };
        let ended = before + ended as u64;
        Ok(Counted {
            ended,
            begun: ended + u64::from(start < pos),
        })
    }

    /// Where message `number` of `extent`, counted from 0, begins; the extent's end for the number
    /// of its messages.
    ///
    /// # Panics
    /// When it has fewer messages.
    pub fn message_start(&self, extent: &Extent, number: u64) -> Result<StreamPos, StoreError> {
        assert!(number <= extent.messages, "message {number} of {extent:?}");
        if number == extent.messages {
            return Ok(extent.until);
        }
        let mut index = self.index_of(extent)?;
        let (page, place) = (number / PAGE_MESSAGES as u64, number % PAGE_MESSAGES as u64);
        let page = u32::try_from(page)
            .ok()
            .filter(|page| *page < extent.index_pages);
        let missing = || index.corrupt("an index has fewer messages than its extent");
        let (first, marks) = index.page(page.ok_or_else(missing)?)?;
        match usize::try_from(place).expect("below a page's messages") {
            0 => Ok(first),
            place => match marks.get(place - 1) {
                Some(before) => Ok(before.end),
                None => Err(index.corrupt("an index has fewer messages than its extent")),
            },
        }
    }

    /// Where the first message of `extent` begins that was appended at `since` or later; `None` when
    /// all are older.
    pub fn first_since(
        &self,
        extent: &Extent,
        since: Timestamp,
    ) -> Result<Option<StreamPos>, StoreError> {
        let mut index = self.index_of(extent)?;
        // What is asked for lies in the page before `high`, or begins `high`.
        let (mut low, mut high) = (0, extent.index_pages);
        while low < high {
            let middle = low.midpoint(high);
            let (_, marks) = index.page(middle)?;
            if marks.first().is_some_and(|mark| mark.at < since) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let Some(page) = high.checked_sub(1) else {
            return Ok(Some(extent.from));
        };
        let (_, marks) = index.page(page)?;
        let older = marks.iter().take_while(|mark| mark.at < since).last();
        // The page's first message is older, or it would not be the one before `high`.
        let start = older.map_or(extent.from, |mark| mark.end);
        Ok((start < extent.until).then_some(start))
    }

    fn index_of(&self, extent: &Extent) -> Result<IndexReader, StoreError> {
        assert_eq!(extent.segment, self.id(), "an extent of this segment");
        Ok(IndexReader::new(self.file()?, *extent))
    }
}
