//! A running session as it happens, told as server-sent events (WHATWG HTML, section 9.2).
//!
//! What is told comes from the record as it grows, so any broker can tell of any session, and a reader who comes again says
//! how far he was (`Last-Event-ID` is an entry's number). A job may be faster than any reader: of what comes at once the
//! last is told, all refusals before the rest, and the totals say how much there was.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _, unfold};
use guard_audit::{
    Entry, Event, Outcome, StatementPhase,
    report::{Fate, ListedOperation, duration, end_words, grouped, short, without_literals},
};
use guard_core::{Digest, SessionId};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Values, streams::Place, view::one_line};
use crate::{
    record::{RecordError, Tail},
    sessions::Sessions,
    store::Held,
};

/// Between two looks at the record.
const LOOK: Duration = Duration::from_millis(400);
/// Without anything to tell, a line that says nothing keeps what is between from closing the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Then the reader comes again, and shows again what he may see.
const LONGEST: Duration = Duration::from_secs(600);
/// How often it is looked whether the reader is signed in still.
const SIGNED_IN: Duration = Duration::from_secs(1);
/// Lines that one look tells of at most.
const MAX_LINES: usize = 50;
/// Operations whose texts are remembered.
const MAX_OPERATIONS: usize = 20_000;
/// Statements whose outcome is waited for.
const MAX_OPEN: usize = 20_000;

/// What has been told of a session, and what its record says of what comes.
#[derive(Debug)]
pub(crate) struct Feed {
    tail: Tail,
    values: Values,
    /// The number of the last entry that the reader has seen.
    seen: Option<u64>,
    operations: HashMap<(Arc<str>, u64), Known>,
    open: HashMap<(Arc<str>, u64), ()>,
    totals: Totals,
    looked: bool,
    ended: bool,
}

/// Where the events of a session come from, and for whom they are.
#[derive(Debug)]
pub(crate) struct Following {
    /// All sessions.
    pub(crate) sessions: Arc<Sessions>,
    /// The one that is followed.
    pub(crate) id: SessionId,
    /// By what the reader is signed in: when that is over, so is this.
    pub(crate) reader: Digest,
    /// When the broker stops.
    pub(crate) stop: CancellationToken,
}

#[derive(Debug)]
struct Known {
    text: String,
    masked: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Totals {
    statements: u64,
    refused: u64,
    masked: u64,
    rows: u64,
}

/// What one look tells, the loud kept before the quiet.
#[derive(Debug, Default)]
struct Told {
    lines: VecDeque<(u64, bool, &'static str, Value)>,
    last: Option<u64>,
    end: Option<String>,
}

impl Feed {
    pub(crate) fn new(tail: Tail, values: Values, seen: Option<u64>) -> Self {
        Self {
            tail,
            values,
            seen,
            operations: HashMap::new(),
            open: HashMap::new(),
            totals: Totals::default(),
            looked: false,
            ended: false,
        }
    }

    /// What came since the last look, as text of the stream; empty if nothing did.
    pub(crate) async fn look(&mut self) -> Result<String, RecordError> {
        let before = self.totals;
        let mut told = Told::default();
        loop {
            let lines = self.tail.look().await?;
            if lines.is_empty() {
                break;
            }
            for line in lines.split(|byte| *byte == b'\n') {
                // What is no entry is a seal.
                if let Ok(entry) = serde_json::from_slice::<Entry>(line) {
                    self.take(entry, &mut told);
                }
            }
            tokio::task::yield_now().await;
        }
        // An entry that is not there yet was not seen: what a reader says must not hide what comes.
        if !std::mem::replace(&mut self.looked, true) && self.seen > told.last {
            self.seen = told.last;
        }
        let mut text = String::new();
        for (id, _, name, value) in &told.lines {
            event(&mut text, Some(*id), name, value);
        }
        if self.totals != before || (told.last.is_some() && told.lines.is_empty()) {
            let Totals { statements, refused, masked, rows } = self.totals;
            let totals = json!({ "statements": statements, "refused": refused, "masked": masked, "rows": rows });
            event(&mut text, told.last, "totals", &totals);
        }
        if let Some(words) = told.end {
            self.ended = true;
            event(&mut text, told.last, "end", &json!({ "words": words }));
        }
        Ok(text)
    }

