//! The server's messages: put to what they answer, masked where they must be, and passed.

use bytes::{Buf as _, BufMut as _, BytesMut};
use guard_core::Exceeded;
use guard_gate::Admitted;

use super::{
    count::{all, copied, length},
    definitions::Definitions,
    expect::{Change, Copy, Expect, Step, rows_of_tag},
    frame::{self, Broken, Fields, HEADER, Header, MAX_CONTROL, MAX_MASKED_ROW, Run},
    keep::Keep,
    mask::errors,
    refuse, results,
    results::{Described, Rows},
    session::Session,
};
use crate::{ProtocolError, detect};

/// As long as a part of a masked COPY's message is smaller it is waited for, so that the message stays one.
const MAX_WHOLE_COPY_DATA: usize = 64 << 10;

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
        let part = self.dropping.min(self.upstream.input.len());
        self.upstream.input.advance(part);
        self.dropping -= part;
        let part = self.passing.min(self.upstream.input.len());
        if part > 0 {
            self.keep_passing(part)?;
            frame::hand_over(&mut self.upstream.input, part, &mut self.client.output);
            self.passing -= part;
        }
        if self.masking > 0 {
            let part = self.masking.min(self.upstream.input.len());
            let data = self.upstream.input.split_to(part);
            self.masking -= part;
            let Some(Step { copy: Copy::Out(Some(masker)), outcome, keep, .. }) =
                self.expected.front_mut().and_then(Expect::step)
            else {
                return Err(unexpected(b'd'));
            };
            let before = self.client.output.len();
            outcome.bytes += masker.message(&data, &mut self.client.output)?;
            kept(keep, &self.client.output, before)?;
        }
        Ok(self.dropping == 0 && self.passing == 0 && self.masking == 0)
    }

    /// Keeps rows that pass as they are, if the policy does.
    fn keep_passing(&mut self, part: usize) -> Result<(), ProtocolError> {
        if !self.records {
            return Ok(());
        }
        let step = self.expected.front_mut().and_then(Expect::step);
        if let Some(keep) = step.and_then(|step| step.keep.as_mut()) {
            keep.pass(self.upstream.input.get(..part).unwrap_or_default())?;
        }
        Ok(())
    }

    /// A run of rows. `false` if there is not enough to go on.
    fn data_rows(&mut self, header: Header) -> Result<bool, ProtocolError> {
        if self.budgeting.silences() {
            self.dropping = header.whole();
            return Ok(true);
        }
        let Some(step) = self.expected.front_mut().and_then(Expect::step) else {
            return Err(unexpected(b'D'));
        };
        if let (Rows::Undescribed, Some(columns)) = (&step.rows, &step.columns) {
            let snapshot = self.shared.understanding.catalogs.held();
            // An Execute. Where masks are, its portal was described before it; where none are, any row passes.
            step.rows = match columns.get() {
                Some(Described { fields, names }) => {
                    if let Some(keep) = &mut step.keep {
                        keep.described(results::formats(fields), names.clone());
                    }
                    let operation = &step.statement.operation;
                    let keys = &self.shared.mask_keys;
                    results::rows(fields, operation, &step.plan, snapshot.as_deref(), keys)?
                }
                None if step.plan.is_empty() => Rows::Pass,
                None => Rows::Undescribed,
            };
        }
        match &mut step.rows {
            Rows::Undescribed => Err(unexpected(b'D')),
            Rows::Pass => {
                let run = Run::of(b'D', &self.upstream.input);
                let Admitted { items: rows, bytes, exceeded } = match &mut step.meter {
                    Some(meter) => meter.admit(run.map(|bytes| (1, bytes))),
                    None => all(run),
                };
                step.outcome.rows += rows;
                step.outcome.bytes += bytes;
                self.passing = length(rows, bytes)?;
                self.end_at(exceeded);
                Ok(true)
            }
            Rows::Masked(masker) => {
                too_long(header, MAX_MASKED_ROW)?;
                let Some(frame) = self.upstream.input.get(..header.whole()) else {
                    return Ok(false);
                };
                if let Some(meter) = &mut step.meter
                    && let admitted = meter.admit(std::iter::once((1, header.body as u64)))
                    && admitted.exceeded.is_some()
                {
                    self.end_at(admitted.exceeded);
                    return Ok(true);
                }
                let before = self.client.output.len();
                let body = frame.get(HEADER..).unwrap_or_default();
                step.outcome.masked += masker.rewrite(body, &mut self.client.output)?;
                kept(&mut step.keep, &self.client.output, before)?;
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
        if self.budgeting.silences() {
            self.dropping = header.whole();
            return Ok(true);
        }
        let Some(step) = self.expected.front_mut().and_then(Expect::step) else {
            return Err(unexpected(b'd'));
        };
        match &mut step.copy {
            Copy::No | Copy::In | Copy::Taken => Err(unexpected(b'd')),
            Copy::Out(None) | Copy::Both => {
                let run = Run::of(b'd', &self.upstream.input);
                let Admitted { items, bytes, exceeded } = match &mut step.meter {
                    Some(meter) => meter.admit(copied(run, &step.statement, &mut step.copied)),
                    None => all(run),
                };
                step.outcome.bytes += bytes;
                self.passing = length(items, bytes)?;
                self.end_at(exceeded);
                Ok(true)
            }
            Copy::Out(Some(masker)) => {
                // All messages that are there whole, a row each, in one go.
                let input = &self.upstream.input;
                let admitted =
                    match &mut step.meter {
                        Some(meter) => {
                            let whole = Run::whole(b'd', input);
                            whole.clone().next().is_some().then(|| {
                                meter.admit(copied(whole, &step.statement, &mut step.copied))
                            })
                        }
                        None => None,
                    };
                let mut left = admitted.map_or(u64::MAX, |admitted| admitted.items);
                let mut end = 0;
                while left > 0
                    && let Some(header) = Header::peek(input.get(end..).unwrap_or_default())?
                    && header.tag == b'd'
                    && let Some(data) = input.get(end + HEADER..end + header.whole())
                {
                    let before = self.client.output.len();
                    step.outcome.bytes += masker.message(data, &mut self.client.output)?;
                    kept(&mut step.keep, &self.client.output, before)?;
                    end += header.whole();
                    left -= 1;
                }
                if end > 0 || admitted.is_some() {
                    self.upstream.input.advance(end);
                    self.end_at(admitted.and_then(|admitted| admitted.exceeded));
                    return Ok(true);
                }
                if header.whole() <= MAX_WHOLE_COPY_DATA {
                    return Ok(false);
                }
                if let Some(meter) = &mut step.meter {
                    let one = std::iter::once(header.body as u64);
                    let items = copied(one, &step.statement, &mut step.copied);
                    if let exceeded @ Some(_) = meter.admit(items).exceeded {
                        self.end_at(exceeded);
                        return Ok(true);
                    }
                }
                self.upstream.input.advance(HEADER);
                self.masking = header.body;
                Ok(true)
            }
        }
    }

    /// One whole message that is no row.
    fn answer(&mut self, tag: u8, frame: &BytesMut) -> Result<(), ProtocolError> {
        let body = frame.get(HEADER..).unwrap_or_default();
        match tag {
            b'E' => return self.error(body, frame),
            b'N' => {
                if self.notice_passes(body) {
                    self.pass_message(tag, body, frame)?;
                }
                return Ok(());
            }
            b'A' => {
                if self.count_words(body).is_some() {
                    return Ok(());
                }
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
            b'Z' => {
                if !self.ready(body)? {
                    return Ok(());
                }
            }
            b'1' | b'2' | b'3' | b't' | b'T' | b'n' | b's' | b'I' | b'C' | b'V' => {
                if !self.progress(tag, body)? || self.budgeting.silences() {
                    return Ok(());
                }
            }
            b'G' => {
                self.copy_in()?;
                if self.budgeting.silences() {
                    self.fail_copy();
                    return Ok(());
                }
            }
            b'H' => {
                self.copy_out(body)?;
                if self.budgeting.silences() {
                    return Ok(());
                }
            }
            b'W' => self.copy_both()?,
            b'c' => {
                if self.budgeting.silences() {
                    return Ok(());
                }
                self.copy_done()?;
            }
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
                let mut described = Described::default();
                if tag == b'T' {
                    described.fields = results::fields(body)?;
                    if self.gate.records_rows() {
                        described.names = results::names(body)?;
                    }
                }
                let _ = columns.set(described);
                passes = !*own;
                true
            }
            (Expect::Query { steps, failed: false }, b'T') => {
                let Some(step) = steps.front_mut() else { return Err(unexpected(tag)) };
                let snapshot = self.shared.understanding.catalogs.held();
                let fields = results::fields(body)?;
                if let Some(keep) = &mut step.keep {
                    keep.described(results::formats(&fields), results::names(body)?);
                }
                step.rows = results::rows(
                    &fields,
                    &step.statement.operation,
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
                    let is_last = steps.is_empty();
                    passes = self.done_in_query(&mut step, body)?;
                    if passes {
                        match self.keep_last(step, body, is_last) {
                            Some(mut step) => step.finish(None),
                            None => passes = false,
                        }
                    }
                }
                false
            }
            (Expect::Own(_), b'C') => {
                passes = false;
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
                self.complete(step, body)?;
                if self.is_over() {
                    self.undo_execute(step);
                    return Ok(false);
                }
                self.done(step);
                step.finish(None);
                true
            }
            (Expect::Execute(Some(step)), b's') => {
                if self.is_over() {
                    self.undo_execute(step);
                    return Ok(false);
                }
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
        if tag == b'C' {
            self.start_clock();
        }
        Ok(passes)
    }

    /// A statement is complete: counts what it did.
    fn complete(&mut self, step: &mut Step, body: &[u8]) -> Result<(), ProtocolError> {
        let tag = Fields::new(body).text()?;
        if let Some(keep) = &mut step.keep {
            keep.flush();
        }
        if let Copy::Out(Some(masker)) = &mut step.copy {
            step.outcome.masked += masker.masked();
        }
        let rows = rows_of_tag(tag);
        if step.outcome.rows == 0 {
            step.outcome.rows = rows;
        }
        self.count_changed(step, tag, rows);
        // With AND CHAIN no ReadyForQuery tells of it. (ROLLBACK is the tag of ROLLBACK TO as well.)
        if tag == b"COMMIT" {
            self.gate.transaction_is_over();
        }
        Ok(())
    }

    /// A statement of a Query is complete. Whether the client gets to know.
    fn done_in_query(&mut self, step: &mut Step, body: &[u8]) -> Result<bool, ProtocolError> {
        self.complete(step, body)?;
        let over = self.budgeting.silences();
        self.done(step);
        if let Some(ended) = self.budgeting.ended.as_ref().filter(|_| over) {
            step.finish(Some(refuse::sqlstate(&ended.denial)));
        }
        Ok(!over)
    }

    /// What a statement has changed of names and definitions is so.
    fn done(&mut self, step: &mut Step) {
        for change in std::mem::take(&mut step.changes) {
            self.confirm(change);
        }
        self.tell_changes(false);
    }

    fn end_at(&mut self, exceeded: Option<Exceeded>) {
        if let Some(exceeded) = exceeded {
            self.end_statement(exceeded);
        }
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

    /// ReadyForQuery. Whether the client gets it.
    fn ready(&mut self, body: &[u8]) -> Result<bool, ProtocolError> {
        let front = self.expected.pop_front();
        let (mut own, mut simple) = (None, false);
        match front {
            Some(Expect::Own(words)) => own = Some(words),
            Some(Expect::Query { steps, failed }) if steps.is_empty() || failed => simple = true,
            Some(Expect::Query { steps, .. }) if steps.iter().all(Step::is_open) => {
                simple = true;
                for mut step in steps {
                    step.finish(None);
                    self.tell_changes(false);
                }
            }
            Some(Expect::Refused { simple: true, told: true, .. }) => simple = true,
            Some(Expect::Sync) => {}
            Some(Expect::FunctionCall { running }) if running.is_empty() => {}
            Some(_) | None => return Err(unexpected(b'Z')),
        }
        self.status = Fields::new(body).byte()?;
        if self.status == b'I' {
            self.gate.transaction_is_over();
        }
        if self.status == b'I' && self.changed != Definitions::Unchanged {
            let more = self.expected.is_empty();
            self.tell_changes(more);
        }
        Ok(match own {
            Some(own) => self.after_own(own),
            None => !simple || self.after_query(body),
        })
    }

    fn confirm(&mut self, change: Change) {
        match change {
            Change::Statement(ticket) => self.names.statements.confirm(ticket),
            Change::Portal(ticket) => self.names.portals.confirm(ticket),
        }
    }

    pub(super) fn abandon(&mut self, change: Change) {
        match change {
            Change::Statement(ticket) => self.names.statements.abandon(ticket),
            Change::Portal(ticket) => self.names.portals.abandon(ticket),
        }
    }

    /// Passes an error or a notice, without its words where they may tell of masked columns.
    pub(super) fn pass_message(
        &mut self,
        tag: u8,
        body: &[u8],
        frame: &[u8],
    ) -> Result<(), ProtocolError> {
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
        if let Some(likeness) = &mut self.likeness {
            likeness.reported(name, value);
        }
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
        if let Some(keep) = &mut step.keep {
            keep.copies(format != 0);
        }
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

/// Keeps what was put behind this length of what goes to the client, if the policy does.
fn kept(keep: &mut Option<Box<Keep>>, output: &[u8], before: usize) -> Result<(), Broken> {
    match keep {
        Some(keep) => keep.pass(output.get(before..).unwrap_or_default()),
        None => Ok(()),
    }
}

fn takes_data(step: &Step) -> bool {
    step.is_open() || matches!(step.statement.role, guard_sql::StatementRole::CopyIn(_))
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
