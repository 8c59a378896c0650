//! The body of a request as rules look at it, and what a rule says of what is in it.
//!
//! Servers differ in what they take a body for: names in another case, the first or the last of two members, numbers in
//! quotes. A rule that allows wants the one reading that all of them share; one that forbids looks at all readings.

use std::sync::Arc;

use serde_json::Number;

use super::{InvalidCondition, JsonPath, JsonStep, ValuePattern};

/// A value in JSON, with members as they were written: in order, and as often as they are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(String),
    /// A value of a form, which has no type.
    Field(String),
    /// An array.
    Array(Vec<Self>),
    /// An object.
    Object(Vec<(String, Self)>),
}

/// What came as the body of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RequestBody {
    /// Nothing.
    #[default]
    Empty,
    /// Something that was not looked at.
    Unread,
    /// What it could be taken for.
    Read(Readings),
}

/// What servers could take a body for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readings {
    /// Whether it is one reading that every server shares.
    pub certain: bool,
    /// The readings; none at all if it could hold anything.
    pub all: Vec<Json>,
}

impl RequestBody {
    /// Whether it was looked at, and may be large.
    pub const fn is_read(&self) -> bool {
        match self {
            Self::Read(_) => true,
            Self::Empty | Self::Unread => false,
        }
    }

    /// The reading that every server shares.
    pub fn certain(&self) -> Option<&Json> {
        match self {
            Self::Read(Readings { certain: true, all }) => match all.as_slice() {
                [one] => Some(one),
                _ => None,
            },
            Self::Empty | Self::Unread | Self::Read(_) => None,
        }
    }

    /// All that a server could take it for; `None` if that could be anything.
    pub fn readings(&self) -> Option<&[Json]> {
        match self {
            Self::Empty => Some(&[]),
            Self::Unread => None,
            Self::Read(readings) if readings.all.is_empty() => None,
            Self::Read(readings) => Some(&readings.all),
        }
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of JSON Schema")]
pub enum JsonType {
    Null,
    Boolean,
    Number,
    Integer,
    String,
    Array,
    Object,
}

impl JsonType {
    /// The words of policies, which are those of JSON Schema.
    pub const WORDS: [(&str, Self); 7] = [
        ("null", Self::Null),
        ("boolean", Self::Boolean),
        ("number", Self::Number),
        ("integer", Self::Integer),
        ("string", Self::String),
        ("array", Self::Array),
        ("object", Self::Object),
    ];
}

/// What a rule wants a value to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyValue {
    /// This word.
    Bool(bool),
    /// This number.
    Number(Number),
    /// A string that fits.
    Text(ValuePattern),
    /// Any value of a type.
    Type(JsonType),
}

/// What a rule wants of one place in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyCondition {
    at: JsonPath,
    /// `None`: nothing must be there.
    values: Option<Arc<[BodyValue]>>,
}

impl BodyCondition {
    /// Nothing must be there.
    pub const fn absent(at: JsonPath) -> Self {
        Self { at, values: None }
    }

    /// One of these must be there.
    pub fn one_of(
        at: JsonPath,
        values: impl IntoIterator<Item = BodyValue>,
    ) -> Result<Self, InvalidCondition> {
        let values: Arc<[BodyValue]> = values.into_iter().collect();
        if values.is_empty() {
            return Err(InvalidCondition::Values(at.to_string()));
        }
        Ok(Self { at, values: Some(values) })
    }

    /// Whether it holds, however a server reads the body: nothing that could be taken for what is named differs.
    pub fn holds(&self, body: &RequestBody) -> bool {
        let Some(json) = body.certain() else {
            return *body == RequestBody::Empty && self.values.is_none();
        };
        let mut found = Vec::new();
        candidates(json, &self.at, &mut found);
        match &self.values {
            None => found.is_empty(),
            Some(values) => {
                is_there(json, &self.at)
                    && found.iter().all(|json| values.iter().any(|value| value.fits(json)))
            }
        }
    }

    /// Whether it holds as some server could read the body.
    pub fn may_hold(&self, body: &RequestBody) -> bool {
        let Some(readings) = body.readings() else { return true };
        match &self.values {
            None => match body.certain() {
                // A server that looks at case does not see what is written in another one.
                Some(json) => !is_there(json, &self.at) || is_null(json, &self.at),
                None => true,
            },
            Some(values) => readings.iter().any(|json| {
                let mut found = Vec::new();
                candidates(json, &self.at, &mut found);
                found.iter().any(|json| values.iter().any(|value| value.may_fit(json)))
            }),
        }
    }
}

