//! The statements of a record one by one, in the order of time, for a list and for a plot.

use std::{collections::HashMap, sync::Arc};

use guard_core::{Digest, Sensitive, Timestamp};

use super::{
    Matched, Plot,
    text::beginning,
    words::{effects, short},
};
use crate::{Entry, Event, Outcome, StatementPhase};

/// Statements that are listed at most; more are counted and plotted, and the record has them all.
const MAX_LINES: usize = 200_000;
/// Characters of a text that is listed.
const MAX_TEXT: usize = 2_000;
/// Characters of a text once the texts of all statements have come to [`TEXTS_MOST`].
const MAX_SHORT: usize = 120;
/// Bytes of the texts of all statements that differ from their operation's.
const TEXTS_MOST: usize = 16 << 20;

/// What became of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It went on.
    Allowed,
    /// It went on, and what came back was masked.
    Masked,
    /// It went on because people approved it.
    Approved,
    /// It went on though its policy blocks it, because the policy only observes.
    WouldRefuse,
    /// It was refused.
    Refused,
}

impl Fate {
    /// All, from the quiet to the loud.
    pub const ALL: [Self; 5] =
        [Self::Allowed, Self::Masked, Self::Approved, Self::WouldRefuse, Self::Refused];

    /// Its word on a page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Masked => "masked",
            Self::Approved => "approved",
            Self::WouldRefuse => "would be refused",
            Self::Refused => "refused",
        }
    }
}

/// An operation as statements of the list refer to it.
#[derive(Debug, Clone)]
pub struct ListedOperation {
    /// The resource.
    pub resource: String,
    /// What the protocol calls it.
    pub label: String,
    /// The beginning of its text.
    pub text: Box<str>,
    /// What it would do, in a line.
    pub effects: String,
    /// By which rule it was decided.
    pub rule: String,
    /// Equal for operations that differ in literals only.
    pub fingerprint: Digest,
    masked: bool,
}

/// One statement.
#[derive(Debug, Clone)]
pub struct StatementLine {
    /// When the broker recorded it.
    pub at: Timestamp,
    /// Index of its operation.
    pub operation: usize,
    /// What became of it.
    pub fate: Fate,
    /// The beginning of its own text, where that is not the operation's.
    pub text: Option<Box<str>>,
    /// Why it was refused, or would be.
    pub why: Option<Box<str>>,
    /// The number of the reason, `GRD-nnnn`.
    pub code: Option<&'static str>,
    /// Rows that were returned or changed.
    pub rows: u64,
    /// Bytes of row data.
    pub bytes: u64,
    /// Values that were masked.
    pub masked: u64,
    /// From sending to the end of the answer, in microseconds; not there while nobody knows.
    pub micros: Option<u64>,
    /// The server's error code, or `lost`.
    pub error: Option<Box<str>>,
}

/// The statements of a record.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// In the order of time.
    pub lines: Vec<StatementLine>,
    /// How many there are in the record.
    pub total: u64,
    /// What they refer to.
    pub operations: Vec<ListedOperation>,
    /// How they are spread over time.
    pub plot: Plot,
    /// Which rules they met.
    pub matched: Matched,
    writers: HashMap<Arc<str>, usize>,
    known: HashMap<(usize, u64), usize>,
    open: HashMap<(usize, u64), Open>,
    texts: usize,
}

/// A statement that has no outcome yet.
#[derive(Debug, Clone, Copy)]
struct Open {
    at: Timestamp,
    fate: Fate,
    /// Where it is listed, if it is.
    line: Option<usize>,
}

