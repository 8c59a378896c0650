//! The example's folder, copied and joined to servers on free ports.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use guard_tests::{
    Finished, Issuer, Postgres, Programs,
    process::{Process, free_port},
    stage,
};
use tempfile::TempDir;

use crate::shell;

/// The example's database.
pub(super) const DATABASE: &str = "shop";
/// Who the broker connects as: it owns the tables, so that a DROP would work.
const OWNER: &str = "shop_owner";

/// Everything that runs. Dropping it stops it, the last started first.
pub(super) struct Scene {
    pub(super) gateway: Process,
    pub(super) broker: Process,
    pub(super) issuer: Issuer,
    pub(super) postgres: Postgres,
    pub(super) programs: Programs,
    pub(super) url: String,
    reports: PathBuf,
    dir: TempDir,
}

impl Scene {
    /// Starts it all.
    pub(super) fn start(customers: u32) -> Result<Self> {
        let programs = Programs::built()?;
        let dir = tempfile::Builder::new().prefix("guard-demo-").tempdir()?;
        // The server's user has to pass.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        let postgres = Postgres::start(dir.path(), &[])?;
        let password = random_password()?;
        fill(&postgres, &password, customers)?;
        let issuer = Issuer::start(dir.path(), &std::collections::BTreeMap::new())?;
        let thumbprint = stage::print_key(&programs, &dir.path().join("gateway.key"))?;
        let port = free_port()?;
        copy_example(
            dir.path(),
            &[
                ("127.0.0.1:8440", &format!("127.0.0.1:{port}")),
                ("https://token.actions.githubusercontent.com", &issuer.url),
                ("localhost:5432", &format!("localhost:{}", postgres.port)),
                ("0000000000000000000000000000000000000000000", &thumbprint),
            ],
        )?;
        let secret = dir.path().join("shop.password");
        fs::write(&secret, password)?;
        fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
        let url = format!("http://127.0.0.1:{port}");
        let mut broker = stage::start_broker(&programs, dir.path())?;
        stage::wait_healthy(&mut broker, &url)?;
        let gateway = stage::start_gateway(&programs, dir.path(), &url)?;
        // Reports are what stays of a demo.
        let reports = shell::root().join("target/demo");
        drop(fs::remove_dir_all(&reports));
        Ok(Self { gateway, broker, issuer, postgres, programs, url, reports, dir })
    }

    /// Its folder.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The dump that the job writes.
    pub(super) fn dump(&self) -> PathBuf {
        self.dir().join("backup/shop.dump")
    }

    /// The folder of the run's report.
    pub(super) fn report(&self) -> Result<PathBuf> {
        let mut entries = fs::read_dir(&self.reports).context("the run has left no report")?;
        Ok(entries.next().context("the run has left no report")??.path())
    }

    /// `guard run --`, with the variables that the platform's runner sets.
    pub(super) fn guard_run(&self) -> Command {
        let mut command = Command::new(&self.programs.guard);
        command
            .current_dir(self.dir())
            .args(["run", "--broker", &self.url, "--report"])
            .arg(&self.reports)
            .arg("--")
            .envs(self.issuer.variables())
            .env("PATH", path_with(self.postgres.programs()))
            .stdin(Stdio::null());
        command
    }

    /// `guard` with other arguments, to its end.
    pub(super) fn guard(&self, arguments: &[&str]) -> Result<Finished> {
        Ok(Command::new(&self.programs.guard).args(arguments).output()?.into())
    }

    /// The broker's public key.
    pub(super) fn key(&self) -> Result<String> {
        let config = self.dir().join("guard.yaml");
        let output =
            Command::new(&self.programs.broker).args(["key", "--config"]).arg(config).output()?;
        let finished = Finished::from(output);
        if finished.code != 0 {
            bail!("guard-broker key: {}", finished.stderr);
        }
        Ok(finished.text())
    }
}

/// The server's own clients before others: `pg_dump` refuses a newer server.
fn path_with(first: &Path) -> std::ffi::OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(first.to_path_buf()).chain(std::env::split_paths(&rest));
    std::env::join_paths(all).unwrap_or(rest)
}

fn random_password() -> Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 24];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(guard_tests::issuer::base64url(&bytes))
}

fn fill(postgres: &Postgres, password: &str, customers: u32) -> Result<()> {
    postgres.sql("postgres", &format!("CREATE ROLE {OWNER} LOGIN PASSWORD '{password}'"))?;
    postgres.sql("postgres", &format!("CREATE DATABASE {DATABASE} OWNER {OWNER}"))?;
    postgres.sql(DATABASE, &format!("ALTER SCHEMA public OWNER TO {OWNER}"))?;
    let output = postgres
        .client("psql", DATABASE)
        .env("PGUSER", OWNER)
        .env("PGPASSWORD", password)
        .args(["-X", "-q", "-o", "/dev/null", "-v", &format!("customers={customers}"), "-f"])
        .arg(example().join("database.sql"))
        .output()?;
    if !output.status.success() {
        bail!("cannot fill the database: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn example() -> PathBuf {
    shell::root().join("examples/nightly-backup")
}

/// Copies the example and writes real addresses over those of its `guard.yaml`.
fn copy_example(to: &Path, addresses: &[(&str, &str)]) -> Result<()> {
    shell::run(shell::command("cp").arg("-R").arg(format!("{}/.", example().display())).arg(to))?;
    let file = to.join("guard.yaml");
    let mut text = fs::read_to_string(&file)?;
    for (example, real) in addresses {
        if !text.contains(example) {
            bail!(
                "examples/nightly-backup/guard.yaml no longer has `{example}`, which the demo replaces"
            );
        }
        text = text.replace(example, real);
    }
    fs::write(&file, text)?;
    Ok(())
}
