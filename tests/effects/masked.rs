//! Queries over a table with masked columns, put together from a grammar, and what must not come out of them.

use super::chance::{Chance, fill};

pub(crate) const POLICY: &str = "\
policy: stage
rules:
  - name: most
    sql: { effects: [read, insert, update, session, transaction, lock, create, call], certainty: [exact, partial] }
    decide: allow
masks:
  - sql: { columns: [public.people.secret, public.people.code, public.people.facts] }
    with: redact
";

/// The masked values.
const CANARIES: [&str; 3] = ["QuietCanary", "HiddenFinch", "LonelyHeron"];

/// The form in which a masked value stands in a text, if one does.
pub(crate) fn shows(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    CANARIES.iter().find_map(|canary| {
        let plain = canary.to_lowercase();
        let hex = |bytes: &str| bytes.bytes().map(|b| format!("{b:02x}")).collect::<String>();
        // Base64 of its inner letters, at each of the three places that they may have in a group of three bytes.
        let forms = [
            ("itself", plain.clone()),
            ("its letters backwards", plain.chars().rev().collect()),
            ("its bytes in hexadecimal digits", hex(canary)),
            ("its bytes in small letters in hexadecimal digits", hex(&plain)),
            ("its bytes in large letters in hexadecimal digits", hex(&canary.to_uppercase())),
            ("base64", base64(canary.as_bytes())),
            ("base64", base64(&canary.as_bytes()[1..])),
            ("base64", base64(&canary.as_bytes()[2..])),
            ("a part of it", plain.chars().take(8).collect()),
            ("a part of it", plain.chars().skip(3).collect()),
        ];
        forms.into_iter().find(|(_, form)| text.contains(form)).map(|(name, _)| name)
    })
}

/// Base64 of whole groups of three bytes, in small letters as the text it is looked for in.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks_exact(3) {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for place in [18, 12, 6, 0] {
            text.push(char::from(DIGITS[bits >> place & 63]));
        }
    }
    text.to_lowercase()
}

