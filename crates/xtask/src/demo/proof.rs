//! What the demo's run has to show: a masked dump that restores, a refused statement, a record that holds.

use std::{collections::HashSet, fs};

use anyhow::{Context as _, Result, bail};

use super::{
    say,
    scene::{DATABASE, Scene},
};
use crate::shell;

/// Where the dump is restored to.
const RESTORED: &str = "restored";
/// How many lines of each table are shown.
const SHOWN: usize = 2;

/// Checks and shows it.
pub(super) fn show(scene: &Scene) -> Result<()> {
    masked(scene)?;
    restores(scene)?;
    still_there(scene)?;
    verified(scene)
}

/// No masked value is in the dump's bytes, nor in what they unpack to.
fn masked(scene: &Scene) -> Result<()> {
    let dump = scene.dump();
    let output =
        scene.postgres.client("pg_restore", DATABASE).arg("--file=-").arg(&dump).output()?;
    if !output.status.success() {
        bail!("the dump cannot be unpacked: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    say("the dump's rows, as the job has them:");
    for table in ["customers", "cards"] {
        let start = format!("COPY public.{table} ");
        for line in text.lines().skip_while(|l| !l.starts_with(&start)).take(SHOWN + 1) {
            println!("    {}", line.replace('\t', "  "));
        }
    }
    let secrets = Secrets::read(scene)?;
    let raw = fs::read(&dump)?;
    let found = secrets.find(&text).or_else(|| secrets.find(&String::from_utf8_lossy(&raw)));
    if let Some(value) = found {
        bail!("a masked value is in the dump: `{value}`");
    }
    good(&format!(
        "none of {} masked values is among the {} bytes that the dump unpacks to",
        secrets.count,
        output.stdout.len()
    ));
    Ok(())
}

/// The dump restores, with every row.
fn restores(scene: &Scene) -> Result<()> {
    let postgres = &scene.postgres;
    postgres.sql("postgres", &format!("CREATE DATABASE {RESTORED}"))?;
    let output = postgres
        .client("pg_restore", RESTORED)
        .args(["--no-owner", "--exit-on-error", "--dbname", RESTORED])
        .arg(scene.dump())
        .output()?;
    if !output.status.success() {
        bail!("the dump does not restore: {}", String::from_utf8_lossy(&output.stderr));
    }
    let count = "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM cards), \
                 (SELECT count(*) FROM orders), (SELECT count(*) FROM audit_log)";
    let (before, after) = (postgres.sql(DATABASE, count)?, postgres.sql(RESTORED, count)?);
    if before != after {
        bail!("the restored database has {after} rows, and the original {before}");
    }
    good(&format!("pg_restore of it works: {} rows in customers|cards|orders|audit_log", after));
    Ok(())
}

/// The table that the job tried to drop is there, and the refusal is in the report.
fn still_there(scene: &Scene) -> Result<()> {
    let orders = scene.postgres.sql(DATABASE, "SELECT count(*) FROM public.orders")?;
    let report = fs::read_to_string(scene.report()?.join("report.md"))?;
    if !report.contains("DROP TABLE") {
        bail!("the report does not name the refused DROP TABLE");
    }
    good(&format!("DROP TABLE was refused: public.orders still has {orders} rows"));
    Ok(())
}

/// The record verifies, and one changed byte is found.
fn verified(scene: &Scene) -> Result<()> {
    let dir = scene.report()?;
    let record = dir.join("record.jsonl").display().to_string();
    let key = scene.key()?;
    let whole = scene.guard(&["audit", "verify", &record, "--key", &key])?;
    if whole.code != 0 {
        bail!("the record does not verify: {}{}", whole.text(), whole.stderr);
    }
    good(&format!("guard audit verify: {}", whole.text().lines().next().unwrap_or_default()));

    let mut bytes = fs::read(&record)?;
    let middle = bytes.len() / 2;
    let byte = bytes.get_mut(middle).context("the record is empty")?;
    *byte ^= 1;
    let forged = scene.dir().join("forged.jsonl");
    fs::write(&forged, bytes)?;
    let broken = scene.guard(&["audit", "verify", &forged.display().to_string(), "--key", &key])?;
    if broken.code == 0 {
        bail!("a record with a changed byte verifies");
    }
    good("with one bit changed it does not verify");
    say(&format!("the report: {}", dir.join("report.html").display()));
    Ok(())
}

fn good(line: &str) {
    println!("  {} {line}", shell::colour("32", "✓"));
}

/// What must not be in the dump.
struct Secrets {
    /// Whole values.
    values: HashSet<String>,
    /// Parts that every e-mail address has: found wherever they stand.
    parts: Vec<&'static str>,
    count: usize,
}

impl Secrets {
    fn read(scene: &Scene) -> Result<Self> {
        let values: HashSet<String> = scene
            .postgres
            .sql(
                DATABASE,
                "SELECT email FROM customers UNION ALL SELECT full_name FROM customers UNION ALL \
                 SELECT phone FROM customers UNION ALL SELECT pan FROM cards UNION ALL \
                 SELECT holder FROM cards",
            )?
            .lines()
            .map(str::to_owned)
            .collect();
        let count = values.len();
        Ok(Self { values, parts: vec!["@post.example", "@mail.example", "@inbox.example"], count })
    }

    /// The first secret in a text: as a part, as a field of a row, or by its shape in the middle of one.
    fn find(&self, text: &str) -> Option<String> {
        if let Some(part) = self.parts.iter().find(|part| text.contains(**part)) {
            return Some((*part).to_owned());
        }
        let fields = text.split(['\t', '\n', '\'', '"', '\0']);
        let cards =
            text.match_indices('-').filter_map(|(at, _)| text.get(at.checked_sub(4)?..at + 15));
        let phones = text.match_indices("+49 ").filter_map(|(at, _)| text.get(at..at + 15));
        let mut all = fields.chain(cards).chain(phones);
        all.find(|part| self.values.contains(*part)).map(str::to_owned)
    }
}
