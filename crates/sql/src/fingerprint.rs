//! Fingerprints: equal for statements that differ in literals only.
//!
//! A fingerprint is a digest over a statement's tokens, as PostgreSQL's scanner reads them: in their order, without comments and
//! blanks, with one mark for each value. So whoever reads a statement without its values reads all that a fingerprint is over, but
//! for the names that clients make up anew each time (of cursors, prepared statements and savepoints), and how many values there
//! are behind IN and ARRAY and rows behind VALUES.

use std::panic::{AssertUnwindSafe, catch_unwind};

use guard_core::Digest;
use pg_query::protobuf::{KeywordKind, Token as Kind};

/// Stands before what is digested, so that another form has other digests.
const FORM: &str = "guard-fingerprint/1";
/// Stands for a value; no token is written like it.
const VALUE: &str = "$";
/// Stands for a string that is no value: what a statement of administration does may be in it.
const OPAQUE: &str = "'";
/// Longest string among the options of a COPY that stands for itself, with its quotes: a delimiter, the word for NULL.
const MAX_OPTION: usize = 10;

/// Behind these a sign belongs to the number that follows.
const BEFORE_SIGN: [&str; 19] = [
    "(", "[", ",", "=", "<", ">", "<=", ">=", "<>", "!=", "and", "or", "not", "between", "limit",
    "offset", "then", "else", "when",
];
/// Statements whose strings are values.
const OF_VALUES: [&str; 13] = [
    "select", "insert", "update", "delete", "merge", "values", "with", "table", "explain",
    "prepare", "declare", "execute", "call",
];
/// Statements in which a client's own name stands second.
const NAME_SECOND: [&str; 3] = ["prepare", "execute", "declare"];
/// Statements in which it stands last.
const NAME_LAST: [&str; 6] = ["fetch", "move", "close", "deallocate", "savepoint", "release"];

/// A statement's tokens without its values.
pub(crate) struct Shape {
    tokens: Vec<Token>,
    /// It has a string that is no value.
    pub(crate) opaque: bool,
}

struct Token {
    /// What is digested of it. A name is quoted, a word that has a meaning is not.
    print: String,
    /// How a reader sees it.
    shown: String,
    /// Something stands between it and the one before.
    gap: bool,
}

impl Shape {
    /// Reads a text. `None` if the scanner cannot.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let scanned = catch_unwind(AssertUnwindSafe(|| pg_query::scan(text))).ok()?.ok()?;
        let mut reader = Reader::default();
        let mut last = 0;
        for token in &scanned.tokens {
            let start = usize::try_from(token.start).ok()?;
            let end = usize::try_from(token.end).ok()?;
            let own = text.get(start..end)?;
            let kind = Kind::try_from(token.token).ok()?;
            if kind == Kind::SqlComment || kind == Kind::CComment {
                continue;
            }
            let is_word = token.keyword_kind != KeywordKind::NoKeyword as i32;
            reader.take(kind, own, is_word, last < start);
            last = end;
        }
        reader.own_names();
        Some(Self { tokens: reader.tokens, opaque: reader.opaque })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Its digest.
    pub(crate) fn digest(&self) -> Digest {
        let mut all = FORM.to_owned();
        for token in &self.tokens {
            // INVARIANT: with its length before each token, two lists of tokens have one text only if they are the same.
            all.push_str(&format!(" {}:{}", token.print.len(), token.print));
        }
        Digest::of(all)
    }

    /// Its text, which has the same shape.
    pub(crate) fn shown(&self) -> String {
        let mut out = String::new();
        let mut values = 0;
        for token in &self.tokens {
            if token.gap && !out.is_empty() {
                out.push(' ');
            }
            if token.print == VALUE {
                values += 1;
                out.push_str(&format!("${values}"));
            } else {
                out.push_str(&token.shown);
            }
        }
        out
    }
}

/// What a bracket holds.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Bracket {
    /// Values or rows behind IN or ARRAY.
    List,
    /// A row of VALUES or of a list.
    Row,
    #[default]
    Other,
}

#[derive(Default)]
struct Level {
    holds: Bracket,
    /// Where it begins in the tokens.
    start: usize,
    /// The last row in it, from its bracket to behind it.
    row: Option<(usize, usize)>,
}

#[derive(Default)]
struct Reader {
    tokens: Vec<Token>,
    /// The statement itself, and what is open in it.
    base: Level,
    open: Vec<Level>,
    /// Strings are values from here on.
    of_values: bool,
    opaque: bool,
}

