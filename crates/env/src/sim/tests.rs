//! What the simulated disk promises and what it takes back, one fact a test. Facts that depend on
//! the seed are shown over many seeds: what may never happen never does, what may happen does.

use std::{collections::BTreeSet, io, path::Path, sync::Arc};

use super::*;
use crate::disk::{DirEntry, Disk, File, FileExt as _, OpenMode};

const SEEDS: u64 = 200;

fn path(text: &str) -> &Path {
    Path::new(text)
}

/// A file whose name is durable; its content is not.
fn named(disk: &Arc<SimDisk>, name: &str) -> Arc<dyn File> {
    let file = disk
        .open(path(name), OpenMode::CreateOrOpen)
        .expect("opens");
    let dir = path(name).parent().expect("has a directory");
    disk.sync_dir(dir).expect("syncs");
    file
}

/// A durable file.
fn durable(disk: &Arc<SimDisk>, name: &str, content: &[u8]) -> Arc<dyn File> {
    let file = named(disk, name);
    file.write_all_at(content, 0).expect("writes");
    file.sync().expect("syncs");
    file
}

fn names(disk: &SimDisk, dir: &str) -> Vec<String> {
    let entries = disk.list(path(dir)).expect("lists");
    entries.into_iter().map(|entry| entry.name).collect()
}

/// What is left of one prepared disk after a crash, over many seeds.
fn outcomes<T: Ord>(
    prepare: impl Fn(&Arc<SimDisk>),
    look: impl Fn(&Arc<SimDisk>) -> T,
) -> BTreeSet<T> {
    let outcome = |seed| {
        let disk = SimDisk::new(seed);
        prepare(&disk);
        look(&disk.crash())
    };
    (0..SEEDS).map(outcome).collect()
}

fn assert_power_loss<T>(result: io::Result<T>) {
    let error = result.err().expect("fails");
    assert!(is_power_loss(&error), "{error}");
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}

// What a running system sees.

#[test]
fn a_write_is_visible_at_once_and_past_the_end_leaves_zeros() {
    let disk = SimDisk::new(1);
    let file = named(&disk, "a");
    assert_eq!(file.write_at(b"xyz", 4).expect("writes"), 3);
    let other = disk.open(path("a"), OpenMode::Read).expect("opens");
    let mut buf = [9; 10];
    assert_eq!(other.read_at(&mut buf, 0).expect("reads"), 7);
    assert_eq!(&buf[..7], b"\0\0\0\0xyz");
    assert_eq!(other.read_at(&mut buf, 7).expect("reads"), 0);
    assert_eq!(other.read_at(&mut buf, 70).expect("reads"), 0);
    assert_eq!(other.len().expect("has a length"), 7);
    assert_eq!(disk.content("a"), b"\0\0\0\0xyz");
}

#[test]
fn set_len_cuts_and_grows_with_zeros() {
    let disk = SimDisk::new(1);
    let file = named(&disk, "a");
    file.write_all_at(b"abcdef", 0).expect("writes");
    file.set_len(2).expect("cuts");
    file.set_len(4).expect("grows");
    assert_eq!(disk.content("a"), b"ab\0\0");
}

#[test]
fn open_modes_say_what_must_be_there() {
    let disk = SimDisk::new(1);
    let kind = |mode| disk.open(path("a"), mode).err().map(|error| error.kind());
    assert_eq!(kind(OpenMode::Read), Some(io::ErrorKind::NotFound));
    assert_eq!(kind(OpenMode::ReadWrite), Some(io::ErrorKind::NotFound));
    assert_eq!(kind(OpenMode::CreateNew), None);
    assert_eq!(
        kind(OpenMode::CreateNew),
        Some(io::ErrorKind::AlreadyExists)
    );
    assert_eq!(kind(OpenMode::CreateOrOpen), None);
    assert_eq!(kind(OpenMode::ReadWrite), None);
    let file = disk.open(path("a"), OpenMode::Read).expect("opens");
    assert!(file.write_at(b"x", 0).is_err());
    assert!(file.set_len(0).is_err());
}

