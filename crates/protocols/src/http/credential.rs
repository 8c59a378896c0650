//! The resource's credential: put into requests here, and nowhere else.
//!
//! What a client sends in its place is a credential of the client's own. It is found and taken out before a request is judged, so that
//! neither rules nor the record see it; the resource's is put in behind the judgement, in the place of whatever could be taken for it.

mod aws;
mod own;

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::{Secret, SendAs};
use hyper::{
    Request,
    header::{self, HeaderValue},
};

use self::aws::Signer;
use super::{
    head::{Field, HeadError, canonical, insert},
    hide::Hidden,
    target::Target,
};
use crate::Credential;

/// The header of most credentials.
const AUTHORIZATION: &str = "authorization";
/// The header of cookies.
const COOKIE: &str = "cookie";

/// How many credentials of a session are hidden in its answers: leases that ended long ago are worth nothing.
const MAX_KNOWN: usize = 16;

/// A credential that cannot be put into a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    /// It is no value of a header.
    #[error("the credential is no header: {0}")]
    Header(#[from] HeadError),
    /// It is no value of a cookie.
    #[error("the credential has characters that no cookie can have")]
    Cookie,
    /// It comes without what belongs to it.
    #[error("the credential is no temporary access key of AWS")]
    NoKey,
    /// The request cannot be signed.
    #[error("the request cannot be signed: {0}")]
    Unsigned(String),
}

/// A credential as it is shown, and what is hidden of answers because of it.
pub(super) struct Shown {
    way: Way,
    secrets: Vec<Secret>,
    pub(super) hidden: Hidden,
}

/// Where a credential is put.
enum Way {
    /// Nowhere: TLS shows it.
    Nowhere,
    Header(String, Secret),
    Query(String, Secret),
    Cookie(String, Secret),
    Signature(Signer),
    /// There is none that could be.
    Unfit,
}

impl Shown {
    fn new(way: Way, secrets: Vec<Secret>) -> Self {
        let hidden = Hidden::new(&secrets);
        Self { way, secrets, hidden }
    }

    /// Puts it into a request, in the place of whatever could be taken for it.
    pub(super) fn put(&self, target: &mut Target, fields: &mut Vec<Field>) -> Result<(), Unfit> {
        match &self.way {
            // A signature is over the whole request: see `sign`.
            Way::Nowhere | Way::Signature(_) => {}
            Way::Header(name, value) => insert(fields, name, value.expose().as_bytes())?,
            Way::Query(name, value) => {
                target.take_out(|found| own::same_parameter(found, name));
                target.add(name, value.expose());
            }
            Way::Cookie(name, value) => {
                if !value.expose().bytes().all(own::is_cookie_octet) {
                    return Err(Unfit::Cookie);
                }
                let (mut cookies, _) = own::take_cookies(fields, name);
                cookies.push(format!("{name}={}", value.expose()));
                insert(fields, COOKIE, cookies.join("; ").as_bytes())?;
            }
            Way::Unfit => return Err(Unfit::NoKey),
        }
        Ok(())
    }

    /// Signs a request that is ready to be sent; `body` is all of its body, where that is known. What is hidden because of it comes back.
    pub(super) fn sign<B>(
        self: Arc<Self>,
        request: &mut Request<B>,
        body: Option<&[u8]>,
    ) -> Result<Arc<Self>, Unfit> {
        let Way::Signature(signer) = &self.way else { return Ok(self) };
        let signature = signer.sign(request, body, SystemTime::now()).map_err(Unfit::Unsigned)?;
        let secrets = self.secrets.iter().cloned().chain([signature]).collect();
        Ok(Arc::new(Self::new(Way::Nowhere, secrets)))
    }
}

/// The credentials of a session, the one in use last.
pub(super) struct Credentials {
    send_as: SendAs,
    /// Whether TLS leads to the resource.
    tls: bool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// All that was sent.
    secrets: Vec<Secret>,
    last: Option<(Arc<Credential>, Arc<Shown>)>,
}

impl Credentials {
    pub(super) fn new(send_as: SendAs, tls: bool) -> Self {
        Self { send_as, tls, known: Mutex::default() }
    }

    /// Takes out of a request what its client sends in the place of the credential. Says where something was, if its client meant it.
    pub(super) fn take_out(&self, target: &mut Target, fields: &mut Vec<Field>) -> Option<String> {
        let mut found = None;
        let in_header = |name: &str| Some(format!("`{name}`"));
        if matches!(&self.send_as, SendAs::AwsSigv4(_)) {
            let placeholder = aws::is_placeholder(target, fields);
            found = aws::take_out(target, fields).filter(|_| !placeholder);
        }
        fields.retain(|field| {
            let is_own = self.is_header(field);
            if is_own && found.is_none() {
                found = in_header(field.name.as_str());
            }
            !is_own
        });
        match &self.send_as {
            SendAs::Query(name) => {
                if target.take_out(|found| own::same_parameter(found, name)) {
                    found = found.or_else(|| Some(format!("the parameter `{name}` of its query")));
                }
            }
            SendAs::Cookie(name) => {
                let (cookies, had) = own::take_cookies(fields, name);
                if !cookies.is_empty() {
                    // What was a part of a value is one.
                    let value = HeaderValue::try_from(cookies.join("; "));
                    fields.extend(value.map(|value| Field { name: header::COOKIE, value }));
                }
                if had {
                    found = found.or_else(|| Some(format!("the cookie `{name}`")));
                }
            }
            SendAs::Bearer
            | SendAs::Basic
            | SendAs::Header(_)
            | SendAs::AwsSigv4(_)
            | SendAs::Certificate => {}
        }
        found
    }

