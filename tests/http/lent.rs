//! Credentials that are made for a session: keys of AWS, tokens of OAuth servers and of GitHub Apps; and certificates.

use std::{collections::BTreeSet, process::Command};

use guard_tests::{EnforceAt, Provider, Stage, finish, python_program, script};
use serde_json::{Value, json};

use crate::{
    api::Api,
    servers::{ADDRESS, Server, certificate, openssl, said},
};

const AWS: &str = "\
policy: stage
rules:
  - name: list
    http: { methods: [GET, HEAD], paths: [/, '/orders/**', '/2015-03-31/functions/**'] }
    decide: allow
  - name: upload
    http: { methods: [PUT], paths: [/orders, '/orders/reports/**'] }
    decide: allow
  - name: secrets
    http: { methods: [POST], paths: [/], headers: { x-amz-target: [secretsmanager.CreateSecret, secretsmanager.GetSecretValue] } }
    decide: allow
  - name: identity
    http: { methods: [POST], paths: [/], headers: { x-amz-target: null } }
    decide: allow
";

/// A job that has no key, and clients that look for one.
const JOB: &str = "
set -e
env | grep ^AWS_ | sort
cd \"$(mktemp -d)\"
echo hello > file
\"$AWS\" s3 mb s3://orders
\"$AWS\" s3 cp file 's3://orders/reports/a +b=(c).txt'
\"$AWS\" s3 cp 's3://orders/reports/a +b=(c).txt' -
\"$AWS\" s3 ls s3://orders/reports/
\"$AWS\" s3 rm 's3://orders/reports/a +b=(c).txt' || echo kept
\"$AWS\" s3 cp file s3://orders/other/file || echo not there
\"$AWS\" secretsmanager create-secret --name shop --secret-string w0rd >/dev/null
\"$AWS\" secretsmanager get-secret-value --secret-id shop --query SecretString --output text
\"$AWS\" secretsmanager delete-secret --secret-id shop || echo kept
\"$AWS\" sts get-caller-identity --query Arn --output text
curl -sS -o /dev/null -w '%{http_code} plain\\n' \"$GUARD_FILES_URL/orders?list-type=2&prefix=a+b\"
curl -sS -o /dev/null -w '%{http_code} put\\n' -T file -H 'Content-Type: text/plain' \"$GUARD_FILES_URL/orders/reports/b+c\"
curl -sS -o /dev/null -w '%{http_code} twice\\n' \"$GUARD_CODE_URL/2015-03-31/functions/a%20b+c/policy\"
curl -sS -w '%{http_code} beforehand\\n' \"$GUARD_FILES_URL/orders?X-Amz-Signature=0&X-Amz-Credential=AKIAMINE\"
curl -sS -w '%{http_code} chunks\\n' -T file -H 'x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD' \"$GUARD_FILES_URL/orders/reports/c\"
AWS_ACCESS_KEY_ID=AKIAMINE AWS_SECRET_ACCESS_KEY=mine \"$AWS\" s3 ls s3://orders || echo not mine
\"$PYTHON\" - <<'END'
import boto3
files = boto3.client('s3')
files.put_object(Bucket='orders', Key='reports/n\\u00e4me~1', Body=b'x' * 3_000_000)
files.upload_file('file', 'orders', 'reports/uploaded', ExtraArgs={'Metadata': {'by': 'a  job'}})
print(sorted(it['Key'] for it in files.list_objects_v2(Bucket='orders', Prefix='reports/n')['Contents']))
print(len(files.get_object(Bucket='orders', Key='reports/n\\u00e4me~1')['Body'].read()))
END
";

/// The same by the service's own name.
const NAMED: &str = "
import boto3, sys
files = boto3.client('s3', endpoint_url=sys.argv[1])
files.put_object(Bucket='orders', Key='reports/named', Body=b'hello by name')
print(files.get_object(Bucket='orders', Key='reports/named')['Body'].read().decode())
";

/// A stage with services of AWS, which are all of one server.
fn aws(aws: &Server, certificate: &str) -> Stage {
    let (sts, port) = (&aws.ports[0], &aws.ports[1]);
    let service = |service: &str| {
        format!(
            "url: https://{ADDRESS}:{port}\n    tls_ca: {certificate}\n    \
             send_as: {{ aws_sigv4: {{ service: {service}, region: eu-central-1 }} }}\n    \
             credential: {{ aws: {{ region: eu-central-1, role: \"arn:aws:iam::123456789012:role/deploys\", \
             keys: {{ id: AKIABROKER, secret: {{ file: aws-key }} }}, sts_endpoint: \"http://127.0.0.1:{sts}\" }} }}"
        )
    };
    Stage::builder()
        .policy(AWS)
        .file("aws-key", "the-brokers-key")
        .resource("files", &service("s3"))
        .resource("secrets", &service("secretsmanager"))
        .resource("identity", &service("sts"))
        .resource("code", &service("lambda"))
        .start()
        .unwrap()
}

