//! The forms in which a secret shows itself: plain, base64 at each of its three places, percent-encoded, in JSON, in hex.

use std::{collections::BTreeSet, iter, sync::OnceLock};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use guard_engine::{BEGINNING, Beginnings};

/// Shorter values are found everywhere.
const SHORTEST: usize = 8;
/// Longer ones are known by their beginning: nobody prints half of a token of that length by accident.
const LONGEST: usize = 4096;

/// What is looked for.
#[derive(Debug)]
pub(super) struct Patterns {
    /// In order.
    texts: Vec<Vec<u8>>,
    /// Made when something is looked at: a command that says nothing does not pay for it.
    begins: OnceLock<Beginnings>,
    /// Length of the longest.
    longest: usize,
    /// By their first byte, where the texts are that begin with it.
    first: [bool; 256],
}

impl Patterns {
    /// The forms of these values.
    pub(super) fn new<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut texts = BTreeSet::new();
        for value in values {
            let value = value.trim();
            let value = value.as_bytes().get(..LONGEST).unwrap_or(value.as_bytes());
            if value.len() >= SHORTEST {
                texts.extend(forms(value));
            }
        }
        let texts: Vec<Vec<u8>> = texts.into_iter().filter(|text| text.len() >= SHORTEST).collect();
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        let mut first = [false; 256];
        for byte in texts.iter().filter_map(|text| text.first()) {
            if let Some(place) = first.get_mut(usize::from(*byte)) {
                *place = true;
            }
        }
        Self { texts, begins: OnceLock::new(), longest, first }
    }

    /// Where patterns are: the leftmost, and of those that begin there the longest.
    pub(super) fn found<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, usize)> + 'a {
        let begins =
            self.begins.get_or_init(|| Beginnings::new(self.texts.iter().map(Vec::as_slice)));
        let mut places = begins.places(text);
        let mut at = 0;
        iter::from_fn(move || {
            loop {
                let start = places.next(at);
                let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
                at = start + 1;
                if let Some(length) = self.at(rest) {
                    at = start + length;
                    return Some((start, at));
                }
            }
        })
    }

    /// How long the longest pattern is that a text begins with.
    fn at(&self, text: &[u8]) -> Option<usize> {
        let ordered = self.texts.partition_point(|it| it.as_slice() <= text);
        let beginning = text.get(..BEGINNING)?;
        // A longer one that the text begins with comes behind a shorter one in their order.
        let before = self.texts.get(..ordered)?.iter().rev();
        let mut near = before.take_while(|it| it.starts_with(beginning));
        near.find(|it| text.starts_with(it)).map(Vec::len)
    }

    /// Where the first pattern may have begun that goes on behind the end of the text; the text's length if none has.
    pub(super) fn unfinished(&self, text: &[u8]) -> usize {
        let from = text.len().saturating_sub(self.longest.saturating_sub(1));
        let tail = text.get(from..).unwrap_or_default();
        for (place, byte) in tail.iter().enumerate() {
            if !self.first.get(usize::from(*byte)).is_some_and(|first| *first) {
                continue;
            }
            let rest = tail.get(place..).unwrap_or_default();
            if self.texts.iter().any(|text| text.len() > rest.len() && text.starts_with(rest)) {
                return from + place;
            }
        }
        text.len()
    }
}

fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![value.to_vec()];
    for shift in 0..3 {
        forms.push(base64(value, shift, |bytes| STANDARD_NO_PAD.encode(bytes)));
        forms.push(base64(value, shift, |bytes| URL_SAFE_NO_PAD.encode(bytes)));
    }
    let percent = |lower: bool| {
        let mut text = String::new();
        for byte in value {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
                text.push(char::from(*byte));
            } else if lower {
                text.push_str(&format!("%{byte:02x}"));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
        text.into_bytes()
    };
    forms.extend([percent(false), percent(true)]);
    let form: String = url::form_urlencoded::byte_serialize(value).collect();
    forms.push(form.into_bytes());
    if let Ok(text) = std::str::from_utf8(value) {
        let json = serde_json::Value::from(text).to_string();
        let inner = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
        let inner = inner.unwrap_or_default();
        // Some writers escape the slash, too.
        forms.extend([inner.as_bytes().to_vec(), inner.replace('/', "\\/").into_bytes()]);
    }
    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.extend([hex.to_uppercase().into_bytes(), hex.into_bytes()]);
    forms
}

/// The part of a value's base64 that is the same whatever stands around the value, which begins `shift` bytes behind a
/// multiple of three.
fn base64(value: &[u8], shift: usize, encode: impl Fn(&[u8]) -> String) -> Vec<u8> {
    let mut bytes = vec![0; shift];
    bytes.extend_from_slice(value);
    let text = encode(&bytes).into_bytes();
    // A letter of six bits that has bits of what stands before or behind is not the value's own.
    let from = (shift * 8).div_ceil(6);
    let to = bytes.len() * 8 / 6;
    text.get(from..to).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn base64_is_found_wherever_the_value_stands_in_what_was_encoded() {
        let secret = "S3cret!/value+of?this=run";
        let patterns = Patterns::new([secret].into_iter());
        for before in 0..7 {
            for behind in 0..7 {
                let text = format!("{}{secret}{}", "x".repeat(before), "y".repeat(behind));
                for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                    assert_eq!(patterns.found(encoded.as_bytes()).count(), 1, "{before} {behind}");
                }
            }
        }
    }

    #[test]
    fn each_form_is_found() {
        let secret = "pass\"word/with ümlaut&more";
        let patterns = Patterns::new([secret].into_iter());
        for text in [
            secret.to_owned(),
            "pass%22word%2Fwith%20%C3%BCmlaut%26more".into(),
            "pass%22word%2fwith%20%c3%bcmlaut%26more".into(),
            "pass%22word%2Fwith+%C3%BCmlaut%26more".into(),
            serde_json::json!({ "password": secret }).to_string(),
            "{\"password\":\"pass\\\"word\\/with ümlaut&more\"}".into(),
        ] {
            assert_eq!(patterns.found(text.as_bytes()).count(), 1, "{text}");
        }
    }

    #[test]
    fn short_and_empty_values_are_not_looked_for() {
        let patterns = Patterns::new(["", "short", "  "].into_iter());
        assert_eq!(patterns.found(b"a short text").count(), 0);
        assert_eq!(patterns.unfinished(b"a short text"), 12);
    }
}