    fn take(&mut self, entry: Entry, told: &mut Told) {
        let Entry { seq, at, writer, event, .. } = entry;
        told.last = Some(seq);
        // Before what the reader has seen only the totals and the texts count.
        let new = self.seen.is_none_or(|seen| seq > seen);
        match event {
            Event::Operation { operation, .. } => {
                if let Some(listed) = ListedOperation::of(&event) {
                    if self.operations.len() >= MAX_OPERATIONS {
                        self.operations.clear();
                    }
                    let known =
                        Known { text: self.shown(&listed.text), masked: listed.is_masked() };
                    self.operations.insert((writer, operation), known);
                }
            }
            Event::Statement { phase: StatementPhase::Prepare, would_refuse: None, .. } => {}
            Event::Statement { statement, operation, would_refuse, text, approval, .. } => {
                self.totals.statements += 1;
                let known = self.operations.get(&(writer.clone(), operation));
                let masked = known.is_some_and(|known| known.masked);
                let fate = match (&would_refuse, approval, masked) {
                    (Some(_), _, _) => Fate::WouldRefuse,
                    (None, Some(_), _) => Fate::Approved,
                    (None, None, true) => Fate::Masked,
                    (None, None, false) => Fate::Allowed,
                };
                let text = text.as_ref().map(|text| &**text.reveal());
                let why = would_refuse.map(|denial| denial.what);
                let line = self.line((&writer, operation), fate, text, why.as_deref());
                let key = format!("{writer}/{statement}");
                if self.open.len() >= MAX_OPEN {
                    self.open.clear();
                }
                self.open.insert((writer, statement), ());
                told.line(new, seq, fate, at.to_string(), Some(key), line);
            }
            Event::Refused { operation, denial, text, .. } => {
                self.totals.refused += 1;
                let text = text.as_ref().map(|text| &**text.reveal());
                let why = format!("{} ({})", denial.what, denial.code.number());
                let line = self.line((&writer, operation), Fate::Refused, text, Some(&why));
                told.line(new, seq, Fate::Refused, at.to_string(), None, line);
            }
            Event::Finished { statement, outcome } => {
                self.totals.masked = self.totals.masked.saturating_add(outcome.masked);
                self.totals.rows = self.totals.rows.saturating_add(outcome.rows);
                let key = (writer, statement);
                if self.open.remove(&key).is_some() && new {
                    let key = format!("{}/{statement}", key.0);
                    told.push(
                        seq,
                        false,
                        "finished",
                        json!({ "key": key, "facts": facts(&outcome) }),
                    );
                }
            }
            Event::ApprovalAsked { approval, asked_by, operation, .. } => {
                let known = self.operations.get(&(asked_by, operation));
                let text = known.map_or("a statement", |known| &*known.text);
                let asked = json!({ "approval": approval, "text": text, "decided": false });
                // Who comes again is told of all that may still wait.
                told.push(seq, true, "approval", asked);
            }
            Event::ApprovalDecided { approval, .. } | Event::ApprovalUsed { approval, .. } => {
                told.push(seq, true, "approval", json!({ "approval": approval, "decided": true }));
            }
            Event::SessionEnded { reason, exit_code, .. } => {
                told.end = Some(end_words(Some(reason), exit_code));
            }
            Event::SessionOpened { .. }
            | Event::AttemptRefused { .. }
            | Event::Isolated { .. }
            | Event::EgressAsked { .. }
            | Event::EgressEnded { .. }
            | Event::LeaseTaken { .. }
            | Event::LeaseReleased { .. }
            | Event::Connected { .. }
            | Event::Disconnected { .. }
            // What was in answers is shown with the report.
            | Event::Rows { .. }
            | Event::Traffic { .. }
            | Event::SessionRenewed { .. } => {}
        }
    }

