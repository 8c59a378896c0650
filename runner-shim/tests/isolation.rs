//! `guard run` and what its command is kept from: levels, what is required, the shim's own environment and memory, and what
//! does not get into the log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "tests"
)]

mod broker;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use broker::FakeBroker;
use guard_core::Isolation;

const TOKEN: &str = "identity-token-of-the-run";
const LEVELS: [Isolation; 3] = [Isolation::Env, Isolation::Landlock, Isolation::Strict];

fn guard(broker: &FakeBroker, folder: &Path, arguments: &[&str], command: &[&str]) -> Command {
    let mut guard = Command::new(env!("CARGO_BIN_EXE_guard"));
    guard
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("GUARD_BROKER_URL", broker.url())
        .env("GUARD_ID_TOKEN", TOKEN)
        .args(["run", "--report"])
        .arg(folder.join("report"))
        .args(arguments)
        .arg("--")
        .args(command)
        .current_dir(folder)
        .stdin(Stdio::null());
    guard
}

fn text(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn exit_codes_and_signals_pass_through_at_each_level() {
    let folder = tempfile::tempdir().unwrap();
    for level in LEVELS {
        for (command, expected) in [
            (vec!["true"], 0),
            (vec!["sh", "-c", "exit 7"], 7),
            (vec!["sh", "-c", "kill -KILL $$"], 137),
            (vec!["/dev/null"], 126),
            (vec!["no-such-command-anywhere"], 127),
        ] {
            let broker = FakeBroker::start(&[]);
            let arguments = ["--isolation", level.as_str()];
            let output = guard(&broker, folder.path(), &arguments, &command).output().unwrap();
            let (code, _, stderr) = text(&output);
            assert_eq!(code, expected, "{level} {command:?}: {stderr}");
            assert_eq!(broker.ended_with(), Some(expected), "{level} {command:?}");
            assert_eq!(broker.reached()[0].level, level, "{stderr}");
        }
    }
}

/// Looks around, and tries what only the user of its shim could do.
const LOOK_AROUND: &str = "id -u; id -g; id -G; echo $HOME $USER $LOGNAME; echo \"${XDG_RUNTIME_DIR-none} ${PGHOST-none}\"
    (kill -0 $PPID) 2>/dev/null && echo signalled; (cat /proc/$PPID/environ) 2>/dev/null && echo read
    (cat roots-own) 2>/dev/null && echo read; touch roots-folder/x 2>/dev/null && echo written; exit 0";

#[test]
fn the_command_runs_as_the_user_that_is_named_and_has_nothing_of_roots() {
    let folder = tempfile::tempdir().unwrap();
    let broker = FakeBroker::start(&[]);
    if !rustix::process::geteuid().is_root() {
        let run = guard(&broker, folder.path(), &["--user", "nobody"], &["true"]).output().unwrap();
        let (code, _, stderr) = text(&run);
        assert_eq!(code, 125, "{stderr}");
        assert!(stderr.contains("only root can"), "{stderr}");
        return;
    }
    // Others may come here, and no further.
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(folder.path(), 0o755);
    fs::write(folder.path().join("roots-own"), "").unwrap();
    mode(&folder.path().join("roots-own"), 0o600);
    fs::create_dir(folder.path().join("roots-folder")).unwrap();
    for level in LEVELS {
        let broker = FakeBroker::start(&[]);
        let arguments = ["--user", "nobody", "--isolation", level.as_str()];
        let mut guard = guard(&broker, folder.path(), &arguments, &["sh", "-c", LOOK_AROUND]);
        guard.env("HOME", "/root").env("USER", "root").env("XDG_RUNTIME_DIR", "/run/user/0");
        let (code, stdout, stderr) = text(&guard.output().unwrap());
        assert_eq!(code, 0, "{level}: {stderr}");
        assert!(stderr.contains("as user `nobody`"), "{stderr}");
        let expected = "65534\n65534\n65534\n/nonexistent nobody nobody\nnone none\n";
        assert_eq!(stdout, expected, "{level}: {stderr}");
        assert_eq!(broker.reached()[0].level, level, "{stderr}");
    }
}

#[test]
fn a_user_that_is_not_there_or_is_root_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (user, reason) in
        [("no-such-user", "there is no user `no-such-user`"), ("root", "is root"), ("0", "is root")]
    {
        let broker = FakeBroker::start(&[]);
        let run =
            guard(&broker, folder.path(), &["--user", user], &["touch", "ran"]).output().unwrap();
        let (code, _, stderr) = text(&run);
        assert_eq!(code, 125, "{stderr}");
        assert!(stderr.contains(reason), "{stderr}");
        assert!(!folder.path().join("ran").exists());
    }
}

