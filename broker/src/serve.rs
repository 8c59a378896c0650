//! `guard-broker serve`: from a configuration to a broker that runs, and back.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context as _, anyhow};
use guard_core::Timestamp;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api,
    app::App,
    config::{self, Config, RecordingsAt},
    credentials::read_secret,
    issuers::Issuers,
    log::Keyring,
    metrics::Metrics,
    people::Provider,
    proofs::Once,
    record::{Archive, Files, Records},
    reload::{self, Reload},
    server::{self, Tls},
    sessions::Sessions,
    store::Store,
    telemetry::Telemetry,
};

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(path: &Path) -> anyhow::Result<()> {
    let config = config::load(path).map_err(|problems| anyhow!("{problems}"))?;
    serve(config, Some(path), stop_on_signal()?).await
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
            read_secret(source).await.map_err(|error| anyhow!("the store's password: {error}"))?,
        ),
        None => None,
    };
    let address = &config.store.address;
    Store::open(address, password.as_ref()).await.with_context(|| format!("`{address}`"))
}

/// Opens the records of a configuration: they grow where the store is.
pub(crate) fn open_records(
    config: &Config,
    store: &Store,
    keys: &Keyring,
) -> anyhow::Result<Records> {
    Ok(match &config.recordings {
        RecordingsAt::Folder(folder) => {
            let files = Files::open(folder, keys.clone())
                .with_context(|| format!("cannot use the folder `{}`", folder.display()))?;
            if store.is_shared() {
                Records::Parts(store.clone(), Archive::Folder(folder.clone()), keys.clone())
            } else {
                Records::Files(files)
            }
        }
        RecordingsAt::Bucket { bucket, prefix } => {
            let archive = Archive::bucket(bucket, prefix)
                .with_context(|| format!("cannot use the bucket `{bucket}`"))?;
            Records::Parts(store.clone(), archive, keys.clone())
        }
    })
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen at `{address}`"))
}

/// Serves until `stop`.
///
/// With the path of the configuration it is read again when it changes.
pub(crate) async fn serve(
    config: Config,
    path: Option<&Path>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    crate::protect::allow_open_files();
    let telemetry = Telemetry::start(config.traces.as_deref())?;
    // Before anything else: without this SIGHUP ends the process.
    let hangup = signal(SignalKind::hangup())?;
    let config = Arc::new(config);
    let keys = Keyring::load_or_create(&config.sealing_key)
        .map_err(|error| anyhow!("{}", crate::error::chain(&error)))?;
    let tls = config.tls.as_ref().map(Tls::open).transpose().context("the broker's own TLS")?;
    let tls = tls.map(Arc::new);
    let listener = listen(config.listen).await?;
    let watchers = match config.metrics {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let store = open_store(&config).await?;
    let records = open_records(&config, &store, &keys)?;
    // Proofs from before the port was taken may have been used with the broker that ran before.
    let once = Once::new(&store, Timestamp::now());
    let issuers = Issuers::new(&config.audience, &config.issuers)?;
    reload::warn_of_broad_rules(&config);
    let metrics = Metrics::new(api::counted_names());
    let sessions = Sessions::start(config.clone(), store.clone(), records, keys, metrics).await?;
    // What the configuration does not give any more may have been given before this start.
    sessions.end_what_is_not_given().await.map_err(|refusal| anyhow!(refusal.reason()))?;
    let caretaker = tokio::spawn(sessions.clone().look_after());
    let reload = Reload::new(sessions.clone(), tls.clone(), path.map(Path::to_owned));
    // Who waits for this broker finds it as soon as it answers.
    reload.tell().await;
    let reloading = tokio::spawn(reload.keep(hangup));
    tracing::info!(
        listen = %listener.local_addr()?,
        url = config.url,
        key = %sessions.public_key().id(),
        "the broker is ready"
    );
    let people = config.people.as_ref().map(Provider::new).transpose()?;
    let app = App { sessions: sessions.clone(), issuers, once, people, stop: stop.clone() };
    let app = Arc::new(app);
    let keys = tokio::spawn({
        let app = app.clone();
        async move { app.issuers.look_after(&app.stop).await }
    });
    let metrics = &sessions.metrics;
    let watched = async {
        if let Some(listener) = watchers {
            let router = api::metrics_router(app.clone());
            server::serve(listener, None, router, metrics, stop.clone()).await;
        }
    };
    let served = server::serve(listener, tls, api::router(app.clone()), metrics, stop.clone());
    tokio::join!(served, watched);
    tracing::info!("the broker stops");
    caretaker.abort();
    keys.abort();
    reloading.abort();
    sessions.drain().await;
    if let Err(error) = store.forget_broker().await {
        tracing::debug!(error = crate::error::chain(&error), "the store still names this broker");
    }
    store.close().await;
    telemetry.stop().await;
    Ok(())
}
