//! Types of columns, and the constants that stand for a redacted value of each built-in one.
//!
//! Object ids are those of `pg_type.dat`, the same in every version. Text forms are ones that the
//! input functions take whatever `DateStyle`, `IntervalStyle` or `lc_monetary` are.

use std::sync::Arc;

use crate::mask::MASKED;

/// How values of a column travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// As the type's output function writes it.
    Text,
    /// As the type's send function writes it.
    Binary,
}

impl Format {
    /// A format code of Bind and RowDescription.
    pub(crate) const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Text),
            1 => Some(Self::Binary),
            _ => None,
        }
    }
}

/// What is known of a column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ColumnType {
    /// The type's object id; of a domain its base type's, of a text type of an extension (`citext`) 25.
    /// What is not known to guard, 0 among it, can only become NULL.
    pub(crate) oid: u32,
    /// The type modifier, -1 for none.
    pub(crate) modifier: i32,
    /// Whether NULL cannot be stored: the mask `null` redacts then, so that a dump can be restored.
    pub(crate) not_null: bool,
}

impl ColumnType {
    /// Whether its values are texts.
    pub(crate) fn is_text(self) -> bool {
        text_capacity(self.oid, self.modifier).is_some()
    }
}

/// Object ids of types.
pub(crate) mod oid {
    pub(crate) const BOOL: u32 = 16;
    pub(crate) const BYTEA: u32 = 17;
    pub(crate) const CHAR: u32 = 18;
    pub(crate) const NAME: u32 = 19;
    pub(crate) const INT8: u32 = 20;
    pub(crate) const INT2: u32 = 21;
    pub(crate) const INT4: u32 = 23;
    pub(crate) const TEXT: u32 = 25;
    pub(crate) const OID: u32 = 26;
    pub(crate) const XID: u32 = 28;
    pub(crate) const CID: u32 = 29;
    pub(crate) const JSON: u32 = 114;
    pub(crate) const XML: u32 = 142;
    pub(crate) const POINT: u32 = 600;
    pub(crate) const CIDR: u32 = 650;
    pub(crate) const FLOAT4: u32 = 700;
    pub(crate) const FLOAT8: u32 = 701;
    pub(crate) const UNKNOWN: u32 = 705;
    pub(crate) const MACADDR8: u32 = 774;
    pub(crate) const MONEY: u32 = 790;
    pub(crate) const MACADDR: u32 = 829;
    pub(crate) const INET: u32 = 869;
    pub(crate) const BPCHAR: u32 = 1042;
    pub(crate) const VARCHAR: u32 = 1043;
    pub(crate) const DATE: u32 = 1082;
    pub(crate) const TIME: u32 = 1083;
    pub(crate) const TIMESTAMP: u32 = 1114;
    pub(crate) const TIMESTAMPTZ: u32 = 1184;
    pub(crate) const INTERVAL: u32 = 1186;
    pub(crate) const TIMETZ: u32 = 1266;
    pub(crate) const BIT: u32 = 1560;
    pub(crate) const VARBIT: u32 = 1562;
    pub(crate) const NUMERIC: u32 = 1700;
    pub(crate) const CSTRING: u32 = 2275;
    pub(crate) const UUID: u32 = 2950;
    pub(crate) const PG_LSN: u32 = 3220;
    pub(crate) const TSVECTOR: u32 = 3614;
    pub(crate) const TSQUERY: u32 = 3615;
    pub(crate) const JSONB: u32 = 3802;
    pub(crate) const JSONPATH: u32 = 4072;
    pub(crate) const XID8: u32 = 5069;
}

