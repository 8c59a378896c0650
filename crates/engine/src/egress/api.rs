//! APIs that are resources of the run, under their own names: a client that asks to be connected with one gets to the resource, and
//! TLS ends here, with a certificate of an authority that the run has for itself.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use guard_core::egress::Host;
use guard_protocols::ClientIo;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints,
};
use rustls::{ServerConfig, server::Acceptor};
use tokio::{io::AsyncWriteExt as _, time::timeout};
use tokio_rustls::LazyConfigAcceptor;

use super::{
    CLIENT_WITHIN, CONNECTED, check_name,
    request::{Answer, Request, Target},
};
use crate::tls::{TlsError, for_clients};

/// Clocks of a machine and its containers differ by less.
const EARLIER: Duration = Duration::from_secs(60 * 60);
/// No run is longer: certificates of one are worth nothing to the next.
const LATER: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// Takes clients of an API to it.
pub trait ServeApi: Send + Sync {
    /// Serves one client that belongs to the run. Its bytes are HTTP/2 or HTTP/1.1.
    fn serve(&self, client: ClientIo) -> BoxFuture<'_, ()>;
}

/// An API that is a resource of the run.
pub struct Api {
    host: Host,
    port: u16,
    tls: Arc<ServerConfig>,
    resource: Arc<dyn ServeApi>,
}

/// What clients trust besides their usual authorities: made for one run, with a key that leaves its memory nowhere. It permits the
/// hosts of the run's APIs only; that says nothing of addresses where all of these are names, nor the other way round
/// (RFC 5280, section 4.2.1.10).
pub struct RunAuthority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl RunAuthority {
    /// One for APIs at these hosts.
    pub fn new<'a>(hosts: impl Iterator<Item = &'a Host>) -> Result<Self, TlsError> {
        let mut params = params("guard, for one run");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let only = hosts.map(subtree).collect();
        let constraints = NameConstraints { permitted_subtrees: only, excluded_subtrees: vec![] };
        params.name_constraints = Some(constraints);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Its own certificate, for clients to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// An API of the run, which its clients reach at `host:port` by TLS.
    pub fn api(&self, host: Host, port: u16, resource: Arc<dyn ServeApi>) -> Result<Api, TlsError> {
        let mut params = params(host.as_str());
        params.subject_alt_names =
            CertificateParams::new(vec![bare(&host).to_owned()])?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let tls = for_clients(certificate.der().clone(), key.serialize_der())?;
        Ok(Api { host, port, tls, resource })
    }
}

impl Api {
    /// Whether a client asks for it.
    pub(super) fn is_at(&self, target: &Target) -> bool {
        target.port == self.port && Host::new(&target.host).is_ok_and(|host| host == self.host)
    }

    /// Serves one client. Answers with what it was refused, in words.
    pub(super) async fn open(&self, mut client: ClientIo, request: Request) -> Option<String> {
        let to = format!("a connection to {}:{}", self.host, self.port);
        if !request.behind.is_empty() {
            let why = "it does not wait for the answer to CONNECT";
            Answer::refused(why).send(&mut client).await;
            return Some(format!("{to}: {why}"));
        }
        if client.write_all(CONNECTED).await.is_err() || client.flush().await.is_err() {
            return None;
        }
        match timeout(CLIENT_WITHIN, self.handshake(client, &request.target)).await {
            Ok(Ok(client)) => {
                self.resource.serve(client).await;
                None
            }
            Ok(Err(why)) => Some(format!("{to}: {why}")),
            Err(_) => Some(format!("{to}: no TLS came")),
        }
    }

    async fn handshake(&self, client: ClientIo, target: &Target) -> Result<ClientIo, String> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), client).await;
        let start = start.map_err(|error| format!("no TLS came: {error}"))?;
        let said = start.client_hello().server_name().map(str::to_owned);
        check_name(target, said.as_deref())?;
        let stream = start.into_stream(self.tls.clone()).await;
        let stream = stream.map_err(|error| {
            format!("TLS: {error} (does the client trust the authority in SSL_CERT_FILE?)")
        })?;
        Ok(Box::new(stream))
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = std::time::SystemTime::now();
    params.not_before = (now - EARLIER).into();
    params.not_after = (now + LATER).into();
    params
}

/// IPv6 without its brackets.
fn bare(host: &Host) -> &str {
    host.as_str().trim_start_matches('[').trim_end_matches(']')
}

fn subtree(host: &Host) -> GeneralSubtree {
    match host.address() {
        None => GeneralSubtree::DnsName(host.as_str().to_owned()),
        Some(IpAddr::V4(address)) => {
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix(address.octets(), 32))
        }
        Some(IpAddr::V6(address)) => {
            GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(address.octets(), 128))
        }
    }
}
