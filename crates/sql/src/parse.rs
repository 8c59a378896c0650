//! The one place that calls PostgreSQL's parser.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pg_query::protobuf::ParseResult;

/// Parses a text that [`crate::precheck`] found small and flat enough. The library's own walk over
/// the tree may panic on shapes that it does not expect; that is an error like any other.
pub(crate) fn parse(text: &str) -> Result<ParseResult, String> {
    crate::precheck::check(text)?;
    match catch_unwind(AssertUnwindSafe(|| pg_query::parse(text, 0))) {
        Ok(Ok(result)) => Ok(result.protobuf),
        Ok(Err(pg_query::Error::Parse(why))) => Err(why),
        Ok(Err(other)) => Err(other.to_string()),
        Err(_) => Err("the parser failed".into()),
    }
}
