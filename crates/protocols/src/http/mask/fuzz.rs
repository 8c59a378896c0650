//! The maskers fed with whatever there is, in pieces.

use std::sync::Arc;

use guard_core::{Detector, Detectors, Mask, Masking, http::JsonPath};
use serde_json::Value;

use super::{EventsMasker, FormMasker, JsonMasker, JsonMasks, LinesMasker, Looker};

const KEY: [u8; 32] = [7; 32];

fn masker() -> JsonMasker {
    let masks: Vec<(JsonPath, Masking)> = [
        ("$..email", Mask::Redact),
        ("$..ssn", Mask::Null),
        ("/a/*/b", Mask::Format),
        ("/1", Mask::Hash),
        ("/c", Mask::Partial),
    ]
    .into_iter()
    .filter_map(|(path, mask)| Some((path.parse().ok()?, mask.into())))
    .collect();
    let masks = JsonMasks::new(masks.iter().map(|(path, mask)| (path, *mask)));
    JsonMasker::new(Arc::new(masks), &KEY, None)
}

/// The first byte says how long pieces are, the rest is a text: however it is cut, the same comes out; it is JSON if
/// the text is; and no masked name has its value in it.
///
/// # Panics
/// If one of these does not hold.
pub fn fuzz_json(data: &[u8]) {
    let Some((size, text)) = data.split_first() else { return };
    let size = usize::from(*size).max(1);
    let whole = run(text, text.len().max(1));
    let pieces = run(text, size);
    assert!(whole.as_ref().ok() == pieces.as_ref().ok(), "borders of pieces change something");
    if let Ok(out) = &whole {
        let bare = |text: &[u8]| text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).to_vec();
        match serde_json::from_slice::<Value>(&bare(text)) {
            Ok(_) => match serde_json::from_slice::<Value>(&bare(out)) {
                Ok(value) => check(&value),
                Err(error) => assert!(error.is_data(), "what comes out is no JSON: {error}"),
            },
            // It does not take halves of surrogate pairs, nor numbers that are too large.
            Err(error) => assert!(!error.is_eof(), "what was cut off is taken for a whole"),
        }
    }
    for size in [size, text.len().max(1)] {
        let mut out = Vec::new();
        let mut lines = LinesMasker::new(masker());
        let _ = text.chunks(size).try_for_each(|piece| lines.push(piece, &mut out));
        let _ = lines.finish(&mut out);
        let mut events = EventsMasker::new(masker());
        let _ = text.chunks(size).try_for_each(|piece| events.push(piece, &mut out));
        let _ = events.finish();
    }
    let form = |size: usize| {
        let mut out = Vec::new();
        let mut form = FormMasker::new(Arc::default(), &KEY, None).detecting(all());
        text.chunks(size).for_each(|piece| form.push(piece, &mut out));
        form.finish(&mut out);
        out
    };
    assert!(form(size) == form(text.len().max(1)), "borders of pieces change a form");
    let looked = |mut looker: Looker| {
        let mut out = Vec::new();
        text.chunks(size).for_each(|piece| looker.push(piece, &mut out));
        looker.finish(&mut out);
        out
    };
    for none in [Looker::json(Detectors::default()), Looker::text(Detectors::default())] {
        assert!(looked(none) == text, "what nobody looks for changes");
    }
    for looker in [Looker::json(all()), Looker::text(all())] {
        let _ = looked(looker);
    }
}

fn all() -> Detectors {
    Detector::ALL.into_iter().collect()
}

fn run(text: &[u8], size: usize) -> Result<Vec<u8>, super::Malformed> {
    let mut out = Vec::new();
    let mut masker = masker();
    text.chunks(size).try_for_each(|piece| masker.push(piece, &mut out))?;
    masker.finish(&mut out)?;
    Ok(out)
}

fn check(value: &Value) {
    match value {
        Value::Array(elements) => elements.iter().for_each(check),
        Value::Object(members) => {
            for (name, value) in members {
                if name.eq_ignore_ascii_case("ssn") {
                    assert!(value.is_null(), "a masked value is there");
                } else if name.eq_ignore_ascii_case("email") {
                    check_redacted(value);
                } else {
                    check(value);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn check_redacted(value: &Value) {
    match value {
        Value::Array(elements) => elements.iter().for_each(check_redacted),
        Value::Object(members) => assert!(members.is_empty(), "a masked object has members"),
        Value::String(text) => assert!(text == "[masked]", "a masked text is there"),
        Value::Number(number) => assert!(number.as_u64() == Some(0), "a masked number is there"),
        Value::Bool(it) => assert!(!it, "a masked value is there"),
        Value::Null => {}
    }
}
