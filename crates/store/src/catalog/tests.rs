//! Commits, and what can be asked afterwards.

use std::path::Path;

use millrace_core::{
    Event, FilePos, Generation, Lsn, ProducerId, SegmentId, SettingKey, SlotId, StreamId,
    StreamPos, Timestamp,
    stream::{ProducerState, StreamState, apply},
};
use millrace_env::{Env, Fault, FaultError, FaultOp, Rng, SimDisk};
use proptest::prelude::*;

use super::{CATALOG_FILE, Catalog, Commit, Manifest, Replaced, row};
use crate::{
    StoreError,
    codec::{Decoder, Encoder, Stored, samples},
    segment::{Extent, SegmentMeta},
    testkit::{TempDir, appended, created, deleted, forked, payload, sim_env, touched},
    wal::LogId,
};

fn env(seed: u64) -> Env {
    sim_env(&SimDisk::new(seed), seed)
}

fn open(env: &Env) -> Catalog {
    Catalog::open(env, 1 << 20).unwrap()
}

fn extent(state: &StreamState, from: u64, until: u64, segment: u64) -> Extent {
    Extent {
        stream: state.id,
        from: StreamPos(from),
        until: StreamPos(until),
        segment: SegmentId(segment),
        data: FilePos(32),
        index: FilePos(1000),
        index_pages: 1,
        messages: 1,
    }
}

fn segment(id: u64, bytes: u64) -> SegmentMeta {
    SegmentMeta {
        id: SegmentId(id),
        len: bytes + 200,
        bytes,
    }
}

/// A stream of `len` bytes.
fn stream(name: &str, generation: u64, len: u32) -> StreamState {
    let payload = payload(&Rng::from_seed(1), &[len]);
    appended(created(name, generation), &payload, Timestamp(5))
}

fn upsert(states: &[&StreamState]) -> Commit {
    Commit {
        upserts: states.iter().map(|state| (*state).clone()).collect(),
        ..Commit::default()
    }
}

#[test]
fn a_catalog_on_a_real_disk_survives_reopening() {
    let dir = TempDir::new("catalog");
    let state = stream("a", 1, 10);
    let catalog = open(&dir.env());
    catalog.commit(upsert(&[&state])).unwrap();
    drop(catalog);
    let catalog = open(&dir.env());
    assert_eq!(
        catalog.row_by_name("a").unwrap().map(|row| row.state),
        Some(state)
    );
    catalog.verify().unwrap();
}

#[test]
fn a_commit_that_nobody_waits_beside_syncs_only_at_its_end() {
    let disk = SimDisk::new(3);
    let states: Vec<StreamState> = (1..20_000)
        .map(|n| stream(&format!("stream-{n}"), n, 1))
        .collect();
    // The pages are the same, so only syncs can make a difference.
    let steps = |hurried: bool| {
        let disk = disk.copy(3);
        let catalog = open(&sim_env(&disk, 3));
        if hurried {
            catalog.hurry();
        }
        let before = disk.io_count();
        catalog
            .commit(upsert(&states.iter().collect::<Vec<_>>()))
            .unwrap();
        catalog.verify().unwrap();
        disk.io_count() - before
    };
    let (paced, hurried) = (steps(false), steps(true));
    assert!(hurried + 2 < paced, "{hurried} of {paced} steps");
}

#[test]
fn names_come_in_byte_order_page_by_page() {
    let catalog = open(&env(1));
    let names = ["a", "a/1", "a/2", "a0", "b", "ä"];
    let states: Vec<_> = names
        .iter()
        .zip(1..)
        .map(|(name, g)| created(name, g))
        .collect();
    catalog
        .commit(upsert(&states.iter().collect::<Vec<_>>()))
        .unwrap();
    let page = |prefix, after, limit| -> Vec<String> {
        let names = catalog.names(prefix, after, limit).unwrap();
        names
            .into_iter()
            .map(|(name, _)| name.as_str().to_owned())
            .collect()
    };
    assert_eq!(page("", None, 10), names);
    assert_eq!(page("", Some("a/1"), 2), ["a/2", "a0"]);
    assert_eq!(page("a/", None, 10), ["a/1", "a/2"]);
    assert_eq!(page("a/", Some("a"), 1), ["a/1"]);
    assert_eq!(page("a/", Some("a/2"), 10), Vec::<String>::new());
    assert_eq!(page("a/", Some("b"), 10), Vec::<String>::new());
}