#[test]
fn names_are_listed_in_order_with_kind_and_length() {
    let disk = SimDisk::new(1);
    disk.create_dir(path("d/e")).expect("makes");
    disk.create_dir(path("d/e")).expect("is there");
    let file = disk.open(path("d/b"), OpenMode::CreateNew).expect("opens");
    file.write_all_at(b"12", 0).expect("writes");
    let entry = |name: &str, is_dir, len| DirEntry {
        name: name.into(),
        is_dir,
        len,
    };
    let want = [entry("b", false, 2), entry("e", true, 0)];
    assert_eq!(disk.list(path("d")).expect("lists"), want);
    let missing = disk.list(path("x")).expect_err("is missing");
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    let inside = disk.open(path("x/y"), OpenMode::CreateNew);
    assert_eq!(
        inside.expect_err("no directory").kind(),
        io::ErrorKind::NotFound
    );
    let escape = disk.open(path("../y"), OpenMode::CreateNew);
    assert_eq!(
        escape.expect_err("leaves the root").kind(),
        io::ErrorKind::InvalidInput
    );
}

#[test]
fn rename_replaces_and_removal_leaves_open_files_readable() {
    let disk = SimDisk::new(1);
    let old = durable(&disk, "a", b"old");
    durable(&disk, "b", b"new");
    disk.rename(path("b"), path("a")).expect("renames");
    assert_eq!(disk.content("a"), b"new");
    assert_eq!(names(&disk, ""), ["a"]);
    let mut buf = [0; 3];
    old.read_exact_at(&mut buf, 0).expect("reads");
    assert_eq!(&buf, b"old");
    disk.remove(path("a")).expect("removes");
    assert_eq!(names(&disk, ""), [""; 0]);
    let missing = disk.remove(path("a")).expect_err("is gone");
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[test]
fn only_empty_directories_can_be_removed() {
    let disk = SimDisk::new(1);
    disk.create_dir(path("d")).expect("makes");
    named(&disk, "d/a");
    let full = disk.remove_dir(path("d")).expect_err("is not empty");
    assert_eq!(full.kind(), io::ErrorKind::DirectoryNotEmpty);
    assert!(disk.remove(path("d")).is_err());
    disk.remove(path("d/a")).expect("removes");
    disk.remove_dir(path("d")).expect("removes");
    assert!(disk.list(path("d")).is_err());
}

// What power loss takes.

#[test]
fn synced_bytes_under_a_synced_name_survive() {
    let content: Vec<u8> = (0..5000_u32).map(|n| (n % 251) as u8).collect();
    let left = outcomes(
        |disk| {
            let file = durable(disk, "a", &content);
            assert_eq!(file.len().expect("has a length"), 5000);
        },
        |disk| disk.content("a"),
    );
    assert_eq!(left, BTreeSet::from([content.clone()]));
}

#[test]
fn t11_a_synced_file_whose_name_was_not_synced_may_be_lost() {
    let left = outcomes(
        |disk| {
            let file = disk.open(path("a"), OpenMode::CreateNew).expect("opens");
            file.write_all_at(b"x", 0).expect("writes");
            file.sync().expect("syncs");
        },
        |disk| names(disk, ""),
    );
    assert_eq!(left, BTreeSet::from([vec![], vec!["a".to_owned()]]));
}

#[test]
fn an_unsynced_write_is_kept_lost_or_torn_at_sectors() {
    let left = outcomes(
        |disk| {
            let file = durable(disk, "a", &[1; 2048]);
            file.write_all_at(&[2; 2048], 0).expect("writes");
        },
        |disk| disk.content("a"),
    );
    for content in &left {
        assert_eq!(content.len(), 2048);
        for sector in content.chunks(512) {
            assert!(sector == [1; 512] || sector == [2; 512], "whole sectors");
        }
    }
    assert!(left.contains(&vec![1; 2048]), "lost");
    assert!(left.contains(&vec![2; 2048]), "kept");
    assert_eq!(left.len(), 16, "any mixture of four sectors");
}

#[test]
fn sectors_are_those_of_the_file_whatever_the_write() {
    let left = outcomes(
        |disk| {
            let file = durable(disk, "a", &[1; 1024]);
            file.write_all_at(&[2; 512], 256).expect("writes");
        },
        |disk| disk.content("a"),
    );
    let mixed = |first, second| {
        let parts = [
            vec![1; 256],
            vec![first; 256],
            vec![second; 256],
            vec![1; 256],
        ];
        parts.concat()
    };
    let want = [mixed(1, 1), mixed(1, 2), mixed(2, 1), mixed(2, 2)];
    assert_eq!(left, BTreeSet::from(want));
}

#[test]
fn growth_is_kept_or_lost_or_zeros_and_never_garbage() {
    let left = outcomes(
        |disk| {
            let file = durable(disk, "a", b"head");
            file.write_all_at(&[2; 1024], 4).expect("writes");
        },
        |disk| disk.content("a"),
    );
    for content in &left {
        assert_eq!(&content[..4], b"head");
        assert!(content.len() == 4 || content.len() == 1028);
        assert!(content[4..].iter().all(|byte| matches!(byte, 0 | 2)));
    }
    let has = |want: &dyn Fn(&Vec<u8>) -> bool| left.iter().any(want);
    assert!(has(&|content| content.len() == 4), "length lost");
    assert!(has(&|content| content[4..] == [2; 1024]), "kept");
    assert!(
        has(&|content| content[4..] == [0; 1024]),
        "length alone kept"
    );
    assert!(has(&|content| content.len() > 4
        && content[4] == 0
        && content[600] == 2));
}

#[test]
fn writes_may_reach_the_medium_out_of_order() {
    let left = outcomes(
        |disk| {
            let file = durable(disk, "a", &[0; 1024]);
            file.write_all_at(&[1; 1], 0).expect("writes");
            file.write_all_at(&[2; 1], 600).expect("writes");
        },
        |disk| {
            let content = disk.content("a");
            (content[0], content[600])
        },
    );
    assert_eq!(left, BTreeSet::from([(0, 0), (0, 2), (1, 0), (1, 2)]));
}

#[test]
fn of_several_writes_to_one_sector_a_first_part_survives() {
    let left = outcomes(
        |disk| {
            let file = durable(disk, "a", &[0; 2]);
            file.write_all_at(b"1", 0).expect("writes");
            file.write_all_at(b"2", 1).expect("writes");
        },
        |disk| disk.content("a"),
    );
    let want = [b"\0\0".to_vec(), b"1\0".to_vec(), b"12".to_vec()];
    assert_eq!(left, BTreeSet::from(want));
}

#[test]
fn a_cut_is_kept_or_lost_and_never_shows_what_it_cut() {
    let left = outcomes(
        |disk| {
            let file = durable(disk, "a", b"secret");
            file.set_len(0).expect("cuts");
            file.set_len(6).expect("grows");
        },
        |disk| disk.content("a"),
    );
    let want = [b"secret".to_vec(), vec![], vec![0; 6]];
    assert_eq!(left, BTreeSet::from(want));
}

#[test]
fn unsynced_names_survive_as_a_prefix_over_all_directories() {
    let make = |disk: &Arc<SimDisk>| {
        disk.create_dir(path("d")).expect("makes");
        disk.create_dir(path("e")).expect("makes");
        disk.sync_dir(path("")).expect("syncs");
        for name in ["d/1", "e/2", "d/3"] {
            disk.open(path(name), OpenMode::CreateNew).expect("opens");
        }
    };
    let left = outcomes(make, |disk| [names(disk, "d"), names(disk, "e")].concat());
    let prefix = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let want = [
        prefix(&[]),
        prefix(&["1"]),
        prefix(&["1", "2"]),
        prefix(&["1", "3", "2"]),
    ];
    assert_eq!(left, BTreeSet::from(want));
}

#[test]
fn syncing_a_directory_settles_its_own_names_alone() {
    let make = |disk: &Arc<SimDisk>| {
        disk.create_dir(path("d")).expect("makes");
        disk.sync_dir(path("")).expect("syncs");
        disk.open(path("a"), OpenMode::CreateNew).expect("opens");
        disk.open(path("d/b"), OpenMode::CreateNew).expect("opens");
        disk.sync_dir(path("d")).expect("syncs");
    };
    let left = outcomes(make, |disk| (names(disk, "").len(), names(disk, "d").len()));
    assert_eq!(left, BTreeSet::from([(1, 1), (2, 1)]));
}

#[test]
fn a_directory_whose_own_name_is_lost_takes_its_files_with_it() {
    let make = |disk: &Arc<SimDisk>| {
        disk.create_dir(path("d/e")).expect("makes");
        durable(disk, "d/e/a", b"x");
    };
    let left = outcomes(make, |disk| {
        disk.open(path("d/e/a"), OpenMode::Read).is_ok()
    });
    assert_eq!(left, BTreeSet::from([false, true]));
}

#[test]
fn a_rename_happens_wholly_or_not_at_all() {
    let make = |disk: &Arc<SimDisk>| {
        durable(disk, "a", b"old");
        durable(disk, "b", b"new");
        disk.rename(path("b"), path("a")).expect("renames");
    };
    let left = outcomes(make, |disk| (names(disk, ""), disk.content("a")));
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let want = [
        (names(&["a"]), b"new".to_vec()),
        (names(&["a", "b"]), b"old".to_vec()),
    ];
    assert_eq!(left, BTreeSet::from(want));
}

#[test]
fn a_rename_between_directories_is_durable_after_both_are_synced() {
    let make = |synced: &'static [&'static str]| {
        move |disk: &Arc<SimDisk>| {
            disk.create_dir(path("d")).expect("makes");
            disk.create_dir(path("e")).expect("makes");
            disk.sync_dir(path("")).expect("syncs");
            durable(disk, "d/a", b"x");
            disk.rename(path("d/a"), path("e/a")).expect("renames");
            for dir in synced {
                disk.sync_dir(path(dir)).expect("syncs");
            }
        }
    };
    let place = |disk: &Arc<SimDisk>| (names(disk, "d").len(), names(disk, "e").len());
    let either = BTreeSet::from([(0, 1), (1, 0)]);
    assert_eq!(outcomes(make(&[]), place), either);
    assert_eq!(outcomes(make(&["d"]), place), either);
    assert_eq!(outcomes(make(&["e"]), place), either);
    let done = BTreeSet::from([(0, 1)]);
    assert_eq!(outcomes(make(&["d", "e"]), place), done);
}

