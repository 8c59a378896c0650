//! moto, which answers as AWS does: <https://docs.getmoto.org>. It checks no signatures.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{
    http,
    process::{free_port, wait_for},
};

/// A server at work. It ends with this value.
#[derive(Debug)]
pub struct Moto {
    /// Its address.
    pub url: String,
    process: Child,
}

impl Moto {
    /// The program: of `.tools` above the folder of a package's tests, or where `GUARD_MOTO` says. `None` if there is none.
    pub fn installed() -> Option<PathBuf> {
        let named = env::var_os("GUARD_MOTO").map(PathBuf::from);
        let program = named.unwrap_or_else(|| "../.tools/venv/bin/moto_server".into());
        program.exists().then_some(program)
    }

    /// Starts it.
    pub fn start(program: &Path) -> Result<Self> {
        let port = free_port()?;
        let process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("moto does not start")?;
        let moto = Self { url: format!("http://127.0.0.1:{port}"), process };
        let health = format!("{}/moto-api/", moto.url);
        wait_for("moto", || http::get(&health, &[]).ok())?;
        Ok(moto)
    }

    /// Makes a bucket.
    pub fn make_bucket(&self, name: &str) -> Result<()> {
        let answer = http::send("PUT", &format!("{}/{name}", self.url), &[], "")?;
        anyhow::ensure!(answer.status == 200, "no bucket: {}", answer.body);
        Ok(())
    }

    /// What is in a bucket under a key.
    pub fn object(&self, bucket: &str, key: &str) -> Result<(u16, Vec<u8>)> {
        http::get_bytes(&format!("{}/{bucket}/{key}", self.url))
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
