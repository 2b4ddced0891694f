//! Traces: a span for each request and one for each call to a model, sent to a collector by OTLP.
//!
//! Made by hand at those two places rather than from `tracing`'s spans, which the log's level would switch off with the
//! lines. Without a configured endpoint nothing of this runs; `traceparent` is passed on either way.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::{HeaderValue, StatusCode};
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
        Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{IdGenerator as _, RandomIdGenerator, Sampler, SdkTracer, SdkTracerProvider, Span, SpanData},
};

use super::context;
use configuration::traces::TracesConfig;

/// A collector that does not answer costs spans, after this, and nothing else: they are sent by a thread of their own
/// from a bounded queue.
const EXPORT_LIMIT: Duration = Duration::from_secs(5);
/// For what is still queued when the process ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error("the exporter of traces cannot be set up")]
    Exporter(#[from] ExporterBuildError),
}

/// Makes spans. Cheap to clone.
#[derive(Clone)]
pub struct Traces {
    /// Of a hundred requests, so many are kept.
    sample_percent: u8,
    tracer: SdkTracer,
    provider: SdkTracerProvider,
}

/// A span that has begun. Dropping it ends it. In a box, since most services have none and all carry room for it.
pub struct OpenSpan(Box<Span>);

impl Traces {
    /// Nothing, if no endpoint is configured. Starts the exporter's thread; the collector need not be there.
    pub fn new(config: &TracesConfig) -> Result<Option<Self>, TracesError> {
        let Some(endpoint) = &config.endpoint else {
            return Ok(None);
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')))
            .with_timeout(EXPORT_LIMIT)
            .build()?;
        let resource = Resource::builder()
            .with_service_name("mapleai")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let ratio = Sampler::TraceIdRatioBased(f64::from(config.sample_percent) / 100.0);
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(LoggingExporter {
                exporter,
                failing: AtomicBool::new(false),
            })
            .with_sampler(Sampler::ParentBased(Box::new(ratio)))
            .with_resource(resource)
            .build();
        Ok(Some(Self {
            sample_percent: config.sample_percent,
            tracer: provider.tracer("mapleai"),
            provider,
        }))
    }

    /// A request has come (OpenTelemetry's conventions for HTTP servers). Whether its trace is kept is drawn here: if the caller's
    /// flag decided, or the trace id that the caller chose, a caller could have all of its requests kept.
    pub fn request(&self, method: &'static str, route: &str, parent: Option<&HeaderValue>) -> OpenSpan {
        let parent = parent.and_then(remote).map(|caller| self.drawn(&caller));
        let attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", route.to_owned()),
        ];
        self.open(format!("{method} {route}"), SpanKind::Server, attributes, parent)
    }

    fn drawn(&self, caller: &SpanContext) -> SpanContext {
        let drawn = u128::from_be_bytes(RandomIdGenerator::default().new_trace_id().to_bytes()) % 100;
        let flags = if drawn < u128::from(self.sample_percent) {
            TraceFlags::SAMPLED
        } else {
            TraceFlags::NOT_SAMPLED
        };
        SpanContext::new(caller.trace_id(), caller.span_id(), flags, true, TraceState::default())
    }

    /// A model is called (OpenTelemetry's conventions for generative AI).
    pub fn call(&self, operation: &'static str, model: &str, provider: &str, parent: Option<&HeaderValue>) -> OpenSpan {
        let attributes = vec![
            KeyValue::new("gen_ai.operation.name", operation),
            KeyValue::new("gen_ai.request.model", model.to_owned()),
            KeyValue::new("gen_ai.provider.name", provider.to_owned()),
        ];
        let parent = parent.and_then(remote);
        self.open(format!("{operation} {model}"), SpanKind::Client, attributes, parent)
    }

    fn open(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        attributes: Vec<KeyValue>,
        parent: Option<SpanContext>,
    ) -> OpenSpan {
        let parent = parent.map_or_else(Context::new, |remote| Context::new().with_remote_span_context(remote));
        let builder = self
            .tracer
            .span_builder(name)
            .with_kind(kind)
            .with_attributes(attributes);
        OpenSpan(Box::new(self.tracer.build_with_context(builder, &parent)))
    }

    /// Sends what is queued. To be called when the process ends; blocks.
    pub fn close(&self) {
        // What a collector does not take now is lost, as the log has said.
        let _ = self.provider.shutdown_with_timeout(FLUSH_LIMIT);
    }
}

impl OpenSpan {
    /// For those who are called on its behalf.
    pub fn traceparent(&self) -> Option<HeaderValue> {
        let own = self.0.span_context();
        let text = format!(
            "00-{}-{}-{:02x}",
            own.trace_id(),
            own.span_id(),
            own.trace_flags().to_u8()
        );
        HeaderValue::from_str(&text).ok()
    }

    pub fn trace_id(&self) -> Box<str> {
        self.0.span_context().trace_id().to_string().into()
    }

    /// The response's head is on its way.
    pub fn answered(mut self, status: StatusCode) {
        self.0
            .set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            self.0.set_status(Status::error(""));
        }
    }

    /// The call has come to its end.
    pub fn finished(mut self, outcome: &'static str, input_tokens: u64, output_tokens: u64) {
        let tokens = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        self.0
            .set_attribute(KeyValue::new("gen_ai.usage.input_tokens", tokens(input_tokens)));
        self.0
            .set_attribute(KeyValue::new("gen_ai.usage.output_tokens", tokens(output_tokens)));
        self.0.set_attribute(KeyValue::new("maple.outcome", outcome));
        if matches!(outcome, "failed" | "timed_out") {
            self.0.set_attribute(KeyValue::new("error.type", outcome));
            self.0.set_status(Status::error(outcome));
        }
    }
}

/// Tells when exporting begins to fail and when it works again, rather than for each batch.
#[derive(Debug)]
struct LoggingExporter {
    exporter: SpanExporter,
    failing: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for LoggingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let outcome = self.exporter.export(batch).await;
        let was_failing = self.failing.swap(outcome.is_err(), Ordering::Relaxed);
        match &outcome {
            Err(error) if !was_failing => {
                tracing::warn!(target: "mapleai::traces", error = %error, "traces cannot be sent; they are lost until the collector takes them");
            }
            Ok(()) if was_failing => tracing::warn!(target: "mapleai::traces", "traces are being sent again"),
            _ => {}
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The span that a header names, if it is a valid one.
fn remote(traceparent: &HeaderValue) -> Option<SpanContext> {
    let text = traceparent.to_str().ok()?;
    let trace = context::trace_id(text)?;
    let mut rest = text.split('-').skip(2);
    let (span, flags) = (rest.next()?, rest.next()?);
    Some(SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    ))
}