#[test]
fn a_signal_to_guard_is_one_to_the_command_at_each_level() {
    let folder = tempfile::tempdir().unwrap();
    for level in LEVELS {
        let broker = FakeBroker::start(&[]);
        let script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
        let arguments = ["--isolation", level.as_str()];
        let mut command = guard(&broker, folder.path(), &arguments, &["sh", "-c", script]);
        let mut guard = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(guard.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready", "{level}");
        let pid = rustix::process::Pid::from_raw(guard.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "got it", "{level}");
        assert_eq!(guard.wait().unwrap().code(), Some(9), "{level}");
    }
}

#[test]
fn a_level_that_the_trust_rule_asks_for_is_reached_or_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let ran = folder.path().join("ran");
    let command = ["touch", ran.to_str().unwrap()];
    let broker = FakeBroker::start(&[]);
    broker.require(Isolation::Landlock);
    let output = guard(&broker, folder.path(), &["--isolation", "env"], &command).output().unwrap();
    let (code, _, stderr) = text(&output);
    assert_eq!(code, 125, "{stderr}");
    assert!(stderr.contains("the trust rule asks for isolation `landlock`"), "{stderr}");
    assert!(!ran.exists() && broker.reached().is_empty(), "nothing ran");
    assert_eq!(broker.ended_with(), Some(125), "and the session is over");

    let broker = FakeBroker::start(&[]);
    broker.require(Isolation::Landlock);
    let output = guard(&broker, folder.path(), &[], &command).output().unwrap();
    let (code, _, stderr) = text(&output);
    assert_eq!(code, 0, "{stderr}");
    assert!(ran.exists() && broker.reached()[0].level >= Isolation::Landlock, "{stderr}");
}

/// As on Ubuntu 24.04, where AppArmor refuses them: namespaces are taken from whoever starts guard.
#[test]
fn where_namespaces_are_refused_the_next_level_is_taken_and_the_reason_is_said() {
    let folder = tempfile::tempdir().unwrap();
    // A filter that answers `unshare` with EPERM, put up by the program that starts guard.
    let refuse = "\
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
number = {'x86_64': 272, 'aarch64': 97}[os.uname().machine]
code = b''.join(struct.pack('HBBI', *step) for step in [
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000)])
program = ctypes.create_string_buffer(code)
class Filter(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_void_p)]
filter = Filter(4, ctypes.addressof(program))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(filter)) == 0
os.execv(sys.argv[1], sys.argv[1:])
";
    for (asked, expected, said) in [
        ("auto", 0, "isolation of the command: landlock (strict: namespaces of its own: "),
        ("strict", 125, "isolation `strict` cannot be reached here, so the command is not run"),
    ] {
        let broker = FakeBroker::start(&[]);
        let plain = guard(&broker, folder.path(), &["--isolation", asked], &["true"]);
        let mut command = Command::new("python3");
        command.args(["-c", refuse]).arg(plain.get_program()).args(plain.get_args()).env_clear();
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap());
        }
        let (code, _, stderr) = text(&command.current_dir(folder.path()).output().unwrap());
        assert_eq!(code, expected, "{asked}: {stderr}");
        assert!(stderr.contains(said) && stderr.contains("not permitted"), "{asked}: {stderr}");
    }
}

#[test]
fn a_script_in_a_temporary_folder_is_there_at_strict_and_stays_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.sh");
    // guard's own folder is there, too: with what programs are to trust, if there is something.
    let lines = "echo from the script; ls -A /tmp | grep -v ^guard-\n";
    fs::write(&script, lines).unwrap();
    // Once with its folder around it, once alone.
    for current in [folder.path(), Path::new("/")] {
        let broker = FakeBroker::start(&[]);
        let arguments = ["--isolation", "strict"];
        let command = ["sh", script.to_str().unwrap()];
        let mut guard = guard(&broker, folder.path(), &arguments, &command);
        let (code, stdout, stderr) = text(&guard.current_dir(current).output().unwrap());
        assert_eq!(code, 0, "{stderr}");
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(stdout, format!("from the script\n{name}\n"), "{stderr}");
    }
    let now = fs::read_to_string(&script).unwrap();
    assert_eq!(now, lines);
}

#[test]
fn the_file_of_the_identity_token_is_not_for_the_command() {
    let folder = tempfile::tempdir().unwrap();
    // Where the job does not write. Where only root may make one, that is all that can be tried.
    let Ok(elsewhere) = tempfile::tempdir_in("/opt") else { return };
    let (file, beside) = (elsewhere.path().join("token"), elsewhere.path().join("beside"));
    fs::write(&file, "the-token-in-the-file").unwrap();
    fs::write(&beside, "beside\n").unwrap();
    let file = file.to_str().unwrap();
    for (level, expected) in [("landlock", "beside\n"), ("strict", "beside\n")] {
        let broker = FakeBroker::start(&[]);
        let arguments = ["--raw", "--token-file", file, "--isolation", level];
        let script = format!("cat {}; cat {file}", beside.display());
        let command = ["sh", "-c", &script];
        let (_, stdout, stderr) =
            text(&guard(&broker, folder.path(), &arguments, &command).output().unwrap());
        assert_eq!(stdout, expected, "{level}: {stderr}");
        assert_eq!(broker.exchanged(), ["the-token-in-the-file"]);
    }
}

