//! What a test plans to go wrong, and the count of I/Os it plans by.

use std::{
    error, fmt, io,
    path::{Path, PathBuf},
};

/// A kind of call that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOp {
    /// Opening a file that exists.
    Open,
    /// Opening a file that does not exist yet, so that it is made. Mutates.
    Create,
    /// Reading from a file.
    Read,
    /// Writing to a file. Mutates; with [`FaultError::Io`] a part may be written all the same.
    Write,
    /// Syncing a file. Mutates; a failure marks what was written clean, as Linux does (T6): a later
    /// sync succeeds although the bytes may not be durable.
    Sync,
    /// Setting a file's length. Mutates.
    SetLen,
    /// Renaming; the path is the old one. Mutates.
    Rename,
    /// Removing a file. Mutates.
    Remove,
    /// Making a directory. Mutates.
    CreateDir,
    /// Removing a directory. Mutates.
    RemoveDir,
    /// Syncing a directory. Mutates.
    SyncDir,
    /// Listing a directory.
    List,
    /// Asking for a file's length.
    Len,
    /// Asking how much can still be written.
    Available,
    /// Taking a lock.
    Lock,
}

/// The error a planned fault ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// `ENOSPC`.
    NoSpace,
    /// `EIO`.
    Io,
    /// `EMFILE`.
    TooManyFiles,
    /// `EACCES`.
    Denied,
}

/// A planned fault: by default the next call of its kind fails, once.
#[derive(Clone, Debug)]
pub struct Fault {
    op: FaultOp,
    error: FaultError,
    path: PathBuf,
    skip: u64,
    lasting: bool,
}

impl Fault {
    /// The next `op` fails with `error`.
    pub fn new(op: FaultOp, error: FaultError) -> Self {
        Self {
            op,
            error,
            path: PathBuf::new(),
            skip: 0,
            lasting: false,
        }
    }

    /// Only for this path and what lies below it.
    #[must_use]
    pub fn on(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = path.into();
        self
    }

    /// Lets `calls` that would be hit succeed first.
    #[must_use]
    pub fn after(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }

    /// Fails every time from then on, until [`super::SimDisk::heal`].
    #[must_use]
    pub fn lasting(mut self) -> Self {
        self.lasting = true;
        self
    }
}

impl From<FaultError> for io::Error {
    fn from(error: FaultError) -> Self {
        errno(match error {
            FaultError::Io => 5,
            FaultError::Denied => 13,
            FaultError::TooManyFiles => 24,
            FaultError::NoSpace => 28,
        })
    }
}

/// An error of the operating system, by its Linux number.
pub(super) fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// What the cause of a dead handle's error is; found again by [`is_power_loss`].
#[derive(Debug)]
struct PowerLoss;

impl fmt::Display for PowerLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated power is off")
    }
}

impl error::Error for PowerLoss {}

pub(super) fn power_loss() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, PowerLoss)
}

/// Whether an error says that the simulated power went off. Its kind is
/// [`io::ErrorKind::NotConnected`], which no file gives otherwise.
pub fn is_power_loss(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn error::Error + Send + Sync>::is::<PowerLoss>)
}

impl FaultOp {
    /// Whether it changes what is on the disk, and so counts.
    fn mutates(self) -> bool {
        !matches!(
            self,
            Self::Open | Self::Read | Self::List | Self::Len | Self::Available | Self::Lock
        )
    }
}

/// Whether a call is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    /// It is.
    On,
    /// The power fails in the middle of it: in part, perhaps, and nobody hears of it.
    Failing,
}

impl Power {
    /// What the caller hears.
    pub(super) fn survived(self) -> io::Result<()> {
        match self {
            Self::On => Ok(()),
            Self::Failing => Err(power_loss()),
        }
    }
}

/// All plans.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    planned: Vec<Fault>,
    io_count: u64,
    crash_at: Option<u64>,
    short_writes: f64,
}

impl Faults {
    pub(super) fn plan(&mut self, fault: Fault) {
        self.planned.push(fault);
    }

    pub(super) fn planned(&self) -> &[Fault] {
        &self.planned
    }

    pub(super) fn clear(&mut self) {
        *self = Self {
            io_count: self.io_count,
            ..Self::default()
        };
    }

    pub(super) fn crash_after(&mut self, n: u64) {
        self.crash_at = Some(self.io_count + n);
    }

    pub(super) fn io_count(&self) -> u64 {
        self.io_count
    }

    pub(super) fn set_short_writes(&mut self, probability: f64) {
        self.short_writes = probability;
    }

    pub(super) fn short_writes(&self) -> f64 {
        self.short_writes
    }

    /// Counts a call; whether the power fails in it.
    pub(super) fn count(&mut self, op: FaultOp) -> bool {
        if !op.mutates() {
            return false;
        }
        self.io_count += 1;
        self.crash_at == Some(self.io_count)
    }

    /// The error that is planned for this call. Every plan that matches counts the call, so that
    /// plans do not shift each other.
    pub(super) fn due(&mut self, op: FaultOp, path: &Path) -> Option<FaultError> {
        let mut hit = None;
        self.planned.retain_mut(|fault| {
            if fault.op != op || !path.starts_with(&fault.path) {
                return true;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                return true;
            }
            if hit.is_none() {
                hit = Some(fault.error);
                return fault.lasting;
            }
            true
        });
        hit
    }
}
