//! `guard policy explain`: what a statement does, and what a policy makes of it.

use std::{io::Read as _, path::PathBuf};

use guard_audit::report::printable;
use guard_core::{ApprovalTerms, ApprovalWait, Certainty, Decision, Flow, Locked, Mask, Outputs};
use guard_policy::Cases;
use guard_sql::Catalog;
use serde_json::json;

use super::{
    Paint, RIGHT, Unusable,
    analysis::{self, Judged},
    files, write, write_json,
};

/// Arguments of `guard policy explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  guard policy explain --policy policies/no-destructive.yaml \"DELETE FROM orders\"
  guard policy explain --policy nightly.yaml --schema nightly.cases.yaml \"SELECT * FROM users\"
  guard policy explain --policy nightly.yaml - < script.sql
  guard policy explain --policy triage.yaml \"DELETE /v1/issues/7\"

Without a schema a table's columns are not known, and names without a schema stay unresolved.
Exit codes: 0 explained, whatever the decision · 2 the policy, the schema or the statement cannot be used")]
pub(super) struct Args {
    /// The policy
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,

    /// A file with `tables`, in the form of cases [default: the cases beside the policy, if there are any]
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,

    /// How many rows the server's planner expects of the statement [default: it gives no estimate]
    #[arg(long, value_name = "N")]
    rows: Option<u64>,

    /// A header of a request, as in `X-Admin: 1`
    #[arg(long, value_name = "HEADER")]
    header: Vec<String>,

    /// The body of a request; a header says what it is, as in `Content-Type: application/json`
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    body: String,

    /// The OpenAPI document of the API that the request is for
    #[arg(long, value_name = "FILE")]
    openapi: Option<PathBuf>,

    /// The statement, or several; `-` reads standard input. Of a policy for HTTP APIs a request, as in `GET /path`
    sql: String,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args) -> Result<u8, Unusable> {
    let policy =
        files::policy(&args.policy, &files::read(&args.policy)?).map_err(Unusable::Problems)?;
    let beside = files::cases_of(&args.policy);
    let schema = args.schema.clone().or_else(|| beside.exists().then_some(beside));
    let catalog = match schema {
        Some(path) => {
            let cases = Cases::parse(&path.display().to_string(), &files::read(&path)?)
                .map_err(Unusable::Problems)?;
            analysis::catalog(&cases)
        }
        None => Catalog::default(),
    };
    let sql = if args.sql == "-" { standard_input()? } else { args.sql.clone() };
    let judged = if policy.is_for_http() && is_request(&sql) {
        let api = files::api(args.openapi.as_deref(), &policy)?;
        let headers = headers(&args.header)?;
        vec![analysis::judge_request(&policy, &sql, &headers, &args.body, api.as_ref())?]
    } else {
        analysis::judge(&policy, &catalog, &sql, args.rows)?
    };
    if judged.is_empty() {
        return Err(Unusable::NoStatement(printable(&args.sql)));
    }
    if args.json {
        let statements: Vec<_> = judged.iter().map(as_json).collect();
        write_json(&json!({ "policy": policy.name(), "statements": statements }))?;
    } else {
        let paint = Paint::for_stdout();
        let texts: Vec<_> = judged.iter().map(|judged| explained(judged, paint)).collect();
        write(&texts.join("\n"))?;
    }
    Ok(RIGHT)
}

/// Whether a text is a request. No statement has a path behind its first word; a comment may stand there.
fn is_request(text: &str) -> bool {
    let second = text.split_ascii_whitespace().nth(1).unwrap_or_default();
    second.starts_with('/') && !second.starts_with("/*")
}

