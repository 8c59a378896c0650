//! Sessions that are opened at the same time are stored together, where the store is a file.
//!
//! SQLite has one writer, and each commit waits for the disk. So whoever has the turn stores for all that wait, in one
//! transaction, each within a savepoint: what one is refused for does not touch the others. Nobody is answered before the commit.
//! PostgreSQL does this by itself, for the commits of its connections.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Connection as _;
use tokio::sync::oneshot;

use super::{NewSession, Store, StoreError, sessions::Opening};

/// Sessions of one transaction at most.
const MAX_TOGETHER: usize = 64;

type Waiting = (NewSession, oneshot::Sender<Opening>);

/// Sessions that wait to be stored.
#[derive(Debug, Clone, Default)]
pub(super) struct Together {
    waiting: Arc<Mutex<Vec<Waiting>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Together {
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let many = waiting.len().min(MAX_TOGETHER);
        waiting.drain(..many).collect()
    }
}

impl Store {
    /// Stores a session, with others that wait.
    pub(super) async fn open_together(&self, new: NewSession) -> Result<Opening, StoreError> {
        let (answer, mut answered) = oneshot::channel();
        let waiting = || self.together.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting().push((new, answer));
        let _turn = self.together.turn.lock().await;
        loop {
            match answered.try_recv() {
                // Who had the turn before has stored it, or could not.
                Ok(opening) => return Ok(opening),
                Err(oneshot::error::TryRecvError::Closed) => return Err(failed()),
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let (store, batch) = (self.clone(), self.together.take());
            // A caller that goes away does not take the others' sessions with it.
            let stored = tokio::spawn(async move { store.open_all(batch).await });
            stored.await.map_err(|error| StoreError::Row(error.to_string()))??;
        }
    }

    async fn open_all(&self, batch: Vec<Waiting>) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let mut answers = Vec::with_capacity(batch.len());
        for (new, answer) in batch {
            let mut part = transaction.begin().await?;
            let opening = self.open_in(&new, &mut part).await?;
            match opening {
                Opening::Done => part.commit().await?,
                Opening::TokenUsed | Opening::RunLives => part.rollback().await?,
            }
            answers.push((answer, opening));
        }
        transaction.commit().await?;
        for (answer, opening) in answers {
            // Who does not wait any more is not told.
            let _ = answer.send(opening);
        }
        Ok(())
    }
}

fn failed() -> StoreError {
    StoreError::Row("the sessions that were stored together could not be stored".into())
}
