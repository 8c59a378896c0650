//! The child's environment: addresses in, the platform's identity and whatever leads past guard out.

use super::{
    listener::Endpoint,
    token::{ID_TOKEN, REQUEST_TOKEN, REQUEST_URL},
};

/// The user name that clients give. The lease's own goes to the server.
const USER: &str = "guard";

/// Whoever holds these can be this run towards anyone.
const IDENTITY: [&str; 7] = [
    REQUEST_URL,
    REQUEST_TOKEN,
    ID_TOKEN,
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
    pub(super) removed: Vec<&'static str>,
}

/// The environment for these resources; the first one gets libpq's variables.
pub(super) fn environment(endpoints: &[Endpoint<'_>]) -> Environment {
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
    Environment { set, removed: IDENTITY.into_iter().chain(DETOURS).collect() }
}

/// The address over TCP: not every driver knows Unix sockets.
fn address(endpoint: &Endpoint<'_>) -> String {
    let password = endpoint.password.expose();
    let database: String =
        url::form_urlencoded::byte_serialize(endpoint.grant.database.as_bytes()).collect();
    let (port, database) = (endpoint.port, database.replace('+', "%20"));
    format!("postgresql://{USER}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
}
