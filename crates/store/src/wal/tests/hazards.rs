//! Defects that other logs shipped, one test each.

use millrace_env::{
    Disk as _,
    sim::{Fault, FaultError, FaultOp},
};

use super::*;

#[test]
fn t01_a_sealed_first_segment_is_never_made_again() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let env = env_on(&disk, seed);
        let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
        let written = turns(&mut wal, 30, 700);
        let first = disk.content(path(1));
        let disk = disk.crash();
        for boot in 0..3 {
            let (_, recovery, frames) = open(&env_on(&disk, boot), Lsn(0)).unwrap();
            assert!(frames == written, "seed {seed}");
            assert!(recovery.segments > 4);
            assert_eq!(disk.content(path(1)), first);
        }
    }
}

#[test]
fn t02_a_recycled_first_segment_is_not_the_start_of_the_log_again() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let env = env_on(&disk, seed);
        let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
        let mut written = turns(&mut wal, 30, 700);
        wal.recycle(Lsn(17)).unwrap();
        written.extend(turns(&mut wal, 9, 700));
        let disk = disk.crash();
        let env = env_on(&disk, seed);
        let (mut wal, _, frames) = open(&env, Lsn(17)).unwrap();
        assert!(frames == written[17..], "seed {seed}");
        assert!(!names(&env).contains(&"0000000000000001.wal".into()));
        assert_eq!(turn(&mut wal, &[append(1, 1)]).unwrap(), Lsn(40));
    }
}

#[test]
fn t06_a_failed_sync_is_never_repeated() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let env = env_on(&disk, seed);
        let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
        let written = turns(&mut wal, 3, 700);
        disk.fail_next(FaultOp::Sync, FaultError::Io, 0);
        assert!(turn(&mut wal, &[append(9, 700)]).is_err());
        let before = disk.io_count();
        assert!(matches!(wal.sync(), Err(StoreError::Poisoned { .. })));
        assert!(matches!(
            wal.prepare(1, true),
            Err(StoreError::Poisoned { .. })
        ));
        assert!(matches!(
            wal.recycle(Lsn(1)),
            Err(StoreError::Poisoned { .. })
        ));
        assert_eq!(disk.io_count(), before, "nothing touches the disk again");
        drop(wal);

        // The system's memory shows the frame, the disk may not have it. What a start shows it
        // keeps, power loss or not.
        let disk = disk.kill();
        let (_, _, shown) = open(&env_on(&disk, seed), Lsn(0)).unwrap();
        assert!(shown.starts_with(&written) && shown.len() <= 4);
        let disk = disk.crash();
        let (_, _, kept) = open(&env_on(&disk, seed), Lsn(0)).unwrap();
        assert!(kept == shown, "seed {seed}");
    }
}

#[test]
fn t06_a_sync_that_fails_on_a_helper_thread_stops_the_log() {
    let (disk, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    write(&mut wal, &[append(1, 1)]).unwrap();
    disk.fail_next(FaultOp::Sync, FaultError::NoSpace, 0);
    let sync = wal.sync_handle();
    let result = std::thread::scope(|scope| scope.spawn(|| sync.run()).join().unwrap());
    assert!(!is_full(&result));
    assert!(matches!(result, Err(StoreError::Io(_))), "never `Full`");
    wal.mark_synced(&result);
    assert!(wal.is_poisoned());
}

#[test]
fn t10_a_segment_that_cannot_be_opened_fails_the_start() {
    for error in [FaultError::TooManyFiles, FaultError::Denied] {
        for skip in 0..6 {
            let (disk, env) = disk_and_env();
            let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
            let written = turns(&mut wal, 20, 700);
            drop(wal);
            disk.fail_next(FaultOp::Open, error, skip);
            assert!(matches!(open(&env, Lsn(0)), Err(StoreError::Io(_))));
            disk.heal();
            assert!(open(&env, Lsn(0)).unwrap().2 == written);
        }
    }
}

#[test]
fn t13_a_refused_append_never_comes_back() {
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let env = env_on(&disk, seed);
        let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
        let mut written = turns(&mut wal, 2, 100);
        // A write that fails for lack of space was refused, and the log went on.
        let refused = [append(99, 700)];
        disk.set_short_writes(1.0);
        disk.fail_next(FaultOp::Write, FaultError::NoSpace, 1);
        assert!(is_full(&turn(&mut wal, &refused)));
        disk.heal();
        if seed % 2 == 0 {
            written.push((turn(&mut wal, &[append(3, 9)]).unwrap(), vec![append(3, 9)]));
        }
        let disk = if seed % 3 == 0 {
            disk.kill()
        } else {
            disk.crash()
        };
        let (_, _, frames) = open(&env_on(&disk, seed), Lsn(0)).unwrap();
        assert!(frames == written, "seed {seed}");
    }
}

