//! `cargo xtask fuzz`: each fuzz target for a while.

use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    install::{self, NIGHTLY},
    shell,
};

/// Options of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct Options {
    /// How long each target runs
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Only these targets
    targets: Vec<String>,
}

/// Seconds and MiB that one input may take: an input that takes more is a finding. A statement is given up after two
/// seconds, which the sanitizer makes longer.
const LIMITS: [&str; 2] = ["-timeout=5", "-rss_limit_mb=2048"];

/// What the sanitizer keeps for its reports grows with every way in which memory is asked for. Without a bound on it a target
/// that leaks nothing comes to its limit after an hour or two.
const SANITIZER: &str = "malloc_context_size=4:quarantine_size_mb=64";

/// Runs the targets one after the other.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !shell::root().join("fuzz/Cargo.toml").is_file() {
        bail!("there are no fuzz targets: `fuzz/Cargo.toml` is missing");
    }
    install::need(&install::FUZZ)?;
    let targets = if options.targets.is_empty() {
        let listed = shell::read(cargo_fuzz()?.arg("list"))?;
        listed.lines().map(str::to_owned).collect()
    } else {
        options.targets.clone()
    };
    for target in targets {
        // What fuzzing finds goes to the first folder; the seeds in the repository are read only.
        let found = shell::root().join("fuzz/corpus").join(&target);
        std::fs::create_dir_all(&found)?;
        let seeds = shell::root().join("tests/corpora").join(&target);
        if !seeds.is_dir() {
            bail!("`{target}` has no seeds: `{}` is missing", seeds.display());
        }
        shell::section(&target, || {
            shell::run(
                cargo_fuzz()?
                    .args(["run", &target])
                    .args([&found, &seeds])
                    .arg("--")
                    .arg(format!("-max_total_time={}", options.seconds))
                    .args(LIMITS),
            )
        })?;
    }
    Ok(())
}

/// `cargo fuzz` on the compiler that can, wherever its program is. Cargo itself says which compiler runs us, which
/// must not reach it.
fn cargo_fuzz() -> Result<Command> {
    let own = install::tools().join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&path)))?;
    let mut command = shell::command("cargo");
    command.arg(format!("+{NIGHTLY}")).arg("fuzz").env("PATH", path);
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command.env("ASAN_OPTIONS", SANITIZER);
    Ok(command)
}