#[test]
fn what_follows_half_a_rename_on_the_same_name_waits_with_it() {
    let make = |disk: &Arc<SimDisk>| {
        disk.create_dir(path("d")).expect("makes");
        disk.sync_dir(path("")).expect("syncs");
        durable(disk, "d/a", b"x");
        disk.rename(path("d/a"), path("b")).expect("renames");
        disk.remove(path("b")).expect("removes");
        disk.sync_dir(path("")).expect("syncs");
    };
    let left = outcomes(make, |disk| (names(disk, "d").len(), names(disk, "").len()));
    // "d" itself counts as a name of the root.
    assert_eq!(left, BTreeSet::from([(0, 1), (0, 2), (1, 1)]));
}

#[test]
fn an_unsynced_removal_may_come_back_and_a_synced_one_never() {
    let make = |sync: bool| {
        move |disk: &Arc<SimDisk>| {
            durable(disk, "a", b"x");
            disk.remove(path("a")).expect("removes");
            if sync {
                disk.sync_dir(path("")).expect("syncs");
            }
        }
    };
    let there = |disk: &Arc<SimDisk>| names(disk, "").len();
    assert_eq!(outcomes(make(false), there), BTreeSet::from([0, 1]));
    assert_eq!(outcomes(make(true), there), BTreeSet::from([0]));
}

