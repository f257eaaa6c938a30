//! Damaged segment files.

use std::path::Path;

use millrace_env::{OpenMode, Rng};

use super::support::{files, repaired, shop, start};
use crate::{Catalog, repair::ActionKind, testkit::sim_env};

#[test]
fn a_flipped_bit_anywhere_in_a_segment_loses_at_most_the_messages_of_its_block() {
    let (disk, models) = shop(4).stop();
    let rng = Rng::from_seed(4);
    for segment in files(&disk, "segments", ".seg") {
        let len = disk.content(&segment).len() as u64;
        let mut places = vec![0, 40, len - 1, len - 40, len - 66];
        places.extend((0..6).map(|_| rng.below(len)));
        for at in places {
            let disk = disk.copy(at);
            disk.flip_bit(&segment, at, 3);
            let (plan, _) = repaired(&disk, &models);
            assert!(
                plan.lost_bytes() <= 17 * 1024 + 256 * 600,
                "{segment} at {at}: {plan:?}"
            );
            let kept = format!("quarantine/repair-1/{segment}");
            assert_eq!(disk.content(&kept).len() as u64, len, "it is kept");
            if at + 64 + 4 >= len {
                assert_eq!(plan.lost_bytes(), 0, "the blocks prove their checksums");
            }
        }
    }
}

#[test]
fn segments_under_each_others_names_are_whole() {
    let (disk, models) = shop(5).stop();
    let env = sim_env(&disk, 1);
    let segments = files(&disk, "segments", ".seg");
    let (a, b) = (Path::new(&segments[0]), Path::new(&segments[1]));
    let there = Path::new("there");
    env.disk.rename(a, there).unwrap();
    env.disk.rename(b, a).unwrap();
    env.disk.rename(there, b).unwrap();
    let (plan, _) = repaired(&disk, &models);
    assert_eq!(plan.lost, []);
    let rewritten = plan.actions.iter();
    let rewritten = rewritten.filter(|action| action.kind == ActionKind::Rewrite);
    assert_eq!(rewritten.count(), 2);
}

#[test]
fn a_missing_segment_loses_its_bytes_and_no_others() {
    let (disk, models) = shop(6).stop();
    for segment in files(&disk, "segments", ".seg") {
        let disk = disk.copy(1);
        disk.lose(&segment);
        assert!(start(&disk.copy(2)).is_err());
        let (plan, found) = repaired(&disk, &models);
        let lost: usize = found
            .values()
            .flat_map(|found| &found.lost)
            .map(ExactSizeIterator::len)
            .sum();
        assert!(lost > 0);
        // The log may delete some of them.
        assert!(plan.lost_bytes() >= lost as u64);
    }
}

#[test]
fn a_segment_that_was_cut_or_has_grown_is_told_apart_from_what_is_missing_of_it() {
    let (disk, models) = shop(7).stop();
    for segment in files(&disk, "segments", ".seg") {
        let len = disk.content(&segment).len() as u64;
        for new in [len + 100, len - 1, len / 2, 10, 0] {
            let disk = disk.copy(new);
            let env = sim_env(&disk, 1);
            let file = env.disk.open(Path::new(&segment), OpenMode::ReadWrite);
            file.unwrap().set_len(new).unwrap();
            let (plan, _) = repaired(&disk, &models);
            if new >= len - 1 {
                assert_eq!(plan.lost, [], "{segment}, {new} of {len}");
            }
        }
    }
}

#[test]
fn an_extent_that_the_catalog_has_elsewhere_is_found_where_the_segment_says() {
    let (disk, models) = shop(8).stop();
    let env = sim_env(&disk, 1);
    let catalog = Catalog::open(&env, 1 << 20).unwrap();
    let rich = models.iter().find(|(_, model)| !model.gone).unwrap().0;
    let mut extent = catalog.extents(*rich).unwrap()[0];
    extent.data.0 += 1;
    catalog.tamper(&|tx| {
        let mut extents = tx.open_table(crate::catalog::tables::EXTENTS).unwrap();
        let key = (extent.stream.get(), extent.from.get());
        let row = crate::catalog::tables::extent_row(&extent);
        extents.insert(key, &row[..]).unwrap();
    });
    drop(catalog);
    let (plan, _) = repaired(&disk, &models);
    assert_eq!(plan.lost, []);
}
