//! Jobs of platforms behind guard, run by what plays the platforms' runners, and the files for them by checkers of others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod act;

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

#[test]
fn checkers_find_nothing_in_the_action_and_the_workflows() {
    let root = root();
    let tools = root.join(".tools/venv/bin");
    let workflows = [
        root.join(".github/workflows/guarded-job.yml"),
        root.join("examples/pipelines/script.yml"),
        root.join("examples/pipelines/steps.yml"),
    ];
    let action = root.join("action/action.yml");
    let check = |program: &str| Command::new(tools.join(program));
    let run = |command: &mut Command| Finished::from(command.output().unwrap()).ok();
    let _quiet = run(check("zizmor").arg("--offline").args(&workflows).arg(&action));
    let schema = |name| {
        let mut command = check("check-jsonschema");
        command.args(["--builtin-schema", name]);
        command
    };
    let _valid = run(schema("vendor.github-workflows").args(&workflows));
    let _valid = run(schema("vendor.github-actions").arg(&action));
}
