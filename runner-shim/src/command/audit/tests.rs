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
        Command::Checkpoint(args) => checkpoint::main(&args),
        Command::Replay(args) => replay::main(&args),
        Command::List(args) => list::main(&args),
        Command::Search(args) => search::main(&args),
        Command::Export(args) => export::main(&args),
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

#[test]
fn verify_takes_the_proof_beside_the_record_and_a_checkpoint_that_was_kept() {
    use guard_audit::tlog::{self, Checkpoint, Consistency, KeyLeaf, Leaf, Proof};
    let folder = tempfile::tempdir().unwrap();
    let key = SealingKey::generate().unwrap();
    let (lines, seal) = record(&key);
    let whole = [lines, seal].concat();
    let verified = guard_audit::verify(&whole[..], &[key.public()]).unwrap();
    let at = "2026-11-21T02:00:00Z".parse().unwrap();
    let origin = "guard.example.com/v1/log";
    let first = Leaf::key(origin, &key.public(), None, &key, at).unwrap();
    let own = Leaf::seal(verified.session, verified.sealed_at, verified.seal);
    let mut nodes = tlog::Nodes::new();
    for (leaf, size) in [&first, &own].into_iter().zip(0..) {
        tlog::append(&mut nodes, size, leaf.hash().unwrap()).unwrap();
    }
    let hashes = |spans: Option<Vec<tlog::Span>>| -> Vec<_> {
        spans.unwrap().into_iter().map(|span| span.hash(&nodes).unwrap()).collect()
    };
    let checkpoint = |size| {
        let root = tlog::root_span(size).hash(&nodes).unwrap();
        Checkpoint { origin: origin.into(), size, root }.sign(&key)
    };
    let keys = vec![KeyLeaf { index: 0, leaf: first, proof: hashes(tlog::inclusion_spans(0, 2)) }];
    let inclusion = hashes(tlog::inclusion_spans(1, 2));
    let proof = Proof { keys, index: 1, hashes: inclusion, checkpoint: checkpoint(2) };
    let consistency = Consistency { from: 1, to: 2, hashes: hashes(tlog::consistency_spans(1, 2)) };
    let write = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let path = write("record.jsonl", &whole);
    let key = key.public().to_string();
    let kept = write("kept.txt", checkpoint(1).to_string().as_bytes());
    let consistency = write("consistency.txt", consistency.to_string().as_bytes());
    let verify = |more: &[&str]| run(&[&["verify", &path, "--key", &key, "--json"], more].concat());
    // Without a proof there is nothing that a checkpoint could say.
    assert_eq!(verify(&[]).unwrap(), WHOLE);
    assert!(verify(&["--checkpoint", &kept]).is_err());
    let beside = write("record.proof", proof.to_string().as_bytes());
    assert_eq!(verify(&[]).unwrap(), WHOLE);
    assert_eq!(verify(&["--proof", &beside]).unwrap(), WHOLE);
    assert!(verify(&["--checkpoint", &kept]).is_err(), "no proof of consistency");
    let both = ["--checkpoint", &kept, "--consistency", &consistency];
    assert_eq!(verify(&both).unwrap(), WHOLE);
    assert_eq!(verify(&["--checkpoint", &consistency]).unwrap(), BROKEN);
    assert_eq!(verify(&["--checkpoint", &kept, "--consistency", &kept]).unwrap(), BROKEN);
    write("record.proof", proof.to_string().replace("index 1", "index 0").as_bytes());
    assert_eq!(verify(&[]).unwrap(), BROKEN);
    write("record.proof", &[0xff; 3]);
    assert_eq!(verify(&[]).unwrap(), BROKEN);
}
