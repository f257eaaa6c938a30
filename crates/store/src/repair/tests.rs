//! Directories that are damaged in one place or another, and what is left of them.

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

use millrace_core::{
    Appended, ContentType, CreateSpec, Created, DeleteReason, Event, ForkPoint, Generation,
    Lifetime, Lsn, Payload, ProducerClaim, ProducerId, StreamId, StreamName, StreamPos, Timestamp,
    slot::slot_of,
    stream::{Ancestor, GenerationStart, StreamState, apply as apply_event},
};
use millrace_env::{Env, OpenMode, Rng, SimDisk};

use super::{ActionKind, Lost, Plan, apply, plan};
use crate::{
    Catalog, StoreError,
    catalog::CATALOG_FILE,
    check::{self, Lock},
    dump::Format,
    flush::{FlushJob, FrozenStream},
    segment::{Chunk, Segments, segment_path},
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
pub(super) struct Model {
    pub(super) bytes: Vec<u8>,
    pub(super) closed: bool,
    pub(super) gone: bool,
}

/// A shard with its log, without a loop: every turn is logged, synced, applied.
pub(super) struct Shop {
    pub(super) disk: Arc<SimDisk>,
    env: Env,
    store: Store,
    wal: Wal,
    states: BTreeMap<StreamId, StreamState>,
    chunks: BTreeMap<StreamId, Vec<Chunk>>,
    removed: Vec<StreamId>,
    generation: u64,
    time: u64,
    pub(super) models: BTreeMap<StreamId, Model>,
}

impl Shop {
    pub(super) fn new(seed: u64) -> Self {
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
    pub(super) fn turn(&mut self, events: &[Event]) {
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
        match apply_event(before, event) {
            Some(state) => drop(self.states.insert(id, state)),
            None => {
                self.chunks.remove(&id);
                self.removed.push(id);
            }
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
    pub(super) fn creation(&mut self, name: &str, body: &Payload) -> (StreamId, Event) {
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

    pub(super) fn create(&mut self, name: &str, body: &Payload) -> StreamId {
        let (stream, event) = self.creation(name, body);
        self.turn(&[event]);
        stream
    }

    /// A fork of all that `source` has.
    pub(super) fn fork(&mut self, name: &str, source: StreamId) -> StreamId {
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
    pub(super) fn addition(&mut self, stream: StreamId, body: &Payload) -> Appended {
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

    pub(super) fn append(&mut self, stream: StreamId, body: &Payload) {
        let appended = self.addition(stream, body);
        self.turn(&[Event::Appended(appended)]);
    }

    pub(super) fn delete(&mut self, stream: StreamId) {
        self.turn(&[Event::Deleted {
            stream,
            reason: DeleteReason::Request,
        }]);
    }

    /// Everything goes into segments and the catalog; the log is given back.
    pub(super) fn flush(&mut self) {
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
    pub(super) fn stop(self) -> (Arc<SimDisk>, BTreeMap<StreamId, Model>) {
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
pub(super) struct Found {
    pub(super) runs: Vec<(Range<usize>, Vec<u8>)>,
    pub(super) lost: Vec<Range<usize>>,
    pub(super) state: Option<StreamState>,
    /// Whether it takes a new generation before its next append.
    pub(super) raised: bool,
}

/// Opens the directory as a start does, and gives what is in every stream.
pub(super) fn start(disk: &Arc<SimDisk>) -> Result<BTreeMap<StreamId, Found>, StoreError> {
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
pub(super) fn assert_honest(
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
pub(super) fn repaired(
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

fn assert_whole(disk: &Arc<SimDisk>) {
    let report = check::run(&sim_env(disk, 6), Lock::Take).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
}

fn body(rng: &Rng) -> Payload {
    let count = rng.below(4) + 1;
    let lengths: Vec<u32> = (0..count)
        .map(|_| u32::try_from(rng.below(600) + 1).unwrap())
        .collect();
    payload(rng, &lengths)
}

/// Streams in packs and in segments of their own, and a log of several segments.
pub(super) fn shop(seed: u64) -> Shop {
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

fn files(disk: &Arc<SimDisk>, dir: &str, ending: &str) -> Vec<String> {
    let env = sim_env(disk, 1);
    let entries = env.disk.list(Path::new(dir)).unwrap();
    let names = entries.into_iter().map(|entry| entry.name);
    let names = names.filter(|name| name.ends_with(ending));
    names.map(|name| format!("{dir}/{name}")).collect()
}

/// A byte of the log that belongs to a frame: not zero.
fn written_byte(disk: &Arc<SimDisk>, path: &str, from: usize) -> u64 {
    let content = disk.content(path);
    let at = content[from..].iter().position(|byte| *byte != 0);
    (from + at.unwrap()) as u64
}

#[test]
fn a_whole_directory_needs_no_repair_and_is_not_changed() {
    let (disk, models) = shop(1).stop();
    let env = sim_env(&disk, 1);
    let before = disk.io_count();
    let planned = plan(&env, Lock::Held).unwrap();
    assert!(planned.is_empty(), "{planned:?}");
    let outcome = apply(&env, Lock::Held, &planned).unwrap();
    assert_eq!(outcome, super::Outcome::default());
    assert_eq!(disk.io_count(), before);
    assert_honest(&start(&disk).unwrap(), &models, &planned);
}

#[test]
fn a_directory_that_was_never_used_needs_no_repair() {
    let disk = SimDisk::new(1);
    let planned = plan(&sim_env(&disk, 1), Lock::Held).unwrap();
    assert!(planned.is_empty(), "{planned:?}");
}

#[test]
fn a_directory_in_use_is_refused() {
    let (disk, _) = shop(2).stop();
    let env = sim_env(&disk, 1);
    let held = check::lock(&env).unwrap();
    assert!(matches!(plan(&env, Lock::Take), Err(StoreError::Locked)));
    let planned = plan(&env, Lock::Held).unwrap();
    assert!(matches!(
        apply(&env, Lock::Take, &planned),
        Err(StoreError::Locked)
    ));
    drop(held);
}

#[test]
fn a_plan_for_another_state_of_the_directory_is_refused() {
    let (disk, _) = shop(3).stop();
    let env = sim_env(&disk, 1);
    let nothing = plan(&env, Lock::Take).unwrap();
    let segment = files(&disk, "segments", ".seg").remove(0);
    disk.flip_bit(&segment, 50, 1);
    let before = disk.io_count();
    assert!(apply(&env, Lock::Held, &nothing).is_err());
    assert_eq!(disk.io_count(), before);
}

#[test]
fn a_flipped_bit_anywhere_in_a_segment_loses_at_most_the_messages_of_its_block() {
    let (disk, models) = shop(4).stop();
    let rng = Rng::from_seed(4);
    for segment in files(&disk, "segments", ".seg") {
        let len = disk.content(&segment).len() as u64;
        let mut places = vec![0, 40, len - 1, len - 40, len - 66];
        places.extend((0..6).map(|_| rng.below(len)));
        for at in places {
            let disk = disk.copy(at);
            disk.flip_bit(&segment, at, 3);
            let (plan, _) = repaired(&disk, &models);
            assert!(
                plan.lost_bytes() <= 17 * 1024 + 256 * 600,
                "{segment} at {at}: {plan:?}"
            );
            let kept = format!("quarantine/repair-1/{segment}");
            assert_eq!(disk.content(&kept).len() as u64, len, "it is kept");
            if at + 64 + 4 >= len {
                assert_eq!(plan.lost_bytes(), 0, "the blocks prove their checksums");
            }
        }
    }
}

#[test]
fn segments_under_each_others_names_are_whole() {
    let (disk, models) = shop(5).stop();
    let env = sim_env(&disk, 1);
    let segments = files(&disk, "segments", ".seg");
    let (a, b) = (Path::new(&segments[0]), Path::new(&segments[1]));
    let there = Path::new("there");
    env.disk.rename(a, there).unwrap();
    env.disk.rename(b, a).unwrap();
    env.disk.rename(there, b).unwrap();
    let (plan, _) = repaired(&disk, &models);
    assert_eq!(plan.lost, []);
    let rewritten = plan.actions.iter();
    let rewritten = rewritten.filter(|action| action.kind == ActionKind::Rewrite);
    assert_eq!(rewritten.count(), 2);
}

#[test]
fn a_missing_segment_loses_its_bytes_and_no_others() {
    let (disk, models) = shop(6).stop();
    for segment in files(&disk, "segments", ".seg") {
        let disk = disk.copy(1);
        disk.lose(&segment);
        assert!(start(&disk.copy(2)).is_err());
        let (plan, found) = repaired(&disk, &models);
        let lost: usize = found
            .values()
            .flat_map(|found| &found.lost)
            .map(ExactSizeIterator::len)
            .sum();
        assert!(lost > 0);
        // The log may delete some of them.
        assert!(plan.lost_bytes() >= lost as u64);
    }
}

#[test]
fn a_segment_that_was_cut_or_has_grown_is_told_apart_from_what_is_missing_of_it() {
    let (disk, models) = shop(7).stop();
    for segment in files(&disk, "segments", ".seg") {
        let len = disk.content(&segment).len() as u64;
        for new in [len + 100, len - 1, len / 2, 10, 0] {
            let disk = disk.copy(new);
            let env = sim_env(&disk, 1);
            let file = env.disk.open(Path::new(&segment), OpenMode::ReadWrite);
            file.unwrap().set_len(new).unwrap();
            let (plan, _) = repaired(&disk, &models);
            if new >= len - 1 {
                assert_eq!(plan.lost, [], "{segment}, {new} of {len}");
            }
        }
    }
}

#[test]
fn an_extent_that_the_catalog_has_elsewhere_is_found_where_the_segment_says() {
    let (disk, models) = shop(8).stop();
    let env = sim_env(&disk, 1);
    let catalog = Catalog::open(&env, 1 << 20).unwrap();
    let rich = models.iter().find(|(_, model)| !model.gone).unwrap().0;
    let mut extent = catalog.extents(*rich).unwrap()[0];
    extent.data.0 += 1;
    catalog.tamper(&|tx| {
        let mut extents = tx.open_table(crate::catalog::tables::EXTENTS).unwrap();
        let key = (extent.stream.get(), extent.from.get());
        let row = crate::catalog::tables::extent_row(&extent);
        extents.insert(key, &row[..]).unwrap();
    });
    drop(catalog);
    let (plan, _) = repaired(&disk, &models);
    assert_eq!(plan.lost, []);
}

#[test]
fn a_flipped_bit_anywhere_in_a_log_loses_the_frames_of_its_place_and_no_others() {
    let (disk, models) = shop(9).stop();
    let rng = Rng::from_seed(9);
    let segments = files(&disk, &LOG.dir().display().to_string(), ".wal");
    assert!(segments.len() > 2, "{segments:?}");
    let (mut whole, mut holes) = (0, 0);
    for segment in &segments {
        let len = disk.content(segment).len() as u64;
        for _ in 0..25 {
            let disk = disk.copy(rng.next());
            // Headers are another test's.
            disk.flip_bit(segment, 4096 + rng.below(len - 4096), 2);
            let start_refuses = start(&disk.copy(1)).is_err();
            let (plan, found) = repaired(&disk, &models);
            assert_eq!(start_refuses, !plan.is_empty());
            let frames = plan.lost.iter().filter_map(|lost| match lost {
                Lost::Frames { from, until, .. } => Some((*from, (*until)?)),
                _ => None,
            });
            for (from, until) in frames {
                assert_eq!(until.get(), from.get() + 1, "one frame: {plan:?}");
            }
            whole += u32::from(!plan.is_empty() && plan.lost.is_empty());
            holes += u32::from(found.values().any(|found| !found.lost.is_empty()));
        }
    }
    assert!(
        whole > 0 && holes > 5,
        "{whole} without a loss, {holes} with a hole"
    );
}

#[test]
fn a_log_whose_header_is_damaged_loses_that_segment_unless_the_rest_proves_it() {
    let (disk, models) = shop(10).stop();
    let segments = files(&disk, &LOG.dir().display().to_string(), ".wal");
    for segment in &segments {
        let last = segment == segments.last().unwrap();
        // In the magic, the salt, what is always zero, and the checksum.
        for (at, is_proven) in [(3, true), (44, false), (900, true), (4093, true)] {
            let disk = disk.copy(at);
            disk.flip_bit(segment, at, 0);
            let (plan, _) = repaired(&disk, &models);
            let is_open = |lost: &Lost| matches!(lost, Lost::Frames { until: None, .. });
            let is_open = plan.lost.iter().any(is_open);
            assert_eq!(is_open, last && !is_proven, "{at}: {plan:?}");
            assert!(!is_proven || plan.lost.is_empty(), "{at}: {plan:?}");
        }
    }
}

#[test]
fn missing_segments_and_logs_are_gaps() {
    let (disk, models) = shop(11).stop();
    let mut lost = files(&disk, &LOG.dir().display().to_string(), ".wal");
    lost.push(LOG.dir().display().to_string());
    let mut lossy = 0;
    for lost in lost {
        let disk = disk.copy(1);
        disk.lose(&lost);
        let start_refuses = start(&disk.copy(2)).is_err();
        let (plan, _) = repaired(&disk, &models);
        assert_eq!(!plan.is_empty(), start_refuses, "{lost}");
        lossy += u32::from(!plan.lost.is_empty());
    }
    assert!(lossy > 2, "{lossy}");
}

#[test]
fn log_segments_under_each_others_names_are_read_in_their_order() {
    let (disk, models) = shop(12).stop();
    let env = sim_env(&disk, 1);
    let segments = files(&disk, &LOG.dir().display().to_string(), ".wal");
    let (a, b) = (Path::new(&segments[0]), Path::new(&segments[1]));
    let there = Path::new("there");
    env.disk.rename(a, there).unwrap();
    env.disk.rename(b, a).unwrap();
    env.disk.rename(there, b).unwrap();
    let (plan, _) = repaired(&disk, &models);
    assert_eq!(plan.lost, []);
}

#[test]
fn a_log_that_is_damaged_where_the_catalog_has_it_loses_nothing() {
    let mut shop = shop(13);
    let first = shop.create("last", &Payload::EMPTY);
    shop.flush();
    let (disk, models) = shop.stop();
    assert!(!models[&first].gone);
    let segments = files(&disk, &LOG.dir().display().to_string(), ".wal");
    let at = written_byte(&disk, &segments[0], 4200);
    disk.flip_bit(&segments[0], at, 1);
    // One more flip makes sure that no frame before it is torn by chance.
    let (plan, _) = repaired(&disk, &models);
    assert_eq!(plan.lost, []);
}

/// A stream whose appends lie before, in and behind a frame that is lost.
fn around_a_loss(inside: impl FnOnce(&mut Shop, StreamId) -> Vec<Event>) -> (Shop, StreamId, u64) {
    let rng = Rng::from_seed(20);
    let mut shop = Shop::new(20);
    let id = shop.create("a", &payload(&rng, &[100]));
    shop.append(id, &payload(&rng, &[50]));
    let events = inside(&mut shop, id);
    let path = files(&shop.disk, &LOG.dir().display().to_string(), ".wal").remove(0);
    let content = shop.disk.content(&path);
    let at = content.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    let at = at.next_multiple_of(8);
    shop.turn(&events);
    (shop, id, at + 60)
}

fn damaged_at(shop: Shop, at: u64) -> (Arc<SimDisk>, BTreeMap<StreamId, Model>) {
    let (disk, models) = shop.stop();
    let path = files(&disk, &LOG.dir().display().to_string(), ".wal").remove(0);
    disk.flip_bit(path, at, 1);
    (disk, models)
}

#[test]
fn an_append_behind_a_loss_leaves_a_hole_before_it() {
    let rng = Rng::from_seed(21);
    let (mut shop, id, at) = around_a_loss(|shop, id| {
        vec![Event::Appended(
            shop.addition(id, &payload(&Rng::from_seed(1), &[30, 40])),
        )]
    });
    shop.append(id, &payload(&rng, &[25]));
    let (disk, models) = damaged_at(shop, at);
    let (plan, found) = repaired(&disk, &models);
    assert_eq!(found[&id].lost, [150..220]);
    assert_eq!(found[&id].state.as_ref().unwrap().tail, StreamPos(245));
    assert_eq!(plan.lost_bytes(), 70);
    assert!(found[&id].raised);
}

#[test]
fn what_a_lost_frame_closed_or_deleted_is_open_and_there_and_a_later_one_is_kept() {
    let rng = Rng::from_seed(22);
    let (mut shop, a, at) = around_a_loss(|shop, id| {
        let closing = Appended {
            closes: true,
            ..shop.addition(id, &payload(&Rng::from_seed(1), &[30]))
        };
        vec![Event::Appended(closing)]
    });
    let b = shop.create("b", &payload(&rng, &[10]));
    let closing = Appended {
        closes: true,
        ..shop.addition(b, &payload(&rng, &[10]))
    };
    shop.turn(&[Event::Appended(closing)]);
    let c = shop.create("c", &payload(&rng, &[10]));
    shop.delete(c);
    let (disk, models) = damaged_at(shop, at);
    let (_, found) = repaired(&disk, &models);
    let is_closed = |id: StreamId| found[&id].state.as_ref().unwrap().is_closed();
    assert!(!is_closed(a) && is_closed(b));
    assert!(!found.contains_key(&c));
}

#[test]
fn a_stream_whose_creation_is_lost_is_told_and_its_name_is_free() {
    let rng = Rng::from_seed(23);
    let mut lost = None;
    let (mut shop, _, at) = around_a_loss(|shop, _| {
        let (id, event) = shop.creation("b", &payload(&Rng::from_seed(1), &[30]));
        lost = Some(id);
        vec![event]
    });
    let lost = lost.unwrap();
    shop.append(lost, &payload(&rng, &[40]));
    let (disk, models) = damaged_at(shop, at);
    let (plan, found) = repaired(&disk, &models);
    assert!(!found.contains_key(&lost));
    let told = |one: &Lost| matches!(one, Lost::Stream { stream, .. } if *stream == lost);
    assert!(plan.lost.iter().any(told), "{plan:?}");
    let catalog = Catalog::open_read_only(&sim_env(&disk, 1), 1 << 20).unwrap();
    let used = catalog.slot_generations().unwrap()[usize::from(lost.slot().get())];
    assert!(used > lost.birth(), "its identity is never given out again");
}

#[test]
fn a_name_that_is_created_again_behind_a_loss_was_deleted_in_it() {
    let rng = Rng::from_seed(24);
    let (mut shop, a, at) = around_a_loss(|_, id| {
        vec![
            Event::Deleted {
                stream: id,
                reason: DeleteReason::Request,
            };
            3
        ][..1]
            .to_vec()
    });
    let again = shop.create("a", &payload(&rng, &[10]));
    let (disk, models) = damaged_at(shop, at - 40);
    let (_, found) = repaired(&disk, &models);
    assert!(!found.contains_key(&a) && found.contains_key(&again));
}

#[test]
fn a_fork_keeps_the_source_that_was_deleted_behind_a_lost_reference() {
    let rng = Rng::from_seed(25);
    let mut shop = Shop::new(25);
    let source = shop.create("source", &payload(&rng, &[100]));
    let path = files(&shop.disk, &LOG.dir().display().to_string(), ".wal").remove(0);
    let content = shop.disk.content(&path);
    let at = content.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    let fork = shop.fork("fork", source);
    shop.append(fork, &payload(&rng, &[10]));
    shop.delete(source);
    // The frame with the reference.
    let (disk, mut models) = damaged_at(shop, at.next_multiple_of(8) + 50);
    models.get_mut(&source).unwrap().gone = false;
    let (_, found) = repaired(&disk, &models);
    let state = found[&source].state.as_ref().unwrap();
    assert!(state.soft_deleted && state.forks.contains(&fork));
    assert_eq!(found[&source].runs.len(), 1);
}

#[test]
fn a_fork_of_bytes_that_are_lost_never_gets_others() {
    let rng = Rng::from_seed(26);
    let (mut shop, source, at) = around_a_loss(|shop, id| {
        vec![Event::Appended(
            shop.addition(id, &payload(&Rng::from_seed(1), &[30])),
        )]
    });
    let fork = shop.fork("fork", source);
    shop.append(fork, &payload(&rng, &[10]));
    let (disk, models) = damaged_at(shop, at);
    let (_, found) = repaired(&disk, &models);
    assert_eq!(
        found[&source].lost,
        [150..180],
        "the fork proves their place"
    );
    assert_eq!(found[&source].state.as_ref().unwrap().tail, StreamPos(180));
}

#[test]
fn a_fork_whose_source_is_lost_keeps_its_own_bytes() {
    let rng = Rng::from_seed(27);
    let mut lost = None;
    let (mut shop, _, at) = around_a_loss(|shop, _| {
        let (id, event) = shop.creation("b", &payload(&Rng::from_seed(1), &[30]));
        lost = Some(id);
        vec![event]
    });
    let lost = lost.unwrap();
    let fork = shop.fork("fork", lost);
    shop.append(fork, &payload(&rng, &[10]));
    let (disk, models) = damaged_at(shop, at);
    let (plan, found) = repaired(&disk, &models);
    assert_eq!(found[&fork].runs[0].0, 30..40);
    assert_eq!(found[&lost].lost, [0..30]);
    let stand_in = found[&lost].state.as_ref().unwrap();
    assert!(stand_in.soft_deleted && stand_in.forks.contains(&fork));
    assert_eq!(plan.lost_bytes(), 30);
}

#[test]
fn producers_behind_a_loss_are_remembered_and_counted() {
    let claim = |seq| ProducerClaim {
        id: ProducerId::new("p").unwrap(),
        epoch: 1,
        seq,
    };
    let (mut shop, id, at) = around_a_loss(|shop, id| {
        let first = Appended {
            producer: Some(claim(0)),
            introduces_producer: true,
            ..shop.addition(id, &payload(&Rng::from_seed(1), &[30]))
        };
        vec![Event::Appended(first)]
    });
    let second = Appended {
        producer: Some(claim(1)),
        ..shop.addition(id, &payload(&Rng::from_seed(2), &[30]))
    };
    shop.turn(&[Event::Appended(second)]);
    let (disk, models) = damaged_at(shop, at);
    let (_, found) = repaired(&disk, &models);
    assert_eq!(found[&id].state.as_ref().unwrap().producer_count, 1);
    let catalog = Catalog::open_read_only(&sim_env(&disk, 1), 1 << 20).unwrap();
    let producer = catalog.producer(id, "p").unwrap().unwrap();
    assert_eq!((producer.epoch, producer.seq), (1, 1));
}

#[test]
fn a_damaged_catalog_is_refused_and_nothing_is_changed() {
    let (disk, _) = shop(14).stop();
    for lost in [true, false] {
        let disk = disk.copy(1);
        if lost {
            disk.lose(CATALOG_FILE);
        } else {
            // Both copies of the header.
            disk.flip_bit(CATALOG_FILE, 4096 + 9, 1);
            disk.flip_bit(CATALOG_FILE, 4096 + 512 + 9, 1);
        }
        let env = sim_env(&disk, 1);
        let before = disk.io_count();
        let planned = plan(&env, Lock::Held).unwrap();
        assert!(planned.refused.is_some() && planned.leaves_damage());
        assert!(apply(&env, Lock::Held, &planned).is_err());
        assert_eq!(disk.io_count(), before);
    }
}

#[test]
fn with_tables_that_disagree_nothing_is_done() {
    let (disk, models) = shop(17).stop();
    let env = sim_env(&disk, 1);
    let some = models.iter().find(|(_, model)| !model.gone).unwrap().0;
    Catalog::open(&env, 1 << 20).unwrap().tamper(&|tx| {
        let mut expiry = tx.open_table(crate::catalog::tables::EXPIRY).unwrap();
        expiry.insert((5, some.get()), ()).unwrap();
    });
    disk.flip_bit("segments/0000000000000000.seg", 100, 1);
    let before = disk.io_count();
    let planned = plan(&env, Lock::Held).unwrap();
    assert!(planned.refused.is_some() && planned.leaves_damage());
    assert!(planned.actions.is_empty());
    assert!(apply(&env, Lock::Held, &planned).is_err());
    assert_eq!(disk.io_count(), before);
}

#[test]
fn an_unreadable_device_is_no_damage() {
    use millrace_env::{Fault, FaultError, FaultOp};
    let (disk, _) = shop(15).stop();
    let segment = files(&disk, "segments", ".seg").remove(0);
    disk.fail(
        Fault::new(FaultOp::Read, FaultError::Io)
            .on(&segment)
            .lasting(),
    );
    let planned = plan(&sim_env(&disk, 1), Lock::Take);
    assert!(matches!(planned, Err(StoreError::Io(_))), "{planned:?}");
}

#[test]
fn a_plan_is_lines_for_people_and_documents_for_programs() {
    let (disk, models) = shop(16).stop();
    disk.lose(segment_path(millrace_core::SegmentId(0)));
    let (plan, _) = repaired(&disk, &models);
    let mut out = Vec::new();
    plan.write(Format::Human, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.contains("action do=rewrite file=segments/0000000000000000.seg"),
        "{text}"
    );
    assert!(text.contains("lost type=bytes stream="), "{text}");
    assert!(
        text.lines()
            .last()
            .unwrap()
            .starts_with("plan needed=true possible=true")
    );
    let mut out = Vec::new();
    plan.write(Format::Json, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.lines()
            .all(|line| line.starts_with('{') && line.ends_with('}'))
    );
    let readme = disk.content("quarantine/repair-1/README.txt");
    assert!(
        String::from_utf8(readme)
            .unwrap()
            .contains("action do=copy file=catalog.redb")
    );
}

#[test]
fn random_damage_is_repaired_or_refused_and_never_shows_other_bytes() {
    for seed in 0..25 {
        let rng = Rng::from_seed(seed);
        let (disk, models) = shop(100 + seed).stop();
        let log = files(&disk, &LOG.dir().display().to_string(), ".wal");
        for _ in 0..4 {
            let disk = disk.copy(rng.next());
            for _ in 0..=rng.below(3) {
                damage(&disk, &rng, log.last().unwrap());
            }
            repaired(&disk, &models);
        }
    }
}

/// One of the things that happen to files of logs and segments.
fn damage(disk: &Arc<SimDisk>, rng: &Rng, spared: &str) {
    let env = sim_env(disk, 1);
    let mut all = files(disk, "segments", ".seg");
    all.extend(files(disk, &LOG.dir().display().to_string(), ".wal"));
    // Zeros over the end of a log cannot be told from a log that ended before.
    all.retain(|file| file != spared);
    if all.is_empty() {
        return;
    }
    let some = &all[usize::try_from(rng.below(all.len() as u64)).unwrap()];
    let len = disk.content(some).len() as u64;
    let open = || env.disk.open(Path::new(some), OpenMode::ReadWrite).unwrap();
    match rng.below(5) {
        0 => disk.flip_bit(some, rng.below(len.max(1)).min(len.saturating_sub(1)), 5),
        1 => {
            let at = rng.below(len) / 512 * 512;
            let zeros = vec![0; usize::try_from((len - at).min(4096)).unwrap()];
            millrace_env::FileExt::write_all_at(&*open(), &zeros, at).unwrap();
        }
        2 => open().set_len(rng.below(len)).unwrap(),
        3 => {
            let other = &all[usize::try_from(rng.below(all.len() as u64)).unwrap()];
            if other != some && other.ends_with(&some[some.len() - 4..]) {
                let there = Path::new("there");
                env.disk.rename(Path::new(some), there).unwrap();
                env.disk.rename(Path::new(other), Path::new(some)).unwrap();
                env.disk.rename(there, Path::new(other)).unwrap();
            }
        }
        _ => disk.lose(some),
    }
}
