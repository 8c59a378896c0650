//! A lock of requests: learned of a run, given to the policy, and what becomes of others.

use std::fs;

use crate::api::{Api, POLICY};

const JOB: &str = "\
get \"$GUARD_API_URL/v1/orders/7?page=1&size=50\"
get \"$GUARD_API_URL/v1/orders/8?size=9&page=2\"
get -X POST \"$GUARD_API_URL/v1/orders?dry=1\" -d '{\"note\": \"secret\"}'
";

/// An API whose job was run, learned, and is kept to what it did.
fn locked(unlisted: &str) -> Api {
    let api = Api::start(POLICY);
    let _run = api.run(JOB).ok();
    let (record, lock) = (newest(&api), lock(&api));
    let learned = api.stage.tool(&["lock", "learn", &record, "--out", &lock]).unwrap().ok();
    let _learned = learned.says("2 different requests stand in `");
    let policy = api.stage.dir().join("policies/stage.yaml");
    fs::write(policy, format!("{POLICY}lock: {unlisted}\n")).unwrap();
    let _reloaded = api.stage.broker_tool(&["reload"]).unwrap().ok();
    api
}

fn lock(api: &Api) -> String {
    api.stage.dir().join("policies/stage.lock.yaml").display().to_string()
}

fn newest(api: &Api) -> String {
    let folder = api.stage.report_dirs().pop().unwrap();
    folder.join("record.jsonl").display().to_string()
}

#[test]
fn the_same_requests_go_on_and_fail_closed_others_do_not() {
    let api = locked("block");
    let text = fs::read_to_string(lock(&api)).unwrap();
    assert!(!text.contains("secret"), "{text}");
    let requests = "    requests:\n    - GET /v1/orders/*?page&size\n    - POST /v1/orders?dry\n";
    assert!(text.contains(requests), "{text}");
    let said = api.run(JOB).ok().text();
    assert_eq!(said.matches("HTTP/1.1 200").count(), 3, "{said}");
    let before = api.seen().len();
    let said = api.run(
        "get \"$GUARD_API_URL/v1/orders/7\"\n\
         get \"$GUARD_API_URL/v1/orders/7?page=1&size=5&all=1\"\n\
         get \"$GUARD_API_URL/v1/orders/7/lines?page=1&size=5\"\n\
         get \"$GUARD_API_URL/v1/orders/%2e%2e/users?page=1&size=5\"\n\
         get \"$GUARD_API_URL/v1/Orders/7?page=1&size=5\"\n\
         get -I \"$GUARD_API_URL/v1/orders/7?page=1&size=5\"\n\
         get -H 'X-HTTP-Method-Override: GET' -X POST \"$GUARD_API_URL/v1/orders?dry=1\" -d x\n",
    );
    let said = said.ok().text();
    assert_eq!(said.matches("HTTP/1.1 4").count(), 7, "{said}");
    assert_eq!(said.matches("by rule `lock` of policy `stage` (GRD-2107)").count(), 5, "{said}");
    assert_eq!(api.seen().len(), before);
    let words = api.stage.tool(&["lock", "diff", &lock(&api), &newest(&api)]).unwrap().code(1);
    assert!(words.text().contains("- not asked: POST /v1/orders?dry"), "{}", words.text());
}

#[test]
fn what_is_new_is_told_and_a_person_may_write_a_pattern() {
    let api = locked("report");
    let said = api.run("get \"$GUARD_API_URL/v1/reports/monthly/eu\"\n").ok().text();
    assert!(said.contains("HTTP/1.1 200"), "{said}");
    assert_eq!(api.stage.report().unwrap()["counts"]["unlisted"], 1);
    let diff =
        |code| api.stage.tool(&["lock", "diff", &lock(&api), &newest(&api)]).unwrap().code(code);
    let words = diff(1).text();
    assert!(words.contains("+ new request: GET /v1/reports/monthly/eu"), "{words}");
    let text = fs::read_to_string(lock(&api)).unwrap();
    let mine =
        text.replace("    - POST /v1/orders?dry\n", "    - GET /v1/reports/monthly/{region}\n");
    assert_ne!(text, mine);
    fs::write(lock(&api), mine.replace("    - GET /v1/orders/*?page&size\n", "")).unwrap();
    assert_eq!(diff(0).text(), "the same as the lock");
    let _reloaded = api.stage.broker_tool(&["reload"]).unwrap().ok();
    let _run = api.run("get \"$GUARD_API_URL/v1/reports/monthly/us\"\n").ok();
    assert_eq!(api.stage.report().unwrap()["counts"]["unlisted"], 0);
}
