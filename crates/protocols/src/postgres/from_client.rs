//! The client's messages: understood, judged, and only then sent.

use std::sync::{Arc, OnceLock};

use bytes::{Buf as _, BytesMut};
use guard_gate::{Parameters, StatementPhase};
use guard_sql::{Statement, StatementRole};

use super::{
    expect::{Change, Copy, Expect, Step},
    frame::{Broken, Fields, HEADER, Header, MAX_BIND, MAX_SMALL, MAX_STATEMENT, put},
    holding,
    judging::{Asking, Judged},
    keep::Keep,
    likeness::Bound,
    names::{Found, Portal},
    naming::too_many,
    session::{MAX_UNANSWERED, QUERY_BEFORE_SYNC, Session},
    settled::Settled,
    startup::client,
    understood::Understood,
    upstream::Carried,
};
use crate::ProtocolError;

impl Session {
    /// Looks at what the client sent, as far as it is there and its turn has come.
    pub(super) async fn hear_client(&mut self) -> Result<(), ProtocolError> {
        loop {
            if self.holding.is_some()
                || self.goodbye
                || self.budgeting.is_busy()
                || !self.move_on()
                || self.is_held()
            {
                return Ok(());
            }
            let Some(header) = Header::peek(&self.client.input).map_err(client)? else {
                return Ok(());
            };
            if header.tag == b'd' {
                self.copy_data(header);
                continue;
            }
            let max = match header.tag {
                b'Q' | b'P' => MAX_STATEMENT,
                b'B' | b'F' => MAX_BIND,
                b'D' | b'E' | b'C' | b'S' | b'H' | b'c' | b'f' | b'X' => MAX_SMALL,
                other => return Err(client(Broken::Unexpected(char::from(other)))),
            };
            if header.body > max {
                self.too_large(header, max).await?;
                continue;
            }
            if self.client.input.len() < header.whole() {
                self.wanted = header.whole();
                return Ok(());
            }
            self.wanted = 0;
            let frame = self.client.input.split_to(header.whole());
            if !self.message(header.tag, &frame).await? {
                // Its turn has not come: it is looked at again when the server has answered.
                let rest = std::mem::replace(&mut self.client.input, frame);
                self.client.input.unsplit(rest);
                self.ask_for_answers();
                self.settling = true;
                return Ok(());
            }
            self.note_input(header.tag, &frame);
        }
    }

    /// Passes on, or drops, what is left of a message that is not read whole. Whether it is at its end.
    fn move_on(&mut self) -> bool {
        let part = self.discarding.min(self.client.input.len());
        self.note_copying(part);
        self.client.input.advance(part);
        self.discarding -= part;
        let part = self.copying.min(self.client.input.len());
        self.note_copying(part);
        self.upstream.copy_data(self.client.input.get(..part).unwrap_or_default());
        self.client.input.advance(part);
        self.copying -= part;
        self.discarding == 0 && self.copying == 0
    }

    /// Whether the client's next message has to wait for an answer of the server.
    fn is_held(&mut self) -> bool {
        if self.taking().is_some() {
            // The server waits for this, whatever else of the same text is still to come.
            return false;
        }
        if self.expected.is_empty() {
            self.settling = false;
            self.flushed = false;
            return false;
        }
        if self.expected.len() >= MAX_UNANSWERED {
            if !self.flushed {
                self.ask_for_answers();
                self.flushed = true;
            }
            return true;
        }
        if self.taking().is_some() {
            return false;
        }
        let back = self.expected.back();
        let awaits_copy = back.is_some_and(Expect::awaits_copy);
        if awaits_copy && !self.flushed && matches!(back, Some(Expect::Execute(_))) {
            // It may be a COPY, which does not mind, or not, and is not answered by itself. A Query is.
            self.ask_for_answers();
        }
        self.flushed = awaits_copy;
        self.settling || awaits_copy
    }

    /// Has the server answer what it has done so far.
    fn ask_for_answers(&mut self) {
        let mut flush = BytesMut::new();
        put(&mut flush, b'H', |_| {});
        self.upstream.carry(Carried::Flush, &flush);
    }

