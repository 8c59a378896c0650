//! Statement in, effects and outputs out, as text.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

pub(crate) mod tools;

use std::{fmt::Write as _, sync::Arc};

use guard_core::{Certainty, Flow, ObjectName, Operation, Outputs};

use crate::{
    Catalog, Column, NoNames, Relation, RelationKind, Statement, StatementRole, analyze, cheap,
};

pub(crate) fn relation(oid: u32, name: &str, kind: RelationKind, columns: &str) -> Relation {
    let (schema, name) = name.split_once('.').unwrap();
    let column = |(n, c): (usize, &str)| Column {
        name: c.into(),
        number: i16::try_from(n + 1).unwrap(),
        type_oid: 25,
        type_modifier: -1,
        not_null: c == "id",
        generated: c == "gen",
    };
    Relation {
        oid,
        name: ObjectName::qualified(schema, name),
        kind,
        columns: columns.split(' ').enumerate().map(column).collect(),
        definition: None,
        parents: Vec::new(),
        has_triggers: false,
    }
}

pub(crate) fn catalog() -> Catalog {
    use RelationKind::{MaterializedView, Table, View};
    let mut view = relation(10, "public.people", View, "id mail");
    view.definition = Some("SELECT u.id, u.email FROM public.users u;".into());
    let mut outer = relation(11, "public.people2", View, "mail upper_mail");
    outer.definition = Some("SELECT people.mail, upper(people.mail) FROM people".into());
    let mut mat = relation(12, "public.mat", MaterializedView, "x");
    mat.definition = Some("SELECT purge() AS x FROM users".into());
    let mut child = relation(21, "public.events_2024", Table, "id secret");
    child.parents = vec![20];
    let mut hot = relation(30, "public.hot", Table, "id");
    hot.has_triggers = true;
    Catalog::new(
        [
            relation(1, "public.users", Table, "id name email ssn"),
            relation(2, "public.orders", Table, "id user_id amount note"),
            relation(3, "audit.orders", Table, "id what"),
            relation(4, "public.calc", Table, "id gen last"),
            relation(5, "public.staging", Table, "id a b"),
            relation(20, "public.events", Table, "id secret"),
            view,
            outer,
            mat,
            child,
            hot,
        ],
        ["purge".into(), "===".into(), "wipe".into()],
    )
}

/// One line a statement: effects, doubt, outputs, stores.
fn render(op: &Operation) -> String {
    let mut out = op.effects.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    out = out.replace('`', "");
    match &op.certainty {
        Certainty::Exact => {}
        Certainty::Partial(_) => out.push_str(" ?"),
        Certainty::Unparsed(_) => out.push_str("UNPARSED"),
    }
    match &op.outputs {
        Outputs::None => {}
        Outputs::Unknown(_) => out.push_str(" -> unknown"),
        Outputs::Columns(columns) => {
            let column = |c: &guard_core::Output| {
                let source = |s: &guard_core::Source| match s.flow {
                    Flow::Plain => s.column.to_string(),
                    Flow::Either => format!("|{}", s.column),
                    Flow::Given => format!("+{}", s.column),
                    Flow::Derived => format!("~{}", s.column),
                };
                c.sources.iter().map(source).collect::<Vec<_>>().join("+")
            };
            let list: Vec<String> = columns.iter().map(column).collect();
            write!(out, " -> ({})", list.join(", ")).unwrap();
        }
    }
    if !op.stores.is_empty() {
        let list: Vec<String> = op.stores.iter().map(ToString::to_string).collect();
        write!(out, " stores {}", list.join(", ")).unwrap();
    }
    out.trim().to_owned()
}

