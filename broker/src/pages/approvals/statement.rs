//! A statement for people: in one line, and laid out by its clauses.

/// A clause begins with one of these.
const CLAUSES: [&str; 19] = [
    "FROM",
    "WHERE",
    "SET",
    "VALUES",
    "RETURNING",
    "USING",
    "JOIN",
    "LEFT",
    "RIGHT",
    "INNER",
    "FULL",
    "CROSS",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "UNION",
    "ON",
];
/// In these words a clause goes on.
const GOES_ON: [&str; 6] = ["LEFT", "RIGHT", "INNER", "FULL", "CROSS", "OUTER"];
/// Conditions, a step further in.
const CONDITIONS: [&str; 2] = ["AND", "OR"];

/// A statement in a line.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A statement of one line with each clause in a line of its own: nothing but blanks is another. `None` where that would be no
/// help, or where only a parser could tell clauses from what is in quotes: escapes, dollar quotes and comments.
pub(super) fn laid_out(text: &str) -> Option<String> {
    let text = text.trim();
    let opaque = |pattern| text.contains(pattern);
    if text.contains('\n') || opaque("\\") || opaque("--") || opaque("/*") || has_dollar_quote(text)
    {
        return None;
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut quote = None;
    let mut depth = 0_usize;
    let mut last = String::new();
    for word in pieces(text) {
        if quote.is_none() && depth == 0 {
            let upper = word.to_uppercase();
            let between = last == "BETWEEN";
            let clause = CLAUSES.contains(&upper.as_str())
                && !(GOES_ON.contains(&last.as_str()) && GOES_ON.contains(&upper.as_str()))
                && !(upper == "JOIN" && GOES_ON.contains(&last.as_str()))
                && !(upper == "FROM" && last == "DELETE");
            if !out.is_empty() && clause {
                newline(&mut out, "");
            } else if CONDITIONS.contains(&upper.as_str()) && !between {
                newline(&mut out, "  ");
            }
            // `BETWEEN a AND b` is one condition.
            if upper == "BETWEEN"
                || CLAUSES.contains(&upper.as_str())
                || CONDITIONS.contains(&upper.as_str())
                || GOES_ON.contains(&upper.as_str())
                || upper == "DELETE"
            {
                last = upper;
            }
        }
        for c in word.chars() {
            match (quote, c) {
                (None, '\'' | '"') => quote = Some(c),
                (Some(open), c) if c == open => quote = None,
                (None, '(') => depth += 1,
                (None, ')') => depth = depth.saturating_sub(1),
                (Some(_) | None, _) => {}
            }
        }
        out.push_str(word);
    }
    (quote.is_none() && out.contains('\n')).then_some(out)
}

/// Words, and what is between them.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let kind = is_word(first);
        let end = rest.find(|c| is_word(c) != kind).unwrap_or(rest.len());
        // Quotes and parentheses are looked at one by one.
        let end = if kind { end } else { first.len_utf8() };
        let (piece, others) = rest.split_at_checked(end)?;
        rest = others;
        Some(piece)
    })
}

fn newline(out: &mut String, indent: &str) {
    let kept = out.trim_end().len();
    out.truncate(kept);
    out.push('\n');
    out.push_str(indent);
}

/// Whether a `$` stands before anything but the number of a parameter.
fn has_dollar_quote(text: &str) -> bool {
    let mut after = text.split('$').skip(1);
    after.any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::laid_out;

    #[test]
    fn clauses_stand_in_lines_of_their_own() {
        for (text, laid) in [
            (
                "DELETE FROM orders WHERE paid = false AND at < '2020-01-01' RETURNING id",
                "DELETE FROM orders\nWHERE paid = false\n  AND at < '2020-01-01'\nRETURNING id",
            ),
            (
                "update users set name = 'a where b' where id in (select id from old where x)",
                "update users\nset name = 'a where b'\nwhere id in (select id from old where x)",
            ),
            (
                "SELECT * FROM a LEFT JOIN b ON a.id = b.id WHERE a.n BETWEEN 1 AND 2",
                "SELECT *\nFROM a\nLEFT JOIN b\nON a.id = b.id\nWHERE a.n BETWEEN 1 AND 2",
            ),
            ("INSERT INTO t VALUES ($1, 'it''s FROM')", "INSERT INTO t\nVALUES ($1, 'it''s FROM')"),
        ] {
            assert_eq!(laid_out(text).as_deref(), Some(laid));
        }
    }

    #[test]
    fn what_only_a_parser_understands_stays_as_it_is() {
        for text in [
            "SELECT 1",
            "SELECT E'\\' FROM ' FROM t",
            "SELECT $$ FROM $$ FROM t",
            "SELECT 1 -- FROM\n FROM t",
            "SELECT /* ' */ 1 FROM t",
            "SELECT 'open FROM t",
        ] {
            assert_eq!(laid_out(text), None, "{text}");
        }
    }

    #[test]
    fn nothing_but_blanks_is_another() {
        let text = "SELECT \"from\" , (a OR b) FROM \"t'x\" WHERE é = 'OR' OR f(x) ORDER BY 1";
        let laid = laid_out(text).unwrap();
        let bare = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(bare(text), bare(&laid));
    }
}
