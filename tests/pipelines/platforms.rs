//! Each platform's example, run as its runner would: with a token of the platform's shape, delivered in the platform's way, to a
//! broker that has what the platform's page shows.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use guard_tests::{Finished, Programs};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    act::shows,
    gitlab,
    page::{Page, now, with},
    root,
};

/// How the platform hands its token over.
type Deliver = fn(&Job<'_>) -> Vec<(&'static str, String)>;

/// One platform.
struct Platform {
    /// The page and its issuer.
    page: &'static str,
    /// The example's file.
    example: &'static str,
    claims: Value,
    deliver: Deliver,
    /// What a run must not be.
    strangers: Vec<(&'static str, Value)>,
}

/// A job of a platform, about to begin.
struct Job<'a> {
    page: &'a Page,
    dir: TempDir,
}

impl Job<'_> {
    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The command in the example, with what is its reader's own put in.
    fn command(&self, example: &str) -> String {
        let text = fs::read_to_string(root().join("examples/pipelines").join(example)).unwrap();
        let line =
            text.lines().find(|line| line.contains("guard run ")).expect("a guarded command");
        let (_, command) = line.split_at(line.find("guard run ").unwrap());
        let here = self.dir.path().display().to_string();
        assert!(command.contains("https://guard.example.com"), "{command}");
        command
            .trim_end_matches('\'')
            .replace("https://guard.example.com", &self.page.stage.url)
            .replace("/var/run/secrets/guard", &here)
            .replace("%d", &here)
            .replace("/usr/local/lib/nightly/count.sh", "./count.sh")
    }

    fn run(&self, platform: &Platform) -> Finished {
        let script = "#!/bin/sh\necho counting\nexec psql -X -q -A -t -v ON_ERROR_STOP=1 -c 'SELECT count(*) FROM public.orders'\n";
        self.program("count.sh", script);
        let guard = Programs::built().unwrap().guard;
        let ours = [
            self.dir.path().to_path_buf(),
            guard.parent().unwrap().to_path_buf(),
            self.page.stage.postgres.programs().to_path_buf(),
        ];
        let usual = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&usual)));
        let output = Command::new("sh")
            .args(["-c", &self.command(platform.example)])
            .env_clear()
            .env("PATH", path.unwrap())
            .env("HOME", self.dir.path())
            .envs((platform.deliver)(self))
            .current_dir(self.dir.path())
            .output();
        output.unwrap().into()
    }

    fn program(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn token(&self) -> String {
        self.page.stage.issuer.token(&self.page.stage.url).unwrap()
    }

    fn token_file(&self, name: &str) -> String {
        let file = self.at(name);
        fs::write(&file, format!("{}\n", self.token())).unwrap();
        file.display().to_string()
    }

    /// A platform's program that has a token made; `audience` is Python that finds it in the arguments.
    fn agent(&self, name: &str, usage: &str, audience: &str) {
        let [(_, url), (_, bearer)] = self.page.stage.issuer.variables();
        let text = format!(
            "#!/usr/bin/env python3\nimport json, sys, urllib.parse, urllib.request\nargs = sys.argv[1:]\n\
             assert args[: {words}] == '{usage}'.split(), args\naudience = {audience}\n\
             url = '{url}&audience=' + urllib.parse.quote(audience, safe='')\n\
             request = urllib.request.Request(url, headers={{'authorization': 'Bearer {bearer}'}})\n\
             print(json.load(urllib.request.urlopen(request))['value'])\n",
            words = usage.split(' ').count()
        );
        self.program(name, &text);
    }
}

fn try_page(platform: &Platform) {
    try_example(&Page::open(platform.page), platform);
}

