//! Logs that the manifest does not name: set aside, never deleted, unless they prove that the catalog
//! is older than they are.

use std::path::Path;

use millrace_env::Env;

use super::{
    FrameKind, LogId, Wal,
    scan::{logs, scan},
};
use crate::{catalog::CATALOG_FILE, error::StoreError};

impl Wal {
    /// Refuses a catalog that is older than a log: one that it does not name although it has not given
    /// its id out yet, `next` or a later one, holds frames only after a commit that names it. Such a
    /// catalog would set that log aside with all that was acknowledged. Changes nothing.
    pub fn check_unnamed(env: &Env, named: &[LogId], next: LogId) -> Result<(), StoreError> {
        for log in logs(env)? {
            if log >= next && !named.contains(&log) && holds_frames(env, log) {
                return Err(StoreError::corrupt(is_older_than(log)));
            }
        }
        Ok(())
    }

    /// Moves the directories of logs that `named` does not list to `quarantine/`: a start was
    /// interrupted before its manifest was committed, so nothing in them was acknowledged; or after, so
    /// that the catalog has all of it.
    pub fn quarantine_unnamed(env: &Env, named: &[LogId]) -> Result<(), StoreError> {
        let unnamed: Vec<LogId> = logs(env)?
            .into_iter()
            .filter(|log| !named.contains(log))
            .collect();
        for log in unnamed {
            set_aside(env, log)?;
        }
        Ok(())
    }
}

/// What is to be said of a catalog that does not know a log yet.
pub(crate) fn is_older_than(log: LogId) -> String {
    let dir = log.dir();
    let dir = dir.display();
    format!("{CATALOG_FILE} is older than {dir}, which holds frames that it knows nothing of")
}

/// Whether a log holds a frame that can be read, whatever else is wrong with it.
pub(crate) fn holds_frames(env: &Env, log: LogId) -> bool {
    let mut holds = false;
    // How it ends is of no interest: it is not read.
    let _ = scan(env, log, None, &mut |frame| {
        holds |= frame.kind == FrameKind::Data;
    });
    holds
}

fn set_aside(env: &Env, log: LogId) -> Result<(), StoreError> {
    let quarantine = Path::new(crate::segment::QUARANTINE_DIR);
    let dir = log.dir();
    let target = (0..u64::MAX)
        .map(|copy| quarantine.join(format!("wal-{log}-{copy}")))
        .find(|target| env.disk.list(target).is_err())
        .expect("a directory holds fewer names than there are numbers");
    env.disk.create_dir(&target)?;
    for entry in env.disk.list(&dir)? {
        env.disk
            .rename(&dir.join(&entry.name), &target.join(&entry.name))?;
    }
    env.disk.sync_dir(&target)?;
    env.disk.sync_dir(quarantine)?;
    env.disk.sync_dir(&dir)?;
    env.disk.remove_dir(&dir)?;
    env.disk.sync_dir("wal".as_ref())?;
    Ok(())
}
