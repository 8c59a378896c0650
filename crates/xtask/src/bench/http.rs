//! `cargo xtask bench http`: an HTTP API through guard, beside nginx, HAProxy and hyper as reverse proxies, and asked directly. hyper is what
//! guard is made with: the example `bare_proxy` of `guard-protocols` does nothing but pass on.
//!
//! The API is nginx with files, and answers only who brings its token: clients bring it where nobody is between, the proxies and guard
//! put it in. guard judges and records each request besides.

mod proxies;

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use guard_tests::{EnforceAt, Programs, Stage, process::Process};
use serde_json::{Value, json};

use self::proxies::Proxies;
use super::{
    measure::{Cell, Route, Sample, hold, variable},
    programs,
};
use crate::{install, interrupt, shell};

/// Options of `cargo xtask bench http`.
#[derive(Args)]
pub(super) struct Options {
    /// How often each thing is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each `wrk` runs
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Only cells whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// With the programs of the development build: to see whether something broke, not how fast it is
    #[arg(long)]
    quick: bool,
}

/// What the API wants to see.
const TOKEN: &str = "bench-http-token";

/// Allows reads, and masks one field of five where somebody asks for it.
const POLICY: &str = "\
policy: stage
rules:
  - name: reads
    http: { effects: [read], paths: ['/{file}', '/masked/{file}'] }
    decide: allow
masks:
  - http: { json: [$..email], paths: ['/masked/{file}'] }
    with: redact
";

/// Name, path, clients, and the megabytes of an answer where these are what counts.
const CELLS: [(&str, &str, u32, Option<f64>); 5] = [
    ("1 KB, 1 client", "small", 1, None),
    ("1 KB, 8 clients", "small", 8, None),
    ("1 KB, 32 clients", "small", 32, None),
    ("10 MB, 4 clients", "large", 4, Some(LARGE)),
    ("10 MB of JSON, masked, 4 clients", "masked/list.json", 4, Some(LARGE)),
];
const LARGE: f64 = 10.0;

/// In the order of the table.
const WAYS: [&str; 6] = ["direct", "nginx", "haproxy", "hyper", "gateway", "shim"];

/// A way to the API.
struct Way {
    name: &'static str,
    url: String,
    between: Vec<(&'static str, u32)>,
}

impl Route for Way {
    fn name(&self) -> &'static str {
        self.name
    }

