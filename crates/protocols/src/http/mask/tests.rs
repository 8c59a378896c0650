//! Maskers against tables, and against `serde_json` over texts of every shape.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fmt::Write as _, sync::Arc};

use guard_core::{Mask, Masking, http::JsonPath};
use proptest::prelude::*;
use serde_json::Value;

use super::{paths::fold, *};

const KEY: [u8; 32] = [3; 32];

fn masks(listed: &[(&str, Mask)]) -> Arc<JsonMasks> {
    let parsed: Vec<(JsonPath, Masking)> =
        listed.iter().map(|(path, mask)| (path.parse().unwrap(), (*mask).into())).collect();
    Arc::new(JsonMasks::new(parsed.iter().map(|(path, mask)| (path, *mask))))
}

fn masker(listed: &[(&str, Mask)]) -> JsonMasker {
    JsonMasker::new(masks(listed), &KEY, None)
}

/// Masks a text in pieces of every size up to a few, which must not matter.
fn mask_bytes(listed: &[(&str, Mask)], text: &[u8]) -> Result<Vec<u8>, Malformed> {
    let run = |size: usize| {
        let mut out = Vec::new();
        let mut masker = masker(listed);
        text.chunks(size).try_for_each(|piece| masker.push(piece, &mut out))?;
        masker.finish(&mut out)?;
        Ok(out)
    };
    let whole = run(text.len().max(1));
    for size in 1..=5 {
        assert_eq!(run(size).ok(), whole.clone().ok(), "{} by {size}", text.escape_ascii());
    }
    whole
}

fn mask(listed: &[(&str, Mask)], text: &str) -> String {
    match mask_bytes(listed, text.as_bytes()) {
        Ok(out) => String::from_utf8(out).unwrap(),
        Err(error) => panic!("{text}: {error}"),
    }
}

#[test]
fn what_is_named_is_masked_and_nothing_else() {
    const M: &str = "\"[masked]\"";
    let email: &[(&str, Mask)] = &[("$..email", Mask::Redact)];
    for (text, expected) in [
        ("{}", "{}".to_owned()),
        (" [ ] ", " [ ] ".to_owned()),
        ("\"email\"", "\"email\"".to_owned()),
        ("{\"email\":\"a\"}", format!("{{\"email\":{M}}}")),
        ("{ \"email\" :\t\"a\" , \"b\":1 }\n", format!("{{ \"email\" :\t{M} , \"b\":1 }}\n")),
        (
            "{\"a\":[{\"email\":\"b\"},\"email\"]}",
            format!("{{\"a\":[{{\"email\":{M}}},\"email\"]}}"),
        ),
        ("{\"\\u0065mail\":\"a\"}", format!("{{\"\\u0065mail\":{M}}}")),
        (
            "{\"\\u0065\\u006D\\u0061\\u0069\\u006c\":\"a\"}",
            format!("{{\"\\u0065\\u006D\\u0061\\u0069\\u006c\":{M}}}"),
        ),
        ("{\"Email\":\"a\",\"EMAIL\":\"b\"}", format!("{{\"Email\":{M},\"EMAIL\":{M}}}")),
        ("{\"email\":\"x\",\"email\":\"b\"}", format!("{{\"email\":{M},\"email\":{M}}}")),
        (
            "{\"emails\":\"a\",\"mail\":\"b\",\"\":\"c\"}",
            "{\"emails\":\"a\",\"mail\":\"b\",\"\":\"c\"}".to_owned(),
        ),
        ("{\"email\\u0000\":\"a\"}", "{\"email\\u0000\":\"a\"}".to_owned()),
        ("{\"a\":\"\\\",\\\"email\\\":\\\"b\"}", "{\"a\":\"\\\",\\\"email\\\":\\\"b\"}".to_owned()),
        ("{\"email\":\"a\\\"b\\\\\"}", format!("{{\"email\":{M}}}")),
        ("{\"email\":\"\\ud800\"}", format!("{{\"email\":{M}}}")),
        ("{\"email\":null}", "{\"email\":null}".to_owned()),
        ("{\"email\":true,\"a\":true}", "{\"email\":false,\"a\":true}".to_owned()),
        ("{\"email\":-1.5e3,\"a\":-1.5e3}", "{\"email\":0,\"a\":-1.5e3}".to_owned()),
        ("{\"email\":[\"a\",1,null,[true]]}", format!("{{\"email\":[{M},0,null,[false]]}}")),
        ("{\"email\":{\"a@b.c\":[{}]},\"a\":1}", "{\"email\":{},\"a\":1}".to_owned()),
        ("{\"email\":[{\"a\":{}},\"b\"]}", format!("{{\"email\":[{{}},{M}]}}")),
        ("\u{feff}{\"email\":\"a\"}", format!("\u{feff}{{\"email\":{M}}}")),
        ("{\"é\":\"email\",\"email\":\"é\"}", format!("{{\"é\":\"email\",\"email\":{M}}}")),
        ("{\"e\u{212a}\":1}", "{\"e\u{212a}\":1}".to_owned()),
    ] {
        assert_eq!(mask(email, text), expected, "{text}");
    }
    assert_eq!(
        mask(&[("$..ssn", Mask::Redact)], "{\"\u{17f}sn\":\"a\"}"),
        format!("{{\"\u{17f}sn\":{M}}}")
    );
    assert_eq!(
        mask(&[("$..key", Mask::Redact)], "{\"\\u212aey\":\"a\"}"),
        format!("{{\"\\u212aey\":{M}}}")
    );
}

