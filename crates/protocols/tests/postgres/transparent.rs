//! What an honest client must not notice: settings, encodings and commands that guard does not read are the
//! server's to answer, and the connection stays.

use bytes::{BufMut as _, BytesMut};
use guard_core::TlsMode;
use postgres_protocol::message::frontend;

use super::{
    attacks::{Script, stage},
    stage::{ALL, Raw, Stage},
};

async fn ask(raw: &mut Raw, text: &str) -> String {
    raw.send(&Script::default().query(text).0).await;
    raw.until_ready().await
}

/// A Query whose text is no UTF-8.
fn bytes_query(text: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u8(b'Q');
    out.put_u32(u32::try_from(text.len() + 5).unwrap());
    out.put_slice(text);
    out.put_u8(0);
    out
}

async fn open() -> Stage {
    Stage::new(ALL, TlsMode::Disable, "CREATE TABLE keep (a text)").await
}

#[tokio::test]
async fn strings_with_escapes_are_not_understood_and_not_fatal() {
    let stage = open().await;
    let mut raw = stage.raw().await;
    let off = "SET standard_conforming_strings = off";
    assert_eq!(ask(&mut raw, off).await, "C:SET ? ZI");
    assert_eq!(ask(&mut raw, "SELECT 'a''b'").await, "T D:a'b C:SELECT 1 ZI");
    // Two statements in what guard does not read.
    let answer = ask(&mut raw, r"SELECT 'a\'; SELECT b'; SELECT 2").await;
    assert_eq!(answer, "N T D:a'; SELECT b C:SELECT 1 T D:2 C:SELECT 1 ZI");
    assert_eq!(ask(&mut raw, "SET standard_conforming_strings = on").await, "C:SET ? ZI");
    assert_eq!(ask(&mut raw, r"SELECT 'a\'").await, r"T D:a\ C:SELECT 1 ZI");
}

#[tokio::test]
async fn what_an_escape_may_hide_is_refused_where_only_what_is_understood_is_allowed() {
    let policy = "policy: test\nrules:\n  - name: most\n    sql: { effects: [read, config, session, insert], certainty: exact }\n    decide: allow\n";
    let stage = Stage::new(policy, TlsMode::Disable, "CREATE TABLE keep (a int)").await;
    let mut raw = stage.raw().await;
    assert_eq!(ask(&mut raw, "SET standard_conforming_strings = off").await, "C:SET ? ZI");
    assert_eq!(ask(&mut raw, "SELECT 1").await, "T D:1 C:SELECT 1 ZI");
    // To guard one string; to the server a string and a statement.
    let hidden = r"SELECT '\'; DROP TABLE keep; --'";
    assert_eq!(ask(&mut raw, hidden).await, "E:42501 ZI");
    let hidden = r"SELECT $$\$$, '\''; DROP TABLE keep; --'";
    assert_eq!(ask(&mut raw, hidden).await, "E:42501 ZI");
    // In one batch with the setting, which nobody has confirmed yet.
    assert_eq!(ask(&mut raw, "SET standard_conforming_strings = on").await, "C:SET ? ZI");
    let script = Script::default()
        .parse("", "SET standard_conforming_strings = off")
        .bind("", "", 0)
        .execute("")
        .parse("", r"SELECT '\'; DROP TABLE keep; --'")
        .bind("", "", 0)
        .execute("")
        .sync();
    raw.send(&script.0).await;
    let answer = raw.until_ready().await;
    assert!(answer.contains("E:42501"), "{answer}");
    assert_eq!(ask(&mut raw, "SELECT count(*) FROM keep").await, "T D:0 C:SELECT 1 ZI");
}

#[tokio::test]
async fn texts_in_an_encoding_that_guard_does_not_read_are_the_servers_to_answer() {
    let stage = open().await;
    let mut raw = stage.raw().await;
    assert_eq!(ask(&mut raw, "SET client_encoding = SJIS").await, "C:SET ? ZI");
    assert_eq!(ask(&mut raw, "SELECT 1").await, "T D:1 C:SELECT 1 ZI");
    raw.send(&bytes_query(b"SELECT length('\x83\x5c')")).await;
    assert_eq!(raw.until_ready().await, "T D:1 C:SELECT 1 ZI");
    assert_eq!(ask(&mut raw, "SET client_encoding = LATIN1").await, "C:SET ? ZI");
    raw.send(&bytes_query(b"SELECT length('\xe9\xe9')")).await;
    assert_eq!(raw.until_ready().await, "T D:2 C:SELECT 1 ZI");
    // What is not UTF-8 is refused by the server in its own words.
    assert_eq!(ask(&mut raw, "SET client_encoding = UTF8").await, "C:SET ? ZI");
    raw.send(&bytes_query(b"SELECT '\xe9'")).await;
    assert_eq!(raw.until_ready().await, "E:22021 ZI");
}