/// Array types and the types of their elements, which `array_recv` wants to be told.
const ARRAYS: [(u32, u32); 46] = [
    (1000, oid::BOOL),
    (1001, oid::BYTEA),
    (1002, oid::CHAR),
    (1003, oid::NAME),
    (1016, oid::INT8),
    (1005, oid::INT2),
    (1007, oid::INT4),
    (1009, oid::TEXT),
    (1028, oid::OID),
    (1011, oid::XID),
    (1012, oid::CID),
    (199, oid::JSON),
    (143, oid::XML),
    (1017, oid::POINT),
    (651, oid::CIDR),
    (1021, oid::FLOAT4),
    (1022, oid::FLOAT8),
    (775, oid::MACADDR8),
    (791, oid::MONEY),
    (1040, oid::MACADDR),
    (1041, oid::INET),
    (1014, oid::BPCHAR),
    (1015, oid::VARCHAR),
    (1182, oid::DATE),
    (1183, oid::TIME),
    (1115, oid::TIMESTAMP),
    (1185, oid::TIMESTAMPTZ),
    (1187, oid::INTERVAL),
    (1270, oid::TIMETZ),
    (1561, oid::BIT),
    (1563, oid::VARBIT),
    (1231, oid::NUMERIC),
    (1263, oid::CSTRING),
    (2951, oid::UUID),
    (3221, oid::PG_LSN),
    (3643, oid::TSVECTOR),
    (3645, oid::TSQUERY),
    (3807, oid::JSONB),
    (4073, oid::JSONPATH),
    (271, oid::XID8),
    (3905, 3904),
    (3907, 3906),
    (3909, 3908),
    (3911, 3910),
    (3913, 3912),
    (3927, 3926),
];

/// int4range, numrange, tsrange, tstzrange, daterange, int8range.
const RANGES: [u32; 6] = [3904, 3906, 3908, 3910, 3912, 3926];

/// The multiranges of [`RANGES`].
const MULTIRANGES: [u32; 6] = [4451, 4532, 4533, 4534, 4535, 4536];

/// Longest `bit(n)` for which zeros are written out; a longer one is NULL.
const MAX_BITS: usize = 4096;

/// A redacted value in both formats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redacted {
    pub(super) text: Vec<u8>,
    pub(super) binary: Vec<u8>,
}

/// A type that somebody made, as far as a mask must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UserType {
    /// Its labels in their order.
    Enum(Arc<[Arc<str>]>),
    /// The types of its fields.
    Composite(Vec<u32>),
    /// The type of its elements.
    Array(u32),
    Range,
    Multirange,
}

impl UserType {
    /// The constant that it always takes: a first label, a row of NULLs, what is empty.
    pub(super) fn redacted(&self) -> Option<Redacted> {
        match self {
            Self::Enum(labels) => labels.first().map(|label| same(label)),
            Self::Composite(fields) => {
                let commas = ",".repeat(fields.len().saturating_sub(1));
                let mut binary = u32::try_from(fields.len()).ok()?.to_be_bytes().to_vec();
                for field in fields {
                    binary.extend(field.to_be_bytes());
                    binary.extend((-1i32).to_be_bytes());
                }
                Some(both(&format!("({commas})"), binary))
            }
            Self::Array(element) => {
                Some(both("{}", [[0; 4], [0; 4], element.to_be_bytes()].concat()))
            }
            Self::Range => Some(both("empty", vec![1])),
            Self::Multirange => Some(both("{}", vec![0; 4])),
        }
    }
}

/// How many characters a text type takes; `None` if the type is not a text.
pub(super) fn text_capacity(type_oid: u32, modifier: i32) -> Option<usize> {
    match type_oid {
        oid::TEXT | oid::UNKNOWN | oid::CSTRING => Some(usize::MAX),
        // The modifier is the length and the four bytes of a varlena header.
        oid::VARCHAR | oid::BPCHAR => match usize::try_from(modifier) {
            Ok(modifier) if modifier > 4 => Some(modifier - 4),
            Ok(_) | Err(_) => Some(usize::MAX),
        },
        oid::NAME => Some(63),
        oid::CHAR => Some(1),
        _ => None,
    }
}

