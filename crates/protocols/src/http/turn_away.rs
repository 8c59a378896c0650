//! Says goodbye to a client that cannot be served, in HTTP's words, when its request's head is there.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{begun::PREFACE, head::MAX_HEAD, refuse::Refusal};
use crate::{ClientIo, TurnedAway};

/// A client that does not send its head within this learns nothing.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a head and answers it.
pub(crate) async fn turn_away(client: ClientIo, why: TurnedAway, message: &str) {
    say(client, &Refusal::turned_away(why, message)).await;
}

/// The same with another answer.
pub(super) async fn say(mut client: ClientIo, refusal: &Refusal) {
    // A client that is gone or breaks the protocol needs no answer.
    drop(timeout(HEAD_TIMEOUT, answer(&mut client, refusal)).await);
}

async fn answer(client: &mut ClientIo, refusal: &Refusal) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !is_whole(&head) {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let is_two = head.starts_with(PREFACE);
    let said = if is_two { refusal.goaway() } else { refusal.bytes() };
    client.write_all(&said).await?;
    client.flush().await?;
    client.shutdown().await
}

/// Whether this is a head, or as much as one may be, or the preface of HTTP/2, in which there is an empty line, too.
fn is_whole(head: &[u8]) -> bool {
    let is_part = PREFACE.starts_with(head) && head.len() < PREFACE.len();
    !is_part && (head.len() >= MAX_HEAD || memchr::memmem::find(head, b"\n\r\n").is_some())
}
