//! The `issuers` section: whose identity tokens are taken, and how each is checked.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use guard_core::{
    Platform, ResourceName,
    document::{Node, Problems},
};
use jsonwebtoken::Algorithm;
use url::Url;

use super::is_safe_url;

/// Clocks of a platform and of the broker differ by this much at most, unless configured.
const LEEWAY: Duration = Duration::from_secs(60);
/// More than this is no difference of clocks any more.
const MAX_LEEWAY: Duration = Duration::from_secs(300);
/// A token older than this is refused, however long it says that it lives: GitLab's live as long
/// as their job may.
const MAX_TOKEN_AGE: Duration = Duration::from_secs(3600);
/// Keys are fetched again when they are this old, so a key that an issuer withdrew stops working.
const REFRESH: Duration = Duration::from_secs(300);

/// How claims are read.
pub(super) const PLATFORMS: &[(&str, Platform)] =
    &[("github", Platform::Github), ("gitlab", Platform::Gitlab)];

const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
];

const FIELDS: &[&str] = &[
    "name",
    "platform",
    "url",
    "jwks_file",
    "audience",
    "algorithms",
    "leeway",
    "max_token_age",
    "refresh",
];

/// An issuer whose tokens are taken.
#[derive(Debug, Clone)]
pub(crate) struct IssuerConfig {
    /// Its name in trust rules.
    pub(crate) name: String,
    /// How its claims are read.
    pub(crate) platform: Platform,
    /// The `iss` of its tokens, compared byte for byte.
    pub(crate) url: String,
    /// Where its keys are.
    pub(crate) keys: KeySource,
    /// The `aud` of its tokens, if another than the broker's.
    pub(crate) audience: Option<String>,
    /// The algorithms that its tokens may be signed with.
    pub(crate) algorithms: Vec<Algorithm>,
    /// How much its clock may differ.
    pub(crate) leeway: Duration,
    /// How old a token may be.
    pub(crate) max_token_age: Duration,
    /// How old its keys may get before they are fetched again.
    pub(crate) refresh: Duration,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone)]
pub(crate) enum KeySource {
    /// At the `jwks_uri` of its discovery document.
    Discovery,
    /// In a file, for issuers that the broker cannot reach.
    File(PathBuf),
}

/// Reads the section.
pub(super) fn read(node: &Node, base: &Path, problems: &mut Problems) -> Vec<IssuerConfig> {
    let mut issuers: Vec<IssuerConfig> = Vec::new();
    for item in node.list(problems).unwrap_or_default() {
        let Some(issuer) = issuer(item, base, problems) else { continue };
        if issuers.iter().any(|other| other.name == issuer.name) {
            item.problem(problems, format!("an issuer `{}` stands here twice", issuer.name));
        }
        if issuers.iter().any(|other| other.url == issuer.url) {
            item.problem(problems, format!("another issuer has the url `{}`, too", issuer.url));
        }
        issuers.push(issuer);
    }
    issuers
}

fn issuer(node: &Node, base: &Path, problems: &mut Problems) -> Option<IssuerConfig> {
    let fields = node.fields(problems)?;
    let name: Option<ResourceName> =
        fields.required("name", problems).and_then(|n| n.parsed(problems));
    let platform =
        fields.required("platform", problems).and_then(|n| n.one_of(PLATFORMS, problems));
    let url = fields.required("url", problems).and_then(|node| {
        let text = node.text(problems)?;
        if !Url::parse(text).is_ok_and(|url| is_safe_url(&url)) {
            node.problem_with_help(
                problems,
                format!("`{text}` is no issuer"),
                "write the `iss` of its tokens: an `https://` address, or `http://` on loopback",
            );
        }
        // Not normalised: tokens are compared with what stands here.
        Some(text.to_owned())
    });
    let keys = match fields.optional("jwks_file") {
        Some(node) => node.text(problems).map(|text| {
            let path = base.join(text);
            if !path.is_file() {
                node.problem(problems, format!("`{}` is no file", path.display()));
            }
            KeySource::File(path)
        }),
        None => Some(KeySource::Discovery),
    };
    let audience = fields.optional("audience").and_then(|n| n.text(problems)).map(str::to_owned);
    let algorithms = match fields.optional("algorithms") {
        Some(node) => {
            let items = node.list(problems).unwrap_or_default();
            items.iter().filter_map(|item| item.one_of(ALGORITHMS, problems)).collect()
        }
        None => vec![Algorithm::RS256, Algorithm::ES256],
    };
    let time = |name: &str, default: Duration, most: Duration, problems: &mut Problems| {
        let Some(node) = fields.optional(name) else { return Some(default) };
        let time: Duration = node.duration(problems)?;
        if time > most {
            node.problem(problems, format!("`{name}` can be {} s at most", most.as_secs()));
        }
        Some(time)
    };
    let day = Duration::from_secs(24 * 3600);
    let leeway = time("leeway", LEEWAY, MAX_LEEWAY, problems);
    let max_token_age = time("max_token_age", MAX_TOKEN_AGE, day, problems);
    let refresh = time("refresh", REFRESH, day, problems);
    fields.finish(FIELDS, problems);
    Some(IssuerConfig {
        name: name?.as_str().to_owned(),
        platform: platform?,
        url: url?,
        keys: keys?,
        audience,
        algorithms,
        leeway: leeway?,
        max_token_age: max_token_age?,
        refresh: refresh?,
    })
}
