//! How an engine is configured: by value, once, with every bound derived from one memory budget.

use std::time::Duration;

use millrace_core::{
    fold::NewFold,
    limits::{APPEND_BYTES_MAX_DEFAULT, READ_BYTES_MAX_DEFAULT},
};

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The event is on this machine's disk, synced.
    #[default]
    Local,
    /// Unsafe: the event is written but not synced. A killed process loses nothing written; a power
    /// cut may lose everything since the last flush.
    Memory,
}

/// An engine's configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// What an acknowledgement means.
    pub durability: Durability,
    /// How many shards, each with a log and a thread of its own; at least 1.
    pub shards: u16,
    /// The budget of all caches, buffers and gates together, in bytes.
    pub memory_max: u64,
    /// The largest body of one append, in bytes.
    pub append_bytes_max: u64,
    /// The largest page of a catch-up read, in bytes; a page always holds at least one message.
    pub read_bytes_max: u64,
    /// The size of a write-ahead log segment, in bytes.
    pub wal_segment_bytes: u64,
    /// How many bytes of disk are kept back, so that deletions can be committed on a full one.
    pub reserve_bytes: u64,
    /// How many bytes that are only in the log and in memory make a shard flush.
    pub flush_bytes: u64,
    /// How many changed streams make a shard flush.
    pub flush_streams: usize,
    /// How long a change may wait for its flush.
    pub flush_interval: Duration,
    /// How often compaction looks for work.
    pub compaction_interval: Duration,
    /// How many bytes a second the scrub reads; 0 for no scrub.
    pub scrub_rate: u64,
    /// From the end of one pass of the scrub to the beginning of the next.
    pub scrub_interval: Duration,
    /// From the end of one pass of retention to the beginning of the next.
    pub retention_interval: Duration,
    /// How a stream's messages are folded into fewer; without it none can be.
    pub fold: Option<NewFold>,
    /// How long a stream must have been idle to leave memory.
    pub idle_after: Duration,
}

impl Options {
    /// The defaults under a memory budget.
    pub fn for_memory(memory_max: u64) -> Self {
        Self {
            durability: Durability::Local,
            shards: 1,
            memory_max,
            append_bytes_max: APPEND_BYTES_MAX_DEFAULT,
            read_bytes_max: READ_BYTES_MAX_DEFAULT,
            wal_segment_bytes: 64 << 20,
            reserve_bytes: millrace_store::reserve::RESERVE_BYTES,
            flush_bytes: (memory_max / 8).clamp(1 << 20, 256 << 20),
            flush_streams: 100_000,
            flush_interval: Duration::from_secs(30),
            compaction_interval: Duration::from_secs(10),
            scrub_rate: 8 << 20,
            scrub_interval: Duration::from_hours(7 * 24),
            retention_interval: Duration::from_secs(30),
            fold: None,
            idle_after: Duration::from_secs(45),
        }
    }

    /// Un-flushed and buffered bytes at which new work is refused: a quarter of the budget.
    pub fn admission_bytes(&self) -> u64 {
        self.memory_max / 4
    }

    /// Bytes of answers on their way to clients that take them slowly: an eighth of the budget.
    pub fn reading_bytes(&self) -> u64 {
        self.memory_max / 8
    }

    /// The catalog's page cache: a part of the budget that the operating system's own cache makes up
    /// for. The catalog takes up to about twice that.
    pub fn catalog_cache_bytes(&self) -> u64 {
        (self.memory_max / 32).min(64 << 20)
    }
}
