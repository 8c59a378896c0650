//! What a real server writes, masked, is what a real server reads.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    io::{Read as _, Seek as _, Write as _},
    process::Stdio,
};

use bytes::BytesMut;
use guard_core::Mask;
use guard_sql::{CopyFormat, CopyOptions};
use guard_tests::Postgres;

use super::{ColumnMasker, ColumnType, CopyMasker};
use crate::mask::MaskKeys;

const DATABASE: &str = "postgres";

/// Runs a statement with data on its standard input; gives what came out, byte for byte.
fn copy(server: &Postgres, statement: &str, input: &[u8]) -> Vec<u8> {
    let mut output = tempfile::tempfile().unwrap();
    let mut child = server
        .client("psql", DATABASE)
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement])
        .stdin(Stdio::piped())
        .stdout(output.try_clone().unwrap())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    assert!(child.wait().unwrap().success(), "{statement}");
    let mut content = Vec::new();
    output.rewind().unwrap();
    output.read_to_end(&mut content).unwrap();
    content
}

/// Each type with two values.
const TYPES: &[(&str, &str, &str)] = &[
    ("bool", "true", "false"),
    ("bytea", "'\\xdeadbeef'", "''"),
    ("\"char\"", "'x'", "'y'"),
    ("name", "'s3cret name'", "''"),
    ("int2", "32767", "-32768"),
    ("int4", "123456", "-2147483648"),
    ("int8", "9223372036854775807", "-9223372036854775808"),
    ("text", "'s3cret text'", "''"),
    ("text", "E's3cret\\t\\n\\r\\\\.\\b\\f\\v\\\\'", "E'\\\\.'"),
    ("text", "'s3cret \",'';\"'", "'[masked]'"),
    ("text", "'s3cret@example.com'", "E'\\\\N'"),
    ("text", "'4111-1111 s3cr-1234'", "'NULL'"),
    ("oid", "4294967295", "1"),
    ("xid", "'7'", "'8'"),
    ("cid", "'7'", "'8'"),
    ("json", "'{\"a\": \"s3cret\"}'", "'null'"),
    ("xml", "'<a>s3cret</a>'", "'<b/>'"),
    ("point", "'(1,2)'", "'(3,4)'"),
    ("cidr", "'10.0.0.0/8'", "'fe80::/10'"),
    ("inet", "'10.1.2.3/8'", "'::1'"),
    ("float4", "1.5", "'NaN'"),
    ("float8", "-1.5e300", "'Infinity'"),
    ("macaddr", "'01:02:03:04:05:06'", "'ff:ff:ff:ff:ff:ff'"),
    ("macaddr8", "'01:02:03:04:05:06:07:08'", "'ff:ff:ff:ff:ff:ff:ff:ff'"),
    ("money", "12.34", "-1"),
    ("char(10)", "'s3cret a'", "'b'"),
    ("char(3)", "'abc'", "'b'"),
    ("varchar", "'s3cret varchar'", "''"),
    ("varchar(5)", "'abcde'", "'a@b.c'"),
    ("varchar(1)", "'z'", "''"),
    ("varchar(40)", "'s3cret@example.com'", "'x'"),
    ("date", "'2020-02-29'", "'infinity'"),
    ("time", "'12:34:56.789'", "'24:00'"),
    ("timestamp", "'2020-02-29 12:34:56'", "'-infinity'"),
    ("timestamptz", "'2020-02-29 12:34:56+02'", "'0044-03-15 BC'"),
    ("timestamp(0)", "'2020-02-29 12:34:56'", "'-infinity'"),
    ("interval", "'1 year 2 days'", "'-3 hours'"),
    ("interval year", "'1 year'", "'2 years'"),
    ("timetz", "'12:34:56+02'", "'00:00-11'"),
    ("bit", "B'1'", "B'0'"),
    ("bit(11)", "B'11111111111'", "B'00000000001'"),
    ("varbit(7)", "B'1010'", "B''"),
    ("numeric", "'12345678901234567890.123'", "'NaN'"),
    ("numeric(5,2)", "123.45", "-0.01"),
    ("uuid", "'0189d1a0-0000-7000-8000-000000000001'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"),
    ("pg_lsn", "'16/B374D848'", "'0/1'"),
    ("tsvector", "'s3cret:1 b:2'", "''"),
    ("tsquery", "'s3cret & b'", "'a'"),
    ("jsonb", "'{\"a\": \"s3cret\"}'", "'[]'"),
    ("jsonpath", "'$.s3cret'", "'$'"),
    ("xid8", "'99'", "'100'"),
    ("int4range", "'[1,5)'", "'empty'"),
    ("tstzrange", "'[2020-01-01,)'", "'empty'"),
    ("numrange", "'[1.5,2.5]'", "'(,)'"),
    ("int8multirange", "'{[1,5),[7,9)}'", "'{}'"),
    ("datemultirange", "'{[2020-01-01,2020-02-01)}'", "'{}'"),
    ("text[]", "'{s3cret,b}'", "'{}'"),
    ("int4[]", "'{{1,2},{3,4}}'", "'{}'"),
    ("uuid[]", "'{0189d1a0-0000-7000-8000-000000000001}'", "'{}'"),
    ("jsonb[]", "array['\"s3cret\"'::jsonb]", "'{}'"),
    ("int4range[]", "array['[1,5)'::int4range]", "'{}'"),
    // What guard does not know becomes NULL.
    ("feeling", "'s3cret'", "'happy'"),
    ("pair", "row('s3cret', 1)", "row('b', 2)"),
    ("regclass", "'pg_class'", "'pg_type'"),
    ("box", "'(1,2),(3,4)'", "'(5,6),(7,8)'"),
];

