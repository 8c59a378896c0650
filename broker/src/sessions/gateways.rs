//! Gateways: who they are, what they may serve, and which of them a session is sent to.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use guard_core::{Digest, ResourceName, SessionId, control::GatewayInfo};
use guard_policy::Who;

use super::Sessions;
use crate::{
    claims::VerifiedGateway,
    config::{Config, KnownBy, Labels},
    error::Refusal,
    store::{Enrolled, StoredGateway},
};

/// What the store says of gateways holds for this long: they register every 10 s, and whoever removes or drains one can wait
/// for a second.
const FRESH: Duration = Duration::from_secs(1);

/// What the store said last.
#[derive(Debug, Clone)]
pub(super) struct Known {
    at: Instant,
    gateways: Arc<Vec<StoredGateway>>,
}

/// How a gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GatewayState {
    /// It gets sessions.
    Ready,
    /// It gets no new sessions.
    Draining,
    /// It was not heard of lately.
    Silent,
    /// It did not use its token yet.
    Invited,
}

impl GatewayState {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Silent => "silent",
            Self::Invited => "invited",
        }
    }
}

/// The labels of a gateway, as the operator says; `None` if it is not known any more.
pub(crate) fn labels<'a>(config: &'a Config, gateway: &'a StoredGateway) -> Option<&'a Labels> {
    match config.gateways.get(&gateway.name) {
        Some(configured) => Some(&configured.labels),
        None => gateway.enrolled.as_ref().filter(|by| by.identity.is_none()).map(|by| &by.labels),
    }
}

/// By whose word the key of a gateway counts that was let in.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    /// The configuration's: this is the key, and no other is let in.
    Key(String),
    /// The configuration's: an identity token of whom this is the digest lets a key in.
    Identity(String),
    /// That of a token of the broker's own.
    Token,
}

fn word(config: &Config, name: &str) -> Word {
    match config.gateways.get(name).map(|configured| &configured.known_by) {
        Some(KnownBy::Key(key)) => Word::Key(key.clone()),
        Some(KnownBy::Identity(who)) => Word::Identity(who.digest().to_string()),
        None => Word::Token,
    }
}

impl Word {
    /// Whether the key of one that was let in counts. One that came in by another word has to come again.
    fn counts(&self, enrolled: &Enrolled) -> bool {
        match self {
            Self::Key(_) => false,
            Self::Identity(digest) => enrolled.identity.as_ref() == Some(digest),
            Self::Token => enrolled.identity.is_none(),
        }
    }
}

/// How a gateway is that is known.
pub(crate) fn state(config: &Config, gateway: &StoredGateway) -> GatewayState {
    let word = word(config, &gateway.name);
    let came = |enrolled: &Enrolled| enrolled.key.is_some() && word.counts(enrolled);
    if !matches!(word, Word::Key(_)) && !gateway.enrolled.as_ref().is_some_and(came) {
        GatewayState::Invited
    } else if !gateway.recent {
        GatewayState::Silent
    } else if gateway.draining {
        GatewayState::Draining
    } else {
        GatewayState::Ready
    }
}