// A flush that removed a log's directory made the next sync of anything fail on what was still
// journaled in it.
#[test]
fn what_was_never_synced_in_a_removed_directory_troubles_no_later_sync() {
    let make = |disk: &Arc<SimDisk>| {
        disk.create_dir(path("d")).expect("makes");
        disk.sync_dir(path("")).expect("syncs");
        durable(disk, "d/a", b"x");
        disk.remove(path("d/a")).expect("removes");
        disk.remove_dir(path("d")).expect("removes");
        disk.sync_dir(path("")).expect("syncs");
        disk.create_dir(path("d")).expect("makes another");
        durable(disk, "d/b", b"y");
    };
    let left = outcomes(make, |disk| {
        let entries = disk.list(path("d")).ok();
        entries.map(|entries| {
            entries
                .into_iter()
                .map(|entry| entry.name)
                .collect::<Vec<_>>()
        })
    });
    assert_eq!(left, BTreeSet::from([None, Some(vec!["b".to_owned()])]));
}

#[test]
fn a_replaced_file_comes_back_with_its_synced_content() {
    let make = |disk: &Arc<SimDisk>| {
        durable(disk, "a", b"old");
        disk.remove(path("a")).expect("removes");
        let new = disk.open(path("a"), OpenMode::CreateNew).expect("opens");
        new.write_all_at(b"new", 0).expect("writes");
        new.sync().expect("syncs");
    };
    let left = outcomes(make, |disk| {
        disk.open(path("a"), OpenMode::Read)
            .is_ok()
            .then(|| disk.content("a"))
    });
    let want = [None, Some(b"new".to_vec()), Some(b"old".to_vec())];
    assert_eq!(left, BTreeSet::from(want));
}

