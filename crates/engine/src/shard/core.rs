//! A shard's state and how it finds streams.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use foldhash::fast::FixedState;
use millrace_core::{
    Create, Generation, Lsn, ProducerId, ShardId, SlotId, StreamId, StreamName, Timestamp,
    slot::{next_generation, shard_of},
    stream::ProducerState,
};
use millrace_env::{
    Env,
    mutant::{self, Mutant},
};
use millrace_store::{Catalog, Extent, FlushJob, LogId, StoreError, StreamRow, Wal};

use super::{LoadKey, Reply};
use crate::{
    budget::{Budget, Permit},
    directory::Directory,
    feed::Feed,
    live::Live,
    metrics::ShardMetrics,
    options::Options,
    retention::Retained,
};

pub(super) type Map<K, V> = HashMap<K, V, FixedState>;

/// What a shard is made from.
#[derive(Clone, Debug)]
pub(crate) struct CoreOptions {
    pub(crate) shard: ShardId,
    pub(crate) shards: u16,
    pub(crate) log: LogId,
    pub(crate) options: Options,
    /// When this process started: sliding lifetimes count from here at least.
    pub(crate) booted_at: Timestamp,
    /// Streams whose newest generation is not above this may have lost a tail: they take a new one
    /// before their next append.
    pub(crate) generation_floor: Generation,
}

/// A shard, without its loop.
#[derive(Debug)]
pub(crate) struct ShardCore {
    pub(crate) config: CoreOptions,
    pub(crate) env: Env,
    pub(crate) wal: Option<Wal>,
    pub(crate) catalog: Catalog,
    pub(crate) budget: Budget,
    pub(crate) retained: Arc<Retained>,
    pub(crate) directory: Arc<Directory>,
    /// Where changed streams are reported; the same for all shards.
    pub(crate) feed: Arc<Feed>,
    /// The highest generation used in each slot, own slots only.
    pub(super) generations: BTreeMap<SlotId, Generation>,
    pub(super) producers: Map<StreamId, ProducerTable>,
    /// Forks whose source's shard was asked for a reference. BOUND: each is a command of the inbox.
    pub(super) pending_forks: Map<StreamId, PendingFork>,
    pub(super) dirty: Dirty,
    /// The dirty set that a flush is working on; merged back if it fails.
    pub(super) flushing: Option<Flushing>,
    /// One entry for every stream in memory that can expire, and when each is set to.
    pub(super) timers: BTreeSet<(Timestamp, StreamId)>,
    pub(super) armed: Map<StreamId, Timestamp>,
    pub(super) sweep_cursor: Option<(Timestamp, StreamId)>,
    /// Streams that may leave memory once they have rested, oldest first.
    pub(super) clean_queue: VecDeque<(Timestamp, StreamId)>,
    /// When the next flush may be tried, after one found the disk full.
    pub(super) flush_not_before: Timestamp,
    /// The last frame that is published.
    pub(super) published: Lsn,
    pub(super) poisoned: Option<String>,
    pub(crate) metrics: Arc<ShardMetrics>,
    /// When the turn under way became durable, by the stopwatch: followers are delivered to from
    /// then on.
    pub(crate) durable_at: Duration,
}

/// What has changed since the last flush was frozen.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) streams: BTreeSet<StreamId>,
    pub(super) removed: BTreeSet<StreamId>,
    pub(super) producers: BTreeSet<(StreamId, ProducerId)>,
    pub(super) slots: BTreeSet<SlotId>,
    /// Bytes that are only in the log and in memory, with a little for each append.
    pub(super) bytes: u64,
    /// When the oldest of it came to be.
    pub(super) since: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Flushing {
    pub(super) dirty: Dirty,
    pub(super) lsn: Lsn,
    pub(super) names: Vec<(StreamName, Option<StreamId>)>,
    pub(super) stage: Stage,
}

/// How far a flush is.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its streams are being frozen.
    Freezing(Freezing),
    /// It runs beside the shard.
    Writing,
    /// What it made, as far as memory is not let go of yet.
    LettingGo(std::vec::IntoIter<Extent>),
}

/// A flush that is being frozen, in steps, in the order of the streams. All are frozen as they are at
/// one frame of the log: one that is about to change before its turn is frozen first.
#[derive(Debug)]
pub(super) struct Freezing {
    /// What is not of streams, and the streams that are frozen.
    pub(super) job: FlushJob,
    /// The last stream whose turn it was.
    pub(super) after: Option<StreamId>,
    /// Streams that were frozen before their turn.
    pub(super) early: HashSet<StreamId, FixedState>,
}

/// What is known in memory of a stream's producers.
#[derive(Debug, Default)]
pub(super) struct ProducerTable {
    /// `None`: forgotten, which the catalog may not know yet.
    pub(super) known: HashMap<ProducerId, Option<ProducerState>, FixedState>,
    /// Whether the catalog can know more.
    pub(super) complete: bool,
}