#[tokio::test]
async fn masked_values_do_not_leave_in_an_encoding_that_masks_do_not_know() {
    let stage = stage().await;
    let parameters = [("user", "x"), ("database", "shop"), ("client_encoding", "SJIS")];
    let (mut raw, said) = stage.raw_with(&parameters).await;
    assert!(said.ends_with("ZI"), "{said}");
    assert_eq!(ask(&mut raw, "SELECT 1").await, "T D:1 C:SELECT 1 ZI");
    assert_eq!(ask(&mut raw, "SELECT email FROM users").await, "E:42501 ZI");
    raw.send(&bytes_query(b"SELECT email, '\x83\x5c' FROM users")).await;
    assert_eq!(raw.until_ready().await, "E:42501 ZI");
}

#[tokio::test]
async fn a_query_may_ask_for_data_more_than_once() {
    let stage = open().await;
    let mut raw = stage.raw().await;
    raw.send(
        &Script::default()
            .query("SELECT 0; COPY keep FROM STDIN; COPY keep FROM STDIN; SELECT 1")
            .0,
    )
    .await;
    let mut said = Vec::new();
    while said.last().is_none_or(|last| last != "G") {
        said.push(raw.receive().await.unwrap());
    }
    let data = |row: &[u8]| {
        let mut out = BytesMut::new();
        frontend::CopyData::new(row).unwrap().write(&mut out);
        frontend::copy_done(&mut out);
        out
    };
    raw.send(&data(b"one\n")).await;
    assert_eq!(raw.receive().await.unwrap(), "C:COPY 1");
    assert_eq!(raw.receive().await.unwrap(), "G");
    raw.send(&data(b"two\n")).await;
    assert_eq!(raw.until_ready().await, "C:COPY 1 T D:1 C:SELECT 1 ZI");
    assert_eq!(
        ask(&mut raw, "SELECT string_agg(a, ',') FROM keep").await,
        "T D:one,two C:SELECT 1 ZI"
    );
}

#[tokio::test]
async fn data_may_be_asked_for_by_what_is_not_understood() {
    let stage = open().await;
    let mut raw = stage.raw().await;
    assert_eq!(ask(&mut raw, "SET standard_conforming_strings = off").await, "C:SET ? ZI");
    raw.send(&Script::default().query(r"COPY keep FROM STDIN (NULL '\\N'); SELECT 1").0).await;
    let mut said = String::new();
    while said != "G" {
        said = raw.receive().await.unwrap();
    }
    let mut out = BytesMut::new();
    frontend::CopyData::new(&b"one\n"[..]).unwrap().write(&mut out);
    frontend::copy_done(&mut out);
    raw.send(&out).await;
    assert_eq!(raw.until_ready().await, "C:COPY 1 T D:1 C:SELECT 1 ZI");
    raw.send(&Script::default().query(r"COPY keep TO STDOUT (NULL '\\N')").0).await;
    assert_eq!(raw.until_ready().await.split(' ').next_back(), Some("ZI"));
    // Executed without a Sync behind it, nobody knows whether it takes data.
    let script = Script::default().parse("", r"SELECT '\\'").bind("", "", 0).execute("").sync();
    raw.send(&script.0).await;
    let answer = raw.until_ready().await;
    assert!(answer.ends_with(r"2 D:\ C:SELECT 1 ZI"), "{answer}");
}

#[tokio::test]
async fn a_setting_and_what_follows_it_may_be_one_batch() {
    let stage = open().await;
    let mut raw = stage.raw().await;
    let script = Script::default()
        .parse("", "SET client_encoding = LATIN1")
        .bind("", "", 0)
        .execute("")
        .parse("", "SELECT 'plain'")
        .bind("", "", 0)
        .execute("")
        .sync();
    raw.send(&script.0).await;
    assert_eq!(raw.until_ready().await, "1 2 C:SET 1 2 D:plain C:SELECT 1 ? ZI");
}

#[tokio::test]
async fn who_names_no_database_gets_the_granted_one() {
    let stage = open().await;
    // The server's own default would be this one.
    stage.postgres.sql("shop", "CREATE DATABASE leased").unwrap();
    let (mut raw, _) = stage.raw_with(&[("user", "x")]).await;
    assert_eq!(ask(&mut raw, "SELECT current_database()").await, "T D:shop C:SELECT 1 ZI");
    // With what the server reads as no replication the name counts.
    for (replication, database) in [("FALSE", "leased"), ("off", "leased"), ("f", "postgres")] {
        let asked = [("user", "x"), ("database", database), ("replication", replication)];
        let (raw, said) = stage.raw_with(&asked).await;
        assert_eq!(said, "E:3D000", "{replication}");
        drop(raw);
    }
}

