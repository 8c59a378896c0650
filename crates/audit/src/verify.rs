//! Reading and verifying a record, line by line, offline.
//!
//! [`RecordReader`] gives the entries and checks the chain on the way; [`verify`] asks for the seal
//! besides. Three answers: whole, broken (some byte is not as the broker wrote it), and unsealed (the
//! chain holds but there is no seal, so the end may be missing).

use std::io::{self, BufRead, Read as _};

use guard_core::{Digest, SessionId, Timestamp};

use crate::{ChainWriter, Entry, Event, KeyId, MAX_LINE, PublicKey, Seal, Segment, seal::SealLine};

/// By this a seal is known.
const SEAL_START: &[u8] = br#"{"seal":"#;
/// Seals of segments that are kept until their signatures are checked.
const MAX_SEALS: usize = 1 << 17;

/// A record in which no byte was changed since it was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The session.
    pub session: SessionId,
    /// How many entries it has, without the seal.
    pub entries: u64,
    /// The hash of the last entry.
    pub head: Digest,
    /// The hash of the seal's own line, by which it stands in the log.
    pub seal: Digest,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// By which key.
    pub key_id: KeyId,
}

/// A record that is not proven to be whole.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Some byte is not as the broker wrote it.
    #[error("the record is broken: {0}")]
    Broken(#[from] Broken),
    /// The chain holds as far as it goes, and nobody signed that it ends here.
    #[error("the record is not sealed: {0}")]
    Unsealed(Unsealed),
    /// It could not be read.
    #[error("the record cannot be read")]
    Read(#[from] io::Error),
}

/// What is wrong with a record, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Broken {
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is nothing at all.
    #[error("the record is empty")]
    Empty,
    /// The last line has no line feed.
    #[error("the line is cut off: no line feed ends it")]
    CutOff,
    /// It is longer than any line that the broker writes.
    #[error("the line is longer than {MAX_LINE} bytes, which no entry is")]
    TooLong,
    /// It is no entry.
    #[error("it is neither an entry nor a seal: {why}")]
    NotAnEntry {
        /// What the parser says.
        why: String,
    },
    /// A line is missing, repeated, or in another place.
    #[error(
        "entry {found} stands where entry {expected} belongs: lines are missing, repeated or in another order"
    )]
    OutOfOrder {
        /// What should stand here.
        expected: u64,
        /// What does.
        found: u64,
    },
    /// The hash in this line is not that of the line before.
    #[error("it does not name the hash of the line before: one of the two was changed")]
    ChainBroken,
    /// A record starts with `session-opened`.
    #[error("the first entry does not open a session: the beginning is missing")]
    NotOpened,
    /// Only the first entry opens a session.
    #[error("a second entry opens a session")]
    OpenedTwice,
    /// Nothing but the seal follows `session-ended`.
    #[error("an entry follows the end of the session")]
    AfterEnd,
    /// The seal is not as the broker writes it.
    #[error("the seal is not in the form that the broker writes")]
    SealMalformed,
    /// The seal is of another session.
    #[error("the seal is that of session {sealed}")]
    SealOfAnother {
        /// Whose seal it is.
        sealed: SessionId,
    },
    /// The seal counts another number of entries.
    #[error("the seal counts {sealed} entries, and {found} are here")]
    SealCount {
        /// What was sealed.
        sealed: u64,
        /// What is here.
        found: u64,
    },
    /// The seal names another hash.
    #[error("the seal does not name the hash of the last entry, which was changed")]
    SealHead,
    /// A segment is missing, repeated, or in another place; or there is nothing in it.
    #[error(
        "the seal of segment {found} stands where that of segment {expected} belongs, or nothing is new since the one before"
    )]
    SealOrder {
        /// What should stand here.
        expected: u64,
        /// What does.
        found: u64,
    },
    /// There are more seals than any record has.
    #[error("there are more seals than any record has")]
    TooManySeals,
    /// It was sealed before the session ended.
    #[error("it is sealed, but its session has not ended")]
    NotEnded,
    /// Something follows the seal.
    #[error("something follows the seal")]
    AfterSeal,
    /// None of the given keys is the one that signed.
    #[error("the seal is by key {key_id}, which is not among the keys given")]
    UnknownKey {
        /// The key that the seal names.
        key_id: KeyId,
    },
    /// The signature does not hold.
    #[error(
        "the signature of the seal does not hold: the seal was changed, or somebody else made it"
    )]
    Signature,
}