    /// The step whose data the client sends.
    pub(super) fn taking(&mut self) -> Option<&mut Step> {
        let step = self.expected.front_mut()?.step()?;
        matches!(step.copy, Copy::In | Copy::Both).then_some(step)
    }

    /// CopyData: passes while a permitted COPY takes it; else it is dropped, as the server does after a COPY has failed.
    fn copy_data(&mut self, header: Header) {
        match self.taking() {
            Some(step) => {
                let bytes = header.body as u64;
                let over = step
                    .meter
                    .as_mut()
                    .and_then(|meter| meter.admit(std::iter::once((0, bytes))).exceeded);
                if let Some(exceeded) = over {
                    self.end_statement(exceeded);
                    self.discarding = header.whole();
                    return;
                }
                step.outcome.bytes += bytes;
                self.copying = header.whole();
            }
            None => self.discarding = header.whole(),
        }
    }

    /// One whole message. `false` if its turn has not come.
    async fn message(&mut self, tag: u8, frame: &[u8]) -> Result<bool, ProtocolError> {
        let body = frame.get(HEADER..).unwrap_or_default();
        if self.taking().is_some() {
            return self.during_copy(tag, frame);
        }
        if self.skipping.is_some() && !matches!(tag, b'S' | b'X') {
            if tag == b'Q' && self.skipping_refused {
                return Err(ProtocolError::Client(QUERY_BEFORE_SYNC.into()));
            }
            return Ok(true);
        }
        match tag {
            b'Q' => self.query(body, frame).await,
            b'P' => self.parse(body, frame).await.map(|()| true),
            b'B' => self.bind(body, frame).await,
            b'D' => self.describe(body, frame),
            b'E' => self.execute(body, frame).await,
            b'C' => self.close(body, frame).map(|()| true),
            b'S' => {
                Fields::new(body).end().map_err(client)?;
                self.upstream.carry(Carried::Sync, frame);
                self.expected.push_back(Expect::Sync);
                self.group += 1;
                self.skipping = None;
                self.skipping_refused = false;
                self.settling |= std::mem::take(&mut self.settled) != Settled::Yes;
                Ok(true)
            }
            b'H' => {
                self.upstream.carry(Carried::Flush, frame);
                Ok(true)
            }
            b'F' => self.function_call(body, frame).await,
            b'X' => {
                self.goodbye = true;
                self.ask_for_answers();
                Ok(true)
            }
            // Left over from a COPY that has failed: the server drops it.
            b'c' | b'f' => Ok(true),
            other => Err(client(Broken::Unexpected(char::from(other)))),
        }
    }

    /// While the server takes data it wants its end, and does not answer Flush and Sync.
    fn during_copy(&mut self, tag: u8, frame: &[u8]) -> Result<bool, ProtocolError> {
        let carried = match tag {
            b'c' => Carried::CopyDone,
            b'f' => Carried::CopyFail,
            b'H' | b'S' => return Ok(true),
            b'X' => {
                self.goodbye = true;
                return Ok(true);
            }
            other => return Err(client(Broken::Unexpected(char::from(other)))),
        };
        self.upstream.carry(carried, frame);
        if let Some(step) = self.taking() {
            step.copy = match step.copy {
                // The server's half goes on until it ends that.
                Copy::Both => Copy::Out(None),
                Copy::No | Copy::In | Copy::Taken | Copy::Out(_) => Copy::Taken,
            };
        }
        if self.settling {
            self.ask_for_answers();
        }
        Ok(true)
    }

