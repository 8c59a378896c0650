//! How a session with an agent ends, and what is left of it.

use std::time::Duration;

use guard_tests::{
    EnforceAt, Stage, policies,
    process::{Process, wait_for},
};
use rustix::process::{Signal, kill_process};

use super::job::{Job, agent_of, socket_of, start};

/// Longer than anything here takes on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);
const ONE: &str = "psql -X -q -A -t -c 'SELECT 1'";

/// Waits for the one sealed record, and gives it.
fn sealed(stage: &Stage) -> String {
    stage.sealed_record().unwrap()
}

/// Waits until the agent has gone.
fn wait_gone(job: &Job) {
    wait_for("end of the agent", || (!job.socket.exists()).then_some(())).unwrap();
}

#[test]
fn a_killed_agent_ends_the_session_by_its_silence_and_its_runs_say_so() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let job = Job::start(Stage::builder().lost_after("3s").shop(5).enforce_at(place));
        let ready = job.file("ready");
        let text = format!(
            "{ONE}; mkfifo {0}; read line < {0}; {ONE} && echo reached; exit 0",
            ready.display()
        );
        let mut run = job.spawn("run", &[], &text);
        wait_for("run", || ready.exists().then_some(())).unwrap();
        kill_process(job.agent(), Signal::KILL).unwrap();
        run.wait_until("word of the end", || run_log(&job).contains("the session is over"))
            .unwrap();
        std::fs::write(&ready, "go on\n").unwrap();
        // What it did cannot be vouched for by who ran it, whatever its command says.
        assert_eq!(run.wait(WITHIN).unwrap().code(), Some(125), "{}", run.log());
        assert!(!run.log().contains("reached"), "{}", run.log());
        assert!(run.log().contains("FATAL"), "not in the protocol's words: {}", run.log());
        let record = sealed(&job.stage);
        assert!(record.contains("\"lost\""), "{record}");
        let _said = job.session(&["stop"]).code(125).says("cannot be reached");
        let _said = job.run(&[], "echo ran").code(125).says("cannot be reached");
    }
}

fn run_log(job: &Job) -> String {
    std::fs::read_to_string(job.file("run.log")).unwrap_or_default()
}

#[test]
fn a_signal_ends_the_session_with_a_sealed_record_and_a_report() {
    let job = Job::start(Stage::builder().shop(5));
    let _run = job.run(&[], ONE).ok();
    kill_process(job.agent(), Signal::TERM).unwrap();
    wait_gone(&job);
    assert!(sealed(&job.stage).contains("\"finished\""));
    assert_eq!(job.stage.report().unwrap()["counts"]["statements"], 1);
    let _said = job.session(&["stop"]).ok().says("had ended before").says("1 statement executed");
    assert!(job.log().contains("a signal ends the session"), "{}", job.log());
}

#[test]
fn a_session_ends_with_the_process_that_it_was_told_to_watch() {
    let stage = Stage::builder().start().unwrap();
    let log = stage.dir().join("parent.log");
    let mut parent =
        Process::start("parent", std::process::Command::new("sleep").arg("600"), &log).unwrap();
    let pid = parent.pid().to_string();
    let socket = socket_of(&start(&stage, &["--parent", &pid]).ok().text());
    let job = Job { stage, socket };
    let _run = job.run(&[], ONE).ok();
    parent.kill().unwrap();
    wait_gone(&job);
    assert!(job.log().contains(&format!("process {pid} is gone")), "{}", job.log());
    assert!(sealed(&job.stage).contains("\"finished\""));
}

#[test]
fn a_session_whose_time_is_over_is_sealed_reported_and_told_to_its_runs() {
    let one_job = Stage::builder().claim("check_run_id", "90000003");
    let job = Job::start(one_job.lost_after("3s").renew("4s"));
    let text = "while :; do psql -X -A -t -c 'SELECT 1' >/dev/null 2>&1 || :; done";
    let mut run = job.spawn("run", &["--kill-on-end"], text);
    run.wait_until("attached", || job.status()["runs"][0]["allowed"] != 0).unwrap();
    job.stage.issuer.end_job();
    let _code = run.wait(WITHIN).unwrap();
    assert!(run.log().contains("the session's time is over"), "{}", run.log());
    wait_gone(&job);
    assert!(sealed(&job.stage).contains("\"expired\""));
    assert_eq!(job.stage.report().unwrap()["window"]["reason"], "expired");
    let _said = job.session(&["stop"]).ok().says("had ended before");
}

#[test]
fn a_killed_run_at_env_takes_the_session_with_it_and_a_kept_one_does_not() {
    let job = Job::start(Stage::builder().shop(5));
    let ready = job.file("ready");
    // What it leaves behind ignores that its shim is gone, and asks the agent for more.
    let text = format!("trap '' TERM; {ONE}; touch {}; sleep 600", ready.display());
    let mut run = job.spawn("run", &["--isolation", "landlock"], &text.replace("touch", ": >"));
    wait_for("run", || ready.exists().then_some(())).unwrap();
    run.kill().unwrap();
    wait_for("word of it", || (job.status()["runs"][0]["state"] == "lost").then_some(())).unwrap();
    assert_eq!(job.run(&[], ONE).ok().text(), "1");

    std::fs::remove_file(&ready).unwrap();
    let mut run = job.spawn("again", &["--isolation", "env"], &text);
    wait_for("run", || ready.exists().then_some(())).unwrap();
    run.kill().unwrap();
    wait_gone(&job);
    assert!(job.log().contains("run 3 was killed"), "{}", job.log());
    assert!(sealed(&job.stage).contains("\"finished\""));
    assert_eq!(job.stage.report().unwrap()["window"]["exit_code"], 125);
}

#[test]
fn a_broker_that_is_away_for_a_moment_loses_no_session() {
    let mut job =
        Job::start(Stage::builder().lost_after("20s").shop(5).policy(policies::READ_ONLY));
    assert_eq!(job.run(&[], ONE).ok().text(), "1");
    job.stage.broker.kill().unwrap();
    job.stage.restart_broker().unwrap();
    assert_eq!(job.run(&["--step", "after"], ONE).ok().text(), "1");
    let _ended = job.session(&["stop"]).ok();
    let report = job.stage.report().unwrap();
    assert_eq!(report["steps"]["listed"][1]["name"], "after");
    assert_eq!(report["steps"]["listed"][1]["statements"], 1);
}

#[test]
fn a_step_ends_when_start_does_and_the_agent_keeps_nothing_of_it_open() {
    let stage = Stage::builder().start().unwrap();
    // Its output goes to a pipe, as a runner's does: the pipe's end is the end of the step.
    let started = start(&stage, &[]).ok();
    let agent = agent_of(&stage).unwrap().as_raw_nonzero().get();
    let status = std::fs::read_to_string(format!("/proc/{agent}/stat")).unwrap();
    let fields: Vec<&str> = status.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // Its own session (setsid), and no terminal.
    assert_eq!(fields[3], agent.to_string(), "{status}");
    assert_eq!(fields[4], "0", "{status}");
    let job = Job { stage, socket: socket_of(&started.text()) };
    let _ended = job.session(&["stop"]).ok();
}
