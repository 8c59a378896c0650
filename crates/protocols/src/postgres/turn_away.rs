//! Says goodbye to a client that cannot be served, in the protocol's own words, before it was
//! heard any further than its startup message.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{ClientIo, TurnedAway};

/// The server itself takes no longer startup packets (`MAX_STARTUP_PACKET_LENGTH`).
const MAX_STARTUP: usize = 10_000;
/// A client that does not send its startup message within this learns nothing.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(10);
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>: SSLRequest.
const SSL_REQUEST: u32 = 80_877_103;
/// GSSENCRequest.
const GSSENC_REQUEST: u32 = 80_877_104;
/// CancelRequest: nobody waits for an answer.
const CANCEL_REQUEST: u32 = 80_877_102;
/// A client asks for each kind of encryption once.
const MAX_REQUESTS: usize = 3;

/// Reads the client's startup message and answers it with a FATAL error.
pub(crate) async fn turn_away(mut client: ClientIo, why: TurnedAway, message: &str) {
    // A client that is gone or breaks the protocol needs no answer.
    drop(timeout(STARTUP_TIMEOUT, answer(&mut client, why, message)).await);
}

async fn answer(client: &mut ClientIo, why: TurnedAway, message: &str) -> std::io::Result<()> {
    for _ in 0..MAX_REQUESTS {
        let length = client.read_u32().await?;
        let code = client.read_u32().await?;
        let rest = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(8);
        if length < 8 || rest > MAX_STARTUP || code == CANCEL_REQUEST {
            return Ok(());
        }
        let mut parameters = vec![0; rest];
        client.read_exact(&mut parameters).await?;
        if code == SSL_REQUEST || code == GSSENC_REQUEST {
            client.write_all(b"N").await?;
            client.flush().await?;
            continue;
        }
        client.write_all(&error(why, message)).await?;
        client.flush().await?;
        return client.shutdown().await;
    }
    Ok(())
}

/// ErrorResponse: <https://www.postgresql.org/docs/current/protocol-error-fields.html>.
fn error(why: TurnedAway, message: &str) -> Vec<u8> {
    let code = match why {
        TurnedAway::Unreachable => "08006",
        TurnedAway::SessionOver => "57P01",
        TurnedAway::TooMany => "53300",
    };
    let message = message.replace('\0', " ");
    let mut fields = Vec::new();
    for (field, value) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', code), (b'M', &message)] {
        fields.push(field);
        fields.extend_from_slice(value.as_bytes());
        fields.push(0);
    }
    fields.push(0);
    let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX);
    let mut frame = vec![b'E'];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&fields);
    frame
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const STARTUP: &[u8] = b"\x00\x00\x00\x14\x00\x03\x00\x00user\0guard\0\0";
    const SSL: &[u8] = b"\x00\x00\x00\x08\x04\xd2\x16\x2f";

    async fn said(sent: &[u8]) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        turn_away(Box::new(server), TurnedAway::Unreachable, "no way").await;
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_client_learns_why_and_a_broken_one_learns_nothing() {
        let fatal = b"E\x00\x00\x00\x22SFATAL\0VFATAL\0C08006\0Mno way\0\0";
        assert_eq!(said(STARTUP).await, fatal);
        let after_ssl = [b"N".as_slice(), fatal].concat();
        assert_eq!(said(&[SSL, STARTUP].concat()).await, after_ssl);
        for broken in [
            b"".as_slice(),
            b"\x00\x00\x00\x07\x00\x03\x00\x00",
            b"\x7f\xff\xff\xff\x00\x03\x00\x00",
            b"\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x02",
            b"GET / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(said(broken).await, b"", "{broken:?}");
        }
    }
}