#[test]
fn everything_on_a_handle_of_before_the_crash_fails() {
    let disk = SimDisk::new(1);
    let file = durable(&disk, "a", b"x");
    let after = disk.crash();
    assert!(disk.is_down());
    assert!(!after.is_down());
    assert_power_loss(file.read_at(&mut [0; 1], 0));
    assert_power_loss(file.write_at(b"y", 0));
    assert_power_loss(file.sync());
    assert_power_loss(file.len());
    assert_power_loss(file.set_len(0));
    assert_power_loss(disk.open(path("a"), OpenMode::Read));
    assert_power_loss(disk.rename(path("a"), path("b")));
    assert_power_loss(disk.remove(path("a")));
    assert_power_loss(disk.create_dir(path("d")));
    assert_power_loss(disk.create_dir(path("")));
    assert_power_loss(disk.remove_dir(path("d")));
    assert_power_loss(disk.list(path("")));
    assert_power_loss(disk.sync_dir(path("")));
    assert_power_loss(disk.available());
    assert_power_loss(disk.lock(path("LOCK")));
    assert_eq!(after.content("a"), b"x");
}

#[test]
fn a_killed_process_loses_nothing_but_its_handles() {
    let disk = SimDisk::new(1);
    let file = disk.open(path("a"), OpenMode::CreateNew).expect("opens");
    file.write_all_at(b"x", 0).expect("writes");
    let _lock = disk.lock(path("LOCK")).expect("locks");
    let after = disk.kill();
    assert_power_loss(file.read_at(&mut [0; 1], 0));
    assert_eq!(after.content("a"), b"x");
    after.lock(path("LOCK")).expect("the lock went too");
}

#[test]
fn a_lock_is_exclusive_until_it_is_dropped() {
    let disk = SimDisk::new(1);
    let held = disk.lock(path("LOCK")).expect("locks");
    let refused = disk.lock(path("LOCK")).err().expect("is held");
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    drop(held);
    let old = disk.lock(path("LOCK")).expect("locks again");
    let after = disk.crash();
    let _new = after.lock(path("LOCK")).expect("a crash frees it");
    drop(old);
    assert!(after.lock(path("LOCK")).is_err(), "the old one is not ours");
}

// Planned faults.

#[test]
fn power_fails_in_the_planned_io_and_stays_off() {
    let disk = SimDisk::new(1);
    let file = named(&disk, "a");
    let before = disk.io_count();
    disk.crash_after(2);
    file.write_all_at(b"1", 0).expect("the first is fine");
    assert_power_loss(file.write_at(b"2", 1));
    assert_eq!(disk.io_count(), before + 2);
    assert!(disk.is_down());
    assert_power_loss(file.read_at(&mut [0; 1], 0));
    assert_power_loss(disk.list(path("")));
    let disk = disk.crash();
    named(&disk, "b");
}

#[test]
fn the_io_the_power_fails_in_is_done_in_part_wholly_or_not_at_all() {
    let write = |disk: &Arc<SimDisk>| {
        let file = durable(disk, "a", b"");
        disk.crash_after(1);
        assert_power_loss(file.write_at(&[1; 1024], 0));
    };
    let lens = outcomes(write, |disk| disk.content("a").len());
    assert!(lens.contains(&0) && lens.len() > 10, "{lens:?}");
    let make = |disk: &Arc<SimDisk>| {
        disk.crash_after(1);
        assert_power_loss(disk.open(path("a"), OpenMode::CreateNew));
    };
    let made = outcomes(make, |disk| names(disk, "").len());
    assert_eq!(made, BTreeSet::from([0, 1]));
    let sync = |disk: &Arc<SimDisk>| {
        let file = named(disk, "a");
        file.write_all_at(b"x", 0).expect("writes");
        disk.crash_after(1);
        assert_power_loss(file.sync());
    };
    let synced = outcomes(sync, |disk| disk.content("a"));
    assert!(synced.contains(b"".as_slice()) && synced.contains(b"x".as_slice()));
}

