//! Pages by role, and what they do with texts of others.

use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::Digest;
use serde_json::json;

use super::{
    approvals::{ask, question},
    people::{Browser, Fake, Page, csrf, stage},
    runs::{completed, end, events, report},
    stage::{Shim, Stage},
};

/// Everyone who may come, with the group that says who they are; the first is not signed in.
const WHO: [(&str, Option<&str>); 6] = [
    ("nobody", None),
    ("without a role", Some("guests")),
    ("viewer", Some("staff")),
    ("approver", Some("dba")),
    ("auditor", Some("audit")),
    ("admin", Some("root")),
];

/// A run that is over, one that lives, and a request of it.
async fn runs(stage: &Stage) -> (Shim, Shim, String) {
    let (over, live) = (stage.session().await, stage.session().await);
    report(stage, &over, &events(0, true)).await;
    end(stage, &over, 0).await;
    completed(stage, &over).await;
    stage.app.sessions.log.add_pending().await.unwrap();
    report(stage, &live, &events(0, true)).await;
    let asked = question(&live, "DELETE FROM users WHERE id = 7", &["one"]);
    let id = ask(stage, &live, &asked).await["id"].as_str().unwrap().to_owned();
    (over, live, id)
}

async fn somebody(fake: &Fake, stage: &Stage, group: Option<&str>) -> Browser {
    let Some(group) = group else { return Browser::default() };
    let group = group.to_owned();
    fake.signs_in(stage, move |claims| claims["groups"] = json!([group])).await
}

/// Nothing of a page can be framed, taken for something else, or kept by a cache.
fn is_guarded(page: &Page, what: &str) {
    let header = |name: &str| page.headers.get(name).map(|value| value.to_str().unwrap());
    let policy = header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'"), "{what}: {policy}");
    assert_eq!(header("x-frame-options"), Some("DENY"), "{what}");
    assert_eq!(header("x-content-type-options"), Some("nosniff"), "{what}");
    assert_eq!(header("cache-control"), Some("no-store"), "{what}");
    if header("content-disposition").is_none() {
        assert!(policy.contains("frame-ancestors 'none'"), "{what}: {policy}");
        assert!(!policy.contains("unsafe"), "{what}: {policy}");
    }
}

#[tokio::test]
async fn each_page_answers_each_role_as_it_should() {
    let fake = Fake::start().await;
    let stage = stage(&fake.url).await;
    let (over, live, request) = runs(&stage).await;
    let run = format!("/runs/{}", over.id);
    let unknown = uuid::Uuid::now_v7();
    // Of viewers, approvers, auditors and admins.
    let cases: Vec<(String, [u16; 4])> = vec![
        ("/runs".into(), [200; 4]),
        (run.clone(), [200; 4]),
        (format!("{run}/report.html"), [200; 4]),
        (format!("{run}/report.json"), [200; 4]),
        (format!("{run}/report.md"), [200; 4]),
        (format!("{run}/record.proof"), [200; 4]),
        (format!("{run}/record.jsonl"), [403, 403, 200, 200]),
        (format!("{run}/report.intoto.jsonl"), [403, 403, 200, 200]),
        (format!("{run}/events.ocsf.jsonl"), [403, 403, 200, 200]),
        (format!("{run}/findings.sarif"), [403, 403, 200, 200]),
        (format!("{run}/other"), [404; 4]),
        (format!("/runs/{}/record.jsonl", live.id), [403, 403, 404, 404]),
        (format!("/runs/{unknown}"), [404; 4]),
        ("/runs/..%2f..%2fetc".into(), [404; 4]),
        (format!("/live/{}", live.id), [200; 4]),
        (format!("/live/{}", over.id), [303; 4]),
        ("/access".into(), [200; 4]),
        ("/access.json".into(), [200; 4]),
        ("/approvals".into(), [200; 4]),
        (format!("/approvals/{request}"), [200; 4]),
        (format!("/approvals/{unknown}"), [404; 4]),
    ];
    for (role, group) in WHO {
        let mut browser = somebody(&fake, &stage, group).await;
        for (path, of_roles) in &cases {
            let expected = match role {
                // To the provider, and back to where they wanted to go.
                "nobody" => 303,
                "without a role" => 403,
                "viewer" => of_roles[0],
                "approver" => of_roles[1],
                "auditor" => of_roles[2],
                _ => of_roles[3],
            };
            let page = browser.get(&stage, path).await;
            assert_eq!(page.status.as_u16(), expected, "{role} {path}: {}", page.body);
            if page.status == StatusCode::SEE_OTHER {
                let to = page.location();
                let known = to.starts_with("/sign-in?to=%2F") || to.starts_with("/runs/");
                assert!(known, "{role} {path}: {to}");
            } else {
                is_guarded(&page, &format!("{role} {path}"));
            }
        }
    }
}

