//! Names and texts as PostgreSQL reads them in a statement.
//!
//! Names come from the server's catalog, where anyone who may create can choose them: each is quoted, whatever is in it.

/// A name, quoted.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A name in a schema, quoted.
pub(super) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// A text, quoted. Sound with `standard_conforming_strings` only, which the connection sets.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::{ident, literal, qualified};

    #[test]
    fn what_is_in_a_name_does_not_leave_it() {
        assert_eq!(ident("a\"; DROP ROLE app; --"), "\"a\"\"; DROP ROLE app; --\"");
        assert_eq!(qualified("a.b", "c"), "\"a.b\".\"c\"");
        assert_eq!(literal("it's \\'"), "'it''s \\'''");
    }
}
