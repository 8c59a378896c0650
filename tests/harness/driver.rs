//! Scripts that use a driver of another language.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

/// A script of `tests/drivers/` in its language; `scenario` is its argument.
pub fn driver(script: &str, scenario: &str) -> Result<Command> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools = tests.join("../.tools");
    let from = |name: &str, usual: PathBuf| std::env::var_os(name).map_or(usual, PathBuf::from);
    let mut command = if script.ends_with(".js") {
        let modules = from("GUARD_TEST_NODE_MODULES", tools.join("node/node_modules"));
        if !modules.join("pg").is_dir() {
            bail!("node-postgres is missing; `cargo xtask install` installs it");
        }
        let mut node = Command::new("node");
        node.env("NODE_PATH", modules);
        node
    } else {
        let python = from("GUARD_TEST_PYTHON", tools.join("venv/bin/python"));
        if !python.is_file() {
            bail!("the Python drivers are missing; `cargo xtask install` installs them");
        }
        Command::new(python)
    };
    command.arg(tests.join("drivers").join(script)).arg(scenario);
    Ok(command)
}
