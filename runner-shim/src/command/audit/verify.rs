//! `guard audit verify`.

use std::path::{Path, PathBuf};

use guard_audit::{
    Broken, Problem, PublicKey, Unsealed, Verified, VerifyError,
    tlog::{
        Bundle, BundleError, Consistency, Kept, LogProblem, Proof, SignedCheckpoint, follow_keys,
        verify_bundle,
    },
    verify,
};
use serde::Serialize;

use super::{
    BROKEN, NOT_SEALED, Unusable, WHOLE, attestation, broker, json, keys, open, printable,
    read_text, write,
};

const AFTER_HELP: &str = "\
Examples:
  guard audit verify record.jsonl --key seal.pub
  guard audit verify record.jsonl --key \"$(guard-broker key --config guard.yaml)\" --json
  guard audit verify record.jsonl --key seal.pub --attestation report.intoto.jsonl --report report.json
  guard audit verify record.jsonl --key seal.pub --checkpoint kept.txt --broker https://guard.example.com

The proof that the record's seal is in the broker's log is looked for beside the record (`record.proof`). With it, one key
of the log is enough, also an earlier one: the proof tells of the others.

Exit codes:
  0  whole: no byte was changed since the broker sealed it; with a proof: and it is in the log
  1  broken: where and why is said
  2  wrong arguments, or a file that cannot be read
  3  not sealed: the chain holds, but more may have followed";

/// A proof of consistency has at most 65 hashes.
const MAX_CONSISTENCY: usize = 16 * 1024;

/// Arguments of `guard audit verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The record (`*.jsonl`, `*.jsonl.zst`)
    record: PathBuf,
    /// The broker's public key: base64, or a file with it or its PEM; repeat it for older keys
    #[arg(long, value_name = "FILE|BASE64", required = true)]
    key: Vec<String>,
    /// The proof that it is in the log; `record.proof` beside `record.jsonl`, if that is there
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// A checkpoint of the log that was kept before: it must be the same log
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The proof that the larger of the two trees holds all of the smaller one
    #[arg(long, value_name = "FILE", requires = "checkpoint")]
    consistency: Option<PathBuf>,
    /// Fetch the proof of consistency from here
    #[arg(long, value_name = "URL", requires = "checkpoint", conflicts_with = "consistency")]
    broker: Option<String>,
    /// Also check the broker's signed statement (`report.intoto.jsonl`): that it is about this very record
    #[arg(long, value_name = "FILE")]
    attestation: Option<PathBuf>,
    /// With --attestation: also that it is about this report (`report.json`)
    #[arg(long, value_name = "FILE", requires = "attestation")]
    report: Option<PathBuf>,
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
    /// `record`, `log` or `attestation`: what is broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken: Option<&'static str>,
    /// Its place in the log; nothing, if no proof was there.
    log: Option<InLog>,
    /// The key that signed the statement about it, if that was given and holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    attested_by: Option<String>,
}

/// The place in the log, for programs.
#[derive(Serialize)]
struct InLog {
    origin: String,
    index: u64,
    size: u64,
    root: String,
    signed_by: String,
    /// All keys of the log, the first of them first.
    keys: Vec<String>,
    /// `same`, `older` or `newer`: how the checkpoint that was kept stands to this tree, which was proven.
    kept: Option<&'static str>,
}

/// What was found: exit code, words, answer.
type Found = (u8, String, Answer);

/// What a checkpoint was kept for.
struct KeptFiles {
    checkpoint: SignedCheckpoint,
    consistency: Option<Consistency>,
}

