//! `store` and `recordings`: where sessions are kept, and where their records.

use std::path::{Path, PathBuf};

use guard_core::document::{Node, Problems};
use url::Url;

use super::{SecretSource, credentials::secret, is_loopback_host};

const FIELDS: &[&str] = &["postgres", "password", "tls", "tls_ca", "connections"];
/// Connections of one broker at most, unless configured.
const CONNECTIONS: u64 = 10;
const MAX_CONNECTIONS: u64 = 200;

/// Where sessions are kept.
#[derive(Debug, Clone)]
pub(crate) struct StoreConfig {
    /// Where.
    pub(crate) address: StoreAddress,
    /// Where its password is.
    pub(crate) password: Option<SecretSource>,
}

/// Where the store is.
#[derive(Debug, Clone)]
pub(crate) enum StoreAddress {
    /// A file of this machine, for one broker.
    Sqlite(PathBuf),
    /// A database, for any number of brokers.
    Postgres {
        /// `postgres://user@host:port/database`.
        url: Url,
        /// How its certificate is checked.
        tls: StoreTls,
        /// Connections of this broker at most.
        connections: u32,
    },
}

/// How the certificate of the store's server is checked.
#[derive(Debug, Clone)]
pub(crate) enum StoreTls {
    /// No TLS: a server on this machine.
    Disable,
    /// For its name, by the system's authorities, or by those of a file.
    VerifyFull(Option<PathBuf>),
}

/// Where records are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecordingsAt {
    /// A folder.
    Folder(PathBuf),
    /// A bucket of an S3-compatible store.
    Bucket {
        /// The bucket.
        bucket: String,
        /// What stands before the names, without a slash at its end.
        prefix: String,
    },
}

impl std::fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres { url, .. } => url.fmt(f),
        }
    }
}

impl StoreConfig {
    /// Whether several brokers can use it.
    pub(super) fn is_shared(&self) -> bool {
        match self.address {
            StoreAddress::Sqlite(_) => false,
            StoreAddress::Postgres { .. } => true,
        }
    }

    /// A file of this machine.
    pub(crate) fn sqlite(path: PathBuf) -> Self {
        Self { address: StoreAddress::Sqlite(path), password: None }
    }
}

/// Reads `store`.
pub(super) fn read(
    node: Option<&Node>,
    base: &Path,
    problems: &mut Problems,
) -> Option<StoreConfig> {
    let Some(node) = node else { return Some(StoreConfig::sqlite(base.join("guard.db"))) };
    if node.is_scalar() {
        let text = node.text(problems)?;
        let path = text.strip_prefix("sqlite:").filter(|path| !path.is_empty());
        if path.is_none() {
            node.problem_with_help(
                problems,
                format!("`{text}` is not known here"),
                "write `sqlite:PATH`, such as `sqlite:guard.db`, or `store: { postgres: URL, password: … }`",
            );
        }
        return Some(StoreConfig::sqlite(base.join(path?)));
    }
    let fields = node.fields(problems)?;
    let url = fields.required("postgres", problems).and_then(|node| postgres(node, problems));
    let password = match fields.optional("password") {
        Some(node) => Some(secret(node, "password", base, problems)?),
        None => None,
    };
    let authorities = fields.optional("tls_ca").and_then(|node| {
        let path = base.join(node.text(problems)?);
        if !path.is_file() {
            node.problem(problems, format!("`{}` is no file", path.display()));
        }
        Some(path)
    });
    let loopback = url.as_ref().and_then(Url::host_str).is_some_and(is_loopback_host);
    let tls = match fields.optional("tls") {
        Some(node) => match node.text(problems)? {
            "verify-full" => StoreTls::VerifyFull(authorities),
            "disable" if loopback => StoreTls::Disable,
            "disable" => {
                node.problem(problems, "`disable` is for a server on a loopback address");
                return None;
            }
            text => {
                node.problem(
                    problems,
                    format!("`{text}` is not known here: `verify-full` or `disable`"),
                );
                return None;
            }
        },
        None => StoreTls::VerifyFull(authorities),
    };
    let connections = match fields.optional("connections") {
        Some(node) => node
            .text(problems)?
            .parse()
            .ok()
            .filter(|number| (2..=MAX_CONNECTIONS).contains(number))
            .or_else(|| {
                node.problem(problems, format!("expected a number from 2 to {MAX_CONNECTIONS}"));
                None
            })?,
        None => CONNECTIONS,
    };
    fields.finish(FIELDS, problems);
    let connections = u32::try_from(connections).unwrap_or(u32::MAX);
    Some(StoreConfig { address: StoreAddress::Postgres { url: url?, tls, connections }, password })
}

/// `postgres://user@host[:port]/database`, and nothing else: what it says besides could weaken what stands here.
fn postgres(node: &Node, problems: &mut Problems) -> Option<Url> {
    let text = node.text(problems)?;
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "postgres" | "postgresql")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && !url.username().is_empty()
            && url.path().len() > 1
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if url.as_ref().is_some_and(|url| url.password().is_some()) {
        node.problem_with_help(
            problems,
            "a password does not stand in a configuration",
            "write `password: { file: PATH }` or `password: { env: NAME }` beside it",
        );
        return None;
    }
    if url.is_none() {
        node.problem_with_help(
            problems,
            "this is no address of a store",
            "write `postgres://user@host:port/database`",
        );
    }
    url
}

/// Reads `recordings`.
pub(super) fn recordings(
    node: Option<&Node>,
    base: &Path,
    problems: &mut Problems,
) -> Option<RecordingsAt> {
    let Some(node) = node else { return Some(RecordingsAt::Folder(base.join("recordings"))) };
    let text = node.text(problems)?;
    if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
        return Some(RecordingsAt::Folder(base.join(path)));
    }
    let named = text.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
    match named.filter(|(bucket, _)| is_bucket(bucket)) {
        Some((bucket, prefix)) => Some(RecordingsAt::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
        }),
        None => {
            node.problem_with_help(
                problems,
                format!("`{text}` is not known here"),
                "write `file:DIR`, such as `file:recordings`, or `s3://BUCKET/PREFIX`",
            );
            None
        }
    }
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
fn is_bucket(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
}
