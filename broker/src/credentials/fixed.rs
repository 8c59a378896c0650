//! A credential that does not change from lease to lease. Nothing is made, so nothing is taken back.

use futures_util::{FutureExt as _, future::BoxFuture};

use super::{Ask, CredentialError, CredentialSource, Handle, More, NoteHandle, Taken, secrets};
use crate::config::StaticCredential;

/// The source.
#[derive(Debug)]
pub(super) struct Fixed<'a>(pub(super) &'a StaticCredential);

impl CredentialSource for Fixed<'_> {
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
            Ok(Taken {
                username: match self.0.username.as_str() {
                    "" => "token".to_owned(),
                    username => username.to_owned(),
                },
                password: secrets::read(&self.0.password).await?,
                handle: handle.clone(),
                more: More::default(),
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
