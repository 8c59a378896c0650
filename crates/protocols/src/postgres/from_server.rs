//! The server's messages: put to what they answer, masked where they must be, and passed.

use bytes::{Buf as _, BufMut as _, BytesMut};
use guard_core::{Certainty, ObjectKind, Operation, Verb};

use super::{
    expect::{Change, Copy, Expect, Step, rows_of_tag},
    frame::{Broken, Fields, HEADER, Header, MAX_CONTROL, MAX_MASKED_ROW},
    mask::{detect, errors},
    refuse, results,
    results::Rows,
    session::{QUERY_BEFORE_SYNC, Session},
};
use crate::ProtocolError;

/// As long as a part of a masked COPY's message is smaller it is waited for, so that the message stays one.
const MAX_WHOLE_COPY_DATA: usize = 64 << 10;

/// The error of guard's own statement that stands in place of a refused one: `syntax_error`.
const POISONED: &[u8] = b"42601";
/// The same of a server that replicates and has no database: it takes no SQL, not even to parse it.
const POISONED_IN_REPLICATION: &[u8] = b"0A000";

/// Definitions that this connection changed and the shared catalog may not show yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Definitions {
    /// None.
    #[default]
    Unchanged,
    /// Relations were made: looked for when somebody names one.
    Made,
    /// Something that is known was changed, or what is called.
    Changed,
}

impl Definitions {
    /// What an operation that is sent may change.
    pub(super) fn note_sent(&mut self, operation: &Operation) {
        for effect in &operation.effects {
            let made = match effect.verb {
                Verb::Create => match effect.object.kind {
                    ObjectKind::Table
                    | ObjectKind::View
                    | ObjectKind::Index
                    | ObjectKind::Sequence
                    | ObjectKind::Schema => Self::Made,
                    ObjectKind::Column
                    | ObjectKind::Function
                    | ObjectKind::Database
                    | ObjectKind::Role
                    | ObjectKind::Setting
                    | ObjectKind::Extension
                    | ObjectKind::Trigger
                    | ObjectKind::Type
                    | ObjectKind::LargeObject
                    | ObjectKind::Channel
                    | ObjectKind::Other => Self::Changed,
                },
                Verb::Alter | Verb::Drop | Verb::Code => Self::Changed,
                Verb::Read
                | Verb::Insert
                | Verb::Update
                | Verb::Delete
                | Verb::Truncate
                | Verb::Grant
                | Verb::Role
                | Verb::Call
                | Verb::Program
                | Verb::File
                | Verb::Network
                | Verb::Signal
                | Verb::Config
                | Verb::Session
                | Verb::Transaction
                | Verb::Lock
                | Verb::Notify
                | Verb::Maintain
                | Verb::Replication => continue,
            };
            *self = (*self).max(made);
        }
        match operation.certainty {
            Certainty::Unparsed(_) => *self = Self::Changed,
            Certainty::Exact | Certainty::Partial(_) => {}
        }
    }
}

impl Session {
    /// Looks at what the server sent, as far as it is there.
    pub(super) fn hear_server(&mut self) -> Result<(), ProtocolError> {
        loop {
            if !self.pass_on()? {
                return Ok(());
            }
            let Some(header) = Header::peek(&self.upstream.input)? else { return Ok(()) };
            match header.tag {
                b'D' => {
                    if !self.data_rows(header)? {
                        return Ok(());
                    }
                }
                b'd' => {
                    if !self.copy_rows(header)? {
                        return Ok(());
                    }
                }
                tag => {
                    too_long(header, MAX_CONTROL)?;
                    if self.upstream.input.len() < header.whole() {
                        return Ok(());
                    }
                    let frame = self.upstream.input.split_to(header.whole());
                    self.answer(tag, &frame)?;
                }
            }
        }
    }

