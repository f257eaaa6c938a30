//! A little engine for tests: streams in memory, flushed and compacted, and what they must hold.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use millrace_core::{
    Appended, ContentType, CreateSpec, Created, DeleteReason, Event, Generation, Lifetime, Lsn,
    Payload, ProducerId, StreamId, StreamName, StreamPos, Timestamp,
    slot::slot_of,
    stream::{GenerationStart, ProducerState, StreamState, apply},
};
use millrace_env::{Env, RealClock, Rng, SimDisk};

use crate::{
    StoreError,
    catalog::{Catalog, Commit, Manifest},
    compact::{CompactOptions, Compacted, compact},
    flush::{FlushJob, FlushOptions, Flushed, FrozenStream},
    segment::{Chunk, Extent, MessageMark, SegmentOptions, Segments, startup_cleanup},
    wal::LogId,
};

/// The log of every flush in these tests.
pub(crate) const LOG: LogId = LogId(1);

/// Thresholds small enough that a few appends make own segments, packs and long extents.
pub(crate) const FLUSH: FlushOptions = FlushOptions {
    own_segment_bytes: 40_000,
    pack_bytes: 60_000,
    sync_bytes: 20_000,
};

pub(crate) const COMPACT: CompactOptions = CompactOptions {
    bytes_max: 200_000,
    long_extent_bytes: 100_000,
    flush: FLUSH,
};

pub(crate) fn sim_env(disk: &Arc<SimDisk>, seed: u64) -> Env {
    Env {
        disk: Arc::clone(disk) as Arc<_>,
        clock: Arc::new(RealClock::new()),
        rng: Arc::new(Rng::from_seed(seed)),
    }
}

/// A data directory on a real disk, gone when dropped.
#[derive(Debug)]
pub(crate) struct TempDir(std::path::PathBuf);

impl TempDir {
    #[expect(clippy::disallowed_methods, reason = "a test's own directory")]
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("millrace-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn env(&self) -> Env {
        Env::real(&self.0)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A new stream's state.
pub(crate) fn created(name: &str, generation: u64) -> StreamState {
    let generation = Generation(generation);
    let created = Created {
        stream: StreamId::new(slot_of(name), generation),
        name: StreamName::new(name).unwrap(),
        spec: CreateSpec {
            content_type: None,
            lifetime: Lifetime::Unlimited,
            closed: false,
            fork: None,
        },
        content_type: ContentType::default(),
        lifetime: Lifetime::Unlimited,
        origin: None,
        lineage: Arc::new([]),
        generations: Arc::new([GenerationStart {
            generation,
            from: StreamPos::ZERO,
        }]),
        payload: Payload::EMPTY,
        at: Timestamp(1),
    };
    apply(None, &Event::Created(Box::new(created))).unwrap()
}

/// The state after an append of `payload`.
pub(crate) fn appended(state: StreamState, payload: &Payload, at: Timestamp) -> StreamState {
    let event = Event::Appended(Appended {
        stream: state.id,
        from: state.tail,
        payload: payload.clone(),
        producer: None,
        introduces_producer: false,
        forgets: None,
        seq: None,
        closes: false,
        at,
    });
    apply(Some(state), &event).unwrap()
}

/// Random messages of `lengths`.
pub(crate) fn payload(rng: &Rng, lengths: &[u32]) -> Payload {
    let len: u32 = lengths.iter().sum();
    let words = len.div_ceil(8);
    let mut bytes: Vec<u8> = (0..words).flat_map(|_| rng.next().to_le_bytes()).collect();
    bytes.truncate(len as usize);
    Payload::from_lengths(Bytes::from(bytes), lengths)
}

/// What a stream must hold.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) state: StreamState,
    pub(crate) bytes: Vec<u8>,
    pub(crate) marks: Vec<MessageMark>,
    pub(crate) pending: Vec<Chunk>,
}

impl Model {
    pub(crate) fn append(&mut self, payload: &Payload, at: Timestamp) {
        let from = self.state.tail;
        self.state = appended(self.state.clone(), payload, at);
        let mut end = from;
        for (number, len) in payload.lengths().enumerate() {
            end = end.advance(u64::from(len));
            self.marks.push(MessageMark {
                end,
                starts_append: number == 0,
                at,
            });
        }
        self.bytes.extend_from_slice(payload.bytes());
        self.pending.push(Chunk {
            from,
            payload: payload.clone(),
            at,
        });
    }
}

/// Streams by id, and what was removed or touched since the last flush.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    pub(crate) live: BTreeMap<StreamId, Model>,
    pub(crate) removed: Vec<StreamId>,
    pub(crate) producers: BTreeMap<(StreamId, ProducerId), ProducerState>,
    pub(crate) generation: u64,
    pub(crate) time: u64,
    pub(crate) lsn: u64,
}

impl Streams {
    pub(crate) fn create(&mut self, name: &str) -> StreamId {
        self.generation += 1;
        let state = created(name, self.generation);
        let id = state.id;
        let model = Model {
            state,
            bytes: Vec::new(),
            marks: Vec::new(),
            pending: Vec::new(),
        };
        self.live.insert(id, model);
        id
    }

    pub(crate) fn append(&mut self, id: StreamId, payload: &Payload) {
        self.time += 3;
        let at = Timestamp(self.time);
        self.live.get_mut(&id).unwrap().append(payload, at);
    }

    pub(crate) fn remove(&mut self, id: StreamId) {
        let model = self.live.remove(&id).unwrap();
        self.producers.retain(|(stream, _), _| *stream != id);
        self.removed.push(model.state.id);
    }

