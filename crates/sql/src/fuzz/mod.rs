//! What fuzzing asks of the analysis.

mod query;

use std::{collections::BTreeSet, sync::LazyLock};

use guard_core::{Certainty, ObjectName, Operation, Outputs};

use self::query::{Column, Masked, Writer};
use crate::{Body, Callee, Catalog, NoNames, Relation, RelationKind, Routine, Routines, analyze};

/// Analyses arbitrary bytes: must not panic.
pub fn fuzz_analyze(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        drop(analyze(&text.into(), &CATALOG, &NoNames));
    }
}

/// Writes a statement out of bytes and analyses it. Where the analysis is sure of itself, each masked column that
/// the statement was made to show is a source of the column that shows it, and each one that it keeps is said to be kept.
pub fn fuzz_lineage(data: &[u8]) {
    let mut writer = Writer::new(data);
    let written = statement(&mut writer);
    for statement in analyze(&written.text.as_str().into(), &CATALOG, &NoNames) {
        check(&written, &statement.operation);
    }
}

/// A statement, and what is true of it.
struct Written {
    text: String,
    /// What comes back.
    shows: Vec<Column>,
    /// Masked columns whose values it puts elsewhere.
    keeps: Masked,
}

fn statement(writer: &mut Writer<'_>) -> Written {
    let (form, table) = match writer.choices.of(12) {
        1 => ("COPY ([]) TO STDOUT", ""),
        2 => ("CREATE TABLE kept AS []", ""),
        3 => ("INSERT INTO orders (note) []", ""),
        4 => ("CREATE VIEW shown AS []", ""),
        5 => ("UPDATE users SET name = 'x' RETURNING []", "users"),
        6 => ("DELETE FROM users WHERE id = 1 RETURNING []", "users"),
        7 => ("INSERT INTO events (id) VALUES (1) RETURNING []", "events"),
        8 => ("UPDATE orders SET note = ([])", ""),
        _ => ("[]", ""),
    };
    if !table.is_empty() {
        let (list, shows) = writer.returning(table);
        return Written { text: form.replace("[]", &list), shows, keeps: Masked::new() };
    }
    let keeps = !form.starts_with("COPY") && form != "[]";
    let width = form.contains("note").then_some(1);
    let (query, shows) = writer.query(width);
    let text = form.replace("[]", &query);
    if !keeps {
        return Written { text, shows, keeps: Masked::new() };
    }
    // A view keeps a query, not values.
    let is_view = form.contains("VIEW");
    let kept = shows.into_iter().flat_map(|(_, masked)| masked);
    let keeps = if is_view { Masked::new() } else { kept.collect() };
    Written { text, shows: Vec::new(), keeps }
}

fn check(written: &Written, operation: &Operation) {
    let text = &written.text;
    match &operation.certainty {
        Certainty::Exact => {}
        // Nothing of that kind passes where there are masks.
        Certainty::Partial(_) | Certainty::Unparsed(_) => return,
    }
    let kept: BTreeSet<String> = operation.stores.iter().map(ToString::to_string).collect();
    for masked in &written.keeps {
        assert!(kept.contains(*masked), "{masked} is kept unseen by: {text}");
    }
    match &operation.outputs {
        Outputs::Unknown(_) => {}
        Outputs::None => assert!(written.shows.is_empty(), "columns come unseen from: {text}"),
        Outputs::Columns(columns) => {
            assert!(columns.len() == written.shows.len(), "another number of columns: {text}");
            for ((name, masked), output) in written.shows.iter().zip(columns) {
                for masked in masked {
                    let seen = output.sources.iter().any(|s| s.column.to_string() == *masked);
                    assert!(seen, "{masked} comes unseen as `{name}` out of: {text}");
                }
            }
        }
    }
}

/// It is the same for every input, and what is in bodies is read once.
static CATALOG: LazyLock<Catalog> = LazyLock::new(catalog);

