//! The child's environment: addresses in, the platform's identity and whatever leads past guard out.

use super::{
    listener::Endpoint,
    token::{
        AZURE_TOKEN, AZURE_URL, BITBUCKET_TOKEN, BUILDKITE_TOKEN, CIRCLECI_TOKEN, ID_TOKEN,
        REQUEST_TOKEN, REQUEST_URL,
    },
};

/// The user name that clients give. The lease's own goes to the server.
const USER: &str = "guard";

/// Whoever holds these can be this run towards anyone.
const IDENTITY: [&str; 13] = [
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

/// What is changed in the child's environment.
pub(super) struct Environment {
    /// Set.
    pub(super) set: Vec<(String, String)>,
    /// Taken out.
    pub(super) removed: Vec<String>,
}

/// The environment for these resources; the first one gets libpq's variables. `token` is the variable that held the
/// identity token, if the command line named one.
pub(super) fn environment(endpoints: &[Endpoint<'_>], token: Option<&str>) -> Environment {
    let mut set = Vec::new();
    for endpoint in endpoints {
        let name = endpoint.grant.grant.resource.as_str().to_uppercase().replace('-', "_");
        set.push((format!("GUARD_{name}_URL"), address(endpoint)));
    }
    if let Some(first) = endpoints.first() {
        let mut put = |name: &str, value: String| set.push((name.to_owned(), value));
        put("PGHOST", first.folder.display().to_string());
        put("PGPORT", first.port.to_string());
        put("PGUSER", USER.into());
        put("PGPASSWORD", first.password.expose().to_owned());
        put("PGDATABASE", first.grant.database.clone());
        put("PGSSLMODE", "disable".into());
        put("DATABASE_URL", address(first));
    }
    let removed = IDENTITY.into_iter().chain(DETOURS).chain(token).map(str::to_owned).collect();
    Environment { set, removed }
}

/// The address over TCP: not every driver knows Unix sockets.
fn address(endpoint: &Endpoint<'_>) -> String {
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
        EnforceAt, Grant, PolicyName, ResourceKind, ResourceName, Secret, Timestamp,
        control::GrantInfo,
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
        }
    }

    #[test]
    fn the_first_resource_is_libpqs_and_each_has_an_address() {
        let (orders, archive) = (grant("orders", "shop"), grant("cold-archive", "a/b c?"));
        let endpoint = |grant, port| Endpoint {
            grant,
            folder: PathBuf::from("/run/guard-x"),
            port,
            password: Secret::new("pw"),
        };
        let environment = environment(&[endpoint(&orders, 5000), endpoint(&archive, 5001)], None);
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
    fn nothing_of_the_platforms_identity_and_no_way_around_guard_is_left() {
        let removed = environment(&[], Some("MY_TOKEN")).removed;
        for name in [
            REQUEST_URL,
            REQUEST_TOKEN,
            ID_TOKEN,
            "CI_JOB_JWT_V2",
            "PGSERVICE",
            "PGHOSTADDR",
            "MY_TOKEN",
        ] {
            assert!(removed.iter().any(|removed| removed == name), "{name}");
        }
    }
}
