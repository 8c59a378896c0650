//! `guard run` as a job sees it, beside a broker that answers what the test tells it to.
//!
//! The broker here checks nothing; that the real one does is shown by the suites of `tests/`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

#[allow(dead_code, reason = "the other suite uses the rest")]
mod broker;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use broker::FakeBroker;
use guard_core::EndReason;
use rustix::process::{Pid, Signal, kill_process};

const TOKEN: &str = "identity-token-of-the-run";

/// `guard run` with an empty environment but for the path, against this broker.
fn guard(broker: &str, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guard"));
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("GUARD_BROKER_URL", broker)
        // The levels have a suite of their own.
        .env("GUARD_ISOLATION", "env")
        .args(["run", "--report"])
        .arg(folder.join("report"))
        .stdin(Stdio::null());
    command
}

/// The same as GitLab runs it: the token is in a variable.
fn gitlab(broker: &FakeBroker, folder: &Path, command: &[&str]) -> Command {
    let mut guard = guard(&broker.url(), folder);
    guard.env("GUARD_ID_TOKEN", TOKEN).arg("--").args(command);
    guard
}

fn text(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Waits until a file is there that the child makes. The test runner's time limit bounds it.
fn wait_for(path: &Path) {
    while !path.exists() {
        std::thread::yield_now();
    }
}

#[test]
fn the_commands_exit_code_is_guards() {
    let folder = tempfile::tempdir().unwrap();
    for (command, expected) in [
        (vec!["true"], 0),
        (vec!["sh", "-c", "exit 7"], 7),
        (vec!["sh", "-c", "kill -KILL $$"], 137),
        (vec!["/dev/null"], 126),
        (vec!["no-such-command-anywhere"], 127),
    ] {
        let broker = FakeBroker::start(&[]);
        let output = gitlab(&broker, folder.path(), &command).output().unwrap();
        let (code, _, stderr) = text(&output);
        assert_eq!(code, expected, "{command:?}: {stderr}");
        assert_eq!(broker.ended_with(), Some(expected), "{command:?}");
        assert!(
            stderr.contains("guard: acme/shop refs/heads/main (schedule), run 42.1"),
            "{stderr}"
        );
        assert!(stderr.contains("0 statements executed, 0 refused"), "{stderr}");
    }
    let report = fs::read_dir(folder.path().join("report")).unwrap().next().unwrap().unwrap();
    for name in ["record.jsonl", "report.html", "report.md", "report.json", "report.junit.xml"] {
        assert!(report.path().join(name).exists(), "{name}");
    }
}

#[test]
fn guards_own_failures_are_125_and_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let ran = folder.path().join("ran");
    let command = ["touch", ran.to_str().unwrap()];
    let broker = FakeBroker::start(&[]);
    broker.refuse_exchange();
    let with_token = |mut guard: Command| {
        guard.env("GUARD_ID_TOKEN", TOKEN);
        guard
    };
    let unreachable = || guard("http://127.0.0.1:1", folder.path());
    let missing = folder.path().join("missing");
    let mut no_token = guard(&broker.url(), folder.path());
    no_token.env("GITHUB_ACTIONS", "true");
    let mut no_file = guard(&broker.url(), folder.path());
    no_file.arg("--token-file").arg(&missing);
    let mut bad_name = with_token(guard(&broker.url(), folder.path()));
    bad_name.args(["--resource", "No Name"]);
    for (what, mut guard, said) in [
        ("no broker there", with_token(unreachable()), "`http://127.0.0.1:1` cannot be reached"),
        (
            "refused",
            with_token(guard(&broker.url(), folder.path())),
            "(access_denied, decision d-1)",
        ),
        ("in the clear", with_token(guard("http://example.com", folder.path())), "in the clear"),
        ("no token", no_token, "id-token: write"),
        ("no token file", no_file, "cannot be read"),
        ("a bad name", bad_name, "`No Name` is not a name"),
    ] {
        let (code, _, stderr) = text(&guard.arg("--").args(command).output().unwrap());
        assert_eq!(code, 125, "{what}: {stderr}");
        assert!(stderr.contains(said), "{what}: {stderr}");
        assert!(!stderr.contains(TOKEN), "{what}: {stderr}");
        assert!(!ran.exists(), "{what}");
    }
}

