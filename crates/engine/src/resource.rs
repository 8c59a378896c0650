//! What a protocol's handler may ask of the engine: the resource of one session, and nothing else.

use std::{io, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::{BoxFuture, FutureExt as _};
use guard_core::{
    Denial, LeaseId, ResourceKind, ResourceSpec, Secret, SessionId, Timestamp, control::AskLease,
};
use guard_protocols::{Credential, CredentialUnavailable, Resource};
use rustix::net::sockopt;
use tokio::{net::TcpStream, sync::Mutex, time::timeout};

use crate::{
    control::ControlPlane,
    tls::{OwnCertificate, TlsError},
};

/// A server that does not take a connection for this long is not there.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// A silent connection is probed after this long, so that a dead peer is noticed while a long
/// statement runs.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Lost probes until the connection counts as dead.
const KEEPALIVE_PROBES: u32 = 3;

/// The resource of one session.
pub(crate) struct SessionResource {
    session: SessionId,
    spec: ResourceSpec,
    tls: Arc<rustls::ClientConfig>,
    /// What `tls` shows.
    certificate: Arc<OwnCertificate>,
    mask_key: zeroize::Zeroizing<Vec<u8>>,
    lasting_mask_key: Option<zeroize::Zeroizing<Vec<u8>>>,
    control: Arc<dyn ControlPlane>,
    /// What was taken, the one in use last: connections that were made with an earlier one may still be there.
    leases: Mutex<Vec<Held>>,
}

/// A credential that was taken.
struct Held {
    lease: LeaseId,
    credential: Arc<Credential>,
    until: Timestamp,
}

/// The resource cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// Its TLS settings are of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The broker's answer holds a key that is none.
    #[error("the mask key of the session is not base64")]
    MaskKey,
}

impl SessionResource {
    pub(crate) fn new(
        session: SessionId,
        spec: ResourceSpec,
        mask_key: &Secret,
        lasting_mask_key: Option<&Secret>,
        control: Arc<dyn ControlPlane>,
    ) -> Result<Self, ResourceError> {
        let certificate = Arc::<OwnCertificate>::default();
        let tls = crate::tls::towards_resource(&spec, certificate.clone())?;
        let key = |key: &Secret| {
            let key = STANDARD.decode(key.expose()).map_err(|_| ResourceError::MaskKey)?;
            Ok::<_, ResourceError>(zeroize::Zeroizing::new(key))
        };
        Ok(Self {
            session,
            spec,
            tls,
            certificate,
            mask_key: key(mask_key)?,
            lasting_mask_key: lasting_mask_key.map(key).transpose()?,
            control,
            leases: Mutex::default(),
        })
    }

    /// Gives back what was taken.
    pub(crate) async fn release(&self) {
        let held = std::mem::take(&mut *self.leases.lock().await);
        self.give_back(held).await;
    }

    async fn give_back(&self, held: Vec<Held>) {
        for Held { lease, .. } in held {
            if let Err(error) = self.control.release(lease).await {
                // The broker releases what its sessions hold when they end.
                tracing::debug!(session = %self.session, %lease, %error, "the lease is left to the broker");
            }
        }
    }

    /// The credential for a new connection: another one where the last is over.
    async fn credential_in_use(&self) -> Result<Arc<Credential>, CredentialUnavailable> {
        // Who comes meanwhile waits for the same one.
        let mut leases = self.leases.lock().await;
        if let Some(held) = leases.last().filter(|held| held.until > Timestamp::now()) {
            return Ok(held.credential.clone());
        }
        let ask = AskLease { session: self.session, resource: self.spec.name.clone() };
        let unavailable = |reason: String| CredentialUnavailable { reason };
        let lease =
            self.control.lease(&ask).await.map_err(|error| unavailable(error.to_string()))?;
        if let Some(chain) = &lease.certificate {
            let set = self.certificate.set(chain, &lease.password);
            set.map_err(|error| unavailable(error.to_string()))?;
        }
        let credential = Arc::new(Credential {
            username: lease.username,
            password: lease.password,
            session_token: lease.session_token,
        });
        // Requests that are on their way were let in by it; a server's connections live with the role that they began with.
        let over = match self.spec.kind {
            ResourceKind::Http => std::mem::take(&mut *leases),
            ResourceKind::Postgres => Vec::new(),
        };
        leases.push(Held { lease: lease.id, credential: credential.clone(), until: lease.until });
        drop(leases);
        self.give_back(over).await;
        Ok(credential)
    }
}

impl Resource for SessionResource {
    fn spec(&self) -> &ResourceSpec {
        &self.spec
    }

    fn dial(&self) -> BoxFuture<'_, io::Result<TcpStream>> {
        async {
            let connected = timeout(DIAL_TIMEOUT, TcpStream::connect(&self.spec.address)).await;
            let stream = connected.map_err(|_| {
                let address = &self.spec.address;
                io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("`{address}` did not answer in time"),
                )
            })??;
            stream.set_nodelay(true)?;
            keep_alive(&stream)?;
            Ok(stream)
        }
        .boxed()
    }

    fn credential(&self) -> BoxFuture<'_, Result<Arc<Credential>, CredentialUnavailable>> {
        self.credential_in_use().boxed()
    }

    fn tls(&self) -> Arc<rustls::ClientConfig> {
        self.tls.clone()
    }

    fn mask_key(&self) -> &[u8] {
        &self.mask_key
    }

    fn lasting_mask_key(&self) -> Option<&[u8]> {
        self.lasting_mask_key.as_ref().map(|key| key.as_slice())
    }

    fn refused(&self, denial: &Denial) {
        tracing::info!(session = %self.session, resource = %self.spec.name, code = denial.code.number(),
            rule = %denial.rule, policy = %denial.policy, "refused a statement");
    }
}

/// Has the kernel notice a dead peer.
pub(crate) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}