    /// Passes on what is left of a message that is not read whole. Whether it is at its end.
    fn pass_on(&mut self) -> Result<bool, ProtocolError> {
        let part = self.passing.min(self.upstream.input.len());
        if part > 0 {
            self.client.output.put_slice(self.upstream.input.get(..part).unwrap_or_default());
            self.upstream.input.advance(part);
            self.passing -= part;
        }
        if self.masking > 0 {
            let part = self.masking.min(self.upstream.input.len());
            let data = self.upstream.input.split_to(part);
            self.masking -= part;
            self.mask_copy_data(&data)?;
        }
        Ok(self.passing == 0 && self.masking == 0)
    }

    /// A run of rows. `false` if there is not enough to go on.
    fn data_rows(&mut self, header: Header) -> Result<bool, ProtocolError> {
        let Some(step) = self.expected.front_mut().and_then(Expect::step) else {
            return Err(unexpected(b'D'));
        };
        if let (Rows::Undescribed, Some(columns)) = (&step.rows, &step.columns) {
            let snapshot = self.shared.understanding.catalogs.held();
            // An Execute. Where masks are, its portal was described before it; where none are, any row passes.
            step.rows = match columns.get() {
                Some(fields) => {
                    results::rows(fields, &step.plan, snapshot.as_deref(), &self.shared.mask_keys)?
                }
                None if step.plan.is_empty() => Rows::Pass,
                None => Rows::Undescribed,
            };
        }
        match &mut step.rows {
            Rows::Undescribed => Err(unexpected(b'D')),
            Rows::Pass => {
                let input = &self.upstream.input;
                let (mut end, mut rows, mut bytes) = (0, 0, 0);
                while let Some(header) = Header::peek(input.get(end..).unwrap_or_default())?
                    && header.tag == b'D'
                {
                    end += header.whole();
                    rows += 1;
                    bytes += header.body as u64;
                }
                step.outcome.rows += rows;
                step.outcome.bytes += bytes;
                self.passing = end;
                Ok(true)
            }
            Rows::Masked(masker) => {
                too_long(header, MAX_MASKED_ROW)?;
                let Some(frame) = self.upstream.input.get(..header.whole()) else {
                    return Ok(false);
                };
                let before = self.client.output.len();
                let body = frame.get(HEADER..).unwrap_or_default();
                step.outcome.masked += masker.rewrite(body, &mut self.client.output)?;
                step.outcome.rows += 1;
                step.outcome.bytes +=
                    self.client.output.len().saturating_sub(before + HEADER) as u64;
                self.upstream.input.advance(header.whole());
                Ok(true)
            }
        }
    }

    /// CopyData. `false` if there is not enough to go on.
    fn copy_rows(&mut self, header: Header) -> Result<bool, ProtocolError> {
        let Some(step) = self.expected.front_mut().and_then(Expect::step) else {
            return Err(unexpected(b'd'));
        };
        match &step.copy {
            Copy::No | Copy::In | Copy::Taken => Err(unexpected(b'd')),
            Copy::Out(None) | Copy::Both => {
                let input = &self.upstream.input;
                let (mut end, mut bytes) = (0, 0);
                while let Some(header) = Header::peek(input.get(end..).unwrap_or_default())?
                    && header.tag == b'd'
                {
                    end += header.whole();
                    bytes += header.body as u64;
                }
                step.outcome.bytes += bytes;
                self.passing = end;
                Ok(true)
            }
            Copy::Out(Some(_)) => {
                let there = self.upstream.input.len() >= header.whole();
                if !there && header.whole() <= MAX_WHOLE_COPY_DATA {
                    return Ok(false);
                }
                self.upstream.input.advance(HEADER);
                self.masking = header.body;
                Ok(true)
            }
        }
    }

