//! `guard audit checkpoint`: keeping the log's newest signed root, which must hold all of the one that was kept before.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use guard_audit::tlog::{Kept, MAX_NOTE, SignedCheckpoint, follow_keys, verify_kept};

use super::{BROKEN, Unusable, WHOLE, broker, keys, printable, read_text, write};

const AFTER_HELP: &str = "\
Example:
  guard audit checkpoint --broker https://guard.example.com --key seal.pub --out kept.txt

Run it every day, where the broker cannot change what is kept. The first time it keeps what the broker shows; from then
on the log must hold all that it held. A log that does not is said, and the file stays as it is.

Exit codes:
  0  kept
  1  the log is not the one whose checkpoint was kept, or is not signed by one of its keys
  2  wrong arguments, a broker that does not answer, or a file that cannot be read or written";

/// Arguments of `guard audit checkpoint`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The broker
    #[arg(long, value_name = "URL", env = "GUARD_BROKER")]
    broker: String,
    /// A public key of the log: base64, or a file with it or its PEM
    #[arg(long, value_name = "FILE|BASE64", required = true)]
    key: Vec<String>,
    /// Where the checkpoint is kept
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Keep the proof that it holds all of the former one here
    #[arg(long, value_name = "FILE")]
    consistency: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn main(args: &Args) -> Result<u8, Unusable> {
    let keys = keys(&args.key)?;
    let proof = broker::newest(&args.broker)?;
    let followed = match follow_keys(&proof, &keys) {
        Ok(followed) => followed,
        Err(problem) => return broken(&problem.to_string()),
    };
    let newest = proof.checkpoint.unverified();
    let (path, size) = (&args.out, newest.size);
    let mut words = format!("kept:  {size} leaves of `{}`", newest.origin);
    if path.exists() {
        let text = read_text(path, MAX_NOTE)?;
        let kept = text.and_then(|text| SignedCheckpoint::parse(&text).ok());
        let Some(kept) = kept else {
            return broken(&format!("`{}` is no checkpoint", path.display()));
        };
        let from = kept.unverified().size;
        let consistency = match from < size {
            true => Some(broker::consistency(&args.broker, from, size)?),
            false => None,
        };
        let mut known = followed.keys;
        known.extend(keys);
        match verify_kept(&kept, newest, consistency.as_ref(), &known) {
            Ok(Kept::Same) => words.push_str(", as before"),
            Ok(Kept::Older { .. } | Kept::Newer { .. }) => {
                words.push_str(&format!(", among them all {from} of the former checkpoint"));
            }
            Err(_) if from > size => {
                return broken(&format!(
                    "the log has {size} leaves, and had {from} when its checkpoint was kept"
                ));
            }
            Err(problem) => return broken(&problem.to_string()),
        }
        if let (Some(to), Some(consistency)) = (&args.consistency, consistency) {
            replace(to, &consistency.to_string())?;
        }
    }
    replace(path, &proof.checkpoint.to_string())?;
    write(None, &format!("{}\n", printable(&words)))?;
    Ok(WHOLE)
}

fn broken(problem: &str) -> Result<u8, Unusable> {
    let next = "next:  keep the file as it is: it is the evidence. Ask who runs the broker";
    write(None, &format!("{}\n{next}\n", printable(&format!("broken: {problem}"))))?;
    Ok(BROKEN)
}

/// Writes a file that is there whole or as it was.
fn replace(path: &Path, text: &str) -> Result<(), Unusable> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let new = path.with_file_name(name);
    let written = || -> io::Result<()> {
        let mut file = fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(|source| Unusable::Write { path: path.display().to_string(), source })
}
