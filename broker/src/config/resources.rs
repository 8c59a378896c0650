//! The `resources` section: what is behind guard, and where its credential is.

mod openapi;
mod reached;

use std::{collections::BTreeMap, path::Path};

use guard_core::{
    EnforceAt, ResourceKind, ResourceName, ResourceSpec, SendAs, TlsMode,
    document::{Node, Problems},
};

use self::reached::Reached;
use super::{
    Labels, Watched,
    credentials::{CredentialConfig, SecretSource, credential, secret},
};

const KINDS: [(&str, ResourceKind); 2] =
    [("postgres", ResourceKind::Postgres), ("http", ResourceKind::Http)];

const FIELDS: &[&str] = &[
    "name",
    "kind",
    "address",
    "database",
    "url",
    "send_as",
    "openapi",
    "tls",
    "tls_ca",
    "credential",
    "mask_key",
    "enforce_at",
    "gateway",
    "allow_static_at_shim",
];

/// A resource, and where its credential is.
#[derive(Debug, Clone)]
pub(crate) struct ResourceConfig {
    /// What the data path is told.
    pub(crate) spec: ResourceSpec,
    /// Where its credential is.
    pub(crate) credential: CredentialConfig,
    /// Where the key of masks that are the same in every session is.
    pub(crate) mask_key: Option<SecretSource>,
    /// The labels of gateways that may serve it.
    pub(crate) gateway: Labels,
}

/// Reads the section.
pub(super) fn read(
    node: &Node,
    base: &Path,
    watched: &mut Watched,
    problems: &mut Problems,
) -> BTreeMap<ResourceName, ResourceConfig> {
    let mut resources = BTreeMap::new();
    for item in node.list(problems).unwrap_or_default() {
        let Some(resource) = resource(item, base, watched, problems) else { continue };
        let name = resource.spec.name.clone();
        if resources.insert(name.clone(), resource).is_some() {
            item.problem(problems, format!("a resource `{name}` stands here twice"));
        }
    }
    resources
}

fn resource(
    node: &Node,
    base: &Path,
    watched: &mut Watched,
    problems: &mut Problems,
) -> Option<ResourceConfig> {
    let fields = node.fields(problems)?;
    let name: Option<ResourceName> =
        fields.required("name", problems).and_then(|n| n.parsed(problems));
    let kind = fields.required("kind", problems).and_then(|n| n.one_of(&KINDS, problems));
    let reached = kind.and_then(|kind| reached::read(kind, &fields, problems));
    let tls_ca = fields.optional("tls_ca").map(|node| {
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
    });
    let credential =
        fields.required("credential", problems).and_then(|n| credential(n, base, problems));
    if let (Some(kind), Some(credential)) = (kind, &credential)
        && !credential.is_for(kind)
    {
        fields.optional("credential").unwrap_or(node).problem_with_help(
            problems,
            format!("this credential is for another kind of resource than `{}`", kind.as_str()),
            "a server takes `username` and `password`, `postgres_role`, `vault`, or `aws` with `username`; an HTTP API takes \
             `token`, `username` and `password`, `vault` with `kv`, `aws` without `username`, `oauth`, `github_app`, or \
             `certificate` and `key`",
        );
    }
    let send_as = kind.filter(|kind| *kind == ResourceKind::Http).and(credential.as_ref()).map(
        |credential| {
            let written = reached.as_ref().and_then(|it| it.send_as.clone());
            let send_as = written.or_else(|| credential.shown_as()).unwrap_or(SendAs::Bearer);
            let at = fields.optional("send_as").or(fields.optional("credential")).unwrap_or(node);
            if credential.is_for(ResourceKind::Http)
                && let Some((message, help)) = credential.misfit(&send_as)
            {
                at.problem_with_help(problems, message, help);
            }
            if send_as == SendAs::Certificate
                && reached.as_ref().is_some_and(|it| it.tls == TlsMode::Disable)
            {
                at.problem(problems, "a certificate is shown by TLS: `url` has to be `https://`");
            }
            send_as
        },
    );
    let api = fields.optional("openapi").map(|node| openapi::read(node, base, watched, problems));
    let enforce_at = match fields.optional("enforce_at") {
        Some(node) => {
            node.one_of(&[("gateway", EnforceAt::Gateway), ("shim", EnforceAt::Shim)], problems)
        }
        None => Some(EnforceAt::Gateway),
    };
    let allowed = fields
        .optional("allow_static_at_shim")
        .and_then(|n| n.text(problems).filter(|reason| !reason.trim().is_empty()));
    let lasts = credential.as_ref().is_none_or(CredentialConfig::lasts);
    if enforce_at == Some(EnforceAt::Shim) && lasts && allowed.is_none() {
        fields.optional("enforce_at").unwrap_or(node).problem_with_help(
            problems,
            "`shim` would hand a credential that never expires to the job's machine",
            "use `gateway`, or accept it with `allow_static_at_shim: \"the reason\"`",
        );
    }
    let mask_key = fields.optional("mask_key").map(|node| secret(node, "mask_key", base, problems));
    if enforce_at == Some(EnforceAt::Shim)
        && let Some(node) = fields.optional("mask_key")
    {
        node.problem_with_help(
            problems,
            "`shim` would hand the key of lasting masks to the job's machine",
            "leave it out, or use `enforce_at: gateway`",
        );
    }
    let gateway = match fields.optional("gateway") {
        Some(node) => Labels::read(node, problems),
        None => Some(Labels::default()),
    };
    fields.finish(FIELDS, problems);
    let Reached { address, database, tls, send_as: _ } = reached?;
    let spec = ResourceSpec {
        name: name?,
        kind: kind?,
        address,
        database,
        tls,
        tls_ca: match tls_ca {
            Some(pem) => Some(pem?),
            None => None,
        },
        enforce_at: enforce_at?,
        send_as,
        api: match api {
            Some(api) => Some(api?),
            None => None,
        },
    };
    let mask_key = match mask_key {
        Some(source) => Some(source?),
        None => None,
    };
    Some(ResourceConfig { spec, credential: credential?, mask_key, gateway: gateway? })
}