/// Whether something is at a place in just these names: at each place, where there are several.
fn is_there(json: &Json, at: &JsonPath) -> bool {
    match at {
        JsonPath::Pointer(steps) => all_at(json, steps, &|_| true),
        JsonPath::Anywhere(name) => anywhere(json, &|found| found == &**name),
    }
}

fn is_null(json: &Json, at: &JsonPath) -> bool {
    match at {
        JsonPath::Pointer(steps) => all_at(json, steps, &|json| *json == Json::Null),
        JsonPath::Anywhere(_) => false,
    }
}

fn all_at(json: &Json, steps: &[JsonStep], fits: &impl Fn(&Json) -> bool) -> bool {
    let Some((step, rest)) = steps.split_first() else { return fits(json) };
    match (step, json) {
        (JsonStep::Any, Json::Array(items)) => {
            !items.is_empty() && items.iter().all(|item| all_at(item, rest, fits))
        }
        (JsonStep::Any, Json::Object(members)) => {
            !members.is_empty() && members.iter().all(|(_, item)| all_at(item, rest, fits))
        }
        (JsonStep::Key(key), Json::Array(items)) => {
            index(key).and_then(|at| items.get(at)).is_some_and(|item| all_at(item, rest, fits))
        }
        (JsonStep::Key(key), Json::Object(members)) => {
            let mut named = members.iter().filter(|(name, _)| **name == **key).peekable();
            named.peek().is_some() && named.all(|(_, item)| all_at(item, rest, fits))
        }
        (
            JsonStep::Any | JsonStep::Key(_),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Field(_),
        ) => false,
    }
}

fn anywhere(json: &Json, named: &impl Fn(&str) -> bool) -> bool {
    match json {
        Json::Object(members) => {
            members.iter().any(|(name, item)| named(name) || anywhere(item, named))
        }
        Json::Array(items) => items.iter().any(|item| anywhere(item, named)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Field(_) => false,
    }
}

/// Every value that a server could take for what is at a place.
fn candidates<'a>(json: &'a Json, at: &JsonPath, found: &mut Vec<&'a Json>) {
    match at {
        JsonPath::Pointer(steps) => at_steps(json, steps, found),
        JsonPath::Anywhere(name) => everywhere(json, &plain(name), found),
    }
}

fn at_steps<'a>(json: &'a Json, steps: &[JsonStep], found: &mut Vec<&'a Json>) {
    let Some((step, rest)) = steps.split_first() else {
        found.push(json);
        return;
    };
    match (step, json) {
        (JsonStep::Any, Json::Array(items)) => {
            items.iter().for_each(|item| at_steps(item, rest, found));
        }
        (JsonStep::Any, Json::Object(members)) => {
            members.iter().for_each(|(_, item)| at_steps(item, rest, found));
        }
        (JsonStep::Key(key), Json::Array(items)) => match index(key) {
            Some(at) => items.get(at).into_iter().for_each(|item| at_steps(item, rest, found)),
            // Some take an array of one for what is in it.
            None => items.iter().for_each(|item| at_steps(item, steps, found)),
        },
        (JsonStep::Key(key), Json::Object(members)) => {
            let key = plain(key);
            let named = members.iter().filter(|(name, _)| plain(name) == key);
            named.for_each(|(_, item)| at_steps(item, rest, found));
        }
        (
            JsonStep::Any | JsonStep::Key(_),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Field(_),
        ) => {}
    }
}

