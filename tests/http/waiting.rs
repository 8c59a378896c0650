//! Requests that wait: for people, and for the end of the session.

use std::time::Duration;

use guard_tests::{finish, process::wait_for, script, story};

use crate::api::{Api, POLICY};

const ASKS: &str = "  - name: withdraw
    http: { methods: [DELETE], paths: ['/v1/orders/{number}'] }
    decide: approve
    approvers: [dba]
    within: 5m
";

#[test]
fn a_request_waits_for_people_and_goes_through_once() {
    let asks = format!("{POLICY}{ASKS}");
    let api = Api::with(&asks, "send_as: bearer", |stage| stage.people());
    let delete = "curl -sS -i -X DELETE -d '{\"reason\": \"as agreed\"}' \"$GUARD_API_URL/v1/orders/7?why=old\"";
    let mut job = api.stage.spawn("job", &script(delete)).unwrap();
    let mut told = story("approve_request.js").unwrap();
    let told = finish(told.env("GUARD_URL", &api.stage.url)).unwrap();
    assert_eq!(told.code, 0, "{}", told.stderr);
    let status = job.wait(Duration::from_secs(60)).unwrap();
    assert!(status.success() && job.log().contains("HTTP/1.1 200"), "{}", job.log());
    assert_eq!(api.seen(), ["DELETE /v1/orders/7?why=old"]);
    let report = api.stage.report().unwrap();
    assert_eq!(report["approvals"]["listed"][0]["state"], "used", "{report}");
}

#[test]
fn what_a_client_no_longer_waits_for_is_not_sent() {
    let asks = format!("{POLICY}{ASKS}");
    let api = Api::with(&asks, "send_as: bearer", |stage| stage.people());
    let run =
        api.run("curl -sS --max-time 2 -X DELETE \"$GUARD_API_URL/v1/orders/7\" || echo gone");
    assert!(run.ok().text().ends_with("gone"));
    let record = api.record();
    assert!(record.contains("approval-asked") && record.contains("\"cancelled\""), "{record}");
    assert_eq!(api.seen(), [""; 0]);
}

#[test]
fn the_end_of_a_session_is_the_end_of_its_requests() {
    let api = Api::start(POLICY);
    let requests = "while curl -sS -f -o /dev/null \"$GUARD_API_URL/v1/echo\"; do :; done\n\
                    curl -sS -i \"$GUARD_API_URL/v1/echo\"";
    let mut job = api.stage.spawn("job", &script(requests)).unwrap();
    wait_for("a request", || (api.seen().len() > 2).then_some(())).unwrap();
    let list = api.stage.broker_tool(&["sessions", "list", "--json"]).unwrap().ok();
    let list: serde_json::Value = serde_json::from_str(&list.text()).unwrap();
    let id = list[0]["id"].as_str().unwrap();
    let _ended =
        api.stage.broker_tool(&["sessions", "end", id, "--reason", "a test"]).unwrap().ok();
    let _ = job.wait(Duration::from_secs(60)).unwrap();
    let log = job.log();
    assert!(log.contains("HTTP/1.1 401") && log.contains("the session is over"), "{log}");
}
