//! One JSON text, rewritten while it comes in.

use std::{ops::Range, sync::Arc};

use guard_core::{Mask, Masking};

use super::{
    MAX_DEPTH, MAX_KEY, MAX_VALUE, Malformed,
    lexer::{self, InNumber, InString, is_space},
    paths::{JsonMasks, Node, stricter},
    utf8::Utf8,
    value::Hider,
};

/// Rewrites one JSON text.
pub struct JsonMasker {
    masks: Arc<JsonMasks>,
    hider: Hider,
    utf8: Utf8,
    at: At,
    open: Vec<Open>,
    /// Where pointers are: those of each open array or object, one behind the other, then those of the next value.
    active: Vec<Node>,
    /// What masks the next value.
    next: Option<Masking>,
    /// What is held of a masked value or a name.
    held: Vec<u8>,
    /// Whether there was more of it than is held.
    too_long: bool,
    /// At which depth an object is left out.
    hidden_from: Option<usize>,
    /// Whether what comes in does not go on as it is.
    quiet: bool,
    taken: u64,
    masked: u64,
    /// Where in what came out hidden values are, if somebody asks.
    hidden: Option<Vec<Range<usize>>>,
    failed: Option<Malformed>,
}

/// An array or object that is not yet closed.
struct Open {
    is_object: bool,
    /// Elements before this one.
    count: u64,
    /// Where its pointers are.
    first: usize,
    end: usize,
    /// What masks the elements of an array.
    mask: Option<Masking>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The text, behind so many bytes of a byte order mark.
    Start(u8),
    /// A value.
    Value,
    /// A value, or the end of an empty array.
    FirstElement,
    /// A name, or the end of an empty object.
    FirstKey,
    Key,
    Colon,
    CommaOrEnd,
    InKey(InString),
    InString(InString),
    InNumber(InNumber),
    InWord(&'static [u8]),
    /// The text is over.
    End,
}

/// What a step does to what goes on.
enum Step {
    /// So many bytes go on as they are, unless something is hidden.
    Go(usize),
    /// With this byte something begins to be hidden.
    Hide,
    /// With so many bytes it ends, and this stands in its place besides what was written.
    Instead(usize, &'static [u8]),
}

/// What is wrong, so many bytes on.
type Wrong = (usize, &'static str);

type Stepped = Result<Step, Wrong>;

const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// A step that was made behind the first byte of a token.
fn behind_first(stepped: Stepped) -> Stepped {
    let step = stepped.map_err(|(at, why)| (at + 1, why))?;
    Ok(match step {
        Step::Go(length) => Step::Go(length + 1),
        Step::Instead(length, instead) => Step::Instead(length + 1, instead),
        Step::Hide => Step::Hide,
    })
}

impl JsonMasker {
    /// A masker for one text, with the session's key and a lasting one, if the resource has one.
    pub fn new(masks: Arc<JsonMasks>, run: &[u8], lasting: Option<&[u8]>) -> Self {
        let mut new = Self {
            masks,
            hider: Hider::new(run, lasting),
            utf8: Utf8::default(),
            at: At::Start(0),
            open: Vec::new(),
            active: Vec::new(),
            next: None,
            held: Vec::new(),
            too_long: false,
            hidden_from: None,
            quiet: false,
            taken: 0,
            masked: 0,
            hidden: None,
            failed: None,
        };
        new.restart();
        new
    }

    /// The same, which says where in what it appended hidden values are.
    #[must_use]
    pub(in super::super) fn telling(mut self) -> Self {
        self.hidden = Some(Vec::new());
        self
    }

    /// Where hidden values are in what was appended since this was asked the last time.
    pub(in super::super) fn take_hidden(&mut self) -> Vec<Range<usize>> {
        self.hidden.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes the next bytes, and appends what may go on. Once it failed it fails for good.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let (fine, rest) = match self.utf8.take(chunk) {
            Ok(()) => (chunk, Ok(())),
            Err(at) => (chunk.get(..at).unwrap_or_default(), Err((at, "it is not UTF-8"))),
        };
        let done = self.run(fine, out).and(rest);
        self.settle(done)?;
        self.taken += chunk.len() as u64;
        Ok(())
    }

    /// Says that there is no more.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        if let At::InNumber(number) = self.at
            && number.is_whole()
        {
            let before = out.len();
            self.quiet &= !self.end_number(out);
            self.tell(before, out);
        }
        let done = if self.at == At::End { Ok(()) } else { Err((0, "it ends before its time")) };
        self.settle(done)
    }

    /// Says that white space follows: a number ends here.
    pub(super) fn end_token(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let before = out.len();
        self.push(b" ", out)?;
        if !self.quiet && out.len() > before {
            out.truncate(out.len() - 1);
        }
        Ok(())
    }

    /// Begins the next text of a stream of several.
    pub(super) fn restart(&mut self) {
        self.utf8 = Utf8::default();
        self.at = At::Start(0);
        self.open.clear();
        self.active.clear();
        self.hidden_from = None;
        self.quiet = false;
        if self.masks.has_pointers() {
            self.active.push(0);
        }
        self.next = self.masks.root();
    }

    /// Whether nothing of a text came in but white space.
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self.at, At::Start(0) | At::Value) && self.open.is_empty()
    }

