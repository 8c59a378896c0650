//! `guard policy test`: run the cases beside policies.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use guard_audit::report::printable;
use guard_core::{DecisionKind, Mask, RuleId, document::Position};
use guard_policy::{Case, CaseText, Cases, LockFile};
use serde_json::json;

use super::{
    Paint, RIGHT, Unusable, WRONG,
    analysis::{self, Judged},
    count, files, write, write_json,
};

/// Longest part of a statement that a line shows, in characters.
const MAX_SHOWN: usize = 160;

/// Arguments of `guard policy test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  guard policy test
  guard policy test policies/nightly-backup.yaml

The cases of NAME.yaml stand beside it in NAME.cases.yaml.
Exit codes: 0 every case is as expected · 1 one is not · 2 a file cannot be used")]
pub(super) struct Args {
    /// Policies, cases, or folders of them
    #[arg(default_value = "policies", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A case that is not as expected.
struct Failure {
    at: Position,
    sql: String,
    expected: String,
    found: String,
    why: Option<String>,
}

pub(super) fn main(args: &Args) -> Result<u8, Unusable> {
    let found = files::find(&args.files)?;
    // A policy that was named or found stands for its cases.
    let cases: BTreeSet<PathBuf> = found
        .iter()
        .map(|path| if files::is_cases(path) { path.clone() } else { files::cases_of(path) })
        .filter(|path| path.exists())
        .collect();
    if cases.is_empty() {
        return Err(Unusable::NoCases(files::shown(&args.files)));
    }
    let untested: Vec<_> = found
        .iter()
        .filter(|path| !files::is_cases(path) && !LockFile::is_named(path))
        .filter(|path| !files::cases_of(path).exists())
        .collect();
    let paint = Paint::for_stdout();
    let (mut text, mut reports, mut all, mut failed) = (String::new(), Vec::new(), 0, 0);
    for path in &cases {
        let (number, failures) = run(path)?;
        all += number;
        failed += failures.len();
        for failure in &failures {
            text.push_str(&shown(path, failure, paint));
        }
        reports.push(json!({
            "cases": path.display().to_string(),
            "policy": files::policy_of(path).display().to_string(),
            "count": number,
            "failures": failures.iter().map(as_json).collect::<Vec<_>>(),
        }));
    }
    for path in &untested {
        text.push_str(&format!("{}: no cases\n", path.display()));
    }
    let line = format!("{}, {failed} not as expected", count(all, "case"));
    text.push_str(&format!("{}\n", if failed == 0 { paint.good(&line) } else { paint.bad(&line) }));
    if args.json {
        let untested: Vec<_> = untested.iter().map(|path| path.display().to_string()).collect();
        write_json(
            &json!({ "count": all, "failed": failed, "files": reports, "untested": untested }),
        )?;
    } else {
        write(&text)?;
    }
    Ok(if failed == 0 { RIGHT } else { WRONG })
}

fn run(path: &Path) -> Result<(usize, Vec<Failure>), Unusable> {
    let policy_path = files::policy_of(path);
    let policy =
        files::policy(&policy_path, &files::read(&policy_path)?).map_err(Unusable::Problems)?;
    let cases = Cases::parse(&path.display().to_string(), &files::read(path)?)
        .map_err(Unusable::Problems)?;
    // Most cases are about the rules, whatever a job did so far.
    let rules = policy.without_lock();
    let catalog = analysis::catalog(&cases);
    let document = cases.openapi.as_ref().map(|name| path.with_file_name(name));
    let api = files::api(document.as_deref(), &policy)?;
    let mut failures = Vec::new();
    for case in &cases.list {
        let policy = if case.locked { &policy } else { &rules };
        let judged = match &case.asked {
            CaseText::Sql(sql) => analysis::judge(policy, &catalog, sql, case.rows)?,
            CaseText::Http { request, headers, body } => {
                vec![analysis::judge_request(policy, request, headers, body, api.as_ref())?]
            }
        };
        failures.extend(compare(case, &judged));
    }
    Ok((cases.list.len(), failures))
}

/// What several statements in one message come to: the first refusal, or the first that people are asked about, or the
/// last statement.
fn decisive(judged: &[Judged]) -> Option<&Judged> {
    let first = |kind| judged.iter().find(|judged| judged.ruling.decision.kind() == kind);
    first(DecisionKind::Block).or_else(|| first(DecisionKind::Approve)).or(judged.last())
}

fn compare(case: &Case, judged: &[Judged]) -> Option<Failure> {
    let expected = words(case.expect, case.rule.as_ref(), case.masks.as_deref());
    let failure = |found: String, why| {
        let text = case.asked.text().to_owned();
        Some(Failure { at: case.at, sql: text, expected: expected.clone(), found, why })
    };
    let Some(decisive) = decisive(judged) else {
        return failure("no statement at all".to_owned(), None);
    };
    let ruling = &decisive.ruling;
    let decision = ruling.decision.kind();
    let masks = shown_masks(decisive);
    let right = decision == case.expect
        && case.rule.as_ref().is_none_or(|rule| *rule == ruling.rule)
        && case.masks.as_ref().is_none_or(|expected| *expected == masks);
    if right {
        return None;
    }
    let found_rule = case
        .rule
        .as_ref()
        .map(|_| &ruling.rule)
        .or((decision != case.expect).then_some(&ruling.rule));
    let found = words(decision, found_rule, case.masks.is_some().then_some(&masks));
    failure(found, ruling.trace.iter().map(why).reduce(|all, step| format!("{all}; {step}")))
}

/// The masks of all result columns: a plan without any is one `none` a column.
fn shown_masks(judged: &Judged) -> Vec<Option<Mask>> {
    let columns = match &judged.operation.outputs {
        guard_core::Outputs::Columns(columns) => columns.len(),
        guard_core::Outputs::None | guard_core::Outputs::Unknown(_) => 0,
    };
    let mut masks = judged.ruling.masks.masks();
    masks.resize(columns.max(masks.len()), None);
    masks
}

fn words(decision: DecisionKind, rule: Option<&RuleId>, masks: Option<&[Option<Mask>]>) -> String {
    let mut text = decision.to_string();
    if let Some(rule) = rule {
        text.push_str(&format!(" by rule `{rule}`"));
    }
    if let Some(masks) = masks {
        let masks: Vec<_> = masks.iter().map(|mask| mask.map_or("none", Mask::as_str)).collect();
        text.push_str(&format!(" with masks [{}]", masks.join(", ")));
    }
    text
}

fn why(step: &guard_core::Step) -> String {
    match &step.effect {
        Some(effect) => format!("{effect}: {} by `{}`", step.decision, step.rule),
        None => format!("{}: {} by `{}`", step.why, step.decision, step.rule),
    }
}

fn shown(path: &Path, failure: &Failure, paint: Paint) -> String {
    let sql: String = failure.sql.chars().take(MAX_SHOWN).collect();
    let mut text = format!(
        "{}:{}:{}: {}\n  expected {}, found {}\n",
        path.display(),
        failure.at.line,
        failure.at.column,
        printable(&sql),
        failure.expected,
        paint.bad(&failure.found),
    );
    if let Some(why) = &failure.why {
        text.push_str(&format!("  {}\n", paint.faint(&printable(why))));
    }
    text
}

fn as_json(failure: &Failure) -> serde_json::Value {
    json!({
        "line": failure.at.line,
        "column": failure.at.column,
        "sql": failure.sql,
        "expected": failure.expected,
        "found": failure.found,
        "why": failure.why,
    })
}
