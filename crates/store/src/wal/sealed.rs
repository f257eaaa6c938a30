//! Reading the sealed segments of a log that is in use, each by itself and in pieces.
//!
//! A segment with a successor has its seal and never changes under its name. It may be given back at
//! any time: then the name goes first, durably, and only after that is the file written to again. So
//! whoever finds something wrong looks whether the name is still there before believing it.
//!
//! Not here: the last segment, which is being written, and how segments follow each other (`scan`).

use std::{io, path::PathBuf, sync::Arc};

use millrace_core::Lsn;
use millrace_env::{Env, File, OpenMode};

use super::{
    LogId,
    format::{Chain, SegmentNumber},
    frame,
    scan::hex,
    segment::{Cursor, Segment, Step},
};
use crate::error::StoreError;

/// A sealed segment, and how far it was read.
#[derive(Debug)]
pub(crate) struct SealedSegment {
    log: LogId,
    number: SegmentNumber,
    bytes: u64,
    /// Where its next frame begins, that frame's number, and what it follows.
    place: Option<(u64, Lsn, Chain)>,
}

impl SealedSegment {
    /// The sealed segments of all logs.
    pub(crate) fn all(env: &Env) -> Result<Vec<Self>, StoreError> {
        let mut sealed = Vec::new();
        for log in super::logs(env)? {
            let dir = log.dir();
            let entries = env
                .disk
                .list(&dir)
                .map_err(|error| StoreError::io(format!("list {}", dir.display()), &error))?;
            let segments = entries.iter().filter_map(|entry| {
                let number = hex(entry.name.strip_suffix(".wal")?)?;
                Some(Self {
                    log,
                    number: SegmentNumber(number),
                    bytes: entry.len,
                    place: None,
                })
            });
            // Names are sorted, and so are numbers, whose digits are as many.
            sealed.extend(segments);
            // The last one is being written.
            sealed.pop_if(|last| last.log == log);
        }
        Ok(sealed)
    }

    /// Its file, below the data directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.number.path(self.log)
    }

    /// The length of its file.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How far it was read.
    pub(crate) fn at(&self) -> u64 {
        self.place.map_or(0, |(at, ..)| at)
    }

    /// Opens its file, if its name is still there.
    pub(crate) fn open(&self, env: &Env) -> io::Result<Option<Arc<dyn File>>> {
        match env.disk.open(&self.path(), OpenMode::ReadOnce) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads on in its file for about `bytes`, whole frames at a time, and says whether there is more
    /// before the seal.
    pub(crate) fn read(&mut self, file: Arc<dyn File>, bytes: u64) -> Result<bool, StoreError> {
        let segment = Segment::read(file, self.log, self.number)?;
        let mut cursor = Cursor::new(&segment);
        if let Some((at, next, chain)) = self.place {
            (cursor.at, cursor.next, cursor.chain) = (at, next, chain);
        }
        let until = cursor.at + bytes;
        while cursor.at < until && !cursor.sealed {
            let at = cursor.at;
            let Step::Frame(raw) = cursor.step()? else {
                let what = format!(
                    "frame {} is damaged or missing, and a segment follows",
                    cursor.next
                );
                return Err(segment.corrupt(at, what));
            };
            frame::decode(&raw.bytes, raw.header.records).map_err(|fault| {
                segment.corrupt(raw.at, format!("frame {}: {fault}", raw.header.lsn))
            })?;
            self.place = Some((cursor.at, cursor.next, cursor.chain));
        }
        Ok(!cursor.sealed)
    }
}