    /// A few random creations, appends and deletions.
    pub(crate) fn churn(&mut self, rng: &Rng, steps: u64) {
        for _ in 0..steps {
            let ids: Vec<StreamId> = self.live.keys().copied().collect();
            let some =
                |ids: &[StreamId]| ids[usize::try_from(rng.below(ids.len() as u64)).unwrap()];
            match rng.below(12) {
                _ if ids.is_empty() => drop(self.create("first")),
                0 => {
                    let name = format!("s/{}", self.generation);
                    self.create(&name);
                }
                1 if ids.len() > 3 => self.remove(some(&ids)),
                2 => {
                    // A big one, of many messages.
                    let lengths: Vec<u32> = (0..600).map(|_| sized(rng, 200)).collect();
                    self.append(some(&ids), &payload(rng, &lengths));
                }
                3 => {
                    let id = some(&ids);
                    let producer = ProducerId::new(&format!("p{}", rng.below(3))).unwrap();
                    let state = ProducerState {
                        epoch: 1,
                        seq: self.lsn,
                        used_at: Timestamp(self.time),
                    };
                    self.producers.insert((id, producer), state);
                }
                _ => {
                    let count = rng.below(3) + 1;
                    let lengths: Vec<u32> = (0..count).map(|_| sized(rng, 900)).collect();
                    self.append(some(&ids), &payload(rng, &lengths));
                }
            }
        }
    }

    /// What a flush takes.
    pub(crate) fn freeze(&mut self) -> FlushJob {
        self.lsn += 1;
        FlushJob {
            log: LOG,
            lsn: Lsn(self.lsn),
            streams: self
                .live
                .values()
                .map(|model| FrozenStream {
                    state: model.state.clone(),
                    chunks: model.pending.clone(),
                })
                .collect(),
            removed: self.removed.clone(),
            producers: self
                .producers
                .iter()
                .map(|((stream, producer), state)| (*stream, producer.clone(), Some(*state)))
                .collect(),
            generations: Vec::new(),
        }
    }

    /// The flush is in the catalog.
    pub(crate) fn flushed(&mut self) {
        self.removed.clear();
        for model in self.live.values_mut() {
            model.pending.clear();
        }
    }
}

fn sized(rng: &Rng, max: u64) -> u32 {
    u32::try_from(rng.below(max) + 1).unwrap()
}

/// An open data directory.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) env: Env,
    pub(crate) catalog: Catalog,
    pub(crate) segments: Segments,
}

impl Store {
    /// As a boot does it.
    pub(crate) fn open(env: &Env) -> Result<Self, StoreError> {
        let catalog = Catalog::open(env, 1 << 20)?;
        startup_cleanup(env, &catalog)?;
        if catalog.manifest()?.is_none() {
            let manifest = Manifest {
                version: 1,
                logs: vec![(LOG, Lsn(0))],
                ..Manifest::default()
            };
            catalog.commit(Commit {
                manifest: Some(manifest),
                ..Commit::default()
            })?;
        }
        let segments = Segments::open(env, SegmentOptions { open_files_max: 3 });
        Ok(Self {
            env: env.clone(),
            catalog,
            segments,
        })
    }

    pub(crate) fn flush(&self, job: &FlushJob) -> Result<Flushed, StoreError> {
        job.run(&self.env, &self.segments, &self.catalog, &FLUSH)
    }

    pub(crate) fn compact(&self) -> Result<Compacted, StoreError> {
        compact(&self.env, &self.segments, &self.catalog, &COMPACT)
    }

    /// Everything that is flushed reads back as it was written, message by message.
    pub(crate) fn assert_holds(&self, streams: &Streams) {
        let catalog = &self.catalog;
        assert_eq!(catalog.stream_count().unwrap(), streams.live.len() as u64);
        for model in streams.live.values() {
            let id = model.state.id;
            assert_eq!(catalog.stream(id).unwrap().as_ref(), Some(&model.state));
            let name = model.state.config.name.as_str();
            assert_eq!(catalog.row_by_name(name).unwrap().unwrap().state.id, id);
            assert!(model.pending.is_empty(), "asserted after a flush");
            let extents = catalog.extents(id).unwrap();
            assert_eq!(self.read_all(&extents), model.bytes, "bytes of {name}");
            assert_eq!(self.marks(&extents), model.marks, "messages of {name}");
        }
        for ((stream, producer), state) in &streams.producers {
            let found = catalog.producer(*stream, producer.as_str()).unwrap();
            assert_eq!(found, Some(*state));
        }
    }

    pub(crate) fn read_all(&self, extents: &[Extent]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for extent in extents {
            let len = usize::try_from(extent.bytes()).unwrap();
            let segment = self.segments.pin(extent.segment);
            bytes.extend_from_slice(&segment.read(extent, extent.from, len).unwrap());
        }
        bytes
    }

    pub(crate) fn marks(&self, extents: &[Extent]) -> Vec<MessageMark> {
        let mut marks = Vec::new();
        for extent in extents {
            let segment = self.segments.pin(extent.segment);
            let all = segment.messages(extent, extent.from).unwrap();
            marks.extend(all.map(Result::unwrap));
        }
        marks
    }
}

/// An event that deletes a stream, for states that are only half gone.
pub(crate) fn deleted(state: StreamState) -> Option<StreamState> {
    let event = Event::Deleted {
        stream: state.id,
        reason: DeleteReason::Request,
    };
    apply(Some(state), &event)
}

/// The state after a fork refers to it.
pub(crate) fn forked(state: StreamState, fork: StreamId) -> StreamState {
    let event = Event::ForkAdded {
        stream: state.id,
        fork,
    };
    apply(Some(state), &event).unwrap()
}

/// The state after its deadline moved.
pub(crate) fn touched(state: StreamState, deadline: u64) -> StreamState {
    let event = Event::Touched {
        stream: state.id,
        deadline: Timestamp(deadline),
    };
    apply(Some(state), &event).unwrap()
}
