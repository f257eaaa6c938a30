//! What a pinned segment answers: bytes, message boundaries, messages.

use std::sync::Arc;

use bytes::Bytes;
use millrace_core::{FilePos, StreamPos};

use super::{
    Extent, MessageMark, SegmentRef,
    file::{SegmentFile, size},
    format::BLOCK_BYTES,
    index::{self, PAGE_ENTRY_BYTES, PAGE_MESSAGES, PageEntry},
};
use crate::StoreError;

impl SegmentRef {
    /// The `len` bytes of `extent` at `from`: verified, and exactly those.
    ///
    /// # Panics
    /// When the range does not lie in the extent, or the extent not in this segment.
    pub fn read(&self, extent: &Extent, from: StreamPos, len: usize) -> Result<Bytes, StoreError> {
        assert_eq!(extent.segment, self.id(), "an extent of this segment");
        let inside =
            extent.from <= from && from <= extent.until && len as u64 <= extent.until.since(from);
        assert!(inside, "{len} bytes at {from} lie in {extent:?}");
        let file = self.file()?;
        let at = extent.data.get().checked_add(from.since(extent.from));
        let end = at.and_then(|at| at.checked_add(len as u64));
        match (at, end) {
            (Some(at), Some(end)) if end <= file.trailer().index.get() => {
                file.read(FilePos(at), len as u64)
            }
            _ => Err(file.corrupt("an extent lies outside of its data")),
        }
    }

    /// The largest message boundary at or before `pos`; the extent's beginning is one.
    pub fn boundary_at_or_before(
        &self,
        extent: &Extent,
        pos: StreamPos,
    ) -> Result<StreamPos, StoreError> {
        let (start, end) = self.around(extent, pos)?;
        Ok(if end == pos { end } else { start })
    }

    /// The smallest message boundary at or after `pos`; the extent's end is one.
    pub fn boundary_at_or_after(
        &self,
        extent: &Extent,
        pos: StreamPos,
    ) -> Result<StreamPos, StoreError> {
        let (start, end) = self.around(extent, pos)?;
        Ok(if start == pos { start } else { end })
    }

    /// Whether a message begins or ends at `pos`.
    pub fn is_boundary(&self, extent: &Extent, pos: StreamPos) -> Result<bool, StoreError> {
        let (start, end) = self.around(extent, pos)?;
        Ok(start == pos || end == pos)
    }

    /// The messages of `extent` from the one that holds the byte at `from` onwards. Decodes page by
    /// page, as it is asked.
    pub fn messages(&self, extent: &Extent, from: StreamPos) -> Result<MessageMarks, StoreError> {
        let mut marks = self.page_at(extent, from)?;
        marks.skip_until(from);
        Ok(marks)
    }

    /// All extents that were written to the segment, whatever the catalog still names of them.
    pub(crate) fn extents(&self) -> Result<Vec<Extent>, StoreError> {
        self.file()?.extents()
    }

    /// Where the message that holds the byte at `pos` begins and ends; of the last message when
    /// `pos` is the extent's end.
    fn around(
        &self,
        extent: &Extent,
        pos: StreamPos,
    ) -> Result<(StreamPos, StreamPos), StoreError> {
        let marks = self.page_at(extent, pos)?;
        let mut start = marks.first;
        for mark in marks.page {
            if pos < mark.end || mark.end == extent.until {
                return Ok((start, mark.end));
            }
            start = mark.end;
        }
        Err(marks.index.file.corrupt("an index page ends too early"))
    }

    /// The messages from the beginning of the page that holds `pos`.
    pub(super) fn page_at(
        &self,
        extent: &Extent,
        pos: StreamPos,
    ) -> Result<MessageMarks, StoreError> {
        assert_eq!(extent.segment, self.id(), "an extent of this segment");
        let inside = extent.from <= pos && pos <= extent.until;
        assert!(inside, "{pos} lies in {extent:?}");
        let mut index = IndexReader::new(self.file()?, *extent);
        let page = index.page_of(pos)?;
        let (first, marks) = index.page(page)?;
        Ok(MessageMarks {
            _pin: self.clone(),
            index,
            next_page: page + 1,
            first,
            page: marks.into_iter(),
        })
    }
}

/// The messages of an extent, in order.
#[derive(Debug)]
pub struct MessageMarks {
    /// The file must be there when it is opened again.
    _pin: SegmentRef,
    index: IndexReader,
    pub(super) next_page: u32,
    /// Where the current page's first message begins.
    pub(super) first: StreamPos,
    pub(super) page: std::vec::IntoIter<MessageMark>,
}

