//! A shard with its log, what a start finds of it, and what must hold of any repair.

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

use millrace_core::{
    Appended, ContentType, CreateSpec, Created, DeleteReason, Event, ForkPoint, Generation,
    Lifetime, Lsn, Payload, StreamId, StreamName, StreamPos, Timestamp,
    slot::slot_of,
    stream::{Ancestor, GenerationStart, StreamState, apply as apply_event},
};
use millrace_env::{Env, Rng, SimDisk};

use crate::{
    StoreError,
    check::{self, Lock},
    flush::{FlushJob, FrozenStream},
    repair::{Lost, Plan, apply, plan},
    segment::{Chunk, Segments},
    testkit::{FLUSH, LOG, Store, payload, sim_env},
    wal::{LogId, Wal, WalOptions},
};

/// Small, so that a log has several.
const SEGMENT: WalOptions = WalOptions {
    segment_bytes: 16 << 10,
    reserve: false,
};

/// What a stream was acknowledged to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::repair) struct Model {
    pub(in crate::repair) bytes: Vec<u8>,
    pub(in crate::repair) closed: bool,
    pub(in crate::repair) gone: bool,
}

/// A shard with its log, without a loop: every turn is logged, synced, applied.
pub(in crate::repair) struct Shop {
    pub(in crate::repair) disk: Arc<SimDisk>,
    env: Env,
    store: Store,
    wal: Wal,
    states: BTreeMap<StreamId, StreamState>,
    chunks: BTreeMap<StreamId, Vec<Chunk>>,
    removed: Vec<StreamId>,
    generation: u64,
    time: u64,
    pub(in crate::repair) models: BTreeMap<StreamId, Model>,
}