#[test]
fn every_mutating_call_counts_and_no_other() {
    let disk = SimDisk::new(1);
    let counts = |call: &dyn Fn()| {
        let before = disk.io_count();
        call();
        disk.io_count() - before
    };
    assert_eq!(counts(&|| disk.create_dir(path("d/e")).expect("makes")), 2);
    assert_eq!(
        counts(&|| disk.create_dir(path("d/e")).expect("is there")),
        0
    );
    assert_eq!(
        counts(&|| drop(disk.open(path("a"), OpenMode::CreateNew))),
        1
    );
    assert_eq!(
        counts(&|| drop(disk.open(path("a"), OpenMode::CreateOrOpen))),
        0
    );
    let file = disk.open(path("a"), OpenMode::ReadWrite).expect("opens");
    assert_eq!(counts(&|| file.write_all_at(b"x", 0).expect("writes")), 1);
    assert_eq!(counts(&|| file.set_len(0).expect("cuts")), 1);
    assert_eq!(counts(&|| file.sync().expect("syncs")), 1);
    assert_eq!(counts(&|| drop(file.read_at(&mut [0; 1], 0))), 0);
    assert_eq!(counts(&|| drop(file.len())), 0);
    assert_eq!(
        counts(&|| disk.rename(path("a"), path("b")).expect("renames")),
        1
    );
    assert_eq!(counts(&|| disk.sync_dir(path("")).expect("syncs")), 1);
    assert_eq!(counts(&|| drop(disk.list(path("")))), 0);
    assert_eq!(counts(&|| disk.remove(path("b")).expect("removes")), 1);
    assert_eq!(
        counts(&|| disk.remove_dir(path("d/e")).expect("removes")),
        1
    );
}

#[test]
fn a_planned_error_hits_the_planned_call_once() {
    let disk = SimDisk::new(1);
    let file = named(&disk, "a");
    disk.fail_next(FaultOp::Write, FaultError::NoSpace, 1);
    assert_eq!(file.write_at(b"1", 0).expect("is not hit"), 1);
    let full = file.write_at(b"2", 1).expect_err("is hit");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.content("a"), b"1");
    assert_eq!(file.write_at(b"3", 1).expect("is not hit"), 1);
    for (error, number) in [
        (FaultError::Io, 5),
        (FaultError::Denied, 13),
        (FaultError::TooManyFiles, 24),
        (FaultError::NoSpace, 28),
    ] {
        disk.fail_next(FaultOp::Open, error, 0);
        let failed = disk.open(path("a"), OpenMode::Read).expect_err("is hit");
        assert_eq!(failed.raw_os_error(), Some(number));
    }
}

#[test]
fn a_lasting_fault_on_a_path_hits_all_below_it_until_healed() {
    let disk = SimDisk::new(1);
    disk.create_dir(path("d")).expect("makes");
    let inside = durable(&disk, "d/a", b"x");
    let outside = durable(&disk, "b", b"x");
    disk.fail(Fault::new(FaultOp::Read, FaultError::Io).on("d").lasting());
    for _ in 0..3 {
        assert!(inside.read_at(&mut [0; 1], 0).is_err());
        assert!(outside.read_at(&mut [0; 1], 0).is_ok());
    }
    disk.heal();
    assert!(inside.read_at(&mut [0; 1], 0).is_ok());
}