    /// How many values were hidden.
    pub const fn masked(&self) -> u64 {
        self.masked
    }

    fn settle(&mut self, done: Result<(), Wrong>) -> Result<(), Malformed> {
        done.map_err(|(at, why)| {
            let failed = Malformed { at: self.taken + at as u64, why };
            self.failed = Some(failed);
            failed
        })
    }

    fn run(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
        let mut at = 0;
        // Where what goes on as it is begins; of no meaning while something is hidden.
        let mut from = 0;
        let result = loop {
            let Some(byte) = chunk.get(at).copied() else { break Ok(()) };
            let rest = chunk.get(at..).unwrap_or_default();
            let before = out.len();
            let step = match self.at {
                At::InString(state) => self.string(state, rest, out),
                At::InKey(state) => self.key(state, rest),
                At::InNumber(state) => self.number(state, rest, out),
                At::InWord(word) => self.word(word, rest, out),
                At::Start(_)
                | At::Value
                | At::FirstElement
                | At::FirstKey
                | At::Key
                | At::Colon
                | At::CommaOrEnd
                | At::End => {
                    if is_space(byte) && !matches!(self.at, At::Start(1 | 2)) {
                        Ok(Step::Go(rest.iter().take_while(|byte| is_space(**byte)).count()))
                    } else {
                        self.between(byte, rest, out)
                    }
                }
            };
            match step {
                Ok(Step::Go(more)) => at += more,
                // What stands before goes on; what begins here does not.
                Ok(Step::Hide) => {
                    out.extend_from_slice(chunk.get(from..at).unwrap_or_default());
                    self.quiet = true;
                    at += 1;
                }
                Ok(Step::Instead(more, instead)) => {
                    out.extend_from_slice(instead);
                    self.tell(before, out);
                    self.quiet = false;
                    at += more;
                    from = at;
                }
                Err((more, why)) => break Err((at + more, why)),
            }
        };
        if !self.quiet {
            out.extend_from_slice(chunk.get(from..at).unwrap_or_default());
        }
        result
    }

    fn tell(&mut self, before: usize, out: &[u8]) {
        if let Some(hidden) = &mut self.hidden
            && before < out.len()
        {
            hidden.push(before..out.len());
        }
    }

    // === inside a token ===

    fn string(&mut self, mut state: InString, rest: &[u8], out: &mut Vec<u8>) -> Stepped {
        let end = lexer::string(&mut state, rest)?;
        let length = end.unwrap_or(rest.len());
        self.hold(rest.get(..length).unwrap_or_default());
        if end.is_none() {
            self.at = At::InString(state);
            return Ok(Step::Go(length));
        }
        self.after_value();
        let Some(mask) = self.masked_scalar() else { return Ok(Step::Go(length)) };
        self.masked += 1;
        let held = (!self.too_long).then_some(&*self.held);
        self.hider.string(mask, held, out);
        Ok(Step::Instead(length, b""))
    }

    fn number(&mut self, mut state: InNumber, rest: &[u8], out: &mut Vec<u8>) -> Stepped {
        let mut length = 0;
        while let Some(next) = rest.get(length).and_then(|byte| state.next(*byte)) {
            state = next;
            length += 1;
        }
        self.hold(rest.get(..length).unwrap_or_default());
        if length == rest.len() {
            self.at = At::InNumber(state);
            return Ok(Step::Go(length));
        }
        if !state.is_whole() {
            return Err((length, "a number is none"));
        }
        Ok(if self.end_number(out) { Step::Instead(length, b"") } else { Step::Go(length) })
    }

