//! Telling receivers of requests for people's approval: signed, again until it is taken, by whichever broker.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use guard_core::{ApprovalState, Timestamp};
use serde_json::{Value, json};

use super::Sessions;
use crate::{
    config::{Address, Form, Told, WebhookConfig, webhook_address},
    credentials::read_secret,
    error::{Refusal, chain},
    store::{ApprovalRow, Delivery, Vote},
};

/// The header of the signature.
pub(crate) const SIGNATURE: &str = "x-guard-signature";
/// The header that names a delivery.
const DELIVERY: &str = "x-guard-delivery";
/// A receiver that does not answer for this long is tried again.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long nobody else brings what a broker is bringing.
const CLAIM: Duration = Duration::from_secs(60);
/// Deliveries that are brought at once.
const CLAIMS: usize = 8;
/// Requests that are looked at at once.
const LOOKED_AT: u32 = 64;
/// Before the second attempt; twice as long before each other one.
const AGAIN: Duration = Duration::from_secs(2);
/// But not longer than this.
const AGAIN_MOST: Duration = Duration::from_secs(1800);
/// After so many attempts it is given up, about six hours after the first.
const MAX_TRIES: u64 = 20;
/// Characters of a statement that a message shows.
const MAX_TEXT: usize = 2_000;

impl Sessions {
    /// Brings receivers what they have to be told.
    pub(super) async fn look_after_webhooks(self: &Arc<Self>) -> Result<(), Refusal> {
        let config = self.config();
        for row in self.store.untold_approvals(LOOKED_AT).await? {
            let event = event_of(row.state);
            let wants =
                |hook: &&WebhookConfig| event.is_some_and(|event| hook.events.contains(&event));
            let hooks: Vec<_> =
                config.webhooks.iter().filter(wants).map(|hook| hook.name.as_str()).collect();
            self.store.tell(&row, event.map(Told::as_str), &hooks).await?;
        }
        if config.webhooks.is_empty() {
            return Ok(());
        }
        for delivery in self.store.claim_deliveries(CLAIM, CLAIMS).await? {
            let sessions = self.clone();
            let hook = config.webhooks.iter().find(|hook| hook.name == delivery.webhook).cloned();
            self.tasks.spawn(async move {
                if let Err(error) = sessions.bring(&delivery, hook).await {
                    tracing::warn!(error = error.reason(), "cannot note what became of a webhook");
                }
            });
        }
        Ok(())
    }

    async fn bring(&self, delivery: &Delivery, hook: Option<WebhookConfig>) -> Result<(), Refusal> {
        let row = self.store.approval(delivery.approval).await?;
        let (Some(row), Some(hook)) = (row, hook) else {
            // The receiver or the request is not there any more.
            return Ok(self.store.delivered(&delivery.id).await?);
        };
        let votes = self.store.votes(row.id).await?;
        let address = self.address(row.id);
        let body = match hook.form {
            Form::Json => plain(delivery, &row, &votes, &address, hook.include_text),
            Form::Slack => slack(delivery, &row, &votes, &address, hook.include_text),
        };
        match send(&hook, &delivery.id, body.to_string()).await {
            Ok(()) => self.store.delivered(&delivery.id).await?,
            Err(problem) if delivery.tries >= MAX_TRIES => {
                tracing::error!(webhook = hook.name, problem, "a webhook is given up");
                self.store.delivered(&delivery.id).await?;
            }
            Err(problem) => {
                let doublings = u32::try_from(delivery.tries.saturating_sub(1)).unwrap_or(u32::MAX);
                let again = AGAIN.saturating_mul(2_u32.saturating_pow(doublings)).min(AGAIN_MOST);
                tracing::warn!(
                    webhook = hook.name,
                    tries = delivery.tries,
                    problem,
                    "a webhook is not taken"
                );
                self.store.not_delivered(&delivery.id, &problem, again).await?;
            }
        }
        Ok(())
    }
}

const fn event_of(state: ApprovalState) -> Option<Told> {
    match state {
        ApprovalState::Waiting => Some(Told::Asked),
        ApprovalState::Granted | ApprovalState::Refused => Some(Told::Decided),
        ApprovalState::Expired => Some(Told::Expired),
        ApprovalState::Used | ApprovalState::Cancelled => None,
    }
}

