//! IAM logins of RDS: what is asked of STS, and that the token is one that AWS would take.

use std::{collections::BTreeMap, time::Duration};

use aws_lc_rs::hmac;
use axum::http::{Method, StatusCode};
use guard_core::Digest;
use guard_tests::{fake_sts, fake_sts::FakeSts, moto::Moto};
use serde_json::{Value, json};

use super::stage::{Shim, Stage};

const ROLE: &str = "arn:aws:iam::123456789012:role/guard-orders";
const KEYS: &str = "keys: { id: AKIATEST, secret: { file: aws-key } }";

async fn stage(sts: &str, more: &str) -> Stage {
    let mut stage = Stage::new().await;
    let folder = stage.folder.path().to_owned();
    std::fs::write(folder.join("aws-key"), "the-brokers-own-key").unwrap();
    std::fs::write(folder.join("web-token"), "eyJ.of-the-cluster.sig").unwrap();
    let config = std::fs::read_to_string(folder.join("guard.yaml")).unwrap();
    let credential = format!(
        "aws: {{ region: eu-central-1, username: backup, role: \"{ROLE}\", sts_endpoint: \"{sts}\", {more} }}"
    );
    let config = config.replace("username: app, password: { file: password }", &credential);
    std::fs::write(folder.join("guard.yaml"), config).unwrap();
    stage.restart().await;
    stage
}

async fn lease(stage: &Stage, shim: &Shim) -> Value {
    let near = json!({ "session": shim.id, "resource": "near" });
    let (status, answer) = stage.as_shim(shim, Method::POST, "/v1/leases", &near).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

fn form(text: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// What AWS computes of a presigned request:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
fn signature(host: &str, query: &str, secret: &str) -> String {
    let given = form(query);
    let mut pairs: Vec<&str> =
        query.split('&').filter(|pair| !pair.starts_with("X-Amz-Signature=")).collect();
    pairs.sort_unstable();
    let request = format!(
        "GET\n/\n{}\nhost:{host}\n\nhost\n{}",
        pairs.join("&"),
        hex(Digest::of("").as_bytes())
    );
    let scope = given["X-Amz-Credential"].split_once('/').unwrap().1.to_owned();
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        given["X-Amz-Date"],
        hex(Digest::of(request).as_bytes())
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in scope.split('/').chain([text.as_str()]) {
        key =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
    }
    hex(&key)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_role_is_assumed_for_the_run_and_may_only_connect() {
    let sts = FakeSts::start().unwrap();
    let stage = stage(&sts.url, KEYS).await;
    let shim = stage.session().await;
    let answer = lease(&stage, &shim).await;
    let asked = form(&sts.asked()[0]);
    assert_eq!((asked["Action"].as_str(), asked["RoleArn"].as_str()), ("AssumeRole", ROLE));
    assert_eq!(asked["RoleSessionName"], format!("guard-{}", shim.id));
    assert_eq!(asked["DurationSeconds"], "900");
    let policy: Value = serde_json::from_str(&asked["Policy"]).unwrap();
    let statement = json!([{ "Effect": "Allow", "Action": "rds-db:connect",
        "Resource": "arn:aws:rds-db:eu-central-1:*:dbuser:*/backup" }]);
    assert_eq!(policy["Statement"], statement);
    let tags: BTreeMap<_, _> = (1..=7)
        .map(|n| {
            (
                asked[&format!("Tags.member.{n}.Key")].as_str(),
                asked[&format!("Tags.member.{n}.Value")].as_str(),
            )
        })
        .collect();
    assert_eq!(tags["guard-session"], shim.id);
    assert_eq!((tags["guard-repository"], tags["guard-run"]), ("acme/shop", "1.1"));
    assert_eq!((tags["guard-resource"], tags["guard-policy"]), ("near", "reads"));

    assert_eq!(answer["username"], "backup");
    let token = answer["password"].as_str().unwrap();
    let (host, query) = token.split_once("/?").unwrap();
    let given = form(query);
    assert_eq!(host, "127.0.0.1:5432");
    assert_eq!((given["Action"].as_str(), given["DBUser"].as_str()), ("connect", "backup"));
    assert_eq!(given["X-Amz-Expires"], "900");
    assert_eq!(given["X-Amz-Security-Token"], fake_sts::SESSION_TOKEN);
    assert!(given["X-Amz-Credential"].starts_with(fake_sts::ACCESS_KEY));
    assert!(given["X-Amz-Credential"].ends_with("/eu-central-1/rds-db/aws4_request"));
    assert_eq!(given["X-Amz-Signature"], signature(host, query, fake_sts::SECRET_KEY));
    // The next connection after a quarter of an hour asks for another.
    let until: guard_core::Timestamp = answer["until"].as_str().unwrap().parse().unwrap();
    assert!(until < guard_core::Timestamp::now() + Duration::from_secs(900));
    let record = stage.text(&shim).await;
    assert!(record.contains("lease-taken") && !record.contains("X-Amz"));
}

#[tokio::test]
async fn a_web_identity_stands_for_the_broker_and_a_policy_file_for_the_narrow_one() {
    let sts = FakeSts::start().unwrap();
    let more = "web_identity: { file: web-token }, session_policy: narrow.json";
    let mut stage = stage(&sts.url, KEYS).await;
    let path = stage.folder.path().join("guard.yaml");
    std::fs::write(stage.folder.path().join("narrow.json"), "{ \"Statement\": [] }").unwrap();
    let config = std::fs::read_to_string(&path).unwrap().replace(KEYS, more);
    std::fs::write(&path, config).unwrap();
    stage.restart().await;
    let shim = stage.session().await;
    lease(&stage, &shim).await;
    let asked = form(&sts.asked()[0]);
    assert_eq!(asked["Action"], "AssumeRoleWithWebIdentity");
    assert_eq!(asked["WebIdentityToken"], "eyJ.of-the-cluster.sig");
    assert_eq!(asked["Policy"], "{\"Statement\":[]}");
    assert!(!asked.contains_key("Tags.member.1.Key"));
}

/// moto, where it is installed: `pip install 'moto[server]'` into `.tools/venv`, or a path in `GUARD_MOTO`.
#[tokio::test]
async fn moto_gives_a_role_whose_keys_sign_a_token() {
    let Some(program) = Moto::installed() else {
        eprintln!("not shown: moto is not installed");
        return;
    };
    let moto = Moto::start(&program).unwrap();
    let stage = stage(&moto.url, KEYS).await;
    let shim = stage.session().await;
    let answer = lease(&stage, &shim).await;
    let token = answer["password"].as_str().unwrap().to_owned();
    drop(moto);
    let given = form(token.split_once("/?").unwrap().1);
    assert!(given["X-Amz-Credential"].starts_with("ASIA"), "{given:?}");
    assert!(!given["X-Amz-Security-Token"].is_empty());
}
