//! What a planner is asked to know how many rows a statement is about.

use std::borrow::Cow;

use guard_core::Operation;
use pg_query::{NodeEnum as N, protobuf as pg};

use crate::{parse, precheck};

/// What stands behind `EXPLAIN` so that the server plans what an operation runs; `None` where it does not, or where
/// planning alone would run something.
pub fn planned(operation: &Operation) -> Option<Cow<'_, str>> {
    let text: &str = operation.text.reveal();
    match &*operation.label {
        "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "DECLARE CURSOR"
        | "CREATE TABLE AS" => Some(Cow::Borrowed(text)),
        "COPY" if precheck::cheap(text) => copied(text).map(Cow::Owned),
        // The arguments of an EXECUTE are computed when it is explained.
        _ => None,
    }
}

/// The query of a COPY to somewhere, or one for all rows of its table. COPY leaves out those of its children.
fn copied(text: &str) -> Option<String> {
    let tree = parse::parse(text).ok()?;
    let [pg::RawStmt { stmt: Some(statement), .. }] = tree.stmts.as_slice() else { return None };
    let Some(N::CopyStmt(copy)) = &statement.node else { return None };
    if copy.is_from {
        return None;
    }
    match (&copy.relation, copy.query.as_deref().and_then(|query| query.node.as_ref())) {
        (Some(table), None) => {
            let parts = [&table.schemaname, &table.relname].into_iter();
            let parts = parts.filter(|part| !part.is_empty());
            let quoted = parts.map(|part| format!("\"{}\"", part.replace('"', "\"\"")));
            Some(format!("SELECT FROM ONLY {}", quoted.collect::<Vec<_>>().join(".")))
        }
        (None, Some(query)) => query.deparse(pg_query::DeparseOptions::default()).ok(),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use super::*;
    use crate::{Catalog, NoNames};

    fn of(text: &str) -> Option<String> {
        let statements = crate::analyze(&Arc::from(text), &Catalog::default(), &NoNames);
        let operation = statements.last().unwrap().operation.clone();
        planned(&operation).map(Cow::into_owned)
    }

    #[test]
    fn what_runs_is_what_is_planned() {
        for (text, expected) in [
            ("DELETE FROM t WHERE id < 5", "DELETE FROM t WHERE id < 5"),
            ("SELECT 1; UPDATE t SET a = 1;", "UPDATE t SET a = 1"),
            ("DECLARE c CURSOR FOR SELECT 1", "DECLARE c CURSOR FOR SELECT 1"),
            ("WITH d AS (DELETE FROM t) SELECT 1", "WITH d AS (DELETE FROM t) SELECT 1"),
            ("CREATE TABLE c AS SELECT 1", "CREATE TABLE c AS SELECT 1"),
            ("VALUES (1), (2)", "VALUES (1), (2)"),
            ("COPY \"O\"\"d\".t (a) TO STDOUT", "SELECT FROM ONLY \"O\"\"d\".\"t\""),
            (
                "COPY (DELETE FROM t WHERE ')' <> a RETURNING a) TO STDOUT",
                "DELETE FROM t WHERE ')' <> a RETURNING a",
            ),
        ] {
            assert_eq!(of(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_planning_would_run_or_does_not_show_is_not_planned() {
        for text in [
            "EXECUTE p(nextval('s'))",
            "EXPLAIN ANALYZE DELETE FROM t",
            "PREPARE p AS DELETE FROM t",
            "COPY t FROM STDIN",
            "CALL f()",
            "DO 'BEGIN END'",
            "TRUNCATE t",
            "SET x.y = 1",
            "DELETE FORM t",
            "FETCH ALL FROM c",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
