//! COPY TO STDOUT with some columns rewritten, whatever its format.

use bytes::{BufMut as _, BytesMut};
use guard_sql::{CopyFormat, CopyOptions};

use super::{
    Malformed, copy_binary::BinaryMasker, copy_csv::CsvMasker, copy_text::TextMasker,
    value::ColumnMasker,
};
use crate::detect::Found;

/// Rewrites the data of one COPY: a stream of bytes, whose borders of messages mean nothing.
///
/// What it keeps between two calls is at most one value of a masked column, up to [`MAX_VALUE`](crate::mask::MAX_VALUE). At the end
/// of a row all of the row is out, so that a message with whole rows stays one.
pub(crate) struct CopyMasker {
    format: FormatMasker,
    masked: u64,
    broken: Option<Malformed>,
}

enum FormatMasker {
    Text(TextMasker),
    Csv(CsvMasker),
    Binary(BinaryMasker),
}

impl CopyMasker {
    /// One entry a column, in order: `None` where it passes as it is.
    ///
    /// The number of columns must be what CopyOutResponse says it is: check that first. Text rows are only
    /// counted up to the last masked column.
    pub(crate) fn new(options: &CopyOptions, columns: Vec<Option<ColumnMasker>>) -> Self {
        let format = match options.format {
            CopyFormat::Text => FormatMasker::Text(TextMasker::new(options, columns)),
            CopyFormat::Csv => FormatMasker::Csv(CsvMasker::new(options, columns)),
            CopyFormat::Binary => FormatMasker::Binary(BinaryMasker::new(columns)),
        };
        Self { format, masked: 0, broken: None }
    }

