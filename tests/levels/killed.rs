//! `kill -9` in the middle of rows that are recorded: the record verifies as far as it goes.

use std::time::Duration;

use guard_tests::{EnforceAt, Stage, process::wait_for, record_text, script};

use super::{allow_all, events, verifies};

/// A client whose connection is gone says so at once.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_gateway_or_a_broker_that_is_killed_leaves_a_record_that_verifies() {
    for broker in [false, true] {
        let policy =
            allow_all("record: { level: bytes, rows: 100000, bytes: 64MiB, traffic: 1GiB }");
        let mut stage = Stage::builder()
            .policy(&policy)
            .enforce_at(EnforceAt::Gateway)
            .lost_after("4s")
            .start()
            .unwrap();
        let text = "psql -X -q -v ON_ERROR_STOP=1 -c \"COPY (SELECT i, repeat('x', 1000) \
                    FROM generate_series(1, 100000000) i) TO STDOUT\" > /dev/null";
        let mut run = stage.spawn("dump", &script(text)).unwrap();
        let recorded = |stage: &Stage| {
            let text = record_text(&stage.records().pop()?).ok()?;
            Some(events(&text, "rows").len())
        };
        wait_for("rows in the record", || recorded(&stage).filter(|rows| *rows > 20))
            .unwrap_or_else(|error| panic!("{error}\n{}", run.log()));
        if broker {
            stage.broker.kill().unwrap();
            // Nothing goes on that is not recorded.
            assert!(!run.wait(ENDS_WITHIN).unwrap().success(), "{}", run.log());
            let file = stage.records().pop().unwrap().display().to_string();
            let key = stage.key().unwrap();
            let _unsealed = stage.tool(&["audit", "verify", &file, "--key", &key]).unwrap().code(3);
            stage.restart_broker().unwrap();
        } else {
            stage.gateway.as_mut().unwrap().kill().unwrap();
            assert!(!run.wait(ENDS_WITHIN).unwrap().success(), "{}", run.log());
        }
        let record = stage.sealed_record().unwrap();
        assert!(events(&record, "rows").len() > 20);
        assert!(!events(&record, "traffic").is_empty());
        verifies(&stage);
    }
}
