//! Cancel keys: clients get a secret of guard's own, and a CancelRequest is passed on with the server's.
//! The process id is the server's, as `pg_backend_pid()` and notifications tell it.
//!
//! <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS>

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{BufMut as _, BytesMut};
use rand::Rng as _;
use subtle::ConstantTimeEq as _;

use super::{frame::put_sized, waiting::SharedBell};

/// The code in place of a protocol version that makes a start-up packet a CancelRequest.
pub(super) const CANCEL_REQUEST: i32 = 80_877_102;

/// The minor version of protocol 3 from which on a secret may have more than 4 bytes; PostgreSQL's own then has 32.
const LONG_SECRETS_SINCE: u16 = 2;

/// Process id and secret of one connection, of 4 bytes in protocol 3.0 and up to 256 in 3.2.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct CancelKey {
    pub(super) process: i32,
    pub(super) secret: Vec<u8>,
}

/// Guard's keys and the server's keys that they stand for.
#[derive(Default)]
pub(super) struct CancelKeys {
    known: Mutex<HashMap<i32, (CancelKey, CancelKey, SharedBell)>>,
}

/// One connection's key; it means nothing any more when this is dropped.
pub(super) struct Registered {
    keys: Arc<CancelKeys>,
    /// The key that the client is told.
    pub(super) own: CancelKey,
    /// Rings when the client takes back what waits for people.
    pub(super) bell: SharedBell,
}

impl CancelKey {
    /// The CancelRequest with this key.
    pub(super) fn request(&self) -> BytesMut {
        let mut out = BytesMut::new();
        put_sized(&mut out, |out| {
            out.put_i32(CANCEL_REQUEST);
            out.put_i32(self.process);
            out.put_slice(&self.secret);
        });
        out
    }
}

impl CancelKeys {
    /// Makes a key for a connection whose server gave it `server`, for a client that speaks this minor version of
    /// the protocol: its length need not be that of the server's.
    pub(super) fn register(self: &Arc<Self>, server: CancelKey, minor: u16) -> Registered {
        let mut random = rand::rng();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken only where a connection that is just ending has it still.
        let mut process = server.process;
        while known.contains_key(&process) {
            process = random.random_range(1..i32::MAX);
        }
        let secret = if minor >= LONG_SECRETS_SINCE {
            random.random::<[u8; 32]>().to_vec()
        } else {
            random.random::<[u8; 4]>().to_vec()
        };
        let own = CancelKey { process, secret };
        let bell = SharedBell::default();
        known.insert(process, (own.clone(), server, bell.clone()));
        Registered { keys: self.clone(), own, bell }
    }

    /// The server's key behind a key that a client shows, and the bell of its connection.
    pub(super) fn find(&self, shown: &CancelKey) -> Option<(CancelKey, SharedBell)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (own, server, bell) = known.get(&shown.process)?;
        bool::from(own.secret.ct_eq(&shown.secret)).then(|| (server.clone(), bell.clone()))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut known = self.keys.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&self.own.process);
    }
}
