//! A sealed log segment: every frame's checksums and records, up to the seal.

use std::{path::PathBuf, sync::Arc};

use millrace_env::Env;

use super::{Damage, Found, PIECE_BYTES, Piece, twice};
use crate::{StoreError, wal::sealed::SealedSegment};

/// A sealed log segment, and how far it was looked at.
#[derive(Debug)]
pub(super) struct LogScrub(SealedSegment);

impl LogScrub {
    pub(super) fn new(sealed: SealedSegment) -> Self {
        Self(sealed)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.path()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// Looks at the next frames.
    pub(super) fn piece(&mut self, env: &Env) -> Piece {
        let file = match self.0.open(env) {
            Ok(Some(file)) => file,
            Ok(None) => return Piece::last(0, Found::Gone),
            Err(error) => return Piece::last(0, Found::Unread(error.to_string())),
        };
        let before = self.0.at();
        let read = twice(|| self.0.read(Arc::clone(&file), PIECE_BYTES));
        let bytes = self.0.at() - before;
        match read {
            Ok(true) => Piece::more(bytes),
            Ok(false) => Piece::last(bytes, Found::Whole),
            Err(error) => Piece::last(bytes, self.judge(env, &error)),
        }
    }

    /// What was wrong is not, where the segment was given back meanwhile.
    fn judge(&self, env: &Env, error: &StoreError) -> Found {
        match self.0.open(env) {
            Ok(None) => Found::Gone,
            Err(error) => Found::Unread(error.to_string()),
            // Past the first frame that does not hold, nothing can be told.
            Ok(Some(_)) => {
                let rest = self.0.at()..self.0.bytes();
                Found::Damaged(Damage::of_file(error.to_string(), Some(rest)))
            }
        }
    }
}
