//! Spans over OTLP (protobuf over HTTP), in batches, from a thread of the library's own.
//!
//! Settings are OpenTelemetry's own names in the environment: `OTEL_EXPORTER_OTLP_ENDPOINT`,
//! `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, and so on.

use std::env;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::{FilterFn, LevelFilter},
    registry::LookupSpan,
};

use crate::fail::Failure;

/// Each of them says where to.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
/// What the collector calls this process, where the environment has no other name.
const SERVICE: &str = "millrace";

/// Sends spans; those that are left, when it is dropped.
#[derive(Debug)]
pub(crate) struct Spans(Option<SdkTracerProvider>);

impl Spans {
    /// Begins to send where the environment says; nowhere if it says nothing.
    pub(crate) fn start() -> Result<Self, Failure> {
        if !ENDPOINTS.iter().any(|name| is_set(name)) {
            return Ok(Self(None));
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .build()
            .map_err(|error| {
                Failure::usage(format!("spans cannot be sent: {error}"))
                    .help("set OTEL_EXPORTER_OTLP_ENDPOINT as in `http://127.0.0.1:4318`")
            })?;
        let resource = if is_set("OTEL_SERVICE_NAME") {
            Resource::builder()
        } else {
            Resource::builder().with_service_name(SERVICE)
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Self(Some(provider)))
    }

    /// What takes spans up.
    pub(crate) fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let tracer = self.0.as_ref()?.tracer(SERVICE);
        let own = FilterFn::new(is_own).with_max_level_hint(LevelFilter::DEBUG);
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        Some(layer.with_filter(own))
    }
}

impl Drop for Spans {
    fn drop(&mut self) {
        let Some(provider) = &self.0 else { return };
        if let Err(error) = provider.shutdown() {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// Spans, and the question whether anybody takes any. Not those of libraries: the exporter's own
/// requests would make spans for ever.
fn is_own(metadata: &Metadata<'_>) -> bool {
    !metadata.is_event() && metadata.target().starts_with("millrace")
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}