#[test]
fn pointers_go_from_the_root() {
    for (path, text, expected) in [
        ("", "\"a\"", "\"[masked]\""),
        ("", " 12 ", " 0 "),
        ("", "{\"a\":1}", "{}"),
        ("", "[1,\"a\",{}]", "[0,\"[masked]\",{}]"),
        ("/a", "{\"a\":1,\"b\":{\"a\":1}}", "{\"a\":0,\"b\":{\"a\":1}}"),
        ("/a/b", "{\"a\":{\"b\":1},\"b\":1}", "{\"a\":{\"b\":0},\"b\":1}"),
        ("/0", "[1,2]", "[0,2]"),
        ("/0", "{\"0\":1,\"00\":1}", "{\"0\":0,\"00\":1}"),
        ("/10", "[0,1,2,3,4,5,6,7,8,9,10,11]", "[0,1,2,3,4,5,6,7,8,9,0,11]"),
        (
            "/*/b",
            "[{\"b\":1},[{\"b\":2}],{\"a\":3,\"b\":4}]",
            "[{\"b\":0},[{\"b\":2}],{\"a\":3,\"b\":0}]",
        ),
        (
            "/u/*/e",
            "{\"u\":[{\"e\":1},{\"e\":2}],\"v\":[{\"e\":3}]}",
            "{\"u\":[{\"e\":0},{\"e\":0}],\"v\":[{\"e\":3}]}",
        ),
        ("/*", "{\"a\":1,\"b\":[2]}", "{\"a\":0,\"b\":[0]}"),
        ("/*/*", "[[1],2,{\"a\":3}]", "[[0],2,{\"a\":0}]"),
        ("/a~1b/~0", "{\"a/b\":{\"~\":1}}", "{\"a/b\":{\"~\":0}}"),
        ("/", "{\"\":1}", "{\"\":0}"),
        ("/A", "{\"a\":1}", "{\"a\":0}"),
    ] {
        assert_eq!(mask(&[(path, Mask::Redact)], text), expected, "{path} {text}");
    }
    let both = [("/a/x", Mask::Redact), ("/*/y", Mask::Redact)];
    let text = "{\"a\":{\"x\":1,\"y\":2},\"b\":{\"x\":3,\"y\":4}}";
    assert_eq!(mask(&both, text), "{\"a\":{\"x\":0,\"y\":0},\"b\":{\"x\":3,\"y\":0}}");
}