const STATEMENTS: [&str; 25] = [
    "SELECT {list} FROM {from}{tail}",
    "SELECT {list} FROM {from}{tail}",
    "SELECT {list} FROM {from}{tail}",
    "{query}",
    "{query} UNION ALL {query}",
    "({query}) EXCEPT ({query})",
    "WITH w (a) AS ({query}) SELECT {over} FROM w",
    "WITH RECURSIVE w (a) AS (({query}) UNION ({query})) SELECT * FROM w LIMIT 5",
    "COPY ({query}) TO STDOUT",
    "COPY ({query}) TO STDOUT WITH (FORMAT csv, HEADER)",
    "COPY people ({column}) TO STDOUT",
    "COPY archive TO STDOUT WITH (FORMAT csv)",
    "BEGIN; DECLARE c CURSOR FOR {query}; FETCH ALL FROM c; CLOSE c; ROLLBACK",
    "PREPARE p AS {query}; EXECUTE p; DEALLOCATE p",
    "BEGIN; UPDATE people SET name = 'x' WHERE id = 1 RETURNING {list1}; ROLLBACK",
    "BEGIN; UPDATE people p SET name = {value} WHERE id = 1 RETURNING name; ROLLBACK",
    "BEGIN; INSERT INTO orders (note) {query} RETURNING note; ROLLBACK",
    "BEGIN; INSERT INTO people VALUES (1, {value}, 'x') ON CONFLICT (id) DO UPDATE SET name = people.{column} RETURNING name; ROLLBACK",
    "BEGIN; CREATE TABLE gone AS {query}; TABLE gone; ROLLBACK",
    "EXPLAIN (VERBOSE, COSTS off) {query}",
    "TABLE {source}",
    "SELECT {value}",
    "BEGIN; INSERT INTO noted (id) VALUES (1) RETURNING {noted}; ROLLBACK",
    "SELECT {noted} FROM said s (id, t)",
    "SELECT e.* FROM every() e",
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
    let deep = depth > 5;
    let choices: &[&str] = match name {
        "column" => &["secret", "code", "facts", "name", "secret"],
        "source" => {
            &["people", "public.people", "shown", "through", "archive", "kept", "ONLY people"]
        }
        // Each gives `p` the columns of the table.
        "from" if deep => &["people p"],
        "from" => &[
            "people p",
            "people AS p",
            "public.people p",
            "archive p",
            "people p CROSS JOIN orders o",
            "people p JOIN orders o ON o.person_id = p.id",
            "orders o LEFT JOIN people p USING (id)",
            "orders NATURAL JOIN people p",
            "(SELECT * FROM people) p",
            "(SELECT id, name, secret AS code, code AS secret, facts FROM people) p",
            "(TABLE people UNION ALL TABLE archive) p",
            "people p, LATERAL (SELECT {value} AS l) x",
            "people p TABLESAMPLE SYSTEM (100)",
            "(people q JOIN orders o USING (id)) AS p",
            "(orders AS p JOIN people AS q USING (id)) AS p",
            "(SELECT (z).* FROM (SELECT z FROM people z) y) p",
            "people AS p (id, name, secret, code, facts)",
            "people AS p (id, secret, name, facts, code)",
            "people p, jsonb_each_text(p.facts) AS e",
            "people p, unnest(ARRAY[p.secret]) AS u",
            "people p, jsonb_to_record(p.facts) AS r(bird text)",
        ],
        "list" => &[
            "*",
            "p",
            "p.*",
            "{value}",
            "{value}, {value} AS x",
            "id, {value}",
            "(p).secret, (p).*",
            "p::text",
            "{value} AS name",
        ],
        "list1" => &[
            "*",
            "people",
            "secret",
            "people.*",
            "to_json(people)",
            "upper(code)",
            "name, (SELECT max(secret) FROM people)",
        ],
        "noted" => &["*", "t", "upper(t)", "1"],
        "tail" => &[
            "",
            "",
            " ORDER BY 1",
            " LIMIT 1",
            " WHERE p.id > 0",
            " WHERE {value} IS NOT NULL",
            " FOR UPDATE",
        ],
        "query" => &[
            "SELECT {value} FROM {from}{tail}",
            "SELECT {value} FROM {from}",
            "SELECT s FROM shown",
            "SELECT c FROM through",
            "VALUES ({alone})",
        ],
        "over" => &[
            "*",
            "a",
            "w",
            "w.*",
            "max(a)",
            "row_to_json(w)",
            "w::text",
            "string_agg(a::text, ',')",
        ],
        "alone" if deep => &["'x'"],
        "alone" => &[
            "(SELECT {value} FROM {from} LIMIT 1)",
            "ARRAY({query})",
            "(SELECT max({value}) FROM {from})",
            "told(1)",
            "spoken()",
            "(1 <?> 2)",
            "(SELECT secret FROM every() LIMIT 1)",
            "(SELECT s FROM said LIMIT 1)",
            "'x'",
        ],
        "value" if deep => &["p.secret"],
        "value" => &[
            "p.secret",
            "p.code",
            "secret",
            "p.facts",
            "p.facts ->> 'bird'",
            "p",
            "p.name",
            "upper({value}::text)",
            "({value})::text",
            "{value} || ''",
            "reverse(({value})::text)",
            "encode(convert_to(({value})::text, 'UTF8'), 'hex')",
            "encode(convert_to(({value})::text, 'UTF8'), 'base64')",
            "coalesce({value}::text, 'x')",
            "nullif({value}::text, '')",
            "CASE WHEN true THEN {value}::text END",
            "ARRAY[{value}]",
            "ROW({value}, 1)",
            "to_json({value})",
            "json_build_object('k', {value})",
            "row_to_json(p)",
            "to_jsonb(p) ->> 'secret'",
            "jsonb_pretty(p.facts)",
            "xmlelement(name x, {value}::text)",
            "xmlforest(p.secret AS x)",
            "format('%s', {value})",
            "concat_ws('-', {value}, 1)",
            "string_agg({value}::text, ',') OVER ()",
            "first_value({value}) OVER ()",
            "max({value}::text) OVER ()",
            "array_agg({value}) OVER ()",
            "lag({value}) OVER (ORDER BY p.id)",
            "substr(({value})::text, 1, 11)",
            "left(({value})::text, 9)",
            "replace(({value})::text, 'x', 'y')",
            "regexp_replace(({value})::text, 'x', 'y')",
            "quote_literal({value})",
            "greatest({value}::text, '')",
            "({value})::text COLLATE \"C\"",
            "convert_to(({value})::text, 'UTF8')",
            "CAST({value} AS varchar)",
            "(SELECT {value})",
            "(SELECT q FROM (SELECT {value}) q)",
            "{alone}",
            "(ROW({value})).f1",
            "jsonb_path_query_first(p.facts, '$.bird')",
            "to_tsvector('simple', ({value})::text)",
            "hstore(p)",
            "tsvector_to_array(to_tsvector('simple', ({value})::text))",
            "lower(({value})::text)::bytea",
            "get_byte(({value})::text::bytea, 0)",
            "(SELECT count(*) FROM people x WHERE x.secret = p.secret)",
            "pg_typeof({value})",
            "ctid",
            "'x'",
        ],
        other => panic!("`{other}` is no word of the grammar"),
    };
    let form = chance.pick(choices);
    write(chance, form, depth + 1)
}