/// The constant for a type, if one is known that the type always takes.
pub(super) fn redacted(type_oid: u32, modifier: i32) -> Option<Redacted> {
    if let Some(capacity) = text_capacity(type_oid, modifier) {
        let text = MASKED.chars().take(capacity).collect::<String>();
        return Some(same(&text));
    }
    if let Some((_, element)) = ARRAYS.iter().find(|(array, _)| *array == type_oid) {
        // No dimensions, no NULL bitmap, element type.
        let binary = [[0; 4], [0; 4], element.to_be_bytes()].concat();
        return Some(both("{}", binary));
    }
    if RANGES.contains(&type_oid) {
        return Some(both("empty", vec![1]));
    }
    if MULTIRANGES.contains(&type_oid) {
        return Some(both("{}", vec![0; 4]));
    }
    Some(match type_oid {
        oid::BOOL => both("f", vec![0]),
        oid::INT2 => both("0", vec![0; 2]),
        oid::INT4 | oid::FLOAT4 | oid::OID | oid::XID | oid::CID => both("0", vec![0; 4]),
        oid::INT8 | oid::FLOAT8 | oid::MONEY | oid::XID8 => both("0", vec![0; 8]),
        // No digits, weight 0, positive, scale 0.
        oid::NUMERIC => both("0", vec![0; 8]),
        oid::PG_LSN => both("0/0", vec![0; 8]),
        oid::BYTEA => both("\\x", Vec::new()),
        oid::UUID => both("00000000-0000-0000-0000-000000000000", vec![0; 16]),
        oid::JSON => same("\"[masked]\""),
        // The byte in front is the version of the format.
        oid::JSONB => both("\"[masked]\"", b"\x01\"[masked]\"".to_vec()),
        oid::JSONPATH => both("$", b"\x01$".to_vec()),
        oid::XML => same("<masked/>"),
        oid::TSVECTOR => both("", vec![0; 4]),
        // Number of items; a value, of any weight, no prefix. (An empty one is not taken in binary.)
        oid::TSQUERY => both("'masked'", b"\0\0\0\x01\x01\0\0masked\0".to_vec()),
        oid::POINT => both("(0,0)", vec![0; 16]),
        // Family (2: IPv4), bits, whether a network, length, address.
        oid::INET => both("0.0.0.0", vec![2, 32, 0, 4, 0, 0, 0, 0]),
        oid::CIDR => both("0.0.0.0/32", vec![2, 32, 1, 4, 0, 0, 0, 0]),
        oid::MACADDR => both("00:00:00:00:00:00", vec![0; 6]),
        oid::MACADDR8 => both("00:00:00:00:00:00:00:00", vec![0; 8]),
        // Days and microseconds since 2000-01-01.
        oid::DATE => both("1970-01-01", (-10_957i32).to_be_bytes().to_vec()),
        oid::TIMESTAMP => both("1970-01-01 00:00:00", epoch()),
        oid::TIMESTAMPTZ => both("1970-01-01 00:00:00+00", epoch()),
        oid::TIME => both("00:00:00", vec![0; 8]),
        oid::TIMETZ => both("00:00:00+00", vec![0; 12]),
        oid::INTERVAL => both("00:00:00", vec![0; 16]),
        oid::VARBIT => both("", vec![0; 4]),
        oid::BIT => {
            // The modifier is the number of bits; none means one.
            let bits = usize::try_from(modifier).unwrap_or(1).max(1);
            let length = u32::try_from(bits).ok().filter(|_| bits <= MAX_BITS)?;
            let mut binary = length.to_be_bytes().to_vec();
            binary.resize(4 + bits.div_ceil(8), 0);
            both(&"0".repeat(bits), binary)
        }
        _ => return None,
    })
}

fn same(text: &str) -> Redacted {
    both(text, text.as_bytes().to_vec())
}

fn both(text: &str, binary: Vec<u8>) -> Redacted {
    Redacted { text: text.as_bytes().to_vec(), binary }
}

fn epoch() -> Vec<u8> {
    (-946_684_800_000_000i64).to_be_bytes().to_vec()
}
