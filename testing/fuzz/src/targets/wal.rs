//! The log. Three ways to a log that nobody wrote: a last frame of any bytes whose checksums hold; what
//! a medium does to a log; and other bytes in place with every checksum made right again.
//!
//! Whatever it is: reading it changes nothing; recovery takes what the offline tools call good, and
//! refuses, without changing a byte, what they call corrupt; what it replays is there again after it.
//! Where a medium did it, nothing is replayed that was not written, and a frame that is not replayed was
//! damaged itself (T1, T3, T26, T31).

use std::sync::{Arc, OnceLock};

use millrace_core::{Event, Lsn};
use millrace_env::SimDisk;
use millrace_store::{
    LogId, StoreError, Wal, WalOptions,
    codec::{Encoder, event::put_event},
    wal::{FrameInfo, FrameKind, ScanEnd, scan},
};

use crate::{
    damage::{env, files, make, rewrite, strike},
    input::Input,
};

mod specimen;

use specimen::{FRAME_HEADER, Specimen, frame, sign};

const LOG: LogId = LogId(1);
const DIR: &str = "wal/0000000000000001";
const OPTIONS: WalOptions = WalOptions {
    segment_bytes: 8 << 10,
    reserve: false,
};

/// The first byte says which way.
pub fn check(bytes: &[u8]) {
    static SPECIMEN: OnceLock<Specimen> = OnceLock::new();
    let specimen = SPECIMEN.get_or_init(Specimen::make);
    let mut input = Input::new(bytes);
    match input.below(3) {
        0 => any_body(specimen, input),
        1 => damaged(specimen, input),
        _ => rewritten(specimen, input),
    }
}

fn any_body(specimen: &Specimen, mut input: Input<'_>) {
    let records = u32::from(input.below(8));
    let mut files = specimen.files.clone();
    let (_, last) = files.last_mut().expect("a log has a segment");
    let at = specimen.end;
    // A segment keeps room for two markers.
    let room = last.len() - at - 3 * FRAME_HEADER;
    let body = input.bytes(room);
    let frame = frame(specimen, records, body);
    last[at..at + frame.len()].copy_from_slice(&frame);
    let read = opens_as_it_scans(&files);
    let Some(frames) = read else { return };
    let before = specimen.frames.len();
    assert_eq!(
        &frames[..before],
        specimen.frames,
        "what was there is there"
    );
    let [(lsn, events)] = &frames[before..] else {
        panic!("a frame whose checksums hold is read or corrupt")
    };
    assert_eq!(lsn.get(), before as u64 + 1);
    let mut out = Encoder::new();
    for event in events {
        put_event(event, &mut out);
    }
    let written = out.finish();
    let body = &frame[FRAME_HEADER..];
    assert!(body.starts_with(&written), "records are what was read");
    let rest = &body[written.len()..];
    assert!(
        rest.len() < 8 && rest.iter().all(|byte| *byte == 0),
        "padding"
    );
}

fn damaged(specimen: &Specimen, mut input: Input<'_>) {
    let mut files = specimen.files.clone();
    let which = input.place(files.len());
    if input.is_empty() {
        files.remove(which);
        let read = opens_as_it_scans(&files);
        assert!(
            read.is_none(),
            "no segment may be missing, not even the last"
        );
        return;
    }
    strike(&mut files[which].1, &mut input);
    let Some(frames) = opens_as_it_scans(&files) else {
        return;
    };
    let read = frames.len();
    assert_eq!(
        frames,
        specimen.frames[..read],
        "a prefix of what was written"
    );
    for (nth, place) in specimen.places.iter().enumerate().skip(read) {
        // Behind the first that is missing, a header that holds proves that it was acknowledged.
        let len = if nth == read { place.len } else { FRAME_HEADER };
        let found = &files[place.file].1;
        let found = found.get(place.at..place.at + len);
        let wanted = &specimen.files[place.file].1[place.at..place.at + len];
        assert_ne!(found, Some(wanted), "frame {} was acknowledged", nth + 1);
    }
}

fn rewritten(specimen: &Specimen, mut input: Input<'_>) {
    let mut files = specimen.files.clone();
    let which = input.place(files.len());
    rewrite(&mut files[which].1, &mut input);
    sign(specimen, &mut files);
    opens_as_it_scans(&files);
}

/// The frames of a log of these files; `None` when it is refused.
fn opens_as_it_scans(files: &[(String, Vec<u8>)]) -> Option<Vec<(Lsn, Vec<Event>)>> {
    let disk = disk_of(files);
    let scanned = scanned(&disk);
    assert_eq!(self::files(&disk, DIR), files, "reading changes nothing");
    let mut replayed = Vec::new();
    let opened = open(&disk, &mut replayed);
    let Some(scanned) = scanned else {
        assert!(opened.is_err(), "what is corrupt is not opened");
        assert!(replayed.is_empty(), "nor is anything of it replayed");
        assert_eq!(self::files(&disk, DIR), files, "nor changed");
        return None;
    };
    opened.expect("what is good is opened");
    assert_eq!(replayed, scanned, "what is read is replayed");
    let again = self::scanned(&disk);
    assert_eq!(again.as_ref(), Some(&scanned), "and is there again");
    Some(scanned)
}

fn disk_of(files: &[(String, Vec<u8>)]) -> Arc<SimDisk> {
    let disk = SimDisk::new(1);
    for (path, content) in files {
        make(&disk, path, content);
    }
    disk
}

/// The frames that hold something; `None` when the log is corrupt or cannot be read.
fn scanned(disk: &Arc<SimDisk>) -> Option<Vec<(Lsn, Vec<Event>)>> {
    let mut frames = Vec::new();
    let mut take = |frame: FrameInfo| {
        if frame.kind == FrameKind::Data {
            frames.push((frame.lsn, frame.events));
        }
    };
    match scan(&env(disk), LOG, Some(Lsn::ZERO), &mut take) {
        Ok(ScanEnd::Clean | ScanEnd::Torn { .. }) => Some(frames),
        Ok(ScanEnd::Corrupt { .. }) | Err(_) => None,
    }
}

fn open(disk: &Arc<SimDisk>, replayed: &mut Vec<(Lsn, Vec<Event>)>) -> Result<Wal, StoreError> {
    let mut replay = |lsn, events| {
        replayed.push((lsn, events));
        Ok(())
    };
    let opened = Wal::open(&env(disk), LOG, 9, Lsn::ZERO, OPTIONS, &mut replay);
    opened.map(|(wal, _)| wal)
}
