//! Stories in a real browser, with a real OpenID provider, real runs and a real database.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::process::{Command, Stdio};

use guard_tests::{
    Finished, Programs, Stage, finish,
    people::CLIENT_SECRET,
    policies,
    process::{Process, free_port, wait_for},
    script,
    stage::wait_healthy,
    story,
};

/// Reads and errors go on, deletes do not.
const POLICY: &str = policies::READ_ONLY;

fn stage() -> Stage {
    Stage::builder().policy(POLICY).people().start().unwrap()
}

/// A story, with what it needs to know of the stage.
fn command(stage: &Stage, name: &str) -> Command {
    let mut command = story(name).unwrap();
    command.env("GUARD_URL", &stage.url).env("GUARD_TEST_DOWNLOAD", stage.dir().join("download"));
    command
}

fn tell(stage: &Stage, name: &str) -> Finished {
    let told: Finished = finish(&mut command(stage, name)).unwrap();
    if told.code != 0 {
        eprintln!("{}", stage.broker.log());
    }
    told.ok()
}

/// A run that reads, and one that tries to delete after it.
fn two_runs(stage: &Stage) {
    stage.postgres.sql("shop", "CREATE TABLE users (id int, name text)").unwrap();
    let read = "psql -XAtq -c \"SELECT name FROM users WHERE name = 'secret-in-a-literal'\"";
    let _ = stage.run(&script(read)).unwrap().ok();
    let delete = format!("{read}; psql -XAtq -c 'DELETE FROM users' || true");
    let _ = stage.run(&script(&delete)).unwrap().ok();
}

