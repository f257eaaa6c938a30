//! What is imported, from the command line and the environment.

use std::path::PathBuf;

/// How to call it.
const USAGE: &str = "millrace-import [--bytes 64000000] [--batch-bytes 128KiB] [--dir <where the data goes>] \
     [--serve-arg <flag for the server>]... [--keep]; MILLRACE_IMPORT_BYTES is --bytes, MILLRACE_BIN names the binary";

/// The settings of one run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The binary under test.
    pub(crate) binary: PathBuf,
    /// How large the file is, to the end of a line.
    pub(crate) bytes: u64,
    /// `--batch-bytes` of the interrupted import.
    pub(crate) batch_bytes: String,
    /// Where everything is made.
    pub(crate) dir: PathBuf,
    /// Flags for `serve` beside those that the test needs.
    pub(crate) serve_args: Vec<String>,
    /// Leave the directory where it is.
    pub(crate) keep: bool,
}

impl Settings {
    /// From the arguments after the program's name.
    pub(crate) fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let bytes = std::env::var("MILLRACE_IMPORT_BYTES").ok();
        let mut settings = Self {
            binary: millrace_harness::binary(),
            bytes: bytes.map_or(Ok(64_000_000), |bytes| number(&bytes))?,
            batch_bytes: "128KiB".into(),
            dir: std::env::temp_dir(),
            serve_args: Vec::new(),
            keep: false,
        };
        while let Some(flag) = args.next() {
            if flag == "--keep" {
                settings.keep = true;
                continue;
            }
            let value = args.next().ok_or(USAGE)?;
            match flag.as_str() {
                "--bytes" => settings.bytes = number(&value)?,
                "--batch-bytes" => settings.batch_bytes = value,
                "--dir" => settings.dir = value.into(),
                "--serve-arg" => settings.serve_args.push(value),
                _ => return Err(USAGE.into()),
            }
        }
        Ok(settings)
    }
}

fn number(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number >= 1_000_000);
    number.ok_or_else(|| format!("{text:?} is no number of bytes over a million; {USAGE}"))
}