fn everywhere<'a>(json: &'a Json, key: &str, found: &mut Vec<&'a Json>) {
    match json {
        Json::Object(members) => {
            for (name, item) in members {
                if plain(name) == key {
                    found.push(item);
                }
                everywhere(item, key, found);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| everywhere(item, key, found)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Field(_) => {}
    }
}

fn index(key: &str) -> Option<usize> {
    let plain = key == "0" || !key.starts_with('0');
    (plain && key.bytes().all(|byte| byte.is_ascii_digit())).then(|| key.parse().ok())?
}

/// A name as the most careless server reads it: without case, up to a NUL, with neither `_` nor `-` nor blanks.
fn plain(name: &str) -> String {
    let name = name.split('\0').next().unwrap_or_default();
    let kept = name.chars().filter(|it| !matches!(it, '_' | '-') && !it.is_whitespace());
    kept.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

impl BodyValue {
    /// Whether a value is this one, as it is written.
    fn fits(&self, json: &Json) -> bool {
        match (self, json) {
            (Self::Bool(wanted), Json::Bool(found)) => wanted == found,
            (Self::Bool(wanted), Json::Field(text)) => {
                text == if *wanted { "true" } else { "false" }
            }
            (Self::Number(wanted), Json::Number(found)) => same_number(wanted, found),
            (Self::Number(wanted), Json::Field(text)) => *text == wanted.to_string(),
            (Self::Text(pattern), Json::Text(text) | Json::Field(text)) => pattern.matches(text),
            (Self::Type(wanted), json) => is_type(*wanted, json),
            (Self::Bool(_) | Self::Number(_) | Self::Text(_), _) => false,
        }
    }

    /// Whether a server could take a value for this one.
    fn may_fit(&self, json: &Json) -> bool {
        if let Json::Array(items) = json
            && items.iter().any(|item| self.may_fit(item))
        {
            return true;
        }
        match self {
            // What is not said to be false is true to somebody, and the other way round.
            Self::Bool(true) => !is_false(json),
            Self::Bool(false) => !is_true(json),
            Self::Number(wanted) => self.fits(json) || as_number(json) == wanted.as_f64(),
            Self::Text(pattern) => as_text(json).is_some_and(|text| {
                pattern.matches(&text) || pattern.matches_without_case(text.trim())
            }),
            Self::Type(wanted) => may_be_type(*wanted, json),
        }
    }
}

/// Numbers are the same if they are to a reader with 64 bits of floating point, and no digit is lost by it.
fn same_number(one: &Number, other: &Number) -> bool {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = |number: &Number| number.is_i64() || number.is_u64();
    if whole(one) && whole(other) {
        return one == other;
    }
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other).is_eq() && one.abs() < EXACT,
        (None, _) | (_, None) => false,
    }
}

fn is_type(wanted: JsonType, json: &Json) -> bool {
    match (wanted, json) {
        (JsonType::Null, Json::Null)
        | (JsonType::Boolean, Json::Bool(_))
        | (JsonType::Number, Json::Number(_))
        | (JsonType::String, Json::Text(_) | Json::Field(_))
        | (JsonType::Array, Json::Array(_))
        | (JsonType::Object, Json::Object(_)) => true,
        (JsonType::Integer, Json::Number(number)) => number.is_i64() || number.is_u64(),
        (JsonType::Boolean, Json::Field(text)) => matches!(text.as_str(), "true" | "false"),
        (JsonType::Number, Json::Field(text)) => {
            text.parse::<f64>().is_ok_and(f64::is_finite)
                && !text.contains(|c: char| c.is_alphabetic())
        }
        (JsonType::Integer, Json::Field(text)) => text.parse::<i64>().is_ok(),
        (
            JsonType::Null
            | JsonType::Boolean
            | JsonType::Number
            | JsonType::Integer
            | JsonType::String
            | JsonType::Array
            | JsonType::Object,
            _,
        ) => false,
    }
}

fn may_be_type(wanted: JsonType, json: &Json) -> bool {
    let scalar = match json {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Field(_) => true,
        Json::Array(_) | Json::Object(_) => false,
    };
    match wanted {
        JsonType::Null | JsonType::Boolean | JsonType::String => scalar,
        JsonType::Number | JsonType::Integer => {
            as_number(json).is_some() || matches!(json, Json::Bool(_) | Json::Null)
        }
        // One value in the place of a list of one, or JSON within a string.
        JsonType::Array => true,
        JsonType::Object => !scalar || as_text(json).is_some_and(|it| it.contains('{')),
    }
}

