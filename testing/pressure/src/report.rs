//! The figures, for people and for programs, and whether they are good.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use crate::{appends::Appended, settings::Settings};

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// The process's memory before the first crowd.
    pub(crate) memory_before: u64,
    /// The most it ever was.
    pub(crate) memory_peak: u64,
    /// Quiet and pressed, in turn.
    pub(crate) rounds: Vec<Round>,
}

/// One round.
#[derive(Debug)]
pub(crate) struct Round {
    /// Appends with nobody else there.
    pub(crate) quiet: Appended,
    /// And amid the crowd.
    pub(crate) pressed: Appended,
    /// The most memory while the crowd was there.
    pub(crate) memory: u64,
    /// Connections that did not keep the rules and were let go.
    pub(crate) let_go: u64,
    /// Clients that kept the rules and were refused or cut off.
    pub(crate) wronged: u64,
    /// Bytes that slow readers took.
    pub(crate) taken: u64,
}

impl Round {
    fn ratio(&self) -> f64 {
        let quiet = self.quiet.percentile(99).as_secs_f64();
        self.pressed.percentile(99).as_secs_f64() / quiet.max(1e-6)
    }
}

impl Figures {
    /// The median of the rounds' ratios of p99; noise on the machine hits some rounds, not half.
    pub(crate) fn ratio(&self) -> f64 {
        let mut ratios: Vec<f64> = self.rounds.iter().map(Round::ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn memory(&self) -> u64 {
        let most = self.rounds.iter().map(|round| round.memory).max();
        self.memory_peak.max(most.unwrap_or(0))
    }

    /// What does not hold.
    pub(crate) fn broken(&self, settings: &Settings) -> Vec<String> {
        let mut broken = Vec::new();
        let sum = |of: fn(&Round) -> u64| self.rounds.iter().map(of).sum::<u64>();
        let refused = sum(|round| round.quiet.refused + round.pressed.refused);
        if refused > 0 {
            broken.push(format!("{refused} appends were not acknowledged"));
        }
        let wronged = sum(|round| round.wronged);
        if wronged > 0 {
            broken.push(format!("{wronged} honest clients were refused or cut off"));
        }
        if self.memory() > settings.memory_max {
            let (own, max) = (mib(self.memory()), mib(settings.memory_max));
            broken.push(format!("the process took {own} MiB; --memory-max is {max}"));
        }
        let (ratio, most) = (self.ratio(), settings.ratio_max);
        if !settings.brief && (ratio.is_nan() || ratio >= most) {
            broken.push(format!(
                "p99 is {ratio:.2} times its quiet value; the limit is {most}"
            ));
        }
        broken
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut out = String::from(
            "round  appends  quiet p50    p99   pressed p50    p99  ratio  memory  let go  wronged\n",
        );
        for (number, round) in self.rounds.iter().enumerate() {
            writeln!(
                out,
                "{:>5}  {:>7}  {:>9}  {:>5}  {:>12}  {:>5}  {:>5.2}  {:>6}  {:>6}  {:>7}",
                number + 1,
                round.quiet.took.len() + round.pressed.took.len(),
                millis(round.quiet.percentile(50)),
                millis(round.quiet.percentile(99)),
                millis(round.pressed.percentile(50)),
                millis(round.pressed.percentile(99)),
                round.ratio(),
                mib(round.memory),
                round.let_go,
                round.wronged,
            )
            .expect("a string takes all");
        }
        writeln!(
            out,
            "times in ms, memory in MiB: {} before, {} at most; median ratio {:.2}",
            mib(self.memory_before),
            mib(self.memory()),
            self.ratio()
        )
        .expect("a string takes all");
        out
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let appended = |appended: &Appended| {
            json!({
                "acknowledged": appended.took.len(),
                "refused": appended.refused,
                "p50_ms": appended.percentile(50).as_secs_f64() * 1e3,
                "p99_ms": appended.percentile(99).as_secs_f64() * 1e3,
                "longest_ms": appended.percentile(100).as_secs_f64() * 1e3,
            })
        };
        let rounds: Vec<Value> = self
            .rounds
            .iter()
            .map(|round| {
                json!({
                    "quiet": appended(&round.quiet),
                    "pressed": appended(&round.pressed),
                    "ratio": round.ratio(),
                    "memory_bytes": round.memory,
                    "let_go": round.let_go,
                    "wronged": round.wronged,
                    "taken_bytes": round.taken,
                })
            })
            .collect();
        json!({
            "rounds": rounds,
            "ratio": self.ratio(),
            "memory_before_bytes": self.memory_before,
            "memory_peak_bytes": self.memory(),
        })
    }
}

fn millis(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}
