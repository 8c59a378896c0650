//! `pg_dump` and `pg_restore`: through guard and directly they make the same database.

use guard_tests::{EnforceAt, Stage, stage};

/// A digest of everything in a database that matters.
fn digest(stage: &Stage, database: &str) -> String {
    let rows = |table: &str| {
        format!("(SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM public.{table} t)")
    };
    let tables = ["customers", "cards", "orders", "audit_log"].map(rows).join(" || ");
    stage.postgres.sql(database, &format!("SELECT {tables}")).unwrap()
}

#[test]
fn dumps_and_restores_in_custom_and_parallel_directory_format() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let stage = Stage::builder().shop(2000).enforce_at(place).start().unwrap();
        let file = stage.dir().join("dump").display().to_string();
        let folder = stage.dir().join("dump.d").display().to_string();
        let _custom = stage.client("pg_dump", &["-Fc", "-f", &file]).unwrap().ok();
        let _directory = stage.client("pg_dump", &["-Fd", "-j4", "-f", &folder]).unwrap().ok();
        for (name, dump) in [("from_file", &file), ("from_folder", &folder)] {
            stage.postgres.sql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
            let output = stage
                .postgres
                .client("pg_restore", name)
                .args(["--exit-on-error", "-d", name, dump])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(digest(&stage, name), digest(&stage, stage::DATABASE), "{name}");
        }

        let before = digest(&stage, stage::DATABASE);
        for jobs in ["1", "4"] {
            let arguments =
                ["--clean", "--if-exists", "--exit-on-error", "-j", jobs, "-d", "shop", &folder];
            let _restored = stage.client("pg_restore", &arguments).unwrap().ok();
            assert_eq!(digest(&stage, stage::DATABASE), before, "restored with {jobs} jobs");
        }
    }
}

/// A dump without the key of its `\restrict`, which is another one each time.
fn without_key(dump: &[u8]) -> String {
    let text = String::from_utf8_lossy(dump);
    let is_key = |line: &&str| line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
    text.lines().filter(|line| !is_key(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn plain_dumps_are_as_direct() {
    let stage = Stage::builder().shop(500).start().unwrap();
    for arguments in [
        &[][..],
        &["--inserts", "--rows-per-insert=50", "--table=public.orders"],
        &["--schema-only"],
    ] {
        let direct =
            stage.postgres.client("pg_dump", stage::DATABASE).args(arguments).output().unwrap();
        let guarded = stage.client("pg_dump", arguments).unwrap().ok();
        assert_eq!(without_key(&guarded.stdout), without_key(&direct.stdout), "{arguments:?}");
    }
}
