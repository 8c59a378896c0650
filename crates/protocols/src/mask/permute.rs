//! Keyed permutations of small sets: of numbers below a size, and of texts of one shape.
//!
//! Both are Feistel networks over mixed radixes as in FF1 (NIST SP 800-38G), with HMAC-SHA-256 for a round and
//! addition digit by digit. A permutation takes different values to different ones, so that what
//! is unique stays unique. Who has the key can undo it. A set of few values stays one: of ten digits each is
//! some other, and whoever can have values of their own hidden finds out which.

use super::key::MaskKey;

/// FF1 has ten, FF3-1 eight. Patarin showed that six withstand any number of queries short of all.
const ROUNDS: u8 = 8;

/// What a permutation is of: those of different purposes have nothing in common.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Text,
    Hash,
    NegativeHash,
    Number,
    NegativeNumber,
    /// A day or a moment of this year.
    Moment(u16),
    Time,
    Mantissa,
    /// A label of an enum.
    Label,
}

impl Purpose {
    /// Stands before the input of the hash. Others are in [`super::hash`].
    const fn domain(self) -> u8 {
        match self {
            Self::Text => b'T',
            Self::Hash => b'h',
            Self::NegativeHash => b'H',
            Self::Number => b'n',
            Self::NegativeNumber => b'N',
            Self::Moment(_) => b'D',
            Self::Time => b'M',
            Self::Mantissa => b'F',
            Self::Label => b'L',
        }
    }

    /// Keeps sets of one size apart.
    const fn tweak(self) -> u16 {
        match self {
            Self::Moment(year) => year,
            Self::Text
            | Self::Hash
            | Self::NegativeHash
            | Self::Number
            | Self::NegativeNumber
            | Self::Time
            | Self::Mantissa
            | Self::Label => 0,
        }
    }
}

/// Takes a number below `size` to one below `size`. A number that is not below it comes back as it is not
/// one of the set: 0.
pub(crate) fn permute(key: &MaskKey, purpose: Purpose, number: u64, size: u64) -> u64 {
    if number >= size || size < 2 {
        return 0;
    }
    // The smallest rectangle that holds them all: it has at most `width` numbers too many.
    let width = size.isqrt() + u64::from(!is_square(size));
    let height = size.div_ceil(width);
    let mut hidden = number;
    // Walking on while it is outside takes the set to itself (Black and Rogaway); a step is rarely needed.
    loop {
        hidden = rounds(key, purpose, hidden, [width, height], size);
        if hidden < size {
            return hidden;
        }
    }
}

const fn is_square(size: u64) -> bool {
    let root = size.isqrt();
    root * root == size
}

/// One pass through a rectangle of `width` times `height` numbers.
fn rounds(key: &MaskKey, purpose: Purpose, number: u64, sides: [u64; 2], size: u64) -> u64 {
    let [width, height] = sides;
    let (mut left, mut right) = (number % width, number / width);
    for round in 0..ROUNDS {
        let (from, side) = if round % 2 == 0 { (right, width) } else { (left, height) };
        let mut input = [round; 19];
        let words = size.to_be_bytes().into_iter().chain(from.to_be_bytes());
        let words = words.chain(purpose.tweak().to_be_bytes());
        for (to, byte) in input.iter_mut().zip(words) {
            *to = byte;
        }
        let [a, b, c, d, e, f, g, h, ..] = key.hash(purpose.domain(), &input);
        let more = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % side;
        let target = if round % 2 == 0 { &mut left } else { &mut right };
        // Both are below `side`, which is at most 2^32.
        *target = (*target + more) % side;
    }
    right * width + left
}

/// A character as the number that it has in its alphabet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Symbol {
    /// Its number.
    pub(super) number: u16,
    /// How many the alphabet has.
    pub(super) size: u16,
}

/// Room for work, so that no value needs memory of its own.
#[derive(Default)]
pub(crate) struct Room {
    pub(super) symbols: Vec<Symbol>,
    pub(super) bytes: Vec<u8>,
}

