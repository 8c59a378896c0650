//! Keeps the broker told where this gateway is, also after the broker was started again.

use std::{path::Path, time::Duration};

use guard_core::{
    Digest, Secret,
    control::{EnrolGateway, RegisterGateway},
};
use tokio::time::sleep;
use zeroize::Zeroizing;

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

/// Shows the broker identity tokens until one of them lets this gateway in. They are made anew by whoever writes the file, so each try
/// reads it again, and one that was refused is not shown twice.
pub async fn enrol_by_identity(broker: &BrokerClient, file: &Path) {
    let mut refused = None;
    let mut failing = false;
    loop {
        let wait = match tokio::fs::read_to_string(file).await {
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    let file = file.display();
                    tracing::warn!(%error, %file, "no identity token can be read; trying on");
                }
                RETRY
            }
            Ok(text) => {
                let text = Zeroizing::new(text);
                let digest = Digest::of(text.trim());
                if refused == Some(digest) {
                    RETRY
                } else {
                    match broker.enrol(&EnrolGateway { token: Secret::new(text.trim()) }).await {
                        Ok(()) => {
                            tracing::info!("the broker let this gateway in");
                            return;
                        }
                        Err(error) if error.is_transient() => {
                            if !std::mem::replace(&mut failing, true) {
                                tracing::warn!(%error, "the identity token cannot be shown to the broker; trying on");
                            }
                            RETRY
                        }
                        Err(error) => {
                            // The key may have been let in before.
                            tracing::error!(%error, "the broker did not take the identity token");
                            refused = Some(digest);
                            RETRY
                        }
                    }
                }
            }
        };
        sleep(wait).await;
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