#[tokio::test]
async fn what_is_downloaded_is_what_the_broker_signed_for() {
    let fake = Fake::start().await;
    let stage = stage(&fake.url).await;
    let (over, ..) = runs(&stage).await;
    let mut auditor = somebody(&fake, &stage, Some("audit")).await;
    let path = |file: &str| format!("/runs/{}/{file}", over.id);
    let line = auditor.get(&stage, &path("report.intoto.jsonl")).await.body;
    let envelope: serde_json::Value = serde_json::from_str(&line).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let statement: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    for (index, file) in ["record.jsonl", "report.json"].into_iter().enumerate() {
        let subject = &statement["subject"][index];
        let digest = Digest::of(auditor.get(&stage, &path(file)).await.body).to_string();
        assert_eq!(subject["name"], file);
        assert_eq!(subject["digest"]["sha256"], digest);
    }
    // The page names them, and the commands.
    let page = auditor.get(&stage, &format!("/runs/{}", over.id)).await.body;
    for part in ["report.intoto.jsonl", "record.proof", "guard audit replay guard-", "verified"] {
        assert!(page.contains(part), "{part}");
    }
    let mut viewer = somebody(&fake, &stage, Some("staff")).await;
    let page = viewer.get(&stage, &format!("/runs/{}", over.id)).await.body;
    for part in ["/record.jsonl", "/report.intoto.jsonl", "/events.ocsf.jsonl", "/findings.sarif"] {
        assert!(!page.contains(part), "{part}");
    }
}

#[tokio::test]
async fn no_form_counts_without_its_token_for_any_role() {
    let fake = Fake::start().await;
    let stage = stage(&fake.url).await;
    let (_, _, request) = runs(&stage).await;
    let decide = format!("/approvals/{request}");
    for (role, group) in WHO {
        let mut browser = somebody(&fake, &stage, group).await;
        for path in ["/sign-out", decide.as_str()] {
            for form in [&[][..], &[("csrf", "")], &[("csrf", "AAAA"), ("decision", "approve")]] {
                let page = browser.post(&stage, path, form, &[]).await;
                let refused = page.status.is_client_error() || page.status.is_redirection();
                assert!(refused, "{role} {path} {form:?}: {} {}", page.status, page.body);
            }
        }
        // It did nothing: who is signed in still is, and nothing is decided.
        if let Some("dba") = group {
            let page = browser.get(&stage, &decide).await;
            assert!(page.body.contains("Your decision"), "{}", page.body);
        }
    }
}

#[tokio::test]
async fn what_an_approver_says_is_text_wherever_it_is_shown() {
    let fake = Fake::start().await;
    let stage = stage(&fake.url).await;
    let (_, live, request) = runs(&stage).await;
    let path = format!("/approvals/{request}");
    let evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\u{202e}'\"";
    let mut ann = somebody(&fake, &stage, Some("dba")).await;
    let field = csrf(&ann.get(&stage, &path).await);
    let form = [("csrf", field.as_str()), ("decision", "refuse"), ("reason", evil)];
    let decided = ann.post(&stage, &path, &form, &[]).await;
    assert_eq!(decided.location(), path, "{}", decided.body);
    end(&stage, &live, 0).await;
    completed(&stage, &live).await;
    let mut admin = somebody(&fake, &stage, Some("root")).await;
    let mut seen = 0;
    for path in [path, "/approvals".into(), format!("/runs/{}", live.id), "/access".into()] {
        let page = admin.get(&stage, &path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        for raw in ["<script>alert", "<img src=x", "\u{202e}"] {
            assert!(!page.body.contains(raw), "{path}: {raw:?}");
        }
        seen += usize::from(page.body.contains("alert(1)"));
    }
    assert!(seen > 0, "the reason is shown somewhere");
}

#[tokio::test]
async fn access_says_which_rules_of_a_policy_never_matched() {
    let fake = Fake::start().await;
    let stage = stage(&fake.url).await;
    let mut viewer = somebody(&fake, &stage, Some("staff")).await;
    let before = viewer.get(&stage, "/access").await;
    assert!(before.body.contains("no run of this version has been counted yet"), "{}", before.body);
    let shim = stage.session().await;
    let mut met = events(0, false);
    met[1]["rule"] = "one".into();
    report(&stage, &shim, &met).await;
    end(&stage, &shim, 0).await;
    completed(&stage, &shim).await;
    let page = viewer.get(&stage, "/access").await;
    assert!(page.body.contains("never matched"), "{}", page.body);
    let json = viewer.get(&stage, "/access.json").await;
    let access: serde_json::Value = serde_json::from_str(&json.body).unwrap();
    assert_eq!(access["trust_rules"][0]["runs"], 1, "{access}");
    let policy = &access["policies"][0];
    assert_eq!(policy["counted_runs"], 1, "{access}");
    let rules = policy["rules"].as_array().unwrap();
    assert!(rules.len() > 1, "{access}");
    for rule in rules {
        let matched = rule["name"] == "one";
        assert_eq!(rule["runs"], u64::from(matched), "{rule}");
        assert_eq!(rule["statements"], u64::from(matched), "{rule}");
        assert_eq!(rule["last"].is_string(), matched, "{rule}");
        assert!(page.body.contains(rule["name"].as_str().unwrap()), "{rule}");
    }
}