fn catalog() -> Catalog {
    use RelationKind::{Table, View};
    let relation = |oid, name: &str, kind, definition: Option<&str>, parents| {
        let column = |(place, (name, _)): (usize, Column)| crate::Column {
            name: name.into(),
            number: i16::try_from(place + 1).unwrap_or(i16::MAX),
            type_oid: 25,
            type_modifier: -1,
            not_null: false,
            generated: false,
        };
        Relation {
            oid,
            name: ObjectName::qualified("public", name),
            kind,
            columns: query::relation(name).into_iter().enumerate().map(column).collect(),
            definition: definition.map(Into::into),
            parents,
            has_triggers: false,
        }
    };
    let people = "SELECT u.id, u.email AS mail FROM users u";
    let loud = "SELECT people.mail, upper(people.mail) AS upper_mail FROM people";
    Catalog::new(
        [
            relation(1, "orders", Table, None, Vec::new()),
            relation(2, "users", Table, None, Vec::new()),
            relation(3, "people", View, Some(people), Vec::new()),
            relation(4, "loud", View, Some(loud), Vec::new()),
            relation(5, "events", Table, None, Vec::new()),
            relation(6, "events_2024", Table, None, vec![5]),
        ],
        ["purge".into(), "again".into(), "===".into()],
    )
    .with_routines(routines())
}

/// A function, one that calls it in a block, and an operator of both.
fn routines() -> Routines {
    let routine = |id, name, body| Routine {
        id,
        name: ObjectName::qualified("public", name),
        body,
        settings: Vec::new(),
        also: Vec::new(),
    };
    let block =
        "DECLARE r record; BEGIN FOR r IN SELECT id FROM users LOOP PERFORM purge(); END LOOP; END";
    Routines {
        routines: vec![
            routine(1, "purge", Body::Sql("DELETE FROM orders; SELECT 1".into())),
            routine(2, "again", Body::Plpgsql(block.into())),
        ],
        operators: vec![(ObjectName::qualified("public", "==="), Callee::Routine(2))],
        ..Routines::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Numbers that look like chance and are the same at each run (Vigna's xorshift64*).
    fn bytes(seed: u64, count: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            u8::try_from(state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56).unwrap()
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn what_a_query_was_made_to_show_is_found() {
        let (mut understood, mut exact, mut masked, count) = (0, 0, 0, 1_000);
        for seed in 0..count {
            let data = bytes(seed, 160);
            fuzz_lineage(&data);
            let written = statement(&mut Writer::new(&data));
            let read = analyze(&written.text.as_str().into(), &CATALOG, &NoNames);
            let [one] = read.as_slice() else { continue };
            match &one.operation.certainty {
                Certainty::Unparsed(_) => {}
                Certainty::Partial(_) => understood += 1,
                Certainty::Exact => {
                    understood += 1;
                    let known = matches!(one.operation.outputs, Outputs::Columns(_));
                    exact += u64::from(known);
                    let tells = written.shows.iter().any(|(_, masked)| !masked.is_empty());
                    masked += u64::from(known && tells);
                }
            }
        }
        // What is not understood, or not sure, proves nothing.
        assert!(understood * 100 >= count * 99, "{understood} of {count} are SQL");
        assert!(exact * 100 >= count * 30, "{exact} of {count} are sure");
        assert!(masked * 100 >= count * 20, "{masked} of {count} show something");
    }

    /// What comes back of the columns of a query, as `table.column` lists.
    fn sources(sql: &str) -> Vec<String> {
        let read = analyze(&sql.into(), &CATALOG, &NoNames);
        match read.first().map(|one| &one.operation.outputs) {
            Some(Outputs::Columns(columns)) => {
                columns.iter().flat_map(|c| &c.sources).map(|s| s.column.to_string()).collect()
            }
            Some(Outputs::None | Outputs::Unknown(_)) | None => Vec::new(),
        }
    }

    /// The alias of a join hides the names in it, of which one may be the same.
    #[test]
    fn a_whole_row_of_a_join_is_all_of_it() {
        for sql in [
            "SELECT to_json(t) FROM (orders AS t JOIN users AS u ON true) AS t",
            "SELECT t::text FROM (orders AS t NATURAL JOIN users) AS t",
            "SELECT t FROM (orders AS t LEFT JOIN LATERAL (SELECT * FROM users) u ON true) AS t",
        ] {
            let sources = sources(sql);
            assert!(sources.contains(&"public.users.email".to_owned()), "{sql}: {sources:?}");
        }
    }
}
