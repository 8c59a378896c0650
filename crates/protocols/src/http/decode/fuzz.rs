//! The decoder fed with whatever there is, in pieces.

use bytes::Bytes;

use super::{Coding, Decoded, Decoder, FREE, MOST_OF_ONE, Undecodable};

const CODINGS: [&[u8]; 6] = [b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip", b"br, zstd"];

/// The first byte says which codings they are, the second how long pieces are, the rest is what is coded: however it is cut, the same comes
/// out, and never more than the limit.
///
/// # Panics
/// If one of these does not hold.
pub fn fuzz_coded(data: &[u8]) {
    let [coding, size, text @ ..] = data else { return };
    let codings = CODINGS.get(usize::from(*coding) % CODINGS.len()).copied().unwrap_or_default();
    let Ok(codings) = Coding::listed(codings) else { return };
    let whole = run(&codings, text, text.len().max(1));
    let pieces = run(&codings, text, usize::from(*size).max(1));
    assert!(whole.as_ref().ok() == pieces.as_ref().ok(), "borders of pieces change something");
    let most = FREE + MOST_OF_ONE * text.len() as u64;
    assert!(whole.is_ok_and(|it| it <= most) || pieces.is_err(), "more came than may");
}

/// How many bytes come of it.
fn run(codings: &[Coding], text: &[u8], size: usize) -> Result<u64, Undecodable> {
    let mut decoder = Decoder::new(codings);
    let mut pieces = text.chunks(size);
    let mut count = 0;
    loop {
        match decoder.step()? {
            Decoded::Bytes(length) => count += length as u64,
            Decoded::More => match pieces.next() {
                Some(piece) => decoder.feed(Bytes::copy_from_slice(piece)),
                None => decoder.end(),
            },
            Decoded::End => return Ok(count),
        }
    }
}
