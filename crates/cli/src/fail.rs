//! How a verb fails: what is wrong, what to do next, and the exit code.

use std::{fmt, process::ExitCode};

use millrace_engine::OpenError;
use millrace_store::StoreError;

/// A verb that did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    what: String,
    help: Option<String>,
}

/// The exit code, by what a caller would do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It failed, or found damage.
    Failed = 1,
    /// It was asked wrongly.
    Usage = 2,
    /// Another process uses the data directory.
    InUse = 3,
}

impl Failure {
    pub(crate) fn new(kind: Kind, what: impl fmt::Display) -> Self {
        Self {
            kind,
            what: what.to_string(),
            help: None,
        }
    }

    pub(crate) fn failed(what: impl fmt::Display) -> Self {
        Self::new(Kind::Failed, what)
    }

    pub(crate) fn usage(what: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, what)
    }

    pub(crate) fn help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string());
        self
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }

    /// From an error of the store; `data_dir` is for the next command to type.
    pub(crate) fn of_store(error: &StoreError, data_dir: &std::path::Path) -> Self {
        let dir = data_dir.display();
        match error {
            StoreError::Locked => Self::in_use(data_dir),
            StoreError::Newer { .. } => Self::failed(format!("{dir}: {error}"))
                .help("`millrace --version` tells which one this is"),
            StoreError::Corrupt { .. } => Self::failed(format!("{dir}: {error}"))
                .help(format!("millrace check --data-dir {dir}")),
            other => Self::failed(format!("{dir}: {other}")),
        }
    }

    /// From a data directory that could not be opened.
    pub(crate) fn of_open(error: &OpenError, data_dir: &std::path::Path) -> Self {
        match error {
            OpenError::InUse => Self::in_use(data_dir),
            OpenError::Store(error) => Self::of_store(error, data_dir),
            OpenError::Newer { .. } => Self::failed(format!("{}: {error}", data_dir.display()))
                .help("`millrace --version` tells which one this is"),
        }
    }

    fn in_use(data_dir: &std::path::Path) -> Self {
        let dir = data_dir.display();
        Self::new(
            Kind::InUse,
            format!("the data directory {dir} is in use by another process"),
        )
        .help("stop that process, or choose another directory with --data-dir")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}
