//! Decoders fed with whatever there is, as a broken or hostile server would.

use bytes::BytesMut;
use guard_core::{Detector, Mask};
use guard_sql::{CopyFormat, CopyOptions};

use super::{ColumnMasker, ColumnType, CopyMasker, Format, MaskKeys, RowMasker, errors};

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

/// A COPY stream, cut where the second byte says: the result is the same as of the whole.
pub fn fuzz_copy(data: &[u8]) {
    let [choice, cut, stream @ ..] = data else { return };
    for (format, delimiter, null, escape) in [
        (CopyFormat::Text, b'\t', "\\N", b'"'),
        (CopyFormat::Csv, b',', "", b'"'),
        (CopyFormat::Csv, b',', "NULL", b'\\'),
        (CopyFormat::Binary, 0, "", 0),
    ] {
        let options = CopyOptions {
            format,
            delimiter,
            null: null.into(),
            quote: b'"',
            escape,
            header: choice & 0x40 != 0,
        };
        let run = |pieces: [&[u8]; 2]| {
            let mut masker = CopyMasker::new(&options, columns(*choice));
            let mut out = BytesMut::new();
            for piece in pieces {
                masker.feed(piece, &mut out)?;
            }
            masker.finish().map(|()| (out, masker.masked()))
        };
        let (before, after) = stream.split_at(usize::from(*cut).min(stream.len()));
        assert!(
            run([before, after]) == run([stream, b""]),
            "the result depends on where the stream is cut"
        );
    }
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
