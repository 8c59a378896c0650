//! Nothing goes to the client that the policy records and the record does not take.

use std::time::Duration;

use tokio::time::timeout;

use super::{expect::Expect, session::Session};
use crate::ProtocolError;

/// How long the record may take for the last that a connection says.
const LAST_ENTRIES: Duration = Duration::from_secs(2);

impl Session {
    /// Waits until all that goes to the client next is on its way into the record. If the record does not take it, the client
    /// does not get it.
    pub(super) async fn record(&mut self) -> Result<(), ProtocolError> {
        if !self.records {
            return Ok(());
        }
        if let Some(step) = self.expected.front_mut().and_then(Expect::step)
            && let Some(keep) = &mut step.keep
        {
            keep.flush();
        }
        self.note_output();
        match self.gate.recorded().await {
            Ok(()) => {
                self.release_output();
                Ok(())
            }
            Err(error) => {
                self.client.output.truncate(self.released);
                Err(ProtocolError::Guard(error.to_string()))
            }
        }
    }

    /// The same at the end of a connection, which does not wait for long.
    pub(super) async fn record_last(&mut self) {
        let released = self.released;
        if !matches!(timeout(LAST_ENTRIES, self.record()).await, Ok(Ok(()))) {
            self.client.output.truncate(released);
        }
        self.release_output();
    }

    /// Keeps what goes to the client and was not kept yet.
    pub(super) fn note_output(&mut self) {
        if let Some(traffic) = &mut self.traffic {
            let put = self.client.output.get(self.noted..).unwrap_or_default();
            traffic.to_client(&self.gate, put);
            self.noted = self.client.output.len();
        }
    }

    /// What waits for the client now may go: it is on its way into the record.
    pub(super) fn release_output(&mut self) {
        self.released = self.client.output.len();
        self.noted = self.released;
    }

    /// Keeps the next bytes that the client sent, of a message that is not read whole.
    pub(super) fn note_copying(&mut self, part: usize) {
        if let Some(traffic) = self.traffic.as_mut().filter(|_| part > 0) {
            let sent = self.client.input.get(..part).unwrap_or_default();
            traffic.values_from_client(&self.gate, sent);
        }
    }

    /// Keeps a message of the client's.
    pub(super) fn note_input(&mut self, tag: u8, frame: &[u8]) {
        if let Some(traffic) = &mut self.traffic {
            match tag {
                b'B' | b'F' | b'd' => traffic.values_from_client(&self.gate, frame),
                _ => traffic.from_client(&self.gate, frame),
            }
        }
    }
}
