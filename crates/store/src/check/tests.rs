//! A directory that is whole passes, and one that is not is told apart.

use std::path::Path;

use millrace_core::{Event, StreamId, Timestamp};
use millrace_env::{Disk as _, FileExt as _, OpenMode, Rng, SimDisk};

use super::{Lock, Severity, lock, run};
use crate::{
    StoreError,
    catalog::CATALOG_FILE,
    dump::Format,
    segment::{Extent, segment_path},
    testkit::{LOG, Store, Streams, sim_env},
    wal::{Wal, WalOptions},
};

/// A store with packs, own segments, holes and a log.
fn store(seed: u64) -> (std::sync::Arc<SimDisk>, Streams) {
    let disk = SimDisk::new(seed);
    let env = sim_env(&disk, seed);
    let rng = Rng::from_seed(seed);
    let store = Store::open(&env).unwrap();
    let options = WalOptions {
        segment_bytes: 64 << 10,
        reserve: false,
    };
    let mut log = Wal::create(&env, LOG, 1, options).unwrap();
    let mut streams = Streams::default();
    for _ in 0..6 {
        streams.churn(&rng, 15);
        let frame = log.encode(&[Event::Touched {
            stream: *streams.live.keys().next().unwrap(),
            deadline: Timestamp(7),
        }]);
        log.prepare(frame.bytes.len() as u64, false).unwrap();
        log.write(&frame).unwrap();
        log.sync().unwrap();
        store.flush(&streams.freeze()).unwrap();
        streams.flushed();
    }
    drop(store);
    (disk, streams)
}

#[test]
fn a_whole_directory_passes_and_is_not_changed() {
    let (disk, streams) = store(1);
    let before = (disk.content(CATALOG_FILE), disk.io_count());
    let report = run(&sim_env(&disk, 1), Lock::Held).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.streams, streams.live.len() as u64);
    let bytes: usize = streams.live.values().map(|model| model.bytes.len()).sum();
    assert_eq!(report.bytes, bytes as u64);
    assert_eq!((disk.content(CATALOG_FILE), disk.io_count()), before);
}

#[test]
fn a_directory_in_use_is_refused() {
    let (disk, _) = store(2);
    let env = sim_env(&disk, 2);
    let held = lock(&env).unwrap();
    assert!(matches!(run(&env, Lock::Take), Err(StoreError::Locked)));
    drop(held);
    assert!(run(&env, Lock::Take).unwrap().is_whole());
}

#[test]
fn t26_every_flipped_bit_of_a_named_segment_is_found() {
    let (disk, _) = store(3);
    let catalog = crate::Catalog::open_read_only(&sim_env(&disk, 3), 1 << 20).unwrap();
    let row = catalog.segments().unwrap()[0];
    drop(catalog);
    let rng = Rng::from_seed(3);
    for round in 0..60 {
        let disk = disk.copy(round);
        disk.flip_bit(segment_path(row.id), rng.below(row.len), 4);
        let report = run(&sim_env(&disk, 3), Lock::Take).unwrap();
        let errors = report
            .findings
            .iter()
            .filter(|f| f.severity == Severity::Error);
        let files: Vec<_> = errors.map(|finding| finding.file.clone()).collect();
        assert_eq!(files, [segment_path(row.id).display().to_string()]);
    }
}

#[test]
fn what_is_missing_is_named() {
    let (disk, _) = store(4);
    let catalog = crate::Catalog::open_read_only(&sim_env(&disk, 4), 1 << 20).unwrap();
    let id = catalog.segments().unwrap()[0].id;
    drop(catalog);
    for lost in [segment_path(id), LOG.dir(), CATALOG_FILE.into()] {
        let disk = disk.copy(1);
        disk.lose(&lost);
        let report = run(&sim_env(&disk, 4), Lock::Take).unwrap();
        assert!(!report.is_whole());
        let path = lost.display().to_string();
        assert!(
            report.findings.iter().any(|finding| finding.file == path),
            "{report:?}"
        );
    }
}