/// How far the chain of an unsealed record goes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{entries} entries of session {session} hang together, {}{}; more may have followed",
    if *.ended { "the session has ended" } else { "the session has not ended" },
    if *.sealed > 0 { format!(", and the first {} of them are sealed", .sealed) } else { String::new() }
)]
pub struct Unsealed {
    /// The session.
    pub session: SessionId,
    /// How many entries there are.
    pub entries: u64,
    /// The hash of the last.
    pub head: Digest,
    /// Whether the session's end is among them.
    pub ended: bool,
    /// How many of them, from the first on, seals of segments cover.
    pub sealed: u64,
}

/// An entry could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The record is broken here.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// It could not be read.
    #[error("the record cannot be read")]
    Read(#[from] io::Error),
}

impl From<ReadError> for VerifyError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Broken(broken) => Self::Broken(broken),
            ReadError::Read(error) => Self::Read(error),
        }
    }
}

/// Reads a record and checks the chain on the way, holding one line at a time.
///
/// A broker that goes on with a record reads it to its end, cuts the file to
/// [`RecordReader::whole_bytes`] if the last line was torn, and resumes [`RecordReader::chain`].
#[derive(Debug)]
pub struct RecordReader<R> {
    input: R,
    line: Vec<u8>,
    entries: u64,
    head: Digest,
    whole_bytes: u64,
    session: Option<SessionId>,
    ended: bool,
    /// Seals of segments, and the line of each.
    seals: Vec<(u64, SealLine)>,
    /// How many entries they cover.
    sealed: u64,
    segment_bytes: u64,
    segment_since: Option<Timestamp>,
    /// The seal of the whole.
    seal: Option<SealLine>,
    seal_hash: Digest,
}

/// Verifies a record: the chain, its beginning and end, and the seal by one of the keys.
pub fn verify(record: impl BufRead, keys: &[PublicKey]) -> Result<Verified, VerifyError> {
    let mut reader = RecordReader::new(record);
    while reader.next_entry()?.is_some() {}
    reader.finish(keys)
}

/// Verifies whatever is given, as a file from anywhere would be. Must not panic.
pub fn fuzz_verify(data: &[u8]) {
    let key = PublicKey::from_bytes([7; 32]);
    let _ = verify(data, &[key]);
}

// === impl RecordReader ===

impl<R: BufRead> RecordReader<R> {
    /// Starts at the first line.
    pub const fn new(input: R) -> Self {
        Self {
            input,
            line: Vec::new(),
            entries: 0,
            head: Digest::ZERO,
            whole_bytes: 0,
            session: None,
            ended: false,
            seals: Vec::new(),
            sealed: 0,
            segment_bytes: 0,
            segment_since: None,
            seal: None,
            seal_hash: Digest::ZERO,
        }
    }