/// The platform's own run is let in and its statement answered; each stranger is refused before anything runs.
fn try_example(page: &Page, platform: &Platform) {
    let job = |claims: Value| {
        page.shape(claims);
        Job { page, dir: tempfile::tempdir().unwrap() }.run(platform)
    };
    let run = job(platform.claims.clone()).ok();
    assert_eq!(run.text(), "counting\n20", "{}", run.stderr);
    shows(&run.stderr, &["by policy `nightly-count`", "0 refused"]);
    for (claim, value) in &platform.strangers {
        let run = job(with(&platform.claims, &[(claim, value.clone())]))
            .code(125)
            .says("the broker refused");
        assert_eq!(run.text(), "", "{} {claim}", platform.example);
    }
}

#[test]
fn gitlab_by_the_variable_of_id_tokens() {
    // The example's own command is the component's, which has tests of its own.
    let page = Page::open("gitlab");
    let run = |claims: Value| {
        page.shape(claims);
        let token = page.stage.issuer.token(&page.stage.url).unwrap();
        let script =
            guard_tests::script("psql -X -q -A -t -c 'SELECT count(*) FROM public.orders'");
        let mut guard = page.stage.guard(&script);
        for (name, _) in page.stage.issuer.variables() {
            guard.env_remove(name);
        }
        Finished::from(guard.env("GUARD_ID_TOKEN", token).output().unwrap())
    };
    assert_eq!(run(gitlab::claims()).ok().text(), "20");
    for (claim, value) in [
        // A merge request of a fork: the fork's code in this project's pipeline, and in its own.
        ("project_id", json!("21")),
        ("job_project_id", json!("21")),
        ("job_project_id", Value::Null),
        ("ref_path", json!("refs/heads/other")),
        ("ref_protected", json!("false")),
        ("pipeline_source", json!("merge_request_event")),
        ("iss", json!("https://gitlab.example.com")),
        // A token that lay around for longer than the page says.
        ("iat", json!(now() - 31 * 60 - 61)),
    ] {
        let claims = with(&gitlab::claims(), &[(claim, value)]);
        let _refused = run(claims).code(125).says("the broker refused");
    }
}

#[test]
fn buildkite_by_its_agent() {
    try_page(&Platform {
        page: "buildkite",
        example: "buildkite.yml",
        claims: json!({
            "sub": "organization:acme:pipeline:shop:ref:refs/heads/main:commit:b5ff:step:nightly-count",
            "organization_slug": "acme", "pipeline_slug": "shop", "build_number": 5, "build_branch": "main",
            "build_tag": null, "build_commit": "b5ffe3aeea51cec6c41aef16e45ee6bce47d8810",
            "step_key": "nightly-count", "job_id": "01945ecf-80f0-41e8-9b83-a2970a9305a1",
            "agent_id": "01945ecf-8bcf-40a6-9d70-a765db9a0928", "build_source": "schedule",
            "runner_environment": "self-hosted", "organization_id": "01906a2e-4b1c-4c3e-9d5a-0f6f5d3a7b10",
            "pipeline_id": "01906a2f-77d0-4f0e-8a52-5b7f2d9c1e44",
        }),
        deliver: |job| {
            let usage = "oidc request-token";
            job.agent("buildkite-agent", usage, "args[args.index('--audience') + 1]");
            vec![
                ("BUILDKITE_JOB_ID", "01945ecf-80f0-41e8-9b83-a2970a9305a1".into()),
                ("BUILDKITE_AGENT_ACCESS_TOKEN", "of-the-agent".into()),
            ]
        },
        strangers: vec![
            ("organization_id", json!("01906a2e-ffff-4c3e-9d5a-0f6f5d3a7b10")),
            ("pipeline_id", json!("01906a2f-ffff-4f0e-8a52-5b7f2d9c1e44")),
            ("build_branch", json!("stranger:main")),
            ("build_source", json!("webhook")),
        ],
    });
}

