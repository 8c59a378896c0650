//! An API behind guard: a server that writes down what reaches it, and a stage in front of it.

use std::{path::Path, process::Command};

use guard_tests::{Finished, Stage, process::Process, python_script, script};
use serde_json::Value;
use tempfile::TempDir;

use crate::servers::{ADDRESS, certificate};

/// What the API's token is.
pub(crate) const TOKEN: &str = "api_t0ken/of+the=shop";

/// Reading is allowed, creating an order, and some things are asked for; the rest is not.
pub(crate) const POLICY: &str = "\
policy: stage
rules:
  - name: secrets
    http: { paths: [/v1/secrets/**] }
    decide: block
    say: secrets stay where they are
  - name: read
    http: { effects: [read], paths: [/v1/**] }
    decide: allow
  - name: order
    http: { methods: [POST], paths: [/v1/orders, /v1/mirror], query: { dry: [\"1\", \"true\"], force: null } }
    decide: allow
  - name: upload
    http: { methods: [PUT], paths: ['/v1/files/{name}'] }
    decide: allow
";

const GET: &str = "get() { curl -sS -i --max-time 60 \"$@\"; echo; }\n";

/// The API, and guard before it.
pub(crate) struct Api {
    pub(crate) stage: Stage,
    /// Where it is.
    pub(crate) url: String,
    _server: Process,
    dir: TempDir,
}

impl Api {
    /// An API that takes the token as a bearer's.
    pub(crate) fn start(policy: &str) -> Self {
        Self::with(policy, "send_as: bearer", |it| it)
    }

    /// One that takes it as these lines of the configuration say.
    pub(crate) fn with(
        policy: &str,
        how: &str,
        change: impl FnOnce(guard_tests::Builder) -> guard_tests::Builder,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let command = upstream(&dir, &[]);
        let url = |port: &str| format!("http://127.0.0.1:{port}");
        Self::serving(dir, command, url, policy, |stage, url| change(stage.api(url, how, TOKEN)))
    }

    /// One with a credential that is made.
    pub(crate) fn lending(
        policy: &str,
        credential: &str,
        change: impl FnOnce(guard_tests::Builder) -> guard_tests::Builder,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let command = upstream(&dir, &[]);
        let url = |port: &str| format!("http://127.0.0.1:{port}");
        Self::serving(dir, command, url, policy, |stage, url| {
            change(stage.resource("api", &format!("url: {url}\n    {credential}")))
        })
    }

    /// One that is reached by TLS, and wants a certificate of its client's.
    pub(crate) fn with_client_certificate(
        policy: &str,
        change: impl FnOnce(guard_tests::Builder) -> guard_tests::Builder,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (pem, key) = certificate(dir.path(), "api");
        let (own, own_key) = certificate(dir.path(), "guard");
        let command = upstream(&dir, &[ADDRESS, &pem, &key, &own]);
        let url = |port: &str| format!("https://{ADDRESS}:{port}");
        let how = format!(
            "tls_ca: {pem}\n    credential: {{ certificate: {{ file: {own} }}, key: {{ file: {own_key} }} }}"
        );
        Self::serving(dir, command, url, policy, |stage, url| {
            change(stage.resource("api", &format!("url: {url}\n    {how}")))
        })
    }

    /// One that is reached by TLS, at an address that clients do not take for their own machine's.
    pub(crate) fn with_tls(
        policy: &str,
        change: impl FnOnce(guard_tests::Builder) -> guard_tests::Builder,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (pem, key) = certificate(dir.path(), "api");
        let command = upstream(&dir, &[ADDRESS, &pem, &key]);
        Self::serving_tls(dir, command, &pem, policy, change)
    }

    /// A service of gRPC, which is reached by TLS.
    pub(crate) fn with_calls(
        policy: &str,
        change: impl FnOnce(guard_tests::Builder) -> guard_tests::Builder,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (pem, key) = certificate(dir.path(), "api");
        let mut command = python_script("http/calls.py").unwrap();
        command.args(["serve", &pem, &key]);
        Self::serving_tls(dir, command, &pem, policy, change)
    }

    /// A service of gRPC without TLS.
    pub(crate) fn with_plain_calls(
        policy: &str,
        change: impl FnOnce(guard_tests::Builder) -> guard_tests::Builder,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = python_script("http/calls.py").unwrap();
        command.arg("serve");
        let url = |port: &str| format!("http://127.0.0.1:{port}");
        let with = |stage: guard_tests::Builder, url: &str| {
            change(stage.api(url, "send_as: bearer", TOKEN))
        };
        Self::serving(dir, command, url, policy, with)
    }

    /// A server of WebSockets.
    pub(crate) fn with_sockets(policy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = python_script("http/sockets.py").unwrap();
        command.arg("serve");
        let url = |port: &str| format!("http://127.0.0.1:{port}");
        let with =
            |stage: guard_tests::Builder, url: &str| stage.api(url, "send_as: bearer", TOKEN);
        Self::serving(dir, command, url, policy, with)
    }

    fn serving_tls(
        dir: TempDir,
        command: Command,
        certificate: &str,
        policy: &str,
        change: impl FnOnce(guard_tests::Builder) -> guard_tests::Builder,
    ) -> Self {
        let how = format!("send_as: bearer\n    tls_ca: {certificate}");
        let url = |port: &str| format!("https://{ADDRESS}:{port}");
        Self::serving(dir, command, url, policy, |stage, url| change(stage.api(url, &how, TOKEN)))
    }

    fn serving(
        dir: TempDir,
        mut command: Command,
        url: impl Fn(&str) -> String,
        policy: &str,
        with: impl FnOnce(guard_tests::Builder, &str) -> guard_tests::Builder,
    ) -> Self {
        let port = dir.path().join("port.log");
        let mut server = Process::start("upstream", &mut command, &port).unwrap();
        let said = || std::fs::read_to_string(&port).unwrap_or_default();
        server.wait_until("port", || said().ends_with('\n')).unwrap();
        let url = url(said().lines().next().unwrap_or_default());
        let stage = with(Stage::builder().policy(policy), &url).start().unwrap();
        Self { stage, url, _server: server, dir }
    }

    /// What the server said.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("port.log")).unwrap()
    }

    /// What reached the server, by method and target.
    pub(crate) fn seen(&self) -> Vec<String> {
        let seen = self.requests();
        seen.iter().map(|it| format!("{} {}", text(it, "method"), text(it, "target"))).collect()
    }

    /// The same with all that was written down.
    pub(crate) fn requests(&self) -> Vec<Value> {
        // A line may be about to be written.
        let seen = std::fs::read_to_string(self.dir.path().join("seen")).unwrap();
        let seen = seen.rsplit_once('\n').map_or("", |(whole, _)| whole);
        seen.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs a shell script under guard, in which `get` is curl that shows status, headers and body.
    pub(crate) fn run(&self, text: &str) -> Finished {
        self.stage.run(&script(&format!("{GET}{text}"))).unwrap()
    }

    /// Starts one.
    pub(crate) fn spawn(&self, text: &str) -> Process {
        self.stage.spawn("job", &script(&format!("{GET}{text}"))).unwrap()
    }

    /// Sends each of these as it is over a connection of its own, in one run, and gives what came back
    /// until it was closed.
    pub(crate) fn raw(&self, messages: &[impl AsRef<[u8]>]) -> Vec<String> {
        let program = "import json, os, socket, sys, urllib.parse\n\
            at = urllib.parse.urlsplit(os.environ['GUARD_API_URL'])\n\
            for message in json.load(open(sys.argv[1])):\n\
            \x20   s = socket.create_connection((at.hostname, at.port), 60)\n\
            \x20   s.sendall(message.replace('{host}', at.netloc).encode('latin-1'))\n\
            \x20   said = b''\n\
            \x20   try:\n\
            \x20       while piece := s.recv(65536): said += piece\n\
            \x20   except ConnectionResetError: pass\n\
            \x20   print(json.dumps(said.decode('latin-1')))\n";
        let file = self.dir.path().join("raw");
        let texts: Vec<String> = messages
            .iter()
            .map(|message| message.as_ref().iter().copied().map(char::from).collect())
            .collect();
        std::fs::write(&file, serde_json::to_string(&texts).unwrap()).unwrap();
        let mut command = Command::new("python3");
        command.args(["-c", program]).arg(&file);
        let said = self.stage.run(&command).unwrap().ok().text();
        let said: Vec<String> =
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(said.len(), messages.len());
        said
    }

    /// The record of the last run.
    pub(crate) fn record(&self) -> String {
        self.stage.sealed_record().unwrap()
    }
}

/// The API of `upstream.py`, which writes down what it sees.
fn upstream(dir: &TempDir, arguments: &[&str]) -> Command {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("http/upstream.py");
    let mut command = Command::new("python3");
    command.arg(program).arg(dir.path().join("seen")).args(arguments);
    command
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
