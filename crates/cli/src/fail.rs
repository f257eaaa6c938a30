//! How a verb fails: what is wrong, what to do next, and the exit code.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use millrace_engine::OpenError;
use millrace_store::StoreError;

/// A verb that did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    what: String,
    /// The server's code, where it refused.
    refusal: Option<String>,
    help: Option<String>,
}

/// The exit code, by what a caller would do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It failed, was refused, or found damage.
    Failed = 1,
    /// It was asked wrongly.
    Usage = 2,
    /// Another process uses the data directory.
    InUse = 3,
    /// There is no such stream.
    NotFound = 4,
    /// No server can be reached, or the connection broke.
    Unreachable = 5,
    /// The key is missing or wrong.
    Unauthorized = 6,
    /// SIGINT ended it.
    Interrupted = 130,
    /// SIGTERM ended it.
    Terminated = 143,
}

impl Kind {
    /// The exit code.
    pub(crate) fn exit(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

impl Failure {
    pub(crate) fn new(kind: Kind, what: impl fmt::Display) -> Self {
        Self {
            kind,
            what: what.to_string(),
            refusal: None,
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

    /// Names the server's code.
    pub(crate) fn code_text(mut self, code: &str) -> Self {
        self.refusal = Some(code.to_owned()).filter(|code| !code.is_empty());
        self
    }

    /// Says how far it had come.
    pub(crate) fn after(mut self, what: impl fmt::Display) -> Self {
        self.what = format!("{what}: {}", self.what);
        self
    }

    /// Says where what is wrong stands.
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Self {
        self.what = format!("{place}: {}", self.what);
        self
    }

    /// The first flag that it is about, without dashes.
    pub(crate) fn flag(&self) -> Option<&str> {
        let mut words = self.what.split_whitespace();
        words.find_map(|word| word.strip_prefix("--"))
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn code(&self) -> ExitCode {
        self.kind.exit()
    }

    /// Tells it on stderr, to a program or to a person; the exit code.
    pub(crate) fn tell(&self, json: bool) -> ExitCode {
        if json {
            let _ = writeln!(io::stderr(), "{}", self.to_json());
        } else {
            self.print();
        }
        self.code()
    }

    /// From a command line that cannot be understood, for a program.
    pub(crate) fn of_words(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let what = text.split("\n\n").next().unwrap_or_default();
        let what = what.trim().trim_start_matches("error: ");
        let help = "run the same with --help instead of --json";
        Self::usage(what.split_whitespace().collect::<Vec<_>>().join(" ")).help(help)
    }

    /// For people, on stderr; in colour on a terminal.
    fn print(&self) {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let text = self.to_string();
        let text = if io::stderr().is_terminal() && !plain {
            text.replacen("error:", "\x1b[1;31merror:\x1b[0m", 1)
                .replacen("\nhelp:", "\n\x1b[1;32mhelp:\x1b[0m", 1)
        } else {
            text
        };
        // Nobody may be listening; the exit code says it too.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// For programs.
    fn to_json(&self) -> String {
        serde_json::json!({
            "error": {
                "code": self.refusal,
                "exit_code": self.kind as u8,
                "message": self.what,
                "help": self.help,
            }
        })
        .to_string()
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
