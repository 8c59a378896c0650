//! Servers that a test starts besides the API: scripts that print their ports and write down what they were asked.

use std::{path::Path, process::Command};

use guard_tests::{Finished, process::Process, python_program};
use serde_json::Value;
use tempfile::TempDir;

/// Loopback, and no address that clients leave out of their proxy.
pub(crate) const ADDRESS: &str = "127.0.0.2";

/// A server at work. It ends with this value.
pub(crate) struct Server {
    pub(crate) ports: Vec<String>,
    dir: TempDir,
    _process: Process,
}

impl Server {
    /// A script of this folder, which takes a file to write to, and then these.
    pub(crate) fn start(script: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(python_program("python").unwrap());
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("http").join(script));
        command.arg(dir.path().join("seen")).args(arguments);
        let log = dir.path().join("log");
        let mut process = Process::start(script, &mut command, &log).unwrap();
        // What it warns of stands before its ports.
        let ports = || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let (whole, _) = said.rsplit_once('\n')?;
            let last =
                whole.lines().find(|line| line.starts_with(|it: char| it.is_ascii_digit()))?;
            let ports: Vec<String> = last.split(' ').map(str::to_owned).collect();
            ports.iter().all(|port| port.parse::<u16>().is_ok()).then_some(ports)
        };
        process.wait_until("ports", || ports().is_some()).unwrap();
        Self { ports: ports().unwrap(), dir, _process: process }
    }

    /// What it was asked.
    pub(crate) fn seen(&self) -> Vec<Value> {
        let seen = std::fs::read_to_string(self.dir.path().join("seen")).unwrap();
        let seen = seen.rsplit_once('\n').map_or("", |(whole, _)| whole);
        seen.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A certificate for [`ADDRESS`] that vouches for itself, and its key.
pub(crate) fn certificate(dir: &Path, name: &str) -> (String, String) {
    certificate_for(dir, name, ADDRESS)
}

/// The same for another address.
pub(crate) fn certificate_for(dir: &Path, name: &str, address: &str) -> (String, String) {
    let file = |end: &str| dir.join(format!("{name}.{end}")).display().to_string();
    let (certificate, key) = (file("pem"), file("key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", &format!("/CN={name}")])
        .args(["-addext", &format!("subjectAltName=IP:{address}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-out", &certificate, "-keyout", &key])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    (certificate, key)
}

/// Runs what another program does.
pub(crate) fn openssl(arguments: &[&str]) {
    let made = Command::new("openssl").args(arguments).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// All that a run said.
pub(crate) fn said(run: &Finished) -> String {
    format!("{}\n{}", run.text(), run.stderr)
}
