//! What `guard-broker check` says: every problem, each where it is.

use std::path::Path;

use guard_tests::Programs;

use super::stage::Stage;
use crate::config::{self, Bind};

#[test]
fn every_mistake_is_told_at_once_and_each_with_its_place() {
    // Tests run in the package's folder.
    let problems = config::load(Path::new("src/tests/mistakes/guard.yaml")).unwrap_err();
    assert_eq!(format!("{problems}\n"), include_str!("mistakes/expected.txt"));
}

#[test]
fn the_examples_are_right_but_for_what_each_site_has_of_its_own() {
    for (name, at) in [("nightly-backup", "19:13"), ("approved-cleanup", "19:13")] {
        let folder = format!("../examples/{name}");
        let problems =
            config::load(Path::new(&format!("{folder}/guard.yaml"))).unwrap_err().to_string();
        assert_eq!(problems.lines().count(), 1, "{problems}");
        let missing = format!("guard.yaml:{at}: `{folder}/ca.pem` cannot be read");
        assert!(problems.contains(&missing), "{problems}");
    }
    config::load(Path::new("../examples/release/guard.yaml")).unwrap();
}

#[tokio::test]
async fn an_api_is_shown_its_credential_in_a_way_that_fits() {
    let stage = Stage::new().await;
    let path = stage.folder.path().join("guard.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once("resources:\n").unwrap();
    let load = |url: &str, send_as: &str, credential: &str| {
        let own = format!(
            "  - {{ name: api, kind: http, url: \"{url}\", {send_as} credential: {{ {credential} }} }}"
        );
        std::fs::write(&path, format!("{before}resources:\n{own}\n{after}")).unwrap();
        config::load(&path).map_err(|problems| problems.to_string())
    };
    let (aws, role) =
        ("send_as: { aws_sigv4: { service: s3, region: eu } },", "\"arn:aws:iam::1:role/r\"");
    let keys = format!("aws: {{ region: eu, role: {role} }}");
    let certificate = "certificate: { file: a.pem }, key: { file: a.key }";
    let oauth =
        "oauth: { token_url: \"https://a.example/t\", client_id: a, client_secret: { file: b } }";
    let app = |more: &str| {
        format!("github_app: {{ app_id: 1, private_key: {{ file: a }}, installation: 7, {more} }}")
    };
    let token = "token: { file: a }";
    for (send_as, credential) in [
        ("", token),
        ("send_as: { query: api_key },", token),
        ("send_as: { cookie: session },", oauth),
        (aws, &keys),
        ("", certificate),
        ("send_as: basic,", &app("repositories: [shop], permissions: { contents: read }")),
        ("", &app("repositories: \"*\", permissions: { contents: read }")),
    ] {
        let loaded = load("https://api.example", send_as, credential);
        assert!(loaded.is_ok(), "{send_as} {credential}: {loaded:?}");
    }
    for (url, send_as, credential, problem) in [
        ("https://a.example", "send_as: { query: \"a=b\" },", token, "no name of a parameter"),
        ("https://a.example", "send_as: { cookie: \"a;b\" },", token, "no name of a cookie"),
        (
            "https://a.example",
            "send_as: { query: a, cookie: b },",
            token,
            "`cookie` is not known here",
        ),
        ("https://a.example", "send_as: { body: a },", token, "expected one of `header`"),
        ("https://a.example", "", keys.as_str(), "keys of AWS do not go anywhere"),
        ("https://a.example", aws, token, "requests are signed with temporary keys"),
        ("https://a.example", aws, "aws: { region: eu }", "here is no `role`"),
        ("https://a.example", aws, "aws: { region: eu, username: a }", "another kind of resource"),
        ("https://a.example", "send_as: bearer,", certificate, "shown by TLS"),
        ("http://127.0.0.1:1", "", certificate, "`url` has to be `https://`"),
        ("https://a.example", "send_as: basic,", oauth, "a token has no user name"),
        (
            "https://a.example",
            "",
            "oauth: { token_url: \"http://a.example/t\", client_id: a, client_secret: { file: b } }",
            "no address of an OAuth server",
        ),
        (
            "https://a.example",
            "",
            &app("repositories: [acme/shop], permissions: { contents: read }"),
            "no name of a repository",
        ),
        (
            "https://a.example",
            "",
            &app("repositories: [shop], permissions: { contents: all }"),
            "`all` is not known",
        ),
        ("https://a.example", "", &app("repositories: [shop]"), "`permissions` is missing"),
        ("https://a.example", "enforce_at: shim,", certificate, "never expires"),
    ] {
        let problems = load(url, send_as, credential).unwrap_err();
        assert!(problems.contains(problem), "{send_as} {credential}\n{problems}");
    }
}

/// `guard.yaml` of the stage with another list of issuers.
async fn with_issuers(issuers: &str) -> Result<config::Config, String> {
    let stage = Stage::new().await;
    let path = stage.folder.path().join("guard.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once("issuers:\n").unwrap();
    let (_, after) = after.split_once("resources:").unwrap();
    let rule = "- { name: github, platform: github, url: \"https://issuer.example\" }";
    let text = format!("{before}issuers:\n  {rule}\n  {issuers}\nresources:{after}");
    std::fs::write(&path, text).unwrap();
    config::load(&path).map_err(|problems| problems.to_string())
}

#[tokio::test]
async fn an_issuer_that_says_too_little_or_what_cannot_be_does_not_load() {
    for (issuer, problem) in [
        ("platform: oidc, url: \"https://a.example\"", "`run` is missing"),
        (
            "platform: oidc, url: \"https://a.example\", run: { run_id: x }",
            "`repository_id` is missing",
        ),
        (
            "platform: oidc, url: \"https://gitlab.com\", run: { repository_id: a, run_id: b }",
            "signs for whoever has an account there",
        ),
        (
            "platform: gitlab, url: \"https://a.example\", run: { repository_id: a, run_id: b }",
            "`run` is for `oidc`",
        ),
        (
            "platform: azure-devops, url: \"https://vstoken.dev.azure.com\"",
            "which organisation is meant",
        ),
        (
            "platform: azure-devops, url: \"https://vstoken.dev.azure.com/o\", bind: key",
            "no key fits",
        ),
        (
            "platform: gitlab, url: \"https://a.example\", require: { color: red }",
            "`color` is no claim",
        ),
        ("platform: gitlab, url: \"https://a.example\", require: {}", "no claim stands here"),
        ("platform: gitlab, url: \"https://a.example\", algorithms: [none]", "`none` is not known"),
        ("platform: gitlab, url: \"https://a.example\", replay: { claim: [] }", "expected a text"),
        ("platform: gitlab, url: \"https://a.example\", replay: none", "expected a mapping"),
        ("platform: gitlab, url: \"https://a.example\", audiences: []", "the list is empty"),
        (
            "platform: gitlab, url: \"https://a.example\", refresh: 1h, stale: 5m",
            "shorter than `refresh`",
        ),
        ("platform: gitlab, url: \"https://issuer.example\"", "another issuer has the url"),
        ("platform: jenkins, url: \"https://a.example\"", "`jenkins` is not known"),
    ] {
        let problems = with_issuers(&format!("- {{ name: second, {issuer} }}")).await.unwrap_err();
        assert!(problems.contains(problem), "{issuer}\n{problems}");
    }
}

#[tokio::test]
async fn the_schema_knows_every_word_of_an_issuer() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../schemas/guard.schema.json")).unwrap();
    let issuer = &schema["properties"]["issuers"]["items"]["properties"];
    let keys = |value: &serde_json::Value| -> Vec<String> {
        let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    // A reader names the words that it knows when it meets one that it does not.
    let known = |problems: &str, after: &str| -> Vec<String> {
        let list = problems.split(after).nth(1).unwrap().lines().nth(1).unwrap();
        let list = list.split(['`']).skip(1).step_by(2);
        let mut known: Vec<_> = list.map(str::to_owned).collect();
        known.sort();
        known
    };
    let problems = with_issuers(
        "- { name: s, platform: x, url: \"https://a.example\", y: 1, algorithms: [z], run: { w: 1 } }
  - { name: t, platform: oidc, url: \"https://b.example\", run: { w: 1 } }",
    )
    .await
    .unwrap_err();
    assert_eq!(keys(issuer), known(&problems, "`y` is not known here"));
    assert_eq!(keys(&issuer["run"]["properties"]), known(&problems, "`w` is not known here"));
    let words = |value: &serde_json::Value| -> Vec<String> {
        let mut words: Vec<_> = value
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap().to_owned())
            .collect();
        words.sort();
        words
    };
    assert_eq!(words(&issuer["platform"]["enum"]), known(&problems, "`x` is not known here"));
    let algorithms = &issuer["algorithms"]["items"]["enum"];
    assert_eq!(words(algorithms), known(&problems, "`z` is not known here"));
}

#[tokio::test]
async fn what_a_platform_is_known_for_need_not_be_written() {
    let issuers = "- { name: azure, platform: azure-devops, url: \"https://vstoken.dev.azure.com/o\" }
  - { name: circle, platform: circleci, url: \"https://oidc.circleci.com/org/o\" }
  - { name: bit, platform: bitbucket, url: \"https://api.bitbucket.org/2.0/workspaces/a/pipelines-config/identity/oidc\" }
  - { name: own, platform: oidc, url: \"https://a.example\", run: { repository_id: /a/b, run_id: /c }, bind: key,
      replay: { claim: /x~1y }, audiences: [one, two], multi_audience: allow, algorithms: [EdDSA, PS256], stale: 24h }";
    let found = with_issuers(issuers).await.unwrap().issuers;
    let told: Vec<_> = found
        .iter()
        .map(|i| (i.name.as_str(), i.bind, i.once.as_str(), i.audiences.join(" ")))
        .collect();
    assert_eq!(
        told,
        [
            ("github", Bind::Key, "jti", String::new()),
            ("azure", Bind::None, "jti", "api://AzureADTokenExchange".into()),
            ("circle", Bind::Key, "oidc.circleci.com/job-id", String::new()),
            ("bit", Bind::None, "stepUuid", String::new()),
            ("own", Bind::Key, "x/y", "one two".into()),
        ]
    );
    assert_eq!(found[4].run.as_ref().map(|run| run.run_id.as_str()), Some("c"));
    assert!(found[4].multi_audience);
}

#[tokio::test]
async fn a_session_need_not_be_renewed_before_it_could_be_lost() {
    let stage = Stage::new().await;
    let path = stage.folder.path().join("guard.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let times = |times: &str| {
        std::fs::write(&path, format!("{text}sessions: {{ {times} }}\n")).unwrap();
        let loaded = config::load(&path).map_err(|problems| problems.to_string());
        loaded.map(|config| config.sessions.renew.as_secs())
    };
    assert_eq!(times("lost_after: 40s"), Ok(600));
    assert_eq!(times("lost_after: 15m"), Ok(900));
    assert_eq!(times("lost_after: 15m, renew: 20m"), Ok(1200));
    let problem = times("lost_after: 15m, renew: 10m").unwrap_err();
    assert!(problem.contains("`renew` must be at least `lost_after`"), "{problem}");
}

#[tokio::test]
async fn traces_are_asked_for_of_a_broker_that_can_make_them_only() {
    let stage = Stage::new().await;
    let path = stage.folder.path().join("guard.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let traces = |block: &str| {
        std::fs::write(&path, format!("{text}telemetry: {block}\n")).unwrap();
        config::load(&path).map(|config| config.traces).map_err(|problems| problems.to_string())
    };
    let good = traces("{ otlp: { endpoint: \"http://collector:4318/\" } }");
    if cfg!(feature = "otel") {
        assert_eq!(good, Ok(Some("http://collector:4318".into())));
    } else {
        assert!(good.unwrap_err().contains("built without traces"));
    }
    for wrong in
        ["{ otlp: { endpoint: \"collector:4318\" } }", "{ otlp: { endpoint: \"https://a:b@c\" } }"]
    {
        assert!(traces(wrong).unwrap_err().contains("no address of a collector"), "{wrong}");
    }
    assert!(traces("{}").unwrap_err().contains("otlp"));
}

#[tokio::test]
async fn a_static_password_is_read_where_the_configuration_says_it_is_also_of_systemd() {
    let stage = Stage::new().await;
    let path = stage.folder.path().join("guard.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let given = stage.folder.path().join("credentials");
    std::fs::create_dir(&given).unwrap();
    std::fs::write(given.join("orders"), "of-systemd\n").unwrap();
    let check = |place: &str, folder: Option<&Path>| {
        let from = "password: { file: password }";
        assert!(text.contains(from));
        std::fs::write(&path, text.replace(from, &format!("password: {place}"))).unwrap();
        let mut command = std::process::Command::new(Programs::built().unwrap().broker);
        command
            .args(["check", "--connect", "--config"])
            .arg(&path)
            .env("ORDERS", "of-the-variable");
        command.env_remove("CREDENTIALS_DIRECTORY");
        if let Some(folder) = folder {
            command.env("CREDENTIALS_DIRECTORY", folder);
        }
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    for (place, folder, good) in [
        ("{ file: password }", None, true),
        ("{ env: ORDERS }", None, true),
        ("{ systemd: orders }", Some(&*given), true),
        ("{ systemd: other }", Some(&*given), false),
        ("{ systemd: orders }", None, false),
        ("{ env: NOBODY_SET_THIS }", None, false),
    ] {
        let (success, said) = check(place, folder);
        assert_eq!(success, good, "{place}: {said}");
        assert!(!said.contains("of-systemd") && !said.contains("of-the-variable"), "{said}");
    }
    // A name leads to no other folder.
    let (success, said) = check("{ systemd: ../password }", Some(&given));
    assert!(!success, "{said}");
}

const DOCUMENT: &str =
    r#"{"openapi":"3.0.3","paths":{"/issues":{"get":{"operationId":"issues/list"}}}}"#;

#[tokio::test]
async fn operations_that_a_policy_names_are_in_the_document_of_its_resource() {
    let stage = Stage::new().await;
    let folder = stage.folder.path();
    let path = folder.join("guard.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(folder.join("api.json"), DOCUMENT).unwrap();
    std::fs::write(folder.join("token"), "t").unwrap();
    let policy =
        "policy: api\nrules:\n  - { name: read, http: { operations: [NAME] }, decide: allow }\n";
    let trust = std::fs::read_to_string(folder.join("trust/t.yaml")).unwrap();
    let grant = "    - { resource: issues, policy: api, for: 45m }\n";
    std::fs::write(folder.join("trust/t.yaml"), format!("{trust}{grant}")).unwrap();
    for (openapi, operation, problem) in [
        ("openapi: { file: api.json }", "issues/list", ""),
        ("openapi: { file: api.json }", "'issues/*'", ""),
        ("openapi: { file: api.json }", "issue/list", "the nearest is `issues/list`"),
        ("send_as: bearer", "issues/list", "there is no OpenAPI document"),
        ("openapi: { file: none.json }", "issues/list", "cannot be read"),
        ("openapi: { file: token }", "issues/list", "is no OpenAPI document"),
        ("openapi: { path: api.json }", "issues/list", "`file` is missing"),
    ] {
        let resource = format!(
            "resources:\n  - {{ name: issues, kind: http, url: \"https://api.example.com\", credential: {{ token: {{ file: token }} }}, {openapi} }}\n"
        );
        std::fs::write(&path, text.replace("resources:\n", &resource)).unwrap();
        std::fs::write(folder.join("policies/api.yaml"), policy.replace("NAME", operation))
            .unwrap();
        match config::load(&path) {
            Ok(config) => {
                assert_eq!(problem, "", "{openapi} {operation}");
                assert_eq!(config.watched.read(), config.watched.now());
                std::fs::write(folder.join("api.json"), format!("{DOCUMENT} ")).unwrap();
                assert_ne!(config.watched.read(), config.watched.now());
                std::fs::write(folder.join("api.json"), DOCUMENT).unwrap();
            }
            Err(problems) => {
                let problems = problems.to_string();
                assert!(!problem.is_empty() && problems.contains(problem), "{problems}");
            }
        }
    }
}
