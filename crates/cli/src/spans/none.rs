//! No spans: the feature `otel` is off.

use tracing::Subscriber;
use tracing_subscriber::{
    Layer as _,
    filter::{Filtered, LevelFilter},
    layer::Identity,
    registry::LookupSpan,
};

use crate::fail::Failure;

/// Sends nothing.
#[derive(Debug)]
pub(crate) struct Spans;

impl Spans {
    /// Never fails.
    #[expect(clippy::unnecessary_wraps, reason = "as with the feature `otel`")]
    pub(crate) fn start() -> Result<Self, Failure> {
        Ok(Self)
    }

    /// What takes spans up: nothing, and it says so. A layer without a filter of its own would switch
    /// every span and line on for all others, at any level.
    #[expect(clippy::unused_self, reason = "as with the feature `otel`")]
    pub(crate) fn layer<S>(&self) -> Filtered<Identity, LevelFilter, S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        Identity::new().with_filter(LevelFilter::OFF)
    }
}