fn configured(state: StreamState, key: u8, document: Option<&str>) -> StreamState {
    let document = document.map(|text| text.as_bytes().into());
    let event = Event::Configured {
        stream: state.id,
        changes: vec![(SettingKey(key), document)],
    };
    apply(Some(state), &event).expect("settings end no stream")
}

#[test]
fn settings_are_what_they_were_set_to_and_go_with_their_stream() {
    let env = env(4);
    let catalog = open(&env);
    let plain = created("plain", 1);
    let one = configured(created("a", 1), 1, Some("{}"));
    catalog.commit(upsert(&[&one, &plain])).unwrap();
    let kept = |state: &StreamState| catalog.stream(state.id).unwrap().unwrap();
    assert_eq!((kept(&one), kept(&plain)), (one.clone(), plain.clone()));
    // A commit that says nothing of them leaves them, one that does replaces them.
    let longer = appended(one, &payload(&Rng::from_seed(1), &[3]), Timestamp(9));
    catalog.commit(upsert(&[&longer])).unwrap();
    assert_eq!(kept(&longer), longer);
    let two = configured(configured(longer, 5, Some("schema")), 1, None);
    catalog.commit(upsert(&[&two])).unwrap();
    let rows = catalog.rows(&[two.id, plain.id]).unwrap();
    let states: Vec<_> = rows.into_iter().map(|row| row.state).collect();
    assert_eq!(states, [two.clone(), plain]);
    let settings = two.settings.as_deref().cloned().unwrap();
    assert_eq!(settings.content_revision(), 1);
    assert_eq!(catalog.settings(None, 9).unwrap(), [(two.id, settings)]);
    let removed = Commit {
        removed: vec![two.id],
        ..Commit::default()
    };
    catalog.commit(removed).unwrap();
    assert_eq!(catalog.settings(None, 9).unwrap(), []);
    drop(catalog);
    let report = crate::check::run(&env, crate::check::Lock::Held).unwrap();
    assert!(report.is_whole(), "{report:?}");
}

#[test]
fn due_streams_come_by_deadline_and_follow_it() {
    let catalog = open(&env(2));
    let [a, b, c] = ["a", "b", "c"].map(|name| created(name, 1));
    let (a, b) = (touched(a, 300), touched(b, 100));
    catalog.commit(upsert(&[&a, &b, &c])).unwrap();
    let due = |until, after| catalog.due(Timestamp(until), after, 10).unwrap();
    assert_eq!(due(99, None), []);
    assert_eq!(
        due(300, None),
        [(Timestamp(100), b.id), (Timestamp(300), a.id)]
    );
    assert_eq!(
        due(300, Some((Timestamp(100), b.id))),
        [(Timestamp(300), a.id)]
    );
    assert_eq!(due(200, Some((Timestamp(300), a.id))), []);
    let b = touched(b, 500);
    catalog.commit(upsert(&[&b])).unwrap();
    assert_eq!(due(400, None), [(Timestamp(300), a.id)]);
    // What is deleted, and only held by its forks, expires no more.
    let a = deleted(forked(a, b.id)).unwrap();
    catalog.commit(upsert(&[&a])).unwrap();
    assert_eq!(due(400, None), []);
}

#[test]
fn a_soft_deleted_stream_keeps_row_name_and_extents() {
    let catalog = open(&env(3));
    let state = stream("a", 1, 10);
    catalog
        .commit(Commit {
            segments: vec![segment(0, 10)],
            extents: vec![extent(&state, 0, 10, 0)],
            ..upsert(&[&state])
        })
        .unwrap();
    let state = deleted(forked(state, StreamId::from_raw(77))).unwrap();
    catalog.commit(upsert(&[&state])).unwrap();
    assert_eq!(
        catalog.row_by_name("a").unwrap().map(|row| row.state),
        Some(state.clone())
    );
    assert_eq!(catalog.extents(state.id).unwrap().len(), 1);
    assert_eq!(
        catalog.forks().unwrap(),
        [(state.id, StreamId::from_raw(77))]
    );
}

