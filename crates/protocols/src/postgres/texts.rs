//! The client's bytes to texts, and texts to what is known of them.

use std::sync::Arc;

use super::{
    definitions::Definitions,
    encoding::{Reading, is_plain},
    refusing::UNSETTLED,
    session::Session,
    settled::Settled,
    understood::Understood,
};
use crate::ProtocolError;

impl Session {
    /// What a text is, as far as it can be read.
    pub(super) async fn understand(
        &mut self,
        text: &[u8],
    ) -> Result<Arc<Understood>, ProtocolError> {
        if self.settled != Settled::Yes && !is_plain(text) {
            let text = String::from_utf8_lossy(text).into();
            return Ok(Arc::new(Understood::not(text, "?", UNSETTLED)));
        }
        match self.reading.statement(text) {
            Ok(text) => self.shared.understanding.read(&text, &self.names).await,
            Err(why) => {
                let text = String::from_utf8_lossy(text).into();
                Ok(Arc::new(Understood::not(text, "?", &why.to_string())))
            }
        }
    }

    /// What a text is as one of those that differ in literals only, if that is known and simply allowed;
    /// and the text. Whatever else there is to say of a text is said of the text itself.
    pub(super) fn general(&self, text: &[u8]) -> Option<(Arc<Understood>, Arc<str>)> {
        let usual = self.settled == Settled::Yes && self.reading == Reading::default();
        if !usual || self.replication || self.changed != Definitions::Unchanged {
            return None;
        }
        let text = self.reading.statement(text).ok()?;
        let general = self.shared.understanding.general(&text)?;
        let allowed = self.uncounted(&general.statements, false, true).is_none()
            && general.statements.iter().all(|one| self.gate.would_allow(&one.operation));
        allowed.then(|| (general, text.into()))
    }
}
