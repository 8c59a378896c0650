//! What detectors find in texts of each form, wherever pieces end.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

const EMAIL: &str = "ann@shop.example";
const CARD: &str = "4111111111111111";

fn all() -> Detectors {
    Detector::ALL.into_iter().collect()
}

fn run(mut looker: Looker, text: &[u8], size: usize) -> (String, u64) {
    let mut out = Vec::new();
    text.chunks(size).for_each(|piece| looker.push(piece, &mut out));
    looker.finish(&mut out);
    (String::from_utf8(out).unwrap(), looker.found().map(|(_, count)| count).sum())
}

/// In pieces of several sizes, which must not matter.
fn looked(looker: fn(Detectors) -> Looker, text: &str) -> (String, u64) {
    let whole = run(looker(all()), text.as_bytes(), text.len().max(1));
    for size in [1, 2, 3, 5, 8, 64] {
        assert_eq!(run(looker(all()), text.as_bytes(), size), whole, "{text} by {size}");
    }
    whole
}

fn stars(text: &str) -> String {
    "*".repeat(text.len())
}

#[test]
fn strings_and_numbers_of_json_are_looked_at() {
    let by_unit = |text: &str| -> String { text.bytes().map(|b| format!("\\u{b:04x}")).collect() };
    let hidden = stars(EMAIL);
    for (text, expected, count) in [
        (format!("{{\"a\":\"{EMAIL}\"}}"), format!("{{\"a\":\"{hidden}\"}}"), 1),
        (format!("[\"to {EMAIL}.\"]\n"), format!("[\"to {hidden}.\"]\n"), 1),
        (format!("{{\"{EMAIL}\":1}}"), format!("{{\"{hidden}\":1}}"), 1),
        (format!("[\"{}\"]", by_unit(EMAIL)), format!("[\"{hidden}\"]"), 1),
        ("[\"ann\\u0040shop.example\\n\\\"x\"]".to_owned(), format!("[\"{hidden}\\n\\\"x\"]"), 1),
        ("[\"a\\u00e9\\ud83d\\ude00\\/\\b\"]".to_owned(), "[\"a\\u00e9\\ud83d\\ude00\\/\\b\"]".to_owned(), 0),
        ("[\"\\ud83d\\ude00 ann\\u0040shop.example\"]".to_owned(), format!("[\"\u{1f600} {hidden}\"]"), 1),
        (format!("[\"\\n{EMAIL}\"]"), format!("[\"\\n{hidden}\"]"), 1),
        (format!("[{CARD},-{CARD},1]"), format!("[{0},-{0},1]", "1".repeat(16)), 2),
        (format!("{{\"n\":{CARD}}}"), format!("{{\"n\":{}}}", "1".repeat(16)), 1),
        (format!("[{CARD}0,1{CARD},0.{CARD}]"), format!("[{CARD}0,1{CARD},0.{CARD}]"), 0),
        (format!("[\"{CARD}\"]"), format!("[\"{}\"]", stars(CARD)), 1),
        (
            format!("data: {{\"a\":\"{EMAIL}\"}}\n\ndata: mail {EMAIL}\n\n"),
            format!("data: {{\"a\":\"{hidden}\"}}\n\ndata: mail {hidden}\n\n"),
            2,
        ),
        // What is no JSON is a text.
        (format!("it's \"x {EMAIL}\n{EMAIL}"), format!("it's \"x {hidden}\n{hidden}"), 2),
        (format!("[\"\\x {EMAIL}\\"), format!("[\"\\\\x {hidden}\\\\"), 1),
        ("[\"\\u00\"]".to_owned(), "[\"\\u00\"]".to_owned(), 0),
        (
            "{\"type\":\"service_account\",\"k\":\"-----BEGIN PRIVATE KEY-----\\nMII\\n-----END PRIVATE KEY-----\\n\"}".to_owned(),
            format!("{{\"type\":\"service_account\",\"k\":\"{}\\n\"}}", "*".repeat(57)),
            1,
        ),
    ] {
        assert_eq!(looked(Looker::json, &text), (expected, count), "{text}");
    }
}

