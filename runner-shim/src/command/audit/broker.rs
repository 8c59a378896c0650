//! Asking a broker for what its log proves. What it answers is checked like a file from anywhere.

use guard_audit::tlog::{Consistency, Proof};
use guard_engine::{
    control::ControlError,
    http::{BrokerClient, BrokerUrl},
};

use super::Unusable;

/// The proof that the tree of one size holds all of a smaller one.
pub(super) fn consistency(url: &str, from: u64, to: u64) -> Result<Consistency, Unusable> {
    let text = ask(url, async |client| client.log_consistency(from, to).await)?;
    Consistency::parse(&text).ok_or_else(|| garbled(url, "no proof of consistency"))
}

/// The proof of the newest key's leaf, which holds the newest checkpoint and all keys.
pub(super) fn newest(url: &str) -> Result<Proof, Unusable> {
    let text = ask(url, async |client| client.log_key_proof().await)?;
    Proof::parse(&text).map_err(|error| garbled(url, &error.to_string()))
}

fn ask(
    url: &str,
    what: impl AsyncFnOnce(BrokerClient) -> Result<String, ControlError>,
) -> Result<String, Unusable> {
    let failed = |why: String| Unusable::Broker { url: url.to_owned(), why };
    let address = BrokerUrl::parse(url).map_err(|error| failed(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(error.to_string()))?;
    let client = BrokerClient::new(address).map_err(|error| failed(error.to_string()))?;
    runtime.block_on(what(client)).map_err(|error| failed(error.to_string()))
}

fn garbled(url: &str, why: &str) -> Unusable {
    Unusable::Broker { url: url.to_owned(), why: format!("its answer is {why}") }
}
