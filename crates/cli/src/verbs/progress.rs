//! A progress bar for long input, where a person watches.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use millrace_env::{Clock as _, RealClock};

use super::args::TalkArgs;

/// What is over sooner needs no bar.
const AFTER: Duration = Duration::from_millis(700);

/// How far the input is.
#[derive(Debug)]
pub(crate) struct Progress {
    clock: RealClock,
    total: Option<u64>,
    done: u64,
    is_wanted: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Of `total` bytes, where that is known.
    pub(crate) fn new(total: Option<u64>, talk: TalkArgs) -> Self {
        Self {
            clock: RealClock::new(),
            total,
            done: 0,
            is_wanted: !talk.json && !talk.quiet && io::stderr().is_terminal(),
            bar: None,
        }
    }

    /// Counts `bytes` more.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if !self.is_wanted || self.clock.mono() < AFTER {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| bar(self.total));
        bar.set_position(self.done);
    }

    /// Takes the bar away.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        ),
        None => (
            ProgressBar::no_length(),
            "{spinner} {bytes} {bytes_per_sec}",
        ),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
