//! The `people` section: where people sign in, and what they may do.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use guard_core::document::{Node, Problems};
use url::Url;

use super::role::Role;
use super::{IssuerConfig, SecretSource, credentials::secret, is_safe_url};

/// How long somebody is signed in, unless configured.
const SESSION: Duration = Duration::from_hours(8);
/// And at most.
const MAX_SESSION: Duration = Duration::from_hours(24 * 7);
/// Where groups stand in an ID token, unless configured.
const GROUPS: &str = "/groups";

const FIELDS: &[&str] = &[
    "issuer",
    "client_id",
    "client_secret",
    "scopes",
    "groups",
    "roles",
    "session",
    "same_person",
    "device",
];

/// Where people sign in, and what they may do.
#[derive(Debug, Clone)]
pub(crate) struct PeopleConfig {
    /// The provider, as an issuer of tokens.
    pub(crate) issuer: IssuerConfig,
    /// The broker's name there.
    pub(crate) client_id: String,
    /// Where its secret is, if it has one.
    pub(crate) client_secret: Option<SecretSource>,
    /// Scopes that are asked for besides `openid`, `profile` and `email`.
    pub(crate) scopes: Vec<String>,
    /// Where a person's groups stand in an ID token (RFC 6901).
    pub(crate) groups: String,
    /// Who is what, by group.
    pub(crate) roles: BTreeMap<Role, BTreeSet<String>>,
    /// How long somebody is signed in.
    pub(crate) session: Duration,
    /// Which claims of runs and of people name the same person.
    pub(crate) same_person: Vec<SamePerson>,
    /// Whether people can sign in on the command line.
    pub(crate) device: bool,
}

/// A claim of runs and one of people: whoever has the same value in both started the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SamePerson {
    /// The claim of the run, as trust rules write it.
    pub(crate) run: String,
    /// The claim of the person: its name, or a JSON pointer.
    pub(crate) person: String,
    /// Runs of this issuer only.
    pub(crate) issuer: Option<String>,
}

/// Reads `people`.
pub(super) fn read(node: &Node, base: &Path, problems: &mut Problems) -> Option<PeopleConfig> {
    let fields = node.fields(problems)?;
    let issuer = fields.required("issuer", problems).and_then(|node| {
        let text = node.text(problems)?;
        if Url::parse(text).ok().filter(is_safe_url).is_none() {
            node.problem_with_help(
                problems,
                format!("`{text}` is no address of an OpenID provider"),
                "write its issuer, `https://…`, exactly as its discovery document has it",
            );
            return None;
        }
        Some(IssuerConfig::of_people(text))
    });
    let client_id = fields
        .required("client_id", problems)
        .and_then(|node| node.text(problems))
        .map(str::to_owned);
    let client_secret = match fields.optional("client_secret") {
        Some(node) => Some(secret(node, "client_secret", base, problems)?),
        None => None,
    };
    let scopes = fields.optional("scopes").and_then(|node| texts(node, problems));
    let groups = match fields.optional("groups") {
        Some(node) => node.text(problems).and_then(|text| {
            if !text.starts_with('/') {
                node.problem_with_help(
                    problems,
                    format!("`{text}` is no JSON pointer"),
                    "write `/groups`, or `/realm_access/roles`",
                );
                return None;
            }
            Some(text.to_owned())
        }),
        None => Some(GROUPS.to_owned()),
    };
    let roles = fields.required("roles", problems).and_then(|node| roles(node, problems));
    let session = match fields.optional("session") {
        Some(node) => node.duration(problems).and_then(|time| {
            if time.is_zero() || time > MAX_SESSION {
                node.problem(problems, "`session` is at least a second and at most 7 days");
                return None;
            }
            Some(time)
        }),
        None => Some(SESSION),
    };
    let same_person = match fields.optional("same_person") {
        Some(node) => {
            let items = node.list(problems)?;
            items.iter().map(|item| same_person(item, problems)).collect()
        }
        None => Some(Vec::new()),
    };
    let device = match fields.optional("device") {
        Some(node) => node.boolean(problems),
        None => Some(true),
    };
    fields.finish(FIELDS, problems);
    Some(PeopleConfig {
        issuer: issuer?,
        client_id: client_id?,
        client_secret,
        scopes: scopes.unwrap_or_default(),
        groups: groups?,
        roles: roles?,
        session: session?,
        same_person: same_person?,
        device: device?,
    })
}

fn same_person(node: &Node, problems: &mut Problems) -> Option<SamePerson> {
    let fields = node.fields(problems)?;
    let claim = |name: &str, problems: &mut Problems| {
        let node = fields.required(name, problems)?;
        let text = node.text(problems)?;
        if text.is_empty() {
            node.problem(problems, "a claim has a name");
            return None;
        }
        Some(text.to_owned())
    };
    let (run, person) = (claim("run", problems), claim("person", problems));
    let issuer = match fields.optional("issuer") {
        Some(node) => Some(node.text(problems)?.to_owned()),
        None => None,
    };
    fields.finish(&["run", "person", "issuer"], problems);
    Some(SamePerson { run: run?, person: person?, issuer })
}

fn roles(node: &Node, problems: &mut Problems) -> Option<BTreeMap<Role, BTreeSet<String>>> {
    let fields = node.fields(problems)?;
    let mut roles = BTreeMap::new();
    for role in Role::ALL {
        if let Some(node) = fields.optional(role.as_str()) {
            roles.insert(role, texts(node, problems)?.into_iter().collect());
        }
    }
    fields.finish(&Role::ALL.map(Role::as_str), problems);
    if roles.values().all(BTreeSet::is_empty) {
        node.problem_with_help(
            problems,
            "nobody has a role",
            "name groups, such as `viewer: [engineering]`",
        );
    }
    Some(roles)
}

fn texts(node: &Node, problems: &mut Problems) -> Option<Vec<String>> {
    let items = node.list(problems)?;
    items.iter().map(|item| item.text(problems).map(str::to_owned)).collect()
}
