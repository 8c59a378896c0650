//! Which trust rules, policies and rules of policies count now, and which runs used them.

mod used;

use std::sync::Arc;

use askama::Template;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use guard_audit::report::{grouped, short};
use guard_core::Timestamp;

use super::frame::{self, Page};
use crate::{app::App, error::Refusal, people::SignedIn, runs::view::Moment};

use used::{Access, UsedPolicy, UsedRule, UsedTrustRule};

#[derive(Template)]
#[template(path = "access.html")]
struct AccessPage {
    trust_digest: String,
    rules: Vec<RowView>,
    policies: Vec<PolicyView>,
    since: Option<Moment>,
}

struct RowView {
    name: String,
    /// The list of its runs.
    runs_at: String,
    runs: String,
    last: Option<Moment>,
    active: bool,
}

struct PolicyView {
    row: RowView,
    digest: String,
    resources: String,
    counted: String,
    /// None of the runs of this version is counted: nothing can be said of its rules.
    uncounted: bool,
    never: usize,
    rules: Vec<RuleView>,
}

struct RuleView {
    name: String,
    built_in: bool,
    statements: String,
    runs: String,
    last: Option<Moment>,
    before: Option<Moment>,
}

/// `GET /access`.
pub(super) async fn access(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
) -> Result<Response, Refusal> {
    let access = Access::now(&app).await?;
    let page = AccessPage {
        trust_digest: access.trust_digest.to_string(),
        rules: access.trust_rules.iter().map(RowView::of_rule).collect(),
        policies: access.policies.iter().map(PolicyView::new).collect(),
        since: access.since.map(Moment::day),
    };
    let body = page.render().map_err(|error| Refusal::Internal(error.to_string()))?;
    let page = Page { title: "Access", at: "access", live: false };
    Ok(frame::page(page, &signed_in, &body))
}

/// `GET /access.json`: the same for programs.
pub(super) async fn json(
    State(app): State<Arc<App>>,
    _signed_in: SignedIn,
) -> Result<Response, Refusal> {
    Ok(frame::guarded(Json(Access::now(&app).await?).into_response()))
}

impl RowView {
    fn new(field: &str, name: &str, runs: u64, last: Option<Timestamp>, active: bool) -> Self {
        Self {
            name: short(name),
            runs_at: crate::runs::view::address("/runs", [(field, name)]),
            runs: grouped(runs),
            last: last.map(Moment::day),
            active,
        }
    }

    fn of_rule(rule: &UsedTrustRule) -> Self {
        Self::new("rule", &rule.name, rule.runs, rule.last, rule.active)
    }
}

impl PolicyView {
    fn new(policy: &UsedPolicy) -> Self {
        let resources: Vec<_> = policy.resources.iter().map(ToString::to_string).collect();
        Self {
            row: RowView::new("policy", &policy.name, policy.runs, policy.last, policy.active),
            digest: policy.digest.map(|digest| digest.to_string()).unwrap_or_default(),
            resources: resources.join(", "),
            counted: grouped(policy.counted_runs),
            uncounted: policy.counted_runs == 0,
            never: policy.rules.iter().filter(|rule| rule.runs == 0).count(),
            rules: policy.rules.iter().map(RuleView::new).collect(),
        }
    }
}

impl RuleView {
    fn new(rule: &UsedRule) -> Self {
        Self {
            name: rule.name.to_string(),
            built_in: rule.built_in,
            statements: grouped(rule.statements),
            runs: grouped(rule.runs),
            last: rule.last.map(Moment::day),
            before: rule.last_in_other_versions.map(Moment::day),
        }
    }
}