    fn mask_copy_data(&mut self, data: &[u8]) -> Result<(), ProtocolError> {
        let Some(Step { copy: Copy::Out(Some(masker)), outcome, .. }) =
            self.expected.front_mut().and_then(Expect::step)
        else {
            return Err(unexpected(b'd'));
        };
        let out = &mut self.client.output;
        let start = out.len();
        out.put_slice(&[b'd', 0, 0, 0, 0]);
        masker.feed(data, out)?;
        let body = out.len() - start - HEADER;
        if body == 0 {
            out.truncate(start);
            return Ok(());
        }
        let length =
            u32::try_from(body + 4).map_err(|_| Broken::Malformed("COPY data is too long"))?;
        if let Some(place) = out.get_mut(start + 1..start + HEADER) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        outcome.bytes += body as u64;
        Ok(())
    }

    /// One whole message that is no row.
    fn answer(&mut self, tag: u8, frame: &BytesMut) -> Result<(), ProtocolError> {
        let body = frame.get(HEADER..).unwrap_or_default();
        match tag {
            b'E' => return self.error(body, frame),
            b'N' => {
                self.pass_message(tag, body, frame)?;
                return Ok(());
            }
            b'A' => {
                if self.reached {
                    errors::hide_notification(body, &mut self.client.output)?;
                    return Ok(());
                }
                self.put_detected(frame);
                return Ok(());
            }
            b'S' => {
                if !self.setting(body)? {
                    return Ok(());
                }
            }
            b'Z' => self.ready(body)?,
            b'1' | b'2' | b'3' | b't' | b'T' | b'n' | b's' | b'I' | b'C' | b'V' => {
                if !self.progress(tag, body)? {
                    return Ok(());
                }
            }
            b'G' => self.copy_in()?,
            b'H' => self.copy_out(body)?,
            b'W' => self.copy_both()?,
            b'c' => self.copy_done()?,
            other => return Err(unexpected(other)),
        }
        match tag {
            // What a function gives is a row of one value, without a description.
            b'V' => self.put_detected(frame),
            _ => self.client.output.put_slice(frame),
        }
        Ok(())
    }

    /// An answer to what is at the front. Whether the client gets it.
    fn progress(&mut self, tag: u8, body: &[u8]) -> Result<bool, ProtocolError> {
        let Some(mut front) = self.expected.pop_front() else { return Err(unexpected(tag)) };
        let mut passes = true;
        let done = match (&mut front, tag) {
            (Expect::Parse { running, change }, b'1') => {
                self.names.statements.confirm(*change);
                for running in running.drain(..) {
                    running.finish(guard_gate::Outcome::default());
                }
                true
            }
            (Expect::Bind { change }, b'2') => {
                self.names.portals.confirm(*change);
                true
            }
            (Expect::Close { change }, b'3') => {
                self.confirm(*change);
                true
            }
            (Expect::DescribeStatement, b't') => false,
            (Expect::DescribeStatement, b'T' | b'n') => true,
            (Expect::DescribePortal { columns, own }, b'T' | b'n') => {
                let fields = if tag == b'T' { results::fields(body)? } else { Vec::new() };
                let _ = columns.set(fields);
                passes = !*own;
                true
            }
            (Expect::Query { steps, failed: false }, b'T') => {
                let Some(step) = steps.front_mut() else { return Err(unexpected(tag)) };
                let snapshot = self.shared.understanding.catalogs.held();
                step.rows = results::rows(
                    &results::fields(body)?,
                    &step.plan,
                    snapshot.as_deref(),
                    &self.shared.mask_keys,
                )?;
                false
            }
            (Expect::Query { steps, failed: false }, b'C') => {
                let Some(mut step) = steps.pop_front() else { return Err(unexpected(tag)) };
                if step.is_open() {
                    // There may be more: it ends when the server is ready.
                    step.begin_again();
                    steps.push_front(step);
                } else {
                    self.done(&mut step, body)?;
                }
                false
            }
            (Expect::Query { steps, failed: false }, b'I')
                if steps.front().is_none_or(Step::is_open) =>
            {
                false
            }
            (Expect::Execute(Some(step)), b'I') if step.is_open() => {
                step.finish(None);
                true
            }
            (Expect::Execute(None), b'I') => true,
            (Expect::Execute(Some(step)), b'C') => {
                self.done(step, body)?;
                true
            }
            (Expect::Execute(Some(step)), b's') => {
                step.finish(None);
                true
            }
            (Expect::FunctionCall { running }, b'V') => {
                for running in running.drain(..) {
                    let bytes = body.len() as u64;
                    running.finish(guard_gate::Outcome { bytes, ..Default::default() });
                }
                false
            }
            _ => return Err(unexpected(tag)),
        };
        if !done {
            self.expected.push_front(front);
        }
        Ok(passes)
    }

