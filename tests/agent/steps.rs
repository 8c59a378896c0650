//! Several steps, one record.

use std::time::Duration;

use guard_tests::{EnforceAt, Stage, policies, process::wait_for, script};
use serde_json::{Value, json};

use super::job::{Job, socket_of, start};

const COUNT: &str = "psql -X -q -A -t -c 'SELECT count(*) FROM customers'";

#[test]
fn several_steps_are_one_session_with_one_record_that_tells_them_apart() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let job = Job::start(Stage::builder().shop(30).policy(policies::MASKED).enforce_at(place));
        let first = job.run(&["--step", "count"], COUNT).ok();
        assert_eq!(first.text(), "30");
        let _said =
            first.says("1 statement executed, 0 refused, 0 values masked in this step so far");
        let text = "psql -X -q -A -t -c 'SELECT email FROM customers LIMIT 3'; psql -X -q -c 'DROP TABLE orders'";
        let second = job.run(&["--step", "mail"], text).code(1);
        let _said = second.says("GRD-2102").says("1 statement executed, 1 refused");
        let third = job.run(&[], "exit 7").code(7);
        let _said = third.says("0 statements executed");

        // What came of a statement is with the broker a moment later.
        let counted = || Some(job.status()).filter(|status| status["runs"][1]["masked"] == 3);
        let status = wait_for("counts", counted).unwrap();
        let runs: Vec<_> = status["runs"].as_array().unwrap().iter().collect();
        let told = |run: &Value| {
            json!([
                run["number"],
                run["name"],
                run["state"],
                run["exit_code"],
                run["allowed"],
                run["refused"],
                run["masked"]
            ])
        };
        assert_eq!(told(runs[0]), json!([1, "count", "finished", 0, 1, 0, 0]));
        assert_eq!(told(runs[1]), json!([2, "mail", "finished", 1, 1, 1, 3]));
        assert_eq!(told(runs[2]), json!([3, null, "finished", 7, 0, 0, 0]));
        let shown = job.session(&["status"]).ok().text();
        assert!(
            shown.contains("run 2 mail: ended with 1; 1 executed, 1 refused, 3 masked"),
            "{shown}"
        );

        let summary = job.file("summary.md");
        let mut stop = job.stage.step(&["session", "stop", "--fail-on", "blocked"]);
        stop.env("GUARD_SESSION", &job.socket).env("GITHUB_STEP_SUMMARY", &summary);
        let stopped = guard_tests::Finished::from(stop.output().unwrap()).code(1);
        let _said =
            stopped.says("2 statements executed, 1 refused, 3 values masked; the report is");
        assert!(
            std::fs::read_to_string(&summary)
                .unwrap()
                .contains("- step 2 `mail`: 1 executed, 1 refused")
        );

        assert_eq!(job.stage.report_dirs().len(), 1);
        let report = job.stage.report().unwrap();
        let of = |step: &Value| {
            json!([
                step["number"],
                step["name"],
                step["statements"],
                step["refused"],
                step["masked"],
                step["isolation"]
            ])
        };
        let steps: Vec<_> = report["steps"]["listed"].as_array().unwrap().iter().map(of).collect();
        assert_eq!(steps[0], json!([1, "count", 1, 0, 0, "env"]));
        assert_eq!(steps[1], json!([2, "mail", 1, 1, 3, "env"]));
        assert_eq!(steps[2], json!([3, null, 0, 0, 0, "env"]));
        let connections = report["connections"]["listed"].as_array().unwrap();
        assert_eq!(connections.iter().map(|c| c["step"].clone()).collect::<Vec<_>>(), [1, 2, 2]);
        assert_eq!(report["window"]["exit_code"], 1);
        assert_eq!(report["integrity"]["whole"], "verified");
        let folder = job.stage.report_dirs().pop().unwrap();
        for file in
            ["record.jsonl", "record.proof", "report.html", "report.md", "report.intoto.jsonl"]
        {
            assert!(folder.join(file).is_file(), "{file}");
        }

        // It is over: said, and with the same verdict; and no run opens another in its place.
        let _said = job.session(&["stop", "--fail-on", "blocked"]).code(1).says("had ended before");
        let _said = job.session(&["stop"]).ok();
        let _said = job.run(&[], "echo ran").code(125).says("cannot be reached");
        let _said = job.session(&["status"]).code(125).says("cannot be reached");
    }
}