#[test]
fn each_mask_makes_json_of_the_same_kind() {
    let text = "{\"a\":[\"jo.doe@mail.example\",\"4111 1111 1111 1111\",\"é\\n\",\"\",12345,-7,1.50,1e400,0,-0,99999999999999999999,true,null]}";
    for how in [Mask::Redact, Mask::Hash, Mask::Format, Mask::Partial] {
        let out = mask(&[("/a", how)], text);
        let value: Value = serde_json::from_str(&out).unwrap();
        let elements = value["a"].as_array().unwrap();
        let kinds: Vec<bool> = elements.iter().map(Value::is_string).collect();
        assert_eq!(kinds[..4], [true; 4], "{out}");
        assert!(elements[4..11].iter().all(Value::is_number), "{out}");
        assert_eq!(elements[11..], [Value::Bool(false), Value::Null], "{out}");
        for secret in ["jo.doe", "12345", "1.50", "9999999999", "4111 1111"] {
            assert!(!out.contains(secret), "{out}");
        }
        assert_eq!(mask(&[("/a", how)], text), out, "what is equal stays equal");
    }
    assert_eq!(mask(&[("/a", Mask::Null)], text), "{\"a\":null}");
    assert_eq!(
        mask(&[("$..b", Mask::Null)], "{\"b\":{\"b\":1},\"c\":[{\"b\":2}]}"),
        "{\"b\":null,\"c\":[{\"b\":null}]}"
    );
    let partial = mask(&[("/a", Mask::Partial)], text);
    assert!(partial.contains("**** **** **** 1111"), "{partial}");
    let two = [("/a", Mask::Partial), ("$..b", Mask::Null)];
    assert_eq!(
        mask(&two, "{\"a\":[\"12345678\",{\"b\":1}],\"b\":2}"),
        "{\"a\":[\"****5678\",{}],\"b\":null}"
    );
}

#[test]
fn what_is_not_json_is_refused() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(mask(&[], &deep(MAX_DEPTH)), deep(MAX_DEPTH));
    let too_deep = deep(MAX_DEPTH + 1);
    let cases: &[&[u8]] = &[
        b"",
        b" ",
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b"\xef\xbb {}",
        b"{",
        b"[",
        b"{\"a\"",
        b"{\"a\":",
        b"{\"a\":1",
        b"[1",
        b"[1,",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"{\"a\" 1}",
        b"{\"a\":1,}",
        b"{,}",
        b"{a:1}",
        b"{'a':1}",
        b"{1:1}",
        b"[1}",
        b"{\"a\":1]",
        b"{}{}",
        b"{} x",
        b"1 2",
        b"\"a\"\"b\"",
        b"]",
        b"}",
        b":",
        b",",
        b"tru",
        b"trux",
        b"True",
        b"nul",
        b"NaN",
        b"Infinity",
        b"01",
        b"-",
        b"-a",
        b"+1",
        b".5",
        b"1.",
        b"1.e5",
        b"1e",
        b"1e+",
        b"0x1",
        b"--1",
        b"1.2.3",
        b"\"",
        b"\"\\",
        b"\"\\x\"",
        b"\"\\u12\"",
        b"\"\\u12g4\"",
        b"\"\n\"",
        b"\"\0\"",
        b"\"\x1f\"",
        b"\"\xff\"",
        b"\"\xc0\xa2\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xc3\"",
        b"\0",
        b"\xff\xfe{\0}\0",
        b"/* */ {}",
        b"// a\n{}",
        b"[1]\0",
        b"\x0b1",
        b"{\"a\":1}\x0c",
        too_deep.as_bytes(),
    ];
    for text in cases {
        assert!(
            mask_bytes(&[("$..email", Mask::Redact)], text).is_err(),
            "{}",
            text.escape_ascii()
        );
    }
    let half = "{\"\\ud83d\":1,\"a\":2}";
    assert!(mask_bytes(&[("$..email1", Mask::Redact)], half.as_bytes()).is_err());
}

#[test]
fn nothing_goes_on_behind_a_fault() {
    let mut masker = masker(&[("$..email", Mask::Redact)]);
    let mut out = Vec::new();
    let failed = masker.push(b"{\"a\":1}x{\"email\":\"b\"}", &mut out).unwrap_err();
    assert_eq!((failed.at, &*out), (7, &b"{\"a\":1}"[..]));
    assert_eq!(masker.push(b"{}", &mut out), Err(failed));
    assert_eq!(masker.finish(&mut out), Err(failed));
    assert_eq!(out, b"{\"a\":1}");
}