/// Takes a text to another of the same alphabets. `bytes` is room for work.
pub(crate) fn permute_symbols(key: &MaskKey, symbols: &mut [Symbol], bytes: &mut Vec<u8>) {
    let count = u32::try_from(symbols.len()).unwrap_or(u32::MAX);
    let (left, right) = symbols.split_at_mut(symbols.len() / 2);
    for round in 0..ROUNDS {
        let (target, from): (&mut [Symbol], &[Symbol]) =
            if round % 2 == 0 { (right, left) } else { (left, right) };
        bytes.clear();
        bytes.push(round);
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend(from.iter().flat_map(|symbol| symbol.number.to_be_bytes()));
        let seed = key.hash(Purpose::Text.domain(), bytes);
        add(key, seed, target);
    }
}

/// Adds to each symbol what a stream of digits gives.
fn add(key: &MaskKey, seed: [u8; 32], target: &mut [Symbol]) {
    /// Symbols that one hash is enough for: three bytes each, so that none is noticeably more likely.
    const PER_HASH: usize = 10;
    let mut stream = seed;
    for (block, symbols) in target.chunks_mut(PER_HASH).enumerate() {
        if block > 0 {
            let mut input = [0; 40];
            let number = (block as u64).to_be_bytes();
            for (to, from) in input.iter_mut().zip(seed.into_iter().chain(number)) {
                *to = from;
            }
            stream = key.hash(b'S', &input);
        }
        for (symbol, digits) in symbols.iter_mut().zip(stream.as_chunks::<3>().0) {
            let [a, b, c] = *digits;
            let size = u32::from(symbol.size.max(1));
            let sum = (u32::from(symbol.number) + u32::from_be_bytes([0, a, b, c])) % size;
            // Below a size that is an u16.
            symbol.number = u16::try_from(sum).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_set_of_numbers_is_taken_to_itself() {
        let key = MaskKey::new(b"key");
        for size in [2u64, 3, 7, 9, 10, 90, 365, 366, 900, 1000, 9000] {
            let hidden: HashSet<u64> =
                (0..size).map(|number| permute(&key, Purpose::Number, number, size)).collect();
            assert_eq!(hidden.len() as u64, size);
            assert!(hidden.iter().all(|hidden| *hidden < size), "{size}");
        }
        for size in [u64::from(u32::MAX), (1 << 63) - (1 << 31), 86_400_000_000 * 366] {
            for number in [0, 1, size / 2, size - 1] {
                assert!(permute(&key, Purpose::Number, number, size) < size);
            }
            assert_eq!(permute(&key, Purpose::Number, size, size), 0);
        }
    }

    #[test]
    fn every_set_of_texts_is_taken_to_itself() {
        let key = MaskKey::new(b"key");
        let mut bytes = Vec::new();
        for sizes in [vec![10u16], vec![26, 10], vec![10, 26, 10], vec![3, 5, 7, 2]] {
            let all: usize = sizes.iter().map(|size| usize::from(*size)).product();
            let mut seen = HashSet::new();
            for mut number in 0..all {
                let mut symbols: Vec<Symbol> = Vec::new();
                for size in &sizes {
                    let digit = u16::try_from(number % usize::from(*size)).unwrap();
                    symbols.push(Symbol { number: digit, size: *size });
                    number /= usize::from(*size);
                }
                permute_symbols(&key, &mut symbols, &mut bytes);
                assert!(symbols.iter().all(|symbol| symbol.number < symbol.size));
                seen.insert(symbols.iter().map(|symbol| symbol.number).collect::<Vec<_>>());
            }
            assert_eq!(seen.len(), all, "{sizes:?}");
        }
    }

    #[test]
    fn each_symbol_depends_on_all_others() {
        let key = MaskKey::new(b"key");
        let hide = |changed: usize| {
            let mut symbols = vec![Symbol { number: 4, size: 26 }; 60];
            if let Some(symbol) = symbols.get_mut(changed) {
                symbol.number = 5;
            }
            permute_symbols(&key, &mut symbols, &mut Vec::new());
            symbols
        };
        let plain = hide(60);
        for changed in 0..60 {
            let other = hide(changed);
            let same = plain.iter().zip(&other).filter(|(one, other)| one == other).count();
            assert!(same < 20, "{same} of 60 symbols are the same");
        }
    }
}