#[test]
fn runs_side_by_side_keep_to_themselves() {
    let job = Job::start(Stage::builder().shop(10).policy(policies::READ_ONLY).also_at_shim());
    let ready = job.file("ready");
    // The first stays until the second is done.
    let text = format!(
        "psql -X -q -A -t -c 'SELECT 1'; mkfifo {0}; read line < {0}; psql -X -q -A -t -c 'SELECT count(*) FROM orders'",
        ready.display()
    );
    let mut first = job.spawn("first", &["--step", "first", "--resource", "shop"], &text);
    wait_for("first run", || ready.exists().then_some(())).unwrap();
    let refused = job.run(&["--step", "second"], "env; psql -X -q -c 'DROP TABLE orders'").code(1);
    assert!(refused.text().contains("GUARD_SHOP_AT_SHIM_URL="), "{}", refused.text());
    assert!(!refused.text().contains("GUARD_SESSION"), "{}", refused.text());
    assert_eq!(job.status()["runs"][0]["state"], "attached");
    std::fs::write(&ready, "go on\n").unwrap();
    assert_eq!(first.wait(Duration::from_secs(60)).unwrap().code(), Some(0), "{}", first.log());
    assert!(!first.log().contains("GRD-2102"), "told of another's: {}", first.log());
    assert!(first.log().contains("2 statements executed, 0 refused"), "{}", first.log());
    let _ended = job.session(&["stop"]).ok();
}

#[test]
fn a_resource_that_the_session_does_not_have_is_not_given_nor_another_broker() {
    let job = Job::start(Stage::builder());
    let _said = job.run(&["--resource", "other"], "echo ran").code(125).says("no resource `other`");
    let elsewhere = job.run(&["--broker", "http://127.0.0.1:9"], "echo ran").code(125);
    let _said = elsewhere.says("the session is at the broker");
    let alone =
        job.stage.step(&["run", "--broker", &job.stage.url, "--step", "x", "--", "true"]).output();
    let _said = guard_tests::Finished::from(alone.unwrap()).code(125).says("guard session start");
}

#[test]
fn a_second_start_takes_the_same_session_or_says_that_it_was_asked_for_otherwise() {
    let job = Job::start(Stage::builder());
    let again = |options: &[&str]| {
        let reports = job.stage.reports().display().to_string();
        let url = &job.stage.url;
        let arguments =
            [&["session", "start", "--broker", url, "--report", &reports], options].concat();
        let mut command = job.stage.step(&arguments);
        guard_tests::Finished::from(command.env("GUARD_SESSION", &job.socket).output().unwrap())
    };
    let same = again(&[]).ok().says("is open already, and goes on");
    assert_eq!(socket_of(&same.text()), job.socket);
    let exported = again(&["--export"]).ok().text();
    assert_eq!(exported.trim(), format!("export GUARD_SESSION='{}'", job.socket.display()));
    let other = again(&["--resource", "shop"]).code(125).says("was asked for with `--broker");
    assert_eq!(other.text(), "");
    let _ended = job.session(&["stop"]).ok();
    // What it names is over, and another session is asked for in so many words.
    let fresh = again(&[]).ok().says("is over: another one is opened");
    let fresh = Job { stage: job_stage(job), socket: socket_of(&fresh.text()) };
    assert_eq!(fresh.run(&[], "psql -X -A -t -c 'SELECT 5'").ok().text(), "5");
    let _ended = fresh.session(&["stop"]).ok();
    assert_eq!(fresh.stage.report_dirs().len(), 2);
}

/// Takes the stage out of a job whose session is over.
fn job_stage(mut job: Job) -> Stage {
    let other = Stage::builder().start().unwrap();
    std::mem::replace(&mut job.stage, other)
}

#[test]
fn a_start_that_gets_no_session_says_why_and_leaves_nothing() {
    let stage = Stage::builder().claim("ref", "refs/heads/other").start().unwrap();
    let refused = start(&stage, &[]).code(125).says("no session for this run");
    assert_eq!(refused.text(), "");
    let misused = stage.step(&["session", "start", "--no-such-option"]).output().unwrap();
    let _said = guard_tests::Finished::from(misused).code(125);
    let gone = start(&stage, &["--parent", "2147483647"]).code(125);
    let _said = gone.says("there is no such process");
}

