//! Statements that are made to take long to read: each is answered in time, and others go on meanwhile.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use guard_tests::{Stage, policies};

use super::wire::{Held, query};

/// Guard gives up after two seconds; the rest is for a machine that is busy with other tests.
const VERDICT_WITHIN: Duration = Duration::from_secs(15);
/// What took longer is long.
const LONG: Duration = Duration::from_secs(1);
/// How often another client is answered at least while one of those is read, on average. If it waited, it would be
/// answered once, between two of them.
const OTHERS_MEANWHILE: usize = 3;

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
    let stage = Stage::builder().shop(5).policy(policies::READ_ONLY).start().unwrap();
    let held = Held::start(&stage);
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut long, mut meanwhile) = (0, 0);
    thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut wire = held.ready();
            while !done.load(Ordering::Relaxed) {
                wire.send(&query("SELECT count(*) FROM orders"));
                let answer = wire.until_ready();
                assert!(answer.iter().any(|(kind, _)| *kind == b'D'), "no row came: {answer:?}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Ends the others also when an assertion fails.
        let end = End(&done);
        let mut wire = held.ready();
        for (name, text) in hostile() {
            let (asked, before) = (Instant::now(), answered.load(Ordering::Relaxed));
            // Whether it is understood or not, something in it is refused: it never reaches the server.
            wire.send(&query(&format!("{text}; DROP TABLE orders")));
            let kinds: Vec<u8> = wire.until_ready().into_iter().map(|(kind, _)| kind).collect();
            let took = asked.elapsed();
            assert_eq!(kinds, b"EZ", "{name}, {} bytes, after {took:?}", text.len());
            assert!(took < VERDICT_WITHIN, "{name}, {} bytes: {took:?}", text.len());
            if took > LONG {
                long += 1;
                meanwhile += answered.load(Ordering::Relaxed) - before;
            }
        }
        drop(end);
        others.join().unwrap();
    });
    assert!(long > 0, "nothing took long: is it still what makes a parser slow?");
    assert!(
        meanwhile >= long * OTHERS_MEANWHILE,
        "{meanwhile} answers for another client while {long} long texts were read"
    );
    assert_eq!(stage.postgres.sql("shop", "SELECT count(*) > 0 FROM orders").unwrap(), "t");
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
