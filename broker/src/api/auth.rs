//! Who makes a request: proofs of sessions and of gateways, checked before a body is read.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use guard_core::{Digest, ResourceName, Timestamp};

use crate::app::App;
use crate::{
    error::Refusal,
    jws::Fault,
    proofs::{self, Proven, Request, Scope},
    sessions::{Caller, Found, Session, over},
    store::{SessionRow, StateRow},
};

/// RFC 9449 section 4.1.
pub(super) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// A request of a session's shim.
pub(super) enum Shim {
    /// Its record is open.
    Live(Arc<Session>),
    /// Its record is sealed.
    Over(Box<(SessionRow, StateRow)>),
}

/// A request of a gateway, by name.
pub(super) struct Gateway(pub(super) String);

/// A request of somebody who has a key and says that it is a gateway's. Nothing more is known.
pub(super) struct Claimed {
    /// The name that it says.
    pub(super) name: String,
    /// The key.
    pub(super) proven: Proven,
}

/// A request of either, for a session that is not sealed.
pub(super) struct Either(pub(super) Caller);

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Unauthorized(fault.to_string())
    }
}

/// The one value of a header; two of them might be read by two readers in two ways.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Fault> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (Some(Ok(value)), None) => Ok(value),
        (Some(_), _) => Err(Fault::new(format!("the header `{name}` is there twice, or no text"))),
        (None, _) => Err(Fault::new(format!("the header `{name}` is missing"))),
    }
}

/// `Authorization: <scheme> <credentials>`.
fn authorization(headers: &HeaderMap) -> Result<(&str, &str), Fault> {
    let value = only(headers, &header::AUTHORIZATION)?;
    value.split_once(' ').ok_or_else(|| Fault::new("`Authorization` has no scheme"))
}

/// Where a proof counts as used. To ask for a session's or an approval's state, to append events, which have numbers, and to give back a lease
/// changes nothing when it is done twice; everything else is done once, at whichever broker.
fn spent_for(path: &str) -> Scope {
    let repeatable = match path.strip_prefix("/v1/") {
        Some("session/state" | "record") => true,
        Some(path) => {
            (path.starts_with("sessions/") && path.ends_with("/state"))
                || (path.starts_with("approvals/") && path.ends_with("/state"))
                || (path.starts_with("leases/") && path.ends_with("/release"))
        }
        None => false,
    };
    if repeatable { Scope::ThisBroker } else { Scope::AllBrokers }
}

/// The session of a token, if the proof holds.
pub(super) async fn session_of(
    app: &App,
    token: &str,
    proof: &str,
    request: Request<'_>,
    scope: Scope,
) -> Result<Shim, Refusal> {
    let now = Timestamp::now();
    let token_hash = Digest::of(token);
    let shim = match app.sessions.by_token(token_hash).await? {
        Some(Found::Open(session)) => Shim::Live(session),
        Some(Found::Closed(closed)) => Shim::Over(closed),
        None => return Err(Fault::new("the token is not known").into()),
    };
    let bound_to = match &shim {
        Shim::Live(session) => &session.row.key_thumbprint,
        Shim::Over(closed) => &closed.0.key_thumbprint,
    };
    let proven = proofs::verify(proof, Request { token: Some(token), ..request }, now)?;
    if proven.thumbprint != *bound_to {
        return Err(Fault::new("the proof is of another key than the session's").into());
    }
    app.once.spend(&proven, scope, now).await?;
    Ok(shim)
}

impl FromRequestParts<Arc<App>> for Shim {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let (scheme, token) = authorization(&parts.headers)?;
        if !scheme.eq_ignore_ascii_case("DPoP") {
            return Err(Fault::new("the scheme is not `DPoP`").into());
        }
        let proof = only(&parts.headers, &DPOP)?;
        let uri = format!("{}{}", app.sessions.config().url, parts.uri.path());
        let request = Request { method: parts.method.as_str(), uri: &uri, token: Some(token) };
        session_of(app, token, proof, request, spent_for(parts.uri.path())).await
    }
}

