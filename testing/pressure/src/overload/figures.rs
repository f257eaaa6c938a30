//! The figures of an overload, and whether they are good.

use std::{fmt::Write as _, sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};

use super::{
    tally::{Fate, Tally},
    writers::Written,
};
use crate::settings::Settings;

/// The process's memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Resident before anybody pressed.
    pub(super) before: u64,
    /// The most that was ever resident, as the system noted it.
    pub(super) peak: u64,
    /// The most of it that was seen to be the process's own, rather than pages of files.
    pub(super) anonymous: u64,
}

/// What is told of one kind of client.
#[derive(Clone, Copy, Debug)]
struct Told {
    begun: u64,
    refused: u64,
    let_go: u64,
}

impl Told {
    fn of(fate: &Fate) -> Self {
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            begun: get(&fate.begun),
            refused: get(&fate.refused),
            let_go: get(&fate.let_go),
        }
    }

    fn json(self) -> Value {
        json!({ "begun": self.begun, "refused": self.refused, "let_go": self.let_go })
    }
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Figures {
    seconds: f64,
    memory_max: u64,
    memory: Memory,
    readers: Told,
    uploads: Told,
    writers: Told,
    taken: u64,
    gap: Duration,
    /// The longest it may be; not looked at where others use the machine.
    gap_max: Option<Duration>,
    bytes: u64,
    records: u64,
    wrong: Vec<String>,
}

impl Figures {
    pub(super) fn new(
        settings: &Settings,
        tally: &Tally,
        written: &[Written],
        memory: Memory,
        (bytes, records): (u64, u64),
    ) -> Self {
        Self {
            seconds: settings.measured.as_secs_f64(),
            memory_max: settings.memory_max,
            memory,
            readers: Told::of(&tally.readers),
            uploads: Told::of(&tally.uploads),
            writers: Told::of(&tally.writers),
            taken: tally.taken.load(Ordering::Relaxed),
            gap: written
                .iter()
                .map(|written| written.gap)
                .max()
                .unwrap_or_default(),
            gap_max: (!settings.brief).then_some(settings.gap_max),
            bytes,
            records,
            wrong: tally.wrongs(),
        }
    }

    fn ratio(&self) -> f64 {
        float(self.memory.peak >> 10) / float(self.memory_max >> 10)
    }

    /// What does not hold.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = self.wrong.clone();
        if self.memory.peak.saturating_mul(2) >= self.memory_max.saturating_mul(3) {
            broken.push(format!(
                "the process took {} MiB; one and a half times --memory-max is {}",
                self.memory.peak >> 20,
                (self.memory_max * 3 / 2) >> 20
            ));
        }
        if self.gap_max.is_some_and(|max| self.gap > max) {
            broken.push(format!(
                "a writer waited {:?} for its next acknowledgement",
                self.gap
            ));
        }
        if self.records == 0 {
            broken.push("nothing was acknowledged".into());
        }
        broken
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        writeln!(
            out,
            "memory: --memory-max {} MiB, resident {} before and {} at most ({:.2} of it), anonymous {} at most",
            self.memory_max >> 20,
            self.memory.before >> 20,
            self.memory.peak >> 20,
            self.ratio(),
            self.memory.anonymous >> 20,
        )
        .expect("a string takes all");
        for (who, told) in [
            ("readers", self.readers),
            ("uploads", self.uploads),
            ("appends", self.writers),
        ] {
            let Told {
                begun,
                refused,
                let_go,
            } = told;
            writeln!(
                out,
                "{who}: {begun} begun, {refused} refused with 429, {let_go} let go"
            )
            .expect("a string takes all");
        }
        writeln!(
            out,
            "found: {} appends of {} MB, all that were acknowledged ({:.0}/s); longest wait of a writer {:.2} s; \
             {} KiB taken by readers",
            self.records,
            self.bytes / 1_000_000,
            float(self.records) / self.seconds,
            self.gap.as_secs_f64(),
            self.taken >> 10,
        )
        .expect("a string takes all");
        out
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "memory_max_bytes": self.memory_max,
            "memory_before_bytes": self.memory.before,
            "memory_peak_bytes": self.memory.peak,
            "memory_anonymous_bytes": self.memory.anonymous,
            "memory_ratio": self.ratio(),
            "readers": self.readers.json(),
            "uploads": self.uploads.json(),
            "appends": self.writers.json(),
            "taken_bytes": self.taken,
            "longest_wait_ms": self.gap.as_secs_f64() * 1e3,
            "found_records": self.records,
            "found_bytes": self.bytes,
        })
    }
}

/// A number of kibibytes, or of appends: there are fewer than 2^32.
fn float(number: u64) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}
