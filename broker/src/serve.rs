//! `guard-broker serve`: from a configuration to a broker that runs, and back.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, anyhow};
use guard_audit::SealingKey;
use guard_core::Timestamp;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, App},
    config::{self, Config, RecordingsAt},
    issuers::Issuers,
    proofs::Once,
    record::{Archive, Files, Records},
    server,
    sessions::{Sessions, read_secret},
    store::Store,
};

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(path: &Path) -> anyhow::Result<()> {
    let config = config::load(path).map_err(|problems| anyhow!("{problems}"))?;
    serve(config, stop_on_signal()?).await
}

/// Cancelled by SIGTERM or SIGINT.
pub(crate) fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopper.cancel();
    });
    Ok(stop)
}

/// Opens the store of a configuration.
pub(crate) async fn open_store(config: &Config) -> anyhow::Result<Store> {
    let password = match &config.store.password {
        Some(source) => Some(
            read_secret(source)
                .await
                .map_err(|refusal| anyhow!("the store's password: {}", refusal.reason()))?,
        ),
        None => None,
    };
    let address = &config.store.address;
    Store::open(address, password.as_ref()).await.with_context(|| format!("`{address}`"))
}

/// Opens the records of a configuration: they grow where the store is.
pub(crate) fn open_records(config: &Config, store: &Store) -> anyhow::Result<Records> {
    Ok(match &config.recordings {
        RecordingsAt::Folder(folder) => {
            let files = Files::open(folder)
                .with_context(|| format!("cannot use the folder `{}`", folder.display()))?;
            if store.is_shared() {
                Records::Parts(store.clone(), Archive::Folder(folder.clone()))
            } else {
                Records::Files(files)
            }
        }
        RecordingsAt::Bucket { bucket, prefix } => {
            let archive = Archive::bucket(bucket, prefix)
                .with_context(|| format!("cannot use the bucket `{bucket}`"))?;
            Records::Parts(store.clone(), archive)
        }
    })
}

/// Serves until `stop`.
pub(crate) async fn serve(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let key = SealingKey::load_or_create(&config.sealing_key)
        .map_err(|error| anyhow!("{}", crate::error::chain(&error)))?;
    let tls = config.tls.as_ref().map(server::tls).transpose().context("the broker's own TLS")?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen at `{}`", config.listen))?;
    let store = open_store(&config).await?;
    let records = open_records(&config, &store)?;
    // Proofs from before the port was taken may have been used with the broker that ran before.
    let once = Once::new(&store, Timestamp::now());
    let issuers = Issuers::new(&config.audience, &config.issuers)?;
    let sessions = Sessions::start(config.clone(), store.clone(), records, key).await?;
    let caretaker = tokio::spawn(sessions.clone().look_after());
    tracing::info!(
        listen = %listener.local_addr()?,
        url = config.url,
        key = %sessions.public_key().id(),
        "the broker is ready"
    );
    let app = App { sessions: sessions.clone(), issuers, once };
    server::serve(listener, tls, api::router(Arc::new(app)), stop).await;
    tracing::info!("the broker stops");
    caretaker.abort();
    sessions.drain().await;
    store.close().await;
    Ok(())
}