#[derive(Debug)]
pub(super) struct PendingFork {
    pub(super) create: Box<Create>,
    pub(super) reply: Reply,
    pub(super) permit: Option<Permit>,
}

impl ShardCore {
    /// An empty shard over what the catalog holds. `generations` are the catalog's, by slot.
    pub(crate) fn new(
        config: CoreOptions,
        env: Env,
        catalog: Catalog,
        budget: Budget,
        retained: Arc<Retained>,
        generations: &[Generation],
    ) -> Self {
        let own = (0u16..)
            .zip(generations)
            .map(|(slot, generation)| (SlotId(slot), *generation));
        let own = own.filter(|(slot, _)| shard_of(*slot, config.shards) == config.shard);
        let seed = env.rng.next();
        Self {
            generations: own.collect(),
            directory: Arc::new(Directory::new(seed)),
            feed: Arc::default(),
            producers: Map::with_hasher(FixedState::with_seed(seed)),
            pending_forks: Map::with_hasher(FixedState::with_seed(seed)),
            config,
            env,
            wal: None,
            catalog,
            budget,
            retained,
            dirty: Dirty::default(),
            flushing: None,
            timers: BTreeSet::new(),
            armed: Map::with_hasher(FixedState::with_seed(seed)),
            flush_not_before: Timestamp::ZERO,
            sweep_cursor: None,
            clean_queue: VecDeque::new(),
            published: Lsn::ZERO,
            poisoned: None,
            metrics: Arc::default(),
            durable_at: Duration::ZERO,
        }
    }

