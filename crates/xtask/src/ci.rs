//! `cargo xtask ci`: all that a change must pass, in the order of what fails fastest.

use anyhow::{Context as _, Result};

use crate::{demo, install, shell, test, tidy};

/// Runs every section; the first failure ends it.
pub(crate) fn run() -> Result<()> {
    shell::section("format", || shell::run(shell::cargo().args(["fmt", "--all", "--check"])))?;
    shell::section("tidy", tidy::run)?;
    shell::section("install", || {
        install::need(&install::BUILD)?;
        install::need(&install::TEST)?;
        install::need(&[install::Part::Deny])
    })?;
    shell::section("dependencies", || {
        // Advisories are a list on the network that changes without a change here: they are
        // looked at by `cargo deny check advisories`, not by the check of a change.
        let deny = install::cargo_tool("cargo-deny").context("cargo-deny is missing")?;
        shell::run(shell::command(deny).args(["check", "bans", "licenses", "sources"]))
    })?;
    shell::section("lints", || {
        shell::run(
            shell::cargo()
                .args(["clippy", "--workspace", "--all-targets", "--quiet", "--"])
                .args(["-D", "warnings"]),
        )?;
        shell::run(
            shell::cargo()
                .args(["clippy", "-p", "guard-broker", "--features", "otel", "--all-targets"])
                .args(["--quiet", "--", "-D", "warnings"]),
        )
    })?;
    shell::section("tests", || test::run(&test::Options::default()))?;
    shell::section("demo", || demo::run(&demo::Options::short()))?;
    println!("{}", shell::bold("all passed"));
    Ok(())
}
