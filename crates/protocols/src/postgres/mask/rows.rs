//! DataRow messages with some columns rewritten.

use bytes::{BufMut as _, BytesMut};

use super::{
    Malformed,
    types::Format,
    value::{ColumnMasker, Scratch},
};
use crate::detect::Found;

/// Rewrites the rows of one result.
///
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-DATAROW>
pub(crate) struct RowMasker {
    columns: Vec<Option<(ColumnMasker, Format)>>,
    scratch: Scratch,
}

impl RowMasker {
    /// One entry a column of the result, in order: `None` where it passes as it is.
    pub(crate) fn new(columns: Vec<Option<(ColumnMasker, Format)>>) -> Self {
        Self { columns, scratch: Scratch::default() }
    }

    /// Appends the masked row to `out` as a whole DataRow message; gives the number of values that were
    /// masked. On an error `out` is as it was.
    pub(crate) fn rewrite(&mut self, body: &[u8], out: &mut BytesMut) -> Result<u64, Malformed> {
        let start = out.len();
        let result = self.append(body, out);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn append(&mut self, body: &[u8], out: &mut BytesMut) -> Result<u64, Malformed> {
        let Some((count, mut rest)) = body.split_first_chunk::<2>() else {
            return Err(Malformed::row("it is cut off"));
        };
        if usize::from(u16::from_be_bytes(*count)) != self.columns.len() {
            return Err(Malformed::row("it has another number of columns than its description"));
        }
        out.reserve(body.len() + 64);
        let start = out.len();
        out.put_slice(&[b'D', 0, 0, 0, 0]);
        out.put_slice(count);
        for column in &self.columns {
            let (value, after) = field(rest)?;
            match (column, value) {
                (Some((masker, format)), Some(value)) => {
                    match masker.mask(value, *format, &mut self.scratch) {
                        Some(hidden) => {
                            let length = i32::try_from(hidden.len())
                                .map_err(|_| Malformed::row("a value is too long"))?;
                            out.put_i32(length);
                            out.put_slice(hidden);
                        }
                        None => out.put_i32(-1),
                    }
                }
                (None, _) | (Some(_), None) => {
                    out.put_slice(rest.get(..rest.len() - after.len()).unwrap_or_default());
                }
            }
            rest = after;
        }
        if !rest.is_empty() {
            return Err(Malformed::row("there is more in it than its columns"));
        }
        let length =
            u32::try_from(out.len() - start - 1).map_err(|_| Malformed::row("it is too long"))?;
        if let Some(place) = out.get_mut(start + 1..start + 5) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        Ok(self.scratch.take_masked())
    }

    /// What detectors found so far.
    pub(crate) const fn found(&self) -> Found {
        self.scratch.found()
    }
}

/// The first field's value, `None` for NULL, and what follows it.
fn field(rest: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Malformed> {
    let Some((length, rest)) = rest.split_first_chunk::<4>() else {
        return Err(Malformed::row("it is cut off"));
    };
    match i32::from_be_bytes(*length) {
        -1 => Ok((None, rest)),
        length => {
            let length = usize::try_from(length)
                .map_err(|_| Malformed::row("a value has a negative length"))?;
            match rest.split_at_checked(length) {
                Some((value, rest)) => Ok((Some(value), rest)),
                None => Err(Malformed::row("a value is longer than the row")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use guard_core::Mask;

    use super::{super::ColumnType, *};
    use crate::mask::MaskKeys;

    fn masker() -> RowMasker {
        let column = |mask: Mask, oid| {
            let column = ColumnType { oid, modifier: -1, not_null: false };
            ColumnMasker::new(mask.into(), column, &MaskKeys::new(b"key", None))
        };
        RowMasker::new(vec![
            None,
            Some((column(Mask::Redact, 25), Format::Text)),
            None,
            Some((column(Mask::Redact, 20), Format::Binary)),
            Some((column(Mask::Null, 25), Format::Text)),
        ])
    }

    fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
            body.extend(length.to_be_bytes());
            body.extend(value.unwrap_or_default());
        }
        body
    }

    #[test]
    fn masked_columns_are_rewritten_and_the_others_pass() {
        let raw = row(&[Some(b"1"), Some(b"s3cret"), None, Some(&[1; 8]), Some(b"s3cret")]);
        let mut out = BytesMut::from(&b"before"[..]);
        assert_eq!(masker().rewrite(&raw, &mut out), Ok(3));
        let expected = row(&[Some(b"1"), Some(b"[masked]"), None, Some(&[0; 8]), None]);
        let length = u32::try_from(expected.len() + 4).unwrap().to_be_bytes();
        assert_eq!(out.to_vec(), [&b"beforeD"[..], &length, &expected].concat());
    }

    #[test]
    fn null_stays_null_and_is_not_counted() {
        let raw = row(&[None; 5]);
        let mut out = BytesMut::new();
        assert_eq!(masker().rewrite(&raw, &mut out), Ok(0));
        assert_eq!(out.split_off(5).to_vec(), raw);
    }

    #[test]
    fn a_row_that_is_not_as_described_does_not_pass() {
        let good = row(&[Some(b"1"), Some(b"s3cret"), None, Some(&[1; 8]), Some(b"s3cret")]);
        let mut broken: Vec<Vec<u8>> = (0..good.len()).map(|end| good[..end].to_vec()).collect();
        broken.push([good.as_slice(), b"x"].concat());
        broken.push(row(&[None; 4]));
        broken.push(row(&[None; 6]));
        for length in [-2i32, i32::MIN, i32::MAX, 7] {
            let mut lying = good.clone();
            lying.splice(7..11, length.to_be_bytes());
            broken.push(lying);
        }
        for body in broken {
            let mut out = BytesMut::from(&b"before"[..]);
            assert!(masker().rewrite(&body, &mut out).is_err(), "{body:?}");
            assert_eq!(&out[..], b"before");
        }
    }
}
