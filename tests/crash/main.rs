//! `kill -9` in the middle of a dump: the client gets an error, the session ends, its record says so, nothing
//! that was recorded is lost, and no lease is left.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod at_rest;

use std::{path::PathBuf, time::Duration};

use guard_tests::{
    EnforceAt, Stage,
    balancer::Balancer,
    policies,
    process::{Process, exit_code, free_port, wait_for},
    script,
};

/// A client whose connection is gone says so at once.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// Statements of a run that brokers are killed under, each on a connection of its own.
const RUNS: usize = 40;
/// More than what fits into all buffers on the way.
const UNDER_WAY: u64 = 20_000_000;

/// A run in the middle of a dump that would take hours.
struct Dump {
    process: Process,
    out: PathBuf,
}

fn start(stage: &Stage) -> Dump {
    let out = stage.dir().join("dump");
    // After the dump it says how that ended, so that the test sees it even when the shim is gone.
    let text = format!(
        "psql -X -q -c \"SELECT 'recorded before'\"
         psql -X -q -v ON_ERROR_STOP=1 -c \"COPY (SELECT i, repeat('x', 1000) FROM generate_series(1, 100000000) i) TO STDOUT\" > {0} || code=$?
         echo \"client ended with ${{code:-0}}\" > {0}.code.part; mv {0}.code.part {0}.code; exit ${{code:-0}}",
        out.display()
    );
    let process = stage.spawn("dump", &script(&text)).unwrap();
    let big = || std::fs::metadata(&out).ok().filter(|file| file.len() > UNDER_WAY).map(drop);
    wait_for("dump under way", big).unwrap_or_else(|error| panic!("{error}\n{}", process.log()));
    Dump { process, out }
}

impl Dump {
    #[track_caller]
    fn client_got_an_error(&self) {
        let file = self.out.with_extension("code");
        let code = wait_for("end of the client", || std::fs::read_to_string(&file).ok())
            .unwrap_or_else(|error| panic!("{error}\n{}", self.process.log()));
        assert_ne!(code.trim(), "client ended with 0");
    }
}

/// The sealed record verifies, has what was recorded, an end for this reason, and every lease given back.
#[track_caller]
fn record_is_whole(stage: &Stage, reasons: &[&str]) {
    let record = stage
        .sealed_record()
        .unwrap_or_else(|error| panic!("{error}\n{:?}\n{}", stage.records(), stage.broker.log()));
    assert!(record.contains("recorded before"), "{record}");
    assert!(record.contains("generate_series"), "{record}");
    let events: Vec<serde_json::Value> =
        record.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |kind: &str| events.iter().filter(|e| e["event"]["type"] == kind).collect::<Vec<_>>();
    let (taken, released) = (of("lease-taken"), of("lease-released"));
    assert!(!taken.is_empty(), "{record}");
    assert_eq!(taken.len(), released.len(), "a lease is left: {record}");
    let ended = of("session-ended");
    let reason = ended[0]["event"]["reason"].as_str().unwrap();
    assert!(reasons.contains(&reason), "ended because `{reason}`");

    let file = stage.records().pop().unwrap().display().to_string();
    let key = stage.key().unwrap();
    let _whole = stage.tool(&["audit", "verify", &file, "--key", &key]).unwrap().ok();
    wait_for("end of the server's side", || {
        let left = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT i%'";
        (stage.postgres.sql("shop", left).unwrap() == "0").then_some(())
    })
    .unwrap();
}

fn stage(place: EnforceAt) -> Stage {
    Stage::builder().policy(policies::READ_ONLY).enforce_at(place).lost_after("4s").start().unwrap()
}

#[test]
fn the_gateway_is_killed() {
    let mut stage = stage(EnforceAt::Gateway);
    let mut dump = start(&stage);
    stage.gateway.as_mut().unwrap().kill().unwrap();
    dump.client_got_an_error();
    let code = exit_code(dump.process.wait(ENDS_WITHIN).unwrap());
    assert_ne!(code, 0, "{}", dump.process.log());
    record_is_whole(&stage, &["finished", "lost", "unrecorded"]);

    stage.restart_gateway().unwrap();
    assert_eq!(stage.psql("SELECT 'as before'").unwrap().ok().text(), "as before");
}