impl Shop {
    pub(in crate::repair) fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let env = sim_env(&disk, seed);
        let store = Store::open(&env).unwrap();
        let wal = Wal::create(&env, LOG, 1, SEGMENT).unwrap();
        Self {
            disk,
            env,
            store,
            wal,
            states: BTreeMap::new(),
            chunks: BTreeMap::new(),
            removed: Vec::new(),
            generation: 0,
            time: 0,
            models: BTreeMap::new(),
        }
    }

    /// Logs a turn, and applies it.
    pub(in crate::repair) fn turn(&mut self, events: &[Event]) {
        let frame = self.wal.encode(events);
        let bytes = frame.bytes.len() as u64;
        self.wal.prepare(bytes, false).unwrap();
        // The place may have become another one.
        let frame = self.wal.encode(events);
        self.wal.write(&frame).unwrap();
        self.wal.sync().unwrap();
        for event in events {
            self.apply(event);
        }
    }

    fn apply(&mut self, event: &Event) {
        let id = event.stream();
        let before = self.states.remove(&id);
        let model = self.models.entry(id).or_default();
        match event {
            Event::Created(created) => {
                let from = created.origin.map(|origin| origin.at).unwrap_or_default();
                model.bytes.resize(usize::try_from(from.get()).unwrap(), 0);
                model.bytes.extend_from_slice(created.payload.bytes());
                self.keep(id, from, &created.payload);
            }
            Event::Appended(appended) => {
                model.bytes.extend_from_slice(appended.payload.bytes());
                model.closed |= appended.closes;
                self.keep(id, appended.from, &appended.payload);
            }
            Event::Deleted { .. } => model.gone = true,
            _ => {}
        }
        if let Some(state) = apply_event(before, event) {
            self.states.insert(id, state);
        } else {
            self.chunks.remove(&id);
            self.removed.push(id);
        }
    }

    fn keep(&mut self, id: StreamId, from: StreamPos, payload: &Payload) {
        if !payload.is_empty() {
            self.chunks.entry(id).or_default().push(Chunk {
                from,
                payload: payload.clone(),
                at: Timestamp(self.time),
            });
        }
    }

    /// The creation of a stream, for a turn.
    pub(in crate::repair) fn creation(&mut self, name: &str, body: &Payload) -> (StreamId, Event) {
        self.generation += 1;
        let generation = Generation(self.generation);
        let stream = StreamId::new(slot_of(name), generation);
        let created = Created {
            stream,
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
            payload: body.clone(),
            at: Timestamp(self.time),
        };
        (stream, Event::Created(Box::new(created)))
    }

    pub(in crate::repair) fn create(&mut self, name: &str, body: &Payload) -> StreamId {
        let (stream, event) = self.creation(name, body);
        self.turn(&[event]);
        stream
    }

    /// A fork of all that `source` has.
    pub(in crate::repair) fn fork(&mut self, name: &str, source: StreamId) -> StreamId {
        let (stream, event) = self.creation(name, &Payload::EMPTY);
        let Event::Created(mut created) = event else {
            unreachable!("it is one")
        };
        let at = self.states[&source].tail;
        created.origin = Some(ForkPoint {
            source,
            anchor: at,
            at,
        });
        created.lineage = Arc::new([Ancestor {
            stream: source,
            until: at,
        }]);
        self.turn(&[Event::ForkAdded {
            stream: source,
            fork: stream,
        }]);
        self.turn(&[Event::Created(created)]);
        stream
    }

    /// An append, for a turn.
    pub(in crate::repair) fn addition(&mut self, stream: StreamId, body: &Payload) -> Appended {
        self.time += 1;
        Appended {
            stream,
            from: self.states[&stream].tail,
            payload: body.clone(),
            producer: None,
            introduces_producer: false,
            forgets: None,
            seq: None,
            closes: false,
            at: Timestamp(self.time),
        }
    }

    pub(in crate::repair) fn append(&mut self, stream: StreamId, body: &Payload) {
        let appended = self.addition(stream, body);
        self.turn(&[Event::Appended(appended)]);
    }

    pub(in crate::repair) fn delete(&mut self, stream: StreamId) {
        self.turn(&[Event::Deleted {
            stream,
            reason: DeleteReason::Request,
        }]);
    }

    /// Everything goes into segments and the catalog; the log is given back.
    pub(in crate::repair) fn flush(&mut self) {
        let lsn = Lsn(self.wal.next_lsn().get() - 1);
        let chunks = std::mem::take(&mut self.chunks);
        let job = FlushJob {
            log: LOG,
            lsn,
            streams: self
                .states
                .values()
                .map(|state| FrozenStream {
                    state: state.clone(),
                    chunks: chunks.get(&state.id).cloned().unwrap_or_default(),
                })
                .collect(),
            removed: std::mem::take(&mut self.removed),
            producers: Vec::new(),
            generations: Vec::new(),
        };
        job.run(&self.env, &self.store.segments, &self.store.catalog, &FLUSH)
            .unwrap();
        self.wal.recycle(lsn).unwrap();
    }

    /// Ends in order: behind a seal, damage to the last frame shows.
    pub(in crate::repair) fn stop(self) -> (Arc<SimDisk>, BTreeMap<StreamId, Model>) {
        let Self {
            disk,
            env,
            store,
            wal,
            models,
            ..
        } = self;
        wal.close().unwrap();
        drop((env, store));
        (disk, models)
    }
}

/// What a start finds in a stream: runs of bytes, and of bytes that are lost.
#[derive(Debug, Default)]
pub(in crate::repair) struct Found {
    pub(in crate::repair) runs: Vec<(Range<usize>, Vec<u8>)>,
    pub(in crate::repair) lost: Vec<Range<usize>>,
    pub(in crate::repair) state: Option<StreamState>,
    /// Whether it takes a new generation before its next append.
    pub(in crate::repair) raised: bool,
}

