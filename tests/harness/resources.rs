//! What stands in a stage's configuration of its resources.

use super::{postgres::SUPERUSER, stage::EnforceAt};

/// An HTTP API beside the database.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) url: String,
    /// How its token is sent, as a line of the configuration.
    pub(super) how: String,
    pub(super) token: String,
}

impl Api {
    /// Its entry of `resources`.
    pub(super) fn entry(&self, enforce_at: EnforceAt) -> String {
        let (Self { url, how, .. }, place) = (self, enforced(enforce_at));
        format!(
            "  - name: api\n    kind: http\n    url: {url}\n    {how}\n    \
             credential: {{ token: {{ file: token }} }}\n    enforce_at: {place}\n"
        )
    }
}

/// Its grant, in a trust rule.
pub(super) fn grant(limit: &str) -> String {
    format!("    - {{ resource: api, policy: stage, for: {limit} }}\n")
}

/// The `enforce_at` of a resource.
fn enforced(at: EnforceAt) -> &'static str {
    match at {
        EnforceAt::Gateway => "gateway",
        EnforceAt::Shim => "shim\n    allow_static_at_shim: a test on loopback",
    }
}

/// An entry of `resources`.
pub(super) fn resource(
    name: &str,
    enforce_at: EnforceAt,
    tls: bool,
    postgres: u16,
    database: &str,
) -> String {
    let place = enforced(enforce_at);
    let tls = if tls { "verify-full\n    tls_ca: ca.pem" } else { "disable" };
    format!(
        "  - name: {name}\n    kind: postgres\n    address: 127.0.0.1:{postgres}\n    database: {database}\n    \
         tls: {tls}\n    credential: {{ username: {SUPERUSER}, password: {{ file: password }} }}\n    \
         enforce_at: {place}\n"
    )
}
