//! Files by which the command trusts the authority of its run: it calls APIs by their own names, and guard answers in these.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use guard_engine::{java_store, system_authorities};

use super::listener::fresh_folder;

/// What takes the place of a program's usual authorities: OpenSSL and Python, curl, requests, git, the AWS SDKs. So these are in it.
const ALL: [&str; 5] =
    ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE"];
/// What is added to them: Node, Deno.
const MORE: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];
/// Node reads the variables of proxies only when it is told to.
const NODE_PROXY: &str = "NODE_USE_ENV_PROXY";

/// A folder for these files, which is there before the command's own view of the machine is made. Dropping it removes it.
pub(super) struct Trusted {
    folder: PathBuf,
}

impl Trusted {
    /// An empty one. Others may read what comes into it: it is no secret.
    pub(super) fn new() -> io::Result<Self> {
        let folder = fresh_folder()?;
        DirBuilder::new().mode(0o755).create(&folder)?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes an authority's certificate, and gives the variables by which programs find it, and the store by which Java does.
    pub(super) fn write(&self, authority: &str) -> io::Result<(Vec<(String, String)>, PathBuf)> {
        let file = |name: &str| self.folder.join(name);
        let (own, all, store) = (file("guard.pem"), file("all.pem"), file("all.jks"));
        let every = system_authorities() + authority;
        fs::write(&own, authority)?;
        fs::write(&store, java_store(&every))?;
        fs::write(&all, every)?;
        let set = |names: &[&str], file: &Path| {
            let file = file.display().to_string();
            names.iter().map(|name| ((*name).to_owned(), file.clone())).collect::<Vec<_>>()
        };
        let mut variables = set(&ALL, &all);
        variables.extend(set(&MORE, &own));
        variables.push((NODE_PROXY.to_owned(), "1".to_owned()));
        Ok((variables, store))
    }
}

impl Drop for Trusted {
    fn drop(&mut self) {
        // What is left there is of no use to anybody.
        drop(fs::remove_dir_all(&self.folder));
    }
}
