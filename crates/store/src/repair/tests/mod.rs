//! Directories that are damaged in one place or another, and what is left of them.
//!
//! Layout: `support`, `segments` and `logs` (damage to files), `losses` (what events mean behind a loss).

mod logs;
mod losses;
mod segments;
pub(super) mod support;

use std::{path::Path, sync::Arc};

use millrace_env::{FileExt as _, OpenMode, Rng, SimDisk};

use self::support::{assert_honest, files, repaired, shop, start};
use super::{Outcome, apply, plan};
use crate::{
    Catalog, StoreError,
    catalog::CATALOG_FILE,
    check::{self, Lock},
    dump::Format,
    segment::segment_path,
    testkit::{LOG, payload, sim_env},
};
#[test]
fn a_whole_directory_needs_no_repair_and_is_not_changed() {
    let (disk, models) = shop(1).stop();
    let env = sim_env(&disk, 1);
    let before = disk.io_count();
    let planned = plan(&env, Lock::Held).unwrap();
    assert!(planned.is_empty(), "{planned:?}");
    let outcome = apply(&env, Lock::Held, &planned).unwrap();
    assert_eq!(outcome, Outcome::default());
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

/// As when a backup of the catalog alone was put back: what it does not know is a gap in the log, and the
/// segments that hold it are set aside by the next start.
#[test]
fn a_catalog_that_is_older_than_the_log_is_caught_up_with_as_far_as_the_log_goes() {
    let mut shop = shop(18);
    shop.flush();
    let older = shop.disk.content(CATALOG_FILE);
    let there = shop.models.iter().filter(|(_, model)| !model.gone);
    let ids: Vec<_> = there.map(|(id, _)| *id).collect();
    let rng = Rng::from_seed(18);
    for round in 0..3 {
        for id in &ids {
            shop.append(*id, &payload(&rng, &[900, 900, 900]));
        }
        if round < 2 {
            shop.flush();
        }
    }
    let (disk, models) = shop.stop();
    let env = sim_env(&disk, 1);
    let file = env.disk.open(Path::new(CATALOG_FILE), OpenMode::ReadWrite);
    let file = file.unwrap();
    file.set_len(older.len() as u64).unwrap();
    file.write_all_at(&older, 0).unwrap();
    drop(file);
    let (plan, found) = repaired(&disk, &models);
    assert!(plan.lost_bytes() > 0);
    assert!(ids.iter().all(|id| found[id].raised));
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
    for seed in 0..12 {
        let rng = Rng::from_seed(seed);
        let (disk, models) = shop(100 + seed).stop();
        let log = files(&disk, &LOG.dir().display().to_string(), ".wal");
        for _ in 0..3 {
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
            open().write_all_at(&zeros, at).unwrap();
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
