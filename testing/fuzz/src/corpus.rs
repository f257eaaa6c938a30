//! The kept inputs: `corpus/<target>/`, one file an input. Those that once broke something have names
//! that say what; the others are the smallest that libFuzzer found for what they reach.
#![allow(
    clippy::disallowed_methods,
    reason = "a test's own files, beside its source"
)]

use std::{fs, path::PathBuf};

/// One kept input.
#[derive(Debug)]
pub struct Kept {
    /// Its file's name.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// The kept inputs of a target, in the order of their names.
///
/// # Panics
/// When they cannot be read.
pub fn of(target: &str) -> Vec<Kept> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let dir = dir.join(target);
    let entries = fs::read_dir(&dir).expect("the corpus of the target is there");
    let mut kept: Vec<Kept> = entries
        .map(|entry| {
            let entry = entry.expect("the corpus is listed");
            Kept {
                name: entry.file_name().to_string_lossy().into_owned(),
                bytes: fs::read(entry.path()).expect("the input is read"),
            }
        })
        .collect();
    kept.sort_by(|a, b| a.name.cmp(&b.name));
    kept
}
