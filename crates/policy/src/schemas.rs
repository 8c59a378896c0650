//! The published schemas say what the readers say: the same keys, the same words. And the packs load.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{collections::BTreeSet, fs, path::Path};

use guard_core::{ObjectKind, Verb};
use serde_json::Value;

use crate::{Cases, LockFile, Policy};

const POLICY: &str = include_str!("../../../schemas/policy.schema.json");
const CASES: &str = include_str!("../../../schemas/cases.schema.json");
const LOCK: &str = include_str!("../../../schemas/lock.schema.json");
const TRUST: &str = include_str!("../../../schemas/trust.schema.json");

fn at<'a>(schema: &'a Value, pointer: &str) -> &'a Value {
    schema.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"))
}

fn keys(schema: &Value, pointer: &str) -> Vec<String> {
    at(schema, pointer).as_object().unwrap().keys().cloned().collect()
}

fn words(schema: &Value, pointer: &str) -> Vec<String> {
    at(schema, pointer).as_array().unwrap().iter().map(|w| w.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_schemas_know_every_word() {
    let policy: Value = serde_json::from_str(POLICY).unwrap();
    let filter = "/$defs/filter/properties";
    for way in ["1/enum", "2/items/enum"] {
        let verbs = words(&policy, &format!("{filter}/effects/anyOf/{way}"));
        assert_eq!(verbs, Verb::ALL.map(|verb| verb.as_str().to_owned()));
        let kinds = words(&policy, &format!("{filter}/objects/anyOf/{way}"));
        assert_eq!(kinds, ObjectKind::ALL.map(|kind| kind.as_str().to_owned()));
    }
}

/// A reader names the keys that it knows when it meets one that it does not.
fn known(problems: &str) -> BTreeSet<String> {
    let list = problems.split("known are ").nth(1).unwrap().lines().next().unwrap();
    list.split(", ").map(|key| key.trim_matches('`').to_owned()).collect()
}

#[test]
fn the_schemas_know_every_key() {
    let policy: Value = serde_json::from_str(POLICY).unwrap();
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let read = |text: &str| Policy::parse("p", text).unwrap_err().to_string();
    let lock: Value = serde_json::from_str(LOCK).unwrap();
    let locked = |text: &str| LockFile::parse("l", text, None).unwrap_err().to_string();
    for (schema, pointer, problems) in [
        (&policy, "/properties", read("x: 1")),
        (&policy, "/properties/record/anyOf/1/properties", read("record: { x: 1 }")),
        (
            &policy,
            "/$defs/rule/properties/record/anyOf/1/properties",
            read("rules: [{ record: { x: 1 } }]"),
        ),
        (&policy, "/$defs/rule/properties", read("rules: [{ x: 1 }]")),
        (&policy, "/$defs/filter/properties", read("rules: [{ sql: { x: 1 } }]")),
        (&policy, "/$defs/request/properties", read("rules: [{ http: { x: 1 } }]")),
        (&policy, "/$defs/mask/properties", read("masks: [{ x: 1 }]")),
        (&policy, "/$defs/mask/properties/http/properties", read("masks: [{ http: { x: 1 } }]")),
        (
            &policy,
            "/$defs/mask/properties/http/properties/request/properties",
            read("masks: [{ http: { request: { x: 1 } } }]"),
        ),
        (&policy, "/properties/detect/properties", read("detect: { x: 1 }")),
        (&policy, "/properties/lock/anyOf/1/properties", read("lock: { x: 1 }")),
        (&lock, "/properties", locked("x: 1")),
        (&lock, "/$defs/resource/properties", locked("resources: { r: { x: 1 } }")),
        (
            &lock,
            "/$defs/statement/properties",
            locked("resources: { r: { statements: [{ x: 1 }] } }"),
        ),
        (&cases, "/properties", Cases::parse("c", "x: 1").unwrap_err().to_string()),
        (
            &cases,
            "/properties/cases/items/properties",
            Cases::parse("c", "cases: [{ x: 1 }]").unwrap_err().to_string(),
        ),
    ] {
        let schema: BTreeSet<_> = keys(schema, pointer).into_iter().collect();
        assert_eq!(schema, known(&problems), "{pointer}");
    }
    let trust: Value = serde_json::from_str(TRUST).unwrap();
    let read = |text: &str| {
        let files = [("t".to_owned(), text.to_owned())];
        crate::TrustRules::parse(&files, &crate::TrustContext::default()).unwrap_err().to_string()
    };
    for (pointer, problems) in [
        ("/items/properties", read("[{ x: 1 }]")),
        ("/items/properties/grants/items/properties", read("[{ grants: [{ x: 1 }] }]")),
    ] {
        let schema: BTreeSet<_> = keys(&trust, pointer).into_iter().collect();
        assert_eq!(schema, known(&problems), "{pointer}");
    }
}

#[test]
fn every_pack_loads_is_named_as_its_file_and_has_cases() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut packs = 0;
    for folder in [
        "policies",
        "examples/nightly-backup/policies",
        "examples/approved-cleanup/policies",
        "examples/release/policies",
    ] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let Some(name) = name.strip_suffix(".yaml").filter(|name| !name.ends_with(".cases"))
            else {
                continue;
            };
            let read = |end: &str| {
                let path = path.with_file_name(format!("{name}{end}"));
                fs::read_to_string(&path)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            };
            let policy = Policy::parse(name, &read(".yaml")).unwrap_or_else(|p| panic!("{p}"));
            assert_eq!(policy.name().as_str(), name);
            let cases = Cases::parse(name, &read(".cases.yaml")).unwrap_or_else(|p| panic!("{p}"));
            assert!(cases.list.len() >= 20, "{name} has {} cases", cases.list.len());
            packs += 1;
        }
    }
    assert_eq!(packs, 15);
}