/// The start-up packet of a minor version of protocol 3.
fn startup(minor: u16) -> BytesMut {
    let body = b"user\0x\0database\0shop\0\0";
    let mut out = BytesMut::new();
    out.put_u32(u32::try_from(body.len() + 8).unwrap());
    out.put_u16(3);
    out.put_u16(minor);
    out.put_slice(body);
    out
}

#[tokio::test]
async fn newer_minor_versions_get_what_they_are_promised() {
    let stage = open().await;
    // Asked for, what is negotiated if anything, and the length of the cancel key's secret.
    for (minor, negotiated, secret) in
        [(0, None, 4), (2, None, 32), (3, Some(2), 32), (9999, Some(2), 32)]
    {
        let said = stage.said_to(&startup(minor), 1).await;
        let find =
            |tag: u8| said.iter().find(|(found, _)| *found == tag).map(|(_, body)| body.as_slice());
        let answer = find(b'v').map(|body| body[..4].to_vec());
        assert_eq!(answer, negotiated.map(|minor: u8| vec![0, 3, 0, minor]), "3.{minor}");
        assert_eq!(find(b'K').unwrap().len(), 4 + secret, "3.{minor}");
    }
}

#[tokio::test]
async fn a_function_is_called_by_its_number() {
    let stage = open().await;
    let mut sent = startup(0);
    let mut call = BytesMut::new();
    // int4pl(20, 22), all of it binary.
    call.put_u32(177);
    call.put_slice(&[0, 1, 0, 1, 0, 2]);
    for number in [20, 22] {
        call.put_u32(4);
        call.put_u32(number);
    }
    call.put_u16(1);
    sent.put_u8(b'F');
    sent.put_u32(u32::try_from(call.len() + 4).unwrap());
    sent.put_slice(&call);
    let said = stage.said_to(&sent, 2).await;
    let answer = said.iter().find(|(tag, _)| *tag == b'V').map(|(_, body)| body.as_slice());
    assert_eq!(answer, Some(&[0, 0, 0, 4, 0, 0, 0, 42][..]));
}

#[tokio::test]
async fn what_the_server_says_by_itself_arrives() {
    let stage = open().await;
    let mut raw = stage.raw().await;
    assert_eq!(ask(&mut raw, "LISTEN news").await, "C:LISTEN ZI");
    stage.postgres.sql("shop", "NOTIFY news, 'at night'").unwrap();
    assert_eq!(raw.receive().await.unwrap(), "A:news:at night");
    let notice = "DO $$ BEGIN RAISE NOTICE 'x'; END $$";
    assert_eq!(ask(&mut raw, notice).await, "N C:DO ZI");
    let idle = [("user", "x"), ("database", "shop"), ("options", "-c idle_session_timeout=200")];
    let (mut idle, _) = stage.raw_with(&idle).await;
    assert_eq!(idle.receive().await.as_deref(), Some("E:57P05"));
    assert_eq!(idle.receive().await, None);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN news' OR query LIKE 'DO %'";
    stage.postgres.sql("shop", end).unwrap();
    assert_eq!(raw.receive().await.as_deref(), Some("E:57P01"));
    assert_eq!(raw.receive().await, None);
}

#[tokio::test]
async fn the_rare_forms_of_the_protocol_pass() {
    let stage = open().await;
    let mut raw = stage.raw().await;
    assert_eq!(ask(&mut raw, "").await, "I ZI");
    assert_eq!(ask(&mut raw, " ; ;").await, "I ZI");
    assert_eq!(ask(&mut raw, "SELECT").await, "T D: C:SELECT 1 ZI");
    assert_eq!(ask(&mut raw, "SELEC 1").await, "E:42601 ZI");
    assert_eq!(ask(&mut raw, "SELECT 1; SELEC 2").await, "E:42601 ZI");
    assert_eq!(
        ask(&mut raw, "SELECT 1; SELECT 1/0; SELECT 2").await,
        "T D:1 C:SELECT 1 E:22012 ZI"
    );
    // An empty statement, described and executed.
    let mut script = Script::default().parse("", "");
    frontend::describe(b'S', "", &mut script.0).unwrap();
    let script = script.bind("", "", 0).execute("").sync();
    raw.send(&script.0).await;
    assert_eq!(raw.until_ready().await, "1 t n 2 I ZI");
    // In parts, with Flush instead of Sync.
    let mut script = Script::default().parse("", "SELECT generate_series(1, 3)").bind("p", "", 0);
    for _ in 0..2 {
        frontend::execute("p", 2, &mut script.0).unwrap();
    }
    frontend::flush(&mut script.0);
    raw.send(&script.0).await;
    for expected in ["1", "2", "D:1", "D:2", "s", "D:3", "C:SELECT 1"] {
        assert_eq!(raw.receive().await.as_deref(), Some(expected));
    }
    raw.send(&Script::default().sync().0).await;
    assert_eq!(raw.until_ready().await, "ZI");
    // A COPY that the client gives up.
    raw.send(&Script::default().query("COPY keep FROM STDIN").0).await;
    assert_eq!(raw.receive().await.as_deref(), Some("G"));
    let mut fail = BytesMut::new();
    frontend::copy_fail("enough", &mut fail).unwrap();
    raw.send(&fail).await;
    assert_eq!(raw.until_ready().await, "E:57014 ZI");
}

