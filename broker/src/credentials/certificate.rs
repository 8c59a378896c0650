//! A certificate that TLS shows to the resource. Nothing is made, so nothing is taken back.

use futures_util::{FutureExt as _, future::BoxFuture};
use guard_core::Secret;
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::{Ask, CredentialError, CredentialSource, Handle, More, NoteHandle, Taken, secrets};
use crate::config::CertificateConfig;

/// The source.
#[derive(Debug)]
pub(super) struct Certificate<'a>(pub(super) &'a CertificateConfig);

impl CredentialSource for Certificate<'_> {
    fn plan(&self, _: &Ask<'_>) -> Result<Handle, CredentialError> {
        Ok(Handle::Static)
    }

    fn take<'a>(
        &'a self,
        ask: &'a Ask<'a>,
        handle: &'a Handle,
        _: &'a dyn NoteHandle,
    ) -> BoxFuture<'a, Result<Taken, CredentialError>> {
        async {
            let chain = secrets::read(&self.0.certificate).await?;
            let key = secrets::read(&self.0.key).await?;
            check(chain.expose(), &key)?;
            Ok(Taken {
                username: "certificate".into(),
                password: key,
                more: More { session_token: None, certificate: Some(chain.expose().to_owned()) },
                handle: handle.clone(),
                until: ask.until,
                renewable: false,
                warnings: Vec::new(),
            })
        }
        .boxed()
    }

    fn revoke<'a>(&'a self, _: &'a Handle) -> BoxFuture<'a, Result<(), CredentialError>> {
        async { Ok(()) }.boxed()
    }
}

/// Whether they belong together.
fn check(chain: &str, key: &Secret) -> Result<(), CredentialError> {
    let wrong = |what: &str| CredentialError(format!("the certificate cannot be shown: {what}"));
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| wrong("its file holds no certificates in PEM"))?;
    if chain.is_empty() {
        return Err(wrong("its file holds no certificates in PEM"));
    }
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| wrong("the key's file holds no private key in PEM"))?;
    match CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()) {
        Ok(_) => Ok(()),
        Err(error) => Err(wrong(&error.to_string())),
    }
}
