//! Bytes at rest: everything a data directory holds, and nothing of what it means.
//!
//! Layout: [`wal`] (one write-ahead log a shard), [`segment`] (sealed files of streams' bytes),
//! [`catalog`] (which streams there are and where their bytes lie), [`flush`] (memory to segments),
//! [`mod@compact`] (segments to fewer and fuller ones), [`reserve`] (space to free space),
//! [`check`] and [`dump`] (looking without changing), [`repair`] (putting right what can be), [`scrub`] (looking while all of it is in use),
//! [`codec`] (facts and states to bytes and back), [`error`] (what a caller can do about a failure).
//!
//! INVARIANT: nothing here deletes or overwrites bytes that it has not verified first, and
//! corruption is always an answer of its own, never skipped. `docs/format.md` specifies every byte.
//!
//! Not here: when to sync, flush or compact (`millrace-engine`), and the files themselves
//! (`millrace-env`).

pub mod catalog;
pub mod check;
pub mod codec;
pub mod compact;
pub mod dump;
pub mod error;
pub mod flush;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod repair;
pub mod reserve;
pub mod scrub;
pub mod segment;
#[cfg(test)]
mod testkit;
pub mod wal;

pub use catalog::{Catalog, Commit, Committed, Manifest, Replaced, SegmentRow, StreamRow};
pub use compact::{CompactOptions, Compacted, compact};
pub use error::StoreError;
pub use flush::{FlushJob, FlushOptions, Flushed, FrozenStream};
pub use segment::{
    Chunk, Cleanup, Counted, Extent, MessageMark, MessageMarks, RemovalHold, SegmentMeta,
    SegmentOptions, SegmentRef, Segments, refuse_unnamed_segments, startup_cleanup,
};
pub use wal::{Frame, LogId, Recovery, Spare, SpareJob, Wal, WalOptions, WalSync};