    /// A Query: refused as a whole if one of its statements is.
    async fn query(&mut self, body: &[u8], frame: &[u8]) -> Result<bool, ProtocolError> {
        let mut fields = Fields::new(body);
        let text = fields.text().map_err(client)?;
        fields.end().map_err(client)?;
        if self.must_settle() {
            return self.refuse_unsettled(text, true).await.map(|()| true);
        }
        let one_at_a_time = self.gate.enforced_budgets().is_some();
        if one_at_a_time && !self.expected.is_empty() {
            return Ok(false);
        }
        let (understood, own) = match self.general(text) {
            Some((understood, own)) => (understood, Some(own)),
            None if self.replication && is_replication_command(text) => {
                let text = String::from_utf8_lossy(text).into();
                (Arc::new(Understood::replication(text)), None)
            }
            None => (self.understand(text).await?, None),
        };
        if self.is_uncounted(&understood.statements, false, true).await {
            return Ok(true);
        }
        if self.needs_wrap(&understood.statements) {
            self.begin_wrap();
            return Ok(false);
        }
        let phase = StatementPhase::Execute;
        let asking = Asking { own, ..Asking::of(&understood) };
        let permits = match self.judge_text(&understood.statements, asking, phase, true).await {
            Judged::Permits(permits) => permits,
            Judged::Refused => {
                self.settling |= one_at_a_time;
                return Ok(true);
            }
            Judged::Held => return Ok(false),
        };
        self.group += 1;
        let mut steps = Vec::with_capacity(permits.len());
        for (statement, permit) in understood.statements.iter().zip(&permits) {
            let changes = self.changes(statement, &understood)?;
            self.note(permit.operation(), permit.masks());
            let mut step = Step::new(statement.clone(), permit.masks().clone(), None, changes);
            step.meter = self.meter(statement, None);
            step.keep = permit.keeping().map(|keeping| Box::new(Keep::new(keeping)));
            self.records |= step.keep.is_some();
            steps.push(step);
        }
        self.group += 1;
        // A Query ends what was begun before it, a Sync included.
        self.settling |= std::mem::take(&mut self.settled) != Settled::Yes;
        let running = self.upstream.forward(permits, frame);
        for (step, running) in steps.iter_mut().zip(running) {
            step.running = Some(running);
        }
        self.expected.push_back(Expect::Query { steps: steps.into(), failed: false });
        self.settling |= one_at_a_time;
        self.start_clock();
        Ok(true)
    }

    async fn parse(&mut self, body: &[u8], frame: &[u8]) -> Result<(), ProtocolError> {
        let mut fields = Fields::new(body);
        let name = self.name(fields.text().map_err(client)?)?;
        let text = fields.text().map_err(client)?;
        let mut types = Vec::new();
        for _ in 0..fields.count().map_err(client)? {
            let number = fields.int32().map_err(client)?;
            if self.keeps_types() {
                types.push(number);
            }
        }
        fields.end().map_err(client)?;
        if self.must_settle() {
            return self.refuse_unsettled(text, false).await;
        }
        let mut understood = self.understand(text).await?;
        if !types.is_empty() {
            understood = Arc::new(understood.with_types(types.into()));
        }
        let asking = Asking::default();
        let phase = StatementPhase::Prepare;
        let permits = match self.judge_text(&understood.statements, asking, phase, false).await {
            Judged::Permits(permits) => permits,
            // What is made ready waits for nobody.
            Judged::Refused | Judged::Held => return Ok(()),
        };
        for permit in &permits {
            self.reached |= permit.masks().reach;
            self.detect = permit.masks().detect;
        }
        let change = self
            .names
            .statements
            .propose(Some(name), Some(understood), self.group)
            .map_err(too_many)?;
        let running = self.upstream.forward(permits, frame);
        self.expected.push_back(Expect::Parse { running, change });
        Ok(())
    }

