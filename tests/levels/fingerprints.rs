//! `literals: fingerprint`: no word of a statement is in the record, whoever repeats it.

use guard_tests::{Stage, policies, script};

use super::{allow_all, events, verifies};

/// Stands in statements where a value would, and nowhere else.
const PLANTED: &str = "planted7f3a";

/// Statements that somebody repeats: the parser, the server, a notice, the refusal, an effect.
const REPEATED: [&str; 22] = [
    "SELECT 'PLANTED'",
    "SELECT 1 -- PLANTED",
    "SELECT /* PLANTED */ 1",
    "SELECT PLANTED FROM FROM",
    "SELEC 'PLANTED'",
    "\"PLANTED\" 'PLANTED",
    "SELECT 'PLANTED",
    "SELECT $$PLANTED",
    "SELECT 'PLANTED'::int",
    "SELECT 'PLANTED'::regclass",
    "DO $$ BEGIN RAISE NOTICE 'PLANTED'; END $$",
    "DO $$ BEGIN RAISE EXCEPTION 'PLANTED' USING DETAIL = 'PLANTED', HINT = 'PLANTED'; END $$",
    "DO $$ BEGIN PERFORM 'PLANTED'; EXECUTE 'SELECT PLANTED'; END $$",
    "SELECT nextval('PLANTED')",
    "SELECT pg_notify('PLANTED', 'PLANTED')",
    "SELECT set_config('PLANTED.PLANTED', 'PLANTED', false)",
    "SELECT pg_read_file('/PLANTED/PLANTED')",
    "COPY (SELECT 1) TO '/PLANTED/file'",
    "COPY (SELECT 1) TO PROGRAM 'echo PLANTED'",
    "PREPARE p AS SELECT nextval('PLANTED'); EXECUTE p",
    "SET application_name = 'PLANTED'",
    "SELECT lo_import('/PLANTED'); DELETE FROM orders WHERE note = 'PLANTED'",
];

fn policies() -> [String; 3] {
    let record = "record: { literals: fingerprint }";
    [
        allow_all(record),
        format!("{record}\n{}", policies::READ_ONLY),
        format!("{record}\nmode: observe\n{}", policies::READ_ONLY),
    ]
}

#[test]
fn no_word_of_a_statement_is_recorded_whoever_repeats_it() {
    for policy in policies() {
        let stage = Stage::builder().shop(5).policy(&policy).start().unwrap();
        let mut commands = String::new();
        for (number, sql) in REPEATED.iter().enumerate() {
            let file = stage.dir().join(format!("{number}.sql"));
            std::fs::write(&file, sql.replace("PLANTED", PLANTED)).unwrap();
            // As a file it is read piece by piece; as an argument it is one message.
            commands.push_str(&format!(
                "psql -X -q -f {0} >&2; psql -X -q -c \"$(cat {0})\" >&2\n",
                file.display()
            ));
            // By the extended protocol.
            let pgbench = stage.postgres.programs().join("pgbench");
            commands.push_str(&format!(
                "{} -n -t 1 -M extended -f {} >&2\n",
                pgbench.display(),
                file.display()
            ));
        }
        commands.push_str("true");
        let run = stage.run(&script(&commands)).unwrap();
        assert!(run.stderr.contains(PLANTED), "nothing was repeated: {}", run.stderr);
        let record = stage.sealed_record().unwrap();
        let operations = events(&record, "operation");
        assert!(operations.len() > 3, "{record}");
        assert!(operations.iter().all(|operation| operation["text"] == ""), "{record}");
        let at = record.to_lowercase().find(PLANTED);
        let around = at.map(|at| record.get(at.saturating_sub(600)..at + 100).unwrap_or_default());
        assert_eq!(around, None, "by {policy}");
        verifies(&stage);
        let dir = stage.report_dirs().pop().unwrap();
        for file in ["report.html", "report.md", "report.json", "record.jsonl"] {
            let text = std::fs::read_to_string(dir.join(file)).unwrap();
            assert!(!text.contains(PLANTED), "{file} by {policy}");
        }
    }
}

#[test]
fn what_was_done_to_which_tables_is_recorded_all_the_same() {
    let policy = format!("record: {{ literals: fingerprint }}\n{}", policies::READ_ONLY);
    let stage = Stage::builder().shop(5).policy(&policy).start().unwrap();
    let _ok = stage.psql("SELECT id FROM orders WHERE id > 3").unwrap().ok();
    let record = stage.sealed_record().unwrap();
    let operation = &events(&record, "operation")[0];
    assert_eq!(operation["effects"][0]["object"]["name"]["name"], "orders", "{record}");
    assert_ne!(operation["fingerprint"].as_str().unwrap().trim_matches('0'), "", "{record}");
}

/// Planted where a policy keeps texts, it is found: the search would find it.
#[test]
fn texts_are_recorded_where_the_policy_does_not_say_otherwise() {
    let stage = Stage::builder().policy(&allow_all("record: statements")).start().unwrap();
    let _ok = stage.psql(&format!("SELECT '{PLANTED}'")).unwrap().ok();
    assert!(stage.sealed_record().unwrap().contains(PLANTED));
}
