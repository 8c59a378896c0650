//! `cargo xtask demo`: the example `nightly-backup` with real programs on this machine.
//!
//! What it shows it also checks: it fails when a masked value is in the dump, when the dump does not
//! restore, when the table is gone, or when the record does not verify.

mod proof;
mod scene;

use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::{install, interrupt, shell};
use scene::Scene;

/// Options of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct Options {
    /// Leaves everything running until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// How many customers the shop has
    #[arg(long, default_value_t = CUSTOMERS)]
    customers: u32,
}

/// Each has a card and two orders: some hundred thousand rows.
const CUSTOMERS: u32 = 100_000;

impl Options {
    /// A smaller shop, for a check of every change.
    pub(crate) const fn short() -> Self {
        Self { keep: false, customers: 20_000 }
    }
}

/// Runs the demo.
pub(crate) fn run(options: &Options) -> Result<()> {
    install::need(&install::DEMO)?;
    say("building guard and guard-broker");
    shell::run(shell::cargo().args([
        "build",
        "--quiet",
        "--package=guard-runner-shim",
        "--package=guard-broker",
    ]))?;
    let interrupted = interrupt::listen()?;
    say(&format!("starting PostgreSQL with {} customers", options.customers));
    let scene = Scene::start(options.customers)?;
    say(&format!(
        "PostgreSQL at 127.0.0.1:{}, issuer at {}, broker at {}, gateway beside the database",
        scene.postgres.port, scene.issuer.url, scene.url
    ));

    say("the nightly job, as the runner starts it: guard run -- examples/nightly-backup/backup.sh");
    println!();
    let status = scene.guard_run().arg("./backup.sh").status()?;
    println!();
    if !status.success() {
        bail!(
            "the job failed with {status}\n--- broker\n{}\n--- gateway\n{}",
            scene.broker.log(),
            scene.gateway.log()
        );
    }
    proof::show(&scene)?;
    if options.keep {
        keep(&scene);
        // Also when nothing can be received any more: then there is nothing to wait for.
        let _over = interrupted.recv();
        println!();
    }
    say("cleaning up");
    drop(scene);
    Ok(())
}

/// Says how to use what runs, from another terminal.
fn keep(scene: &Scene) {
    println!();
    say("everything stays up until Ctrl-C; in another terminal:");
    println!();
    println!("  cd {}", scene.dir().display());
    for (name, value) in scene.issuer.variables() {
        println!("  export {name}='{value}'");
    }
    let guard = scene.programs.guard.display();
    println!("  {guard} run --broker {} -- psql", scene.url);
    println!("  {guard} run --broker {} -- psql -c 'select * from customers limit 5'", scene.url);
    println!();
    println!("  the same without guard: {}", direct(scene));
    println!("  configuration, trust, policies, logs and records: {}", scene.dir().display());
}

fn direct(scene: &Scene) -> String {
    let client: Command = scene.postgres.client("psql", scene::DATABASE);
    let variables: Vec<String> = client
        .get_envs()
        .filter_map(|(name, value)| {
            Some(format!("{}={}", name.to_string_lossy(), value?.to_string_lossy()))
        })
        .collect();
    format!("{} psql", variables.join(" "))
}

/// A line of the demo's own, told apart from what the programs say.
fn say(line: &str) {
    println!("{} {line}", shell::colour("1;36", "demo:"));
}
