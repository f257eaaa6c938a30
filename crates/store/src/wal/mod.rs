//! The write-ahead log of one shard: what was decided, in order, before anyone is told.
//!
//! One turn of the shard is one *frame*: one write, one sync, taken by recovery whole or not at all
//! (T13). Frames lie in *segments*, files that were filled with zeros (or used before) at their
//! full length, so that a sync never has to make a file's size durable. A segment ends with a
//! *seal*, and its successor appears only after the seal is synced; so a segment with a successor
//! and without a seal is corrupt, and only the last segment may end in a torn frame.
//!
//! INVARIANTS, each with the test that fails without it:
//! - A frame whose sync succeeded is replayed exactly once, in order
//!   (`every_synced_frame_is_replayed_once_in_order_after_power_loss_anywhere`).
//! - A clean end, a torn frame and corruption are three answers
//!   (`t26_no_flipped_byte_changes_what_is_replayed`).
//! - Opening changes nothing before all of the log is verified, and may be interrupted anywhere
//!   (`t16_power_loss_inside_recovery_is_harmless`); what it replays is durable by then
//!   (`t03_what_is_replayed_is_durable_by_then`).
//! - An existing segment is never made again (`t01_…`, `t02_…`), a lost one is noticed (`t31_…`); a
//!   failed sync is never repeated (`t06_…`).
//!
//! Layout: `format` (bytes of headers), `frame` (a turn's events as one frame), `segment` (reading
//! one file), `scan` (reading a log), `sealed` (reading it while it is in use), `salvage` (reading what holds of a damaged one), `recovery` (making it writable), `writer` (the end of the
//! log), `roll` (from one segment to the next), `spare` (files made ahead), `unnamed` (logs that
//! nothing names).
//!
//! Not here: when to write and sync (`millrace-engine`), and what an event does
//! (`millrace_core::stream::apply`).
//!
//! Next on the append walk: `millrace-engine`'s `read/hot_tail.rs`.

mod format;
mod frame;
mod recovery;
mod roll;
pub(crate) mod salvage;
mod scan;
pub(crate) mod sealed;
mod segment;
mod spare;
pub(crate) mod unnamed;
mod writer;

#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf};

use millrace_core::Lsn;

pub use format::{FORMAT_VERSION, SegmentNumber};
pub use frame::{Frame, RECORD_BYTES_MAX};
pub use recovery::Verified;
pub use scan::{FrameInfo, FrameKind, ScanEnd, logs, scan};
pub use spare::{Spare, SpareJob};
pub use writer::{Wal, WalSync};

/// A log; names its directory. Never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u64);

impl LogId {
    /// Its directory, below the data directory.
    pub fn dir(self) -> PathBuf {
        PathBuf::from(format!("wal/{self}"))
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How a log uses the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// The length of a segment file, in bytes; a frame that does not fit gets one of its own
    /// length.
    pub segment_bytes: u64,
    /// Whether one prepared segment is kept for urgent commands: those that free space.
    pub reserve: bool,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            reserve: true,
        }
    }
}

/// What opening a log found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// How many frames were replayed.
    pub frames: u64,
    /// The last frame of the log; the one before the first if it is empty.
    pub last: Lsn,
    /// How many bytes of a frame whose write never ended were dropped, as far as that can be told.
    pub torn_bytes: u64,
    /// How many segments were read.
    pub segments: u64,
}
