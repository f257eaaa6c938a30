//! What `redb` and the file below it answer, as what the caller can do about it.

use std::io;

use super::{CATALOG_FILE, paged::FileFault};
use crate::{StoreError, codec::Malformed};

/// A failure on the way to the catalog's answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// `redb` failed; the handle is of no more use.
    Redb(Box<redb::Error>),
    /// The catalog's content, or the caller's, is at fault; the handle goes on.
    Store(StoreError),
}

impl Fault {
    /// Whether an earlier failure on the same handle is only repeated.
    pub(crate) fn is_of_another(&self) -> bool {
        match self {
            Self::Redb(error) => matches!(**error, redb::Error::PreviousIo),
            Self::Store(_) => false,
        }
    }

    /// What the caller can do about it, given what failed in the file.
    pub(crate) fn explain(self, file: Option<FileFault>) -> StoreError {
        match (self, file) {
            (Self::Store(error), _) => error,
            (Self::Redb(_), Some(fault)) => fault.into(),
            (Self::Redb(error), None) => match *error {
                redb::Error::Corrupted(what) => {
                    StoreError::corrupt(format!("{CATALOG_FILE}: {what}"))
                }
                redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                    StoreError::corrupt(format!("{CATALOG_FILE}: {error}"))
                }
                redb::Error::Io(error) => error.into(),
                error => StoreError::Io(io::Error::other(format!("{CATALOG_FILE}: {error}"))),
            },
        }
    }
}

impl From<FileFault> for StoreError {
    fn from(fault: FileFault) -> Self {
        match fault {
            FileFault::Full => Self::Full,
            FileFault::Corrupt(what) => Self::Corrupt { what },
            FileFault::Read(why) => Self::Io(io::Error::other(why)),
            FileFault::Write(why) => Self::Poisoned { why },
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Malformed> for Fault {
    fn from(fault: Malformed) -> Self {
        Self::Store(StoreError::corrupt(format!("{CATALOG_FILE}: {fault}")))
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => { $(
        impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Self {
                Self::Redb(Box::new(error.into()))
            }
        }
    )* };
}

from_redb!(
    CommitError,
    DatabaseError,
    StorageError,
    TableError,
    TransactionError
);
