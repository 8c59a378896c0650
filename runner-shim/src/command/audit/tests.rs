//! The exit codes of `guard audit verify`, and what a listing shows of names that a job chose.
#![allow(clippy::unwrap_used, reason = "tests")]

use clap::Parser;
use guard_audit::{ChainWriter, Event, Seal, SealingKey};

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A session that was opened, and ended at once.
fn record(key: &SealingKey) -> (Vec<u8>, Vec<u8>) {
    let at = "2026-11-21T02:00:00Z".parse().unwrap();
    let session = "0192a1b2-0000-7000-8000-000000000001";
    let opened: Event = serde_json::from_value(serde_json::json!({
        "type": "session-opened", "session": session, "trust_rule": "nightly", "trust_digest": "0".repeat(64),
        "grants": [], "key_thumbprint": "x", "until": "2026-11-21T03:00:00Z", "broker_version": "0",
        "identity": {
            "platform": "github", "issuer_name": "github", "subject": "s", "repository": "o/r\u{1b}[2J",
            "git_ref": "r", "event": "push", "workflow": "w", "actor": "a", "run_url": null, "claims": {},
            "run": { "issuer": "i", "repository_id": "1", "run_id": "2", "attempt": "1", "job": "j" },
        },
    }))
    .unwrap();
    let ended: Event = serde_json::from_value(serde_json::json!({
        "type": "session-ended", "reason": "finished", "exit_code": 0,
    }))
    .unwrap();
    let (mut chain, mut lines) = (ChainWriter::new(), Vec::new());
    chain.append_into(&mut lines, at, "broker", &opened).unwrap();
    chain.append_into(&mut lines, at, "broker", &ended).unwrap();
    let seal = Seal::line(session.parse().unwrap(), &chain, at, key).unwrap();
    (lines, seal)
}

fn run(arguments: &[&str]) -> Result<u8, Unusable> {
    match Cli::parse_from([&["audit"], arguments].concat()).command {
        Command::Report(args) => report::main(&args),
        Command::Verify(args) => verify::main(&args),
        Command::List(args) => list::main(&args),
    }
}

#[test]
fn verify_answers_by_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let key = SealingKey::generate().unwrap();
    let (lines, seal) = record(&key);
    let whole = [lines.clone(), seal].concat();
    let changed = String::from_utf8(whole.clone()).unwrap().replace("push", "pull").into_bytes();
    let path = folder.path().join("record.jsonl");
    let path_text = path.to_str().unwrap();
    let key_file = folder.path().join("seal.pub");
    std::fs::write(&key_file, key.public().to_pem()).unwrap();
    let base64 = key.public().to_string();
    for given in [base64.as_str(), key_file.to_str().unwrap()] {
        for (bytes, code) in [(&whole, WHOLE), (&changed, BROKEN), (&lines, NOT_SEALED)] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(run(&["verify", path_text, "--key", given]).unwrap(), code);
            assert_eq!(run(&["verify", path_text, "--key", given, "--json"]).unwrap(), code);
        }
    }
    assert!(run(&["verify", path_text, "--key", "no such key"]).is_err());
    assert!(run(&["verify", "no such file", "--key", &base64]).is_err());
    assert!(run(&["verify", folder.path().to_str().unwrap(), "--key", &base64]).is_err());
}

#[test]
fn a_report_is_written_where_it_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let key = SealingKey::generate().unwrap();
    let (lines, seal) = record(&key);
    let path = folder.path().join("record.jsonl");
    std::fs::write(&path, [lines, seal].concat()).unwrap();
    let out = folder.path().join("out");
    for (format, beginning) in [("html", "<!doctype html>"), ("md", "### guard"), ("json", "{\n")] {
        let arguments =
            ["report", path.to_str().unwrap(), "--format", format, "--out", out.to_str().unwrap()];
        assert_eq!(run(&arguments).unwrap(), WHOLE);
        let text = std::fs::read_to_string(&out).unwrap();
        assert!(text.starts_with(beginning), "{format}");
        assert!(!text.contains('\u{1b}'), "{format}");
    }
    assert_eq!(run(&["list", folder.path().to_str().unwrap()]).unwrap(), WHOLE);
}
