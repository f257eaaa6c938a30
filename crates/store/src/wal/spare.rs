//! Segment files made ahead: full of zeros at their full length, or used before.
//!
//! A spare has a name of its own (`<id>.spare`, while it is filled `<id>.tmp`), so that nothing
//! ever mistakes it for a part of the log; it becomes one by a new header, synced, and a rename.

use std::{path::PathBuf, sync::Arc};

use millrace_env::{Env, File, FileExt as _, OpenMode};

use super::LogId;
use crate::error::StoreError;

/// How much is written before it is synced, so that no commit's sync waits behind a whole segment.
const ZERO_BYTES: usize = 4 << 20;

/// A file that can become a segment.
#[derive(Debug)]
pub struct Spare {
    pub(super) file: Arc<dyn File>,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Whether all of it is zeros.
    pub(super) zeroed: bool,
}

/// A spare to be made, anywhere: it touches nothing of the log.
#[derive(Debug)]
pub struct SpareJob {
    env: Env,
    log: LogId,
    id: u64,
    bytes: u64,
}

impl SpareJob {
    pub(super) fn new(env: Env, log: LogId, id: u64, bytes: u64) -> Self {
        Self {
            env,
            log,
            id,
            bytes,
        }
    }

    /// Makes the file. When it fails nothing is left of it.
    pub fn run(self) -> Result<Spare, StoreError> {
        if self.env.disk.available()? < self.bytes {
            return Err(StoreError::Full);
        }
        let unfinished = self.log.dir().join(format!("{:016x}.tmp", self.id));
        let path = spare_path(self.log, self.id);
        let made = self.fill(&unfinished).and_then(|file| {
            self.env.disk.rename(&unfinished, &path)?;
            self.env.disk.sync_dir(&self.log.dir())?;
            Ok(file)
        });
        match made {
            Ok(file) => Ok(Spare {
                file,
                path,
                bytes: self.bytes,
                zeroed: true,
            }),
            Err(error) => {
                // A file that stays behind is found and removed by the next start.
                let _ = self.env.disk.remove(&unfinished);
                let _ = self.env.disk.remove(&path);
                Err(error)
            }
        }
    }

    fn fill(&self, path: &std::path::Path) -> Result<Arc<dyn File>, StoreError> {
        let file = self.env.disk.open(path, OpenMode::CreateNew)?;
        let size = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        let zeros = vec![0; size.min(ZERO_BYTES)];
        let mut at = 0;
        while at < self.bytes {
            let left = usize::try_from(self.bytes - at).unwrap_or(usize::MAX);
            let part = &zeros[..left.min(zeros.len())];
            file.write_all_at(part, at)?;
            file.sync()?;
            at += part.len() as u64;
        }
        Ok(file)
    }
}

pub(super) fn spare_path(log: LogId, id: u64) -> PathBuf {
    log.dir().join(format!("{id:016x}.spare"))
}
