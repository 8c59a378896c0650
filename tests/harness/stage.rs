//! Everything that a run needs, started: server, issuer, broker, gateway.

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    client::{Finished, finish},
    http,
    issuer::Issuer,
    people::{CLIENT_SECRET, People},
    postgres::{PASSWORD, Postgres, SUPERUSER},
    process::{Process, free_port, wait_for},
    resources::{Apis, resource},
};

/// The database that the stage's resource is.
pub const DATABASE: &str = "shop";

/// Policies that several suites use.
pub mod policies {
    /// Everything is allowed, understood or not: what behaves as it does without guard must do so here.
    pub const ALLOW_ALL: &str = "\
policy: stage
rules:
  - name: everything
    sql: { effects: \"*\", certainty: \"*\" }
    decide: allow
";

    /// Reads are allowed, five columns are masked.
    pub const MASKED: &str = "\
policy: stage
rules:
  - name: reads
    sql: { effects: [read, session, transaction, lock] }
    decide: allow
masks:
  - sql: { columns: [public.customers.email] }
    with: hash
  - sql: { columns: [public.customers.full_name, public.cards.holder] }
    with: redact
  - sql: { columns: [public.customers.phone, public.cards.pan] }
    with: partial
";

    /// Reads are allowed and nothing else.
    pub const READ_ONLY: &str = "\
policy: stage
rules:
  - name: reads
    sql: { effects: [read, session, transaction, lock] }
    decide: allow
";
}

/// Where a stage's resource is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnforceAt {
    /// In a gateway.
    Gateway,
    /// In the shim.
    Shim,
}

/// The programs under test.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `guard`.
    pub guard: PathBuf,
    /// `guard-broker`.
    pub broker: PathBuf,
}

impl Programs {
    /// Those of a target folder's profile.
    pub fn of(dir: &Path) -> Self {
        Self { guard: dir.join("guard"), broker: dir.join("guard-broker") }
    }

    /// Those that were built with the program that runs now.
    pub fn built() -> Result<Self> {
        let programs = Self::of(&profile_dir()?);
        if programs.guard.is_file() && programs.broker.is_file() {
            return Ok(programs);
        }
        bail!(
            "`{}` is missing; `cargo xtask test` builds it, or `cargo build --workspace --bins`",
            programs.guard.display()
        )
    }
}

/// What a stage shall be like.
#[derive(Debug)]
pub struct Builder {
    policy: String,
    enforce_at: EnforceAt,
    claims: BTreeMap<String, String>,
    settings: Vec<&'static str>,
    programs: Option<Programs>,
    seed: Seed,
    limit: &'static str,
    tls: bool,
    lost_after: &'static str,
    renew: &'static str,
    recordings: Option<PathBuf>,
    also_at_shim: bool,
    database: &'static str,
    shared_store: bool,
    session_roles: bool,
    people: bool,
    pub(super) apis: Apis,
}

/// What is in the database at the start.
#[derive(Debug)]
enum Seed {
    Nothing,
    Shop { customers: u32 },
}

/// A broker, a gateway and what they stand between.
#[derive(Debug)]
pub struct Stage {
    /// The gateway, where there is one.
    pub gateway: Option<Process>,
    /// The broker.
    pub broker: Process,
    /// The issuer.
    pub issuer: Issuer,
    /// Where people sign in, if they can.
    pub people: Option<People>,
    /// The server.
    pub postgres: Postgres,
    /// The broker's address.
    pub url: String,
    programs: Programs,
    recordings: PathBuf,
    dir: TempDir,
}

impl Builder {
    /// Replaces the policy, which must be named `stage`.
    #[must_use]
    pub fn policy(mut self, yaml: &str) -> Self {
        yaml.clone_into(&mut self.policy);
        self
    }

    /// Enforces elsewhere than at a gateway.
    #[must_use]
    pub fn enforce_at(mut self, place: EnforceAt) -> Self {
        self.enforce_at = place;
        self
    }

    /// Grants the same database a second time, as `shop-at-shim`, enforced in the shim.
    #[must_use]
    pub fn also_at_shim(mut self) -> Self {
        self.also_at_shim = true;
        self
    }

