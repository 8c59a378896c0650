//! The child's environment: addresses in, the platform's identity and whatever leads past guard out.

use std::ffi::{OsStr, OsString};

use guard_core::ResourceKind;
use guard_engine::egress::EGRESS_USER;

use super::{
    aws,
    listener::{Endpoint, WayOut, socket_name},
    session::wire::AGENT,
    token::{
        AZURE_TOKEN, AZURE_URL, BITBUCKET_TOKEN, BUILDKITE_TOKEN, CIRCLECI_TOKEN, ID_TOKEN,
        REQUEST_TOKEN, REQUEST_URL,
    },
};
use crate::sandbox::User;

/// The user name that clients give. The lease's own goes to the server.
const USER: &str = "guard";

/// Whoever holds these can be this run towards anyone. The shim takes them out of its own environment, too.
pub(crate) const IDENTITY: [&str; 13] = [
    REQUEST_URL,
    REQUEST_TOKEN,
    ID_TOKEN,
    AZURE_URL,
    AZURE_TOKEN,
    BUILDKITE_TOKEN,
    CIRCLECI_TOKEN,
    "CIRCLE_OIDC_TOKEN",
    BITBUCKET_TOKEN,
    "GUARD_TOKEN_FILE",
    "CI_JOB_JWT",
    "CI_JOB_JWT_V1",
    "CI_JOB_JWT_V2",
];

/// libpq's variables that would send a client elsewhere, or have it expect another server.
const DETOURS: [&str; 16] = [
    "PGHOSTADDR",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGPASSFILE",
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
    "PGREQUIRESSL",
    "PGCHANNELBINDING",
    "PGSSLNEGOTIATION",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGSSLROOTCERT",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGGSSENCMODE",
    "PGTARGETSESSIONATTRS",
];

/// Where the agent of the job's session is. A command has its listeners and no more.
const OWN: [&str; 1] = [AGENT];

/// With these a job speaks to its platform: not as itself to others, but more than a command with a database needs. Kept
/// only where the command line says so.
const PLATFORM: [&str; 10] = [
    "ACTIONS_RUNTIME_TOKEN",
    "ACTIONS_RUNTIME_URL",
    "ACTIONS_RESULTS_URL",
    "ACTIONS_CACHE_URL",
    "CI_JOB_TOKEN",
    "CI_REPOSITORY_URL",
    "CI_REGISTRY_PASSWORD",
    "CI_DEPLOY_PASSWORD",
    "CI_DEPENDENCY_PROXY_PASSWORD",
    "CIRCLE_TOKEN",
];

/// All that passes with `--clean-env`, besides what the command line names.
const PLAIN: [&str; 14] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "TERM",
    "TZ",
    "TMPDIR",
    "LANG",
    "LANGUAGE",
    "CI",
    "XDG_RUNTIME_DIR",
    "NO_COLOR",
];

/// Where a user's own files are, if not in the home: of no use to another user.
const FOLDERS_OF_A_USER: [&str; 6] = [
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "MAIL",
];

/// What of the own environment passes to the child.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Passed {
    /// Give the command only what every program needs (PATH, HOME, LANG, …), guard's addresses, and what `--keep-env` names
    #[arg(long)]
    clean_env: bool,
    /// Give the command this variable, which it would not have otherwise; the run's identity is never given
    #[arg(long, value_name = "NAME")]
    keep_env: Vec<String>,
}

impl Passed {
    fn passes(&self, name: &OsStr) -> bool {
        let Some(name) = name.to_str() else { return !self.clean_env };
        if [&IDENTITY[..], &DETOURS, &OWN].concat().contains(&name) {
            return false;
        }
        if self.keep_env.iter().any(|kept| kept == name) {
            return true;
        }
        if self.clean_env {
            return PLAIN.contains(&name) || name.starts_with("LC_");
        }
        !PLATFORM.contains(&name)
    }
}

/// What is changed in the child's environment.
pub(super) struct Environment {
    /// Set.
    pub(super) set: Vec<(String, String)>,
    /// What passes of the own.
    passed: Passed,
    /// The variable that held the identity token.
    token: Option<String>,
    /// Of the user that the child runs as, if that is another one.
    user: Vec<(&'static str, OsString)>,
}

impl Environment {
    /// The same for a child that runs as another user: nothing leads it to folders of this one.
    pub(super) fn for_user(mut self, user: Option<&User>) -> Self {
        self.user = user.into_iter().flat_map(User::variables).collect();
        self
    }

