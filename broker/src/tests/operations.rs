//! What those see who watch a broker.

use std::collections::BTreeMap;

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::json;

use super::stage::{Key, On, Stage, on_both_stores, token_header};
use crate::api;

on_both_stores!(
    the_metrics_are_those_of_the_documentation,
    what_happens_is_counted,
    a_broker_without_its_store_lives_and_is_not_ready,
    strangers_make_no_labels,
);

async fn metrics(stage: &Stage) -> String {
    let service = TowerToHyperService::new(api::metrics_router(stage.app.clone()));
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let answer = service.call(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn get(stage: &Stage, path: &str) -> (StatusCode, serde_json::Value) {
    stage.send(Request::get(path).body(Body::empty()).unwrap()).await
}

/// The value of one line.
fn value(text: &str, start: &str) -> f64 {
    let line =
        text.lines().find(|line| line.strip_prefix(start).is_some_and(|r| r.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("no `{start}` in\n{text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// Name, type and labels of each metric, as served.
fn served(text: &str) -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        else {
            continue;
        };
        let ends = ["{", " ", "_total{", "_total ", "_bucket{"];
        let sample = text.lines().find(|line| {
            line.strip_prefix(name).is_some_and(|rest| ends.iter().any(|end| rest.starts_with(end)))
        });
        let labels = sample.and_then(|line| Some(line.split_once('{')?.1.rsplit_once('}')?.0));
        let labels: Vec<_> = labels
            .into_iter()
            .flat_map(|labels| labels.split(','))
            .map(|label| label.split('=').next().unwrap())
            .filter(|label| *label != "le")
            .collect();
        let total = if kind == "counter" { "_total" } else { "" };
        found.insert(format!("{name}{total}"), (kind.to_owned(), labels.join(", ")));
    }
    found
}

async fn the_metrics_are_those_of_the_documentation(on: On) {
    let stage = Stage::on(on).await;
    let text = metrics(&stage).await;
    assert!(text.ends_with("# EOF\n"), "{text}");
    let documented = include_str!("../../../docs/operations.md");
    let documented: BTreeMap<_, _> = documented
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter(|(name, _)| name.starts_with("guard_") || name.starts_with("process_"))
        .map(|(name, rest)| {
            let mut cells = rest.split(" | ");
            let (kind, labels) = (cells.next().unwrap(), cells.next().unwrap());
            (name.to_owned(), (kind.to_owned(), labels.replace('`', "").trim().to_owned()))
        })
        .collect();
    assert_eq!(served(&text), documented);
}

async fn what_happens_is_counted(on: On) {
    let stage = Stage::on(on).await;
    let shim = stage.session().await;
    let proof = Key::new().proof("POST", "/oauth/token", None);
    let (status, _) = stage.exchange("nonsense", &proof).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    stage.tunnel(&shim).await;
    let text = metrics(&stage).await;
    for (line, expected) in [
        ("guard_exchanges_total{outcome=\"granted\"}", 1.0),
        ("guard_exchanges_total{outcome=\"invalid_grant\"}", 1.0),
        ("guard_exchanges_total{outcome=\"access_denied\"}", 0.0),
        ("guard_exchange_seconds_count", 2.0),
        ("guard_requests_total{method=\"POST\",route=\"/oauth/token\",status=\"2xx\"}", 1.0),
        ("guard_requests_total{method=\"POST\",route=\"/oauth/token\",status=\"4xx\"}", 1.0),
        ("guard_sessions{state=\"live\"}", 1.0),
        ("guard_leases{state=\"out\"}", 0.0),
        ("guard_leases{state=\"failed\"}", 0.0),
        ("guard_gateways{state=\"ready\"}", 1.0),
        ("guard_store_up", 1.0),
        ("guard_configuration_current", 1.0),
    ] {
        assert!((value(&text, line) - expected).abs() < f64::EPSILON, "{line}\n{text}");
    }
    assert!(value(&text, "process_resident_memory_bytes") > 1_000_000.0, "{text}");
    assert!(value(&text, "process_open_fds") > 3.0, "{text}");
}

async fn a_broker_without_its_store_lives_and_is_not_ready(on: On) {
    let stage = Stage::on(on).await;
    assert_eq!(
        get(&stage, "/readyz").await,
        (StatusCode::OK, json!({ "status": "ok", "store": "ok" }))
    );
    stage.app.sessions.store.close().await;
    let (status, answer) = get(&stage, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer, json!({ "status": "failing", "store": "failing" }));
    assert_eq!(get(&stage, "/healthz").await.0, StatusCode::OK);
    assert!(value(&metrics(&stage).await, "guard_store_up").abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_broker_that_stops_is_sent_no_more_requests() {
    let stage = Stage::new().await;
    stage.app.stop.cancel();
    let (status, answer) = get(&stage, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer, json!({ "status": "stopping", "store": "ok" }));
    assert_eq!(get(&stage, "/healthz").await.0, StatusCode::OK);
}

async fn strangers_make_no_labels(on: On) {
    let stage = Stage::on(on).await;
    let lines = metrics(&stage).await.lines().count();
    for path in ["/v1/nothing", "/v1/sessions/0192f0c0/state", "/v1/sessions/other/state", "/%00"] {
        get(&stage, path).await;
    }
    for method in ["BREW", "PROPFIND"] {
        let request = Request::builder().method(method).uri("/oauth/token").body(Body::empty());
        stage.send(request.unwrap()).await;
    }
    let mut claims = stage.claims();
    claims["iss"] = "https://elsewhere.example".into();
    let token = stage.issuer.sign(&token_header(), &claims);
    stage.exchange(&token, &Key::new().proof("POST", "/oauth/token", None)).await;
    assert_eq!(metrics(&stage).await.lines().count(), lines);
}

#[test]
fn the_committed_document_is_the_one_that_is_served_and_names_every_route() {
    let path = std::path::Path::new("../schemas/openapi.json");
    let now = format!("{}\n", api::openapi::document().to_pretty_json().unwrap());
    if std::env::var_os("GUARD_UPDATE_SCHEMAS").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == now, "write it anew: GUARD_UPDATE_SCHEMAS=1 with this test");
    let document: serde_json::Value = serde_json::from_str(&now).unwrap();
    for (method, path) in api::route_names() {
        let operation = &document["paths"][path][method.to_lowercase()];
        assert!(operation["operationId"].is_string(), "{method} {path}");
    }
    // Every form that is named is there.
    for part in now.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[tokio::test]
async fn the_document_is_served() {
    let stage = Stage::new().await;
    let (status, served) = get(&stage, "/v1/openapi.json").await;
    let committed = std::fs::read_to_string("../schemas/openapi.json").unwrap();
    let committed: serde_json::Value = serde_json::from_str(&committed).unwrap();
    assert_eq!((status, served), (StatusCode::OK, committed));
}
