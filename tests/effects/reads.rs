//! Statements that read, put together from a grammar, and what a plan of the server's says that they read.

use std::collections::BTreeSet;

use serde_json::Value;

use super::chance::{Chance, fill};

/// Statements. Words in braces are below.
const STATEMENTS: [&str; 22] = [
    "{query}",
    "{query}",
    "{query}",
    "{query}",
    "TABLE {relation}",
    "{query} UNION ALL {query}",
    "({query}) INTERSECT ({query})",
    "WITH w (a) AS ({query}) SELECT * FROM w, {relation} x",
    "WITH w (a) AS MATERIALIZED ({query}) SELECT a FROM w WHERE a IN ({query})",
    "WITH {relation} (a) AS ({query}) SELECT * FROM {relation}",
    "WITH RECURSIVE w (a) AS (({query}) UNION (SELECT w.a FROM w, {from} WHERE false)) SELECT a FROM w",
    "SELECT * FROM {from}",
    "SELECT {list} FROM {from}{where} FOR UPDATE",
    "INSERT INTO log SELECT a::text FROM ({query}) q (a)",
    "INSERT INTO log VALUES (({query} LIMIT 1)::text) RETURNING {value}",
    "UPDATE loose l SET c = 1 FROM {from} WHERE EXISTS ({query})",
    "UPDATE {relation} SET id = 1 WHERE id IN ({query})",
    "DELETE FROM parent USING {relation} x WHERE x.id = parent.id",
    "DELETE FROM {relation} WHERE id = ({query} LIMIT 1)",
    "MERGE INTO loose t USING {relation} s ON t.id = s.id WHEN MATCHED AND t.c IN ({query}) THEN DELETE",
    "VALUES (({query} LIMIT 1), 2)",
    "SELECT ARRAY({query}), {value}",
];

/// Relations that have an `id`.
const RELATIONS: [&str; 18] = [
    "parent",
    "child",
    "grandchild",
    "loose",
    "watched",
    "parts",
    "parts_2",
    "parts_rest",
    "base",
    "derived",
    "ONLY base",
    "simple",
    "nested",
    "joined",
    "acting",
    "over_all",
    "public.over_peek",
    "chosen",
];

/// A statement.
pub(crate) fn statement(chance: &mut Chance) -> String {
    let form = chance.pick(&STATEMENTS);
    write(chance, form, 0)
}

fn write(chance: &mut Chance, form: &str, depth: usize) -> String {
    fill(form, |name| word(chance, name, depth))
}

fn word(chance: &mut Chance, name: &str, depth: usize) -> String {
    let deep = depth > 4;
    let choices: &[&str] = match name {
        "relation" => &RELATIONS,
        "query" if deep => &["SELECT id FROM parent"],
        "query" => &[
            "SELECT id FROM {relation}",
            "SELECT {value} FROM {from}{where}",
            "SELECT {value} FROM {from}{where}",
            "SELECT max(id) FROM {relation} GROUP BY id HAVING count(*) > ({query} LIMIT 1)",
            "SELECT DISTINCT x.id FROM {relation} x ORDER BY 1 LIMIT 3",
            "SELECT q.id FROM (TABLE {relation}) q",
            "SELECT * FROM peek()",
            "SELECT looked({value})",
            "SELECT id FROM {relation} WHERE id IN (SELECT id FROM {relation})",
        ],
        "list" => &["*", "x.*", "x", "{value}", "count(*) OVER (), {value}"],
        // Each has an `x` with an `id`.
        "from" if deep => &["parent x"],
        "from" => &[
            "{relation} x",
            "{relation} AS x",
            "{relation} x JOIN {relation} y ON x.id = y.id",
            "{relation} y LEFT JOIN {relation} x USING (id)",
            "(SELECT id FROM {relation}) x",
            "{relation} x, LATERAL (SELECT id FROM {relation} z WHERE z.id = x.id) y",
            "{relation} x CROSS JOIN peek() p",
            "(SELECT id FROM {relation} UNION ALL SELECT id FROM {relation}) x",
            "parts x TABLESAMPLE SYSTEM (50)",
        ],
        "where" => &[
            "",
            "",
            " WHERE x.id = 1",
            " WHERE x.id > 2",
            " WHERE EXISTS ({query})",
            " WHERE x.id IN ({query})",
            " WHERE NOT EXISTS (SELECT 1 FROM {relation} n WHERE n.id = x.id)",
            " WHERE ({query} LIMIT 1) IS NOT NULL",
        ],
        "value" if deep => &["1"],
        "value" => &[
            "1",
            "({query} LIMIT 1)",
            "(SELECT count(*) FROM {relation})::int",
            "coalesce(({query} LIMIT 1), 1)",
            "CASE WHEN EXISTS ({query}) THEN 1 ELSE 2 END",
            "looked(1)",
            "(ARRAY({query}))[1]",
            "(SELECT last_value FROM numbers)::int",
            "(1 IN ({query}))::int",
        ],
        other => panic!("`{other}` is no word of the grammar"),
    };
    let form = chance.pick(choices);
    write(chance, form, depth + 1)
}

/// The relations in a plan (`EXPLAIN (FORMAT JSON)`), wherever they are in it.
pub(crate) fn relations(plan: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(plan, &mut found);
    found
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(name)) = fields.get("Relation Name") {
                found.insert(name.clone());
            }
            fields.values().for_each(|value| collect(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
