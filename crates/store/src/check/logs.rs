//! Every log that the manifest names is there, and every frame in it is whole.

use std::collections::BTreeMap;

use millrace_core::Lsn;
use millrace_env::Env;

use super::Report;
use crate::{
    StoreError,
    catalog::Catalog,
    wal::{self, LogId, ScanEnd},
};

const RESTORE: &str = "mount or restore it; starting without it would lose what it holds";

pub(super) fn check(
    env: &Env,
    catalog: Option<&Catalog>,
    report: &mut Report,
) -> Result<(), StoreError> {
    // A catalog without a manifest names no log: the first start was interrupted.
    let manifest = catalog.and_then(|catalog| catalog.manifest().ok());
    let named: Option<BTreeMap<LogId, Lsn>> =
        manifest.map(|manifest| manifest.unwrap_or_default().logs.into_iter().collect());
    let there = wal::logs(env)?;
    for log in &there {
        match named.as_ref().map(|named| named.get(log)) {
            Some(None) => look_at_unnamed(*log, report),
            Some(after) => check_log(env, *log, after.copied(), report),
            None => check_log(env, *log, None, report),
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

/// What an interrupted start leaves: nothing in it was acknowledged, and it need not be a whole log.
fn look_at_unnamed(log: LogId, report: &mut Report) {
    let what = "the manifest does not name this log";
    report.note(
        &dir(log),
        what,
        "nothing: the next start moves it to quarantine",
    );
}

fn check_log(env: &Env, log: LogId, after: Option<Lsn>, report: &mut Report) {
    let mut frames = 0;
    let end = wal::scan(env, log, after, &mut |_| frames += 1);
    report.frames += frames;
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
                "restore the file; what lies before the damage is intact",
            );
        }
        Err(error) => report.error(&dir(log), error, RESTORE),
    }
}

fn dir(log: LogId) -> String {
    log.dir().display().to_string()
}
