//! The figures, for people.

use std::{fmt::Write as _, time::Duration};

/// What was measured so far.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    rows: Vec<(String, String)>,
}

impl Figures {
    /// Adds a figure.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.rows.push((name.into(), value.into()));
    }

    /// All of them.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.rows {
            writeln!(text, "{name:42} {value}").expect("a string takes everything");
        }
        text
    }
}

/// A rate in millions of bytes a second.
pub(crate) fn rate(bytes: u64, time: Duration) -> String {
    let per_milli = u128::from(bytes) / time.as_millis().max(1);
    format!(
        "{}.{:03} s, {} MB/s",
        time.as_secs(),
        time.subsec_millis(),
        per_milli / 1000
    )
}

/// Millions of bytes.
pub(crate) fn mega(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}
