//! The resource's credential: put into requests here, and nowhere else.

use std::sync::{Arc, Mutex, PoisonError};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::{Secret, SendAs};

use super::{
    head::{Field, HeadError, canonical, insert},
    hide::Hidden,
};
use crate::Credential;

/// The header of most credentials.
const AUTHORIZATION: &str = "authorization";

/// How many credentials of a session are hidden in its answers: leases that ended long ago are worth nothing.
const MAX_KNOWN: usize = 16;

/// A credential as a header, and what is hidden of answers because of it.
pub(super) struct Shown {
    name: String,
    value: Secret,
    pub(super) hidden: Hidden,
}

impl Shown {
    /// Puts it into a request, in the place of whatever could be taken for it.
    pub(super) fn put(&self, fields: &mut Vec<Field>) -> Result<(), HeadError> {
        insert(fields, &self.name, self.value.expose().as_bytes())
    }
}

/// The credentials of a session, the one in use last.
pub(super) struct Credentials {
    send_as: SendAs,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// All that was sent.
    secrets: Vec<Secret>,
    last: Option<(Credential, Arc<Shown>)>,
}

impl Credentials {
    pub(super) fn new(send_as: SendAs) -> Self {
        Self { send_as, known: Mutex::default() }
    }

    /// Whether a client that sends this header sends a credential of its own.
    pub(super) fn is_one(&self, field: &Field) -> bool {
        let name = canonical(&field.name);
        match &self.send_as {
            SendAs::Bearer | SendAs::Basic => name == AUTHORIZATION,
            SendAs::Header(own) => name == AUTHORIZATION || name == canonical(own),
        }
    }

    /// A credential as a header.
    pub(super) fn shown(&self, credential: &Credential) -> Arc<Shown> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((last, shown)) = &known.last
            && last.username == credential.username
            && last.password.expose() == credential.password.expose()
        {
            return shown.clone();
        }
        let (name, value) = self.header(credential);
        let sent = value.expose().split_once(' ').map_or(value.expose(), |(_, sent)| sent);
        let sent = Secret::new(sent);
        if known.secrets.len() + 2 > MAX_KNOWN {
            known.secrets.drain(..2);
        }
        known.secrets.extend([sent, credential.password.clone()]);
        let shown = Arc::new(Shown { name, value, hidden: Hidden::new(&known.secrets) });
        known.last = Some((credential.clone(), shown.clone()));
        shown
    }

    fn header(&self, credential: &Credential) -> (String, Secret) {
        let password = credential.password.expose();
        match &self.send_as {
            SendAs::Bearer => (AUTHORIZATION.to_owned(), Secret::new(format!("Bearer {password}"))),
            SendAs::Basic => {
                let pair = STANDARD.encode(format!("{}:{password}", credential.username));
                (AUTHORIZATION.to_owned(), Secret::new(format!("Basic {pair}")))
            }
            SendAs::Header(name) => (name.clone(), credential.password.clone()),
        }
    }
}
