//! Functions whose bodies delete, at every place where a call can stand, and bodies that hide what they do.

use guard_core::{Certainty, ObjectName};

use crate::{
    Body, Callee, Cast, CastContext, Catalog, Column, Events, NoNames, RULE, Relation,
    RelationKind, Routine, Routines, Statement, analyze,
};

const PURGE: u64 = 1;
const QUIET: u64 = 2;

fn routine(id: u64, name: &str, body: Body) -> Routine {
    let name = ObjectName::qualified("public", name);
    Routine { id, name, body, settings: Vec::new(), also: Vec::new() }
}

fn relation(oid: u32, name: &str, kind: RelationKind, columns: &[&str]) -> Relation {
    let column = |(number, name): (i16, &&str)| Column {
        name: (*name).into(),
        number,
        type_oid: if *name == "shape" { 603 } else { 25 },
        type_modifier: -1,
        not_null: false,
        generated: false,
    };
    Relation {
        oid,
        name: ObjectName::qualified("public", name),
        kind,
        columns: (1..).zip(columns).map(column).collect(),
        definition: None,
        parents: Vec::new(),
        has_triggers: false,
    }
}

/// Functions of these bodies besides one that deletes and one that does nothing.
fn catalog_with(more: Vec<Routine>) -> Catalog {
    use RelationKind::{Foreign, Table, View};
    let purge = Callee::Routine(PURGE);
    let mut view = relation(13, "shown", View, &["x"]);
    view.definition = Some("SELECT public.purge() AS x".into());
    let mut part = relation(15, "part", Table, &["id"]);
    part.parents = vec![14];
    let relations = [
        relation(10, "t", Table, &["id", "v"]),
        relation(11, "log", Table, &["id"]),
        relation(12, "boxes", Table, &["id", "shape"]),
        view,
        relation(14, "whole", Table, &["id"]),
        part,
        relation(16, "away", Foreign, &["id"]),
        relation(17, "ruled", Table, &["id"]),
        relation(18, "guarded", Table, &["id"]),
        relation(19, "defaulted", Table, &["id"]),
        relation(20, "indexed", Table, &["id"]),
        relation(21, "behind", View, &["id"]),
    ];
    let mut routines = vec![
        routine(PURGE, "purge", Body::Sql("DELETE FROM public.log; SELECT 1".into())),
        routine(QUIET, "quiet", Body::Sql("SELECT $1 + 1".into())),
        routine(3, "gathered", Body::Aggregate),
        routine(
            RULE | 9,
            "r",
            Body::Definition(
                "CREATE RULE r AS ON INSERT TO public.ruled DO ALSO DELETE FROM public.log WHERE id = new.id"
                    .into(),
            ),
        ),
    ];
    if let Some(aggregate) = routines.get_mut(2) {
        aggregate.also = vec![purge.clone(), Callee::Builtin("int4pl".into())];
    }
    routines.extend(more);
    let mut names: Vec<std::sync::Arc<str>> =
        routines.iter().map(|r| r.name.name.clone()).collect();
    names.extend(["===".into(), "unread".into()]);
    let all = Routines {
        routines,
        operators: vec![(ObjectName::qualified("public", "==="), purge.clone())],
        casts: vec![Cast {
            target: "point".into(),
            target_oid: 600,
            context: CastContext::Explicit,
            callee: purge.clone(),
        }],
        types: vec![("checked".into(), purge.clone())],
        plain_types: vec!["mood".into(), "checked".into()],
        relations: vec![
            (15, Events::DELETE, purge.clone()),
            (17, Events::INSERT, Callee::Routine(RULE | 9)),
            (18, Events::READ, purge.clone()),
            (19, Events(Events::INSERT.0 | Events::DEFAULT.0), purge.clone()),
            (20, Events(35), purge.clone()),
            (21, Events::UPDATE, purge),
        ],
        ..Routines::default()
    };
    Catalog::new(relations, names).with_routines(all)
}

