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

const RESTORE: &str =
    "mount or restore it; where it is lost, `millrace repair` starts without what it held";

pub(super) fn check(
    env: &Env,
    catalog: Option<&Catalog>,
    report: &mut Report,
) -> Result<(), StoreError> {
    let manifest = catalog.and_then(|catalog| catalog.manifest().ok().flatten());
    let named: Option<BTreeMap<LogId, Lsn>> =
        manifest.map(|manifest| manifest.logs.into_iter().collect());
    let there = wal::logs(env)?;
    for log in &there {
        let after = named.as_ref().and_then(|named| named.get(log)).copied();
        if named.as_ref().is_some_and(|named| !named.contains_key(log)) {
            // Nothing in it was acknowledged, so it need not be whole.
            let what = "the manifest does not name this log";
            report.note(
                &dir(*log),
                what,
                "nothing: the next start moves it to quarantine",
            );
            continue;
        }
        check_log(env, *log, after, report);
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
                "restore the file; without a backup, `millrace repair` keeps the frames that hold",
            );
        }
        Err(error) => report.error(&dir(log), error, RESTORE),
    }
}

fn dir(log: LogId) -> String {
    log.dir().display().to_string()
}