impl Sessions {
    /// What the store says of gateways, or said a moment ago.
    async fn known_gateways(&self) -> Result<Arc<Vec<StoredGateway>>, Refusal> {
        let mut known = self.gateways.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.at.elapsed() < FRESH) {
            return Ok(known.gateways.clone());
        }
        let gateways = Arc::new(self.store.gateways(false).await?);
        *known = Some(Known { at: Instant::now(), gateways: gateways.clone() });
        Ok(gateways)
    }

    /// Whether this is the key of the gateway of a name.
    pub(crate) async fn is_gateways_key(&self, name: &str, key: &str) -> Result<bool, Refusal> {
        let word = word(&self.config(), name);
        if let Word::Key(configured) = &word {
            return Ok(configured == key);
        }
        let holds =
            |enrolled: &Enrolled| enrolled.key.as_deref() == Some(key) && word.counts(enrolled);
        let known = self.known_gateways().await?;
        let known = known.iter().find(|gateway| gateway.name == name);
        if known.is_some_and(|gateway| gateway.enrolled.as_ref().is_some_and(holds)) {
            return Ok(true);
        }
        // It may have been let in just now.
        Ok(self.store.enrolled(name).await?.as_ref().is_some_and(holds))
    }

    /// Lets a gateway in that has a token.
    pub(crate) async fn enrol(&self, name: &str, token: &str, key: &str) -> Result<(), Refusal> {
        if self.config().gateways.contains_key(name) {
            let message = format!("the key of gateway `{name}` stands in the configuration");
            return Err(Refusal::Forbidden(message));
        }
        if !self.store.enrol(name, Digest::of(token), key).await? {
            tracing::warn!(gateway = name, key, "a token for a gateway was refused");
            return Err(Refusal::Forbidden(
                "the token is not known, was used or is too old".into(),
            ));
        }
        tracing::info!(gateway = name, key, "a gateway was let in by its token");
        Ok(())
    }

    /// Lets a gateway in that showed an identity token.
    pub(crate) async fn enrol_by_identity(
        &self,
        name: &str,
        who: &Who,
        verified: &VerifiedGateway,
        token: &str,
        key: &str,
    ) -> Result<(), Refusal> {
        let by = who.digest();
        if !self.store.enrol_by_identity(name, by, verified, Digest::of(token), key).await? {
            return Err(Refusal::Unauthorized("the identity token was used before".into()));
        }
        tracing::info!(gateway = name, key, "a gateway was let in by an identity token");
        Ok(())
    }

    /// Notes where a gateway listens.
    pub(crate) async fn register(&self, info: GatewayInfo, version: &str) -> Result<(), Refusal> {
        if self.store.gateway_address(&info.name).await?.is_none() {
            tracing::info!(gateway = info.name, version, "a gateway is here");
        }
        Ok(self.store.register_gateway(&info, version).await?)
    }

    /// Whether a gateway has the labels that a resource asks for.
    pub(crate) async fn may_serve(
        &self,
        name: &str,
        resource: &ResourceName,
    ) -> Result<bool, Refusal> {
        let config = self.config();
        let Some(wanted) = config.resources.get(resource).map(|resource| &resource.gateway) else {
            return Ok(false);
        };
        if let Some(configured) = config.gateways.get(name) {
            return Ok(configured.labels.have(wanted));
        }
        let enrolled = self.store.enrolled(name).await?;
        Ok(enrolled.is_some_and(|enrolled| enrolled.labels.have(wanted)))
    }

    /// The gateways that a new session can be sent to.
    pub(super) async fn gateways_here(&self) -> Result<Arc<Vec<StoredGateway>>, Refusal> {
        self.known_gateways().await
    }

    /// How many gateways there are, by state.
    pub(crate) async fn count_gateways(&self) -> Result<Vec<(&'static str, i64)>, Refusal> {
        use GatewayState::{Draining, Invited, Ready, Silent};
        let (config, known) = (self.config(), self.store.gateways(false).await?);
        let known = known.iter().filter(|gateway| labels(&config, gateway).is_some());
        let states: Vec<_> = known.map(|gateway| state(&config, gateway)).collect();
        let counts = [Ready, Draining, Silent, Invited].map(|state| {
            let count = states.iter().filter(|found| **found == state).count();
            (state.as_str(), i64::try_from(count).unwrap_or(i64::MAX))
        });
        Ok(counts.to_vec())
    }
}

/// The gateway that a session is sent to for a resource: one of those that are ready and have the labels, for each session the
/// same, and another one for another session.
pub(super) fn choose(
    config: &Config,
    here: &[StoredGateway],
    session: SessionId,
    wanted: &Labels,
) -> Option<GatewayInfo> {
    let fit = here.iter().filter(|gateway| {
        state(config, gateway) == GatewayState::Ready
            && labels(config, gateway).is_some_and(|labels| labels.have(wanted))
    });
    let weight =
        |gateway: &&StoredGateway| Digest::of(format!("{session} {}", gateway.name)).to_string();
    fit.max_by_key(weight).and_then(|gateway| gateway.info.clone())
}
