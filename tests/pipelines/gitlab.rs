//! The component in jobs of GitLab, which `gitlab-ci-local` runs as a runner with the shell executor would.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use guard_tests::{
    Finished, Programs, node_package,
    process::{Process, exit_code, wait_for},
    runners_node, validator,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    act::{guards_process, shows, sleeping},
    page::{Page, now, with},
    root,
};

/// It starts Node.js, which is busy with schemas for seconds.
const OVER_WITHIN: Duration = Duration::from_secs(180);
const STATEMENT: &str = "SELECT count(*) FROM public.orders";

/// <https://docs.gitlab.com/ci/secrets/id_token_authentication/#token-payload>, of a scheduled pipeline on the default branch.
pub(crate) fn claims() -> Value {
    json!({
        "namespace_id": "72", "namespace_path": "acme", "project_id": "20", "project_path": "acme/shop",
        "job_project_id": "20", "job_project_path": "acme/shop", "job_namespace_id": "72", "job_namespace_path": "acme",
        "user_id": "1", "user_login": "sample-user", "user_email": "sample-user@example.com",
        "user_access_level": "developer", "pipeline_id": "574", "pipeline_source": "schedule", "job_id": "302",
        "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true",
        "runner_id": 1, "runner_environment": "self-hosted", "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "project_visibility": "private", "environment": null,
        "ci_config_ref_uri": "gitlab.com/acme/shop//.gitlab-ci.yml@refs/heads/main",
        "ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "sub": "project_path:acme/shop:ref_type:branch:ref:main",
        "nbf": now() - 5, "exp": now() + 3600,
    })
}

/// The repository of a project, with the component in it.
struct Project {
    dir: TempDir,
}

impl Project {
    fn new(pipeline: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let project = Self { dir };
        fs::create_dir_all(project.at("home")).unwrap();
        fs::create_dir_all(project.at("work")).unwrap();
        let templates = root().join("action/gitlab/templates");
        let copy = Command::new("cp").arg("-r").arg(templates).arg(project.at("work")).status();
        assert!(copy.unwrap().success());
        fs::write(project.at("work/.gitlab-ci.yml"), pipeline).unwrap();
        let commit = "git init -q -b main && git remote add origin git@gitlab.com:acme/shop.git && git add . && \
                      git -c user.name=a -c user.email=a@example.com commit -q -m first";
        let made = Command::new("sh").args(["-c", commit]).current_dir(project.at("work")).status();
        assert!(made.unwrap().success());
        project
    }

    fn at(&self, place: &str) -> PathBuf {
        self.dir.path().join(place)
    }

    /// It gives no `id_tokens`: the token comes in by the variable that the component declares.
    fn start(&self, page: &Page) -> Process {
        let token = page.stage.issuer.token(&page.stage.url).unwrap();
        let guard = Programs::built().unwrap().guard;
        let ours = [
            runners_node().unwrap(),
            guard.parent().unwrap().to_path_buf(),
            page.stage.postgres.programs().to_path_buf(),
        ];
        let usual = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&usual)));
        let mut runner = Command::new("node");
        runner
            .env_clear()
            .env("PATH", path.unwrap())
            .env("HOME", self.at("home"))
            .current_dir(self.at("work"))
            .arg(node_package("gitlab-ci-local").unwrap().join("dist/index.js"))
            .args(["nightly count", "--force-shell-executor"])
            .args(["--variable", &format!("GUARD_ID_TOKEN={token}")]);
        Process::start("gitlab-ci-local", &mut runner, &self.at("log")).unwrap()
    }

    fn run(&self, page: &Page) -> Finished {
        let mut runner = self.start(page);
        let code = exit_code(runner.wait(OVER_WITHIN).unwrap());
        Finished { code, stdout: runner.log().into_bytes(), stderr: String::new() }
    }

    /// The one report in the folder that the job keeps as its artifact, checked by what others published.
    fn junit(&self) -> String {
        let mut reports = fs::read_dir(self.at("work/guard-report")).unwrap();
        let report = reports.next().unwrap().unwrap().path();
        assert!(reports.next().is_none());
        let check = |form: &str, file: &str| {
            let output = validator().unwrap().arg(form).arg(report.join(file)).output().unwrap();
            Finished::from(output).ok().text()
        };
        let _links = check("annotations", "annotations.json");
        check("junit", "report.junit.xml")
    }
}

/// The page's broker, and the example of a pipeline for it.
fn page() -> (Page, String) {
    let page = Page::open("gitlab");
    page.shape(claims());
    let example = fs::read_to_string(root().join("examples/pipelines/gitlab.yml")).unwrap();
    let component = example.lines().find(|line| line.contains("component:")).unwrap();
    let pipeline = example
        .replace(component, "  - local: templates/guard.yml")
        .replace("https://guard.example.com", &page.stage.url);
    assert!(pipeline.contains(STATEMENT));
    // The schedule is GitLab's.
    let rules = pipeline.find("  rules:").unwrap();
    let pipeline = pipeline.split_at(rules).0.to_owned();
    (page, pipeline)
}

#[test]
fn a_script_passes_and_its_report_is_the_jobs_artifact() {
    let (page, pipeline) = page();
    let project = Project::new(&pipeline);
    // An artifact of an earlier job.
    fs::create_dir_all(project.at("work/guard-report/earlier")).unwrap();
    fs::write(project.at("work/guard-report/earlier/report.junit.xml"), "<failure ").unwrap();
    let run = project.run(&page).ok().text();
    shows(&run, &["20", "acme/shop", "0 refused", "PASS"]);
    assert_eq!(project.junit(), "the record is whole | passed");
    shows(&page.stage.sealed_record().unwrap(), &["\"gitlab\"", "\"finished\"", "orders"]);

    // As a component of the project itself, by its address.
    let by_address = "component: $CI_SERVER_FQDN/$CI_PROJECT_PATH/guard@$CI_COMMIT_SHA";
    let project = Project::new(&pipeline.replace("local: templates/guard.yml", by_address));
    shows(&project.run(&page).ok().text(), &["0 refused", "PASS"]);
}

