//! DataRow messages with some columns rewritten.

use bytes::{BufMut as _, BytesMut};

use super::{ColumnMasker, Format, Malformed};

/// Rewrites the rows of one result.
///
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-DATAROW>
pub(crate) struct RowMasker {
    columns: Vec<Option<(ColumnMasker, Format)>>,
    scratch: Vec<u8>,
}

impl RowMasker {
    /// One entry a column of the result, in order: `None` where it passes as it is.
    pub(crate) fn new(columns: Vec<Option<(ColumnMasker, Format)>>) -> Self {
        Self { columns, scratch: Vec::new() }
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
        let mut masked = 0;
        for column in &self.columns {
            let (value, after) = field(rest)?;
            match (column, value) {
                (Some((masker, format)), Some(value)) => {
                    masked += 1;
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
        Ok(masked)
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