#[test]
fn the_shims_own_environment_holds_no_token_after_its_start_and_it_leaves_no_core() {
    let folder = tempfile::tempdir().unwrap();
    let broker = FakeBroker::start(&[]);
    let mut command = guard(
        &broker,
        folder.path(),
        &["--isolation", "env"],
        &["sh", "-c", "echo ready; sleep 60"],
    );
    command.env("CI_JOB_JWT_V2", "another-token-of-the-platform").env("KEPT", "kept");
    let mut guard = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(guard.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    // Readable for root only, which the test may not be.
    if let Ok(environment) = fs::read(format!("/proc/{}/environ", guard.id())) {
        let environment = String::from_utf8_lossy(&environment);
        assert!(environment.contains("KEPT=kept"), "{environment}");
        assert!(!environment.contains(TOKEN) && !environment.contains("another-token"));
    }
    let pid = rustix::process::Pid::from_raw(guard.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::QUIT).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::ABORT).unwrap();
    let status = guard.wait().unwrap();
    assert!(!std::os::unix::process::ExitStatusExt::core_dumped(&status), "{status}");
}

#[test]
fn what_guard_knows_does_not_get_into_the_log_and_raw_leaves_all_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo \"$PGPASSWORD\" >&2; echo \"$DATABASE_URL\"; \
                  printf '%s' \"x$PGPASSWORD\" | base64 -w0; echo; printf 'no line feed'";
    for (arguments, filtered) in [(vec![], true), (vec!["--raw"], false)] {
        let broker = FakeBroker::start(&["orders"]);
        let command = ["sh", "-c", script];
        let (code, stdout, stderr) =
            text(&guard(&broker, folder.path(), &arguments, &command).output().unwrap());
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.ends_with("no line feed"), "{stdout}");
        assert_eq!(stdout.contains("postgresql://guard:***@127.0.0.1:"), filtered, "{stdout}");
        assert_eq!(stdout.matches("***").count(), if filtered { 2 } else { 0 }, "{stdout}");
        assert_eq!(stderr.lines().any(|line| line == "***"), filtered, "{stderr}");
        assert_eq!(stderr.contains("3 secret(s) were hidden"), filtered, "{stderr}");
    }
}

#[test]
fn output_comes_when_it_is_written_and_binary_output_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let broker = FakeBroker::start(&[]);
    let script = "printf 'a prompt: '; cat go >/dev/null; head -c 3000000 /dev/zero";
    let go = folder.path().join("go");
    let made = Command::new("mkfifo").arg(&go).status().unwrap();
    assert!(made.success());
    let mut command = guard(&broker, folder.path(), &[], &["sh", "-c", script]);
    let mut guard = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = guard.stdout.take().unwrap();
    let mut prompt = [0; 10];
    std::io::Read::read_exact(&mut out, &mut prompt).unwrap();
    assert_eq!(&prompt, b"a prompt: ");
    fs::OpenOptions::new().write(true).open(&go).unwrap().write_all(b"go").unwrap();
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut out, &mut rest).unwrap();
    assert_eq!(rest, vec![0; 3_000_000]);
    assert!(guard.wait().unwrap().success());
}

#[test]
fn the_doctor_says_what_works_and_how_to_mend_what_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let broker = FakeBroker::start(&[]);
    let doctor = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_guard"));
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(folder.path());
        command.args(["doctor", "--json", "--broker", url]);
        command
    };
    let (code, stdout, stderr) =
        text(&doctor(&broker.url()).env("GUARD_ID_TOKEN", TOKEN).output().unwrap());
    assert_eq!(code, 0, "{stdout}{stderr}");
    let findings: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(findings["works"], true, "{stdout}");
    for name in ["broker", "identity token", "sockets", "isolation `landlock`", "clock"] {
        let checks = findings["checks"].as_array().unwrap();
        assert!(checks.iter().any(|check| check["name"] == name), "{name}: {stdout}");
    }
    let (code, stdout, _) = text(&doctor("http://127.0.0.1:1").output().unwrap());
    assert_eq!(code, 1, "{stdout}");
    let findings: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    for broken in ["broker", "identity token"] {
        let check = findings["checks"].as_array().unwrap().iter().find(|c| c["name"] == broken);
        let check = check.unwrap();
        assert_eq!(check["state"], "broken", "{stdout}");
        assert!(check["mend"].as_str().is_some_and(|mend| !mend.is_empty()), "{stdout}");
    }
}
