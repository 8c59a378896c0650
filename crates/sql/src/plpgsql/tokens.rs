//! The tokens of a PL/pgSQL block, as PostgreSQL's own scanner finds them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pg_query::protobuf::Token as Kind;

/// One token: where it is, and what it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'t> {
    /// Its place in the text, in bytes.
    pub(super) start: usize,
    pub(super) end: usize,
    text: &'t str,
}

impl Token<'_> {
    /// Whether it is this word, unquoted and in any case, or this sign.
    pub(super) fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it is a name or a word of the language.
    pub(super) fn is_word(&self) -> bool {
        let first = self.text.bytes().next().unwrap_or(b' ');
        let is_name = first.is_ascii_alphabetic() || first == b'_' || first >= 0x80;
        (is_name && !self.text.ends_with('\'')) || self.is_quoted()
    }

    fn is_quoted(&self) -> bool {
        self.text.starts_with('"') || (self.text.ends_with('"') && !self.text.starts_with('\''))
    }

    /// Whether it is a string of any form.
    pub(super) fn is_string(&self) -> bool {
        self.text.ends_with('\'') || (self.text.starts_with('$') && self.text.ends_with('$'))
    }

    /// Whether it is a number or a parameter: no more than a value.
    pub(super) fn is_number(&self) -> bool {
        let mut bytes = self.text.bytes();
        match bytes.next() {
            Some(b'$') => bytes.all(|b| b.is_ascii_digit()),
            Some(first) => first.is_ascii_digit(),
            None => false,
        }
    }
}

/// The tokens of a text without its comments.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    crate::precheck::check(text)?;
    let scanned = catch_unwind(AssertUnwindSafe(|| pg_query::scan(text)));
    let Ok(Ok(scanned)) = scanned else { return Err("a body that is not understood".into()) };
    let mut tokens = Vec::with_capacity(scanned.tokens.len());
    for token in scanned.tokens {
        if token.token == Kind::SqlComment as i32 || token.token == Kind::CComment as i32 {
            continue;
        }
        let place = usize::try_from(token.start).ok().zip(usize::try_from(token.end).ok());
        let found = place.and_then(|(start, end)| Some((start, end, text.get(start..end)?)));
        let Some((start, end, text)) = found.filter(|(_, _, text)| !text.is_empty()) else {
            return Err("a body that is not understood".into());
        };
        tokens.push(Token { start, end, text });
    }
    Ok(tokens)
}
