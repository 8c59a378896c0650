//! Properties of what guard says of statements, tried on many that are made by chance.
//!
//! A counterexample is told with its seed and number: `GUARD_PROPERTY_SEED=n GUARD_PROPERTY_CASES=m` tries others, or more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]
#![expect(clippy::print_stdout, reason = "how much was tried, for who runs it by hand")]

mod chance;
mod masked;
mod reads;
mod record;
mod state;
mod writes;

use std::path::Path;

use guard_tests::{Finished, Stage};

use self::{chance::Chance, record::Said, state::State};

/// Statements of one session.
const SESSION: usize = 400;

/// The seed, and how many cases are tried.
fn extent(usual: usize) -> (u64, usize) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let cases = number("GUARD_PROPERTY_CASES").map_or(usual, |n| usize::try_from(n).unwrap());
    (number("GUARD_PROPERTY_SEED").unwrap_or(1), cases)
}

/// Runs a script of psql under guard.
fn psql(stage: &Stage, script: &str) -> Finished {
    let file = stage.dir().join("script.sql");
    std::fs::write(&file, script).unwrap();
    stage.client("psql", &["-X", "-q", "-A", "-t", "-f", file.to_str().unwrap()]).unwrap()
}

fn database(stage: &Stage, file: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("effects");
    stage.postgres.sql_file("shop", &folder.join(file)).unwrap();
}

#[test]
fn whatever_a_statement_writes_was_said_before() {
    let (seed, count) = extent(320);
    let stage = Stage::builder().plain().start().unwrap();
    database(&stage, "database.sql");
    let mut chance = Chance::new(seed);
    let cases: Vec<String> = (0..count).map(|_| writes::statement(&mut chance)).collect();
    let (mut wrong, mut ran, mut wrote, mut sure) = (Vec::new(), 0, 0, 0);
    for (session, cases) in cases.chunks(SESSION).enumerate() {
        let mut script = String::new();
        for case in cases {
            let end = if case.ends_with("\\.") { "\n" } else { ";\n" };
            let probe = state::PROBE;
            script += &format!("\\echo @case\nBEGIN;\n{probe}\n{case}{end}{probe}\nROLLBACK;\n");
        }
        let output = psql(&stage, &script).text();
        let said = Said::read(&stage.sealed_record().unwrap());
        let outputs: Vec<&str> = output.split("@case\n").skip(1).collect();
        assert_eq!((outputs.len(), said.len()), (cases.len(), cases.len()), "{output}");
        for (place, ((case, output), said)) in cases.iter().zip(outputs).zip(said).enumerate() {
            let states: Vec<State> = output.lines().filter_map(State::read).collect();
            // It failed: what it had written is undone.
            let [before, after] = &states[..] else { continue };
            ran += 1;
            let changed = after.changed_since(before);
            wrote += usize::from(!changed.is_empty());
            if said.is_unsure() {
                continue;
            }
            sure += usize::from(!changed.is_empty());
            for change in changed.iter().filter(|change| !said.has(change)) {
                let number = session * SESSION + place;
                wrong.push(format!("seed {seed}, case {number}: {change} by {case}\n   {said}"));
            }
        }
    }
    println!("{ran} of {count} ran, {wrote} wrote, guard was sure of {sure} of them");
    assert!(wrong.is_empty(), "{} were not foretold:\n{}", wrong.len(), wrong.join("\n"));
    // What fails, or what guard is not sure of, proves nothing.
    assert!(ran * 2 > count, "only {ran} of {count} ran");
    assert!(sure * 3 > count, "only {sure} of {count} wrote what guard was sure of");
    assert!(sure * 10 > wrote * 9, "guard was sure of only {sure} of {wrote} that wrote");
}

#[test]
fn whatever_a_plan_reads_was_said_before() {
    let (seed, count) = extent(320);
    let stage = Stage::builder().plain().start().unwrap();
    database(&stage, "database.sql");
    let mut chance = Chance::new(seed);
    let cases: Vec<String> = (0..count).map(|_| reads::statement(&mut chance)).collect();
    let (mut wrong, mut planned, mut read) = (Vec::new(), 0, 0);
    for (session, cases) in cases.chunks(SESSION).enumerate() {
        // The plan is the server's own; what guard says is of the statement itself.
        let script = cases.iter().fold(String::new(), |script, case| {
            let explain = "EXPLAIN (VERBOSE, COSTS off, FORMAT JSON)";
            format!("{script}\\echo @case\nBEGIN;\n{explain} /*probe*/ {case};\n\\echo @end\n{case};\nROLLBACK;\n")
        });
        let output = psql(&stage, &script).text();
        let said = Said::read(&stage.sealed_record().unwrap());
        let outputs: Vec<&str> = output.split("@case\n").skip(1).collect();
        assert_eq!((outputs.len(), said.len()), (cases.len(), cases.len()), "{output}");
        for (place, ((case, output), said)) in cases.iter().zip(outputs).zip(said).enumerate() {
            let plan = output.split("@end\n").next().unwrap();
            let Ok(plan) = serde_json::from_str(plan) else { continue };
            let relations = reads::relations(&plan);
            planned += 1;
            read += usize::from(!relations.is_empty());
            for relation in relations.iter().filter(|relation| !said.reads(relation)) {
                let number = session * SESSION + place;
                wrong.push(format!("seed {seed}, case {number}: {relation} by {case}\n   {said}"));
            }
        }
    }
    println!("{planned} of {count} have a plan, {read} read relations");
    assert!(wrong.is_empty(), "{} were not foretold:\n{}", wrong.len(), wrong.join("\n"));
    assert!(planned * 4 > count * 3, "only {planned} of {count} have a plan");
    assert!(read * 3 > count * 2, "only {read} of {count} read relations");
}

#[test]
fn no_masked_value_comes_out_of_any_query() {
    let (seed, count) = extent(320);
    let stage = Stage::builder().plain().policy(masked::POLICY).start().unwrap();
    database(&stage, "masked.sql");
    let mut chance = Chance::new(seed);
    let cases: Vec<String> = (0..count).map(|_| masked::statement(&mut chance)).collect();
    let (mut answered, mut wrong) = (0, Vec::new());
    for (session, cases) in cases.chunks(SESSION).enumerate() {
        let script = cases.iter().fold(String::new(), |script, case| {
            script + "\\echo @case\n\\warn @case@\n" + case + ";\n\\echo @end\n"
        });
        let run = psql(&stage, &script);
        let output = run.text();
        let outputs: Vec<&str> = output.split("@case\n").skip(1).collect();
        // guard's own lines go to the same place, and may come where its filter waits for more: between the mark and its line feed,
        // and behind a letter with which a secret could begin.
        let errors: Vec<&str> = run.stderr.split("@case@").skip(1).collect();
        assert_eq!((outputs.len(), errors.len()), (cases.len(), cases.len()), "{}", run.stderr);
        for (place, ((case, output), error)) in cases.iter().zip(outputs).zip(errors).enumerate() {
            answered += usize::from(output.trim() != "@end");
            for (what, text) in [("rows", output), ("error", error)] {
                if let Some(form) = masked::shows(text) {
                    let number = session * SESSION + place;
                    wrong.push(format!(
                        "seed {seed}, case {number}: {form} in the {what} of {case}"
                    ));
                }
            }
        }
    }
    println!("{answered} of {count} were answered");
    assert!(wrong.is_empty(), "{} show a masked value:\n{}", wrong.len(), wrong.join("\n"));
    assert!(answered * 10 > count, "only {answered} of {count} were answered");
}
