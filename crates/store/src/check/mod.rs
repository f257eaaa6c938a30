//! Is a data directory whole? Verifies every byte there is, and that all of it agrees.
//!
//! Changes nothing, not even what the next start would. A finding says where, what, and what to do;
//! an error of a file never keeps the others from being looked at.
//!
//! Layout: this file (findings, the order of things), `catalog` (the tables among themselves),
//! `segments` (every segment file, and the catalog's extents against it), `logs`, `files`
//! (what is in the directories).
//!
//! Not here: putting things right.

mod catalog;
pub(crate) mod files;
mod logs;
mod segments;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    io::{self, Write},
    path::Path,
};

use millrace_env::Env;

use crate::{
    StoreError,
    catalog::{CATALOG_FILE, Catalog},
    dump::{Format, record::Record},
};

/// The lock file of a data directory.
pub const LOCK_FILE: &str = "LOCK";

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; the next start deals with it.
    Note,
    /// Not as it should be, and nothing is lost by it.
    Warning,
    /// Data is lost, or cannot be reached.
    Error,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file or directory, below the data directory.
    pub file: String,
    /// What is the matter.
    pub what: String,
    /// What to do about it.
    pub to_do: String,
}

/// Everything that was found, and how much was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was found, in the order of looking.
    pub findings: Vec<Finding>,
    /// How many streams the catalog has.
    pub streams: u64,
    /// How many segments it names.
    pub segments: u64,
    /// How many bytes of streams they hold.
    pub bytes: u64,
    /// How many frames the logs hold.
    pub frames: u64,
}

/// Whether the caller has the data directory's lock already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// It has not: take it while checking.
    Take,
    /// It has.
    Held,
}

/// Takes the lock of a data directory that exists; [`StoreError::Locked`] while another process has
/// it.
pub fn lock(env: &Env) -> Result<Box<dyn Send + Sync>, StoreError> {
    let listed = env.disk.list(Path::new(""));
    listed.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::missing("the data directory"),
        _ => StoreError::io("list the data directory", &error),
    })?;
    env.disk
        .lock(Path::new(LOCK_FILE))
        .map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => StoreError::Locked,
            _ => StoreError::io("lock the data directory", &error),
        })
}

/// Checks the data directory. An error means that it could not be looked at; what is wrong with it
/// is in the report.
pub fn run(env: &Env, lock_is: Lock) -> Result<Report, StoreError> {
    let _lock = match lock_is {
        Lock::Take => Some(lock(env)?),
        Lock::Held => None,
    };
    let mut report = Report::default();
    let catalog = open_catalog(env, &mut report);
    match &catalog {
        Some(catalog) => {
            let extents = catalog::check(catalog, &mut report);
            segments::check(env, catalog, &extents, &mut report)?;
        }
        None => segments::check_alone(env, &mut report)?,
    }
    logs::check(env, catalog.as_ref(), &mut report)?;
    Ok(report)
}

/// Opens and verifies the catalog; what is wrong with it is found, and the rest is looked at without
/// it.
fn open_catalog(env: &Env, report: &mut Report) -> Option<Catalog> {
    const CACHE_BYTES: usize = 64 << 20;
    const RESTORE: &str = "restore it from a backup together with the segments and logs of then";
    let opened = Catalog::open_read_only(env, CACHE_BYTES);
    let verified = opened.and_then(|catalog| catalog.verify().map(|()| catalog));
    let catalog = verified
        .map_err(|error| report.error(CATALOG_FILE, error, RESTORE))
        .ok()?;
    if catalog.has_single_header().unwrap_or_default() {
        report.note(
            CATALOG_FILE,
            "one of the two copies of its header is not whole, as after a power cut in a commit",
            "nothing: the next start writes both",
        );
    }
    Some(catalog)
}

impl Report {
    /// Whether nothing is lost.
    pub fn is_whole(&self) -> bool {
        let mut severities = self.findings.iter().map(|finding| finding.severity);
        !severities.any(|severity| severity == Severity::Error)
    }

    /// Prints the findings and a summary, one a line.
    pub fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        for finding in &self.findings {
            Record::new("finding")
                .text("severity", finding.severity)
                .text("file", &finding.file)
                .text("what", &finding.what)
                .text("to_do", &finding.to_do)
                .write(format, out)?;
        }
        Record::new("checked")
            .flag("whole", self.is_whole())
            .number("streams", self.streams)
            .number("segments", self.segments)
            .number("bytes", self.bytes)
            .number("frames", self.frames)
            .write(format, out)
    }

    fn find(&mut self, severity: Severity, file: &str, what: impl fmt::Display, to_do: &str) {
        self.findings.push(Finding {
            severity,
            file: file.into(),
            what: what.to_string(),
            to_do: to_do.into(),
        });
    }

    fn error(&mut self, file: &str, what: impl fmt::Display, to_do: &str) {
        self.find(Severity::Error, file, what, to_do);
    }

    fn warn(&mut self, file: &str, what: impl fmt::Display, to_do: &str) {
        self.find(Severity::Warning, file, what, to_do);
    }

    fn note(&mut self, file: &str, what: impl fmt::Display, to_do: &str) {
        self.find(Severity::Note, file, what, to_do);
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}
