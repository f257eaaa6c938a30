//! Flushes: packs, own segments, failures.

use std::{path::Path, sync::Arc};

use millrace_env::{Disk, Fault, FaultError, FaultOp, Rng, SimDisk};

use crate::{
    StoreError,
    catalog::CATALOG_FILE,
    segment::{QUARANTINE_DIR, SEGMENTS_DIR, segment_path, startup_cleanup},
    testkit::{FLUSH, Store, Streams, TempDir, payload, sim_env},
};

#[test]
fn small_streams_share_a_pack_and_big_ones_do_not() {
    let rng = Rng::from_seed(1);
    let store = Store::open(&sim_env(&SimDisk::new(1), 1)).unwrap();
    let mut streams = Streams::default();
    let small: Vec<_> = (0..200)
        .map(|n| streams.create(&format!("small/{n}")))
        .collect();
    let big = streams.create("big");
    for id in &small {
        streams.append(*id, &payload(&rng, &[100, 20]));
    }
    streams.append(big, &payload(&rng, &[50_000]));
    let flushed = store.flush(&streams.freeze()).unwrap();
    streams.flushed();
    store.assert_holds(&streams);
    assert_eq!(flushed.bytes, 200 * 120 + 50_000);
    let own = store.catalog.extents(big).unwrap()[0].segment;
    let sharing = flushed
        .extents
        .iter()
        .filter(|extent| extent.segment == own);
    assert_eq!(sharing.count(), 1);
    assert_eq!(store.catalog.segments().unwrap().len(), 2);
    let packed: Vec<_> = flushed
        .extents
        .iter()
        .filter(|e| e.segment != own)
        .collect();
    assert!(packed.is_sorted_by_key(|extent| (extent.stream, extent.data)));
}

#[test]
fn packs_are_bounded() {
    let rng = Rng::from_seed(2);
    let store = Store::open(&sim_env(&SimDisk::new(2), 2)).unwrap();
    let mut streams = Streams::default();
    for n in 0..50 {
        let id = streams.create(&format!("{n}"));
        streams.append(id, &payload(&rng, &[9000]));
    }
    store.flush(&streams.freeze()).unwrap();
    streams.flushed();
    store.assert_holds(&streams);
    let rows = store.catalog.segments().unwrap();
    assert!(rows.len() >= 8);
    assert!(rows.iter().all(|row| row.len < FLUSH.pack_bytes + 10_000));
}

#[test]
fn a_flush_without_bytes_writes_no_segment() {
    let store = Store::open(&sim_env(&SimDisk::new(3), 3)).unwrap();
    let mut streams = Streams::default();
    streams.create("empty");
    let flushed = store.flush(&streams.freeze()).unwrap();
    streams.flushed();
    assert!(flushed.extents.is_empty());
    assert!(store.catalog.segments().unwrap().is_empty());
    store.assert_holds(&streams);
}

#[test]
fn a_store_on_a_real_disk_holds_what_was_flushed() {
    let dir = TempDir::new("flush");
    let (env, rng) = (dir.env(), Rng::from_seed(4));
    let mut streams = Streams::default();
    let mut store = Store::open(&env).unwrap();
    for _ in 0..15 {
        streams.churn(&rng, 20);
        store.flush(&streams.freeze()).unwrap();
        streams.flushed();
        while store.compact().unwrap().did_something() {}
        drop(store);
        store = Store::open(&env).unwrap();
        store.assert_holds(&streams);
    }
}

#[test]
fn t07_a_flush_that_fails_can_be_run_again() {
    for (op, error) in [
        (FaultOp::Create, FaultError::TooManyFiles),
        (FaultOp::Write, FaultError::NoSpace),
        (FaultOp::Sync, FaultError::Io),
        (FaultOp::Rename, FaultError::Io),
        (FaultOp::SyncDir, FaultError::Io),
    ] {
        let disk = SimDisk::new(5);
        let rng = Rng::from_seed(5);
        let store = Store::open(&sim_env(&disk, 5)).unwrap();
        let mut streams = Streams::default();
        streams.churn(&rng, 20);
        store.flush(&streams.freeze()).unwrap();
        streams.flushed();
        streams.churn(&rng, 20);
        let job = streams.freeze();
        disk.fail(Fault::new(op, error).on(SEGMENTS_DIR));
        let failed = store.flush(&job).unwrap_err();
        assert!(
            !matches!(failed, StoreError::Poisoned { .. }),
            "{op:?}: {failed}"
        );
        store.flush(&job).unwrap();
        streams.flushed();
        store.assert_holds(&streams);
        let cleanup = startup_cleanup(&store.env, &store.catalog).unwrap();
        assert_eq!(
            cleanup,
            crate::segment::Cleanup::default(),
            "{op:?} left files over"
        );
    }
}