    /// The next entry; `None` after the last, be there a seal or not.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        loop {
            if self.seal.is_some() || !self.read_line()? {
                return Ok(None);
            }
            if !self.line.starts_with(SEAL_START) {
                break;
            }
            let seal = SealLine::parse(&self.line);
            let seal = seal.ok_or_else(|| self.broken(Problem::SealMalformed))?;
            if seal.seal.segment.is_none() || self.ended {
                self.seal_hash = Digest::of(&self.line);
                self.seal = Some(seal);
                if self.read_line_bytes()? > 0 {
                    return Err(
                        Broken { line: self.lines() + 2, problem: Problem::AfterSeal }.into()
                    );
                }
                return Ok(None);
            }
            if let Some(problem) = self.misplaced(&seal.seal) {
                return Err(self.broken(problem).into());
            }
            if self.seals.len() >= MAX_SEALS {
                return Err(self.broken(Problem::TooManySeals).into());
            }
            self.seals.push((self.lines() + 1, seal));
            self.sealed = self.entries;
            self.head = Digest::of(&self.line);
            self.whole_bytes += self.line.len() as u64 + 1;
            self.segment_bytes = 0;
            self.segment_since = None;
        }
        let entry: Entry = serde_json::from_slice(&self.line)
            .map_err(|error| self.broken(Problem::NotAnEntry { why: error.to_string() }))?;
        self.check(&entry)?;
        self.entries += 1;
        self.head = Digest::of(&self.line);
        self.whole_bytes += self.line.len() as u64 + 1;
        self.segment_bytes += self.line.len() as u64 + 1;
        self.segment_since.get_or_insert(entry.at);
        Ok(Some(entry))
    }

    /// Whether the seal was reached. It vouches for nothing until [`RecordReader::finish`] says so.
    pub const fn has_seal(&self) -> bool {
        self.seal.is_some()
    }

    /// The session, once its first entry was read.
    pub const fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// Whether the session's end was read.
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// How many bytes the entries have that were read, with their line feeds.
    pub const fn whole_bytes(&self) -> u64 {
        self.whole_bytes
    }

    /// Goes on behind the entries that were read.
    pub const fn chain(&self) -> ChainWriter {
        let segment = Segment {
            number: self.seals.len() as u64,
            entries: self.entries - self.sealed,
            bytes: self.segment_bytes,
            since: self.segment_since,
        };
        ChainWriter::resume_in(self.entries, self.head, segment)
    }

    /// The seal's key, time and signature, as the record itself claims them.
    pub(crate) const fn claimed_seal(&self) -> Option<&SealLine> {
        self.seal.as_ref()
    }

    /// Asks for the seal, after [`RecordReader::next_entry`] gave `None`.
    pub fn finish(mut self, keys: &[PublicKey]) -> Result<Verified, VerifyError> {
        while self.next_entry()?.is_some() {}
        let Some(session) = self.session else {
            let problem = if self.seal.is_some() { Problem::NotOpened } else { Problem::Empty };
            return Err(self.broken(problem).into());
        };
        let signed = |line: &SealLine| match keys.iter().find(|key| key.id() == line.seal.key_id) {
            None => Some(Problem::UnknownKey { key_id: line.seal.key_id.clone() }),
            Some(key) => line.check(key).is_err().then_some(Problem::Signature),
        };
        // Who gives no keys does not ask for signatures, but a record without its end has no seal of the whole anyway.
        if self.seal.is_some() || !keys.is_empty() {
            for (line, seal) in &self.seals {
                if let Some(problem) = signed(seal) {
                    return Err(Broken { line: *line, problem }.into());
                }
            }
        }
        let Some(line) = &self.seal else {
            let Self { entries, head, ended, sealed, .. } = self;
            return Err(VerifyError::Unsealed(Unsealed { session, entries, head, ended, sealed }));
        };
        let seal = &line.seal;
        let problem = match self.misplaced(seal) {
            Some(problem) => Some(problem),
            None if !self.ended => Some(Problem::NotEnded),
            None => signed(line),
        };
        match problem {
            Some(problem) => Err(self.broken(problem).into()),
            None => Ok(Verified {
                session,
                entries: self.entries,
                head: self.head,
                seal: self.seal_hash,
                sealed_at: seal.sealed_at,
                key_id: seal.key_id.clone(),
            }),
        }
    }

    /// What is wrong with a seal here, its signature aside.
    fn misplaced(&self, seal: &Seal) -> Option<Problem> {
        let expected = self.seals.len() as u64;
        if self.session.is_some_and(|session| seal.session != session) {
            Some(Problem::SealOfAnother { sealed: seal.session })
        } else if let Some(found) = seal.segment
            && (found != expected || self.sealed == self.entries)
        {
            Some(Problem::SealOrder { expected, found })
        } else if seal.entries != self.entries {
            Some(Problem::SealCount { sealed: seal.entries, found: self.entries })
        } else if seal.head != self.head {
            Some(Problem::SealHead)
        } else {
            None
        }
    }

    fn check(&mut self, entry: &Entry) -> Result<(), Broken> {
        if entry.seq != self.entries {
            return Err(
                self.broken(Problem::OutOfOrder { expected: self.entries, found: entry.seq })
            );
        }
        if entry.prev != self.head {
            return Err(self.broken(Problem::ChainBroken));
        }
        if self.ended {
            return Err(self.broken(Problem::AfterEnd));
        }
        match (&entry.event, self.session) {
            (Event::SessionOpened { session, .. }, None) => self.session = Some(*session),
            (Event::SessionOpened { .. }, Some(_)) => {
                return Err(self.broken(Problem::OpenedTwice));
            }
            (_, None) => return Err(self.broken(Problem::NotOpened)),
            (event, Some(_)) => self.ended = matches!(event, Event::SessionEnded { .. }),
        }
        Ok(())
    }

    /// Reads a line without its line feed. False at the end.
    fn read_line(&mut self) -> Result<bool, ReadError> {
        if self.read_line_bytes()? == 0 {
            return Ok(false);
        }
        if self.line.pop_if(|last| *last == b'\n').is_none() {
            let whole = self.line.len() <= MAX_LINE;
            let problem = if whole { Problem::CutOff } else { Problem::TooLong };
            return Err(self.broken(problem).into());
        }
        Ok(true)
    }

    fn read_line_bytes(&mut self) -> io::Result<usize> {
        self.line.clear();
        let most = MAX_LINE as u64 + 1;
        self.input.by_ref().take(most).read_until(b'\n', &mut self.line)
    }

    /// How many lines were read, the seal of the whole aside.
    fn lines(&self) -> u64 {
        self.entries + self.seals.len() as u64
    }

    /// Something is wrong with the line behind those that were read.
    fn broken(&self, problem: Problem) -> Broken {
        Broken { line: self.lines() + 1, problem }
    }
}

#[cfg(test)]
mod tests;