#[test]
fn every_kind_of_call_can_fail() {
    let disk = SimDisk::new(1);
    let file = named(&disk, "a");
    let fails = |op, call: &dyn Fn() -> bool| {
        disk.fail_next(op, FaultError::Io, 0);
        assert!(!call(), "{op:?} fails");
        assert!(call(), "{op:?} fails once");
    };
    let open = |mode| disk.open(path("a"), mode).is_ok();
    fails(FaultOp::Open, &|| open(OpenMode::Read));
    fails(FaultOp::Create, &|| {
        disk.open(path("new"), OpenMode::CreateOrOpen).is_ok()
    });
    fails(FaultOp::Read, &|| file.read_at(&mut [0; 1], 0).is_ok());
    fails(FaultOp::Write, &|| file.write_at(b"x", 0).is_ok());
    fails(FaultOp::Sync, &|| file.sync().is_ok());
    fails(FaultOp::SetLen, &|| file.set_len(1).is_ok());
    fails(FaultOp::Len, &|| file.len().is_ok());
    fails(FaultOp::CreateDir, &|| disk.create_dir(path("d")).is_ok());
    fails(FaultOp::RemoveDir, &|| disk.remove_dir(path("d")).is_ok());
    fails(FaultOp::Rename, &|| {
        disk.rename(path("new"), path("newer")).is_ok()
    });
    fails(FaultOp::Remove, &|| disk.remove(path("newer")).is_ok());
    fails(FaultOp::SyncDir, &|| disk.sync_dir(path("")).is_ok());
    fails(FaultOp::List, &|| disk.list(path("")).is_ok());
    fails(FaultOp::Available, &|| disk.available().is_ok());
    fails(FaultOp::Lock, &|| disk.lock(path("LOCK")).is_ok());
}

#[test]
fn t6_a_failed_sync_forgets_what_was_dirty() {
    let fail = |disk: &Arc<SimDisk>| {
        let file = durable(disk, "a", &[1; 512]);
        file.write_all_at(&[2; 512], 0).expect("writes");
        disk.fail_next(FaultOp::Sync, FaultError::Io, 0);
        file.sync().expect_err("fails");
        file.sync().expect("claims that all is well");
        assert_eq!(disk.content("a"), [2; 512], "readers see it still");
    };
    let left = outcomes(fail, |disk| disk.content("a"));
    assert_eq!(left, BTreeSet::from([vec![1; 512], vec![2; 512]]));
}

#[test]
fn t14_a_full_disk_cuts_the_write_at_the_boundary_and_then_refuses() {
    let disk = SimDisk::new(1);
    let file = durable(&disk, "a", &[1; 6]);
    disk.set_capacity(Some(10));
    assert_eq!(disk.available().expect("tells"), 4);
    assert_eq!(file.write_at(&[2; 8], 4).expect("in part"), 6);
    let full = file.write_at(&[3; 1], 10).expect_err("nothing fits");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.write_at(&[4; 3], 0).expect("overwriting is free"), 3);
    let longer = file.set_len(11).expect_err("nothing fits");
    assert_eq!(longer.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.used(), 10);
    disk.remove(path("a")).expect("removes");
    assert_eq!(disk.used(), 10, "an open file keeps its space");
    drop(file);
    assert_eq!(disk.used(), 0);
    assert_eq!(disk.available().expect("tells"), 10);
}

#[test]
fn short_writes_are_short_and_never_empty() {
    let disk = SimDisk::new(1);
    let file = named(&disk, "a");
    disk.set_short_writes(1.0);
    for _ in 0..100 {
        let written = file.write_at(&[7; 50], 0).expect("writes");
        assert!((1..50).contains(&written));
    }
    assert_eq!(file.write_at(&[7; 1], 0).expect("writes"), 1);
    file.write_all_at(&[8; 50], 0).expect("writes it all");
    assert_eq!(disk.content("a"), [8; 50]);
}

#[test]
fn a_flipped_bit_shows_at_once_and_after_a_crash() {
    for synced in [true, false] {
        let left = outcomes(
            |disk| {
                let file = named(disk, "a");
                file.write_all_at(b"aa", 0).expect("writes");
                if synced {
                    file.sync().expect("syncs");
                }
                disk.flip_bit("a", 1, 1);
                assert_eq!(disk.content("a"), b"ac");
                file.sync().expect("syncs");
            },
            |disk| disk.content("a"),
        );
        assert_eq!(left, BTreeSet::from([b"ac".to_vec()]));
    }
}

