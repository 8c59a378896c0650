//! SCRAM fed with whatever there is, on both sides.

use guard_core::Secret;

use super::{client, server};

/// Messages of a client to the listener's side, of a server to ours, and a certificate.
pub fn fuzz_scram(data: &[u8]) {
    let password = Secret::new("pencil");
    let verifier = server::ScramVerifier::with_salt(&password, [0; 16], 1);
    let _ = server::ExpectClientFirst::new(verifier).receive(data);
    if let Ok(awaiting) = client::ExpectServerFirst::new(data, &password, None) {
        let _ = awaiting.receive(data);
    }
    if let Ok(awaiting) = client::ExpectServerFirst::new(b"SCRAM-SHA-256\0\0", &password, None) {
        let _ = awaiting.receive(data);
    }
    let _ = client::server_end_point(data);
}
