//! Compaction: what it gives back, what it leaves, what it survives.

use std::path::Path;

use millrace_core::StreamId;
use millrace_env::{
    Disk as _, Rng, SimDisk,
    sim::{Fault, FaultError, FaultOp},
};

use super::{compact, joined};
use crate::{
    catalog::Commit,
    segment::segment_path,
    testkit::{COMPACT, Store, Streams, payload, sim_env},
};

fn is_there(disk: &SimDisk, path: &Path) -> bool {
    let names = disk.list(Path::new("segments")).unwrap();
    names.iter().any(|entry| path.ends_with(&entry.name))
}

fn flush(store: &Store, streams: &mut Streams) {
    store.flush(&streams.freeze()).unwrap();
    streams.flushed();
}

#[test]
fn deleted_bytes_are_given_back() {
    let disk = SimDisk::new(1);
    let rng = Rng::from_seed(1);
    let store = Store::open(&sim_env(&disk, 1)).unwrap();
    let mut streams = Streams::default();
    let ids: Vec<StreamId> = (0..100).map(|n| streams.create(&format!("{n}"))).collect();
    for id in &ids {
        streams.append(*id, &payload(&rng, &[300, 200]));
    }
    flush(&store, &mut streams);
    for id in &ids[..60] {
        streams.remove(*id);
    }
    flush(&store, &mut streams);
    let before: u64 = store
        .catalog
        .segments()
        .unwrap()
        .iter()
        .map(|row| row.total)
        .sum();
    let compacted = store.compact().unwrap();
    assert_eq!(compacted.moved.len(), 40);
    assert_eq!(compacted.doomed.len(), 1);
    store.assert_holds(&streams);
    let after: u64 = store
        .catalog
        .segments()
        .unwrap()
        .iter()
        .map(|row| row.total)
        .sum();
    assert_eq!((before, after), (50_000, 20_000));
    assert!(!store.compact().unwrap().did_something());
    // The next commit forgets the file that went.
    assert_eq!(store.catalog.doomed().unwrap(), compacted.doomed);
    flush(&store, &mut streams);
    assert_eq!(store.catalog.doomed().unwrap(), []);
}

#[test]
fn a_stream_in_many_extents_comes_together() {
    let rng = Rng::from_seed(2);
    let store = Store::open(&sim_env(&SimDisk::new(2), 2)).unwrap();
    let mut streams = Streams::default();
    let id = streams.create("a");
    let other = streams.create("b");
    let mut written = 0;
    for _ in 0..200 {
        streams.append(id, &payload(&rng, &[10, 400]));
        streams.append(other, &payload(&rng, &[7]));
        flush(&store, &mut streams);
        written += store.compact().unwrap().bytes;
    }
    store.assert_holds(&streams);
    let extents = store.catalog.extents(id).unwrap();
    assert!(extents.len() <= 16, "{} extents", extents.len());
    // Written once and moved a logarithmic number of times.
    let bytes = 200 * 417;
    assert!(written < bytes * 6, "{written} bytes moved for {bytes}");
}

#[test]
fn t05_a_stream_deleted_meanwhile_stays_deleted() {
    let disk = SimDisk::new(3);
    let rng = Rng::from_seed(3);
    let store = Store::open(&sim_env(&disk, 3)).unwrap();
    let mut streams = Streams::default();
    for n in 0..30 {
        let id = streams.create(&format!("{n}"));
        streams.append(id, &payload(&rng, &[1000]));
    }
    flush(&store, &mut streams);
    let ids: Vec<StreamId> = streams.live.keys().copied().collect();
    for id in &ids[..20] {
        streams.remove(*id);
    }
    flush(&store, &mut streams);
    // What a compaction would commit if the deletion came in between.
    let old = store.catalog.extents(ids[25]).unwrap();
    let new = vec![crate::segment::Extent {
        segment: store.catalog.allocate_segment(),
        ..old[0]
    }];
    streams.remove(ids[25]);
    flush(&store, &mut streams);
    let commit = Commit {
        segments: vec![crate::segment::SegmentMeta {
            id: new[0].segment,
            len: 2000,
            bytes: 1000,
        }],
        replaced: vec![crate::catalog::Replaced {
            stream: ids[25],
            old,
            new,
        }],
        ..Commit::default()
    };
    let committed = store.catalog.commit(commit).unwrap();
    assert_eq!(committed.replaced, [false]);
    while store.compact().unwrap().did_something() {}
    store.assert_holds(&streams);
    assert_eq!(store.catalog.extents(ids[25]).unwrap(), []);
}

