//! Every log that the manifest names is there, and every frame in it is whole.

use std::collections::BTreeMap;

use millrace_core::Lsn;
use millrace_env::Env;

use super::Report;
use crate::{
    StoreError,
    catalog::{CATALOG_FILE, Catalog},
    wal::{self, FrameInfo, FrameKind, LogId, ScanEnd, SegmentNumber},
};

/// Of a catalog that is older than other files.
pub(super) const OLDER: &str = "restore the catalog that belongs to the other files: with this one what \
                                they hold would be set aside";
const RESTORE: &str =
    "mount or restore it; where it is lost, `millrace repair` starts without what it held";

pub(super) fn check(
    env: &Env,
    catalog: Option<&Catalog>,
    report: &mut Report,
) -> Result<(), StoreError> {
    let manifest = catalog.and_then(|catalog| catalog.manifest().ok());
    let manifest = manifest.map(Option::unwrap_or_default);
    let next = manifest.as_ref().map(|manifest| manifest.next_log);
    let named: Option<BTreeMap<LogId, Lsn>> =
        manifest.map(|manifest| manifest.logs.into_iter().collect());
    let there = wal::logs(env)?;
    for log in &there {
        let after = named.as_ref().and_then(|named| named.get(log)).copied();
        match next.filter(|_| after.is_none()) {
            Some(next) => check_unnamed(env, *log, next, report),
            None => check_log(env, *log, after, report),
        }
    }
    for log in named.into_iter().flat_map(BTreeMap::into_keys) {
        if !there.contains(&log) {
            report.error(
                &dir(log),
                "the manifest names this log, and it is missing",
                RESTORE,
            );
        }
    }
    Ok(())
}

/// What a log holds that is not named is in the catalog, or was never acknowledged; unless the catalog
/// has not even given its id out.
fn check_unnamed(env: &Env, log: LogId, next: LogId, report: &mut Report) {
    if log >= next && wal::unnamed::holds_frames(env, log) {
        return report.error(CATALOG_FILE, wal::unnamed::is_older_than(log), OLDER);
    }
    report.note(
        &dir(log),
        "the manifest does not name this log",
        "nothing: the next start moves it to quarantine",
    );
}

fn check_log(env: &Env, log: LogId, after: Option<Lsn>, report: &mut Report) {
    let mut marks = Marks::default();
    let end = wal::scan(env, log, after, &mut |frame| {
        report.frames += u64::from(frame.kind != FrameKind::Continued);
        marks.see(&frame);
    });
    for number in marks.missing {
        let file = format!("{}/{number}.wal", dir(log));
        report.warn(
            &file,
            "the mark that another segment follows is damaged",
            "nothing: the segment goes with a later flush; until then nobody would notice the loss of all \
             that follow it",
        );
    }
    match end {
        Ok(ScanEnd::Clean) => {}
        Ok(ScanEnd::Torn {
            segment, position, ..
        }) => {
            let what = format!(
                "segment {:016x} ends in a frame at byte {position} that was never wholly written",
                segment.0
            );
            report.note(
                &dir(log),
                what,
                "nothing: it was never acknowledged; the next start drops it",
            );
        }
        Ok(ScanEnd::Corrupt { what }) => {
            report.error(
                &dir(log),
                what,
                "restore the file; without a backup, `millrace repair` keeps the frames that hold",
            );
        }
        Err(error) => report.error(&dir(log), error, RESTORE),
    }
}

/// Which segments lack the mark that they were continued, although a later frame says that it was
/// there.
#[derive(Default)]
struct Marks {
    last: Option<(SegmentNumber, bool)>,
    missing: Vec<SegmentNumber>,
}

impl Marks {
    fn see(&mut self, frame: &FrameInfo) {
        let is_mark = frame.kind == FrameKind::Continued;
        match self.last {
            Some((number, marked)) if number == frame.segment => {
                self.last = Some((number, marked || is_mark));
                return;
            }
            Some((number, false)) if number.0 + 1 == frame.segment.0 => self.missing.push(number),
            _ => {}
        }
        self.last = Some((frame.segment, is_mark));
    }
}

fn dir(log: LogId) -> String {
    log.dir().display().to_string()
}
