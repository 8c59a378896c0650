//! Which trust rules and policies count now, and which runs used them.

use std::{collections::BTreeMap, sync::Arc};

use askama::Template;
use axum::{extract::State, response::Response};
use guard_audit::report::{grouped, short};

use super::frame::{self, Page};
use crate::{app::App, error::Refusal, people::SignedIn, runs::view::Moment, store::Used};

#[derive(Template)]
#[template(path = "access.html")]
struct AccessPage {
    trust_digest: String,
    rules: Vec<RowView>,
    policies: Vec<RowView>,
    since: Option<Moment>,
}

struct RowView {
    name: String,
    /// The list of its runs.
    runs_at: String,
    digest: String,
    resources: String,
    runs: String,
    last: Option<Moment>,
    active: bool,
}

/// `GET /access`.
pub(super) async fn access(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
) -> Result<Response, Refusal> {
    let config = app.sessions.config();
    let store = &app.sessions.store;
    let mut used_rules = store.used_trust_rules().await?;
    let mut used_policies = store.used_policies().await?;
    let mut rules: Vec<_> =
        config.trust.names().map(|name| row("rule", name, used_rules.remove(name), true)).collect();
    let granted = config.trust.granted();
    let mut policies: Vec<_> = config
        .policies
        .values()
        .map(|policy| {
            let resources = granted.iter().filter(|(_, name)| **name == policy.name);
            let resources: Vec<_> = resources.map(|(name, _)| name.to_string()).collect();
            let used = used_policies.remove(policy.name.as_str());
            RowView {
                digest: policy.digest.to_string(),
                resources: resources.join(", "),
                ..row("policy", policy.name.as_str(), used, true)
            }
        })
        .collect();
    let gone = |field: &'static str, used: BTreeMap<String, Used>| {
        used.into_iter().map(move |(name, used)| row(field, &name, Some(used), false))
    };
    rules.extend(gone("rule", used_rules));
    policies.extend(gone("policy", used_policies));
    let page = AccessPage {
        trust_digest: config.trust.digest().to_string(),
        rules,
        policies,
        since: store.runs_since().await?.map(Moment::day),
    };
    let body = page.render().map_err(|error| Refusal::Internal(error.to_string()))?;
    let page = Page { title: "Access", at: "access", live: false };
    Ok(frame::page(page, &signed_in, &body))
}

fn row(field: &str, name: &str, used: Option<Used>, active: bool) -> RowView {
    RowView {
        name: short(name),
        runs_at: crate::runs::view::address("/runs", [(field, name)]),
        digest: String::new(),
        resources: String::new(),
        runs: grouped(used.map_or(0, |used| used.runs)),
        last: used.map(|used| Moment::day(used.last)),
        active,
    }
}
