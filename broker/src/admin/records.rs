//! `guard-broker records`: what keeps records from being deleted, and deleting them.
//!
//! Holds are in the store; the brokers that run see them at once. Deleting works on the store and the recordings.

use anyhow::bail;
use guard_core::{SessionId, Timestamp};

use super::{Common, print, shown};
use crate::{
    config::Config,
    log::{Keyring, Log},
    serve,
    sessions::Sessions,
    store::{Buried, Hold, Store},
};

/// What is said as a reason at most.
const MAX_REASON: usize = 500;

/// Records that are kept, held and deleted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  guard-broker records hold 0192f0c0-7b1e-7000-8000-000000000000 --reason 'case 17'
  guard-broker records hold --repo acme/shop --reason 'case 17'
  guard-broker records list
  guard-broker records release 4f1d0c1a
  guard-broker records delete 0192f0c0-7b1e-7000-8000-000000000000 --reason 'asked for by the owner of the data'

How long records are kept says `retention` of the configuration. One on hold is never deleted, whatever else is said.
Exit codes: 0 · 1 no configuration, no store, no such hold or session, or a record that may not be deleted")]
pub(crate) struct RecordArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Keep a session's record, or all of a repository, whatever the configuration says
    Hold {
        /// The session
        #[arg(required_unless_present = "repo", conflicts_with = "repo")]
        session: Option<SessionId>,
        /// The repository: its records of now and of later
        #[arg(long, value_name = "OWNER/NAME")]
        repo: Option<String>,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take a hold back
    Release {
        /// The hold, as `list` names it
        hold: String,
    },
    /// List what is held
    List,
    /// Delete a session's record now, where `retention: { delete_by_hand: true }` stands in the configuration
    Delete {
        /// The session
        session: SessionId,
        /// Why, for the log and for whoever asks for the record
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Runs one of them.
pub(crate) async fn run(args: RecordArgs) -> anyhow::Result<()> {
    let (config, store) = args.common.open().await?;
    let done = work(&store, &config, &args).await;
    store.close().await;
    done
}

async fn work(store: &Store, config: &Config, args: &RecordArgs) -> anyhow::Result<()> {
    match &args.what {
        What::Hold { session, repo, reason } => {
            check(reason)?;
            let (kind, value) = match (session, repo) {
                (Some(session), _) => ("session", session.to_string()),
                (None, Some(repository)) => ("repository", repository.clone()),
                (None, None) => bail!("say which session, or --repo"),
            };
            let id = uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect();
            let (kind, reason) = (kind.to_owned(), reason.clone());
            let hold = Hold { id, kind, value, reason, since: Timestamp::now() };
            store.hold(&hold).await?;
            if let Some(session) = session
                && let Some(tombstone) = store.tombstone(*session).await?
            {
                store.release_hold(&hold.id).await?;
                bail!("session {session} cannot be held any more: {tombstone}");
            }
            print(&if args.common.json { serde_json::to_string(&hold)? } else { line(&hold) })
        }
        What::Release { hold } => {
            if !store.release_hold(hold).await? {
                bail!("there is no hold `{hold}`");
            }
            print(&format!("released {hold}"))
        }
        What::List => {
            let holds = store.holds().await?;
            if args.common.json {
                return print(&serde_json::to_string(&holds)?);
            }
            holds.iter().try_for_each(|hold| print(&line(hold)))
        }
        What::Delete { session, reason } => {
            check(reason)?;
            if !config.retention.by_hand {
                bail!(
                    "records may not be deleted by hand here: that takes `retention: {{ delete_by_hand: true }}`"
                );
            }
            let keys = Keyring::load_or_create(&config.sealing_key)?;
            let log = Log::start(store.clone(), keys.clone(), &config.url).await?;
            let records = serve::open_records(config, store, &keys)?;
            match Sessions::delete_with(store, &log, &records, *session, reason).await {
                Ok(Buried::Yes) => {
                    let tombstone = store.tombstone(*session).await?;
                    print(&tombstone.map(|found| found.to_string()).unwrap_or_default())
                }
                Ok(Buried::Held(hold)) => bail!("it is held: {}", line(&hold)),
                Ok(Buried::NotYet) => bail!(
                    "there is no record of session {session} that is sealed, in the recordings and in the log"
                ),
                Err(refusal) => bail!("{}", refusal.reason()),
            }
        }
    }
}

fn check(reason: &str) -> anyhow::Result<()> {
    if reason.is_empty() || reason.len() > MAX_REASON || reason.chars().any(char::is_control) {
        bail!("a reason is one line of 1 to {MAX_REASON} bytes");
    }
    Ok(())
}

fn line(hold: &Hold) -> String {
    let Hold { id, kind, value, reason, since } = hold;
    shown(&format!("{id}  {kind} {value}  since {since}  {reason}"))
}