#[test]
fn t26_a_damaged_segment_is_left_alone_and_the_rest_is_compacted() {
    let disk = SimDisk::new(4);
    let rng = Rng::from_seed(4);
    let store = Store::open(&sim_env(&disk, 4)).unwrap();
    let mut streams = Streams::default();
    let mut halves = Vec::new();
    for half in 0..2 {
        let ids: Vec<StreamId> = (0..20)
            .map(|n| streams.create(&format!("{half}/{n}")))
            .collect();
        for id in &ids {
            streams.append(*id, &payload(&rng, &[1000]));
        }
        flush(&store, &mut streams);
        halves.push(ids);
    }
    for ids in &halves {
        for id in &ids[..15] {
            streams.remove(*id);
        }
    }
    flush(&store, &mut streams);
    let damaged = store.catalog.extents(halves[0][19]).unwrap();
    disk.flip_bit(
        segment_path(damaged[0].segment),
        damaged[0].data.get() + 5,
        3,
    );
    let mut problems = Vec::new();
    loop {
        let compacted = store.compact().unwrap();
        problems.extend(compacted.problems.clone());
        if !compacted.did_something() {
            break;
        }
    }
    assert_eq!(problems.len(), 1, "{problems:?}");
    let name = format!("{:016x}", damaged[0].segment.get());
    assert!(problems[0].contains(&name), "{problems:?}");
    assert_eq!(store.catalog.extents(halves[0][19]).unwrap(), damaged);
    for id in &halves[1][15..] {
        let extents = store.catalog.extents(*id).unwrap();
        assert_eq!(store.read_all(&extents), streams.live[id].bytes);
        assert_ne!(extents[0].segment, damaged[0].segment);
    }
}

/// A file that cannot be removed is neither an error for anybody nor forgotten: the catalog dooms it
/// until a start has removed it.
#[test]
fn t84_a_file_that_could_not_be_removed_goes_at_the_next_start() {
    let disk = SimDisk::new(84);
    let rng = Rng::from_seed(84);
    let store = Store::open(&sim_env(&disk, 1)).unwrap();
    let mut streams = Streams::default();
    let ids: Vec<StreamId> = (0..10).map(|n| streams.create(&format!("{n}"))).collect();
    for id in &ids {
        streams.append(*id, &payload(&rng, &[1000]));
    }
    flush(&store, &mut streams);
    for id in &ids[..8] {
        streams.remove(*id);
    }
    flush(&store, &mut streams);
    disk.fail(Fault::new(FaultOp::Remove, FaultError::Io).lasting());
    let compacted = store.compact().unwrap();
    let doomed = segment_path(compacted.doomed[0]);
    store.assert_holds(&streams);
    flush(&store, &mut streams);
    assert!(is_there(&disk, &doomed), "it could not be removed");
    drop(store);
    disk.heal();
    let disk = disk.crash();
    let store = Store::open(&sim_env(&disk, 1)).unwrap();
    assert!(!is_there(&disk, &doomed), "it is gone");
    store.assert_holds(&streams);
}

#[test]
fn one_call_does_a_bounded_amount() {
    let rng = Rng::from_seed(5);
    let store = Store::open(&sim_env(&SimDisk::new(5), 5)).unwrap();
    let mut streams = Streams::default();
    let ids: Vec<StreamId> = (0..300).map(|n| streams.create(&format!("{n}"))).collect();
    for id in &ids {
        streams.append(*id, &payload(&rng, &[6000]));
    }
    flush(&store, &mut streams);
    // Packs are in the order of ids: one in five of each stays.
    let packed: Vec<StreamId> = streams.live.keys().copied().collect();
    for id in packed.chunks(5).flat_map(|five| &five[1..]) {
        streams.remove(*id);
    }
    flush(&store, &mut streams);
    let mut calls = 0;
    loop {
        let compacted = compact(&store.env, &store.segments, &store.catalog, &COMPACT).unwrap();
        assert!(compacted.bytes <= COMPACT.bytes_max);
        if !compacted.did_something() {
            break;
        }
        calls += 1;
    }
    assert!(calls >= 2);
    store.assert_holds(&streams);
}

#[test]
fn moved_and_flushed_extents_join_in_either_order() {
    let rng = Rng::from_seed(6);
    let store = Store::open(&sim_env(&SimDisk::new(6), 6)).unwrap();
    let mut streams = Streams::default();
    let id = streams.create("a");
    for _ in 0..10 {
        streams.append(id, &payload(&rng, &[500]));
        flush(&store, &mut streams);
    }
    let before = store.catalog.extents(id).unwrap();
    let moved = store.compact().unwrap().moved.remove(0).1;
    assert_eq!(joined(&moved, &before), moved);
    streams.append(id, &payload(&rng, &[500]));
    flush(&store, &mut streams);
    let later = store.catalog.extents(id).unwrap();
    let known: Vec<_> = before.iter().chain(later.last()).copied().collect();
    assert_eq!(joined(&moved, &known), later);
    assert_eq!(joined(&[], &known), known);
}

#[test]
fn random_histories_hold_what_they_must() {
    for seed in 0..30 {
        let disk = SimDisk::new(seed);
        disk.set_short_writes(0.1);
        let rng = Rng::from_seed(seed);
        let mut store = Store::open(&sim_env(&disk, seed)).unwrap();
        let mut streams = Streams::default();
        for _ in 0..12 {
            streams.churn(&rng, 12);
            flush(&store, &mut streams);
            if rng.below(2) == 0 {
                store.compact().unwrap();
            }
            store.assert_holds(&streams);
            if rng.below(4) == 0 {
                drop(store);
                store = Store::open(&sim_env(&disk, seed)).unwrap();
            }
        }
        while store.compact().unwrap().did_something() {}
        store.assert_holds(&streams);
    }
}
