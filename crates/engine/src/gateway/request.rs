//! One request to a gateway: `POST /v1/tunnel/{resource}`, or `GET /healthz`.

use std::sync::Arc;

use guard_core::{
    ResourceName, Secret,
    control::{ApiError, Authorize},
};
use guard_protocols::{Arrival, ClientAuth, alarm::unless};
use http_body_util::Full;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, body::Bytes, header};
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;

use super::Gateway;
use crate::{
    control::ControlError,
    session::ServedSession,
    tunnel::{BROKER_UNAVAILABLE, CLIENT_AUTH, CLIENT_PASSWORD, PROVEN, STEP, UPGRADE},
};

type Answer = Response<Full<Bytes>>;

/// Why there is no tunnel.
struct Refusal {
    status: StatusCode,
    code: String,
    message: String,
    decision_id: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), decision_id: None }
    }

    fn invalid(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    fn into_answer(self) -> Answer {
        let error =
            ApiError { error: self.code, message: self.message, decision_id: self.decision_id };
        let body = serde_json::to_vec(&error).unwrap_or_default();
        let mut answer = Response::new(Full::new(body.into()));
        *answer.status_mut() = self.status;
        let json = header::HeaderValue::from_static("application/json");
        answer.headers_mut().insert(header::CONTENT_TYPE, json);
        answer
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Refused { status, code, message, decision_id } => Self {
                status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
                code,
                message,
                decision_id,
            },
            ControlError::Unreachable { .. }
            | ControlError::Garbled { .. }
            | ControlError::Unproven(_) => {
                tracing::warn!(%error, "a tunnel was refused: the broker cannot be asked");
                let message = "the gateway cannot ask the broker";
                Self::new(StatusCode::BAD_GATEWAY, BROKER_UNAVAILABLE, message)
            }
        }
    }
}

impl Gateway {
    /// Answers one request. A tunnel goes on in a task of its own, which holds `slot`.
    pub(super) async fn request<B>(
        self: Arc<Self>,
        request: Request<B>,
        slot: Arc<OwnedSemaphorePermit>,
    ) -> Answer
    where
        B: Send + 'static,
    {
        let path = request.uri().path();
        if request.method() == Method::GET && path == "/healthz" {
            return Response::new(Full::new(Bytes::from_static(b"ok\n")));
        }
        let Some(resource) = path.strip_prefix("/v1/tunnel/") else {
            return Refusal::new(StatusCode::NOT_FOUND, "not-found", "there is no such page")
                .into_answer();
        };
        if request.method() != Method::POST {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Refusal::new(status, "invalid", "a tunnel is opened with POST").into_answer();
        }
        let resource = resource.to_owned();
        match self.tunnel(&resource, request.headers()).await {
            Ok((served, arrival)) => self.upgrade(request, served, arrival, slot),
            Err(refusal) => {
                tracing::info!(resource, code = refusal.code, "a tunnel was refused");
                refusal.into_answer()
            }
        }
    }

    /// Checks a request for a tunnel, with the broker.
    async fn tunnel(
        self: &Arc<Self>,
        resource: &str,
        headers: &HeaderMap,
    ) -> Result<(Arc<ServedSession>, Arrival), Refusal> {
        let resource = ResourceName::new(resource)
            .map_err(|_| Refusal::new(StatusCode::NOT_FOUND, "not-found", "no such resource"))?;
        if one(headers, header::UPGRADE.as_str())? != Some(UPGRADE) {
            return Err(Refusal::invalid("the request does not ask for a tunnel"));
        }
        let unauthorized =
            |message: &str| Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
        let token = one(headers, header::AUTHORIZATION.as_str())?
            .and_then(|value| value.strip_prefix("DPoP "))
            .ok_or_else(|| unauthorized("a session token is needed"))?;
        let proof =
            one(headers, "dpop")?.ok_or_else(|| unauthorized("a proof of the key is needed"))?;
        let arrival = Arrival { auth: client_auth(headers)?, step: step(headers)? };
        let ask = Authorize {
            access_token: Secret::new(token),
            proof: proof.to_owned(),
            method: "POST".into(),
            uri: format!("https://{}/v1/tunnel/{resource}", self.address),
            resource: resource.clone(),
        };
        let enforcement = self.control.authorize(&ask).await?;
        if enforcement.grant.resource != resource || enforcement.resource.name != resource {
            tracing::error!(%resource, "the broker answered for another resource");
            let status = StatusCode::BAD_GATEWAY;
            return Err(Refusal::new(
                status,
                "invalid",
                "the broker answered for another resource",
            ));
        }
        let session = enforcement.session;
        let served = self.session(enforcement).map_err(|error| {
            tracing::error!(%session, %resource, %error, "a session cannot be served");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Refusal::new(status, "invalid", "the gateway cannot serve this resource: see its log")
        })?;
        Ok((served, arrival))
    }

    fn upgrade<B>(
        self: Arc<Self>,
        request: Request<B>,
        served: Arc<ServedSession>,
        arrival: Arrival,
        slot: Arc<OwnedSemaphorePermit>,
    ) -> Answer
    where
        B: Send + 'static,
    {
        let tunnels = self.tunnels.clone();
        tunnels.spawn(async move {
            let _slot = slot;
            let stream = match hyper::upgrade::on(request).await {
                Ok(upgraded) => Box::new(TokioIo::new(upgraded)),
                Err(error) => {
                    tracing::debug!(%error, "the shim went away before its tunnel was open");
                    return;
                }
            };
            let _ = unless(self.stop.cancelled(), served.serve_and_log(stream, arrival)).await;
        });
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, header::HeaderValue::from_static(UPGRADE));
        answer
    }
}

/// A header that may be there once.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Refusal::invalid("a header is there twice"));
    }
    value
        .map(|value| value.to_str().map_err(|_| Refusal::invalid("a header is no text")))
        .transpose()
}

/// How the tunnel's client is known: exactly one of the two ways.
fn client_auth(headers: &HeaderMap) -> Result<ClientAuth, Refusal> {
    match (one(headers, CLIENT_AUTH)?, one(headers, CLIENT_PASSWORD)?) {
        (Some(PROVEN), None) => Ok(ClientAuth::Proven),
        (None, Some(password)) if !password.is_empty() => {
            Ok(ClientAuth::Password(Secret::new(password)))
        }
        (Some(_), _) | (None, _) => {
            Err(Refusal::invalid("the request does not say how its client is known"))
        }
    }
}

/// The number of the command that the tunnel's client comes from.
fn step(headers: &HeaderMap) -> Result<Option<u32>, Refusal> {
    let number = one(headers, STEP)?.map(str::parse).transpose();
    number.map_err(|_| Refusal::invalid("the number of the command is none"))
}