#[test]
fn aws_and_boto3_work_without_a_key_and_each_request_is_signed_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (pem, key) = certificate(dir.path(), "aws");
    let server = Server::start("aws.py", &[ADDRESS, &pem, &key, "AKIABROKER", "the-brokers-key"]);
    let stage = aws(&server, &pem);
    let with_tools = |mut command: Command| {
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.env("AWS", python_program("aws").unwrap().canonicalize().unwrap());
        command.env("PYTHON", python_program("python").unwrap());
        command.env("HOME", dir.path());
        command
    };
    let run = stage.run(&with_tools(script(JOB))).unwrap().ok();
    let text = said(&run);
    for part in [
        "AWS_ENDPOINT_URL_S3=http://127.0.0.1:",
        "AWS_REGION=eu-central-1",
        "hello\n",
        "6 a +b=(c).txt",
        "kept\n",
        "not there",
        "w0rd",
        "arn:aws:sts::123456789012:assumed-role/deploys/guard-",
        "200 plain",
        "200 put",
        "404 twice",
        "403 beforehand",
        "400 chunks",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "not mine",
        "['reports/näme~1']\n3000000",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let mut named = stage.guard(&with_tools(Command::new(python_program("python").unwrap())));
    named.args(["-c", NAMED, &format!("https://{ADDRESS}:{}", server.ports[1])]);
    named.env("GUARD_ISOLATION", "landlock").env_remove("SSL_CERT_FILE");
    let named = finish(&mut named).unwrap().ok();
    assert_eq!(named.text(), "hello by name", "{}", named.stderr);

    // The server refuses what is not signed as it should be: what it wrote down was.
    let seen = server.seen();
    let is = |it: &Value, service: &str, payload: Value| {
        it["service"] == service && it["payload"] == payload
    };
    let (own, lent): (Vec<_>, Vec<_>) = seen.iter().partition(|it| it["key"] == "AKIABROKER");
    assert!(own.iter().all(|it| is(it, "sts", Value::Null)) && !own.is_empty(), "{own:?}");
    assert!(lent.iter().all(|it| it["key"].as_str().unwrap().starts_with("ASIA")), "{lent:?}");
    for (service, payload) in [
        ("s3", json!("STREAMING-UNSIGNED-PAYLOAD-TRAILER")),
        ("s3", json!("UNSIGNED-PAYLOAD")),
        ("secretsmanager", Value::Null),
        ("sts", Value::Null),
        ("lambda", Value::Null),
    ] {
        assert!(
            lent.iter().any(|it| is(it, service, payload.clone())),
            "{service} {payload}: {lent:?}"
        );
    }
    assert!(!lent.iter().any(|it| it["method"] == "DELETE"), "{lent:?}");
    let record = stage.sealed_record().unwrap();
    for token in lent.iter().map(|it| it["token"].as_str().unwrap()) {
        assert!(!text.contains(token) && !record.contains(token));
    }
    assert!(!record.contains("X-Amz-Signature") && !text.contains("the-brokers-key"), "{record}");
}

