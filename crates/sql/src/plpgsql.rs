//! PL/pgSQL: what of a block runs as SQL.
//!
//! A block is taken apart into the statements and expressions that the server's interpreter hands to its SQL
//! parser. Tokens are PostgreSQL's own, and a piece ends where the interpreter's grammar (`pl_gram.y`) ends it. Every
//! token is part of a piece, or of a form in which nothing can run; what fits neither is an error, never left out.

mod reader;
mod tokens;

pub(crate) use self::reader::Piece;
use self::{
    reader::{Read, Reader, Span, unreadable},
    tokens::{Token, tokens},
};

/// Deepest nesting of blocks, loops and conditions that is followed.
const MAX_DEPTH: usize = 40;

/// A block, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) pieces: Vec<Piece>,
    /// Why there may be more to it.
    pub(crate) doubt: Option<String>,
}

/// Takes a block apart.
pub(crate) fn read(text: &str) -> Block {
    let tokens = match tokens(text) {
        Ok(tokens) => tokens,
        Err(why) => return Block { pieces: Vec::new(), doubt: Some(why) },
    };
    let mut reader = Reader { text, tokens, at: 0, depth: 0, pieces: Vec::new() };
    let doubt = reader.whole().err();
    Block { pieces: reader.pieces, doubt }
}

/// The words at which a list of statements ends.
const ENDS: [&str; 6] = ["end", "else", "elsif", "elseif", "when", "exception"];

/// The first words of what a FOR loop can take its rows from, if not from a cursor.
const QUERIES: [&str; 11] = [
    "select", "with", "values", "table", "insert", "update", "delete", "merge", "show", "explain",
    "(",
];

