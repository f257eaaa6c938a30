//! Moves what gathers in the log and in memory into segments and the catalog.
//!
//! A flush is frozen at the last published frame, runs beside the shard, and ends with one catalog
//! commit that names the new segments and that frame; only then is memory let go and the log
//! recycled. A crash at any point repeats work and loses nothing. When it fails, what it was about
//! is dirty again (T7).

use std::{collections::HashSet, ops::Bound, sync::Arc, time::Duration};

use millrace_core::{Lsn, StreamId, Timestamp};
use millrace_env::{
    Env,
    mutant::{self, Mutant},
};
use millrace_store::{
    Catalog, Extent, FlushJob, FlushOptions, Flushed, FrozenStream, Segments, StoreError, Wal,
    WalSync,
};

use crate::{Durability, directory::Directory};

use super::{
    Moves,
    core::{Dirty, Flushing, Freezing, ShardCore, Stage},
};

/// How many times the streams that start a flush a replay may gather: what came while a flush of so many
/// was under way when the server was killed.
const REPLAY_STREAMS: usize = 4;
/// How long to wait after a flush found the disk full.
const FLUSH_RETRY_MILLIS: u64 = 1000;

/// A flush ready to run beside the shard.
pub(crate) struct FlushStart {
    job: FlushJob,
    options: FlushOptions,
    /// In unsafe mode: the log is made durable before the catalog says that it was.
    sync: Option<WalSync>,
    reserve_bytes: u64,
}

/// Keeps space back for deletions on a full disk. Where that fails, they wait for space like all else.
pub(crate) fn keep_reserve(env: &Env, bytes: u64) {
    if let Err(error) = millrace_store::reserve::keep(env, bytes) {
        tracing::warn!(%error, "no space could be kept back");
    }
}

impl FlushStart {
    /// Carries it out. Blocking.
    pub(crate) fn run(mut self, env: &Env, segments: &Segments, catalog: &Catalog) -> FlushDone {
        // In their order but for those that were frozen before their turn.
        self.job.streams.sort_by_key(|stream| stream.state.id);
        let synced = self.sync.map_or(Ok(()), WalSync::run);
        let done = synced.and_then(|()| self.job.run(env, segments, catalog, &self.options));
        if done.is_ok() {
            keep_reserve(env, self.reserve_bytes);
        }
        FlushDone(done)
    }
}

/// How a flush ended.
#[derive(Debug)]
pub(crate) struct FlushDone(pub(crate) Result<Flushed, StoreError>);

impl ShardCore {
    /// Whether enough has gathered, or anything has waited long enough, or memory asks for it.
    pub(crate) fn wants_flush(&self, now: Timestamp) -> bool {
        let resting = self.flush_not_before > now;
        if resting || self.flushing.is_some() || self.dirty.is_empty() || self.poisoned.is_some() {
            return false;
        }
        let options = &self.config.options;
        let waited = |since: Timestamp| now.get().saturating_sub(since.get());
        let due = self
            .dirty
            .since
            .is_some_and(|since| Duration::from_millis(waited(since)) >= options.flush_interval);
        due || self.has_many_bytes() || self.dirty.len() >= options.flush_streams
    }

    /// Whether a replay that gathers more would take too much memory.
    pub(crate) fn must_flush_amid_replay(&self) -> bool {
        let streams_max = self
            .config
            .options
            .flush_streams
            .saturating_mul(REPLAY_STREAMS);
        self.has_many_bytes() || self.dirty.len() >= streams_max
    }

    /// All shards together flush before un-flushed bytes alone would use the budget up.
    fn has_many_bytes(&self) -> bool {
        let options = &self.config.options;
        let share = options.admission_bytes() / 2 / u64::from(self.config.shards);
        self.dirty.bytes >= options.flush_bytes.min(share)
    }

