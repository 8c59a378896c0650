//! What is asked by those who watch the broker: does it live, may it be asked, what did it count.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{Refusal, chain};

/// A store that does not answer for this long is none that anybody should be sent to.
const STORE_TIMEOUT: Duration = Duration::from_secs(3);
/// What Prometheus understands best.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process answers, whatever else does not: starting it again would not help.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// Whether requests may be sent here. A balancer asks this; why not stands in the log.
pub(super) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let ping = tokio::time::timeout(STORE_TIMEOUT, app.sessions.store.ping());
    let store = match ping.await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(error = chain(&error), "not ready: the store does not answer");
            false
        }
        Err(_) => {
            tracing::warn!("not ready: the store does not answer in time");
            false
        }
    };
    let stays = !app.stop.is_cancelled();
    let ready = store && stays;
    let body = json!({
        "status": if ready { "ok" } else if stays { "failing" } else { "stopping" },
        "store": if store { "ok" } else { "failing" },
    });
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

/// All counters.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let sessions = &app.sessions;
    let text = sessions.metrics.text(&sessions.store, sessions.count_gateways()).await;
    let text = text.map_err(|error| Refusal::Internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
