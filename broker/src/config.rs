//! `guard.yaml`, its trust rules and its policies, read once into types with every problem noted.

mod credentials;
mod gateways;
mod issuers;
mod people;
mod resources;
mod retention;
mod role;
mod store;
mod telemetry;
mod watched;
mod webhooks;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use guard_core::{
    PolicyName, ResourceName,
    control::PolicySource,
    document::{self, Node, Position, Problem, Problems},
};
use guard_policy::{LockFile, LockText, Policy, TrustContext, TrustRules};
use url::Url;

pub(crate) use credentials::{
    AwsConfig, AwsIdentity, CertificateConfig, ClientAuth, CredentialConfig, GithubAppConfig,
    OauthConfig, PostgresRoleConfig, SecretSource, StaticCredential, VaultAuth, VaultConfig,
    VaultSecret,
};
pub(crate) use gateways::{GatewayConfig, KnownBy, Labels, is_own_name};
pub(crate) use issuers::{Bind, IssuerConfig, JTI, KeySource, RunClaims};
pub(crate) use people::{PeopleConfig, SamePerson};
pub(crate) use resources::ResourceConfig;
pub(crate) use retention::Retention;
pub(crate) use role::Role;
pub(crate) use store::{RecordingsAt, StoreAddress, StoreConfig, StoreTls};
pub(crate) use watched::Watched;
pub(crate) use webhooks::{Address, Form, Told, WebhookConfig, address as webhook_address};

use watched::yaml_files;

/// How often a shim shows that it lives, unless configured.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A shim that was silent for this long is gone, unless configured.
const LOST_AFTER: Duration = Duration::from_secs(30);
/// How long an identity token keeps a session alive, unless configured: platforms make theirs for 5 or 10 minutes.
const RENEW: Duration = Duration::from_mins(10);

const FIELDS: &[&str] = &[
    "listen",
    "metrics",
    "telemetry",
    "url",
    "audience",
    "store",
    "recordings",
    "sealing_key",
    "tls",
    "behind_proxy",
    "issuers",
    "resources",
    "gateways",
    "sessions",
    "retention",
    "people",
    "webhooks",
    "trust",
    "policies",
];

/// Everything the broker is told. Holds no secret: credentials are read when they are leased.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// Where it tells what it counts, if anywhere.
    pub(crate) metrics: Option<SocketAddr>,
    /// Who collects its traces, if the configuration says it.
    pub(crate) traces: Option<String>,
    /// Its address as clients write it, without a slash at the end: the base of every `htu`.
    pub(crate) url: String,
    /// The `aud` that an identity token must have.
    pub(crate) audience: String,
    /// Where sessions are kept.
    pub(crate) store: StoreConfig,
    /// Where records are kept.
    pub(crate) recordings: RecordingsAt,
    /// The file of the key that seals records.
    pub(crate) sealing_key: PathBuf,
    /// Certificate and key, where the broker itself speaks TLS.
    pub(crate) tls: Option<TlsFiles>,
    /// Whose tokens it takes.
    pub(crate) issuers: Vec<IssuerConfig>,
    /// What is behind it.
    pub(crate) resources: BTreeMap<ResourceName, ResourceConfig>,
    /// The gateways whose keys stand here, by name.
    pub(crate) gateways: BTreeMap<String, GatewayConfig>,
    /// When a silent shim is gone.
    pub(crate) sessions: SessionTimes,
    /// How long records are kept.
    pub(crate) retention: Retention,
    /// Where people sign in, if they can.
    pub(crate) people: Option<PeopleConfig>,
    /// Who is told of requests for people's approval.
    pub(crate) webhooks: Vec<WebhookConfig>,
    /// Who gets what.
    pub(crate) trust: TrustRules,
    /// What it may do.
    pub(crate) policies: BTreeMap<PolicyName, PolicySource>,
    /// The files that this was read from.
    pub(crate) watched: Watched,
}

/// Files of the broker's own TLS.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    /// PEM of the chain, leaf first.
    pub(crate) cert: PathBuf,
    /// PEM of the key.
    pub(crate) key: PathBuf,
}

/// When a silent shim is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionTimes {
    /// How often a shim should be heard of.
    pub(crate) heartbeat: Duration,
    /// After how long a silence the session ends.
    pub(crate) lost_after: Duration,
    /// How long an identity token keeps the session of a job alive that can ask for more of them.
    pub(crate) renew: Duration,
}

/// Reads `guard.yaml` and all that it names.
pub(crate) fn load(path: &Path) -> Result<Config, Problems> {
    load_watched(path).0
}