#[test]
fn t04_a_removed_stream_leaves_no_trace_and_dooms_its_segments() {
    let catalog = open(&env(4));
    let (a, b) = (touched(stream("a", 1, 30), 50), stream("b", 1, 5));
    let a = forked(a, b.id);
    let producer = ProducerId::new("p").unwrap();
    let remembered = ProducerState {
        epoch: 1,
        seq: 2,
        used_at: Timestamp(3),
    };
    catalog
        .commit(Commit {
            segments: vec![segment(0, 10), segment(1, 25)],
            extents: vec![
                extent(&a, 0, 10, 0),
                extent(&a, 10, 30, 1),
                extent(&b, 0, 5, 1),
            ],
            producers: vec![(a.id, producer.clone(), Some(remembered))],
            ..upsert(&[&a, &b])
        })
        .unwrap();
    assert_eq!(catalog.producer(a.id, "p").unwrap(), Some(remembered));
    let committed = catalog
        .commit(Commit {
            removed: vec![a.id],
            ..Commit::default()
        })
        .unwrap();
    assert_eq!(committed.doomed, [SegmentId(0)]);
    assert_eq!(catalog.doomed().unwrap(), [SegmentId(0)]);
    assert_eq!(catalog.stream(a.id).unwrap(), None);
    assert_eq!(catalog.row_by_name("a").unwrap().map(|row| row.state), None);
    assert_eq!(catalog.extents(a.id).unwrap(), []);
    assert_eq!(catalog.producer(a.id, "p").unwrap(), None);
    assert_eq!(catalog.forks().unwrap(), []);
    assert_eq!(catalog.due(Timestamp(100), None, 9).unwrap(), []);
    let rows = catalog.segments().unwrap();
    assert_eq!((rows.len(), rows[0].live, rows[0].total), (1, 5, 25));
    catalog
        .commit(Commit {
            forget_doomed: vec![SegmentId(0)],
            ..Commit::default()
        })
        .unwrap();
    assert_eq!(catalog.doomed().unwrap(), []);
}

#[test]
fn t05_removed_wins_over_everything_else_in_its_commit() {
    let catalog = open(&env(5));
    let state = stream("a", 1, 10);
    let producer = ProducerId::new("p").unwrap();
    let remembered = ProducerState {
        epoch: 1,
        seq: 2,
        used_at: Timestamp(3),
    };
    let committed = catalog
        .commit(Commit {
            removed: vec![state.id],
            segments: vec![segment(0, 10)],
            extents: vec![extent(&state, 0, 10, 0)],
            producers: vec![(state.id, producer, Some(remembered))],
            ..upsert(&[&state])
        })
        .unwrap();
    assert_eq!(committed.doomed, [SegmentId(0)]);
    assert_eq!(catalog.stream(state.id).unwrap(), None);
    assert_eq!(catalog.producer(state.id, "p").unwrap(), None);
}

#[test]
fn t77_a_chain_of_forks_that_falls_leaves_nothing() {
    let catalog = open(&env(23));
    let [a, b, c] = ["a", "b", "c"].map(|name| stream(name, 1, 10));
    let (a, b) = (forked(a, b.id), forked(b, c.id));
    catalog
        .commit(Commit {
            segments: vec![segment(0, 30)],
            extents: [&a, &b, &c].map(|state| extent(state, 0, 10, 0)).to_vec(),
            ..upsert(&[&a, &b, &c])
        })
        .unwrap();
    let (a, b) = (deleted(a).unwrap(), deleted(b).unwrap());
    catalog.commit(upsert(&[&a, &b])).unwrap();
    assert_eq!(
        catalog.segments().unwrap()[0].live,
        30,
        "the fork needs them"
    );
    let fall = Commit {
        removed: vec![c.id, b.id, a.id],
        ..Commit::default()
    };
    assert_eq!(catalog.commit(fall).unwrap().doomed, [SegmentId(0)]);
    assert_eq!(catalog.forks().unwrap(), []);
    assert_eq!(catalog.names("", None, 9).unwrap(), []);
    assert_eq!(catalog.stream_count().unwrap(), 0);
}