#[test]
fn a_broker_that_is_busy_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let broker = FakeBroker::start(&[]);
    broker.busy(&[503, 429, 502, 503]);
    let output = gitlab(&broker, folder.path(), &["true"]).output().unwrap();
    let (code, _, stderr) = text(&output);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(broker.exchanged().len(), 5);
    // Not for ever.
    broker.busy(&[503; 100]);
    let output = gitlab(&broker, folder.path(), &["true"]).output().unwrap();
    let (code, _, stderr) = text(&output);
    assert_eq!(code, 125, "{stderr}");
    assert!(stderr.contains("(server_error, decision d-0)"), "{stderr}");
}

#[test]
fn a_resource_without_a_gateway_runs_nothing_and_ends_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let broker = FakeBroker::start(&["orders"]);
    broker.without_gateway();
    let ran = folder.path().join("ran");
    let command = ["touch", ran.to_str().unwrap()];
    let (code, _, stderr) = text(&gitlab(&broker, folder.path(), &command).output().unwrap());
    assert_eq!(code, 125, "{stderr}");
    assert!(stderr.contains("no gateway serves `orders`"), "{stderr}");
    assert!(!ran.exists());
    assert_eq!(broker.ended_with(), Some(125));
}

#[test]
fn the_child_gets_addresses_and_nothing_that_is_the_runs_identity() {
    let folder = tempfile::tempdir().unwrap();
    let broker = FakeBroker::start(&["orders", "cold-archive"]);
    let script = "env; ls -ld \"$PGHOST\"; ls -a \"$PGHOST\"; test -S \"$PGHOST/.s.PGSQL.$PGPORT\"";
    let mut guard = gitlab(&broker, folder.path(), &["sh", "-c", script]);
    guard
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token")
        .env("ACTIONS_ID_TOKEN_REQUEST_URL", "http://127.0.0.1:1/")
        .env("CI_JOB_JWT_V2", "old-token")
        .env("PGSERVICE", "elsewhere")
        .env("PGHOST", "elsewhere")
        .env("KEPT", "kept");
    let (code, stdout, stderr) = text(&guard.output().unwrap());
    assert_eq!(code, 0, "{stderr}");
    for gone in [TOKEN, "request-token", "old-token", "elsewhere", broker::ACCESS_TOKEN] {
        assert!(!stdout.contains(gone), "{gone} in {stdout}");
    }
    for there in [
        "KEPT=kept",
        "PGUSER=guard",
        "PGDATABASE=shop",
        "PGSSLMODE=disable",
        "GUARD_ORDERS_URL=postgresql://guard:",
        "GUARD_COLD_ARCHIVE_URL=postgresql://guard:",
        "drwx------",
    ] {
        assert!(stdout.contains(there), "{there} in {stdout}");
    }
    let socket = stdout.lines().find_map(|line| line.strip_prefix("PGHOST=")).unwrap();
    assert!(!Path::new(socket).exists(), "the sockets' folder is gone with the run");
}

#[test]
fn the_platform_is_asked_again_while_it_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    let broker = FakeBroker::start(&[]);
    broker.busy_platform(&[503, 403]);
    let mut guard = guard(&broker.url(), folder.path());
    guard
        .env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/platform?api-version=2.0", broker.url()))
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token");
    let (code, _, stderr) = text(&guard.args(["--", "true"]).output().unwrap());
    assert_eq!(code, 0, "{stderr}");
    let asked = broker.platform_asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
    for query in asked {
        // The audience ends with the thumbprint of the key that the session is bound to.
        let rest = query
            .strip_prefix("api-version=2.0&audience=https%3A%2F%2Fguard.example%23x%23")
            .and_then(|rest| rest.strip_suffix(" Bearer request-token"));
        assert_eq!(rest.map(str::len), Some(43), "{query}");
    }
}

