//! A store of certificates as every Java reads it.
//!
//! The form is the JDK's own and older than PKCS #12, and all of them have both. It is without encryption, so that what is no secret needs
//! none: as `sun.security.provider.JavaKeyStore` writes it, in big-endian numbers.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
/// An entry that is a certificate, and no key.
const TRUSTED: u32 = 2;

/// Checked by nobody who does not know it, as a password of a store is; `keytool` asks for one.
const PASSWORD: &str = "changeit";

/// The certificates of a PEM text, all of them trusted.
pub fn java_store(pem: &str) -> Vec<u8> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect();
    let mut store = Vec::with_capacity(pem.len());
    put(&mut store, MAGIC);
    put(&mut store, VERSION);
    put(&mut store, length(&certificates));
    for (number, certificate) in certificates.iter().enumerate() {
        put(&mut store, TRUSTED);
        text(&mut store, &number.to_string());
        // When it was put there, in milliseconds.
        store.extend_from_slice(&0_u64.to_be_bytes());
        text(&mut store, "X.509");
        put(&mut store, length(certificate));
        store.extend_from_slice(certificate);
    }
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for unit in PASSWORD.encode_utf16() {
        digest.update(&unit.to_be_bytes());
    }
    digest.update(b"Mighty Aphrodite");
    digest.update(&store);
    store.extend_from_slice(digest.finish().as_ref());
    store
}

/// As `DataOutput.writeUTF` has what is ASCII and short.
fn text(store: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or_default();
    store.extend_from_slice(&length.to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}

fn length<T>(of: &[T]) -> u32 {
    // A machine's authorities have some hundred kilobytes.
    u32::try_from(of.len()).unwrap_or_default()
}

fn put(store: &mut Vec<u8>, number: u32) {
    store.extend_from_slice(&number.to_be_bytes());
}