    /// Begins to freeze what is dirty, as it is at the last published frame. The shard goes on; only
    /// one flush is under way at a time. [`Self::freeze_some`] does the rest.
    pub(crate) fn begin_freeze(&mut self) {
        if self.flushing.is_some() || self.dirty.is_empty() {
            return;
        }
        let dirty = std::mem::take(&mut self.dirty);
        let producers = dirty.producers.iter().map(|(stream, id)| {
            let table = self.producers.get(stream);
            let state = table
                .and_then(|table| table.known.get(id).copied())
                .flatten();
            (*stream, id.clone(), state)
        });
        let generations = dirty.slots.iter().filter_map(|slot| {
            self.generations
                .get(slot)
                .map(|generation| (*slot, *generation))
        });
        let job = FlushJob {
            log: self.config.log,
            lsn: self.published,
            streams: Vec::with_capacity(dirty.streams.len()),
            removed: dirty.removed.iter().copied().collect(),
            producers: producers
                .filter(|_| !mutant::is(Mutant::ForgetProducersAtFlush))
                .collect(),
            generations: generations.collect(),
        };
        let names = self.directory.all_unflushed();
        self.flushing = Some(Flushing {
            dirty,
            lsn: self.published,
            names,
            stage: Stage::Freezing(Freezing {
                job,
                after: None,
                early: HashSet::default(),
            }),
        });
    }

    /// Freezes the next `streams_max` streams; the flush, ready to run, after the last. A few at a
    /// time: appends and reads would wait for 100,000 of them.
    pub(crate) fn freeze_some(&mut self, streams_max: usize) -> Option<FlushStart> {
        let flushing = self.flushing.as_mut()?;
        let Stage::Freezing(freezing) = &mut flushing.stage else {
            return None;
        };
        let from = freezing.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = flushing.dirty.streams.range((from, Bound::Unbounded));
        for stream in rest.by_ref().take(streams_max) {
            freezing.after = Some(*stream);
            if !freezing.early.contains(stream) {
                freezing
                    .job
                    .streams
                    .extend(frozen(&self.directory, *stream));
            }
        }
        if rest.next().is_some() {
            return None;
        }
        let frozen = std::mem::replace(&mut flushing.stage, Stage::Writing);
        let Stage::Freezing(Freezing { job, .. }) = frozen else {
            return None;
        };
        if mutant::is(Mutant::RecycleBeforeCommit) {
            self.recycle(job.lsn);
        }
        let unsynced = self.config.options.durability == Durability::Memory;
        let log = self.wal.as_ref().filter(|_| unsynced);
        Some(FlushStart {
            job,
            options: FlushOptions::default(),
            sync: log.map(Wal::sync_handle),
            reserve_bytes: self.config.options.reserve_bytes,
        })
    }

    /// Freezes all at once, while nobody waits.
    pub(crate) fn freeze(&mut self) -> Option<FlushStart> {
        self.begin_freeze();
        self.freeze_some(usize::MAX)
    }

    /// INVARIANT: called before anything of a stream changes that a flush writes.
    pub(super) fn freeze_first(&mut self, stream: StreamId) {
        let Some(flushing) = &mut self.flushing else {
            return;
        };
        let Stage::Freezing(freezing) = &mut flushing.stage else {
            return;
        };
        let had_its_turn = freezing.after.is_some_and(|after| stream <= after);
        if !had_its_turn
            && flushing.dirty.streams.contains(&stream)
            && freezing.early.insert(stream)
        {
            freezing.job.streams.extend(frozen(&self.directory, stream));
        }
    }

    /// Whether there is something to do for a flush between two turns.
    pub(crate) fn has_flush_work(&self) -> bool {
        let flushing = self.flushing.as_ref();
        flushing.is_some_and(|flushing| !matches!(flushing.stage, Stage::Writing))
    }

