//! What can go wrong below the protocol. The kind tells the caller what to do.

use std::{fmt::Display, io};

/// A failure of something at rest.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No space: nothing was changed, and the same call may succeed once space is freed.
    #[error("the disk is full: free some space; writes resume by themselves")]
    Full,
    /// Stored bytes are not what was written. Nothing was changed; do not go on from them.
    #[error("{what}; nothing was changed: run `millrace check`, or restore this file")]
    Corrupt {
        /// Which bytes, and what is wrong with them.
        what: String,
    },
    /// Written by a newer version.
    #[error(
        "the data has format version {found}, this program knows up to {known}: use a newer one"
    )]
    Newer {
        /// The version found.
        found: u32,
        /// The newest version that can be read.
        known: u32,
    },
    /// Another process uses the data directory.
    #[error(
        "the data directory is in use by another process: stop it, or choose another directory"
    )]
    Locked,
    /// Something that must be there is not.
    #[error("{what} is missing: mount or restore it; nothing was changed")]
    Missing {
        /// What is missing.
        what: String,
    },
    /// Bytes that were damaged once, and that a repair marked as lost.
    #[error("these bytes were lost to damage, and a repair marked them as lost")]
    Lost,
    /// An earlier failure left it unknown what the disk holds; only a restart finds out.
    #[error("this log stopped after a failure ({why}): restart to recover it from disk")]
    Poisoned {
        /// The failure.
        why: String,
    },
    /// The operating system failed a call.
    #[error("{0}")]
    Io(#[source] io::Error),
}

impl StoreError {
    /// Stored bytes that are not what was written.
    pub fn corrupt(what: impl Display) -> Self {
        let what = what.to_string();
        Self::Corrupt { what }
    }

    /// Something that must be there is not.
    pub fn missing(what: impl Display) -> Self {
        let what = what.to_string();
        Self::Missing { what }
    }

    /// A failed call of the operating system, with what was being done; its kind is kept.
    pub fn io(doing: impl Display, error: &io::Error) -> Self {
        io::Error::new(error.kind(), format!("{doing}: {error}")).into()
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t14_no_space_and_no_quota_are_the_same_kind() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let plain = StoreError::from(io::Error::from(kind));
            assert!(matches!(plain, StoreError::Full));
            let described = StoreError::io("write a", &io::Error::from(kind));
            assert!(matches!(described, StoreError::Full));
        }
        let other = StoreError::from(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(matches!(other, StoreError::Io(_)));
    }
}