    fn line(
        &self,
        (writer, operation): (&Arc<str>, u64),
        fate: Fate,
        text: Option<&str>,
        why: Option<&str>,
    ) -> Value {
        let known = self.operations.get(&(writer.clone(), operation));
        let known = known.map_or("a statement whose text the report has", |known| &*known.text);
        let own = match self.values {
            Values::Shown => text.map(one_line),
            // The operation's text says what it was.
            Values::Hidden => None,
        };
        let why = why.map(|why| match self.values {
            Values::Shown => short(why),
            Values::Hidden => short(&without_literals(why)),
        });
        json!({ "fate": fate.as_str(), "text": own.unwrap_or_else(|| known.to_owned()), "why": why })
    }

    fn shown(&self, text: &str) -> String {
        match self.values {
            Values::Shown => one_line(text),
            Values::Hidden => one_line(&without_literals(text)),
        }
    }
}

impl Told {
    fn line(
        &mut self,
        new: bool,
        seq: u64,
        fate: Fate,
        at: String,
        key: Option<String>,
        mut line: Value,
    ) {
        if !new {
            return;
        }
        if let Some(fields) = line.as_object_mut() {
            fields.insert("at".to_owned(), at.into());
            fields.insert("key".to_owned(), key.into());
        }
        self.push(seq, fate == Fate::Refused, "line", line);
    }

    fn push(&mut self, seq: u64, loud: bool, name: &'static str, value: Value) {
        if self.lines.len() >= MAX_LINES {
            let quiet = self.lines.iter().position(|(_, loud, ..)| !loud);
            self.lines.remove(quiet.unwrap_or(0));
        }
        self.lines.push_back((seq, loud, name, value));
    }
}

fn facts(outcome: &Outcome) -> String {
    let mut facts = format!("{} rows · {}", grouped(outcome.rows), duration(outcome.micros));
    if outcome.masked > 0 {
        let _ = write!(facts, " · {} masked", grouped(outcome.masked));
    }
    if let Some(error) = &outcome.error {
        let _ = write!(facts, " · error {}", short(error));
    }
    facts
}

/// JSON has no line feed, so that one line holds it.
fn event(text: &mut String, id: Option<u64>, name: &str, value: &Value) {
    if let Some(id) = id {
        let _ = writeln!(text, "id: {id}");
    }
    let _ = write!(text, "event: {name}\ndata: {value}\n\n");
}

/// The events of a session, until it is over, the broker stops, the reader is signed out, or he has to show again what he may see.
pub(crate) fn follow(
    following: Following,
    place: Place,
    feed: Feed,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static {
    // How long the browser waits before it comes again.
    let hello = stream::once(async { Ok(Bytes::from_static(b"retry: 2000\n\n")) });
    let now = Instant::now();
    let until = now + LONGEST;
    let state = (following, place, feed, now, now);
    let events = unfold(
        state,
        move |(following, place, mut feed, mut spoke, mut looked)| async move {
            loop {
                if feed.ended || Instant::now() > until {
                    return None;
                }
                if looked.elapsed() > SIGNED_IN {
                    if !following.is_signed_in().await {
                        return None;
                    }
                    looked = Instant::now();
                }
                let mut text = match feed.look().await {
                    Ok(text) => text,
                    Err(error) => {
                        tracing::debug!(session = %following.id, %error, "a live page cannot be told more");
                        return None;
                    }
                };
                if text.is_empty() && spoke.elapsed() > HEARTBEAT {
                    // A record that nobody can go on with has no end; its session has.
                    if following.is_over().await {
                        event(&mut text, None, "end", &json!({ "words": "the session is over" }));
                        feed.ended = true;
                    } else {
                        text.push_str(": still here\n\n");
                    }
                }
                if !text.is_empty() {
                    spoke = Instant::now();
                    let state = (following, place, feed, spoke, looked);
                    return Some((Ok(Bytes::from(text)), state));
                }
                tokio::select! {
                    () = following.stop.cancelled() => return None,
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        },
    );
    hello.chain(events)
}

impl Following {
    async fn is_signed_in(&self) -> bool {
        let found = self.sessions.store.signed_in(self.reader, Held::Browser).await;
        found.is_ok_and(|found| found.is_some())
    }

    async fn is_over(&self) -> bool {
        let state = self.sessions.store.state(self.id).await;
        state.is_ok_and(|state| state.is_none_or(|state| state.ended.is_some()))
    }
}
