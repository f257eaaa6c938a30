//! Segments: sealed files that hold runs of streams' wire bytes.
//!
//! A segment is written once, under a temporary name, synced and renamed, and never changes
//! afterwards. It holds *extents*: each a contiguous run of one stream's bytes with the index of its
//! messages. A stream with much to seal has a segment of its own; many small ones share one, a
//! *pack*, in the order of their ids.
//!
//! INVARIANT: every byte that is read passes the checksum of its block first, and a read gives
//! exactly the bytes asked for or an error, never fewer and never others.
//!
//! Layout: `format` (header, directory, footer, trailer), `index` (the messages of an extent),
//! `writer`, `file` (verified reads of one open file), `walk` (all
//! of an index, to see that it is whole), `registry` (which files are open, and
//! when one may be deleted), `read` and `count` (what a pinned segment answers), `cleanup` (what a start does).
//!
//! Not here: which extents a stream consists of (`crate::catalog`), what goes into a segment
//! (`crate::flush`, `crate::compact`).

pub(crate) mod cleanup;
mod count;
pub(crate) mod file;
pub(crate) mod format;
pub(crate) mod index;
pub(crate) mod read;
mod registry;
pub(crate) mod walk;
pub(crate) mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use millrace_core::{FilePos, Payload, SegmentId, StreamId, StreamPos, Timestamp};

pub use cleanup::{Cleanup, refuse_unnamed_segments, startup_cleanup};
pub use count::Counted;
pub use read::MessageMarks;
pub use registry::{RemovalHold, SegmentOptions, SegmentRef, Segments};

/// The directory of all segments, below the data directory.
pub const SEGMENTS_DIR: &str = "segments";
/// Where files go that nothing names, below the data directory.
pub const QUARANTINE_DIR: &str = "quarantine";

/// Where bytes lie that were lost: no file has this id. A repair puts it in the place of a segment
/// that it could not read, so that positions stay what they are.
pub(crate) const LOST: SegmentId = SegmentId(u64::MAX);

/// One append's bytes, still in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where they begin.
    pub from: StreamPos,
    /// The bytes, and where their messages end.
    pub payload: Payload,
    /// When they were appended.
    pub at: Timestamp,
}

impl Chunk {
    /// The position after the last byte.
    pub fn until(&self) -> StreamPos {
        self.from.advance(self.payload.len())
    }
}

/// A contiguous run of one stream's bytes in one segment. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// The stream.
    pub stream: StreamId,
    /// The position of the first byte.
    pub from: StreamPos,
    /// The position after the last byte.
    pub until: StreamPos,
    /// The segment that holds the bytes.
    pub segment: SegmentId,
    /// Where the bytes begin in it.
    pub data: FilePos,
    /// Where the page directory of the message index begins in it.
    pub index: FilePos,
    /// How many index pages there are.
    pub index_pages: u32,
    /// How many messages end in this extent; none ever spans two extents.
    pub messages: u64,
}

impl Extent {
    /// Positions whose bytes were lost. Every read of them fails.
    pub fn lost(stream: StreamId, from: StreamPos, until: StreamPos) -> Self {
        Self {
            stream,
            from,
            until,
            segment: LOST,
            data: FilePos::ZERO,
            index: FilePos::ZERO,
            index_pages: 0,
            messages: 0,
        }
    }

    /// Whether its bytes were lost.
    pub fn is_lost(&self) -> bool {
        self.segment == LOST
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> u64 {
        self.until.since(self.from)
    }
}

/// One message of an extent's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageMark {
    /// The position after the message.
    pub end: StreamPos,
    /// Whether it is the first message of its append.
    pub starts_append: bool,
    /// When it was appended.
    pub at: Timestamp,
}

/// A segment as the catalog knows it when it is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Its id.
    pub id: SegmentId,
    /// The length of the file in bytes.
    pub len: u64,
    /// How many of them are streams' bytes.
    pub bytes: u64,
}

/// The path of a segment, below the data directory.
pub(crate) fn segment_path(id: SegmentId) -> PathBuf {
    PathBuf::from(SEGMENTS_DIR).join(segment_name(id))
}

/// The path of a segment that is still being written.
pub(crate) fn temp_path(id: SegmentId) -> PathBuf {
    PathBuf::from(SEGMENTS_DIR).join(format!("{:016x}.tmp", id.get()))
}

/// The file name of a segment.
pub(crate) fn segment_name(id: SegmentId) -> String {
    format!("{:016x}.seg", id.get())
}

/// The id in a file name of the form `<16 hex digits><suffix>`; `None` for any other name.
pub(crate) fn id_in_name(name: &str, suffix: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(suffix)?;
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digits.len() != 16 || !digits.bytes().all(lower_hex) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok().map(SegmentId)
}
