//! Statements that write, put together from a grammar.

use super::chance::{Chance, fill};

/// Statements. Words in braces are below.
const STATEMENTS: [&str; 60] = [
    "INSERT INTO {table} {values}{conflict}{returning}",
    "INSERT INTO parent (id, a) {query2}{conflict}{returning}",
    "INSERT INTO child (parent_id, b) VALUES ({id}, {number}){returning}",
    "INSERT INTO made (a) VALUES ({number}) ON CONFLICT (a) DO UPDATE SET a = excluded.a + 100{returning}",
    "INSERT INTO made (a, n) OVERRIDING USER VALUE VALUES ({number}, {id})",
    "INSERT INTO keyed (id) VALUES ({big}){returning}",
    "INSERT INTO keyed VALUES ({big}, {number}){returning}",
    "INSERT INTO proven (id, c) VALUES (1, {number})",
    "INSERT INTO proven (id, d) VALUES (1, {number})",
    "INSERT INTO parts VALUES ({id}, {id}, 'new'){returning}",
    "INSERT INTO watched VALUES ({big}, {number}, {id}) ON CONFLICT (id) DO UPDATE SET a = 0",
    "INSERT INTO ruled VALUES ({id}, {number})",
    "INSERT INTO ruled_view VALUES ({id}, {number})",
    "INSERT INTO {view} (id, a) VALUES ({big}, {number}){returning}",
    "UPDATE {view} SET a = {number}{where}{returning}",
    "DELETE FROM {view}{where}{returning}",
    "UPDATE joined SET b = {number}{where}",
    "DELETE FROM joined{where}",
    "UPDATE {only}{table} SET id = id + 1000{where}{returning}",
    "UPDATE parent SET {column} = {number} FROM child c WHERE c.parent_id = parent.id AND c.id = {id}",
    "UPDATE parent p SET id = p.id + 500{where}{returning}",
    "UPDATE parts SET k = {id}{where}",
    "UPDATE made SET a = DEFAULT, n = DEFAULT{where}",
    "UPDATE keyed SET a = DEFAULT{where}",
    "UPDATE base SET v = 'z' FROM parent p WHERE p.id = base.id",
    "DELETE FROM {only}{table}{where}{returning}",
    "DELETE FROM parent{where}{returning}",
    "DELETE FROM parent USING child WHERE child.parent_id = parent.id AND child.b = {id}",
    "DELETE FROM child{where}",
    "TRUNCATE {table}",
    "TRUNCATE {table} CASCADE",
    "TRUNCATE {table} RESTART IDENTITY CASCADE",
    "TRUNCATE child, grandchild, log",
    "MERGE INTO parent t USING (SELECT {id} AS id, {number} AS a) s ON t.id = s.id WHEN MATCHED THEN {matched} \
     WHEN NOT MATCHED THEN INSERT (id, a) VALUES (s.id + 100, s.a)",
    "MERGE INTO parts t USING child s ON t.id = s.id WHEN MATCHED AND s.b > {id} THEN {matched_part} \
     WHEN NOT MATCHED THEN DO NOTHING",
    "MERGE INTO watched t USING loose s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = s.c \
     WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.c, NULL)",
    "WITH w AS ({write}) SELECT * FROM w",
    "WITH w AS ({write}) SELECT 1",
    "WITH w AS ({write}), v AS ({write}) SELECT count(*) FROM w, v",
    "WITH w AS ({write}) DELETE FROM log WHERE what = 'x'",
    "WITH w AS ({write}) INSERT INTO log SELECT 'w' FROM w",
    "WITH w AS (SELECT {call} AS c) SELECT * FROM w",
    "SELECT {call}",
    "SELECT {call} FROM parent{where}",
    "SELECT id FROM {table} WHERE id IS NOT NULL AND {call} IS NOT NULL",
    "SELECT * FROM parent ORDER BY {call} LIMIT 2",
    "SELECT count(*) FILTER (WHERE {call} = 1), sum(id) OVER (PARTITION BY {call}) FROM parent GROUP BY id LIMIT {call}",
    "SELECT * FROM {from}",
    "VALUES ({call}), (2)",
    "CREATE TABLE fresh AS {query2}",
    "SELECT id, a INTO fresh FROM parent{where}",
    "CREATE TABLE fresh AS SELECT {call} AS c",
    "REFRESH MATERIALIZED VIEW totals",
    "DO $$ BEGIN {write}; END $$",
    "DO $$ BEGIN EXECUTE 'DELETE FROM ' || 'loose'; END $$",
    "DO $$ DECLARE r record; BEGIN FOR r IN SELECT id FROM parent LOOP UPDATE loose SET c = 1 WHERE id = r.id; END LOOP; END $$",
    "PREPARE p AS {write}; EXECUTE p; DEALLOCATE p",
    "DECLARE c CURSOR FOR SELECT {call} FROM parent; FETCH 2 FROM c; CLOSE c",
    "EXPLAIN (ANALYZE, COSTS off, TIMING off) {write}",
    "CALL tidy()",
];