#[test]
fn t41_a_name_used_again_finds_the_new_stream() {
    let catalog = open(&env(6));
    let (old, new) = (stream("a", 1, 10), stream("a", 2, 3));
    catalog.commit(upsert(&[&old])).unwrap();
    let taken = catalog.commit(upsert(&[&new])).unwrap_err();
    assert!(
        matches!(taken, StoreError::Corrupt { .. }),
        "two streams of one name"
    );
    let commit = Commit {
        removed: vec![old.id],
        ..upsert(&[&new])
    };
    catalog.commit(commit).unwrap();
    assert_eq!(
        catalog.row_by_name("a").unwrap().map(|row| row.state),
        Some(new)
    );
    assert_eq!(catalog.stream(old.id).unwrap(), None);
}

#[test]
fn extents_that_do_not_join_are_refused_and_change_nothing() {
    let catalog = open(&env(7));
    let state = stream("a", 1, 30);
    let first = Commit {
        segments: vec![segment(0, 10)],
        extents: vec![extent(&state, 0, 10, 0)],
        ..upsert(&[&state])
    };
    catalog.commit(&first).unwrap();
    for (from, until) in [(0, 10), (5, 12), (11, 12), (10, 31)] {
        let commit = Commit {
            segments: vec![segment(1, 50)],
            extents: vec![extent(&state, from, until, 1)],
            ..upsert(&[&state])
        };
        let error = catalog.commit(commit).unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "{from}..{until}: {error}"
        );
    }
    assert_eq!(catalog.extents(state.id).unwrap(), first.extents);
    assert_eq!(catalog.segments().unwrap().len(), 1);
}

#[test]
fn replaced_extents_are_exchanged_only_if_they_are_still_there() {
    let catalog = open(&env(8));
    let state = stream("a", 1, 30);
    let old = vec![extent(&state, 0, 10, 0), extent(&state, 10, 30, 0)];
    catalog
        .commit(Commit {
            segments: vec![segment(0, 30)],
            extents: old.clone(),
            ..upsert(&[&state])
        })
        .unwrap();
    let swap = |old: &[Extent], segment| Replaced {
        stream: state.id,
        old: old.to_vec(),
        new: vec![extent(&state, 0, 30, segment)],
    };
    let exchange = |id: u64| {
        let commit = Commit {
            segments: vec![segment(id, 30)],
            replaced: vec![swap(&old, id)],
            ..Commit::default()
        };
        catalog.commit(commit).unwrap()
    };
    let done = exchange(1);
    assert_eq!(
        (done.replaced, done.doomed),
        (vec![true], vec![SegmentId(0)])
    );
    assert_eq!(
        catalog.extents(state.id).unwrap(),
        [extent(&state, 0, 30, 1)]
    );
    // The old ones are gone: the new segment has nothing live and goes at once.
    let done = exchange(2);
    assert_eq!(
        (done.replaced, done.doomed),
        (vec![false], vec![SegmentId(2)])
    );
    catalog
        .commit(Commit {
            removed: vec![state.id],
            ..Commit::default()
        })
        .unwrap();
    let done = exchange(3);
    assert_eq!(
        (done.replaced, done.doomed),
        (vec![false], vec![SegmentId(3)])
    );
    assert_eq!(catalog.extents(state.id).unwrap(), []);
}

