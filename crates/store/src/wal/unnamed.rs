//! Logs that the manifest does not name: set aside, never deleted, unless they prove that the catalog
//! is older than they are.

use std::{
    io,
    path::{Path, PathBuf},
};

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
    let target = free_directory(env, log)?;
    env.disk.create_dir(&target)?;
    for entry in env.disk.list(&dir)? {
        env.disk
            .rename(&dir.join(&entry.name), &target.join(&entry.name))?;
    }
    // Where the files went, before where they came from: they are never in neither.
    env.disk.sync_dir(&target)?;
    env.disk.sync_dir(quarantine)?;
    env.disk.sync_dir("".as_ref())?;
    env.disk.sync_dir(&dir)?;
    env.disk.remove_dir(&dir)?;
    env.disk.sync_dir("wal".as_ref())?;
    Ok(())
}

/// A directory in `quarantine/` that is not there: what was set aside before is never replaced.
fn free_directory(env: &Env, log: LogId) -> Result<PathBuf, StoreError> {
    let quarantine = Path::new(crate::segment::QUARANTINE_DIR);
    let mut copy: u64 = 0;
    loop {
        let target = quarantine.join(format!("wal-{log}-{copy}"));
        match env.disk.list(&target) {
            Ok(_) => copy += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(target),
            // It may be there all the same.
            Err(error) => {
                let doing = format!("list {}", target.display());
                return Err(StoreError::io(doing, &error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millrace_env::{Disk as _, Fault, FaultError, FaultOp, FileExt as _, OpenMode, SimDisk};

    use super::*;
    use crate::testkit::sim_env;

    const LOG: LogId = LogId(7);

    /// A log of one file, durable.
    fn unnamed_log(disk: &Arc<SimDisk>, content: &[u8]) {
        disk.create_dir(&LOG.dir()).unwrap();
        let file = disk.open(&LOG.dir().join("1.wal"), OpenMode::CreateNew);
        let file = file.unwrap();
        file.write_all_at(content, 0).unwrap();
        file.sync().unwrap();
        for dir in [Path::new(""), Path::new("wal"), &LOG.dir()] {
            disk.sync_dir(dir).unwrap();
        }
    }

    fn set_aside_before(disk: &SimDisk, copy: u64) -> Vec<u8> {
        disk.content(format!("quarantine/wal-{LOG}-{copy}/1.wal"))
    }

    /// A failed look into `quarantine/` was taken for a name that is free, and what had been set aside
    /// under it was replaced.
    #[test]
    fn what_was_set_aside_is_not_replaced_when_the_disk_fails() {
        let disk = SimDisk::new(1);
        let env = sim_env(&disk, 1);
        unnamed_log(&disk, b"older");
        Wal::quarantine_unnamed(&env, &[]).unwrap();
        unnamed_log(&disk, b"newer");
        disk.fail(Fault::new(FaultOp::List, FaultError::Io).on("quarantine"));
        assert!(Wal::quarantine_unnamed(&env, &[]).is_err());
        assert_eq!(set_aside_before(&disk, 0), b"older");
        Wal::quarantine_unnamed(&env, &[]).unwrap();
        assert_eq!(set_aside_before(&disk, 0), b"older");
        assert_eq!(set_aside_before(&disk, 1), b"newer");
    }

    #[test]
    fn what_is_set_aside_survives_power_loss() {
        for seed in 0..100 {
            let disk = SimDisk::new(seed);
            unnamed_log(&disk, b"kept");
            Wal::quarantine_unnamed(&sim_env(&disk, seed), &[]).unwrap();
            assert_eq!(set_aside_before(&disk.crash(), 0), b"kept");
        }
    }
}
