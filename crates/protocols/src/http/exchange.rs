//! One request and its answer: understood, judged, sent with the credential, and looked into on the way back.

mod forward;
mod permit;
mod understand;

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::future::{Either, select};
use guard_core::{DenialCode, FieldMask, Operation, http::Method};
use guard_gate::Gate;
use hyper::{HeaderMap, Response, body::Incoming};

use super::{
    Shared,
    answer::Answer,
    asked::Asked,
    head::{Body, Field, HeadError, canonical},
    operation,
    refuse::Refusal,
    socket::Tunnel,
    target::Target,
    trailers,
    upstream::Upstream,
};

const PLAINER: &str = "send it in one plain form, as RFC 9110 and RFC 9112 have it";
const SMALLER: &str = "send less at once";

/// A client's connection.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) gate: Gate,
    pub(super) upstream: Upstream,
    /// What the connection becomes when its last answer is written.
    pub(super) tunnel: Mutex<Option<Tunnel>>,
}

/// A request that was understood.
struct Understood {
    operation: Arc<Operation>,
    method: Method,
    target: Target,
    fields: Vec<Field>,
    framing: Body,
    /// Its body, where it was read.
    read: Option<Bytes>,
    incoming: Option<Incoming>,
    /// What of it is masked.
    masks: Vec<FieldMask>,
}

impl Connection {
    /// Answers one request.
    pub(super) async fn answer(
        self: Arc<Self>,
        asked: Result<Asked, HeadError>,
        incoming: Incoming,
    ) -> Response<Answer> {
        let calls = asked.as_ref().is_ok_and(Asked::is_call);
        let exchange = pin!(self.clone().exchange(asked, incoming));
        let over = pin!(self.gate.ended());
        let answered = match select(exchange, over).await {
            Either::Left((answered, _)) => answered,
            Either::Right((reason, _)) => Err(Refusal::over(reason)),
        };
        answered.unwrap_or_else(
            |refusal| {
                if calls { refusal.answer_to_call() } else { refusal.answer() }
            },
        )
    }

    async fn exchange(
        self: Arc<Self>,
        asked: Result<Asked, HeadError>,
        incoming: Incoming,
    ) -> Result<Response<Answer>, Refusal> {
        let asked = match asked {
            Ok(asked) => asked,
            Err(why) => return Err(self.unsound("request", "", why.to_string()).await),
        };
        let mut understood = self.understand(asked, incoming).await?;
        let permit = self.permitted(&mut understood).await?;
        self.forward(understood, permit).await
    }

    /// What goes on behind the body of a request: all or nothing.
    pub(super) fn trailers(&self, sent: &HeaderMap) -> Result<HeaderMap, HeadError> {
        trailers::of_request(sent, |field| {
            self.shared.credentials.is_header(field)
                || self.gate.judges_header(&canonical(field.name.as_str()))
        })
    }

    /// What the connection is to become.
    pub(super) fn tunnel(&self) -> Option<Tunnel> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Records the refusal of a request that is not sound.
    pub(super) async fn unsound(&self, label: &str, text: &str, why: String) -> Refusal {
        let operation = operation::unread(label, text, &why);
        let denial = self.gate.refuse(&operation, DenialCode::Protocol, why, PLAINER).await;
        self.shared.resource.refused(&denial);
        Refusal::unsound(&denial)
    }
}

const fn has_body(framing: Body) -> bool {
    match framing {
        Body::None | Body::Length(0) => false,
        Body::Length(_) | Body::Chunked | Body::UntilClose => true,
    }
}
