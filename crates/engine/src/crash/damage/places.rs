//! Where the structures of `docs/format.md` lie in a data directory: read from the bytes by what that
//! page says, with none of the code that wrote them.

mod catalog;
mod log;
mod segment;

use std::{ops::Range, path::PathBuf};

use super::{files, specimen::Specimen};

pub(super) use catalog::{PAGE, page_count, page_place};

/// Bytes of a file that are one structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// One of [`LOG`], [`SEGMENT`], [`CATALOG`] or [`OTHER`].
    pub(super) structure: &'static str,
    pub(super) file: String,
    pub(super) bytes: Range<usize>,
}

/// The structures of the write-ahead log.
pub(super) const LOG: [&str; 22] = [
    "a sealed log segment: header",
    "a sealed log segment: header of a frame",
    "a sealed log segment: body of a frame",
    "a sealed log segment: seal",
    "a sealed log segment: \"continued\"",
    "a sealed log segment: what is behind",
    "a sealed log segment that was flushed: header",
    "a sealed log segment that was flushed: header of a frame",
    "a sealed log segment that was flushed: body of a frame",
    "a sealed log segment that was flushed: seal",
    "the last log segment: header",
    "the last log segment: header of a frame before the last",
    "the last log segment: body of a frame before the last",
    "the last log segment: the last frame",
    "the last log segment: the last frames",
    "the last log segment: zeros behind the end",
    "the last log segment: older content behind the end",
    "the last log segment after an orderly end: header of a frame",
    "the last log segment after an orderly end: body of a frame",
    "the last log segment after an orderly end: seal",
    "the last log segment after an orderly end: the last frames and the seal",
    "a spare",
];

/// The structures of a segment.
pub(super) const SEGMENT: [&str; 8] = [
    "a segment: header",
    "a segment: what else is in its first block",
    "a segment: data",
    "a segment: index pages",
    "a segment: page directory",
    "a segment: extent directory",
    "a segment: footer",
    "a segment: trailer",
];

/// The structures of the catalog.
pub(super) const CATALOG: [&str; 9] = [
    "the catalog: head of a page of checksums",
    "the catalog: checksum of a page in use",
    "the catalog: checksum of a page not in use",
    "the catalog: first copy of the header",
    "the catalog: second copy of the header",
    "the catalog: both copies of the header",
    "the catalog: what is behind the copies",
    "the catalog: a page in use",
    "the catalog: a page not in use",
];

/// Files whose bytes mean nothing.
pub(super) const OTHER: [&str; 5] = [
    "a spare that was not finished",
    "a segment that was not finished",
    "a segment that nothing names",
    "a log that nothing names",
    "a file in `quarantine/`",
];

/// Everything in the logs.
pub(super) fn of_logs(specimen: &Specimen) -> Vec<Place> {
    let in_order = specimen.older_catalogs.is_empty();
    let mut places = Vec::new();
    for (dir, flushed) in specimen.logs.iter().zip(&specimen.flushed) {
        let dir = format!("{}/", dir.display());
        let files = || {
            specimen
                .files
                .iter()
                .filter(|(path, _)| path.starts_with(&dir))
        };
        let segments: Vec<_> = files().filter(|(path, _)| files::is(path, "wal")).collect();
        for (n, (path, bytes)) in segments.iter().enumerate() {
            let role = match n + 1 == segments.len() {
                true if in_order => log::Role::Ended,
                true => log::Role::Last,
                false => log::Role::Sealed { flushed: *flushed },
            };
            places.extend(log::places(path, bytes, role));
        }
        for (path, bytes) in files().filter(|(path, _)| files::is(path, "spare")) {
            places.push(whole("a spare", path, bytes));
        }
    }
    places
}

/// A log segment that is the last one, and where its frames begin.
pub(super) struct LastSegment {
    pub(super) structure: &'static str,
    pub(super) file: String,
    pub(super) frames: Vec<usize>,
}

/// Of every log the last segment that has frames.
pub(super) fn last_log_segments(specimen: &Specimen) -> Vec<LastSegment> {
    let in_order = specimen.older_catalogs.is_empty();
    let last_of = |dir: &PathBuf| {
        let dir = format!("{}/", dir.display());
        let mut files = specimen.files.iter();
        let (path, bytes) = files
            .rfind(|(path, _)| path.starts_with(&dir) && files::is(path, "wal"))
            .expect("a log has a segment");
        LastSegment {
            structure: if in_order {
                "the last log segment after an orderly end: the last frames and the seal"
            } else {
                "the last log segment: the last frames"
            },
            file: path.clone(),
            frames: log::frames(bytes).iter().map(|frame| frame.at).collect(),
        }
    };
    specimen.logs.iter().map(last_of).collect()
}

/// Everything in the segments.
pub(super) fn of_segments(specimen: &Specimen) -> Vec<Place> {
    let files = specimen.files.iter();
    let named = files.filter(|(path, _)| {
        path.starts_with("segments/") && files::is(path, "seg") && **path != specimen.unnamed
    });
    named
        .flat_map(|(path, bytes)| segment::places(path, bytes))
        .collect()
}

/// Everything in the catalog; `in_use` says it of every page.
pub(super) fn of_catalog(specimen: &Specimen, in_use: &[bool]) -> Vec<Place> {
    catalog::places("catalog.redb", &specimen.files["catalog.redb"], in_use)
}

/// All other files.
pub(super) fn of_others(specimen: &Specimen) -> Vec<Place> {
    let other = |(path, bytes): (&String, &Vec<u8>)| {
        let dir = path.split('/').next().unwrap_or_default();
        let structure = match dir {
            "LOCK" => "`LOCK`",
            "reserve" => "`reserve`",
            "quarantine" => "a file in `quarantine/`",
            "segments" if files::is(path, "tmp") => "a segment that was not finished",
            "segments" if path == &specimen.unnamed => "a segment that nothing names",
            "wal" if files::is(path, "tmp") => "a spare that was not finished",
            "wal" if path.contains("/0000000000000001/") => "a log that nothing names",
            _ => return None,
        };
        Some(whole(structure, path, bytes))
    };
    specimen.files.iter().filter_map(other).collect()
}

/// The first frame of a log segment that does not read any more, if no frame after it has a whole
/// header: then nothing proves that it was ever synced.
pub(super) fn first_lost_frame(was: &[u8], is: &[u8]) -> Option<u64> {
    if was.len() != is.len() {
        return None;
    }
    let frames = log::frames(was);
    let differs = |bytes: Range<usize>| was[bytes.clone()] != is[bytes];
    let first = frames
        .iter()
        .position(|frame| differs(frame.at..frame.at + frame.len))?;
    let after = &frames[first + 1..];
    let unproven = after
        .iter()
        .all(|frame| differs(frame.at..frame.at + log::FRAME_HEADER));
    unproven.then_some(frames[first].lsn)
}

fn whole(structure: &'static str, path: &str, bytes: &[u8]) -> Place {
    Place {
        structure,
        file: path.to_owned(),
        bytes: 0..bytes.len(),
    }
}

/// The number of `N` bytes at `at`, little-endian.
fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(wide)
}

fn place_in(bytes: &[u8], at: usize) -> usize {
    usize::try_from(number::<8>(bytes, at)).expect("inside of a file")
}
