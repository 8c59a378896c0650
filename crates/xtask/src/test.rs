//! `cargo xtask test`: all tests, against real servers and real clients.

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{install, shell};

/// Options of `cargo xtask test`.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// What goes to `cargo nextest run`
    #[arg(last = true)]
    nextest: Vec<String>,
}

/// Installs what is missing, builds the programs, and runs the tests.
pub(crate) fn run(options: &Options) -> Result<()> {
    install::need(&install::TEST)?;
    // The suites start the programs themselves; they must be there and of this tree.
    shell::run(shell::cargo().args(["build", "--workspace", "--bins"]))?;
    let nextest = install::cargo_tool("cargo-nextest").context("cargo-nextest is missing")?;
    shell::run(
        shell::command(nextest)
            .args(["nextest", "run", "--workspace", "--no-fail-fast"])
            .args(&options.nextest)
            .env("GUARD_TEST_PYTHON", install::python())
            .env("GUARD_TEST_NODE_MODULES", install::tools().join("node/node_modules")),
    )
}
