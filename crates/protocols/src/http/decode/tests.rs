//! What comes of coded texts, whole, in pieces, and broken.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use proptest::prelude::*;

use super::*;

const TEXT: &str = r#"{"users":[{"email":"ann@shop.example"},{"email":"bob@shop.example"}]}"#;
/// The same, as Node's zlib codes it.
const BROTLI: &str =
    "G0QA4J0Hts0juyELC157jzyrRfbEtmaY2Fuz6HT1aREXIDewAQfioS8vOm10j1AqlsRYXH6MfCly8RlCfTc=";
const BROTLI_LARGE_WINDOW: &str =
    "EV4QAYB3Htg2j+yGLCx47T3yrBbZE9uaYWJvzaLT1adFXIDcwAYciIe+vOi00T2CosIiMRaXHyNfilx8hlDfDQ==";
/// 40 MiB of zeros.
const BROTLI_ZEROS: &str =
    "y///P/gnAOKxQCD3/o///3/wTwDEYRGA7v0f////4J8AiMMCAN37P/7//8E/ARCHBQC693/5//+HfwIgDgsAdO//AA==";

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(text).unwrap();
    gzip.finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(text).unwrap();
    zlib.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 3).unwrap()
}

fn brotli() -> Vec<u8> {
    STANDARD.decode(BROTLI).unwrap()
}

/// Decodes bytes that come in pieces of a size.
fn in_pieces(codings: &str, bytes: &[u8], size: usize) -> Result<Vec<u8>, Undecodable> {
    let mut decoder = Decoder::new(&Coding::listed(codings.as_bytes()).unwrap());
    let mut pieces = bytes.chunks(size);
    let mut out = Vec::new();
    loop {
        match decoder.step()? {
            Decoded::Bytes(length) => out.extend_from_slice(decoder.decoded(length)),
            Decoded::More => match pieces.next() {
                Some(piece) => decoder.feed(Bytes::copy_from_slice(piece)),
                None => decoder.end(),
            },
            Decoded::End => return Ok(out),
        }
    }
}

/// The same for pieces of several sizes, which must not matter.
fn decode(codings: &str, bytes: &[u8]) -> Result<Vec<u8>, Undecodable> {
    let whole = in_pieces(codings, bytes, bytes.len().max(1));
    for size in [1, 2, 7, 4096] {
        assert_eq!(in_pieces(codings, bytes, size), whole, "{codings} by {size}");
    }
    whole
}

#[test]
fn each_coding_is_undone_wherever_pieces_end() {
    let text = TEXT.as_bytes();
    let two = [gzip(text), gzip(b"more"), gzip(b"")].concat();
    let frames = [zstd(text), zstd(b"more")].concat();
    for (codings, bytes, expected) in [
        ("gzip", gzip(text), TEXT.to_owned()),
        ("X-GZIP", gzip(text), TEXT.to_owned()),
        ("gzip", two, format!("{TEXT}more")),
        ("deflate", zlib(text), TEXT.to_owned()),
        ("br", brotli(), TEXT.to_owned()),
        ("zstd", zstd(text), TEXT.to_owned()),
        ("zstd", frames, format!("{TEXT}more")),
        ("gzip, br", brotli(), String::new()),
        ("deflate, identity, gzip", gzip(&zlib(text)), TEXT.to_owned()),
        ("br, zstd", zstd(&brotli()), TEXT.to_owned()),
        ("gzip,gzip", gzip(&gzip(text)), TEXT.to_owned()),
        // A server that had nothing to send has nothing that could be cut off.
        ("gzip", Vec::new(), String::new()),
        ("br", Vec::new(), String::new()),
    ] {
        let found = decode(codings, &bytes);
        if expected.is_empty() && !bytes.is_empty() {
            assert_eq!(found, Err(Undecodable::Broken), "the last coding is the outer one");
        } else {
            assert_eq!(found, Ok(expected.into_bytes()), "{codings}");
        }
    }
}

#[test]
fn what_is_long_comes_in_parts() {
    let text: Vec<u8> = (0..200_000u32).flat_map(|number| number.to_le_bytes()).collect();
    for (codings, bytes) in [
        ("gzip", gzip(&text)),
        ("deflate", zlib(&text)),
        ("zstd", zstd(&text)),
        ("gzip, zstd", zstd(&gzip(&text))),
    ] {
        assert_eq!(in_pieces(codings, &bytes, 1000).unwrap(), text, "{codings}");
        assert_eq!(in_pieces(codings, &bytes, bytes.len()).unwrap(), text, "{codings}");
    }
}

#[test]
fn a_part_is_never_taken_for_the_whole() {
    for (codings, bytes) in [
        ("gzip", gzip(TEXT.as_bytes())),
        ("deflate", zlib(TEXT.as_bytes())),
        ("br", brotli()),
        ("zstd", zstd(TEXT.as_bytes())),
        ("gzip, gzip", gzip(&gzip(TEXT.as_bytes()))),
    ] {
        for length in 1..bytes.len() {
            let (part, _) = bytes.split_at(length);
            assert_eq!(in_pieces(codings, part, 5), Err(Undecodable::Cut), "{codings} {length}");
        }
    }
    let inner = gzip(TEXT.as_bytes());
    let (cut, _) = inner.split_at(inner.len() - 1);
    assert_eq!(decode("gzip, gzip", &gzip(cut)), Err(Undecodable::Cut), "inside a whole one");
}