/// The effects of the last statement, and why it is not exact.
fn read(catalog: &Catalog, sql: &str) -> (String, Option<String>) {
    let statements: Vec<std::sync::Arc<Statement>> = analyze(&sql.into(), catalog, &NoNames);
    let operation = &statements.last().expect(sql).operation;
    let effects: Vec<String> = operation.effects.iter().map(ToString::to_string).collect();
    let doubt = match &operation.certainty {
        Certainty::Exact => None,
        Certainty::Partial(why) | Certainty::Unparsed(why) => Some(why.to_string()),
    };
    (effects.join(", ").replace('`', ""), doubt)
}

#[test]
fn a_function_that_deletes_is_seen_wherever_it_is_called() {
    let catalog = catalog_with(Vec::new());
    for sql in [
        "SELECT purge()",
        "SELECT public.purge()",
        "SELECT * FROM purge()",
        "SELECT * FROM t, LATERAL purge() p",
        "SELECT * FROM ROWS FROM (purge(), generate_series(1, 2)) x",
        "SELECT 1 FROM t WHERE purge() = 1",
        "SELECT 1 FROM t GROUP BY purge()",
        "SELECT 1 FROM t GROUP BY id HAVING purge() = 1",
        "SELECT 1 FROM t ORDER BY purge()",
        "SELECT DISTINCT ON (purge()) 1 FROM t",
        "SELECT 1 FROM t LIMIT purge()",
        "SELECT 1 FROM t OFFSET purge()",
        "SELECT sum(id) OVER (PARTITION BY purge()) FROM t",
        "SELECT sum(id) OVER w FROM t WINDOW w AS (ORDER BY id ROWS purge() PRECEDING)",
        "SELECT count(*) FILTER (WHERE purge() = 1) FROM t",
        "SELECT string_agg(v, ',' ORDER BY purge()) FROM t",
        "SELECT CASE WHEN purge() = 1 THEN 1 END",
        "SELECT coalesce(NULL, purge())",
        "SELECT ARRAY[purge()]",
        "SELECT (ARRAY[1])[purge()]",
        "SELECT (SELECT purge())",
        "SELECT 1 WHERE EXISTS (SELECT purge())",
        "WITH x AS (SELECT purge()) SELECT 1",
        "VALUES (purge())",
        "SELECT 1 FROM t JOIN log ON purge() = 1",
        "SELECT 1 FROM t TABLESAMPLE bernoulli (purge())",
        "SELECT gathered(id) FROM t",
        "SELECT gathered(id) OVER () FROM t",
        "SELECT 1 === 2",
        "SELECT 1 OPERATOR(public.===) 2",
        "SELECT 1 FROM t ORDER BY id USING OPERATOR(public.===)",
        "SELECT 1 === ANY (ARRAY[1])",
        "SELECT '1'::point",
        "SELECT CAST('1' AS point)",
        "SELECT point('1')",
        "SELECT 1::checked",
        "SELECT '{1}'::checked[]",
        "INSERT INTO t VALUES (purge())",
        "INSERT INTO t (id) SELECT purge()",
        "INSERT INTO t VALUES (1) RETURNING purge()",
        "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET id = purge()",
        "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 1 WHERE purge() = 1",
        "UPDATE t SET id = purge()",
        "UPDATE t SET id = 1 WHERE id = purge()",
        "UPDATE t SET id = 1 WHERE id = 1 RETURNING purge()",
        "DELETE FROM t WHERE id = purge()",
        "DELETE FROM t WHERE id = 1 RETURNING purge()",
        "MERGE INTO t USING log ON purge() = 1 WHEN MATCHED THEN DO NOTHING",
        "MERGE INTO t USING log ON t.id = log.id WHEN MATCHED AND purge() = 1 THEN DO NOTHING",
        "MERGE INTO t USING log ON t.id = log.id WHEN MATCHED THEN UPDATE SET id = purge()",
        "COPY (SELECT purge()) TO STDOUT",
        "COPY t FROM STDIN WHERE purge() = 1",
        "CALL purge()",
        "PREPARE p AS SELECT 1; EXECUTE p (purge())",
        "DECLARE c CURSOR FOR SELECT purge()",
        "EXPLAIN ANALYZE SELECT purge()",
        "CREATE TABLE n AS SELECT purge()",
        "CREATE TABLE n (x int DEFAULT purge())",
        "CREATE TABLE n (x int CHECK (purge() = 1))",
        "CREATE TABLE n (x int GENERATED ALWAYS AS (purge()) STORED)",
        "ALTER TABLE t ADD COLUMN x int DEFAULT purge()",
        "ALTER TABLE t ALTER COLUMN v TYPE int USING purge()",
        "ALTER TABLE t ADD CHECK (purge() = 1)",
        "CREATE INDEX ON t (purge())",
        "CREATE INDEX ON t (id) WHERE purge() = 1",
        "CREATE MATERIALIZED VIEW m AS SELECT purge()",
        "CREATE TRIGGER a AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION purge()",
        "CREATE RULE a AS ON INSERT TO t DO ALSO SELECT purge()",
        "CREATE POLICY a ON t USING (purge() = 1)",
        "CREATE CAST (text AS int) WITH FUNCTION purge(text)",
        "CREATE OPERATOR CLASS c FOR TYPE int USING btree AS FUNCTION 1 purge(int, int)",
        "CREATE OPERATOR CLASS c FOR TYPE int USING btree AS STORAGE int, OPERATOR 1 === (int, int)",
        "ALTER OPERATOR FAMILY f USING btree ADD FUNCTION 1 (int, int) purge(int, int)",
        "CREATE TYPE r AS RANGE (subtype = int, subtype_diff = purge)",
        "CREATE TYPE r AS RANGE (subtype = int, canonical = public.purge)",
        "SELECT * FROM shown",
        "SELECT * FROM guarded",
        "INSERT INTO defaulted DEFAULT VALUES",
        "UPDATE defaulted SET id = DEFAULT WHERE id = 1",
        "UPDATE defaulted SET (id) = ROW (DEFAULT) WHERE id = 1",
        "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET v = 1; UPDATE ONLY defaulted SET id = DEFAULT",
        "MERGE INTO defaulted USING log ON log.id = defaulted.id WHEN MATCHED THEN UPDATE SET id = DEFAULT",
        "COPY defaulted FROM STDIN",
        "DELETE FROM part",
        "DELETE FROM whole",
        "UPDATE behind SET id = 1 WHERE id = 2",
        "INSERT INTO indexed VALUES (1)",
        "INSERT INTO ruled VALUES (1)",
        "DO $$ BEGIN PERFORM purge(); END $$",
    ] {
        let (effects, doubt) = read(&catalog, sql);
        assert!(effects.contains("delete public.log"), "{sql}: {effects} {doubt:?}");
    }
}