impl Reader {
    fn take(&mut self, kind: Kind, own: &str, is_word: bool, gap: bool) {
        if matches!(kind, Kind::Iconst | Kind::Fconst | Kind::Param) {
            self.value(gap);
        } else if matches!(kind, Kind::Sconst | Kind::Usconst | Kind::Bconst | Kind::Xconst) {
            self.string(own, gap);
        } else if kind == Kind::Ident {
            self.push(name(own), own, gap);
        } else if is_word {
            self.word(own, gap);
        } else {
            self.symbol(own, gap);
        }
    }

    fn push(&mut self, print: String, shown: &str, gap: bool) {
        self.tokens.push(Token { print, shown: shown.to_owned(), gap });
    }

    /// What stands so many tokens before the next one.
    fn before(&self, back: usize) -> &str {
        let at = self.tokens.len().checked_sub(back);
        at.and_then(|at| self.tokens.get(at)).map_or("", |token| &token.print)
    }

    fn first(&self) -> &str {
        self.tokens.first().map_or("", |token| &token.print)
    }

    fn level(&mut self) -> &mut Level {
        self.open.last_mut().unwrap_or(&mut self.base)
    }

    fn value(&mut self, mut gap: bool) {
        if matches!(self.before(1), "-" | "+") && BEFORE_SIGN.contains(&self.before(2)) {
            gap = self.tokens.pop().is_some_and(|sign| sign.gap);
        }
        self.push(VALUE.to_owned(), VALUE, gap);
    }

    fn string(&mut self, own: &str, gap: bool) {
        let in_copied_query =
            self.first() == "copy" && !self.open.is_empty() && self.query_copied();
        let is_target = matches!(self.before(1), "from" | "to" | "program");
        if self.of_values || in_copied_query {
            self.value(gap);
        } else if self.first() == "copy" && !is_target && own.len() <= MAX_OPTION {
            self.push(own.to_owned(), own, gap);
        } else {
            self.opaque = true;
            self.push(OPAQUE.to_owned(), "''", gap);
        }
    }

    /// `COPY (SELECT …)`.
    fn query_copied(&self) -> bool {
        let second = self.tokens.get(1).map(|token| token.print.as_str());
        second == Some("(") && self.open.first().is_some_and(|level| level.start == 1)
    }

    fn word(&mut self, own: &str, gap: bool) {
        let word = own.to_ascii_lowercase();
        let begins = OF_VALUES.contains(&word.as_str());
        let first = self.tokens.iter().all(|token| token.print == "(");
        // `CREATE TABLE x AS SELECT …`; a function's body behind AS is a string.
        let behind_as = self.before(1) == "as" || self.before(1) == "(" && self.before(2) == "as";
        if begins && (first || behind_as) || first && word == "notify" {
            self.of_values = true;
        }
        self.push(word, own, gap);
    }

    fn symbol(&mut self, own: &str, gap: bool) {
        match own {
            "(" | "[" => {
                let holds = self.opened(own);
                self.push(own.to_owned(), own, gap);
                let start = self.tokens.len() - 1;
                self.open.push(Level { holds, start, row: None });
            }
            ")" | "]" => {
                self.item_ends();
                self.push(own.to_owned(), own, gap);
                if let Some(level) = self.open.pop() {
                    self.closed(&level);
                }
            }
            "," => {
                self.item_ends();
                self.push(own.to_owned(), own, gap);
            }
            _ => self.push(own.to_owned(), own, gap),
        }
    }

    fn opened(&mut self, own: &str) -> Bracket {
        match (own, self.before(1)) {
            ("(", "in") | ("[", "array") => return Bracket::List,
            ("(", "values") => return Bracket::Row,
            _ => {}
        }
        let behind = self.tokens.len().checked_sub(1);
        let behind_row =
            self.before(1) == "," && self.level().row.is_some_and(|(_, end)| Some(end) == behind);
        let first_of_list =
            self.level().holds == Bracket::List && matches!(self.before(1), "(" | "[");
        if own == "(" && (behind_row || first_of_list) { Bracket::Row } else { Bracket::Other }
    }

    /// In rows and lists NULL, TRUE and FALSE are values; elsewhere they change what a statement means.
    fn item_ends(&mut self) {
        let is_listed = match self.level().holds {
            Bracket::List | Bracket::Row => true,
            Bracket::Other => false,
        };
        let is_alone = matches!(self.before(2), "(" | "[" | ",");
        if is_listed && is_alone && matches!(self.before(1), "null" | "true" | "false") {
            let gap = self.tokens.pop().is_some_and(|word| word.gap);
            self.push(VALUE.to_owned(), VALUE, gap);
        }
    }

