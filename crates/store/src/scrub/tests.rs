//! A pass finds what is damaged, says where and whose it is, and nothing else.

use std::{ops::Range, path::Path, sync::Arc};

use millrace_core::{Event, Lsn, StreamId, Timestamp};
use millrace_env::{Env, Fault, FaultError, FaultOp, OpenMode, Rng, SimDisk};

use super::{Damage, FileKind, Found, Looked, PIECE_BYTES, Pass};
use crate::{
    segment::{
        file::SegmentFile,
        format::{BLOCK_BYTES, TRAILER_BYTES},
        segment_path,
    },
    testkit::{LOG, Store, Streams, payload, sim_env},
    wal::{Wal, WalOptions},
};

const LOG_OPTIONS: WalOptions = WalOptions {
    segment_bytes: 16 << 10,
    reserve: false,
};

/// A directory with packs, a segment of several pieces, and sealed log segments.
struct Bench {
    disk: Arc<SimDisk>,
    env: Env,
    store: Store,
    streams: Streams,
    log: Wal,
    large: StreamId,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let env = sim_env(&disk, seed);
        let rng = Rng::from_seed(seed);
        let store = Store::open(&env).unwrap();
        let mut streams = Streams::default();
        for _ in 0..3 {
            streams.churn(&rng, 15);
            store.flush(&streams.freeze()).unwrap();
            streams.flushed();
        }
        let large = streams.create("large");
        streams.append(large, &payload(&rng, &vec![500; 6_000]));
        store.flush(&streams.freeze()).unwrap();
        streams.flushed();
        let mut bench = Self {
            log: Wal::create(&env, LOG, 1, LOG_OPTIONS).unwrap(),
            disk,
            env,
            store,
            streams,
            large,
        };
        bench.write_log(400);
        bench
    }

    /// Turns of the log, each a frame: about 200 fill a segment.
    fn write_log(&mut self, turns: u64) {
        for turn in 0..turns {
            let events = [Event::Touched {
                stream: self.large,
                deadline: Timestamp(turn),
            }];
            let bytes = Wal::frame_bytes_max(&events);
            self.log.prepare(bytes, false).unwrap();
            let frame = self.log.encode(&events);
            self.log.write(&frame).unwrap();
            self.log.sync().unwrap();
        }
    }

    fn pass(&self) -> Pass {
        Pass::begin(&self.env, &self.store.catalog, 0).unwrap()
    }

    /// The same directory, damaged, and what a pass says of it.
    fn with(&self, damage: impl FnOnce(&SimDisk)) -> Vec<Looked> {
        let disk = self.disk.copy(7);
        damage(&disk);
        let env = sim_env(&disk, 7);
        let catalog = crate::Catalog::open_read_only(&env, 1 << 20).unwrap();
        run(&mut Pass::begin(&env, &catalog, 0).unwrap())
    }

    /// The segment that holds the bytes of one stream alone, of several pieces.
    fn large_segment(&self) -> String {
        let extents = self.store.catalog.extents(self.large).unwrap();
        let id = extents[0].segment;
        assert!(extents[0].bytes() > 2 * PIECE_BYTES);
        segment_path(id).display().to_string()
    }
}

fn run(pass: &mut Pass) -> Vec<Looked> {
    let mut looked = Vec::new();
    while let Some(step) = pass.step() {
        looked.extend(step.looked);
    }
    looked
}

/// The files that are not whole, and what is said of them.
fn damaged(looked: &[Looked]) -> Vec<(&str, &Damage)> {
    let damage = |looked: &'_ Looked| match &looked.found {
        Found::Damaged(_) => true,
        Found::Whole => false,
        other => panic!("{}: {other:?}", looked.file),
    };
    let damaged = looked.iter().filter(|looked| damage(looked));
    damaged
        .map(|looked| match &looked.found {
            Found::Damaged(damage) => (looked.file.as_str(), damage),
            _ => unreachable!("only these are left"),
        })
        .collect()
}

