//! A full disk: appends are refused, what frees space goes on, and all resumes by itself.

use std::time::Duration;

use millrace_env::{
    Clock as _,
    sim::{Fault, FaultError, FaultOp},
};

use super::*;
use crate::wal::scan::Listing;

const RESERVED: WalOptions = WalOptions {
    reserve: true,
    ..SMALL
};

/// Turns until the disk is full; the last LSN that went in.
fn fill(wal: &mut Wal) -> Lsn {
    loop {
        match turn(wal, &[append(1, 900)]) {
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error, StoreError::Full), "{error}");
                return Lsn(wal.next_lsn().get() - 1);
            }
        }
    }
}

#[test]
fn t24_after_space_returns_appends_work_again() {
    let (disk, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, RESERVED).unwrap();
    disk.set_capacity(Some(5 * 8192));
    for _ in 0..3 {
        let last = fill(&mut wal);
        assert!(is_full(&turn(&mut wal, &[append(1, 900)])), "and stays so");
        assert!(!wal.is_poisoned());
        wal.recycle(last).unwrap();
        turn(&mut wal, &[append(2, 900)]).unwrap();
    }
}

#[test]
fn t25_on_a_full_disk_a_reserved_segment_takes_what_frees_space() {
    let (disk, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, RESERVED).unwrap();
    disk.set_capacity(Some(5 * 8192));
    fill(&mut wal);
    let freeing = vec![Event::Deleted {
        stream: StreamId::from_raw(9),
        reason: millrace_core::DeleteReason::Request,
    }];
    let room = Wal::frame_bytes_max(&freeing);
    let segments = names(&env).len();
    for _ in 0..50 {
        wal.prepare(room, true).unwrap();
        let frame = wal.encode(&freeing);
        wal.write(&frame).unwrap();
        wal.sync().unwrap();
        assert!(
            is_full(&wal.prepare(1200, false)),
            "the reserve is not for appends"
        );
    }
    assert_eq!(names(&env).len(), segments);
    assert!(is_full(&wal.prepare(1, false)), "and is in use by now");
    let last = Lsn(wal.next_lsn().get() - 1);
    drop(wal);
    let (mut wal, ..) = open_with(&env, last, RESERVED).unwrap();
    wal.recycle(last).unwrap();
    turn(&mut wal, &[append(3, 900)]).unwrap();
}

#[test]
fn t25_a_log_opens_on_a_full_disk() {
    let (disk, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    let written = turns(&mut wal, 10, 900);
    disk.set_capacity(Some(disk.used()));
    let disk = disk.kill();
    let env = env_on(&disk, 2);
    for _ in 0..3 {
        let (mut wal, _, frames) = open(&env, Lsn(0)).unwrap();
        assert!(frames == written);
        assert!(is_full(&wal.prepare(10, true)));
    }
    let (mut wal, ..) = open(&env, Lsn(9)).unwrap();
    disk.fail(Fault::new(FaultOp::Write, FaultError::NoSpace).lasting());
    wal.recycle(Lsn(10)).unwrap();
    assert!(is_full(&wal.prepare(10, true)));
    drop(wal);
    disk.heal();
    disk.set_capacity(None);
    let (mut wal, _, frames) = open(&env, Lsn(9)).unwrap();
    assert!(frames == written[9..], "the end of the log was kept");
    turn(&mut wal, &[append(11, 10)]).unwrap();
    assert_eq!(open(&env, Lsn(9)).unwrap().2.len(), 2);
}

#[test]
fn t14_a_partial_write_on_a_full_disk_leaves_no_trace() {
    let (disk, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    let mut written = turns(&mut wal, 1, 100);
    for fill in 2..20 {
        let events = vec![append(fill, 700)];
        wal.prepare(Wal::frame_bytes_max(&events), false).unwrap();
        let frame = wal.encode(&events);
        disk.set_short_writes(1.0);
        disk.fail_next(FaultOp::Write, FaultError::NoSpace, u64::from(fill % 3));
        let result = wal.write(&frame);
        disk.heal();
        assert!(is_full(&result));
        let events = vec![append(100 + fill, 90)];
        written.push((turn(&mut wal, &events).unwrap(), events));
    }
    let env = env_on(&disk.crash(), 3);
    let (_, recovery, frames) = open(&env, Lsn(0)).unwrap();
    assert!(frames == written);
    assert_eq!(recovery.torn_bytes, 0);
}

#[test]
fn t14_what_cannot_be_undone_stops_the_log() {
    let (disk, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    let written = turns(&mut wal, 3, 100);
    disk.fail(Fault::new(FaultOp::Write, FaultError::NoSpace).lasting());
    let result = turn(&mut wal, &[append(9, 100)]);
    assert!(
        matches!(result, Err(StoreError::Io(_))),
        "not `Full`: {result:?}"
    );
    disk.heal();
    assert!(wal.is_poisoned());
    assert!(matches!(
        turn(&mut wal, &[append(9, 100)]),
        Err(StoreError::Poisoned { .. })
    ));
    let env = env_on(&disk.kill(), 3);
    assert!(open(&env, Lsn(0)).unwrap().2 == written);
}

#[test]
fn no_step_of_rolling_stops_the_log_for_lack_of_space() {
    for op in [FaultOp::Write, FaultOp::Create, FaultOp::Rename] {
        for skip in 0..12 {
            let (disk, env) = disk_and_env();
            let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
            let mut written = turns(&mut wal, 3, 900);
            let full = append(4, 900);
            disk.fail_next(op, FaultError::NoSpace, skip);
            let mut refused = 0;
            for _ in 0..8 {
                match turn(&mut wal, std::slice::from_ref(&full)) {
                    Ok(lsn) => written.push((lsn, vec![full.clone()])),
                    Err(error) => {
                        assert!(matches!(error, StoreError::Full), "{op:?} {skip}: {error}");
                        refused += 1;
                    }
                }
            }
            assert!(refused <= 1);
            assert_eq!(written.len(), 11 - refused);
            let listing = Listing::read(&env, LOG).unwrap();
            assert_eq!(listing.spares.len(), wal.spares.len(), "none is forgotten");
            assert!(listing.unfinished.is_empty());
            let disk = disk.crash();
            for kept in 1..listing.segments.len() {
                let copy = disk.copy(1);
                for lost in &listing.segments[kept..] {
                    copy.lose(lost.path(LOG));
                }
                let shortened = open(&env_on(&copy, 1), Lsn(0));
                assert!(is_missing(&shortened), "{op:?} {skip}: {kept} are left");
            }
            let env = env_on(&disk, 2);
            assert!(open(&env, Lsn(0)).unwrap().2 == written, "{op:?} {skip}");
        }
    }
}

#[test]
fn a_spare_that_cannot_be_made_is_tried_again_later() {
    let disk = SimDisk::new(1);
    let clock = Arc::new(SimClock::new(1));
    let env = Env {
        clock: Arc::clone(&clock) as Arc<dyn millrace_env::Clock>,
        ..env_on(&disk, 1)
    };
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    disk.set_capacity(Some(disk.used()));
    let job = wal.spare_job().unwrap();
    wal.add_spare(job.run());
    assert!(wal.spare_job().is_none());
    assert_eq!(clock.mono(), Duration::ZERO);
    clock.advance(Duration::from_secs(2));
    disk.set_capacity(None);
    let job = wal.spare_job().unwrap();
    wal.add_spare(job.run());
    assert!(wal.spare_job().is_none());
    assert_eq!(names(&env).len(), 2);
}
