//! Traces: where the time of a request went, for collectors that speak OTLP over HTTP.
//!
//! Behind the feature `otel`. Without it, and where nobody configured a collector, work is done as if it were not watched. A span has a
//! route or the name of a step, a status and the session's id; never a token, a claim, an address or a reason.

#[cfg(feature = "otel")]
mod otlp;

use axum::{http::HeaderMap, response::Response};
use guard_core::SessionId;

/// The trace that a request belongs to, as its `traceparent` says (<https://www.w3.org/TR/trace-context/>).
#[derive(Debug, Default)]
pub(crate) struct Parent(#[cfg(feature = "otel")] opentelemetry::Context);

/// What sends spans, until it is stopped.
#[derive(Debug)]
pub(crate) struct Telemetry(
    #[cfg(feature = "otel")] Option<opentelemetry_sdk::trace::SdkTracerProvider>,
);

/// What a span says of how a step went.
pub(crate) trait Outcome {
    /// Whether it did what it was asked for.
    #[cfg_attr(
        not(feature = "otel"),
        expect(dead_code, reason = "asked by spans, which the feature makes")
    )]
    fn went_well(&self) -> bool;
}

impl Outcome for () {
    fn went_well(&self) -> bool {
        true
    }
}

impl<T, E> Outcome for Result<T, E> {
    fn went_well(&self) -> bool {
        self.is_ok()
    }
}

impl Parent {
    /// Reads it.
    #[cfg(feature = "otel")]
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(otlp::parent(headers))
    }

    /// Nobody asks.
    #[cfg(not(feature = "otel"))]
    pub(crate) fn of(_: &HeaderMap) -> Self {
        Self()
    }
}

impl Telemetry {
    /// Sends spans to the configured collector, or to the one that OpenTelemetry's variables name, if there is one.
    #[cfg(feature = "otel")]
    pub(crate) fn start(endpoint: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self(otlp::start(endpoint)?))
    }

    /// A configuration that names a collector does not load without the feature.
    #[cfg(not(feature = "otel"))]
    pub(crate) fn start(_: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self())
    }

    /// Sends what is left.
    pub(crate) async fn stop(self) {
        #[cfg(feature = "otel")]
        if let Some(provider) = self.0 {
            // It waits for its own thread, which waits for requests of this runtime.
            let stopped = tokio::task::spawn_blocking(move || provider.shutdown()).await;
            if let Ok(Err(error)) = stopped {
                tracing::debug!(%error, "the last spans were not sent");
            }
        }
    }

    /// Sends what there is by now.
    #[cfg(test)]
    #[cfg(feature = "otel")]
    pub(crate) async fn flush(&self) {
        if let Some(provider) = self.0.clone() {
            let flushed = tokio::task::spawn_blocking(move || provider.force_flush()).await;
            flushed.expect("no panic").expect("spans are taken");
        }
    }
}

/// Does a request of a route.
#[cfg(feature = "otel")]
pub(crate) async fn request(
    route: (&'static str, &'static str),
    parent: Parent,
    work: impl Future<Output = Response>,
) -> Response {
    otlp::request(route, parent.0, work).await
}

/// Does a request of a route.
#[cfg(not(feature = "otel"))]
pub(crate) async fn request(
    _: (&'static str, &'static str),
    _: Parent,
    work: impl Future<Output = Response>,
) -> Response {
    work.await
}

/// Does a step, of a session where there is one.
#[cfg(feature = "otel")]
pub(crate) async fn step<T: Outcome>(
    name: &'static str,
    session: Option<SessionId>,
    work: impl Future<Output = T>,
) -> T {
    otlp::step(name, session, work).await
}

/// Does a step, of a session where there is one.
#[cfg(not(feature = "otel"))]
pub(crate) async fn step<T: Outcome>(
    _: &'static str,
    _: Option<SessionId>,
    work: impl Future<Output = T>,
) -> T {
    work.await
}
