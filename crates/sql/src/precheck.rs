//! Bounds that a text must keep before the parser sees it.
//!
//! PostgreSQL's scanner is quadratic in nested comments and its grammar recurses in C. This pass is
//! linear, needs no stack, and errs to the strict side: quotes and comments are not told from code
//! except where that lowers no bound.

use crate::MAX_TEXT;

/// Deepest nesting of parentheses, brackets and CASE.
pub const MAX_NESTING: usize = 120;
/// Deepest nesting of comments: nobody nests more by hand.
pub const MAX_COMMENT_DEPTH: usize = 16;
/// Longest chain of operators and prefix words without a separator that ends an expression.
pub const MAX_CHAIN: usize = 4_000;

/// Longest run of operator characters: the scanner reads such a run anew at each `/*` in it, so
/// `/*/**/*/` repeated costs the square of its length.
const MAX_OPERATOR_RUN: usize = 512;

/// Longest text that is analysed on the I/O thread.
const CHEAP_TEXT: usize = 8 * 1024;
/// Most opening brackets and chain words of a text that is analysed on the I/O thread.
const CHEAP_NESTING: usize = 24;
/// Longest chain of such a text.
const CHEAP_CHAIN: usize = 200;

/// Whether a text is so small and flat that it can be analysed on the I/O thread.
pub fn cheap(text: &str) -> bool {
    text.len() <= CHEAP_TEXT
        && measure(text).is_ok_and(|m| m.nesting <= CHEAP_NESTING && m.chain <= CHEAP_CHAIN)
}

/// Whether a text, of whatever length, is flat enough for any thread's stack.
pub(crate) fn flat(text: &str) -> bool {
    measure(text).is_ok_and(|m| m.nesting <= CHEAP_NESTING && m.chain <= CHEAP_CHAIN)
}

/// Refuses a text that is too long, too deep, or that the server could not receive.
pub(crate) fn check(text: &str) -> Result<(), String> {
    if text.len() > MAX_TEXT {
        return Err(format!("longer than {MAX_TEXT} bytes"));
    }
    if text.as_bytes().contains(&0) {
        return Err("a NUL byte in the text".into());
    }
    let measure = measure(text)?;
    if measure.nesting > MAX_NESTING {
        return Err(format!("nested deeper than {MAX_NESTING}"));
    }
    if measure.chain > MAX_CHAIN {
        return Err(format!("an expression of more than {MAX_CHAIN} operators"));
    }
    Ok(())
}

struct Measure {
    nesting: usize,
    chain: usize,
}

/// Where the pass is.
enum Place {
    Code,
    /// In a comment of this depth.
    Comment(usize),
    LineComment,
    /// In quotes of this kind, with backslash escapes or not.
    Quote(u8, bool),
    /// In a dollar-quoted string; its tag with both signs.
    Dollar(Vec<u8>),
}

fn measure(text: &str) -> Result<Measure, String> {
    let bytes = text.as_bytes();
    let mut place = Place::Code;
    let mut found = Measure { nesting: 0, chain: 0 };
    let (mut depth, mut chain) = (0_usize, 0_usize);
    let mut at = 0;
    let mut word: Vec<u8> = Vec::new();
    let mut run_start = 0;
    while let Some(&byte) = bytes.get(at) {
        let is_operator = b"+-*/<>=~!@#%^&|`?".contains(&byte);
        if !is_operator || matches!(place, Place::Quote(..) | Place::Dollar(_) | Place::LineComment)
        {
            run_start = at + 1;
        } else if at.saturating_sub(run_start) > MAX_OPERATOR_RUN {
            return Err(format!("more than {MAX_OPERATOR_RUN} operator characters in a row"));
        }
        let next = bytes.get(at + 1).copied();
        let mut step = 1;
        match &mut place {
            Place::Comment(level) => match (byte, next) {
                (b'/', Some(b'*')) => {
                    *level += 1;
                    step = 2;
                    if *level > MAX_COMMENT_DEPTH {
                        return Err(format!("comments nested deeper than {MAX_COMMENT_DEPTH}"));
                    }
                }
                (b'*', Some(b'/')) => {
                    *level -= 1;
                    step = 2;
                    if *level == 0 {
                        place = Place::Code;
                    }
                }
                _ => {}
            },
            Place::LineComment => {
                if byte == b'\n' || byte == b'\r' {
                    place = Place::Code;
                }
            }
            Place::Quote(quote, escapes) => {
                if byte == b'\\' && *escapes {
                    step = 2;
                } else if byte == *quote {
                    if next == Some(*quote) {
                        step = 2;
                    } else {
                        place = Place::Code;
                    }
                }
            }
            Place::Dollar(tag) => {
                if byte == b'$' && bytes.get(at..).is_some_and(|rest| rest.starts_with(tag)) {
                    step = tag.len();
                    place = Place::Code;
                }
            }
            Place::Code => {
                let is_word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
                if is_word || (byte == b'$' && !word.is_empty()) {
                    word.push(byte.to_ascii_lowercase());
                    at += 1;
                    continue;
                }
                match word.as_slice() {
                    b"case" => depth += 1,
                    b"end" => depth = depth.saturating_sub(1),
                    b"not" | b"and" | b"or" | b"is" | b"union" | b"except" | b"intersect"
                    | b"join" | b"collate" | b"in" | b"like" | b"at" => chain += 1,
                    _ => {}
                }
                let escape_prefix = word.as_slice() == b"e";
                word.clear();
                match (byte, next) {
                    (b'/', Some(b'*')) => {
                        place = Place::Comment(1);
                        step = 2;
                    }
                    (b'-', Some(b'-')) => place = Place::LineComment,
                    (b'\'', _) => place = Place::Quote(b'\'', escape_prefix),
                    (b'"', _) => place = Place::Quote(b'"', false),
                    (b'$', _) => {
                        if let Some(tag) = bytes.get(at..).and_then(dollar_tag) {
                            step = tag.len();
                            place = Place::Dollar(tag.to_vec());
                        }
                    }
                    (b'(' | b'[', _) => depth += 1,
                    (b')' | b']', _) => depth = depth.saturating_sub(1),
                    (b';', _) => (depth, chain) = (0, 0),
                    (b',', _) => chain = chain.saturating_sub(1),
                    (
                        b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' | b'~' | b'!' | b'@' | b'#'
                        | b'%' | b'^' | b'&' | b'|' | b'`' | b'?' | b':' | b'.',
                        _,
                    ) => chain += 1,
                    _ => {}
                }
                found.nesting = found.nesting.max(depth);
                found.chain = found.chain.max(chain);
            }
        }
        at += step;
    }
    Ok(found)
}

/// The opening `$tag$` at the start of some bytes.
fn dollar_tag(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.iter().skip(1).position(|b| *b == b'$')?;
    let tag = bytes.get(1..=length)?;
    let is_tag = tag.iter().enumerate().all(|(i, b)| {
        b.is_ascii_alphabetic() || *b == b'_' || *b >= 0x80 || (i > 0 && b.is_ascii_digit())
    });
    if is_tag { bytes.get(..length + 2) } else { None }
}
