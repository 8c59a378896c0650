//! Ways around a budget.

use guard_tests::script;

use crate::{contains, psql, stage, target};

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
