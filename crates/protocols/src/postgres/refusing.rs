//! What a client sent and does not go on: refused at its place in the stream.

use std::sync::Arc;

use guard_core::{Denial, DenialCode, Operation, Protocol};
use guard_sql::Statement;

use super::{
    expect::Expect,
    frame::{Broken, Header},
    session::Session,
    startup::client,
    upstream,
};
use crate::ProtocolError;

/// Why a text is not read that is behind a setting in one batch.
pub(super) const UNSETTLED: &str =
    "a setting that changes how statements are read may have come before it";

impl Session {
    /// Whether a message is refused because what it uses of budgets would be known too late. `part`: not all of
    /// its result is asked for.
    pub(super) async fn is_uncounted(
        &mut self,
        statements: &[Arc<Statement>],
        part: bool,
        simple: bool,
    ) -> bool {
        let Some((operation, detail, hint)) = self.uncounted(statements, part, simple) else {
            return false;
        };
        self.refuse_uncounted(&operation, detail, hint, simple).await;
        true
    }

    /// Whether a function call message is refused: it has no rows to be counted, and no clock.
    pub(super) async fn is_uncounted_call(&mut self, operation: &Arc<Operation>) -> bool {
        if self.gate.enforced_budgets().is_none() {
            return false;
        }
        let detail = "what a function call message returns or changes is not counted, nor its time";
        self.refuse_uncounted(operation, detail, "call the function in a SELECT", true).await;
        true
    }

    async fn refuse_uncounted(
        &mut self,
        operation: &Arc<Operation>,
        detail: &str,
        hint: &str,
        simple: bool,
    ) {
        let code = DenialCode::BudgetUncounted;
        let denial = self.gate.refuse(operation, code, detail.to_owned(), hint).await;
        self.refuse(Box::new(denial), simple);
    }

    /// Sends what fails in place of what is refused: then the server is where the client believes it is,
    /// and the refusal comes when its turn comes.
    pub(super) fn refuse(&mut self, denial: Box<Denial>, simple: bool) {
        self.shared.resource.refused(&denial);
        if simple {
            self.upstream.own_words(&upstream::poisoned_query());
            self.group += 1;
        } else {
            self.upstream.own_words(&upstream::poisoned_parse());
        }
        self.expected.push_back(Expect::Refused { denial, simple, told: false });
    }

    /// A message that is too large to be read whole is refused, unread.
    pub(super) async fn too_large(
        &mut self,
        header: Header,
        max: usize,
    ) -> Result<(), ProtocolError> {
        let simple = match header.tag {
            b'Q' | b'F' => true,
            b'P' | b'B' => false,
            other => {
                let length = u32::try_from(header.body).unwrap_or(u32::MAX);
                return Err(client(Broken::Length(char::from(other), length)));
            }
        };
        if self.taking().is_some() {
            return Err(client(Broken::Unexpected(char::from(header.tag))));
        }
        let text = format!("a message of {} bytes", header.body);
        let detail = format!("it has {} bytes, and no more than {max} are read", header.body);
        let hint = "send smaller statements, or load data with COPY";
        self.refuse_unread(text.into(), DenialCode::TooLarge, detail, hint, simple).await;
        self.discarding = header.whole();
        Ok(())
    }

    pub(super) async fn refuse_unsettled(
        &mut self,
        text: &[u8],
        simple: bool,
    ) -> Result<(), ProtocolError> {
        let text = String::from_utf8_lossy(text).into();
        let detail = UNSETTLED.to_owned();
        let hint = "send a Sync behind the setting";
        self.refuse_unread(text, DenialCode::NotUnderstood, detail, hint, simple).await;
        Ok(())
    }

    pub(super) async fn refuse_unread(
        &mut self,
        text: Arc<str>,
        code: DenialCode,
        detail: String,
        hint: &str,
        simple: bool,
    ) {
        let operation = Operation::unparsed(Protocol::Postgres, "?", text, &detail);
        let denial = self.gate.refuse(&Arc::new(operation), code, detail, hint).await;
        self.refuse(Box::new(denial), simple);
    }
}