#[test]
fn t13_a_failed_write_stops_the_log_and_is_whole_or_absent() {
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let env = env_on(&disk, seed);
        let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
        let written = turns(&mut wal, 2, 100);
        disk.fail(Fault::new(FaultOp::Write, FaultError::Io).lasting());
        let failed = vec![append(99, 700)];
        assert!(turn(&mut wal, &failed).is_err());
        assert!(wal.is_poisoned());
        let disk = disk.crash();
        let env = env_on(&disk, seed);
        let (mut wal, _, frames) = open(&env, Lsn(0)).unwrap();
        assert!(frames.starts_with(&written));
        assert!(
            frames[2..]
                .iter()
                .all(|(lsn, events)| *lsn == Lsn(3) && *events == failed)
        );
        let next = turn(&mut wal, &[append(4, 4)]).unwrap();
        let disk = disk.crash();
        let (_, _, later) = open(&env_on(&disk, seed), Lsn(0)).unwrap();
        assert!(later.starts_with(&frames) && later.last().unwrap().0 == next);
        assert_eq!(later.len(), frames.len() + 1);
    }
}

#[test]
fn t16_a_start_that_fails_in_its_middle_can_be_repeated() {
    for (op, error) in [
        (FaultOp::Write, FaultError::Io),
        (FaultOp::Sync, FaultError::Io),
        (FaultOp::SyncDir, FaultError::Io),
        (FaultOp::Rename, FaultError::Denied),
    ] {
        for skip in 0..8 {
            let disk = SimDisk::new(skip);
            let env = env_on(&disk, skip);
            let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
            let written = turns(&mut wal, 20, 700);
            write(&mut wal, &[append(99, 700)]).unwrap();
            drop(wal);
            let disk = disk.crash();
            let env = env_on(&disk, 1);
            disk.fail_next(op, error, skip);
            let first = open(&env, Lsn(0)).map(|(_, _, frames)| frames);
            disk.heal();
            let disk = disk.crash();
            let (_, _, second) = open(&env_on(&disk, 2), Lsn(0)).unwrap();
            assert!(second.starts_with(&written), "{op:?} {skip}");
            assert!(first.is_err() || first.is_ok_and(|first| first == second));
        }
    }
}

#[test]
fn t17_a_long_healthy_history_of_starts_opens() {
    let mut disk = SimDisk::new(17);
    let mut written = Frames::new();
    drop(Wal::create(&env_on(&disk, 0), LOG, 1, SMALL).unwrap());
    let mut flushed = Lsn(0);
    for boot in 0..150u64 {
        let env = env_on(&disk, boot);
        let (mut wal, _, frames) = open(&env, flushed).unwrap();
        let kept = usize::try_from(flushed.get()).unwrap();
        assert!(frames == written[kept..], "boot {boot}");
        written.extend(turns(&mut wal, u8::try_from(boot % 7).unwrap(), 700));
        if boot % 5 == 4 {
            flushed = Lsn(wal.next_lsn().get() - 1);
        }
        if boot % 5 == 0 {
            wal.recycle(flushed).unwrap();
        }
        if boot % 11 == 0 {
            wal.close().unwrap();
        }
        disk = if boot % 2 == 0 {
            disk.crash()
        } else {
            disk.kill()
        };
    }
    assert!(names(&env_on(&disk, 0)).len() < 40, "and nothing piles up");
}