    fn is_anothers(&self, name: &OsStr) -> bool {
        let is_set = self.user.iter().any(|(set, _)| name == *set);
        is_set || !self.user.is_empty() && FOLDERS_OF_A_USER.iter().any(|folder| name == *folder)
    }

    /// What the child would have of the job's own.
    pub(super) fn of_job(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|_| self.passed.passes(OsStr::new(name)))
    }

    /// All of the child's environment.
    pub(super) fn all(&self) -> Vec<(OsString, OsString)> {
        let is_set = |name: &OsStr| self.set.iter().any(|(set, _)| name == set.as_str());
        let token = |name: &OsStr| self.token.as_deref().is_some_and(|token| name == token);
        let passed = std::env::vars_os()
            .filter(|(name, _)| self.passed.passes(name) && !token(name) && !is_set(name))
            .filter(|(name, _)| !self.is_anothers(name));
        let set = self.set.iter().map(|(name, value)| (name.into(), value.into()));
        let user = self.user.iter().map(|(name, value)| (name.into(), value.clone()));
        passed.chain(set).chain(user).collect()
    }
}

/// What programs read to find a proxy, in the two spellings that are in use.
const PROXY: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
/// What leads to another one, or past it.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// Guard's own listeners are not reached through it.
const NOT_THROUGH_PROXY: &str = "localhost,127.0.0.1,::1";

/// The environment for these resources; the first database gets libpq's variables. `way_out` is the proxy for everything else. `token` is the variable that held the
/// identity token, if the command line named one.
pub(super) fn environment(
    endpoints: &[Endpoint<'_>],
    way_out: Option<&WayOut>,
    passed: &Passed,
    token: Option<&str>,
) -> Environment {
    let mut set = Vec::new();
    for endpoint in endpoints {
        let name = endpoint.grant.grant.resource.as_str().to_uppercase().replace('-', "_");
        set.push((format!("GUARD_{name}_URL"), address(endpoint)));
        if let (ResourceKind::Http, Some(folder)) = (endpoint.grant.kind, &endpoint.folder) {
            let socket = folder.join(socket_name(ResourceKind::Http, endpoint.port));
            set.push((format!("GUARD_{name}_SOCKET"), socket.display().to_string()));
        }
    }
    let is_database = |endpoint: &&Endpoint<'_>| match endpoint.grant.kind {
        ResourceKind::Postgres => true,
        ResourceKind::Http => false,
    };
    if let Some(first) = endpoints.iter().find(is_database) {
        let mut put = |name: &str, value: String| set.push((name.to_owned(), value));
        let folder = first.folder.as_ref().map(|folder| folder.display().to_string());
        put("PGHOST", folder.unwrap_or_else(|| "127.0.0.1".into()));
        put("PGPORT", first.port.to_string());
        put("PGUSER", USER.into());
        put("PGPASSWORD", first.password.expose().to_owned());
        put("PGDATABASE", first.grant.database.clone());
        put("PGSSLMODE", "disable".into());
        put("DATABASE_URL", address(first));
    }
    let has = |name: &str| passed.passes(OsStr::new(name)) && std::env::var_os(name).is_some();
    set.extend(aws::variables(endpoints, has));
    if let Some(out) = way_out {
        let address =
            format!("http://{EGRESS_USER}:{}@127.0.0.1:{}", out.password.expose(), out.port);
        set.extend(PROXY.map(|name| (name.to_owned(), address.clone())));
        set.extend(NO_PROXY.map(|name| (name.to_owned(), NOT_THROUGH_PROXY.to_owned())));
    }
    Environment { set, passed: passed.clone(), token: token.map(str::to_owned), user: Vec::new() }
}