    /// Takes the content of a CopyData message; appends to `out` what may go to the client of it. On an error
    /// `out` is as it was, and every later call fails as well.
    pub(crate) fn feed(&mut self, input: &[u8], out: &mut BytesMut) -> Result<(), Malformed> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let start = out.len();
        let result = match &mut self.format {
            FormatMasker::Text(masker) => masker.feed(input, out, &mut self.masked),
            FormatMasker::Csv(masker) => masker.feed(input, out, &mut self.masked),
            FormatMasker::Binary(masker) => masker.feed(input, out, &mut self.masked),
        };
        if let Err(error) = result {
            out.truncate(start);
            self.broken = Some(error);
        }
        result
    }

    /// [`Self::feed`], and what may go out becomes one CopyData message, or none. Gives the length of its content.
    pub(crate) fn message(&mut self, input: &[u8], out: &mut BytesMut) -> Result<u64, Malformed> {
        let start = out.len();
        out.put_slice(&[b'd', 0, 0, 0, 0]);
        let content = out.len();
        let fed = self.feed(input, out);
        let length = out.len() - content;
        if fed.is_err() || length == 0 {
            out.truncate(start);
            return fed.map(|()| 0);
        }
        // The length counts itself.
        let word = u32::try_from(length + 4)
            .map_err(|_| Malformed::copy("a message becomes too long"))?
            .to_be_bytes();
        if let Some(place) = out.get_mut(start + 1..content) {
            place.copy_from_slice(&word);
        }
        Ok(length as u64)
    }

    /// Takes CopyDone: the data must have ended where a row does.
    pub(crate) fn finish(&mut self) -> Result<(), Malformed> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let complete = match &self.format {
            FormatMasker::Text(masker) => masker.is_between_rows(),
            FormatMasker::Csv(masker) => masker.is_between_rows(),
            FormatMasker::Binary(masker) => masker.is_done(),
        };
        if complete { Ok(()) } else { Err(Malformed::copy("it ends in the middle of a row")) }
    }

    /// What detectors found so far.
    pub(crate) const fn found(&self) -> Found {
        match &self.format {
            FormatMasker::Text(masker) => masker.found(),
            FormatMasker::Csv(masker) => masker.found(),
            FormatMasker::Binary(masker) => masker.found(),
        }
    }

    /// Values that were masked so far.
    pub(crate) const fn masked(&self) -> u64 {
        self.masked
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use guard_core::Mask;
    use proptest::prelude::*;

    use super::{super::ColumnType, *};
    use crate::mask::{MAX_VALUE, MaskKeys};

    fn options(format: CopyFormat) -> CopyOptions {
        let text = format == CopyFormat::Text;
        CopyOptions {
            format,
            delimiter: if text { b'\t' } else { b',' },
            null: if text { "\\N" } else { "" }.into(),
            quote: b'"',
            escape: b'"',
            header: false,
        }
    }

    /// Three columns, the second masked.
    fn masker(options: &CopyOptions, mask: Mask) -> CopyMasker {
        let column = ColumnType { oid: 25, modifier: -1, not_null: false };
        let middle = ColumnMasker::new(mask.into(), column, &MaskKeys::new(b"key", None));
        CopyMasker::new(options, vec![None, Some(middle), None])
    }

    fn run(options: &CopyOptions, mask: Mask, pieces: &[&[u8]]) -> Result<Vec<u8>, Malformed> {
        let mut masker = masker(options, mask);
        let mut out = BytesMut::new();
        for piece in pieces {
            masker.feed(piece, &mut out)?;
        }
        masker.finish()?;
        Ok(out.to_vec())
    }

    /// The same result wherever the stream is cut.
    fn check(options: &CopyOptions, mask: Mask, input: &[u8], expected: Option<&[u8]>) {
        let whole = run(options, mask, &[input]).ok();
        assert_eq!(whole.as_deref(), expected, "{}", String::from_utf8_lossy(input));
        for at in 0..=input.len() {
            let (before, after) = input.split_at(at);
            assert_eq!(run(options, mask, &[before, after]).ok(), whole, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(run(options, mask, &bytes).ok(), whole);
    }

    #[test]
    fn text_is_masked_wherever_it_is_cut() {
        let plain = options(CopyFormat::Text);
        let cases: &[(&[u8], Option<&[u8]>)] = &[
            (b"", Some(b"")),
            (b"1\ts3cret\tx\n", Some(b"1\t[masked]\tx\n")),
            (b"1\t\\N\tx\n2\t\t\\N\n", Some(b"1\t\\N\tx\n2\t[masked]\t\\N\n")),
            (b"1\t\\\\N\tx\n", Some(b"1\t[masked]\tx\n")),
            (b"a\\\tb\ts3\\\tcret\\\\\tx\\\ty\n", Some(b"a\\\tb\t[masked]\tx\\\ty\n")),
            (b"a\\nb\ts\\n3\tx\\\\\n", Some(b"a\\nb\t[masked]\tx\\\\\n")),
            // not what a server writes
            (b"1\ts3cret\n", None),
            (b"1\n", None),
            (b"\n", None),
            (b"\\.\n", None),
            (b"1\ts3cret\\\n\tx\n", None),
            (b"1\\\n\ts3cret\tx\n", None),
            (b"1\ts3cret", None),
            (b"1\ts3cret\t", None),
            (b"1\ts3cret\tx", None),
        ];
        for (input, expected) in cases {
            check(&plain, Mask::Redact, input, *expected);
        }
        check(&plain, Mask::Partial, b"1\ta\\tb\\\\\\nde\tx\n", Some(b"1\t***\\\\\\nde\tx\n"));
        let header = CopyOptions { header: true, ..options(CopyFormat::Text) };
        check(
            &header,
            Mask::Redact,
            b"a\tb\tc\n1\ts3cret\tx\n",
            Some(b"a\tb\tc\n1\t[masked]\tx\n"),
        );
        check(&header, Mask::Null, b"a\tb\tc\n", Some(b"a\tb\tc\n"));
    }

    #[test]
    fn a_null_of_the_clients_choice_tells_nothing_of_a_value() {
        // `COPY … (NULL '123-45-6789')`: the value and NULL are written alike.
        let guess = CopyOptions { null: "123-45-6789".into(), ..options(CopyFormat::Text) };
        let input = b"1\t123-45-6789\tx\n2\t555-55-5555\tx\n";
        check(&guess, Mask::Redact, input, Some(b"1\t[masked]\tx\n2\t[masked]\tx\n"));
        // CSV writes such a value with quotes.
        let guess = CopyOptions { null: "123-45-6789".into(), ..options(CopyFormat::Csv) };
        let input = b"1,\"123-45-6789\",x\n2,123-45-6789,x\n";
        check(&guess, Mask::Redact, input, Some(b"1,[masked],x\n2,123-45-6789,x\n"));
    }

    #[test]
    fn csv_is_masked_wherever_it_is_cut() {
        let plain = options(CopyFormat::Csv);
        let cases: &[(&[u8], Option<&[u8]>)] = &[
            (b"", Some(b"")),
            (b"1,s3cret,x\n", Some(b"1,[masked],x\n")),
            (b"1,,x\n2,\"\",\n", Some(b"1,,x\n2,[masked],\n")),
            (b"1,\"s3,\"\"\n\r\"\"cret\",\"x,\n\"\"\"\n", Some(b"1,[masked],\"x,\n\"\"\"\n")),
            (b"\"1,2\",\"\"\"\",x\n", Some(b"\"1,2\",[masked],x\n")),
            (b"1,\"\\.\",x\n", Some(b"1,[masked],x\n")),
            // not what a server writes
            (b"1,s3cret\n", None),
            (b"1,s3cret,x,y\n", None),
            (b"1,s3\"cret,x\n", None),
            (b"1,\"s3\"cret,x\n", None),
            (b"1,\"s3\"\",x\n", None),
            (b"1,\"s3cret", None),
            (b"1,s3cret,x", None),
            (b"\n", None),
        ];
        for (input, expected) in cases {
            check(&plain, Mask::Redact, input, *expected);
        }
        check(&plain, Mask::Partial, b"1,\"abcde,\"\"f\",x\n", Some(b"1,\"****e,\"\"f\",x\n"));
        let header = CopyOptions { header: true, ..options(CopyFormat::Csv) };
        check(
            &header,
            Mask::Redact,
            b"a,\"b\n\",c\n1,s3cret,x\n",
            Some(b"a,\"b\n\",c\n1,[masked],x\n"),
        );
        let odd = CopyOptions { quote: b'\'', escape: b'\\', ..options(CopyFormat::Csv) };
        check(&odd, Mask::Redact, b"1,'s3\\'\\\\cr,et',x\n", Some(b"1,[masked],x\n"));
        check(&odd, Mask::Redact, b"1,'s3\\cret',x\n", None);
        check(&odd, Mask::Redact, b"1,'s3''cret',x\n", None);
    }

    #[test]
    fn binary_is_masked_wherever_it_is_cut() {
        const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
        const ROW: &[u8] = b"\0\x03\0\0\0\x011\0\0\0\x06s3cret\xff\xff\xff\xff";
        const MASKED: &[u8] = b"\0\x03\0\0\0\x011\0\0\0\x08[masked]\xff\xff\xff\xff";
        const NULLS: &[u8] = b"\0\x03\0\0\0\0\xff\xff\xff\xff\0\0\0\0";
        const EMPTY: &[u8] = b"\0\x03\0\0\0\0\0\0\0\0\0\0\0\0";
        const EMPTY_MASKED: &[u8] = b"\0\x03\0\0\0\0\0\0\0\x08[masked]\0\0\0\0";
        const END: &[u8] = b"\xff\xff";
        let flag = b"PGCOPY\n\xff\r\n\0\0\x01\0\0\0\0\0\0";
        let extension = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x01";
        type Parts<'a> = &'a [&'a [u8]];
        let cases: &[(Parts<'_>, Option<Parts<'_>>)] = &[
            (&[HEADER, END], Some(&[HEADER, END])),
            (&[HEADER, ROW, NULLS, ROW, END], Some(&[HEADER, MASKED, NULLS, MASKED, END])),
            (&[HEADER, EMPTY, END], Some(&[HEADER, EMPTY_MASKED, END])),
            // not what a server writes
            (&[], None),
            (&[HEADER], None),
            (&[HEADER, ROW], None),
            (&[HEADER, &ROW[..12], END], None),
            (&[HEADER, END, b"s3cret"], None),
            (&[HEADER, END, END], None),
            (&[HEADER, b"\0\x02", END], None),
            (&[HEADER, b"\xff\xfe", END], None),
            (&[HEADER, b"\0\x03\xff\xff\xff\xfe"], None),
            (&[flag, END], None),
            (&[extension, b"s", END], None),
            (&[ROW, END], None),
        ];
        for (input, expected) in cases {
            let expected = expected.map(<[&[u8]]>::concat);
            check(&options(CopyFormat::Binary), Mask::Redact, &input.concat(), expected.as_deref());
        }
    }

    #[test]
    fn after_an_error_nothing_passes_any_more() {
        let mut masker = masker(&options(CopyFormat::Text), Mask::Redact);
        let mut out = BytesMut::from(&b"before"[..]);
        assert!(masker.feed(b"1\ts3cret\tx\n2\n", &mut out).is_err());
        assert_eq!(&out[..], b"before");
        assert!(masker.feed(b"1\ts3cret\tx\n", &mut out).is_err());
        assert!(masker.finish().is_err());
        assert_eq!(&out[..], b"before");
    }

    #[test]
    fn memory_stays_bounded_whatever_the_size_of_a_value() {
        let long = vec![b'a'; MAX_VALUE * 3];
        let size = u32::try_from(long.len()).unwrap().to_be_bytes();
        let binary =
            [b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x03\xff\xff\xff\xff".as_slice(), &size, &long];
        let cases = [
            (
                CopyFormat::Text,
                [b"1\t", long.as_slice(), b"\tx\n"].concat(),
                b"1\t[masked]\tx\n".to_vec(),
            ),
            (
                CopyFormat::Csv,
                [b"1,\"", long.as_slice(), b"\",x\n"].concat(),
                b"1,[masked],x\n".to_vec(),
            ),
            (
                CopyFormat::Binary,
                [&binary.concat(), b"\xff\xff\xff\xff\xff\xff".as_slice()].concat(),
                [
                    b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x03\xff\xff\xff\xff".as_slice(),
                    b"\0\0\0\x08[masked]\xff\xff\xff\xff\xff\xff",
                ]
                .concat(),
            ),
        ];
        for (format, input, expected) in cases {
            for size in [1000, input.len()] {
                let mut masker = masker(&options(format), Mask::Hash);
                let mut out = BytesMut::new();
                for piece in input.chunks(size) {
                    masker.feed(piece, &mut out).unwrap();
                }
                masker.finish().unwrap();
                assert_eq!((out.to_vec(), masker.masked()), (expected.clone(), 1));
            }
        }
    }

    proptest! {
        #[test]
        fn any_stream_gives_the_same_however_it_is_cut(
            input in proptest::collection::vec(
                prop_oneof![Just(b'\t'), Just(b','), Just(b'\n'), Just(b'\\'), Just(b'"'), Just(b'N'), any::<u8>()],
                0..60,
            ),
            cut in 0..60usize,
            mask in prop_oneof![Just(Mask::Redact), Just(Mask::Null), Just(Mask::Hash), Just(Mask::Partial), Just(Mask::Format)],
        ) {
            for format in [CopyFormat::Text, CopyFormat::Csv, CopyFormat::Binary] {
                let options = options(format);
                let (before, after) = input.split_at(cut.min(input.len()));
                let whole = run(&options, mask, &[&input]);
                prop_assert_eq!(run(&options, mask, &[before, after]).ok(), whole.ok());
            }
        }
    }
}