#[test]
fn a_whole_directory_is_found_whole_in_pieces_and_is_not_changed() {
    let bench = Bench::new(1);
    let before = bench.disk.io_count();
    let mut pass = bench.pass();
    let (mut looked, mut bytes, mut progress) = (Vec::new(), 0, 0);
    while let Some(step) = pass.step() {
        // A footer or a directory is no larger here.
        assert!(step.bytes <= PIECE_BYTES, "{}", step.bytes);
        assert!(pass.progress() >= progress, "it never goes back");
        progress = pass.progress();
        bytes += step.bytes;
        looked.extend(step.looked);
    }
    assert_eq!(damaged(&looked), []);
    assert_eq!(progress, 1_000_000);
    let rows = bench.store.catalog.segments().unwrap();
    let count = |kind| looked.iter().filter(|looked| looked.kind == kind).count();
    assert_eq!(count(FileKind::Segment), rows.len());
    assert!(count(FileKind::Log) >= 2, "{looked:?}");
    assert!(bytes >= rows.iter().map(|row| row.len).sum());
    assert_eq!(bench.disk.io_count(), before);
}

#[test]
fn a_pass_goes_round_from_any_segment() {
    let bench = Bench::new(2);
    let files = |first| {
        let mut pass = Pass::begin(&bench.env, &bench.store.catalog, first).unwrap();
        let looked = run(&mut pass).into_iter();
        let segments = looked.filter(|looked| looked.kind == FileKind::Segment);
        segments.map(|looked| looked.file).collect::<Vec<_>>()
    };
    let from_the_oldest = files(0);
    assert!(from_the_oldest.len() > 2);
    for first in 0..7 {
        let mut wanted = from_the_oldest.clone();
        let round = first % wanted.len();
        wanted.rotate_left(round);
        assert_eq!(files(first as u64), wanted);
    }
}

