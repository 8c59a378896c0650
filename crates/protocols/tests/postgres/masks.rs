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
        let named = stage.events.lock().unwrap().iter().any(|event| match event {
            Event::Operation { masked_columns, .. } => masked_columns.iter().any(|masked| {
                masked.column.to_string() == "public.people.email" && masked.mask.as_str() == with
            }),
            _ => false,
        });
        assert!(named, "the record names what was masked");
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

/// Columns that take no NULL, of types that users make, and of those that constraints are on.
const KINDS: &str = "
CREATE TYPE mood AS ENUM ('happy', 'sad', 'odd');
CREATE TYPE pair AS (a text, b int);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE DOMAIN address AS text CHECK (VALUE LIKE '%@%') NOT NULL;
CREATE DOMAIN short AS varchar(4);
CREATE TABLE kinds (
    id int PRIMARY KEY,
    m mood NOT NULL, p pair NOT NULL, s span NOT NULL, ms mood[] NOT NULL, ps pair[] NOT NULL,
    a address, sh short NOT NULL, t text[] NOT NULL, r int4range NOT NULL, j jsonb NOT NULL, x xml NOT NULL,
    i inet NOT NULL, iv interval NOT NULL, b bytea NOT NULL, f float8 NOT NULL, bo bool NOT NULL,
    long bigint GENERATED ALWAYS AS (id * 10) STORED,
    up text GENERATED ALWAYS AS (upper(sh)) STORED
);
INSERT INTO kinds VALUES (1, 'sad', row('s3cret', 1), '[1,2]', '{sad}', array[row('s3cret', 1)::pair], 's3cret@x.com',
    's3cr', '{s3cret}', '[1,5)', '{\"a\": \"s3cret\"}', '<a>s3cret</a>', '10.1.2.3', '3 days', 's3cret', 1.5, true);
