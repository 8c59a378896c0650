//! Files that are read again while the broker runs: on SIGHUP, and when what they hold has changed.
//!
//! All or nothing. What is wrong in any way changes nothing: the broker goes on with what it has, says so loudly, and is as ready
//! as before. Files are written one after the other, so a change is taken up when it was the same twice in a row.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::anyhow;
use guard_core::{Digest, Timestamp};
use tokio::{signal::unix::Signal, time::MissedTickBehavior};

use crate::{
    config::{self, Config, Watched},
    error::chain,
    metrics::Reloaded,
    server::Tls,
    sessions::Sessions,
    store::BrokerRow,
};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the store is told by what this broker runs, in looks.
const TELL_EVERY: u64 = 3;
/// What is told of a problem at most, in characters.
const MAX_PROBLEM: usize = 4000;

/// The files of a broker.
#[derive(Debug)]
pub(crate) struct Reload {
    sessions: Arc<Sessions>,
    tls: Option<Arc<Tls>>,
    /// The configuration's, where it is read again.
    path: Option<PathBuf>,
    started: Timestamp,
    /// What this broker runs by.
    applied: Digest,
    watched: Watched,
    /// Seen once.
    pending: Option<Digest>,
    /// Looked at and refused, and why.
    refused: Option<(Digest, String)>,
    /// The same for certificate and key.
    tls_refused: Option<Digest>,
}

/// What was let pass although it is broad, for whoever reads the log.
pub(crate) fn warn_of_broad_rules(config: &Config) {
    for (rule, reason) in config.trust.broad() {
        tracing::warn!(rule, reason, "a trust rule is broad");
    }
}

impl Reload {
    /// Looks after the files of a configuration that was just read.
    pub(crate) fn new(
        sessions: Arc<Sessions>,
        tls: Option<Arc<Tls>>,
        path: Option<PathBuf>,
    ) -> Self {
        let watched = sessions.config().watched.clone();
        if let Some(tls) = &tls {
            sessions.metrics.set_certificate_expires(tls.expires());
        }
        Self {
            sessions,
            tls,
            path,
            started: Timestamp::now(),
            applied: watched.read(),
            watched,
            pending: None,
            refused: None,
            tls_refused: None,
        }
    }

    /// Looks now and then, and on SIGHUP, for ever.
    pub(crate) async fn keep(mut self, mut hangup: Signal) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0_u64;
        loop {
            tokio::select! {
                _ = tick.tick() => self.look().await,
                _ = hangup.recv() => {
                    tracing::info!("SIGHUP: reading the files again");
                    self.again().await;
                }
            }
            if looks.is_multiple_of(TELL_EVERY) {
                self.tell().await;
            }
            looks += 1;
        }
    }

    /// One look at all files.
    pub(crate) async fn look(&mut self) {
        self.look_at_tls(false);
        let found = self.watched.now();
        if found == self.applied {
            self.pending = None;
            if self.refused.take().is_some() {
                tracing::info!("the configuration is again what the broker runs by");
                self.sessions.metrics.set_current(true);
                self.tell().await;
            }
            return;
        }
        if self.refused.as_ref().is_some_and(|(digest, _)| *digest == found) {
            return;
        }
        if self.pending != Some(found) {
            self.pending = Some(found);
            return;
        }
        self.load().await;
    }

    /// Reads everything again, changed or not: some of what a configuration names is not looked at.
    pub(crate) async fn again(&mut self) {
        self.look_at_tls(true);
        self.load().await;
    }

    async fn load(&mut self) {
        let Some(path) = self.path.clone() else { return };
        self.pending = None;
        let (loaded, watched) = config::load_watched(&path);
        let digest = watched.read();
        self.watched = watched;
        let applied = match loaded {
            Ok(config) => self.apply(config).await,
            Err(problems) => Err(anyhow!("{problems}")),
        };
        self.sessions.metrics.reloaded(Reloaded::Configuration, applied.is_ok());
        self.sessions.metrics.set_current(applied.is_ok());
        match applied {
            Ok(()) => {
                self.applied = digest;
                self.refused = None;
                tracing::info!(%digest, "the configuration was read again and is in use");
            }
            Err(error) => {
                let problem: String = format!("{error:#}").chars().take(MAX_PROBLEM).collect();
                tracing::error!(problem, "the configuration was refused; the one before is in use");
                self.refused = Some((digest, problem));
            }
        }
        self.tell().await;
    }

    async fn apply(&self, config: Config) -> anyhow::Result<()> {
        let before = self.sessions.config();
        let changed: Vec<_> = fixed(&before)
            .into_iter()
            .zip(fixed(&config))
            .filter(|(before, now)| before != now)
            .map(|((name, _), _)| format!("`{name}`"))
            .collect();
        if !changed.is_empty() {
            return Err(anyhow!("{} can be changed by a restart only", changed.join(", ")));
        }
        warn_of_broad_rules(&config);
        self.sessions.replace_config(Arc::new(config));
        match self.sessions.end_what_is_not_given().await {
            Ok(0) => {}
            Ok(ended) => tracing::warn!(ended, "sessions were ended by the configuration"),
            // Those that were not looked at are at the next change, or at the next start.
            Err(error) => {
                tracing::error!(error = error.reason(), "not all sessions could be looked at");
            }
        }
        Ok(())
    }

    fn look_at_tls(&mut self, again: bool) {
        let Some(tls) = &self.tls else { return };
        let Some(found) = tls.changed() else { return };
        if !again && self.tls_refused == Some(found) {
            return;
        }
        let reloaded = tls.reload();
        self.sessions.metrics.reloaded(Reloaded::Tls, reloaded.is_ok());
        match reloaded {
            Ok(()) => {
                self.tls_refused = None;
                self.sessions.metrics.set_certificate_expires(tls.expires());
                tracing::info!("new connections see the new certificate");
            }
            Err(error) => {
                self.tls_refused = Some(found);
                tracing::error!(%error, "certificate or key was refused; the one before is shown");
            }
        }
    }

    /// Tells the store by what this broker runs.
    pub(crate) async fn tell(&self) {
        let row = BrokerRow {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            url: self.sessions.config().url.clone(),
            digest: self.applied,
            problem: self.refused.as_ref().map(|(_, problem)| problem.clone()),
            started: self.started,
        };
        if let Err(error) = self.sessions.store.tell_broker(&row).await {
            tracing::warn!(error = chain(&error), "cannot tell the store of this broker");
        }
    }
}

/// What is taken when a broker starts, and not afterwards.
fn fixed(config: &Config) -> [(&'static str, String); 11] {
    [
        ("listen", config.listen.to_string()),
        ("metrics", format!("{:?}", config.metrics)),
        ("telemetry", format!("{:?}", config.traces)),
        ("url", config.url.clone()),
        ("audience", config.audience.clone()),
        ("store", format!("{:?}", config.store)),
        ("recordings", format!("{:?}", config.recordings)),
        ("sealing_key", config.sealing_key.display().to_string()),
        ("tls", format!("{:?}", config.tls)),
        ("issuers", format!("{:?}", config.issuers)),
        ("sessions", format!("{:?}", config.sessions)),
    ]
}
