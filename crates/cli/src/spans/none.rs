//! No spans: the feature `otel` is off.

use tracing_subscriber::layer::Identity;

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

    /// What takes spans up.
    #[expect(clippy::unused_self, reason = "as with the feature `otel`")]
    pub(crate) fn layer(&self) -> Identity {
        Identity::new()
    }
}