/// Opens the directory as a start does, and gives what is in every stream.
pub(in crate::repair) fn start(
    disk: &Arc<SimDisk>,
) -> Result<BTreeMap<StreamId, Found>, StoreError> {
    let env = sim_env(disk, 9);
    let store = Store::open(&env)?;
    let manifest = store.catalog.manifest()?.unwrap();
    let named: Vec<LogId> = manifest.logs.iter().map(|(log, _)| *log).collect();
    Wal::quarantine_unnamed(&env, &named)?;
    let mut states: BTreeMap<StreamId, StreamState> = BTreeMap::new();
    let mut found: BTreeMap<StreamId, Found> = BTreeMap::new();
    for state in store.catalog.streams(None, usize::MAX)? {
        let extents = store.catalog.extents(state.id)?;
        found.insert(state.id, read(&store.segments, &extents));
        states.insert(state.id, state);
    }
    for (log, flushed) in &manifest.logs {
        Wal::open(&env, *log, 2, *flushed, SEGMENT, &mut |_, events| {
            for event in events {
                replay(&event, &mut states, &mut found);
            }
            Ok(())
        })?;
    }
    found.retain(|id, _| states.contains_key(id));
    for (id, state) in states {
        let found = found.entry(id).or_default();
        let current = state.generations.current().get();
        found.raised = current <= manifest.generation_floor;
        found.state = Some(state);
    }
    Ok(found)
}

fn read(segments: &Segments, extents: &[crate::Extent]) -> Found {
    let mut found = Found::default();
    for extent in extents {
        let place = |pos: StreamPos| usize::try_from(pos.get()).unwrap();
        let range = place(extent.from)..place(extent.until);
        let segment = segments.pin(extent.segment);
        match segment.read(extent, extent.from, range.len()) {
            Ok(bytes) => {
                let marks = segment.messages(extent, extent.from).unwrap();
                assert_eq!(marks.map(Result::unwrap).last().unwrap().end, extent.until);
                found.runs.push((range, bytes.to_vec()));
            }
            Err(StoreError::Lost) => found.lost.push(range),
            Err(error) => panic!("{error}"),
        }
    }
    found
}

fn replay(
    event: &Event,
    states: &mut BTreeMap<StreamId, StreamState>,
    found: &mut BTreeMap<StreamId, Found>,
) {
    let id = event.stream();
    let before = states.remove(&id);
    let from = before.as_ref().map(|state| state.tail).unwrap_or_default();
    if let Some(after) = apply_event(before, event) {
        let runs = &mut found.entry(id).or_default().runs;
        if let Some(payload) = event.payload().filter(|payload| !payload.is_empty()) {
            let from = match event {
                Event::Created(created) => created.origin.map(|o| o.at).unwrap_or_default(),
                _ => from,
            };
            let from = usize::try_from(from.get()).unwrap();
            let bytes = payload.bytes().to_vec();
            runs.push((from..from + bytes.len(), bytes));
        }
        states.insert(id, after);
    }
}

/// Nothing that is there is other than it was, and what is missing is said.
pub(in crate::repair) fn assert_honest(
    found: &BTreeMap<StreamId, Found>,
    models: &BTreeMap<StreamId, Model>,
    plan: &Plan,
) {
    let lost_frames = plan
        .lost
        .iter()
        .any(|lost| matches!(lost, Lost::Frames { .. }));
    for (id, found) in found {
        let model = &models[id];
        assert!(!model.gone || lost_frames, "{id} was deleted");
        let state = found.state.as_ref().unwrap();
        let own_from = usize::try_from(state.own_from().get()).unwrap();
        let mut end = own_from;
        let mut parts: Vec<Range<usize>> = found.lost.clone();
        for (range, bytes) in &found.runs {
            assert_eq!(bytes[..], model.bytes[range.clone()], "{id}, {range:?}");
            parts.push(range.clone());
        }
        parts.sort_by_key(|range| range.start);
        for part in parts {
            assert_eq!(part.start, end, "the parts of {id} join");
            end = part.end;
        }
        assert_eq!(end as u64, state.tail.get(), "{id}");
        assert!(end <= model.bytes.len(), "{id} has what was never there");
        if end < model.bytes.len() {
            assert!(lost_frames && found.raised, "the end of {id} is missing");
        }
        for range in &found.lost {
            let is_told = |lost: &Lost| match lost {
                Lost::Bytes {
                    stream,
                    from,
                    until,
                    ..
                } => {
                    *stream == *id
                        && from.get() <= range.start as u64
                        && range.end as u64 <= until.get()
                }
                _ => false,
            };
            assert!(plan.lost.iter().any(is_told), "{id}, {range:?}: {plan:?}");
        }
        if !lost_frames {
            assert_eq!(state.is_closed(), model.closed, "{id}");
            assert!(!found.raised);
        }
    }
    for (id, model) in models {
        assert!(
            model.gone || found.contains_key(id) || lost_frames,
            "{id} is missing"
        );
    }
}

