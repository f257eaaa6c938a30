//! Log lines, on stderr, and spans where somebody collects them. `RUST_LOG` chooses the lines, as in
//! `millrace_server=debug`, which shows every request with its id, and with it on all lines that the
//! request gave rise to.

use std::io::IsTerminal as _;

use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, filter::LevelFilter, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{args::LogFormat, fail::Failure, spans::Spans};

/// Starts logging. Once a process. Spans that are left are sent when the answer is dropped.
pub(crate) fn start(format: LogFormat) -> Result<Spans, Failure> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    let lines = tracing_subscriber::fmt::layer::<Registry>()
        // Told on stderr too, with a panic when nobody reads that either.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let spans = Spans::start()?;
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans.layer())
        .init();
    Ok(spans)
}