#[test]
fn t20_a_torn_tail_is_cut_when_the_log_is_opened() {
    let (disk, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    let written = turns(&mut wal, 2, 100);
    let events = [append(3, 1500)];
    wal.prepare(Wal::frame_bytes_max(&events), false).unwrap();
    let frame = wal.encode(&events);
    let at = wal.bytes_retained();
    drop(wal);
    let file = env
        .disk
        .open(&path(1), millrace_env::OpenMode::ReadWrite)
        .unwrap();
    for cut in [1, 3, 8, 47, 48, 49, 700, frame.bytes.len() - 9] {
        let copy = disk.copy(1);
        let env = env_on(&copy, 1);
        let file = copy
            .open(&path(1), millrace_env::OpenMode::ReadWrite)
            .unwrap();
        file.write_at(&frame.bytes[..cut], at).unwrap();
        file.sync().unwrap();
        let (mut wal, recovery, frames) = open(&env, Lsn(0)).unwrap();
        assert!(frames == written);
        assert!(recovery.torn_bytes > 0, "recovery says that it ran");
        turn(&mut wal, &[append(4, 4)]).unwrap();
        let (_, recovery, frames) = open(&env, Lsn(0)).unwrap();
        assert_eq!((frames.len(), recovery.torn_bytes), (3, 0));
    }
    drop(file);
}

#[test]
fn t31_every_segment_is_read_and_none_may_be_missing() {
    let (disk, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    let written = turns(&mut wal, 30, 700);
    drop(wal);
    let (_, infos) = scanned(&env, None).unwrap();
    let segments: Vec<u64> = names(&env)
        .iter()
        .filter_map(|name| u64::from_str_radix(name.strip_suffix(".wal")?, 16).ok())
        .collect();
    let last_of = |number: u64| {
        let of = infos.iter().filter(|info| info.segment.0 == number);
        of.map(|info| info.lsn).max().unwrap()
    };
    for number in segments {
        let copy = disk.copy(number);
        copy.lose(path(number));
        let env = env_on(&copy, 1);
        assert!(is_missing(&open(&env, Lsn(0))), "segment {number}");
        assert!(is_missing(&scanned(&env, Some(Lsn(0)))), "segment {number}");
        let last = last_of(number);
        if last < Lsn(30) {
            // The seal has the LSN after the last.
            let after = Lsn(last.get() - 1);
            let (_, _, frames) = open(&env, after).unwrap();
            assert!(frames == written[usize::try_from(after.get()).unwrap()..]);
        }
    }
}

#[test]
fn t09_a_log_that_is_named_and_missing_is_refused() {
    let (disk, env) = disk_and_env();
    assert!(is_missing(&open(&env, Lsn(0))));
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    turns(&mut wal, 3, 10);
    assert!(
        is_missing(&open(&env, Lsn(4))),
        "the catalog has a frame that the log has not"
    );
    assert!(open(&env, Lsn(3)).is_ok());
    disk.lose(LOG.dir());
    assert!(is_missing(&open(&env, Lsn(3))));
    env.disk.create_dir(&LOG.dir()).unwrap();
    assert!(
        is_missing(&open(&env, Lsn(3))),
        "an empty directory is no log"
    );
}

#[test]
fn t15_a_creation_that_was_interrupted_can_be_repeated_but_never_over_frames() {
    for n in 1.. {
        let disk = SimDisk::new(n);
        disk.crash_after(n);
        let made = Wal::create(&env_on(&disk, n), LOG, 1, SMALL);
        let disk = disk.crash();
        let env = env_on(&disk, n);
        let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
        turns(&mut wal, 1, 1);
        drop(wal);
        assert!(is_corrupt(&Wal::create(&env, LOG, 1, SMALL)));
        assert_eq!(open(&env, Lsn(0)).unwrap().2.len(), 1);
        if made.is_ok() {
            assert!(n > 5);
            break;
        }
    }
}

#[test]
fn t13_what_a_start_did_not_show_never_comes_back() {
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let mut wal = Wal::create(&env_on(&disk, seed), LOG, 1, SMALL).unwrap();
        turns(&mut wal, u8::try_from(seed % 3).unwrap(), 100);
        // The write fails although it was carried out, and so does undoing it.
        disk.fail_next(FaultOp::Write, FaultError::Io, 0);
        disk.fail_next(FaultOp::Sync, FaultError::Io, 0);
        assert!(turn(&mut wal, &[append(99, 5)]).is_err());
        let disk = disk.kill();
        let (_, _, shown) = open(&env_on(&disk, seed), Lsn(0)).unwrap();
        let disk = disk.crash();
        let (_, _, later) = open(&env_on(&disk, seed), Lsn(0)).unwrap();
        assert!(later == shown, "seed {seed}");
    }
}

#[test]
fn t31_a_lost_last_segment_is_noticed_though_rolling_to_it_was_interrupted() {
    for n in 1.. {
        let disk = SimDisk::new(n);
        let mut wal = Wal::create(&env_on(&disk, n), LOG, 1, SMALL).unwrap();
        turns(&mut wal, 3, 900);
        disk.crash_after(n);
        let rolled = turn(&mut wal, &[append(4, 900)]).is_ok();
        let disk = disk.crash();
        let env = env_on(&disk, n);
        let (mut wal, ..) = open(&env, Lsn(0)).unwrap();
        turn(&mut wal, &[append(5, 9)]).unwrap();
        drop(wal);
        let (_, infos) = scanned(&env, Some(Lsn(0))).unwrap();
        disk.lose(path(infos.last().unwrap().segment.0));
        assert!(is_missing(&open(&env, Lsn(0))), "cut at {n}");
        if rolled {
            assert!(n > 8);
            break;
        }
    }
}

#[test]
fn t03_what_is_replayed_is_durable_by_then() {
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let mut wal = Wal::create(&env_on(&disk, seed), LOG, 1, SMALL).unwrap();
        turns(&mut wal, 3, 900);
        // Written and never synced; then the process alone ends.
        write(&mut wal, &[append(4, 900)]).unwrap();
        let disk = disk.kill();
        let mut replayed = Frames::new();
        let mut replay = |lsn, events| {
            replayed.push((lsn, events));
            let cut = disk.copy(seed).crash();
            let (_, _, kept) = open(&env_on(&cut, seed), Lsn(0)).unwrap();
            assert!(kept.starts_with(&replayed), "seed {seed}");
            Ok(())
        };
        Wal::open(&env_on(&disk, 1), LOG, 2, Lsn(0), SMALL, &mut replay).unwrap();
        assert_eq!(replayed.len(), 4);
    }
}

