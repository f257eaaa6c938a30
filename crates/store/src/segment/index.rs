//! The message index of an extent: pages of up to [`PAGE_MESSAGES`] messages, and a directory of
//! the pages.
//!
//! A page is the time of its first message, then for every message its length, whether it is the
//! first of its append, and how much later (or earlier: clocks jump) than the message before it was
//! appended. Every page but the last holds exactly [`PAGE_MESSAGES`] messages, so that the
//! directory tells a message's number without reading the pages before it.

use millrace_core::{FilePos, StreamPos, Timestamp};

use super::MessageMark;
use crate::codec::{Decoder, Encoder, Malformed};

/// How many messages a page holds, the last one excepted.
pub(crate) const PAGE_MESSAGES: usize = 256;
/// The length of an entry of the page directory.
pub(crate) const PAGE_ENTRY_BYTES: u64 = 20;

/// Where a page lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageEntry {
    /// Where its first message begins.
    pub(crate) first: StreamPos,
    /// Where the page begins in the file.
    pub(crate) page: FilePos,
    /// How many bytes the page has.
    pub(crate) len: u32,
}

/// Collects the index of one extent.
#[derive(Debug)]
pub(crate) struct IndexBuilder {
    pages: Encoder,
    /// Positions in `pages` until the index's place in the file is known.
    entries: Vec<PageEntry>,
    end: StreamPos,
    last_at: Timestamp,
    messages: u64,
}

impl IndexBuilder {
    /// The index of an extent that begins at `from`.
    pub(crate) fn new(from: StreamPos) -> Self {
        Self {
            pages: Encoder::new(),
            entries: Vec::new(),
            end: from,
            last_at: Timestamp::ZERO,
            messages: 0,
        }
    }

    /// Adds the next message.
    pub(crate) fn push(&mut self, len: u32, starts_append: bool, at: Timestamp) {
        assert!(len > 0, "no message is empty");
        if self.messages.is_multiple_of(PAGE_MESSAGES as u64) {
            self.begin_page(at);
        }
        let start = self.pages.len();
        let head = u64::from(len) << 1 | u64::from(starts_append);
        self.pages.varint(head);
        self.pages.varint(zigzag(self.last_at, at));
        let entry = self.entries.last_mut().expect("a page was begun");
        entry.len += length(self.pages.len() - start);
        self.end = self.end.advance(u64::from(len));
        self.last_at = at;
        self.messages += 1;
    }

    fn begin_page(&mut self, at: Timestamp) {
        let start = self.pages.len();
        self.pages.varint(at.get());
        self.entries.push(PageEntry {
            first: self.end,
            page: FilePos(start as u64),
            len: length(self.pages.len() - start),
        });
        self.last_at = at;
    }

    /// The position after the last message.
    pub(crate) fn end(&self) -> StreamPos {
        self.end
    }

    /// How many messages there are.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// How many pages there are.
    pub(crate) fn pages(&self) -> u32 {
        length(self.entries.len())
    }

    /// How many bytes [`Self::put`] will append.
    pub(crate) fn bytes(&self) -> u64 {
        self.pages.len() as u64 + u64::from(self.pages()) * PAGE_ENTRY_BYTES
    }

    /// Appends pages and directory, which will stand at `at` in the file, and says where the
    /// directory begins.
    pub(crate) fn put(self, at: FilePos, out: &mut Encoder) -> FilePos {
        let pages = self.pages.finish();
        out.raw(&pages);
        for entry in &self.entries {
            out.u64(entry.first.get());
            out.u64(at.get() + entry.page.get());
            out.u32(entry.len);
        }
        FilePos(at.get() + pages.len() as u64)
    }
}

/// Reads an entry of the page directory.
pub(crate) fn take_page_entry(bytes: &[u8]) -> Result<PageEntry, Malformed> {
    let mut from = Decoder::new(bytes);
    let what = "an entry of the page directory";
    Ok(PageEntry {
        first: StreamPos(from.u64(what)?),
        page: FilePos(from.u64(what)?),
        len: from.u32(what)?,
    })
}

/// The messages of a page whose first one begins at `first`. They end at `until`: the next page's
/// first position, or the extent's end.
pub(crate) fn take_page(
    bytes: &[u8],
    first: StreamPos,
    until: StreamPos,
) -> Result<Vec<MessageMark>, Malformed> {
    let mut from = Decoder::new(bytes);
    let mut at = Timestamp(from.varint("the time of an index page")?);
    let mut end = first;
    let mut marks = Vec::new();
    while from.remaining() > 0 {
        let fault = from.malformed("a message of an index page");
        let head = from.varint("a message's length")?;
        let len = head >> 1;
        at = unzigzag(at, from.varint("a message's time")?);
        let possible = len > 0 && len <= until.get().saturating_sub(end.get());
        if !possible || marks.len() == PAGE_MESSAGES {
            return Err(fault);
        }
        end = end.advance(len);
        marks.push(MessageMark {
            end,
            starts_append: head & 1 == 1,
            at,
        });
    }
    let whole = !marks.is_empty() && end == until;
    whole
        .then_some(marks)
        .ok_or_else(|| from.malformed("the end of an index page"))
}

fn length(len: usize) -> u32 {
    u32::try_from(len).expect("an index is far smaller than 4 GiB")
}

/// The difference of two times, so that small ones either way are short. Wraps, and so is total.
fn zigzag(from: Timestamp, to: Timestamp) -> u64 {
    let delta = to.get().wrapping_sub(from.get()).cast_signed();
    ((delta << 1) ^ (delta >> 63)).cast_unsigned()
}

fn unzigzag(from: Timestamp, delta: u64) -> Timestamp {
    let delta = (delta >> 1) ^ (delta & 1).wrapping_neg();
    Timestamp(from.get().wrapping_add(delta))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_far_apart_survive() {
        for (from, to) in [(0, 0), (5, 3), (0, u64::MAX), (u64::MAX, 0), (1, 1 << 63)] {
            let (from, to) = (Timestamp(from), Timestamp(to));
            assert_eq!(unzigzag(from, zigzag(from, to)), to);
        }
    }

    #[test]
    fn a_page_that_does_not_end_where_it_must_is_malformed() {
        let mut index = IndexBuilder::new(StreamPos(10));
        index.push(5, true, Timestamp(1));
        index.push(7, false, Timestamp(1));
        let mut out = Encoder::new();
        let directory = index.put(FilePos(0), &mut out);
        let bytes = out.finish();
        let page = &bytes[..usize::try_from(directory.get()).unwrap()];
        assert_eq!(
            take_page(page, StreamPos(10), StreamPos(22)).unwrap().len(),
            2
        );
        for until in [0, 10, 21, 23] {
            assert!(
                take_page(page, StreamPos(10), StreamPos(until)).is_err(),
                "{until}"
            );
        }
    }
}
