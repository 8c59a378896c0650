//! `credential: { vault: … }`.

use std::path::Path;

use guard_core::document::{Node, Problems};
use url::Url;

use super::{SecretSource, secret};
use crate::config::is_safe_url;

/// Where Kubernetes puts the token of a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// How credentials are had from Vault.
#[derive(Debug, Clone)]
pub(crate) struct VaultConfig {
    /// Its address, without a slash at the end.
    pub(crate) address: String,
    /// PEM of the authorities to trust instead of the system's.
    pub(crate) tls_ca: Option<String>,
    /// The namespace there.
    pub(crate) namespace: Option<String>,
    /// How the broker shows who it is.
    pub(crate) auth: VaultAuth,
    /// What is asked for.
    pub(crate) secret: VaultSecret,
}

/// How the broker shows who it is.
#[derive(Debug, Clone)]
pub(crate) enum VaultAuth {
    /// With a token, of which each lease gets a child.
    Token(SecretSource),
    /// With a role and a secret.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// The role.
        role_id: String,
        /// Its secret.
        secret_id: SecretSource,
    },
    /// With a JSON web token, a service account's for one.
    Jwt {
        /// Where the method is mounted.
        mount: String,
        /// The role.
        role: String,
        /// The token, read at each login.
        jwt: SecretSource,
    },
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) enum VaultSecret {
    /// A user that Vault makes in the database.
    Database {
        /// Where the engine is mounted.
        mount: String,
        /// The role.
        role: String,
    },
    /// A secret of the key-value engine, version 2.
    Kv {
        /// Where the engine is mounted.
        mount: String,
        /// The secret.
        path: String,
        /// The key of the user name.
        username: String,
        /// The key of the password.
        password: String,
    },
}

/// Reads it.
pub(super) fn read(node: &Node, base: &Path, problems: &mut Problems) -> Option<VaultConfig> {
    let fields = node.fields(problems)?;
    let address = fields.required("address", problems).and_then(|node| {
        let text = node.text(problems)?;
        let Some(url) = Url::parse(text).ok().filter(is_safe_url) else {
            node.problem_with_help(
                problems,
                format!("`{text}` is no address of a Vault"),
                "write `https://host:8200`; plain `http://` is for loopback addresses",
            );
            return None;
        };
        Some(url.as_str().trim_end_matches('/').to_owned())
    });
    let tls_ca = fields.optional("tls_ca").map(|node| {
        let path = base.join(node.text(problems)?);
        let pem = std::fs::read_to_string(&path).ok();
        let pem = pem.filter(|pem| pem.contains("-----BEGIN CERTIFICATE-----"));
        if pem.is_none() {
            node.problem(problems, format!("`{}` holds no certificate", path.display()));
        }
        pem
    });
    let namespace = fields.optional("namespace").map(|node| place(node, problems));
    let auth = fields.required("auth", problems).and_then(|node| auth(node, base, problems));
    let secret = match (fields.optional("database"), fields.optional("kv")) {
        (Some(node), None) => database(node, problems),
        (None, Some(node)) => kv(node, problems),
        (Some(_), Some(_)) | (None, None) => {
            node.problem(problems, "expected either `database` or `kv`");
            None
        }
    };
    fields.finish(&["address", "tls_ca", "namespace", "auth", "database", "kv"], problems);
    Some(VaultConfig {
        address: address?,
        tls_ca: match tls_ca {
            Some(pem) => Some(pem?),
            None => None,
        },
        namespace: match namespace {
            Some(namespace) => Some(namespace?),
            None => None,
        },
        auth: auth?,
        secret: secret?,
    })
}

fn auth(node: &Node, base: &Path, problems: &mut Problems) -> Option<VaultAuth> {
    let fields = node.fields(problems)?;
    let methods = ["token", "approle", "jwt", "kubernetes"];
    let given: Vec<_> =
        methods.into_iter().filter_map(|name| Some((name, fields.optional(name)?))).collect();
    fields.finish(&methods, problems);
    let [(method, node)] = given.as_slice() else {
        node.problem(problems, "expected one of `token`, `approle`, `jwt` and `kubernetes`");
        return None;
    };
    if *method == "token" {
        return secret(node, "token", base, problems).map(VaultAuth::Token);
    }
    let fields = node.fields(problems)?;
    let mount = match fields.optional("mount") {
        Some(node) => place(node, problems),
        None => Some((*method).to_owned()),
    };
    if *method == "approle" {
        let role_id =
            fields.required("role_id", problems).and_then(|n| n.text(problems)).map(str::to_owned);
        let secret_id = fields
            .required("secret_id", problems)
            .and_then(|node| secret(node, "secret_id", base, problems));
        fields.finish(&["mount", "role_id", "secret_id"], problems);
        return Some(VaultAuth::AppRole {
            mount: mount?,
            role_id: role_id?,
            secret_id: secret_id?,
        });
    }
    let role = fields.required("role", problems).and_then(|n| n.text(problems)).map(str::to_owned);
    let jwt = match fields.optional("jwt") {
        Some(node) => secret(node, "jwt", base, problems),
        None if *method == "kubernetes" => Some(SecretSource::File(SERVICE_ACCOUNT.into())),
        None => fields.required("jwt", problems).and(None),
    };
    fields.finish(&["mount", "role", "jwt"], problems);
    Some(VaultAuth::Jwt { mount: mount?, role: role?, jwt: jwt? })
}

fn database(node: &Node, problems: &mut Problems) -> Option<VaultSecret> {
    let fields = node.fields(problems)?;
    let mount = match fields.optional("mount") {
        Some(node) => place(node, problems),
        None => Some("database".to_owned()),
    };
    let role = fields.required("role", problems).and_then(|node| place(node, problems));
    fields.finish(&["mount", "role"], problems);
    Some(VaultSecret::Database { mount: mount?, role: role? })
}

fn kv(node: &Node, problems: &mut Problems) -> Option<VaultSecret> {
    let fields = node.fields(problems)?;
    let mount = match fields.optional("mount") {
        Some(node) => place(node, problems),
        None => Some("secret".to_owned()),
    };
    let path = fields.required("path", problems).and_then(|node| place(node, problems));
    let key = |name: &str, problems: &mut Problems| match fields.optional(name) {
        Some(node) => node.text(problems).map(str::to_owned),
        None => Some(name.to_owned()),
    };
    let (username, password) = (key("username", problems), key("password", problems));
    fields.finish(&["mount", "path", "username", "password"], problems);
    Some(VaultSecret::Kv { mount: mount?, path: path?, username: username?, password: password? })
}

/// A path of Vault: it becomes part of an address, and nothing in it may lead elsewhere.
fn place(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?.trim_end_matches('/');
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().any(|b| b != b'.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    if !text.split('/').all(plain) {
        node.problem_with_help(
            problems,
            format!("`{text}` is no path of Vault that guard takes"),
            "write parts of letters, digits, `-`, `_` and `.`, joined by `/`",
        );
        return None;
    }
    Some(text.to_owned())
}