    /// A statement is complete.
    fn done(&mut self, step: &mut Step, body: &[u8]) -> Result<(), ProtocolError> {
        let tag = Fields::new(body).text()?;
        if let Copy::Out(Some(masker)) = &mut step.copy {
            step.outcome.masked += masker.masked();
        }
        if step.outcome.rows == 0 {
            step.outcome.rows = rows_of_tag(tag);
        }
        step.finish(None);
        for change in std::mem::take(&mut step.changes) {
            self.confirm(change);
        }
        self.tell_changes(false);
        Ok(())
    }

    /// Says to all connections that definitions have changed: at once, since they have for this one; and
    /// again at the end of the transaction, since only then they have for the others.
    fn tell_changes(&mut self, forget: bool) {
        let catalogs = &self.shared.understanding.catalogs;
        match self.changed {
            // What was made is looked for when it is named.
            Definitions::Unchanged | Definitions::Made => {}
            Definitions::Changed => catalogs.outdate(),
        }
        if forget {
            self.changed = Definitions::Unchanged;
        }
    }

    fn ready(&mut self, body: &[u8]) -> Result<(), ProtocolError> {
        match self.expected.pop_front() {
            Some(Expect::Query { steps, failed }) if steps.is_empty() || failed => {}
            Some(Expect::Query { steps, .. }) if steps.iter().all(Step::is_open) => {
                for mut step in steps {
                    step.finish(None);
                    self.tell_changes(false);
                }
            }
            Some(Expect::Refused { simple: true, told: true, .. }) => {}
            Some(Expect::Sync) => {}
            Some(Expect::FunctionCall { running }) if running.is_empty() => {}
            Some(_) | None => return Err(unexpected(b'Z')),
        }
        self.status = Fields::new(body).byte()?;
        if self.status == b'I' && self.changed != Definitions::Unchanged {
            let more = self.expected.is_empty();
            self.tell_changes(more);
        }
        Ok(())
    }

    /// An ErrorResponse.
    fn error(&mut self, body: &[u8], frame: &BytesMut) -> Result<(), ProtocolError> {
        let code = sqlstate(body);
        let code = code.as_deref().unwrap_or("XX000");
        let Some(mut front) = self.expected.pop_front() else {
            return self.pass_message(b'E', body, frame);
        };
        match &mut front {
            Expect::Refused { denial, simple, told } => {
                let replicates = self.replication && code.as_bytes() == POISONED_IN_REPLICATION;
                if code.as_bytes() == POISONED || replicates {
                    refuse::denied(&mut self.client.output, denial);
                } else {
                    // A cancel request or the server's end came first.
                    self.pass_message(b'E', body, frame)?;
                }
                *told = true;
                if *simple {
                    self.expected.push_front(front);
                } else {
                    self.skip_refused(code)?;
                }
                return Ok(());
            }
            Expect::Query { steps, failed } => {
                *failed = true;
                let steps = std::mem::take(steps);
                for step in steps {
                    self.fail(step, code);
                }
                self.expected.push_front(front);
            }
            Expect::FunctionCall { running } => {
                for running in running.drain(..) {
                    let error = Some(code.to_owned());
                    running.finish(guard_gate::Outcome { error, ..Default::default() });
                }
                self.expected.push_front(front);
            }
            Expect::Sync => self.expected.push_front(front),
            Expect::Parse { .. }
            | Expect::Bind { .. }
            | Expect::Close { .. }
            | Expect::DescribeStatement
            | Expect::DescribePortal { .. }
            | Expect::Execute(_) => {
                self.drop_expected(front, code);
                self.skip(code);
            }
        }
        self.pass_message(b'E', body, frame)
    }

