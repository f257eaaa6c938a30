//! Deliberate defects, one at a time, by which the tests prove that they would find them.
//!
//! They exist only with the feature `mutants`, which nothing turns on but `testing/mutants`. Without it
//! [`is`] is a constant `false`, and the compiler leaves out what it guards. A program that has them
//! says so in its first line, and starts only when `MILLRACE_MUTANT` names one, or `none`.
//!
//! A mutant here stands for a defect that a server of this kind had (`docs/reliability.md` lists them
//! with the test that catches each), at the place where Millrace would have it.

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A turn is acknowledged, and its frame is synced before the next one is written.
    AcknowledgeBeforeSync,
    /// A turn is shown to readers, and then its frame is synced.
    PublishBeforeSync,
    /// A turn is acknowledged, and shown to readers a little later.
    AnswerBeforePublish,
    /// Two appends of one turn to one stream begin at the same position.
    ReuseOffset,
    /// A stream that is created again has the generation of the one before.
    ReuseGeneration,
    /// What producers sent is not read back from the log.
    ForgetProducersAtReplay,
    /// What producers sent is not flushed with the bytes.
    ForgetProducersAtFlush,
    /// Closure is not read back from the log.
    ForgetClosureAtReplay,
    /// Deletions are not read back from the log.
    ForgetDeletionsAtReplay,
    /// `Stream-Seq` is not read back from the log.
    ForgetSeqAtReplay,
    /// One frame in sixteen is not read back from the log.
    DropFramesAtReplay,
    /// The log is recycled before the catalog names what was flushed of it.
    RecycleBeforeCommit,
    /// A page that stops short of the tail says that the reader is at the tail.
    MovePastBytes,
    /// The names of new segments are not synced before the catalog names them.
    ForgetDirectorySync,
    /// What is read from a segment is not compared with its checksum.
    TrustDamagedBytes,
    /// A log that is damaged before its end is cut there.
    CutDamagedLog,
    /// A worker of a subscription whose wake is over is let through as if it held the wake of now.
    LetFencedThrough,
    /// Acks of subscriptions are answered and not kept.
    ForgetAcks,
    /// What was appended before a start gives rise to no wake.
    LoseWakesAtStart,
}

#[cfg(feature = "mutants")]
pub use chosen::{is, warn};

/// Whether this build is to have this defect: it has none.
#[cfg(not(feature = "mutants"))]
#[inline]
pub const fn is(_: Mutant) -> bool {
    false
}

/// Says what this build is not fit for: nothing.
#[cfg(not(feature = "mutants"))]
#[inline]
pub const fn warn() {}

#[cfg(feature = "mutants")]
mod chosen {
    use std::sync::OnceLock;

    use super::Mutant;

    const VARIABLE: &str = "MILLRACE_MUTANT";

    const ALL: [(&str, Mutant); 19] = [
        ("acknowledge-before-sync", Mutant::AcknowledgeBeforeSync),
        ("publish-before-sync", Mutant::PublishBeforeSync),
        ("answer-before-publish", Mutant::AnswerBeforePublish),
        ("reuse-offset", Mutant::ReuseOffset),
        ("reuse-generation", Mutant::ReuseGeneration),
        (
            "forget-producers-at-replay",
            Mutant::ForgetProducersAtReplay,
        ),
        ("forget-producers-at-flush", Mutant::ForgetProducersAtFlush),
        ("forget-closure-at-replay", Mutant::ForgetClosureAtReplay),
        (
            "forget-deletions-at-replay",
            Mutant::ForgetDeletionsAtReplay,
        ),
        ("forget-seq-at-replay", Mutant::ForgetSeqAtReplay),
        ("drop-frames-at-replay", Mutant::DropFramesAtReplay),
        ("recycle-before-commit", Mutant::RecycleBeforeCommit),
        ("move-past-bytes", Mutant::MovePastBytes),
        ("forget-directory-sync", Mutant::ForgetDirectorySync),
        ("trust-damaged-bytes", Mutant::TrustDamagedBytes),
        ("cut-damaged-log", Mutant::CutDamagedLog),
        ("let-fenced-through", Mutant::LetFencedThrough),
        ("forget-acks", Mutant::ForgetAcks),
        ("lose-wakes-at-start", Mutant::LoseWakesAtStart),
    ];

    /// The one defect of this process. A static, because it stands for a line of code that is wrong.
    static CHOSEN: OnceLock<Option<Mutant>> = OnceLock::new();

    /// Whether this process is to have this defect.
    pub fn is(mutant: Mutant) -> bool {
        *CHOSEN.get_or_init(choose) == Some(mutant)
    }

    /// Says what this build is not fit for.
    ///
    /// # Panics
    /// When `MILLRACE_MUTANT` names no mutant, and not `none` either.
    pub fn warn() {
        let chosen = CHOSEN.get_or_init(choose);
        eprintln!("THIS BUILD BREAKS ITS PROMISES ON PURPOSE, never give it data: {chosen:?}");
    }

    fn choose() -> Option<Mutant> {
        let name = std::env::var(VARIABLE).unwrap_or_default();
        if name == "none" {
            return None;
        }
        let found = ALL.into_iter().find(|(known, _)| *known == name);
        let Some((_, mutant)) = found else {
            let names = ALL.map(|(known, _)| known).join(", ");
            panic!("this build needs {VARIABLE} to be `none` or one of: {names}");
        };
        Some(mutant)
    }
}
