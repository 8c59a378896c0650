//! `credential: { oauth: … }`.

use std::path::Path;

use guard_core::document::{Node, Problems};
use url::Url;

use super::{SecretSource, address, authorities, secret};

/// How tokens are had from an OAuth 2.0 server, as a client of it (RFC 6749, section 4.4).
#[derive(Debug, Clone)]
pub(crate) struct OauthConfig {
    /// Where tokens are asked for.
    pub(crate) token_url: Url,
    /// Where they are given back (RFC 7009).
    pub(crate) revocation_url: Option<Url>,
    /// The client.
    pub(crate) client_id: String,
    /// Its secret.
    pub(crate) client_secret: SecretSource,
    /// How it shows the secret.
    pub(crate) client_auth: ClientAuth,
    /// What is asked for.
    pub(crate) scopes: Vec<String>,
    /// For whom the token is.
    pub(crate) audience: Option<String>,
    /// PEM of the authorities to trust instead of the system's.
    pub(crate) tls_ca: Option<String>,
}

/// How a client shows its secret (RFC 6749, section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    /// In the header Authorization.
    Basic,
    /// In the body.
    Post,
}

const WORDS: [(&str, ClientAuth); 2] = [("basic", ClientAuth::Basic), ("post", ClientAuth::Post)];

/// Reads it.
pub(super) fn read(node: &Node, base: &Path, problems: &mut Problems) -> Option<OauthConfig> {
    let fields = node.fields(problems)?;
    let what = "an OAuth server";
    let token_url =
        fields.required("token_url", problems).and_then(|node| address(node, what, problems));
    let revocation_url = fields.optional("revocation_url").map(|n| address(n, what, problems));
    let client_id = fields.required("client_id", problems).and_then(|node| node.text(problems));
    let client_secret = fields
        .required("client_secret", problems)
        .and_then(|node| secret(node, "client_secret", base, problems));
    let client_auth = match fields.optional("client_auth") {
        Some(node) => node.one_of(&WORDS, problems),
        None => Some(ClientAuth::Basic),
    };
    let scopes = match fields.optional("scopes") {
        Some(node) => scopes(node, problems),
        None => Some(Vec::new()),
    };
    let audience = fields.optional("audience").map(|node| node.text(problems).map(str::to_owned));
    let tls_ca = fields.optional("tls_ca").map(|node| authorities(node, base, problems));
    fields.finish(
        &[
            "token_url",
            "revocation_url",
            "client_id",
            "client_secret",
            "client_auth",
            "scopes",
            "audience",
            "tls_ca",
        ],
        problems,
    );
    Some(OauthConfig {
        token_url: token_url?,
        revocation_url: match revocation_url {
            Some(url) => Some(url?),
            None => None,
        },
        client_id: client_id?.to_owned(),
        client_secret: client_secret?,
        client_auth: client_auth?,
        scopes: scopes?,
        audience: match audience {
            Some(audience) => Some(audience?),
            None => None,
        },
        tls_ca: match tls_ca {
            Some(pem) => Some(pem?),
            None => None,
        },
    })
}

/// RFC 6749, section 3.3: a scope has neither white space nor quotes.
fn scopes(node: &Node, problems: &mut Problems) -> Option<Vec<String>> {
    let mut scopes = Vec::new();
    for node in node.list(problems)? {
        let scope = node.text(problems)?;
        let fits = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if scope.is_empty() || !scope.bytes().all(fits) {
            node.problem(problems, format!("`{scope}` is no scope"));
        }
        scopes.push(scope.to_owned());
    }
    Some(scopes)
}