#[test]
fn what_reaches_no_function_gains_no_effect() {
    let catalog = catalog_with(Vec::new());
    for sql in [
        "SELECT 1 FROM t WHERE id = 1",
        "INSERT INTO t VALUES (1)",
        "UPDATE ruled SET id = 1 WHERE id = 2",
        "INSERT INTO part VALUES (1)",
        "SELECT * FROM defaulted",
        "SELECT 'sad'::mood, '{sad}'::public.mood[]",
        "UPDATE defaulted SET id = 2 WHERE id = 1",
        "DELETE FROM guarded WHERE id = 1",
        "SELECT id FROM behind",
    ] {
        let (effects, _) = read(&catalog, sql);
        assert!(!effects.contains("public.log"), "{sql}: {effects}");
    }
}

#[test]
fn a_call_is_exact_where_all_bodies_are_understood_and_an_effect_by_itself() {
    let catalog = catalog_with(Vec::new());
    for sql in [
        "SELECT quiet(1)",
        "SELECT purge()",
        "INSERT INTO t VALUES (quiet(quiet(1)))",
        "SELECT 1 === 2",
    ] {
        let (effects, doubt) = read(&catalog, sql);
        assert_eq!(doubt, None, "{sql}");
        assert!(effects.contains("call"), "{sql}: {effects}");
    }
    assert!(read(&catalog, "SELECT 'x'::mystery").0.contains("call"));
    assert!(read(&catalog, "SELECT 1::checked").0.contains("call"));
    assert!(!read(&catalog, "SELECT 'sad'::mood").0.contains("call"));
    for sql in ["SELECT unread()", "SELECT nobody()", "SELECT other.purge()"] {
        let (effects, doubt) = read(&catalog, sql);
        assert!(doubt.is_some() && effects.contains("call"), "{sql}: {effects}");
    }
}