#[test]
fn texts_are_looked_at_line_by_line() {
    let hidden = stars(EMAIL);
    let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nAAAA\n-----END RSA PRIVATE KEY-----";
    for (text, expected, count) in [
        (format!("id,mail\n1,{EMAIL}\n2,{EMAIL}"), format!("id,mail\n1,{hidden}\n2,{hidden}"), 2),
        (format!("<p>{EMAIL}</p>\r\n"), format!("<p>{hidden}</p>\r\n"), 1),
        (format!("a\n{key}\nb\n"), format!("a\n{}\nb\n", stars(key)), 1),
        (format!("\n{CARD}\n"), format!("\n{}\n", stars(CARD)), 1),
        ("4111 1111\n1111 1111".to_owned(), "4111 1111\n1111 1111".to_owned(), 0),
        (String::new(), String::new(), 0),
    ] {
        assert_eq!(looked(Looker::text, &text), (expected, count), "{text}");
    }
}

#[test]
fn what_is_over_goes_on_at_once() {
    let mut looker = Looker::text(all());
    let mut out = Vec::new();
    looker.push(b"one line\nand a part", &mut out);
    assert_eq!(out, b"one line\n");
    let mut looker = Looker::json(all());
    out.clear();
    looker.push(b"data: {\"a\":\"b\",\"c\":12}\n\n", &mut out);
    assert_eq!(out, b"data: {\"a\":\"b\",\"c\":12}\n\n");
}

#[test]
fn what_is_hidden_already_is_left_alone() {
    let mut looker = Looker::json(all());
    let mut out = Vec::new();
    looker.push(b"{\"a\":", &mut out);
    looker.push_hidden(b"\"x@masked.invalid\"", &mut out);
    looker.push(b",\"b\":\"x@masked.invalid\"}", &mut out);
    looker.finish(&mut out);
    assert_eq!(
        out,
        format!("{{\"a\":\"x@masked.invalid\",\"b\":\"{}\"}}", "*".repeat(16)).as_bytes()
    );
}

#[test]
fn a_long_text_is_found_across_every_border() {
    let hidden = stars(EMAIL);
    for before in [0, WINDOW - TAIL - 8, WINDOW - 8, WINDOW, 3 * WINDOW - 5] {
        let pad = "x ".repeat(before / 2);
        for (looker, start, end) in [
            (Looker::json as fn(Detectors) -> Looker, "[\"", "\"]"),
            (Looker::text, "", ""),
            (Looker::json, "", ""),
        ] {
            let text = format!("{start}{pad}{EMAIL}{end}");
            let (out, count) = run(looker(all()), text.as_bytes(), 4096);
            assert_eq!((out, count), (format!("{start}{pad}{hidden}{end}"), 1), "{before}");
        }
        let escaped = "\\u0078\\u0020".repeat(before / 12);
        let text = format!("[\"{escaped}ann\\u0040shop.example\\\\\"]");
        let (out, count) = run(Looker::json(all()), text.as_bytes(), 4096);
        assert_eq!(count, 1);
        let out: Vec<String> = serde_json::from_str(&out).unwrap();
        assert_eq!(out, [format!("{}{hidden}\\", "x ".repeat(before / 12))], "{before}");
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_or_panics_wherever_pieces_end(
        text in "([\\[\\]{},:\"\\\\u0-9a@. \n-]|ann@shop\\.example|\\\\u0040|4111111111111111){0,40}",
        sizes in proptest::collection::vec(1usize..9, 1..8),
    ) {
        for looker in [Looker::json as fn(Detectors) -> Looker, Looker::text] {
            let whole = run(looker(all()), text.as_bytes(), text.len().max(1));
            let mut pieces = looker(all());
            let mut out = Vec::new();
            let mut rest = text.as_bytes();
            for size in sizes.iter().cycle() {
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece, &mut out);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            pieces.finish(&mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), whole.0);
            let none = run(looker(Detectors::default()), text.as_bytes(), 3);
            prop_assert_eq!(none.0, text.clone());
        }
    }
}
