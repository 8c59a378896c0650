//! `guard policy replay`: what a proposed policy would have made of past runs.

mod judged;

use std::path::PathBuf;

use guard_audit::report::{grouped, printable};
use guard_core::{DecisionKind, PolicyName, Timestamp};
use serde_json::json;

use self::judged::{Change, Replay};
use super::{Paint, RIGHT, Unusable, WRONG, count, files, write, write_json};
use crate::command::audit::{
    self,
    folder::{self, Runs, moment},
};

/// Longest part of a statement that is shown, in characters.
const MAX_SHOWN: usize = 300;

const AFTER_HELP: &str = "\
Examples:
  guard policy replay policies/nightly.yaml --records recordings/ --runs 30d
  guard policy replay new.yaml --policy nightly --records recordings/ --fail-on-refused

Judged is what the records say of each operation: its effects, how certain they are, the rows that the server's planner
expected. No server and no catalog is needed. What records do not say is not judged, and is counted apart:
  - masks: only columns that were masked then are known as columns of a result; of an operation that touches a
    table with other masked columns, the new policy may hide more, or refuse it because it cannot
  - rows: where a rule asks for them and no estimate was recorded, the operation is judged as one without
  - requests to HTTP APIs: records have method, path and query; where a rule that may be about a request looks at headers, its body,
    GraphQL or operations of a document, it is not judged again
  - budgets are not replayed; refusals by budgets, or because a session was over, do not count as refusals
Records are read as they are; `guard audit verify` checks them.

Exit codes: 0 · 1 with --fail-on-refused, if something that went on would be refused · 2 a file cannot be used";

/// Arguments of `guard policy replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The proposed policy
    #[arg(value_name = "NEW.yaml")]
    proposed: PathBuf,

    /// A folder with records, which may be in folders of their own
    #[arg(long, value_name = "DIR")]
    records: PathBuf,

    /// Only runs that began since: `30d`, `12h`, `2026-11-01` [default: all]
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    runs: Option<Timestamp>,

    /// Judge what was under this policy [default: the proposed policy's own name]
    #[arg(long, value_name = "NAME")]
    policy: Option<PolicyName>,

    /// Exit with 1 if a statement that went on would be refused
    #[arg(long)]
    fail_on_refused: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args) -> Result<u8, Unusable> {
    let name = args.proposed.display().to_string();
    let policy =
        files::policy(&args.proposed, &files::read(&args.proposed)?).map_err(Unusable::Problems)?;
    let under = args.policy.clone().unwrap_or_else(|| policy.name().clone());
    let mut replay = Replay::new(&policy, under.clone());
    let runs = Runs::since(args.runs);
    for path in folder::records(&args.records)? {
        let file = path.strip_prefix(&args.records).unwrap_or(&path).display().to_string();
        replay.run(&file, audit::open(&path)?, &runs);
    }
    if replay.runs == 0 {
        return Err(Unusable::NoRuns { policy: under, folder: args.records.display().to_string() });
    }
    let changes = replay.changes();
    let would_refuse = changes.iter().any(|change| change.is_refused_now());
    if args.json {
        write_json(&json!({
            "policy": under,
            "proposed": { "file": name, "name": policy.name(), "digest": policy.digest(), "mode": policy.mode() },
            "runs": replay.runs,
            "operations": replay.operations(),
            "changed": changes.iter().map(as_json).collect::<Vec<_>>(),
            "unknown": {
                "masks": replay.unknown_masks(),
                "rows": replay.unknown_rows(),
                "requests": replay.unknown_requests(),
                "unreadable": replay.problems,
            },
        }))?;
    } else {
        write(&shown(&replay, &changes, &under, &name))?;
    }
    Ok(if would_refuse && args.fail_on_refused { WRONG } else { RIGHT })
}

fn shown(replay: &Replay<'_>, changes: &[&Change], under: &PolicyName, file: &str) -> String {
    let paint = Paint::for_stdout();
    let mut text = String::new();
    for change in changes {
        let sql: String = change.text.chars().take(MAX_SHOWN).collect();
        let more = if sql.len() < change.text.len() { "…" } else { "" };
        text.push_str(&format!("{}{more}\n", printable(&sql)));
        let old = format!("- {}", change.then);
        let new = format!("+ {}", change.now);
        let stricter = change.now.kind > change.then.kind;
        let new = if stricter { paint.bad(&new) } else { paint.good(&new) };
        text.push_str(&format!("  {}\n  {new}\n", paint.faint(&old)));
        if let Some(why) = &change.why {
            text.push_str(&format!("    {}\n", printable(why)));
        }
        text.push_str(&format!("  {}\n\n", printable(&change.told())));
    }
    let changed = match changes.len() {
        0 => "nothing would be ruled otherwise".to_owned(),
        1 => "1 operation would be ruled otherwise".to_owned(),
        many => format!("{many} operations would be ruled otherwise"),
    };
    text.push_str(&format!(
        "{changed}, of {} that {} did under policy `{under}`, by {}\n",
        count(replay.operations(), "operation"),
        count(replay.runs, "run"),
        printable(file),
    ));
    let refused = changes.iter().filter(|change| change.is_refused_now()).count();
    if refused > 0 {
        let line = format!("{} that went on would be refused", count(refused, "operation"));
        text.push_str(&format!("{}\n", paint.bad(&line)));
    }
    let (masks, rows) = (replay.unknown_masks(), replay.unknown_rows());
    let requests = replay.unknown_requests();
    if masks > 0 {
        text.push_str(&format!(
            "not known: {} on tables with masked columns, of which the records do not say which columns came back\n",
            count(masks, "operation")
        ));
    }
    if requests > 0 {
        text.push_str(&format!(
            "not known: {} about which rules look at headers, bodies or operations of a document, which no record has\n",
            count(requests, "request")
        ));
    }
    if rows > 0 {
        text.push_str(&format!(
            "not known: {} whose ruling depends on rows, without a recorded estimate\n",
            count(rows, "operation")
        ));
    }
    for problem in &replay.problems {
        text.push_str(&format!("not judged to the end: {}\n", printable(problem)));
    }
    text
}

fn as_json(change: &&Change) -> serde_json::Value {
    let ruling = |ruling: &judged::Was| json!({ "decision": ruling.kind, "rule": ruling.rule });
    json!({
        "text": change.text,
        "label": change.label,
        "fingerprint": change.fingerprint,
        "resource": change.resource,
        "effects": change.effects,
        "then": ruling(&change.then),
        "now": ruling(&change.now),
        "why": change.why,
        "went_on": change.went_on,
        "refused": change.refused,
        "runs": change.runs.len(),
        "first_in": change.first_in,
        "would_be_refused": change.is_refused_now(),
        "diff": format!("- {}\n+ {}", change.then, change.now),
    })
}

impl Change {
    /// How often and where.
    fn told(&self) -> String {
        let mut parts = Vec::new();
        if self.went_on > 0 {
            parts.push(format!("went on {} times", grouped(self.went_on)));
        }
        if self.refused > 0 {
            parts.push(format!("refused {} times", grouped(self.refused)));
        }
        format!(
            "{} in {}, first in {}",
            parts.join(", "),
            count(self.runs.len(), "run"),
            self.first_in
        )
    }

    /// Whether it went on and would not.
    fn is_refused_now(&self) -> bool {
        self.went_on > 0 && self.now.kind == DecisionKind::Block && self.enforced
    }
}
