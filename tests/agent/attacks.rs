//! Who must not use the session, and does not.

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use guard_tests::{
    Finished, Stage, policies,
    process::{Process, is_root, wait_for},
};

use super::job::Job;

/// Asks the agent as a run would: to join, for the state, and for the end.
const ASKS: &str = r#"
import json, os, socket, struct, sys
def ask(what):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(sys.argv[1])
    body = json.dumps(what).encode()
    s.sendall(struct.pack(">I", len(body)) + body)
    head = b""
    while len(head) < 4:
        more = s.recv(4 - len(head))
        if not more:
            return "closed"
        head += more
    length, = struct.unpack(">I", head)
    body = b""
    while len(body) < length:
        body += s.recv(length - len(body))
    return json.loads(body)
for what in [
    {"attach": {"resources": [], "step": None, "broker": None}},
    {"open": {"run": 1, "resource": "shop", "auth": "proven"}},
    {"open": {"run": 1, "resource": "shop-at-shim", "auth": "proven"}},
    {"egress": {"run": 1, "ask": {"id": "01890000-0000-7000-8000-000000000001", "host": "example.com", "port": 443}}},
    "status",
    {"stop": {"report": None}},
]:
    try:
        print(json.dumps(ask(what)))
    except OSError as error:
        print("stopped", type(error).__name__)
"#;

/// Asks all of that. The command knows the path of the socket, as it could from another process of the job.
const ATTACK: &str = "python3 $ASKS $AGENT";

/// A run that attacks, and at `strict` sees the program that its environment names.
fn attacker(job: &Job, options: &[&str], text: &str) -> Command {
    let file = job.file("asks.py");
    std::fs::write(&file, ASKS).unwrap();
    let mut command = job.run_with(options, text);
    command.env("ASKS", file).env("AGENT", &job.socket);
    command
}

fn attack(job: &Job, options: &[&str], text: &str) -> Finished {
    Finished::from(attacker(job, options, text).output().unwrap()).ok()
}

/// Nothing of the session was given.
#[track_caller]
fn got_nothing(run: &Finished) {
    let text = run.text();
    assert_eq!(text.lines().count(), 6, "{text}\n{}", run.stderr);
    for line in text.lines() {
        let refused = line.starts_with("{\"refused\"") || line.starts_with("stopped");
        assert!(refused, "{line}");
    }
}

#[test]
fn a_command_gets_nothing_of_the_agent_at_any_level() {
    let job = Job::start(Stage::builder().shop(5).also_at_shim().policy(policies::READ_ONLY));
    for level in ["env", "landlock", "strict"] {
        let options = ["--isolation", level, "--resource", "shop"];
        got_nothing(&attack(&job, &options, ATTACK));
    }
    // One that left its family, as a daemon does, is still of the run.
    let out = job.file("out").display().to_string();
    let go = job.file("go").display().to_string();
    let text = format!(
        "mkfifo {go}; (setsid sh -c '{ATTACK} > {out}; echo > {go}' &); read line < {go}; cat {out}"
    );
    got_nothing(&attack(&job, &["--isolation", "env"], &text));
    assert_eq!(job.run(&[], "psql -X -A -t -c 'SELECT 1'").ok().text(), "1");
    assert!(job.log().contains("a command of `guard run` has its listeners"), "{}", job.log());
    let _ended = job.session(&["stop"]).ok();
}

#[test]
fn a_command_that_kills_its_shim_to_get_free_finds_the_session_ended() {
    let job = Job::start(Stage::builder().shop(5).lost_after("5s"));
    let out = job.file("out");
    // At `env` a command can kill its parent. What it left behind is nobody's then, and asks.
    let script = job.file("free.sh");
    let text = format!(
        "trap '' TERM\nkill -9 $1\n{ATTACK} > {0}.part 2>&1\nmv {0}.part {0}\n",
        out.display()
    );
    std::fs::write(&script, text).unwrap();
    let text = format!("setsid sh {} $PPID & wait", script.display());
    let mut command = attacker(&job, &["--isolation", "env"], &text);
    let mut run = Process::start("run", &mut command, &job.file("run.log")).unwrap();
    let _killed = run.wait(std::time::Duration::from_secs(60)).unwrap();
    let found = wait_for("its answers", || std::fs::read_to_string(&out).ok()).unwrap();
    for line in found.lines() {
        assert!(
            line.starts_with("{\"refused\"") || line.starts_with("stopped") || line == "\"closed\"",
            "{found}"
        );
    }
    wait_for("end", || (!job.socket.exists()).then_some(())).unwrap();
    assert!(job.stage.sealed_record().unwrap().contains("session-ended"));
}

#[test]
fn another_user_is_refused_even_where_the_folder_lets_it_in() {
    if !is_root() {
        return;
    }
    let job = Job::start(Stage::builder());
    let folder = job.socket.parent().unwrap();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(folder), mode(&job.socket)), (0o700, 0o600));
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&job.socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let file = job.file("asks.py");
    std::fs::write(&file, ASKS).unwrap();
    let other = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3"])
        .args([&file, &job.socket])
        .output()
        .unwrap();
    let other = Finished::from(other).ok();
    for line in other.text().lines() {
        assert!(line == "\"closed\"" || line.starts_with("stopped"), "{line}");
    }
    assert!(job.log().contains("another user"), "{}", job.log());
    assert_eq!(job.status()["runs"].as_array().unwrap().len(), 0);
}

#[test]
fn the_agents_memory_environment_and_files_are_for_nobody() {
    let job = Job::start(Stage::builder());
    let agent = job.agent().as_raw_nonzero();
    let [_, (_, bearer)] = job.stage.issuer.variables();
    for level in ["env", "landlock", "strict"] {
        let text = format!(
            "(exec 3</proc/{agent}/mem && echo opened); tr '\\0' '\\n' < /proc/{agent}/environ | grep '^ACTIONS_ID'; exit 0"
        );
        let run = job.run(&["--isolation", level], &text).ok();
        assert_eq!(run.text(), "", "{}", run.stderr);
    }
    // The place where the kernel put the variables has no token for root outside either.
    let environment = std::fs::read(format!("/proc/{agent}/environ")).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&environment).contains(&bearer));
}
