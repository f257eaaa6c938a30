//! What is measured, from the command line.

use std::{path::PathBuf, time::Duration};

/// How to call it.
const USAGE: &str = "millrace-scale [--streams 1000000] [--connections 16] [--pipeline 64] \
     [--rests 60,120] [--dir <where the data goes>] [--serve-arg <flag for the server>]... [--keep] [--json]; \
     MILLRACE_BIN names the binary";

/// The settings of one run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The binary under test.
    pub(crate) binary: PathBuf,
    /// How many streams are created before the first stop.
    pub(crate) streams: u64,
    /// How many connections create them.
    pub(crate) connections: u64,
    /// How many requests a connection has under way.
    pub(crate) pipeline: u64,
    /// After how long without an append memory is looked at; rising.
    pub(crate) rests: Vec<Duration>,
    /// Where the data directory is made.
    pub(crate) dir: PathBuf,
    /// Flags for `serve` beside those that the measurement needs.
    pub(crate) serve_args: Vec<String>,
    /// Leave the data directory where it is.
    pub(crate) keep: bool,
    /// Figures as JSON.
    pub(crate) json: bool,
}

impl Settings {
    /// From the arguments after the program's name.
    pub(crate) fn from_args(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self {
            binary: millrace_harness::binary(),
            streams: 1_000_000,
            connections: 16,
            pipeline: 64,
            rests: vec![Duration::from_mins(1), Duration::from_mins(2)],
            dir: std::env::temp_dir(),
            serve_args: Vec::new(),
            keep: false,
            json: false,
        };
        let mut args = args;
        while let Some(flag) = args.next() {
            match flag.as_str() {
                "--json" => settings.json = true,
                "--keep" => settings.keep = true,
                _ => settings.set(&flag, &args.next().ok_or(USAGE)?)?,
            }
        }
        Ok(settings)
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<(), String> {
        match flag {
            "--streams" => self.streams = number(value)?,
            "--connections" => self.connections = number(value)?,
            "--pipeline" => self.pipeline = number(value)?,
            "--dir" => self.dir = value.into(),
            "--serve-arg" => self.serve_args.push(value.into()),
            "--rests" => {
                let rests = value.split(',').map(number);
                let rests: Result<Vec<u64>, String> = rests.collect();
                self.rests = rests?.into_iter().map(Duration::from_secs).collect();
                self.rests.sort_unstable();
            }
            _ => return Err(USAGE.into()),
        }
        Ok(())
    }
}

/// A number of things, at least 1.
fn number(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{text:?} is not a positive number; {USAGE}"))
}