fn as_number(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => number.as_f64(),
        Json::Text(text) | Json::Field(text) => text.trim().parse().ok(),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

fn as_text(json: &Json) -> Option<String> {
    match json {
        Json::Bool(value) => Some(value.to_string()),
        Json::Number(number) => Some(number.to_string()),
        Json::Text(text) | Json::Field(text) => Some(text.clone()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

fn is_false(json: &Json) -> bool {
    match json {
        Json::Null => true,
        Json::Bool(value) => !value,
        Json::Number(number) => number.as_f64() == Some(0.0),
        Json::Text(text) | Json::Field(text) => {
            // `"0"` and `"no"` are true to a reader that asks only whether the text is empty.
            text.is_empty() || text.trim().eq_ignore_ascii_case("false")
        }
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
    }
}

fn is_true(json: &Json) -> bool {
    match json {
        Json::Bool(value) => *value,
        Json::Number(number) => number.as_f64() != Some(0.0),
        Json::Text(text) | Json::Field(text) => text.trim().eq_ignore_ascii_case("true"),
        Json::Null | Json::Array(_) | Json::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn json(value: &serde_json::Value) -> Json {
        match value {
            serde_json::Value::Null => Json::Null,
            serde_json::Value::Bool(value) => Json::Bool(*value),
            serde_json::Value::Number(number) => Json::Number(number.clone()),
            serde_json::Value::String(text) => Json::Text(text.clone()),
            serde_json::Value::Array(items) => Json::Array(items.iter().map(json).collect()),
            serde_json::Value::Object(members) => Json::Object(
                members.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
            ),
        }
    }

    fn body(text: &str) -> RequestBody {
        let all = vec![json(&serde_json::from_str(text).unwrap())];
        RequestBody::Read(Readings { certain: true, all })
    }

    fn condition(at: &str, value: Option<BodyValue>) -> BodyCondition {
        let at = at.parse().unwrap();
        match value {
            None => BodyCondition::absent(at),
            Some(value) => BodyCondition::one_of(at, [value]).unwrap(),
        }
    }

    fn text(pattern: &str) -> Option<BodyValue> {
        Some(BodyValue::Text(pattern.parse().unwrap()))
    }

    #[test]
    fn values_must_fit_as_they_are_written_and_may_fit_as_they_could_be_read() {
        let yes = || Some(BodyValue::Bool(true));
        let number = |text: &str| Some(BodyValue::Number(serde_json::from_str(text).unwrap()));
        let kind = |kind| Some(BodyValue::Type(kind));
        for (at, value, text, holds, may) in [
            ("/draft", yes(), r#"{"draft":true}"#, true, true),
            ("/draft", yes(), r#"{"draft":false}"#, false, false),
            ("/draft", yes(), r#"{"draft":"true"}"#, false, true),
            ("/draft", yes(), r#"{"draft":"on"}"#, false, true),
            ("/draft", yes(), r#"{"draft":1}"#, false, true),
            ("/draft", yes(), r#"{"draft":[true]}"#, false, true),
            ("/draft", yes(), r#"{"Draft":true}"#, false, true),
            ("/draft", yes(), r#"{"draft":true,"Draft":false}"#, false, true),
            ("/draft", yes(), r#"{"draft":true,"dra_ft":true}"#, true, true),
            ("/draft", yes(), r#"{"draft\u0000x":true}"#, false, true),
            ("/draft", yes(), r#"[{"draft":true}]"#, false, true),
            ("/draft", yes(), r#"{}"#, false, false),
            ("/draft", Some(BodyValue::Bool(false)), r#"{"draft":"no"}"#, false, true),
            ("/draft", Some(BodyValue::Bool(false)), r#"{"draft":null}"#, false, true),
            ("/draft", Some(BodyValue::Bool(false)), r#"{"draft":"true"}"#, false, false),
            ("/admin", None, r#"{}"#, true, true),
            ("/admin", None, r#"{"admin":true}"#, false, false),
            ("/admin", None, r#"{"admin":null}"#, false, true),
            ("/admin", None, r#"{"ADMIN":true}"#, false, true),
            ("/is_admin", None, r#"{"isAdmin":true}"#, false, true),
            ("$..admin", None, r#"{"a":[{"admin":1}]}"#, false, false),
            ("$..admin", None, r#"{"a":[{"Admin":1}]}"#, false, true),
            ("$..admin", None, r#"{"a":[{"b":1}]}"#, true, true),
            ("/n", number("5"), r#"{"n":5}"#, true, true),
            ("/n", number("5"), r#"{"n":5.0}"#, true, true),
            ("/n", number("5"), r#"{"n":"5"}"#, false, true),
            ("/n", number("5"), r#"{"n":" 5.0 "}"#, false, true),
            ("/n", number("5"), r#"{"n":6}"#, false, false),
            ("/n", number("9007199254740993"), r#"{"n":9007199254740992}"#, false, true),
            ("/tag", super::tests::text("v*"), r#"{"tag":"v1"}"#, true, true),
            ("/tag", super::tests::text("v*"), r#"{"tag":"V1"}"#, false, true),
            ("/tag", super::tests::text("1"), r#"{"tag":1}"#, false, true),
            ("/tag", super::tests::text("v*"), r#"{"tag":"x"}"#, false, false),
            ("/size", kind(JsonType::Number), r#"{"size":1.5}"#, true, true),
            ("/size", kind(JsonType::Integer), r#"{"size":1.5}"#, false, true),
            ("/size", kind(JsonType::Number), r#"{"size":"12"}"#, false, true),
            ("/size", kind(JsonType::Number), r#"{"size":"x"}"#, false, false),
            ("/o", kind(JsonType::Object), r#"{"o":{}}"#, true, true),
            ("/o", kind(JsonType::Object), r#"{"o":"{}"}"#, false, true),
            ("/a/1", yes(), r#"{"a":[false,true]}"#, true, true),
            ("/a/*/b", yes(), r#"{"a":[{"b":true},{"b":true}]}"#, true, true),
            ("/a/*/b", yes(), r#"{"a":[{"b":true},{}]}"#, false, true),
            ("/a/*/b", yes(), r#"{"a":[]}"#, false, false),
            ("", kind(JsonType::Object), r#"{}"#, true, true),
            ("/a~1b", yes(), r#"{"a/b":true}"#, true, true),
        ] {
            let condition = condition(at, value);
            assert_eq!(condition.holds(&body(text)), holds, "{condition:?} {text}");
            assert_eq!(condition.may_hold(&body(text)), may, "{condition:?} may {text}");
        }
    }

    #[test]
    fn what_is_not_certain_is_never_what_a_rule_allows() {
        let json = || vec![Json::Object(vec![("draft".to_owned(), Json::Bool(true))])];
        let bodies = [
            (RequestBody::Unread, true),
            (RequestBody::Read(Readings { certain: false, all: Vec::new() }), true),
            (RequestBody::Read(Readings { certain: true, all: Vec::new() }), true),
            (RequestBody::Read(Readings { certain: false, all: json() }), true),
            (RequestBody::Empty, false),
        ];
        let draft = condition("/draft", Some(BodyValue::Bool(true)));
        let absent = condition("/admin", None);
        for (body, may) in bodies {
            assert!(!draft.holds(&body), "{body:?}");
            assert_eq!(draft.may_hold(&body), may, "{body:?}");
            assert_eq!(absent.holds(&body), body == RequestBody::Empty, "{body:?}");
            assert!(absent.may_hold(&body), "{body:?}");
        }
    }

    #[test]
    fn members_that_are_there_twice_must_all_fit() {
        let twice = |one, other| {
            let members = [one, other].map(|value| ("draft".to_owned(), Json::Bool(value)));
            RequestBody::Read(Readings { certain: true, all: vec![Json::Object(members.into())] })
        };
        let draft = condition("/draft", Some(BodyValue::Bool(true)));
        for (one, other) in [(true, false), (false, true)] {
            assert!(!draft.holds(&twice(one, other)) && draft.may_hold(&twice(one, other)));
        }
        assert!(draft.holds(&twice(true, true)));
    }

    #[test]
    fn fields_of_forms_have_the_type_that_they_are_written_in() {
        let form = |value: &str| {
            let all = vec![Json::Object(vec![("n".to_owned(), Json::Field(value.to_owned()))])];
            RequestBody::Read(Readings { certain: true, all })
        };
        for (wanted, value, holds, may) in [
            (BodyValue::Bool(true), "true", true, true),
            (BodyValue::Bool(true), "1", false, true),
            (BodyValue::Bool(true), "false", false, false),
            (BodyValue::Number(5.into()), "5", true, true),
            (BodyValue::Number(5.into()), "05", false, true),
            (BodyValue::Type(JsonType::Integer), "12", true, true),
            (BodyValue::Type(JsonType::Number), "inf", false, true),
            (BodyValue::Type(JsonType::String), "x", true, true),
        ] {
            let condition = condition("/n", Some(wanted));
            assert_eq!(condition.holds(&form(value)), holds, "{condition:?} {value}");
            assert_eq!(condition.may_hold(&form(value)), may, "{condition:?} may {value}");
        }
    }
}