#[test]
fn reading_a_foreign_table_reaches_out() {
    let catalog = catalog_with(Vec::new());
    for sql in ["SELECT * FROM away", "INSERT INTO away VALUES (1)", "COPY away TO STDOUT"] {
        let (effects, _) = read(&catalog, sql);
        assert!(effects.contains("network public.away"), "{sql}: {effects}");
    }
}

#[test]
fn a_body_that_hides_what_it_does_is_found_or_doubted() {
    for body in [
        "BEGIN PERFORM purge(); END",
        "BEGIN DELETE FROM log; END",
        "DECLARE x int := purge(); BEGIN NULL; END",
        "DECLARE r record := (SELECT purge()); BEGIN NULL; END",
        "DECLARE x CONSTANT int NOT NULL DEFAULT purge(); BEGIN NULL; END",
        "DECLARE c CURSOR FOR SELECT purge(); BEGIN OPEN c; END",
        "DECLARE c NO SCROLL CURSOR (a int) IS SELECT purge(); BEGIN OPEN c(1); END",
        "DECLARE c CURSOR (a int) FOR SELECT a; BEGIN OPEN c(a := purge()); END",
        "DECLARE c refcursor; BEGIN OPEN c FOR SELECT purge(); END",
        "DECLARE c refcursor; BEGIN OPEN c FOR EXECUTE 'SELECT purge()'; END",
        "DECLARE a int[]; BEGIN a[purge()] := 1; END",
        "DECLARE a int; BEGIN a := 1 + purge(); END",
        "DECLARE a int; BEGIN a = purge(); END",
        "BEGIN IF purge() = 1 THEN NULL; END IF; END",
        "BEGIN IF true THEN NULL; ELSIF purge() = 1 THEN NULL; END IF; END",
        "BEGIN IF true THEN NULL; ELSE PERFORM purge(); END IF; END",
        "BEGIN CASE purge() WHEN 1 THEN NULL; END CASE; END",
        "BEGIN CASE WHEN purge() = 1 THEN NULL; ELSE NULL; END CASE; END",
        "BEGIN CASE 1 WHEN 2, purge() THEN NULL; END CASE; END",
        "BEGIN WHILE purge() > 0 LOOP NULL; END LOOP; END",
        "BEGIN LOOP EXIT WHEN purge() = 1; END LOOP; END",
        "BEGIN FOR i IN 1..purge() LOOP NULL; END LOOP; END",
        "BEGIN FOR i IN REVERSE purge()..1 BY 2 LOOP NULL; END LOOP; END",
        "BEGIN FOR i IN 1..2 BY purge() LOOP NULL; END LOOP; END",
        "DECLARE r record; BEGIN FOR r IN SELECT purge() LOOP NULL; END LOOP; END",
        "DECLARE r record; BEGIN FOR r IN EXECUTE 'SELECT purge()' LOOP NULL; END LOOP; END",
        "DECLARE r record; BEGIN FOR r IN EXECUTE 'SELECT $1' USING purge() LOOP NULL; END LOOP; END",
        "DECLARE x int; BEGIN FOREACH x IN ARRAY ARRAY[purge()] LOOP NULL; END LOOP; END",
        "BEGIN RETURN purge(); END",
        "BEGIN RETURN NEXT purge(); END",
        "BEGIN RETURN QUERY SELECT purge(); END",
        "BEGIN RETURN QUERY DELETE FROM log RETURNING 1; END",
        "BEGIN RETURN QUERY EXECUTE 'SELECT purge()'; END",
        "BEGIN RETURN QUERY EXECUTE 'SELECT $1' USING purge(); END",
        "BEGIN RAISE NOTICE '%', purge(); END",
        "BEGIN RAISE EXCEPTION USING MESSAGE = purge(); END",
        "BEGIN ASSERT purge() = 1; END",
        "BEGIN ASSERT true, purge()::text; END",
        "BEGIN CALL purge(); END",
        "DECLARE x int; BEGIN SELECT purge() INTO x; END",
        "DECLARE x int; BEGIN SELECT INTO STRICT x purge(); END",
        "DECLARE x int; BEGIN DELETE FROM log RETURNING id INTO x; END",
        "BEGIN EXECUTE 'DELETE FROM log'; END",
        "BEGIN EXECUTE $x$ DO $y$ BEGIN DELETE FROM log; END $y$ $x$; END",
        "DECLARE x int; BEGIN EXECUTE 'SELECT 1' INTO x USING purge(); END",
        "BEGIN NULL; EXCEPTION WHEN OTHERS THEN PERFORM purge(); END",
        "BEGIN BEGIN PERFORM purge(); END; END",
        "<<a>> DECLARE x int; BEGIN <<b>> LOOP PERFORM purge(); EXIT b; END LOOP b; END a",
        "#variable_conflict use_column\nBEGIN PERFORM purge(); END;",
        "BEGIN /* ; */ PERFORM /* END */ purge() -- ;\n; END",
        "BEGIN perform \"purge\"(); END",
        "BEGIN INSERT INTO t VALUES (purge()); END",
        "BEGIN WITH x AS (DELETE FROM log RETURNING 1) INSERT INTO t SELECT 1 FROM x; END",
        "DECLARE x checked; BEGIN x := 1; END",
    ] {
        let do_block = format!("DO $do${body}$do$");
        let own = routine(50, "own", Body::Plpgsql(body.into()));
        for (catalog, sql) in [
            (catalog_with(Vec::new()), do_block.as_str()),
            (catalog_with(vec![own]), "SELECT own()"),
        ] {
            let (effects, doubt) = read(&catalog, sql);
            assert!(effects.contains("delete public.log"), "{body}: {effects} {doubt:?}");
            assert_eq!(doubt, None, "{body}");
        }
    }
}

