//! What is known of each platform's tokens, and what trust rules may rely on.

use std::collections::{BTreeMap, BTreeSet};

use guard_core::{
    Platform,
    document::{Node, Problems},
};
use guard_policy::{TrustIssuer, one_name};
use url::Url;

use super::{Bind, platforms};

/// The claim that is used once, unless configured.
pub(crate) const JTI: &str = "jti";

/// Issuers that sign for whoever has an account there.
const SHARED: &[&str] = &[
    "token.actions.githubusercontent.com",
    "gitlab.com",
    "agent.buildkite.com",
    "oidc.circleci.com",
    "vstoken.dev.azure.com",
    "api.bitbucket.org",
    "accounts.google.com",
    "app.terraform.io",
    "oidc.vercel.com",
    "oidc.codefresh.io",
    "login.microsoftonline.com",
    "codeberg.org",
];

/// The audience of all tokens of a platform, where nobody can choose it.
pub(super) const fn audience(platform: Platform) -> Option<&'static str> {
    match platform {
        Platform::AzureDevops => Some("api://AzureADTokenExchange"),
        Platform::Github
        | Platform::Gitlab
        | Platform::Buildkite
        | Platform::Circleci
        | Platform::Bitbucket
        | Platform::Kubernetes
        | Platform::Oidc => None,
    }
}

/// Platforms that give a token for any audience while the job runs can put the session's key into it.
pub(super) const fn bind(platform: Platform) -> Bind {
    match platform {
        Platform::Github | Platform::Buildkite | Platform::Circleci => Bind::Key,
        Platform::Gitlab
        | Platform::AzureDevops
        | Platform::Bitbucket
        | Platform::Kubernetes
        | Platform::Oidc => Bind::None,
    }
}

/// The claim that is used once.
pub(super) const fn once(platform: Platform) -> &'static str {
    match platform {
        Platform::Github
        | Platform::Gitlab
        | Platform::Buildkite
        | Platform::AzureDevops
        | Platform::Kubernetes
        | Platform::Oidc => JTI,
        // These have no `jti`.
        Platform::Circleci => "oidc.circleci.com/job-id",
        Platform::Bitbucket => "stepUuid",
    }
}

/// Which tenant a token is of, where the issuer's address does not say it.
fn tenants(platform: Platform, url: &str) -> &'static [&'static str] {
    match platform {
        Platform::Buildkite => &["organization_id"],
        Platform::Circleci if !url.contains("/org/") => &["oidc.circleci.com/org-id"],
        // A repository's id is one of all, or the address names whose it is.
        Platform::Github
        | Platform::Gitlab
        | Platform::Circleci
        | Platform::AzureDevops
        | Platform::Bitbucket
        | Platform::Kubernetes
        | Platform::Oidc => &[],
    }
}

/// An issuer that signs for strangers and of which nothing is known must be pinned to somebody.
pub(super) fn shared(node: &Node, platform: Platform, url: &str, problems: &mut Problems) {
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    let host = host.unwrap_or_default();
    if platform == Platform::Oidc && SHARED.contains(&host.as_str()) {
        node.problem_with_help(
            problems,
            format!("`{host}` signs for whoever has an account there"),
            "say under `require` which claims make a token one of yours, or use the platform's own name",
        );
    }
}

/// What trust rules may refer to: all issuers that have a name and a platform, also where something else about them is
/// wrong. Nothing, where a platform is not known: it says which claims there are.
pub(in crate::config) fn declared(issuers: &Node) -> Option<BTreeMap<String, TrustIssuer>> {
    // Said by who reads the section.
    let mut said = Problems::new();
    let mut declared = BTreeMap::new();
    for item in issuers.list(&mut said).unwrap_or_default() {
        let Some(fields) = item.fields(&mut said) else { continue };
        let facts = facts(item)?;
        if let Some(name) = fields.optional("name").and_then(|node| node.text(&mut said)) {
            declared.insert(name.to_owned(), facts);
        }
    }
    Some(declared)
}

/// What is known of one issuer's tokens.
pub(super) fn facts(issuer: &Node) -> Option<TrustIssuer> {
    let mut said = Problems::new();
    let fields = issuer.fields(&mut said)?;
    let platform = fields.optional("platform")?.one_of(&platforms(), &mut said)?;
    let url = fields.optional("url").and_then(|node| node.text(&mut said)).unwrap_or_default();
    let mut claims = BTreeSet::new();
    let (mut repository_id, mut git_ref, mut event) = (None, None, None);
    if let Some(node) = fields.optional("claims") {
        let items = node.one_or_more(&mut said).unwrap_or_default();
        claims.extend(items.iter().filter_map(|item| item.text(&mut said)).map(one_name));
    }
    if let Some(run) = fields.optional("run").and_then(|node| node.fields(&mut said)) {
        for (what, _, node) in run.all() {
            let Some(claim) = node.text(&mut said).map(one_name) else { continue };
            match what {
                "repository_id" => repository_id = Some(claim.clone()),
                "ref" => git_ref = Some(claim.clone()),
                "event" => event = Some(claim.clone()),
                _ => {}
            }
            claims.insert(claim);
        }
    }
    let mut tenants = tenants(platform, url);
    if let Some(require) = fields.optional("require").and_then(|node| node.fields(&mut said))
        && require.all().iter().any(|(claim, _, _)| tenants.contains(&one_name(claim).as_str()))
    {
        tenants = &[];
    }
    Some(TrustIssuer { platform, claims, repository_id, git_ref, event, tenants })
}