#[test]
fn what_follows_the_end_is_refused() {
    for (codings, bytes) in [
        ("gzip", gzip(TEXT.as_bytes())),
        ("deflate", zlib(TEXT.as_bytes())),
        ("br", brotli()),
        ("zstd", zstd(TEXT.as_bytes())),
    ] {
        for behind in [&b"\0"[..], b"x", b"ann@shop.example", &[0; 600]] {
            let found = decode(codings, &[bytes.as_slice(), behind].concat());
            let is_refused =
                matches!(found, Err(Undecodable::Broken | Undecodable::Behind | Undecodable::Cut));
            assert!(is_refused, "{codings} {behind:?}: {found:?}");
        }
    }
}

#[test]
fn what_is_not_in_the_coding_is_refused() {
    let raw = {
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), Compression::default());
        deflate.write_all(TEXT.as_bytes()).unwrap();
        deflate.finish().unwrap()
    };
    let mut damaged = gzip(TEXT.as_bytes());
    let sum = damaged.len() - 6;
    damaged[sum] ^= 1;
    let mut wide = zstd::Encoder::new(Vec::new(), 3).unwrap();
    wide.window_log(24).unwrap();
    wide.include_contentsize(false).unwrap();
    wide.write_all(TEXT.as_bytes()).unwrap();
    let wide = wide.finish().unwrap();
    for (codings, bytes) in [
        ("gzip", TEXT.as_bytes().to_vec()),
        ("gzip", zlib(TEXT.as_bytes())),
        ("gzip", damaged),
        ("deflate", gzip(TEXT.as_bytes())),
        ("deflate", raw),
        ("zstd", gzip(TEXT.as_bytes())),
        ("zstd", wide),
        ("br", STANDARD.decode(BROTLI_LARGE_WINDOW).unwrap()),
        ("br", vec![0xff; 64]),
    ] {
        assert_eq!(decode(codings, &bytes), Err(Undecodable::Broken), "{codings}");
    }
}

#[test]
fn a_bomb_is_ended_early() {
    let zeros = vec![0; 40 << 20];
    let (gzipped, framed) = (gzip(&zeros), zstd(&zeros));
    for (codings, bytes) in [
        ("gzip", gzipped.clone()),
        ("deflate", zlib(&zeros)),
        ("zstd", framed.clone()),
        ("br", STANDARD.decode(BROTLI_ZEROS).unwrap()),
        ("gzip, gzip", gzip(&gzipped)),
        ("zstd, gzip", gzip(&framed)),
    ] {
        let mut decoder = Decoder::new(&Coding::listed(codings.as_bytes()).unwrap());
        decoder.feed(bytes.clone().into());
        let mut decoded = 0;
        let ended = loop {
            match decoder.step() {
                Ok(Decoded::Bytes(length)) => decoded += length as u64,
                Ok(Decoded::More | Decoded::End) => break None,
                Err(error) => break Some(error),
            }
        };
        assert_eq!(ended, Some(Undecodable::Bomb), "{codings}");
        assert!(decoded <= FREE + MOST_OF_ONE * bytes.len() as u64, "{codings} {decoded}");
    }
    // The name of a file in the head of gzip goes on for ever, and nothing comes of it.
    let mut named = b"\x1f\x8b\x08\x08\0\0\0\0\0\x03".to_vec();
    named.resize(40 << 20, b'a');
    assert_eq!(in_pieces("gzip, gzip", &gzip(&named), 4096), Err(Undecodable::Bomb));
}

#[test]
fn what_is_no_list_of_known_codings_is_refused() {
    for unknown in
        ["compress", "gzip, aws-chunked", "gzip;q=1", "gzip gzip", "br,br,br", "*", "\u{e9}"]
    {
        assert_eq!(Coding::listed(unknown.as_bytes()), Err(UnknownCoding), "{unknown}");
    }
    for none in ["", "identity", "Identity, ", ","] {
        assert_eq!(Coding::listed(none.as_bytes()), Ok(Vec::new()), "{none}");
    }
}

proptest! {
    #[test]
    fn nothing_that_comes_in_makes_it_panic_or_go_on_for_ever(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        codings in proptest::sample::select(vec!["gzip", "deflate", "br", "zstd", "br, gzip"]),
        place in 0usize..80,
    ) {
        let whole = in_pieces(codings, &bytes, bytes.len().max(1));
        prop_assert_eq!(in_pieces(codings, &bytes, 1).is_ok(), whole.is_ok());
        let mut damaged = match codings {
            "gzip" => gzip(TEXT.as_bytes()),
            "deflate" => zlib(TEXT.as_bytes()),
            "zstd" => zstd(TEXT.as_bytes()),
            _ => brotli(),
        };
        for (at, byte) in damaged.iter_mut().skip(place).zip(&bytes) {
            *at ^= byte;
        }
        let _ = in_pieces(codings, &damaged, 3);
    }
}
