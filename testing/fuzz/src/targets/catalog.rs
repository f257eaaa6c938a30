//! The catalog. What a medium does to its file is found: every answer is the one that was given before
//! the damage, or an error, and a commit on top of it changes nothing else. A row of any bytes is
//! decoded or corrupt, for whoever reads it, `check` too, and takes nobody down.
//!
//! Not here: other bytes in pages whose checksums were made right again. No medium does that, and what
//! `redb` makes of forged pages is not ours to promise.

use std::{fmt::Debug, sync::OnceLock};

use millrace_core::{StreamId, Timestamp};
use millrace_env::{Env, SimDisk};
use millrace_store::{
    Catalog, Commit, Manifest, StoreError,
    check::{self, Lock},
    fuzzing::{Table, replace_row},
};

use super::specimen;
use crate::{
    damage::{env, flip_written, make, strike},
    input::Input,
};

const CATALOG: &str = "catalog.redb";
const CACHE_BYTES: usize = 1 << 20;

/// The first byte says whether a file or a row is at fault.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.coin() {
        row(input);
    } else {
        file(input);
    }
}

fn file(mut input: Input<'_>) {
    static WHOLE: OnceLock<(Vec<u8>, Vec<usize>, Vec<String>)> = OnceLock::new();
    let (whole, written, answers) = WHOLE.get_or_init(|| {
        let file = specimen::disk().content(CATALOG);
        let catalog = Catalog::open_read_only(&on(&file), CACHE_BYTES);
        let answers = answers(&catalog.expect("it is whole"));
        let answers: Result<Vec<String>, StoreError> = answers.into_iter().collect();
        let places = file.iter().enumerate().filter(|(_, byte)| **byte != 0);
        let places = places.map(|(at, _)| at).collect();
        (file, places, answers.expect("it is whole"))
    });
    let mut file = whole.clone();
    if input.coin() {
        flip_written(&mut file, written, &mut input);
    } else {
        strike(&mut file, &mut input);
    }
    let env = on(&file);
    if let Ok(catalog) = Catalog::open_read_only(&env, CACHE_BYTES) {
        assert_same_or_error(&catalog, answers);
        // Slow, and answers nothing but whether it is whole.
        let _ = catalog.verify();
    }
    let Ok(catalog) = Catalog::open(&env, CACHE_BYTES) else {
        return;
    };
    let manifest = catalog.manifest();
    if let Ok(Some(manifest)) = manifest {
        let commit = Commit {
            manifest: Some(Manifest {
                clean: false,
                ..manifest
            }),
            ..Commit::default()
        };
        // It may fail; it may not change what else there is.
        let _ = catalog.commit(&commit);
        assert_same_or_error(&catalog, answers);
    }
}

fn assert_same_or_error(catalog: &Catalog, before: &[String]) {
    for (answer, before) in self::answers(catalog).into_iter().zip(before) {
        if let Ok(answer) = answer {
            assert_eq!(&answer, before);
        }
    }
}

/// Every question that there is, but for whether the last process ended in order.
fn answers(catalog: &Catalog) -> Vec<Result<String, StoreError>> {
    let mut answers = Vec::new();
    let mut ids = Vec::new();
    for name in specimen::names() {
        let row = catalog.row_by_name(name.as_str());
        if let Ok(Some(row)) = &row {
            ids.push(row.state.id);
        }
        answers.push(told(row));
    }
    // The same number of answers whatever is damaged.
    ids.resize(4, StreamId::from_raw(1));
    let logs = catalog.manifest();
    answers.push(told(
        logs.map(|manifest| manifest.map(|manifest| manifest.logs)),
    ));
    answers.push(told(catalog.segments()));
    answers.push(told(catalog.doomed()));
    answers.push(told(catalog.forks()));
    answers.push(told(catalog.stream_count()));
    answers.push(told(catalog.slot_generations().map(|all| all.len())));
    answers
}

fn told<T: Debug>(answer: Result<T, StoreError>) -> Result<String, StoreError> {
    answer.map(|answer| format!("{answer:?}"))
}

fn on(file: &[u8]) -> Env {
    let disk = SimDisk::new(1);
    make(&disk, CATALOG, file);
    env(&disk)
}

fn row(mut input: Input<'_>) {
    let table = [
        Table::Streams,
        Table::Extents,
        Table::Producers,
        Table::Manifest,
    ][usize::from(input.below(4))];
    let disk = specimen::disk().copy(1);
    let env = env(&disk);
    let catalog = Catalog::open(&env, CACHE_BYTES).expect("it is whole");
    replace_row(&catalog, table, input.rest());
    for name in specimen::names() {
        if let Ok(Some(row)) = catalog.row_by_name(name.as_str()) {
            let _ = catalog.extents(row.state.id);
            let _ = catalog.producers(row.state.id);
        }
    }
    let _ = catalog.manifest();
    let _ = catalog.due(Timestamp(u64::MAX), None, 10);
    drop(catalog);
    let report = check::run(&env, Lock::Held).expect("it can be looked at");
    for finding in &report.findings {
        assert!(!finding.what.is_empty() && !finding.to_do.is_empty());
    }
}
