//! Conditions, and whether they bound.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{fmt::Write as _, sync::Arc};

use guard_core::{Bounded, ObjectName, Verb};

use crate::{Catalog, Column, NoNames, Relation, RelationKind, analyze};

fn table(oid: u32, name: &str, kind: RelationKind, columns: &str, definition: &str) -> Relation {
    let column = |(n, name): (usize, &str)| Column {
        name: name.into(),
        number: i16::try_from(n + 1).unwrap(),
        type_oid: 25,
        type_modifier: -1,
        not_null: kind == RelationKind::Table && matches!(name, "id" | "active"),
        generated: false,
    };
    Relation {
        oid,
        name: ObjectName::qualified("public", name),
        kind,
        columns: columns.split(' ').enumerate().map(column).collect(),
        definition: (!definition.is_empty()).then(|| definition.into()),
        parents: Vec::new(),
        has_triggers: false,
    }
}

fn catalog() -> Catalog {
    use RelationKind::{Table, View};
    let mut part = table(7, "events_2024", Table, "id name created", "");
    part.parents = vec![6];
    Catalog::new(
        [
            table(1, "users", Table, "id name email status active created data tags", ""),
            table(2, "orders", Table, "id user_id amount note", ""),
            table(3, "gone", Table, "user_id", ""),
            table(4, "people", View, "id mail one", "SELECT id, email, 1 AS one FROM users"),
            table(5, "idle", View, "id name", "SELECT id, name FROM users WHERE status = 'idle'"),
            table(6, "events", Table, "id name created", ""),
            part,
        ],
        [],
    )
}

/// The statements that are not as said. Each line is a condition on `users`, or a whole statement.
fn wrong(lines: &str, expected: Bounded) -> String {
    let catalog = catalog();
    let mut wrong = String::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let whole = ["DELETE", "UPDATE", "INSERT", "MERGE", "WITH"]
            .iter()
            .any(|word| line.starts_with(word));
        let text: Arc<str> =
            if whole { line.into() } else { format!("DELETE FROM users WHERE {line}").into() };
        let statements = analyze(&text, &catalog, &NoNames);
        let effects = statements.iter().flat_map(|s| s.operation.effects.iter());
        let limits: Vec<Bounded> = effects
            .filter(|effect| matches!(effect.verb, Verb::Update | Verb::Delete))
            .map(|effect| effect.bounded)
            .collect();
        if limits.is_empty() || limits.iter().any(|limit| *limit != expected) {
            writeln!(wrong, "{line}: {limits:?}").unwrap();
        }
    }
    wrong
}

