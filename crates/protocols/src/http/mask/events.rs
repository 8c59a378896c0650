//! Server-Sent Events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>) whose data are JSON.
//!
//! The data of an event are its `data:` lines with line ends between them. Each must be a JSON text, empty, or the word `[DONE]` that many
//! APIs end with. Comments and the fields `event`, `id` and `retry` go on as they are; any other field is no event's, and refused.

use std::ops::Range;

use super::{JsonMasker, Malformed};

/// What many streams end with, which is not JSON.
const DONE: &[u8] = b"[DONE]";

/// Longest name of a field.
const MAX_NAME: usize = 5;

/// Rewrites a stream of events.
pub struct EventsMasker {
    masker: JsonMasker,
    line: Line,
    /// The name of the field that begins the line.
    name: Vec<u8>,
    /// Whether the last byte was a CR, which a LF may belong to.
    after_cr: bool,
    data: Data,
    taken: u64,
    failed: Option<Malformed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// The stream begins, behind so many bytes of a byte order mark.
    Start(usize),
    /// In the name of a field.
    Name,
    /// Behind the colon of `data`, where one space may be.
    BeforeData,
    /// In the data.
    Data,
    /// In what goes on as it is.
    Other,
}

/// What the data of the event are so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Data {
    /// There are none.
    None,
    /// So many bytes of `[DONE]`, which are held.
    Done(usize),
    /// JSON.
    Json,
}

const MARK: &[u8] = &[0xef, 0xbb, 0xbf];

impl EventsMasker {
    /// With a masker for the events' data.
    pub fn new(masker: JsonMasker) -> Self {
        Self {
            masker,
            line: Line::Start(0),
            name: Vec::new(),
            after_cr: false,
            data: Data::None,
            taken: 0,
            failed: None,
        }
    }

    /// Takes the next bytes, and appends what may go on. Once it failed it fails for good.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let mut rest = chunk;
        while !rest.is_empty() {
            match self.step(rest, out) {
                Ok(length) => {
                    self.taken += length as u64;
                    rest = rest.get(length..).unwrap_or_default();
                }
                Err(why) => {
                    let failed = Malformed { at: self.taken, why };
                    self.failed = Some(failed);
                    return Err(failed);
                }
            }
        }
        Ok(())
    }

    /// Says that there is no more. Clients drop an event that has no end, so what is held of it is not missed.
    pub fn finish(&self) -> Result<(), Malformed> {
        self.failed.map_or(Ok(()), Err)
    }

    /// Where hidden values are in what was appended since this was asked the last time.
    pub(in super::super) fn take_hidden(&mut self) -> Vec<Range<usize>> {
        self.masker.take_hidden()
    }

    /// How many values were hidden.
    pub const fn masked(&self) -> u64 {
        self.masker.masked()
    }

    /// Takes at least one byte; how many.
    fn step(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Result<usize, &'static str> {
        let Some(byte) = rest.first().copied() else { return Ok(0) };
        if self.after_cr {
            self.after_cr = false;
            if byte == b'\n' {
                out.push(byte);
                return Ok(1);
            }
        }
        if matches!(byte, b'\r' | b'\n') {
            self.end_line(out)?;
            out.push(byte);
            self.after_cr = byte == b'\r';
            return Ok(1);
        }
        match self.line {
            Line::Start(seen) => self.start(seen, byte, out),
            Line::Name => self.name(byte, out),
            Line::BeforeData => {
                self.line = Line::Data;
                if byte == b' ' {
                    out.push(byte);
                    return Ok(1);
                }
                Ok(0)
            }
            Line::Data | Line::Other => {
                let length = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                let part = rest.get(..length).unwrap_or_default();
                if self.line == Line::Data {
                    self.data(part, out)?;
                } else {
                    out.extend_from_slice(part);
                }
                Ok(length)
            }
        }
    }

    fn start(&mut self, seen: usize, byte: u8, out: &mut Vec<u8>) -> Result<usize, &'static str> {
        if MARK.get(seen) == Some(&byte) {
            out.push(byte);
            self.line = if seen + 1 == MARK.len() { Line::Name } else { Line::Start(seen + 1) };
            return Ok(1);
        }
        if seen > 0 {
            return Err("a line is no field of an event");
        }
        self.line = Line::Name;
        Ok(0)
    }

    fn name(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<usize, &'static str> {
        if byte != b':' {
            if self.name.len() == MAX_NAME {
                return Err("a line is no field of an event");
            }
            self.name.push(byte);
            return Ok(1);
        }
        self.check_name()?;
        out.extend_from_slice(&self.name);
        out.push(byte);
        if self.name == b"data" {
            self.begin_data(out)?;
            self.line = Line::BeforeData;
        } else {
            self.line = Line::Other;
        }
        Ok(1)
    }

    fn check_name(&self) -> Result<(), &'static str> {
        match self.name.as_slice() {
            b"" | b"data" | b"event" | b"id" | b"retry" => Ok(()),
            _ => Err("a line is no field of an event"),
        }
    }

    /// A further line of data is behind a line end, as the client reads it.
    fn begin_data(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        match self.data {
            Data::None => Ok(()),
            Data::Done(_) => Err("something follows `[DONE]`"),
            Data::Json => self.json(b"\n", out, false),
        }
    }

    fn data(&mut self, part: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        let held = match self.data {
            Data::Json => return self.json(part, out, true),
            Data::None => 0,
            Data::Done(held) => held,
        };
        let more = DONE.get(held..).unwrap_or_default();
        if more.starts_with(part) {
            self.data = Data::Done(held + part.len());
            return Ok(());
        }
        self.data = Data::Json;
        self.json(DONE.get(..held).unwrap_or_default(), out, true)?;
        self.json(part, out, true)
    }

    fn json(&mut self, part: &[u8], out: &mut Vec<u8>, shown: bool) -> Result<(), &'static str> {
        let before = out.len();
        self.masker.push(part, out).map_err(|malformed| malformed.why)?;
        // A line end that guard put in is white space, and goes out again.
        if !shown && out.len() > before {
            out.truncate(out.len() - part.len());
        }
        Ok(())
    }

    fn end_line(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        match self.line {
            Line::Start(0) => {}
            Line::Start(_) => return Err("a line is no field of an event"),
            Line::Name if self.name.is_empty() => self.end_event()?,
            Line::Name => {
                // A field without a colon is an empty one.
                self.check_name()?;
                out.extend_from_slice(&self.name);
                if self.name == b"data" {
                    self.begin_data(out)?;
                }
            }
            Line::BeforeData | Line::Data => self.end_data(out)?,
            Line::Other => {}
        }
        self.name.clear();
        self.line = Line::Name;
        Ok(())
    }

    fn end_data(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        match self.data {
            Data::None => Ok(()),
            Data::Done(held) if held == DONE.len() => {
                out.extend_from_slice(DONE);
                Ok(())
            }
            Data::Done(held) => {
                self.data = Data::Json;
                self.json(DONE.get(..held).unwrap_or_default(), out, true)
            }
            Data::Json => self.masker.end_token(out).map_err(|malformed| malformed.why),
        }
    }

    fn end_event(&mut self) -> Result<(), &'static str> {
        if self.data == Data::Json && !self.masker.is_fresh() {
            let mut nothing = Vec::new();
            self.masker.finish(&mut nothing).map_err(|malformed| malformed.why)?;
        }
        self.masker.restart();
        self.data = Data::None;
        Ok(())
    }
}
