//! Texts of statements as a lock lists them: without values and comments, and with the fingerprints that are compared.

use guard_core::Digest;

use crate::{fingerprint::Shape, inside, precheck};

/// The fingerprints that the statement of a text can have: its own, and that of what it prepares. `None` if the text is none that a
/// lock can list.
pub fn fingerprints(text: &str) -> Option<[Digest; 2]> {
    let own = shape(text)?.digest();
    Some([own, inside(own)])
}

/// A statement's text without its values and comments, which has the same fingerprint. `None` where there is none.
pub fn without_literals(text: &str, fingerprint: Digest) -> Option<String> {
    let shown = shape(text)?.shown();
    fingerprints(&shown).is_some_and(|known| known.contains(&fingerprint)).then_some(shown)
}

/// What a text is without its values; `None` where a string is more than a value.
fn shape(text: &str) -> Option<Shape> {
    precheck::check(text).ok()?;
    Shape::of(text).filter(|shape| !shape.opaque && !shape.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::{Catalog, NoNames, analyze};

    fn learned(text: &str) -> Option<String> {
        let statements = analyze(&text.into(), &Catalog::default(), &NoNames);
        without_literals(text, statements.first().unwrap().operation.fingerprint)
    }

    #[test]
    fn no_literal_and_no_comment_is_left() {
        for text in [
            "SELECT a FROM t WHERE b = 'secret' /* secret */ AND c IN (1, 2) -- secret",
            "INSERT INTO t VALUES (1, 'secret'), (2, E'secret\\n')",
            "UPDATE t SET a = 'secret' WHERE b = $1 AND c = 'secret'",
            "SELECT $x$secret$x$, U&'secret', interval 'secret'",
            "COPY (SELECT * FROM t WHERE a = 'secret') TO STDOUT",
            "SET application_name = 'secret'",
            "CREATE ROLE x PASSWORD 'secret'",
            "COMMENT ON TABLE t IS 'secret'",
            "NOTIFY c, 'secret'",
            "DO $$BEGIN PERFORM 'secret'; END$$",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT secret'",
            "COPY t FROM '/tmp/secret-file'",
        ] {
            let learned = learned(text);
            assert!(learned.as_ref().is_none_or(|text| !text.contains("secret")), "{learned:?}");
        }
    }

    #[test]
    fn what_jobs_do_has_a_text_of_the_same_fingerprint() {
        for (text, shown) in [
            ("SELECT a\n  FROM t -- all\n WHERE b = 'x'", "SELECT a FROM t WHERE b = $1"),
            ("SELECT a FROM t WHERE b = $1", "SELECT a FROM t WHERE b = $1"),
            ("DELETE FROM \"T\" WHERE id = 7", "DELETE FROM \"T\" WHERE id = $1"),
            (
                "COPY t TO STDOUT (FORMAT csv, DELIMITER ',')",
                "COPY t TO STDOUT (FORMAT csv, DELIMITER ',')",
            ),
            (
                "create temp table x as select 'a', a from t",
                "create temp table x as select $1, a from t",
            ),
            ("COPY (SELECT 'a') TO STDOUT", "COPY (SELECT $1) TO STDOUT"),
            ("NOTIFY c, 'd'", "NOTIFY c, $1"),
            ("VACUUM t", "VACUUM t"),
        ] {
            assert_eq!(learned(text).as_deref(), Some(shown));
        }
    }

    #[test]
    fn a_text_has_one_fingerprint_and_that_of_what_it_prepares() {
        let text = "PREPARE p AS DELETE FROM t WHERE id = $1";
        let statements = analyze(&text.into(), &Catalog::default(), &NoNames);
        let statement = statements.first().unwrap();
        let crate::StatementRole::Prepare { inner, .. } = &statement.role else { panic!() };
        let prints = fingerprints(text).unwrap();
        assert!(prints.contains(&statement.operation.fingerprint));
        assert!(prints.contains(&inner.operation.fingerprint));
        for none in ["", "\0", " -- x", "SELECT 'x", "DO 'x'", "LOAD 'x'", &"(".repeat(10_000)] {
            assert_eq!(fingerprints(none), None, "{none}");
        }
    }
}
