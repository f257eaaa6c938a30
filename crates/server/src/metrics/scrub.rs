//! The figures of the scrub, and their names.

use millrace_engine::metrics::ScrubFigures;

use super::text::{Text, Type, seconds};

/// All of them.
pub(super) fn families(text: &mut Text, figures: &ScrubFigures) {
    text.family(
        "millrace_scrub_bytes_total",
        Type::Counter,
        "Bytes at rest that the scrub read.",
    )
    .is(figures.bytes);
    let mut family = text.family(
        "millrace_scrub_files_total",
        Type::Counter,
        "Files that the scrub found whole, by kind.",
    );
    family.of("kind", "segment", figures.segments);
    family.of("kind", "log", figures.logs);
    text.family(
        "millrace_scrub_damaged_blocks_total",
        Type::Counter,
        "Blocks that the scrub found damaged, once each time.",
    )
    .is(figures.damaged_blocks);
    text.family(
        "millrace_scrub_damaged_files",
        Type::Gauge,
        "Files that the scrub knows to be damaged.",
    )
    .is(figures.damaged_files);
    text.family(
        "millrace_scrub_last_start_timestamp_seconds",
        Type::Gauge,
        "When the last pass of the scrub began, in seconds since the Unix epoch; 0 before the first.",
    )
    .is(figures.began_seconds);
    text.family(
        "millrace_scrub_last_end_timestamp_seconds",
        Type::Gauge,
        "When the last pass of the scrub ended, in seconds since the Unix epoch; 0 before the first.",
    )
    .is(figures.ended_seconds);
    text.family(
        "millrace_scrub_progress_ratio",
        Type::Gauge,
        "How much is done of the pass under way, or of the last one.",
    )
    .is(seconds(figures.progress_millionths));
}
