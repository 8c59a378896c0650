//! The JSON report against its published schema, in both directions: what is written is allowed, and
//! every field that is written is described.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use serde_json::Value;

use super::Report;
use crate::{
    SealingKey,
    fixture::{backup, denial, over_budget, read},
};

const SCHEMA: &str = include_str!("../../../../schemas/report.schema.json");

/// The part of JSON Schema that the schema uses.
fn check(root: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        return check(root, root.pointer(name.trim_start_matches('#')).unwrap(), value, at);
    }
    if let Some(constant) = schema.get("const") {
        assert_eq!(constant, value, "{at}");
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{at}: {value}");
    }
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match &schema["type"] {
        Value::String(one) => assert_eq!(one, name, "{at}"),
        Value::Array(many) => assert!(many.contains(&name.into()), "{at}: {value}"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            assert!(schema.get("const").is_some(), "{at}: the schema has no type");
        }
    }
    if let Value::Array(items) = value {
        for (index, item) in items.iter().enumerate() {
            check(root, &schema["items"], item, &format!("{at}/{index}"));
        }
    }
    let Value::Object(fields) = value else { return };
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(fields.contains_key(required.as_str().unwrap()), "{at}: no {required}");
    }
    for (field, value) in fields {
        let described = schema["properties"].get(field).or(schema.get("additionalProperties"));
        let described = described.unwrap_or_else(|| panic!("{at}/{field} is not in the schema"));
        check(root, described, value, &format!("{at}/{field}"));
    }
}

#[test]
fn the_schema_knows_every_platform() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let platforms = &schema["properties"]["run"]["properties"]["platform"]["enum"];
    let all = guard_core::Platform::ALL.map(|platform| Value::from(platform.as_str()));
    assert_eq!(platforms, &Value::from(all.to_vec()));
}

#[test]
fn the_report_is_what_its_schema_says() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let key = SealingKey::generate().unwrap();
    let mut observed = backup();
    let read = observed.operation(read("SELECT 1", "observed"));
    observed.observed(read, denial("blocked SELECT"));
    observed.statement(read, Some(over_budget()));
    let row = vec![Some(crate::Cell::Text("x".into())), None];
    observed.answered(read, &["a", "b"], vec![row]);
    observed.broker(crate::Event::Isolated {
        level: guard_core::Isolation::Env,
        required: None,
        why_not: Vec::new(),
        step: Some(guard_core::control::RunStep { number: 1, name: None }),
    });
    for record in [backup().sealed(&key), backup().lines, observed.sealed(&key)] {
        let report = Report::from_record(&record[..], &[key.public()]).unwrap();
        let report: Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        check(&schema, &schema, &report, "");
    }
}
