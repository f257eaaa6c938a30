//! Flags.

use std::{path::PathBuf, time::Duration};

use crate::{rows, servers::Who};

const USAGE: &str = "millrace-compare [--quick] [--runs 5] [--seconds 10] [--rows NAME,NAME...] [--who ours,peer,limit] \
     [--json | --markdown] [--no-build] [--dir <where data goes>] [--serve-arg <flag for millrace serve>]...; \
     --rows list prints the names; a name may end in * for all that begin so; MILLRACE_BIN names our binary";

/// How figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Markdown,
    Json,
}

/// What is compared.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Runs of each row on each server.
    pub(crate) runs: u32,
    /// How long each run measures.
    pub(crate) seconds: u64,
    /// Leave out rows that take minutes, unless they are named.
    pub(crate) is_quick: bool,
    /// Names of rows; none: all.
    pub(crate) rows: Vec<String>,
    /// Which servers.
    pub(crate) who: Vec<Who>,
    pub(crate) format: Format,
    /// Build ours and install the peer first.
    pub(crate) builds: bool,
    /// Below here are data directories.
    pub(crate) dir: PathBuf,
    /// Our binary.
    pub(crate) binary: PathBuf,
    /// Flags for ours beside those that a row needs.
    pub(crate) serve_args: Vec<String>,
}

impl Settings {
    /// From the arguments after the program's name.
    pub(crate) fn from_args(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let target = target();
        let binary = std::env::var_os("MILLRACE_BIN").map(PathBuf::from);
        let mut settings = Self {
            runs: 5,
            seconds: 10,
            is_quick: false,
            rows: Vec::new(),
            who: vec![Who::Ours, Who::Peer, Who::Limit],
            format: Format::Table,
            builds: binary.is_none(),
            dir: target.join("bench-data"),
            binary: binary.unwrap_or_else(|| target.join("release/millrace")),
            serve_args: Vec::new(),
        };
        let mut args = args;
        while let Some(flag) = args.next() {
            match flag.as_str() {
                "--quick" => (settings.is_quick, settings.runs, settings.seconds) = (true, 1, 3),
                "--json" => settings.format = Format::Json,
                "--markdown" => settings.format = Format::Markdown,
                "--no-build" => settings.builds = false,
                _ => settings.set(&flag, &args.next().ok_or(USAGE)?)?,
            }
        }
        Ok(settings)
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<(), String> {
        match flag {
            "--runs" => self.runs = number(value)?,
            "--seconds" => self.seconds = u64::from(number(value)?),
            "--rows" if value == "list" => return Err(rows::names()),
            "--rows" => self.rows = value.split(',').map(str::to_owned).collect(),
            "--who" => {
                let who = value.split(',').map(|name| Who::parse(name).ok_or(USAGE));
                self.who = who.collect::<Result<_, _>>()?;
            }
            "--dir" => self.dir = value.into(),
            "--serve-arg" => self.serve_args.push(value.to_owned()),
            _ => return Err(USAGE.to_owned()),
        }
        Ok(())
    }

    /// How long a run measures.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// Where things are built.
pub(crate) fn target() -> PathBuf {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../target");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| built.into(), PathBuf::from)
}

fn number(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{text:?} is not a positive number; {USAGE}"))
}
