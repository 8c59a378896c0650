//! PgBouncer in session mode, set up as its manual recommends.

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    process::Command,
};

use anyhow::{Context as _, Result};
use guard_tests::{
    Stage,
    postgres::{PASSWORD, SUPERUSER},
    process::{Process, free_port, is_root},
};

use crate::install;

/// Starts one before the stage's server; gives it with its port.
pub(super) fn start(stage: &Stage) -> Result<(Process, u16)> {
    let dir = stage.dir().join("pgbouncer");
    fs::create_dir_all(&dir)?;
    let port = free_port()?;
    let server = stage.postgres.port;
    let users = dir.join("users");
    fs::write(&users, format!("\"{SUPERUSER}\" \"{PASSWORD}\"\n"))?;
    let config = dir.join("pgbouncer.ini");
    let text = format!(
        "[databases]\nshop = host=127.0.0.1 port={server} dbname=shop user={SUPERUSER} password={PASSWORD}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = scram-sha-256\nauth_file = {}\npool_mode = session\nmax_client_conn = 400\n\
         default_pool_size = 300\nignore_startup_parameters = extra_float_digits\n\
         log_connections = 0\nlog_disconnections = 0\n",
        users.display()
    );
    fs::write(&config, text)?;
    let program = install::server("pgbouncer").context("PgBouncer is missing")?;
    let mut command = Command::new(program);
    command.arg(&config).current_dir("/");
    if is_root() {
        // It refuses to be root.
        let owner = fs::metadata(stage.dir().join("postgres"))?;
        use std::os::unix::fs::MetadataExt as _;
        for path in [&dir, &users, &config] {
            chown(path, Some(owner.uid()), Some(owner.gid()))?;
        }
        command.uid(owner.uid()).gid(owner.gid());
    }
    fs::set_permissions(&users, Permissions::from_mode(0o600))?;
    let mut process =
        Process::start("PgBouncer", &mut command, &stage.dir().join("pgbouncer.log"))?;
    process
        .wait_until("connections", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    Ok((process, port))
}