    /// Whether the catalog has all there is.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushing.is_none() && self.dirty.is_empty() && self.poisoned.is_none()
    }

    /// Whether a flush is under way.
    pub(crate) fn is_flushing(&self) -> bool {
        self.flushing.is_some()
    }

    /// Takes a flush's result up. What it made is let go of in steps, by [`Self::let_go`].
    pub(crate) fn flushed(&mut self, done: FlushDone) {
        match done.0 {
            Ok(flushed) => {
                if let Some(flushing) = &mut self.flushing {
                    flushing.stage = Stage::LettingGo(flushed.extents.into_iter());
                }
            }
            Err(error) => self.flush_failed(error),
        }
    }

    fn flush_failed(&mut self, error: StoreError) {
        let Some(flushing) = self.flushing.take() else {
            return;
        };
        self.dirty.merge(flushing.dirty);
        match error {
            StoreError::Full => {
                tracing::warn!(shard = %self.config.shard, "no space to flush; free some");
                if let Some(wal) = &mut self.wal {
                    wal.give_up_spares();
                }
                self.flush_not_before = self.now().plus_millis(FLUSH_RETRY_MILLIS);
            }
            error => self.poison(format!("its flush failed: {error}")),
        }
    }

    /// Lets go of the memory of `extents_max` extents that a flush made; after the last the flush is
    /// over. A few at a time: appends and reads of 100,000 streams would wait for all of them. Until
    /// then reads find the bytes in memory as before.
    pub(crate) fn let_go(&mut self, extents_max: usize) {
        let stage = self.flushing.as_mut().map(|flushing| &mut flushing.stage);
        let Some(Stage::LettingGo(made)) = stage else {
            return;
        };
        let some: Vec<Extent> = made.take(extents_max).collect();
        let is_last = made.len() == 0;
        for extent in some {
            self.seal(extent);
        }
        if is_last && let Some(flushing) = self.flushing.take() {
            self.forget_flushed(&flushing);
        }
    }

    /// [`Self::flushed`] and all of [`Self::let_go`], while nobody waits.
    pub(crate) fn flushed_at_once(&mut self, done: FlushDone) {
        self.flushed(done);
        self.let_go(usize::MAX);
    }

    /// Reads of these bytes go to the segment from here on.
    fn seal(&self, extent: Extent) {
        let Some(live) = self.directory.by_id(extent.stream) else {
            return;
        };
        let mut view = live.view();
        // Compaction may have told of it already, in a list that it read after the commit.
        if extent.from >= view.sealed() {
            Arc::make_mut(&mut view.extents).push(extent);
        }
        let sealed = view.sealed();
        assert!(sealed <= view.state.tail, "sealed <= durable");
        view.hot.release(sealed);
    }

    fn forget_flushed(&mut self, flushing: &Flushing) {
        if !self.producers.is_empty() {
            self.forget_producers(&flushing.dirty);
        }
        self.directory.flushed(&flushing.names);
        let now = self.now();
        self.clean_queue
            .extend(flushing.dirty.streams.iter().map(|stream| (now, *stream)));
        self.recycle(flushing.lsn);
    }

    fn recycle(&mut self, lsn: Lsn) {
        let Some(wal) = &mut self.wal else { return };
        match wal.recycle(lsn) {
            // Where there is no space even for this, the segments are given back by the next flush.
            Ok(()) | Err(StoreError::Full) => {}
            Err(error) => self.poison(format!("its log cannot be recycled: {error}")),
        }
    }

    /// Producers that the catalog knows by now are looked up there.
    fn forget_producers(&mut self, flushed: &Dirty) {
        for (stream, id) in &flushed.producers {
            let dirty_again = self.dirty.producers.contains(&(*stream, id.clone()));
            if let (false, Some(table)) = (dirty_again, self.producers.get_mut(stream)) {
                table.complete = false;
                table.known.remove(id);
                if table.known.is_empty() {
                    self.producers.remove(stream);
                }
            }
        }
        for stream in &flushed.streams {
            if self
                .producers
                .get(stream)
                .is_some_and(|table| table.known.is_empty())
            {
                self.producers.remove(stream);
            }
        }
    }

    /// Compaction moved bytes: from here on reads go to the new places.
    pub(crate) fn moved(&mut self, moves: &Moves) {
        for (stream, compacted) in moves {
            let Some(live) = self.directory.by_id(*stream) else {
                continue;
            };
            let mut view = live.view();
            let joined = millrace_store::compact::joined(compacted, &view.extents);
            view.extents = Arc::new(joined);
        }
    }
}

fn frozen(directory: &Directory, stream: StreamId) -> Option<FrozenStream> {
    let live = directory.by_id(stream)?;
    let view = live.view();
    let chunks = view.hot.appends_from(view.sealed());
    Some(FrozenStream {
        state: view.state.clone(),
        chunks,
    })
}

impl Dirty {
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
            && self.removed.is_empty()
            && self.producers.is_empty()
            && self.slots.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.streams.len() + self.removed.len() + self.producers.len()
    }

    /// Takes an earlier set back.
    fn merge(&mut self, earlier: Self) {
        self.removed.extend(earlier.removed);
        self.streams.extend(earlier.streams);
        self.streams.retain(|stream| !self.removed.contains(stream));
        self.producers.extend(earlier.producers);
        self.producers
            .retain(|(stream, _)| !self.removed.contains(stream));
        self.slots.extend(earlier.slots);
        self.bytes += earlier.bytes;
        self.since = match (self.since, earlier.since) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}