impl MessageMarks {
    /// Where the first of the messages still to come begins, if it is not the first of a page whose
    /// beginning was skipped.
    fn skip_until(&mut self, from: StreamPos) {
        let ended = self
            .page
            .as_slice()
            .partition_point(|mark| mark.end <= from);
        if ended > 0 {
            self.page.nth(ended - 1);
        }
    }
}

impl Iterator for MessageMarks {
    type Item = Result<MessageMark, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(mark) = self.page.next() {
            return Some(Ok(mark));
        }
        if self.next_page >= self.index.extent.index_pages {
            return None;
        }
        match self.index.page(self.next_page) {
            Ok((first, marks)) => {
                self.next_page += 1;
                self.first = first;
                self.page = marks.into_iter();
                self.page.next().map(Ok)
            }
            Err(error) => {
                // The error is told once, then the messages end: nothing is skipped.
                self.next_page = u32::MAX;
                Some(Err(error))
            }
        }
    }
}

/// Reads the index of one extent, and remembers the last block of its pages and of their directory,
/// because both are far smaller.
#[derive(Debug)]
pub(crate) struct IndexReader {
    file: Arc<SegmentFile>,
    extent: Extent,
    pages: HeldBlock,
    directory: HeldBlock,
}

/// A block, and which one it is.
type HeldBlock = Option<(u64, Vec<u8>)>;

impl IndexReader {
    pub(crate) fn new(file: Arc<SegmentFile>, extent: Extent) -> Self {
        Self {
            file,
            extent,
            pages: None,
            directory: None,
        }
    }

    pub(super) fn corrupt(&self, what: &str) -> StoreError {
        self.file.corrupt(what)
    }

    /// Goes on with another extent of the same file.
    pub(crate) fn turn_to(&mut self, extent: Extent) {
        self.extent = extent;
    }

    /// The page that holds the message of the byte at `pos`.
    fn page_of(&mut self, pos: StreamPos) -> Result<u32, StoreError> {
        // Page `low` begins at or before `pos`, page `high` after it.
        let (mut low, mut high) = (0, self.extent.index_pages);
        while low + 1 < high {
            let middle = low.midpoint(high);
            if self.entry(middle)?.first <= pos {
                low = middle;
            } else {
                high = middle;
            }
        }
        // The extent's end belongs to the last page, which has begun before it.
        Ok(low)
    }

    /// Where page `number` begins in the stream, and its messages.
    pub(crate) fn page(
        &mut self,
        number: u32,
    ) -> Result<(StreamPos, Vec<MessageMark>), StoreError> {
        let entry = self.entry(number)?;
        let is_last = number + 1 == self.extent.index_pages;
        let until = if is_last {
            self.extent.until
        } else {
            self.entry(number + 1)?.first
        };
        let bytes = bytes_in(
            &mut self.pages,
            &self.file,
            entry.page,
            u64::from(entry.len),
        )?;
        let marks = index::take_page(&bytes, entry.first, until)
            .map_err(|fault| self.file.corrupt(&fault.to_string()))?;
        if !is_last && marks.len() != PAGE_MESSAGES {
            return Err(self.file.corrupt("an index page is not full"));
        }
        Ok((entry.first, marks))
    }

    fn entry(&mut self, number: u32) -> Result<PageEntry, StoreError> {
        let before = u64::from(number) * PAGE_ENTRY_BYTES;
        let at = self.extent.index.get().saturating_add(before);
        let held = &mut self.directory;
        let bytes = bytes_in(held, &self.file, FilePos(at), PAGE_ENTRY_BYTES)?;
        let entry = index::take_page_entry(&bytes)
            .map_err(|fault| self.file.corrupt(&fault.to_string()))?;
        let inside = self.extent.from <= entry.first && entry.first < self.extent.until;
        if !inside || (number == 0 && entry.first != self.extent.from) {
            return Err(self
                .file
                .corrupt("an index page lies outside of its extent"));
        }
        Ok(entry)
    }
}

/// Bytes of an index: from the held block where it has them.
fn bytes_in(
    held: &mut HeldBlock,
    file: &SegmentFile,
    at: FilePos,
    len: u64,
) -> Result<Bytes, StoreError> {
    let number = at.get() / BLOCK_BYTES;
    let start = at.get() % BLOCK_BYTES;
    if start + len > BLOCK_BYTES || number >= file.blocks() {
        return file.read(at, len);
    }
    if held.as_ref().is_none_or(|(held, _)| *held != number) {
        *held = Some((number, file.read_blocks(number, number)?));
    }
    let (_, block) = held.as_ref().expect("read just now");
    block
        .get(size(start)..size(start + len))
        .map(Bytes::copy_from_slice)
        .ok_or_else(|| file.corrupt("something refers to bytes past its end"))
}