#[test]
fn circleci_by_its_program() {
    try_page(&Platform {
        page: "circleci",
        example: "circleci.yml",
        claims: json!({
            "sub": "org/7d0c1b9e-2f4a-4c55-8f0d-3c6f5a1e9b27/project/4b6e2f70-91aa-4d0b-a3f5-6d2c8e7f1a93/user/u",
            "jti": null,
            "oidc.circleci.com/org-id": "7d0c1b9e-2f4a-4c55-8f0d-3c6f5a1e9b27",
            "oidc.circleci.com/project-id": "4b6e2f70-91aa-4d0b-a3f5-6d2c8e7f1a93",
            "oidc.circleci.com/job-id": "f3c1d8b2-5a07-4e96-9d3b-1c2e4f6a8b90",
            "oidc.circleci.com/workflow-id": "0a9b8c7d-6e5f-4a3b-8c2d-1e0f9a8b7c6d",
            "oidc.circleci.com/vcs-origin": "github.com/acme/shop",
            "oidc.circleci.com/vcs-ref": "refs/heads/main",
            "oidc.circleci.com/context-ids": [], "oidc.circleci.com/ssh-rerun": false,
        }),
        deliver: |job| {
            let audience = "json.loads(args[args.index('--claims') + 1])['aud']";
            job.agent("circleci", "run oidc get", audience);
            vec![("CIRCLECI", "true".into()), ("CIRCLE_OIDC_TOKEN_V2", job.token())]
        },
        strangers: vec![
            ("iss", json!("https://oidc.circleci.com/org/00000000-2f4a-4c55-8f0d-3c6f5a1e9b27")),
            ("oidc.circleci.com/project-id", json!("00000000-91aa-4d0b-a3f5-6d2c8e7f1a93")),
            ("oidc.circleci.com/vcs-origin", json!("github.com/stranger/shop")),
            ("oidc.circleci.com/vcs-ref", json!("refs/heads/other")),
            ("oidc.circleci.com/ssh-rerun", json!(true)),
        ],
    });
}

#[test]
fn azure_by_its_address() {
    try_page(&Platform {
        page: "azure",
        example: "azure-pipelines.yml",
        claims: json!({
            "sub": "p://acme/shop/nightly", "org_id": "6c4a1f0e-8d2b-4f73-9a15-2e7b9c0d5f38",
            "prj_id": "0f9d2c4b-6a1e-4e37-b8c5-7d3e1a2f4b60", "def_id": "17",
            "rpo_id": "7b3e5d1f-2c4a-4968-8e07-5f1d3b9a6c82",
            "rpo_uri": "https://dev.azure.com/acme/shop/_git/shop",
            "rpo_ver": "c040cae7f0d3a2a5b6f4b1c0c3c1b0c040cae7f0", "rpo_ref": "refs/heads/main", "run_id": "42",
        }),
        deliver: |job| job.page.stage.issuer.azure_variables().to_vec(),
        strangers: vec![
            ("iss", json!("https://vstoken.dev.azure.com/00000000-8d2b-4f73-9a15-2e7b9c0d5f38")),
            ("prj_id", json!("00000000-6a1e-4e37-b8c5-7d3e1a2f4b60")),
            ("def_id", json!("18")),
            ("rpo_ref", json!("refs/pull/7/merge")),
            ("aud", json!("https://guard.example.com")),
        ],
    });
}

#[test]
fn bitbucket_by_the_variable_of_oidc() {
    try_page(&Platform {
        page: "bitbucket",
        example: "bitbucket-pipelines.yml",
        claims: json!({
            "sub": "{9e2b5d34-1c7a-4a60-b1f8-5d0e7c3a6f42}:{c7d1a3e5-0b2f-4d68-9a47-8e6c5f3b1d20}", "jti": null,
            "repositoryUuid": "{9e2b5d34-1c7a-4a60-b1f8-5d0e7c3a6f42}",
            "workspaceUuid": "{3f6a8c0e-2d4b-4917-8e5a-7b9d1c3f5a60}",
            "pipelineUuid": "{5b7d9f1a-3c5e-4a70-8b92-4d6f8a0c2e13}",
            "stepUuid": "{c7d1a3e5-0b2f-4d68-9a47-8e6c5f3b1d20}", "branchName": "main",
        }),
        deliver: |job| vec![("BITBUCKET_STEP_OIDC_TOKEN", job.token())],
        strangers: vec![
            // The step had its session.
            ("branchName", json!("main")),
            ("stepUuid", Value::Null),
            ("repositoryUuid", json!("9e2b5d34-1c7a-4a60-b1f8-5d0e7c3a6f42")),
            ("branchName", json!("other")),
            ("aud", json!(["https://guard.example.com", "https://other.example.com"])),
        ],
    });
}