    async fn bind(&mut self, body: &[u8], frame: &[u8]) -> Result<bool, ProtocolError> {
        let mut fields = Fields::new(body);
        let portal = self.name(fields.text().map_err(client)?)?;
        let statement = self.name(fields.text().map_err(client)?)?;
        let values = fields.rest();
        for _ in 0..fields.count().map_err(client)? {
            fields.int16().map_err(client)?;
        }
        for _ in 0..fields.count().map_err(client)? {
            if let Ok(length) = usize::try_from(fields.int32().map_err(client)?) {
                fields.bytes(length).map_err(client)?;
            }
        }
        let values = values.get(..values.len() - fields.rest().len()).unwrap_or_default();
        for _ in 0..fields.count().map_err(client)? {
            fields.int16().map_err(client)?;
        }
        fields.end().map_err(client)?;
        let mut bound = None;
        let mut parameters = Parameters::Unknown;
        let source = match self.names.statements.find(&statement, self.group) {
            // Here its plan is made again if a definition has changed; the portal keeps the one it gets.
            Found::This(known) => {
                if self.likeness.is_some() {
                    bound = Bound::keep(known.types.clone(), values);
                }
                if self.gate.asks_people() {
                    let found = holding::parameters(known.types.as_deref(), values);
                    parameters = Parameters::Bound(Arc::new(found));
                }
                Some(self.shared.understanding.again(&known, &self.names).await?)
            }
            Found::Nothing => None,
            Found::Undecided => return Ok(false),
        };
        let bound = Portal {
            source,
            bound,
            parameters,
            columns: Arc::new(OnceLock::new()),
            described: false,
            used: Arc::default(),
            kept: Arc::default(),
        };
        let change =
            self.names.portals.propose(Some(portal), Some(bound), self.group).map_err(too_many)?;
        self.upstream.carry(Carried::Bind, frame);
        self.expected.push_back(Expect::Bind { change });
        Ok(true)
    }

    fn describe(&mut self, body: &[u8], frame: &[u8]) -> Result<bool, ProtocolError> {
        let mut fields = Fields::new(body);
        let kind = fields.byte().map_err(client)?;
        let name = self.name(fields.text().map_err(client)?)?;
        fields.end().map_err(client)?;
        let expect = match kind {
            b'S' => Expect::DescribeStatement,
            b'P' => {
                let columns = match self.names.portals.find(&name, self.group) {
                    Found::This(portal) => portal.columns,
                    Found::Nothing => Arc::default(),
                    Found::Undecided => return Ok(false),
                };
                self.names.portals.update(&name, |portal| portal.described = true);
                Expect::DescribePortal { columns, own: false }
            }
            _ => return Err(client(Broken::Malformed("a Describe of nothing that is known"))),
        };
        self.upstream.carry(Carried::Describe, frame);
        self.expected.push_back(expect);
        Ok(true)
    }

    async fn execute(&mut self, body: &[u8], frame: &[u8]) -> Result<bool, ProtocolError> {
        let mut fields = Fields::new(body);
        let wire_name = fields.text().map_err(client)?;
        let name = self.name(wire_name)?;
        let part = fields.int32().map_err(client)? > 0;
        fields.end().map_err(client)?;
        let one_at_a_time = self.gate.enforced_budgets().is_some();
        let portal = match self.names.portals.find(&name, self.group) {
            Found::This(portal) => portal,
            Found::Nothing => Portal {
                source: None,
                bound: None,
                parameters: Parameters::Unknown,
                columns: Arc::new(OnceLock::new()),
                described: false,
                used: Arc::default(),
                kept: Arc::default(),
            },
            Found::Undecided => return Ok(false),
        };
        let understood = match &portal.source {
            Some(source) => source.clone(),
            None => {
                let text = format!("EXECUTE of portal \"{name}\"").into();
                Arc::new(Understood::not(text, "EXECUTE", "the portal is not known"))
            }
        };
        if self.must_settle() {
            self.refuse_unsettled(understood.text.as_bytes(), false).await?;
            return Ok(true);
        }
        if self.is_uncounted(&understood.statements, part, false).await {
            return Ok(true);
        }
        let phase = StatementPhase::Execute;
        let asking = Asking {
            bound: portal.bound.as_ref(),
            parameters: portal.parameters.clone(),
            ..Asking::of(&understood)
        };
        let permits = match self.judge_text(&understood.statements, asking, phase, false).await {
            Judged::Permits(permits) => permits,
            Judged::Refused => return Ok(true),
            Judged::Held => return Ok(false),
        };
        let mut step = None;
        for (statement, permit) in understood.statements.iter().zip(&permits) {
            let changes = self.changes(statement, &understood)?;
            self.note(permit.operation(), permit.masks());
            let mut one = Step::new(statement.clone(), permit.masks().clone(), None, changes);
            one.meter = self.meter(statement, Some(&portal.used));
            let keeping = permit.keeping().map(|keeping| keeping.going_on(portal.kept.clone()));
            one.keep = keeping.map(|keeping| Box::new(Keep::new(keeping)));
            self.records |= one.keep.is_some();
            step = Some(Box::new(one));
        }
        if let Some(step) = &mut step {
            let plan = &step.plan;
            if !portal.described && (!plan.is_empty() || step.keep.is_some()) {
                // Rows come without a description: guard asks for one, and keeps the answer.
                self.upstream.describe_portal(wire_name);
                let columns = portal.columns.clone();
                self.expected.push_back(Expect::DescribePortal { columns, own: true });
                self.names.portals.update(&name, |portal| portal.described = true);
            }
            step.columns = Some(portal.columns);
        }
        let mut running = self.upstream.forward(permits, frame).into_iter();
        if let Some(step) = &mut step {
            step.running = running.next();
        }
        let counted = one_at_a_time && step.is_some();
        self.expected.push_back(Expect::Execute(step));
        self.budgeting.executed_in = Some(self.group);
        self.start_clock();
        if counted {
            self.ask_for_answers();
            self.settling = true;
        }
        Ok(true)
    }