#[test]
fn no_more_than_the_window_is_held() {
    let long = "x".repeat(MAX_VALUE);
    let text = format!("{{\"email\":\"{long}\",\"a\":\"{long}\"}}");
    let expected = format!("{{\"email\":\"[masked]\",\"a\":\"{long}\"}}");
    assert_eq!(mask(&[("$..email", Mask::Partial)], &text), expected);
    let digits = format!("{{\"email\":{}}}", "1".repeat(MAX_VALUE + 1));
    assert_eq!(mask(&[("$..email", Mask::Hash)], &digits), "{\"email\":0}");
    // A name that is too long is nobody's, but still one of `*`.
    let name = "n".repeat(MAX_KEY + 1);
    let text = format!("{{\"{name}\":{{\"b\":1}}}}");
    assert_eq!(mask(&[("/*/b", Mask::Redact)], &text), format!("{{\"{name}\":{{\"b\":0}}}}"));
    // The longest name that a mask can have, with every letter escaped.
    let name = "n".repeat(guard_core::http::MAX_JSON_KEY);
    let text = format!("{{\"{}\":1}}", "\\u004E".repeat(name.len()));
    assert!(mask(&[(&format!("$..{name}"), Mask::Redact)], &text).ends_with(":0}"));
    let mut masker = masker(&[("$..email", Mask::Redact)]);
    let mut out = Vec::new();
    masker.push(b"{\"a\":\"b", &mut out).unwrap();
    assert_eq!(out, b"{\"a\":\"b", "what is not masked is not held");
    masker.push(b"\",\"email\":\"c", &mut out).unwrap();
    assert_eq!(out, b"{\"a\":\"b\",\"email\":");
    masker.push(b"\"}", &mut out).unwrap();
    assert_eq!(masker.masked(), 1);
}

// === several texts ===