#[test]
fn somebody_signs_in_and_reads_a_run() {
    let stage = stage();
    two_runs(&stage);
    tell(&stage, "see_a_run.js");
    // What was downloaded is the record, whole.
    let (file, key) = (stage.dir().join("download"), stage.dir().join("seal.pub"));
    std::fs::write(&key, stage.key().unwrap()).unwrap();
    let arguments = ["audit", "verify", file.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let _ = stage.tool(&arguments).unwrap().ok();
}

#[test]
fn a_viewer_sees_no_values_and_a_stranger_nothing() {
    let stage = stage();
    two_runs(&stage);
    tell(&stage, "viewer.js");
}

#[test]
fn nothing_that_a_job_writes_becomes_more_than_text() {
    let markup = "<img src=x onerror=alert(1)><script>window.pwned=1</script>";
    let stage = Stage::builder()
        .policy(POLICY)
        .people()
        .claim("actor", markup)
        .claim("workflow", markup)
        .claim("repository", "acme/<script>window.pwned=1</script>")
        .start()
        .unwrap();
    let table = format!("CREATE TABLE \"{markup}\" (id int, \"{markup}\" text)");
    stage.postgres.sql("shop", &table).unwrap();
    let file = stage.dir().join("markup.sql");
    let sql = format!(
        "SELECT '{markup}';\nSELECT \"{markup}\" FROM \"{markup}\";\nDELETE FROM \"{markup}\" WHERE \"{markup}\" = '{markup}';\n\
         SELECT '{markup}'::int;\nSELECT '\u{202e}{markup}';\n/* {markup} */ SELECT 1;\n\"{markup}\";\n"
    );
    std::fs::write(&file, sql).unwrap();
    let run = format!("PGAPPNAME='{markup}' psql -XAtq -f {} || true", file.display());
    let _ = stage.run(&script(&run)).unwrap().ok();
    tell(&stage, "markup.js");
}

/// Markup that leaves an attribute of either quote, short enough for a name in the database.
fn markup(of: &str) -> String {
    format!("\"'><img src=x onerror=pwn(1)>of-a-{of}")
}

/// A name or a string as SQL has it.
fn quoted(text: &str, quote: char) -> String {
    let twice: String = [quote; 2].iter().collect();
    format!("{quote}{}{quote}", text.replace(quote, &twice))
}

/// A stage on which everybody whose text is shown writes markup.
fn hostile_stage() -> Stage {
    let mut stage = Stage::builder()
        .policy(ASKS)
        .people()
        .claim("ref", &markup("reference"))
        .claim("actor", &markup("actor"))
        .claim("workflow", &markup("workflow"))
        .claim("job_workflow_ref", "javascript:pwn(1)")
        .claim("repository", &format!("acme{}", markup("repository").replace("of-a", "/of-a")))
        .start()
        .unwrap();
    let file = stage.dir().join("trust/stage.yaml");
    let trust = std::fs::read_to_string(&file).unwrap();
    let reference = serde_json::to_string(&markup("reference")).unwrap();
    std::fs::write(&file, trust.replace("refs/heads/main", &reference)).unwrap();
    stage.broker.stop().unwrap();
    stage.restart_broker().unwrap();
    let person = |group: &str| serde_json::json!({ "name": markup("person"), "email": "a@example.com", "groups": [group] });
    let people = serde_json::json!({ "bob": person("dba"), "olga": person("security"), "nils": person("sales") });
    stage.people.as_mut().unwrap().tell(&serde_json::json!({ "people": people })).unwrap();
    stage
}

#[test]
fn no_text_of_anybody_becomes_more_than_text_on_any_page() {
    let stage = hostile_stage();
    let (table, column) = (quoted(&markup("table"), '"'), quoted(&markup("column"), '"'));
    let (text, error) = (quoted(&markup("sql"), '\''), quoted(&markup("error"), '\''));
    let name = quoted(&markup("error"), '"');
    stage.postgres.sql("shop", &format!("CREATE TABLE {table} (id int, {column} text)")).unwrap();
    let reads = format!(
        "SELECT {text};\nSELECT {column} FROM {table} WHERE {column} = {text};\nSELECT {error}::int;\nSELECT 1 FROM {name};\n\
         TRUNCATE {table};\n{name};\nSELECT /* {} */ '</title></textarea><script>pwn(1)</script>', 'javascript:pwn(1)';\n",
        markup("comment")
    );
    let delete = format!("DELETE FROM {table} WHERE {column} = {text};\n");
    let (reads_in, delete_in) = (stage.dir().join("reads.sql"), stage.dir().join("delete.sql"));
    std::fs::write(&reads_in, reads).unwrap();
    std::fs::write(&delete_in, delete).unwrap();
    // What the next one is compared with.
    let _green = stage.run(&script("psql -XAtq -c 'SELECT 1'")).unwrap().ok();
    let done = stage.dir().join("done");
    let run = format!(
        "export PGAPPNAME='<img src=x onerror=pwn(1)>'; psql -XAtq -f {} & \
         while ! [ -e {} ]; do psql -XAtq -f {} || true; sleep 0.3; done; wait",
        delete_in.display(),
        done.display(),
        reads_in.display()
    );
    let mut job = stage.spawn("job", &script(&run)).unwrap();
    let log = stage.dir().join("story.log");
    let file = std::fs::File::create(&log).unwrap();
    let mut story = command(&stage, "hostile.js");
    let mut story =
        story.stdout(file.try_clone().unwrap()).stderr(file).stdin(Stdio::null()).spawn().unwrap();
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    // What the story saw of the run while it lived, or why it did not.
    let over = |story: &mut std::process::Child| story.try_wait().unwrap().is_some();
    let seen = wait_for("what the story saw", || {
        (said().contains("seen\n") || over(&mut story)).then_some(())
    });
    std::fs::write(&done, "").unwrap();
    let status = story.wait().unwrap();
    assert!(status.success() && seen.is_ok(), "{}\n{}", said(), stage.broker.log());
    let _ended = job.wait(std::time::Duration::from_secs(30)).unwrap();
}

#[test]
fn a_run_is_followed_while_it_happens() {
    let stage = stage();
    stage.postgres.sql("shop", "CREATE TABLE users (id int)").unwrap();
    let done = stage.dir().join("done");
    let run = format!(
        "while ! [ -e {} ]; do psql -XAtq -c 'SELECT count(*) FROM users' -c \"SELECT '<img src=x onerror=alert(1)>'\"; \
         psql -XAtq -c 'DELETE FROM users' || true; sleep 0.3; done",
        done.display()
    );
    let mut job = stage.spawn("job", &script(&run)).unwrap();
    let log = stage.dir().join("story.log");
    let file = std::fs::File::create(&log).unwrap();
    wait_for("a live run", || stage.records().pop()).unwrap();
    let mut follow = command(&stage, "live.js");
    let mut follow =
        follow.stdout(file.try_clone().unwrap()).stderr(file).stdin(Stdio::null()).spawn().unwrap();
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_for("what the story saw", || {
        (said().contains("seen") || said().contains("Error")).then_some(())
    })
    .unwrap();
    std::fs::write(&done, "").unwrap();
    let status = follow.wait().unwrap();
    assert!(status.success(), "{}\n{}", said(), stage.broker.log());
    assert!(job.wait(std::time::Duration::from_secs(30)).unwrap().success());
}

/// Deletes wait for somebody of `dba`.
const ASKS: &str = "\
policy: stage
rules:
  - name: reads
    sql: { effects: [read, session, transaction, lock] }
    decide: allow
  - name: deletes
    sql: { effects: [delete] }
    decide: approve
    approvers: [dba]
    within: 5m
";

/// A run that Ann of `dba` started by hand.
fn asking() -> Stage {
    let stage = Stage::builder()
        .policy(ASKS)
        .people()
        .claim("event_name", "workflow_dispatch")
        .claim("actor", "ann")
        .start()
        .unwrap();
    stage.postgres.sql("shop", "CREATE TABLE users AS SELECT generate_series(1, 3) AS id").unwrap();
    stage
}

#[track_caller]
fn a_delete_waits_and_goes_through(stage: &Stage) {
    let delete = script("psql -XAtq -c 'DELETE FROM users WHERE id = 1'");
    let mut job = stage.spawn("job", &delete).unwrap();
    tell(stage, "approve.js");
    let status = job.wait(std::time::Duration::from_secs(30)).unwrap();
    assert!(status.success(), "{}", job.log());
    assert_eq!(stage.postgres.sql("shop", "SELECT min(id) FROM users").unwrap(), "2");
    let report = stage.report().unwrap();
    assert_eq!(report["approvals"]["listed"][0]["state"], "used", "{report}");
}

#[test]
fn a_delete_waits_for_somebody_else_than_who_started_the_run_and_then_goes_through() {
    a_delete_waits_and_goes_through(&asking());
}

#[test]
fn a_delete_that_a_lock_does_not_list_waits_for_somebody_else_too() {
    let stage = asking();
    let _ = stage.run(&script("psql -XAtq -c 'SELECT id FROM users'")).unwrap().ok();
    let record = stage.report_dirs().pop().unwrap().join("record.jsonl").display().to_string();
    let folder = stage.dir().join("policies");
    let lock = folder.join("stage.lock.yaml").display().to_string();
    let _ = stage.tool(&["lock", "learn", &record, "--out", &lock]).unwrap().ok();
    let text = format!(
        "{}lock: {{ unlisted: approve, approvers: [dba], within: 5m }}\n",
        policies::ALLOW_ALL
    );
    std::fs::write(folder.join("stage.yaml"), text).unwrap();
    let _ = stage.broker_tool(&["reload"]).unwrap().ok();
    a_delete_waits_and_goes_through(&stage);
}

#[test]
fn a_delete_that_somebody_refuses_does_not_happen() {
    let stage = asking();
    let delete = script("psql -XAtq -c 'DELETE FROM users WHERE id = 2'");
    let mut job = stage.spawn("job", &delete).unwrap();
    tell(&stage, "refuse.js");
    let status = job.wait(std::time::Duration::from_secs(30)).unwrap();
    assert!(!status.success(), "{}", job.log());
    assert!(job.log().contains("GRD-24"), "{}", job.log());
    assert_eq!(stage.postgres.sql("shop", "SELECT count(*) FROM users").unwrap(), "3");
}

/// Browsers take cookies with `Secure` and `__Host-` from this machine without TLS, under either of its names.
#[test]
fn somebody_signs_in_at_a_broker_on_this_machine_without_tls() {
    let mut stage = stage();
    let dir = stage.dir().to_owned();
    let config = std::fs::read_to_string(dir.join("guard.yaml")).unwrap();
    let own_address = stage.url.strip_prefix("http://").unwrap().to_owned();
    let port = free_port().unwrap();
    let localhost = format!("http://localhost:{port}");
    let config = config
        .replace(&format!("url: {}", stage.url), &format!("url: {localhost}"))
        .replace(&format!("listen: {own_address}"), &format!("listen: 127.0.0.1:{port}"));
    assert!(config.contains(&localhost) && !config.contains(&own_address), "{config}");
    std::fs::write(dir.join("localhost.yaml"), config).unwrap();
    let broker = Programs::built().unwrap().broker;
    let begin = |name: &str, arguments: &[&str], url: &str| {
        let mut command = Command::new(&broker);
        command.args(arguments).current_dir(&dir).env("XDG_RUNTIME_DIR", &dir);
        let log = dir.join(format!("{name}.log"));
        let mut process = Process::start(name, &mut command, &log).unwrap();
        wait_healthy(&mut process, &url.replace("localhost", "127.0.0.1")).unwrap();
        process
    };
    stage.broker.stop().unwrap();
    let dev = format!("http://127.0.0.1:{}", free_port().unwrap());
    let listen = dev.strip_prefix("http://").unwrap();
    let as_dev = ["dev", "--config", "guard.yaml", "--no-gateway", "--listen", listen];
    let as_served = ["serve", "--config", "localhost.yaml"];
    let brokers = [
        ("serve", begin("serve", &as_served, &localhost), &localhost),
        ("dev", begin("dev", &as_dev, &dev), &dev),
    ];
    let people = stage.people.as_mut().unwrap();
    for (name, broker, url) in &brokers {
        let back = format!("{url}/sign-in/callback");
        let client = serde_json::json!({ "client": { "back": back, "secret": CLIENT_SECRET } });
        people.tell(&client).unwrap();
        let mut story = story("without_tls.js").unwrap();
        let told: Finished = finish(story.env("GUARD_URL", url)).unwrap();
        if told.code != 0 {
            eprintln!("{name}\n{}", broker.log());
        }
        let _ = told.ok();
    }
}