/// A program that prints what it was asked.
fn program(folder: &Path, name: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\necho \"{name} $*\" | tr ' ' '+'\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Variables, arguments, and the token with the key's thumbprint taken out.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a str);

#[test]
fn each_platforms_token_is_found_and_none_is_left_for_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    program(&programs, "buildkite-agent");
    program(&programs, "circleci");
    fs::write(folder.path().join("token"), "from-a-file\n").unwrap();
    let file = folder.path().join("token").display().to_string();
    let with = format!("{}:/usr/bin:/bin", programs.display());
    let broker = FakeBroker::start(&[]);
    let azure = format!("{}/platform", broker.url());
    let cases: [Case<'_>; 10] = [
        (&[], &["--token-file", &file], "from-a-file"),
        (&[("MINE", "from-a-variable")], &["--token-env", "MINE"], "from-a-variable"),
        (&[], &["--token-command", "echo for-$GUARD_AUDIENCE"], "for-https://guard.example#x#KEY"),
        (
            &[("GUARD_AUDIENCE", "other")],
            &["--token-command", "echo for-$GUARD_AUDIENCE"],
            "for-other#KEY",
        ),
        (&[("GUARD_ID_TOKEN", "of-gitlab")], &[], "of-gitlab"),
        (
            &[("BUILDKITE_JOB_ID", "j"), ("BUILDKITE_AGENT_ACCESS_TOKEN", "secret")],
            &[],
            "buildkite-agent+oidc+request-token+--audience+https://guard.example#x#KEY+--claim+organization_id+--claim+pipeline_id",
        ),
        (
            &[("CIRCLECI", "true"), ("CIRCLE_OIDC_TOKEN_V2", "of-circleci")],
            &[],
            "circleci+run+oidc+get+--claims+{\"aud\":\"https://guard.example#x#KEY\"}",
        ),
        (
            &[
                ("CIRCLECI", "true"),
                ("CIRCLE_OIDC_TOKEN_V2", "of-circleci"),
                ("PATH", "/usr/bin:/bin"),
            ],
            &[],
            "of-circleci",
        ),
        (
            &[("SYSTEM_OIDCREQUESTURI", &azure), ("SYSTEM_ACCESSTOKEN", "secret")],
            &[],
            "azure+api-version=7.1+Bearer+secret",
        ),
        (&[("BITBUCKET_STEP_OIDC_TOKEN", "of-bitbucket")], &[], "of-bitbucket"),
    ];
    for (number, (variables, arguments, expected)) in cases.into_iter().enumerate() {
        let mut guard = guard(&broker.url(), folder.path());
        guard.env("PATH", &with).envs(variables.iter().copied()).args(arguments);
        let (code, stdout, stderr) = text(&guard.args(["--", "env"]).output().unwrap());
        assert_eq!(code, 0, "{expected}: {stderr}");
        let exchanged = broker.exchanged();
        assert_eq!(exchanged.len(), number + 1);
        let shown = &exchanged[number];
        let shown = match shown.split_once("x#").or(shown.split_once("other#")) {
            Some((_, rest)) => shown.replace(&rest[..43], "KEY"),
            None => shown.clone(),
        };
        assert_eq!(shown, expected);
        for left in ["secret", "of-", "from-a-variable"] {
            assert!(!stdout.contains(left), "{expected} leaves {left}: {stdout}");
        }
    }
}

#[test]
fn a_program_that_gives_no_token_is_a_failure_of_guard() {
    let folder = tempfile::tempdir().unwrap();
    let broker = FakeBroker::start(&[]);
    for (command, why) in [
        ("exit 3", "it ended with exit status: 3"),
        ("true", "it prints no token"),
        ("echo two words", "it prints no token"),
        ("head -c 100000 /dev/zero | tr '\\0' a", "it prints more than 65536 bytes"),
    ] {
        let mut guard = guard(&broker.url(), folder.path());
        guard.args(["--token-command", command, "--", "true"]);
        let (code, _, stderr) = text(&guard.output().unwrap());
        assert_eq!(code, 125, "{command}: {stderr}");
        assert!(stderr.contains(why), "{command}: {stderr}");
    }
    assert!(broker.exchanged().is_empty());
}