#[test]
fn what_is_true_of_every_row_bounds_nothing() {
    let lines = "
        DELETE FROM users
        UPDATE users SET name = ''
        UPDATE people SET mail = ''
        true
        NOT false
        1 = 1
        'a' = 'a'
        2 > 1
        'a' LIKE '%'
        $1 IS NULL OR id = $1
        $1 = $1
        $1
        id = id
        users.id = id
        id = id + 0
        id + 0 = id
        id * 0 = 0
        id - id = 0
        id % 1 = 0
        (id)::text = id::text
        id::bool
        id::bool = true
        (id = id) = true
        (id = id) IS TRUE
        (id = 1) IS NOT NULL
        (id = id) IS NOT UNKNOWN
        NOT (id <> id)
        id IS NOT DISTINCT FROM id
        id IS DISTINCT FROM NULL
        id IS NOT NULL
        NOT id IS NULL
        users IS NOT NULL
        users = users
        ctid IS NOT NULL
        tableoid = 'users'::regclass
        status = coalesce($1, status)
        coalesce(id, 0) = coalesce(id, 0)
        coalesce(true, false)
        coalesce(NULL, true)
        coalesce(id = 1, true)
        CASE WHEN id = 1 THEN true ELSE true END
        id IN (id)
        id IN (1, 2, id)
        id = ANY(ARRAY[id])
        id = ANY(ARRAY(SELECT id FROM users))
        id = ANY((SELECT array_agg(id) FROM users)::int[])
        id <> ANY(ARRAY[1, 2])
        id <> ALL(ARRAY[]::int[])
        id <> ALL('{}')
        active IN (true, false)
        active = ANY('{t,f}')
        active OR NOT active
        active = true OR active = false
        active IS TRUE OR active IS NOT TRUE
        id BETWEEN id AND id
        id BETWEEN 0 AND 2147483647
        id BETWEEN (SELECT min(id) FROM users) AND (SELECT max(id) FROM users)
        id >= (SELECT min(id) FROM users)
        id > 0
        id > -1
        0 < id
        id >= 0
        id >= 1
        id <> 0
        id <> -1
        name <> ''
        name >= ''
        NOT id <= 0
        NOT (id < 1)
        id > 1 - 1
        id > length('')
        id < 2147483648
        created < 'infinity'
        created <= now()
        created < now() + interval '1 day'
        created < now() - interval '0 days'
        created < now() - interval '-1 day'
        created + interval '0' < now()
        created < current_timestamp
        created > '1970-01-01'
        created < '9999-12-31'
        length(name) >= 0
        length(name) > -1
        name >= ' '
        name > '!'
        name < '~'
        name <= 'zzz'
        name < '\u{ff}'
        id % 2 < 2
        id % 2 <> 2
        id % 2 IN (0, 1)
        id % 2 = ANY('{0,1}')
        id % 2 = ANY($1)
        (id % 2)::text IN ('0', '1')
        id % 2 = 0 OR id % 2 = 1
        ctid >= '(0,0)'
        ctid > '(0,0)'::tid
        ctid <> '(999,9)'
        ctid <> ALL(ARRAY['(0,1)']::tid[])
        ctid NOT IN ('(0,1)')
        id BETWEEN SYMMETRIC 2147483647 AND 0
        name LIKE '%'
        name LIKE '%%'
        name ILIKE '_%'
        name NOT LIKE ''
        name ~ ''
        name ~ '.*'
        name ~ '^'
        name ~ 'x*'
        name SIMILAR TO '%'
        name SIMILAR TO '[^x]%'
        name ~ '[^x]'
        name ~ '^[[:print:]]'
        name ~ '\\w'
        name ~ '\\S'
        name ~ '.{1,}'
        name !~ '^\\s+$'
        id::text ~ '[0-9]'
        name || '' = name
        lower(name) = lower(name)
        data @> '{}'
        tags @> ARRAY[]::text[]
        random() < 2
        now() >= now()
        EXISTS (SELECT 1)
        EXISTS (SELECT 1 FROM users)
        EXISTS (SELECT 1 FROM orders)
        EXISTS (SELECT 1 FROM users u WHERE u.id = users.id)
        EXISTS (SELECT 1 FROM orders o WHERE o.user_id = users.id OR true)
        EXISTS (SELECT 1 FROM gone WHERE users.id = id)
        EXISTS (SELECT 1 FROM generate_series(1, 1000000) g(i) WHERE g.i = users.id)
        EXISTS (SELECT 1 FROM (SELECT generate_series(1, 1000000) AS i) g WHERE g.i = users.id)
        id IN (SELECT o.id FROM (SELECT 1 AS id) users, (orders o JOIN gone g ON o.id = users.id))
        id IN (SELECT u.id FROM (SELECT 1 AS id) users, (users u JOIN gone g ON u.id = users.id))
        id IN (SELECT u.id FROM (SELECT 1 AS x) y, (users u JOIN gone g ON u.id = y.x) AS j)
        id IN (SELECT a.n * 10 + b.n FROM (VALUES (0), (1)) a(n), (VALUES (0), (1)) b(n))
        id IN (SELECT x * 10 + y FROM (SELECT a.n, b.n FROM (VALUES (0)) a(n), (VALUES (0)) b(n)) c(x, y))
        EXISTS (SELECT 1 FROM orders WHERE users.id = users.id)
        EXISTS (SELECT 1 FROM orders WHERE users.id > 0)
        NOT EXISTS (SELECT 1 FROM orders WHERE false)
        NOT EXISTS (SELECT 1 FROM orders o WHERE o.user_id = users.id AND 1 = 0)
        NOT EXISTS (SELECT 1 FROM orders o WHERE o.user_id = users.id LIMIT 0)
        id IN (SELECT id FROM users)
        id IN (SELECT u.id FROM users u)
        id IN (SELECT id FROM users WHERE true)
        id IN (SELECT id FROM users WHERE id > 0)
        id IN (SELECT id FROM users LIMIT 99999999999)
        id IN (SELECT id FROM users LIMIT ALL)
        id IN (SELECT id FROM people)
        id IN (SELECT x.id FROM (SELECT id FROM users) x)
        id IN (SELECT user_id FROM orders UNION SELECT id FROM users)
        id IN (SELECT u.id FROM users u LEFT JOIN orders o ON o.user_id = u.id)
        id IN (SELECT id FROM gone)
        id IN (SELECT users.id FROM gone)
        id IN (SELECT id)
        id IN (SELECT x.i FROM gone, LATERAL (SELECT users.id AS i) x)
        id IN (SELECT x.i FROM gone, LATERAL (SELECT users.id AS i FROM gone g) x)
        id IN (SELECT x.i FROM gone, LATERAL unnest(ARRAY[users.id]) x(i))
        id IN (SELECT generate_series(1, 1000000))
        id IN (SELECT n FROM generate_series(1, 1000000) n)
        id IN (VALUES (users.id))
        id IN (SELECT id FROM not_known)
        id NOT IN (SELECT user_id FROM gone WHERE false)
        id NOT IN (SELECT user_id FROM gone LIMIT 0)
        id NOT IN (SELECT min(id) FROM users GROUP BY email)
        id = (SELECT id)
        id = (SELECT u.id FROM users u WHERE u.id = users.id)
        ctid IN (SELECT ctid FROM users)
        ctid = ANY(ARRAY(SELECT ctid FROM users))
        (id, 1) = (id, 1)
        id > (SELECT 0 FROM orders LIMIT 1)
        id >= (SELECT 1 FROM orders LIMIT 1)
        id > ((SELECT 0 FROM orders LIMIT 1))::bigint
        id > (SELECT 0 FROM orders LIMIT 1) + 0
        id > - (SELECT 1 FROM orders LIMIT 1)
        id > abs((SELECT 0 FROM orders LIMIT 1))
        id > coalesce((SELECT 0 FROM orders LIMIT 1), 0)
        id > coalesce((SELECT amount FROM orders LIMIT 1), 0)
        id > greatest((SELECT 0 FROM orders LIMIT 1), 0)
        id > (SELECT (SELECT 0 FROM orders LIMIT 1) FROM gone LIMIT 1)
        id > (SELECT amount * 0 FROM orders LIMIT 1)
        id > (SELECT amount - amount FROM orders LIMIT 1)
        id > (SELECT amount - 0 FROM orders LIMIT 1)
        id > (SELECT count(*) FROM gone)
        id > (SELECT count(*) * 0 FROM gone)
        id > (SELECT coalesce(max(amount), 0) FROM orders)
        id > (SELECT max(0) FROM orders)
        id > (SELECT max(amount) FILTER (WHERE amount < 1) FROM orders)
        id > (SELECT min(user_id) FROM orders)
        id < (SELECT max(user_id) FROM orders)
        id > (SELECT user_id FROM orders ORDER BY user_id LIMIT 1)
        id < (SELECT user_id FROM orders ORDER BY user_id DESC LIMIT 1)
        id > (SELECT amount FROM orders WHERE amount = 0 LIMIT 1)
        id > (SELECT amount FROM orders WHERE note = 'x' AND 1 > amount LIMIT 1)
        id > (SELECT o.amount FROM orders o JOIN gone g ON o.amount = -1 LIMIT 1)
        id > (SELECT user_id FROM gone WHERE user_id IN (VALUES (0)) LIMIT 1)
        id > (SELECT user_id FROM gone WHERE row(user_id) = row(0) LIMIT 1)
        id > (SELECT z FROM (SELECT 0 AS z) x)
        id > (SELECT z FROM (SELECT amount AS z FROM orders WHERE amount = 0) x LIMIT 1)
        id > (SELECT column1 FROM (VALUES (0)) v)
        id > (VALUES (0))
        id > (SELECT 0 FROM orders UNION SELECT 0 FROM orders)
        id > (WITH z AS (SELECT 0 AS z) SELECT z FROM z)
        id > (SELECT attnum FROM pg_attribute ORDER BY attnum DESC LIMIT 1)
        id > (SELECT n.z FROM nowhere n LIMIT 1)
        id <> (SELECT 0 FROM orders LIMIT 1)
        id IS DISTINCT FROM (SELECT 0 FROM orders LIMIT 1)
        id NOT IN (SELECT 0 FROM orders)
        id NOT IN (SELECT amount FROM orders WHERE amount = 0)
        id NOT IN (SELECT k.user_id FROM (SELECT user_id FROM gone WHERE false) k)
        (id, status) NOT IN (SELECT amount, 'x' FROM orders WHERE amount = 0)
        id NOT IN ((SELECT 0 FROM orders LIMIT 1), 0)
        id <> ALL (SELECT 0 FROM orders)
        id <> ALL (ARRAY(SELECT 0 FROM orders))
        id <> ALL (ARRAY[(SELECT 0 FROM orders LIMIT 1)])
        id BETWEEN (SELECT 0 FROM orders LIMIT 1) AND (SELECT 2147483647 FROM orders LIMIT 1)
        name LIKE (SELECT '%' FROM orders LIMIT 1)
        name LIKE (SELECT '%' FROM orders LIMIT 1) || '%'
        name ~ (SELECT '' FROM orders LIMIT 1)
        name >= (SELECT '' FROM orders LIMIT 1)
        created < (SELECT now() FROM orders LIMIT 1)
        (id, name) > ((SELECT 0 FROM orders LIMIT 1), '')
        id IN (SELECT id FROM users WHERE id > (SELECT 0 FROM orders LIMIT 1))
        DELETE FROM users USING orders o WHERE users.id > o.amount * 0
        DELETE FROM users USING orders o WHERE users.id > o.user_id
        DELETE FROM users USING orders o WHERE users.id <> o.user_id
        DELETE FROM users USING orders o WHERE users.id NOT IN (o.user_id, o.amount)
        DELETE FROM users USING (VALUES (0)) v(z) WHERE users.id > v.z
        DELETE FROM users USING (SELECT '%' AS p) v WHERE users.name LIKE v.p
        DELETE FROM users USING orders o WHERE users.id <> ALL (string_to_array(o.note, ',')::int[])
        WITH z AS (SELECT 0 AS z) DELETE FROM users WHERE id > (SELECT z FROM z)
        WITH z AS (SELECT user_id FROM gone WHERE false) DELETE FROM users WHERE id NOT IN (SELECT user_id FROM z)
        MERGE INTO users u USING orders o ON u.id > o.amount WHEN MATCHED THEN DELETE
        (id, name) IN ((id, name))
        (1, id) > (0, 5)
        id = 1 OR id <> 1
        id <> 1 OR id <> 2
        id < 5 OR id >= 5
        id < 5 OR id > 4
        id = 1 OR true
        id IS NULL OR id IS NOT NULL
        name IS NULL OR name IS NOT NULL
        NOT (id = 1 AND id <> 1)
        (id = 1 AND name = 'x') OR id <> 1 OR name <> 'x'
        id NOT IN (1) OR id IN (1)
        name LIKE 'a%' OR name NOT LIKE 'a%'
        id NOT BETWEEN 1 AND 2 OR id BETWEEN 1 AND 2
        id IN (SELECT user_id FROM gone) OR id NOT IN (SELECT user_id FROM gone)
        DELETE FROM users USING users u WHERE users.id = u.id
        DELETE FROM users USING orders o WHERE o.note = 'x'
        DELETE FROM users USING orders o WHERE true
        DELETE FROM users USING orders o WHERE users.id <> o.id
        DELETE FROM users USING orders o WHERE users.id > o.amount - 100
        DELETE FROM users USING orders o WHERE o.note >= users.name
        DELETE FROM users USING (VALUES (-1)) v(x) WHERE users.id > v.x
        DELETE FROM users USING (VALUES ('x')) v(x) WHERE users.name NOT LIKE v.x
        INSERT INTO users (id) VALUES (generate_series(1, 50)) ON CONFLICT (id) DO UPDATE SET name = ''
        INSERT INTO users (id) SELECT generate_series(1, 50) ON CONFLICT (id) DO UPDATE SET name = ''
        INSERT INTO users (id) SELECT unnest($1::int[]) ON CONFLICT (id) DO UPDATE SET name = ''
        INSERT INTO users (id) VALUES ((SELECT 1)), (unnest($1::int[])) ON CONFLICT (id) DO UPDATE SET name = ''
        MERGE INTO users u USING (VALUES (0)) v(x) ON u.id > v.x WHEN MATCHED THEN DELETE
        DELETE FROM users USING (SELECT id FROM users) u WHERE users.id = u.id
        DELETE FROM users USING generate_series(1, 1000000) n WHERE users.id = n
        DELETE FROM people WHERE one = 1
        DELETE FROM people WHERE id IN (SELECT id FROM users)
        DELETE FROM idle
        DELETE FROM events WHERE id IN (SELECT id FROM events_2024)
        UPDATE users u SET name = 'x' FROM users v WHERE u.id = v.id AND v.name = 'x'
        WITH a AS (SELECT id FROM users) DELETE FROM users WHERE id IN (SELECT id FROM a)
        WITH a AS (SELECT id FROM users), b AS (TABLE a) DELETE FROM users USING b WHERE b.id = users.id
        WITH RECURSIVE a(i) AS (SELECT id FROM users UNION SELECT i FROM a) DELETE FROM users USING a WHERE a.i = users.id
        WITH a AS (DELETE FROM users RETURNING id) DELETE FROM users WHERE id IN (SELECT id FROM a)
        MERGE INTO users u USING orders o ON true WHEN MATCHED THEN DELETE
        MERGE INTO users u USING users v ON u.id = v.id WHEN MATCHED THEN UPDATE SET name = 'x'
        MERGE INTO users u USING users v ON u.id = v.id WHEN MATCHED AND u.id > 0 THEN DELETE
        MERGE INTO users u USING orders o ON u.id = u.id WHEN MATCHED THEN DELETE
    ";
    let wrong = wrong(lines, Bounded::No);
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn what_honest_scripts_write_bounds() {
    let lines = "
        id = 1
        id = $1
        $1 = id
        users.id = 1
        id = '1'
        id = 1 AND true
        NOT id = 1
        id IN (1, 2)
        id NOT IN (1, 2)
        id = ANY($1)
        id = ANY('{1,2}')
        status = ANY('{todo,failed}')
        id = ANY(ARRAY[1, 2])
        id <> ALL($1)
        id = ANY(string_to_array($1, ',')::int[])
        id BETWEEN 1 AND 2
        id BETWEEN $1 AND $2
        id > 1000
        id > $1
        status = 'x'
        status <> 'done'
        status = 'x' OR status = 'y'
        status IS NULL OR status <> 'done'
        active
        NOT active
        active = false
        active IS NOT TRUE
        coalesce(active, false)
        name IS NULL
        name IS NOT NULL
        name LIKE 'a%'
        name NOT LIKE 'a%'
        name ILIKE '%test%'
        name LIKE $1
        name ~ '^test_'
        name ~ '^test_[0-9]+$'
        name ~* 'x\\.example$'
        name SIMILAR TO 'test%'
        name > 'm'
        name < 'n'
        id % 10 IN (3, 4)
        id % 10 = ANY('{3,4}')
        id % $1 = 3 AND status = 'x'
        id IN (SELECT (e->>'id')::int FROM jsonb_array_elements($1) e)
        id IN (SELECT v.id FROM (VALUES (1)) v(id) JOIN (VALUES (1)) w(id) ON v.id = w.id)
        INSERT INTO users (id) VALUES (1), (2) ON CONFLICT (id) DO UPDATE SET name = lower('X')
        lower(email) = 'x'
        lower(email) LIKE '%@example.com'
        created < '2024-01-01'
        created < now() - interval '30 days'
        created < now() - $1::interval
        created < now() - ($1 || ' days')::interval
        created < current_date - 30
        created + interval '30 days' < now()
        now() - created > interval '30 days'
        age(created) > interval '1 year'
        created < date '2024-01-01'
        date_trunc('day', created) = '2024-01-01'
        created >= '2024-01-01' AND created < '2024-02-01'
        id < 10 OR id > 100
        id % 10 = 3
        length(name) > 5
        data->>'kind' = 'x'
        data @> '{\"kind\": \"x\"}'
        tags && ARRAY['x']
        (id, name) = (1, 'a')
        (id, name) IN ((1, 'a'), (2, 'b'))
        (created, id) < ($1, $2)
        ctid = '(0,1)'
        ctid IN (SELECT ctid FROM users WHERE status = 'x' LIMIT 1000)
        ctid = ANY(ARRAY(SELECT ctid FROM users LIMIT 1000))
        id IN (SELECT user_id FROM gone)
        id IN (SELECT g.user_id FROM gone g)
        id NOT IN (SELECT user_id FROM orders)
        id IN (SELECT user_id FROM orders WHERE amount > 5)
        id IN (SELECT id FROM users WHERE status = 'x')
        id IN (SELECT id FROM users ORDER BY id LIMIT 100)
        id IN (SELECT id FROM idle)
        id IN (SELECT t.id FROM not_known t)
        id IN (VALUES (1), (2))
        id = (SELECT max(user_id) FROM orders)
        id = (SELECT 7 FROM orders LIMIT 1)
        id IN (SELECT 7 FROM orders)
        id > (SELECT max(user_id) FROM orders)
        id > (SELECT o.user_id FROM orders o ORDER BY o.user_id DESC LIMIT 1)
        id < (SELECT min(user_id) FROM orders)
        id > (SELECT amount FROM orders WHERE note = 'last id')
        id > (SELECT 1000 FROM orders LIMIT 1)
        created < (SELECT note FROM orders WHERE user_id = 5)
        created < (SELECT note FROM orders WHERE user_id = $1)::timestamptz - interval '1 day'
        created < (SELECT min(note)::timestamptz - interval '1 day' FROM orders)
        created > coalesce((SELECT note FROM orders WHERE user_id = 5), $1)
        created BETWEEN (SELECT note FROM orders WHERE id = 1) AND (SELECT note FROM orders WHERE id = 2)
        name LIKE (SELECT note FROM orders WHERE id = 1)
        id <> (SELECT user_id FROM orders WHERE id = 1)
        id NOT IN (SELECT user_id FROM orders WHERE user_id IS NOT NULL)
        id NOT IN (SELECT o.user_id FROM orders o WHERE o.note = 'x')
        id <> ALL (SELECT user_id FROM orders)
        id <> ALL (ARRAY(SELECT user_id FROM orders))
        (id, status) NOT IN (SELECT user_id, note FROM orders)
        id > 5 AND id > (SELECT 0 FROM orders LIMIT 1)
        EXISTS (SELECT 1 FROM orders o WHERE o.user_id = users.id)
        EXISTS (SELECT 1 FROM orders WHERE user_id = users.id AND amount > 5)
        NOT EXISTS (SELECT 1 FROM orders o WHERE o.user_id = users.id)
        UPDATE users SET name = 'x' FROM (VALUES (1, 'a')) v(id, n) WHERE v.id = users.id
        UPDATE users SET name = v.n FROM unnest($1::int[], $2::text[]) v(id, n) WHERE users.id = v.id
        UPDATE users u SET name = r.name FROM json_to_recordset($1) r(id int, name text) WHERE u.id = r.id
        DELETE FROM users USING orders o WHERE o.user_id = users.id
        DELETE FROM users u USING orders o JOIN gone g ON g.user_id = o.user_id WHERE o.user_id = u.id
        DELETE FROM people WHERE mail = 'x'
        DELETE FROM users WHERE CURRENT OF c
        DELETE FROM not_known WHERE id = 1
        WITH d AS (SELECT id FROM users WHERE status = 'x' LIMIT 100) DELETE FROM users USING d WHERE users.id = d.id
        WITH d AS (SELECT id FROM users WHERE status = 'x') DELETE FROM users WHERE id IN (SELECT id FROM d)
        WITH d AS (DELETE FROM users WHERE status = 'x' RETURNING id) DELETE FROM orders WHERE user_id IN (SELECT id FROM d)
        MERGE INTO users u USING orders o ON u.id = o.user_id WHEN MATCHED THEN DELETE
        MERGE INTO users u USING (VALUES (1)) v(id) ON u.id = v.id WHEN MATCHED THEN UPDATE SET name = 'x'
        MERGE INTO users u USING orders o ON true WHEN MATCHED AND u.id = 5 THEN DELETE
    ";
    let wrong = wrong(lines, Bounded::Yes);
    assert!(wrong.is_empty(), "\n{wrong}");
}
