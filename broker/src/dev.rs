//! `guard-broker dev`: everything on loopback, to try guard out in one command.
//!
//! The same broker as in life, on a throw-away store, with an issuer that gives a token to whoever has
//! its bearer. `guard run` finds it by a file that only this user can read.

mod issuer;
mod setup;

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, anyhow, bail};
use serde_json::json;
use tokio::process::{Child, Command};

use crate::{
    config::{Config, GatewayConfig, IssuerConfig, KnownBy, Labels, RecordingsAt, StoreConfig},
    say, serve,
};
use issuer::DevIssuer;

/// The name of the gateway, and of the issuer where no configuration has one.
const DEV: &str = "dev";

/// How to try guard out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  guard-broker dev --postgres postgres://app@127.0.0.1:5432/shop --password-file pw --policy p.yaml
  guard-broker dev --config guard.yaml --claims claims.json")]
pub(crate) struct Args {
    /// Use resources, trust rules and policies of this configuration; its first GitHub issuer is replaced
    #[arg(long, value_name = "FILE", required_unless_present = "postgres")]
    config: Option<PathBuf>,
    /// A database on this machine, `postgres://user@host:port/database`
    #[arg(long, value_name = "URL", conflicts_with = "config", requires = "policy")]
    postgres: Option<String>,
    /// The file with its password; without it PGPASSWORD is used
    #[arg(long, value_name = "FILE", requires = "postgres")]
    password_file: Option<PathBuf>,
    /// The policy over it
    #[arg(long, value_name = "FILE", requires = "postgres")]
    policy: Option<PathBuf>,
    /// Where the broker listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8440")]
    listen: SocketAddr,
    /// Claims of the tokens, as JSON, over the usual ones
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// Keep everything here instead of in a folder that is removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Start no gateway
    #[arg(long)]
    no_gateway: bool,
    /// Say on standard output, as JSON, where everything is
    #[arg(long)]
    json: bool,
}

/// The issuer alone.
#[derive(Debug, clap::Args)]
pub(crate) struct IssuerArgs {
    /// Where it listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Claims of the tokens, as JSON, over the usual ones
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
}

/// Runs the issuer alone and says on standard output, as JSON, how to ask it.
pub(crate) async fn run_issuer(args: IssuerArgs) -> anyhow::Result<()> {
    let stop = serve::stop_on_signal()?;
    let issuer = DevIssuer::start(args.listen, args.claims.as_deref(), stop.clone()).await?;
    say("DEVELOPMENT ONLY: this issuer gives a token to whoever asks with its bearer");
    let said = json!({
        "url": issuer.url,
        "token_request_url": issuer.request_url(),
        "token_request_token": issuer.bearer(),
    });
    writeln!(std::io::stdout(), "{said}")?;
    stop.cancelled().await;
    Ok(())
}

/// Runs broker, issuer and gateway until a signal.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    if !args.listen.ip().is_loopback() {
        bail!("`{}` is no loopback address: `dev` is for this machine only", args.listen);
    }
    let stop = serve::stop_on_signal()?;
    let folder = setup::Folder::new(args.dir.as_deref())?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let issuer = DevIssuer::start(any, args.claims.as_deref(), stop.clone()).await?;
    let listen = if args.listen.port() == 0 { free_address()? } else { args.listen };
    let url = format!("http://{listen}");

    let config = match (&args.config, &args.postgres, &args.policy) {
        (Some(path), _, _) => path.clone(),
        (None, Some(postgres), Some(policy)) => {
            let password = args.password_file.as_deref();
            setup::write_config(folder.path(), &url, &issuer, postgres, password, policy)?
        }
        (None, _, _) => bail!("name a configuration, or a database and a policy"),
    };
    let mut config = crate::config::load(&config).map_err(|problems| anyhow!("{problems}"))?;
    into_dev(&mut config, folder.path(), listen, &url, &issuer)?;

    let guard = if args.no_gateway { None } else { Some(setup::guard_program()?) };
    let identity = folder.path().join("gateway.pem");
    if let Some(guard) = &guard {
        let key = setup::gateway_key(guard, &identity).await?;
        let labels = Labels::default();
        config
            .gateways
            .insert(DEV.to_owned(), GatewayConfig { known_by: KnownBy::Key(key), labels });
    }
    let resources: Vec<_> = config.resources.keys().map(ToString::to_string).collect();
    let serving = tokio::spawn(serve::serve(config, None, stop.clone()));
    let found = setup::Discovery::write(&url, &issuer)?;
    let _gateway = match &guard {
        Some(guard) => Some(start_gateway(guard, &url, &identity)?),
        None => None,
    };
    say("DEVELOPMENT ONLY: every process of this user gets a session from this broker");
    say(&format!("  broker     {url}"));
    say(&format!("  issuer     {}", issuer.url));
    say(&format!("  records    {}", folder.path().join("recordings").display()));
    say(&format!("  found by   {}", found.path().display()));
    say(&format!("  resources  {}", resources.join(", ")));
    say("try: guard run -- psql -c 'select 1'");
    if args.json {
        let said = json!({
            "broker": url,
            "issuer": issuer.url,
            "token_request_url": issuer.request_url(),
            "token_request_token": issuer.bearer(),
            "folder": folder.path(),
            "discovery": found.path(),
        });
        writeln!(std::io::stdout(), "{said}")?;
    }
    let served = serving.await.map_err(anyhow::Error::from);
    stop.cancel();
    served?
}

/// The same configuration on loopback, with a throw-away store and the local issuer.
fn into_dev(
    config: &mut Config,
    folder: &Path,
    listen: SocketAddr,
    url: &str,
    issuer: &DevIssuer,
) -> anyhow::Result<()> {
    config.listen = listen;
    url.clone_into(&mut config.url);
    url.clone_into(&mut config.audience);
    config.store = StoreConfig::sqlite(folder.join("guard.db"));
    config.recordings = RecordingsAt::Folder(folder.join("recordings"));
    config.sealing_key = folder.join("sealing-key.pem");
    config.tls = None;
    config.metrics = None;
    // Tokens of real issuers would be for another audience; their rules are what is tried out.
    let stood_in = config.issuers.iter().find(|i| i.platform == guard_core::Platform::Github);
    let stood_in: &IssuerConfig = stood_in
        .context("no issuer of the configuration is a GitHub one, as the local issuer is")?;
    config.issuers = vec![IssuerConfig {
        url: issuer.url.clone(),
        keys: crate::config::KeySource::Discovery,
        audiences: Vec::new(),
        algorithms: vec![jsonwebtoken::Algorithm::ES256],
        require: guard_policy::Conditions::default(),
        ..stood_in.clone()
    }];
    Ok(())
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn start_gateway(guard: &Path, broker: &str, identity: &Path) -> anyhow::Result<Child> {
    let listen = free_address()?.to_string();
    Command::new(guard)
        .args(["gateway", "--broker", broker, "--name", DEV, "--listen", &listen])
        .arg("--until-stdin-ends")
        .arg("--identity")
        .arg(identity)
        // Closed by the kernel however this process ends, `kill -9` included.
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start `{} gateway`", guard.display()))
}