/// Runs the command.
pub(super) fn main(args: &Args) -> Result<u8, Unusable> {
    let keys = keys(&args.key)?;
    let proof = proof(args)?;
    let (mut code, mut words, mut answer) = match &proof {
        Some(Ok(proof)) => in_log(args, proof, &keys)?,
        Some(Err(problem)) => broken_log(problem),
        None if args.checkpoint.is_some() => {
            return Err(Unusable::NoProof { path: beside(&args.record).display().to_string() });
        }
        None => match verify(open(&args.record)?, &keys) {
            Ok(verified) => {
                let note = "log:   no proof is here, so a whole session could be missing elsewhere";
                let words = format!("{}\n{note}", whole(&verified));
                (WHOLE, words, verified.into())
            }
            Err(error) => not_whole(args, error)?,
        },
    };
    if code == WHOLE
        && let Some(path) = &args.attestation
    {
        let session = answer.session.as_deref();
        // The statement may be signed by a later key than the record: a proof tells of all, as for the record itself.
        let followed = match &proof {
            Some(Ok(proof)) => {
                follow_keys(proof, &keys).map(|found| found.keys).unwrap_or_default()
            }
            Some(Err(_)) | None => Vec::new(),
        };
        let known = [&keys[..], &followed].concat();
        match attestation::check(path, &args.record, args.report.as_deref(), &known, session)? {
            Ok(key) => {
                words.push_str(&format!("\nsaid:  attested by key {key}"));
                answer.attested_by = Some(key);
            }
            Err(problem) => {
                let problem = format!("the attestation does not hold: {problem}");
                code = BROKEN;
                words = format!("broken: {problem}\n{words}");
                answer.result = "broken";
                answer.broken = Some("attestation");
                answer.problem = Some(problem);
            }
        }
    }
    if args.json {
        write(None, &json(&answer)?)?;
    } else {
        let lines: Vec<_> = words.lines().map(printable).collect();
        write(None, &(lines.join("\n") + "\n"))?;
    }
    Ok(code)
}

fn in_log(args: &Args, proof: &Proof, keys: &[PublicKey]) -> Result<Found, Unusable> {
    let kept = match kept(args, proof)? {
        None => None,
        Some(Ok(kept)) => Some(kept),
        Some(Err(problem)) => return Ok(broken_log(&problem)),
    };
    let kept = kept.as_ref().map(|kept| (&kept.checkpoint, kept.consistency.as_ref()));
    Ok(match verify_bundle(open(&args.record)?, proof, keys, kept) {
        Ok(bundle) => (WHOLE, proven(&bundle), bundle.into()),
        Err(BundleError::Record(error)) => not_whole(args, error)?,
        Err(BundleError::Log(LogProblem::ConsistencyMissing { from, to })) => {
            return Err(Unusable::NoConsistency { from, to });
        }
        Err(BundleError::Log(problem)) => broken_log(&problem.to_string()),
    })
}

/// The file in which the proof of a record is looked for.
fn beside(record: &Path) -> PathBuf {
    let name = record.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(guard_audit::compressed_extension()).unwrap_or(&name);
    let name = name.strip_suffix(".jsonl").unwrap_or(name);
    record.with_file_name(format!("{name}.proof"))
}

/// The proof, if one is there; or why it is none.
fn proof(args: &Args) -> Result<Option<Result<Proof, String>>, Unusable> {
    let path = match &args.proof {
        Some(path) => path.clone(),
        None => beside(&args.record),
    };
    if args.proof.is_none() && !path.exists() {
        return Ok(None);
    }
    let text = read_text(&path, guard_audit::tlog::MAX_PROOF)?;
    let proof = text.ok_or_else(|| "it is no text, or longer than any proof".to_owned());
    let proof = proof.and_then(|text| Proof::parse(&text).map_err(|error| error.to_string()));
    Ok(Some(proof.map_err(|why| format!("the proof `{}`: {why}", path.display()))))
}

/// The checkpoint that was kept and what leads from it to the proof's; or why it does not.
fn kept(args: &Args, proof: &Proof) -> Result<Option<Result<KeptFiles, String>>, Unusable> {
    let Some(path) = &args.checkpoint else { return Ok(None) };
    let text = read_text(path, guard_audit::tlog::MAX_NOTE)?;
    let checkpoint = text.ok_or_else(|| "it is no text, or longer than any".to_owned());
    let checkpoint = checkpoint
        .and_then(|text| SignedCheckpoint::parse(&text).map_err(|error| error.to_string()));
    let checkpoint = match checkpoint {
        Ok(checkpoint) => checkpoint,
        Err(why) => return Ok(Some(Err(format!("the checkpoint `{}`: {why}", path.display())))),
    };
    let consistency = match (&args.consistency, &args.broker) {
        (Some(path), _) => match read_text(path, MAX_CONSISTENCY)? {
            Some(text) => Consistency::parse(&text).ok_or(path),
            None => Err(path),
        }
        .map(Some),
        (None, Some(url)) => {
            let sizes = [checkpoint.unverified().size, proof.checkpoint.unverified().size];
            let (from, to) = (sizes[0].min(sizes[1]), sizes[0].max(sizes[1]));
            Ok(if from == to { None } else { Some(broker::consistency(url, from, to)?) })
        }
        (None, None) => Ok(None),
    };
    Ok(Some(match consistency {
        Ok(consistency) => Ok(KeptFiles { checkpoint, consistency }),
        Err(path) => Err(format!("`{}` is no proof of consistency", path.display())),
    }))
}

