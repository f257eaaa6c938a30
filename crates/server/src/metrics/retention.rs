//! The figures of retention, and their names.

use millrace_engine::metrics::RetentionFigures;

use super::text::{Text, Type};

/// All of them.
pub(super) fn families(text: &mut Text, figures: &RetentionFigures) {
    text.family(
        "millrace_retention_streams",
        Type::Gauge,
        "Streams that say how much of them is kept.",
    )
    .is(figures.policies);
    text.family(
        "millrace_retention_passes_total",
        Type::Counter,
        "Passes of retention.",
    )
    .is(figures.passes);
    text.family(
        "millrace_retention_looks_total",
        Type::Counter,
        "Streams that passes looked at, each time one.",
    )
    .is(figures.streams);
    text.family(
        "millrace_retention_trims_total",
        Type::Counter,
        "Trims that passes made.",
    )
    .is(figures.trimmed);
    text.family(
        "millrace_retention_bytes_total",
        Type::Counter,
        "Bytes that can be read no longer since passes trimmed them.",
    )
    .is(figures.bytes);
    text.family(
        "millrace_retention_failures_total",
        Type::Counter,
        "Streams that passes could not look at or trim, each time one.",
    )
    .is(figures.failed);
    text.family(
        "millrace_retention_last_end_timestamp_seconds",
        Type::Gauge,
        "When the last pass of retention ended, in seconds since the Unix epoch; 0 before the first.",
    )
    .is(figures.ended_seconds);
}