    /// Changes a claim of the run's identity.
    #[must_use]
    pub fn claim(mut self, name: &str, value: &str) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// Adds a setting of the server.
    #[must_use]
    pub fn setting(mut self, setting: &'static str) -> Self {
        self.settings.push(setting);
        self
    }

    /// Fills the database with the shop of the example.
    #[must_use]
    pub fn shop(mut self, customers: u32) -> Self {
        self.seed = Seed::Shop { customers };
        self
    }

    /// Limits the grant.
    #[must_use]
    pub fn limit(mut self, limit: &'static str) -> Self {
        self.limit = limit;
        self
    }

    /// Connects to the server without TLS, as one does on loopback.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.tls = false;
        self
    }

    /// Ends a session whose shim was silent for this long.
    #[must_use]
    pub fn lost_after(mut self, time: &'static str) -> Self {
        self.lost_after = time;
        self
    }

    /// Ends a session that no fresh identity token renewed for this long.
    #[must_use]
    pub fn renew(mut self, time: &'static str) -> Self {
        self.renew = time;
        self
    }

    /// Keeps the records elsewhere.
    #[must_use]
    pub fn recordings(mut self, dir: &Path) -> Self {
        self.recordings = Some(dir.to_path_buf());
        self
    }

    /// Takes other programs than those beside the running one.
    #[must_use]
    pub fn programs(mut self, programs: Programs) -> Self {
        self.programs = Some(programs);
        self
    }

    /// Names the resource's database otherwise than [`DATABASE`].
    #[must_use]
    pub fn database(mut self, name: &'static str) -> Self {
        self.database = name;
        self
    }

    /// Keeps sessions in PostgreSQL, as several brokers would, in a database of the stage's server.
    #[must_use]
    pub fn shared_store(mut self) -> Self {
        self.shared_store = true;
        self
    }

    /// Has the broker make a role for each session.
    #[must_use]
    pub fn session_roles(mut self) -> Self {
        self.session_roles = true;
        self
    }

    /// Lets people sign in.
    #[must_use]
    pub fn people(mut self) -> Self {
        self.people = true;
        self
    }

    /// Starts everything and waits until it is ready.
    pub fn start(self) -> Result<Stage> {
        let programs = match &self.programs {
            Some(programs) => programs.clone(),
            None => Programs::built()?,
        };
        let dir = tempfile::Builder::new().prefix("guard-stage-").tempdir()?;
        // The server's user has to pass.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        let postgres = Postgres::start(dir.path(), &self.settings)?;
        postgres.sql("postgres", &format!("CREATE DATABASE {}", self.database))?;
        if let Seed::Shop { customers } = self.seed {
            seed_shop(&postgres, customers)?;
        }
        if self.shared_store {
            postgres.sql("postgres", "CREATE DATABASE guard")?;
        }
        let issuer = Issuer::start(dir.path(), &self.claims)?;
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}");
        let identity = dir.path().join("gateway.key");
        let thumbprint = print_key(&programs, &identity)?;
        let people = match self.people {
            true => Some(People::start(&format!("{url}/sign-in/callback"))?),
            false => None,
        };
        self.configure(dir.path(), port, &postgres, &issuer, &thumbprint)?;
        if let Some(people) = &people {
            let_in(dir.path(), people.url())?;
        }
        let mut broker = start_broker(&programs, dir.path())?;
        wait_healthy(&mut broker, &url)?;
        let gateway = match self.enforce_at {
            EnforceAt::Gateway => Some(start_gateway(&programs, dir.path(), &url)?),
            EnforceAt::Shim => None,
        };
        let recordings = self.records_at(dir.path());
        Ok(Stage { gateway, broker, issuer, people, postgres, url, programs, recordings, dir })
    }

    fn records_at(&self, dir: &Path) -> PathBuf {
        self.recordings.clone().unwrap_or_else(|| dir.join("recordings"))
    }

    fn configure(
        &self,
        dir: &Path,
        port: u16,
        postgres: &Postgres,
        issuer: &Issuer,
        thumbprint: &str,
    ) -> Result<()> {
        let (tls, database) = (self.tls, self.database);
        let mut resources = resource("shop", self.enforce_at, tls, postgres.port, database);
        if self.also_at_shim {
            resources += &resource("shop-at-shim", EnforceAt::Shim, tls, postgres.port, database);
        }
        if self.session_roles {
            let fixed = format!("{{ username: {SUPERUSER}, password: {{ file: password }} }}");
            let role = format!("{{ postgres_role: {{ admin: {fixed} }} }}");
            resources = resources.replace(&fixed, &role);
        }
        for (name, text) in self.apis.files() {
            write_secret(&dir.join(name), text)?;
        }
        resources += &self.apis.entries(self.enforce_at);
        let recordings = self.records_at(dir);
        fs::create_dir_all(&recordings)?;
        let (recordings, issuer) = (recordings.display(), &issuer.url);
        let (lost_after, renew) = (self.lost_after, self.renew);
        let store = if self.shared_store {
            // By the certificate's name, over TLS: as in life.
            format!(
                "{{ postgres: \"postgres://{SUPERUSER}@localhost:{}/guard\", password: {{ file: password }}, \
                 tls_ca: ca.pem }}",
                postgres.port
            )
        } else {
            "sqlite:guard.db".into()
        };
        let config = format!(
            "listen: 127.0.0.1:{port}\n\
             url: http://127.0.0.1:{port}\n\
             store: {store}\n\
             recordings: file:{recordings}\n\
             sessions: {{ heartbeat: 1s, lost_after: {lost_after}, renew: {renew} }}\n\
             issuers:\n  - name: github\n    platform: github\n    url: {issuer}\n\
             resources:\n{resources}\
             gateways:\n  - {{ name: local, key: \"{thumbprint}\" }}\n\
             trust: trust\n\
             policies: policies\n"
        );
        let limit = self.limit;
        let trust = format!(
            "- name: nightly\n  issuer: github\n  claims:\n    repository_id: \"456789\"\n    \
             ref: refs/heads/main\n    event_name: [schedule, workflow_dispatch]\n  \
             grants:\n    - {{ resource: shop, policy: stage, for: {limit} }}\n"
        );
        let trust = if self.also_at_shim {
            format!("{trust}    - {{ resource: shop-at-shim, policy: stage, for: {limit} }}\n")
        } else {
            trust
        };
        let trust = trust + &self.apis.grants(limit);
        fs::create_dir_all(dir.join("trust"))?;
        fs::create_dir_all(dir.join("policies"))?;
        write_secret(&dir.join("password"), PASSWORD)?;
        fs::write(dir.join("guard.yaml"), config)?;
        fs::write(dir.join("trust/stage.yaml"), trust)?;
        fs::write(dir.join("policies/stage.yaml"), &self.policy)?;
        Ok(())
    }
}

