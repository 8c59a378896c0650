//! What `dev` needs around the broker: a folder, a configuration, the gateway's program, and the file by
//! which `guard run` finds it.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use guard_policy::{LockText, Policy};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{DEV, DevIssuer};
use crate::config::is_loopback_host;

/// Where everything is kept; removed at the end unless it was named.
pub(super) struct Folder {
    path: PathBuf,
    throw_away: bool,
}

impl Folder {
    pub(super) fn new(named: Option<&Path>) -> anyhow::Result<Self> {
        let (path, throw_away) = match named {
            Some(path) => (path.to_owned(), false),
            None => {
                let name = format!("guard-dev-{}", uuid::Uuid::new_v4().simple());
                (std::env::temp_dir().join(name), true)
            }
        };
        let made = fs::DirBuilder::new().recursive(!throw_away).mode(0o700).create(&path);
        made.with_context(|| format!("cannot make the folder `{}`", path.display()))?;
        Ok(Self { path: path.canonicalize()?, throw_away })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.throw_away
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            crate::say(&format!("cannot remove `{}`: {error}", self.path.display()));
        }
    }
}

/// Writes a configuration for one database, with a trust rule for the local issuer's tokens.
pub(super) fn write_config(
    folder: &Path,
    url: &str,
    issuer: &DevIssuer,
    postgres: &str,
    password_file: Option<&Path>,
    policy: &Path,
) -> anyhow::Result<PathBuf> {
    let wrong = || format!("`{postgres}` is not `postgres://user@host:port/database`");
    let database = url::Url::parse(postgres).with_context(wrong)?;
    if !matches!(database.scheme(), "postgres" | "postgresql") || database.username().is_empty() {
        bail!(wrong());
    }
    if database.password().is_some() {
        bail!("a password does not stand in an address: use `--password-file` or PGPASSWORD");
    }
    let host = database.host_str().with_context(wrong)?;
    let tls = if is_loopback_host(host) { "disable" } else { "verify-full" };
    let password = match password_file {
        Some(path) => json!({ "file": path.canonicalize().context("the password's file")? }),
        None => json!({ "env": "PGPASSWORD" }),
    };
    let yaml = fs::read_to_string(policy)
        .with_context(|| format!("`{}` cannot be read", policy.display()))?;
    let lock = |name: &str| {
        let file = policy.with_file_name(name);
        let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
        Ok(LockText { file: file.display().to_string(), text })
    };
    let name = policy.display().to_string();
    let parsed = Policy::parse_with_lock(&name, &yaml, &lock, Some(guard_sql::fingerprints))
        .map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let config = json!({
        "listen": url.trim_start_matches("http://"),
        "url": url,
        "store": "sqlite:guard.db",
        "recordings": "file:recordings",
        "issuers": [{ "name": DEV, "platform": "github", "url": issuer.url }],
        "resources": [{
            "name": "db",
            "kind": "postgres",
            "address": format!("{host}:{}", database.port().unwrap_or(5432)),
            "database": database.path().trim_start_matches('/'),
            "tls": tls,
            "credential": { "username": database.username(), "password": password },
        }],
        "trust": "trust",
        "policies": "policies",
    });
    let trust = json!([{
        "name": DEV,
        "issuer": DEV,
        "claims": { "repository_id": "456789", "ref": "refs/heads/main" },
        "grants": [{ "resource": "db", "policy": parsed.name(), "for": "1h" }],
    }]);
    fs::create_dir_all(folder.join("trust"))?;
    fs::create_dir_all(folder.join("policies"))?;
    fs::write(folder.join("policies/dev.yaml"), yaml)?;
    if let (Some(name), Some(text)) = (parsed.lock_name(), parsed.lock_text()) {
        fs::write(folder.join("policies").join(name), text)?;
    }
    fs::write(folder.join("trust/dev.yaml"), yaml_of(&trust)?)?;
    fs::write(folder.join("guard.yaml"), yaml_of(&config)?)?;
    Ok(folder.join("guard.yaml"))
}

fn yaml_of(value: &Value) -> anyhow::Result<String> {
    Ok(serde_yaml::to_string(value)?)
}

/// The program `guard`: beside this one, else in the PATH.
pub(super) fn guard_program() -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("guard");
    if beside.is_file() {
        return Ok(beside);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("guard"));
    found.into_iter().find(|file| file.is_file()).context(
        "there is no `guard` beside `guard-broker` or in the PATH: build it, or use `--no-gateway`",
    )
}

/// Makes the gateway's key and says its thumbprint.
pub(super) async fn gateway_key(guard: &Path, identity: &Path) -> anyhow::Result<String> {
    let output = Command::new(guard)
        .args(["gateway", "--print-key", "--identity"])
        .arg(identity)
        .output()
        .await
        .with_context(|| format!("cannot start `{}`", guard.display()))?;
    if !output.status.success() {
        bail!("`guard gateway --print-key`: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The file by which `guard run` finds the broker; removed at the end.
pub(super) struct Discovery(PathBuf);

impl Discovery {
    pub(super) fn write(url: &str, issuer: &DevIssuer) -> anyhow::Result<Self> {
        let path = match (std::env::var_os("XDG_RUNTIME_DIR"), std::env::var_os("HOME")) {
            (Some(folder), _) if !folder.is_empty() => Path::new(&folder).join("guard-dev.json"),
            (_, Some(home)) => Path::new(&home).join(".cache/guard/dev.json"),
            (_, None) => bail!("neither XDG_RUNTIME_DIR nor HOME is set"),
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let body = json!({
            "broker": url,
            "token_request_url": issuer.request_url(),
            "token_request_token": issuer.bearer(),
        });
        // Made anew, so that its mode is ours and nobody reads half of it.
        let new = path.with_extension("json.new");
        let _ = fs::remove_file(&new);
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(body.to_string().as_bytes())?;
        fs::rename(&new, &path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
