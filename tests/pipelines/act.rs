//! The example workflows as GitHub's runner would run them: by `act`, without containers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use guard_tests::{
    Finished, Programs, Stage, policies,
    process::{Process, exit_code, wait_for},
    python_program, runners_node,
};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::root;

/// How the examples name the action.
const USES: &str = "example/guard/action@1111111111111111111111111111111111111111";
/// `act` starts Node.js a few times, on a busy machine.
const OVER_WITHIN: Duration = Duration::from_secs(120);

/// A repository with one workflow, and another with the action.
struct Checkout {
    dir: TempDir,
}

impl Checkout {
    /// `workflow` is one of the examples, changed by the test.
    fn new(workflow: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["work/.github/workflows", "mirror/action", "home"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let checkout = Self { dir };
        for part in ["action.yml", "checksums.json", "package.json", "src"] {
            let from = root().join("action").join(part);
            let copy =
                Command::new("cp").arg("-r").arg(from).arg(checkout.at("mirror/action")).status();
            assert!(copy.unwrap().success());
        }
        fs::write(checkout.at("work/.github/workflows/job.yml"), workflow).unwrap();
        let commit = "git init -q && git -c user.name=a -c user.email=a@example.com commit -q --allow-empty -m first";
        let made =
            Command::new("sh").args(["-c", commit]).current_dir(checkout.at("work")).status();
        assert!(made.unwrap().success());
        checkout
    }

    fn at(&self, place: &str) -> PathBuf {
        self.dir.path().join(place)
    }

    fn act(&self, stage: &Stage) -> Command {
        let [url, bearer] = stage.issuer.variables().map(|(name, value)| format!("{name}={value}"));
        let guard = Programs::built().unwrap().guard.display().to_string();
        let path = [runners_node().unwrap(), stage.postgres.programs().to_path_buf()];
        let usual = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(path.into_iter().chain(std::env::split_paths(&usual)));
        let mut act = Command::new(python_program("act").unwrap());
        act.env_clear()
            .env("PATH", path.unwrap())
            .env("HOME", self.at("home"))
            .current_dir(self.at("work"))
            .args(["workflow_dispatch", "--workflows", ".github/workflows/job.yml"])
            .args(["--platform", "ubuntu-latest=-self-hosted", "--no-cache-server"])
            .args(["--container-daemon-socket", "-", "--action-offline-mode"])
            .arg("--local-repository")
            .arg(format!("{}={}", USES.replace("/action@", "@"), self.at("mirror").display()))
            .args(["--var", &format!("GUARD_BROKER_URL={}", stage.url)])
            .args(["--var", &format!("GUARD_BINARY={guard}")])
            // `act` gives steps a terminal, where psql would wait for a reader.
            .args(["--env", &url, "--env", &bearer, "--env", "PAGER=cat"]);
        act
    }

    fn run(&self, stage: &Stage) -> Finished {
        let mut act = self.start(stage);
        let code = exit_code(act.wait(OVER_WITHIN).unwrap());
        Finished { code, stdout: act.log().into_bytes(), stderr: String::new() }
    }

    fn start(&self, stage: &Stage) -> Process {
        Process::start("act", &mut self.act(stage), &self.at("act.log")).unwrap()
    }
}

fn stage() -> Stage {
    Stage::builder().shop(10).policy(policies::READ_ONLY).lost_after("3s").start().unwrap()
}

fn example(name: &str) -> String {
    fs::read_to_string(root().join("examples/pipelines").join(name)).unwrap()
}

/// The example with another statement.
fn script_of(statement: &str) -> String {
    let text = example("script.yml");
    let changed = text.replace("SELECT count(*) FROM public.orders", statement);
    assert_ne!(text, changed);
    changed
}

/// That the runner went on to the action's last half, and what it says on the job's page.
#[track_caller]
fn summary(log: &str) -> &str {
    assert!(log.contains("Success - Post "), "no last half that succeeded in\n{log}");
    page(log)
}

#[track_caller]
fn page(log: &str) -> &str {
    let (_, summary) =
        log.split_once("Summary - ").unwrap_or_else(|| panic!("no summary in\n{log}"));
    summary
}

#[track_caller]
pub(crate) fn shows(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

/// The process of `guard` that speaks with the stage's broker for a job.
pub(crate) fn guards_process(stage: &Stage) -> Option<rustix::process::Pid> {
    let of = |entry: fs::DirEntry| {
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let mut words = line.split(|byte| *byte == 0);
        let program = Path::new(std::str::from_utf8(words.next()?).ok()?);
        let ours = program.ends_with("guard") && words.next()? != b"gateway";
        let ours = ours && words.any(|word| word == stage.url.as_bytes());
        ours.then(|| rustix::process::Pid::from_raw(number))?
    };
    fs::read_dir("/proc").unwrap().filter_map(Result::ok).find_map(of)
}

pub(crate) fn sleeping(stage: &Stage) -> Option<()> {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%' AND state = 'active'";
    (stage.postgres.sql("shop", count).unwrap() != "0").then_some(())
}

#[test]
fn a_script_passes_with_the_action_by_name_by_path_and_in_the_reusable_workflow() {
    let stage = stage();
    let by_name = Checkout::new(&example("script.yml"));
    let run = by_name.run(&stage).ok().text();
    shows(&run, &["guard said passed, 0 refused", "\u{1f3c1}  Job succeeded"]);
    shows(summary(&run), &["Result: **passed**; the command succeeded", "SHA-256"]);
    shows(&stage.sealed_record().unwrap(), &["\"finished\"", "orders"]);

    // `act` puts the repository into the job's folder where a workflow checks it out.
    let checkout = "steps:\n      - uses: actions/checkout@v6\n";
    let by_path = example("script.yml").replace("steps:\n", checkout).replace(USES, "./action");
    let by_path = Checkout::new(&by_path);
    fs::rename(by_path.at("mirror/action"), by_path.at("work/action")).unwrap();
    let run = by_path.run(&stage).ok().text();
    shows(summary(&run), &["Result: **passed**"]);

    let caller = "on: workflow_dispatch\njobs:\n  call:\n    uses: ./.github/workflows/guarded-job.yml\n    with:\n      \
                  broker-url: ${{ vars.GUARD_BROKER_URL }}\n      binary-path: ${{ vars.GUARD_BINARY }}\n      run: \
                  psql -X -c 'SELECT count(*) FROM public.orders'\n";
    let called = Checkout::new(caller);
    let reusable = root().join(".github/workflows/guarded-job.yml");
    fs::copy(reusable, called.at("work/.github/workflows/guarded-job.yml")).unwrap();
    let run = called.run(&stage).ok().text();
    shows(summary(&run), &["Result: **passed**"]);
}

#[test]
fn a_refused_statement_fails_the_job_and_is_named_on_its_page() {
    let stage = stage();
    let script = Checkout::new(&script_of("DROP TABLE public.orders"));
    let run = script.run(&stage).code(1).text();
    shows(&run, &["GRD-2102", "guard said blocked, 1 refused", "DROP TABLE"]);
    shows(summary(&run), &["Result: **blocked**; the exit code was 1", "DROP TABLE"]);

    // What refuses is the step's own failure, and `fail-on: blocked` says so once more at the end.
    let steps = Checkout::new(&example("steps.yml"));
    let run = steps.run(&stage).code(1).text();
    shows(&run, &["Success - Main count", "Failure - Main clean up"]);
    shows(page(&run), &["Result: **blocked**", "DELETE"]);
    assert_eq!(stage.postgres.sql("shop", "SELECT count(*) FROM orders").unwrap(), "20");
    shows(&stage.sealed_record().unwrap(), &["\"finished\""]);

    // A script that does not mind fails only by `fail-on`.
    let minded = example("steps.yml").replace(
        "      - name: clean up\n        run: guard",
        "      - name: clean up\n        run: '! guard",
    );
    let minded =
        minded.replace("-c 'DELETE FROM public.orders'", "-c \"DELETE FROM public.orders\"'");
    let run = Checkout::new(&minded).run(&stage).code(1).text();
    shows(&run, &["Success - Main clean up", "Failure - Post open a session"]);
    let run = Checkout::new(&minded.replace("fail-on: blocked", "fail-on: error")).run(&stage).ok();
    shows(summary(&run.text()), &["Result: **blocked**"]);
}

#[test]
fn a_guard_that_is_killed_leaves_a_page_that_vouches_for_nothing() {
    let stage = stage();
    let checkout = Checkout::new(&script_of("SELECT pg_sleep(600)"));
    let mut act = checkout.start(&stage);
    act.wait_until("statement under way", || sleeping(&stage).is_some()).unwrap();
    let guard = guards_process(&stage).expect("a guard at work");
    rustix::process::kill_process(guard, Signal::KILL).unwrap();
    let code = exit_code(act.wait(OVER_WITHIN).unwrap());
    let log = act.log();
    assert_eq!(code, 1, "{log}");
    shows(&log, &["guard said error"]);
    shows(
        summary(&log),
        &["guard: error", "There is no report", "Nothing of what happened is vouched for"],
    );
    wait_for("end of the statement", || sleeping(&stage).is_none().then_some(())).unwrap();
    shows(&stage.sealed_record().unwrap(), &["\"lost\""]);
}

#[test]
fn a_job_that_is_cancelled_ends_its_session_and_says_so() {
    let stage = stage();
    let steps =
        example("steps.yml").replace("SELECT count(*) FROM public.orders", "SELECT pg_sleep(600)");
    for workflow in [script_of("SELECT pg_sleep(600)"), steps] {
        let checkout = Checkout::new(&workflow);
        let mut act = checkout.start(&stage);
        act.wait_until("statement under way", || sleeping(&stage).is_some()).unwrap();
        act.signal(Signal::TERM);
        let code = exit_code(act.wait(OVER_WITHIN).unwrap());
        let log = act.log();
        assert_ne!(code, 0, "{log}");
        wait_for("end of the statement", || sleeping(&stage).is_none().then_some(())).unwrap();
        // Nobody knows what came of the statement, so nothing is called a success.
        shows(summary(&log), &["Result: **error**", "whether they were carried out is not known"]);
        shows(&stage.sealed_record().unwrap(), &["\"session-ended\""]);
    }
}

#[test]
fn without_a_broker_no_script_runs_and_the_page_says_so() {
    let mut stage = stage();
    let _status = stage.broker.stop().unwrap();
    let run = Checkout::new(&script_of("SELECT 4000 + 321")).run(&stage).code(1).text();
    assert!(!run.contains("4321"), "{run}");
    shows(summary(&run), &["There is no report: the exit code was 125"]);
    let run = Checkout::new(&example("steps.yml")).run(&stage).code(1).text();
    shows(page(&run), &["There is no report"]);
    assert!(!run.contains("Main count"), "{run}");
}
