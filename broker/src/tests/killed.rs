//! Three brokers on one store, real processes under load, and `kill -9` again and again: what was answered holds.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use guard_audit::{Event, PublicKey, RecordReader};
use guard_core::control::{ID_TOKEN_TYPE, TOKEN_EXCHANGE};
use guard_tests::{
    Programs, http,
    moto::Moto,
    process::{Process, free_port, wait_for},
};
use serde_json::{Value, json};

use super::stage::{Key, On, Stage};

/// Clients at once.
const CLIENTS: usize = 6;
/// Events of a batch, and batches of a session.
const EVENTS: usize = 3;
const BATCHES: usize = 4;
/// Requests that are answered between two kills at least.
const BETWEEN: usize = 60;

fn kills() -> usize {
    std::env::var("GUARD_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Brokers that share a store and a folder.
struct Fleet {
    stage: Stage,
    ports: Vec<u16>,
    answered: AtomicUsize,
    turn: AtomicUsize,
}

/// A session whose exchange was answered, and what was acknowledged of it.
struct Answered {
    id: String,
    token: String,
    key: Key,
    events: usize,
    ended: bool,
}

fn start(folder: &Path, number: usize, port: u16, bucket: Option<&Moto>) -> Process {
    let mut command = Command::new(Programs::built().unwrap().broker);
    command.arg("serve").arg("--config").arg(folder.join(format!("broker-{number}.yaml")));
    if let Some(moto) = bucket {
        command.env("AWS_ENDPOINT_URL", &moto.url).env("AWS_REGION", "eu-central-1");
        command.env("AWS_ACCESS_KEY_ID", "testing").env("AWS_SECRET_ACCESS_KEY", "testing");
    }
    let log = folder.join(format!("broker-{number}.log"));
    let mut process = Process::start("guard-broker", &mut command, &log).unwrap();
    let health = format!("http://127.0.0.1:{port}/readyz");
    process
        .wait_until("healthy broker", || {
            http::get(&health, &[]).is_ok_and(|answer| answer.status == 200)
        })
        .unwrap();
    process
}

impl Fleet {
    /// Asks one broker after the other until one answers.
    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: impl Fn() -> Vec<(&'static str, String)>,
        body: &str,
    ) -> http::Answer {
        wait_for("answer", || {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let url = format!("http://127.0.0.1:{}{path}", self.ports[turn % self.ports.len()]);
            let headers = headers();
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = http::send(method, &url, &headers, body).ok()?;
            (answer.status < 500).then_some(answer)
        })
        .unwrap()
    }

    fn as_shim(&self, shim: &Answered, method: &str, path: &str, body: &Value) -> http::Answer {
        let headers = || {
            vec![
                ("authorization", format!("DPoP {}", shim.token)),
                ("dpop", shim.key.proof(method, path, Some(&shim.token))),
            ]
        };
        self.ask(method, path, headers, &body.to_string())
    }

    fn exchange(&self) -> Option<Answered> {
        let key = Key::new();
        let token = self.stage.token();
        let form = http::form(&[
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", &token),
            ("subject_token_type", ID_TOKEN_TYPE),
        ]);
        let headers = || {
            vec![
                ("content-type", "application/x-www-form-urlencoded".to_owned()),
                ("dpop", key.proof("POST", "/oauth/token", None)),
            ]
        };
        let answer = self.ask("POST", "/oauth/token", headers, &form);
        if answer.status != 200 {
            // A broker that died took the token and could not say so: nobody was told of a session.
            assert_eq!(answer.json()["error"], "invalid_grant", "{answer:?}");
            return None;
        }
        let answer = answer.json();
        Some(Answered {
            id: answer["session"]["id"].as_str().unwrap().into(),
            token: answer["access_token"].as_str().unwrap().into(),
            key,
            events: 0,
            ended: false,
        })
    }

    /// One session from its exchange to its end, each request at whichever broker answers.
    fn session(&self, ends: bool) -> Option<Answered> {
        let mut shim = self.exchange()?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        for batch in 0..BATCHES {
            let first = batch * EVENTS;
            let event =
                |number| json!({ "type": "disconnected", "connection": number, "reason": null });
            let events: Vec<_> = (first..first + EVENTS).map(event).collect();
            let body = json!({
                "session": shim.id, "writer": "shim-1", "first": first, "events": events,
            });
            let answer = self.as_shim(&shim, "POST", "/v1/record", &body);
            assert_eq!(answer.json()["next"], first + EVENTS, "{answer:?}");
            shim.events += EVENTS;
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        let near = json!({ "session": shim.id, "resource": "near" });
        let answer = self.as_shim(&shim, "POST", "/v1/leases", &near);
        assert_eq!(answer.status, 200, "{answer:?}");
        if ends {
            let answer = self.as_shim(&shim, "POST", "/v1/session/end", &json!({ "exit_code": 0 }));
            assert_eq!(answer.status, 200, "{answer:?}");
            shim.ended = true;
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        Some(shim)
    }

    /// The sealed record of a session, once it is sealed.
    fn record(&self, shim: &Answered) -> String {
        wait_for("sealed record", || {
            let answer = self.as_shim(shim, "GET", "/v1/session/record", &Value::Null);
            (answer.status == 200).then_some(answer.body)
        })
        .unwrap()
    }
}

fn check(record: &str, shim: &Answered, key: &PublicKey) {
    guard_audit::verify(record.as_bytes(), std::slice::from_ref(key)).unwrap();
    let mut numbers = Vec::new();
    let mut leases = BTreeMap::new();
    let mut reader = RecordReader::new(record.as_bytes());
    while let Some(entry) = reader.next_entry().unwrap() {
        match entry.event {
            Event::Disconnected { connection, .. } => numbers.push(connection),
            Event::LeaseTaken { lease, .. } => drop(leases.insert(lease, false)),
            Event::LeaseReleased { lease, .. } => drop(leases.insert(lease, true)),
            Event::SessionEnded { reason, .. } => {
                assert_eq!(reason.as_str(), if shim.ended { "finished" } else { "lost" });
            }
            Event::SessionOpened { session, .. } => assert_eq!(session.to_string(), shim.id),
            other @ (Event::AttemptRefused { .. }
            | Event::SessionRenewed { .. }
            | Event::Isolated { .. }
            | Event::EgressAsked { .. }
            | Event::EgressEnded { .. }
            | Event::Connected { .. }
            | Event::Operation { .. }
            | Event::Statement { .. }
            | Event::Refused { .. }
            | Event::ApprovalAsked { .. }
            | Event::ApprovalDecided { .. }
            | Event::ApprovalUsed { .. }
            | Event::Rows { .. }
            | Event::Traffic { .. }
            | Event::Finished { .. }) => panic!("{other:?}"),
        }
    }
    assert_eq!(numbers, (0..shim.events as u64).collect::<Vec<_>>());
    assert!(!leases.is_empty() && leases.values().all(|released| *released), "{leases:?}");
}

#[test]
fn what_three_brokers_answered_holds_while_one_is_killed_again_and_again() {
    under_fire(kills(), None, |_, _| {});
}

/// The bucket, and where in it.
const BUCKET: &str = "guard-records";

/// Where moto is installed.
#[test]
fn records_of_three_brokers_are_in_the_bucket_and_verify_there_whichever_broker_was_killed() {
    let Some(program) = Moto::installed() else {
        eprintln!("not shown: moto is not installed");
        return;
    };
    let moto = Moto::start(&program).unwrap();
    moto.make_bucket(BUCKET).unwrap();
    let guard = Programs::built().unwrap().guard;
    under_fire(3, Some(&moto), |shim, public| {
        let key = format!("eu/{}.jsonl.zst", shim.id);
        // A record is sealed first and is in the bucket then.
        let object = wait_for("object", || {
            moto.object(BUCKET, &key).ok().filter(|(status, _)| *status == 200)
        });
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("record.jsonl.zst");
        fs::write(&record, object.unwrap().1).unwrap();
        let verify = |record: &Path| {
            let mut command = Command::new(&guard);
            command.args(["audit", "verify"]).arg(record).args(["--key", &public.to_string()]);
            command.output().unwrap()
        };
        let verified = verify(&record);
        assert!(verified.status.success(), "{verified:?}");
        let text = guard_tests::record_text(&record).unwrap();
        check(&text, shim, public);
        let record = folder.path().join("record.jsonl");
        fs::write(&record, text.replacen("lease-taken", "lease-takes", 1)).unwrap();
        assert_eq!(verify(&record).status.code(), Some(1), "a changed byte is found");
    });
}

/// Kills one of three brokers after the other, with records in a bucket where there is one, and looks at each session that was
/// answered.
fn under_fire(kills: usize, bucket: Option<&Moto>, look: impl Fn(&Answered, &PublicKey)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stage = runtime.block_on(Stage::on(On::Postgres));
    runtime.block_on(stage.app.sessions.store.close());
    let folder = stage.folder.path().to_owned();
    let ports: Vec<_> = (0..3).map(|_| free_port().unwrap()).collect();
    let mut config = fs::read_to_string(folder.join("guard.yaml")).unwrap();
    if bucket.is_some() {
        config.push_str(&format!("recordings: s3://{BUCKET}/eu\n"));
    }
    let mut brokers: Vec<_> = (0..3)
        .map(|number| {
            let port = ports[number];
            let config = config
                .replace("listen: 127.0.0.1:8440", &format!("listen: 127.0.0.1:{port}"))
                + "sessions: { heartbeat: 1s, lost_after: 5s }\n";
            fs::write(folder.join(format!("broker-{number}.yaml")), config).unwrap();
            start(&folder, number, port, bucket)
        })
        .collect();
    let public = stage.app.sessions.public_key();
    let (answered, turn) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let fleet = Fleet { stage, ports, answered, turn };
    let over = AtomicBool::new(false);
    let sessions = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (fleet, over, sessions) = (&fleet, &over, &sessions);
            scope.spawn(move || {
                let mut round = client;
                while !over.load(Ordering::Relaxed) {
                    let session = fleet.session(!round.is_multiple_of(4));
                    sessions.lock().unwrap().extend(session);
                    round += 1;
                }
            });
        }
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for kill in 0..kills {
                let before = fleet.answered.load(Ordering::Relaxed);
                let enough = || fleet.answered.load(Ordering::Relaxed) > before + BETWEEN;
                wait_for("answers", || enough().then_some(())).unwrap();
                let number = kill % 3;
                brokers[number].kill().unwrap();
                brokers[number] = start(&folder, number, fleet.ports[number], bucket);
            }
        }));
        over.store(true, Ordering::Relaxed);
        killed.unwrap();
    });
    let sessions = sessions.into_inner().unwrap();
    assert!(sessions.len() > kills, "{}", sessions.len());
    for shim in &sessions {
        check(&fleet.record(shim), shim, &public);
        look(shim, &public);
    }
    eprintln!(
        "{} sessions and {} answers over {} kills",
        sessions.len(),
        fleet.answered.load(Ordering::Relaxed),
        kills
    );
}
