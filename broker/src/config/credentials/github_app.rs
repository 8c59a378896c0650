//! `credential: { github_app: … }`.

use std::{collections::BTreeMap, path::Path};

use guard_core::document::{Node, Problems};
use url::Url;

use super::{SecretSource, address, authorities, secret};

/// GitHub's own API. A server of one's own has it at `https://HOST/api/v3`.
const API: &str = "https://api.github.com";

/// How tokens are had of an installation of a GitHub App.
#[derive(Debug, Clone)]
pub(crate) struct GithubAppConfig {
    /// The API that gives them.
    pub(crate) api: Url,
    /// The id of the App, or of it as a client.
    pub(crate) app_id: String,
    /// The App's private key.
    pub(crate) private_key: SecretSource,
    /// The installation.
    pub(crate) installation: u64,
    /// The repositories that a token is for, by their names; `None`: all of the installation.
    pub(crate) repositories: Option<Vec<String>>,
    /// What it may.
    pub(crate) permissions: BTreeMap<String, String>,
    /// PEM of the authorities to trust instead of the system's.
    pub(crate) tls_ca: Option<String>,
}

/// Reads it.
pub(super) fn read(node: &Node, base: &Path, problems: &mut Problems) -> Option<GithubAppConfig> {
    let fields = node.fields(problems)?;
    let api = match fields.optional("api") {
        Some(node) => address(node, "GitHub's API", problems),
        None => Url::parse(API).ok(),
    };
    let app_id = fields.required("app_id", problems).and_then(|node| name(node, "App", problems));
    let private_key = fields
        .required("private_key", problems)
        .and_then(|node| secret(node, "private_key", base, problems));
    let installation =
        fields.required("installation", problems).and_then(|node| node.number(problems));
    let repositories =
        fields.required("repositories", problems).and_then(|node| repositories(node, problems));
    let permissions =
        fields.required("permissions", problems).and_then(|node| permissions(node, problems));
    let tls_ca = fields.optional("tls_ca").map(|node| authorities(node, base, problems));
    fields.finish(
        &["api", "app_id", "private_key", "installation", "repositories", "permissions", "tls_ca"],
        problems,
    );
    Some(GithubAppConfig {
        api: api?,
        app_id: app_id?,
        private_key: private_key?,
        installation: installation?,
        repositories: repositories?,
        permissions: permissions?,
        tls_ca: match tls_ca {
            Some(pem) => Some(pem?),
            None => None,
        },
    })
}

fn repositories(node: &Node, problems: &mut Problems) -> Option<Option<Vec<String>>> {
    if node.is_scalar() {
        if node.text(problems)? == "*" {
            return Some(None);
        }
        node.problem(problems, "expected a list of names, or `\"*\"` for all of the installation");
        return None;
    }
    let mut names = Vec::new();
    for node in node.list(problems)? {
        names.push(name(node, "repository without its owner", problems)?);
    }
    Some(Some(names))
}

fn permissions(node: &Node, problems: &mut Problems) -> Option<BTreeMap<String, String>> {
    let words = [("read", "read"), ("write", "write"), ("admin", "admin")];
    let mut permissions = BTreeMap::new();
    for (name, _, node) in node.fields(problems)?.all() {
        let level = node.one_of(&words, problems)?;
        permissions.insert(name.to_owned(), level.to_owned());
    }
    if permissions.is_empty() {
        node.problem(problems, "a token without permissions is of no use");
    }
    Some(permissions)
}

fn name(node: &Node, what: &str, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = !text.is_empty() && text.len() <= 100 && text.bytes().all(is_plain);
    if !fits {
        node.problem(problems, format!("`{text}` is no name of a {what}"));
    }
    fits.then(|| text.to_owned())
}