    pub(super) fn is_header(&self, field: &Field) -> bool {
        let name = canonical(field.name.as_str());
        match &self.send_as {
            SendAs::Header(own) => name == AUTHORIZATION || name == canonical(own),
            // Taken out with the rest of a signature.
            SendAs::AwsSigv4(_) => false,
            SendAs::Bearer
            | SendAs::Basic
            | SendAs::Query(_)
            | SendAs::Cookie(_)
            | SendAs::Certificate => name == AUTHORIZATION,
        }
    }

    /// A target that was not read, as the record may have it: without what could be a client's own credential in it.
    pub(super) fn recorded<'a>(&self, target: &'a [u8]) -> Cow<'a, str> {
        let text = String::from_utf8_lossy(target);
        match &self.send_as {
            SendAs::Query(_) | SendAs::AwsSigv4(_) => match text.split_once('?') {
                Some((path, _)) => Cow::Owned(format!("{path}?…")),
                None => text,
            },
            SendAs::Bearer
            | SendAs::Basic
            | SendAs::Header(_)
            | SendAs::Cookie(_)
            | SendAs::Certificate => text,
        }
    }

    /// Whether a request's body must be there as a whole before it is sent, since its digest is signed. `Err` says what cannot be signed.
    pub(super) fn needs_body(&self, fields: &[Field]) -> Result<bool, &'static str> {
        match &self.send_as {
            SendAs::AwsSigv4(service) => aws::needs_body(service, self.tls, fields),
            SendAs::Bearer
            | SendAs::Basic
            | SendAs::Header(_)
            | SendAs::Query(_)
            | SendAs::Cookie(_)
            | SendAs::Certificate => Ok(false),
        }
    }

    /// Whether a header of an answer gives its client a credential like the resource's: an API that renews its cookie.
    pub(super) fn is_given(&self, field: &Field) -> bool {
        match &self.send_as {
            SendAs::Cookie(name) => {
                field.name == "set-cookie" && own::sets_cookie(field.bytes(), name)
            }
            SendAs::Bearer
            | SendAs::Basic
            | SendAs::Header(_)
            | SendAs::Query(_)
            | SendAs::AwsSigv4(_)
            | SendAs::Certificate => false,
        }
    }

    /// A credential as it is sent.
    pub(super) fn shown(&self, credential: &Arc<Credential>) -> Arc<Shown> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((last, shown)) = &known.last
            && (Arc::ptr_eq(last, credential)
                || (last.username == credential.username
                    && last.password.expose() == credential.password.expose()))
        {
            return shown.clone();
        }
        let (way, sent) = self.way(credential);
        if known.secrets.len() + sent.len() > MAX_KNOWN {
            known.secrets.drain(..sent.len());
        }
        known.secrets.extend(sent);
        let shown = Arc::new(Shown::new(way, known.secrets.clone()));
        known.last = Some((credential.clone(), shown.clone()));
        shown
    }

    /// Where it is put, and what of it is sent, which its receiver can repeat.
    fn way(&self, credential: &Credential) -> (Way, Vec<Secret>) {
        let secret = &credential.password;
        let password = secret.expose();
        let header = |value: String| Way::Header(AUTHORIZATION.to_owned(), Secret::new(value));
        let mut sent = vec![secret.clone()];
        let way = match &self.send_as {
            SendAs::Bearer => header(format!("Bearer {password}")),
            SendAs::Basic => {
                let pair = STANDARD.encode(format!("{}:{password}", credential.username));
                let way = header(format!("Basic {pair}"));
                sent.push(Secret::new(pair));
                way
            }
            SendAs::Header(name) => Way::Header(name.clone(), secret.clone()),
            SendAs::Query(name) => Way::Query(name.clone(), secret.clone()),
            SendAs::Cookie(name) => Way::Cookie(name.clone(), secret.clone()),
            SendAs::AwsSigv4(service) => {
                sent = credential.session_token.iter().cloned().collect();
                let signer = Signer::new(credential, service, self.tls);
                signer.map_or(Way::Unfit, Way::Signature)
            }
            SendAs::Certificate => {
                sent.clear();
                Way::Nowhere
            }
        };
        (way, sent)
    }
}

#[cfg(test)]
mod tests;
