//! Ways around a budget.

use guard_tests::script;

use crate::{contains, psql, stage, target};

/// Makes `many` what it was.
const REFILL: &str =
    "TRUNCATE many; INSERT INTO many SELECT n, repeat('x', 90) FROM generate_series(1, 5000) n";

#[test]
fn rows_do_not_hide_from_their_count() {
    let stage = stage("rows_per_statement: 100", "enforce");
    let many = "INSERT INTO target SELECT n, '' FROM many";
    for hidden in [
        format!("WITH w AS ({many} RETURNING 1) SELECT count(*) FROM w;"),
        format!("PREPARE p AS WITH w AS ({many} RETURNING 1) SELECT count(*) FROM w; EXECUTE p;"),
        format!("EXPLAIN ANALYZE {many};"),
        format!("BEGIN\\; {many}\\; COMMIT;"),
        format!("{many}\\; COMMIT\\; SELECT 1;"),
        format!("SELECT 1\\; ROLLBACK\\; {many};"),
        format!("{many}\\; SELECT 1\\; SELECT 2;"),
        format!("{many} ON CONFLICT DO NOTHING;"),
        format!("{many} RETURNING 1\\; SELECT 1;"),
        format!("COPY ({many} RETURNING n) TO STDOUT;"),
        "MERGE INTO target USING many ON false WHEN NOT MATCHED THEN INSERT VALUES (many.n, '');"
            .into(),
        format!("BEGIN;\nSAVEPOINT s;\n{many};\nRELEASE s;\nCOMMIT;"),
        format!("BEGIN;\n{many};\nEND;"),
        format!("BEGIN;\n{many};\nCOMMIT AND CHAIN;\nCOMMIT;"),
    ] {
        let run = psql(&stage, &hidden);
        contains(&run.text(), &["GRD-23"]);
        assert_eq!(target(&stage), "0", "{hidden}\n{}", run.text());
    }
}

#[test]
fn many_narrow_changes_are_a_wide_one() {
    let stage = stage("changes_per_transaction: 40", "enforce");
    let one = |n: u32| format!("DELETE FROM many WHERE n = {n}");
    let all = |between: &str| (1..=50).map(one).collect::<Vec<_>>().join(between);
    for hidden in [
        // One message is one transaction; so is one that the client begins, whatever it marks in it.
        all("\\; "),
        format!("BEGIN;\n{};\nCOMMIT;", all(";\n")),
        format!("BEGIN;\n{};\nCOMMIT;", all(";\nSAVEPOINT s;\nRELEASE s;\n")),
        format!("BEGIN;\n{};\nROLLBACK TO s;\nCOMMIT;", all(";\nSAVEPOINT s;\n")),
        format!("BEGIN;\n{};\nROLLBACK TO s;\n{};\nCOMMIT;", all(";\nSAVEPOINT s;\n"), one(60)),
        // Values decide how far one statement goes.
        format!(
            "PREPARE p (int[]) AS DELETE FROM many WHERE n = ANY ($1);\nEXECUTE p (ARRAY[{}]);",
            (1..=50).map(|n| n.to_string()).collect::<Vec<_>>().join(",")
        ),
        "BEGIN;\nDELETE FROM many WHERE n <= 30;\nDELETE FROM many WHERE n <= 60 RETURNING n;\nCOMMIT;".into(),
    ] {
        let run = psql(&stage, &hidden);
        contains(&run.text(), &["GRD-2301", "changes_per_transaction of 40 changed rows"]);
        let left = stage.postgres.sql("shop", "SELECT count(*) >= 4960 FROM many").unwrap();
        assert_eq!(left, "t", "{hidden}\n{}", run.text());
        stage.postgres.sql("shop", REFILL).unwrap();
    }
}

#[test]
fn a_transaction_is_not_longer_than_the_server_says() {
    let stage = stage("changes_per_transaction: 40, changes_per_session: 150", "enforce");
    let run = psql(
        &stage,
        "SELECT 'read', count(*) FROM (SELECT * FROM many LIMIT 3000) m;\nSELECT n FROM many LIMIT 100;\n\
         BEGIN;\nDELETE FROM many WHERE n <= 40;\nCOMMIT AND CHAIN;\nDELETE FROM many WHERE n <= 80;\nCOMMIT;\n\
         DELETE FROM many WHERE n <= 120;\nSELECT 'three times';\nDELETE FROM many WHERE n <= 150;\nSELECT 'and';\n\
         DELETE FROM many WHERE n = 151;\nSELECT 'not reached';",
    );
    let text = run.text();
    contains(&text, &["read|3000", "three times", "and", "GRD-2302", "changes_per_session of 150"]);
    assert!(!text.contains("GRD-2301") && !text.contains("not reached"), "{text}");
    let left = stage.postgres.sql("shop", "SELECT count(*) FROM many").unwrap();
    assert_eq!(left, "4850");
}