#[test]
fn a_bit_reads_wrong_until_it_is_written_anew_or_mended_whatever_the_name_of_its_file() {
    let disk = SimDisk::new(1);
    let file = durable(&disk, "a", b"aaaa");
    let read = |disk: &SimDisk, name| {
        let file = disk.open(path(name), OpenMode::Read).expect("opens");
        let mut bytes = vec![0; 4];
        file.read_exact_at(&mut bytes, 0).expect("reads");
        bytes
    };
    disk.rot("a", 1, 1);
    disk.rot("a", 3, 1);
    assert_eq!(read(&disk, "a"), b"acac");
    assert_eq!(disk.harm().wrong_reads, 1);
    file.write_all_at(b"x", 1).expect("writes");
    file.sync().expect("syncs");
    disk.rename(path("a"), path("b")).expect("renames");
    disk.sync_dir(path("")).expect("syncs");
    let disk = disk.crash();
    assert_eq!(read(&disk, "b"), b"axac");
    disk.mend();
    assert_eq!(read(&disk, "b"), b"axaa");
    disk.rot("b", 3, 1);
    let file = disk.open(path("b"), OpenMode::ReadWrite).expect("opens");
    file.set_len(3).expect("cuts");
    file.set_len(4).expect("grows");
    assert_eq!(read(&disk, "b"), b"axa\0", "what was cut off is forgotten");
}

#[test]
fn the_disk_counts_what_it_did_to_what_was_written() {
    let mut sums = [0; 5];
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        let file = durable(&disk, "a", &[1; 512]);
        for n in 0..3 {
            file.write_all_at(&[2; 1024], n * 512).expect("writes");
        }
        disk.rename(path("a"), path("b")).expect("renames");
        let disk = disk.crash();
        let harm = disk.harm();
        let kept = disk.list(path("")).expect("lists")[0].clone();
        assert_eq!(harm.names_lost, u64::from(kept.name == "a"), "seed {seed}");
        let content = disk.content(&kept.name);
        let whole = content == [2; 2048];
        assert!(whole || harm.lost == 1, "seed {seed}: {harm:?}");
        let grown_zeros = content.len() > 512 && content[512..].contains(&0);
        assert_eq!(harm.zeroed, u64::from(grown_zeros), "seed {seed}");
        assert!(harm.torn <= harm.lost && harm.reordered <= harm.lost);
        let counts = [
            harm.lost,
            harm.torn,
            harm.zeroed,
            harm.reordered,
            harm.names_lost,
        ];
        sums = std::array::from_fn(|kind| sums[kind] + counts[kind]);
    }
    assert!(sums.iter().all(|sum| *sum > 0), "{sums:?}");
    let quiet = SimDisk::new(1);
    let file = durable(&quiet, "a", &[1; 512]);
    drop(file);
    assert_eq!(quiet.crash().harm(), Harm::default());
}

#[test]
fn a_lost_path_is_gone_for_good() {
    let disk = SimDisk::new(1);
    disk.create_dir(path("d")).expect("makes");
    durable(&disk, "d/a", b"x");
    disk.lose("d");
    assert!(disk.list(path("d")).is_err());
    assert_eq!(names(&disk.crash(), ""), [""; 0]);
}

#[test]
fn a_copy_goes_its_own_way() {
    let disk = SimDisk::new(1);
    let file = durable(&disk, "a", &[1; 512]);
    file.write_all_at(&[2; 512], 0).expect("writes");
    let _lock = disk.lock(path("LOCK")).expect("locks");
    let seen: BTreeSet<Vec<u8>> = (0..SEEDS)
        .map(|seed| {
            let copy = disk.copy(seed);
            assert_eq!(copy.content("a"), [2; 512], "unsynced content too");
            copy.lock(path("LOCK")).expect("locks of its own");
            copy.crash().content("a")
        })
        .collect();
    assert_eq!(seen, BTreeSet::from([vec![1; 512], vec![2; 512]]));
    assert_eq!(file.len().expect("the original goes on"), 512);
}

#[test]
fn the_same_seed_and_calls_give_the_same_result() {
    let run = |seed| {
        let mut disk = SimDisk::new(seed);
        let mut seen = Vec::new();
        for round in 0..10_u8 {
            disk.set_short_writes(0.5);
            let file = disk.open(path("a"), OpenMode::CreateOrOpen).expect("opens");
            for n in 0..10 {
                let pos = n * 700;
                seen.push(file.write_at(&[round; 2000], pos).expect("writes"));
            }
            if round % 3 == 0 {
                file.sync().expect("syncs");
                disk.sync_dir(path("")).expect("syncs");
            }
            disk = disk.crash();
            seen.extend(names(&disk, "").iter().map(String::len));
        }
        (seen, disk.content("a"))
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
