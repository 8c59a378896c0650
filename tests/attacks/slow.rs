//! Statements that are made to take long to read: each is answered in time, and others go on meanwhile.

use std::time::{Duration, Instant};

use guard_tests::{EnforceAt, Stage, policies};

use super::wire::{Held, Wire, query};

/// Guard gives up after two seconds; the rest is for a machine that is busy with other tests.
const VERDICT_WITHIN: Duration = Duration::from_secs(15);
/// Short statements of another client that are answered before a long one's last byte is sent.
const ROUNDS_BEFORE: usize = 20;
/// While the thread of all clients reads a text, another client gets the answer that was under way, and the one that
/// comes right behind the text's own, and hardly more, however slow the machine is.
const AT_MOST_IF_HELD_UP: usize = 5;
/// So many of the texts take much longer to read than another client's short statement takes to be answered. Busy
/// processors make both slower.
const LONG_ONES: usize = 15;

/// Just below the longest text that guard reads.
const SIZE: usize = 1_000_000;

/// Fills a text with a part up to a size.
fn many(part: &str, size: usize) -> String {
    part.repeat(size / part.len())
}

fn nested(open: &str, close: &str, size: usize) -> String {
    let count = size / (open.len() + close.len());
    format!("SELECT {}1{}", open.repeat(count), close.repeat(count))
}

fn hostile() -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for size in [40_000, 80_000, 160_000, SIZE] {
        all.push(("operators that are comments", format!("SELECT 1 {}", many("/*/**/*/", size))));
        all.push(("comments in a comment", format!("SELECT 1 /*{}*/", many("/*/**/*/", size))));
        all.push(("operators and comments", format!("SELECT 1 {}", many("+/**/", size))));
    }
    for (name, open, close) in [
        ("brackets", "(", ")"),
        ("queries", "(SELECT ", ")"),
        ("queries that name a column `end`", "(SELECT 1 AS end, ", ")"),
        ("cases", "CASE WHEN true THEN ", " END"),
        ("arrays", "ARRAY[", "]"),
        ("JSON", "JSON_ARRAY(", ")"),
        ("brackets after a string that goes on", "E'a'\n'\\'', (", ")"),
    ] {
        all.push((name, nested(open, close, SIZE)));
    }
    for (name, part) in [
        ("AND", " AND 1"),
        ("OR", " OR 1"),
        ("strings put together", "||'x'"),
        ("UNION", " UNION SELECT 1"),
        ("UNION with commas", " UNION SELECT 1,1,1"),
        ("joins", " JOIN orders USING (id)"),
        ("casts", "::int"),
        ("subscripts", "[1]"),
        ("operators by name", " OPERATOR(pg_catalog.+) 1"),
        ("columns", ",1"),
        ("columns that are computed", ",1+1"),
        ("fields", ".a"),
        ("statements", ";SELECT 1"),
        ("strings that go on", "\n'x'"),
        ("tags", " $a$ $b$"),
    ] {
        all.push((name, format!("SELECT 1{}", many(part, SIZE))));
    }
    all.push(("items", format!("SELECT 1 WHERE 1 IN (1{})", many(",1", SIZE))));
    all.push(("tables", format!("SELECT 1 FROM orders{}", many(",orders", SIZE))));
    all.push(("queries by name", {
        let with = (1..SIZE / 60).map(|n| format!(", q{n} AS (SELECT * FROM q{0}, q{0} x)", n - 1));
        format!("WITH q0 AS (SELECT 1){} SELECT 1", with.collect::<String>())
    }));
    all.push(("a long name", format!("SELECT {}", many("a", SIZE))));
    all.push(("a long quoted name", format!("SELECT \"{}\"", many("\"\"", SIZE))));
    all.push(("a long number", format!("SELECT {}", many("1", SIZE))));
    all.push(("a string of escapes", format!("SELECT E'{}'", many("\\n", SIZE))));
    all.push(("a string of Unicode escapes", format!("SELECT U&'{}'", many("\\0041", SIZE))));
    all.push(("a string without an end", format!("SELECT '{}", many("a''", SIZE))));
    all.push(("a tag without an end", format!("SELECT $a${}", many("$a", SIZE))));
    all.push(("a comment without an end", format!("SELECT /*{}", many("*", SIZE))));
    all.push(("prefixes", format!("SELECT {}true", many("NOT ", SIZE))));
    all
}

#[test]
fn a_statement_that_takes_long_to_read_is_given_up_and_others_go_on() {
    let stage = Stage::builder()
        .shop(5)
        .policy(policies::READ_ONLY)
        .enforce_at(EnforceAt::Shim)
        .start()
        .unwrap();
    // One thread serves all clients: who held it up would hold up everybody.
    let held = Held::start_with(&stage, &[("TOKIO_WORKER_THREADS", "1")]);
    let (mut long, mut other) = (held.ready(), held.ready());
    let mut answered = Vec::new();
    for (name, text) in hostile() {
        // Whether it is understood or not, something in it is refused: it never reaches the server.
        let message = query(&format!("{text}; DROP TABLE orders"));
        let (last, all_but_it) = message.split_last().unwrap();
        long.send(all_but_it);
        // What came is read from the socket by now, and reading the statement can begin with its last byte.
        (0..ROUNDS_BEFORE).for_each(|_| short_statement(&mut other));
        let asked = Instant::now();
        long.send(&[*last]);
        let mut meanwhile = 0;
        while !long.is_answered() {
            short_statement(&mut other);
            meanwhile += 1;
        }
        let took = asked.elapsed();
        let kinds: Vec<u8> = long.until_ready().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, b"EZ", "{name}, {} bytes, after {took:?}", text.len());
        assert!(took < VERDICT_WITHIN, "{name}, {} bytes: {took:?}", text.len());
        answered.push((meanwhile, name, text.len()));
    }
    let beside = answered.iter().filter(|(meanwhile, ..)| *meanwhile > AT_MOST_IF_HELD_UP).count();
    assert!(beside >= LONG_ONES, "another client waited while texts were read: {answered:?}");
    assert_eq!(stage.postgres.sql("shop", "SELECT count(*) > 0 FROM orders").unwrap(), "t");
}

#[track_caller]
fn short_statement(wire: &mut Wire) {
    wire.send(&query("SELECT count(*) FROM orders"));
    assert!(wire.until_ready().iter().any(|(kind, _)| *kind == b'D'), "no row came");
}
