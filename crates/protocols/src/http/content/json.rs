//! JSON with every member that is there, also where two have one name.

use std::{cell::Cell, fmt};

use guard_core::http::Json;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::Found;

/// Most values in a body: each takes more room than its text.
const MAX_VALUES: usize = 65_536;

/// Reads a text as JSON. It is certain if RFC 8259 has it so and no object has two members that one reader could take for
/// the same.
pub(super) fn read(body: &[u8]) -> Option<Found> {
    let bare = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let state = State { left: Cell::new(MAX_VALUES), twice: Cell::new(false) };
    let mut reader = serde_json::Deserializer::from_slice(bare);
    let value = Seed(&state).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(Found { value, certain: bare.len() == body.len() && !state.twice.get() })
}

struct State {
    left: Cell<usize>,
    /// Whether two members have one name, case aside.
    twice: Cell<bool>,
}

#[derive(Clone, Copy)]
struct Seed<'a>(&'a State);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        let left = self.0.left.get().checked_sub(1);
        self.0.left.set(left.ok_or_else(|| D::Error::custom("too many values"))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        let number = serde_json::Number::from_f64(value);
        number.map(Json::Number).ok_or_else(|| E::custom("a number without an end"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            members.push((name, map.next_value_seed(self)?));
        }
        if has_twice(members.iter().map(|(name, _)| name.as_str())) {
            self.0.twice.set(true);
        }
        Ok(Json::Object(members))
    }
}

/// Whether two names are the same for who does not look at case.
pub(super) fn has_twice<'a>(names: impl Iterator<Item = &'a str>) -> bool {
    let mut folded: Vec<_> = names.map(|name| name.to_uppercase().to_lowercase()).collect();
    folded.sort_unstable();
    folded.windows(2).any(|pair| matches!(pair, [one, other] if one == other))
}