impl Reader<'_> {
    fn whole(&mut self) -> Read {
        while self.accept("#") {
            self.word()?;
            self.word()?;
        }
        self.block()?;
        self.accept(";");
        if self.at == self.tokens.len() { Ok(()) } else { unreadable() }
    }

    /// A block without its last semicolon.
    fn block(&mut self) -> Read {
        self.label()?;
        while self.accept("declare") {
            while !self.peek_is(0, "begin") && !self.peek_is(0, "declare") {
                self.label()?;
                if !self.peek_is(0, "begin") {
                    self.declaration()?;
                }
            }
        }
        self.expect("begin")?;
        self.statements()?;
        if self.accept("exception") {
            while self.accept("when") {
                let (conditions, _) = self.until(&["then"])?;
                let is_plain = |token: &Token<'_>| token.is_word() || token.is_string();
                if !self.within(conditions).iter().all(is_plain) {
                    return unreadable();
                }
                self.statements()?;
            }
        }
        self.expect("end")?;
        if self.peek(0).is_some_and(|token| token.is_word()) {
            self.at += 1;
        }
        Ok(())
    }

    fn label(&mut self) -> Read {
        if self.accept("<<") {
            self.word()?;
            self.expect(">>")?;
        }
        Ok(())
    }

    fn declaration(&mut self) -> Read {
        self.word()?;
        let is_cursor = |reader: &Self| {
            let skipped = match (reader.peek_is(0, "no"), reader.peek_is(0, "scroll")) {
                (true, _) => 2,
                (_, true) => 1,
                _ => 0,
            };
            reader.peek_is(skipped, "cursor").then_some(skipped + 1)
        };
        if let Some(skipped) = is_cursor(self) {
            self.at += skipped;
            let (arguments, _) = self.until(&["for", "is"])?;
            let is_plain = |token: &Token<'_>| {
                token.is_word()
                    || token.is_number()
                    || ["(", ")", ",", "[", "]", "."].iter().any(|s| token.is(s))
            };
            if !self.within(arguments).iter().all(is_plain) {
                return unreadable();
            }
            let (query, _) = self.until(&[";"])?;
            self.statement_text(query);
            return Ok(());
        }
        if self.accept("alias") {
            self.expect("for")?;
            let (other, _) = self.until(&[";"])?;
            return self.inert(other);
        }
        self.accept("constant");
        let (mut of, end) = self.until(&[";", ":=", "=", "default", "collate", "not"])?;
        let mut end = end;
        while end == "collate" || end == "not" {
            let (between, next) = self.until(&[";", ":=", "=", "default", "not"])?;
            self.inert(between)?;
            end = next;
        }
        // `name%TYPE` and `name%ROWTYPE` are no casts; what checks such a value does so where it is stored.
        if let Some(position) = self.within(of).iter().position(|token| token.is("%")) {
            self.inert((of.0, of.0 + position + 1))?;
            of.1 = of.0;
        }
        if of.0 < of.1 {
            let said = self.said(of).to_owned();
            self.pieces.push(Piece::Type(said));
        }
        if end != ";" {
            let (value, _) = self.until(&[";"])?;
            self.expression(value);
        }
        Ok(())
    }

    fn statements(&mut self) -> Read {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("procedural code that is nested too deep".into());
        }
        while !ENDS.iter().any(|word| self.peek_is(0, word)) {
            self.statement()?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn statement(&mut self) -> Read {
        if self.is_assignment() {
            return self.assignment();
        }
        let start = self.at;
        self.label()?;
        let labelled = self.at > start;
        let is = |word: &str| self.peek_is(0, word);
        if is("declare") || is("begin") {
            self.block()?;
            return self.expect(";");
        }
        if is("loop") || is("while") || is("for") || is("foreach") {
            return self.looped();
        }
        if labelled {
            return unreadable();
        }
        if is("call") || is("do") {
            let (whole, _) = self.until(&[";"])?;
            self.statement_text(whole);
            return Ok(());
        }
        let Some(first) = self.peek(0).copied().map(|token| self.text.get(token.start..token.end))
        else {
            return unreadable();
        };
        let first = first.unwrap_or_default().to_ascii_lowercase();
        self.at += 1;
        match first.as_str() {
            "if" => self.branches(&["elsif", "elseif"], "if"),
            "case" => self.case(),
            "exit" | "continue" => {
                if self.peek(0).is_some_and(|token| token.is_word() && !token.is("when")) {
                    self.at += 1;
                }
                if self.accept("when") {
                    let (when, _) = self.until(&[";"])?;
                    self.expression(when);
                    return Ok(());
                }
                self.expect(";")
            }
            "return" => self.returned(),
            "raise" => self.raise(),
            "assert" | "perform" => {
                let (values, _) = self.until(&[";"])?;
                if values.0 == values.1 {
                    return unreadable();
                }
                self.expression(values);
                Ok(())
            }
            "get" | "fetch" | "move" | "close" => {
                let (rest, _) = self.until(&[";"])?;
                self.inert(rest)
            }
            "null" => self.expect(";"),
            "commit" | "rollback" => {
                self.pieces.push(Piece::Transaction);
                let (chain, _) = self.until(&[";"])?;
                self.inert(chain)
            }
            "open" => self.open(),
            "execute" => {
                let (text, mut end) = self.until(&["into", "using", ";"])?;
                self.dynamic(text);
                while end != ";" {
                    if end == "into" {
                        self.target()?;
                        end = match () {
                            () if self.accept("using") => "using",
                            () => {
                                self.expect(";")?;
                                ";"
                            }
                        };
                    } else {
                        let (values, next) = self.until(&["into", ";"])?;
                        self.list(values, &[]);
                        end = next;
                    }
                }
                Ok(())
            }
            _ => {
                self.at = start;
                self.sql()
            }
        }
    }

    /// Whether a variable, its field or its element stands before `:=` or `=`.
    fn is_assignment(&self) -> bool {
        let mut ahead = 1;
        let starts = self.peek(0).is_some_and(|token| token.is_word() || token.is_number());
        if !starts {
            return false;
        }
        loop {
            match self.peek(ahead) {
                Some(token) if token.is(":=") || token.is("=") => return true,
                Some(token) if token.is(".") => ahead += 2,
                Some(token) if token.is("[") => {
                    let mut level = 1_usize;
                    while level > 0 {
                        ahead += 1;
                        match self.peek(ahead) {
                            Some(token) if token.is("[") => level += 1,
                            Some(token) if token.is("]") => level -= 1,
                            Some(token) if token.is(";") => return false,
                            Some(_) => {}
                            None => return false,
                        }
                    }
                    ahead += 1;
                }
                Some(_) | None => return false,
            }
        }
    }

    fn assignment(&mut self) -> Read {
        let (target, _) = self.until(&[":=", "="])?;
        if self.inert(target).is_err() {
            self.expression(target);
        }
        let (value, _) = self.until(&[";"])?;
        if value.0 == value.1 {
            return unreadable();
        }
        self.expression(value);
        Ok(())
    }

    fn case(&mut self) -> Read {
        let (of, _) = self.until(&["when"])?;
        self.expression(of);
        self.branches(&["when"], "case")
    }

    /// Conditions, each with what is done then, up to the end of the whole.
    fn branches(&mut self, more: &[&str], whole: &str) -> Read {
        loop {
            let (when, _) = self.until(&["then"])?;
            self.expression(when);
            self.statements()?;
            if !more.iter().any(|word| self.accept(word)) {
                break;
            }
        }
        if self.accept("else") {
            self.statements()?;
        }
        self.expect("end")?;
        self.expect(whole)?;
        self.expect(";")
    }

    fn looped(&mut self) -> Read {
        if self.accept("while") {
            let (when, _) = self.until(&["loop"])?;
            self.expression(when);
        } else if self.accept("foreach") {
            let (variable, _) = self.until(&["in"])?;
            self.inert(variable)?;
            self.expect("array")?;
            let (array, _) = self.until(&["loop"])?;
            self.expression(array);
        } else if self.accept("for") {
            let (variables, _) = self.until(&["in"])?;
            self.inert(variables)?;
            self.rows()?;
        } else {
            self.expect("loop")?;
        }
        self.statements()?;
        self.expect("end")?;
        self.expect("loop")?;
        if !self.peek_is(0, ";") {
            self.word()?;
        }
        self.expect(";")
    }

    /// What a FOR loop goes through, and its LOOP.
    fn rows(&mut self) -> Read {
        if self.accept("execute") {
            return self.executed("loop");
        }
        let from = self.at;
        let (first, end) = self.until(&["..", "loop"])?;
        if end == ".." {
            let is_reverse = self.within(first).first().is_some_and(|t| t.is("reverse"));
            self.expression((first.0 + usize::from(is_reverse), first.1));
            let (last, end) = self.until(&["by", "loop"])?;
            self.expression(last);
            if end == "by" {
                let (step, _) = self.until(&["loop"])?;
                self.expression(step);
            }
            return Ok(());
        }
        let is_query =
            self.tokens.get(from).is_some_and(|token| QUERIES.iter().any(|word| token.is(word)));
        if is_query {
            self.statement_text(first);
            return Ok(());
        }
        self.cursor(first)
    }

    /// A cursor's variable, with arguments or without.
    fn cursor(&mut self, span: Span) -> Read {
        match self.within(span) {
            [name] if name.is_word() => Ok(()),
            [name, open, .., close] if name.is_word() && open.is("(") && close.is(")") => {
                self.list((span.0 + 2, span.1 - 1), &[":=", "=>"]);
                Ok(())
            }
            _ => unreadable(),
        }
    }

    fn returned(&mut self) -> Read {
        if self.accept("query") {
            return self.query();
        }
        self.accept("next");
        let (value, _) = self.until(&[";"])?;
        self.expression(value);
        Ok(())
    }

    fn raise(&mut self) -> Read {
        let (whole, end) = self.until(&["using", ";"])?;
        let comma = self.within(whole).iter().position(|token| token.is(","));
        let head = comma.map_or(whole.1, |place| whole.0 + place);
        let is_plain = |token: &Token<'_>| token.is_word() || token.is_string();
        if !self.within((whole.0, head)).iter().all(is_plain) {
            return unreadable();
        }
        if head < whole.1 {
            self.list((head + 1, whole.1), &[]);
        }
        if end == "using" {
            let (options, _) = self.until(&[";"])?;
            self.list(options, &["=", ":="]);
        }
        Ok(())
    }

    fn open(&mut self) -> Read {
        let (cursor, end) = self.until(&["for", ";"])?;
        if end == ";" {
            return self.cursor(cursor);
        }
        self.inert(cursor)?;
        self.query()
    }

    /// A query to its semicolon, or a text that is one.
    fn query(&mut self) -> Read {
        if self.accept("execute") {
            return self.executed(";");
        }
        let (query, _) = self.until(&[";"])?;
        self.statement_text(query);
        Ok(())
    }

    /// The text behind EXECUTE and its values, up to a word.
    fn executed(&mut self, end: &str) -> Read {
        let (text, found) = self.until(&["using", end])?;
        self.dynamic(text);
        if found == "using" {
            let (values, _) = self.until(&[end])?;
            self.list(values, &[]);
        }
        Ok(())
    }

    /// A statement of SQL, without the INTO clause that gives its row to variables.
    fn sql(&mut self) -> Read {
        let start = self.at;
        let keeps_into = self.peek_is(0, "import");
        let mut said = String::new();
        let mut from = start;
        let mut level = 0_usize;
        loop {
            let Some(token) = self.peek(0) else { return unreadable() };
            let (opens, closes) = (token.is("("), token.is(")"));
            if token.is(";") {
                if level > 0 {
                    return unreadable();
                }
                said.push_str(self.said((from, self.at)));
                self.at += 1;
                break;
            }
            if closes && level == 0 {
                return unreadable();
            }
            level = if opens { level + 1 } else { level - usize::from(closes) };
            let before = self.at.checked_sub(1).filter(|at| *at >= start);
            let before = before.and_then(|at| self.tokens.get(at));
            let follows = before.is_some_and(|t| t.is("insert") || t.is("merge"));
            if token.is("into") && !follows && !keeps_into {
                said.push_str(self.said((from, self.at)));
                said.push(' ');
                self.at += 1;
                self.target()?;
                from = self.at;
            } else {
                self.at += 1;
            }
        }
        self.pieces.push(Piece::Statement(said));
        Ok(())
    }
}