/// The same, with the files in which a change might mend what is wrong.
pub(crate) fn load_watched(path: &Path) -> (Result<Config, Problems>, Watched) {
    let mut problems = Problems::new();
    let text = std::fs::read_to_string(path);
    let mut watched = Watched::new(path, text.as_ref().map(String::as_str));
    let config = parse(path, text, &mut problems).and_then(|node| {
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        read(&node, base, &mut watched, &mut problems)
    });
    (in_order(&problems, path).into_result(config), watched)
}

/// The document in a file. Notes what is wrong and gives `None` then.
fn parse(path: &Path, text: io::Result<String>, problems: &mut Problems) -> Option<Node> {
    let name = path.display().to_string();
    match text {
        Ok(text) => document::parse(&name, &text, problems),
        Err(error) => {
            problems.add(&name, Position::START, format!("cannot be read: {error}"));
            None
        }
    }
}

/// The problems as a person goes through them: the configuration from its top, then the other files.
fn in_order(problems: &Problems, first: &Path) -> Problems {
    let first = first.display().to_string();
    let mut found: Vec<_> = problems.iter().collect();
    found.sort_by_key(|problem| (problem.file != first, &problem.file, problem.at));
    let mut sorted = Problems::new();
    merge(found, &mut sorted);
    sorted
}

fn read(
    node: &Node,
    base: &Path,
    watched: &mut Watched,
    problems: &mut Problems,
) -> Option<Config> {
    let fields = node.fields(problems)?;
    let listen = fields.required("listen", problems).and_then(|n| address(n, problems));
    let metrics = fields.optional("metrics").map(|n| address(n, problems));
    let traces = fields.optional("telemetry").map(|n| telemetry::read(n, problems));
    let url = fields.required("url", problems).and_then(|n| base_url(n, problems));
    let audience = match fields.optional("audience") {
        Some(node) => node.text(problems).map(str::to_owned),
        None => url.clone(),
    };
    let store = store::read(fields.optional("store"), base, problems);
    let recordings = store::recordings(fields.optional("recordings"), base, problems);
    if let (Some(store), Some(RecordingsAt::Bucket { .. }), Some(at)) =
        (&store, &recordings, fields.optional("recordings"))
        && !store.is_shared()
    {
        at.problem_with_help(
            problems,
            "records of a SQLite store are files, which grow where the broker is",
            "write `file:DIR`, or use a PostgreSQL store",
        );
    }
    let sealing_key = match fields.optional("sealing_key") {
        Some(node) => node.text(problems).map(|text| base.join(text)),
        None => Some(base.join("sealing-key.pem")),
    };
    let tls = fields.optional("tls").map(|node| tls_files(node, base, problems));
    let behind_proxy = fields.optional("behind_proxy").and_then(|n| n.boolean(problems));
    if let Some(listen) = listen
        && !listen.ip().is_loopback()
        && tls.is_none()
        && behind_proxy != Some(true)
    {
        let at = fields.optional("listen").unwrap_or(node);
        at.problem_with_help(
            problems,
            format!("`{listen}` is no loopback address, and there is no `tls`"),
            "give `tls: { cert, key }`, or say `behind_proxy: true` where a proxy before it speaks TLS",
        );
    }
    let issuers_node = fields.required("issuers", problems);
    let issuers = issuers_node.map(|n| issuers::read(n, base, problems));
    let resources_node = fields.required("resources", problems);
    let resources = resources_node.map(|n| resources::read(n, base, watched, problems));
    let declared_issuers = issuers_node.and_then(issuers::declared);
    let gateways =
        fields.optional("gateways").map(|n| gateways::read(n, declared_issuers.as_ref(), problems));
    let sessions = match fields.optional("sessions") {
        Some(node) => session_times(node, problems),
        None => Some(SessionTimes { heartbeat: HEARTBEAT, lost_after: LOST_AFTER, renew: RENEW }),
    };
    let people = fields.optional("people").map(|node| people::read(node, base, problems));
    let retention = match fields.optional("retention") {
        Some(node) => retention::read(node, problems),
        None => Some(Retention::default()),
    };
    let webhooks = match fields.optional("webhooks") {
        Some(node) => webhooks::read(node, base, problems),
        None => Some(Vec::new()),
    };
    let policy_files =
        fields.required("policies", problems).and_then(|n| folder(n, base, watched, problems));
    let policies = policy_files.as_ref().map(|files| policies(files, problems));
    let trust_files =
        fields.required("trust", problems).and_then(|n| folder(n, base, watched, problems));
    let context = match (issuers_node, resources_node, &policy_files) {
        (Some(issuers), Some(resources), Some(files)) => declared(issuers, resources, files),
        // What trust rules refer to is missing: said already.
        (Some(_) | None, Some(_) | None, Some(_) | None) => None,
    };
    let trust = match (&trust_files, &context) {
        (Some(files), Some(context)) => trust(files, context, problems),
        (Some(_) | None, Some(_) | None) => None,
    };
    if let (Some(trust), Some(resources), Some(policies)) = (&trust, &resources, &policies) {
        operations(trust, resources, policies, problems);
    }
    fields.finish(FIELDS, problems);
    Some(Config {
        listen: listen?,
        metrics: match metrics {
            Some(address) => Some(address?),
            None => None,
        },
        traces: match traces {
            Some(endpoint) => Some(endpoint?),
            None => None,
        },
        url: url?,
        audience: audience?,
        store: store?,
        recordings: recordings?,
        sealing_key: sealing_key?,
        tls: match tls {
            Some(files) => Some(files?),
            None => None,
        },
        issuers: issuers?,
        resources: resources?,
        gateways: gateways.unwrap_or_default(),
        sessions: sessions?,
        retention: retention?,
        people: match people {
            Some(people) => Some(people?),
            None => None,
        },
        webhooks: webhooks?,
        trust: trust?,
        policies: policies?,
        watched: watched.clone(),
    })
}

