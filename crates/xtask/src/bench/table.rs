//! What was measured, for people and for programs.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{cost::Cost, measure::Cell, memory::Idle};
use crate::shell;

/// In the order of the table.
const WAYS: [&str; 4] = ["direct", "pgbouncer", "gateway", "shim"];

/// Prints medians, ratios, and the processors' time between client and server.
pub(super) fn print(cells: &[Cell], start: Option<&[Duration; 2]>) {
    let heading = format!(
        "{:<28} {:>10} {:>18} {:>18} {:>18} {:>9}  {}",
        "", "direct", "pgbouncer", "gateway", "shim", "shim/pgb", "processors' µs each"
    );
    println!("\n{}", shell::bold(&heading));
    for cell in cells {
        let direct = cell.median("direct").unwrap_or(f64::NAN);
        let figure = |way: &str| {
            cell.median(way).map_or_else(String::new, |v| format!("{v:.0} ({:.2})", v / direct))
        };
        let against = match (cell.median("shim"), cell.median("pgbouncer")) {
            (Some(shim), Some(bouncer)) => format!("{:.2}", shim / bouncer),
            (None, _) | (_, None) => String::new(),
        };
        let cpu: Vec<String> = WAYS
            .iter()
            .map(|way| (way, cell.cpu(way)))
            .filter(|(_, programs)| !programs.is_empty())
            .map(|(way, programs)| {
                let each: Vec<String> =
                    programs.iter().map(|(name, micros)| format!("{name} {micros:.0}")).collect();
                let all: f64 = programs.iter().map(|(_, micros)| micros).sum();
                if programs.len() == 1 {
                    each.join("")
                } else {
                    format!("at {way} {all:.0} ({})", each.join(", "))
                }
            })
            .collect();
        println!(
            "{:<28} {:>10.0} {:>18} {:>18} {:>18} {:>9}  {}",
            cell.name,
            direct,
            figure("pgbouncer"),
            figure("gateway"),
            figure("shim"),
            against,
            cpu.join("; ")
        );
    }
    if let Some([direct, guarded]) = start {
        println!("{:<28} {direct:>10.1?} {:>18} {guarded:.1?}", "guard run -- true", "");
    }
    println!(
        "\nmedians, in brackets their ratio to direct; copy out in MB/s, the rest in transactions/s"
    );
}

/// Prints the memory of idle connections.
pub(super) fn print_idle(idle: &[Idle]) {
    for Idle { way, kilobytes } in idle {
        let each: Vec<String> =
            kilobytes.iter().map(|(name, each)| format!("{name} {each:.1} KiB")).collect();
        println!("an idle connection, {way}: {}", each.join(", "));
    }
}

/// Writes `target/bench.json`.
pub(super) fn write(
    cells: &[Cell],
    start: Option<&[Duration; 2]>,
    idle: &[Idle],
    costs: &[Cost],
    rounds: usize,
    seconds: u32,
) -> Result<()> {
    let cells: Vec<Value> = cells.iter().map(cell).collect();
    let start = start.map(|[direct, guarded]| {
        json!({ "direct_ms": direct.as_secs_f64() * 1e3, "guard_ms": guarded.as_secs_f64() * 1e3 })
    });
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let all = json!({
        "rounds": rounds,
        "seconds": seconds,
        "processors": processors,
        "cells": cells,
        "guard_run_true": start,
        "idle_kilobytes": idle
            .iter()
            .map(|idle| (idle.way, idle.kilobytes.iter().copied().collect::<BTreeMap<_, _>>()))
            .collect::<BTreeMap<_, _>>(),
        "instructions":
            costs.iter().map(|cost| (cost.what, cost.instructions)).collect::<BTreeMap<_, _>>(),
    });
    let path = shell::root().join("target/bench.json");
    fs::write(&path, serde_json::to_string_pretty(&all)?)?;
    println!("{}", path.display());
    Ok(())
}

fn cell(cell: &Cell) -> Value {
    let mut ways = Map::new();
    for way in WAYS {
        let Some((_, figures)) = cell.figures.iter().find(|(name, _)| *name == way) else {
            continue;
        };
        ways.insert(
            way.to_owned(),
            json!({
                "median": cell.median(way),
                "values": figures.values,
                "cpu_micros": cell.cpu(way).into_iter().collect::<BTreeMap<_, _>>(),
            }),
        );
    }
    json!({ "name": cell.name, "unit": cell.unit, "ways": ways })
}