#[test]
fn the_manifest_never_takes_a_log_back() {
    let catalog = open(&env(9));
    assert_eq!(catalog.manifest().unwrap(), None);
    let manifest = Manifest {
        version: 1,
        boot_epoch: 4,
        logs: vec![(LogId(1), Lsn(5)), (LogId(2), Lsn(0))],
        next_segment: SegmentId(3),
        ..Manifest::default()
    };
    let put = |manifest: &Manifest, log| {
        catalog.commit(Commit {
            manifest: Some(manifest.clone()),
            log,
            ..Commit::default()
        })
    };
    put(&manifest, None).unwrap();
    put(&manifest, Some((LogId(2), Lsn(9)))).unwrap();
    put(&manifest, None).unwrap();
    let found = catalog.manifest().unwrap().unwrap();
    assert_eq!(found.logs, [(LogId(1), Lsn(5)), (LogId(2), Lsn(9))]);
    assert_eq!(found.next_segment, SegmentId(3));
    let flush = |log, lsn| {
        catalog.commit(Commit {
            log: Some((LogId(log), Lsn(lsn))),
            ..Commit::default()
        })
    };
    assert!(flush(1, 4).is_err(), "backwards");
    assert!(flush(3, 4).is_err(), "unknown");
    flush(1, 6).unwrap();
    let fewer = Manifest {
        logs: vec![(LogId(2), Lsn(0))],
        ..manifest
    };
    put(&fewer, None).unwrap();
    let found = catalog.manifest().unwrap().unwrap();
    assert_eq!(found.logs, [(LogId(2), Lsn(9))]);
}

#[test]
fn generations_only_rise() {
    let catalog = open(&env(10));
    let raise = |slot, generation| {
        let commit = Commit {
            generations: vec![(SlotId(slot), Generation(generation))],
            ..Commit::default()
        };
        catalog.commit(commit).unwrap();
    };
    raise(3, 7);
    raise(3, 5);
    raise(1023, 1);
    let generations = catalog.slot_generations().unwrap();
    assert_eq!(generations.len(), 1024);
    assert_eq!(generations[3], Generation(7));
    assert_eq!(generations[1023], Generation(1));
    assert_eq!(generations[0], Generation(0));
}

#[test]
fn segment_ids_are_never_given_out_twice() {
    let env = env(11);
    let catalog = open(&env);
    let first = catalog.allocate_segment();
    catalog.commit(Commit::default()).unwrap();
    drop(catalog);
    let catalog = open(&env);
    let second = catalog.allocate_segment();
    assert!(second > first);
    catalog.skip_segment(SegmentId(40));
    assert_eq!(catalog.allocate_segment(), SegmentId(41));
}

#[test]
fn the_longest_idle_producer_is_found() {
    let catalog = open(&env(12));
    let (a, b) = (created("a", 1), created("b", 1));
    let producer = |id: &StreamState, name: &str, used_at| {
        let state = ProducerState {
            epoch: 0,
            seq: 0,
            used_at: Timestamp(used_at),
        };
        (id.id, ProducerId::new(name).unwrap(), Some(state))
    };
    catalog
        .commit(Commit {
            producers: vec![
                producer(&a, "x", 9),
                producer(&a, "y", 4),
                producer(&a, "z", 6),
                producer(&b, "w", 1),
            ],
            ..upsert(&[&a, &b])
        })
        .unwrap();
    let (id, state) = catalog.longest_idle_producer(a.id).unwrap().unwrap();
    assert_eq!((id.as_str(), state.used_at), ("y", Timestamp(4)));
    let forget = Commit {
        producers: vec![(a.id, id, None)],
        ..Commit::default()
    };
    catalog.commit(forget).unwrap();
    let (id, _) = catalog.longest_idle_producer(a.id).unwrap().unwrap();
    assert_eq!(id.as_str(), "z");
    assert_eq!(catalog.producers(a.id).unwrap().len(), 2);
}

#[test]
fn t09_a_directory_with_data_and_no_catalog_is_refused() {
    for dir in ["wal/0000000000000001", "segments/x"] {
        let env = env(13);
        env.disk.create_dir(Path::new(dir)).unwrap();
        let error = Catalog::open(&env, 1 << 20).unwrap_err();
        assert!(matches!(error, StoreError::Missing { .. }), "{error}");
        assert!(error.to_string().contains(CATALOG_FILE), "{error}");
    }
}

#[test]
fn t21_an_empty_or_zeroed_catalog_is_corrupt_and_stays() {
    for len in [0, 4096, 1 << 20] {
        let env = env(14);
        let file = env
            .disk
            .open(Path::new(CATALOG_FILE), millrace_env::OpenMode::CreateNew)
            .unwrap();
        file.set_len(len).unwrap();
        let error = Catalog::open(&env, 1 << 20).unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "{len}: {error}"
        );
        assert_eq!(file.len().unwrap(), len);
    }
}