fn not_whole(args: &Args, error: VerifyError) -> Result<Found, Unusable> {
    Ok(match error {
        VerifyError::Unsealed(unsealed) => {
            (NOT_SEALED, format!("not sealed: {unsealed}"), unsealed.into())
        }
        // The chain was followed up to here, so what is missing is missing at the end.
        VerifyError::Broken(broken) if broken.problem == Problem::CutOff => {
            let before = broken.line.saturating_sub(1);
            let words = format!(
                "cut: {broken}\nbefore: {before} lines whose chain holds, which vouches for all but the last\n\
                 next:  get the whole file from the broker, and verify that"
            );
            (BROKEN, words, broken.into())
        }
        VerifyError::Broken(broken) => {
            let next = "next:  keep this file as it is, and compare it with the broker's own copy";
            (BROKEN, format!("broken: {broken}\n{next}"), broken.into())
        }
        VerifyError::Read(source) => {
            return Err(Unusable::Read { path: args.record.display().to_string(), source });
        }
    })
}

fn broken_log(problem: &(impl ToString + ?Sized)) -> Found {
    let problem = problem.to_string();
    let next =
        "next:  keep record, proof and checkpoints as they are, and ask the broker for a new proof";
    let words = format!("broken: {problem}\n{next}");
    let answer = Answer {
        result: "broken",
        broken: Some("log"),
        problem: Some(problem),
        ..Answer::default()
    };
    (BROKEN, words, answer)
}

fn whole(verified: &Verified) -> String {
    format!(
        "whole: {} entries of session {}, sealed {} by key {}\nhead:  {}",
        verified.entries, verified.session, verified.sealed_at, verified.key_id, verified.head
    )
}

fn proven(bundle: &Bundle) -> String {
    let log = &bundle.log;
    let mut words = format!(
        "{}\nlog:   leaf {} of {} in `{}`, signed by key {}",
        whole(&bundle.record),
        log.index,
        log.checkpoint.size,
        log.checkpoint.origin,
        log.signed_by
    );
    if log.keys.len() > 1 {
        let keys: Vec<_> = log.keys.iter().map(ToString::to_string).collect();
        words.push_str(&format!("\nkeys:  {}", keys.join(" replaced by ")));
    }
    words.push_str(&match log.kept {
        None => String::new(),
        Some(Kept::Same) => "\nkept:  the checkpoint that was kept is of this very tree".to_owned(),
        Some(Kept::Older { size }) => {
            format!("\nkept:  the tree holds all {size} leaves of the checkpoint that was kept")
        }
        Some(Kept::Newer { size }) => {
            format!(
                "\nkept:  the checkpoint that was kept, of {size} leaves, holds all of this tree"
            )
        }
    });
    words
}

impl From<Verified> for Answer {
    fn from(verified: Verified) -> Self {
        Self {
            result: "whole",
            session: Some(verified.session.to_string()),
            entries: Some(verified.entries),
            head: Some(verified.head.to_string()),
            sealed_at: Some(verified.sealed_at.to_string()),
            key_id: Some(verified.key_id.to_string()),
            ..Self::default()
        }
    }
}

impl From<Bundle> for Answer {
    fn from(Bundle { record, log }: Bundle) -> Self {
        let kept = log.kept.map(|kept| match kept {
            Kept::Same => "same",
            Kept::Older { .. } => "older",
            Kept::Newer { .. } => "newer",
        });
        let log = InLog {
            origin: log.checkpoint.origin,
            index: log.index,
            size: log.checkpoint.size,
            root: log.checkpoint.root.to_string(),
            signed_by: log.signed_by.to_string(),
            keys: log.keys.iter().map(ToString::to_string).collect(),
            kept,
        };
        Self { log: Some(log), ..record.into() }
    }
}

impl From<Unsealed> for Answer {
    fn from(unsealed: Unsealed) -> Self {
        Self {
            result: "not-sealed",
            session: Some(unsealed.session.to_string()),
            entries: Some(unsealed.entries),
            head: Some(unsealed.head.to_string()),
            problem: Some(unsealed.to_string()),
            ..Self::default()
        }
    }
}

impl From<Broken> for Answer {
    fn from(broken: Broken) -> Self {
        Self {
            result: "broken",
            broken: Some("record"),
            line: Some(broken.line),
            problem: Some(broken.problem.to_string()),
            ..Self::default()
        }
    }
}