/// Brings one body. The problem names no secret and no address, which may be one.
async fn send(hook: &WebhookConfig, id: &str, body: String) -> Result<(), String> {
    let url = match &hook.url {
        Address::Plain(url) => url.clone(),
        Address::Secret(source) => {
            let text = read_secret(source).await.map_err(|error| error.0)?;
            webhook_address(text.expose().trim())
                .ok_or_else(|| "what `url` names is no address of a receiver".to_owned())?
        }
    };
    let mut http = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("guard-broker/", env!("CARGO_PKG_VERSION")));
    if url.scheme() == "http" {
        http = http.no_proxy();
    }
    let http = http.build().map_err(|_| "no client can be made".to_owned())?;
    let mut request =
        http.post(url).header("content-type", "application/json").header(DELIVERY, id);
    if let Some(source) = &hook.secret {
        let secret = read_secret(source).await.map_err(|error| error.0)?;
        let now = Timestamp::now().as_second();
        request = request.header(SIGNATURE, signature(secret.expose(), now, &body));
    }
    let answer = request.body(body).send().await.map_err(|error| {
        if error.is_timeout() {
            "it did not answer in time".to_owned()
        } else {
            chain(&error.without_url())
        }
    })?;
    // What it says besides is of no interest, and is not read.
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(format!("it answered with status {}", answer.status()))
    }
}

/// `t=…,v1=…`: HMAC-SHA256 over the time, a full stop and the body.
pub(crate) fn signature(secret: &str, at: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{at}.{body}").as_bytes());
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={digits}")
}

fn plain(
    delivery: &Delivery,
    row: &ApprovalRow,
    votes: &[Vote],
    address: &str,
    include_text: bool,
) -> Value {
    let said = votes.iter().map(
        |vote| json!({ "person": vote.person, "granted": vote.granted, "reason": vote.reason }),
    );
    let mut approval = json!({
        "id": row.id,
        "state": row.state,
        "address": address,
        "session": row.session,
        "resource": row.resource,
        "policy": row.policy,
        "asks": row.terms,
        "wait": row.wait,
        "asked_at": row.asked_at,
        "until": row.until,
        "what": row.what,
        "run": {
            "repository": row.identity.repository,
            "git_ref": row.identity.git_ref,
            "event": row.identity.event,
            "actor": row.identity.actor,
            "run_url": row.identity.run_url,
        },
        "said": said.collect::<Vec<_>>(),
    });
    if include_text && let Some(approval) = approval.as_object_mut() {
        approval.insert("text".into(), row.subject.text.clone().into());
        approval.insert("parameters".into(), json!(row.subject.parameters));
    }
    json!({ "id": delivery.id, "event": format!("approval.{}", delivery.event), "approval": approval })
}

/// <https://docs.slack.dev/reference/block-kit/blocks>: a section, what it is about, and a link.
fn slack(
    delivery: &Delivery,
    row: &ApprovalRow,
    votes: &[Vote],
    address: &str,
    include_text: bool,
) -> Value {
    let who = votes.last().map(|vote| escaped(&vote.person.name)).unwrap_or_default();
    let title = match (delivery.event.as_str(), row.state) {
        ("asked", _) => "Approval wanted".to_owned(),
        ("expired", _) => "Nobody decided in time".to_owned(),
        (_, ApprovalState::Refused) => format!("Refused by {who}"),
        (_, _) => format!("Approved by {who}"),
    };
    let repository = escaped(&row.identity.repository);
    let what = escaped(&row.what.replace('`', "'"));
    let mut blocks = vec![json!({
        "type": "section",
        "text": { "type": "mrkdwn", "text": format!("*{title}*\n{what} on {} for {repository}", row.resource) },
    })];
    if include_text {
        let text: String = row.subject.text.chars().take(MAX_TEXT).collect();
        let text = escaped(&text.replace("```", "'''"));
        blocks.push(json!({
            "type": "section",
            "text": { "type": "mrkdwn", "text": format!("```{text}```") },
        }));
    }
    let about = format!(
        "{} · started by {} ({}) · until {}",
        escaped(&row.identity.git_ref),
        escaped(&row.identity.actor),
        escaped(&row.identity.event),
        row.until.strftime("%Y-%m-%d %H:%M UTC"),
    );
    blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": about }] }));
    blocks.push(json!({
        "type": "actions",
        "elements": [{
            "type": "button", "url": address,
            "text": { "type": "plain_text", "text": "Look at it" },
        }],
    }));
    json!({ "text": format!("{title}: {what} for {repository}"), "blocks": blocks })
}

/// Slack's control characters (<https://docs.slack.dev/messaging/formatting-message-text#escaping>), so that nothing of a
/// job's is a link or a mention; and no marks of style.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}
