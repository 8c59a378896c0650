//! One word, two meanings: what guard takes a name, a parameter or a view for is what the server takes
//! it for, also when that has changed.

use guard_core::TlsMode;

use super::{
    attacks::Script,
    stage::{ALL, Stage},
};

const POLICY: &str = "
policy: test
rules:
  - name: all
    sql: { effects: [read, insert, create, alter, drop, session, transaction] }
    decide: allow
masks:
  - sql: { columns: [public.users.email] }
    with: redact
";
const SEED: &str = "CREATE TABLE users (id int PRIMARY KEY, name text, email text); \
    INSERT INTO users VALUES (1, 'ann', 's3cret'); \
    CREATE VIEW shown AS SELECT name AS x FROM users; \
    CREATE VIEW hidden AS SELECT email AS x FROM users";

/// The view shows other values from here on, under the same name.
const TURN: &str = "ALTER VIEW shown RENAME TO turned; ALTER VIEW hidden RENAME TO shown";
const TURN_BACK: &str = "CREATE OR REPLACE VIEW hidden AS SELECT name AS x FROM users";

async fn stage() -> Stage {
    Stage::new(POLICY, TlsMode::Disable, SEED).await
}

#[tokio::test]
async fn a_name_that_the_server_cuts_off_is_not_taken_for_another() {
    let stage = stage().await;
    let long = "n".repeat(63);
    let name = |end: &str| format!("{long}{end}");
    let mut raw = stage.raw().await;
    let script = Script::default()
        .parse(&name("x"), "SELECT upper(name) FROM users")
        .sync()
        .close_statement(&name("y"))
        .sync()
        .parse(&name("z"), "SELECT upper(email) FROM users")
        .sync()
        .bind("", &name("x"), 0)
        .execute("")
        .sync();
    raw.send(&script.0).await;
    assert_eq!(raw.until_ready().await, "E:08P01");
    let mut raw = stage.raw().await;
    raw.send(&Script::default().parse(&long, "SELECT name FROM users").sync().0).await;
    assert_eq!(raw.until_ready().await, "1 ZI", "the longest that the server keeps");
}

#[tokio::test]
async fn a_parameter_in_capitals_is_no_way_around_what_is_looked_at() {
    let stage = Stage::new(ALL, TlsMode::Disable, "").await;
    for (name, value) in [
        ("DATABASE", "postgres"),
        ("Database", "postgres"),
        ("USER", "postgres"),
        ("Replication", "database"),
        ("OPTIONS", "-c role=postgres"),
    ] {
        let (_, said) = stage.raw_with(&[("user", "x"), ("database", "shop"), (name, value)]).await;
        assert_eq!(said, "E:08P01", "{name}");
    }
    for option in ["-c database=postgres", "--user=postgres", "-c Replication=database"] {
        let parameters = [("user", "x"), ("database", "shop"), ("options", option)];
        let (_, said) = stage.raw_with(&parameters).await;
        assert_eq!(said, "E:08P01", "{option}");
    }
}

#[tokio::test]
async fn a_view_that_shows_other_values_is_seen_whenever_it_is_read() {
    let read = "SELECT lower(x) FROM shown";
    let cases: [(&str, Vec<Script>); 6] = [
        ("later", vec![Script::default().query(TURN), Script::default().query(read)]),
        ("in one text", vec![Script::default().query(&format!("{TURN}; {read}"))]),
        (
            "in one transaction",
            vec![
                Script::default().query("BEGIN"),
                Script::default().query(TURN),
                Script::default().query(read),
            ],
        ),
        (
            "pipelined",
            vec![
                Script::default().query("ALTER VIEW shown RENAME TO turned"),
                Script::default()
                    .parse("", "ALTER VIEW hidden RENAME TO shown")
                    .bind("", "", 0)
                    .execute("")
                    .parse("", read)
                    .bind("", "", 0)
                    .execute("")
                    .sync(),
            ],
        ),
        (
            "prepared before",
            vec![
                Script::default().query(&format!("PREPARE p AS {read}")),
                Script::default().query(TURN),
                Script::default().query("EXECUTE p"),
            ],
        ),
        (
            "parsed before",
            vec![
                Script::default().parse("p", read).sync(),
                Script::default().query(TURN),
                Script::default().bind("", "p", 0).execute("").sync(),
            ],
        ),
    ];
    for (when, scripts) in cases {
        let stage = stage().await;
        let mut raw = stage.raw().await;
        for script in scripts {
            raw.send(&script.0).await;
            let said = raw.until_ready().await;
            assert!(!said.contains("s3cret"), "{when}: {said}");
        }
    }
}

#[tokio::test]
async fn a_portal_shows_what_its_view_showed_when_it_was_bound() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    let steps = [
        Script::default().query("BEGIN"),
        Script::default().parse("", "SELECT lower(x) FROM hidden").bind("c", "", 0).sync(),
        Script::default().query(TURN_BACK),
        Script::default().query("COMMIT AND CHAIN"),
        Script::default().execute("c").sync(),
    ];
    for step in steps {
        raw.send(&step.0).await;
        let said = raw.until_ready().await;
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[tokio::test]
async fn what_was_prepared_by_sql_is_judged_when_the_protocol_runs_it() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    let steps = [
        (Script::default().query("PREPARE d AS DELETE FROM users"), "C:PREPARE ZI"),
        (Script::default().query("CREATE TABLE fresh (a int)"), "C:CREATE TABLE ZI"),
        (Script::default().query("ALTER TABLE fresh ADD b int"), "C:ALTER TABLE ZI"),
        (Script::default().bind("", "d", 0).execute("").sync(), "2 E:42501 ZI"),
        (Script::default().query("EXECUTE d"), "E:42501 ZI"),
    ];
    for (step, expected) in steps {
        raw.send(&step.0).await;
        assert_eq!(raw.until_ready().await, expected);
    }
    assert_eq!(stage.postgres.sql("shop", "SELECT count(*) FROM users").unwrap(), "1");
}