    /// Of many values or rows that look the same one stays.
    fn closed(&mut self, level: &Level) {
        let end = self.tokens.len();
        match level.holds {
            Bracket::Other => {}
            Bracket::List => {
                let inside = self.tokens.get(level.start + 1..end - 1).unwrap_or_default();
                let alike = |(at, token): (usize, &Token)| {
                    token.print == if at % 2 == 0 { VALUE } else { "," }
                };
                if inside.len() > 1 && inside.iter().enumerate().all(alike) {
                    self.tokens.drain(level.start + 2..end - 1);
                }
            }
            Bracket::Row => {
                let own = level.start..end;
                let former = self.level().row;
                let prints = |range: std::ops::Range<usize>| {
                    self.tokens.get(range).unwrap_or_default().iter().map(|token| &token.print)
                };
                let same = former.is_some_and(|(start, end)| {
                    end + 1 == own.start && prints(start..end).eq(prints(own.clone()))
                });
                if same {
                    // With the comma before it.
                    self.tokens.truncate(own.start - 1);
                } else {
                    self.level().row = Some((own.start, own.end));
                }
            }
        }
    }

    /// Takes out names that say nothing of what is done.
    fn own_names(&mut self) {
        let at = if NAME_SECOND.contains(&self.first()) {
            1
        } else if NAME_LAST.contains(&self.first())
            || self.first() == "rollback" && self.before(2) == "to"
        {
            self.tokens.len() - 1
        } else {
            return;
        };
        if at > 0
            && let Some(token) = self.tokens.get_mut(at)
        {
            token.print = "name".to_owned();
        }
    }
}

