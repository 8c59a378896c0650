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
/// Highest tree of operators, prefix words and set operations.
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
    if measure.chain > MAX_CHAIN {
        return Err(format!("an expression of more than {MAX_CHAIN} operators"));
    }
    Ok(())
}

struct Measure {
    nesting: usize,
    chain: usize,
}

/// What is open at one place of a text: a bracket, a CASE, or the statement itself.
#[derive(Clone, Copy, Default)]
struct Level {
    is_case: bool,
    /// Operators of the expression so far, of which each may stand on the one before.
    operators: usize,
    /// Height of the highest operand of the expression in brackets of its own.
    operand: usize,
    /// Height of the highest expression that a comma or a set operation ended.
    ended: usize,
    /// Set operations: each stands on the one before, whatever their queries list.
    sets: usize,
}

impl Level {
    const fn is_in(is_case: bool) -> Self {
        Self { is_case, operators: 0, operand: 0, ended: 0, sets: 0 }
    }

    /// How high the tree of what is in it can be.
    fn height(&self) -> usize {
        self.ended.max(self.operators + self.operand) + self.sets
    }

    fn end_expression(&mut self) {
        self.ended = self.ended.max(self.operators + self.operand);
        (self.operators, self.operand) = (0, 0);
    }
}

/// What is open, from the statement inwards.
struct Levels {
    outer: Vec<Level>,
    inner: Level,
}

impl Levels {
    fn open(&mut self, is_case: bool) {
        self.outer.push(std::mem::replace(&mut self.inner, Level::is_in(is_case)));
    }

    fn close(&mut self) {
        if let Some(mut outer) = self.outer.pop() {
            outer.operand = outer.operand.max(self.inner.height() + 1);
            self.inner = outer;
        }
    }

    /// A closing bracket, and with it every CASE in it: it may have been a name.
    fn close_bracket(&mut self) {
        while self.inner.is_case {
            self.close();
        }
        self.close();
    }
}