#[test]
fn a_body_that_cannot_be_followed_is_never_exact() {
    for body in [
        "BEGIN EXECUTE 'DELETE FROM ' || 'log'; END",
        "BEGIN EXECUTE format('DELETE FROM %I', 'log'); END",
        "DECLARE q text := 'DELETE FROM log'; BEGIN EXECUTE q; END",
        "BEGIN EXECUTE $1; END",
        "DECLARE r record; BEGIN FOR r IN EXECUTE 'SELECT ' || 1 LOOP NULL; END LOOP; END",
        "BEGIN RETURN QUERY EXECUTE $1; END",
        "DECLARE c refcursor; BEGIN OPEN c FOR EXECUTE $1; END",
        "BEGIN PERFORM unread(); END",
        "BEGIN PERFORM nobody(); END",
        "BEGIN MISCHIEF; END",
        "BEGIN close purge(); END",
        "BEGIN null purge(); END",
        "BEGIN exit purge(); END",
        "BEGIN NULL END",
        "BEGIN NULL; END; DELETE FROM log",
        "BEGIN",
        "",
        "DELETE FROM log",
        "BEGIN RAISE purge(); END",
        "BEGIN RAISE purge(), 'x'; END",
        "BEGIN FETCH purge() FROM c; END",
        "BEGIN IF true THEN NULL; END LOOP; END",
        "BEGIN SELECT 1 INTO f(x); END",
    ] {
        let sql = format!("DO $do${body}$do$");
        let (effects, doubt) = read(&catalog_with(Vec::new()), &sql);
        assert!(doubt.is_some(), "{body}: {effects}");
        let own = routine(50, "own", Body::Plpgsql(body.into()));
        let (effects, doubt) = read(&catalog_with(vec![own]), "SELECT own()");
        assert!(doubt.is_some(), "{body}: {effects}");
    }
    let deep = format!("{}NULL;{}", "BEGIN ".repeat(200), "END;".repeat(200));
    for sql in [
        format!("DO $do${deep}$do$"),
        format!("DO $do$BEGIN PERFORM {}1{}; END$do$", "(".repeat(100), ")".repeat(100)),
        "DO LANGUAGE plpython3u 'x'".to_owned(),
        "DO LANGUAGE plpgsql 'BEGIN NULL; END' LANGUAGE plperl".to_owned(),
    ] {
        assert!(read(&catalog_with(Vec::new()), &sql).1.is_some(), "{sql}");
    }
}