/// The address over TCP: not every driver knows Unix sockets.
fn address(endpoint: &Endpoint<'_>) -> String {
    match endpoint.grant.kind {
        ResourceKind::Postgres => {}
        ResourceKind::Http => return format!("http://127.0.0.1:{}", endpoint.port),
    }
    let password = endpoint.password.expose();
    let database: String =
        url::form_urlencoded::byte_serialize(endpoint.grant.database.as_bytes()).collect();
    let (port, database) = (endpoint.port, database.replace('+', "%20"));
    format!("postgresql://{USER}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{collections::BTreeMap, path::PathBuf};

    use guard_core::{
        EnforceAt, Grant, PolicyName, ResourceName, Secret, Timestamp, control::GrantInfo,
    };

    use super::*;

    fn grant(resource: &str, database: &str) -> GrantInfo {
        GrantInfo {
            grant: Grant {
                resource: ResourceName::new(resource).unwrap(),
                policy: PolicyName::new("nightly").unwrap(),
                until: Timestamp::MAX,
            },
            database: database.into(),
            kind: ResourceKind::Postgres,
            enforce_at: EnforceAt::Gateway,
            mode: guard_core::Mode::Enforce,
            gateway: None,
            origin: None,
            aws: None,
        }
    }

    #[test]
    fn the_first_resource_is_libpqs_and_each_has_an_address() {
        let (orders, archive) = (grant("orders", "shop"), grant("cold-archive", "a/b c?"));
        let endpoint = |grant, port| Endpoint {
            grant,
            folder: Some(PathBuf::from("/run/guard-x")),
            port,
            password: Secret::new("pw"),
        };
        let endpoints = [endpoint(&orders, 5000), endpoint(&archive, 5001)];
        let environment = environment(&endpoints, None, &Passed::default(), None);
        let set: BTreeMap<_, _> =
            environment.set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let first = "postgresql://guard:pw@127.0.0.1:5000/shop?sslmode=disable";
        assert_eq!(
            set,
            BTreeMap::from([
                ("DATABASE_URL", first),
                ("GUARD_ORDERS_URL", first),
                (
                    "GUARD_COLD_ARCHIVE_URL",
                    "postgresql://guard:pw@127.0.0.1:5001/a%2Fb%20c%3F?sslmode=disable"
                ),
                ("PGDATABASE", "shop"),
                ("PGHOST", "/run/guard-x"),
                ("PGPASSWORD", "pw"),
                ("PGPORT", "5000"),
                ("PGSSLMODE", "disable"),
                ("PGUSER", "guard"),
            ])
        );
    }

    #[test]
    fn an_api_has_a_base_address_and_a_socket_and_no_password() {
        let api = GrantInfo { kind: ResourceKind::Http, ..grant("issue-api", "") };
        let endpoint = Endpoint {
            grant: &api,
            folder: Some(PathBuf::from("/run/guard-x")),
            port: 5000,
            password: Secret::new("pw"),
        };
        let environment = environment(&[endpoint], None, &Passed::default(), None);
        let expected = [
            ("GUARD_ISSUE_API_URL", "http://127.0.0.1:5000"),
            ("GUARD_ISSUE_API_SOCKET", "/run/guard-x/http.5000.sock"),
        ];
        assert_eq!(environment.set, expected.map(|(name, value)| (name.into(), value.into())));
    }

    #[test]
    fn nothing_of_the_platforms_identity_and_no_way_around_guard_is_left() {
        let (usual, clean) = (Passed::default(), Passed { clean_env: true, ..Passed::default() });
        let all =
            [REQUEST_URL, REQUEST_TOKEN, ID_TOKEN, "CI_JOB_JWT_V2", "PGSERVICE", "PGHOSTADDR"];
        for name in all {
            let keep_env = vec![name.to_owned()];
            for passed in [&usual, &clean, &Passed { keep_env, ..Passed::default() }] {
                assert!(!passed.passes(OsStr::new(name)), "{name} {passed:?}");
            }
        }
        let keep_env = vec!["CI_JOB_TOKEN".to_owned(), "MINE".to_owned()];
        let kept = Passed { keep_env: keep_env.clone(), ..Passed::default() };
        let clean_kept = Passed { clean_env: true, keep_env };
        for (name, expected) in [
            ("PATH", [true, true, true, true]),
            ("LC_ALL", [true, true, true, true]),
            ("MINE", [true, false, true, true]),
            ("OTHER", [true, false, true, false]),
            ("CI_JOB_TOKEN", [false, false, true, true]),
            ("ACTIONS_RUNTIME_TOKEN", [false, false, false, false]),
        ] {
            let found =
                [&usual, &clean, &kept, &clean_kept].map(|passed| passed.passes(OsStr::new(name)));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn the_way_out_is_what_programs_take_for_a_proxy() {
        let out = WayOut { port: 5001, password: Secret::new("pw"), authority: None };
        let environment = environment(&[], Some(&out), &Passed::default(), None);
        let all = environment.all();
        let value = |wanted: &str| all.iter().find(|(name, _)| name == wanted).unwrap().1.clone();
        for name in PROXY {
            assert_eq!(value(name), "http://guard:pw@127.0.0.1:5001");
        }
        assert_eq!(value("NO_PROXY"), "localhost,127.0.0.1,::1");
    }

    #[test]
    fn the_variable_that_held_the_token_does_not_pass() {
        // One that every test has.
        let environment = environment(&[], None, &Passed::default(), Some("PATH"));
        assert!(environment.all().iter().all(|(name, _)| name != "PATH"));
    }
}
