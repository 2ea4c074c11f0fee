//! Traces over OTLP/HTTP, where `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector. Where it does not,
//! nothing of this runs.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::{Handle, Runtime};
use tracing::level_filters::LevelFilter;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;
use weir_engine::notify::Poster;
use weir_protocol::{Error, Result};

use crate::config::TraceSettings;

/// At the end, what is not yet sent is waited for so long.
const FLUSH: Duration = Duration::from_secs(5);

pub(crate) struct Telemetry {
    provider: SdkTracerProvider,
    /// Its own: it sends also where the command's runtime is not there yet, or no more.
    runtime: Runtime,
}

impl Telemetry {
    /// None where nothing asks for traces.
    pub(crate) fn start(settings: TraceSettings) -> Result<Option<Self>> {
        if !settings.is_on {
            return Ok(None);
        }
        let failed = |what: &str| {
            Error::spec(format!("traces cannot be sent: {what}"))
                .hint("check the variables OTEL_EXPORTER_OTLP_…; docs/guides/telemetry.md has them")
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("traces")
            .enable_all()
            .build()
            .map_err(|error| failed("no runtime").caused_by(error))?;
        let client = Collector {
            poster: Poster::new()?,
            runtime: runtime.handle().clone(),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .build()
            .map_err(|error| failed("the exporter cannot be made").caused_by(error))?;
        let mut resource = Resource::builder();
        if !settings.has_service_name {
            resource = resource.with_service_name("weir");
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Some(Self { provider, runtime }))
    }

    /// Turns weir's own spans into those of traces. What is logged is another matter.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let own = ["weir", "weir_control", "weir_engine", "weir_lake", "weir_server"];
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("weir"))
            .with_location(false)
            .with_threads(false)
            .with_filter(Targets::new().with_targets(own.map(|target| (target, LevelFilter::INFO))))
    }

    /// Sends what is left. A collector that is away costs a few seconds, and nothing else.
    pub(crate) fn flush(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the last traces were not sent");
        }
        self.runtime.shutdown_background();
    }
}

/// Joins a request's span to the trace that its caller names (W3C Trace Context).
pub(crate) fn join(headers: &axum::http::HeaderMap, span: &Span) {
    let parent = TraceContextPropagator::new().extract(&Headers(headers));
    // A span that nobody traces has no parent to set.
    if span.set_parent(parent).is_err() {
        tracing::trace!("the request is not traced");
    }
}

/// The trace of what is done at the moment, as the header `traceparent` says it; none where nothing is traced.
pub(crate) fn traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove("traceparent")
}

struct Headers<'a>(&'a axum::http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

/// Sends to the collector by weir's own HTTP client: no redirects, bounded answers, plain HTTP to
/// private addresses only.
struct Collector {
    poster: Poster,
    runtime: Handle,
}

impl fmt::Debug for Collector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Collector")
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> std::result::Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let headers: Vec<(String, String)> = parts
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        let poster = self.poster.clone();
        // The exporter's thread has no runtime.
        let sent = self.runtime.spawn(async move {
            let headers: Vec<(&str, &str)> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            poster
                .post(&parts.uri.to_string(), &headers, body.to_vec(), true)
                .await
        });
        let posted = sent.await??;
        Ok(Response::builder().status(posted.status).body(Bytes::new())?)
    }
}
