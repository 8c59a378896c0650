//! The `issuers` section: whose identity tokens are taken, and how each is checked.

mod facts;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use guard_core::{
    Platform, ResourceName,
    document::{Fields, Node, Problems},
};
use guard_policy::{Conditions, one_name};
use jsonwebtoken::Algorithm;
use url::Url;

use super::is_safe_url;
pub(crate) use facts::JTI;
pub(super) use facts::declared;

/// Clocks of a platform and of the broker differ by this much at most, unless configured.
const LEEWAY: Duration = Duration::from_secs(60);
/// More than this is no difference of clocks any more.
const MAX_LEEWAY: Duration = Duration::from_secs(300);
/// A token older than this is refused, however long it says that it lives: GitLab's live as long
/// as their job may.
const MAX_TOKEN_AGE: Duration = Duration::from_secs(3600);
/// Keys are fetched again when they are this old, so a key that an issuer withdrew stops working.
const REFRESH: Duration = Duration::from_secs(300);
/// The last good keys hold for this long while the issuer is down.
const STALE: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

const FIELDS: &[&str] = &[
    "name",
    "platform",
    "url",
    "jwks_file",
    "audiences",
    "multi_audience",
    "bind",
    "algorithms",
    "require",
    "replay",
    "claims",
    "run",
    "leeway",
    "max_token_age",
    "refresh",
    "stale",
];

const RUN_FIELDS: &[&str] = &[
    "repository_id",
    "run_id",
    "job",
    "attempt",
    "repository",
    "ref",
    "event",
    "workflow",
    "actor",
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
    /// Any one of these is the `aud` of its tokens; the broker's, if none.
    pub(crate) audiences: Vec<String>,
    /// Whether a token may be for others, too.
    pub(crate) multi_audience: bool,
    /// Whether its tokens are for one session's key.
    pub(crate) bind: Bind,
    /// The algorithms that its tokens may be signed with.
    pub(crate) algorithms: Vec<Algorithm>,
    /// What every token must say.
    pub(crate) require: Conditions,
    /// The claim that is used once.
    pub(crate) once: String,
    /// Which claims say what, where the platform does not.
    pub(crate) run: Option<RunClaims>,
    /// How much its clock may differ.
    pub(crate) leeway: Duration,
    /// How old a token may be.
    pub(crate) max_token_age: Duration,
    /// How old its keys may get before they are fetched again.
    pub(crate) refresh: Duration,
    /// How long the last good keys hold while it is down.
    pub(crate) stale: Duration,
}

impl IssuerConfig {
    /// A provider at which people sign in: of its tokens only the signature is checked by this.
    pub(super) fn of_people(url: &str) -> Self {
        Self {
            name: "people".into(),
            platform: Platform::Oidc,
            url: url.to_owned(),
            keys: KeySource::Discovery,
            audiences: Vec::new(),
            multi_audience: false,
            bind: Bind::None,
            algorithms: ALGORITHMS.iter().map(|(_, algorithm)| *algorithm).collect(),
            require: Conditions::default(),
            once: JTI.into(),
            run: None,
            leeway: LEEWAY,
            max_token_age: MAX_TOKEN_AGE,
            refresh: REFRESH,
            stale: STALE,
        }
    }
}

/// Where an issuer's keys are.
#[derive(Debug, Clone)]
pub(crate) enum KeySource {
    /// At the `jwks_uri` of its discovery document.
    Discovery,
    /// In a file, for issuers that the broker cannot reach.
    File(PathBuf),
}

/// What a token is bound to besides its audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bind {
    /// The key of the session that it is exchanged for: its thumbprint stands in the audience.
    Key,
    /// Nothing: whoever has it may exchange it, once.
    None,
}

