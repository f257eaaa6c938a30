//! Damaged logs.

use std::path::Path;

use millrace_core::Payload;
use millrace_env::Rng;

use super::support::{files, repaired, shop, start, written_byte};
use crate::{
    repair::Lost,
    testkit::{LOG, sim_env},
};

#[test]
fn a_flipped_bit_anywhere_in_a_log_loses_the_frames_of_its_place_and_no_others() {
    let (disk, models) = shop(9).stop();
    let rng = Rng::from_seed(9);
    let segments = files(&disk, &LOG.dir().display().to_string(), ".wal");
    assert!(segments.len() > 2, "{segments:?}");
    let (mut whole, mut holes) = (0, 0);
    for segment in &segments {
        let len = disk.content(segment).len() as u64;
        for _ in 0..10 {
            let disk = disk.copy(rng.next());
            // Headers are another test's.
            disk.flip_bit(segment, 4096 + rng.below(len - 4096), 2);
            let start_refuses = start(&disk.copy(1)).is_err();
            let (plan, found) = repaired(&disk, &models);
            assert_eq!(start_refuses, !plan.is_empty());
            let frames = plan.lost.iter().filter_map(|lost| match lost {
                Lost::Frames { from, until, .. } => Some((*from, (*until)?)),
                _ => None,
            });
            for (from, until) in frames {
                assert_eq!(until.get(), from.get() + 1, "one frame: {plan:?}");
            }
            whole += u32::from(!plan.is_empty() && plan.lost.is_empty());
            holes += u32::from(found.values().any(|found| !found.lost.is_empty()));
        }
    }
    assert!(
        whole > 0 && holes > 3,
        "{whole} without a loss, {holes} with a hole"
    );
}

#[test]
fn a_log_whose_header_is_damaged_loses_that_segment_unless_the_rest_proves_it() {
    let (disk, models) = shop(10).stop();
    let segments = files(&disk, &LOG.dir().display().to_string(), ".wal");
    for segment in &segments {
        let last = segment == segments.last().unwrap();
        // In the magic, the salt, what is always zero, and the checksum.
        for (at, is_proven) in [(3, true), (44, false), (900, true), (4093, true)] {
            let disk = disk.copy(at);
            disk.flip_bit(segment, at, 0);
            let (plan, _) = repaired(&disk, &models);
            let is_open = |lost: &Lost| matches!(lost, Lost::Frames { until: None, .. });
            let is_open = plan.lost.iter().any(is_open);
            assert_eq!(is_open, last && !is_proven, "{at}: {plan:?}");
            assert!(!is_proven || plan.lost.is_empty(), "{at}: {plan:?}");
        }
    }
}

#[test]
fn missing_segments_and_logs_are_gaps() {
    let (disk, models) = shop(11).stop();
    let mut lost = files(&disk, &LOG.dir().display().to_string(), ".wal");
    lost.push(LOG.dir().display().to_string());
    let mut lossy = 0;
    for lost in lost {
        let disk = disk.copy(1);
        disk.lose(&lost);
        let start_refuses = start(&disk.copy(2)).is_err();
        let (plan, _) = repaired(&disk, &models);
        assert_eq!(!plan.is_empty(), start_refuses, "{lost}");
        lossy += u32::from(!plan.lost.is_empty());
    }
    assert!(lossy > 2, "{lossy}");
}

#[test]
fn a_log_that_is_damaged_where_the_catalog_has_it_loses_nothing() {
    let mut shop = shop(13);
    let first = shop.create("last", &Payload::EMPTY);
    shop.flush();
    let (disk, models) = shop.stop();
    assert!(!models[&first].gone);
    let segments = files(&disk, &LOG.dir().display().to_string(), ".wal");
    let at = written_byte(&disk, &segments[0], 4200);
    disk.flip_bit(&segments[0], at, 1);
    // One more flip makes sure that no frame before it is torn by chance.
    let (plan, _) = repaired(&disk, &models);
    assert_eq!(plan.lost, []);
}

#[test]
fn log_segments_under_each_others_names_are_read_in_their_order() {
    let (disk, models) = shop(12).stop();
    let env = sim_env(&disk, 1);
    let segments = files(&disk, &LOG.dir().display().to_string(), ".wal");
    let (a, b) = (Path::new(&segments[0]), Path::new(&segments[1]));
    let there = Path::new("there");
    env.disk.rename(a, there).unwrap();
    env.disk.rename(b, a).unwrap();
    env.disk.rename(there, b).unwrap();
    let (plan, _) = repaired(&disk, &models);
    assert_eq!(plan.lost, []);
}