#[test]
fn leftovers_of_a_crash_are_no_errors() {
    let (disk, _) = store(5);
    let env = sim_env(&disk, 5);
    for name in ["00000000000000aa.seg", "00000000000000ab.tmp", "notes.txt"] {
        env.disk
            .open(&Path::new("segments").join(name), OpenMode::CreateNew)
            .unwrap();
    }
    let report = run(&env, Lock::Take).unwrap();
    assert!(report.is_whole());
    let severities: Vec<_> = report
        .findings
        .iter()
        .map(|finding| finding.severity)
        .collect();
    assert_eq!(
        severities,
        [Severity::Note, Severity::Note, Severity::Warning]
    );
    let mut out = Vec::new();
    report.write(Format::Json, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert_eq!(out.lines().count(), 4);
    assert!(
        out.lines()
            .all(|line| line.starts_with('{') && line.ends_with('}'))
    );
}

/// What a start of an older catalog would do away with: logs and segments that it does not know.
#[test]
fn t09_a_catalog_that_is_older_than_what_it_does_not_name_is_an_error() {
    let (disk, _) = store(8);
    let empty = {
        let disk = SimDisk::new(9);
        drop(crate::Catalog::open(&sim_env(&disk, 9), 1 << 20).unwrap());
        disk.content(CATALOG_FILE)
    };
    let put = |disk: &SimDisk, content: &[u8]| {
        let file = disk.open(Path::new(CATALOG_FILE), OpenMode::ReadWrite);
        let file = file.unwrap();
        file.set_len(content.len() as u64).unwrap();
        file.write_all_at(content, 0).unwrap();
    };
    for lost in ["segments", "wal"] {
        let disk = disk.copy(1);
        put(&disk, &empty);
        disk.lose(lost);
        let report = run(&sim_env(&disk, 8), Lock::Take).unwrap();
        let is_told = |f: &super::Finding| {
            f.severity == Severity::Error
                && f.file == CATALOG_FILE
                && f.what.contains("is older than")
        };
        assert!(report.findings.iter().all(is_told), "{:?}", report.findings);
        assert!(!report.is_whole());
    }
}

#[test]
fn t26_a_catalog_with_one_whole_copy_of_its_header_is_noted() {
    let (disk, _) = store(10);
    for copy in [4096, 4096 + 512] {
        let disk = disk.copy(1);
        disk.flip_bit(CATALOG_FILE, copy + 300, 2);
        let report = run(&sim_env(&disk, 10), Lock::Take).unwrap();
        let [finding] = &report.findings[..] else {
            panic!("{:?}", report.findings)
        };
        assert_eq!(finding.severity, Severity::Note);
        assert!(
            finding.what.contains("copies of its header"),
            "{}",
            finding.what
        );
    }
}

/// Without it, the loss of all later segments would make a clean end.
#[test]
fn t26_a_damaged_mark_that_a_log_segment_was_continued_is_found() {
    let disk = SimDisk::new(11);
    let env = sim_env(&disk, 11);
    drop(Store::open(&env).unwrap());
    let options = WalOptions {
        segment_bytes: 8192,
        reserve: false,
    };
    let mut log = Wal::create(&env, LOG, 1, options).unwrap();
    let events = [Event::Touched {
        stream: StreamId::from_raw(9),
        deadline: Timestamp(7),
    }];
    while !disk
        .list(&LOG.dir())
        .unwrap()
        .iter()
        .any(|e| e.name == "0000000000000002.wal")
    {
        log.prepare(Wal::frame_bytes_max(&events), false).unwrap();
        let frame = log.encode(&events);
        log.write(&frame).unwrap();
        log.sync().unwrap();
    }
    drop(log);
    assert_eq!(run(&env, Lock::Take).unwrap().findings, []);
    let path = LOG.dir().join("0000000000000001.wal");
    let content = disk.content(&path);
    let mark = content
        .windows(4)
        .rposition(|bytes| bytes == b"MRWF")
        .unwrap();
    disk.flip_bit(&path, mark as u64 + 9, 5);
    let report = run(&env, Lock::Take).unwrap();
    let [finding] = &report.findings[..] else {
        panic!("{:?}", report.findings)
    };
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(finding.file, path.display().to_string());
}

/// Found by the simulation of the whole server: a start that was interrupted before its commit, the first
/// one or one with another number of shards, leaves logs that are not whole, and `check` called that lost
/// data.
#[test]
fn a_log_that_an_interrupted_start_left_is_no_error() {
    let unnamed = crate::LogId(7);
    let make = |disk: &SimDisk| disk.create_dir(&unnamed.dir()).unwrap();
    let (disk, _) = store(8);
    make(&disk);
    let first = SimDisk::new(8);
    drop(crate::Catalog::open(&sim_env(&first, 8), 1 << 20).unwrap());
    make(&first);
    for disk in [disk, first] {
        let report = run(&sim_env(&disk, 8), Lock::Take).unwrap();
        let found: Vec<_> = report
            .findings
            .iter()
            .map(|finding| (finding.severity, finding.file.clone()))
            .collect();
        let path = unnamed.dir().display().to_string();
        assert_eq!(found, [(Severity::Note, path)]);
    }
}

type Damage<'d> = &'d dyn Fn(&redb::WriteTransaction);

#[test]
fn tables_that_disagree_are_found() {
    let (disk, streams) = store(6);
    let some: StreamId = *streams.live.keys().next().unwrap();
    let damages: [(&str, Damage<'_>); 5] = [
        ("not found by its name", &|tx| {
            let name = streams.live[&some].state.config.name.as_str();
            let mut names = tx.open_table(crate::catalog::tables::NAMES).unwrap();
            names.remove(name.as_bytes()).unwrap();
        }),
        ("which is not there", &|tx| {
            let mut rows = tx.open_table(crate::catalog::tables::STREAMS).unwrap();
            rows.remove(some.get()).unwrap();
        }),
        ("expiry index", &|tx| {
            let mut expiry = tx.open_table(crate::catalog::tables::EXPIRY).unwrap();
            expiry.insert((5, some.get()), ()).unwrap();
        }),
        ("fork index", &|tx| {
            let mut forks = tx.open_table(crate::catalog::tables::FORKS).unwrap();
            forks.insert((some.get(), 7), ()).unwrap();
        }),
        ("as live", &|tx| {
            let mut rows = tx.open_table(crate::catalog::tables::SEGMENTS).unwrap();
            let id = redb::ReadableTable::first(&rows)
                .unwrap()
                .unwrap()
                .0
                .value();
            rows.insert(id, (1, 1, 1)).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let disk = disk.copy(1);
        let env = sim_env(&disk, 6);
        crate::Catalog::open(&env, 1 << 20).unwrap().tamper(damage);
        let report = run(&env, Lock::Take).unwrap();
        let found = report
            .findings
            .iter()
            .any(|finding| finding.what.contains(what));
        assert!(found, "{what}: {:?}", report.findings);
        assert!(!report.is_whole());
    }
}

#[test]
fn an_extent_that_leads_to_the_wrong_place_is_found() {
    let (disk, streams) = store(7);
    let env = sim_env(&disk, 7);
    let catalog = crate::Catalog::open(&env, 1 << 20).unwrap();
    let rich = streams
        .live
        .values()
        .find(|model| model.bytes.len() > 100)
        .unwrap();
    let whole = catalog.extents(rich.state.id).unwrap()[0];
    let changes: [fn(&mut Extent); 3] = [
        |extent| extent.data.0 += 1,
        |extent| extent.index.0 += 1,
        |extent| extent.messages += 1,
    ];
    for change in changes {
        let mut extent = whole;
        change(&mut extent);
        catalog.tamper(&|tx| {
            let mut extents = tx.open_table(crate::catalog::tables::EXTENTS).unwrap();
            let key = (extent.stream.get(), extent.from.get());
            extents
                .insert(key, &crate::catalog::tables::extent_row(&extent)[..])
                .unwrap();
        });
        let report = run(&env, Lock::Take).unwrap();
        let found = report
            .findings
            .iter()
            .any(|f| f.what.contains("was not written here"));
        assert!(found, "{extent:?}: {:?}", report.findings);
    }
}

/// Found by the crash tests of repairs: a log whose making was interrupted, as by a crash in a start with
/// another number of shards, was called an error, though nothing in it was ever acknowledged.
#[test]
fn a_log_that_was_never_finished_is_no_error() {
    let (disk, _) = store(8);
    let env = sim_env(&disk, 8);
    env.disk
        .create_dir(Path::new("wal/0000000000000002"))
        .unwrap();
    let report = run(&env, Lock::Take).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
    let severities = report.findings.iter().map(|finding| finding.severity);
    assert_eq!(severities.collect::<Vec<_>>(), [Severity::Note]);
}
