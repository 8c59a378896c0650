//! The `body` of a rule: places in JSON or a form, with the values that must be there.

use guard_core::{
    document::{Fields, Node, Problems},
    http::{BodyCondition, BodyValue, JsonPath, JsonType},
};

pub(super) fn conditions(
    fields: &Fields<'_>,
    problems: &mut Problems,
) -> Option<Vec<BodyCondition>> {
    let Some(node) = fields.optional("body") else { return Some(Vec::new()) };
    let entries = node.fields(problems)?.all();
    if entries.is_empty() {
        node.problem(problems, "`body` names nothing: leave it out");
        return None;
    }
    let found: Vec<_> =
        entries.iter().map(|(name, at, value)| condition(name, at, value, problems)).collect();
    found.into_iter().collect()
}

fn condition(name: &str, at: &Node, node: &Node, problems: &mut Problems) -> Option<BodyCondition> {
    let path: JsonPath = match name.parse() {
        Ok(path) => path,
        Err(error) => {
            at.problem(problems, format!("{error}"));
            return None;
        }
    };
    if node.is_word_null() {
        return Some(BodyCondition::absent(path));
    }
    let items = node.one_or_more(problems)?;
    let values: Vec<_> = items.iter().map(|item| values(item, problems)).collect();
    let values: Vec<Vec<BodyValue>> = values.into_iter().collect::<Option<_>>()?;
    match BodyCondition::one_of(path, values.into_iter().flatten()) {
        Ok(condition) => Some(condition),
        Err(error) => {
            at.problem(problems, error.to_string());
            None
        }
    }
}

/// One value, or `{ type: … }`.
fn values(node: &Node, problems: &mut Problems) -> Option<Vec<BodyValue>> {
    if node.is_mapping() {
        let fields = node.fields(problems)?;
        let types = fields.required("type", problems).and_then(|node| {
            let items = node.one_or_more(problems)?;
            let types: Vec<_> = items.iter().map(|item| json_type(item, problems)).collect();
            types.into_iter().collect()
        });
        fields.finish(&["type"], problems);
        return types;
    }
    let value = match node.unquoted() {
        Some("true") => BodyValue::Bool(true),
        Some("false") => BodyValue::Bool(false),
        Some(text) => match number(text) {
            Some(number) => BodyValue::Number(number),
            None => BodyValue::Text(node.parsed(problems)?),
        },
        None => BodyValue::Text(node.parsed(problems)?),
    };
    Some(vec![value])
}

fn json_type(node: &Node, problems: &mut Problems) -> Option<BodyValue> {
    let found = if node.is_word_null() {
        Some(JsonType::Null)
    } else {
        node.one_of(&JsonType::WORDS, problems)
    };
    found.map(BodyValue::Type)
}

/// A number as JSON has it.
fn number(text: &str) -> Option<serde_json::Number> {
    let begins = text.starts_with(|it: char| it.is_ascii_digit() || it == '-');
    if begins { serde_json::from_str(text).ok() } else { None }
}