#[test]
fn t10_a_catalog_that_cannot_be_opened_fails_the_start() {
    for fault in [FaultError::TooManyFiles, FaultError::Denied] {
        let disk = SimDisk::new(15);
        let env = sim_env(&disk, 15);
        drop(open(&env));
        let before = disk.content(CATALOG_FILE);
        disk.fail(Fault::new(FaultOp::Open, fault).on(CATALOG_FILE));
        let error = Catalog::open(&env, 1 << 20).unwrap_err();
        assert!(matches!(error, StoreError::Io(_)), "{error}");
        assert_eq!(disk.content(CATALOG_FILE), before);
    }
}

#[test]
fn a_newer_catalog_is_refused_as_such() {
    let env = env(16);
    let catalog = open(&env);
    {
        let opened = catalog.shared.reopen(super::Access::Write).unwrap();
        let tx = opened.db.begin_write().unwrap();
        let mut meta = tx.open_table(super::META).unwrap();
        meta.insert("format", &7u32.to_le_bytes()[..]).unwrap();
        drop(meta);
        tx.commit().unwrap();
    }
    drop(catalog);
    let error = Catalog::open(&env, 1 << 20).unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 7, known: 1 }),
        "{error}"
    );
}

/// Nothing vouches for the version of the checksums.
#[test]
fn t26_a_flipped_bit_in_the_version_of_the_checksums_is_damage_and_no_newer_catalog() {
    let disk = SimDisk::new(18);
    drop(open(&sim_env(&disk, 18)));
    for bit in 0..32 {
        let disk = disk.copy(1);
        disk.flip_bit(CATALOG_FILE, 8 + bit / 8, u8::try_from(bit % 8).unwrap());
        let error = Catalog::open(&sim_env(&disk, 18), 1 << 20).unwrap_err();
        let names_it = error.to_string().contains(CATALOG_FILE);
        assert!(
            matches!(error, StoreError::Corrupt { .. }) && names_it,
            "{error}"
        );
    }
}

#[test]
fn looking_at_a_catalog_changes_nothing() {
    let disk = SimDisk::new(17);
    let env = sim_env(&disk, 17);
    let catalog = open(&env);
    let state = stream("a", 1, 10);
    catalog.commit(upsert(&[&state])).unwrap();
    // As after `kill -9`: `redb` would mark and repair.
    let disk = disk.kill();
    let env = sim_env(&disk, 17);
    let before = (disk.content(CATALOG_FILE), disk.io_count());
    let look = Catalog::open_read_only(&env, 1 << 20).unwrap();
    assert_eq!(
        look.row_by_name("a").unwrap().map(|row| row.state),
        Some(state)
    );
    look.verify().unwrap();
    assert!(look.commit(Commit::default()).is_err());
    drop(look);
    assert_eq!((disk.content(CATALOG_FILE), disk.io_count()), before);
}