fn headers(given: &[String]) -> Result<Vec<(String, String)>, Unusable> {
    let header = |text: &String| {
        let (name, value) = text.split_once(':').ok_or_else(|| {
            Unusable::Request(printable(text), "write a header as in `X-Admin: 1`".to_owned())
        })?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    given.iter().map(header).collect()
}

fn standard_input() -> Result<String, Unusable> {
    let failed = |source| Unusable::Read { path: "standard input".to_owned(), source };
    let most = u64::try_from(guard_sql::MAX_TEXT).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    std::io::stdin().take(most).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn explained(judged: &Judged, paint: Paint) -> String {
    let Judged { operation, ruling } = judged;
    let mut text = format!("{}\n", printable(operation.text.reveal()));
    line(&mut text, "understood", &understood(&operation.certainty));
    for step in &ruling.trace {
        let what = step.effect.as_ref().map_or_else(
            || step.why.to_string(),
            |effect| {
                let open =
                    if analysis::is_resolved(&effect.object) { "" } else { " (not resolved)" };
                format!("{effect}{open}")
            },
        );
        line(&mut text, "effect", &format!("{what} → {} by rule `{}`", step.decision, step.rule));
    }
    if ruling.lock == Some(Locked::Unlisted) {
        line(&mut text, "lock", "it is not in the lock of the policy");
    }
    outputs(&mut text, judged);
    for field in ruling.masks.fields.iter() {
        line(&mut text, "masks", &format!("{field} → {}", field.mask.mask.as_str()));
    }
    for column in &operation.stores {
        line(&mut text, "stores", &column.to_string());
    }
    match &ruling.decision {
        Decision::Allow => {
            let decision = format!("{} by rule `{}`", paint.good("allow"), ruling.rule);
            raw_line(&mut text, "decision", &decision);
        }
        Decision::Approve(spec) => {
            let decision =
                format!("{} {}", paint.faint("approve"), printable(&spec.ask.to_string()));
            raw_line(&mut text, "decision", &decision);
            for terms in &spec.terms {
                line(&mut text, "asks", &asked(terms));
            }
            if let Some(words) = &spec.ask.detail {
                line(&mut text, "detail", words);
            }
        }
        Decision::Block(denial) => {
            let decision = format!("{} {}", paint.bad("block"), printable(&denial.to_string()));
            raw_line(&mut text, "decision", &decision);
            for (label, words) in [("detail", &denial.detail), ("hint", &denial.hint)] {
                if let Some(words) = words {
                    line(&mut text, label, words);
                }
            }
        }
    }
    text
}

/// What a rule asks of people, in a line.
fn asked(terms: &ApprovalTerms) -> String {
    let groups: Vec<_> = terms.from.iter().map(|group| format!("`{group}`")).collect();
    let people = if terms.count == 1 { "person" } else { "people" };
    let reason = if terms.reason_required { ", with a reason" } else { "" };
    let wait = match terms.wait {
        ApprovalWait::Hold => "the statement waits",
        ApprovalWait::Park => "the run ends, and a later one goes through once",
    };
    format!(
        "{} {people} of {} within {} s{reason}; {wait} (rule `{}`)",
        terms.count,
        groups.join(" or "),
        terms.within_secs,
        terms.rule,
    )
}

fn understood(certainty: &Certainty) -> String {
    match certainty {
        Certainty::Exact => "exact".to_owned(),
        Certainty::Partial(why) => format!("partial: {why}"),
        Certainty::Unparsed(why) => format!("unparsed: {why}"),
    }
}

fn outputs(text: &mut String, judged: &Judged) {
    match &judged.operation.outputs {
        Outputs::None => {}
        Outputs::Unknown(why) => line(text, "result", &format!("of unknown origin: {why}")),
        Outputs::Columns(columns) => {
            for (index, column) in columns.iter().enumerate() {
                let sources: Vec<_> = column
                    .sources
                    .iter()
                    .map(|source| match source.flow {
                        Flow::Plain | Flow::Either => source.column.to_string(),
                        Flow::Given => format!("{} or a given value", source.column),
                        Flow::Derived => format!("computed from {}", source.column),
                    })
                    .collect();
                let sources =
                    if sources.is_empty() { "no column".to_owned() } else { sources.join(", ") };
                let mask = judged.ruling.masks.outputs.get(index).copied().flatten();
                let mask = mask.map_or(String::new(), |mask| format!(" → {}", mask.mask.as_str()));
                line(text, "result", &format!("{}: {sources}{mask}", index + 1));
            }
        }
    }
}

fn line(text: &mut String, label: &str, words: &str) {
    raw_line(text, label, &printable(words));
}

fn raw_line(text: &mut String, label: &str, words: &str) {
    text.push_str(&format!("  {label:<11} {words}\n"));
}

fn as_json(judged: &Judged) -> serde_json::Value {
    let Judged { operation, ruling } = judged;
    let denial = match &ruling.decision {
        Decision::Allow | Decision::Approve(_) => None,
        Decision::Block(denial) => Some(denial),
    };
    let asks = match &ruling.decision {
        Decision::Approve(spec) => Some(&spec.terms),
        Decision::Allow | Decision::Block(_) => None,
    };
    json!({
        "sql": &**operation.text.reveal(),
        "label": operation.label,
        "certainty": operation.certainty,
        "effects": operation.effects,
        "outputs": operation.outputs,
        "stores": operation.stores,
        "decision": ruling.decision.kind(),
        "rule": ruling.rule,
        "masks": ruling.masks.masks().into_iter().map(|mask| mask.map(Mask::as_str)).collect::<Vec<_>>(),
        "unlisted": ruling.lock == Some(Locked::Unlisted),
        "trace": ruling.trace,
        "denial": denial,
        "asks": asks,
    })
}
