//! Claims as texts, each under one name: what trust rules compare and reports show.
//!
//! What is inside an object stands under its JSON pointer (RFC 6901). A claim whose own name begins like a pointer is
//! kept escaped, so that it cannot pass for what is inside another.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Objects in objects deeper than this are left out: no platform has more than three.
const MAX_DEPTH: usize = 8;

/// Every claim as text.
pub(super) fn of(claims: &Map<String, Value>) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (name, value) in claims {
        match value {
            Value::Object(members) => inside(&pointer("", name), members, 0, &mut texts),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                let name = if name.starts_with('/') { pointer("", name) } else { name.clone() };
                texts.extend(text(value).map(|text| (name, text)));
            }
        }
    }
    texts
}

fn inside(
    at: &str,
    members: &Map<String, Value>,
    depth: usize,
    texts: &mut BTreeMap<String, String>,
) {
    if depth == MAX_DEPTH {
        return;
    }
    for (name, value) in members {
        let at = pointer(at, name);
        match value {
            Value::Object(members) => inside(&at, members, depth + 1, texts),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                texts.extend(text(value).map(|text| (at, text)));
            }
        }
    }
}

fn pointer(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// What is `null` is not there, and neither is a number that was rounded: two ids could have become one.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::Number(number) if number.is_f64() => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => Some(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::jws::parse_object;

    fn texts(json: &str) -> Vec<(String, String)> {
        of(&parse_object(json.as_bytes()).unwrap()).into_iter().collect()
    }

    fn one(json: &str) -> Vec<(&'static str, &'static str)> {
        texts(json).into_iter().map(|(name, text)| (&*name.leak(), &*text.leak())).collect()
    }

    #[test]
    fn what_is_inside_stands_under_its_pointer() {
        let claims = r#"{"sub":"s","kubernetes.io":{"namespace":"ci","pod":{"uid":"u"},"x":null,"a/b~c":1}}"#;
        assert_eq!(
            one(claims),
            [
                ("/kubernetes.io/a~1b~0c", "1"),
                ("/kubernetes.io/namespace", "ci"),
                ("/kubernetes.io/pod/uid", "u"),
                ("sub", "s"),
            ]
        );
    }

    #[test]
    fn no_claim_passes_for_what_is_inside_another() {
        let claims =
            r#"{"/kubernetes.io/namespace":"evil","kubernetes.io/namespace":"evil","~1":"e"}"#;
        assert_eq!(
            one(claims),
            [
                ("/~1kubernetes.io~1namespace", "evil"),
                ("kubernetes.io/namespace", "evil"),
                ("~1", "e"),
            ]
        );
        let object = r#"{"/kubernetes.io/namespace":{"x":"y"}}"#;
        assert_eq!(one(object), [("/~1kubernetes.io~1namespace/x", "y")]);
    }

    #[test]
    fn a_number_that_was_rounded_is_not_there() {
        assert_eq!(
            one(r#"{"a":123456789012345678901,"b":1.5,"c":1e3,"d":18446744073709551615,"e":-7}"#),
            [("d", "18446744073709551615"), ("e", "-7")]
        );
    }

    #[test]
    fn words_numbers_and_lists_are_written_as_they_are() {
        assert_eq!(
            one(r#"{"a":true,"b":7,"c":["x","y"],"d":"true","e":"","f":null}"#),
            [("a", "true"), ("b", "7"), ("c", r#"["x","y"]"#), ("d", "true"), ("e", "")]
        );
    }

    #[test]
    fn what_is_too_deep_is_left_out() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(20), "}".repeat(20));
        assert_eq!(texts(&deep), []);
    }
}
