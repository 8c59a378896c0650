//! `credential: { aws: … }`.

use std::path::Path;

use guard_core::document::{Node, Problems};
use url::Url;

use super::{SecretSource, secret};
use crate::config::is_safe_url;

/// How credentials are had from AWS.
#[derive(Debug, Clone)]
pub(crate) struct AwsConfig {
    /// The region of the database, and of the STS that is asked.
    pub(crate) region: String,
    /// The database user, whose login is IAM's. `None`: requests are signed with what is assumed.
    pub(crate) username: Option<String>,
    /// Who the broker is.
    pub(crate) identity: AwsIdentity,
    /// The role that is assumed for each lease.
    pub(crate) role: Option<String>,
    /// What the role's owner wants to be told.
    pub(crate) external_id: Option<String>,
    /// The JSON of a policy that narrows the role.
    pub(crate) session_policy: Option<String>,
    /// Whether the role's session has tags that name the run.
    pub(crate) tags: bool,
    /// Another address of STS, such as a VPC's endpoint.
    pub(crate) sts_endpoint: Option<String>,
}

/// Who the broker is.
#[derive(Debug, Clone)]
pub(crate) enum AwsIdentity {
    /// Whoever the environment, the instance or the container says.
    Found,
    /// Who has this token of an issuer that the role trusts.
    WebIdentity(SecretSource),
    /// Who has these keys.
    Keys {
        /// The id of the key.
        id: String,
        /// The key.
        secret: SecretSource,
    },
}

/// Reads it.
pub(super) fn read(node: &Node, base: &Path, problems: &mut Problems) -> Option<AwsConfig> {
    let fields = node.fields(problems)?;
    let region = fields.required("region", problems).and_then(|node| {
        let text = node.text(problems)?;
        let fits = text.len() <= 32
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits {
            node.problem(problems, format!("`{text}` is no region of AWS"));
        }
        fits.then(|| text.to_owned())
    });
    let username = fields.optional("username").map(|node| {
        let text = node.text(problems)?;
        // It stands in the resource of a policy, where these would stand for others.
        let fits = !text.is_empty() && !text.contains(['*', '?', '/', '$']);
        if !fits {
            node.problem(problems, format!("`{text}` is no name of a database user"));
        }
        fits.then(|| text.to_owned())
    });
    let role = fields.optional("role").map(|node| {
        let text = node.text(problems)?;
        if !text.starts_with("arn:") || !text.contains(":role/") {
            node.problem_with_help(
                problems,
                format!("`{text}` is no role"),
                "write `arn:aws:iam::ACCOUNT:role/NAME`",
            );
            return None;
        }
        Some(text.to_owned())
    });
    if username.is_none() && role.is_none() {
        node.problem_with_help(
            problems,
            "requests are signed with keys of a role's session, and here is no `role`",
            "write `role`; or `username`, for a login of RDS",
        );
    }
    let web_identity = fields.optional("web_identity").map(|node| {
        if role.is_none() {
            node.problem(problems, "a web identity is of use to assume a `role` only");
        }
        secret(node, "web_identity", base, problems)
    });
    let keys = fields.optional("keys").map(|node| {
        let fields = node.fields(problems)?;
        let id = fields.required("id", problems).and_then(|n| n.text(problems)).map(str::to_owned);
        let key = fields
            .required("secret", problems)
            .and_then(|node| secret(node, "secret", base, problems));
        fields.finish(&["id", "secret"], problems);
        Some(AwsIdentity::Keys { id: id?, secret: key? })
    });
    let identity = match (web_identity, keys) {
        (None, None) => Some(AwsIdentity::Found),
        (Some(token), None) => token.map(AwsIdentity::WebIdentity),
        (None, Some(keys)) => keys,
        (Some(_), Some(_)) => {
            node.problem(problems, "expected one of `web_identity` and `keys`, or neither");
            None
        }
    };
    let external_id =
        fields.optional("external_id").and_then(|n| n.text(problems)).map(str::to_owned);
    let session_policy = fields.optional("session_policy").map(|node| {
        let path = base.join(node.text(problems)?);
        let text = std::fs::read_to_string(&path).ok();
        let parsed: Option<serde_json::Value> =
            text.and_then(|text| serde_json::from_str(&text).ok());
        if parsed.is_none() {
            node.problem(problems, format!("`{}` holds no policy in JSON", path.display()));
        }
        parsed.map(|policy| policy.to_string())
    });
    for name in ["external_id", "session_policy", "tags", "sts_endpoint"] {
        if let Some(node) = fields.optional(name)
            && role.is_none()
        {
            node.problem(problems, format!("`{name}` says something of a `role` only"));
        }
    }
    let tags = match fields.optional("tags") {
        Some(node) => node.boolean(problems),
        None => Some(true),
    };
    let sts_endpoint = fields.optional("sts_endpoint").map(|node| {
        let text = node.text(problems)?;
        let url = Url::parse(text).ok().filter(is_safe_url);
        if url.is_none() {
            node.problem(problems, format!("`{text}` is no address of STS: write `https://…`"));
        }
        url.map(|url| url.to_string())
    });
    fields.finish(
        &[
            "region",
            "username",
            "role",
            "web_identity",
            "keys",
            "external_id",
            "session_policy",
            "tags",
            "sts_endpoint",
        ],
        problems,
    );
    Some(AwsConfig {
        region: region?,
        username: match username {
            Some(username) => Some(username?),
            None => None,
        },
        identity: identity?,
        role: match role {
            Some(role) => Some(role?),
            None => None,
        },
        external_id,
        session_policy: match session_policy {
            Some(policy) => Some(policy?),
            None => None,
        },
        tags: tags?,
        sts_endpoint: match sts_endpoint {
            Some(endpoint) => Some(endpoint?),
            None => None,
        },
    })
}