fn address(node: &Node, problems: &mut Problems) -> Option<SocketAddr> {
    let text = node.text(problems)?;
    let address = text.parse().ok();
    if address.is_none() {
        node.problem_with_help(
            problems,
            format!("`{text}` is no address to listen at"),
            "write an IP address and a port, like `127.0.0.1:8440`",
        );
    }
    address
}

/// The broker's own address: `https`, or `http` on loopback, with nothing behind the path.
fn base_url(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?;
    let Some(url) = Url::parse(text).ok().filter(is_safe_url) else {
        node.problem_with_help(
            problems,
            format!("`{text}` is no address of a broker"),
            "write `https://host[:port]`; plain `http://` is for loopback addresses",
        );
        return None;
    };
    Some(url.as_str().trim_end_matches('/').to_owned())
}

/// Whether an address is `https`, or `http` on loopback, and has nothing that hides a host.
pub(crate) fn is_safe_url(url: &Url) -> bool {
    let plain = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let loopback = url.host_str().is_some_and(is_loopback_host);
    plain
        && url.host_str().is_some()
        && (url.scheme() == "https" || (url.scheme() == "http" && loopback))
}

/// Whether a host is this machine.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn tls_files(node: &Node, base: &Path, problems: &mut Problems) -> Option<TlsFiles> {
    let fields = node.fields(problems)?;
    let file = |name: &str, problems: &mut Problems| {
        let node = fields.required(name, problems)?;
        let path = base.join(node.text(problems)?);
        if !path.is_file() {
            node.problem(problems, format!("`{}` is no file", path.display()));
        }
        Some(path)
    };
    let (cert, key) = (file("cert", problems), file("key", problems));
    fields.finish(&["cert", "key"], problems);
    Some(TlsFiles { cert: cert?, key: key? })
}

fn session_times(node: &Node, problems: &mut Problems) -> Option<SessionTimes> {
    let fields = node.fields(problems)?;
    let time = |name: &str, default, problems: &mut Problems| match fields.optional(name) {
        Some(node) => node.duration(problems),
        None => Some(default),
    };
    let heartbeat = time("heartbeat", HEARTBEAT, problems);
    let lost_after = time("lost_after", LOST_AFTER, problems);
    // Unless it is said, silence may last for longer.
    let renew = time("renew", RENEW.max(lost_after.unwrap_or(RENEW)), problems);
    fields.finish(&["heartbeat", "lost_after", "renew"], problems);
    let times = SessionTimes { heartbeat: heartbeat?, lost_after: lost_after?, renew: renew? };
    if times.heartbeat.is_zero() || times.lost_after < times.heartbeat * 2 {
        node.problem(problems, "`lost_after` must be at least twice `heartbeat`, which is not 0");
    }
    if times.renew < times.lost_after {
        node.problem(
            problems,
            "`renew` must be at least `lost_after`: a silent shim ends its session anyway",
        );
    }
    Some(times)
}

/// A YAML file of a folder: its name and its text.
type File = (String, String);