";

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_every_kind_restore_under_every_mask() {
    for mask in ["redact", "null", "hash", "partial", "format"] {
        let policy = format!(
            "
policy: test
rules:
  - name: reads
    sql: {{ effects: [read, session, transaction, lock] }}
    decide: allow
masks:
  - sql: {{ columns: [public.kinds.m, public.kinds.p, public.kinds.s, public.kinds.ms, public.kinds.ps, public.kinds.sh, public.kinds.t, public.kinds.r, public.kinds.j, public.kinds.x, public.kinds.i, public.kinds.iv, public.kinds.b, public.kinds.f, public.kinds.bo, public.kinds.up] }}
    with: {mask}
  - sql: {{ columns: [public.kinds.a] }}
    with: format
"
        );
        let stage = Stage::new(&policy, TlsMode::Disable, KINDS).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        ok(stage.client("pg_dump").args(["-F", "custom", "-f", &path]).output().unwrap());
        stage.postgres.sql("postgres", "CREATE DATABASE restored").unwrap();
        let mut restore = stage.postgres.client("pg_restore", "restored");
        ok(restore.args(["--exit-on-error", "-d", "restored", &path]).output().unwrap());
        let restored = stage.postgres.sql("restored", "SELECT kinds::text FROM kinds").unwrap();
        assert!(!restored.contains("s3c"), "{mask} {restored}");

        let columns = "id, m, p, s, ms, ps, a, sh, t, r, j, x, i, iv, b, f, bo";
        let binary = format!("COPY kinds ({columns}) TO STDOUT (FORMAT binary)");
        let data = ok(stage.client("psql").args(["-X", "-q", "-c", &binary]).output().unwrap());
        std::fs::write(&path, data).unwrap();
        let script = tempfile::NamedTempFile::new().unwrap();
        let back = format!(
            "CREATE TABLE again (LIKE kinds INCLUDING GENERATED);\n\\copy again ({columns}) from '{path}' with (FORMAT binary)\n"
        );
        std::fs::write(script.path(), back).unwrap();
        let mut psql = stage.postgres.client("psql", "restored");
        ok(psql
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(script.path())
            .output()
            .unwrap());
        let different = "SELECT count(*) FROM (SELECT kinds::text FROM kinds EXCEPT SELECT again::text FROM again) AS d";
        assert_eq!(stage.postgres.sql("restored", different).unwrap(), "0", "{mask}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_side_door_shows_a_masked_value() {
    let policy = "
policy: test
rules:
  - { name: all, sql: { effects: \"*\", certainty: \"*\" }, decide: allow }
masks:
  - sql: { columns: [public.people.email, public.people.secret] }
    with: format
";
    let stage = Stage::new(policy, TlsMode::Disable, SEED).await;
    stage
        .postgres
        .sql("shop", "ANALYZE people; ALTER TABLE people ADD CONSTRAINT no CHECK (secret <> 'x')")
        .unwrap();
    let asked = [
        "EXPLAIN (ANALYZE, VERBOSE) SELECT email, secret FROM people WHERE email > 'a'",
        "EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM people WHERE secret = (SELECT secret FROM people LIMIT 1)",
        "EXPLAIN (FORMAT json) SELECT * FROM people WHERE email = (SELECT max(email) FROM people)",
        "PREPARE p AS SELECT email FROM people; EXPLAIN ANALYZE EXECUTE p; EXECUTE p",
        "SELECT * FROM pg_stats WHERE tablename = 'people'",
        "SELECT * FROM pg_statistic",
        "SELECT query FROM pg_stat_activity",
        "DO $$ DECLARE v text; BEGIN SELECT email INTO v FROM people LIMIT 1; RAISE NOTICE '%', v; END $$",
        "SELECT set_config('a.b', email, false), current_setting('a.b') FROM people LIMIT 1",
        "SELECT set_config('application_name', secret, false) FROM people LIMIT 1",
        "LISTEN jobs; SELECT pg_notify('jobs', email) FROM people LIMIT 1",
        "SELECT lo_from_bytea(0, secret::bytea) FROM people LIMIT 1",
        "SELECT email::int FROM people",
        "SELECT 1 / (secret = 's3cret')::int, secret::json FROM people",
        "UPDATE people SET secret = 'x' WHERE id = 1",
        "INSERT INTO people SELECT * FROM people",
        "INSERT INTO people (id, email) VALUES (1000, 's3cret1@example.com') RETURNING *",
        "UPDATE people SET id = id WHERE id = 1 RETURNING secret, email || ''",
        "DELETE FROM people WHERE id = 700 RETURNING people",
        "MERGE INTO people t USING people s ON t.id = s.id WHEN MATCHED THEN UPDATE SET secret = s.email",
        "BEGIN; DECLARE c SCROLL CURSOR FOR SELECT secret, email FROM people; FETCH LAST FROM c; MOVE FIRST FROM c; FETCH BACKWARD ALL FROM c; COMMIT",
        "CREATE TEMP TABLE mine AS SELECT email FROM people; TABLE mine",
        "CREATE VIEW v AS SELECT email AS e FROM people; SELECT e FROM v",
        "CREATE INDEX ON people ((1 / length(secret) - length(email)))",
        "ALTER TABLE people ALTER COLUMN secret TYPE int USING secret::int",
        "ALTER TABLE people ADD CONSTRAINT c CHECK (secret = 'x')",
        "CREATE UNIQUE INDEX ON people (secret)",
        "COPY people TO PROGRAM 'cat'",
        "SELECT * FROM query_to_xml('SELECT * FROM people', true, true, '')",
        "SELECT * FROM people NATURAL JOIN LATERAL (SELECT email AS other FROM people) o LIMIT 9",
        "TABLE people ORDER BY 2 LIMIT 3",
        "SELECT unnest(histogram_bounds::text::text[]) FROM pg_stats",
        "VALUES ((SELECT email FROM people LIMIT 1))",
        "SELECT (people).secret FROM people",
        "SELECT p.* FROM ONLY people p TABLESAMPLE SYSTEM (100)",
        "SELECT jsonb_object_agg(email, secret) FROM people",
        "SELECT format('%s', people) FROM people",
    ];
    for sql in asked {
        let said = stage.psql(sql).await;
        // What a client writes itself it may see again.
        let own = sql.contains("s3cret");
        let leaks = said.contains("s3cret")
            && !(own && said.matches("s3cret").count() <= sql.matches("s3cret").count());
        assert!(!leaks, "{sql}: {said}");
    }
}

const GUESSING: &str = "
policy: test
rules:
  - name: reads
    sql: { effects: [read, update, session, transaction, lock], certainty: [exact, partial] }
    decide: allow
masks:
  - sql: { columns: [public.members.email] }
    with: hash
    predicates: equality
  - sql: { columns: [public.members.pin] }
    with: format
    predicates: block
  - sql: { columns: [public.members.card, public.members.pay, public.members.born] }
    with: partial
";

const MEMBERS: &str = "
CREATE TABLE members (id int PRIMARY KEY, email text, pin int, card text, pay int DEFAULT 739218, born date DEFAULT '1961-08-13');
INSERT INTO members VALUES (1, 'ann@x.com', 4711, '4111111111111234'), (2, 'bob@x.com', 815, '378282246310005');
CREATE VIEW all_members AS SELECT id, coalesce(email, '-') AS email FROM members;
";

/// Each of these tells a value that the masks hide, one way or another.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_masks_cannot_compute_what_is_behind_them() {
    let stage = Stage::new(GUESSING, TlsMode::Disable, MEMBERS).await;
    let asked = [
        // The masks of all values there are, beside those to be found.
        "SELECT pin FROM members UNION ALL SELECT generate_series(0, 9999)",
        "SELECT pin FROM members UNION ALL SELECT id FROM members",
        "SELECT email FROM members UNION ALL SELECT 'ann@x.com'",
        "SELECT CASE WHEN id = 1 THEN email ELSE 'ann@x.com' END FROM members",
        "SELECT e FROM (VALUES ('ann@x.com'), ((SELECT email FROM members WHERE id = 1))) t(e)",
        "SELECT pin FROM members FULL JOIN generate_series(0, 9999) g(pin) USING (pin)",
        "COPY (SELECT email FROM members UNION ALL SELECT 'ann@x.com') TO STDOUT",
        "WITH RECURSIVE r(e, n) AS (SELECT email, 0 FROM members UNION ALL SELECT 'ann@x.com', n + 1 FROM r WHERE n < 1) SELECT e FROM r",
        // How many rows a function makes.
        "SELECT m.id FROM members m, generate_series(1, m.pin)",
        "SELECT m.id FROM members m, regexp_matches(m.email, '^a')",
        "SELECT id FROM members m WHERE EXISTS (SELECT regexp_matches(m.email, '^a'))",
        "SELECT count(*) FROM (SELECT string_to_table(email, 'n') FROM members) t",
        // Rows that are alike.
        "SELECT m.id FROM members m NATURAL JOIN json_populate_record(NULL::members, '{\"pin\": 4711}') t",
        "WITH RECURSIVE r AS (SELECT 1 AS n, pin FROM members WHERE id = 1 UNION ALL SELECT n + 1, 4711 FROM r WHERE n < 3) \
         CYCLE pin SET c USING p SELECT n, c FROM r",
        // Parts of a value in the place of the whole.
        "UPDATE members SET email = left(email, 1) WHERE id = 1",
        "UPDATE members SET card = left(card, 4) WHERE id = 1",
    ];
    for sql in asked {
        let said = stage.psql(sql).await;
        assert!(said.contains("GRD-2104"), "{sql}: {said}");
    }
    for sql in [
        "SELECT email, pin, card FROM members",
        "SELECT email FROM members WHERE email = 'ann@x.com'",
        "SELECT email FROM members UNION ALL SELECT email FROM members",
        "SELECT CASE WHEN id = 1 THEN email END FROM members",
        "SELECT email FROM all_members",
        "SELECT m.email, g FROM members m, generate_series(1, 2) g",
        "SELECT card FROM members UNION ALL SELECT 'none'",
        "UPDATE members SET email = 'new@x.com' WHERE id = 2",
    ] {
        let said = stage.psql(sql).await;
        assert!(!said.contains("GRD-") && !said.contains("@x.com"), "{sql}: {said}");
    }
}

/// `partial` shows the end of a text; of a number or a date it would show what counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_cast_to_text_makes_no_text_of_a_number() {
    let stage = Stage::new(GUESSING, TlsMode::Disable, MEMBERS).await;
    for sql in [
        "SELECT pay::text FROM members",
        "SELECT CAST(pay AS varchar), born::text FROM members",
        "SELECT p FROM (SELECT pay::text AS p FROM members UNION ALL SELECT card FROM members) t",
        "COPY (SELECT pay::text, born::text FROM members) TO STDOUT",
        "PREPARE p AS SELECT pay::text, born::text FROM members; EXECUTE p",
    ] {
        let said = stage.psql(sql).await;
        assert!(!said.contains("GRD-"), "{sql}: {said}");
        assert!(!said.contains("9218") && !said.contains("8-13"), "{sql}: {said}");
    }
    let said = stage.psql("SELECT card::varchar FROM members").await;
    assert!(said.contains("1234"), "{said}");
}
