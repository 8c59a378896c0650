//! Forms: fields by name, and nested as some servers have it (`user[admin]`, `user.admin`).

use guard_core::http::Json;

use super::json::has_twice;

/// Most fields.
const MAX_FIELDS: usize = 10_000;

/// A form as it could be read.
pub(super) struct Form {
    /// Its fields by their whole names, then each as it nests.
    pub(super) values: Vec<Json>,
    /// Whether every server reads the first of them: no name nests, and none is there twice.
    pub(super) certain: bool,
}

/// Reads a text as a form. `None` if it has more fields than any.
pub(super) fn read(body: &[u8]) -> Option<Form> {
    // What splits at `;` finds more fields; what does not finds them in a value.
    let splits = body.contains(&b';');
    let pieces: Vec<u8> =
        body.iter().map(|byte| if *byte == b';' { b'&' } else { *byte }).collect();
    let mut fields: Vec<(String, Json)> = Vec::new();
    let mut certain = !splits;
    for text in [body, &pieces].into_iter().take(1 + usize::from(splits)) {
        for (name, value) in url::form_urlencoded::parse(text) {
            if fields.len() == MAX_FIELDS {
                return None;
            }
            certain = certain && is_plain(&name) && !value.contains(char::REPLACEMENT_CHARACTER);
            fields.push((name.into_owned(), Json::Field(value.into_owned())));
        }
    }
    let twice = has_twice(fields.iter().map(|(name, _)| name.as_str()));
    let nested: Vec<_> = fields.iter().filter_map(|(name, value)| nested(name, value)).collect();
    let mut values = vec![Json::Object(fields)];
    values.extend(nested);
    Some(Form { values, certain: certain && !twice })
}

fn is_plain(name: &str) -> bool {
    let plain = |it: char| it.is_alphanumeric() || matches!(it, '_' | '-' | '@' | '$');
    !name.is_empty() && name.chars().all(plain)
}

/// A field as servers nest it that make more of a name.
fn nested(name: &str, value: &Json) -> Option<Json> {
    let parts = name.split(['[', ']', '.']).map(str::trim).filter(|part| !part.is_empty());
    let parts: Vec<_> = parts.take(32).collect();
    if parts == [name] {
        return None;
    }
    let around = |inner: Json, part: &&str| Json::Object(vec![((*part).to_owned(), inner)]);
    Some(parts.iter().rev().fold(value.clone(), around))
}