impl Listing {
    /// Takes an entry.
    pub fn take(&mut self, entry: &Entry) {
        let at = entry.at;
        self.matched.take(entry);
        match &entry.event {
            Event::Operation { operation, .. } => {
                let writer = self.writer(&entry.writer);
                if let Some(listed) = ListedOperation::of(&entry.event) {
                    self.known.insert((writer, *operation), self.operations.len());
                    self.operations.push(listed);
                }
            }
            Event::Statement { phase: StatementPhase::Prepare, would_refuse: None, .. } => {}
            Event::Statement { statement, operation, would_refuse, text, approval, .. } => {
                let writer = self.writer(&entry.writer);
                let Some(&operation) = self.known.get(&(writer, *operation)) else { return };
                let masked = self.operations.get(operation).is_some_and(|known| known.masked);
                let fate = match (would_refuse, approval, masked) {
                    (Some(_), _, _) => Fate::WouldRefuse,
                    (None, Some(_), _) => Fate::Approved,
                    (None, None, true) => Fate::Masked,
                    (None, None, false) => Fate::Allowed,
                };
                let mut line = StatementLine::new(at, operation, fate, self.text(text.as_ref()));
                if let Some(denial) = would_refuse {
                    line.code = Some(denial.code.number());
                    line.why = Some(short(&denial.what).into());
                }
                let line = self.push(line);
                self.open.insert((writer, *statement), Open { at, fate, line });
            }
            Event::Refused { operation, denial, text, .. } => {
                let writer = self.writer(&entry.writer);
                let Some(&operation) = self.known.get(&(writer, *operation)) else { return };
                let mut line =
                    StatementLine::new(at, operation, Fate::Refused, self.text(text.as_ref()));
                line.code = Some(denial.code.number());
                line.why = Some(short(&denial.what).into());
                self.push(line);
                self.plot.add(at, Fate::Refused);
            }
            Event::Finished { statement, outcome } => {
                let writer = self.writer(&entry.writer);
                if let Some(open) = self.open.remove(&(writer, *statement)) {
                    self.finished(open, outcome);
                }
            }
            Event::SessionOpened { .. } | Event::SessionEnded { .. } => self.plot.reach(at),
            Event::AttemptRefused { .. }
            | Event::Isolated { .. }
            | Event::EgressAsked { .. }
            | Event::EgressEnded { .. }
            | Event::SessionRenewed { .. }
            | Event::LeaseTaken { .. }
            | Event::LeaseReleased { .. }
            | Event::Connected { .. }
            | Event::Disconnected { .. }
            | Event::ApprovalAsked { .. }
            | Event::ApprovalDecided { .. }
            | Event::ApprovalUsed { .. }
            | Event::Rows { .. }
            | Event::Traffic { .. } => {}
        }
    }

    /// Says that no entry follows.
    pub fn finish(&mut self) {
        for open in std::mem::take(&mut self.open).into_values() {
            self.plot.add(open.at, open.fate);
        }
        self.matched.finish();
        self.known = HashMap::new();
        self.writers = HashMap::new();
    }

    /// About how many bytes it takes.
    pub fn weight(&self) -> usize {
        let operations: usize = self
            .operations
            .iter()
            .map(|one| size_of::<ListedOperation>() + one.text.len() + one.effects.len() + 64)
            .sum();
        self.lines.len() * size_of::<StatementLine>() + self.texts + operations
    }

    fn writer(&mut self, writer: &Arc<str>) -> usize {
        let next = self.writers.len();
        match self.writers.get(writer) {
            Some(known) => *known,
            None => *self.writers.entry(writer.clone()).or_insert(next),
        }
    }

    fn text(&mut self, text: Option<&Sensitive<Arc<str>>>) -> Option<Box<str>> {
        let most = if self.texts < TEXTS_MOST { MAX_TEXT } else { MAX_SHORT };
        let shown: Box<str> = beginning(text?.reveal(), most).into();
        self.texts += shown.len();
        Some(shown)
    }

    /// Lists a statement, if there is room.
    fn push(&mut self, line: StatementLine) -> Option<usize> {
        self.total += 1;
        let place = self.lines.len();
        if place >= MAX_LINES {
            return None;
        }
        self.lines.push(line);
        Some(place)
    }

    fn finished(&mut self, open: Open, outcome: &Outcome) {
        // A detector may have found what no mask was for.
        let found = open.fate == Fate::Allowed && outcome.masked > 0;
        let fate = if found { Fate::Masked } else { open.fate };
        self.plot.add(open.at, fate);
        let Some(line) = open.line.and_then(|place| self.lines.get_mut(place)) else { return };
        line.fate = fate;
        line.rows = outcome.rows;
        line.bytes = outcome.bytes;
        line.masked = outcome.masked;
        line.micros = Some(outcome.micros);
        line.error = outcome.error.as_deref().map(|code| beginning(code, 32).into());
    }
}

impl ListedOperation {
    /// What an operation's event says; `None` for another event.
    pub fn of(event: &Event) -> Option<Self> {
        let Event::Operation {
            resource,
            label,
            text,
            fingerprint,
            effects: does,
            certainty,
            rule,
            masks,
            ..
        } = event
        else {
            return None;
        };
        Some(Self {
            resource: resource.to_string(),
            label: short(label),
            text: beginning(text.reveal(), MAX_TEXT).into(),
            effects: effects(does, certainty),
            rule: rule.to_string(),
            fingerprint: *fingerprint,
            masked: masks.iter().any(Option::is_some),
        })
    }

    /// Whether columns of what it returns are masked.
    pub const fn is_masked(&self) -> bool {
        self.masked
    }
}

impl StatementLine {
    const fn new(at: Timestamp, operation: usize, fate: Fate, text: Option<Box<str>>) -> Self {
        Self {
            at,
            operation,
            fate,
            text,
            why: None,
            code: None,
            rows: 0,
            bytes: 0,
            masked: 0,
            micros: None,
            error: None,
        }
    }
}