#[test]
fn every_kind_of_change_is_counted_but_not_what_is_read_or_added() {
    let stage = stage("changes_per_statement: 100", "enforce");
    stage.postgres.sql("shop", "ALTER TABLE target ADD UNIQUE (n)").unwrap();
    stage.postgres.sql("shop", "INSERT INTO target SELECT n, 'old' FROM many").unwrap();
    for change in [
        "UPDATE many SET pad = ''",
        "UPDATE many SET pad = '' RETURNING n",
        "DELETE FROM many",
        "PREPARE p AS DELETE FROM many;\nEXECUTE p",
        "MERGE INTO many USING target ON many.n = target.n WHEN MATCHED THEN DELETE",
        "INSERT INTO target SELECT n FROM many ON CONFLICT (n) DO UPDATE SET pad = ''",
        "COPY (UPDATE many SET pad = '' RETURNING n) TO STDOUT",
        "WITH w AS (DELETE FROM many RETURNING 1) SELECT count(*) FROM w",
        "EXPLAIN ANALYZE DELETE FROM many",
        "\\set FETCH_COUNT 10\nDELETE FROM many RETURNING n",
    ] {
        let run = psql(&stage, &format!("{change}\n;"));
        assert!(run.text().contains("GRD-23"), "{change}\n{}", run.text());
        let state = "SELECT (SELECT count(*) FROM many WHERE pad <> ''), (SELECT count(*) FROM target WHERE pad = 'old')";
        assert_eq!(
            stage.postgres.sql("shop", state).unwrap(),
            "5000|5000",
            "{change}\n{}",
            run.text()
        );
    }
    let adds = "INSERT INTO target SELECT n + 5000, '' FROM many;\nCREATE TABLE copied AS SELECT * FROM many;\n\
                WITH w AS (INSERT INTO copied SELECT * FROM many RETURNING 1) SELECT count(*) FROM w;\n\
                \\copy copied FROM PROGRAM 'seq 1 200 | sed \"s/$/\\tx/\"'\nSELECT count(*) FROM copied;";
    let run = psql(&stage, adds);
    contains(&run.text(), &["10200"]);
    assert!(!run.text().contains("GRD-"), "{}", run.text());
    let reads = "SELECT n FROM many;\nCOPY many TO STDOUT;\nBEGIN;\nDECLARE c CURSOR FOR SELECT * FROM many;\n\
                 FETCH ALL FROM c;\nMOVE BACKWARD ALL IN c;\nCOMMIT;\nVALUES ('all of it');";
    let run = psql(&stage, reads);
    contains(&run.text(), &["all of it"]);
    assert!(!run.text().contains("GRD-"), "{}", run.text());
}

#[test]
fn what_was_rolled_back_is_not_given_back() {
    let stage = stage("rows_per_session: 1000", "enforce");
    let some = "INSERT INTO target SELECT n, '' FROM many LIMIT 300;\n";
    let again = format!("BEGIN;\nSAVEPOINT s;\n{some}ROLLBACK TO s;\nROLLBACK;\n").repeat(3);
    let run = psql(&stage, &format!("{again}{some}SELECT 'more';"));
    contains(&run.text(), &["GRD-2302"]);
    assert!(!run.text().contains("\nmore"), "{}", run.text());
    assert_eq!(target(&stage), "0");
}

#[test]
fn a_cursor_read_in_slices_is_one_statement() {
    let stage = stage("rows_per_statement: 100", "enforce");
    let slices = "FETCH 30 FROM c;\n".repeat(5);
    let run = psql(
        &stage,
        &format!("BEGIN;\nDECLARE c CURSOR FOR SELECT 'row' FROM many;\n{slices}COMMIT;"),
    );
    contains(&run.text(), &["GRD-2301"]);
    // psql shows nothing of the part in which the error came.
    assert_eq!(run.text().matches("row\n").count(), 90, "{}", run.text());
    let run = psql(&stage, "\\set FETCH_COUNT 30\nSELECT 'row' FROM many;");
    contains(&run.text(), &["GRD-2301"]);
}

#[test]
fn many_small_statements_and_connections_side_by_side_share_what_the_session_has() {
    let stage = stage("rows_per_session: 4000", "enforce");
    let file = stage.dir().join("small.sql");
    std::fs::write(&file, "COPY (SELECT 'row' FROM many LIMIT 50) TO STDOUT;\n".repeat(60))
        .unwrap();
    let one = format!("psql -X -A -t -q -f {}", file.display());
    let run = stage.run(&script(&format!("{one} & {one} & {one} & {one} & wait"))).unwrap();
    assert_eq!(run.text().matches("row").count(), 4000);
    let _run = run.says("GRD-2302");
}

#[test]
fn data_without_end_is_not_taken() {
    let stage = stage("bytes_per_statement: 1MB", "enforce");
    let run = stage
        .run(&script(
            "yes '1\tx' | head -c 20000000 | psql -X -q -c 'COPY target FROM STDIN' 2>&1 || echo over",
        ))
        .unwrap();
    contains(&run.text(), &["GRD-2301", "over"]);
    assert_eq!(target(&stage), "0");
}