/// Repairs, and asserts what must hold of any repair.
pub(in crate::repair) fn repaired(
    disk: &Arc<SimDisk>,
    models: &BTreeMap<StreamId, Model>,
) -> (Plan, BTreeMap<StreamId, Found>) {
    let env = sim_env(disk, 5);
    let before = disk.io_count();
    let planned = plan(&env, Lock::Held).unwrap();
    assert_eq!(disk.io_count(), before, "a plan changes nothing");
    assert_eq!(planned.refused, None);
    assert_eq!(planned.remains, []);
    let outcome = apply(&env, Lock::Take, &planned).unwrap();
    assert_eq!(outcome.quarantine.is_some(), !planned.is_empty());
    assert_whole(disk);
    let again = plan(&env, Lock::Take).unwrap();
    assert!(again.is_empty(), "{again:?}");
    let found = start(disk).unwrap();
    assert_honest(&found, models, &planned);
    assert_whole(disk);
    (planned, found)
}

pub(in crate::repair) fn assert_whole(disk: &Arc<SimDisk>) {
    let report = check::run(&sim_env(disk, 6), Lock::Take).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
}

pub(in crate::repair) fn body(rng: &Rng) -> Payload {
    let count = rng.below(4) + 1;
    let lengths: Vec<u32> = (0..count)
        .map(|_| u32::try_from(rng.below(600) + 1).unwrap())
        .collect();
    payload(rng, &lengths)
}

/// Streams in packs and in segments of their own, and a log of several segments.
pub(in crate::repair) fn shop(seed: u64) -> Shop {
    let rng = Rng::from_seed(seed);
    let mut shop = Shop::new(seed);
    let mut ids: Vec<StreamId> = (0..8)
        .map(|n| shop.create(&format!("s{n}"), &body(&rng)))
        .collect();
    for round in 0..3 {
        for _ in 0..40 {
            let at = usize::try_from(rng.below(ids.len() as u64)).unwrap();
            shop.append(ids[at], &body(&rng));
        }
        let big: Vec<u32> = (0..700)
            .map(|_| u32::try_from(rng.below(200) + 1).unwrap())
            .collect();
        for part in big.chunks(60) {
            shop.append(ids[0], &payload(&rng, part));
        }
        let dead = ids.remove(3);
        shop.delete(dead);
        ids.push(shop.create(&format!("s3-{round}"), &body(&rng)));
        if round < 2 {
            shop.flush();
        }
    }
    shop
}

pub(in crate::repair) fn files(disk: &Arc<SimDisk>, dir: &str, ending: &str) -> Vec<String> {
    let env = sim_env(disk, 1);
    let entries = env.disk.list(Path::new(dir)).unwrap();
    let names = entries.into_iter().map(|entry| entry.name);
    let names = names.filter(|name| name.ends_with(ending));
    names.map(|name| format!("{dir}/{name}")).collect()
}

/// A byte of the log that belongs to a frame: not zero.
pub(in crate::repair) fn written_byte(disk: &Arc<SimDisk>, path: &str, from: usize) -> u64 {
    let content = disk.content(path);
    let at = content[from..].iter().position(|byte| *byte != 0);
    (from + at.unwrap()) as u64
}