fn streamed(
    text: &str,
    mut take: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), Malformed>,
    size: usize,
) -> Result<String, Malformed> {
    let mut out = Vec::new();
    text.as_bytes().chunks(size).try_for_each(|piece| take(piece, &mut out))?;
    take(b"", &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn mask_lines(text: &str) -> Result<String, Malformed> {
    let run = |size| {
        let mut lines =
            LinesMasker::new(masker(&[("$..email", Mask::Redact), ("/0", Mask::Redact)]));
        streamed(
            text,
            |piece, out| if piece.is_empty() { lines.finish(out) } else { lines.push(piece, out) },
            size,
        )
    };
    let whole = run(text.len().max(1));
    for size in 1..=4 {
        assert_eq!(run(size).ok(), whole.clone().ok(), "{text:?} by {size}");
    }
    whole
}

#[test]
fn each_line_is_a_text() {
    for (text, expected) in [
        ("", ""),
        ("\n\n", "\n\n"),
        (
            "{\"email\":\"a\"}\n{\"email\":\"b\"}",
            "{\"email\":\"[masked]\"}\n{\"email\":\"[masked]\"}",
        ),
        ("[1]\r\n \n[2,3]\r\n", "[0]\r\n \n[0,3]\r\n"),
        ("1\n\"a\"\n", "1\n\"a\"\n"),
    ] {
        assert_eq!(mask_lines(text).as_deref(), Ok(expected), "{text:?}");
    }
    for text in ["{\n}\n", "{}{}\n", "{} {}\n", "{\"a\":\"b\n\"}", "x\n", "{}\n{", "[1\n"] {
        assert!(mask_lines(text).is_err(), "{text:?}");
    }
}

fn mask_events(text: &str) -> Result<String, Malformed> {
    let run = |size| {
        let mut events =
            EventsMasker::new(masker(&[("$..email", Mask::Redact), ("/0", Mask::Redact)]));
        streamed(
            text,
            |piece, out| {
                if piece.is_empty() { events.finish() } else { events.push(piece, out) }
            },
            size,
        )
    };
    let whole = run(text.len().max(1));
    for size in 1..=4 {
        assert_eq!(run(size).ok(), whole.clone().ok(), "{text:?} by {size}");
    }
    whole
}

#[test]
fn the_data_of_each_event_is_a_text() {
    for (text, expected) in [
        ("", ""),
        ("\u{feff}: hello\n\n", "\u{feff}: hello\n\n"),
        ("data: {\"email\":\"a\"}\n\n", "data: {\"email\":\"[masked]\"}\n\n"),
        ("data:{\"email\":\"a\"}\r\n\r\n", "data:{\"email\":\"[masked]\"}\r\n\r\n"),
        ("data:[1]\r\rdata:[2]\r\r", "data:[0]\r\rdata:[0]\r\r"),
        ("event: x\nid: 1\nretry: 5\ndata: 1\n\n", "event: x\nid: 1\nretry: 5\ndata: 1\n\n"),
        ("data: {\"email\":\ndata: \"a\"}\n\n", "data: {\"email\":\ndata: \"[masked]\"}\n\n"),
        ("data: [1\ndata: ,2]\n\n", "data: [0\ndata: ,2]\n\n"),
        (
            "data: {\"email\":{\ndata: \"a\":1\ndata:}}\n\n",
            "data: {\"email\":\ndata: \ndata:{}}\n\n",
        ),
        ("data\ndata: 1\n\ndata\n\n", "data\ndata: 1\n\ndata\n\n"),
        ("data:\n\ndata: \n\n", "data:\n\ndata: \n\n"),
        ("data: [DONE]\n\n", "data: [DONE]\n\n"),
        ("data: [\ndata: 1]\n\n", "data: [\ndata: 0]\n\n"),
        ("id\nevent\n\n", "id\nevent\n\n"),
        ("data: 1", "data: 1"),
    ] {
        assert_eq!(mask_events(text).as_deref(), Ok(expected), "{text:?}");
    }
    for text in [
        "{\"email\":\"a\"}\n\n",
        "data: {\n\n",
        "data: x\n\n",
        "data: {}{}\n\n",
        "data: {\"a\":\"b\ndata: c\"}\n\n",
        "data: [DONE]\ndata: 1\n\n",
        "data: [DONE]x\n\n",
        "data: [DON\n\n",
        "Data: 1\n\n",
        "datas: 1\n\n",
        " data: 1\n\n",
        "data : 1\n\n",
        "\u{feff}\u{feff}data: 1\n\n",
        "data: 1\ndata: 2\n\n",
    ] {
        assert!(mask_events(text).is_err(), "{text:?}");
    }
}

// === texts of every shape ===

#[derive(Debug, Clone)]
enum Json {
    Word(&'static str),
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

fn json() -> impl Strategy<Value = Json> {
    let text = prop_oneof![
        Just(String::new()),
        "[ -~]{0,6}",
        "\\PC{0,4}",
        Just("\u{1}\"\\/😀é".to_owned())
    ];
    let leaf = prop_oneof![
        prop_oneof![Just("null"), Just("true"), Just("false")].prop_map(Json::Word),
        prop_oneof![
            any::<i64>().prop_map(|it| it.to_string()),
            Just("-0.5e-3".to_owned()),
            Just("12.50".to_owned())
        ]
        .prop_map(Json::Number),
        text.prop_map(Json::Text),
    ];
    let key = prop_oneof![
        Just("email"),
        Just("Email"),
        Just("a"),
        Just("b"),
        Just("0"),
        Just("1"),
        Just(""),
        Just("é"),
        Just("x/y"),
        Just("ſsn"),
    ];
    leaf.prop_recursive(5, 48, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Json::Array),
            proptest::collection::vec((key.clone().prop_map(str::to_owned), inner), 0..5)
                .prop_map(Json::Object),
        ]
    })
}

const PATHS: [&str; 9] = ["", "/a", "/*/b", "/0", "/a/1", "/x~1y/*", "$..email", "$..ssn", "$..É"];

/// Whether a value at a path is masked, said in another way than the masker does.
fn is_masked(listed: &[&str], path: &[String]) -> bool {
    listed.iter().any(|text| match text.strip_prefix("$..") {
        Some(name) => path.last().is_some_and(|last| {
            last.strip_prefix('k').is_some_and(|last| fold(last) == fold(name))
        }),
        None => {
            let steps: Vec<String> = text
                .split('/')
                .skip(1)
                .map(|step| step.replace("~1", "/").replace("~0", "~"))
                .collect();
            steps.len() == path.len()
                && steps.iter().zip(path).all(|(step, at)| {
                    step == "*" || at.get(1..).is_some_and(|at| fold(step) == fold(at))
                })
        }
    })
}

fn step(path: &[String], kind: char, text: &str) -> Vec<String> {
    let mut path = path.to_vec();
    path.push(format!("{kind}{text}"));
    path
}

/// Writes a text with odd white space and escapes, and what must become of it.
struct Writer<'a> {
    noise: &'a [u8],
    at: usize,
    listed: &'a [&'a str],
    text: String,
    expected: String,
}

