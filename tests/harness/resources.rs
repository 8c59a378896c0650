//! What stands in a stage's configuration of its resources.

use super::{
    postgres::SUPERUSER,
    stage::{Builder, EnforceAt},
};

/// HTTP APIs beside the database.
#[derive(Debug, Default)]
pub(super) struct Apis {
    /// Names, and what else stands in the configuration of each.
    entries: Vec<(String, String)>,
    /// Files with secrets.
    files: Vec<(String, String)>,
}

impl Builder {
    /// Grants an HTTP API, too, as `api`, with a token that is sent as `how` says in the configuration.
    #[must_use]
    pub fn api(self, url: &str, how: &str, token: &str) -> Self {
        let lines =
            format!("url: {url}\n    {how}\n    credential: {{ token: {{ file: token }} }}");
        self.file("token", token).resource("api", &lines)
    }

    /// Grants an HTTP API of these lines of the configuration.
    #[must_use]
    pub fn resource(mut self, name: &str, lines: &str) -> Self {
        self.apis.entries.push((name.to_owned(), lines.to_owned()));
        self
    }

    /// Puts a file with a secret beside the configuration.
    #[must_use]
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.apis.files.push((name.to_owned(), text.to_owned()));
        self
    }
}

impl Apis {
    pub(super) fn files(&self) -> &[(String, String)] {
        &self.files
    }

    /// Their entries of `resources`.
    pub(super) fn entries(&self, enforce_at: EnforceAt) -> String {
        let place = enforced(enforce_at);
        let entry = |(name, lines): &(String, String)| {
            format!("  - name: {name}\n    kind: http\n    {lines}\n    enforce_at: {place}\n")
        };
        self.entries.iter().map(entry).collect()
    }

    /// Their grants, in a trust rule.
    pub(super) fn grants(&self, limit: &str) -> String {
        let grant = |(name, _): &(String, String)| {
            format!("    - {{ resource: {name}, policy: stage, for: {limit} }}\n")
        };
        self.entries.iter().map(grant).collect()
    }
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