/// The columns that are tested: `=email ?ssn`, with `?` for what tells more than an equality does.
fn tests(sql: &str) -> String {
    let all = read(sql);
    let mark = |test: &guard_core::Tested| {
        let how = match test.how {
            guard_core::Test::Equality => '=',
            guard_core::Test::Other => '?',
        };
        let name = test.column.as_ref().map_or("unknown", |column| &column.column);
        format!("{how}{name}")
    };
    all.iter().flat_map(|s| s.operation.tested.iter().map(mark)).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_way_to_a_transaction_that_may_write_is_seen() {
    let lifts = |sql: &str| read(sql).iter().any(|s| s.operation.lifts_read_only);
    for sql in [
        "BEGIN READ WRITE",
        "BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE, DEFERRABLE",
        "START TRANSACTION READ WRITE",
        "SET TRANSACTION READ WRITE",
        "SET LOCAL TRANSACTION READ WRITE",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SET transaction_read_only = off",
        "SET LOCAL transaction_read_only = 0",
        "SET Transaction_Read_Only TO 'of'",
        "SET SESSION default_transaction_read_only TO false",
        "SET transaction_read_only TO DEFAULT",
        "RESET transaction_read_only",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SELECT set_config('DEFAULT_transaction_read_only', 'no', false)",
        "SELECT 1; BEGIN READ WRITE",
    ] {
        assert!(lifts(sql), "{sql}");
    }
    for sql in [
        "BEGIN",
        "BEGIN READ ONLY",
        "START TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET transaction_read_only = on",
        "SET default_transaction_read_only = 'true'",
        // Back to what guard gave it.
        "RESET default_transaction_read_only",
        "RESET ALL",
        "DISCARD ALL",
        "SET statement_timeout = 0",
        "COMMIT AND CHAIN",
    ] {
        assert!(!lifts(sql), "{sql}");
    }
}

#[test]
fn conditions_orders_and_groups_say_what_they_look_at() {
    let mut wrong = String::new();
    for line in include_str!("../fixtures/tested.txt").lines().filter(|line| !line.is_empty()) {
        let (expected, sql) = line.split_once(" | ").expect(line);
        let got = tests(sql);
        if got != expected.trim() {
            writeln!(wrong, "{got} | {sql}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

pub(crate) fn read(sql: &str) -> Vec<Arc<Statement>> {
    analyze(&sql.into(), &catalog(), &NoNames)
}

fn check(cases: &str) {
    let mut wrong = String::new();
    for case in cases.trim().split("\n\n") {
        let (sql, expected) = case.trim().rsplit_once("\n=> ").expect(case);
        let got: Vec<String> = read(sql).iter().map(|s| render(&s.operation)).collect();
        let got = got.join(" ; ");
        if got != expected.trim() {
            writeln!(wrong, "{sql}\n   {expected}\n=> {got}\n").unwrap();
        }
    }
    if let Ok(path) = std::env::var("GUARD_WRITE_CASES") {
        std::fs::write(path, &wrong).unwrap();
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn statements_do_what_the_table_says() {
    check(include_str!("../fixtures/statements.txt"));
}

#[test]
fn what_the_catalog_does_not_have_is_said_to_be_missing() {
    let missing = |sql: &str| crate::examine(&sql.into(), &catalog(), &NoNames).missing;
    for sql in [
        "SELECT * FROM fresh",
        "SELECT * FROM public.fresh",
        "SELECT * FROM users WHERE id IN (SELECT id FROM fresh)",
        "SELECT fresh FROM users",
        "SELECT u.fresh FROM users u",
        "SELECT (u).fresh FROM users u",
        "SELECT s.fresh FROM (SELECT * FROM users) s",
        "SELECT e.fresh FROM json_each('{}') e",
        "SELECT fresh(1)",
        "SELECT 1 @#@ 2",
        "COPY users (fresh) TO STDOUT",
        "UPDATE fresh SET id = 1",
        "INSERT INTO fresh SELECT 1",
        "DELETE FROM users RETURNING fresh",
        "PREPARE p AS SELECT * FROM fresh",
        "DECLARE c CURSOR FOR SELECT * FROM fresh",
        "EXPLAIN SELECT * FROM fresh",
        "CREATE VIEW v AS SELECT * FROM fresh",
        "LOCK TABLE fresh",
    ] {
        assert!(missing(sql), "{sql}");
    }
    for sql in [
        "SELECT u.id, lower(name), ctid FROM users u WHERE id BETWEEN 1 AND 2 AND name LIKE 'a'",
        "SELECT purge()",
        "SELECT 1 === 2",
        "WITH fresh AS (SELECT id FROM users) SELECT id FROM fresh",
        "CREATE TABLE fresh (id int)",
        "UPDATE users SET name = 'x' WHERE id = 1 RETURNING id",
        "COPY users (id, name) TO STDOUT",
        "SELECT p.wipe FROM staging p",
        "SELECT mail FROM people",
    ] {
        assert!(!missing(sql), "{sql}");
    }
}

#[test]
fn a_where_that_is_always_true_bounds_nothing() {
    for condition in [
        "",
        "true",
        "1=1",
        "id=id",
        "'a'='a'",
        "id IS NOT NULL",
        "NOT false",
        "1=1 OR id=1",
        "id > -1",
        "id >= 0",
        "id = 1 OR id <> 1",
        "(id = 1) IS NOT NULL",
        "random() < 2",
        "EXISTS (SELECT 1)",
        "id IN (SELECT id FROM users)",
        "name LIKE '%'",
        "id = id + 0",
        "name IS NULL OR name IS NOT NULL",
        "coalesce(id,0) = coalesce(id,0)",
        "NOT (id <> id)",
        "2>1",
        "users.id = users.id",
        "id = ANY (SELECT id FROM users)",
        "id = 1 OR true",
        "id < 5 OR id >= 5",
        "now() >= now()",
    ] {
        let clause =
            if condition.is_empty() { String::new() } else { format!(" WHERE {condition}") };
        let got = render(&read(&format!("DELETE FROM users{clause}"))[0].operation);
        assert!(got.contains("(unbounded)"), "{condition}: {got}");
    }
}

#[test]
fn a_where_that_restricts_bounds() {
    for condition in [
        "id = 1",
        "id = $1",
        "id IN (1,2)",
        "id = ANY($1)",
        "id BETWEEN 1 AND 2",
        "name LIKE 'a%'",
        "name IS NULL",
        "id = 1 AND true",
        "NOT id = 1",
        "lower(email) = 'x'",
        "id IN (SELECT user_id FROM orders)",
        "users.id = 1",
        "(id, name) = (1, 'a')",
        "id IN (SELECT id FROM users WHERE name = 'x')",
        "id = 1 OR id = 2",
        "EXISTS (SELECT 1 FROM orders o WHERE o.user_id = users.id)",
        "name < 'b'",
        "id IN (SELECT id FROM users LIMIT 100)",
    ] {
        let got = render(&read(&format!("DELETE FROM users WHERE {condition}"))[0].operation);
        assert!(!got.contains("(unbounded)"), "{condition}: {got}");
    }
}

#[test]
fn roles_tell_the_wire_what_it_must_know() {
    let role = |sql: &str| format!("{:?}", read(sql).last().unwrap().role);
    assert!(
        role("COPY users TO STDOUT WITH (FORMAT csv, DELIMITER ';', HEADER)")
            .contains("delimiter: 59")
    );
    assert!(role("COPY users FROM STDIN").starts_with("CopyIn"));
    assert!(role("COPY users TO STDOUT CSV HEADER").contains("header: true"));
    assert!(role("DEALLOCATE ALL").contains("Deallocate(None)"));
    assert!(role("CLOSE c").contains("\"c\""));
    assert!(role("DISCARD ALL").contains("DiscardAll"));
    assert!(matches!(
        read("PREPARE p AS DELETE FROM users")[0].role,
        StatementRole::Prepare { .. }
    ));
}

#[test]
fn each_statement_has_its_own_text() {
    let texts: Vec<String> = read("SELECT 'é'; /* x */ SELECT 2 ;; SELECT 3")
        .iter()
        .map(|s| s.operation.text.reveal().to_string())
        .collect();
    assert_eq!(texts, ["SELECT 'é'", "SELECT 2", "SELECT 3"]);
}

#[test]
fn texts_over_the_bounds_are_not_parsed() {
    let long = format!("SELECT {}1", "1+".repeat(100_000));
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    let comments = format!("{}SELECT 1", "/*/**/*/".repeat(20_000));
    let nested = format!("{}{} SELECT 1", "/*".repeat(5000), "*/".repeat(5000));
    let casts = format!("SELECT 1{}", "::int".repeat(20_000));
    let nots = format!("SELECT {}true", "NOT ".repeat(50_000));
    let huge = format!("SELECT '{}'", "x".repeat(crate::MAX_TEXT));
    for text in [&long, &deep, &nested, &casts, &nots, &huge, &comments, &"SELECT '\0'".to_owned()]
    {
        let got = read(text);
        assert_eq!(got.len(), 1);
        assert!(
            matches!(got[0].operation.certainty, Certainty::Unparsed(_)),
            "{} bytes",
            text.len()
        );
    }
    assert!(cheap("SELECT 1") && !cheap(&deep));
}

#[test]
fn one_word_of_nonsense_spoils_the_whole_text() {
    let got = read("SELECT 1; SELEC 2");
    assert_eq!(got.len(), 1);
    assert!(matches!(got[0].operation.certainty, Certainty::Unparsed(_)));
    assert!(read(" ;; -- nothing\n").is_empty());
}
