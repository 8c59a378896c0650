//! What is a template of what, and that one never says less than its texts do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::{Template, compare, template};
use crate::tests::{catalog, read};

fn of(text: &str) -> Option<String> {
    template(text).map(|template| template.text)
}

#[test]
fn literals_where_only_a_value_can_be_are_replaced() {
    for (text, expected) in [
        ("SELECT * FROM users WHERE id = 4711", "SELECT * FROM users WHERE id = $1"),
        ("SELECT * FROM users WHERE id=-4711;", "SELECT * FROM users WHERE id=-4711;"),
        ("SELECT * FROM users WHERE id = -4.5 ;\n", "SELECT * FROM users WHERE id = $1"),
        ("select 1 from users where name='O''Neill'", "select 1 from users where name=$1"),
        ("select 1 from users where name = 'Jürgen'", "select 1 from users where name = $1"),
        ("select 1 from users where 'x' = name", ""),
        (
            "SELECT id FROM users WHERE id IN (1, 2,-3) AND name NOT IN ('a','b')",
            "SELECT id FROM users WHERE id IN ($1, $2,$3) AND name NOT IN ($4,$5)",
        ),
        (
            "SELECT id FROM users WHERE (id, name) IN ((1, 'a'), (2, 'b'))",
            "SELECT id FROM users WHERE (id, name) IN (($1, $2), ($3, $4))",
        ),
        (
            "INSERT INTO users (id, name) VALUES (1, 'a'), (2, lower('B')), (now(), 3)",
            "INSERT INTO users (id, name) VALUES ($1, $2), ($3, lower('B')), (now(), $4)",
        ),
        (
            "SELECT id FROM users WHERE id BETWEEN 1 AND 2 AND name LIKE 'a%' LIMIT 5 OFFSET 10",
            "SELECT id FROM users WHERE id BETWEEN $1 AND $2 AND name LIKE 'a%' LIMIT $3 OFFSET $4",
        ),
        (
            "SELECT id FROM users WHERE name = 'x'::text AND date '2024-01-01' < now()",
            "SELECT id FROM users WHERE name = $1::text AND date '2024-01-01' < now()",
        ),
        (
            "WITH u AS (SELECT 1 AS one FROM users WHERE id >= 5) SELECT 2 FROM u ORDER BY 1",
            "WITH u AS (SELECT 1 AS one FROM users WHERE id >= $1) SELECT 2 FROM u ORDER BY 1",
        ),
        (
            "SELECT id FROM users WHERE id IN (SELECT user_id, 1 FROM orders WHERE id <> 3 ORDER BY 2, 1)",
            "SELECT id FROM users WHERE id IN (SELECT user_id, 1 FROM orders WHERE id <> $1 ORDER BY 2, 1)",
        ),
        (
            "SELECT id FROM users WHERE id IN (VALUES (1), (2) ORDER BY 1, 1)",
            "SELECT id FROM users WHERE id IN (VALUES ($1), ($2) ORDER BY 1, 1)",
        ),
    ] {
        let expected = (!expected.is_empty() && expected != text).then(|| expected.to_owned());
        // An operator is the longest run of its characters.
        let expected = expected.filter(|_| !text.contains("=-"));
        assert_eq!(of(text), expected, "{text}");
    }
}