/// The YAML files of a folder in the order of their names, without cases of policies.
fn folder(
    node: &Node,
    base: &Path,
    watched: &mut Watched,
    problems: &mut Problems,
) -> Option<Vec<File>> {
    let path = base.join(node.text(problems)?);
    watched.folder(&path);
    let files = match yaml_files(&path) {
        Ok(files) => files,
        Err(error) => {
            node.problem(problems, format!("`{}` cannot be read: {error}", path.display()));
            return None;
        }
    };
    if files.is_empty() {
        node.problem(problems, format!("`{}` holds no YAML file", path.display()));
    }
    let mut read = Vec::new();
    for file in files {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(&file);
        watched.file(&file, text.as_ref().map(String::as_str));
        match text {
            Ok(text) => read.push((name, text)),
            Err(error) => problems.add(&name, Position::START, format!("cannot be read: {error}")),
        }
    }
    Some(read)
}

fn policies(files: &[File], problems: &mut Problems) -> BTreeMap<PolicyName, PolicySource> {
    let mut policies = BTreeMap::new();
    let lock = |name: &str| {
        let found = files.iter().find(|(file, _)| {
            Path::new(file).file_name().is_some_and(|own| own.as_encoded_bytes() == name.as_bytes())
        });
        let (file, text) = found.ok_or("there is no such file in the policies' folder")?;
        Ok(LockText { file: file.clone(), text: text.clone() })
    };
    // A lock is read with the policy that names it.
    for (file, yaml) in files.iter().filter(|(file, _)| !LockFile::is_named(file)) {
        match Policy::parse_with_lock(file, yaml, &lock, Some(guard_sql::fingerprints)) {
            Ok(policy) => {
                let name = policy.name().clone();
                let lock = policy.lock_text().map(str::to_owned);
                let source = PolicySource::new(name.clone(), yaml.clone(), lock);
                if policies.insert(name.clone(), source).is_some() {
                    let message = format!("a policy `{name}` stands in another file, too");
                    problems.add(file, Position::START, message);
                }
            }
            Err(found) => merge(&found, problems),
        }
    }
    policies
}

/// The operations that policies name are those of the resources over which they are granted.
fn operations(
    trust: &TrustRules,
    resources: &BTreeMap<ResourceName, ResourceConfig>,
    policies: &BTreeMap<PolicyName, PolicySource>,
    problems: &mut Problems,
) {
    for (resource, policy) in trust.granted() {
        let (Some(resource), Some(source)) = (resources.get(resource), policies.get(policy)) else {
            continue;
        };
        // Over a database, rules of HTTP APIs say nothing.
        if resource.spec.kind != guard_core::ResourceKind::Http {
            continue;
        }
        let Ok(policy) = Policy::from_source(source) else { continue };
        for (what, help) in policy.misses(resource.spec.api.as_ref()) {
            let file = format!("policy `{}` over resource `{}`", source.name, resource.spec.name);
            match help {
                Some(help) => problems.add_with_help(&file, Position::START, what, help),
                None => problems.add(&file, Position::START, what),
            }
        }
    }
}

/// What trust rules can refer to: all that has a name, also where something else about it is wrong, so
/// that one mistake is not told twice. Nothing, where an issuer's platform is not known: it says which
/// claims there are.
fn declared(issuers: &Node, resources: &Node, policies: &[File]) -> Option<TrustContext> {
    // Said by those who read the sections.
    let mut said = Problems::new();
    let mut context =
        TrustContext { issuers: issuers::declared(issuers)?, ..TrustContext::default() };
    for item in resources.list(&mut said).unwrap_or_default() {
        let Some(fields) = item.fields(&mut said) else { continue };
        context.resources.extend(fields.optional("name").and_then(|node| node.parsed(&mut said)));
    }
    for (file, yaml) in policies.iter().filter(|(file, _)| !LockFile::is_named(file)) {
        let Some(node) = document::parse(file, yaml, &mut said) else { continue };
        let Some(fields) = node.fields(&mut said) else { continue };
        context.policies.extend(fields.optional("policy").and_then(|node| node.parsed(&mut said)));
    }
    Some(context)
}

fn trust(files: &[File], context: &TrustContext, problems: &mut Problems) -> Option<TrustRules> {
    match TrustRules::parse(files, context) {
        Ok(rules) => Some(rules),
        Err(found) => {
            merge(&found, problems);
            None
        }
    }
}

fn merge<'a>(found: impl IntoIterator<Item = &'a Problem>, problems: &mut Problems) {
    for problem in found {
        match &problem.help {
            Some(help) => {
                problems.add_with_help(&problem.file, problem.at, &problem.message, help);
            }
            None => problems.add(&problem.file, problem.at, &problem.message),
        }
    }
}
