//! What a report costs: a sealed record of many statements, made into its report and that into HTML and JSON.
//!
//! ```text
//! cargo run --release -p guard-audit --example report -- FOLDER [STATEMENTS] [ROUNDS]
//! ```
//!
//! Writes `record.jsonl`, `report.html` and `report.json` into the folder, and prints medians as JSON.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

#[path = "../src/fixture.rs"]
#[expect(dead_code, reason = "the tests' record is another one")]
mod fixture;

use std::{collections::BTreeMap, fs, path::Path, time::Instant};

use guard_audit::{
    AtRest, ChainWriter, Event, GrantRecord, Kept, MaskedColumn, Outcome, Row, Seal, SealingKey,
    StatementPhase, report::Report, verify,
};
use guard_core::{ColumnName, DecisionKind, EnforceAt, Mask, ObjectName, Sensitive, Verb};

use fixture::{Builder, Op, denial, effect, identity, outcome, read, resource};

/// Statements that differ in more than literals.
const STRUCTURES: u64 = 300;
/// Clients' connections.
const CONNECTIONS: u64 = 40;
/// Every so many statements one is refused,
const REFUSED: u64 = 50;
/// and one has a long text, of so many bytes.
const LONG: u64 = 1000;
const LONG_TEXT: usize = 50_000;

/// A record as a busy run leaves it: reads by few structures and many literals, some with masked columns, changes that are
/// refused, and long texts that are each their own.
fn record(statements: u64, key: &SealingKey) -> Vec<u8> {
    let mut builder = Builder::new(identity(), EnforceAt::Gateway);
    for connection in 1..CONNECTIONS {
        builder.gateway(Event::Connected {
            connection,
            resource: resource(),
            enforced_at: EnforceAt::Gateway,
            point: "eu-1".into(),
            client: Sensitive::new("worker".into()),
            database: "shop".into(),
            step: None,
        });
    }
    let mut known = BTreeMap::new();
    for statement in 0..statements {
        let connection = statement % CONNECTIONS;
        let structure = (statement * 7) % STRUCTURES;
        if statement % LONG == LONG - 1 {
            let text = format!("SELECT {statement}, '{}'", "x".repeat(LONG_TEXT));
            let operation = builder.operation(read(&text, "orders"));
            passed(&mut builder, statement, connection, operation, None);
        } else if statement % REFUSED == REFUSED - 1 {
            let table = format!("t{}", structure % 40);
            let text = format!("DELETE FROM public.{table}");
            let delete = || Op {
                label: "DELETE",
                rule: "destructive",
                decision: DecisionKind::Block,
                effects: vec![effect(Verb::Delete, &table)],
                ..read(&text, &table)
            };
            let operation =
                *known.entry(text.clone()).or_insert_with(|| builder.operation(delete()));
            builder.gateway(Event::Refused {
                statement,
                connection,
                operation,
                denial: denial(&format!("blocked DELETE on `public.{table}`")),
                estimated_rows: None,
                text: None,
                approval: None,
            });
        } else {
            let table = format!("t{}", structure % 40);
            let text = format!("SELECT id, mail, c{structure} FROM public.{table} WHERE id = $1");
            let select = || match structure % 5 {
                0 => Op {
                    masks: vec![None, Some(Mask::Hash)],
                    masked_columns: vec![masked(&table)],
                    ..read(&text, &table)
                },
                _ => read(&text, &table),
            };
            let operation =
                *known.entry(text.clone()).or_insert_with(|| builder.operation(select()));
            let own = text.replace("$1", &statement.to_string());
            passed(&mut builder, statement, connection, operation, Some(own));
        }
    }
    for connection in 1..CONNECTIONS {
        builder.gateway(Event::Disconnected { connection, reason: None });
    }
    builder.sealed(key)
}

fn passed(
    builder: &mut Builder,
    statement: u64,
    connection: u64,
    operation: u64,
    text: Option<String>,
) {
    builder.gateway(Event::Statement {
        statement,
        connection,
        operation,
        phase: StatementPhase::Execute,
        would_refuse: None,
        estimated_rows: None,
        text: text.map(|text| Sensitive::new(text.into())),
        approval: None,
    });
    builder.gateway(Event::Finished { statement, outcome: outcome(3, 240, 1, 85) });
}

fn masked(table: &str) -> MaskedColumn {
    let table = ObjectName::qualified("public", table);
    MaskedColumn {
        output: 1,
        column: ColumnName { table, column: "mail".into() },
        mask: Mask::Hash,
    }
}

/// The median of some rounds, in milliseconds, and what the last gave.
fn timed<T>(rounds: usize, mut work: impl FnMut() -> T) -> (f64, T) {
    let mut once = || {
        let started = Instant::now();
        let made = work();
        (started.elapsed().as_secs_f64() * 1e3, made)
    };
    let (first, mut made) = once();
    let mut times = vec![first];
    for _ in 1..rounds {
        let (time, again) = once();
        times.push(time);
        made = again;
    }
    times.sort_by(f64::total_cmp);
    (times.get(times.len() / 2).copied().unwrap_or_default(), made)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(arguments.first().map_or(".", String::as_str));
    let number =
        |place: usize, usual| arguments.get(place).map_or(usual, |text| text.parse().unwrap());
    let (statements, rounds) = (number(1, 100_000), number(2, 5) as usize);
    let key = SealingKey::generate().unwrap();
    let keys = [key.public()];
    let record = record(statements, &key);
    let (verified, _) = timed(rounds, || verify(&record[..], &keys).unwrap());
    let (made, report) = timed(rounds, || Report::from_record(&record[..], &keys).unwrap());
    let (drawn, html) = timed(rounds, || report.to_html().unwrap());
    let (written, json) = timed(rounds, || report.to_json().unwrap());
    let (compressed, at_rest) = timed(rounds, || {
        let mut rest = AtRest::new().unwrap();
        rest.push(&record).unwrap().len() + rest.finish().unwrap().len()
    });
    for (name, bytes) in [
        ("record.jsonl", &record[..]),
        ("report.html", html.as_bytes()),
        ("report.json", json.as_bytes()),
    ] {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let figures = serde_json::json!({
        "statements": statements,
        "record_bytes": record.len(),
        "at_rest_bytes": at_rest,
        "html_bytes": html.len(),
        "json_bytes": json.len(),
        "milliseconds": {
            "verify": verified, "report": made, "html": drawn, "json": written, "compress": compressed,
        },
    });
    println!("{figures}");
}
