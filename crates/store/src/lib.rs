//! Bytes at rest: everything a data directory holds, and nothing of what it means.
//!
//! Layout: [`wal`] (one write-ahead log a shard), [`codec`] (facts and states to bytes and back),
//! [`error`] (what a caller can do about a failure).
//!
//! INVARIANT: nothing here deletes or overwrites bytes that it has not verified first, and
//! corruption is always an answer of its own, never skipped. `docs/format.md` specifies every byte.
//!
//! Not here: when to sync, flush or compact (`millrace-engine`), and the files themselves
//! (`millrace-env`).

pub mod codec;
pub mod error;
pub mod segment;
pub mod wal;

pub use error::StoreError;
