//! Answers of guard's own, as problem details (RFC 9457).

use bytes::Bytes;
use guard_core::{Denial, DenialCode, EndReason};
use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::TurnedAway;

/// What is encoded in a message of gRPC.
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

const PROBLEM: &str = "application/problem+json";

/// What a client is told instead of an answer of the resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    members: Map<String, Value>,
}

impl Refusal {
    fn new(status: StatusCode, title: &str) -> Self {
        let mut members = Map::new();
        members.insert("title".into(), json!(title));
        members.insert("status".into(), json!(status.as_u16()));
        Self { status, members }
    }

    /// A refusal of the gate's.
    pub(super) fn denied(denial: &Denial) -> Self {
        Self::denied_with(status(denial), denial)
    }

    /// The same, of what is not sound as a request.
    pub(super) fn unsound(denial: &Denial) -> Self {
        Self::denied_with(StatusCode::BAD_REQUEST, denial)
    }

    fn denied_with(status: StatusCode, denial: &Denial) -> Self {
        let mut new = Self::new(status, &denial.to_string());
        for (name, value) in [
            ("code", Some(denial.code.number())),
            ("rule", Some(denial.rule.as_str())),
            ("policy", Some(denial.policy.as_str())),
            ("detail", denial.detail.as_deref()),
            ("hint", denial.hint.as_deref()),
        ] {
            if let Some(value) = value {
                new.members.insert(name.into(), json!(value));
            }
        }
        new
    }

    /// The session is over.
    pub(super) fn over(reason: EndReason) -> Self {
        let mut new =
            Self::new(StatusCode::UNAUTHORIZED, &format!("the session is over: {reason}"));
        new.members.insert("code".into(), json!(DenialCode::SessionOver.number()));
        new
    }

    /// The resource gave no answer that could go on.
    pub(super) fn no_answer(title: &str) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, title)
    }

    /// The body of the request did not come.
    pub(super) fn incomplete() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "the body of the request did not come to its end")
    }

    /// The answer came and cannot be looked into.
    pub(super) fn unreadable(why: &str) -> Self {
        let title = format!("the answer is refused: {why} ({})", DenialCode::Mask.number());
        let mut new = Self::new(StatusCode::BAD_GATEWAY, &title);
        new.members.insert("code".into(), json!(DenialCode::Mask.number()));
        new
    }

    /// A client that cannot be served.
    pub(super) fn turned_away(why: TurnedAway, message: &str) -> Self {
        let status = match why {
            TurnedAway::Unreachable => StatusCode::BAD_GATEWAY,
            TurnedAway::SessionOver => StatusCode::UNAUTHORIZED,
            TurnedAway::TooMany => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, message)
    }

    /// A client that did not show that it belongs to the run.
    pub(super) fn stranger() -> Self {
        Self::new(StatusCode::FORBIDDEN, "this address is for programs of the run's own user")
    }

    fn body(&self) -> String {
        Value::Object(self.members.clone()).to_string()
    }

    /// The answer.
    pub(super) fn answer<B: From<Bytes>>(&self) -> Response<B> {
        let mut answer = Response::new(Bytes::from(self.body()).into());
        *answer.status_mut() = self.status;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        answer
    }

    /// The answer to a call of gRPC: its status, and nothing else.
    pub(super) fn answer_to_call<B: From<Bytes>>(&self) -> Response<B> {
        let text = |name: &str| self.members.get(name).and_then(Value::as_str).unwrap_or_default();
        let message = [text("title"), text("hint")].join("\nhint: ");
        let message =
            utf8_percent_encode(message.trim_end_matches("\nhint: "), MESSAGE).to_string();
        let mut answer = Response::new(Bytes::new().into());
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(call_status(self.status)));
        if let Ok(message) = HeaderValue::from_str(&message) {
            headers.insert("grpc-message", message);
        }
        answer
    }

    /// The end of a connection of HTTP/2 on which nothing was answered (RFC 9113, section 6.8).
    pub(super) fn goaway(&self) -> Vec<u8> {
        const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        const LAST_STREAM: [u8; 4] = [0; 4];
        const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
        let title = self.members.get("title").and_then(Value::as_str).unwrap_or_default();
        let words = title.as_bytes().get(..title.len().min(200)).unwrap_or_default();
        let length = u8::try_from(words.len() + 8).unwrap_or_default();
        let head = [0, 0, length, 7, 0, 0, 0, 0, 0];
        [&SETTINGS[..], &head, &LAST_STREAM, &REFUSED_STREAM, words].concat()
    }

    /// The answer as bytes, after which the connection is closed.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let body = self.body();
        let (status, length) = (self.status, body.len());
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// The code of gRPC that says the same.
fn call_status(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "3",
        401 => "16",
        403 => "7",
        408 | 504 => "4",
        413 | 429 => "8",
        _ => "14",
    }
}

fn status(denial: &Denial) -> StatusCode {
    match denial.code {
        DenialCode::Rule
        | DenialCode::Unlisted
        | DenialCode::DefaultDeny
        | DenialCode::NotUnderstood
        | DenialCode::Mask
        | DenialCode::Protocol
        | DenialCode::BudgetOfStatement
        | DenialCode::BudgetOfSession
        | DenialCode::BudgetUncounted
        | DenialCode::ApprovalNeeded
        | DenialCode::ApprovalRefused
        | DenialCode::ApprovalExpired
        | DenialCode::ApprovalVoid => StatusCode::FORBIDDEN,
        DenialCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        DenialCode::SessionOver => StatusCode::UNAUTHORIZED,
        DenialCode::BudgetOfRate => StatusCode::TOO_MANY_REQUESTS,
        DenialCode::BudgetOfTime => StatusCode::GATEWAY_TIMEOUT,
        DenialCode::Unrecorded | DenialCode::ApprovalUnavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}