#[test]
fn the_shim_is_killed() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let stage = stage(place);
        let mut dump = start(&stage);
        dump.process.kill().unwrap();
        // Its child is told to end, and has no connection any more.
        record_is_whole(&stage, &["lost"]);
        assert_eq!(stage.psql("SELECT 'as before'").unwrap().ok().text(), "as before");
    }
}

#[test]
fn the_broker_is_killed() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let mut stage = stage(place);
        let mut dump = start(&stage);
        stage.broker.kill().unwrap();
        dump.client_got_an_error();
        let code = exit_code(dump.process.wait(ENDS_WITHIN).unwrap());
        assert_ne!(code, 0, "{}", dump.process.log());

        stage.restart_broker().unwrap();
        record_is_whole(&stage, &["lost", "unrecorded", "finished"]);
        // A gateway that was cut off registers again by itself.
        let again = wait_for("service as before", || {
            let run = stage.psql("SELECT 'as before'").ok()?;
            (run.code == 0).then_some(run)
        })
        .unwrap();
        assert_eq!(again.text(), "as before");
    }
}

#[test]
fn one_of_three_brokers_is_killed_again_and_again() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let mut stage = Stage::builder()
            .shared_store()
            .policy(policies::READ_ONLY)
            .enforce_at(place)
            .lost_after("10s")
            .start()
            .unwrap();
        let ports: Vec<_> = (0..3).map(|_| free_port().unwrap()).collect();
        let mut brokers: Vec<_> = ports
            .iter()
            .enumerate()
            .map(|(number, port)| stage.replica(number, *port).unwrap())
            .collect();
        // What the run and the gateway know as the broker is a balancer from now on.
        stage.broker.stop().unwrap();
        let port = stage.url.rsplit_once(':').unwrap().1.parse().unwrap();
        let _balancer = Balancer::start(port, ports.clone()).unwrap();

        let out = stage.dir().join("answers");
        // Each has a connection of its own, and with it every kind of request to the brokers.
        let text = format!(
            "for i in $(seq 1 {RUNS}); do psql -X -A -t -c \"SELECT $i\" >> {} || exit 9; done",
            out.display()
        );
        let mut run = stage.spawn("run", &script(&text)).unwrap();
        let answers = || std::fs::read_to_string(&out).unwrap_or_default().lines().count();
        wait_for("first answer", || (answers() > 0).then_some(()))
            .unwrap_or_else(|error| panic!("{error}\n{}", run.log()));
        let mut kills = 0_usize;
        while answers() < RUNS && kills < 60 {
            let number = kills % 3;
            brokers[number].kill().unwrap();
            brokers[number] = stage.replica(number, ports[number]).unwrap();
            kills += 1;
        }
        let code = exit_code(run.wait(ENDS_WITHIN).unwrap());
        assert_eq!((code, answers()), (0, RUNS), "{kills} kills\n{}", run.log());
        assert!(kills >= 3, "{kills}");
        let record = stage.sealed_record().unwrap();
        assert!(record.contains("\"finished\"") && record.contains("lease-released"), "{record}");
        let file = stage.report_dirs().pop().unwrap().join("record.jsonl").display().to_string();
        let key = stage.key().unwrap();
        let _whole = stage.tool(&["audit", "verify", &file, "--key", &key]).unwrap().ok();
    }
}

#[test]
fn the_server_is_killed() {
    let mut stage = stage(EnforceAt::Gateway);
    let mut dump = start(&stage);
    stage.postgres.kill().unwrap();
    dump.client_got_an_error();
    assert_ne!(exit_code(dump.process.wait(ENDS_WITHIN).unwrap()), 0);
    let record = stage.sealed_record().unwrap();
    assert!(record.contains("finished"), "{record}");
}

#[test]
fn a_signal_reaches_the_child_and_the_session_ends() {
    let stage = stage(EnforceAt::Gateway);
    let mut dump = start(&stage);
    dump.process.signal(rustix::process::Signal::TERM);
    let code = exit_code(dump.process.wait(ENDS_WITHIN).unwrap());
    assert_eq!(code, 143, "{}", dump.process.log());
    record_is_whole(&stage, &["finished"]);
}
