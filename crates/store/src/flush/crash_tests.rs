//! Power loss at every I/O of flush, compaction and the start after it.

use std::sync::Arc;

use millrace_env::{Rng, SimDisk};

use crate::{
    check,
    testkit::{LOG, Store, Streams, sim_env},
};

/// Starts, with the power failing now and then, until it does not.
fn start(mut disk: Arc<SimDisk>, rng: &Rng) -> (Arc<SimDisk>, Store) {
    for _ in 0..rng.below(4) {
        disk.crash_after(rng.below(25) + 1);
        let started = Store::open(&sim_env(&disk, 1));
        if let Err(error) = &started {
            assert!(disk.is_down(), "only a lost disk fails a start: {error}");
        }
        drop(started);
        disk = disk.crash();
    }
    let store = Store::open(&sim_env(&disk, 1)).expect("the disk is well");
    (disk, store)
}

/// How many flushes the catalog holds.
fn flushes(store: &Store) -> u64 {
    let manifest = store.catalog.manifest().unwrap().unwrap();
    let log = manifest.logs.iter().find(|(log, _)| *log == LOG);
    log.expect("the log is named").1.get()
}

/// Everything there is agrees, to the last block.
fn assert_whole(store: &Store, context: &str) {
    let report = check::run(&store.env, check::Lock::Held).unwrap();
    // The log itself is no part of these tests.
    let findings: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| !finding.file.starts_with("wal/"))
        .collect();
    assert!(findings.is_empty(), "{context}: {findings:?}");
}

/// A store with a few flushes behind it, and what it holds.
fn base(seed: u64, rng: &Rng) -> (Arc<SimDisk>, Streams) {
    let disk = SimDisk::new(seed);
    let store = Store::open(&sim_env(&disk, 1)).unwrap();
    let mut streams = Streams::default();
    for _ in 0..5 {
        streams.churn(rng, 12);
        store.flush(&streams.freeze()).unwrap();
        streams.flushed();
    }
    drop(store);
    (disk, streams)
}

#[test]
fn t11_power_loss_anywhere_in_a_flush_leaves_before_or_after() {
    let (mut befores, mut afters) = (0, 0);
    for seed in 0..4 {
        let rng = Rng::from_seed(seed);
        let (disk, before) = base(seed, &rng);
        let mut after = before.clone();
        after.churn(&rng, 25);
        let job = after.freeze();
        after.flushed();
        for n in 1.. {
            let disk = disk.copy(seed * 1000 + n);
            let store = Store::open(&sim_env(&disk, 1)).unwrap();
            disk.crash_after(n);
            let flushed = store.flush(&job);
            if !disk.is_down() {
                flushed.unwrap();
                break;
            }
            drop(store);
            let (_, store) = start(disk.crash(), &rng);
            let context = format!("seed {seed}, I/O {n}");
            if flushes(&store) == before.lsn {
                assert!(flushed.is_err(), "{context}: acknowledged and lost");
                store.assert_holds(&before);
                // Recovery replays the log, and flushes the same again.
                store.flush(&job).unwrap();
                befores += 1;
            } else {
                afters += 1;
            }
            store.assert_holds(&after);
            assert_whole(&store, &context);
        }
    }
    assert!(
        befores > 20 && afters > 0,
        "{befores} before, {afters} after"
    );
}

#[test]
fn t80_t82_t83_power_loss_anywhere_in_a_compaction_changes_no_byte() {
    let mut moved = 0;
    for seed in 100..104 {
        let rng = Rng::from_seed(seed);
        let (disk, streams) = base(seed, &rng);
        for n in 1.. {
            let disk = disk.copy(seed * 1000 + n);
            let store = Store::open(&sim_env(&disk, 1)).unwrap();
            disk.crash_after(n);
            let compacted = store.compact();
            if !disk.is_down() {
                moved += compacted.unwrap().moved.len();
                break;
            }
            drop(store);
            let (_, store) = start(disk.crash(), &rng);
            store.assert_holds(&streams);
            assert_whole(&store, &format!("seed {seed}, I/O {n}"));
        }
    }
    assert!(moved > 0, "there was something to compact");
}

#[test]
fn t16_histories_of_flush_compaction_and_power_loss_lose_nothing_acknowledged() {
    let mut losses = 0;
    for seed in 200..240 {
        let rng = Rng::from_seed(seed);
        let mut disk = SimDisk::new(seed);
        disk.set_short_writes(0.05);
        let mut store = Store::open(&sim_env(&disk, 1)).unwrap();
        let mut streams = Streams::default();
        for generation in 0..8 {
            let before = streams.clone();
            streams.churn(&rng, 15);
            let job = streams.freeze();
            streams.flushed();
            disk.crash_after(rng.below(50) + 1);
            let compacted_first = rng.below(2) == 0 && store.compact().is_ok();
            let flushed = store.flush(&job);
            if rng.below(2) == 0 && flushed.is_ok() {
                drop(store.compact());
            }
            losses += u32::from(disk.is_down());
            disk = if rng.below(4) == 0 {
                disk.kill()
            } else {
                disk.crash()
            };
            drop(store);
            (disk, store) = start(disk, &rng);
            let context = format!("seed {seed}, generation {generation}, {compacted_first}");
            if flushes(&store) == before.lsn {
                assert!(flushed.is_err(), "{context}: acknowledged and lost");
                store.assert_holds(&before);
                store.flush(&job).unwrap();
            }
            store.assert_holds(&streams);
            assert_whole(&store, &context);
        }
    }
    assert!(losses > 100, "only {losses} power losses hit");
}
