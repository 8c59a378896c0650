//! From verified claims to an [`Identity`]: audience, times, and each platform's names.

mod platforms;
mod texts;

use std::{collections::BTreeMap, time::Duration};

use guard_core::{Identity, Timestamp};
use guard_policy::Who;

use crate::{
    config::{Bind, IssuerConfig, JTI},
    jws::{Fault, Verified},
};

/// A run whose token held: what it is, and what makes the token single-use.
#[derive(Debug)]
pub(crate) struct VerifiedRun {
    /// The run.
    pub(crate) identity: Identity,
    /// What of the token is used once.
    pub(crate) once: String,
    /// When the broker may forget that: the token is refused for its age by then.
    pub(crate) forget_after: guard_core::Timestamp,
    /// Whether the run's key names one job. Some platforms do not say which job of a run asks.
    pub(crate) names_job: bool,
    /// When the token was made, or now if that is later.
    pub(crate) issued: Timestamp,
    /// Whether the job can ask for more such tokens as long as it runs.
    pub(crate) renews: bool,
}

/// What is used once is kept, so it has an end.
const MAX_ONCE: usize = 256;

/// Checks what every token must say and reads whose run it is. `thumbprint` is the key's that the session is to be
/// bound to.
pub(crate) fn identify(
    token: &Verified,
    issuer: &IssuerConfig,
    audience: &str,
    thumbprint: &str,
    now: Timestamp,
) -> Result<VerifiedRun, Fault> {
    if token.text("iss")? != issuer.url {
        return Err(Fault::new("its issuer is another one"));
    }
    let bound = check_audience(token, issuer, audience, thumbprint)?;
    let expires = check_times(token, issuer, now)?;
    let Read { identity, names_job, mut once } = read(token, issuer)?;
    if bound && issuer.once != JTI {
        // What names a job and not a token would let a job have one session only; the key keeps others out.
        once = format!("{once}#{thumbprint}");
    }
    Ok(VerifiedRun {
        identity,
        names_job,
        once,
        issued: token.moment("iat")?.min(now),
        renews: issuer.bind == Bind::Key,
        forget_after: later(expires, issuer.leeway + Duration::from_secs(1)),
    })
}

/// A run as its claims tell of it.
#[derive(Debug)]
pub(crate) struct Read {
    /// The run.
    pub(crate) identity: Identity,
    /// Whether its key names one job.
    pub(crate) names_job: bool,
    /// What of the token is used once.
    pub(crate) once: String,
}

/// A token of a gateway that held: what makes it single-use.
#[derive(Debug)]
pub(crate) struct VerifiedGateway {
    /// The issuer, as used tokens are kept by it.
    pub(crate) issuer: String,
    /// What of the token is used once.
    pub(crate) once: String,
    /// When the broker may forget that.
    pub(crate) forget_after: Timestamp,
}

/// Checks what every token must say, and that this one is of a gateway whose key has a thumbprint.
pub(crate) fn gateway(
    token: &Verified,
    issuer: &IssuerConfig,
    audience: &str,
    thumbprint: &str,
    who: &Who,
    now: Timestamp,
) -> Result<VerifiedGateway, Fault> {
    if issuer.name != who.issuer() || token.text("iss")? != issuer.url {
        return Err(Fault::new("its issuer is another one than the gateway's"));
    }
    let bound = check_audience(token, issuer, audience, thumbprint)?;
    let expires = check_times(token, issuer, now)?;
    let claims = texts::of(token.claims());
    let mut once = once(&claims, issuer)?;
    if bound && issuer.once != JTI {
        once = format!("{once}#{thumbprint}");
    }
    if let Some(gate) = who.mismatch(&claims) {
        return Err(Fault::new(format!("the gateway's `identity`: {gate}")));
    }
    Ok(VerifiedGateway {
        issuer: issuer.url.clone(),
        once,
        forget_after: later(expires, issuer.leeway + Duration::from_secs(1)),
    })
}

/// Reads whose run it is, without a look at audience and times.
pub(crate) fn read(token: &Verified, issuer: &IssuerConfig) -> Result<Read, Fault> {
    let claims = texts::of(token.claims());
    let once = once(&claims, issuer)?;
    let (identity, names_job) = platforms::read(claims, issuer)?;
    Ok(Read { identity, names_job, once })
}

/// What of a token is used once, if it is one of those that its issuer's configuration takes.
fn once(claims: &BTreeMap<String, String>, issuer: &IssuerConfig) -> Result<String, Fault> {
    let once = claims.get(&issuer.once).filter(|text| !text.is_empty());
    let once = once.ok_or_else(|| Fault::new(format!("its claim `{}` is missing", issuer.once)))?;
    if once.len() > MAX_ONCE {
        return Err(Fault::new(format!("its `{}` is too long", issuer.once)));
    }
    let once = if issuer.once == JTI { once.clone() } else { format!("{}:{once}", issuer.once) };
    if let Some(gate) = issuer.require.first_failed(claims) {
        return Err(Fault::new(format!("the issuer's `require`: {gate}")));
    }
    Ok(once)
}

/// Whether the audience is the broker's, and says which key the token is for.
pub(crate) fn check_audience(
    token: &Verified,
    issuer: &IssuerConfig,
    audience: &str,
    thumbprint: &str,
) -> Result<bool, Fault> {
    let ours = || {
        let broker = issuer.audiences.is_empty().then_some(audience);
        issuer.audiences.iter().map(String::as_str).chain(broker)
    };
    let found = token.audiences(issuer.multi_audience)?;
    let is_bound = |found: &&str| {
        ours().any(|ours| {
            found.strip_prefix(ours).and_then(|rest| rest.strip_prefix('#')) == Some(thumbprint)
        })
    };
    if found.iter().any(is_bound) {
        return Ok(true);
    }
    match issuer.bind {
        Bind::None if found.iter().any(|found| ours().any(|ours| ours == *found)) => Ok(false),
        Bind::None => Err(Fault::new("its audience is not this broker")),
        Bind::Key => Err(Fault::new(
            "its audience is not this broker with the thumbprint of the session's key (`bind: key`)",
        )),
    }
}

/// `exp` and `iat` must be there; `nbf` counts where it is. The answer is `exp`.
pub(crate) fn check_times(
    token: &Verified,
    issuer: &IssuerConfig,
    now: Timestamp,
) -> Result<Timestamp, Fault> {
    let expires = token.moment("exp")?;
    let issued = token.moment("iat")?;
    if now >= later(expires, issuer.leeway) {
        return Err(Fault::new("it has expired"));
    }
    if issued > later(now, issuer.leeway) {
        return Err(Fault::new("it was issued in the future"));
    }
    if now > later(issued, issuer.max_token_age + issuer.leeway) {
        return Err(Fault::new("it is older than `max_token_age`"));
    }
    if token.has("nbf") && token.moment("nbf")? > later(now, issuer.leeway) {
        return Err(Fault::new("it is not valid yet"));
    }
    Ok(expires)
}

fn later(moment: Timestamp, by: Duration) -> Timestamp {
    moment.checked_add(by).unwrap_or(Timestamp::MAX)
}