#[test]
fn a_run_that_is_parked_ends_with_its_exit_code_and_the_others_go_on() {
    let policy = "policy: stage\nrules:\n  - { name: deletes, sql: { effects: [delete] }, decide: approve, approvers: [dba], within: 1h, wait: park }\n  \
                  - { name: reads, sql: { effects: [read, session, transaction] }, decide: allow }\n";
    let job = Job::start(Stage::builder().shop(20).policy(policy));
    let parked =
        job.run(&["--step", "purge"], "psql -X -c 'DELETE FROM orders'; exec sleep 600").code(75);
    let _said =
        parked.says("GRD-2401").says("/approvals/").says("run the job again when it is approved");
    assert_eq!(job.run(&[], COUNT).ok().text(), "20");
    let _ended = job.session(&["stop"]).ok();
    assert_eq!(job.stage.report().unwrap()["window"]["exit_code"], 75);
}

#[test]
fn fresh_tokens_keep_a_session_that_no_run_is_in() {
    let one_job = Stage::builder().claim("check_run_id", "90000002").shop(5);
    let job = Job::start(one_job.lost_after("3s").renew("4s"));
    wait_for("four tokens", || (job.stage.issuer.made() >= 4).then_some(())).unwrap();
    assert_eq!(job.run(&[], COUNT).ok().text(), "5");
    let printed = job.run(
        &[],
        "env | grep -c ID_TOKEN; tr '\\0' '\\n' < /proc/self/environ | grep GUARD_SESSION",
    );
    assert_eq!(printed.text(), "0", "{}", printed.stderr);
    let _ended = job.session(&["stop"]).ok();
}

#[test]
fn what_a_run_prints_of_its_secrets_is_hidden() {
    let job = Job::start(Stage::builder());
    let [_, (_, bearer)] = job.stage.issuer.variables();
    // Once from elsewhere, as a step of the job could have left it.
    let left = job.file("left");
    std::fs::write(&left, &bearer).unwrap();
    let run = job.run(&[], &format!("cat {}; echo; echo $PGPASSWORD", left.display())).ok();
    assert!(!run.text().contains(&bearer), "{}", run.text());
    assert_eq!(run.text(), "***\n***");
}

#[test]
fn what_a_policy_has_detectors_for_is_hidden_in_what_a_run_prints() {
    let policy = format!("{}detect: {{ values: [email, card] }}\n", policies::READ_ONLY);
    let job = Job::start(Stage::builder().policy(&policy));
    let print = "echo 'jane@example.com paid with 4111 1111 1111 1111 from DE89370400440532013000'";
    let hidden = "*** paid with *** from DE89370400440532013000";
    assert_eq!(job.run(&[], print).ok().text(), hidden);
    let alone = job.stage.guard(&script(print)).output().unwrap();
    assert_eq!(guard_tests::Finished::from(alone).ok().text(), hidden);
}

#[test]
fn each_attempt_to_go_elsewhere_says_of_which_command_it_was() {
    let policy = format!("{}egress: ['localhost:1']\n", guard_tests::policies::READ_ONLY);
    let job = Job::start(Stage::builder().policy(&policy));
    let go = job.file("go.py");
    let script = "import sys, urllib.request\nfor place in sys.argv[1:]:\n    try: urllib.request.urlopen(f'https://{place}/', timeout=20)\n    \
                  except OSError as error: print(error)\n";
    std::fs::write(&go, script).unwrap();
    let go = |places: &str| {
        let text = format!("unset NO_PROXY no_proxy; python3 {} {places}", go.display());
        job.run(&[], &text).ok()
    };
    let _first = go("localhost:1 localhost:2");
    let _second = go("localhost:2 localhost:3");
    let _ended = job.session(&["stop"]).ok();
    let report = job.stage.report().unwrap();
    let mut places: Vec<_> = report["egress"]["listed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| format!("{} {}", place["port"], place["steps"]))
        .collect();
    places.sort();
    assert_eq!(places, ["1 [1]", "2 [1,2]", "3 [2]"]);
    let page = job.stage.report_dirs().pop().unwrap();
    for file in ["report.html", "report.md"] {
        let text = std::fs::read_to_string(page.join(file)).unwrap();
        assert!(text.contains("(steps 1, 2)") && text.contains("(step 2)"), "{file}: {text}");
    }
}
