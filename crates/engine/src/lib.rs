//! The data path's shell: sockets, TLS, dialing, tunnels, session life, the stream into the record.
//!
//! What a statement means and whether it may pass is decided elsewhere; here bytes move, deadlines
//! pass and sessions end. The same [`session::ServedSession`] runs in a gateway and in the shim.

mod approvals;
pub mod control;
pub mod egress;
pub mod end;
pub mod exchange;
#[cfg(test)]
mod fake;
pub mod gateway;
pub mod http;
pub mod keys;
mod pipe;
mod recorder;
pub mod resource;
pub mod session;
pub mod threads;
mod tls;
pub mod tunnel;

pub use guard_protocols::http::{NoRequest, describe};
pub use guard_protocols::{
    Arrival, BEGINNING, Beginnings, ClientAuth, ClientIo, MASKED_ADDRESS, TurnedAway, alarm,
    places, secret_at, turn_away,
};
pub use pipe::carry;
pub use tls::{TlsError, install_crypto_provider, java::java_store, system_authorities};