const ORDERS: &str = "\
policy: stage
rules:
  - { name: all, http: { methods: [GET, POST], paths: [/v1/**, '/repos/acme/shop/**'] }, decide: allow }
";

#[test]
fn a_token_of_an_oauth_server_is_lent_and_given_back() {
    let mut provider = Provider::start("client_provider.js").unwrap();
    let url = provider.url.clone();
    for (client, auth) in [("deploys", ""), ("others", "client_auth: post, ")] {
        let credential = format!(
            "credential: {{ oauth: {{ token_url: \"{url}/token\", revocation_url: \"{url}/token/revocation\", \
             client_id: {client}, client_secret: {{ file: client }}, {auth}scopes: [\"orders:read\"] }} }}"
        );
        let api = Api::lending(ORDERS, &credential, |stage| {
            stage.file("client", "of the%job:+&client_0123456789012345678901234567890")
        });
        let up = api.stage.dir().join("go");
        let job = format!(
            "get \"$GUARD_API_URL/v1/echo\"; get \"$GUARD_API_URL/v1/mirror\"\n\
             until test -e {}; do :; done",
            up.display()
        );
        let mut job = api.spawn(&job);
        guard_tests::process::wait_for("two requests", || (api.seen().len() == 2).then_some(()))
            .unwrap();
        let sent: Vec<String> = api.requests().iter().map(|it| it["headers"].to_string()).collect();
        let token = sent[0].split_once("Bearer ").unwrap().1.split('"').next().unwrap().to_owned();
        assert!(sent[1].contains(&token), "{sent:?}");
        let mut find = || provider.tell(&json!({ "find": token })).unwrap();
        assert_eq!(find(), json!({ "client": client, "scope": "orders:read" }));
        std::fs::write(up, "").unwrap();
        assert!(job.wait(std::time::Duration::from_secs(60)).unwrap().success(), "{}", job.log());
        assert_eq!(find(), json!({}));
        let (log, record) = (job.log(), api.record());
        assert!(log.contains("HTTP/1.1 200") && !log.contains(&token), "{log}");
        assert!(!record.contains(&token) && record.contains(&format!("\"{client}\"")), "{record}");
    }
}

#[test]
fn a_token_of_a_github_app_is_for_its_repositories_and_revoked_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (app, public) = (file("app.pem"), file("app.pub"));
    openssl(&["genrsa", "-out", &app, "2048"]);
    openssl(&["rsa", "-in", &app, "-pubout", "-out", &public]);
    let (pem, key) = certificate(dir.path(), "github");
    let server = Server::start("github.py", &[&public, ADDRESS, &pem, &key]);
    let (plain, tls) = (&server.ports[0], &server.ports[1]);
    let entry = |how: &str, repository: &str| {
        format!(
            "url: https://{ADDRESS}:{tls}\n    tls_ca: {pem}\n    {how}\n    \
             credential: {{ github_app: {{ api: \"http://127.0.0.1:{plain}\", app_id: \"4711\", private_key: {{ file: app }}, \
             installation: 7, repositories: [{repository}], permissions: {{ contents: write }} }} }}"
        )
    };
    let stage = Stage::builder()
        .policy(ORDERS)
        .file("app", &std::fs::read_to_string(&app).unwrap())
        .resource("hub", &entry("send_as: bearer", "shop"))
        .resource("git", &entry("send_as: basic", "shop"))
        .resource("other", &entry("send_as: bearer", "other"))
        .start()
        .unwrap();
    let job = "\
        curl -sS -d '{\"tag_name\": \"v1\"}' \"$GUARD_HUB_URL/repos/acme/shop/releases\"\n\
        curl -sS \"$GUARD_GIT_URL/repos/acme/shop/releases\"\n\
        curl -sS -X DELETE \"$GUARD_HUB_URL/installation/token\"\n\
        curl -sS -o /dev/null -w '%{http_code} other' \"$GUARD_OTHER_URL/repos/acme/shop/releases\"\n";
    let run = stage.run(&script(job)).unwrap().ok();
    let text = said(&run);
    assert_eq!(text.matches("\"tag_name\": \"v1\"").count(), 2, "{text}");
    assert!(text.contains("GRD-2102") && text.contains("502 other"), "{text}");
    let seen = server.seen();
    assert_eq!(seen[0]["asked"], "POST /app/installations/7/access_tokens");
    let wanted: Value = serde_json::from_str(seen[0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(wanted, json!({ "repositories": ["shop"], "permissions": { "contents": "write" } }));
    let used: Vec<_> = seen
        .iter()
        .filter(|it| it["asked"].as_str().unwrap().contains("/releases"))
        .map(|it| it["token"].as_str().unwrap())
        .collect();
    let revoked = seen.iter().filter(|it| it["asked"] == "DELETE /installation/token");
    let revoked: BTreeSet<_> = revoked.map(|it| it["token"].as_str().unwrap()).collect();
    assert_eq!(revoked.into_iter().collect::<Vec<_>>(), used, "{seen:?}");
    let record = stage.sealed_record().unwrap();
    assert!(used.iter().all(|token| !text.contains(token) && !record.contains(token)), "{text}");
    let broker = std::fs::read_to_string(stage.dir().join("broker.log")).unwrap();
    assert!(broker.contains("There is at least one repository that does not exist"), "{broker}");
}

#[test]
fn a_server_that_wants_a_certificate_is_shown_guards() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let api = Api::with_client_certificate(ORDERS, |stage| stage.enforce_at(place));
        let run = api.run("get \"$GUARD_API_URL/v1/echo\"; get -H 'Authorization: Bearer mine' \"$GUARD_API_URL/v1/echo\"").ok();
        let text = run.text();
        assert!(text.contains("HTTP/1.1 200") && text.contains("HTTP/1.1 403"), "{text}");
        let seen = api.requests();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(seen[0]["certificate"], "guard", "{seen:?}");
        assert!(!text.contains("PRIVATE KEY") && !api.record().contains("PRIVATE KEY"));
    }
}
