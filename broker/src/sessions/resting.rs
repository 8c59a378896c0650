//! Records that rest: compressed.

use std::io;

use super::Sessions;
use crate::{
    error::Refusal,
    record::{RecordError, Records},
};

impl Sessions {
    /// What is to be done to records every minute.
    pub(super) async fn look_after_records(&self) {
        if let Err(error) = self.compress_rested().await {
            tracing::warn!(error = error.reason(), "cannot compress the records that rest");
        }
    }

    /// Compresses sealed records that grew in the folder and rest.
    pub(crate) async fn compress_rested(&self) -> Result<(), Refusal> {
        let Records::Files(files) = &self.records else { return Ok(()) };
        let listed = files.clone();
        let rested = tokio::task::spawn_blocking(move || listed.rested()).await;
        let rested = rested.map_err(io::Error::other).flatten().map_err(RecordError::from)?;
        for (id, state) in self.store.states(&rested).await? {
            if !state.sealed {
                continue;
            }
            let files = files.clone();
            let done = tokio::task::spawn_blocking(move || files.compress(id)).await;
            done.map_err(io::Error::other).flatten().map_err(RecordError::from)?;
        }
        Ok(())
    }
}
