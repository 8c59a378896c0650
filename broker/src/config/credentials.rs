//! `credential` of a resource, and where secrets are: none of them stands in a configuration.

use std::path::{Path, PathBuf};

use guard_core::{
    ResourceKind, SendAs,
    document::{Node, Problems},
};
use url::Url;

use super::is_safe_url;

mod aws;
mod github_app;
mod oauth;
mod vault;

pub(crate) use aws::{AwsConfig, AwsIdentity};
pub(crate) use github_app::GithubAppConfig;
pub(crate) use oauth::{ClientAuth, OauthConfig};
pub(crate) use vault::{VaultAuth, VaultConfig, VaultSecret};

/// Connections that the role of a session may have at once, unless configured. Each client of the job has one; guard
/// itself needs two or three more.
const CONNECTIONS: u64 = 50;
/// More than this is a mistake.
const MAX_CONNECTIONS: u64 = 10_000;

/// Where a resource's credentials come from.
#[derive(Debug, Clone)]
pub(crate) enum CredentialConfig {
    /// One that does not change.
    Static(StaticCredential),
    /// A role for each session, at a PostgreSQL server.
    PostgresRole(PostgresRoleConfig),
    /// From Vault.
    Vault(VaultConfig),
    /// From AWS: a login of RDS, or keys that requests are signed with.
    Aws(AwsConfig),
    /// A token of an OAuth 2.0 server.
    Oauth(OauthConfig),
    /// A token of an installation of a GitHub App.
    GithubApp(GithubAppConfig),
    /// A certificate that TLS shows.
    Certificate(CertificateConfig),
}

impl CredentialConfig {
    /// Whether a resource of this kind takes it.
    pub(super) fn is_for(&self, kind: ResourceKind) -> bool {
        match (self, kind) {
            (Self::Static(fixed), ResourceKind::Postgres) => !fixed.username.is_empty(),
            (Self::Static(_), ResourceKind::Http) => true,
            (Self::PostgresRole(_) | Self::Vault(_), ResourceKind::Postgres) => true,
            (Self::PostgresRole(_), ResourceKind::Http) => false,
            (Self::Aws(aws), ResourceKind::Postgres) => aws.username.is_some(),
            (Self::Aws(aws), ResourceKind::Http) => aws.username.is_none(),
            (Self::Oauth(_) | Self::GithubApp(_) | Self::Certificate(_), kind) => {
                kind == ResourceKind::Http
            }
            (Self::Vault(vault), ResourceKind::Http) => match vault.secret {
                VaultSecret::Kv { .. } => true,
                VaultSecret::Database { .. } => false,
            },
        }
    }

    /// Whether it comes without a user name.
    pub(super) fn is_token(&self) -> bool {
        match self {
            Self::Static(fixed) => fixed.username.is_empty(),
            Self::Oauth(_) => true,
            Self::PostgresRole(_)
            | Self::Aws(_)
            | Self::Vault(_)
            | Self::GithubApp(_)
            | Self::Certificate(_) => false,
        }
    }

    /// How it is shown to an API that does not say how, if in one way only.
    pub(super) fn shown_as(&self) -> Option<SendAs> {
        match self {
            Self::Static(_) | Self::Vault(_) | Self::Oauth(_) | Self::GithubApp(_) => {
                Some(SendAs::Bearer)
            }
            Self::Certificate(_) => Some(SendAs::Certificate),
            Self::PostgresRole(_) | Self::Aws(_) => None,
        }
    }

    /// Why an API cannot be shown it in this way.
    pub(super) fn misfit(&self, send_as: &SendAs) -> Option<(&'static str, &'static str)> {
        let is_key = matches!(self, Self::Aws(_));
        match send_as {
            SendAs::AwsSigv4(_) if !is_key => Some((
                "requests are signed with temporary keys of AWS",
                "write `credential: { aws: … }`, or another `send_as`",
            )),
            SendAs::Basic if self.is_token() => Some((
                "`basic` sends a user name and a password, and a token has no user name",
                "write `username` and `password`, or `send_as: bearer`",
            )),
            SendAs::AwsSigv4(_) => None,
            SendAs::Bearer
            | SendAs::Basic
            | SendAs::Header(_)
            | SendAs::Query(_)
            | SendAs::Cookie(_)
            | SendAs::Certificate => match self {
                Self::Aws(_) => Some((
                    "keys of AWS do not go anywhere: requests are signed with them",
                    "write `send_as: { aws_sigv4: { service: s3, region: eu-central-1 } }`",
                )),
                Self::Certificate(_) if *send_as != SendAs::Certificate => {
                    Some(("a certificate is shown by TLS, and not in requests", "leave it out"))
                }
                Self::Static(_)
                | Self::PostgresRole(_)
                | Self::Vault(_)
                | Self::Oauth(_)
                | Self::GithubApp(_)
                | Self::Certificate(_) => None,
            },
        }
    }

