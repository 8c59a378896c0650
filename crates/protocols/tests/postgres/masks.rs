//! Masks and detectors before a real server: what comes out restores, and what goes in is not in it.

use std::process::Output;

use guard_audit::Event;
use guard_core::{Detector, TlsMode};

use super::stage::Stage;

/// People with keys, constraints and every type that a mask has a form for.
const SEED: &str = "
CREATE TABLE people (
    id int PRIMARY KEY,
    email varchar(60) NOT NULL UNIQUE,
    code varchar(3) UNIQUE,
    badge char(6) NOT NULL,
    phone text,
    card text,
    iban text,
    balance numeric(10,2) NOT NULL,
    born date NOT NULL,
    seen timestamptz(3) NOT NULL,
    token uuid NOT NULL UNIQUE,
    secret text NOT NULL,
    CHECK (born < '2030-01-01'), CHECK (email LIKE '%@%'), CHECK (char_length(badge) = 6)
);
CREATE TABLE orders (
    id bigint PRIMARY KEY,
    person bigint NOT NULL,
    email text NOT NULL REFERENCES people (email)
);
INSERT INTO people SELECT
    n,
    's3cret' || n || '@example.com',
    chr(97 + n / 676) || chr(97 + n / 26 % 26) || chr(97 + n % 26),
    'S' || lpad(n::text, 5, '0'),
    '+49 (30) ' || 10000000 + n,
    CASE WHEN n % 2 = 0 THEN '4111 1111 1111 1111' ELSE '378282246310005' END,
    'DE89370400440532013000',
    n * 1.37 - 100,
    date '1950-01-01' + n,
    timestamptz '2020-01-01 12:00:00.123+00' + n * interval '1 hour',
    md5(n::text)::uuid,
    's3cret'
FROM generate_series(1, 700) n;
INSERT INTO orders SELECT 3000000000 + n, n, 's3cret' || n || '@example.com' FROM generate_series(1, 700) n;
";

fn policy(with: &str) -> String {
    format!(
        "
policy: test
rules:
  - name: reads
    sql: {{ effects: [read, session, transaction, lock] }}
    decide: allow
masks:
  - sql: {{ columns: [public.people.id, public.orders.person, public.people.email, public.orders.email, public.people.token] }}
    with: {with}
  - sql: {{ columns: [public.people.code, public.people.badge, public.people.phone, public.people.card, public.people.iban, public.people.balance, public.people.born, public.people.seen] }}
    with: format
  - sql: {{ columns: [public.people.secret] }}
    with: null
"
    )
}

fn ok(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_masked_dump_restores_with_its_keys_and_constraints() {
    for (with, format) in [("format", "custom"), ("hash", "plain")] {
        let stage = Stage::new(&policy(with), TlsMode::Disable, SEED).await;
        let sql = |database: &str, text: &str| stage.postgres.sql(database, text).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        ok(stage.client("pg_dump").args(["-F", format, "-f", &path]).output().unwrap());
        sql("postgres", "CREATE DATABASE restored");
        let mut restore = match format {
            "plain" => stage.postgres.client("psql", "restored"),
            _ => stage.postgres.client("pg_restore", "restored"),
        };
        let restore = match format {
            "plain" => restore.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", &path]),
            _ => restore.args(["--exit-on-error", "-d", "restored", &path]),
        };
        ok(restore.output().unwrap());

        assert_eq!(
            sql(
                "restored",
                "SELECT count(*) FROM people WHERE people::text ~ 's3cret|4111 1111 1111 1111|378282246310005|DE89370400440532013000'"
            ),
            "0"
        );
        // Integers of both sizes, and texts of both types, still meet.
        let joined = "SELECT count(*), count(DISTINCT p.id) FROM people p JOIN orders o ON o.person = p.id AND o.email = p.email";
        assert_eq!(sql("restored", joined), "700|700");
        let shapes = "SELECT count(DISTINCT code), bool_and(code ~ '^[a-z]{3}$'), bool_and(badge ~ '^[A-Z][0-9]{5}$'), \
            bool_and(phone ~ '^[+][0-9]{2} [(][0-9]{2}[)] [0-9]{8}$'), bool_and(iban ~ '^DE[0-9]{20}$'), \
            bool_and(card ~ '^[0-9]{4} [0-9]{4} [0-9]{4} [0-9]{4}$|^[0-9]{15}$'), \
            bool_and(email ~ '@.*[.]invalid$'), bool_and(date_part('year', born) >= 1950), \
            count(DISTINCT born), count(DISTINCT seen), count(DISTINCT balance) FROM people";
        assert_eq!(sql("restored", shapes), "700|t|t|t|t|t|t|t|700|700|700");
        let years = "SELECT string_agg(y::text, ' ' ORDER BY y) FROM (SELECT DISTINCT date_part('year', born) y FROM people) t";
        assert_eq!(sql("restored", years), sql("shop", years));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_text_and_rows_are_masked_alike() {
    let stage = Stage::new(&policy("format"), TlsMode::Disable, SEED).await;
    let copy = |options: &str| {
        let statement = format!("COPY people TO STDOUT ({options})");
        ok(stage.client("psql").args(["-X", "-q", "-c", &statement]).output().unwrap())
    };
    for options in ["FORMAT text", "FORMAT csv", "FORMAT binary"] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), copy(options)).unwrap();
        let path = file.path().display();
        let name = options.replace("FORMAT ", "in_");
        let script = format!(
            "CREATE TABLE {name} (LIKE people);\n\\copy {name} from '{path}' with ({options})\n"
        );
        let script_file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(script_file.path(), script).unwrap();
        let mut psql = stage.postgres.client("psql", "shop");
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(script_file.path());
        ok(psql.output().unwrap());
    }
    for other in ["in_csv", "in_binary"] {
        let different =
            format!("SELECT count(*) FROM (TABLE in_text EXCEPT TABLE {other}) AS different");
        assert_eq!(stage.postgres.sql("shop", &different).unwrap(), "0", "{other}");
    }
    let selected = stage.psql("SELECT email FROM people WHERE id = 7").await;
    assert!(selected.ends_with(".invalid"), "{selected}");
    let same = format!("SELECT count(*) FROM in_text WHERE email = '{selected}'");
    assert_eq!(stage.postgres.sql("shop", &same).unwrap(), "1");
}