#[test]
fn what_may_be_read_in_another_way_has_no_template() {
    for text in [
        "",
        ";",
        "SELECT 1",
        "SELECT 1 FROM users ORDER BY 1, 2",
        "SELECT f(1, 'a')",
        "SELECT like 1.5 IS NULL",
        "UPDATE users SET name = 'x' WHERE id = 1",
        "DELETE FROM users WHERE id = 1",
        "COPY (SELECT 1 FROM users WHERE id = 1) TO STDOUT",
        "EXPLAIN SELECT 1 FROM users WHERE id = 1",
        "SET x = 1",
        "(SELECT 1 FROM users WHERE id = 1)",
        "SELECT 1 FROM users WHERE id = 1; DELETE FROM users",
        "SELECT 1 FROM users WHERE id = 1;;",
        "SELECT 1 FROM users WHERE id = 1 -- x",
        "SELECT 1 FROM users WHERE id = /* x */ 1",
        "SELECT 1 FROM users WHERE name = E'a'",
        "SELECT 1 FROM users WHERE name = U&'a'",
        "SELECT 1 FROM users WHERE name = N'a'",
        "SELECT 1 FROM users WHERE name = B'1'",
        "SELECT 1 FROM users WHERE name = 'a\\'",
        "SELECT 1 FROM users WHERE name = 'a'\n'b'",
        "SELECT 1 FROM users WHERE name = 'a' 'b'",
        "SELECT 1 FROM users WHERE name = 'a",
        "SELECT 1 FROM users WHERE name = $$a$$",
        "SELECT 1 FROM users WHERE name = $1 AND id = 1",
        "SELECT 1 FROM users WHERE id = 1e5",
        "SELECT 1 FROM users WHERE id = 0x1F",
        "SELECT 1 FROM users WHERE id = 1_000",
        "SELECT 1 FROM users WHERE id = 1.",
        "SELECT 1 FROM users WHERE id = .5",
        "SELECT 1 FROM users WHERE id = 1a",
        "SELECT 1 FROM users WHERE id = 'x'[1]",
        "SELECT 1 FROM users WHERE id = 'x' [1]",
        "SELECT 1 FROM users WHERE id = -1::int",
        "SELECT 1 FROM users WHERE id === 1",
        "SELECT 1 FROM users WHERE \u{fc} = 1",
        "SELECT 1 FROM users WHERE id = 1)",
        "SELECT 1 FROM users WHERE id\u{b}= 1",
    ] {
        assert_eq!(of(text), None, "{text}");
    }
}

#[test]
fn a_template_with_a_limit_or_a_doubt_holds_for_nothing() {
    for text in [
        "WITH d AS (DELETE FROM users WHERE id > 0) SELECT 1",
        "INSERT INTO users (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x'",
        "SELECT nothing_known(id = 1) FROM users",
        "SELECT set_config(name, 'x', false) FROM pg_settings WHERE name = 'work_mem'",
        "SELECT 1 FROM users WHERE id = 1 1",
    ] {
        let template = of(text).unwrap();
        assert!(!Template::holds(&read(&template)), "{template}");
    }
    assert!(Template::holds(&read(&of("SELECT id FROM users WHERE id > 0").unwrap())));
}

const LITERALS: [&str; 16] = [
    "0",
    "1",
    "-1",
    "-0.5",
    "4294967296",
    "99999999999999999999999",
    "''",
    "'a'",
    "'%'",
    "'infinity'",
    "'-infinity'",
    "'NaN'",
    "'public.users'",
    "'work_mem'",
    "'O''Neill'",
    "'standard_conforming_strings'",
];

