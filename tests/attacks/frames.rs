//! Frames that are huge, cut or lying, and orders of messages that hide a statement.

use guard_tests::{EnforceAt, Stage, policies};

use super::wire::{Held, Message, execute, frame, framed, parse, query, startup, sync};

fn text(messages: &[Message]) -> String {
    let bytes: Vec<u8> = messages.iter().flat_map(|(_, body)| body.clone()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn kinds(messages: &[Message]) -> String {
    messages.iter().map(|(kind, _)| char::from(*kind)).filter(|kind| *kind != 'S').collect()
}

fn rows(stage: &Stage) -> String {
    stage.postgres.sql("shop", "SELECT count(*) FROM orders").unwrap()
}

#[test]
fn broken_frames_end_one_connection_and_no_other() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let stage = Stage::builder()
            .shop(10)
            .enforce_at(place)
            .policy(policies::READ_ONLY)
            .start()
            .unwrap();
        let held = Held::start(&stage);
        let mut bystander = held.ready();
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("a length that does not hold itself", framed(b'Q', 3, b"")),
            ("a length of nothing", framed(b'Q', 0, b"")),
            ("a negative length", framed(b'Q', u32::MAX, b"SELECT 1\0")),
            ("a length of two gigabytes", framed(b'Q', 0x7fff_ffff, b"SELECT 1\0")),
            ("a cut query", framed(b'Q', 100, b"SELECT 1")),
            ("a query without its end", frame(b'Q', b"SELECT 1")),
            ("a query with two ends", frame(b'Q', b"SELECT 1\0; DROP TABLE orders\0")),
            ("an empty body", frame(b'Q', b"")),
            ("an unknown message", frame(b'!', b"DROP TABLE orders\0")),
            ("a parse that ends early", frame(b'P', b"name\0DROP TABLE orders\0")),
            ("a parse that lies about its types", frame(b'P', b"\0SELECT 1\0\x7f\xff")),
            ("a bind of lies", frame(b'B', b"\0\0\xff\xff\xff\xff")),
            ("a bind with a huge value", frame(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff")),
            ("a password out of place", frame(b'p', b"secret\0")),
            ("copied data out of place", frame(b'd', b"DROP TABLE orders\n")),
            ("a function call", frame(b'F', b"\0\0\0\x20\0\0\0\0\0\0")),
            ("a second start-up", startup(196_608, &[("user", "job")])),
            (
                "sixteen megabytes of comment",
                query(&format!("/*{}*/ DROP TABLE orders", "x".repeat(16 << 20))),
            ),
            (
                "nested comments",
                query(&format!("{}{} DROP TABLE orders", "/*".repeat(50_000), "*/".repeat(50_000))),
            ),
            (
                "deep brackets",
                query(&format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000))),
            ),
            ("invalid UTF-8", frame(b'Q', b"SELECT '\xff\xfe'; DROP TABLE orders\0")),
        ];
        for (what, bytes) in cases {
            let mut wire = held.ready();
            wire.send(&bytes);
            let answer = wire.read_to_the_end();
            let answer = String::from_utf8_lossy(&answer);
            assert!(!answer.contains("DROP TABLE\0"), "{what}: was executed");
            assert_eq!(rows(&stage), "20", "{what}");
            bystander.send(&query("SELECT 'still ' || 'served'"));
            assert!(text(&bystander.until_ready()).contains("still served"), "{what}");
        }
        let starts: Vec<(&str, Vec<u8>)> = vec![
            ("nothing", Vec::new()),
            ("a huge start-up", 0x7fff_ffff_u32.to_be_bytes().to_vec()),
            ("a tiny start-up", 4_u32.to_be_bytes().to_vec()),
            ("version 2", startup(0x0002_0000, &[("user", "job")])),
            (
                "replication",
                startup(
                    196_608,
                    &[("user", "job"), ("replication", "database"), ("database", "shop")],
                ),
            ),
            ("another database", startup(196_608, &[("user", "job"), ("database", "postgres")])),
            ("a cancel request of nobody", framed(0, 0x1004_d216, &[2; 11])),
            ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ];
        for (what, bytes) in starts {
            let mut wire = held.raw();
            wire.send(&bytes);
            let answer = wire.read_to_the_end();
            assert!(!answer.contains(&b'Z') || answer.first() == Some(&b'E'), "{what}: {answer:?}");
            bystander.send(&query("SELECT 'still ' || 'served'"));
            assert!(text(&bystander.until_ready()).contains("still served"), "{what}");
        }
    }
}

#[test]
fn pipelined_messages_keep_their_order_and_stop_at_a_refusal() {
    let stage = Stage::builder().shop(10).policy(policies::READ_ONLY).start().unwrap();
    let held = Held::start(&stage);
    let mut wire = held.ready();
    let mut sent = Vec::new();
    sent.extend(parse("", "SELECT 'first'"));
    sent.extend(execute(""));
    sent.extend(parse("", "DELETE FROM orders"));
    sent.extend(execute(""));
    sent.extend(parse("", "SELECT 'third'"));
    sent.extend(execute(""));
    sent.extend(sync());
    wire.send(&sent);
    let messages = wire.until_ready();
    // Parse, Bind, row, end; the error; and nothing up to ready.
    assert_eq!(kinds(&messages), "12DCEZ", "{}", text(&messages));
    assert!(text(&messages).contains("first") && !text(&messages).contains("third"));
    assert!(text(&messages).contains("42501"), "{}", text(&messages));

    wire.send(&query("SELECT 'usable'"));
    assert!(text(&wire.until_ready()).contains("usable"));
    assert_eq!(rows(&stage), "20");
}

#[test]
fn a_name_stands_for_the_statement_that_the_server_has() {
    let stage = Stage::builder().shop(10).policy(policies::READ_ONLY).start().unwrap();
    let held = Held::start(&stage);
    let close = |name: &str| frame(b'C', format!("S{name}\0").as_bytes());
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        (
            "a name taken twice",
            vec![
                parse("a", "SELECT 1"),
                sync(),
                parse("a", "DELETE FROM orders"),
                sync(),
                execute("a"),
                sync(),
            ],
        ),
        (
            "closed and made again",
            vec![
                parse("b", "SELECT 1"),
                close("b"),
                parse("b", "DELETE FROM orders"),
                execute("b"),
                sync(),
                execute("b"),
                sync(),
            ],
        ),
        (
            "closed after an error, so not at all",
            vec![
                parse("c", "SELECT 1"),
                sync(),
                parse("", "SELECT 1/"),
                close("c"),
                parse("c", "DELETE FROM orders"),
                sync(),
                execute("c"),
                sync(),
            ],
        ),
        (
            "prepared by SQL, executed by the protocol",
            vec![query("PREPARE d AS DELETE FROM orders"), execute("d"), sync()],
        ),
        (
            "prepared by the protocol, executed by SQL",
            vec![parse("e", "DELETE FROM orders"), sync(), query("EXECUTE e")],
        ),
        (
            "executed without Describe",
            vec![parse("", "DELETE FROM orders RETURNING *"), execute(""), sync()],
        ),
        (
            "several statements in Parse",
            vec![parse("", "SELECT 1; DELETE FROM orders"), execute(""), sync()],
        ),
    ];
    for (what, frames) in cases {
        let mut wire = held.ready();
        for frame in frames {
            wire.send(&frame);
        }
        let answer = String::from_utf8_lossy(&wire.read_to_the_end()).into_owned();
        assert!(!answer.contains("DELETE "), "{what}: {answer}");
        assert_eq!(rows(&stage), "20", "{what}");
    }
}
