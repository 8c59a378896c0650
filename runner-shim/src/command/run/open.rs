//! From an identity token to an open session: the first half of a run, and of a session for several of them.

use std::path::PathBuf;

use guard_core::ResourceName;
use guard_engine::{
    control::ControlError,
    exchange::{Session, exchange},
    http::{BrokerClient, BrokerUrl},
    keys::SessionKey,
};

use super::{
    RunError,
    output::Known,
    token::{self, Source},
};
use crate::{sandbox, words::say};

/// Which session is asked for, and of whom.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Asked {
    /// The broker's address
    #[arg(long, env = "GUARD_BROKER_URL", value_name = "URL")]
    pub(super) broker: Option<String>,
    /// A resource that the command needs; all that the run may have if left out
    #[arg(long = "resource", value_name = "NAME")]
    pub(super) resources: Vec<ResourceName>,
    /// Where the report goes, in a folder named after the session
    #[arg(long, value_name = "DIR", default_value = "guard-report")]
    pub(super) report: PathBuf,
    #[command(flatten)]
    pub(super) token: token::Said,
}

/// Where an identity token comes from, and the broker that it is for.
pub(super) struct Beginning {
    source: Source,
    pub(super) client: BrokerClient,
}

/// An open session, and who gives the tokens that let it go on.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) source: Source,
    /// `None`: the token was there, and there is nobody to ask for another.
    pub(super) audience: Option<String>,
}

/// Finds the token's source and the broker. Nobody is asked yet.
pub(super) fn begin(asked: &Asked) -> Result<Beginning, RunError> {
    let (source, broker) = token::find(&asked.token, asked.broker.as_deref())?;
    let broker = broker.or(asked.broker.clone()).ok_or(RunError::NoBroker)?;
    let client = BrokerClient::new(BrokerUrl::parse(&broker)?)?;
    if source.is_development() {
        say(
            "DEVELOPMENT: this identity comes from `guard-broker dev` on this machine and proves nothing",
        );
    }
    Ok(Beginning { source, client })
}

impl Beginning {
    /// Opens the session. `known` gets what does not belong into a log.
    pub(super) async fn open(self, asked: &Asked, known: &Known) -> Result<Opened, RunError> {
        let Self { source, client } = self;
        for secret in sandbox::platform_secrets() {
            known.add(&secret);
        }
        let key = SessionKey::generate()?;
        let (token, audience) = match source.presented() {
            Some(token) => (token?, None),
            None => {
                let audience = match &asked.token.audience {
                    Some(audience) => audience.clone(),
                    None => client.audience().await?.audience,
                };
                // For this run's key alone: whoever finds the token cannot exchange it.
                let audience = format!("{audience}#{}", key.thumbprint()?);
                (source.request(&audience).await?, Some(audience))
            }
        };
        let session =
            exchange(&client, key, &token, &asked.resources).await.inspect_err(|error| {
                if audience.is_none()
                    && matches!(error, ControlError::Refused { code, .. } if code == "invalid_grant")
                {
                    say("hint: a token that was there before guard is taken once, and only where its issuer has `bind: none`");
                }
            })?;
        known.add(&token);
        known.add(&session.token);
        drop(token);
        let locked = sandbox::lock_memory();
        tracing::debug!(?locked, "the session's key is made");
        Ok(Opened { session, source, audience })
    }
}