/// `?` is a literal's place.
const SHAPES: [&str; 30] = [
    "SELECT * FROM users WHERE id = ?",
    "SELECT email FROM users WHERE id > ? OR id <= ?",
    "SELECT email FROM people WHERE mail LIKE ? AND id BETWEEN ? AND ?",
    "SELECT id FROM users WHERE name ILIKE ? OR NOT (id <> ?) LIMIT ? OFFSET ?",
    "SELECT u.id FROM users u JOIN orders o ON o.user_id = u.id AND o.amount >= ? WHERE u.name = ?",
    "SELECT id FROM users WHERE id IN (?, ?, ?) ORDER BY 1",
    "SELECT id FROM users WHERE (id, name) IN ((?, ?), (?, ?))",
    "SELECT id FROM users WHERE id IN (SELECT user_id FROM orders WHERE note = ? LIMIT ?)",
    "SELECT * FROM (VALUES (?, ?), (?, ?)) AS v (a, b) WHERE a < ?",
    "INSERT INTO users (id, name) VALUES (?, ?), (?, lower(?))",
    "INSERT INTO users SELECT id, name FROM staging WHERE a = ? RETURNING email",
    "WITH n AS (INSERT INTO users (id) VALUES (?) RETURNING ssn) SELECT * FROM n WHERE ssn <> ?",
    "WITH d AS (DELETE FROM users WHERE id >= ? OR name LIKE ?) SELECT ?",
    "INSERT INTO users (id) VALUES (?) ON CONFLICT (id) DO UPDATE SET name = ? WHERE users.id > ?",
    "SELECT current_setting(name) FROM pg_settings WHERE name = ?",
    "SELECT set_config(name, ?, true) FROM pg_settings WHERE name = ?",
    "SELECT nextval(?), setval(?, ?) FROM users WHERE id = ?",
    "SELECT count(*), id = ? FROM users GROUP BY 2, id = ? HAVING count(*) > ?",
    "SELECT CASE WHEN id = ? THEN ssn ELSE ? END FROM users WHERE name = ?::varchar(5)",
    "SELECT id FROM users WHERE position(? IN (?)) > ? FOR UPDATE",
    "SELECT id FROM users WHERE id = ? UNION SELECT id FROM orders WHERE note < ? ORDER BY 1 LIMIT ?",
    "SELECT purge() FROM users WHERE id = ANY (ARRAY[?, ?]) AND id = ?",
    "SELECT id FROM users WHERE ssn = ? OR ssn <> ? ORDER BY ssn = ?, email IN (?, ?)",
    "SELECT count(*) FROM users u JOIN orders o ON o.user_id = u.id AND u.email = ? HAVING max(u.ssn) < ?",
    "SELECT id FROM users WHERE oid = ?::regclass AND name = ?::regrole::text LIMIT ?::int",
    "SELECT DISTINCT ON (id = ?) id, ssn LIKE ? FROM users WHERE (ssn, email) = (?, ?)",
    "SELECT id FROM users WHERE lower(ssn) = ? AND coalesce(email, ?) = ? AND id NOT BETWEEN ? AND ?",
    "SELECT id FROM people WHERE mail = ? INTERSECT SELECT id FROM users WHERE ssn >= ? LIMIT ?",
    "SELECT id FROM users WHERE ssn IN (SELECT note FROM orders WHERE note = ?) OR EXISTS (SELECT 1 FROM orders WHERE note > ?)",
    "INSERT INTO hot (id) VALUES (?) RETURNING id = ?",
];

fn holds_as_found(text: &str) -> bool {
    let Some((template, own, general)) = compare(text, &catalog()) else { return false };
    assert_eq!(own, general, "{text}\n{template}");
    true
}

#[test]
fn fixtures_are_what_their_templates_are() {
    let cases = include_str!("../../fixtures/statements.txt").split("\n\n");
    let cases = cases.filter_map(|case| case.trim().rsplit_once("\n=> ")).map(|(sql, _)| sql);
    let tools = crate::tests::tools::texts();
    let tools = tools.values().flatten().map(String::as_str);
    let held = cases.chain(tools).filter(|text| holds_as_found(text)).count();
    assert!(held > 20, "{held} templates hold");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_literal_makes_a_statement_more_than_its_template(
        shape in prop::sample::select(&SHAPES[..]),
        literals in prop::collection::vec(prop::sample::select(&LITERALS[..]), 8),
    ) {
        let mut text = String::new();
        let mut literals = literals.iter().cycle();
        for part in shape.split_inclusive('?') {
            match part.strip_suffix('?') {
                Some(part) => {
                    text.push_str(part);
                    text.push_str(literals.next().unwrap());
                }
                None => text.push_str(part),
            }
        }
        holds_as_found(&text);
    }

    #[test]
    fn no_order_of_words_makes_a_text_more_than_its_template(
        words in prop::collection::vec(prop::sample::select(&[
            "id", "name", "users", "u.id", "=", "<", ">=", "<>", "-", "+", "||", "::", "::text", ",", "(", ")", ".", "5",
            "'a'", "-7", "1.5", "''", "\"id\"", "and", "or", "not", "in", "in (", "values", "values (", "between", "like",
            "limit", "offset", "select", "from", "where", "order by", "group by", "is null", "lower(", "purge(",
            "set_config(", "with", "table", "case", "when", "end", "as", "any", "array[", "]", "date", "interval",
        ][..]), 1..14),
        start in prop::sample::select(&[
            "select ", "select id from users where ", "select id from users where id ",
            "insert into users values (", "select id from users where id in (",
        ][..]),
    ) {
        holds_as_found(&format!("{start}{}", words.join(" ")));
    }
}