const DETECTING: &str = "
policy: test
rules:
  - name: all
    sql: { effects: \"*\", certainty: [exact, partial] }
    decide: allow
detect: { values: \"*\" }
";

const NOTES: &str = "
CREATE TABLE notes (id int PRIMARY KEY, note text UNIQUE, more jsonb, pan bigint, parts text[], raw bytea, at timestamptz DEFAULT '2020-01-01');
INSERT INTO notes VALUES
    (1, 'ask s3cret@example.com, card 4111 1111 1111 1111', '{\"mail\": \"s3cret@example.com\", \"pan\": 4111111111111111}', 4111111111111111, '{s3cret@example.com,x}', 's3cret'),
    (2, 'plain', '{}', 42, '{}', '');
";

#[tokio::test(flavor = "multi_thread")]
async fn detectors_find_what_no_mask_names() {
    let stage = Stage::new(DETECTING, TlsMode::Disable, NOTES).await;
    let asked = [
        "SELECT * FROM notes",
        "SELECT note || '!', more->>'mail', parts[1], row(note) FROM notes",
        "COPY notes (note, more, pan, parts) TO STDOUT",
        "COPY notes (note, more, pan, parts) TO STDOUT (FORMAT csv)",
        "COPY notes (note, more, pan, parts) TO STDOUT (FORMAT binary)",
        "COPY (SELECT note, pan + 0, more::text FROM notes) TO STDOUT",
        "BEGIN; DECLARE c CURSOR FOR SELECT note FROM notes; FETCH ALL FROM c; COMMIT",
        "INSERT INTO notes (id, note) SELECT 3, note FROM notes WHERE id = 1",
        "SELECT note::int FROM notes",
        "DO $$ BEGIN RAISE NOTICE 's3cret@example.com'; END $$",
        "LISTEN jobs; NOTIFY jobs, 's3cret@example.com'",
    ];
    for sql in asked {
        let said = stage.psql(sql).await;
        assert!(!said.contains("s3cret@") && !said.contains("4111111111111111"), "{sql}: {said}");
        assert!(!said.contains("4111 1111"), "{sql}: {said}");
        assert!(!said.is_empty(), "{sql}");
    }
    let row = stage.psql("SELECT more, pan, parts, at FROM notes WHERE id = 1").await;
    assert!(row.starts_with("{\"pan\": 1111111111111111, \"mail\": \"******************\"}|0|{******************,x}|2020-01-01"), "{row}");
    assert_eq!(stage.psql("SELECT note, pan FROM notes WHERE id = 2").await, "plain|42");

    let found = stage.events.lock().unwrap().iter().any(|event| match event {
        Event::Finished { outcome, .. } => {
            outcome.detected.get(&Detector::Email) == Some(&3)
                && outcome.detected.get(&Detector::Card) == Some(&3)
                && outcome.masked == 4
        }
        _ => false,
    });
    assert!(found, "the record counts what was found");

    // A masked table takes back what it gave.
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    ok(stage.client("pg_dump").args(["-f", &path]).output().unwrap());
    stage.postgres.sql("postgres", "CREATE DATABASE restored").unwrap();
    let mut psql = stage.postgres.client("psql", "restored");
    ok(psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", &path]).output().unwrap());
}