/// Where the parts of a segment lie.
fn parts(bench: &Bench) -> [(&'static str, Range<u64>); 6] {
    let extents = bench.store.catalog.extents(bench.large).unwrap();
    let file = SegmentFile::open(&bench.env, extents[0].segment).unwrap();
    let at = *file.trailer();
    let len = at.file_len();
    [
        ("header", 0..32),
        ("data", 32..at.index.get()),
        ("index", at.index.get()..at.directory.get()),
        ("directory", at.directory.get()..at.footer.get()),
        ("footer", at.footer.get()..len - TRAILER_BYTES),
        ("trailer", len - TRAILER_BYTES..len),
    ]
}

#[test]
fn t26_a_flipped_bit_in_every_part_of_a_segment_is_found_in_its_place() {
    let bench = Bench::new(3);
    let path = bench.large_segment();
    let rng = Rng::from_seed(3);
    for (part, range) in parts(&bench) {
        for _ in 0..5 {
            let at = range.start + rng.below(range.end - range.start);
            let looked = bench.with(|disk| disk.flip_bit(&path, at, 3));
            let found = damaged(&looked);
            let [(file, damage)] = found[..] else {
                panic!("{part} at {at}: {found:?}");
            };
            assert_eq!((file, damage.blocks), (path.as_str(), 1), "{part}");
            if matches!(part, "footer" | "trailer") {
                assert!(damage.what.contains(part), "{}", damage.what);
                assert_eq!(damage.bytes_in_words(), "unknown");
                continue;
            }
            let [range] = &damage.ranges[..] else {
                panic!("{part} at {at}: {damage:?}");
            };
            assert!(range.contains(&at), "{part} at {at}: {damage:?}");
            assert!(range.end - range.start <= BLOCK_BYTES);
            // A damaged directory tells nothing; its neighbours in a block suffer with it.
            if part == "data" && range.end < parts(&bench)[3].1.start {
                assert_eq!(damage.streams_in_words(), "large");
            }
        }
    }
}

#[test]
fn t26_a_flipped_bit_anywhere_in_a_sealed_log_segment_is_found() {
    let bench = Bench::new(4);
    let path = LOG.dir().join("0000000000000001.wal");
    let content = bench.disk.content(&path);
    let used = content.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    let rng = Rng::from_seed(4);
    for round in 0..40 {
        // What lies behind the seal is looked at by nobody.
        let at = rng.below(used - 48);
        let looked = bench.with(|disk| disk.flip_bit(&path, at, 1));
        let found = damaged(&looked);
        let [(file, damage)] = found[..] else {
            panic!("round {round} at {at}: {found:?}");
        };
        assert_eq!(file, path.display().to_string());
        assert!(damage.ranges[0].contains(&at), "{at}: {damage:?}");
    }
}

#[test]
fn several_damaged_blocks_of_a_segment_are_told_at_once() {
    let bench = Bench::new(5);
    let path = bench.large_segment();
    let looked = bench.with(|disk| {
        for block in [3, 4, 90] {
            disk.flip_bit(&path, block * BLOCK_BYTES + 9, 0);
        }
    });
    let found = damaged(&looked);
    let (_, damage) = found[0];
    assert_eq!((found.len(), damage.blocks), (1, 3));
    let block = BLOCK_BYTES;
    assert_eq!(
        damage.ranges,
        [3 * block..5 * block, 90 * block..91 * block]
    );
    assert_eq!(
        damage.bytes_in_words(),
        "49152 to 81920, 1474560 to 1490944"
    );
}

#[test]
fn a_named_segment_that_is_missing_is_damage() {
    let bench = Bench::new(6);
    let path = bench.large_segment();
    let looked = bench.with(|disk| disk.lose(&path));
    let found = damaged(&looked);
    assert_eq!((found.len(), found[0].0), (1, path.as_str()));
    assert!(found[0].1.what.contains("missing"), "{found:?}");
}

#[test]
fn a_segment_that_is_deleted_amid_a_pass_goes_at_once_and_is_no_damage() {
    let mut bench = Bench::new(8);
    let path = bench.large_segment();
    let mut pass = bench.pass();
    // Into the middle of the large one.
    while pass.left.front().is_some_and(|file| file.path() != path) || pass.bytes_read == 0 {
        pass.step().unwrap();
    }
    pass.step().unwrap();
    let large = bench.large;
    bench.streams.remove(large);
    bench.store.flush(&bench.streams.freeze()).unwrap();
    let gone = bench.env.disk.open(Path::new(&path), OpenMode::Read);
    assert!(gone.is_err(), "nobody waits for the pass");
    let left = run(&mut pass);
    assert_eq!(
        (left[0].file.as_str(), &left[0].found),
        (path.as_str(), &Found::Gone)
    );
    assert_eq!(damaged(&left[1..]), []);
}

#[test]
fn segments_and_logs_that_go_before_their_turn_are_passed_over() {
    let mut bench = Bench::new(9);
    let mut pass = bench.pass();
    let rng = Rng::from_seed(9);
    for _ in 0..8 {
        bench.streams.churn(&rng, 10);
        bench.store.flush(&bench.streams.freeze()).unwrap();
        bench.streams.flushed();
        bench.store.compact().unwrap();
    }
    // The log is given back, and its files are used again.
    let last = bench.log.next_lsn();
    bench.log.recycle(Lsn(last.get() - 1)).unwrap();
    bench.write_log(300);
    let looked = run(&mut pass);
    let gone = |kind| {
        let of_kind = looked.iter().filter(|looked| looked.kind == kind);
        of_kind.filter(|looked| looked.found == Found::Gone).count()
    };
    assert!(gone(FileKind::Segment) > 0 && gone(FileKind::Log) > 0);
    let left: Vec<Looked> = looked
        .into_iter()
        .filter(|looked| looked.found != Found::Gone)
        .collect();
    assert_eq!(damaged(&left), []);
}

#[test]
fn a_file_that_cannot_be_opened_is_no_damage() {
    let bench = Bench::new(10);
    let busy = Fault::new(FaultOp::Open, FaultError::TooManyFiles).lasting();
    let mut pass = bench.pass();
    bench.disk.fail(busy.on("segments"));
    let looked = run(&mut pass);
    for looked in looked.iter().filter(|l| l.kind == FileKind::Segment) {
        assert!(matches!(looked.found, Found::Unread(_)), "{looked:?}");
    }
}

#[test]
fn a_read_that_fails_once_is_no_damage_and_one_that_always_fails_is() {
    let bench = Bench::new(11);
    let mut faults = 0;
    for reads in 0.. {
        let mut pass = bench.pass();
        bench.disk.heal();
        let before = Fault::new(FaultOp::Read, FaultError::Io).after(reads);
        bench.disk.fail(before);
        assert_eq!(damaged(&run(&mut pass)), [], "after {reads} reads");
        let file = bench
            .env
            .disk
            .open(Path::new("LOCK"), OpenMode::CreateOrOpen);
        // The fault that no read of the pass met is met now.
        if file.unwrap().read_at(&mut [0], 0).is_err() {
            break;
        }
        faults += 1;
    }
    assert!(faults > 20, "{faults}");
    let mut pass = bench.pass();
    let path = bench.large_segment();
    bench.disk.heal();
    let fault = Fault::new(FaultOp::Read, FaultError::Io).on(&path);
    bench.disk.fail(fault.lasting());
    let looked = run(&mut pass);
    let found = damaged(&looked);
    assert_eq!((found.len(), found[0].0), (1, path.as_str()));
}
