//! SARIF 2.1.0: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/sarif-v2.1.0-errata01-os-complete.html>.

use std::collections::BTreeMap;

use guard_core::Exceeded;
use serde_json::{Value, json};

use super::findings::{Finding, Why};
use crate::story::{Opening, Story};

/// Where the schema is.
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// The one of guard's own rules that is no rule of a policy.
const SECOND_ATTEMPT: &str = "second-attempt";
/// Characters of a statement that a message shows.
const MAX_SHOWN: usize = 500;

/// The log of one run.
pub(super) fn log(story: &Story, findings: &[Finding], policy: Option<&str>) -> Value {
    let opening = story.opening();
    let mut rules: BTreeMap<String, String> = BTreeMap::new();
    for finding in findings {
        let (id, words) = rule(finding);
        rules.entry(id).or_insert(words);
    }
    let places: BTreeMap<&String, usize> = rules.keys().zip(0..).collect();
    let results: Vec<_> = findings
        .iter()
        .map(|finding| {
            let (id, _) = rule(finding);
            let place = places.get(&id).copied().unwrap_or_default();
            result(finding, &id, place, policy)
        })
        .collect();
    let rules: Vec<_> = rules
        .iter()
        .map(|(id, words)| json!({ "id": id, "shortDescription": { "text": words } }))
        .collect();
    let version = opening.map_or("0", |opening| opening.broker_version.as_str());
    let mut run = json!({
        "tool": { "driver": { "name": "guard", "version": version, "rules": rules } },
        "columnKind": "unicodeCodePoints",
        "results": results,
    });
    if let (Some(opening), Some(fields)) = (opening, run.as_object_mut()) {
        fields.insert("automationDetails".to_owned(), automation(opening));
    }
    json!({ "$schema": SCHEMA, "version": "2.1.0", "runs": [run] })
}

/// Which run it was: runs of one job in one repository are of one kind.
fn automation(opening: &Opening) -> Value {
    let identity = &opening.identity;
    json!({
        "id": format!("guard/{}/{}/{}", identity.repository, identity.run.job, opening.session),
        "description": { "text": format!("{} of {}", identity.run, identity.repository) },
    })
}

/// The rule that a finding is by, and what it says.
fn rule(finding: &Finding) -> (String, String) {
    match &finding.why {
        Why::Refused(denial) | Why::WouldRefuse(denial) => {
            let words = denial.detail.clone();
            let words = words.unwrap_or_else(|| format!("rule `{}`", denial.rule));
            (format!("{}/{}", denial.policy, denial.rule), words)
        }
        Why::OverBudget(exceeded) => {
            let budget = exceeded.budget;
            (format!("budgets/{}", budget.as_str()), format!("the budget `{}`", budget.as_str()))
        }
        Why::SecondAttempt => (
            SECOND_ATTEMPT.to_owned(),
            "the same job asked for another session while one lived".to_owned(),
        ),
    }
}

fn result(finding: &Finding, id: &str, place: usize, policy: Option<&str>) -> Value {
    let level = match &finding.why {
        Why::Refused(_) | Why::SecondAttempt => "error",
        Why::WouldRefuse(_) | Why::OverBudget(_) => "warning",
    };
    let mut result = json!({
        "ruleId": id,
        "ruleIndex": place,
        "level": level,
        "kind": "fail",
        "message": { "text": message(finding) },
        "occurrenceCount": finding.count,
        "locations": [location(finding, policy)],
        "properties": {
            "firstAt": finding.first_at.to_string(),
            "lastAt": finding.last_at.to_string(),
        },
    });
    if let (Some(statement), Some(fields)) = (&finding.statement, result.as_object_mut()) {
        let fingerprint = statement.operation.fingerprint.to_string();
        fields.insert(
            "partialFingerprints".to_owned(),
            json!({ "guardStatement/v1": fingerprint, "guardFinding/v1": format!("{id}:{fingerprint}") }),
        );
    }
    result
}

fn message(finding: &Finding) -> String {
    let what = match &finding.why {
        Why::Refused(denial) => denial.to_string(),
        Why::WouldRefuse(denial) => format!("went on, the policy only observes: {denial}"),
        Why::OverBudget(Exceeded { budget, limit, ended }) => {
            let ended = if *ended { "ended" } else { "not ended, the policy only observes" };
            format!("over the budget `{}` of {limit}: {ended}", budget.as_str())
        }
        Why::SecondAttempt => {
            "a second command under guard in one job, or somebody who has the job's token"
                .to_owned()
        }
    };
    match &finding.statement {
        None => what,
        Some(statement) => {
            let mut text: String = statement.text().chars().take(MAX_SHOWN).collect();
            if text.len() < statement.text().len() {
                text.push('…');
            }
            format!("{what}\n{text}")
        }
    }
}

/// The policy's file, if it is known, and what in the resource it is about.
fn location(finding: &Finding, policy: Option<&str>) -> Value {
    let logical: Vec<_> = match &finding.statement {
        None => vec![json!({ "fullyQualifiedName": "session", "kind": "resource" })],
        Some(statement) => {
            let resource = &statement.operation.resource;
            let objects: std::collections::BTreeSet<_> = statement
                .operation
                .effects
                .iter()
                .filter_map(|effect| effect.object.name.as_ref())
                .map(|name| format!("{resource}/{name}"))
                .collect();
            if objects.is_empty() {
                vec![json!({ "fullyQualifiedName": resource.to_string(), "kind": "resource" })]
            } else {
                let object = |name| json!({ "fullyQualifiedName": name, "kind": "object" });
                objects.into_iter().take(20).map(object).collect()
            }
        }
    };
    match policy {
        None => json!({ "logicalLocations": logical }),
        Some(address) => json!({
            "logicalLocations": logical,
            "physicalLocation": { "artifactLocation": { "uri": address } },
        }),
    }
}
