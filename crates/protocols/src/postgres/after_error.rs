//! An error of the server's: what it answers, and what will not be answered any more.

use bytes::BytesMut;

use super::{
    expect::{Copy, Expect, Step},
    frame::Fields,
    refuse,
    session::{QUERY_BEFORE_SYNC, Session},
};
use crate::ProtocolError;

/// The error of guard's own statement that stands in place of a refused one: `syntax_error`.
const POISONED: &[u8] = b"42601";
/// The same of a server that replicates and has no database: it takes no SQL, not even to parse it.
const POISONED_IN_REPLICATION: &[u8] = b"0A000";

impl Session {
    /// An ErrorResponse.
    pub(super) fn error(&mut self, body: &[u8], frame: &BytesMut) -> Result<(), ProtocolError> {
        let code = sqlstate(body);
        let code = code.as_deref().unwrap_or("XX000");
        let ended = self.budgeting.take_ended(code).or_else(|| self.error_is_over(code, body));
        let code = ended.as_ref().map_or(code, |ended| refuse::sqlstate(&ended.denial));
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
            Expect::Own(own) => {
                let own = *own;
                self.expected.push_front(front);
                if !self.own_failed(own, code)? {
                    return Ok(());
                }
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
        if let Some(ended) = ended {
            refuse::denied(&mut self.client.output, &ended.denial);
            return Ok(());
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
            | Expect::Own(_)
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