    /// [`Session::skip`] after a refusal of guard's. A Query before the Sync would wait for an answer
    /// that never comes: the server skips it, and the client did not see that coming.
    fn skip_refused(&mut self, code: &str) -> Result<(), ProtocolError> {
        let waits = self
            .expected
            .iter()
            .take_while(|expect| !matches!(expect, Expect::Sync))
            .any(|expect| matches!(expect, Expect::Query { .. }));
        self.skip(code);
        if waits {
            return Err(ProtocolError::Client(QUERY_BEFORE_SYNC.into()));
        }
        self.skipping_refused = self.skipping.is_some();
        Ok(())
    }

    /// The server skips whatever is before the next Sync.
    fn skip(&mut self, code: &str) {
        while let Some(front) = self.expected.pop_front() {
            if matches!(front, Expect::Sync) {
                self.expected.push_front(front);
                return;
            }
            self.drop_expected(front, code);
        }
        // The Sync has not come yet: what comes before it is skipped too.
        self.skipping = Some(code.to_owned());
    }

    /// Forgets what will not be answered.
    fn drop_expected(&mut self, expect: Expect, code: &str) {
        let finish = |running: Vec<guard_gate::Running>| {
            for running in running {
                let error = Some(code.to_owned());
                running.finish(guard_gate::Outcome { error, ..Default::default() });
            }
        };
        match expect {
            Expect::Query { steps, .. } => steps.into_iter().for_each(|s| self.fail(s, code)),
            Expect::Parse { running, change } => {
                finish(running);
                self.names.statements.abandon(change);
            }
            Expect::Bind { change } => self.names.portals.abandon(change),
            Expect::Close { change } => self.abandon(change),
            Expect::Execute(Some(step)) => self.fail(*step, code),
            Expect::FunctionCall { running } => finish(running),
            Expect::Refused { .. }
            | Expect::DescribeStatement
            | Expect::DescribePortal { .. }
            | Expect::Execute(None)
            | Expect::Sync => {}
        }
    }

    fn fail(&mut self, mut step: Step, code: &str) {
        if let Copy::Out(Some(masker)) = &mut step.copy {
            step.outcome.masked += masker.masked();
        }
        step.finish(Some(code));
        for change in std::mem::take(&mut step.changes) {
            self.abandon(change);
        }
    }

    fn confirm(&mut self, change: Change) {
        match change {
            Change::Statement(ticket) => self.names.statements.confirm(ticket),
            Change::Portal(ticket) => self.names.portals.confirm(ticket),
        }
    }

    fn abandon(&mut self, change: Change) {
        match change {
            Change::Statement(ticket) => self.names.statements.abandon(ticket),
            Change::Portal(ticket) => self.names.portals.abandon(ticket),
        }
    }

    /// Passes an error or a notice, without its words where they may tell of masked columns.
    fn pass_message(&mut self, tag: u8, body: &[u8], frame: &[u8]) -> Result<(), ProtocolError> {
        if self.reached {
            errors::hide_message(tag, body, &mut self.client.output)?;
        } else {
            self.put_detected(frame);
        }
        Ok(())
    }

    /// Passes a message that is no row, without what detectors find in it: its length stays.
    fn put_detected(&mut self, frame: &[u8]) {
        let start = self.client.output.len() + HEADER;
        self.client.output.put_slice(frame);
        if let Some(body) = self.client.output.get_mut(start..) {
            detect::hide(self.detect, body, false, &mut self.detected);
        }
    }

    /// A ParameterStatus. Whether the client gets it.
    fn setting(&mut self, body: &[u8]) -> Result<bool, ProtocolError> {
        let mut fields = Fields::new(body);
        let (name, value) = (fields.text()?, fields.text()?);
        fields.end()?;
        self.reading.note(name, value);
        Ok(!self.reached || errors::parameter_passes(name))
    }