/// Types whose masked values are NULL.
const UNKNOWN: [&str; 4] = ["feeling", "pair", "regclass", "box"];

const MASKS: [Mask; 5] = [Mask::Redact, Mask::Null, Mask::Hash, Mask::Partial, Mask::Format];

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

/// Feeds a stream in pieces of a size.
fn mask(
    options: &CopyOptions,
    columns: &[Option<ColumnMasker>],
    stream: &[u8],
    size: usize,
) -> Vec<u8> {
    let mut masker = CopyMasker::new(options, columns.to_vec());
    let mut out = BytesMut::new();
    for piece in stream.chunks(size) {
        masker.feed(piece, &mut out).unwrap();
    }
    masker.finish().unwrap();
    out.to_vec()
}

/// Every variant of COPY: what stands in the statement, and the options that it means.
fn variants() -> Vec<(&'static str, CopyOptions)> {
    let csv = || options(CopyFormat::Csv);
    let text = || options(CopyFormat::Text);
    vec![
        ("FORMAT text", text()),
        ("FORMAT text, HEADER", CopyOptions { header: true, ..text() }),
        (
            "FORMAT text, DELIMITER '|', NULL ''",
            CopyOptions { delimiter: b'|', null: "".into(), ..text() },
        ),
        ("FORMAT csv", csv()),
        ("FORMAT csv, HEADER, FORCE_QUOTE *", CopyOptions { header: true, ..csv() }),
        (
            "FORMAT csv, DELIMITER ';', QUOTE '''', ESCAPE '\\', NULL 'NULL'",
            CopyOptions {
                delimiter: b';',
                quote: b'\'',
                escape: b'\\',
                null: "NULL".into(),
                ..csv()
            },
        ),
        ("FORMAT binary", options(CopyFormat::Binary)),
    ]
}

#[test]
fn a_masked_copy_of_every_type_is_one_that_the_server_takes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::start(folder.path(), &["fsync=off"]).unwrap();
    let text = |sql: &str| server.sql(DATABASE, sql).unwrap();
    text("CREATE TYPE feeling AS ENUM ('s3cret', 'happy')");
    text("CREATE TYPE pair AS (a text, b int)");
    let columns: Vec<String> =
        TYPES.iter().enumerate().map(|(i, (name, ..))| format!("c{i} {name}")).collect();
    let row = |pick: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
        TYPES.iter().map(pick).collect::<Vec<_>>().join(", ")
    };
    let (first, second) = (row(|t| t.1), row(|t| t.2));
    let nulls = vec!["NULL"; TYPES.len()].join(", ");
    let columns = columns.join(", ");
    text(&format!("CREATE TABLE raw (id int, {columns})"));
    text(&format!("INSERT INTO raw VALUES (1, {first}), (2, {second}), (3, {nulls})"));

    let catalog = text(
        "SELECT atttypid, atttypmod FROM pg_attribute WHERE attrelid = 'raw'::regclass AND attnum > 1 ORDER BY attnum",
    );
    let types: Vec<ColumnType> = catalog
        .lines()
        .map(|line| {
            let (oid, modifier) = line.split_once('|').unwrap();
            let (oid, modifier) = (oid.parse().unwrap(), modifier.parse().unwrap());
            ColumnType { oid, modifier, not_null: false }
        })
        .collect();
    let key = MaskKeys::new(b"key", None);

    for how in MASKS {
        let maskers: Vec<_> =
            types.iter().map(|t| Some(ColumnMasker::new(how.into(), *t, &key))).collect();
        let maskers: Vec<_> = std::iter::once(None).chain(maskers).collect();
        for (statement, options) in variants() {
            let stream = copy(&server, &format!("COPY raw TO STDOUT ({statement})"), b"");
            let masked = mask(&options, &maskers, &stream, stream.len());
            for size in [1, 2, 3, 5, 7, 64] {
                assert_eq!(mask(&options, &maskers, &stream, size), masked, "{statement} {size}");
            }
            assert!(!masked.windows(6).any(|w| w == b"s3cret"), "{how:?} {statement}");

            text("DROP TABLE IF EXISTS masked");
            text("CREATE TABLE masked (LIKE raw)");
            let forced = statement.replace(", FORCE_QUOTE *", "");
            copy(&server, &format!("COPY masked FROM STDIN ({forced})"), &masked);
            assert_eq!(text("SELECT string_agg(id::text, ' ' ORDER BY id) FROM masked"), "1 2 3");
            // The same whatever the format. (In text, an empty NULL reads like an empty value.)
            if options.format == CopyFormat::Text && options.null.is_empty() {
                continue;
            }
            let table = format!("masked_{}", how.as_str());
            let row = "SELECT id, (masked.*)::text AS row FROM masked";
            text(&format!("CREATE TABLE IF NOT EXISTS {table} AS {row}"));
            let different = text(&format!("({row}) EXCEPT SELECT * FROM {table}"));
            assert_eq!(different, "", "{how:?} {statement}");
        }
        let table = format!("masked_{}", how.as_str());
        let nulls = text(&format!("SELECT row FROM {table} WHERE id = 3"));
        assert_eq!(nulls, format!("(3{})", ",".repeat(TYPES.len())));
        if how == Mask::Redact {
            for (index, (name, ..)) in TYPES.iter().enumerate() {
                let null = text(&format!("SELECT c{index} IS NULL FROM masked WHERE id = 1"));
                let unknown = UNKNOWN.contains(name);
                assert_eq!(null, if unknown { "t" } else { "f" }, "{name}");
            }
        }
    }
}