#[test]
fn refusals_are_told_once_and_cannot_write_to_the_platforms_log() {
    let folder = tempfile::tempdir().unwrap();
    let broker = FakeBroker::start(&[]);
    broker.notice("blocked DROP on `public.\u{1b}[2Jx\n::add-mask::y`");
    let output = gitlab(&broker, folder.path(), &["true"]).output().unwrap();
    let (code, _, stderr) = text(&output);
    assert_eq!(code, 0, "{stderr}");
    let told = "guard: orders: blocked DROP on `public.\\u{1b}[2Jx\\n::add-mask::y` by rule `destructive` of policy `nightly` (GRD-2101)\n";
    assert_eq!(stderr.matches(told).count(), 1, "{stderr}");
    assert!(stderr.lines().all(|line| line.starts_with("guard: ")), "{stderr}");
}

#[test]
fn a_command_outlives_its_session_unless_it_is_asked_not_to() {
    for (kill, script, expected) in
        [(false, "while ! test -e ended; do sleep 0.02; done; exit 3", 3), (true, "sleep 60", 143)]
    {
        let folder = tempfile::tempdir().unwrap();
        let broker = FakeBroker::start(&[]);
        let script = format!("cd {}; touch started; {script}", folder.path().display());
        let mut guard = guard(&broker.url(), folder.path());
        guard.env("GUARD_ID_TOKEN", TOKEN).stderr(Stdio::piped());
        if kill {
            guard.arg("--kill-on-end");
        }
        let script = if kill { script.replace("sleep 60", "exec sleep 60") } else { script };
        let mut guard = guard.args(["--", "sh", "-c", &script]).spawn().unwrap();
        wait_for(&folder.path().join("started"));
        broker.end(EndReason::Revoked);
        let mut lines = BufReader::new(guard.stderr.take().unwrap()).lines().map(Result::unwrap);
        let says = "the session is over: the session was revoked";
        assert!(lines.by_ref().any(|line| line.contains(says)));
        if !kill {
            fs::write(folder.path().join("ended"), "").unwrap();
        }
        let rest: Vec<_> = lines.collect();
        assert_eq!(guard.wait().unwrap().code(), Some(expected), "{rest:?}");
    }
}

#[test]
fn signals_reach_the_command_and_its_answer_comes_back() {
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let broker = FakeBroker::start(&[]);
        let ready = folder.path().join("ready");
        let script = format!(
            "trap 'exit 9' {name}; touch {}; while :; do sleep 0.02; done",
            ready.display()
        );
        let mut guard = gitlab(&broker, folder.path(), &["sh", "-c", &script]);
        let mut guard = guard.stderr(Stdio::null()).spawn().unwrap();
        wait_for(&ready);
        kill_process(Pid::from_child(&guard), signal).unwrap();
        assert_eq!(guard.wait().unwrap().code(), Some(9), "{name}");
    }
}

#[test]
fn a_killed_shim_takes_its_command_along() {
    let folder = tempfile::tempdir().unwrap();
    let broker = FakeBroker::start(&[]);
    let (ready, gone) = (folder.path().join("ready"), folder.path().join("gone"));
    let script = format!(
        "trap 'touch {}; exit' TERM; touch {}; while :; do sleep 0.02; done",
        gone.display(),
        ready.display()
    );
    let mut guard = gitlab(&broker, folder.path(), &["sh", "-c", &script])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&ready);
    guard.kill().unwrap();
    guard.wait().unwrap();
    wait_for(&gone);
}

#[test]
fn a_run_without_its_report_has_not_succeeded() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("report"), "in the way").unwrap();
    for (command, expected) in [(vec!["true"], 125), (vec!["sh", "-c", "exit 7"], 7)] {
        let broker = FakeBroker::start(&[]);
        let output = gitlab(&broker, folder.path(), &command).output().unwrap();
        let (code, _, stderr) = text(&output);
        assert_eq!(code, expected, "{stderr}");
        assert!(stderr.contains("cannot write"), "{stderr}");
    }
}

#[test]
fn a_step_summary_gets_the_report_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let broker = FakeBroker::start(&[]);
    let summary = folder.path().join("summary.md");
    fs::write(&summary, "earlier step\n").unwrap();
    let mut guard = gitlab(&broker, folder.path(), &["true"]);
    let (code, _, stderr) = text(&guard.env("GITHUB_STEP_SUMMARY", &summary).output().unwrap());
    assert_eq!(code, 0, "{stderr}");
    let summary = fs::read_to_string(summary).unwrap();
    assert!(summary.starts_with("earlier step\n") && summary.contains("acme/shop"), "{summary}");
}