/// More of them, one line of input each.
const COPIES: [&str; 4] = [
    "COPY parent (id, a) FROM STDIN;\n{big}\t{number}\n\\.",
    "COPY parts FROM STDIN;\n{id}\t{id}\tcopied\n\\.",
    "COPY watched (id, a) FROM STDIN WITH (FORMAT csv);\n{big},{number}\n\\.",
    "COPY ({write}) TO STDOUT",
];

const TABLES: [&str; 16] = [
    "parent",
    "child",
    "grandchild",
    "loose",
    "watched",
    "ruled",
    "parts",
    "parts_1",
    "parts_2",
    "parts_2_low",
    "base",
    "derived",
    "made",
    "keyed",
    "proven",
    "log",
];

/// A statement.
pub(crate) fn statement(chance: &mut Chance) -> String {
    let forms: &[&str] = if chance.once_in(16) { &COPIES } else { &STATEMENTS };
    let form = chance.pick(forms);
    write(chance, form, 0)
}

fn write(chance: &mut Chance, form: &str, depth: usize) -> String {
    fill(form, |name| word(chance, name, depth))
}

fn word(chance: &mut Chance, name: &str, depth: usize) -> String {
    let choices: &[&str] = match name {
        "table" => &TABLES,
        "view" => &["simple", "nested", "public.simple"],
        "only" => &["", "", "ONLY "],
        "column" => &["a", "t"],
        "id" => &["1", "2", "3", "4", "5"],
        "number" => &["0", "1", "7", "(SELECT max(id) FROM child)", "length('x')", "{call}"],
        "big" => &["1001", "1002", "1003", "2"],
        "values" => {
            &["DEFAULT VALUES", "VALUES ({big})", "SELECT id FROM parent LIMIT 2", "TABLE totals"]
        }
        "query2" => &[
            "SELECT id + 2000, a FROM parent",
            "SELECT id + 3000, {call} FROM child LIMIT 2",
            "VALUES (4000, {number})",
            "SELECT n + 5000, n FROM generate_series(1, 2) n",
        ],
        "conflict" => &["", "", " ON CONFLICT DO NOTHING"],
        "returning" => &["", "", " RETURNING *", " RETURNING {call}"],
        "where" => &[
            "",
            " WHERE id = {id}",
            " WHERE id < {id}",
            " WHERE {call} > 0 AND id > {id}",
            " WHERE id IN (SELECT parent_id FROM child)",
        ],
        "call" if depth > 2 => &["1"],
        "call" => &[
            "bump()",
            "public.bump()",
            "wipe({id})",
            "nextval('numbers')",
            "setval('numbers', 70)",
            "({id} === {id})::int",
            "(SELECT summed(id) FROM parent)",
            "({id})::checked",
            "(SELECT max(b) FROM acting)",
            "coalesce(NULL, bump())",
            "CASE WHEN {id} > 2 THEN bump() ELSE 0 END",
            "(SELECT count(*) FROM two())",
            "nextval('child_id_seq')",
            "(ARRAY[bump()])[1]",
            "(SELECT b FROM LATERAL (SELECT bump() AS b) x)",
            "1",
        ],
        "from" => &[
            "two()",
            "two() WITH ORDINALITY",
            "acting",
            "ROWS FROM (two(), generate_series(1, 2)) x",
            "parent p, LATERAL (SELECT wipe(p.id)) w",
            "parent JOIN child ON parent.id === child.parent_id",
            "unnest(ARRAY[{call}]) u",
            "nextval('numbers') n",
        ],
        "matched" => &["UPDATE SET a = s.a", "DELETE", "UPDATE SET id = t.id + 700", "DO NOTHING"],
        "matched_part" => &["UPDATE SET v = 'm'", "DELETE", "UPDATE SET k = 2"],
        "write" => &[
            "DELETE FROM parent WHERE id = {id} RETURNING id",
            "UPDATE parent SET id = id + 900 WHERE id = {id} RETURNING id",
            "INSERT INTO parent VALUES (7000, {number}) RETURNING id",
            "DELETE FROM {table} RETURNING 1",
            "UPDATE {view} SET a = 3 WHERE id = {id} RETURNING id",
            "INSERT INTO keyed (id) VALUES (77) RETURNING id",
            "DELETE FROM nested RETURNING id",
            "INSERT INTO parts VALUES (1, {id}) RETURNING id",
        ],
        other => panic!("`{other}` is no word of the grammar"),
    };
    let form = chance.pick(choices);
    write(chance, form, depth + 1)
}