#[test]
fn a_damaged_log_replays_nothing() {
    let (disk, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    turns(&mut wal, 20, 700);
    drop(wal);
    disk.flip_bit(path(4), 4200, 1);
    let result = Wal::open(&env, LOG, 2, Lsn(0), SMALL, &mut |lsn, _| {
        panic!("frame {lsn} was replayed")
    });
    assert!(is_corrupt(&result));
}

#[test]
fn t11_names_that_only_memory_knows_are_made_durable_before_anything_rests_on_them() {
    for n in 1.. {
        let disk = SimDisk::new(n);
        let mut wal = Wal::create(&env_on(&disk, n), LOG, 1, SMALL).unwrap();
        let written = turns(&mut wal, 20, 700);
        disk.fail_next(FaultOp::SyncDir, FaultError::Io, 0);
        assert!(wal.recycle(Lsn(10)).is_err());
        assert!(wal.is_poisoned());
        let disk = disk.kill();
        disk.crash_after(n);
        let opened = open(&env_on(&disk, n), Lsn(10)).map(|(mut wal, ..)| {
            let _ = turn(&mut wal, &[append(99, 2000)]);
        });
        let ended = opened.is_ok() && !disk.is_down();
        let disk = disk.crash();
        let (_, _, frames) = open(&env_on(&disk, n), Lsn(10)).unwrap();
        assert!(frames.starts_with(&written[10..]), "cut at {n}");
        if ended {
            break;
        }
    }
}
