//! What a repair will do, and what cannot be saved: for people and for programs.

use std::{
    fmt,
    io::{self, Write},
    path::Path,
};

use millrace_core::{Lsn, StreamId, StreamName, StreamPos};

use crate::{
    check::Finding,
    dump::{Format, record::Record},
    wal::LogId,
};

/// Everything that a repair will do. Empty for a directory without damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Why nothing can be done, if so: then there are no actions.
    pub refused: Option<String>,
    /// What will be done, in order.
    pub actions: Vec<Action>,
    /// What cannot be saved.
    pub lost: Vec<Lost>,
    /// What is wrong and stays so.
    pub remains: Vec<Finding>,
}

/// One thing that a repair does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What is done.
    pub kind: ActionKind,
    /// The file or directory, below the data directory.
    pub file: String,
    /// Why, and what comes of it.
    pub what: String,
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActionKind {
    /// It is copied to quarantine, because it will be changed.
    Copy,
    /// What holds of a segment is written into new ones.
    Rewrite,
    /// What holds of a log goes into the catalog and segments, and an empty log takes its place.
    Fold,
    /// All streams take a new generation before their next append.
    Generation,
    /// It is moved to quarantine.
    SetAside,
}

/// Something that cannot be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Bytes of a stream. Their positions stay, and reads of them fail.
    Bytes {
        /// The stream.
        stream: StreamId,
        /// Its name, where that is known.
        name: Option<StreamName>,
        /// The first position.
        from: StreamPos,
        /// The position after the last one.
        until: StreamPos,
        /// The file or directory that should have them.
        file: String,
    },
    /// Frames of a log: turns of its shard, with anything that clients were told in them. What they
    /// deleted is there again, what they closed is open, and bytes that they appended at the end of a
    /// stream are missing there.
    Frames {
        /// The log.
        log: LogId,
        /// The first frame.
        from: Lsn,
        /// The frame after the last one; `None` where nobody knows how many there were.
        until: Option<Lsn>,
        /// Where they should have been.
        place: String,
    },
    /// A stream, as a whole or as far as it was inherited.
    Stream {
        /// The stream.
        stream: StreamId,
        /// What of it is lost, and why.
        what: String,
    },
}

/// What a repair has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Where the things are that it removed or replaced; `None` when there was nothing to do.
    pub quarantine: Option<String>,
    /// How many files are there.
    pub kept_files: u64,
}

impl Plan {
    /// Whether there is nothing to do and nothing wrong.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether damage stays, whatever is done.
    pub fn leaves_damage(&self) -> bool {
        self.refused.is_some() || !self.remains.is_empty()
    }

    /// Whether what is wrong with a file is put right.
    pub(super) fn mends(&self, file: &str) -> bool {
        let mends = |action: &Action| {
            let is_repair = matches!(action.kind, ActionKind::Rewrite | ActionKind::Fold);
            is_repair && Path::new(file).starts_with(&action.file)
        };
        self.actions.iter().any(mends)
    }

    /// Whether another plan is for the same things.
    pub(super) fn does_the_same(&self, other: &Self) -> bool {
        (&self.refused, &self.actions, &self.lost) == (&other.refused, &other.actions, &other.lost)
    }

    /// How many bytes of streams are known to be lost.
    pub fn lost_bytes(&self) -> u64 {
        let bytes = self.lost.iter().map(|lost| match lost {
            Lost::Bytes { from, until, .. } => until.since(*from),
            _ => 0,
        });
        bytes.sum()
    }

    /// Prints it: a line for every action, every loss and all that stays, and a summary.
    pub fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        for action in &self.actions {
            Record::new("action")
                .text("do", action.kind)
                .text("file", &action.file)
                .text("what", &action.what)
                .write(format, out)?;
        }
        for lost in &self.lost {
            lost.record().write(format, out)?;
        }
        for finding in &self.remains {
            Record::new("remains")
                .text("severity", finding.severity)
                .text("file", &finding.file)
                .text("what", &finding.what)
                .text("to_do", &finding.to_do)
                .write(format, out)?;
        }
        Record::new("plan")
            .flag("needed", !self.is_empty())
            .flag("possible", self.refused.is_none())
            .maybe_text("refused", self.refused.as_ref())
            .number("actions", self.actions.len() as u64)
            .number("losses", self.lost.len() as u64)
            .number("lost_bytes", self.lost_bytes())
            .write(format, out)
    }
}

impl Lost {
    fn record(&self) -> Record {
        match self {
            Self::Bytes {
                stream,
                name,
                from,
                until,
                file,
            } => Record::new("lost")
                .text("type", "bytes")
                .text("stream", stream)
                .maybe_text("name", name.as_ref())
                .number("from", from.get())
                .number("until", until.get())
                .number("bytes", until.since(*from))
                .text("file", file),
            Self::Frames {
                log,
                from,
                until,
                place,
            } => Record::new("lost")
                .text("type", "frames")
                .text("log", log)
                .number("from", from.get())
                .maybe_number("until", until.map(Lsn::get))
                .text("file", place),
            Self::Stream { stream, what } => Record::new("lost")
                .text("type", "stream")
                .text("stream", stream)
                .text("what", what),
        }
    }
}

impl Outcome {
    /// Prints it, on one line.
    pub fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        Record::new("repaired")
            .flag("changed", self.quarantine.is_some())
            .maybe_text("quarantine", self.quarantine.as_ref())
            .number("kept_files", self.kept_files)
            .write(format, out)
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copy => "copy",
            Self::Rewrite => "rewrite",
            Self::Fold => "fold",
            Self::Generation => "generation",
            Self::SetAside => "set-aside",
        })
    }
}
