//! Jobs of platforms behind guard, run by what plays the platforms' runners, and the files for them by checkers of others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod act;
mod checkers;
mod gitlab;
mod page;
mod platforms;

use std::{path::Path, process::Command};

use guard_tests::Finished;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn the_actions_own_tests_pass() {
    let tests = root().join("action/test/action.test.js");
    let output = Command::new("node").arg("--test").arg(tests).output().unwrap();
    let _passed = Finished::from(output).ok();
}