/// A name as it is compared: one that is not quoted is in small letters, as PostgreSQL reads it.
fn name(own: &str) -> String {
    if own.starts_with('"') { own.to_owned() } else { format!("\"{}\"", own.to_ascii_lowercase()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[track_caller]
    fn of(text: &str) -> Digest {
        let shape = Shape::of(text).unwrap();
        let shown = shape.shown();
        assert_eq!(
            Shape::of(&shown).unwrap().digest(),
            shape.digest(),
            "{text} is shown as {shown}"
        );
        shape.digest()
    }

    #[test]
    fn statements_that_differ_in_values_are_one() {
        for (one, other) in [
            ("SELECT a FROM t WHERE b = 'x'", "select A from \"t\" -- all\n where b=$7"),
            ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = -1.5e3"),
            (
                "SELECT a FROM t WHERE b > E'\\n' AND c = X'1F'",
                "SELECT a FROM t WHERE b > U&'x' AND c = B'1'",
            ),
            ("SELECT a FROM t WHERE b IN (1)", "SELECT a FROM t WHERE b IN ($1, 'x', NULL, -3)"),
            (
                "SELECT a FROM t WHERE (b, c) IN ((1, 2))",
                "SELECT a FROM t WHERE (b, c) IN ((1, 2), (3, true))",
            ),
            ("SELECT ARRAY[1]", "SELECT ARRAY[1, 2, 3]"),
            (
                "INSERT INTO t VALUES (1, 'x')",
                "INSERT INTO t VALUES (1, NULL), (-2, 'y'), (true, 'z')",
            ),
            ("INSERT INTO t VALUES (now(), 1)", "INSERT INTO t VALUES (now(), 1), (now(), 2)"),
            ("CREATE TABLE x AS (SELECT 'a')", "CREATE TABLE x AS (SELECT 'b')"),
            ("PREPARE a AS SELECT 1", "PREPARE b AS SELECT 2"),
            ("DECLARE a CURSOR FOR TABLE t", "DECLARE \"b 1\" CURSOR FOR TABLE t"),
            ("FETCH 10 FROM a", "FETCH 20 FROM b"),
            ("ROLLBACK TO a", "ROLLBACK TO b"),
        ] {
            assert_eq!(of(one), of(other), "{one} | {other}");
        }
    }

    /// What the fingerprints of `pg_query` do not tell apart, and more.
    #[test]
    fn statements_that_differ_in_anything_else_are_two() {
        for (one, other) in [
            ("INSERT INTO o (a, b) SELECT x, y FROM t", "INSERT INTO o (b, a) SELECT x, y FROM t"),
            ("INSERT INTO o (a, b) SELECT x, y FROM t", "INSERT INTO o (a, b) SELECT y, x FROM t"),
            ("UPDATE t SET a = x, b = y", "UPDATE t SET a = y, b = x"),
            ("SELECT coalesce(a, b) FROM t", "SELECT coalesce(b, a) FROM t"),
            ("SELECT x - y FROM t", "SELECT y - x FROM t"),
            ("SELECT x - 1 FROM t", "SELECT x, -1 FROM t"),
            ("SELECT u.a FROM t u, w v", "SELECT u.a FROM t v, w u"),
            ("SELECT a AS x FROM t", "SELECT a AS y FROM t"),
            ("SELECT f(1)", "SELECT f(1, 2)"),
            ("SELECT \"user\" FROM t", "SELECT user FROM t"),
            ("SELECT \"A\" FROM t", "SELECT A FROM t"),
            (
                "SELECT a FROM t WHERE b IN (1, 2)",
                "SELECT a FROM t WHERE b IN (1, (SELECT c FROM u))",
            ),
            ("SELECT a FROM t WHERE b IN (1, 2)", "SELECT a FROM t WHERE b NOT IN (1, 2)"),
            ("SELECT a FROM t WHERE b ? 'x'", "SELECT a FROM t WHERE b = 'x'"),
            ("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1), ((SELECT c FROM u))"),
            ("INSERT INTO t VALUES (1, 2)", "INSERT INTO t VALUES (1), (2)"),
            ("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (DEFAULT)"),
            ("DELETE FROM t WHERE x = 1 OR false", "DELETE FROM t WHERE x = 1 OR true"),
            ("DELETE FROM t WHERE x IS NULL", "DELETE FROM t WHERE x IS NOT NULL"),
            ("UPDATE t SET a = 1 WHERE b = 2", "UPDATE t SET a = 1 /* WHERE b = 2 */"),
            ("CREATE POLICY p ON t USING (false)", "CREATE POLICY p ON t USING (true)"),
            ("GRANT SELECT ON t TO r", "GRANT SELECT ON t TO q"),
            ("GRANT SELECT ON t TO r", "GRANT SELECT ON t TO r WITH GRANT OPTION"),
            ("ALTER TABLE t OWNER TO a", "ALTER TABLE t OWNER TO b"),
            ("ALTER TABLE t RENAME TO a", "ALTER TABLE t RENAME TO b"),
            ("ALTER ROLE r NOSUPERUSER", "ALTER ROLE r SUPERUSER"),
            ("SET ROLE a", "SET ROLE b"),
            ("SET search_path = a", "SET search_path = b"),
            ("COPY t TO STDOUT (DELIMITER ',')", "COPY t TO STDOUT (DELIMITER '|')"),
            ("COPY t (a, b) FROM STDIN", "COPY t (b, a) FROM STDIN"),
            ("EXECUTE p(1)", "EXECUTE p(1, 2)"),
            ("PREPARE p AS SELECT a FROM t", "PREPARE p AS SELECT b FROM t"),
            ("SELECT U&\"\\0061\"", "SELECT \"a\""),
        ] {
            assert_ne!(of(one), of(other), "{one} | {other}");
        }
    }

    #[test]
    fn a_string_that_is_no_value_is_known_as_such() {
        for text in [
            "DO 'BEGIN END'",
            "DO $$BEGIN END$$",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f('a')",
            "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'a')",
            "COPY t TO '/tmp/a-file'",
            "COPY t FROM 'x'",
            "COPY t TO PROGRAM 'cat > file'",
            "COPY (SELECT 'a') TO PROGRAM 'cat > file'",
            "ALTER SYSTEM SET archive_command = 'x'",
            "ALTER ROLE r PASSWORD 'x'",
            "SET ROLE 'a'",
            "LOAD 'x'",
        ] {
            let shape = Shape::of(text).unwrap();
            assert!(shape.opaque, "{text}");
            // And no digest is over it.
            let other = text.replace("cat >", "rm").replace("'a'", "'b'").replace("'x'", "'y'");
            assert_eq!(shape.digest(), Shape::of(&other).unwrap().digest(), "{text}");
        }
    }

    #[test]
    fn many_values_are_read_in_a_moment() {
        let rows = "(1, 'x', NULL), ".repeat(50_000);
        let many = of(&format!("INSERT INTO t VALUES {rows}(2, 'y', 3)"));
        assert_eq!(many, of("INSERT INTO t VALUES (1, 'x', NULL)"));
        let list = "1, ".repeat(100_000);
        assert_eq!(
            of(&format!("SELECT a FROM t WHERE b IN ({list}2)")),
            of("SELECT a FROM t WHERE b IN (1)")
        );
    }
}