impl Writer<'_> {
    fn noise(&mut self) -> u8 {
        self.at += 1;
        self.noise[self.at % self.noise.len()]
    }

    fn both(&mut self, text: &str, shown: bool) {
        self.text.push_str(text);
        if shown {
            self.expected.push_str(text);
        }
    }

    fn space(&mut self, shown: bool) {
        let space = ["", "", "", " ", "\n\t", "\r\n"][usize::from(self.noise() % 6)];
        self.both(space, shown);
    }

    fn quoted(&mut self, text: &str, shown: bool) {
        let mut out = String::from("\"");
        for character in text.chars() {
            let must = character < ' ' || matches!(character, '"' | '\\');
            if must || self.noise().is_multiple_of(4) {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            } else {
                out.push(character);
            }
        }
        out.push('"');
        self.both(&out, shown);
    }

    fn value(&mut self, value: &Json, path: &[String], inherited: bool, shown: bool) {
        let masked = inherited || is_masked(self.listed, path);
        self.space(shown);
        let instead = |writer: &mut Self, instead: &str| {
            if shown {
                writer.expected.push_str(instead);
            }
        };
        match value {
            Json::Word(word) => {
                self.both(word, shown && !masked);
                if masked {
                    instead(self, if *word == "null" { "null" } else { "false" });
                }
            }
            Json::Number(number) => {
                self.both(number, shown && !masked);
                if masked {
                    instead(self, "0");
                }
            }
            Json::Text(text) => {
                self.quoted(text, shown && !masked);
                if masked {
                    instead(self, "\"[masked]\"");
                }
            }
            Json::Array(elements) => {
                self.both("[", shown);
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        self.both(",", shown);
                    }
                    self.value(element, &step(path, 'i', &index.to_string()), masked, shown);
                }
                self.space(shown);
                self.both("]", shown);
            }
            Json::Object(members) => {
                let inside = shown && !masked;
                self.both("{", inside);
                for (index, (name, member)) in members.iter().enumerate() {
                    if index > 0 {
                        self.both(",", inside);
                    }
                    self.space(inside);
                    self.quoted(name, inside);
                    self.space(inside);
                    self.both(":", inside);
                    self.value(member, &step(path, 'k', name), false, inside);
                }
                self.space(inside);
                self.both("}", inside);
                if masked {
                    instead(self, "{}");
                }
            }
        }
        self.space(shown);
    }
}

/// The same masks by value, over what `serde_json` reads.
fn by_value(value: &mut Value, listed: &[&str], path: &[String], inherited: bool) {
    let masked = inherited || is_masked(listed, path);
    match value {
        Value::Null => {}
        Value::Bool(it) => *it &= !masked,
        Value::Number(_) if masked => *value = Value::from(0),
        Value::String(text) if masked => *text = "[masked]".to_owned(),
        Value::Number(_) | Value::String(_) => {}
        Value::Array(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                by_value(element, listed, &step(path, 'i', &index.to_string()), masked);
            }
        }
        Value::Object(members) if masked => members.clear(),
        Value::Object(members) => {
            for (name, member) in members {
                by_value(member, listed, &step(path, 'k', name), false);
            }
        }
    }
}

proptest! {
    #[test]
    fn texts_come_out_as_by_value_and_byte_by_byte(
        value in json(),
        chosen in proptest::sample::subsequence(PATHS.to_vec(), 0..4),
        noise in proptest::collection::vec(any::<u8>(), 1..40),
        sizes in proptest::collection::vec(1usize..9, 1..8),
    ) {
        let mut writer =
            Writer { noise: &noise, at: 0, listed: &chosen, text: String::new(), expected: String::new() };
        writer.value(&value, &[], false, true);
        let Writer { text, expected, .. } = writer;
        let listed: Vec<(&str, Mask)> = chosen.iter().map(|path| (*path, Mask::Redact)).collect();
        let mut masker = masker(&listed);
        let mut out = Vec::new();
        let mut rest = text.as_bytes();
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            masker.push(piece, &mut out).unwrap();
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        masker.finish(&mut out).unwrap();
        prop_assert_eq!(String::from_utf8(out.clone()).unwrap(), expected, "{}", text);
        let mut reference: Value = serde_json::from_str(&text).unwrap();
        by_value(&mut reference, &chosen, &[], false);
        prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), reference);
    }

    #[test]
    fn what_is_taken_is_what_serde_takes(text in "[\\[\\]{},:\"\\\\ue0-9.truefalsn \n-]{0,14}") {
        let ours = mask_bytes(&[], text.as_bytes());
        let theirs = serde_json::from_str::<Value>(&text);
        match theirs {
            Ok(_) => prop_assert_eq!(ours.unwrap(), text.into_bytes()),
            // It knows no halves of surrogate pairs and no numbers that are too large.
            Err(error) => {
                let words = error.to_string();
                let takes_less = ["surrogate", "hex escape", "out of range"].iter().any(|it| words.contains(it));
                prop_assert!(ours.is_err() || takes_less, "{} {}", text, words);
            }
        }
    }
}
