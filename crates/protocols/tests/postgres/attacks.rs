//! Raw frames: what no honest client sends, and what honest ones send without waiting.

use bytes::BytesMut;
use guard_audit::Event;
use guard_core::{EndReason, TlsMode};
use guard_protocols::{Closed, ProtocolError};
use postgres_protocol::{IsNull, message::frontend};

use super::stage::Stage;

const POLICY: &str = "
policy: test
rules:
  - name: no-drop
    sql: { effects: [drop] }
    decide: block
  - name: rest
    sql: { effects: [read, insert, update, create, session, transaction] }
    decide: allow
masks:
  - sql: { columns: [public.users.email] }
    with: redact
";
const SEED: &str = "CREATE TABLE users (id int PRIMARY KEY, email text); \
    INSERT INTO users VALUES (1, 's3cret'); CREATE TABLE keep (a int)";

#[derive(Default)]
pub(crate) struct Script(pub(crate) BytesMut);

impl Script {
    pub(crate) fn parse(mut self, name: &str, text: &str) -> Self {
        frontend::parse(name, text, [], &mut self.0).unwrap();
        self
    }

    pub(crate) fn bind(mut self, portal: &str, statement: &str, format: i16) -> Self {
        let none: [i16; 0] = [];
        let values: [&str; 0] = [];
        frontend::bind(
            portal,
            statement,
            none,
            values,
            |_, _| Ok(IsNull::No),
            [format],
            &mut self.0,
        )
        .map_err(|_| ())
        .unwrap();
        self
    }

    pub(crate) fn execute(mut self, portal: &str) -> Self {
        frontend::execute(portal, 0, &mut self.0).unwrap();
        self
    }

    pub(crate) fn execute_some(mut self, portal: &str, rows: i32) -> Self {
        frontend::execute(portal, rows, &mut self.0).unwrap();
        self
    }

    pub(crate) fn close_statement(mut self, name: &str) -> Self {
        frontend::close(b'S', name, &mut self.0).unwrap();
        self
    }

    pub(crate) fn query(mut self, text: &str) -> Self {
        frontend::query(text, &mut self.0).unwrap();
        self
    }

    pub(crate) fn sync(mut self) -> Self {
        frontend::sync(&mut self.0);
        self
    }
}

pub(super) async fn stage() -> Stage {
    Stage::new(POLICY, TlsMode::Disable, SEED).await
}

#[tokio::test]
async fn pipelined_messages_keep_their_order_around_a_refusal() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    let script = Script::default()
        .parse("", "SELECT 1")
        .bind("", "", 0)
        .execute("")
        .parse("", "DROP TABLE keep")
        .bind("", "", 0)
        .execute("")
        .sync()
        .query("SELECT 2")
        .query("DROP TABLE keep")
        .query("SELECT 3");
    raw.send(&script.0).await;
    assert_eq!(raw.until_ready().await, "1 2 D:1 C:SELECT 1 E:42501 ZI");
    assert_eq!(raw.until_ready().await, "T D:2 C:SELECT 1 ZI");
    assert_eq!(raw.until_ready().await, "E:42501 ZI");
    assert_eq!(raw.until_ready().await, "T D:3 C:SELECT 1 ZI");
    assert_eq!(stage.postgres.sql("shop", "SELECT count(*) FROM keep").unwrap(), "0");
}

/// The server would skip the Query, and its client would wait for ever.
#[tokio::test]
async fn a_query_in_a_refused_batch_ends_the_connection_instead_of_hanging() {
    let stage = stage().await;
    let refused = Script::default().parse("", "DELETE FROM keep").bind("", "", 0).execute("");
    let mut raw = stage.raw().await;
    raw.send(&refused.query("SELECT 1").0).await;
    assert_eq!(raw.until_ready().await, "E:42501 E:08P01");
    assert!(matches!(raw.closed().await, Err(ProtocolError::Client(_))));

    let mut raw = stage.raw().await;
    raw.send(&Script::default().parse("", "DELETE FROM keep").0).await;
    assert_eq!(raw.receive().await.as_deref(), Some("E:42501"));
    raw.send(&Script::default().query("SELECT 1").0).await;
    assert_eq!(raw.until_ready().await, "E:08P01");
}

#[tokio::test]
async fn a_refusal_aborts_the_transaction() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    raw.send(&Script::default().query("BEGIN").query("INSERT INTO keep VALUES (1)").0).await;
    assert_eq!(raw.until_ready().await, "C:BEGIN ZT");
    assert_eq!(raw.until_ready().await, "C:INSERT 0 1 ZT");
    let script = Script::default().parse("", "DROP TABLE keep").sync().query("COMMIT");
    raw.send(&script.0).await;
    assert_eq!(raw.until_ready().await, "E:42501 ZE");
    assert_eq!(raw.until_ready().await, "C:ROLLBACK ZI");
    assert_eq!(stage.postgres.sql("shop", "SELECT count(*) FROM keep").unwrap(), "0");
}

#[tokio::test]
async fn rows_without_a_description_are_masked() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    for format in [0, 1] {
        let script =
            Script::default().parse("", "SELECT email FROM users").bind("", "", format).execute("");
        raw.send(&script.sync().0).await;
        assert_eq!(raw.until_ready().await, "1 2 D:[masked] C:SELECT 1 ZI");
    }
}