#[test]
fn variables_are_no_columns_that_are_missing() {
    let body = "DECLARE r record; n int; BEGIN n := p_id + 1; INSERT INTO t (id) VALUES (n), (r.id), (new.id); \
                IF TG_OP = 'INSERT' AND NOT FOUND THEN RETURN new; END IF; RETURN NULL; END";
    let catalog = catalog_with(vec![routine(50, "own", Body::Plpgsql(body.into()))]);
    let analysis = crate::examine(&"SELECT own()".into(), &catalog, &NoNames);
    assert!(!analysis.missing);
    assert_eq!(read(&catalog, "SELECT own()").1, None);
}

#[test]
fn functions_that_call_each_other_are_followed_once() {
    let one = routine(50, "one", Body::Sql("SELECT two(); SELECT one()".into()));
    let two = routine(51, "two", Body::Plpgsql("BEGIN PERFORM one(); PERFORM purge(); END".into()));
    let catalog = catalog_with(vec![one, two]);
    for sql in ["SELECT one()", "SELECT two()", "SELECT one(), two()"] {
        let (effects, doubt) = read(&catalog, sql);
        assert!(effects.contains("delete public.log") && doubt.is_none(), "{sql}: {effects}");
    }
}

#[test]
fn every_function_of_a_name_counts() {
    let mut other = routine(50, "quiet", Body::Sql("DELETE FROM public.log".into()));
    other.name = ObjectName::qualified("elsewhere", "quiet");
    let catalog = catalog_with(vec![other, routine(51, "abs", Body::Sql("DELETE FROM t".into()))]);
    assert!(read(&catalog, "SELECT quiet(1)").0.contains("delete public.log"));
    assert!(!read(&catalog, "SELECT public.quiet(1)").0.contains("delete public.log"));
    // A user's function may stand before PostgreSQL's own.
    assert!(read(&catalog, "SELECT abs(1)").0.contains("delete public.t"));
    assert!(!read(&catalog, "SELECT pg_catalog.abs(1)").0.contains("delete"));
}

#[test]
fn what_a_body_is_not_read_for_is_said() {
    let mut set = routine(50, "own", Body::Sql("SELECT 1".into()));
    set.settings = vec![("standard_conforming_strings".into(), "off".into())];
    let (effects, doubt) = read(&catalog_with(vec![set]), "SELECT own()");
    assert!(effects.contains("config standard_conforming_strings") && doubt.is_some(), "{effects}");
    let mut path = routine(50, "own", Body::Sql("SELECT 1".into()));
    path.settings = vec![("search_path".into(), "\"\"".into())];
    path.also = vec![Callee::Builtin("pg_read_file".into())];
    let (effects, doubt) = read(&catalog_with(vec![path]), "SELECT own()");
    assert!(effects.contains("file") && doubt.is_none(), "{effects} {doubt:?}");
    for why in ["code in the language `c` is not read", "its body is too long to be read"] {
        let opaque = routine(50, "own", Body::Opaque(why.into()));
        let (_, doubt) = read(&catalog_with(vec![opaque]), "SELECT own()");
        assert!(doubt.is_some_and(|doubt| doubt.contains(why)), "{why}");
    }
}