#[test]
fn jenkins_by_the_file_of_a_credential() {
    try_page(&Platform {
        page: "jenkins",
        example: "Jenkinsfile",
        claims: json!({
            "sub": "https://jenkins.example.com/job/nightly/job/nightly-count/", "build_number": 12, "jti": null,
            "build_url": "https://jenkins.example.com/job/nightly/job/nightly-count/12/",
            "nbf": null, "exp": now() + 3600,
        }),
        deliver: |job| vec![("GUARD_TOKEN_FILE", job.token_file("secret"))],
        strangers: vec![
            // The build had its session.
            ("build_number", json!(12)),
            ("build_url", Value::Null),
            ("sub", json!("https://jenkins.example.com/job/other/job/nightly-count/")),
        ],
    });
}

#[test]
fn a_pod_and_a_unit_by_their_files() {
    let cluster = Platform {
        page: "cron",
        example: "cronjob.yml",
        claims: json!({
            "sub": "system:serviceaccount:shop:nightly-count", "exp": now() + 600,
            "kubernetes.io": {
                "namespace": "shop", "node": { "name": "n", "uid": "8f0b2d4e-6a1c-4e37-95d8-3b7f9a1c5e02" },
                "pod": { "name": "nightly-count-29", "uid": "2a4c6e80-1b3d-4f57-8a9c-0d2e4f6b8a13" },
                "serviceaccount": { "name": "nightly-count", "uid": "5a7c2f9e-0b4d-4e1f-9c83-6d2e7b1a4f50" },
            },
        }),
        deliver: |job| {
            let _in_the_volume = job.token_file("token");
            Vec::new()
        },
        strangers: vec![
            ("aud", json!(["https://kubernetes.default.svc"])),
            (
                "kubernetes.io",
                json!({
                    "namespace": "shop", "pod": { "name": "other", "uid": "2a4c6e80-1b3d-4f57-8a9c-0d2e4f6b8a14" },
                    "serviceaccount": { "name": "nightly-count", "uid": "00000000-0b4d-4e1f-9c83-6d2e7b1a4f50" },
                }),
            ),
        ],
    };
    let unit = Platform {
        page: "cron",
        example: "nightly-count.service",
        claims: json!({
            "sub": "1d6f0b52-3e9a-4c7d-8f21-7a4b5c9e0d13", "azp": "nightly-count", "typ": "Bearer", "nbf": null,
            "iss": "https://sso.example.com/realms/machines",
        }),
        deliver: |job| {
            let _loaded = job.token_file("guard-token");
            Vec::new()
        },
        strangers: vec![
            ("sub", json!("00000000-3e9a-4c7d-8f21-7a4b5c9e0d13")),
            ("azp", json!("other")),
            ("iat", json!(now() - 12 * 60)),
        ],
    };
    try_page(&cluster);
    let page = Page::open_nth("cron", 1);
    try_example(&page, &unit);
}

#[test]
fn every_example_has_its_page_and_every_page_is_reached_from_the_readme() {
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let index = read(&root().join("docs/pipelines/README.md"));
    assert!(read(&root().join("README.md")).contains("docs/pipelines/README.md"));
    for folder in ["docs/pipelines", "examples/pipelines"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let page = if name.ends_with(".timer") {
                read(&root().join("docs/pipelines/cron.md"))
            } else {
                index.clone()
            };
            assert!(
                name == "README.md" || page.contains(&name),
                "nothing leads to {folder}/{name}"
            );
        }
    }
}