    fn copy_in(&mut self) -> Result<(), ProtocolError> {
        let step = self.expected.front_mut().and_then(Expect::step);
        match step {
            Some(step) if takes_data(step) && matches!(step.copy, Copy::No) => {
                step.copy = Copy::In;
                Ok(())
            }
            Some(_) | None => Err(unexpected(b'G')),
        }
    }

    fn copy_out(&mut self, body: &[u8]) -> Result<(), ProtocolError> {
        let mut fields = Fields::new(body);
        let format = fields.byte()?;
        let count = fields.count()?;
        let snapshot = self.shared.understanding.catalogs.held();
        let step = self.expected.front_mut().and_then(Expect::step);
        let Some(step) = step.filter(|step| matches!(step.copy, Copy::No)) else {
            return Err(unexpected(b'H'));
        };
        if step.is_open() && !step.plan.rewrites() && step.plan.detect.is_empty() {
            step.copy = Copy::Out(None);
            return Ok(());
        }
        let guard_sql::StatementRole::CopyOut(options) = &step.statement.role else {
            return Err(unexpected(b'H'));
        };
        let binary = match options.format {
            guard_sql::CopyFormat::Binary => 1,
            guard_sql::CopyFormat::Text | guard_sql::CopyFormat::Csv => 0,
        };
        if format != binary {
            return Err(unexpected(b'H'));
        }
        let operation = &step.statement.operation;
        let keys = &self.shared.mask_keys;
        let masker =
            results::copy(count, options, operation, &step.plan, snapshot.as_deref(), keys)?;
        step.copy = Copy::Out(masker);
        Ok(())
    }

    /// A replication stream begins.
    fn copy_both(&mut self) -> Result<(), ProtocolError> {
        let step = self.expected.front_mut().and_then(Expect::step);
        match step {
            Some(step)
                if step.is_open() && !step.plan.rewrites() && step.plan.detect.is_empty() =>
            {
                step.copy = Copy::Both;
                Ok(())
            }
            Some(_) | None => Err(unexpected(b'W')),
        }
    }

    fn copy_done(&mut self) -> Result<(), ProtocolError> {
        match self.expected.front_mut().and_then(Expect::step) {
            Some(step) if matches!(step.copy, Copy::Both) => {
                // The client's half goes on until it ends that.
                step.copy = Copy::In;
                Ok(())
            }
            Some(Step { copy: Copy::Out(masker), .. }) => {
                if let Some(masker) = masker {
                    masker.finish()?;
                }
                Ok(())
            }
            Some(_) | None => Err(unexpected(b'c')),
        }
    }
}

fn takes_data(step: &Step) -> bool {
    step.is_open() || matches!(step.statement.role, guard_sql::StatementRole::CopyIn(_))
}

fn sqlstate(body: &[u8]) -> Option<String> {
    let mut fields = Fields::new(body);
    loop {
        match fields.byte().ok()? {
            0 => return None,
            b'C' => return String::from_utf8(fields.text().ok()?.to_vec()).ok(),
            _ => {
                fields.text().ok()?;
            }
        }
    }
}

fn too_long(header: Header, max: usize) -> Result<(), ProtocolError> {
    if header.body > max {
        let length = u32::try_from(header.body).unwrap_or(u32::MAX);
        return Err(Broken::Length(char::from(header.tag), length).into());
    }
    Ok(())
}

fn unexpected(tag: u8) -> ProtocolError {
    Broken::Unexpected(char::from(tag)).into()
}

impl From<super::mask::Malformed> for ProtocolError {
    fn from(error: super::mask::Malformed) -> Self {
        Self::Resource(error.to_string())
    }
}

impl From<results::Misunderstood> for ProtocolError {
    fn from(error: results::Misunderstood) -> Self {
        Self::Resource(error.to_string())
    }
}