#[test]
fn a_function_that_is_changed_in_the_same_text_is_not_what_it_was() {
    let catalog = catalog_with(Vec::new());
    for sql in [
        "CREATE OR REPLACE FUNCTION quiet(int) RETURNS int LANGUAGE sql AS 'DELETE FROM log'; SELECT quiet(1)",
        "ALTER FUNCTION purge() RENAME TO other; ALTER FUNCTION x() RENAME TO quiet; SELECT quiet(1)",
        "CREATE EXTENSION x; SELECT quiet(1)",
    ] {
        assert!(read(&catalog, sql).1.is_some(), "{sql}");
    }
    assert_eq!(read(&catalog, "CREATE TEMP TABLE x (a int); SELECT quiet(1)").1, None);
}

#[test]
fn a_cast_that_nobody_wrote_counts_where_it_may_happen() {
    let with = |context, target: &str, target_oid| {
        let callee = Callee::Routine(PURGE);
        let routines = Routines {
            routines: vec![
                routine(PURGE, "purge", Body::Sql("DELETE FROM public.log".into())),
                routine(50, "own", Body::Plpgsql("DECLARE x box; BEGIN x := $1; END".into())),
            ],
            casts: vec![Cast { target: target.into(), target_oid, context, callee }],
            ..Routines::default()
        };
        catalog_with(Vec::new()).with_routines(routines)
    };
    let assigned = with(CastContext::Assignment, "box", 603);
    for sql in [
        "INSERT INTO boxes VALUES (1, $1)",
        "UPDATE boxes SET shape = $1 WHERE id = 1",
        "SELECT public.own()",
    ] {
        assert!(read(&assigned, sql).0.contains("delete public.log"), "{sql}");
    }
    for sql in ["INSERT INTO t VALUES (1)", "SELECT * FROM boxes"] {
        assert!(!read(&assigned, sql).0.contains("delete"), "{sql}");
    }
    let implicit = with(CastContext::Implicit, "text", 25);
    for sql in ["SELECT lower(v) FROM t", "SELECT id = 1 FROM t", "INSERT INTO t VALUES ($1)"] {
        assert!(read(&implicit, sql).0.contains("delete public.log"), "{sql}");
    }
    assert!(!read(&implicit, "SELECT 1").0.contains("delete"));
    let json = with(CastContext::Explicit, "json", 114);
    for sql in ["SELECT to_json(v) FROM t", "SELECT json_agg(t) FROM t"] {
        assert!(read(&json, sql).0.contains("delete public.log"), "{sql}");
    }
}

#[test]
fn a_definition_change_runs_event_triggers() {
    let mut catalog = catalog_with(Vec::new());
    let routines = Routines {
        routines: vec![routine(PURGE, "purge", Body::Sql("DELETE FROM public.log".into()))],
        event_triggers: vec![Callee::Routine(PURGE)],
        ..Routines::default()
    };
    catalog = catalog.with_routines(routines);
    for sql in
        ["CREATE TABLE n (a int)", "DROP TABLE t", "GRANT SELECT ON t TO public", "SELECT 1 INTO n"]
    {
        assert!(read(&catalog, sql).0.contains("delete public.log"), "{sql}");
    }
    assert!(!read(&catalog, "SELECT 1").0.contains("delete"));
}

