//! The corruption matrix: every structure of `docs/format.md`, damaged in every way that a medium or an
//! operator's hand damages files, and what `check`, the scrub and a start make of it (T26).
//!
//! No wrong byte is ever served, nothing that was acknowledged is gone without a word, and no neighbour
//! of what is damaged goes: `trial` says what exactly holds. What was made of each damage stands in
//! `docs/reliability.md`; these tests compare, and `MILLRACE_UPDATE_DOCS=1` writes it anew.
//!
//! `MILLRACE_POSITIONS` sets how many places of a structure are hit (1); `all` hits every byte of every
//! one, which takes hours. `MILLRACE_SEED` chooses others (1). The docs are compared with what these two
//! are by default.
//!
//! Layout: `specimen` (the directory), `places` (what lies where), `strikes` (damages), `look` (what
//! clients are told), `trial` (one damage), `table` (what the docs say).

pub(super) mod files;
mod look;
mod places;
mod serve;
mod specimen;
mod strikes;
mod table;
mod trial;

use std::collections::BTreeSet;

use self::{
    places::{CATALOG, LOG, OTHER, SEGMENT},
    specimen::{SHARDS, Specimen, clock, ended, killed, named, options},
    strikes::{FILES, Strikes},
    table::Rows,
    trial::{Damage, Trial, Whole},
};
use super::machine::Machine;
use crate::shard::Command;

#[test]
fn t26_every_structure_of_the_log_is_damaged_in_every_way() {
    let strikes = Strikes::new();
    let mut rows = Rows::default();
    for specimen in [killed(), ended()] {
        let places = places::of_logs(specimen);
        try_all(specimen, &strikes.of_places(specimen, &places), &mut rows);
        try_all(specimen, &strikes::ends_of_logs(specimen), &mut rows);
    }
    rows.compare("log", &LOG);
}

#[test]
fn t26_every_structure_of_a_segment_is_damaged_in_every_way() {
    let places = places::of_segments(killed());
    let mut rows = Rows::default();
    try_all(
        killed(),
        &Strikes::new().of_places(killed(), &places),
        &mut rows,
    );
    rows.compare("segments", &SEGMENT);
}

#[test]
fn t26_every_structure_of_the_catalog_is_damaged_in_every_way() {
    let in_use = strikes::pages_in_use(killed());
    let places = places::of_catalog(killed(), &in_use);
    let mut damages = Strikes::new().of_places(killed(), &places);
    damages.extend(strikes::both_header_copies(killed()));
    damages.push(strikes::all_pages_not_in_use(killed(), &in_use));
    let mut rows = Rows::default();
    try_all(killed(), &damages, &mut rows);
    rows.compare("catalog", &CATALOG);
}

#[test]
fn t26_every_kind_of_file_is_cut_lost_and_exchanged() {
    let strikes = Strikes::new();
    let mut rows = Rows::default();
    let others = places::of_others(killed());
    try_all(killed(), &strikes.of_places(killed(), &others), &mut rows);
    for specimen in [killed(), ended()] {
        try_all(specimen, &strikes.of_files(specimen), &mut rows);
    }
    let kinds: Vec<&str> = FILES.into_iter().chain(OTHER).collect();
    rows.compare("files", &kinds);
}

/// A segment that is damaged while it is in use: compaction neither copies what is damaged nor does away
/// with the file, and everything else is moved all the same.
#[test]
fn t26_compaction_leaves_a_damaged_segment_where_it_is() {
    let specimen = killed();
    let segments = specimen.files.keys().filter(|path| {
        path.starts_with("segments/") && files::is(path, "seg") && **path != specimen.unnamed
    });
    let mut models = specimen.models().clone();
    let is_sparse = |name: &str, model: &specimen::Model| {
        name.starts_with("many/") && name != "many/06" && !model.soft_deleted
    };
    models.retain(|name, model| !is_sparse(name, model));
    let mut moved = 0;
    for damaged in segments.map(Some).chain([None]) {
        let disk = specimen.disk.copy(1);
        let mut machine = Machine::open(&disk, &clock(), options(SHARDS), 1).expect("it is whole");
        let gone = specimen.models().keys();
        for name in gone.filter(|name| !models.contains_key(*name)) {
            let name = named(name);
            machine
                .submit(Command::Delete { name })
                .expect("it is there");
        }
        machine.flush().expect("it flushes");
        let before = files::read(&disk);
        let flip = |path: &String| disk.flip_bit(path, 40, 2);
        let damaged = damaged.filter(|path| before.contains_key(*path));
        damaged.into_iter().for_each(flip);
        for _ in 0..3 {
            machine.compact().expect("it goes on");
            machine.flush().expect("it flushes");
        }
        let after = files::read(&disk);
        moved += before
            .keys()
            .filter(|path| files::is(path, "seg") && !after.contains_key(*path))
            .count();
        damaged.into_iter().for_each(flip);
        drop(machine);
        let disk = disk.kill();
        let seen = serve::start(&disk, async |engine| look::look(&engine, specimen).await);
        let as_before = seen.expect("it is whole").is_as(&models);
        as_before.unwrap_or_else(|what| panic!("{damaged:?}: {what}"));
    }
    assert!(moved > 4, "{moved} segments were compacted away");
}

/// Tries all damages, and names every one that was not taken as it must be.
fn try_all(specimen: &Specimen, damages: &[Damage], rows: &mut Rows) {
    let whole = Whole::of(specimen);
    let mut failures = Vec::new();
    let mut seen = BTreeSet::new();
    for damage in damages {
        match Trial::run(specimen, &whole, damage) {
            Ok(verdict) => rows.add(damage, verdict),
            Err(what) => {
                let Damage {
                    structure,
                    how,
                    place,
                    ..
                } = damage;
                // One of a kind says enough.
                if seen.insert((structure, how, what.clone())) {
                    failures.push(format!("{structure}: {how} ({place}): {what}"));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
