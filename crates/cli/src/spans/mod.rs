//! Spans for an OpenTelemetry collector: each request, and each turn of a shard.
//!
//! Built with the feature `otel`, they are sent where `OTEL_EXPORTER_OTLP_ENDPOINT` says, and nowhere
//! when it is not set. Built without, this does nothing and nothing of it is in the binary.

#[cfg(not(feature = "otel"))]
mod none;
#[cfg(feature = "otel")]
mod otlp;

#[cfg(not(feature = "otel"))]
pub(crate) use none::Spans;
#[cfg(feature = "otel")]
pub(crate) use otlp::Spans;
