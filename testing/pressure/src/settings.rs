//! How hard it is pressed, from the command line.

use std::{path::PathBuf, time::Duration};

/// How to call it.
const USAGE: &str = "millrace-pressure [--idle 2000] [--senders 500] [--readers 500] [--rounds 5] \
     [--seconds 6] [--settle 5] [--rate 200] [--connections 16] [--memory-mib 256] [--ratio-max 2] \
     [--overload [--writers 64] [--gap-max 15]] [--dir <where the data goes>] [--serve-arg <flag for the server>]... [--brief] [--json]; \
     MILLRACE_BIN names the binary";

/// The settings of one run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The binary under test.
    pub(crate) binary: PathBuf,
    /// Connections that ask nothing, or never end asking.
    pub(crate) idle: usize,
    /// Clients whose bodies drip.
    pub(crate) senders: usize,
    /// Clients that take their answers slowly, or not at all.
    pub(crate) readers: usize,
    /// How often quiet and pressed are measured, in turn.
    pub(crate) rounds: usize,
    /// How long each is measured.
    pub(crate) measured: Duration,
    /// How long a crowd is left alone before anything is measured.
    pub(crate) settle: Duration,
    /// Appends a second, on all connections together.
    pub(crate) rate: u32,
    /// Connections that append.
    pub(crate) connections: u32,
    /// The server's `--memory-max`, in bytes.
    pub(crate) memory_max: u64,
    /// What the median of the rounds' ratios must stay under.
    pub(crate) ratio_max: f64,
    /// More readers and writers than there is memory for, instead of the crowd.
    pub(crate) overload: bool,
    /// Writers at full speed, in an overload.
    pub(crate) writers: u32,
    /// The longest that one of them may wait for its next acknowledgement.
    pub(crate) gap_max: Duration,
    /// Where the data directory is made.
    pub(crate) dir: PathBuf,
    /// Flags for `serve` beside those that the measurement needs.
    pub(crate) serve_args: Vec<String>,
    /// One short round, and no look at the ratio: whether it works, on a machine that does other
    /// things too.
    pub(crate) brief: bool,
    /// Figures as JSON.
    pub(crate) json: bool,
}

impl Settings {
    /// From the arguments after the program's name.
    pub(crate) fn from_args(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self {
            binary: millrace_harness::binary(),
            idle: 2000,
            senders: 500,
            readers: 500,
            rounds: 5,
            measured: Duration::from_secs(6),
            settle: Duration::from_secs(5),
            rate: 200,
            connections: 16,
            memory_max: 256 << 20,
            ratio_max: 2.0,
            overload: false,
            writers: 64,
            gap_max: Duration::from_secs(15),
            dir: std::env::temp_dir(),
            serve_args: Vec::new(),
            brief: false,
            json: false,
        };
        let args: Vec<String> = args.collect();
        if args.iter().any(|flag| flag == "--overload") {
            settings.overload = true;
            settings.senders = 1000;
            settings.readers = 1000;
            settings.measured = Duration::from_secs(45);
        }
        let mut args = args.into_iter();
        while let Some(flag) = args.next() {
            match flag.as_str() {
                "--overload" => {}
                "--json" => settings.json = true,
                "--brief" => settings.brief = true,
                _ => settings.set(&flag, &args.next().ok_or(USAGE)?)?,
            }
        }
        if settings.brief {
            settings.rounds = 1;
            settings.measured = Duration::from_secs(if settings.overload { 8 } else { 4 });
        }
        Ok(settings)
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<(), String> {
        match flag {
            "--idle" => self.idle = number(value)?,
            "--senders" => self.senders = number(value)?,
            "--readers" => self.readers = number(value)?,
            "--rounds" => self.rounds = number::<usize>(value)?.max(1),
            "--seconds" => self.measured = Duration::from_secs(number::<u64>(value)?.max(1)),
            "--settle" => self.settle = Duration::from_secs(number(value)?),
            "--rate" => self.rate = number::<u32>(value)?.max(1),
            "--connections" => self.connections = number::<u32>(value)?.max(1),
            "--memory-mib" => self.memory_max = number::<u64>(value)? << 20,
            "--ratio-max" => self.ratio_max = number(value)?,
            "--writers" => self.writers = number::<u32>(value)?.max(1),
            "--gap-max" => self.gap_max = Duration::from_secs(number(value)?),
            "--dir" => self.dir = value.into(),
            "--serve-arg" => self.serve_args.push(value.into()),
            _ => return Err(USAGE.into()),
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    let number = text.parse().ok();
    number.ok_or_else(|| format!("{text:?} is not a number; {USAGE}"))
}
