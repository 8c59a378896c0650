//! `cargo xtask bench exchange`: what an exchange of an identity token costs the broker, with each store.
//!
//! The tokens are RS256 (2048 bits), as GitHub's are, and each comes with a proof of possession of its own key. They are made before
//! the clock runs, so that the client costs as little as it can: it shares the machine with the broker. `per core` is what one
//! processor's time of the broker alone gives; PostgreSQL's own time is not in it.

mod client;
mod issuer;

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use guard_tests::{
    Postgres, http,
    postgres::PASSWORD,
    process::{Process, free_port},
};
use serde_json::json;

use crate::shell;
use issuer::{AUDIENCE_PATH, Issuer};

/// Options of `cargo xtask bench exchange`.
#[derive(Args)]
pub(crate) struct Options {
    /// Sessions that are alive before the measured ones
    #[arg(long, default_value_t = 10_000)]
    alive: usize,
    /// Exchanges of each measurement
    #[arg(long, default_value_t = 4000)]
    exchanges: usize,
    /// Use the program of this profile as it is
    #[arg(long)]
    built: Option<String>,
}

/// Clients at a time of each measurement.
const CLIENTS: [usize; 3] = [1, 8, 32];
/// Clients while sessions are opened to be alive.
const FILLING: usize = 32;
/// Tokens that are made at a time: proofs hold for a minute.
const BATCH: usize = 2000;
/// Clock ticks a second in `/proc`.
const TICKS: f64 = 100.0;
/// A broker that has nothing to do has given back by then what it took to start.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// What was measured with some clients.
struct Row {
    clients: usize,
    rate: f64,
    /// Seconds of the broker's processors for each.
    cost: f64,
    times: Vec<Duration>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let profile = options.built.as_deref().unwrap_or("release");
    if options.built.is_none() {
        println!("building the release program");
        shell::run(shell::cargo().args([
            "build",
            "--release",
            "--quiet",
            "--workspace",
            "--bin=guard-broker",
        ]))?;
    }
    let program = shell::root().join("target").join(profile).join("guard-broker");
    for store in ["SQLite", "PostgreSQL"] {
        let folder = tempfile::tempdir_in(shell::root().join("target"))?;
        measure(store, &program, folder.path(), options)?;
    }
    Ok(())
}

fn measure(store: &str, program: &Path, folder: &Path, options: &Options) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    // The server's user has to pass.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    let server = if store == "PostgreSQL" {
        let server = Postgres::start(folder, &["max_connections=60"])?;
        server.sql("postgres", "CREATE DATABASE guard")?;
        Some(server)
    } else {
        None
    };
    let port = free_port()?;
    let url = format!("http://127.0.0.1:{port}");
    let issuer = Issuer::new(&url)?;
    write(folder, &url, &issuer, server.as_ref())?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(folder.join("guard.yaml")).env("GUARD_LOG", "warn");
    let mut broker = Process::start("guard-broker", &mut command, &folder.join("broker.log"))?;
    broker.wait_until("ready broker", || {
        http::get(&format!("{url}/readyz"), &[]).is_ok_and(|answer| answer.status == 200)
    })?;
    #[expect(clippy::disallowed_methods, reason = "it is to have nothing to do for a while")]
    std::thread::sleep(IDLE_AFTER);
    let idle = resident(broker.pid())?;
    let before = disk_syncs(folder)?;
    println!("\n{store}: {idle:.1} MiB idle; one fdatasync here takes {before:.2} ms");
    let mut left = options.alive;
    while left > 0 {
        let some = left.min(BATCH);
        exchange(&issuer, &url, &broker, some, FILLING)?;
        left -= some;
    }
    println!("{} sessions alive: {:.1} MiB", options.alive, resident(broker.pid())?);
    println!("clients  exchanges/s  µs of processor  per core  p50 ms  p99 ms");
    for clients in CLIENTS {
        let row = exchange(&issuer, &url, &broker, options.exchanges.min(BATCH * 2), clients)?;
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a position in a list"
            )]
            let position = (row.times.len() as f64 * share) as usize;
            row.times.get(position).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        println!(
            "{:7}  {:11.0}  {:15.0}  {:8.0}  {:6.1}  {:6.1}",
            row.clients,
            row.rate,
            row.cost * 1e6,
            1.0 / row.cost,
            at(0.5),
            at(0.99)
        );
    }
    broker.stop()?;
    Ok(())
}

