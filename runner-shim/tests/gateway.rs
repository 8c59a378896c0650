//! `guard gateway` as whoever starts it sees it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Stdio};

fn gateway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guard"));
    command.env_clear().arg("gateway");
    command
}

#[test]
fn the_key_of_a_gateway_is_printed_without_a_name_or_a_broker() {
    let folder = tempfile::tempdir().unwrap();
    let print = || {
        let identity = folder.path().join("gateway.key");
        gateway().arg("--identity").arg(identity).arg("--print-key").output().unwrap()
    };
    let (first, second) = (print(), print());
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(first.stdout.trim_ascii_end().len(), 43);
    assert_eq!(first.stdout, second.stdout);
}

#[test]
fn a_gateway_serves_under_a_name_only() {
    let folder = tempfile::tempdir().unwrap();
    let output = gateway()
        .args(["--broker", "http://127.0.0.1:1", "--identity"])
        .arg(folder.path().join("gateway.key"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--name"));
}

#[test]
fn a_gateway_ends_with_whoever_holds_its_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing answers there: a gateway tries on.
    let mut running = gateway()
        .args(["--broker", "http://127.0.0.1:1", "--name", "dev", "--listen", "127.0.0.1:0"])
        .arg("--until-stdin-ends")
        .arg("--identity")
        .arg(folder.path().join("gateway.key"))
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(running.stdin.take());
    assert!(running.wait().unwrap().success());
}