/// Which claims of a generic issuer say what.
#[derive(Debug, Clone)]
pub(crate) struct RunClaims {
    pub(crate) repository_id: String,
    pub(crate) run_id: String,
    pub(crate) job: Option<String>,
    pub(crate) attempt: Option<String>,
    pub(crate) repository: Option<String>,
    pub(crate) git_ref: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) workflow: Option<String>,
    pub(crate) actor: Option<String>,
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
        fields.required("platform", problems).and_then(|n| n.one_of(&platforms(), problems));
    let url = fields.required("url", problems).and_then(|n| url(n, platform, problems));
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
    let audiences = match fields.optional("audiences") {
        Some(node) => texts(node, problems),
        None => platform.and_then(facts::audience).map(str::to_owned).into_iter().collect(),
    };
    let multi_audience = match fields.optional("multi_audience") {
        Some(node) => node.one_of(&[("reject", false), ("allow", true)], problems),
        None => Some(false),
    };
    let bind = match fields.optional("bind") {
        Some(node) => node.one_of(&[("key", Bind::Key), ("none", Bind::None)], problems),
        None => platform.map(facts::bind),
    };
    if let (Some(Bind::Key), Some(Platform::AzureDevops), Some(node)) =
        (bind, platform, fields.optional("bind"))
    {
        node.problem(
            problems,
            "tokens of Azure DevOps are all for one audience: no key fits into it",
        );
    }
    let algorithms = match fields.optional("algorithms") {
        Some(node) => {
            let items = node.list(problems).unwrap_or_default();
            items.iter().filter_map(|item| item.one_of(ALGORITHMS, problems)).collect()
        }
        None => vec![Algorithm::RS256, Algorithm::ES256],
    };
    let known = facts::facts(node);
    let require = match fields.optional("require") {
        Some(node) => Conditions::read(node, known.as_ref(), problems),
        None => Some(Conditions::default()),
    };
    if let (Some(platform), Some(url), None) = (platform, &url, fields.optional("require")) {
        facts::shared(node, platform, url, problems);
    }
    let once = match fields.optional("replay") {
        Some(node) => replay(node, problems),
        None => platform.map(|platform| facts::once(platform).to_owned()),
    };
    let run = run_of(&fields, node, platform, problems);
    // Read with what is known of the issuer; each must be a text.
    fields.optional("claims").map(|node| texts(node, problems));
    let time = |name: &str, default: Duration, most: Duration, problems: &mut Problems| {
        let Some(node) = fields.optional(name) else { return Some(default) };
        let time: Duration = node.duration(problems)?;
        if time > most {
            node.problem(problems, format!("`{name}` can be {} s at most", most.as_secs()));
        }
        Some(time)
    };
    let leeway = time("leeway", LEEWAY, MAX_LEEWAY, problems);
    let max_token_age = time("max_token_age", MAX_TOKEN_AGE, DAY, problems);
    let refresh = time("refresh", REFRESH, DAY, problems);
    let stale = time("stale", STALE, DAY * 7, problems);
    if let (Some(refresh), Some(stale), Some(node)) = (refresh, stale, fields.optional("stale"))
        && stale < refresh
    {
        node.problem(problems, "`stale` is shorter than `refresh`");
    }
    fields.finish(FIELDS, problems);
    Some(IssuerConfig {
        name: name?.as_str().to_owned(),
        platform: platform?,
        url: url?,
        keys: keys?,
        audiences,
        multi_audience: multi_audience?,
        bind: bind?,
        algorithms,
        require: require?,
        once: once?,
        run: match run {
            Some(run) => Some(run?),
            None => None,
        },
        leeway: leeway?,
        max_token_age: max_token_age?,
        refresh: refresh?,
        stale: stale?,
    })
}

/// How claims are read.
fn platforms() -> [(&'static str, Platform); Platform::ALL.len()] {
    Platform::ALL.map(|platform| (platform.as_str(), platform))
}

fn url(node: &Node, platform: Option<Platform>, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?;
    let url = Url::parse(text).ok().filter(is_safe_url);
    if url.is_none() {
        node.problem_with_help(
            problems,
            format!("`{text}` is no issuer"),
            "write the `iss` of its tokens: an `https://` address, or `http://` on loopback",
        );
    }
    if let (Some(Platform::AzureDevops), Some(url)) = (platform, url)
        && matches!(url.path(), "" | "/")
    {
        node.problem_with_help(
            problems,
            format!("`{text}` does not say which organisation is meant"),
            "write `https://vstoken.dev.azure.com/` with the organisation's id behind it",
        );
    }
    // Not normalised: tokens are compared with what stands here.
    Some(text.to_owned())
}

/// One text or a list of them.
fn texts(node: &Node, problems: &mut Problems) -> Vec<String> {
    let items = node.one_or_more(problems).unwrap_or_default();
    items.iter().filter_map(|item| item.text(problems)).map(str::to_owned).collect()
}

fn replay(node: &Node, problems: &mut Problems) -> Option<String> {
    let fields = node.fields(problems)?;
    let claim = fields.required("claim", problems).and_then(|n| n.text(problems)).map(one_name);
    fields.finish(&["claim"], problems);
    claim
}

/// `run` is for issuers of which nothing else says which claims name a run, and only for those.
fn run_of(
    fields: &Fields<'_>,
    issuer: &Node,
    platform: Option<Platform>,
    problems: &mut Problems,
) -> Option<Option<RunClaims>> {
    let generic = platform? == Platform::Oidc;
    match (fields.optional("run"), generic) {
        (Some(node), true) => Some(run_claims(node, problems)),
        (Some(node), false) => {
            node.problem(
                problems,
                "the platform says which claims name a run: `run` is for `oidc`",
            );
            None
        }
        (None, true) => {
            issuer.problem_with_help(
                problems,
                "`run` is missing",
                "say which claims name a run: `run: { repository_id: …, run_id: …, job: … }`, each a name or a JSON pointer",
            );
            Some(None)
        }
        (None, false) => None,
    }
}

fn run_claims(node: &Node, problems: &mut Problems) -> Option<RunClaims> {
    let fields = node.fields(problems)?;
    let needed = |name: &str, problems: &mut Problems| {
        fields.required(name, problems).and_then(|n| n.text(problems)).map(one_name)
    };
    let (repository_id, run_id) = (needed("repository_id", problems), needed("run_id", problems));
    let claim = |name: &str, problems: &mut Problems| {
        fields.optional(name).and_then(|n| n.text(problems)).map(one_name)
    };
    let job = claim("job", problems);
    let attempt = claim("attempt", problems);
    let repository = claim("repository", problems);
    let git_ref = claim("ref", problems);
    let event = claim("event", problems);
    let workflow = claim("workflow", problems);
    let actor = claim("actor", problems);
    fields.finish(RUN_FIELDS, problems);
    Some(RunClaims {
        repository_id: repository_id?,
        run_id: run_id?,
        job,
        attempt,
        repository,
        git_ref,
        event,
        workflow,
        actor,
    })
}
