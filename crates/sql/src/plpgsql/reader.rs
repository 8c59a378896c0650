//! Reading the tokens of a block from left to right, and keeping the pieces that run.

use super::tokens::Token;

/// A piece of a block that runs as SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A whole statement.
    Statement(String),
    /// What may stand after `SELECT`.
    Expression(String),
    /// An expression that gives the text of statements, which run.
    Dynamic(String),
    /// The type of a variable.
    Type(String),
    /// COMMIT or ROLLBACK.
    Transaction,
}

/// Reads tokens from left to right.
pub(super) struct Reader<'t> {
    pub(super) text: &'t str,
    pub(super) tokens: Vec<Token<'t>>,
    pub(super) at: usize,
    pub(super) depth: usize,
    pub(super) pieces: Vec<Piece>,
}

pub(super) type Read<T = ()> = Result<T, String>;

/// Tokens from one place to before another.
pub(super) type Span = (usize, usize);

pub(super) fn unreadable<T>() -> Read<T> {
    Err("procedural code that is not understood".into())
}

impl Reader<'_> {
    pub(super) fn peek(&self, ahead: usize) -> Option<&Token<'_>> {
        self.tokens.get(self.at + ahead)
    }

    pub(super) fn peek_is(&self, ahead: usize, word: &str) -> bool {
        self.peek(ahead).is_some_and(|token| token.is(word))
    }

    pub(super) fn accept(&mut self, word: &str) -> bool {
        let found = self.peek_is(0, word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, word: &str) -> Read {
        if self.accept(word) { Ok(()) } else { unreadable() }
    }

    pub(super) fn word(&mut self) -> Read {
        if !self.peek(0).is_some_and(Token::is_word) {
            return unreadable();
        }
        self.at += 1;
        Ok(())
    }

    /// Everything up to one of these words outside of parentheses; goes on behind it.
    pub(super) fn until<'w>(&mut self, words: &[&'w str]) -> Read<(Span, &'w str)> {
        let (start, mut level) = (self.at, 0_usize);
        loop {
            let Some(token) = self.peek(0) else { return unreadable() };
            let found = words.iter().find(|word| level == 0 && token.is(word));
            let (opens, closes) = (token.is("(") || token.is("["), token.is(")") || token.is("]"));
            if let Some(word) = found {
                let span = (start, self.at);
                self.at += 1;
                return Ok((span, word));
            }
            if token.is(";") || (closes && level == 0) {
                return unreadable();
            }
            level = if opens { level + 1 } else { level - usize::from(closes) };
            self.at += 1;
        }
    }

    pub(super) fn within(&self, (from, to): Span) -> &[Token<'_>] {
        self.tokens.get(from..to).unwrap_or(&[])
    }

    pub(super) fn said(&self, span: Span) -> &str {
        match self.within(span) {
            [] => "",
            [only] => self.text.get(only.start..only.end).unwrap_or_default(),
            [first, .., last] => self.text.get(first.start..last.end).unwrap_or_default(),
        }
    }

    pub(super) fn expression(&mut self, span: Span) {
        if span.0 < span.1 {
            let said = self.said(span).to_owned();
            self.pieces.push(Piece::Expression(said));
        }
    }

    pub(super) fn dynamic(&mut self, span: Span) {
        let said = self.said(span).to_owned();
        self.pieces.push(Piece::Dynamic(said));
    }

    pub(super) fn statement_text(&mut self, span: Span) {
        let said = self.said(span).to_owned();
        self.pieces.push(Piece::Statement(said));
    }

    /// Expressions with commas between them. A name before `:=`, `=>` or, in options, `=` is none.
    pub(super) fn list(&mut self, span: Span, named: &[&str]) {
        let mut cuts = Vec::new();
        let (mut from, mut level) = (span.0, 0_usize);
        for (at, token) in (span.0..).zip(self.within(span)) {
            match token {
                token if token.is("(") || token.is("[") => level += 1,
                token if token.is(")") || token.is("]") => level = level.saturating_sub(1),
                token if token.is(",") && level == 0 => {
                    cuts.push((from, at));
                    from = at + 1;
                }
                _ => {}
            }
        }
        cuts.push((from, span.1));
        for (from, to) in cuts {
            let is_named = match self.within((from, to)) {
                [name, sign, ..] => name.is_word() && named.iter().any(|word| sign.is(word)),
                _ => false,
            };
            self.expression((if is_named { from + 2 } else { from }, to));
        }
    }

    /// A form in which nothing can run: names, numbers, and signs between them.
    pub(super) fn inert(&self, span: Span) -> Read {
        let is_inert = |token: &Token<'_>| {
            token.is_word()
                || token.is_number()
                || [",", ".", ":=", "=", "-", "+", "%"].iter().any(|sign| token.is(sign))
        };
        if self.within(span).iter().all(is_inert) { Ok(()) } else { unreadable() }
    }

    /// The variables after INTO.
    pub(super) fn target(&mut self) -> Read {
        self.accept("strict");
        loop {
            if !self.peek(0).is_some_and(|token| token.is_word() || token.is_number()) {
                return unreadable();
            }
            self.at += 1;
            while self.accept(".") {
                self.word()?;
            }
            if !self.accept(",") {
                return Ok(());
            }
        }
    }
}
