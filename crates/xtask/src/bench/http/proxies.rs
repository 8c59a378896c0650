//! nginx as the API, and nginx, HAProxy and hyper as reverse proxies in front of it, the first two set up as their manuals recommend: a
//! process or thread for each processor, connections to the API kept, no log.

use std::{
    fmt::Write as _,
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use guard_tests::process::{Process, free_port, is_root};

use crate::{install, shell};

/// Programs with their processes.
type Pids = Vec<(&'static str, u32)>;

/// All of them, with their addresses.
pub(super) struct Proxies {
    pub(super) direct: String,
    pub(super) nginx: (String, Pids),
    pub(super) haproxy: (String, Pids),
    pub(super) hyper: (String, Pids),
    _processes: [Process; 4],
}

impl Proxies {
    /// Starts them in a folder, `bare` being the program that is hyper alone; requests get through with this token.
    pub(super) fn start(folder: &Path, bare: &Path, token: &str) -> Result<Self> {
        let files = folder.join("files");
        write_files(&files)?;
        let files = files.display();
        let (api, api_at) = nginx(
            &folder.join("api"),
            "",
            &format!(
                "root {files}; location / {{ if ($http_authorization != \"Bearer {token}\") {{ return 401; }} }}"
            ),
        )?;
        let (nginx, nginx_at) = nginx(
            &folder.join("nginx"),
            &format!("upstream api {{ server 127.0.0.1:{api_at}; keepalive 64; }}"),
            &format!(
                "location / {{ proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                 proxy_set_header Authorization \"Bearer {token}\"; }}"
            ),
        )?;
        let (haproxy, haproxy_at) = haproxy(&folder.join("haproxy"), api_at, token)?;
        let (hyper, hyper_at) = hyper(&folder.join("hyper"), bare, api_at, token)?;
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        let workers = children(nginx.pid())?.into_iter().map(|pid| ("nginx", pid)).collect();
        let threads = vec![("haproxy", haproxy.pid())];
        let bare = vec![("hyper", hyper.pid())];
        Ok(Self {
            direct: at(api_at),
            nginx: (at(nginx_at), workers),
            haproxy: (at(haproxy_at), threads),
            hyper: (at(hyper_at), bare),
            _processes: [api, nginx, haproxy, hyper],
        })
    }
}

/// An answer of 1 KB, one of 10 MB, and a list of 10 MB with a field that policies mask.
fn write_files(files: &Path) -> Result<()> {
    fs::create_dir_all(files.join("masked"))?;
    fs::write(files.join("small"), "x".repeat(1000))?;
    fs::write(files.join("large"), "x".repeat(10_000_000))?;
    let mut list = String::from("[");
    let mut number = 1_000_000;
    while list.len() < 9_999_800 {
        let comma = if list.len() > 1 { "," } else { "" };
        write!(
            list,
            "{comma}{{\"id\":{number},\"email\":\"ann{number}@example.org\",\"plan\":\"free\",\
             \"note\":\"a note of 21 letters.\",\"active\":true}}"
        )?;
        number += 1;
    }
    list.push(']');
    Ok(fs::write(files.join("masked/list.json"), list)?)
}

fn nginx(folder: &Path, http: &str, server: &str) -> Result<(Process, u16)> {
    fs::create_dir_all(folder)?;
    let port = free_port()?;
    // Only root may choose whom the workers run as, and the files are root's then.
    let user = if is_root() { "user root;" } else { "" };
    let at = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
        .concat();
    let text = format!(
        "{user} daemon off; worker_processes auto; pid {at}/pid; error_log {at}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; \
         types {{ application/json json; }} default_type text/plain; {temporary}\n{http}\n\
         server {{ listen 127.0.0.1:{port} reuseport; {server} }} }}\n"
    );
    let config = folder.join("nginx.conf");
    fs::write(&config, text)?;
    let mut command = shell::command(program("nginx")?);
    command.args(["-e", &format!("{at}/error.log"), "-c"]).arg(config);
    Ok((listening("nginx", command, folder, port)?, port))
}

fn haproxy(folder: &Path, api: u16, token: &str) -> Result<(Process, u16)> {
    fs::create_dir_all(folder)?;
    let port = free_port()?;
    let text = format!(
        "defaults\n  mode http\n  http-reuse always\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n\
         frontend clients\n  bind 127.0.0.1:{port}\n  default_backend api\n\
         backend api\n  http-request set-header Authorization \"Bearer {token}\"\n  server api 127.0.0.1:{api}\n"
    );
    let config = folder.join("haproxy.cfg");
    fs::write(&config, text)?;
    let mut command = shell::command(program("haproxy")?);
    command.arg("-db").arg("-f").arg(config);
    Ok((listening("haproxy", command, folder, port)?, port))
}

fn hyper(folder: &Path, program: &Path, api: u16, token: &str) -> Result<(Process, u16)> {
    fs::create_dir_all(folder)?;
    let port = free_port()?;
    let mut command = shell::command(program);
    command.args([format!("127.0.0.1:{port}"), format!("127.0.0.1:{api}"), token.to_owned()]);
    Ok((listening("hyper", command, folder, port)?, port))
}

fn program(name: &str) -> Result<PathBuf> {
    install::server(name).with_context(|| format!("{name} is missing"))
}

fn listening(
    name: &str,
    mut command: std::process::Command,
    folder: &Path,
    port: u16,
) -> Result<Process> {
    let mut process = Process::start(name, &mut command, &folder.join("log"))?;
    process.wait_until("connections", || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    Ok(process)
}

/// The processes that a process has started (proc(5)).
fn children(pid: u32) -> Result<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}