    /// Whether what is handed out is good for longer than its session.
    pub(super) fn lasts(&self) -> bool {
        match self {
            Self::Static(_) | Self::Certificate(_) => true,
            Self::PostgresRole(_) | Self::Aws(_) | Self::Oauth(_) | Self::GithubApp(_) => false,
            Self::Vault(vault) => match vault.secret {
                VaultSecret::Kv { .. } => true,
                VaultSecret::Database { .. } => false,
            },
        }
    }
}

/// A credential that does not change from lease to lease.
#[derive(Debug, Clone)]
pub(crate) struct StaticCredential {
    /// The user name at the resource; empty of a token, which has none.
    pub(crate) username: String,
    /// Where the password is.
    pub(crate) password: SecretSource,
}

/// A certificate, and where its key is.
#[derive(Debug, Clone)]
pub(crate) struct CertificateConfig {
    /// Where it is, with those between it and its authority.
    pub(crate) certificate: SecretSource,
    /// Where its private key is.
    pub(crate) key: SecretSource,
}

/// How roles are made.
#[derive(Debug, Clone)]
pub(crate) struct PostgresRoleConfig {
    /// Who makes them.
    pub(crate) admin: StaticCredential,
    /// Who gets what a session made. It is dropped, if nobody is named.
    pub(crate) owner: Option<String>,
    /// How many connections a role may have at once.
    pub(crate) connections: u64,
}

/// Where a secret is: read when it is needed, never kept.
#[derive(Debug, Clone)]
pub(crate) enum SecretSource {
    /// In a file; one line feed at its end is not part of it.
    File(PathBuf),
    /// In a variable of the broker's environment.
    Env(String),
    /// Among the credentials that systemd gives the broker's unit.
    Systemd(String),
}

/// Reads `credential`.
pub(super) fn credential(
    node: &Node,
    base: &Path,
    problems: &mut Problems,
) -> Option<CredentialConfig> {
    let fields = node.fields(problems)?;
    if let Some(node) = fields.optional("postgres_role") {
        fields.finish(&["postgres_role"], problems);
        return postgres_role(node, base, problems).map(CredentialConfig::PostgresRole);
    }
    if let Some(node) = fields.optional("vault") {
        fields.finish(&["vault"], problems);
        return vault::read(node, base, problems).map(CredentialConfig::Vault);
    }
    if let Some(node) = fields.optional("aws") {
        fields.finish(&["aws"], problems);
        return aws::read(node, base, problems).map(CredentialConfig::Aws);
    }
    if let Some(node) = fields.optional("oauth") {
        fields.finish(&["oauth"], problems);
        return oauth::read(node, base, problems).map(CredentialConfig::Oauth);
    }
    if let Some(node) = fields.optional("github_app") {
        fields.finish(&["github_app"], problems);
        return github_app::read(node, base, problems).map(CredentialConfig::GithubApp);
    }
    if let Some(node) = fields.optional("certificate") {
        let certificate = secret(node, "certificate", base, problems);
        let key = fields.required("key", problems);
        let key = key.and_then(|node| secret(node, "key", base, problems));
        fields.finish(&["certificate", "key"], problems);
        let found = CertificateConfig { certificate: certificate?, key: key? };
        return Some(CredentialConfig::Certificate(found));
    }
    if let Some(node) = fields.optional("token") {
        fields.finish(&["token"], problems);
        let password = secret(node, "token", base, problems)?;
        return Some(CredentialConfig::Static(StaticCredential {
            username: String::new(),
            password,
        }));
    }
    fixed(node, base, problems).map(CredentialConfig::Static)
}

