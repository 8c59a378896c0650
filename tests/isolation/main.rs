//! What a command is kept from at each level of isolation, as root and as an ordinary user, tried with everything that we
//! could think of.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod outside;
mod table;

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use guard_tests::{Finished, Programs, Stage, process::is_root};
use outside::Outside;
use serde_json::{Value, json};

/// An ordinary user: `nobody`.
const NOBODY: u32 = 65534;
/// Another one, who owns a program with the set-user-ID bit.
const OTHER: u32 = 65533;

const LEVELS: [&str; 3] = ["env", "landlock", "strict"];

/// Who runs guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Root,
    Ordinary,
}

/// A job: a stage, what is outside, and a folder that the job works in.
struct Job {
    stage: Stage,
    outside: Outside,
    folder: PathBuf,
    guard: PathBuf,
}

impl Job {
    fn new(user: User) -> Self {
        let stage = Stage::builder().shop(20).start().unwrap();
        let folder = stage.dir().join("job");
        fs::create_dir(&folder).unwrap();
        // The programs may be where only root comes.
        let guard = stage.dir().join("guard-copy");
        fs::copy(Programs::built().unwrap().guard, &guard).unwrap();
        fs::set_permissions(&guard, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(stage.dir(), Permissions::from_mode(0o755)).unwrap();
        let outside = Outside::new(&folder, stage.postgres.port);
        if user == User::Ordinary {
            for path in [folder.clone(), outside.elsewhere.clone()] {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        Self { stage, outside, folder, guard }
    }

    /// `guard run --isolation LEVEL -- command…`, started by a shell of this user that has the job's variables.
    fn run(&self, user: User, level: &str, command: &[&str]) -> Finished {
        let script = "cd \"$1\"; shift; \"$@\"; exit $?";
        let mut shell = match user {
            User::Root => Command::new("sh"),
            User::Ordinary => {
                let mut shell = Command::new("setpriv");
                let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
                shell.args(ids).args(["--clear-groups", "sh"]);
                shell
            }
        };
        shell.args(["-c", script, "sh"]).arg(&self.folder).arg(&self.guard);
        shell.args(["run", "--broker", &self.stage.url, "--raw", "--isolation", level]);
        shell.arg("--report").arg(self.folder.join("reports")).arg("--").args(command);
        shell.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", &self.folder);
        shell.envs(self.stage.issuer.variables()).stdin(Stdio::null());
        shell.output().unwrap().into()
    }

    /// All attempts at a level: which of them went through.
    fn attack(&self, user: User, level: &str) -> BTreeMap<String, String> {
        let [_, (_, token)] = self.stage.issuer.variables();
        let setup = self.outside.setup(&token).to_string();
        let attacks = Path::new(env!("CARGO_MANIFEST_DIR")).join("isolation/attacks.py");
        let program = self.folder.join("attacks.py");
        fs::copy(attacks, &program).unwrap();
        let program = program.display().to_string();
        let over = Arc::new(AtomicBool::new(false));
        let connecting = self.outside.connect_when_listening(over.clone());
        let run = self.run(user, level, &["python3", &program, &setup]).ok();
        over.store(true, Ordering::Relaxed);
        connecting.join().unwrap();
        let mut found: BTreeMap<String, String> = serde_json::from_str(&run.text()).unwrap();
        let left = self.outside.daemon_is_there();
        found
            .insert("daemon".into(), if left { "open".into() } else { "stopped: it ended".into() });
        found
    }
}

/// At each level guard's own listener is reached, and the table says what else is.
#[test]
fn the_table_in_the_documentation_says_what_each_level_stops() {
    if !is_root() {
        return;
    }
    let mut found = BTreeMap::new();
    for user in [User::Ordinary, User::Root] {
        let job = Job::new(user);
        for level in LEVELS {
            let attempts = job.attack(user, level);
            assert_eq!(attempts["guard"], "open", "{user:?} {level}: {attempts:#?}");
            found.insert((user == User::Root, level), attempts);
        }
    }
    table::check(&found);
}

/// What people do all day works wherever the machine lets it.
#[test]
fn clients_work_at_every_level() {
    if !is_root() {
        return;
    }
    for user in [User::Ordinary, User::Root] {
        let job = Job::new(user);
        let programs = job.stage.postgres.programs();
        let [psql, dump] =
            ["psql", "pg_dump"].map(|name| programs.join(name).display().to_string());
        for level in LEVELS {
            let one = ["psql", "-X", "-A", "-t", "-c", "SELECT count(*) FROM customers"];
            let script = "\"$0\" \"$@\" && \"$0\" -X -A -t \"$DATABASE_URL\" -c 'SELECT 41 + 1'";
            let mut command = vec!["sh", "-c", script, &psql];
            command.extend(&one[1..]);
            let run = job.run(user, level, &command).ok();
            assert_eq!(run.text(), "20\n42", "{user:?} {level}: {}", run.stderr);
            let isolation = format!("isolation of the command: {level}");
            let _run = run.says(&isolation);
            let run = job.run(user, level, &[&dump, "-t", "customers", "-f", "dump.sql"]).ok();
            let dumped = fs::read_to_string(job.folder.join("dump.sql")).unwrap();
            assert!(dumped.contains("COPY public.customers"), "{level}: {}", run.stderr);
            // A pipe between two, temporary files, an exit code.
            let script = "t=$(mktemp) && echo abc | tr a x > $t && cat $t && rm $t && exit 7";
            let run = job.run(user, level, &["sh", "-c", script]).code(7);
            assert_eq!(run.text(), "xbc");
        }
    }
}

/// What was reached is in the report, with the reasons.
#[test]
fn the_level_is_in_the_record_and_in_the_report() {
    if !is_root() {
        return;
    }
    let job = Job::new(User::Root);
    for level in LEVELS {
        let _run = job.run(User::Root, level, &["true"]).ok();
        let record = job.stage.sealed_record().unwrap();
        assert!(record.contains(&format!("\"level\":\"{level}\"")), "{record}");
    }
    let reports = fs::read_dir(job.folder.join("reports")).unwrap();
    let mut levels: Vec<Value> = reports
        .map(|report| {
            let text = fs::read_to_string(report.unwrap().path().join("report.json")).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()["isolation"]["level"].clone()
        })
        .collect();
    levels.sort_by_key(ToString::to_string);
    assert_eq!(levels, [json!("env"), json!("landlock"), json!("strict")]);
}