#[test]
fn a_body_of_begin_atomic_is_read() {
    let text = "CREATE OR REPLACE FUNCTION public.own()\n RETURNS integer\n LANGUAGE sql\nBEGIN ATOMIC\n DELETE FROM log;\n SELECT 1;\nEND\n";
    let returns = "CREATE FUNCTION public.own() RETURNS integer LANGUAGE sql RETURN public.purge()";
    for text in [text, returns] {
        let catalog = catalog_with(vec![routine(50, "own", Body::Definition(text.into()))]);
        let (effects, doubt) = read(&catalog, "SELECT own()");
        assert!(effects.contains("delete public.log"), "{effects}");
        assert_eq!(doubt, None);
    }
}

#[test]
fn what_only_computes_is_no_call() {
    assert!(crate::computes_only(Some("$libdir/citext"), "citext_eq"));
    assert!(crate::computes_only(None, "textin"));
    for (place, symbol) in [
        (Some("citext"), "citext_eq"),
        (Some("/tmp/citext"), "citext_eq"),
        (Some("$libdir/../citext"), "citext_eq"),
        (Some("$libdir/other"), "citext_eq"),
        (Some("$libdir/internal"), "citext_eq"),
        (Some("$libdir/dblink"), "dblink_exec"),
        (Some("$libdir/pg_trgm"), "set_limit"),
        (None, "pg_read_file"),
        (None, "citext_eq"),
    ] {
        assert!(!crate::computes_only(place, symbol), "{place:?} {symbol}");
    }
    let computing = |id, name: &str, also: Vec<Callee>| {
        let mut one = routine(id, name, Body::Computes);
        one.also = also;
        one
    };
    let mut largest = routine(51, "largest", Body::Aggregate);
    largest.also = vec![Callee::Routine(50)];
    let mut worst = routine(52, "worst", Body::Aggregate);
    worst.also = vec![Callee::Routine(50), Callee::Routine(PURGE)];
    let mut set = computing(54, "set", Vec::new());
    set.settings = vec![("search_path".into(), "x".into())];
    let mut mixed = routine(56, "mixed", Body::Sql("DELETE FROM public.log".into()));
    mixed.name = ObjectName::qualified("other", "mixed");
    let routines = vec![
        routine(PURGE, "purge", Body::Sql("DELETE FROM public.log".into())),
        computing(50, "larger", vec![Callee::Builtin("abs".into())]),
        largest,
        worst,
        computing(53, "defaulting", vec![Callee::Routine(PURGE)]),
        set,
        computing(55, "mixed", Vec::new()),
        mixed,
    ];
    let names: Vec<std::sync::Arc<str>> = routines
        .iter()
        .map(|routine| routine.name.name.clone())
        .chain(["=".into(), "<~>".into()])
        .collect();
    let operators = vec![
        (ObjectName::qualified("public", "="), Callee::Routine(50)),
        (ObjectName::qualified("public", "<~>"), Callee::Routine(50)),
        (ObjectName::qualified("public", "<~>"), Callee::Routine(PURGE)),
    ];
    let table = relation(10, "t", RelationKind::Table, &["id", "v"]);
    let catalog = Catalog::new([table], names).with_routines(Routines {
        routines,
        operators,
        ..Routines::default()
    });
    for sql in [
        "SELECT larger(id, 1) FROM t",
        "SELECT public.larger(id, 1) FROM t",
        "SELECT largest(id) FROM t",
        "SELECT id FROM t WHERE v = 'x'",
        "SELECT id FROM t WHERE v OPERATOR(public.=) 'x'",
        "SELECT public.mixed(1) FROM t",
    ] {
        assert_eq!(read(&catalog, sql), ("read public.t".into(), None), "{sql}");
    }
    for sql in [
        "SELECT worst(id) FROM t",
        "SELECT defaulting() FROM t",
        "SELECT set() FROM t",
        "SELECT mixed(1) FROM t",
        "SELECT other.mixed(1) FROM t",
        "SELECT v <~> 'x' FROM t",
        "SELECT elsewhere.larger(id, 1) FROM t",
    ] {
        let (effects, _) = read(&catalog, sql);
        assert!(effects.contains("call"), "{sql}: {effects}");
    }
}
