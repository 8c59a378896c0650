//! Foreign keys: what a change of one table does to others.

use guard_core::Certainty;

use crate::{
    Body, Callee, Catalog, Events, Follow, NoNames, Reference, RelationKind, Routine, Routines,
    analyze, tests::relation,
};

const USERS: u32 = 1;
const ORDERS: u32 = 2;
const LINES: u32 = 3;
const NOTES: u32 = 4;
const NOTES_OLD: u32 = 5;
const TREE: u32 = 6;
const PLAIN: u32 = 7;
const CODES: u32 = 8;
const PRICES: u32 = 9;

/// `from.column` refers to `to.column`, by the columns' numbers.
fn refers(from: (u32, i16), to: (u32, i16), on_delete: Follow, on_update: Follow) -> Reference {
    let (from, from_columns) = (from.0, vec![from.1]);
    Reference { from, from_columns, to: to.0, to_columns: vec![to.1], on_delete, on_update }
}

fn catalog() -> Catalog {
    use Follow::{Cascade, Refuse, Set};
    use RelationKind::{Table, View};
    let mut old = relation(NOTES_OLD, "public.notes_old", Table, "id user_id text");
    old.parents = vec![NOTES];
    let mut view = relation(20, "public.people", View, "number mail");
    view.definition = Some("SELECT id, email FROM public.users".into());
    let relations = [
        relation(USERS, "public.users", Table, "id email"),
        relation(ORDERS, "public.orders", Table, "id user_id note"),
        relation(LINES, "public.lines", Table, "id order_id"),
        relation(NOTES, "public.notes", Table, "id user_id text"),
        old,
        relation(TREE, "public.tree", Table, "id parent_id"),
        relation(PLAIN, "public.plain", Table, "id user_id"),
        relation(CODES, "public.codes", Table, "id code gen"),
        relation(PRICES, "public.prices", Table, "id code"),
        relation(10, "public.log", Table, "id"),
        view,
    ];
    let routines = Routines {
        references: vec![
            refers((ORDERS, 2), (USERS, 1), Cascade, Cascade),
            refers((LINES, 2), (ORDERS, 1), Cascade, Cascade),
            refers((NOTES, 2), (USERS, 1), Set, Cascade),
            refers((PLAIN, 2), (USERS, 1), Refuse, Refuse),
            refers((TREE, 2), (TREE, 1), Cascade, Refuse),
            refers((PRICES, 2), (CODES, 3), Refuse, Set),
        ],
        routines: vec![Routine {
            id: 1,
            name: guard_core::ObjectName::qualified("public", "logs"),
            body: Body::Plpgsql("BEGIN INSERT INTO public.log VALUES (1); RETURN NULL; END".into()),
            settings: Vec::new(),
            also: Vec::new(),
        }],
        relations: vec![(LINES, Events::DELETE, Callee::Routine(1))],
        ..Routines::default()
    };
    Catalog::new(relations, ["logs".into()]).with_routines(routines)
}

/// What a statement writes to, besides what it reads and calls.
fn writes(sql: &str) -> String {
    let statements = analyze(&sql.into(), &catalog(), &NoNames);
    let operation = &statements.last().expect(sql).operation;
    assert_eq!(operation.certainty, Certainty::Exact, "{sql}");
    let effects = operation.effects.iter().map(|effect| effect.to_string().replace('`', ""));
    let writes = effects.filter(|effect| {
        ["insert", "update", "delete", "truncate"].iter().any(|verb| effect.starts_with(verb))
    });
    writes.map(|effect| effect.replace("public.", "")).collect::<Vec<_>>().join(", ")
}

#[test]
fn what_refers_to_removed_rows_is_removed_or_changed() {
    let all =
        "delete users, delete orders, update notes, update notes_old, delete lines, insert log";
    assert_eq!(writes("DELETE FROM users WHERE id = 1").replace(" (bounded)", ""), all);
    let all_rows = writes("DELETE FROM users");
    assert!(!all_rows.contains("(bounded)"), "{all_rows}");
    for sql in [
        "DELETE FROM people WHERE number = 1",
        "WITH x AS (DELETE FROM users WHERE id = 1 RETURNING id) SELECT * FROM x",
        "MERGE INTO users u USING plain p ON u.id = p.id WHEN MATCHED THEN DELETE",
        "DO $$ BEGIN DELETE FROM users; END $$",
    ] {
        let found = writes(sql);
        for table in ["delete orders", "delete lines", "update notes_old", "insert log"] {
            assert!(found.contains(table), "{sql}: {found}");
        }
        assert!(!found.contains("plain"), "{sql}: {found}");
    }
}

#[test]
fn what_refers_to_changed_columns_is_changed() {
    for sql in [
        "UPDATE users SET id = 2 WHERE id = 1",
        "UPDATE users SET (email, id) = ('x', 2) WHERE id = 1",
        "UPDATE people SET mail = 'x' WHERE number = 1",
        "INSERT INTO users VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2",
        "MERGE INTO users u USING plain p ON u.id = p.id WHEN MATCHED THEN UPDATE SET id = 3",
    ] {
        let found = writes(sql);
        for table in ["update orders", "update notes", "update notes_old"] {
            assert!(found.contains(table), "{sql}: {found}");
        }
        // Their own keys stay what they are.
        assert!(!found.contains("lines"), "{sql}: {found}");
    }
    for sql in [
        "UPDATE users SET email = 'x' WHERE id = 1",
        "INSERT INTO users VALUES (1) ON CONFLICT (id) DO UPDATE SET email = 'x'",
        "INSERT INTO orders VALUES (1)",
        "DELETE FROM orders USING users WHERE orders.id = 1 AND users.id = orders.user_id",
    ] {
        let found = writes(sql);
        assert!(!found.contains("notes"), "{sql}: {found}");
    }
    // What is generated changes with any column.
    assert!(writes("UPDATE codes SET code = 'x' WHERE id = 1").contains("update prices"));
}

#[test]
fn rows_that_refer_to_their_own_table_are_not_bounded() {
    let found = writes("DELETE FROM tree WHERE id = 1");
    assert!(found.split(", ").any(|effect| effect == "delete tree"), "{found}");
}

#[test]
fn truncate_reaches_what_refers_if_it_cascades() {
    assert_eq!(writes("TRUNCATE users"), "truncate users");
    let found = writes("TRUNCATE users CASCADE");
    for table in ["users", "orders", "lines", "notes", "notes_old", "plain"] {
        assert!(found.contains(&format!("truncate {table}")), "{found}");
    }
    assert!(!found.contains("tree"), "{found}");
}

#[test]
fn a_table_that_is_not_known_and_refers_is_doubt() {
    let users = relation(USERS, "public.users", RelationKind::Table, "id");
    let references = vec![refers((99, 1), (USERS, 1), Follow::Cascade, Follow::Refuse)];
    let routines = Routines { references, ..Routines::default() };
    let catalog = Catalog::new([users], []).with_routines(routines);
    let statements = analyze(&"DELETE FROM users WHERE id = 1".into(), &catalog, &NoNames);
    let certainty = &statements.last().expect("one").operation.certainty;
    assert!(matches!(certainty, Certainty::Partial(_)), "{certainty:?}");
}
