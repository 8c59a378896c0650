//! Decoders fed with whatever there is, as a broken or hostile server would.

use bytes::BytesMut;
use guard_core::{Detector, Mask};
use guard_sql::{CopyFormat, CopyOptions};

use super::{ColumnMasker, ColumnType, CopyMasker, Format, RowMasker, errors};
use crate::mask::MaskKeys;

/// Types of every kind of mask: text, varchar(5), int4, uuid, bit(3), one that is not known, numeric, date,
/// timestamptz, time, float8, int8.
const TYPES: [(u32, i32); 12] = [
    (25, -1),
    (1043, 9),
    (23, -1),
    (2950, -1),
    (1560, 3),
    (0, -1),
    (1700, -1),
    (1082, -1),
    (1184, -1),
    (1083, -1),
    (701, -1),
    (20, -1),
];

const MASKS: [Mask; 5] = [Mask::Redact, Mask::Null, Mask::Hash, Mask::Partial, Mask::Format];

/// Takes a byte as a choice of columns: around one that is masked, one that passes and one in which detectors
/// look.
fn columns(choice: u8) -> Vec<Option<ColumnMasker>> {
    let choice = usize::from(choice);
    let mask = MASKS.get(choice % MASKS.len()).copied().unwrap_or(Mask::Redact);
    let (oid, modifier) =
        TYPES.get(choice / MASKS.len() % TYPES.len()).copied().unwrap_or_default();
    let column = ColumnType { oid, modifier, not_null: choice & 0x80 != 0 };
    let keys = MaskKeys::new(b"key", None);
    let detectors = Detector::ALL.into_iter().collect();
    let detecting = ColumnMasker::detecting(detectors, column, &keys);
    vec![None, Some(ColumnMasker::new(mask.into(), column, &keys)), detecting]
}

/// The forms of COPY that are tried.
const FORMS: [(CopyFormat, u8, &str, u8); 4] = [
    (CopyFormat::Text, b'\t', "\\N", b'"'),
    (CopyFormat::Csv, b',', "", b'"'),
    (CopyFormat::Csv, b',', "NULL", b'\\'),
    (CopyFormat::Binary, 0, "", 0),
];

fn options(form: (CopyFormat, u8, &str, u8), header: bool) -> CopyOptions {
    let (format, delimiter, null, escape) = form;
    CopyOptions { format, delimiter, null: null.into(), quote: b'"', escape, header }
}

/// A stream in pieces of lengths that follow from a byte.
fn pieces(mut stream: &[u8], cut: u8) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut length = usize::from(cut);
    while !stream.is_empty() {
        let (piece, rest) = stream.split_at(length.min(stream.len()));
        pieces.push(piece);
        stream = rest;
        length = 1 + (length * 7 + usize::from(cut)) % 13;
    }
    pieces
}

/// A COPY stream, cut in pieces as the second byte says: the result is the same as of the whole.
pub fn fuzz_copy(data: &[u8]) {
    let [choice, cut, stream @ ..] = data else { return };
    for form in FORMS {
        let options = options(form, choice & 0x40 != 0);
        let run = |pieces: &[&[u8]]| {
            let mut masker = CopyMasker::new(&options, columns(*choice));
            let mut out = BytesMut::new();
            for piece in pieces {
                masker.feed(piece, &mut out)?;
            }
            masker.finish().map(|()| (out, masker.masked()))
        };
        let (before, after) = stream.split_at(usize::from(*cut).min(stream.len()));
        let whole = run(&[stream]);
        assert!(run(&[before, after]) == whole, "the result depends on where the stream is cut");
        assert!(
            run(&pieces(stream, *cut)) == whole,
            "the result depends on how often the stream is cut"
        );
    }
    fuzz_masked_copy(*choice, *cut, stream);
}

/// What must not come out of a masked column.
const CANARY: &[u8] = b"canary-7f3a";

/// Rows as the server writes them, of values that follow from bytes: each third is a masked one that begins with
/// the canary.
fn fuzz_masked_copy(choice: u8, cut: u8, values: &[u8]) {
    let values: Vec<Vec<u8>> = values
        .split(|byte| *byte == b'|')
        .enumerate()
        .map(|(place, value)| {
            let canary = if place % 3 == 1 { CANARY } else { b"" };
            // A server sends no NUL in a text, and text in UTF-8. What follows from the bytes is no canary.
            let text = String::from_utf8_lossy(value).replace(['\0', '7'], "");
            [canary, text.as_bytes()].concat()
        })
        .collect();
    for form in FORMS {
        let options = options(form, false);
        let stream = encode(&options, &values);
        let mut masker = CopyMasker::new(&options, columns(choice));
        let mut out = BytesMut::new();
        for piece in pieces(&stream, cut) {
            if masker.feed(piece, &mut out).is_err() {
                break;
            }
        }
        let shows = out.windows(CANARY.len()).any(|bytes| bytes == CANARY);
        assert!(!shows, "a masked value comes out of COPY");
    }
}

/// Rows of three values as `COPY TO` writes them (`CopyOneRowTo`).
fn encode(options: &CopyOptions, values: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    if options.format == CopyFormat::Binary {
        stream.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    }
    for row in values.chunks_exact(3) {
        if options.format == CopyFormat::Binary {
            stream.extend_from_slice(&3_u16.to_be_bytes());
        }
        for (place, value) in row.iter().enumerate() {
            if place > 0 && options.format != CopyFormat::Binary {
                stream.push(options.delimiter);
            }
            match options.format {
                CopyFormat::Text => value.iter().for_each(|byte| match byte {
                    b'\\' => stream.extend_from_slice(b"\\\\"),
                    b'\n' => stream.extend_from_slice(b"\\n"),
                    b'\r' => stream.extend_from_slice(b"\\r"),
                    b'\t' => stream.extend_from_slice(b"\\t"),
                    other => stream.push(*other),
                }),
                CopyFormat::Csv => {
                    stream.push(options.quote);
                    for byte in value {
                        if [options.quote, options.escape].contains(byte) {
                            stream.push(options.escape);
                        }
                        stream.push(*byte);
                    }
                    stream.push(options.quote);
                }
                CopyFormat::Binary => {
                    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
                    stream.extend_from_slice(&length.to_be_bytes());
                    stream.extend_from_slice(value);
                }
            }
        }
        if options.format != CopyFormat::Binary {
            stream.push(b'\n');
        }
    }
    if options.format == CopyFormat::Binary {
        stream.extend_from_slice(&u16::MAX.to_be_bytes());
    }
    stream
}

/// A DataRow.
pub fn fuzz_row(data: &[u8]) {
    let [choice, body @ ..] = data else { return };
    let format = if choice & 0x40 == 0 { Format::Text } else { Format::Binary };
    let columns = columns(*choice).into_iter().map(|column| Some((column?, format))).collect();
    let _ = RowMasker::new(columns).rewrite(body, &mut BytesMut::new());
}

/// An ErrorResponse, a NoticeResponse, a NotificationResponse.
pub fn fuzz_message(data: &[u8]) {
    let mut out = BytesMut::new();
    let _ = errors::hide_message(b'E', data, &mut out);
    let _ = errors::hide_message(b'N', data, &mut out);
    let _ = errors::hide_notification(data, &mut out);
}
