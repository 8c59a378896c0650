//! Functions that extensions bring: what only computes is no call, and nothing else passes for it.

use guard_tests::Stage;

const READS: &str = "policy: stage\nrules:\n  - name: reads\n    sql: { effects: [read, session, transaction] }\n    decide: allow\n";

const SETUP: &str = "
    CREATE EXTENSION citext; CREATE EXTENSION pgcrypto; CREATE EXTENSION pg_trgm; CREATE EXTENSION hstore;
    CREATE TABLE kept AS SELECT generate_series(1, 100) AS id;
    CREATE TABLE people (id int PRIMARY KEY, email citext UNIQUE, tags hstore);
    INSERT INTO people SELECT n, 'P' || n || '@example.com', hstore('n', n::text) FROM generate_series(1, 5) n;
    CREATE FUNCTION as_circle(text) RETURNS circle LANGUAGE plpgsql AS
        $$ BEGIN DELETE FROM public.kept; RETURN '<(0,0),1>'; END $$;
    CREATE CAST (text AS circle) WITH FUNCTION as_circle(text);
    ALTER EXTENSION citext ADD FUNCTION as_circle(text);
    ALTER EXTENSION citext ADD CAST (text AS circle);
    CREATE FUNCTION digest(text, text, int) RETURNS bytea LANGUAGE plpgsql AS
        $$ BEGIN DELETE FROM public.kept; RETURN ''; END $$;
    CREATE SCHEMA other;
    CREATE FUNCTION other.citext_larger(citext, citext) RETURNS citext LANGUAGE plpgsql AS
        $$ BEGIN DELETE FROM public.kept; RETURN $1; END $$;
    CREATE AGGREGATE other.longest(citext) (SFUNC = other.citext_larger, STYPE = citext);
    CREATE FUNCTION citext_eq(text, int) RETURNS bool LANGUAGE plpgsql AS
        $$ BEGIN DELETE FROM public.kept; RETURN true; END $$;
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE SCHEMA moody; CREATE DOMAIN moody.hue AS text CHECK (citext_eq(VALUE, 1)); CREATE TYPE hue AS ENUM ('red');
    CREATE OPERATOR %= (LEFTARG = text, RIGHTARG = int, FUNCTION = citext_eq);";

#[test]
fn what_an_extension_computes_is_no_call_and_what_pretends_to_is() {
    let stage = Stage::builder().shop(5).policy(READS).start().unwrap();
    stage.postgres.sql("shop", SETUP).unwrap();
    for (sql, answer) in [
        ("SELECT id FROM people WHERE email = 'p3@EXAMPLE.com'", "3"),
        ("SELECT max(email) FROM people", "P5@example.com"),
        ("SELECT similarity('word', 'words') > 0.5", "t"),
        ("SELECT length(public.gen_salt('bf')) > 1", "t"),
        ("SELECT tags -> 'n' FROM people WHERE id = 2", "2"),
        ("SELECT id FROM people WHERE tags @> 'n=>4'", "4"),
        ("SELECT count(*) FROM people a JOIN people b ON a.email = b.email", "5"),
        ("SELECT id FROM people WHERE email = 'p3@EXAMPLE.com'::citext", "3"),
        ("SELECT id FROM people WHERE email = ANY ('{p3@EXAMPLE.com}'::citext[])", "3"),
        ("SELECT 'sad'::mood", "sad"),
        ("SELECT encode(hmac('a', 'k', 'sha256'), 'hex') <> ''", "t"),
    ] {
        let run = stage.psql(sql).unwrap();
        assert_eq!((run.code, run.text().trim()), (0, answer), "{sql}: {}", run.stderr);
    }
    for sql in [
        "SELECT '<(0,0),1>'::text::circle",
        "SELECT digest('a', 'sha256', 1)",
        "SELECT other.longest(email) FROM people",
        "SELECT 'a'::text %= 1",
        "SELECT citext_eq('a'::text, 1)",
        "SELECT 'red'::hue",
        "SELECT 'red'::moody.hue",
        "SELECT set_limit(0.1)",
        "SELECT * FROM each('a=>1')",
    ] {
        let run = stage.psql(sql).unwrap();
        assert_ne!(run.code, 0, "{sql}: was not refused\n{}", run.stderr);
        assert!(run.stderr.contains("GRD-2"), "{sql}: not refused by guard\n{}", run.stderr);
    }
    assert_eq!(stage.postgres.sql("shop", "SELECT count(*) FROM kept").unwrap(), "100");
}
