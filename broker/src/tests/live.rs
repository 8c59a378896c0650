//! Live pages: told at any broker, to a reader who comes again exactly what is missing, and to nobody who is signed out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::{Body, BodyDataStream},
    http::{Method, Request, StatusCode},
};
use futures_util::StreamExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::json;

use super::{
    people::{Browser, Fake, stage_on},
    stage::{On, Shim, Stage, on_both_stores},
};
use crate::{api, app::App, store::Which};

on_both_stores!(
    who_comes_again_is_told_what_is_missing_and_nothing_twice,
    a_number_that_no_entry_has_hides_nothing_that_comes,
    whoever_is_signed_out_is_told_nothing_more,
);

/// One event of a stream: its number and its name.
type Told = (Option<u64>, String);

/// The events of a session as a reader at one broker gets them.
struct Reader {
    body: BodyDataStream,
    rest: String,
}

impl Reader {
    async fn open(app: &Arc<App>, shim: &Shim, who: &Browser, last: Option<&str>) -> Self {
        let cookies: Vec<_> = who.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let mut request =
            Request::get(format!("/live/{}/events", shim.id)).header("cookie", cookies.join("; "));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let service = TowerToHyperService::new(api::router(app.clone()));
        let answer = service.call(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{last:?}");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { body: answer.into_body().into_data_stream(), rest: String::new() }
    }

    /// The next event, or none when the stream is over.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some((event, rest)) = self.rest.split_once("\n\n") {
                let fields: BTreeMap<_, _> =
                    event.lines().filter_map(|line| line.split_once(": ")).collect();
                let id = fields.get("id").map(|id| id.parse().unwrap());
                let told = fields.get("event").map(|name| (id, (*name).to_owned()));
                self.rest = rest.to_owned();
                match told {
                    Some(told) => return Some(told),
                    None => continue,
                }
            }
            let patience = Duration::from_secs(60);
            let piece = tokio::time::timeout(patience, self.body.next()).await.expect("an event");
            self.rest.push_str(std::str::from_utf8(&piece?.unwrap()).unwrap());
        }
    }

    /// The numbers of the lines that are told, until one has this number.
    async fn lines_until(&mut self, last: u64) -> Vec<u64> {
        let mut lines = Vec::new();
        while lines.last() != Some(&last) {
            let (id, name) = self.next().await.expect("a stream that goes on");
            if name == "line" {
                lines.push(id.unwrap());
            }
        }
        lines
    }
}

/// Statements are refused: an entry each, behind the one that opened the session.
async fn refused(app: &Arc<App>, shim: &Shim, numbers: std::ops::Range<u64>) {
    let denial = json!({
        "code": "rule", "what": "blocked DROP", "rule": "r", "policy": "reads",
        "detail": null, "hint": null,
    });
    let event = |number| {
        json!({
            "type": "refused", "statement": number, "connection": 0, "operation": 0, "denial": denial,
        })
    };
    let events: Vec<_> = numbers.clone().map(event).collect();
    let batch = json!({
        "session": shim.id, "writer": "shim-1", "first": numbers.start, "events": events,
    });
    let proof = shim.key.proof("POST", "/v1/record", Some(&shim.token));
    let request = Request::builder()
        .method(Method::POST)
        .uri("/v1/record")
        .header("authorization", format!("DPoP {}", shim.token))
        .header("dpop", proof)
        .body(Body::from(batch.to_string()));
    let (status, answer) = super::stage::send_to(app, request.unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

/// Another broker, where the store has several.
async fn other(stage: &Stage) -> Arc<App> {
    match stage.postgres {
        Some(_) => stage.replica().await,
        None => stage.app.clone(),
    }
}

#[tokio::test]
async fn what_comes_in_at_one_broker_is_told_at_another() {
    let fake = Fake::start().await;
    let stage = stage_on(On::Postgres, &fake.url).await;
    let other = stage.replica().await;
    let shim = stage.session().await;
    let ann = fake.signs_in(&stage, |_| {}).await;
    let mut readers = [
        Reader::open(&stage.app, &shim, &ann, None).await,
        Reader::open(&other, &shim, &ann, None).await,
    ];
    // Each by another broker than the one before, and seen at both.
    for number in 0..4 {
        let app = if number % 2 == 0 { &stage.app } else { &other };
        refused(app, &shim, number..number + 1).await;
        for reader in &mut readers {
            assert_eq!(reader.lines_until(number + 1).await, [number + 1]);
        }
    }
}

async fn who_comes_again_is_told_what_is_missing_and_nothing_twice(on: On) {
    let fake = Fake::start().await;
    let stage = stage_on(on, &fake.url).await;
    let other = other(&stage).await;
    let shim = stage.session().await;
    let ann = fake.signs_in(&stage, |_| {}).await;
    refused(&stage.app, &shim, 0..5).await;
    let mut first = Reader::open(&stage.app, &shim, &ann, None).await;
    assert_eq!(first.lines_until(5).await, [1, 2, 3, 4, 5]);
    drop(first);
    refused(&other, &shim, 5..8).await;
    // Wherever the line broke, and whichever broker he comes to.
    for (app, seen) in [(&other, 5), (&stage.app, 3), (&other, 1), (&stage.app, 7)] {
        let mut again = Reader::open(app, &shim, &ann, Some(&format!("{seen}"))).await;
        let expected: Vec<u64> = (seen + 1..=8).collect();
        assert_eq!(again.lines_until(8).await, expected, "behind {seen}");
    }
}

async fn a_number_that_no_entry_has_hides_nothing_that_comes(on: On) {
    let fake = Fake::start().await;
    let stage = stage_on(on, &fake.url).await;
    let shim = stage.session().await;
    let ann = fake.signs_in(&stage, |_| {}).await;
    refused(&stage.app, &shim, 0..2).await;
    let mut there = 2;
    for forged in ["18446744073709551615", "1000000", "5"] {
        let mut reader = Reader::open(&stage.app, &shim, &ann, Some(forged)).await;
        // He is told at least the totals of what was there before.
        assert_eq!(reader.next().await.unwrap().1, "totals", "{forged}");
        refused(&stage.app, &shim, there..there + 1).await;
        there += 1;
        assert_eq!(reader.lines_until(there).await, [there], "{forged}");
    }
    // What is no number is as if nothing had been said.
    for odd in ["18446744073709551616", "-1", "x", "", "1;2", "0x1"] {
        let mut reader = Reader::open(&stage.app, &shim, &ann, Some(odd)).await;
        assert_eq!(reader.lines_until(5).await, [1, 2, 3, 4, 5], "{odd:?}");
    }
}

async fn whoever_is_signed_out_is_told_nothing_more(on: On) {
    let fake = Fake::start().await;
    let stage = stage_on(on, &fake.url).await;
    let other = other(&stage).await;
    let shim = stage.session().await;
    let ann = fake.signs_in(&stage, |_| {}).await;
    let ben = fake.signs_in(&stage, |claims| claims["sub"] = "ben".into()).await;
    let mut hers = Reader::open(&other, &shim, &ann, None).await;
    let mut his = Reader::open(&other, &shim, &ben, None).await;
    refused(&stage.app, &shim, 0..1).await;
    assert_eq!(hers.lines_until(1).await, [1]);
    assert_eq!(his.lines_until(1).await, [1]);
    assert_eq!(stage.app.sessions.store.end_sign_ins(Which::Of("ann")).await.unwrap(), 1);
    while hers.next().await.is_some() {}
    refused(&stage.app, &shim, 1..2).await;
    assert_eq!(his.lines_until(2).await, [2]);
}