/// A user name, and where its password is.
fn fixed(node: &Node, base: &Path, problems: &mut Problems) -> Option<StaticCredential> {
    let fields = node.fields(problems)?;
    let username =
        fields.required("username", problems).and_then(|n| n.text(problems)).map(str::to_owned);
    let password = fields
        .required("password", problems)
        .and_then(|node| secret(node, "password", base, problems));
    fields.finish(&["username", "password"], problems);
    Some(StaticCredential { username: username?, password: password? })
}

fn postgres_role(node: &Node, base: &Path, problems: &mut Problems) -> Option<PostgresRoleConfig> {
    let fields = node.fields(problems)?;
    let admin = fields.required("admin", problems).and_then(|n| fixed(n, base, problems));
    let owner = fields.optional("owner").map(|node| {
        let name = node.text(problems)?;
        if name.is_empty() || name.len() > 63 || name.chars().any(char::is_control) {
            node.problem(problems, "this is no name of a role");
            return None;
        }
        if admin.as_ref().is_some_and(|admin| admin.username == name) {
            node.problem_with_help(
                problems,
                "what sessions make can run with its owner's rights, and the admin has too many",
                "name a role that has no others",
            );
        }
        Some(name.to_owned())
    });
    let connections = match fields.optional("connections") {
        Some(node) => {
            let number = node.number(problems);
            if number.is_some_and(|number| !(1..=MAX_CONNECTIONS).contains(&number)) {
                node.problem(problems, format!("expected a number from 1 to {MAX_CONNECTIONS}"));
            }
            number
        }
        None => Some(CONNECTIONS),
    };
    fields.finish(&["admin", "owner", "connections"], problems);
    Some(PostgresRoleConfig {
        admin: admin?,
        owner: match owner {
            Some(owner) => Some(owner?),
            None => None,
        },
        connections: connections?,
    })
}

/// PEM of the authorities that vouch for a server, in place of the system's.
fn authorities(node: &Node, base: &Path, problems: &mut Problems) -> Option<String> {
    let path = base.join(node.text(problems)?);
    match std::fs::read_to_string(&path) {
        Ok(pem) if pem.contains("-----BEGIN CERTIFICATE-----") => Some(pem),
        Ok(_) => {
            node.problem(problems, format!("`{}` holds no certificate", path.display()));
            None
        }
        Err(error) => {
            node.problem(problems, format!("`{}` cannot be read: {error}", path.display()));
            None
        }
    }
}

/// An address that secrets may be sent to.
fn address(node: &Node, what: &str, problems: &mut Problems) -> Option<Url> {
    let text = node.text(problems)?;
    let url = Url::parse(text).ok().filter(is_safe_url);
    if url.is_none() {
        let message = format!("`{text}` is no address of {what}");
        node.problem_with_help(problems, message, "write `https://…`, without `?` and `#`");
    }
    url
}

/// Where a secret is. The secret itself does not stand here.
pub(super) fn secret(
    node: &Node,
    name: &str,
    base: &Path,
    problems: &mut Problems,
) -> Option<SecretSource> {
    if node.is_scalar() {
        node.problem_with_help(
            problems,
            format!("a {} does not stand in a configuration", name.replace('_', " ")),
            format!("write `{name}: {{ file: PATH }}` or `{name}: {{ env: NAME }}`"),
        );
        return None;
    }
    let fields = node.fields(problems)?;
    let file = fields.optional("file").and_then(|n| n.text(problems));
    let env = fields.optional("env").and_then(|n| n.text(problems));
    let systemd = fields.optional("systemd").map(|n| (n, n.text(problems)));
    fields.finish(&["file", "env", "systemd"], problems);
    match (file, env, systemd) {
        (Some(file), None, None) => Some(SecretSource::File(base.join(file))),
        (None, Some(env), None) => Some(SecretSource::Env(env.to_owned())),
        (None, None, Some((at, name))) => {
            let name = name?;
            if name.is_empty() || name.starts_with('.') || name.contains('/') {
                at.problem(problems, "expected the name of a credential of the unit, not a path");
                return None;
            }
            Some(SecretSource::Systemd(name.to_owned()))
        }
        (_, _, _) => {
            node.problem(problems, "expected one of `file`, `env` and `systemd`");
            None
        }
    }
}
