//! The progress bar.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use millrace_bench::{Phase, Plan, Progress};

use crate::verbs::args::BenchArgs;

/// How far it is, where a person watches.
#[derive(Clone)]
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    warmup: Duration,
}

impl Bar {
    pub(super) fn new(args: &BenchArgs, plan: &Plan) -> Self {
        let talk = args.server.talk;
        let is_wanted = !talk.json && !talk.quiet && io::stderr().is_terminal();
        let bar = is_wanted.then(|| {
            let whole = plan.warmup + plan.duration;
            let bar = ProgressBar::new(millis(whole));
            bar.set_draw_target(ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            warmup: plan.warmup,
        }
    }

    pub(super) fn show(&self, progress: Progress) {
        let Some(bar) = &self.bar else { return };
        bar.set_position(millis(progress.elapsed));
        bar.set_message(match progress.phase {
            Phase::Preparing | Phase::Filling => "making streams".to_owned(),
            Phase::Ready | Phase::Warming => "warming up".to_owned(),
            Phase::Measuring | Phase::Over | Phase::Settling => {
                let since = progress.elapsed.saturating_sub(self.warmup);
                let seconds = since.as_secs_f64().max(0.1);
                #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
                let rate = progress.requests.max(progress.deliveries) as f64 / seconds;
                format!("{rate:.0}/s")
            }
            Phase::Verifying => "verifying".to_owned(),
            Phase::Deleting => "deleting streams".to_owned(),
        });
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
