//! The first message of TLS: for which name it is (RFC 8446, section 4.1.2; RFC 6066, section 3).

use rustls::server::Acceptor;
use tokio::io::AsyncReadExt as _;

use crate::pipe::Stream;

/// Longest first message that is read, in bytes: with many key shares and a ticket it has some thousand.
const MAX_HELLO: usize = 64 << 10;
/// Bytes that are read at once.
const PIECE: usize = 4 << 10;

/// Reads on until the client's first message is whole. `bytes` holds all that was read, for whoever it is for.
///
/// Whatever is not the beginning of TLS is refused, in words.
pub(super) async fn read(
    client: &mut impl Stream,
    bytes: &mut Vec<u8>,
) -> Result<Option<String>, String> {
    let mut acceptor = Acceptor::default();
    let mut seen = 0;
    loop {
        let mut new = bytes.get(seen..).unwrap_or_default();
        seen = bytes.len();
        while !new.is_empty() {
            acceptor.read_tls(&mut new).map_err(|error| not_tls(&error))?;
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    return Ok(accepted.client_hello().server_name().map(str::to_owned));
                }
                Ok(None) => {}
                Err((error, _)) => return Err(not_tls(&error)),
            }
        }
        if bytes.len() >= MAX_HELLO {
            return Err("the first message of TLS is too long".into());
        }
        let mut piece = [0; PIECE];
        let length = client.read(&mut piece).await.map_err(|error| not_tls(&error))?;
        let piece = piece.get(..length).unwrap_or_default();
        if piece.is_empty() {
            return Err("it ended before it began".into());
        }
        bytes.extend_from_slice(piece);
    }
}

fn not_tls(error: &dyn std::fmt::Display) -> String {
    format!("this is no TLS that guard can read ({error}): only TLS passes here")
}
