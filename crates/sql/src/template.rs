//! Texts that differ in literals only, brought to one text.
//!
//! [`template`] puts `$1`, `$2`, … in the place of literals. What it gives is parsed and analysed as a
//! prepared statement with parameters would be: the analysis cannot look at a literal that is not there, so
//! what it finds holds for every text that gives the same template. It is a small scanner that knows a
//! part of the language which is scanned in one way only, and answers `None` where it is in doubt; such a
//! text is analysed itself, as every text could be.
//!
//! INVARIANT: where the analysis of a template is [`Template::holds`], that of each of its texts is the
//! same, but for the text. Its tests compare the two.

use std::sync::Arc;

use guard_core::{Bounded, Certainty, Operation, Sensitive};

use crate::{Catalog, NoNames, Statement, StatementRole, analyze};

/// Longest text that is looked at, in bytes.
const MAX_TEXT: usize = 8 << 10;
/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 24;
/// Most literals that are replaced.
const MAX_LITERALS: usize = 512;
/// Operators; any other run of their characters is a doubt.
const OPERATORS: [&[u8]; 17] = [
    b"=", b"<>", b"!=", b"<", b">", b"<=", b">=", b"+", b"-", b"*", b"/", b"%", b"||", b"->",
    b"->>", b"~", b"~*",
];
/// The first of them, behind which a literal is replaced.
const COMPARISONS: usize = 7;

/// A text without its literals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The text with `$n` in the place of the literals.
    pub text: String,
}

impl Template {
    /// Whether what was found out of a template may be said of each of its texts.
    ///
    /// Whether a condition limits rows is the one thing that hangs on literals (`id > 0`), and a doubt might.
    pub fn holds(statements: &[Arc<Statement>]) -> bool {
        let [statement] = statements else { return false };
        let operation = &statement.operation;
        let exact = match operation.certainty {
            Certainty::Exact => true,
            Certainty::Partial(_) | Certainty::Unparsed(_) => false,
        };
        let limits = operation.effects.iter().any(|effect| match effect.bounded {
            Bounded::NotApplicable => false,
            Bounded::Yes | Bounded::No => true,
        });
        exact && !limits && statement.role == StatementRole::Plain
    }
}

/// The template of a text; `None` if it has no literal that can be replaced, or might be read in
/// another way than this scanner does.
pub fn template(text: &str) -> Option<Template> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let mut scanner = Scanner {
        bytes: text.as_bytes(),
        at: 0,
        out: Vec::with_capacity(text.len() + 16),
        copied: 0,
        end: None,
        literals: 0,
        parens: [Paren::Other; MAX_DEPTH],
        depth: 0,
        last: Last::Start,
    };
    while scanner.step()? {}
    if scanner.literals == 0 {
        return None;
    }
    // The semicolon, and what is before and behind it, is nothing of the statement's.
    let end = scanner.end.unwrap_or(text.len());
    scanner.copy_to(end)?;
    while scanner.out.last().is_some_and(|byte| is_blank(*byte)) {
        scanner.out.pop();
    }
    Some(Template { text: String::from_utf8(scanner.out).ok()? })
}

/// What came last, as far as it says what a literal behind it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Nothing.
    Start,
    /// A literal behind it stands for a value and nothing else: a comparison, LIMIT.
    Value,
    /// BETWEEN.
    Between,
    /// The low end of a BETWEEN, replaced.
    Low,
    /// IN.
    In,
    /// VALUES, or the comma between two of its rows.
    Values,
    /// The end of a row of VALUES.
    Row,
    /// An opening parenthesis or a comma in a list of values.
    Item,
    /// A dot: what follows is a name and no keyword.
    Dot,
    /// The semicolon.
    End,
    /// Anything else.
    Other,
}

/// What a parenthesis holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Paren {
    /// Values, behind IN, or a row within them.
    List,
    /// A row of VALUES.
    Row,
    /// Anything else.
    Other,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    out: Vec<u8>,
    /// Up to where the text is in `out`.
    copied: usize,
    /// Where the semicolon is.
    end: Option<usize>,
    literals: usize,
    parens: [Paren; MAX_DEPTH],
    depth: usize,
    last: Last,
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

const fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'+' | b'-'
            | b'*'
            | b'/'
            | b'<'
            | b'>'
            | b'='
            | b'~'
            | b'!'
            | b'@'
            | b'#'
            | b'%'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
    )
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Passes over all that `wanted` holds for; gives the passed bytes.
    fn run(&mut self, wanted: impl Fn(u8) -> bool) -> &[u8] {
        let start = self.at;
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    fn copy_to(&mut self, end: usize) -> Option<()> {
        self.out.extend_from_slice(self.bytes.get(self.copied..end)?);
        self.copied = end;
        Some(())
    }

    /// Looks at one token. `Some(false)` at the end, `None` in doubt.
    fn step(&mut self) -> Option<bool> {
        self.run(is_blank);
        let Some(byte) = self.peek() else { return Some(false) };
        // Nothing is behind the semicolon, and a statement begins with a word.
        if self.last == Last::End || (self.last == Last::Start && !byte.is_ascii_alphabetic()) {
            return None;
        }
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word()?,
            b'0'..=b'9' => {
                let start = self.at;
                self.number()?;
                self.literal(start)?;
            }
            b'\'' => {
                let start = self.at;
                self.quoted(b'\'')?;
                self.literal(start)?;
            }
            b'"' => {
                self.quoted(b'"')?;
                self.last = Last::Other;
            }
            b'(' => self.open()?,
            b')' => self.close()?,
            b',' => {
                self.at += 1;
                self.last = match (self.last, self.inside()) {
                    (Last::Row, _) => Last::Values,
                    (_, Some(Paren::List | Paren::Row)) => Last::Item,
                    (_, Some(Paren::Other) | None) => Last::Other,
                };
            }
            b'.' => {
                self.at += 1;
                self.last = Last::Dot;
            }
            b':' => {
                // A cast; not a slice.
                if self.bytes.get(self.at + 1) != Some(&b':')
                    || self.bytes.get(self.at + 2) == Some(&b':')
                {
                    return None;
                }
                self.at += 2;
                self.last = Last::Other;
            }
            b';' => {
                self.end = Some(self.at);
                self.at += 1;
                self.last = Last::End;
            }
            _ if is_operator(byte) => self.operator()?,
            _ => return None,
        }
        Some(true)
    }

    fn inside(&self) -> Option<Paren> {
        self.parens.get(self.depth.checked_sub(1)?).copied()
    }

    fn open(&mut self) -> Option<()> {
        self.at += 1;
        let paren = match (self.last, self.inside()) {
            (Last::In, _) => Paren::List,
            (Last::Values, _) => Paren::Row,
            // A row in a list of values.
            (Last::Item, Some(Paren::List)) => Paren::List,
            _ => Paren::Other,
        };
        *self.parens.get_mut(self.depth)? = paren;
        self.depth += 1;
        self.last = match paren {
            Paren::List | Paren::Row => Last::Item,
            Paren::Other => Last::Other,
        };
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        self.at += 1;
        let paren = self.inside()?;
        self.depth -= 1;
        self.last = match paren {
            Paren::Row => Last::Row,
            Paren::List | Paren::Other => Last::Other,
        };
        Some(())
    }

    fn word(&mut self) -> Option<()> {
        let last = self.last;
        let start = self.last == Last::Start;
        let word = self.run(is_name);
        // At most as long as the longest of them: others are names.
        let mut lower = [0_u8; 8];
        let word = match lower.get_mut(..word.len()) {
            Some(place) => {
                place.copy_from_slice(word);
                place.make_ascii_lowercase();
                &*place
            }
            None => b"",
        };
        let is = |list: &[&[u8]]| list.contains(&word);
        if start && !is(&[b"select", b"insert", b"with"]) {
            return None;
        }
        // `E'…'`, `U&"…"` and their like.
        if matches!(self.peek(), Some(b'\'' | b'"' | b'$' | b'&' | 0x80..)) {
            return None;
        }
        self.last = match word {
            _ if last == Last::Dot => Last::Other,
            b"in" => Last::In,
            b"values" => Last::Values,
            // Not LIKE: it can be the name of a type, and then what follows is no value of its own.
            b"limit" | b"offset" => Last::Value,
            b"between" => Last::Between,
            b"and" if last == Last::Low => Last::Value,
            _ => Last::Other,
        };
        if is(&[b"select", b"with", b"values", b"table"]) {
            // A list that is a query: its targets and ordinals are not values of the list.
            let inside = self.depth.checked_sub(1).and_then(|depth| self.parens.get_mut(depth));
            if let Some(paren) = inside {
                *paren = Paren::Other;
            }
        }
        Some(())
    }

    fn operator(&mut self) -> Option<()> {
        let (start, last) = (self.at, self.last);
        let run = self.run(is_operator);
        let place = OPERATORS.iter().position(|operator| *operator == run)?;
        let is_minus = run == b"-";
        if place < COMPARISONS {
            self.last = Last::Value;
        } else if is_minus
            && matches!(last, Last::Value | Last::Between | Last::Item)
            && matches!(self.peek(), Some(b'0'..=b'9'))
        {
            // A number with a sign, unless something binds it closer than the sign does.
            self.number()?;
            self.literal(start)?;
            if self.peek() == Some(b':') {
                return None;
            }
        } else {
            self.last = Last::Other;
        }
        Some(())
    }

    /// Digits, and a fraction. Other forms of numbers are a doubt.
    fn number(&mut self) -> Option<()> {
        self.run(|byte| byte.is_ascii_digit());
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.run(|byte| byte.is_ascii_digit()).is_empty() {
                return None;
            }
        }
        Some(())
    }

    /// A string or a quoted name, without escapes.
    fn quoted(&mut self, quote: u8) -> Option<()> {
        loop {
            self.at += 1;
            let rest = self.bytes.get(self.at..)?;
            self.at += rest.iter().position(|byte| *byte == quote || *byte == b'\\')?;
            if self.peek() != Some(quote) {
                return None;
            }
            self.at += 1;
            if self.peek() != Some(quote) {
                return Some(());
            }
        }
    }

    /// A literal that began at `start` and ends here: replaced if it stands where only a value can.
    fn literal(&mut self, start: usize) -> Option<()> {
        let end = self.at;
        match self.peek() {
            Some(byte)
                if is_name(byte) || matches!(byte, b'\'' | b'"' | b'$' | b'.' | b'[' | 0x80..) =>
            {
                return None;
            }
            Some(_) | None => {}
        }
        // A string behind a string is a part of it.
        self.run(is_blank);
        if matches!(self.peek(), Some(b'\'' | b'"' | b'[')) {
            return None;
        }
        self.last = match self.last {
            Last::Value | Last::Between | Last::Item => {
                self.copy_to(start)?;
                self.literals += 1;
                if self.literals > MAX_LITERALS {
                    return None;
                }
                self.out.push(b'$');
                let number = self.literals.to_string();
                self.out.extend_from_slice(number.as_bytes());
                self.copied = end;
                if self.last == Last::Between { Last::Low } else { Last::Other }
            }
            Last::Start
            | Last::Low
            | Last::In
            | Last::Values
            | Last::Row
            | Last::Dot
            | Last::End
            | Last::Other => Last::Other,
        };
        Some(())
    }
}

/// Compares what is found out of a text with what is found out of its template: for fuzzing and tests.
///
/// Gives the template if it holds, and both as they are, without their texts.
pub fn compare(text: &str, catalog: &Catalog) -> Option<(String, Vec<Statement>, Vec<Statement>)> {
    let template = template(text)?.text;
    let read = |text: &str| analyze(&text.into(), catalog, &NoNames);
    let general = read(&template);
    if !Template::holds(&general) {
        return None;
    }
    let without_text = |statements: Vec<Arc<Statement>>| {
        let one = |statement: &Arc<Statement>| {
            let operation = Operation {
                text: Sensitive::new("".into()),
                ..Operation::clone(&statement.operation)
            };
            Statement { operation: Arc::new(operation), ..Statement::clone(statement) }
        };
        statements.iter().map(one).collect()
    };
    Some((template, without_text(read(text)), without_text(general)))
}

/// Panics where a template that holds says another thing than a text of it.
pub fn fuzz_template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some((template, own, general)) = compare(text, &Catalog::default()) {
        assert_eq!(own, general, "{text}\n{template}");
    }
}

#[cfg(test)]
mod tests;
