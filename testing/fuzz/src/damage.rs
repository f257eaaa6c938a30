//! What a medium does to a file: bits flip, sectors read as zeros, the end is missing. And what only a
//! hand does, for which checksums are made right again afterwards: other bytes in place.

use std::{path::Path, sync::Arc};

use millrace_env::{Disk, Env, FileExt as _, OpenMode, Rng, SimClock, SimDisk};

use crate::input::Input;

const SECTOR: usize = 512;
/// More than so many strokes teach nothing.
const STROKES_MAX: u8 = 3;

/// Damages `file` as a medium would. A checksum of 32 bits finds all of this: few flipped bits, and
/// zeros, of which there are too few kinds to meet a checksum by chance.
pub fn strike(file: &mut Vec<u8>, input: &mut Input<'_>) {
    for _ in 0..=input.below(STROKES_MAX) {
        if file.is_empty() {
            return;
        }
        let at = input.place(file.len());
        match input.below(4) {
            0 => file[at] ^= 1 << input.below(8),
            1 => {
                let from = at / SECTOR * SECTOR;
                let until = file.len().min(from + SECTOR);
                file[from..until].fill(0);
            }
            2 => {
                let until = file.len().min(at + usize::from(input.u8()));
                file[at..until].fill(0);
            }
            _ => file.truncate(at),
        }
    }
}

/// Flips bits where something was written: a large file is mostly zeros, and strokes meet only those.
/// `written` has the places of all other bytes.
pub fn flip_written(file: &mut [u8], written: &[usize], input: &mut Input<'_>) {
    for _ in 0..=input.below(STROKES_MAX) {
        if let Some(at) = written.get(input.place(written.len())) {
            file[*at] ^= 1 << input.below(8);
        }
    }
}

/// Puts other bytes into `file`, the same number of them: any, or one a little larger or smaller, as
/// numbers that are nearly right have.
pub fn rewrite(file: &mut [u8], input: &mut Input<'_>) {
    for _ in 0..=input.below(STROKES_MAX) {
        let at = input.place(file.len());
        let len = usize::from(input.below(16));
        if let (0, Some(byte)) = (len, file.get_mut(at)) {
            *byte = byte.wrapping_add(input.below(32)).wrapping_sub(16);
        }
        for (byte, other) in file[at..].iter_mut().zip(input.bytes(len)) {
            *byte = *other;
        }
    }
}

/// The outside world with `disk`.
pub fn env(disk: &Arc<SimDisk>) -> Env {
    Env {
        disk: Arc::clone(disk) as _,
        clock: Arc::new(SimClock::new(1_800_000_000_000)),
        rng: Arc::new(Rng::from_seed(1)),
    }
}

/// Makes a file with this content, and its directory.
///
/// # Panics
/// When it is there, or the simulated disk is at fault.
pub fn make(disk: &SimDisk, path: &str, content: &[u8]) {
    if let Some(dir) = Path::new(path).parent() {
        disk.create_dir(dir).expect("the directory is made");
    }
    let file = disk.open(Path::new(path), OpenMode::CreateNew);
    let file = file.expect("the file is made");
    file.write_all_at(content, 0).expect("the file is written");
}

/// Every file below `dir`, and what is in it.
///
/// # Panics
/// When there is no such directory.
pub fn files(disk: &SimDisk, dir: &str) -> Vec<(String, Vec<u8>)> {
    let entries = disk.list(Path::new(dir)).expect("the directory is listed");
    let files = entries.into_iter().filter(|entry| !entry.is_dir);
    files
        .map(|entry| {
            let path = format!("{dir}/{}", entry.name);
            let content = disk.content(&path);
            (path, content)
        })
        .collect()
}
