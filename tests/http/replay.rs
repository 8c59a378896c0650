//! Past requests under a proposed policy.

use std::fs;

use serde_json::Value;

use crate::api::{Api, POLICY};

#[test]
fn requests_are_judged_again_as_far_as_a_record_tells_them() {
    let api = Api::start(POLICY);
    let job = "get \"$GUARD_API_URL/v1/users?page=1\"\n\
        get \"$GUARD_API_URL/v1/secrets/key\"\n\
        get -X POST \"$GUARD_API_URL/v1/orders?dry=1\" -d x\n";
    let _run = api.run(job).ok();
    let (file, records) = (api.stage.dir().join("new.yaml"), api.stage.reports());
    let (file, records) = (file.display().to_string(), records.display().to_string());
    let replayed = |policy: &str| -> Value {
        fs::write(&file, policy).unwrap();
        let told = api.stage.tool(&["policy", "replay", &file, "--records", &records, "--json"]);
        serde_json::from_slice(&told.unwrap().ok().stdout).unwrap()
    };
    let same = replayed(POLICY);
    assert_eq!(
        (&same["operations"], &same["changed"]),
        (&3.into(), &Value::Array(vec![])),
        "{same}"
    );
    let stricter = replayed(&POLICY.replace("dry: [\"1\", \"true\"]", "dry: [\"true\"]"));
    let changed = stricter["changed"].as_array().unwrap();
    assert_eq!(changed.len(), 1, "{stricter}");
    assert_eq!(changed[0]["text"], "POST /v1/orders?dry=1", "{stricter}");
    let looser =
        replayed(&POLICY.replace("    decide: block\n    say", "    decide: allow\n    say"));
    assert_eq!(looser["changed"].as_array().unwrap().len(), 1, "{looser}");
    // What rules look at besides is in no record.
    let headers = replayed(
        &POLICY.replace("paths: [/v1/**]", "paths: [/v1/users], headers: { X-Team: null }"),
    );
    assert_eq!(headers["unknown"]["requests"], 1, "{headers}");
    assert_eq!(headers["changed"], Value::Array(vec![]), "{headers}");
}