    fn word(&mut self, word: &'static [u8], rest: &[u8], out: &mut Vec<u8>) -> Stepped {
        let right = word.iter().zip(rest).take_while(|(expected, byte)| expected == byte).count();
        let (now, later) = word.split_at_checked(right).unwrap_or((word, &[]));
        if !later.is_empty() && right < rest.len() {
            return Err((right, "a word is neither true, false nor null"));
        }
        self.hold(now);
        if !later.is_empty() {
            self.at = At::InWord(later);
            return Ok(Step::Go(right));
        }
        self.after_value();
        let Some(mask) = self.masked_scalar() else { return Ok(Step::Go(right)) };
        if self.held == b"null" {
            out.extend_from_slice(b"null");
        } else {
            self.masked += 1;
            out.extend_from_slice(Hider::boolean(mask));
        }
        Ok(Step::Instead(right, b""))
    }

    /// Whether something else was put in its place.
    fn end_number(&mut self, out: &mut Vec<u8>) -> bool {
        self.after_value();
        let Some(mask) = self.masked_scalar() else { return false };
        self.masked += 1;
        let held = (!self.too_long).then_some(&*self.held);
        self.hider.number(mask, held, out);
        true
    }

    fn key(&mut self, mut state: InString, rest: &[u8]) -> Stepped {
        let end = lexer::string(&mut state, rest)?;
        let length = end.unwrap_or(rest.len());
        let part = rest.get(..length).unwrap_or_default();
        if end.is_none() {
            self.hold_up_to(part, MAX_KEY);
            self.at = At::InKey(state);
            return Ok(Step::Go(length));
        }
        self.at = At::Colon;
        self.end_key(part).map_err(|why| (length - 1, why))?;
        Ok(Step::Go(length))
    }

