//! What the engine counts and measures, for `/metrics` and for who embeds it.
//!
//! Each shard writes figures of its own, from its own thread, so that recording is an addition to
//! memory that nobody else writes; [`crate::Engine::figures`] reads and adds them up when asked. What
//! a turn does not know by itself (sizes of logs and of what is dirty) is noted a few times a second.
//!
//! INVARIANT: reading takes no lock that is held across I/O and asks no disk, so that figures are
//! told while a disk stalls.
//!
//! Not here: HTTP's figures and the text they are told in (`millrace-server`).

mod cell;
mod histogram;

pub use cell::{Counter, Gauge};
pub use histogram::{BUCKETS, Distribution, Histogram, bound};

/// What one shard writes. Aligned, so that no two shards write to one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ShardMetrics {
    /// Commands a turn took.
    pub(crate) turn_commands: Histogram,
    /// From the beginning of a turn until its replies are sent.
    pub(crate) turn_time: Histogram,
    /// Of a log's sync, inline or not.
    pub(crate) sync_time: Histogram,
    /// Messages that waited when a turn began, those it took included.
    pub(crate) queue_depth: Histogram,
    pub(crate) syncs_inline: Counter,
    pub(crate) syncs_helper: Counter,
    /// Streams created less streams gone, since the start: with wrap-around.
    pub(crate) streams_made: Gauge,
    /// In the log's segments.
    pub(crate) wal_bytes: Gauge,
    /// Only in the log and in memory.
    pub(crate) unflushed_bytes: Gauge,
    pub(crate) flushes: WorkMetrics,
}

/// Of flushes or compactions.
#[derive(Debug, Default)]
pub(crate) struct WorkMetrics {
    /// Of those that were done.
    pub(crate) time: Histogram,
    pub(crate) bytes: Counter,
    pub(crate) failed: Counter,
}

/// What is written beside the shards.
#[derive(Debug, Default)]
pub(crate) struct StoreMetrics {
    pub(crate) compactions: WorkMetrics,
    pub(crate) segments: Gauge,
    pub(crate) segment_bytes: Gauge,
    pub(crate) catalog_bytes: Gauge,
    /// Streams there were before the shards began to count.
    pub(crate) streams_before: Gauge,
}

/// All figures at one moment.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// One a shard.
    pub shards: Vec<ShardFigures>,
    /// Commands a turn took.
    pub turn_commands: Distribution,
    /// From the beginning of a turn until its replies are sent, in microseconds.
    pub turn_time: Distribution,
    /// Of a log's sync, in microseconds.
    pub sync_time: Distribution,
    /// Messages that waited when a turn began.
    pub queue_depth: Distribution,
    /// Syncs on the shard's own thread.
    pub syncs_inline: u64,
    /// Syncs on a helper thread, because one was slow lately.
    pub syncs_helper: u64,
    /// Streams of clients that exist, soft-deleted ones included.
    pub streams: u64,
    /// Flushes of memory to segments.
    pub flushes: WorkFigures,
    /// Compactions that had something to do.
    pub compactions: WorkFigures,
    /// Files of stream bytes.
    pub segments: u64,
    /// Their bytes, as of the last flush or compaction.
    pub segment_bytes: u64,
    /// The catalog's file, as of the last flush or compaction.
    pub catalog_bytes: u64,
    /// Bytes held on behalf of clients: bodies, what waits, what is not flushed.
    pub budget_used_bytes: u64,
    /// The bound at which more are refused.
    pub budget_max_bytes: u64,
    /// Looking for damage.
    pub scrub: ScrubFigures,
    /// Trimming what streams do not keep.
    pub retention: RetentionFigures,
}

/// Of the scrub, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubFigures {
    /// How many bytes it read.
    pub bytes: u64,
    /// Segments that it found whole.
    pub segments: u64,
    /// Sealed log segments that it found whole.
    pub logs: u64,
    /// Blocks that it found damaged, once each time.
    pub damaged_blocks: u64,
    /// Files that are known to be damaged now.
    pub damaged_files: u64,
    /// When the last pass began, in seconds since the Unix epoch; 0 before the first.
    pub began_seconds: u64,
    /// When the last pass ended, likewise.
    pub ended_seconds: u64,
    /// How much is done of the pass under way, or of the last one.
    pub progress_millionths: u64,
}

/// Of retention, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionFigures {
    /// How many streams have a policy now.
    pub policies: u64,
    /// How many passes were made.
    pub passes: u64,
    /// How many streams they looked at, each time one.
    pub streams: u64,
    /// How many trims they made.
    pub trimmed: u64,
    /// How many bytes can be read no longer since.
    pub bytes: u64,
    /// How many streams could not be looked at or trimmed, each time one.
    pub failed: u64,
    /// When the last pass ended, in seconds since the Unix epoch; 0 before the first.
    pub ended_seconds: u64,
}

/// One shard's.
#[derive(Clone, Debug, Default)]
pub struct ShardFigures {
    /// Streams in memory.
    pub streams_in_memory: u64,
    /// Messages that wait for its next turn.
    pub queue: u64,
    /// Bytes in use in its log's segments.
    pub wal_bytes: u64,
    /// Bytes that are only in the log and in memory, with a little for each append.
    pub unflushed_bytes: u64,
    /// Whether it takes no more writes.
    pub poisoned: bool,
}

/// Of flushes or compactions.
#[derive(Clone, Debug, Default)]
pub struct WorkFigures {
    /// How long those took that were done, in microseconds.
    pub time: Distribution,
    /// Stream bytes they wrote.
    pub bytes: u64,
    /// Those that failed.
    pub failed: u64,
}

impl WorkMetrics {
    /// One is done.
    pub(crate) fn done(&self, took: std::time::Duration, bytes: u64) {
        self.time.record_time(took);
        self.bytes.add(bytes);
    }

    fn add_to(&self, figures: &mut WorkFigures) {
        figures.time.merge(&self.time.read());
        figures.bytes += self.bytes.get();
        figures.failed += self.failed.get();
    }
}

impl StoreMetrics {
    /// Notes how large things on disk are. Reads the catalog: blocking.
    pub(crate) fn measure(&self, catalog: &millrace_store::Catalog) {
        // A catalog that cannot be read is told of by whoever needs it; the figures stay.
        let Ok(segments) = catalog.segments() else {
            return;
        };
        self.segments.set(segments.len() as u64);
        self.segment_bytes
            .set(segments.iter().map(|segment| segment.len).sum());
        self.catalog_bytes.set(catalog.file_bytes());
    }

    pub(crate) fn add_to(&self, figures: &mut Figures) {
        self.compactions.add_to(&mut figures.compactions);
        figures.segments = self.segments.get();
        figures.segment_bytes = self.segment_bytes.get();
        figures.catalog_bytes = self.catalog_bytes.get();
        figures.streams = figures.streams.wrapping_add(self.streams_before.get());
    }
}

impl ShardMetrics {
    pub(crate) fn add_to(&self, figures: &mut Figures) {
        figures.turn_commands.merge(&self.turn_commands.read());
        figures.turn_time.merge(&self.turn_time.read());
        figures.sync_time.merge(&self.sync_time.read());
        figures.queue_depth.merge(&self.queue_depth.read());
        figures.syncs_inline += self.syncs_inline.get();
        figures.syncs_helper += self.syncs_helper.get();
        figures.streams = figures.streams.wrapping_add(self.streams_made.get());
        self.flushes.add_to(&mut figures.flushes);
    }
}
