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
    assert_eq!(answer, "? T D:a'; SELECT b C:SELECT 1 T D:2 C:SELECT 1 ZI");
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
        let said = stage.said_to(&startup(minor)).await;
        let find =
            |tag: u8| said.iter().find(|(found, _)| *found == tag).map(|(_, body)| body.as_slice());
        let answer = find(b'v').map(|body| body[..4].to_vec());
        assert_eq!(answer, negotiated.map(|minor: u8| vec![0, 3, 0, minor]), "3.{minor}");
        assert_eq!(find(b'K').unwrap().len(), 4 + secret, "3.{minor}");
    }
}
