//! Logs that the manifest does not name: set aside, never deleted.

use std::path::Path;

use millrace_env::Env;

use super::{LogId, Wal, scan::logs};
use crate::error::StoreError;

impl Wal {
    /// Moves the directories of logs that `named` does not list to `quarantine/`: a start was
    /// interrupted before its manifest was committed, so nothing in them was acknowledged.
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
