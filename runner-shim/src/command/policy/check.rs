//! `guard policy check`: read policies and their cases, and tell every problem.

use std::path::{Path, PathBuf};

use guard_core::{Budgets, Mode, document::Problems};
use guard_policy::{Cases, LockFile};
use serde_json::json;

use super::{
    Paint, RIGHT, Unusable, WRONG, count, files, problems_json, problems_text, write, write_json,
};

/// Arguments of `guard policy check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  guard policy check policies/
  guard policy check policies/nightly-backup.yaml --json

Exit codes: 0 no problem · 1 problems · 2 a file cannot be read")]
pub(super) struct Args {
    /// Policies, cases, or folders of them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args) -> Result<u8, Unusable> {
    let found = files::find(&args.files)?;
    if found.is_empty() {
        return Err(Unusable::NoPolicy(files::shown(&args.files)));
    }
    let paint = Paint::for_stdout();
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    let mut text = String::new();
    for path in &found {
        let name = path.display().to_string();
        match read(path, &name, &files::read(path)?) {
            Ok((summary, line)) => {
                text.push_str(&format!("{name}: {} {line}\n", paint.good("ok")));
                right.push(summary);
            }
            Err(problems) => {
                text.push_str(&problems_text(&problems));
                wrong.push(problems);
            }
        }
    }
    let problems: usize = wrong.iter().map(|problems| problems.iter().count()).sum();
    if args.json {
        let problems: Vec<_> = wrong.iter().flat_map(problems_json).collect();
        write_json(&json!({ "files": right, "problems": problems }))?;
    } else {
        let line = count(problems, "problem");
        if problems > 0 {
            text.push_str(&format!("{}\n", paint.bad(&line)));
        }
        write(&text)?;
    }
    Ok(if problems == 0 { RIGHT } else { WRONG })
}

fn read(path: &Path, name: &str, text: &str) -> Result<(serde_json::Value, String), Problems> {
    if LockFile::is_named(path) {
        let lock = LockFile::parse(name, text, Some(guard_sql::fingerprints))?;
        let (statements, requests) = (lock.statements(), lock.requests());
        let summary = json!({ "file": name, "statements": statements, "requests": requests });
        let mut shown = format!("lock, {}", count(statements, "statement"));
        if requests > 0 {
            shown.push_str(&format!(", {}", count(requests, "request")));
        }
        return Ok((summary, shown));
    }
    if files::is_cases(path) {
        let cases = Cases::parse(name, text)?;
        let summary = json!({ "file": name, "cases": cases.list.len() });
        return Ok((summary, count(cases.list.len(), "case")));
    }
    let policy = files::policy(path, text)?;
    let rules: Vec<_> = policy.rules().map(ToString::to_string).collect();
    let masks = if policy.has_masks() { ", with masks" } else { "" };
    let budgets = if *policy.budgets() == Budgets::default() { "" } else { ", with budgets" };
    let mode = match policy.mode() {
        Mode::Enforce => "",
        Mode::Observe => "; it only OBSERVES: what it blocks is recorded and not refused",
    };
    let rules_count = count(rules.len(), "rule");
    let asks = if policy.asks_people() { ", with approvals" } else { "" };
    let lock = if policy.lock().is_some() { ", with a lock" } else { "" };
    let line =
        format!("policy `{}`, {rules_count}{asks}{masks}{budgets}{lock}{mode}", policy.name());
    let summary = json!({
        "file": name,
        "policy": policy.name(),
        "digest": policy.digest(),
        "rules": rules,
        "mode": policy.mode(),
        "budgets": *policy.budgets() != Budgets::default(),
        "masks": policy.has_masks(),
        "approvals": policy.asks_people(),
        "lock": policy.lock().is_some(),
    });
    Ok((summary, line))
}
