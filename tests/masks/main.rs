//! Masked columns: no byte of a masked value reaches the job, and what does is of use.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use guard_tests::{EnforceAt, Stage, policies};

const CUSTOMERS: u32 = 400;

/// Every value that the policy masks, whole.
fn secrets(stage: &Stage) -> Vec<String> {
    let all = "SELECT email FROM customers UNION ALL SELECT full_name FROM customers UNION ALL \
               SELECT phone FROM customers UNION ALL SELECT pan FROM cards UNION ALL \
               SELECT holder FROM cards";
    let mut values: Vec<String> =
        stage.postgres.sql("shop", all).unwrap().lines().map(str::to_owned).collect();
    values.sort();
    values.dedup();
    assert!(values.len() > 2 * CUSTOMERS as usize);
    values
}

#[track_caller]
fn holds_none(bytes: &[u8], secrets: &[String]) {
    let text = String::from_utf8_lossy(bytes);
    for secret in secrets {
        assert!(!text.contains(secret.as_str()), "`{secret}` is in the output");
    }
}

fn stage(place: EnforceAt) -> Stage {
    Stage::builder().shop(CUSTOMERS).policy(policies::MASKED).enforce_at(place).start().unwrap()
}

#[test]
fn a_dump_holds_no_masked_value_and_restores() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let stage = stage(place);
        let secrets = secrets(&stage);
        let plain = stage.client("pg_dump", &[]).unwrap().ok();
        holds_none(&plain.stdout, &secrets);
        assert!(plain.text().contains("COPY public.customers"));
        let inserts = stage.client("pg_dump", &["--inserts"]).unwrap().ok();
        holds_none(&inserts.stdout, &secrets);

        let file = stage.dir().join("dump").display().to_string();
        let _custom = stage.client("pg_dump", &["-Fc", "-f", &file]).unwrap().ok();
        stage.postgres.sql("postgres", "CREATE DATABASE restored").unwrap();
        let output = stage
            .postgres
            .client("pg_restore", "restored")
            .args(["--exit-on-error", "-d", "restored", &file])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let unmasked = "SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM orders t";
        let (original, restored) = (
            stage.postgres.sql("shop", unmasked).unwrap(),
            stage.postgres.sql("restored", unmasked).unwrap(),
        );
        assert_eq!(original, restored);
        let shape =
            "SELECT count(*), count(DISTINCT email), count(DISTINCT full_name) FROM customers";
        assert_eq!(stage.postgres.sql("restored", shape).unwrap(), "400|400|1");
    }
}

#[test]
fn every_way_of_asking_is_masked() {
    let stage = stage(EnforceAt::Gateway);
    let secrets = secrets(&stage);
    let asked = [
        "SELECT * FROM customers",
        "SELECT email FROM public.customers ORDER BY id",
        "SELECT c.email AS harmless, phone other FROM customers c",
        "SELECT pan, holder FROM cards JOIN customers ON customers.id = cards.customer_id",
        "WITH x AS (SELECT email AS e FROM customers) SELECT e FROM x",
        "SELECT e FROM (SELECT email AS e FROM customers) AS s",
        "SELECT email FROM customers UNION ALL SELECT holder FROM cards",
        "TABLE customers",
        "COPY customers TO STDOUT",
        "COPY customers (email, id) TO STDOUT WITH (FORMAT csv, HEADER, FORCE_QUOTE *)",
        "COPY customers TO STDOUT WITH (FORMAT binary)",
        "COPY (SELECT id, email, phone FROM customers) TO STDOUT",
        "BEGIN; DECLARE k CURSOR FOR SELECT email FROM customers; FETCH ALL FROM k; COMMIT",
        "BEGIN; DECLARE k BINARY CURSOR FOR SELECT email FROM customers; FETCH ALL FROM k; COMMIT",
        "PREPARE p AS SELECT email FROM customers; EXECUTE p",
        // Computed from a masked value: refused or hidden, never told.
        "SELECT upper(email), reverse(reverse(email)), email || '' FROM customers",
        "SELECT row_to_json(c) FROM customers c",
        "SELECT c FROM customers c",
        "SELECT string_agg(email, ',') FROM customers",
        "SELECT max(email) OVER () FROM customers",
        "SELECT CASE WHEN true THEN email END FROM customers",
        "SELECT (SELECT email FROM customers LIMIT 1)",
        "SELECT array(SELECT email FROM customers)",
        "SELECT cast(email AS integer) FROM customers",
        "SELECT query_to_xml('SELECT * FROM customers', true, true, '')",
        "SELECT table_to_xml('customers', true, true, '')",
        "SELECT email::int FROM customers",
    ];
    for sql in asked {
        let run = stage.psql(sql).unwrap();
        holds_none(&run.stdout, &secrets);
        holds_none(run.stderr.as_bytes(), &secrets);
    }
}

#[test]
fn masked_values_keep_their_use() {
    let stage = stage(EnforceAt::Gateway);
    let text = stage
        .psql("SELECT email, full_name, phone, id FROM customers WHERE id = 7")
        .unwrap()
        .ok()
        .text();
    let fields: Vec<&str> = text.split('|').collect();
    let [email, name, phone, id] = fields[..] else { panic!("{text}") };
    let direct = stage.postgres.sql("shop", "SELECT phone FROM customers WHERE id = 7").unwrap();
    assert!(email.contains('@'), "{text}");
    assert_eq!((name, id), ("[masked]", "7"));
    let (_, last_four) = direct.split_at(direct.len() - 4);
    assert!(phone.starts_with('*') && phone.ends_with(last_four), "{text}");
    assert_eq!(phone.len(), direct.len());

    let joined = "SELECT a.email FROM customers a JOIN customers b USING (id) WHERE id = 7";
    let again = stage.psql(&format!("{joined}; {joined}")).unwrap().ok().text();
    let lines: Vec<&str> = again.lines().collect();
    assert_eq!(lines[0], lines[1], "equal values stay equal within a session");
    assert_ne!(lines[0], email, "and differ from one session to the next");
}

#[test]
fn rows_are_masked_in_text_and_in_binary_through_other_clients() {
    let stage = stage(EnforceAt::Gateway);
    let secrets = secrets(&stage);
    for driver in
        ["with_psycopg3.py", "with_asyncpg.py", "with_psycopg2.py", "with_node_postgres.js"]
    {
        let run = stage.run(&guard_tests::driver(driver, "masks").unwrap()).unwrap().ok();
        holds_none(&run.stdout, &secrets);
        assert!(run.text().lines().any(|line| line == "rows 400"), "{driver}: {}", run.text());
    }
}