impl Stage {
    /// A stage with an allow-all policy, enforced at a gateway, and an empty database.
    pub fn builder() -> Builder {
        Builder {
            policy: policies::ALLOW_ALL.into(),
            enforce_at: EnforceAt::Gateway,
            claims: BTreeMap::new(),
            settings: Vec::new(),
            programs: None,
            seed: Seed::Nothing,
            limit: "10m",
            tls: true,
            lost_after: "5s",
            renew: "10m",
            recordings: None,
            also_at_shim: false,
            database: DATABASE,
            shared_store: false,
            session_roles: false,
            people: false,
            apis: Apis::default(),
        }
    }

    /// The stage's own folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `guard run … -- command`, as the platform's runner would start it.
    pub fn guard(&self, command: &Command) -> Command {
        let mut guard = Command::new(&self.programs.guard);
        clean(&mut guard);
        guard
            .args(["run", "--broker", &self.url, "--report"])
            .arg(self.reports())
            .envs(self.issuer.variables())
            // What a command is kept from has a suite of its own; here it is the data path that is looked at.
            .env("GUARD_ISOLATION", "env")
            .stdin(Stdio::null())
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => guard.env(name, value),
                None => guard.env_remove(name),
            };
        }
        guard
    }

    /// `guard` with other arguments, as a step of the platform's job would start it.
    pub fn step(&self, arguments: &[&str]) -> Command {
        let mut guard = Command::new(&self.programs.guard);
        clean(&mut guard);
        guard.args(arguments).envs(self.issuer.variables()).stdin(Stdio::null());
        guard
    }

    /// Runs a command under guard to its end.
    pub fn run(&self, command: &Command) -> Result<Finished> {
        finish(&mut self.guard(command))
    }

    /// Runs a client program of the server's version under guard to its end.
    pub fn client(&self, program: &str, arguments: &[&str]) -> Result<Finished> {
        let mut command = Command::new(self.postgres.programs().join(program));
        command.args(arguments);
        self.run(&command)
    }

    /// Runs statements with `psql` under guard; rows come unaligned.
    pub fn psql(&self, sql: &str) -> Result<Finished> {
        self.client("psql", &["-X", "-q", "-A", "-t", "-c", sql])
    }

    /// Starts a command under guard and lets it run.
    pub fn spawn(&self, name: &str, command: &Command) -> Result<Process> {
        let log = self.dir().join(format!("{name}.log"));
        Process::start(name, &mut self.guard(command), &log)
    }

    /// `guard` with other arguments.
    pub fn tool(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = Command::new(&self.programs.guard);
        clean(&mut command);
        finish(command.args(arguments))
    }

    /// Where reports go.
    pub fn reports(&self) -> PathBuf {
        self.dir().join("reports")
    }

    /// The folders of all reports so far, by age.
    pub fn report_dirs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.reports()).into_iter().flatten();
        let mut dirs: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        // Sessions are numbered by time (UUID version 7).
        dirs.sort();
        dirs
    }

    /// The newest report as JSON.
    pub fn report(&self) -> Result<Value> {
        let dir = self.report_dirs().pop().context("there is no report")?;
        let text = fs::read_to_string(dir.join("report.json"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The records as the broker keeps them, by age.
    pub fn records(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.recordings).into_iter().flatten();
        let mut files: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        files.retain(|file| {
            let name = file.to_string_lossy();
            name.strip_suffix(".zst").unwrap_or(&name).ends_with(".jsonl")
        });
        files.sort();
        files
    }

    /// Waits until the newest record is sealed, and gives it.
    pub fn sealed_record(&self) -> Result<String> {
        wait_for("sealed record", || {
            let text = record_text(&self.records().pop()?).ok()?;
            text.lines().last()?.contains("\"signature\"").then_some(text)
        })
    }

    /// `guard-broker` with other arguments, for the stage's configuration.
    pub fn broker_tool(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = Command::new(&self.programs.broker);
        clean(&mut command);
        let config = self.dir().join("guard.yaml");
        finish(command.args(arguments).arg("--config").arg(config))
    }

    /// The key that the broker seals with, as `guard audit verify --key` takes it.
    pub fn key(&self) -> Result<String> {
        let output = Command::new(&self.programs.broker)
            .args(["key", "--config"])
            .arg(self.dir().join("guard.yaml"))
            .output()?;
        let finished = Finished::from(output);
        if finished.code != 0 {
            bail!("guard-broker key: {}", finished.stderr);
        }
        Ok(finished.text())
    }

    /// Another broker on the stage's store and folder, which listens at `port`; `number` names its log.
    pub fn replica(&self, number: usize, port: u16) -> Result<Process> {
        let own = self.url.trim_start_matches("http://");
        let config = fs::read_to_string(self.dir().join("guard.yaml"))?;
        let config =
            config.replace(&format!("listen: {own}"), &format!("listen: 127.0.0.1:{port}"));
        let file = self.dir().join(format!("replica-{number}.yaml"));
        fs::write(&file, config)?;
        let mut command = Command::new(&self.programs.broker);
        clean(&mut command);
        command.arg("serve").arg("--config").arg(file);
        let log = self.dir().join(format!("replica-{number}.log"));
        let mut broker = Process::start("guard-broker", &mut command, &log)?;
        wait_healthy(&mut broker, &format!("http://127.0.0.1:{port}"))?;
        Ok(broker)
    }

    /// Starts the broker again after its end, and does not wait for it.
    pub fn begin_broker(&mut self) -> Result<()> {
        self.broker = start_broker(&self.programs, self.dir.path())?;
        Ok(())
    }

    /// Starts the broker again after its end.
    pub fn restart_broker(&mut self) -> Result<()> {
        self.begin_broker()?;
        wait_healthy(&mut self.broker, &self.url)
    }

    /// Starts the gateway again after its end.
    pub fn restart_gateway(&mut self) -> Result<()> {
        self.gateway = Some(start_gateway(&self.programs, self.dir.path(), &self.url)?);
        Ok(())
    }

    /// Keeps the folder when the stage is gone.
    pub fn keep(mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir.path().to_path_buf()
    }
}

/// Says in the broker's configuration where people sign in, and who may do what.
fn let_in(dir: &Path, issuer: &str) -> Result<()> {
    write_secret(&dir.join("client-secret"), CLIENT_SECRET)?;
    let file = dir.join("guard.yaml");
    let text = fs::read_to_string(&file)?;
    let people = format!(
        "people:\n  issuer: {issuer}\n  client_id: guard\n  client_secret: {{ file: client-secret }}\n  \
         scopes: [groups]\n  roles:\n    viewer: [engineering]\n    approver: [dba]\n    auditor: [security]\n    \
         admin: [admins]\n"
    );
    fs::write(file, text + &people)?;
    Ok(())
}

/// Fills a database with the shop of the example.
pub fn seed_shop(postgres: &Postgres, customers: u32) -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/nightly-backup/database.sql")
        .canonicalize()
        .context("examples/nightly-backup/database.sql")?;
    let output = postgres
        .client("psql", DATABASE)
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", &format!("customers={customers}"), "-f"])
        .arg(file)
        .output()?;
    if !output.status.success() {
        bail!("cannot fill the database: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Makes a gateway's key and gives its thumbprint.
pub fn print_key(programs: &Programs, identity: &Path) -> Result<String> {
    let output = Command::new(&programs.guard)
        .args(["gateway", "--name", "local", "--print-key", "--identity"])
        .arg(identity)
        .output()
        .with_context(|| format!("cannot start {}", programs.guard.display()))?;
    if !output.status.success() {
        bail!("guard gateway --print-key: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Starts a broker on `guard.yaml` in `dir`.
pub fn start_broker(programs: &Programs, dir: &Path) -> Result<Process> {
    let mut command = Command::new(&programs.broker);
    clean(&mut command);
    command.arg("serve").arg("--config").arg(dir.join("guard.yaml"));
    Process::start("guard-broker", &mut command, &dir.join("broker.log"))
}

/// Waits until a broker answers.
pub fn wait_healthy(broker: &mut Process, url: &str) -> Result<()> {
    let health = format!("{url}/readyz");
    broker.wait_until("healthy broker", || {
        http::get(&health, &[]).is_ok_and(|answer| answer.status == 200)
    })
}

/// Starts a gateway with its key and log in `dir`, and waits until the broker knows it.
pub fn start_gateway(programs: &Programs, dir: &Path, broker: &str) -> Result<Process> {
    let port = free_port()?;
    let log = dir.join("gateway.log");
    // A log of this start only: the wait below must not see an earlier one's.
    drop(File::create(&log)?);
    let mut command = Command::new(&programs.guard);
    clean(&mut command);
    command
        .args(["gateway", "--broker", broker, "--name", "local", "--identity"])
        .arg(dir.join("gateway.key"))
        .args(["--listen", &format!("127.0.0.1:{port}")]);
    let mut gateway = Process::start("guard gateway", &mut command, &log)?;
    let said = || fs::read_to_string(&log).unwrap_or_default();
    gateway.wait_until("registered gateway", || said().contains("registered"))?;
    Ok(gateway)
}

/// Takes out of a command's environment what a developer's shell may have in it.
fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if ["PG", "GUARD_", "GITHUB_", "ACTIONS_", "CI_"]
            .iter()
            .any(|prefix| name_text.starts_with(prefix))
            && name_text != "GUARD_TEST_PYTHON"
        {
            command.env_remove(&name);
        }
    }
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(())
}

/// The folder of the running program's profile: `target/debug`.
fn profile_dir() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let dir = program.parent().context("the running program has no folder")?;
    // A test is in `deps/` of it.
    Ok(if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir }.to_path_buf())
}

/// The target folder.
pub(super) fn target_dir() -> Result<PathBuf> {
    let profile = profile_dir()?;
    Ok(profile.parent().context("the running program is not in a target folder")?.to_path_buf())
}

/// A record's lines, compressed or not.
pub fn record_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path)?;
    let plain = match path.extension().is_some_and(|end| end == "zst") {
        true => zstd::decode_all(&bytes[..])?,
        false => bytes,
    };
    Ok(String::from_utf8(plain)?)
}
