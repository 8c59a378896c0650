//! `pgbench`: thousands of statements in all three ways of the protocol.

use guard_tests::{EnforceAt, Stage};

#[test]
fn pgbench_initialises_and_runs_in_all_modes() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let stage = Stage::builder().enforce_at(place).start().unwrap();
        let _made = stage.client("pgbench", &["-i", "-s", "1", "-q"]).unwrap().ok();
        for mode in ["simple", "extended", "prepared"] {
            let arguments = ["-n", "-M", mode, "-c", "4", "-j", "2", "-t", "100"];
            let run = stage.client("pgbench", &arguments).unwrap().ok();
            let text = run.text();
            assert!(text.contains("transactions actually processed: 400/400"), "{mode}: {text}");
            assert!(text.contains("failed transactions: 0"), "{mode}: {text}");
        }
        let reconnecting = ["-n", "-S", "-C", "-c", "4", "-t", "10"];
        let run = stage.client("pgbench", &reconnecting).unwrap().ok();
        assert!(run.text().contains("actually processed: 40/40"), "{}", run.text());
        let history = stage.postgres.sql("shop", "SELECT count(*) FROM pgbench_history").unwrap();
        assert_eq!(history, "1200");
    }
}
