//! Spans of OpenTelemetry, sent through the broker's own HTTP client.
//!
//! A collector that is slow or away costs spans and nothing else: they wait in a queue with an end, and a thread of their own sends
//! them.

use std::{env, pin::Pin, sync::OnceLock, time::Duration};

use anyhow::Context as _;
use axum::{body::Bytes, http::HeaderMap, response::Response};
use guard_core::SessionId;
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator as _,
    trace::{
        FutureExt as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};
use tokio::runtime::Handle;

use super::Outcome;

/// A collector takes spans at once, or they are lost.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Any of these names a collector.
const VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// Where a collector takes spans (<https://opentelemetry.io/docs/specs/otlp/#otlphttp-request>).
const PATH: &str = "/v1/traces";

/// What makes spans; nothing where nobody wants any.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Sends spans with the broker's client. They come from a thread that is none of the runtime's.
#[derive(Debug)]
struct Sender {
    http: reqwest::Client,
    runtime: Handle,
}

type Sent<'a> =
    Pin<Box<dyn Future<Output = Result<axum::http::Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Sender {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: axum::http::Request<Bytes>,
    ) -> Sent<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let http = self.http.clone();
        let sending = self.runtime.spawn(async move {
            let answer = http.execute(request.try_into()?).await?;
            let mut taken = axum::http::Response::new(Bytes::new());
            // What it says besides is not read: it is for nobody here, and has no bound.
            *taken.status_mut() = answer.status();
            Ok::<_, reqwest::Error>(taken)
        });
        Box::pin(async move { Ok(sending.await??) })
    }
}

/// Starts to send spans, if somebody wants them.
pub(super) fn start(endpoint: Option<&str>) -> anyhow::Result<Option<SdkTracerProvider>> {
    let named = VARIABLES.iter().any(|name| env::var(name).is_ok_and(|text| !text.is_empty()));
    if endpoint.is_none() && !named {
        return Ok(None);
    }
    let http = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("guard-broker/", env!("CARGO_PKG_VERSION")))
        .build()?;
    let sender = Sender { http, runtime: Handle::try_current()? };
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(sender)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(TIMEOUT);
    if let Some(endpoint) = endpoint {
        exporter = exporter.with_endpoint(format!("{endpoint}{PATH}"));
    }
    let exporter = exporter.build().context("spans cannot be sent")?;
    let resource = Resource::builder()
        .with_service_name("guard-broker")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let _ = TRACER.set(provider.tracer("guard-broker"));
    Ok(Some(provider))
}

/// The trace that a request belongs to.
pub(super) fn parent(headers: &HeaderMap) -> Context {
    if TRACER.get().is_none() {
        return Context::new();
    }
    TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers))
}

pub(super) async fn request(
    (method, path): (&'static str, &'static str),
    parent: Context,
    work: impl Future<Output = Response>,
) -> Response {
    let Some(tracer) = TRACER.get() else { return work.await };
    let span = tracer
        .span_builder(format!("{method} {path}"))
        .with_kind(SpanKind::Server)
        .with_attributes([
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", path),
        ])
        .start_with_context(tracer, &parent);
    let context = parent.with_span(span);
    let answer = work.with_context(context.clone()).await;
    let (span, status) = (context.span(), answer.status());
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        span.set_status(Status::error(""));
    }
    span.end();
    answer
}

pub(super) async fn step<T: Outcome>(
    name: &'static str,
    session: Option<SessionId>,
    work: impl Future<Output = T>,
) -> T {
    let Some(tracer) = TRACER.get() else { return work.await };
    let parent = Context::current();
    let mut span = tracer.span_builder(name);
    if let Some(session) = session {
        span = span.with_attributes([KeyValue::new("guard.session", session.to_string())]);
    }
    let context = parent.with_span(span.start_with_context(tracer, &parent));
    let outcome = work.with_context(context.clone()).await;
    if !outcome.went_well() {
        context.span().set_status(Status::error(""));
    }
    context.span().end();
    outcome
}
