//! Keeps the broker told where this gateway is, also after the broker was started again.

use std::time::Duration;

use guard_core::control::{EnrolGateway, RegisterGateway};
use tokio::time::sleep;

use crate::http::BrokerClient;

/// How often a gateway shows that it is still there.
const EVERY: Duration = Duration::from_secs(10);
/// Between two tries while the broker does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Shows the broker the token that lets this gateway in, until the broker says yes or no. After a no the gateway goes on: its key
/// may have been let in before.
pub async fn enrol(broker: &BrokerClient, token: &EnrolGateway) {
    let mut failing = false;
    loop {
        match broker.enrol(token).await {
            Ok(()) => {
                tracing::info!("the broker let this gateway in");
                return;
            }
            Err(error) if error.is_transient() => {
                if !failing {
                    tracing::warn!(%error, "the token cannot be shown to the broker; trying on");
                }
                failing = true;
                sleep(RETRY).await;
            }
            Err(error) => {
                tracing::error!(%error, "the broker did not take the token");
                return;
            }
        }
    }
}

/// Registers now and then, for ever. `first` is called once, when the broker knows the gateway.
pub async fn keep_registered(
    broker: &BrokerClient,
    gateway: &RegisterGateway,
    first: impl FnOnce(),
) {
    let mut first = Some(first);
    let mut failing = false;
    loop {
        match broker.register(gateway).await {
            Ok(()) => {
                if let Some(first) = first.take() {
                    first();
                }
                if failing {
                    tracing::info!("registered again");
                }
                failing = false;
                sleep(EVERY).await;
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "this gateway cannot be registered; trying on");
                }
                failing = true;
                sleep(RETRY).await;
            }
        }
    }
}