#[test]
fn a_refused_statement_is_a_failed_test_of_the_job() {
    let (page, pipeline) = page();
    let project = Project::new(&pipeline.replace(STATEMENT, "DROP TABLE public.orders"));
    let run = project.run(&page).code(1).text();
    shows(&run, &["GRD-2102", "1 refused", "FAIL"]);
    shows(&project.junit(), &["DROP TABLE public.orders", "failure GRD-2102"]);

    // A script that does not mind fails only by `fail-on`.
    let minded = pipeline.replace(&format!("'{STATEMENT}'"), "'DROP TABLE public.orders' || true");
    let run = Project::new(&minded).run(&page).ok().text();
    shows(&run, &["1 refused", "PASS"]);
    let strict = minded.replace("    inputs:\n", "    inputs:\n      fail-on: blocked\n");
    let run = Project::new(&strict).run(&page).code(1).text();
    shows(&run, &["guard refused at least one statement", "FAIL"]);
    assert_eq!(page.stage.postgres.sql("shop", STATEMENT).unwrap(), "20");
}

#[test]
fn a_job_extends_the_hidden_one_and_its_token_is_good_for_one_session() {
    let (page, _) = page();
    let pipeline = format!(
        "include:\n  - local: templates/guard.yml\n    inputs:\n      job-name: .none\n      broker-url: {}\n\
         nightly count:\n  extends: .guard\n  script:\n    - guard run -- psql -X -c '{STATEMENT}'\n    \
         - guard run -- psql -X -c 'SELECT 4000 + 321' || echo \"the second ended with $?\"\n",
        page.stage.url
    );
    let project = Project::new(&pipeline);
    let run = project.run(&page).ok().text();
    shows(&run, &["0 refused", "the second ended with 125", "PASS"]);
    assert!(!run.contains("4321"), "{run}");
    assert_eq!(project.junit(), "the record is whole | passed");
}

#[test]
fn a_job_that_is_killed_ends_its_session() {
    let (page, pipeline) = page();
    let stage = &page.stage;
    let pipeline = pipeline.replace(STATEMENT, "SELECT pg_sleep(600)");
    for cancelled in [false, true] {
        let project = Project::new(&pipeline);
        let mut runner = project.start(&page);
        runner.wait_until("statement under way", || sleeping(stage).is_some()).unwrap();
        if cancelled {
            runner.signal(Signal::TERM);
        } else {
            let guard = guards_process(stage).expect("a guard at work");
            rustix::process::kill_process(guard, Signal::KILL).unwrap();
        }
        let code = exit_code(runner.wait(OVER_WITHIN).unwrap());
        assert_ne!(code, 0, "{}", runner.log());
        if cancelled {
            // A runner ends the job's processes; this one leaves them, so that it is done here.
            if let Some(guard) = guards_process(stage) {
                rustix::process::kill_process(guard, Signal::TERM).unwrap();
            }
        }
        wait_for("end of the statement", || sleeping(stage).is_none().then_some(())).unwrap();
        shows(&stage.sealed_record().unwrap(), &["\"session-ended\""]);
        // The next job's.
        page.shape(with(&claims(), &[("job_id", json!("303"))]));
    }
}

#[test]
fn without_a_broker_no_script_runs() {
    let (mut page, pipeline) = page();
    let _status = page.stage.broker.stop().unwrap();
    let run = Project::new(&pipeline.replace(STATEMENT, "SELECT 4000 + 321")).run(&page);
    let run = run.code(1).text();
    shows(&run, &["cannot be reached", "125"]);
    assert!(!run.contains("4321"), "{run}");
}

#[test]
fn no_input_becomes_a_command_outside_of_guard() {
    let (page, _) = page();
    let attack = |name: &str, value: &str| {
        let mut inputs = json!({
            "job-name": "nightly count", "broker-url": page.stage.url, "run": "exit 0", "report": "guard-report",
        });
        inputs[name] = value.into();
        let pipeline = json!({ "include": [{ "local": "templates/guard.yml", "inputs": inputs }] });
        // JSON is YAML.
        let project = Project::new(&pipeline.to_string());
        let run = project.run(&page);
        let outside = |name: &str| Path::new(&project.at("work")).join(name).exists();
        assert!(!outside("pwned"), "{name} {value:?}\n{}", run.text());
        run
    };
    for name in ["broker-url", "resources", "binary-path", "isolation", "fail-on", "report"] {
        for value in ["'; touch pwned; '", "$(touch pwned)"] {
            let url = name == "broker-url";
            let value = if url { format!("{}/{value}", page.stage.url) } else { value.to_owned() };
            let run = attack(name, &value);
            assert_ne!(run.code, 0, "{name} {value:?}\n{}", run.text());
        }
    }
    // What would end the script and go on without guard.
    let run = attack("run", "true\nGUARD§\ntouch pwned\ncat <<'GUARD§'\n");
    assert_ne!(run.code, 0, "{}", run.text());
    // The script itself is a script, and none of its signs means anything before it runs behind guard.
    let run = attack(
        "run",
        "echo 'it''s' \"${GUARD_ID_TOKEN-without a token}\" '$(touch pwned)' `echo sub`",
    );
    shows(&run.ok().text(), &["its without a token $(touch pwned) sub"]);
}
