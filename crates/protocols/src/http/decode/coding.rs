//! The codings that are known, each with what decodes it.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as Zstd, Operation as _};

use super::Undecodable;

/// Most codings of one answer, each of which has a window.
const MAX_CODINGS: usize = 2;

/// Window of gzip and deflate, as a power of two.
const DEFLATE_WINDOW: u8 = 15;

/// Largest window of zstd as a coding, as a power of two (RFC 9659: 8 MiB).
const ZSTD_WINDOW: u32 = 23;

/// A content coding (RFC 9110, section 8.4.1; RFC 7932; RFC 8878).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Coding {
    Gzip,
    /// In the format of zlib, as the RFC has it; some send it without.
    Deflate,
    Brotli,
    Zstd,
}

/// Codings that are not undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct UnknownCoding;

impl Coding {
    /// What a header Content-Encoding lists, but for `identity`.
    pub(in super::super) fn listed(value: &[u8]) -> Result<Vec<Self>, UnknownCoding> {
        let mut listed = Vec::new();
        for name in value.split(|byte| *byte == b',') {
            listed.push(match name.trim_ascii().to_ascii_lowercase().as_slice() {
                b"" | b"identity" => continue,
                b"gzip" | b"x-gzip" => Self::Gzip,
                b"deflate" => Self::Deflate,
                b"br" => Self::Brotli,
                b"zstd" => Self::Zstd,
                _ => return Err(UnknownCoding),
            });
        }
        if listed.len() > MAX_CODINGS { Err(UnknownCoding) } else { Ok(listed) }
    }
}

/// What decodes one of them.
pub(super) enum Codec {
    Gzip(Decompress),
    Deflate(Decompress),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    /// `None` where there is no memory for one.
    Zstd(Option<Zstd<'static>>),
}

/// What one call did.
pub(super) struct Step {
    pub(super) read: usize,
    pub(super) written: usize,
    pub(super) ended: bool,
}

impl Codec {
    pub(super) fn new(coding: Coding) -> Self {
        match coding {
            Coding::Gzip => Self::Gzip(Decompress::new_gzip(DEFLATE_WINDOW)),
            Coding::Deflate => Self::Deflate(Decompress::new(true)),
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                // Without the large windows that are no part of the coding.
                Self::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
            }
            Coding::Zstd => {
                let bounded = Zstd::new().and_then(|mut zstd| {
                    zstd.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))?;
                    Ok(zstd)
                });
                Self::Zstd(bounded.ok())
            }
        }
    }

    /// Whether it goes on behind an end: gzip in members (RFC 1952, section 2.2), zstd in frames (RFC 8878, section 3).
    pub(super) fn begin_anew(&mut self) -> bool {
        match self {
            Self::Gzip(gzip) => {
                *gzip = Decompress::new_gzip(DEFLATE_WINDOW);
                true
            }
            Self::Zstd(_) => true,
            Self::Deflate(_) | Self::Brotli(_) => false,
        }
    }

    /// Decodes what there is room for.
    pub(super) fn step(&mut self, from: &[u8], to: &mut [u8]) -> Result<Step, Undecodable> {
        match self {
            Self::Gzip(inflate) | Self::Deflate(inflate) => {
                let before = (inflate.total_in(), inflate.total_out());
                let status = inflate
                    .decompress(from, to, FlushDecompress::None)
                    .map_err(|_| Undecodable::Broken)?;
                let counted = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(0);
                Ok(Step {
                    read: counted(inflate.total_in(), before.0),
                    written: counted(inflate.total_out(), before.1),
                    ended: match status {
                        Status::StreamEnd => true,
                        Status::Ok | Status::BufError => false,
                    },
                })
            }
            Self::Brotli(state) => {
                let (mut read, mut written) = (0, 0);
                let (mut left, mut room, mut total) = (from.len(), to.len(), 0);
                let result = BrotliDecompressStream(
                    &mut left,
                    &mut read,
                    from,
                    &mut room,
                    &mut written,
                    to,
                    &mut total,
                    state,
                );
                let ended = match result {
                    BrotliResult::ResultSuccess => true,
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => false,
                    BrotliResult::ResultFailure => return Err(Undecodable::Broken),
                };
                Ok(Step { read, written, ended })
            }
            Self::Zstd(zstd) => {
                let zstd = zstd.as_mut().ok_or(Undecodable::Broken)?;
                let status = zstd.run_on_buffers(from, to).map_err(|_| Undecodable::Broken)?;
                let (read, written) = (status.bytes_read, status.bytes_written);
                Ok(Step { read, written, ended: status.remaining == 0 })
            }
        }
    }
}