    fn close(&mut self, body: &[u8], frame: &[u8]) -> Result<(), ProtocolError> {
        let mut fields = Fields::new(body);
        let kind = fields.byte().map_err(client)?;
        let name = Some(self.name(fields.text().map_err(client)?)?);
        fields.end().map_err(client)?;
        let group = self.group;
        let change = match kind {
            b'S' => self.names.statements.propose(name, None, group).map(Change::Statement),
            b'P' => self.names.portals.propose(name, None, group).map(Change::Portal),
            _ => return Err(client(Broken::Malformed("a Close of nothing that is known"))),
        };
        let change = change.map_err(too_many)?;
        self.upstream.carry(Carried::Close, frame);
        self.expected.push_back(Expect::Close { change });
        Ok(())
    }

    async fn function_call(&mut self, body: &[u8], frame: &[u8]) -> Result<bool, ProtocolError> {
        let oid = Fields::new(body).int32().map_err(client)?.cast_unsigned();
        let operation = Arc::new(guard_sql::fastpath(oid));
        let statement =
            Statement { operation, role: StatementRole::Plain, uncounted: false, follows: false };
        let statements = [Arc::new(statement)];
        if self.is_uncounted_call(&statements[0].operation).await {
            return Ok(true);
        }
        // Its arguments are the whole of the message.
        let parameters = if self.gate.asks_people() {
            Parameters::Bound(Arc::new(holding::arguments(body)))
        } else {
            Parameters::Unknown
        };
        let asking = Asking { parameters, ..Asking::default() };
        let phase = StatementPhase::Execute;
        let permits = match self.judge_text(&statements, asking, phase, true).await {
            Judged::Permits(permits) => permits,
            Judged::Refused => return Ok(true),
            Judged::Held => return Ok(false),
        };
        for permit in &permits {
            self.note(permit.operation(), permit.masks());
        }
        let running = self.upstream.forward(permits, frame);
        self.expected.push_back(Expect::FunctionCall { running });
        self.group += 1;
        Ok(true)
    }
}

/// Whether a server that replicates takes a text for one of its own commands: it looks at the first word. What
/// begins so is no SQL, of no version.
fn is_replication_command(text: &[u8]) -> bool {
    const COMMANDS: [&[u8]; 9] = [
        b"IDENTIFY_SYSTEM",
        b"READ_REPLICATION_SLOT",
        b"CREATE_REPLICATION_SLOT",
        b"ALTER_REPLICATION_SLOT",
        b"DROP_REPLICATION_SLOT",
        b"START_REPLICATION",
        b"TIMELINE_HISTORY",
        b"BASE_BACKUP",
        b"UPLOAD_MANIFEST",
    ];
    let text = text.trim_ascii_start();
    let end = text.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    let word = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
    COMMANDS.iter().any(|command| command.eq_ignore_ascii_case(word))
}
