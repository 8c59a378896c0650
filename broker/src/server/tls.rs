//! The broker's own certificate, which may change while it runs.
//!
//! Whoever renews certificates writes two files, and not at the same instant. So the two are taken together or not at all: until
//! they fit, new connections see what was there before. Connections that are open keep what they began with.

use std::{
    io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use guard_core::Digest;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use zeroize::Zeroizing;

use crate::config::TlsFiles;

/// A certificate with its key.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    now: RwLock<Current>,
}

#[derive(Debug, Clone)]
struct Current {
    config: Arc<ServerConfig>,
    /// Of both files.
    digest: Digest,
    /// When the certificate expires, in seconds.
    expires: i64,
}

impl Tls {
    /// Reads certificate and key.
    pub(crate) fn open(files: &TlsFiles) -> io::Result<Self> {
        Ok(Self { files: files.clone(), now: RwLock::new(read(files)?) })
    }

    /// What a handshake that begins now uses.
    pub(crate) fn now(&self) -> Arc<ServerConfig> {
        self.current().config
    }

    /// When the certificate expires, in seconds.
    pub(crate) fn expires(&self) -> i64 {
        self.current().expires
    }

    /// The digest of the files as they are, if they are not those in use.
    pub(crate) fn changed(&self) -> Option<Digest> {
        let found = digest(&self.files).ok()?;
        (found != self.current().digest).then_some(found)
    }

    /// Reads the files again. On an error everything stays as it is.
    pub(crate) fn reload(&self) -> io::Result<()> {
        let new = read(&self.files)?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn current(&self) -> Current {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The bytes of both files.
fn bytes(files: &TlsFiles) -> io::Result<(Vec<u8>, Zeroizing<Vec<u8>>)> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| invalid(&error, path));
    Ok((read(&files.cert)?, Zeroizing::new(read(&files.key)?)))
}

fn digest_of(cert: &[u8], key: &[u8]) -> Digest {
    Digest::of(format!("{} {}", Digest::of(cert), Digest::of(key)))
}

fn digest(files: &TlsFiles) -> io::Result<Digest> {
    let (cert, key) = bytes(files)?;
    Ok(digest_of(&cert, &key))
}

fn read(files: &TlsFiles) -> io::Result<Current> {
    let (cert, key) = bytes(files)?;
    let digest = digest_of(&cert, &key);
    let chain = CertificateDer::pem_slice_iter(&cert)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(&error, &files.cert))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| invalid(&e, &files.key))?;
    let expires = chain.first().and_then(|leaf| {
        let (_, leaf) = x509_parser::parse_x509_certificate(leaf).ok()?;
        Some(leaf.validity().not_after.timestamp())
    });
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| invalid(&error, &files.cert))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Current { config: Arc::new(config), digest, expires: expires.unwrap_or(0) })
}

fn invalid(error: &dyn std::fmt::Display, path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("`{}`: {error}", path.display()))
}
