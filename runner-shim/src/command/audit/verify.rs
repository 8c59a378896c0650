//! `guard audit verify`.

use std::path::PathBuf;

use guard_audit::{VerifyError, verify};
use serde::Serialize;

use super::{BROKEN, NOT_SEALED, Unusable, WHOLE, json, keys, open, printable, write};

const AFTER_HELP: &str = "\
Examples:
  guard audit verify record.jsonl --key seal.pub
  guard audit verify record.jsonl --key \"$(guard-broker key --config guard.yaml)\" --json

Exit codes:
  0  whole: no byte was changed since the broker sealed it
  1  broken: the line and the reason are said
  2  wrong arguments, or a file that cannot be read
  3  not sealed: the chain holds, but more may have followed";

/// Arguments of `guard audit verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The record (`*.jsonl`)
    record: PathBuf,
    /// The broker's public key: base64, or a file with it or its PEM; repeat it for older keys
    #[arg(long, value_name = "FILE|BASE64", required = true)]
    key: Vec<String>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// The answer for programs.
#[derive(Serialize, Default)]
struct Answer {
    /// `whole`, `broken` or `not-sealed`.
    result: &'static str,
    session: Option<String>,
    entries: Option<u64>,
    head: Option<String>,
    sealed_at: Option<String>,
    key_id: Option<String>,
    line: Option<u64>,
    problem: Option<String>,
}

/// Runs the command.
pub(super) fn main(args: &Args) -> Result<u8, Unusable> {
    let keys = keys(&args.key)?;
    let (code, words, answer) = match verify(open(&args.record)?, &keys) {
        Ok(verified) => (
            WHOLE,
            format!(
                "whole: {} entries of session {}, sealed {} by key {}\nhead:  {}",
                verified.entries,
                verified.session,
                verified.sealed_at,
                verified.key_id,
                verified.head
            ),
            Answer {
                result: "whole",
                session: Some(verified.session.to_string()),
                entries: Some(verified.entries),
                head: Some(verified.head.to_string()),
                sealed_at: Some(verified.sealed_at.to_string()),
                key_id: Some(verified.key_id.to_string()),
                ..Answer::default()
            },
        ),
        Err(VerifyError::Unsealed(unsealed)) => (
            NOT_SEALED,
            format!("not sealed: {unsealed}"),
            Answer {
                result: "not-sealed",
                session: Some(unsealed.session.to_string()),
                entries: Some(unsealed.entries),
                head: Some(unsealed.head.to_string()),
                problem: Some(unsealed.to_string()),
                ..Answer::default()
            },
        ),
        Err(VerifyError::Broken(broken)) => (
            BROKEN,
            format!("broken: {broken}"),
            Answer {
                result: "broken",
                line: Some(broken.line),
                problem: Some(broken.problem.to_string()),
                ..Answer::default()
            },
        ),
        Err(VerifyError::Read(source)) => {
            return Err(Unusable::Read { path: args.record.display().to_string(), source });
        }
    };
    if args.json {
        write(None, &json(&answer)?)?;
    } else {
        let lines: Vec<_> = words.lines().map(printable).collect();
        write(None, &(lines.join("\n") + "\n"))?;
    }
    Ok(code)
}
