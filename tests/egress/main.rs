//! Where a run's command may go besides its resources: by a policy's list, through guard, with Python's own clients and a
//! TLS server of openssl's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::{
    net::{TcpListener, TcpStream},
    process::Command,
};

use guard_tests::{
    Finished, Stage,
    process::{Process, is_root},
};
use serde_json::Value;
use tempfile::TempDir;

/// A TLS server for `localhost`, and the certificate that it shows.
struct Elsewhere {
    _server: Process,
    _dir: TempDir,
    port: u16,
    certificate: String,
}

impl Elsewhere {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let (key, certificate) = (dir.join("elsewhere.key"), dir.join("elsewhere.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("openssl");
        command
            .args(["s_server", "-www", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-key"])
            .arg(&key)
            .arg("-cert")
            .arg(&certificate);
        let mut server =
            Process::start("elsewhere", &mut command, &dir.join("elsewhere.log")).unwrap();
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        server.wait_until("listener", listens).unwrap();
        let certificate = std::fs::read_to_string(certificate).unwrap();
        Self { _server: server, _dir: folder, port, certificate }
    }
}

/// A stage whose policy lets commands go to `localhost` at a port, where guard's own networks say that loopback is meant.
fn stage_with(egress: &str) -> Stage {
    let policy = format!("{}\negress: {egress}\n", guard_tests::policies::READ_ONLY);
    Stage::builder().shop(5).policy(&policy).start().unwrap()
}

/// A stage and a server that its policy names by `{port}`.
fn stage(egress: &str) -> (Stage, Elsewhere) {
    let elsewhere = Elsewhere::start();
    (stage_with(&egress.replace("{port}", &elsewhere.port.to_string())), elsewhere)
}

const LOCALHOST: &str = "[{ to: 'localhost:{port}', networks: [127.0.0.0/8, '::1/128'] }]";

/// Runs a Python script under guard at a level. It has `context`, `port` and `proxy`.
fn python(stage: &Stage, elsewhere: &Elsewhere, level: &str, script: &str) -> Finished {
    let head = format!(
        "import http.client, os, socket, ssl, sys, urllib.error, urllib.parse, urllib.request\n\
         for name in ('NO_PROXY', 'no_proxy'): os.environ.pop(name, None)\n\
         port = {}\n\
         context = ssl.create_default_context(cadata={:?})\n\
         proxy = urllib.parse.urlsplit(os.environ.get('HTTPS_PROXY', ''))\n",
        elsewhere.port, elsewhere.certificate,
    );
    let mut command = Command::new("python3");
    command.args(["-c", &(head + script)]);
    let mut guard = stage.guard(&command);
    guard.env("GUARD_ISOLATION", level);
    guard.output().unwrap().into()
}

const GET: &str = "
try:
    with urllib.request.urlopen(f'https://localhost:{port}/', context=context, timeout=20) as answer:
        print(answer.status)
except OSError as error:
    print(error)
";

fn places(report: &Value) -> Vec<Value> {
    report["egress"]["listed"].as_array().unwrap().clone()
}

#[test]
fn what_the_policy_lists_is_reached_at_each_level_and_is_in_the_report() {
    let (stage, elsewhere) = stage(LOCALHOST);
    for level in ["env", "landlock", "strict"] {
        let run = python(&stage, &elsewhere, level, GET).ok();
        assert_eq!(run.text(), "200", "{level}");
        let report = stage.report().unwrap();
        let places = places(&report);
        assert_eq!(places.len(), 1, "{level}: {report}");
        assert_eq!(places[0]["host"], "localhost");
        assert_eq!(places[0]["attempts"], 1);
        assert_eq!(places[0]["refused"], 0);
        assert!(places[0]["received"].as_u64().unwrap() > 100, "{report}");
        let record = stage.sealed_record().unwrap();
        let (_, behind) = record.split_once("\"egress-asked\"").expect("no attempt in the record");
        assert!(behind.contains("\"egress-ended\""), "{record}");
    }
}

#[test]
fn what_it_does_not_list_is_refused_told_and_reported() {
    let (stage, elsewhere) = stage(LOCALHOST);
    let script = "
try:
    urllib.request.urlopen('https://evil.example/', context=context, timeout=20)
except OSError as error:
    print(error)
";
    let run = python(&stage, &elsewhere, "env", script).ok();
    assert!(run.text().contains("403"), "{}", run.text());
    let _run = run.says("refused a connection: `evil.example:443` is in the `egress` of none");
    let report = stage.report().unwrap();
    assert_eq!(report["counts"]["egress_refused"], 1, "{report}");
    assert_eq!(places(&report)[0]["refused"], 1);
    let page = stage.report_dirs().pop().unwrap();
    for file in ["report.html", "report.md"] {
        let text = std::fs::read_to_string(page.join(file)).unwrap();
        assert!(text.contains("evil.example:443"), "{file}");
    }
}

#[test]
fn fail_closed_a_private_address_behind_a_name_that_is_listed_is_not_dialled() {
    let (stage, elsewhere) = stage("['localhost:{port}']");
    let run = python(&stage, &elsewhere, "env", GET).ok();
    assert!(run.text().contains("403"), "{}", run.text());
    let _run = run.says("where no public service is");
    let places = places(&stage.report().unwrap());
    assert_eq!((&places[0]["refused"], &places[0]["sent"]), (&1.into(), &0.into()));
}

#[test]
fn fail_closed_tls_for_another_name_than_was_asked_for_does_not_pass() {
    let (stage, elsewhere) = stage(LOCALHOST);
    let script = "
connection = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=20)
import base64
shown = base64.b64encode(f'{proxy.username}:{proxy.password}'.encode()).decode()
connection.set_tunnel('localhost', port, {'Proxy-Authorization': 'Basic ' + shown})
connection.connect()
lenient = ssl._create_unverified_context()
try:
    inner = lenient.wrap_socket(connection.sock, server_hostname='evil.example')
    print('through', inner.version())
except OSError as error:
    print('stopped')
";
    let run = python(&stage, &elsewhere, "env", script).ok();
    assert_eq!(run.text(), "stopped");
    let _run = run.says("TLS in it for `evil.example`");
    assert_eq!(stage.report().unwrap()["counts"]["egress_refused"], 1);
}

#[test]
fn fail_closed_another_user_and_who_shows_another_password_get_nowhere() {
    let (stage, elsewhere) = stage(LOCALHOST);
    let script = "
def ask(headers):
    connection = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=20)
    connection.request('CONNECT', f'localhost:{port}', headers=headers)
    return connection.getresponse().status
wrong = {'Proxy-Authorization': 'Basic Z3VhcmQ6b3RoZXI='}
print(ask(wrong))
if os.geteuid() == 0:
    os.setuid(65534)
    print(ask({}), ask(wrong))
";
    let run = python(&stage, &elsewhere, "env", script).ok();
    let expected = if is_root() { "407\n407 407" } else { "407" };
    assert_eq!(run.text(), expected);
    assert!(places(&stage.report().unwrap()).is_empty());
}

#[test]
fn a_program_of_the_run_that_cannot_show_a_password_gets_out() {
    let (stage, elsewhere) = stage(LOCALHOST);
    let script = "
connection = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=20)
connection.request('CONNECT', f'localhost:{port}')
print(connection.getresponse().status)
print(os.environ['JAVA_TOOL_OPTIONS'].count(f'proxyPort={proxy.port}'))
";
    for level in ["env", "landlock", "strict"] {
        let run = python(&stage, &elsewhere, level, script).ok();
        assert_eq!(run.text(), "200\n2", "{level}");
    }
    assert_eq!(places(&stage.report().unwrap()).len(), 1);
}

#[test]
fn a_policy_without_a_list_gives_no_way_out() {
    let elsewhere = Elsewhere::start();
    let stage = Stage::builder().shop(5).start().unwrap();
    let run = python(&stage, &elsewhere, "strict", GET).ok();
    assert!(!run.text().contains("200"), "{}", run.text());
    let run = python(&stage, &elsewhere, "env", "print(repr(os.environ.get('HTTPS_PROXY')))").ok();
    assert_eq!(run.text(), "None");
}