const REPLICATES: &str = "policy: test\nrules:\n  - name: backup\n    sql: { effects: [read, session, replication] }\n    decide: allow\n";

async fn output(mut command: std::process::Command) -> (bool, String) {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn a_base_backup_and_its_log_stream_pass_where_a_rule_allows_replication() {
    let stage = Stage::new(REPLICATES, TlsMode::Disable, "").await;
    let dir = tempfile::tempdir().unwrap();
    for method in ["stream", "fetch"] {
        let to = dir.path().join(method);
        let mut backup = stage.client("pg_basebackup");
        backup
            .args(["--checkpoint=fast", "--no-sync", "--wal-method", method, "--pgdata"])
            .arg(&to);
        backup.env_remove("PGDATABASE");
        let (done, text) = output(backup).await;
        assert!(done, "{method}: {text}");
        let mut verify = stage.client("pg_verifybackup");
        verify.arg(&to);
        let (whole, text) = output(verify).await;
        assert!(whole, "{method}: {text}");
    }
    let until = stage.postgres.sql("shop", "SELECT pg_current_wal_lsn()").unwrap();
    stage.postgres.sql("shop", "SELECT pg_switch_wal()").unwrap();
    let mut receive = stage.client("pg_receivewal");
    receive.args(["--no-loop", "--no-sync", "--endpos", &until, "--directory"]).arg(dir.path());
    receive.env_remove("PGDATABASE");
    let (done, text) = output(receive).await;
    assert!(done, "{text}");
}

#[tokio::test]
async fn replication_is_refused_where_no_rule_allows_it() {
    let reads = REPLICATES.replace(", replication", "");
    let stage = Stage::new(&reads, TlsMode::Disable, "").await;
    for mode in ["database", "true"] {
        let mut psql = stage.client("psql");
        psql.args(["-X", "-c", "IDENTIFY_SYSTEM"]).arg(format!("replication={mode} dbname=shop"));
        let (done, text) = output(psql).await;
        assert!(!done && text.contains("GRD-2"), "{mode}: {text}");
    }
    // A connection that may replicate may still do nothing else, and a backup to the server's own disk is a file.
    let stage = Stage::new(REPLICATES, TlsMode::Disable, "").await;
    for text in [
        "DROP_REPLICATION_SLOTS",
        "CREATE TABLE t ()",
        "BASE_BACKUP (TARGET 'server', TARGET_DETAIL '/tmp/x')",
    ] {
        for mode in ["database", "true"] {
            let mut psql = stage.client("psql");
            psql.args(["-X", "-c", text]).arg(format!("replication={mode} dbname=shop"));
            let (done, said) = output(psql).await;
            assert!(!done && said.contains("GRD-2"), "{mode}, {text}: {said}");
        }
    }
}

#[tokio::test]
async fn a_client_that_locks_the_catalog_is_answered() {
    for (policy, judged) in [(ALL, "T D:1 C:SELECT 1 ZT"), (LOCKS, "E:42501 ZE")] {
        let stage = Stage::new(policy, TlsMode::Disable, "CREATE TABLE keep (a text)").await;
        let mut raw = stage.raw().await;
        assert_eq!(ask(&mut raw, "BEGIN").await, "C:BEGIN ZT");
        assert_eq!(ask(&mut raw, "LOCK TABLE pg_catalog.pg_class").await, "C:LOCK TABLE ZT");
        // Now guard has to look at the catalog, and cannot.
        assert_eq!(ask(&mut raw, "ALTER TABLE keep ADD b text").await, "C:ALTER TABLE ZT");
        assert_eq!(ask(&mut raw, "SELECT 1").await, judged);
        // By a refusal the transaction is over, and the lock with it.
        assert_eq!(ask(&mut raw, "ROLLBACK").await, "C:ROLLBACK ZI");
        assert_eq!(ask(&mut raw, "SELECT 1").await, "T D:1 C:SELECT 1 ZI");
    }
}

const LOCKS: &str = "policy: test\nrules:\n  - name: locks\n    sql: { effects: [read, lock, alter, create, transaction] }\n    decide: allow\n";