fn exchange(
    issuer: &Issuer,
    url: &str,
    broker: &Process,
    many: usize,
    clients: usize,
) -> Result<Row> {
    let requests = issuer.requests(many)?;
    let before = processor(broker.pid())?;
    let started = Instant::now();
    let mut times = client::send_all(url.trim_start_matches("http://"), requests, clients)?;
    let took = started.elapsed().as_secs_f64();
    let cost = processor(broker.pid())? - before;
    times.sort();
    let count = u32::try_from(times.len()).map(f64::from)?;
    Ok(Row { clients, rate: count / took, cost: cost / count, times })
}

fn write(folder: &Path, url: &str, issuer: &Issuer, server: Option<&Postgres>) -> Result<()> {
    let file = |name: &str, text: &str| fs::write(folder.join(name), text);
    fs::create_dir(folder.join("trust"))?;
    fs::create_dir(folder.join("policies"))?;
    file("jwks.json", &issuer.jwks()?)?;
    file("password", "secret")?;
    file("store-password", PASSWORD)?;
    file(
        "policies/p.yaml",
        "policy: reads\nrules:\n  - { name: all, sql: { effects: [read] }, decide: allow }\n",
    )?;
    file(
        "trust/t.yaml",
        "- name: nightly\n  issuer: github\n  claims: { repository_id: \"456789\", ref: refs/heads/main }\n  \
         grants:\n    - { resource: orders, policy: reads, for: 3h }\n",
    )?;
    let store = match server {
        Some(server) => json!({
            "postgres": format!("postgres://postgres@127.0.0.1:{}/guard", server.port),
            "password": { "file": "store-password" },
            "tls": "disable",
        }),
        None => json!("sqlite:guard.db"),
    };
    let config = json!({
        "listen": url.trim_start_matches("http://"),
        "url": url,
        "audience": format!("{url}{AUDIENCE_PATH}"),
        "store": store,
        "issuers": [{
            "name": "github", "platform": "github", "url": issuer::URL, "jwks_file": "jwks.json",
            "bind": "none",
        }],
        "resources": [{
            "name": "orders", "kind": "postgres", "address": "127.0.0.1:5432", "database": "orders",
            "tls": "disable", "credential": { "username": "app", "password": { "file": "password" } },
        }],
        // Nobody sends signs of life here.
        "sessions": { "lost_after": "3h" },
        "trust": "trust",
        "policies": "policies",
    });
    // JSON is YAML.
    file("guard.yaml", &config.to_string())?;
    Ok(())
}

/// Seconds of processors that a process took.
fn processor(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = text.rsplit_once(") ").context("no name in /proc")?;
    let ticks: Vec<f64> =
        fields.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS)
}

/// MiB of a process.
fn resident(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(kilobytes.parse::<f64>()? / 1024.0)
}

/// Milliseconds that the disk takes to keep something: the median of some.
fn disk_syncs(folder: &Path) -> Result<f64> {
    use std::io::Write as _;
    let path = folder.join("synced");
    let mut file = fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..51 {
        file.write_all(&[0; 4096])?;
        let started = Instant::now();
        file.sync_data()?;
        times.push(started.elapsed());
    }
    times.sort();
    fs::remove_file(path)?;
    let Some(median) = times.get(times.len() / 2) else { bail!("no times") };
    Ok(median.as_secs_f64() * 1e3)
}
