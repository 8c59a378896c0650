//! Bytes of a connection on their way into the record, where the policy keeps them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_audit::{Event, Side};
use guard_core::Sensitive;

use crate::Gate;

/// Bytes of one event, at most.
const CHUNK: usize = 64 << 10;

/// Keeps what both sides of one connection send, up to the policy's limit for each.
#[derive(Debug, Default)]
pub struct Traffic {
    client: Direction,
    server: Direction,
}

#[derive(Debug, Default)]
struct Direction {
    offset: u64,
    kept: u64,
    full: bool,
}

impl Gate {
    /// Where bytes are kept, if the policy keeps them: asked once, when the connection begins.
    pub fn traffic(&self) -> Option<Traffic> {
        self.session.policy.borrow().records_traffic().map(|_| Traffic::default())
    }

    /// Whether rows of some answers may have to be kept.
    pub fn records_rows(&self) -> bool {
        self.session.policy.borrow().records_rows()
    }

    /// Waits until the record has room again. Nothing that was kept may go to the client before.
    ///
    /// Cancel-safe.
    pub async fn recorded(&self) -> Result<(), crate::RecordUnavailable> {
        self.session.recorder.append(Vec::new(), crate::Durability::Queued).await
    }
}

impl Traffic {
    /// Keeps bytes as they go to the client.
    pub fn to_client(&mut self, gate: &Gate, bytes: &[u8]) {
        self.server.keep(gate, Side::Server, bytes);
    }

    /// Keeps a message as the client sent it.
    pub fn from_client(&mut self, gate: &Gate, bytes: &[u8]) {
        self.client.keep(gate, Side::Client, bytes);
    }

    /// Notes that the client sent values: where the policy hides any from it, they may be such, so only their length is kept.
    /// No digest: who guesses a value could compare it.
    pub fn values_from_client(&mut self, gate: &Gate, bytes: &[u8]) {
        if gate.session.policy.borrow().hides_values() {
            self.client.withhold(gate, bytes.len() as u64);
        } else {
            self.client.keep(gate, Side::Client, bytes);
        }
    }
}

impl Direction {
    fn keep(&mut self, gate: &Gate, from: Side, bytes: &[u8]) {
        // Another policy may have come: what it does not keep is not kept.
        let limit = gate.session.policy.borrow().records_traffic();
        for part in bytes.chunks(CHUNK) {
            let (offset, length) = (self.offset, part.len() as u64);
            self.offset += length;
            let Some(limit) = limit else { continue };
            if self.full {
                continue;
            }
            let fits = self.kept + length <= limit;
            self.full = !fits;
            self.kept += if fits { length } else { 0 };
            let data = fits.then(|| Sensitive::new(STANDARD.encode(part)));
            let connection = gate.connection();
            let truncated = !fits;
            let event = Event::Traffic { connection, from, offset, length, data, truncated };
            gate.session.recorder.note(event);
        }
    }

    fn withhold(&mut self, gate: &Gate, length: u64) {
        let offset = self.offset;
        self.offset += length;
        if self.full || gate.session.policy.borrow().records_traffic().is_none() {
            return;
        }
        gate.session.recorder.note(Event::Traffic {
            connection: gate.connection(),
            from: Side::Client,
            offset,
            length,
            data: None,
            truncated: false,
        });
    }
}