    /// Finds out what masks the member whose name ends with these bytes.
    fn end_key(&mut self, part: &[u8]) -> Result<(), &'static str> {
        let places = self.places();
        self.active.truncate(places.end);
        self.next = None;
        if self.hidden_from.is_some() || places.is_empty() && !self.masks.has_names() {
            return Ok(());
        }
        let plain = part.split_last().filter(|_| self.held.len() == 1 && !part.contains(&b'\\'));
        let plain = plain.map(|(_, plain)| plain);
        if places.is_empty() && plain.is_some_and(|plain| !self.masks.may_name(plain)) {
            return Ok(());
        }
        if let Some(plain) = plain.and_then(|plain| std::str::from_utf8(plain).ok()) {
            self.next = self.masks.member(Some(plain), &mut self.active, places);
            return Ok(());
        }
        self.hold_up_to(part, MAX_KEY);
        if self.too_long {
            self.next = self.masks.member(None, &mut self.active, places);
            return Ok(());
        }
        let Ok(key) = serde_json::from_slice::<String>(&self.held) else {
            return Err("a name has half a surrogate pair");
        };
        self.next = self.masks.member(Some(&key), &mut self.active, places);
        Ok(())
    }

    /// The mask of the value that ends, if it is hidden by itself.
    fn masked_scalar(&mut self) -> Option<Masking> {
        let mask = self.next.take();
        mask.filter(|_| self.hidden_from.is_none())
    }

    fn hold(&mut self, part: &[u8]) {
        if self.next.is_some() {
            self.hold_up_to(part, MAX_VALUE);
        }
    }

    fn hold_up_to(&mut self, part: &[u8], most: usize) {
        if self.too_long || self.held.len() + part.len() > most {
            self.too_long = true;
        } else {
            self.held.extend_from_slice(part);
        }
    }

    // === between tokens ===

    fn between(&mut self, byte: u8, rest: &[u8], out: &mut Vec<u8>) -> Stepped {
        let wrong = |why: &'static str| Err((0, why));
        match (self.at, byte) {
            (At::Start(seen), _) if seen > 0 || byte == MARK[0] => {
                if MARK.get(usize::from(seen)) != Some(&byte) {
                    return wrong("it does not begin as JSON does");
                }
                self.at = if seen == 2 { At::Value } else { At::Start(seen + 1) };
                Ok(Step::Go(1))
            }
            (At::FirstElement, b']') | (At::FirstKey, b'}') => Ok(self.close()),
            (At::Start(_) | At::Value | At::FirstElement, _) => self.begin(byte, rest, out),
            (At::FirstKey | At::Key, b'"') => self.begin_key(rest),
            (At::FirstKey | At::Key, _) => wrong("a member of an object has no name"),
            (At::Colon, b':') => {
                self.at = At::Value;
                let rest = rest.get(1..).unwrap_or_default();
                match rest.first() {
                    // Nothing of it is hidden, so that it need not begin with a step of its own.
                    Some(byte) if self.next.is_none() && !is_space(*byte) => {
                        behind_first(self.begin(*byte, rest, out))
                    }
                    Some(_) | None => Ok(Step::Go(1)),
                }
            }
            (At::Colon, _) => wrong("a name is not followed by `:`"),
            (At::CommaOrEnd, b',') => {
                if !self.in_object() {
                    self.at = At::Value;
                    self.element();
                    return Ok(Step::Go(1));
                }
                self.at = At::Key;
                match rest.get(1..) {
                    Some(key @ [b'"', ..]) => behind_first(self.begin_key(key)),
                    Some(_) | None => Ok(Step::Go(1)),
                }
            }
            (At::CommaOrEnd, b']' | b'}') if self.in_object() == (byte == b'}') => Ok(self.close()),
            (At::CommaOrEnd, _) => wrong("a value is followed by neither `,` nor its end"),
            (At::End, _) => wrong("something follows the end of the text"),
            (At::InKey(_) | At::InString(_) | At::InNumber(_) | At::InWord(_), _) => {
                wrong("it cannot be read")
            }
        }
    }

    /// A name, from its first quote on.
    fn begin_key(&mut self, rest: &[u8]) -> Stepped {
        self.held.clear();
        self.held.push(b'"');
        self.too_long = false;
        behind_first(self.key(InString::Plain, rest.get(1..).unwrap_or_default()))
    }

    /// The first byte of a value, and the rest of it, unless it may be hidden.
    fn begin(&mut self, byte: u8, rest: &[u8], out: &mut Vec<u8>) -> Stepped {
        let wrong = |why: &'static str| (0, why);
        self.at = match byte {
            b'{' | b'[' => return self.begin_open(byte == b'{').map_err(wrong),
            b'"' => At::InString(InString::Plain),
            _ => match (InNumber::first(byte), lexer::word(byte)) {
                (Some(number), _) => At::InNumber(number),
                (None, Some(rest)) => At::InWord(rest),
                (None, None) => return Err(wrong("a value is none")),
            },
        };
        self.held.clear();
        self.too_long = false;
        self.hold(&[byte]);
        if self.next.is_some() {
            return Ok(Step::Hide);
        }
        let rest = rest.get(1..).unwrap_or_default();
        behind_first(match self.at {
            At::InString(state) => self.string(state, rest, out),
            At::InNumber(state) => self.number(state, rest, out),
            At::InWord(word) => self.word(word, rest, out),
            At::Start(_)
            | At::Value
            | At::FirstElement
            | At::FirstKey
            | At::Key
            | At::Colon
            | At::CommaOrEnd
            | At::InKey(_)
            | At::End => Ok(Step::Go(0)),
        })
    }

    fn begin_open(&mut self, is_object: bool) -> Result<Step, &'static str> {
        if self.open.len() == MAX_DEPTH {
            return Err("arrays and objects are too deep in each other");
        }
        let mask = self.next.take();
        let first = self.places().end;
        self.open.push(Open { is_object, count: 0, first, end: self.active.len(), mask });
        let hides = mask.is_some_and(|mask| is_object || mask.mask == Mask::Null);
        if hides {
            self.hidden_from = Some(self.open.len());
        }
        if is_object {
            self.at = At::FirstKey;
        } else {
            self.at = At::FirstElement;
            self.element();
        }
        Ok(if hides { Step::Hide } else { Step::Go(1) })
    }

    /// Finds out what masks the element that comes next.
    fn element(&mut self) {
        let places = self.places();
        let Some(open) = self.open.last_mut() else { return };
        let index = open.count;
        open.count += 1;
        self.active.truncate(places.end);
        self.next = if self.hidden_from.is_some() {
            None
        } else {
            stricter(open.mask, self.masks.element(index, &mut self.active, places))
        };
    }

    fn close(&mut self) -> Step {
        let depth = self.open.len();
        let Some(closed) = self.open.pop() else { return Step::Go(1) };
        self.next = None;
        self.active.truncate(closed.first);
        self.after_value();
        if self.hidden_from != Some(depth) {
            return Step::Go(1);
        }
        self.hidden_from = None;
        self.masked += 1;
        let is_null = closed.mask.is_some_and(|mask| mask.mask == Mask::Null);
        Step::Instead(1, if is_null { b"null" } else { b"{}" })
    }

    fn after_value(&mut self) {
        self.at = if self.open.is_empty() { At::End } else { At::CommaOrEnd };
    }

    fn in_object(&self) -> bool {
        self.open.last().is_some_and(|open| open.is_object)
    }

    /// Where pointers are in the innermost array or object.
    fn places(&self) -> Range<usize> {
        self.open.last().map_or(0..0, |open| open.first..open.end)
    }
}
