//! The end of a session at this enforcement point: said once, heard by everybody.

use std::sync::Arc;

use guard_core::EndReason;
use tokio::sync::watch;

/// Ends a session at this enforcement point, once: the first reason counts.
#[derive(Clone, Default)]
pub struct EndSignal(Arc<watch::Sender<Option<EndReason>>>);

impl EndSignal {
    /// Ends it.
    pub fn end(&self, reason: EndReason) {
        self.0.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(reason);
            }
            first
        });
    }

    /// To look at or wait for the end.
    pub fn subscribe(&self) -> watch::Receiver<Option<EndReason>> {
        self.0.subscribe()
    }

    /// Waits for the end.
    pub async fn ended(&self) -> EndReason {
        let mut ended = self.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or(EndReason::Lost),
            Err(_) => EndReason::Lost,
        }
    }
}
