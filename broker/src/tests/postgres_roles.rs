//! Roles made for one session at a real server: what they may, what they may not, and that nothing is left of them.

use std::{os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use axum::http::{Method, StatusCode};
use guard_core::EndReason;
use guard_tests::Postgres;
use serde_json::{Value, json};

use super::stage::{Shim, Stage};
use crate::{
    app::App,
    store::{LeaseRow, LeaseState},
};

const ADMIN: &str = "guard_admin_of_roles";
const ADMIN_PASSWORD: &str = "only-the-broker-has-this-5e1b";

const SCHEMA: &str = r#"
CREATE TABLE users (id int PRIMARY KEY, name text, email text);
INSERT INTO users VALUES (1, 'Ann', 'ann@example.com');
CREATE TABLE notes (id serial PRIMARY KEY, text text);
CREATE TABLE ledger (id int);
CREATE TABLE secrets (id int);
CREATE VIEW names AS SELECT id, name FROM users;
CREATE VIEW contacts AS SELECT id, email AS contact FROM users;
CREATE VIEW contacts_again AS SELECT contact FROM contacts;
CREATE VIEW whole AS SELECT to_jsonb(u) AS everything FROM users u;
CREATE TABLE people (id int, email text) PARTITION BY RANGE (id);
CREATE TABLE people_1 PARTITION OF people FOR VALUES FROM (0) TO (10);
CREATE SCHEMA "odd""; DROP TABLE users; --";
CREATE TABLE "odd""; DROP TABLE users; --"."t'); DROP ROLE guard_admin_of_roles; --" ("c"" , secret" int, d int);
CREATE FUNCTION total() RETURNS int LANGUAGE sql AS 'SELECT 1';
REVOKE EXECUTE ON FUNCTION total() FROM PUBLIC;
CREATE FUNCTION other() RETURNS int LANGUAGE sql AS 'SELECT 2';
REVOKE EXECUTE ON FUNCTION other() FROM PUBLIC;
"#;

const POLICY: &str = r#"policy: reads
rules:
  - { name: never, sql: { effects: "*", tables: [public.secrets] }, decide: block }
  - { name: notes, sql: { effects: [insert, update, delete], tables: [public.notes] }, decide: allow }
  - { name: calls, sql: { effects: [call], functions: [public.total] }, decide: allow }
  - { name: reads, sql: { effects: [read] }, decide: allow }
  - { name: makes, sql: { effects: [create], tables: [public.*] }, decide: allow }
masks:
  - { sql: { columns: ["public.users.email", "public.people.email"] }, with: redact, withhold: true }
  - { sql: { columns: ['*.*."c"" , secret"'] }, with: redact, withhold: true }
"#;

/// A broker whose resource is a server of the test's own, and whose admin is no superuser.
struct Roles {
    stage: Stage,
    server: Arc<Postgres>,
}

impl Roles {
    async fn new() -> Self {
        Self::owned("").await
    }

    /// With more in the configuration of `postgres_role`.
    async fn owned(more: &str) -> Self {
        let mut stage = Stage::new().await;
        let folder = stage.folder.path().to_owned();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let server = Arc::new(Postgres::start(&folder, &["log_statement=all"]).unwrap());
        let admin = format!("CREATE ROLE {ADMIN} LOGIN CREATEROLE PASSWORD '{ADMIN_PASSWORD}'");
        server.sql("postgres", &admin).unwrap();
        server.sql("postgres", &format!("CREATE DATABASE orders OWNER {ADMIN}")).unwrap();
        server
            .sql("orders", &format!("GRANT ALL ON SCHEMA public TO {ADMIN} WITH GRANT OPTION"))
            .unwrap();
        server.sql("orders", &format!("SET ROLE {ADMIN}; {SCHEMA}")).unwrap();
        std::fs::write(folder.join("admin-password"), ADMIN_PASSWORD).unwrap();
        std::fs::write(folder.join("policies/p.yaml"), POLICY).unwrap();
        let config = std::fs::read_to_string(folder.join("guard.yaml")).unwrap();
        let credential = format!(
            "postgres_role: {{ admin: {{ username: {ADMIN}, password: {{ file: admin-password }} }}, connections: 3{more} }}"
        );
        let config = config
            .replace("127.0.0.1:5432", &format!("127.0.0.1:{}", server.port))
            .replace("username: app, password: { file: password }", &credential)
            .replace(", allow_static_at_shim: \"a test\"", "");
        std::fs::write(folder.join("guard.yaml"), config).unwrap();
        stage.restart().await;
        Self { stage, server }
    }

    fn app(&self) -> &Arc<App> {
        &self.stage.app
    }

    async fn lease(&self, shim: &Shim) -> (StatusCode, Value) {
        let near = json!({ "session": shim.id, "resource": "near" });
        self.stage.as_shim(shim, Method::POST, "/v1/leases", &near).await
    }

    /// Who a lease is for: the role and its password.
    async fn role(&self, shim: &Shim) -> (String, String) {
        let (status, lease) = self.lease(shim).await;
        assert_eq!(status, StatusCode::OK, "{lease}");
        let text = |name: &str| lease[name].as_str().unwrap().to_owned();
        (text("username"), text("password"))
    }

    async fn end(&self, shim: &Shim) -> Value {
        let end = json!({ "exit_code": 0 });
        let (status, ended) = self.stage.as_shim(shim, Method::POST, "/v1/session/end", &end).await;
        assert_eq!(status, StatusCode::OK, "{ended}");
        ended
    }

    /// What the server says to a role.
    fn as_role(&self, (role, password): &(String, String), sql: &str) -> Result<String, String> {
        let mut psql = self.server.client("psql", "orders");
        psql.env("PGUSER", role).env("PGPASSWORD", password);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        let output = psql.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Roles of guard's that are at the server.
    fn left(&self) -> String {
        let text = format!(
            "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'guard\\_%' AND rolname <> '{ADMIN}'"
        );
        self.server.sql("orders", &text).unwrap()
    }

    async fn leases(&self, shim: &Shim) -> Vec<LeaseRow> {
        self.app().sessions.store.leases(shim.id.parse().unwrap()).await.unwrap()
    }

    /// Looks after the sessions until something is so.
    async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> bool) {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        let waiting = async {
            while !so().await {
                self.app().sessions.look(1).await.unwrap();
                pause.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect(what);
    }
}

#[tokio::test]
async fn a_role_may_what_the_policy_allows_and_is_gone_with_its_session() {
    let roles = Roles::new().await;
    let shim = roles.stage.session().await;
    let role = roles.role(&shim).await;
    let allowed = [
        "SELECT name FROM users",
        "SELECT count(*) FROM users WHERE id = 1",
        "SELECT name FROM names",
        "INSERT INTO notes (text) VALUES ('a')",
        "UPDATE notes SET text = 'b' WHERE id = 1",
        "DELETE FROM notes WHERE id = 1",
        "SELECT total()",
        "SELECT * FROM ledger",
        "CREATE TABLE made (id int)",
        "SELECT d FROM \"odd\"\"; DROP TABLE users; --\".\"t'); DROP ROLE guard_admin_of_roles; --\"",
    ];
    for sql in allowed {
        roles.as_role(&role, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let refused = [
        "SELECT * FROM secrets",
        "INSERT INTO ledger VALUES (1)",
        "DELETE FROM users",
        "TRUNCATE notes",
        "DROP TABLE notes",
        "SELECT other()",
        "CREATE ROLE friend",
        "CREATE SCHEMA own",
        "SET ROLE guard_admin_of_roles",
        "SELECT pg_read_file('/etc/passwd')",
        // Withheld, by whichever way.
        "SELECT * FROM users",
        "SELECT email FROM users",
        "SELECT id FROM users WHERE email LIKE 'a%'",
        "SELECT users FROM users",
        "SELECT contact FROM contacts",
        "SELECT contact FROM contacts_again",
        "SELECT everything FROM whole",
        "SELECT email FROM people",
        "SELECT email FROM people_1",
        "COPY users TO STDOUT",
        "SELECT \"c\"\" , secret\" FROM \"odd\"\"; DROP TABLE users; --\".\"t'); DROP ROLE guard_admin_of_roles; --\"",
    ];
    for sql in refused {
        let error = roles.as_role(&role, sql).expect_err(sql);
        assert!(
            error.contains("permission denied") || error.contains("must be owner"),
            "{sql}: {error}"
        );
    }
    let limits = "SELECT rolconnlimit || ' ' || (rolvaliduntil < now() + interval '46 min')::text
         FROM pg_roles WHERE rolname = current_user";
    assert_eq!(roles.as_role(&role, limits).unwrap(), "3 true");

    let ended = roles.end(&shim).await;
    assert_eq!(ended["unreleased"], json!({}));
    assert_eq!(roles.left(), "0");
    let error = roles.as_role(&role, "SELECT 1").unwrap_err();
    assert!(error.contains("authentication failed"), "{error}");
    // So is what it made.
    let made = "SELECT count(*) FROM pg_tables WHERE tablename = 'made'";
    assert_eq!(roles.server.sql("orders", made).unwrap(), "0");
    let acl = "SELECT count(*) FROM pg_class WHERE relacl::text LIKE '%guard\\_%\\_%=%' AND relacl::text NOT LIKE '%of_roles%'";
    assert_eq!(roles.server.sql("orders", acl).unwrap(), "0");
    // Neither password was ever written where the server logs.
    let log = roles.server.log();
    assert!(log.contains("CREATE ROLE") && log.contains(&role.0));
    assert!(!log.contains(&role.1));
    let record = roles.stage.text(&shim).await;
    assert!(record.contains(&role.0) && !record.contains(&role.1));
    assert!(!record.contains(ADMIN_PASSWORD) && !record.contains(ADMIN));
}

#[tokio::test]
async fn what_a_session_made_is_the_owners_and_runs_with_nobodys_rights() {
    let roles = Roles::owned(", owner: \"odd \\\" owner\"").await;
    // An owner who may do too much gets nothing, and so there is no role.
    let owner = "\"odd \"\" owner\"";
    roles.server.sql("orders", &format!("CREATE ROLE {owner} CREATEROLE")).unwrap();
    let shim = roles.stage.session().await;
    assert_eq!(roles.lease(&shim).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(roles.left(), "0");
    let harmless = format!(
        "ALTER ROLE {owner} NOCREATEROLE; GRANT {owner} TO {ADMIN}; GRANT CREATE, USAGE ON SCHEMA public TO {owner}"
    );
    roles.server.sql("orders", &harmless).unwrap();
    let role = roles.role(&shim).await;
    for sql in [
        "CREATE TABLE made (id int)",
        // Allowed: whose rights count is asked when it is read.
        "CREATE VIEW peek AS SELECT email FROM users",
        "CREATE FUNCTION escalate() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT current_user::text'",
    ] {
        roles.as_role(&role, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    assert!(roles.as_role(&role, "SELECT email FROM peek").is_err());
    assert_eq!(roles.end(&shim).await["unreleased"], json!({}));
    assert_eq!(roles.left(), "0");
    let left = "SELECT string_agg(pg_get_userbyid(relowner) || ':' || coalesce(reloptions::text, ''), ' ' ORDER BY relname)
         FROM pg_class WHERE relname IN ('made', 'peek')";
    assert_eq!(
        roles.server.sql("orders", left).unwrap(),
        "odd \" owner: odd \" owner:{security_invoker=true}"
    );
    let function = "SELECT prosecdef FROM pg_proc WHERE proname = 'escalate'";
    assert_eq!(roles.server.sql("orders", function).unwrap(), "f");
}

#[tokio::test]
async fn roles_are_made_while_others_change_the_same_privileges() {
    let roles = Roles::new().await;
    roles.server.sql("orders", "CREATE ROLE app").unwrap();
    let mut psql = roles.server.client("psql", "orders");
    psql.args(["-X", "-q"]).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    for _ in 0..40 {
        // The others' may fail, too, and are not tried again.
        psql.args(["-c", "GRANT SELECT ON users, notes, ledger TO app"]);
        psql.args(["-c", "SELECT pg_sleep(0.02)"]);
        psql.args(["-c", "REVOKE SELECT ON users, notes, ledger FROM app"]);
        psql.args(["-c", "SELECT pg_sleep(0.02)"]);
    }
    let mut others = psql.spawn().unwrap();
    let mut taken = 0;
    while others.try_wait().unwrap().is_none() {
        let shim = roles.stage.session().await;
        let near = json!({ "session": shim.id, "resource": "near" });
        let (status, lease) = roles.stage.as_shim(&shim, Method::POST, "/v1/leases", &near).await;
        assert_eq!(status, StatusCode::OK, "{lease}");
        let release = format!("/v1/leases/{}/release", lease["id"].as_str().unwrap());
        let (status, _) = roles.stage.as_shim(&shim, Method::POST, &release, &Value::Null).await;
        assert!(status.is_success());
        taken += 1;
    }
    assert!(taken > 3, "{taken}");
    roles.until("no role is left", async || roles.left() == "0").await;
}

#[tokio::test]
async fn connections_of_a_role_end_with_its_session() {
    let roles = Roles::new().await;
    let shim = roles.stage.session().await;
    let role = roles.role(&shim).await;
    let mut psql = roles.server.client("psql", "orders");
    psql.env("PGUSER", &role.0).env("PGPASSWORD", &role.1);
    psql.args(["-X", "-c", "SELECT pg_sleep(600)"]);
    psql.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut sleeping = psql.spawn().unwrap();
    let there = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}' AND wait_event = 'PgSleep'",
        role.0
    );
    roles.until("a connection", async || roles.server.sql("orders", &there).unwrap() == "1").await;
    roles.end(&shim).await;
    assert!(!sleeping.wait().unwrap().success());
    assert_eq!(roles.left(), "0");
}

#[tokio::test]
async fn a_column_that_everyone_may_read_cannot_be_withheld_and_nothing_is_handed_out() {
    let roles = Roles::new().await;
    roles.server.sql("orders", "GRANT SELECT ON users TO PUBLIC").unwrap();
    let shim = roles.stage.session().await;
    let (status, answer) = roles.lease(&shim).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    assert_eq!(answer["message"], "the credential cannot be had");
    assert_eq!(roles.left(), "0");
}

#[tokio::test]
async fn a_role_of_which_nobody_was_told_is_gone_within_a_minute() {
    // As if the broker had been killed between making the role and handing it out.
    let roles = Roles::new().await;
    let shim = roles.stage.session().await;
    let role = roles.role(&shim).await;
    let lease = roles.leases(&shim).await.remove(0);
    let id = lease.id;
    let store = &roles.app().sessions.store;
    store.as_never_handed_out_for_test(id).await;
    roles.app().sessions.look(1).await.unwrap();
    assert_eq!(roles.leases(&shim).await[0].state, LeaseState::Wanted);
    store.age_lease_for_test(id, Duration::from_secs(50)).await;
    roles.until("the role is gone", async || roles.leases(&shim).await.is_empty()).await;
    assert_eq!(roles.left(), "0");
    assert!(roles.as_role(&role, "SELECT 1").is_err());
}

#[tokio::test]
async fn a_role_that_is_not_the_leases_own_is_left_alone_and_told_of() {
    let roles = Roles::new().await;
    let shim = roles.stage.session().await;
    let role = roles.role(&shim).await.0;
    roles.server.sql("orders", &format!("COMMENT ON ROLE {role} IS 'ours'")).unwrap();
    let ended = roles.end(&shim).await;
    let said = ended["unreleased"].to_string();
    assert!(said.contains("it is left alone"), "{said}");
    assert_eq!(roles.left(), "1");
    assert!(roles.stage.text(&shim).await.contains("it is left alone"));
    // Asked again for the lost answer, the same is said.
    assert_eq!(roles.end(&shim).await, ended);
    // When it is put right, the next attempt succeeds.
    let id = roles.leases(&shim).await[0].id;
    let comment = format!("COMMENT ON ROLE {role} IS 'guard lease {id}: again'");
    roles.server.sql("orders", &comment).unwrap();
    roles.app().sessions.store.age_lease_for_test(id, Duration::from_secs(600)).await;
    roles.until("the role is gone", async || roles.leases(&shim).await.is_empty()).await;
    assert_eq!(roles.left(), "0");
}

#[tokio::test]
async fn a_handle_that_names_another_role_changes_nothing_at_the_server() {
    let roles = Roles::new().await;
    roles.server.sql("orders", "CREATE ROLE app LOGIN").unwrap();
    let shim = roles.stage.session().await;
    roles.role(&shim).await;
    let mut lease = roles.leases(&shim).await.remove(0);
    let role = lease.username.clone();
    for other in ["app", ADMIN, "app\"; DROP ROLE app; --"] {
        let text = serde_json::to_string(&lease.handle)
            .unwrap()
            .replace(&role, &other.replace('"', "\\\""));
        lease.handle = serde_json::from_str(&text).unwrap();
        let config = roles.app().sessions.config();
        let resource = config.resources.values().next();
        let revoked = crate::credentials::revoke(
            &lease.resource,
            resource,
            &lease.handle,
            Duration::from_secs(5),
        )
        .await;
        assert!(revoked.unwrap_err().0.contains("no role of guard's"), "{other}");
        lease = roles.leases(&shim).await.remove(0);
    }
    assert_eq!(
        roles.server.sql("orders", "SELECT count(*) FROM pg_roles WHERE rolname = 'app'").unwrap(),
        "1"
    );
}

#[tokio::test]
async fn a_session_that_ends_without_its_shim_takes_its_role_along() {
    let mut roles = Roles::new().await;
    let shim = roles.stage.session().await;
    let role = roles.role(&shim).await;
    // Nobody is left who knew of it.
    roles.stage.restart().await;
    let store = roles.app().sessions.store.clone();
    store
        .end_session(shim.id.parse().unwrap(), EndReason::Lost, None, Duration::ZERO)
        .await
        .unwrap();
    roles.until("the role is gone", async || roles.leases(&shim).await.is_empty()).await;
    assert_eq!(roles.left(), "0");
    assert!(roles.as_role(&role, "SELECT 1").is_err());
    roles
        .until("the record is sealed", async || roles.stage.text(&shim).await.contains("\"seal\""))
        .await;
    let record = roles.stage.text(&shim).await;
    assert!(record.find("lease-released").unwrap() < record.find("\"reason\":\"lost\"").unwrap());
}

#[tokio::test]
async fn many_sessions_have_roles_at_the_same_time() {
    let roles = Roles::new().await;
    let mut shims = Vec::new();
    for _ in 0..8 {
        shims.push(roles.stage.session().await);
    }
    let taken = futures_util::future::join_all(shims.iter().map(|shim| roles.role(shim))).await;
    for role in &taken {
        assert_eq!(roles.as_role(role, "SELECT name FROM users").unwrap(), "Ann");
    }
    assert_eq!(roles.left(), "8");
    futures_util::future::join_all(shims.iter().map(|shim| roles.end(shim))).await;
    assert_eq!(roles.left(), "0");
}
