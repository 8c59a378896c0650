//! `guard-broker reload`: waits until all brokers run by the files as they are, and pushes policies to sessions that live.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::anyhow;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{print, shown};
use crate::{
    config, serve,
    sessions::end_older_policies,
    store::{Broker, Store},
};

/// How often the brokers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// What brokers run by.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  guard-broker reload
  guard-broker reload --push

Brokers look at their files every two seconds, and on SIGHUP. This reads the same files, waits until all brokers that share the
store run by them, and says which do not and why. A session keeps its policies as they were when it was opened; with --push
those that hold another text of a policy are ended.

Exit codes: 0 · 1 the files are wrong, no store, or a broker that does not run by them")]
pub(crate) struct ReloadArgs {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "guard.yaml", env = "GUARD_CONFIG")]
    config: PathBuf,
    /// End sessions that hold another text of a policy than the files have
    #[arg(long)]
    push: bool,
    /// Wait so many seconds for the brokers
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(crate) async fn run(args: ReloadArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config).map_err(|problems| anyhow!("{problems}"))?;
    let store = serve::open_store(&config).await?;
    let done = work(&store, &config, &args).await;
    store.close().await;
    done
}

async fn work(
    store: &Store,
    config: &config::Config,
    args: &ReloadArgs,
) -> anyhow::Result<ExitCode> {
    let digest = config.watched.read();
    let deadline = Instant::now() + Duration::from_secs(args.wait);
    let brokers = loop {
        let brokers = store.brokers().await?;
        let settled = |broker: &Broker| broker.digest == digest || broker.problem.is_some();
        if brokers.iter().all(settled) || Instant::now() >= deadline {
            break brokers;
        }
        sleep(LOOK_EVERY).await;
    };
    let current = |broker: &Broker| broker.digest == digest && broker.problem.is_none();
    let all = brokers.iter().all(current);
    // Not before: a broker with the old files would open sessions with the old texts.
    let ended = match (args.push, all) {
        (true, true) => Some(end_older_policies(store, config).await?),
        (true, false) | (false, _) => None,
    };
    if args.json {
        print(&json!({ "digest": digest, "brokers": brokers, "ended": ended }).to_string())?;
    } else {
        if brokers.is_empty() {
            print("no broker runs")?;
        }
        for broker in &brokers {
            print(&line(broker, current(broker)))?;
        }
        match ended {
            Some(ended) => print(&format!("ended {ended} sessions"))?,
            None if args.push => print("nothing is pushed before all brokers run by the files")?,
            None => {}
        }
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(broker: &Broker, current: bool) -> String {
    let state = match (&broker.problem, current) {
        (Some(problem), _) => format!("refused: {}", problem.replace('\n', " · ")),
        (None, true) => "runs by these files".to_owned(),
        (None, false) => "runs by other files".to_owned(),
    };
    shown(&format!("broker {}  {}  {state}", broker.id, broker.version))
}
