//! Standard output, and talk on standard error.

use std::io::{self, IsTerminal as _, Write as _};

use bytes::Bytes;
use millrace_env::tasks;
use serde_json::Value;

use super::args::TalkArgs;
use crate::fail::Failure;

/// What became of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Written {
    /// It was taken.
    Whole,
    /// Nobody reads any more: end quietly.
    BrokenPipe,
}

/// Writes all of `bytes`. On a helper thread, so that a reader that stalls does not keep signals
/// from being heard.
pub(crate) async fn write(bytes: Bytes) -> Result<Written, Failure> {
    if bytes.is_empty() {
        return Ok(Written::Whole);
    }
    let written = tasks::blocking(move || {
        let mut out = io::stdout().lock();
        out.write_all(&bytes).and_then(|()| out.flush())
    });
    of(written.await)
}

/// Writes a line.
pub(crate) async fn line(text: impl Into<String>) -> Result<Written, Failure> {
    let mut text: String = text.into();
    text.push('\n');
    write(text.into()).await
}

/// Writes a JSON document as a line.
pub(crate) async fn document(value: &Value) -> Result<Written, Failure> {
    line(value.to_string()).await
}

/// What a write came to.
pub(crate) fn of(result: io::Result<()>) -> Result<Written, Failure> {
    match result {
        Ok(()) => Ok(Written::Whole),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Written::BrokenPipe),
        Err(error) => Err(Failure::failed(format!(
            "the output cannot be written: {error}"
        ))),
    }
}

impl TalkArgs {
    /// Tells a person something, unless they want none of it or a program listens.
    pub(crate) fn say(self, text: impl AsRef<str>) {
        if !self.quiet && !self.json {
            // Nobody may be listening to stderr either.
            let _ = writeln!(io::stderr(), "{}", text.as_ref());
        }
    }

    /// The same, only where a person watches.
    pub(crate) fn hint(self, text: impl AsRef<str>) {
        if io::stderr().is_terminal() {
            self.say(text);
        }
    }
}