    fn between(&self) -> &[(&'static str, u32)] {
        &self.between
    }
}

/// guard before the API.
struct Guarded {
    way: Way,
    _run: Process,
    _stage: Stage,
}

/// Measures, prints, and writes `target/bench-http.json`.
pub(super) fn run(options: &Options) -> Result<()> {
    install::need(&install::BENCH_HTTP)?;
    let programs = programs(options.quick)?;
    let interrupted = interrupt::listen()?;
    let folder = tempfile::tempdir()?;
    let proxies = Proxies::start(folder.path(), &bare_proxy(options.quick)?, TOKEN)?;
    let guarded =
        [EnforceAt::Gateway, EnforceAt::Shim].map(|place| guard(&programs, place, &proxies.direct));
    let way = |name, url: &String, between| Way { name, url: url.clone(), between };
    let mut ways = vec![
        way("direct", &proxies.direct, Vec::new()),
        way("nginx", &proxies.nginx.0, proxies.nginx.1.clone()),
        way("haproxy", &proxies.haproxy.0, proxies.haproxy.1.clone()),
        way("hyper", &proxies.hyper.0, proxies.hyper.1.clone()),
    ];
    let mut held = Vec::new();
    for guarded in guarded {
        let Guarded { way, _run, _stage } = guarded?;
        ways.push(way);
        held.push((_run, _stage));
    }
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let mut cells = Vec::new();
    for (name, path, clients, megabytes) in CELLS.into_iter().filter(|(name, ..)| wanted(name)) {
        let seconds = options.seconds;
        let unit = if megabytes.is_some() { "MB/s" } else { "requests/s" };
        cells.push(Cell::new(name, unit, move |way: &Way| {
            ask(way, path, clients, seconds, megabytes)
        }));
    }
    for round in 1..=options.rounds {
        for cell in &mut cells {
            println!(
                "{}",
                shell::dim(&format!("round {round} of {}: {}", options.rounds, cell.name))
            );
            cell.measure(&ways, round)?;
            if interrupted.try_recv().is_ok() {
                bail!("interrupted; everything that was started is stopped");
            }
        }
    }
    cells.iter().for_each(print);
    let path = shell::root().join("target/bench-http.json");
    let all: Vec<Value> = cells.iter().map(figures).collect();
    let all = json!({ "rounds": options.rounds, "seconds": options.seconds, "cells": all });
    fs::write(&path, serde_json::to_string_pretty(&all)?)?;
    println!("{}", path.display());
    Ok(())
}

/// The program that is hyper and nothing else.
fn bare_proxy(quick: bool) -> Result<PathBuf> {
    let profile = if quick { "debug" } else { "release" };
    let mut cargo = shell::cargo();
    cargo.args(["build", "--quiet", "--workspace", "--example=bare_proxy"]);
    if !quick {
        cargo.arg("--release");
    }
    shell::run(&mut cargo)?;
    Ok(shell::root().join("target").join(profile).join("examples/bare_proxy"))
}

/// A stage with the API, and a run that lasts.
fn guard(programs: &Programs, place: EnforceAt, url: &str) -> Result<Guarded> {
    let stage = Stage::builder()
        .programs(programs.clone())
        .policy(POLICY)
        .enforce_at(place)
        .plain()
        .limit("6h")
        .api(url, "send_as: bearer", TOKEN)
        .start()?;
    let run = hold(&stage)?;
    let url = variable(&stage, "GUARD_API_URL")?;
    let (shim, broker) = (("shim", run.pid()), ("broker", stage.broker.pid()));
    let (name, between) = match &stage.gateway {
        Some(gateway) => ("gateway", vec![shim, ("gateway", gateway.pid()), broker]),
        None => ("shim", vec![shim, broker]),
    };
    Ok(Guarded { way: Way { name, url, between }, _run: run, _stage: stage })
}

/// Runs `wrk` for a while.
fn ask(
    way: &Way,
    path: &str,
    clients: u32,
    seconds: u32,
    megabytes: Option<f64>,
) -> Result<Sample> {
    let threads = clients.min(2).to_string();
    let token = format!("Authorization: Bearer {TOKEN}");
    let mut wrk = shell::command("wrk");
    wrk.args(["-t", &threads, "-c", &clients.to_string(), "-d", &format!("{seconds}s")]);
    if way.name == "direct" {
        wrk.args(["-H", &token]);
    }
    let said = shell::read(wrk.arg(format!("{}/{path}", way.url)))?;
    if said.contains("Non-2xx") || said.contains("Socket errors") {
        bail!("not every request was answered at {}: {said}", way.name);
    }
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<f64>().ok());
    let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let count = said.lines().find_map(|line| line.split_once(" requests in ")).map(|it| it.0);
    let rate = number(rate).with_context(|| format!("wrk said no rate: {said}"))?;
    let count = number(count).with_context(|| format!("wrk said no number: {said}"))?;
    let each = megabytes.unwrap_or(1.0);
    Ok(Sample { value: rate * each, units: count * each })
}

/// One line: rates with their ratios to nginx as a proxy, and what the programs between take of the processors.
fn print(cell: &Cell<Way>) {
    let nginx = cell.median("nginx").unwrap_or(f64::NAN);
    let rates: Vec<String> = WAYS
        .iter()
        .filter_map(|way| Some((way, cell.median(way)?)))
        .map(|(way, rate)| format!("{way} {rate:.0} ({:.2})", rate / nginx))
        .collect();
    let micros: Vec<String> = WAYS
        .iter()
        .map(|way| (way, micros(cell, way)))
        .filter(|(_, micros)| *micros > 0.0)
        .map(|(way, micros)| format!("{way} {micros:.0}"))
        .collect();
    println!("{}, {}: {}", shell::bold(&cell.name), cell.unit, rates.join(", "));
    println!("    µs of processor each: {}", micros.join(", "));
}

/// Microseconds of all programs of a way, for a request or a megabyte.
fn micros(cell: &Cell<Way>, way: &str) -> f64 {
    cell.cpu(way).iter().map(|(_, micros)| micros).sum()
}

fn figures(cell: &Cell<Way>) -> Value {
    let ways: BTreeMap<_, _> = WAYS
        .iter()
        .map(|way| (way, json!({ "median": cell.median(way), "cpu_micros": micros(cell, way) })))
        .collect();
    json!({ "name": cell.name, "unit": cell.unit, "ways": ways })
}