#[tokio::test]
async fn a_name_means_what_the_server_took_it_for() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    raw.send(&Script::default().parse("s", "SELECT email FROM users").sync().0).await;
    assert_eq!(raw.until_ready().await, "1 ZI");
    // The second Parse fails, for the name is taken: the old statement stays, and its mask with it.
    let script = Script::default()
        .parse("s", "SELECT 'harmless'")
        .sync()
        .bind("", "s", 0)
        .execute("")
        .sync();
    raw.send(&script.0).await;
    assert_eq!(raw.until_ready().await, "E:42P05 ZI");
    assert_eq!(raw.until_ready().await, "2 D:[masked] C:SELECT 1 ZI");
    // The Close is skipped: the name stays taken.
    let script = Script::default()
        .parse("", "broken")
        .close_statement("s")
        .parse("s", "SELECT 'harmless'")
        .sync()
        .bind("", "s", 0)
        .execute("")
        .sync();
    raw.send(&script.0).await;
    assert_eq!(raw.until_ready().await, "E:42501 ZI");
    assert_eq!(raw.until_ready().await, "2 D:[masked] C:SELECT 1 ZI");
}

#[tokio::test]
async fn lying_and_unknown_frames_close_the_connection() {
    let stage = stage().await;
    let frames: [&[u8]; 6] = [
        b"Q\x00\x00\x00\x03",
        b"Q\xff\xff\xff\xff",
        b"z\x00\x00\x00\x04",
        b"p\x00\x00\x00\x05\x00",
        b"Q\x00\x00\x00\x06ab",
        b"S\x00\x00\x00\x05\x00",
    ];
    for frame in frames {
        let mut raw = stage.raw().await;
        raw.send(frame).await;
        assert_eq!(raw.until_ready().await, "E:08P01", "{frame:?}");
        assert!(matches!(raw.closed().await, Err(ProtocolError::Client(_))), "{frame:?}");
    }
}

#[tokio::test]
async fn a_huge_statement_is_refused_unread_and_the_connection_stays() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    let text = format!("/*{}*/ DROP TABLE keep", " ".repeat(9 << 20));
    let script = Script::default().query(&text).query("SELECT 1");
    raw.send(&script.0).await;
    assert_eq!(raw.until_ready().await, "E:54001 ZI");
    assert_eq!(raw.until_ready().await, "T D:1 C:SELECT 1 ZI");
    assert_eq!(stage.postgres.sql("shop", "SELECT count(*) FROM keep").unwrap(), "0");
}

#[tokio::test]
async fn copy_data_without_a_copy_goes_nowhere() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    let mut script = BytesMut::new();
    script.extend_from_slice(b"d\x00\x00\x00\x06a\nc\x00\x00\x00\x04");
    let script = Script(script).query("COPY keep FROM STDIN");
    raw.send(&script.0).await;
    assert_eq!(raw.receive().await.as_deref(), Some("G"));
    raw.send(b"d\x00\x00\x00\x067\nc\x00\x00\x00\x04").await;
    assert_eq!(raw.until_ready().await, "C:COPY 1 ZI");
    assert_eq!(stage.postgres.sql("shop", "SELECT a FROM keep").unwrap(), "7");
}

#[tokio::test]
async fn a_session_that_ends_takes_its_connections_along() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    stage.end.send_replace(Some(EndReason::Revoked));
    assert_eq!(raw.until_ready().await, "E:57P01");
    assert_eq!(raw.closed().await.unwrap(), Closed::Session(EndReason::Revoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_with_the_own_key_stops_the_statement() {
    let stage = Stage::new(super::stage::ALL, TlsMode::Disable, "").await;
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(stage.port).user("x").password(super::stage::PASSWORD);
    let (client, connection) = config.dbname("shop").connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let cancel = client.cancel_token();
    let (error, cancelled) = tokio::join!(client.batch_execute("SELECT pg_sleep(600)"), async {
        // Once the server runs it, it can be cancelled.
        let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%600%' \
            AND pid <> pg_backend_pid()";
        while stage.postgres.sql("shop", running).unwrap() != "1" {
            tokio::task::yield_now().await;
        }
        cancel.cancel_query(tokio_postgres::NoTls).await
    });
    cancelled.unwrap();
    assert_eq!(error.unwrap_err().code().unwrap().code(), "57014");
    assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
}

#[tokio::test]
async fn what_was_sent_is_in_the_record() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    raw.send(&Script::default().query("SELECT email FROM users").query("DROP TABLE keep").0).await;
    raw.until_ready().await;
    raw.until_ready().await;
    assert_eq!(raw.closed().await.unwrap(), Closed::Client);
    let events = stage.events.lock().unwrap();
    let names: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Finished { outcome, .. } => {
                format!("finished {} {}", outcome.rows, outcome.masked)
            }
            other => serde_json::to_value(other).unwrap()["type"].as_str().unwrap().to_owned(),
        })
        .collect();
    let expected = [
        "connected",
        "operation",
        "statement",
        "operation",
        "refused",
        "finished 1 1",
        "disconnected",
    ];
    assert_eq!(names.len(), expected.len(), "{names:?}");
    assert!(expected.iter().all(|name| names.iter().any(|n| n == name)), "{names:?}");
}
