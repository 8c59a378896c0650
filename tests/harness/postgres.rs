//! A PostgreSQL server of a test's own: TLS with a made authority, passwords by SCRAM.
//!
//! A cluster is made once and copied for each test, which takes a tenth of a second instead of four.

use std::{
    fs::{self, File, Permissions},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use super::process::{Process, free_port, is_root};

/// The server's superuser.
pub const SUPERUSER: &str = "postgres";
/// Its password: the test's own, on loopback, for as long as the test runs.
pub const PASSWORD: &str = "only-the-broker-knows-2f9c41d7";

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    programs: PathBuf,
    /// Where it listens on loopback.
    pub port: u16,
    /// PEM of the authority that its certificate is from.
    pub ca: PathBuf,
    data: PathBuf,
}

impl Postgres {
    /// Starts one in `dir`, with more settings where wanted.
    pub fn start(dir: &Path, settings: &[&str]) -> Result<Self> {
        let programs = programs()?;
        let template = template(&programs)?;
        let data = dir.join("postgres");
        copy(&template, &data)?;
        let port = free_port()?;
        let owner = Owner::find()?;
        owner.give(&data)?;
        fs::set_permissions(&data, Permissions::from_mode(0o700))?;
        let ca = dir.join("ca.pem");
        fs::copy(data.join("ca.pem"), &ca)?;
        let mut command = owner.command(programs.join("postgres"));
        command.current_dir("/").arg("-D").arg(&data).args([
            "-p",
            &port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            &format!("unix_socket_directories={}", data.display()),
        ]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        let process = Process::start("PostgreSQL", &mut command, &dir.join("postgres.log"))?
            // Fast shutdown: PostgreSQL's SIGTERM would wait for the clients.
            .stopped_by(Signal::INT);
        let mut server = Self { process, programs, port, ca, data };
        let ready = server.programs.join("pg_isready");
        server.process.wait_until("connections", || {
            Command::new(&ready)
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                .status()
                .is_ok_and(|status| status.success())
        })?;
        Ok(server)
    }

    /// A client program of the server's own version, told to connect to it directly as the superuser.
    pub fn client(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", SUPERUSER)
            .env("PGPASSWORD", PASSWORD)
            .env("PGDATABASE", database)
            .env("PGSSLMODE", "disable");
        command
    }

    /// Runs SQL directly at the server and gives the unaligned rows.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let output = self
            .client("psql", database)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .output()?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Runs a file of SQL directly at the server.
    pub fn sql_file(&self, database: &str, file: &Path) -> Result<()> {
        let output = self
            .client("psql", database)
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(file)
            .output()?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// The folder of its programs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The server's log.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The first process of the server.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Stops it at once, as a power cut would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::QUIT);
        self.process.stop().map(drop)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.process.stop());
        drop(fs::remove_dir_all(&self.data));
    }
}

/// The folder of the newest server programs: `GUARD_PG_BIN`, or where Debian puts them.
pub fn programs() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("GUARD_PG_BIN") {
        return Ok(dir.into());
    }
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("initdb").is_file())
        .collect();
    found.sort();
    match found.pop() {
        Some((_, bin)) => Ok(bin),
        None => bail!(
            "no PostgreSQL under /usr/lib/postgresql; `cargo xtask install` installs it, or set \
             GUARD_PG_BIN to the folder of `initdb`"
        ),
    }
}

/// Who the server runs as: PostgreSQL refuses to be root.
struct Owner(Option<(u32, u32)>);

impl Owner {
    fn find() -> Result<Self> {
        if !is_root() {
            return Ok(Self(None));
        }
        let id = |flag: &str| -> Result<u32> {
            let output = Command::new("id").args([flag, SUPERUSER]).output()?;
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            text.parse().context("there is no user `postgres`, and the server refuses to be root")
        };
        Ok(Self(Some((id("-u")?, id("-g")?))))
    }

    fn command(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        command
    }

    fn give(&self, path: &Path) -> Result<()> {
        let Some((user, group)) = self.0 else { return Ok(()) };
        chown(path, Some(user), Some(group))?;
        if fs::symlink_metadata(path)?.is_dir() {
            for entry in fs::read_dir(path)? {
                self.give(&entry?.path())?;
            }
        }
        Ok(())
    }
}

/// A cluster to copy, made at the first call on this machine.
fn template(programs: &Path) -> Result<PathBuf> {
    let version = run(Command::new(programs.join("postgres")).arg("--version"))?;
    let version = version.split_whitespace().nth(2).unwrap_or("unknown").to_owned();
    let store = super::stage::target_dir()?.join("stage");
    fs::create_dir_all(&store)?;
    let template = store.join(format!("postgres-{version}"));
    // One test makes it, the others wait for it.
    let lock = File::create(store.join("lock"))?;
    lock.lock()?;
    if !template.exists() {
        // Not in the target folder, which the server's user may not be able to reach.
        let work = tempfile::Builder::new().prefix("guard-initdb-").tempdir()?;
        fs::set_permissions(work.path(), Permissions::from_mode(0o755))?;
        let data = work.path().join("data");
        make_cluster(programs, work.path(), &data)?;
        let partial = store.join(format!("postgres-{version}.partial"));
        drop(fs::remove_dir_all(&partial));
        copy(&data, &partial)?;
        fs::rename(&partial, &template)?;
    }
    Ok(template)
}

fn make_cluster(programs: &Path, work: &Path, data: &Path) -> Result<()> {
    let owner = Owner::find()?;
    let password = work.join("password");
    fs::write(&password, PASSWORD)?;
    fs::create_dir(data)?;
    owner.give(work)?;
    let mut initdb = owner.command(programs.join("initdb"));
    initdb
        .current_dir("/")
        .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
        .args(["--username", SUPERUSER])
        .arg(format!("--pwfile={}", password.display()))
        .arg("-D")
        .arg(data);
    run(&mut initdb)?;
    certificates(data)?;
    let settings = "ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n\
                    fsync = off\nmax_connections = 120\nlog_min_messages = warning\n";
    let mut conf = fs::read_to_string(data.join("postgresql.conf"))?;
    conf.push_str(settings);
    fs::write(data.join("postgresql.conf"), conf)?;
    Ok(())
}

/// An authority, and a certificate of it for `localhost` and `127.0.0.1`.
fn certificates(dir: &Path) -> Result<()> {
    let openssl = || {
        let mut command = Command::new("openssl");
        command.current_dir(dir);
        command
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    run(openssl()
        .args(["req", "-x509", "-days", "3650", "-subj", "/CN=a test's own authority"])
        .args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"])
        .args(key)
        .args(["-keyout", "ca.key", "-out", "ca.pem"]))?;
    run(openssl().args(["req", "-new", "-subj", "/CN=localhost"]).args(key).args([
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
    ]))?;
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n\
                 extendedKeyUsage=serverAuth\n";
    fs::write(dir.join("server.ext"), names)?;
    run(openssl()
        .args(["x509", "-req", "-days", "3650", "-in", "server.csr", "-CA", "ca.pem"])
        .args(["-CAkey", "ca.key", "-CAcreateserial", "-extfile", "server.ext"])
        .args(["-out", "server.pem"]))?;
    fs::set_permissions(dir.join("server.key"), Permissions::from_mode(0o600))?;
    fs::remove_file(dir.join("ca.key"))?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").arg("-a").arg(from).arg(to)).map(drop)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