impl FromRequestParts<Arc<App>> for Gateway {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let (scheme, assertion) = authorization(&parts.headers)?;
        if !scheme.eq_ignore_ascii_case("Bearer") {
            return Err(Fault::new("the scheme is not `Bearer`").into());
        }
        let Claimed { name, proven } = Claimed::read(assertion, app)?;
        if !app.sessions.is_gateways_key(&name, &proven.thumbprint).await? {
            let reason = format!("`{}` is not the key of a gateway `{name}`", proven.thumbprint);
            return Err(Fault::new(reason).into());
        }
        app.once.spend(&proven, spent_for(parts.uri.path()), Timestamp::now()).await?;
        Ok(Self(name))
    }
}

impl Claimed {
    fn read(assertion: &str, app: &App) -> Result<Self, Refusal> {
        let config = app.sessions.config();
        let (name, proven) = proofs::verify_assertion(assertion, &config.url, Timestamp::now())?;
        // No other can be a gateway's, and what the log says stays one line.
        if ResourceName::new(&name).is_err() {
            return Err(Fault::new("this is no name of a gateway").into());
        }
        Ok(Self { name, proven })
    }
}

impl FromRequestParts<Arc<App>> for Claimed {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let (scheme, assertion) = authorization(&parts.headers)?;
        if !scheme.eq_ignore_ascii_case("Bearer") {
            return Err(Fault::new("the scheme is not `Bearer`").into());
        }
        Self::read(assertion, app)
    }
}

impl FromRequestParts<Arc<App>> for Either {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let (scheme, _) = authorization(&parts.headers)?;
        if scheme.eq_ignore_ascii_case("Bearer") {
            let Gateway(name) = Gateway::from_request_parts(parts, app).await?;
            return Ok(Self(Caller::Gateway(name)));
        }
        let session = Shim::from_request_parts(parts, app).await?.live()?;
        Ok(Self(Caller::Shim(session)))
    }
}

impl Shim {
    /// The session, if its record is open.
    pub(super) fn live(self) -> Result<Arc<Session>, Refusal> {
        match self {
            Self::Live(session) => Ok(session),
            Self::Over(closed) => Err(over(&closed.1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_done_twice_is_remembered_by_one_broker_alone() {
        for (path, scope) in [
            ("/v1/session/state", Scope::ThisBroker),
            ("/v1/sessions/0192f0c0-7b1e-7000-8000-000000000000/state", Scope::ThisBroker),
            ("/v1/record", Scope::ThisBroker),
            ("/v1/leases/0192f0c0-7b1e-7000-8000-000000000000/release", Scope::ThisBroker),
            ("/oauth/token", Scope::AllBrokers),
            ("/v1/approvals/0192f0c0-7b1e-7000-8000-000000000000/state", Scope::ThisBroker),
            ("/v1/approvals/0192f0c0-7b1e-7000-8000-000000000000/use", Scope::AllBrokers),
            ("/v1/approvals/0192f0c0-7b1e-7000-8000-000000000000/cancel", Scope::AllBrokers),
            ("/v1/approvals", Scope::AllBrokers),
            ("/v1/leases", Scope::AllBrokers),
            ("/v1/session/end", Scope::AllBrokers),
            ("/v1/session/isolation", Scope::AllBrokers),
            ("/v1/session/renew", Scope::AllBrokers),
            ("/v1/session/record", Scope::AllBrokers),
            ("/v1/session/attestation", Scope::AllBrokers),
            ("/v1/session/enforce", Scope::AllBrokers),
            ("/v1/sessions/authorize", Scope::AllBrokers),
            ("/v1/gateways/self", Scope::AllBrokers),
            // Resources may have these names.
            ("/v1/tunnel/state", Scope::AllBrokers),
            ("/v1/tunnel/release", Scope::AllBrokers),
        ] {
            assert_eq!(spent_for(path), scope, "{path}");
        }
    }
}