    /// The time of this moment's work.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.env.clock.wall())
    }

    /// Why it takes no writes, if it does not.
    pub(crate) fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// From here on no write is taken and none acknowledged; reads go on.
    pub(crate) fn poison(&mut self, reason: String) {
        tracing::error!(shard = %self.config.shard, %reason, "this shard takes no more writes");
        self.poisoned.get_or_insert(reason);
    }

    /// Notes what it holds, for the figures.
    pub(crate) fn note_sizes(&self) {
        let log = self.wal.as_ref().map_or(0, Wal::bytes_retained);
        self.metrics.wal_bytes.set(log);
        let flushing = self.flushing.as_ref();
        let flushing = flushing.map_or(0, |flushing| flushing.dirty.bytes);
        self.metrics
            .unflushed_bytes
            .set(self.dirty.bytes + flushing);
    }

    /// Finds a stream, bringing it into memory from the catalog where needed.
    pub(crate) fn load(&mut self, key: &LoadKey) -> Result<Option<Arc<Live>>, StoreError> {
        match key {
            LoadKey::Name(name) => self.find(name),
            LoadKey::Id(stream) => self.find_id(*stream),
        }
    }

    pub(super) fn find(&mut self, name: &StreamName) -> Result<Option<Arc<Live>>, StoreError> {
        if let Some(live) = self.directory.by_name(name.as_str()) {
            return Ok(Some(live));
        }
        // A name that is neither in memory nor unchanged since the last flush is gone, whatever the
        // catalog still says.
        if self.directory.is_unflushed(name.as_str()) {
            return Ok(None);
        }
        let row = self.catalog.row_by_name(name.as_str())?;
        Ok(row.map(|row| self.bring_in(row)))
    }

    pub(super) fn find_id(&mut self, stream: StreamId) -> Result<Option<Arc<Live>>, StoreError> {
        if let Some(live) = self.directory.by_id(stream) {
            return Ok(Some(live));
        }
        if self.is_removed(stream) {
            return Ok(None);
        }
        let row = self.catalog.rows(&[stream])?.pop();
        Ok(row.map(|row| self.bring_in(row)))
    }

    /// Brings in, with one look at the catalog, those of `streams` that it has.
    pub(super) fn bring_in_all(&mut self, streams: &[StreamId]) -> Result<(), StoreError> {
        for row in self.catalog.rows(streams)? {
            self.bring_in(row);
        }
        Ok(())
    }

    /// Whether a stream is gone, whatever the catalog still says.
    pub(super) fn is_removed(&self, stream: StreamId) -> bool {
        let flushing = self.flushing.as_ref().map(|flushing| &flushing.dirty);
        let mut dirty = std::iter::once(&self.dirty).chain(flushing);
        dirty.any(|dirty| dirty.removed.contains(&stream))
    }

    fn bring_in(&mut self, row: StreamRow) -> Arc<Live> {
        let StreamRow { state, extents } = row;
        let name = state.config.name.clone();
        let deadline = state.deadline;
        let live = Arc::new(Live::new(state, extents, self.config.booted_at));
        self.directory.add_loaded(name, Arc::clone(&live));
        self.arm(live.id, deadline);
        self.clean_queue.push_back((self.now(), live.id));
        live
    }

    /// Makes sure that a stream which can expire is looked at in time.
    pub(super) fn arm(&mut self, stream: StreamId, deadline: Option<Timestamp>) {
        self.disarm(stream);
        if let Some(deadline) = deadline {
            self.armed.insert(stream, deadline);
            self.timers.insert((deadline, stream));
        }
    }

    /// The stream is gone or out of memory.
    pub(super) fn disarm(&mut self, stream: StreamId) {
        if let Some(deadline) = self.armed.remove(&stream) {
            self.timers.remove(&(deadline, stream));
        }
    }

    /// The next generation of a slot, above `floor`; taken at once, whether or not it is used.
    pub(super) fn take_generation(&mut self, slot: SlotId, floor: Generation) -> Generation {
        let last = self.generations.get(&slot).copied().unwrap_or_default();
        if mutant::is(Mutant::ReuseGeneration) && last > floor {
            return last;
        }
        let next = next_generation(slot, last.max(floor));
        assert!(
            next <= Generation::MAX,
            "slot {slot} has no generation left"
        );
        self.saw_generation(slot, next);
        next
    }

    /// Never again gives out a generation up to this one.
    pub(crate) fn saw_generation(&mut self, slot: SlotId, generation: Generation) {
        let last = self.generations.entry(slot).or_default();
        if generation > *last {
            *last = generation;
            self.dirty.slots.insert(slot);
        }
    }

    /// Whether no stream can have this identity yet: its slot has never given out its generation.
    pub(super) fn is_unheard_of(&self, stream: StreamId) -> bool {
        let last = self.generations.get(&stream.slot()).copied();
        stream.birth() > last.unwrap_or_default()
    }

    /// A producer's state as published.
    pub(super) fn producer(
        &self,
        stream: StreamId,
        id: &ProducerId,
    ) -> Result<Option<ProducerState>, StoreError> {
        if let Some(table) = self.producers.get(&stream) {
            if let Some(known) = table.known.get(id) {
                return Ok(*known);
            }
            if table.complete {
                return Ok(None);
            }
        }
        self.catalog.producer(stream, id.as_str())
    }

    /// The producer of a stream that has been idle for longest, as far as it is told cheaply: the
    /// longest idle of memory and, unless memory knows better, of the catalog.
    pub(super) fn longest_idle_producer(
        &self,
        stream: StreamId,
    ) -> Result<Option<(ProducerId, ProducerState)>, StoreError> {
        let table = self.producers.get(&stream);
        let in_memory = table.and_then(|table| {
            let known = table
                .known
                .iter()
                .filter_map(|(id, state)| Some((id.clone(), (*state)?)));
            known.min_by_key(|(_, state)| state.used_at)
        });
        let stored = match table {
            Some(table) if table.complete => None,
            _ => self.catalog.longest_idle_producer(stream)?,
        };
        let newer = |id: &ProducerId| table.is_some_and(|table| table.known.contains_key(id));
        let stored = stored.filter(|(id, _)| !newer(id));
        Ok([in_memory, stored]
            .into_iter()
            .flatten()
            .min_by_key(|(_, state)| state.used_at))
    }

    /// Ends the log in order, and says whether that went; nothing is written after that.
    ///
    /// DURABILITY: not after a failure. A seal proves that what lies before it was synced, and the sync
    /// that failed may have been a flush's, of which the log knows nothing (T6).
    pub(crate) fn close_log(&mut self) -> bool {
        let wal = self.wal.take();
        if self.poisoned.is_some() {
            return false;
        }
        let closed = wal.map_or(Ok(()), Wal::close);
        if let Err(error) = &closed {
            tracing::warn!(%error, "the log could not be sealed; the next start recovers it");
        }
        closed.is_ok()
    }

    /// Replays from here on: what came before is in the catalog.
    pub(crate) fn start_at(&mut self, flushed: Lsn) {
        self.published = flushed;
    }

    /// The last frame that is published.
    #[cfg(test)]
    pub(crate) fn published(&self) -> Lsn {
        self.published
    }

    /// The highest generation used in any slot of this shard.
    pub(crate) fn highest_generation(&self) -> Generation {
        self.generations.values().copied().max().unwrap_or_default()
    }

    /// Every stream whose newest generation is not above `floor` takes a new one before its next
    /// append.
    pub(crate) fn raise_floor(&mut self, floor: Generation) {
        self.config.generation_floor = floor;
        let slots: Vec<SlotId> = self.generations.keys().copied().collect();
        for slot in slots {
            self.saw_generation(slot, floor);
        }
    }

    /// The references of streams that are in memory, newer than the catalog's.
    pub(crate) fn resident_references(&self) -> Vec<(StreamId, StreamId)> {
        self.dirty
            .streams
            .iter()
            .filter_map(|stream| self.directory.by_id(*stream))
            .flat_map(|live| {
                let forks = Arc::clone(&live.view().state.forks);
                forks
                    .iter()
                    .map(|fork| (live.id, *fork))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Whether a stream has to take a new generation before its next append.
    pub(super) fn needs_generation(&self, current: Generation) -> bool {
        current <= self.config.generation_floor
    }
}