/// A quoted string with escapes goes on in the next quotes if nothing but blanks with a line feed and
/// comments to a line's end is between.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Continues {
    No,
    /// After the next line feed.
    OnNextLine,
    Yes,
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
    let mut levels = Levels { outer: Vec::new(), inner: Level::is_in(false) };
    let mut continues = Continues::No;
    let mut after_dot = false;
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
                    if continues == Continues::OnNextLine {
                        continues = Continues::Yes;
                    }
                }
            }
            Place::Quote(quote, escapes) => {
                if byte == b'\\' && *escapes {
                    step = 2;
                } else if byte == *quote {
                    if next == Some(*quote) {
                        step = 2;
                    } else {
                        continues = if *escapes { Continues::OnNextLine } else { Continues::No };
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
                if is_word || (byte == b'$' && word.first().is_some_and(|b| !b.is_ascii_digit())) {
                    word.push(byte.to_ascii_lowercase());
                    at += 1;
                    continue;
                }
                // After a dot every word is a name.
                match word.as_slice() {
                    _ if after_dot => {}
                    b"case" => levels.open(true),
                    b"end" if levels.inner.is_case => levels.close(),
                    b"union" | b"except" | b"intersect" => {
                        levels.inner.end_expression();
                        levels.inner.sets += 1;
                    }
                    b"not" | b"and" | b"or" | b"is" | b"isnull" | b"notnull" | b"join"
                    | b"collate" | b"in" | b"like" | b"ilike" | b"similar" | b"between" | b"at"
                    | b"operator" => levels.inner.operators += 1,
                    _ => {}
                }
                let is_blank = byte.is_ascii_whitespace() || byte == 0x0b;
                let is_comment = matches!((byte, next), (b'/', Some(b'*')) | (b'-', Some(b'-')));
                if !word.is_empty() {
                    (after_dot, continues) = (false, Continues::No);
                }
                let escapes = word.as_slice() == b"e" || continues == Continues::Yes;
                word.clear();
                if !is_blank && !is_comment {
                    after_dot = byte == b'.';
                }
                if matches!(byte, b'\n' | b'\r') && continues == Continues::OnNextLine {
                    continues = Continues::Yes;
                } else if !is_blank && (byte, next) != (b'-', Some(b'-')) {
                    continues = Continues::No;
                }
                match (byte, next) {
                    (b'/', Some(b'*')) => {
                        place = Place::Comment(1);
                        step = 2;
                    }
                    (b'-', Some(b'-')) => place = Place::LineComment,
                    (b'\'', _) => place = Place::Quote(b'\'', escapes),
                    (b'"', _) => place = Place::Quote(b'"', false),
                    (b'$', _) => {
                        if let Some(tag) = bytes.get(at..).and_then(dollar_tag) {
                            step = tag.len();
                            place = Place::Dollar(tag.to_vec());
                        }
                    }
                    (b'(' | b'[', _) => levels.open(false),
                    (b')' | b']', _) => levels.close_bracket(),
                    (b';', _) => {
                        levels = Levels { outer: Vec::new(), inner: Level::is_in(false) };
                    }
                    (b',', _) => levels.inner.end_expression(),
                    (
                        b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' | b'~' | b'!' | b'@' | b'#'
                        | b'%' | b'^' | b'&' | b'|' | b'`' | b'?' | b':' | b'.',
                        _,
                    ) => levels.inner.operators += 1,
                    _ => {}
                }
                found.nesting = found.nesting.max(levels.outer.len());
                found.chain = found.chain.max(levels.inner.height());
                // Before more memory is taken for it.
                if found.nesting > MAX_NESTING {
                    return Err(format!("nested deeper than {MAX_NESTING}"));
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> bool {
        check(text).is_err() && !cheap(text)
    }

    /// The second of two strings is read as the first one was: with escapes.
    #[test]
    fn a_string_that_goes_on_hides_no_depth() {
        let (open, close) = ("(".repeat(500), ")".repeat(500));
        for between in ["\n", " \n\t", "\r\n", " -- x\n", "-- x\n-- y'\n\n", "\x0b\n\x0c"] {
            let text = format!("SELECT E'a'{between}'\\'', {open}1{close}");
            assert!(refused(&text), "{between:?}");
        }
        // These do not go on: a backslash in the second is one.
        for between in [" ", "/**/\n", "\n + ", "\n x\n"] {
            let text = format!("SELECT E'a'{between}'\\', {open}1{close}, '");
            assert!(refused(&text), "{between:?}");
        }
    }

    /// `end` ends a CASE only where one is open, and is a name after a dot.
    #[test]
    fn a_name_hides_no_depth() {
        let deep = |part: &str, close: &str| format!("{}1{}", part.repeat(500), close.repeat(500));
        assert!(refused(&format!("SELECT {}", deep("(SELECT 1 AS end, ", ")"))));
        assert!(refused(&format!("SELECT {}", deep("CASE WHEN a.end THEN ", " END"))));
        assert!(refused(&format!("SELECT {}", deep("CASE WHEN a . /**/ end THEN ", " END"))));
        assert!(refused(&format!("SELECT 1$$'$$, {}", deep("(", ")"))));
        assert!(check(&format!("SELECT {}", "CASE WHEN a THEN 1 END, ".repeat(500))).is_ok());
        assert!(check(&format!("SELECT {}1", "(SELECT 1 AS case), ".repeat(500))).is_ok());
    }

    /// Commas end the expressions beside them, not those around them.
    #[test]
    fn a_comma_hides_no_chain() {
        assert!(refused(&format!("SELECT 1{}", " UNION SELECT 1, 1, 1".repeat(5_000))));
        assert!(refused(&format!("SELECT 1{}", " + f(1, 1, 1)".repeat(5_000))));
        assert!(refused(&format!("SELECT 1{}", " OPERATOR(pg_catalog.+) 1".repeat(5_000))));
        assert!(refused(&format!(
            "SELECT {}1{}",
            "(".repeat(20),
            ("+ 1".repeat(300) + ")").repeat(20)
        )));
        assert!(check(&format!("SELECT {}1", "1 + 1, ".repeat(5_000))).is_ok());
        assert!(check(&format!("SELECT {}1", "f(1 + 1, 2), ".repeat(5_000))).is_ok());
        assert!(check(&"SELECT 1 + 1;".repeat(5_000)).is_ok());
    }
}