#[test]
fn t24_after_a_full_disk_the_next_commit_succeeds() {
    let disk = SimDisk::new(18);
    let env = sim_env(&disk, 18);
    let catalog = open(&env);
    let mut kept = Vec::new();
    for round in 0..6 {
        disk.set_capacity(Some(disk.used() + 50_000 * (round % 3)));
        let states: Vec<_> = (0..4000)
            .map(|n| stream(&format!("{round}/{n}"), round * 10_000 + n + 1, 10))
            .collect();
        let commit = upsert(&states.iter().collect::<Vec<_>>());
        match catalog.commit(&commit) {
            Ok(_) => {}
            Err(StoreError::Full) => {
                assert_eq!(catalog.stream(states[0].id).unwrap(), None, "nothing of it");
                disk.set_capacity(None);
                catalog.commit(&commit).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
        kept.extend(states);
        assert_eq!(catalog.stream_count().unwrap(), kept.len() as u64);
    }
    catalog.verify().unwrap();
    let disk = disk.crash();
    let catalog = open(&sim_env(&disk, 18));
    catalog.verify().unwrap();
    for state in kept.iter().step_by(100) {
        assert_eq!(catalog.stream(state.id).unwrap().as_ref(), Some(state));
    }
}

#[test]
fn t06_after_a_failed_sync_nothing_is_written_and_reads_go_on() {
    for op in [FaultOp::Sync, FaultOp::Write] {
        let disk = SimDisk::new(19);
        let env = sim_env(&disk, 19);
        let catalog = open(&env);
        let (a, b) = (stream("a", 1, 10), stream("b", 1, 10));
        catalog.commit(upsert(&[&a])).unwrap();
        disk.fail_next(op, FaultError::Io, 0);
        let error = catalog.commit(upsert(&[&b])).unwrap_err();
        assert!(matches!(error, StoreError::Poisoned { .. }), "{error}");
        let error = catalog.commit(upsert(&[&b])).unwrap_err();
        assert!(
            matches!(error, StoreError::Poisoned { .. }),
            "no second try: {error}"
        );
        assert_eq!(catalog.stream(a.id).unwrap().as_ref(), Some(&a));
        let ios = disk.io_count();
        drop(catalog);
        assert_eq!(disk.io_count(), ios, "not even a close writes");
        let catalog = open(&sim_env(&disk.crash(), 19));
        assert_eq!(catalog.stream(a.id).unwrap(), Some(a));
        catalog.verify().unwrap();
    }
}

#[test]
fn a_failed_read_fails_one_answer_and_no_later_one() {
    let disk = SimDisk::new(20);
    let env = sim_env(&disk, 20);
    let states: Vec<_> = (0..2000)
        .map(|n| stream(&format!("{n}"), n + 1, 10))
        .collect();
    open(&env)
        .commit(upsert(&states.iter().collect::<Vec<_>>()))
        .unwrap();
    // Without a cache, because opening it in a debug build reads every page.
    let catalog = Catalog::open(&env, 0).unwrap();
    disk.fail_next(FaultOp::Read, FaultError::Io, 0);
    let failed = states
        .iter()
        .filter(|state| match catalog.stream(state.id) {
            Ok(found) => {
                assert_eq!(found.as_ref(), Some(*state));
                false
            }
            Err(error) => matches!(error, StoreError::Io(_)),
        });
    assert_eq!(failed.count(), 1);
    let more = stream("b", 1, 10);
    catalog.commit(upsert(&[&more])).unwrap();
    assert_eq!(catalog.stream(more.id).unwrap(), Some(more));
}

#[test]
fn t26_no_flipped_bit_of_the_catalog_changes_an_answer() {
    let disk = SimDisk::new(21);
    let env = sim_env(&disk, 21);
    let catalog = open(&env);
    let states: Vec<_> = (0..300)
        .map(|n| touched(stream(&format!("s/{n}"), n + 1, 10), 100 + n))
        .collect();
    catalog
        .commit(upsert(&states.iter().collect::<Vec<_>>()))
        .unwrap();
    drop(catalog);
    let names = {
        let catalog = open(&env);
        let names = catalog.names("", None, 1000).unwrap();
        drop(catalog);
        names
    };
    let len = disk.content(CATALOG_FILE).len() as u64;
    let rng = Rng::from_seed(22);
    let mut refused = 0;
    // Every part that is overwritten in place, then pages: the first ones hold nearly all in use.
    let fixed = (0..48)
        .chain((4096..4096 + 320).step_by(3))
        .chain(4590..4620);
    let random = (0..300).map(|n| rng.below(if n % 2 == 0 { len } else { 400_000.min(len) }));
    for (round, pos) in (0..).zip(fixed.chain(random)) {
        let disk = disk.copy(round);
        disk.flip_bit(CATALOG_FILE, pos, u8::try_from(rng.below(8)).unwrap());
        let env = sim_env(&disk, round);
        let fine = |error: StoreError| {
            assert!(
                matches!(error, StoreError::Corrupt { .. } | StoreError::Newer { .. }),
                "{pos}: {error}"
            );
        };
        let catalog = match Catalog::open(&env, 1 << 20) {
            Ok(catalog) => catalog,
            Err(error) => {
                fine(error);
                refused += 1;
                continue;
            }
        };
        let before = refused;
        match catalog.names("", None, 1000) {
            Ok(found) => assert_eq!(found, names, "{pos}"),
            Err(error) => {
                fine(error);
                refused += 1;
            }
        }
        for state in states.iter().step_by(7) {
            match catalog.stream(state.id) {
                Ok(found) => assert_eq!(found.as_ref(), Some(state), "{pos}"),
                Err(error) => {
                    fine(error);
                    refused += 1;
                }
            }
        }
        if refused > before {
            assert!(catalog.verify().is_err(), "{pos}: check finds it too");
        }
    }
    assert!(refused > 20, "only {refused} flips were in use");
}

proptest! {
    #[test]
    fn a_row_is_read_as_it_was_written(seed: u64) {
        let rng = Rng::from_seed(seed);
        let state = any_state(&rng);
        let head = row::Head {
            trimmed: state.trimmed > StreamPos::ZERO || state.settings.is_some(),
            settings: row::revision_of(&state),
            extents: u32::try_from(rng.below(9)).unwrap(),
            forks: row::forks_of(&state),
            deadline: row::deadline_of(&state),
            sealed: StreamPos(rng.next()),
        };
        let bytes = row::row(&head, &state);
        prop_assert_eq!(row::Head::take(&bytes).unwrap(), head);
        // Settings are in a table of their own.
        let state = StreamState { settings: None, ..state };
        prop_assert_eq!(row::state_in(&bytes, state.id).unwrap(), state.clone());
        let other = row::Head { extents: 77, ..head };
        let bytes = row::with_head(&other, &bytes);
        prop_assert_eq!(row::Head::take(&bytes).unwrap(), other);
        prop_assert_eq!(row::state_in(&bytes, state.id).unwrap(), state);
    }

    #[test]
    fn a_damaged_row_never_panics(seed: u64, cut in 0usize..400, at in 0usize..400, with: u8) {
        let rng = Rng::from_seed(seed);
        let state = any_state(&rng);
        let head = row::Head { trimmed: false, settings: 0, extents: 0, forks: 0, deadline: None, sealed: StreamPos(0) };
        let mut bytes = row::row(&head, &state);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= with;
        }
        bytes.truncate(cut);
        drop(row::state_in(&bytes, state.id));
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written(version: u32, boot_epoch: u64, mode: u8, clean: bool, next: u64, floor: u64) {
        let manifest = Manifest {
            version, boot_epoch, mode, clean,
            next_log: LogId(next),
            generation_floor: floor,
            ..Manifest::default()
        };
        let mut out = Encoder::new();
        manifest.put(&mut out);
        let bytes = out.finish();
        prop_assert_eq!(Manifest::take(&mut Decoder::new(&bytes)).unwrap(), manifest);
    }
}

/// A state of any shape that events can make.
fn any_state(rng: &Rng) -> StreamState {
    loop {
        let event = samples::event(rng, 50);
        let Event::Created(created) = &event else {
            continue;
        };
        let inherited = created
            .lineage
            .last()
            .map_or(StreamPos::ZERO, |last| last.until);
        let from = created.origin.map(|origin| origin.at).unwrap_or_default();
        if inherited != from && !created.lineage.is_empty() {
            // Events of any shape: not all of them could have been decided.
        }
        let mut state = apply(None, &event).expect("a creation leaves a stream");
        if rng.below(2) == 0 {
            state.trimmed = StreamPos(rng.below(state.tail.get().saturating_add(1).max(1)));
        }
        for _ in 0..rng.below(4) {
            state = match rng.below(4) {
                3 => configured(state, 1, Some("x")),
                0 => forked(state, StreamId::from_raw(rng.next())),
                1 => touched(state, rng.next()),
                _ if state.tail.get() < 1 << 40 => {
                    appended(state, &payload(rng, &[3]), Timestamp(rng.next()))
                }
                _ => state,
            };
        }
        return if state.forks.is_empty() {
            state
        } else {
            deleted(state).expect("forks hold it")
        };
    }
}
