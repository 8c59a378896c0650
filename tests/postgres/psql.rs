//! `psql`: its catalogue commands, its scripts, its errors.

use std::process::Command;

use guard_tests::{EnforceAt, Finished, Stage};

/// The commands of `psql` that look into the catalogue, plain and with details.
const CATALOGUE: &str = "\
\\d
\\d+
\\d public.customers
\\d+ public.orders
\\d+ public.revenue
\\d customers_id_seq
\\dS+ pg_class
\\da
\\dA+
\\dAc btree
\\dAf btree
\\dAo btree integer_ops
\\dAp btree integer_ops
\\db+
\\dc
\\dC
\\dd
\\dD
\\ddp
\\dE
\\des+
\\deu+
\\dew+
\\df
\\df+ pg_sleep
\\dF+
\\dFd+
\\dFp+
\\dFt+
\\dg+
\\di+
\\dl
\\dL+
\\dm
\\dn+
\\do =
\\dO
\\dp
\\dP+
\\drds
\\dRp
\\dRs
\\ds+
\\dt+
\\dT
\\du+
\\dv+
\\dx+
\\dX
\\dy
\\l+
\\z
\\sv public.revenue
\\sf pg_catalog.age(xid)
\\encoding
\\echo :SERVER_VERSION_NAME
";

fn run(stage: &Stage, arguments: &[&str]) -> (Finished, Finished) {
    let direct = stage.postgres.client("psql", "shop").args(arguments).output().unwrap().into();
    (direct, stage.client("psql", arguments).unwrap())
}

/// What the shim says stands among what the client says.
fn without_guard(stderr: &str) -> String {
    stderr.lines().filter(|line| !line.starts_with("guard: ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn all_catalogue_commands_are_as_direct() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let stage = Stage::builder().shop(50).enforce_at(place).start().unwrap();
        let file = stage.dir().join("catalogue.sql");
        std::fs::write(&file, CATALOGUE).unwrap();
        let file = file.display().to_string();
        let (direct, guarded) = run(&stage, &["-X", "-A", "-f", &file]);
        assert_eq!(without_guard(&guarded.stderr), without_guard(&direct.stderr));
        assert_eq!(guarded.text(), direct.text());
        assert_eq!(guarded.code, direct.code);
    }
}

#[test]
fn statements_and_errors_are_as_direct() {
    let stage = Stage::builder().shop(50).start().unwrap();
    let cases: [&[&str]; 16] = [
        &["-c", "SELECT 1; SELECT 2 AS two, NULL AS nothing"],
        &["-c", "SELECT * FROM public.orders ORDER BY id LIMIT 20"],
        &["-c", "SELECT * FROM nowhere"],
        &["-c", "SELEC 1"],
        &["-c", "SELECT 1/0"],
        &["-c", ""],
        &["-c", ";;"],
        &["-c", "BEGIN", "-c", "SELECT 1/0", "-c", "SELECT 1", "-c", "COMMIT", "-c", "SELECT 2"],
        &["-c", "SELECT 1; SELECT 1/0; SELECT 3"],
        &["-c", "COPY public.orders TO STDOUT"],
        &["-c", "COPY (SELECT 1, 'a', NULL) TO STDOUT WITH (FORMAT csv, HEADER)"],
        &["-c", "DO $$ BEGIN RAISE NOTICE 'here'; RAISE WARNING 'there'; END $$"],
        &["-c", "SET client_min_messages = debug1", "-c", "SELECT 1"],
        &["-c", "SELECT repeat('x', 2000000)"],
        &["-c", "LISTEN a", "-c", "NOTIFY a, 'b'", "-c", "SELECT 1"],
        &["-v", "FETCH_COUNT=7", "-c", "SELECT * FROM generate_series(1, 100)"],
    ];
    for case in cases {
        let mut arguments = vec!["-X", "-A"];
        arguments.extend(case);
        let (direct, guarded) = run(&stage, &arguments);
        // The process that notifies is another one.
        let plain = |text: String| {
            let from = text.find("from server process with PID").map_or(text.len(), |at| at);
            text.split_at(from).0.to_owned()
        };
        assert_eq!(plain(guarded.text()), plain(direct.text()), "{case:?}\n{}", guarded.stderr);
        assert_eq!(without_guard(&guarded.stderr), without_guard(&direct.stderr), "{case:?}");
        assert_eq!(guarded.code, direct.code, "{case:?}");
    }
}

#[test]
fn copy_in_and_a_script_without_stopping() {
    let stage = Stage::builder().start().unwrap();
    let text = "CREATE TABLE t (a int PRIMARY KEY, b text);\n\
        COPY t FROM STDIN;\n1\tone\n2\t\\N\n3\ttab\\there\n\\.\n\
        COPY t FROM STDIN WITH (FORMAT csv);\n1,again\n\\.\n\
        BEGIN;\nINSERT INTO t VALUES (9, 'nine');\nSELECT * FROM nowhere;\nCOMMIT;\n\
        SELECT * FROM t ORDER BY a;\nDROP TABLE t;\n";
    let file = stage.dir().join("script.sql");
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let (direct, guarded) = run(&stage, &["-X", "-A", "-f", &file]);
    assert_eq!(without_guard(&guarded.stderr), without_guard(&direct.stderr));
    assert_eq!(guarded.text(), direct.text());
}

#[test]
fn a_running_statement_is_cancelled() {
    let stage = Stage::builder().start().unwrap();
    let mut command = Command::new("sh");
    // psql turns SIGINT into a cancel request of the protocol.
    command.args([
        "-euc",
        "psql -X -c 'SELECT pg_sleep(600)' & child=$!
         until [ \"$(psql -X -A -t -c \"SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'\")\" = 1 ]; do :; done
         kill -INT $child; wait $child",
    ]);
    let run = stage.run(&command).unwrap();
    let _run = run.says("canceling statement due to user request");
}