#[test]
fn t24_a_flush_on_a_full_disk_leaves_nothing_and_succeeds_once_there_is_room() {
    let disk = SimDisk::new(6);
    let rng = Rng::from_seed(6);
    let store = Store::open(&sim_env(&disk, 6)).unwrap();
    let mut streams = Streams::default();
    let mut refused = 0;
    for round in 0..12 {
        streams.churn(&rng, 15);
        let used = disk.used();
        disk.set_capacity(Some(used + round * 3000));
        let job = streams.freeze();
        match store.flush(&job) {
            Ok(_) => {}
            Err(StoreError::Full) => {
                refused += 1;
                assert!(disk.used() <= used + 1_000_000, "its files went");
                disk.set_capacity(None);
                store.flush(&job).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
        disk.set_capacity(None);
        streams.flushed();
        store.assert_holds(&streams);
    }
    assert!(refused > 0);
}

#[test]
fn t22_garbage_is_told_from_data_and_never_deleted() {
    let disk = SimDisk::new(7);
    let env = sim_env(&disk, 7);
    let rng = Rng::from_seed(7);
    let mut streams = Streams::default();
    let store = Store::open(&env).unwrap();
    streams.churn(&rng, 30);
    store.flush(&streams.freeze()).unwrap();
    streams.flushed();
    drop(store);
    for id in 100..223 {
        let path = segment_path(millrace_core::SegmentId(id));
        env.disk
            .open(&path, millrace_env::OpenMode::CreateNew)
            .unwrap();
    }
    let temp = Path::new(SEGMENTS_DIR).join("00000000000001ff.tmp");
    env.disk
        .open(&temp, millrace_env::OpenMode::CreateNew)
        .unwrap();
    let store = Store::open(&env).unwrap();
    store.assert_holds(&streams);
    assert_eq!(env.disk.list(Path::new(QUARANTINE_DIR)).unwrap().len(), 123);
    assert!(env.disk.open(&temp, millrace_env::OpenMode::Read).is_err());
    assert!(
        store.catalog.allocate_segment().get() > 0x1ff,
        "no name is used again"
    );
}

#[test]
fn t09_t10_a_named_segment_that_cannot_be_read_fails_the_start_by_name() {
    let disk = SimDisk::new(8);
    let rng = Rng::from_seed(8);
    let mut streams = Streams::default();
    let store = Store::open(&sim_env(&disk, 8)).unwrap();
    streams.churn(&rng, 40);
    store.flush(&streams.freeze()).unwrap();
    streams.flushed();
    let id = store.catalog.segments().unwrap()[0].id;
    drop(store);
    let path = segment_path(id);
    let refused = |damage: &dyn Fn(&Arc<SimDisk>)| {
        let disk = disk.copy(1);
        damage(&disk);
        let before = disk.content(CATALOG_FILE);
        let error = Store::open(&sim_env(&disk, 8)).unwrap_err().to_string();
        let name = format!("{:016x}", id.get());
        assert!(
            error.contains(&name) || error.contains("segments"),
            "{error}"
        );
        assert_eq!(disk.content(CATALOG_FILE).len(), before.len());
        // Once it is back, so is everything.
        disk.heal();
        error
    };
    assert!(refused(&|disk| disk.lose(&path)).contains("missing"));
    assert!(refused(&|disk| disk.lose(SEGMENTS_DIR)).contains("missing"));
    for error in [FaultError::TooManyFiles, FaultError::Denied] {
        refused(&|disk| disk.fail(Fault::new(FaultOp::Open, error).on(&path)));
    }
    refused(&|disk| {
        let env = sim_env(disk, 1);
        let file = env
            .disk
            .open(&path, millrace_env::OpenMode::ReadWrite)
            .unwrap();
        file.set_len(file.len().unwrap() - 1).unwrap();
    });
    let len = disk.content(&path).len() as u64;
    refused(&|disk| disk.flip_bit(&path, len - 30, 1));
    Store::open(&sim_env(&disk, 8))
        .unwrap()
        .assert_holds(&streams);
}

#[test]
fn t08_a_damaged_catalog_refuses_the_start_and_nothing_is_deleted() {
    let disk = SimDisk::new(11);
    let rng = Rng::from_seed(11);
    let mut streams = Streams::default();
    let store = Store::open(&sim_env(&disk, 11)).unwrap();
    streams.churn(&rng, 40);
    store.flush(&streams.freeze()).unwrap();
    drop(store);
    let segments = disk.list(Path::new(SEGMENTS_DIR)).unwrap();
    let damages: [&dyn Fn(&SimDisk); 3] = [
        // The header of the checksums, `redb`'s header, the root of a table.
        &|disk| disk.flip_bit(CATALOG_FILE, 3, 1),
        &|disk| (4096..4096 + 1024).for_each(|at| disk.flip_bit(CATALOG_FILE, at, 0)),
        &|disk| (1..40).for_each(|page| disk.flip_bit(CATALOG_FILE, 4096 * (page + 1), 5)),
    ];
    for damage in damages {
        let disk = disk.copy(1);
        damage(&disk);
        let before = disk.content(CATALOG_FILE);
        let error = Store::open(&sim_env(&disk, 11)).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert_eq!(disk.list(Path::new(SEGMENTS_DIR)).unwrap(), segments);
        assert_eq!(disk.content(CATALOG_FILE), before);
    }
}

#[test]
fn t25_a_start_on_a_full_disk_loses_nothing() {
    let disk = SimDisk::new(9);
    let rng = Rng::from_seed(9);
    let mut streams = Streams::default();
    let store = Store::open(&sim_env(&disk, 9)).unwrap();
    streams.churn(&rng, 40);
    store.flush(&streams.freeze()).unwrap();
    streams.flushed();
    let stray = segment_path(millrace_core::SegmentId(90));
    disk.open(&stray, millrace_env::OpenMode::CreateNew)
        .unwrap();
    drop(store);
    let disk = disk.kill();
    disk.set_capacity(Some(disk.used()));
    let store = Store::open(&sim_env(&disk, 9)).unwrap();
    store.assert_holds(&streams);
    streams.churn(&rng, 10);
    assert!(matches!(
        store.flush(&streams.freeze()),
        Err(StoreError::Full)
    ));
    disk.set_capacity(None);
    store.flush(&streams.freeze()).unwrap();
    streams.flushed();
    store.assert_holds(&streams);
}

#[test]
fn flushes_compactions_and_readers_at_once_agree() {
    let dir = TempDir::new("at-once");
    let env = dir.env();
    let store = Arc::new(Store::open(&env).unwrap());
    let rng = Rng::from_seed(10);
    let mut streams = Streams::default();
    let ids: Vec<_> = (0..20).map(|n| streams.create(&format!("{n}"))).collect();
    store.flush(&streams.freeze()).unwrap();
    streams.flushed();
    let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let written = Arc::new(std::sync::Mutex::new(streams.clone()));
    let background = |name: &str, work: fn(&Store, &std::sync::Mutex<Streams>)| {
        let (store, ended, written) = (store.clone(), ended.clone(), written.clone());
        let run = move || {
            while !ended.load(std::sync::atomic::Ordering::SeqCst) {
                work(&store, &written);
            }
        };
        millrace_env::tasks::thread(name, run).unwrap()
    };
    let threads = [
        background("compacts", |store, _| drop(store.compact().unwrap())),
        background("reads", |store, written| {
            let ids: Vec<_> = written.lock().unwrap().live.keys().copied().collect();
            for id in ids {
                let extents = store.catalog.extents(id).unwrap();
                let segments: Vec<_> = extents
                    .iter()
                    .map(|e| store.segments.pin(e.segment))
                    .collect();
                let mut found = Vec::new();
                for (extent, segment) in extents.iter().zip(&segments) {
                    let len = usize::try_from(extent.bytes()).unwrap();
                    match segment.read(extent, extent.from, len) {
                        Ok(bytes) => found.extend_from_slice(&bytes),
                        // Compacted between the look and the pin; a shard holds removals meanwhile.
                        Err(StoreError::Missing { .. }) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
                let written = written.lock().unwrap();
                assert!(written.live[&id].bytes.starts_with(&found));
            }
        }),
    ];
    for _ in 0..60 {
        for id in &ids {
            streams.append(*id, &payload(&rng, &[300, 40]));
        }
        // What is written is known before it can be read.
        *written.lock().unwrap() = streams.clone();
        store.flush(&streams.freeze()).unwrap();
        streams.flushed();
    }
    ended.store(true, std::sync::atomic::Ordering::SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }
    store.assert_holds(&streams);
}
