//! `cargo xtask fuzz`: each fuzz target for a while.

use anyhow::{Result, bail};
use clap::Args;

use crate::shell;

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

/// Runs the targets one after the other.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !shell::root().join("fuzz/Cargo.toml").is_file() {
        bail!("there are no fuzz targets: `fuzz/Cargo.toml` is missing");
    }
    if shell::on_path("cargo-fuzz").is_none() {
        bail!(
            "cargo-fuzz is missing: `cargo install cargo-fuzz`, and `rustup toolchain install nightly`"
        );
    }
    let targets = if options.targets.is_empty() {
        let listed = shell::read(shell::command("cargo").args(["+nightly", "fuzz", "list"]))?;
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
                shell::command("cargo")
                    .args(["+nightly", "fuzz", "run", &target])
                    .args([&found, &seeds])
                    .arg("--")
                    .arg(format!("-max_total_time={}", options.seconds))
                    .args(LIMITS),
            )
        })?;
    }
    Ok(())
}
