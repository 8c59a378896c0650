//! TLS configurations: towards resources (verified), and between shim and gateway (pinned).

pub(crate) mod java;

use std::{
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::{Digest, ResourceSpec, Secret, TlsMode};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _};

/// A TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate authority's PEM holds no certificate.
    #[error("the certificate authorities of resource `{0}` cannot be read")]
    Authorities(String),
    /// The machine trusts nobody.
    #[error(
        "this machine has no certificate authorities: install them, or name the resource's own with `tls_ca`"
    )]
    NoAuthorities,
    /// A certificate and key do not fit or cannot be read.
    #[error("the certificate and key cannot be used: {0}")]
    Certificate(String),
}

impl From<rcgen::Error> for TlsError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}

/// Makes aws-lc-rs the provider of this process. Call it first in `main`.
pub fn install_crypto_provider() {
    // A second call finds it installed, which is what was wanted.
    drop(aws_lc_rs::default_provider().install_default());
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())).clone()
}

/// The certificate that guard shows to a resource, once it was lent one. A server that asks for none is shown none.
#[derive(Default)]
pub(crate) struct OwnCertificate(RwLock<Option<Arc<CertifiedKey>>>);

impl OwnCertificate {
    /// Takes the certificate of a lease, which has to belong to its key.
    pub(crate) fn set(&self, chain: &str, key: &Secret) -> Result<(), TlsError> {
        let unreadable =
            |error: rustls_pki_types::pem::Error| TlsError::Certificate(error.to_string());
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        if chain.is_empty() {
            return Err(TlsError::Certificate("there is no certificate".into()));
        }
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(unreadable)?;
        let certified = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certified));
        Ok(())
    }

    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnCertificate")
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }

    fn has_certs(&self) -> bool {
        self.certified().is_some()
    }
}

/// Towards a resource: chain and name are verified, against its own authorities or the system's.
pub(crate) fn towards_resource(
    spec: &ResourceSpec,
    own: Arc<OwnCertificate>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match (&spec.tls, &spec.tls_ca) {
        // Not used; trusts nobody, should it ever be.
        (TlsMode::Disable, _) => RootCertStore::empty(),
        (TlsMode::VerifyFull, Some(pem)) => {
            let unreadable = || TlsError::Authorities(spec.name.to_string());
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|_| unreadable())?;
                roots.add(certificate).map_err(|_| unreadable())?;
            }
            if roots.is_empty() {
                return Err(unreadable());
            }
            roots
        }
        (TlsMode::VerifyFull, None) => system_roots()?,
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| TlsError::Certificate(error.to_string()))?
        .with_root_certificates(roots)
        .with_client_cert_resolver(own);
    Ok(Arc::new(config))
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    });
    if roots.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(roots.clone()) }
}

/// Towards the commands of a run, in an API's name: they speak HTTP/2 or HTTP/1.1 in it.
pub(crate) fn for_clients(
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let unusable = |error: rustls::Error| TlsError::Certificate(error.to_string());
    let key =
        PrivateKeyDer::try_from(key).map_err(|error| TlsError::Certificate(error.to_owned()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// PEM of the authorities that this machine trusts.
pub fn system_authorities() -> String {
    let certificates = rustls_native_certs::load_native_certs().certs;
    certificates.iter().map(|certificate| pem(certificate)).collect()
}

/// RFC 7468.
fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// From a shim to the one gateway that shows this certificate.
pub(crate) fn towards_gateway(certificate: Digest) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| TlsError::Certificate(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { certificate }))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Accepts one certificate, by its digest, and checks that the peer holds its key.
///
/// The broker vouches for the digest, so names, dates and issuers say nothing more.
#[derive(Debug)]
struct Pinned {
    certificate: Digest,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Digest::of(end_entity) == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            let error = rustls::CertificateError::ApplicationVerificationFailure;
            Err(rustls::Error::InvalidCertificate(error))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

/// What a gateway shows to shims.
pub struct ServerCertificate {
    /// SHA-256 of the DER certificate: what shims pin.
    pub digest: Digest,
    pub(crate) config: Arc<ServerConfig>,
}

impl ServerCertificate {
    /// A certificate of its own, made now; shims know it by its digest.
    pub fn self_signed() -> Result<Self, TlsError> {
        let made = rcgen::generate_simple_self_signed(vec!["guard-gateway".to_owned()])?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|error| TlsError::Certificate(error.to_owned()))?;
        Self::new(vec![made.cert.der().clone()], key)
    }

    /// A given certificate chain and key, both PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let unreadable =
            |error: rustls_pki_types::pem::Error| TlsError::Certificate(error.to_string());
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        Self::new(chain, PrivateKeyDer::from_pem_slice(key).map_err(unreadable)?)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let certificate = |error: rustls::Error| TlsError::Certificate(error.to_string());
        let digest = chain
            .first()
            .map(Digest::of)
            .ok_or_else(|| TlsError::Certificate("there is no certificate".into()))?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(certificate)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(certificate)?;
        Ok(Self { digest, config: Arc::new(config) })
    }
}
