//! The suite: its SQL and expected answers from the source package of the very server that is installed, its
//! runner from the client's package, its C functions compiled with the server's headers.
//!
//! All of it is under `target/regress`, by version; nothing of it belongs to this repository.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use guard_tests::{postgres, process::is_root};
use tempfile::TempDir;

use crate::shell;

/// What the suite loads besides `regress.so`, from the server's own extensions.
const EXTENSIONS: [&str; 2] = ["autoinc.so", "refint.so"];

/// The suite, ready to be copied and run.
pub(super) struct Suite {
    /// `pg_regress`.
    pub(super) runner: PathBuf,
    /// Where the server's and clients' programs are.
    pub(super) programs: PathBuf,
    dir: PathBuf,
}

impl Suite {
    /// Fetches and builds what is not there yet.
    pub(super) fn fetch() -> Result<Self> {
        let programs = postgres::programs()?;
        let home = programs.parent().context("the server's programs are in no folder")?.to_owned();
        let package = package(&programs)?;
        let version = shell::read(shell::command("dpkg-query").args([
            "--show",
            "--showformat=${Version}",
            &package,
        ]))?;
        let dir = shell::root().join("target/regress").join(version.trim());
        let runner = home.join("lib/pgxs/src/test/regress/pg_regress");
        let suite = Self { runner, programs, dir };
        if !suite.folder().join("regress.so").is_file() {
            println!("fetching the suite of {package} {version}");
            suite.make(&package, version.trim(), &home)?;
        }
        Ok(suite)
    }

    fn folder(&self) -> PathBuf {
        self.dir.join("suite")
    }

    /// Where what a run has printed is kept.
    pub(super) fn kept(&self, run: &str) -> PathBuf {
        self.dir.join(run)
    }

    /// A copy to run in, of the server's user.
    pub(super) fn copy(&self, dir: &Path) -> Result<PathBuf> {
        let copy = dir.join("suite");
        shell::run(shell::command("cp").arg("-R").arg(self.folder()).arg(&copy))?;
        if is_root() {
            shell::run(shell::command("chown").args(["-R", "postgres:"]).arg(&copy))?;
        }
        Ok(copy)
    }

    fn make(&self, package: &str, version: &str, home: &Path) -> Result<()> {
        let parts = self.dir.join("parts");
        drop(fs::remove_dir_all(&parts));
        fs::create_dir_all(&parts)?;
        let headers = headers(package)?;
        sources(&parts)?;
        let apt = |arguments: &[&str]| {
            shell::run(apt(&parts).args(arguments).current_dir(&parts)).context(
                "the suite comes from Debian's archive, in the version of the installed server; \
                 if the archive has a newer one, upgrade PostgreSQL first",
            )
        };
        apt(&["-qq", "update"])?;
        apt(&["-qq", "download", &format!("{headers}={version}")])?;
        let source = format!("{package}={version}");
        apt(&["-qq", "source", "--download-only", &source])?;
        let part = |end: &str| find(&parts, end);
        shell::run(shell::command("dpkg-deb").arg("-x").arg(part(".deb")?).arg(&parts))?;
        let suite = self.folder();
        drop(fs::remove_dir_all(&suite));
        fs::create_dir_all(&suite)?;
        shell::run(
            shell::command("tar")
                .arg("xf")
                .arg(part(".orig.tar.bz2")?)
                // Before the members: it counts for what follows it.
                .arg("-C")
                .arg(&suite)
                .args(["--strip-components=4", "--wildcards", "*/src/test/regress"]),
        )?;
        for name in EXTENSIONS {
            fs::copy(home.join("lib").join(name), suite.join(name))
                .with_context(|| format!("the server's extension `{name}`"))?;
        }
        let major = home.file_name().unwrap_or_default();
        let include = parts.join("usr/include/postgresql").join(major).join("server");
        let built = suite.join("regress.partial");
        shell::run(
            shell::command("cc")
                .args(["-shared", "-fPIC", "-O1", "-w", "-I"])
                .arg(include)
                .arg("-o")
                .arg(&built)
                .arg(suite.join("regress.c")),
        )?;
        fs::rename(built, suite.join("regress.so"))?;
        Ok(())
    }
}

/// A folder that the server's user can pass.
pub(super) fn work_dir() -> Result<TempDir> {
    let dir = tempfile::Builder::new().prefix("guard-regress-").tempdir()?;
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
    Ok(dir)
}

/// How the second file differs from the first.
pub(super) fn difference(before: &Path, after: &Path) -> Result<String> {
    let output =
        shell::command("diff").args(["-a", "-N", "-U3"]).arg(before).arg(after).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The package of the server whose programs these are: `postgresql-15`.
fn package(programs: &Path) -> Result<String> {
    let version = shell::read(shell::command(programs.join("postgres")).arg("--version"))?;
    let major = version.split_whitespace().nth(2).and_then(|version| version.split('.').next());
    Ok(format!("postgresql-{}", major.context("the server does not tell its version")?))
}

/// The package of its headers: `postgresql-server-dev-15`.
fn headers(package: &str) -> Result<String> {
    let major = package.strip_prefix("postgresql-").context("no package of a server")?;
    Ok(format!("postgresql-server-dev-{major}"))
}

/// `apt-get` with lists of its own, so that the machine's stay as they are and nobody need be root.
fn apt(parts: &Path) -> std::process::Command {
    let option = |name: &str, path: &str| format!("{name}={}", parts.join(path).display());
    let mut command = shell::command("apt-get");
    for option in [
        option("Dir::Etc::SourceList", "sources.list"),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        option("Dir::State::Lists", "lists"),
        option("Dir::Cache", "cache"),
        // Else it complains that its own user cannot write here.
        "APT::Sandbox::User=root".to_owned(),
    ] {
        command.args(["-o", &option]);
    }
    command
}

/// Debian's archive, with its sources.
fn sources(parts: &Path) -> Result<()> {
    let release = fs::read_to_string("/etc/os-release")?;
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    if value("ID=").as_deref() != Some("debian") {
        bail!("the suite is fetched from Debian's archive, and this is no Debian");
    }
    let codename = value("VERSION_CODENAME=").context("/etc/os-release names no release")?;
    let mut lines = String::new();
    for kind in ["deb", "deb-src"] {
        lines += &format!("{kind} http://deb.debian.org/debian {codename} main\n");
        lines +=
            &format!("{kind} http://deb.debian.org/debian-security {codename}-security main\n");
    }
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(parts.join(folder))?;
    }
    fs::write(parts.join("sources.list"), lines)?;
    Ok(())
}

fn find(dir: &Path, end: &str) -> Result<PathBuf> {
    let mut entries = fs::read_dir(dir)?.filter_map(Result::ok).map(|entry| entry.path());
    entries
        .find(|file| file.to_string_lossy().ends_with(end))
        .with_context(|| format!("no file that ends in `{end}` was fetched"))
}
