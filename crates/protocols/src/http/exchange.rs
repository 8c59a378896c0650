//! One request and its answer: understood, judged, sent with the credential, and looked into on the way back.

use std::{
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{Either, pending, select};
use guard_core::{
    DenialCode, Exceeded, Operation,
    http::{Method, RequestBody},
};
use guard_gate::{
    Ask, Context, Estimate, Gate, Meter, Outcome, Permit, Running, StatementPhase, Used, Verdict,
};
use http_body_util::BodyExt as _;
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue},
};
use tokio::{sync::Mutex, time::sleep};

use super::{
    Shared,
    answer::{Answer, Passed, TIME},
    body::{self, Passing, Unread},
    content::{self, Kind},
    credential::Shown,
    head::{Body, Field, RawRequest},
    looked_into::{Looked, Passes},
    matching::{self, Form},
    operation,
    refuse::Refusal,
    target::{Authority, Scheme, Served, Target, TargetError},
    upstream::{Failed, Outgoing, Upstream},
    wire::Heads,
};

const PLAINER: &str = "send it in one plain form, as RFC 9110 and RFC 9112 have it";
const NOT_YOURS: &str =
    "leave it out: guard adds the resource's own. A policy can say `client_credentials: remove`";
const SMALLER: &str = "send less at once";

/// A client's connection.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) gate: Gate,
    pub(super) heads: Arc<Heads>,
    pub(super) upstream: Mutex<Upstream>,
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
}

impl Connection {
    /// Answers one request.
    pub(super) async fn answer(self: Arc<Self>, incoming: Incoming) -> Response<Answer> {
        let exchange = pin!(self.clone().exchange(incoming));
        let over = pin!(self.gate.ended());
        let answered = match select(exchange, over).await {
            Either::Left((answered, _)) => answered,
            Either::Right((reason, _)) => Err(Refusal::over(reason)),
        };
        answered.unwrap_or_else(|refusal| refusal.answer())
    }

    async fn exchange(self: Arc<Self>, incoming: Incoming) -> Result<Response<Answer>, Refusal> {
        let Some(raw) = self.heads.next() else {
            return Err(Refusal::no_answer("the request was not read"));
        };
        let mut understood = self.understand(raw, incoming).await?;
        let permit = self.permitted(&mut understood).await?;
        self.forward(understood, permit).await
    }

    // === what it is ===

    async fn understand(&self, raw: RawRequest, incoming: Incoming) -> Result<Understood, Refusal> {
        let RawRequest { target, head, .. } = raw;
        let text = format!("{} {}", head.method, String::from_utf8_lossy(&target));
        let method = head.method.clone();
        let unsound = |why: String| self.unsound(&method, &text, why);
        let target = match self.target(&target, &head.hosts) {
            Ok(target) => target,
            Err(error) => return Err(unsound(error.to_string()).await),
        };
        let mut fields = head.fields;
        let own = fields.iter().find(|field| self.shared.credentials.is_one(field));
        if let Some(own) = own {
            if !self.gate.removes_client_credentials() {
                let why = format!("the request brings a credential of its own in `{}`", own.name);
                let operation = operation::unread(head.method.as_str(), &text, &why);
                let code = DenialCode::Protocol;
                let denial = self.gate.refuse(&operation, code, why, NOT_YOURS).await;
                self.shared.resource.refused(&denial);
                return Err(Refusal::denied(&denial));
            }
            fields.retain(|field| !self.shared.credentials.is_one(field));
        }
        let request = match matching::request(&method, &target, &fields, None) {
            Ok(request) => request,
            Err(error) => return Err(unsound(error.to_string()).await),
        };
        let content_type = fields.iter().find(|field| field.name == "content-type");
        let content_type = content_type.map(|field| field.value.clone()).unwrap_or_default();
        let framing = head.body;
        let (mut incoming, mut read) = (Some(incoming), None);
        if (matching::may_override(&content_type) || self.gate.looks_into(&request))
            && has_body(framing)
            && let Some(incoming) = incoming.take()
        {
            read = Some(self.whole(incoming, &method, &text).await?);
        }
        let understood = match &read {
            Some(body) => {
                let form = Form { content_type: &content_type, body };
                matching::request(&method, &target, &fields, Some(form))
            }
            None => Ok(request),
        };
        match understood {
            Ok(mut request) => {
                if let Some(api) = &self.shared.api {
                    matching::name(&mut request, api);
                }
                if has_body(framing) && read.is_none() {
                    request.body = RequestBody::Unread;
                } else if self.gate.looks_into(&request) {
                    let body = read.as_deref().unwrap_or_default();
                    content::look(&mut request, Kind::of(&fields), body);
                } else if has_body(framing) {
                    request.body = RequestBody::Unread;
                }
                let operation = self.shared.operations.of(request, &target);
                Ok(Understood { operation, method, target, fields, framing, read, incoming })
            }
            Err(error) => Err(unsound(error.to_string()).await),
        }
    }

    /// The one path and query that are asked for. Clients call the listener by where it is, or by the resource's own name.
    fn target(&self, target: &[u8], hosts: &[Vec<u8>]) -> Result<Target, TargetError> {
        let hosts: Vec<&[u8]> = hosts.iter().map(Vec::as_slice).collect();
        let own = &self.shared.authority;
        let mut authorities = vec![own.clone()];
        if own.port == Scheme::Https.port() {
            // A client that has TLS with guard leaves the port out, too.
            authorities.push(Authority { port: Scheme::Http.port(), ..own.clone() });
        }
        if let [host] = hosts.as_slice()
            && let Ok(host) = Authority::read(host, Scheme::Http)
            && ["127.0.0.1", "localhost", "::1", "[::1]"].contains(&&*host.host.to_string())
        {
            authorities.push(host);
        }
        let served = Served { scheme: Scheme::Http, authorities: &authorities };
        Target::read(target, &hosts, served)
    }

    async fn whole(
        &self,
        incoming: Incoming,
        method: &Method,
        text: &str,
    ) -> Result<Bytes, Refusal> {
        match body::whole(incoming).await {
            Ok(bytes) => Ok(bytes),
            Err(Unread::Broken) => {
                Err(self.unsound(method, text, "its body did not come".into()).await)
            }
            Err(Unread::TooLong) => {
                let why = format!(
                    "its body has to be looked at, and is longer than {} bytes",
                    body::MAX_WHOLE
                );
                let operation = operation::unread(method.as_str(), text, &why);
                let code = DenialCode::TooLarge;
                let denial = self.gate.refuse(&operation, code, why, SMALLER).await;
                self.shared.resource.refused(&denial);
                Err(Refusal::denied(&denial))
            }
        }
    }

    /// Records the refusal of a request that is not sound.
    async fn unsound(&self, method: &Method, text: &str, why: String) -> Refusal {
        let operation = operation::unread(method.as_str(), text, &why);
        let denial = self.gate.refuse(&operation, DenialCode::Protocol, why, PLAINER).await;
        self.shared.resource.refused(&denial);
        Refusal::unsound(&denial)
    }

    // === whether it may ===

    async fn permitted(&self, understood: &mut Understood) -> Result<Permit, Refusal> {
        let operation = understood.operation.clone();
        let mut context = Context::default();
        if self.gate.asks_people() && !self.gate.would_allow(&operation) {
            if has_body(understood.framing)
                && let Some(incoming) = understood.incoming.take()
            {
                let text = operation.text.reveal();
                understood.read = Some(self.whole(incoming, &understood.method, text).await?);
            }
            if let Some(request) = &operation.request {
                let body = understood.read.as_deref().unwrap_or_default();
                context.parameters = operation::parameters(request, body);
            }
        }
        let phase = StatementPhase::Execute;
        let estimate = Estimate::Unknown("a request has no rows");
        let asks = [Ask { operation, phase, text: None, estimate, context }];
        let mut verdict = self.gate.judge(&asks).await;
        loop {
            verdict = match verdict {
                Verdict::Forward(permits) => {
                    let missing = || Refusal::no_answer("the request was not permitted");
                    return permits.into_iter().next().ok_or_else(missing);
                }
                Verdict::Refuse { denial, .. } => {
                    self.shared.resource.refused(&denial);
                    return Err(Refusal::denied(&denial));
                }
                // A client that goes away drops all of this, and with it what was asked.
                Verdict::Held(held) => {
                    let held = held.decided(pending()).await;
                    self.gate.go_on(held, &asks).await
                }
                Verdict::Estimate(_) => {
                    return Err(Refusal::no_answer(
                        "a request has no rows that could be estimated",
                    ));
                }
            };
        }
    }

    // === there and back ===

    async fn forward(
        self: Arc<Self>,
        understood: Understood,
        permit: Permit,
    ) -> Result<Response<Answer>, Refusal> {
        let Understood { method, target, mut fields, framing, read, incoming, .. } = understood;
        let credential = self.shared.resource.credential().await;
        let credential = credential.map_err(|error| self.not_reached(&error.to_string()))?;
        let shared = self.shared.clone();
        let shown = shared.credentials.shown(&credential);
        let looked = Looked::new(&shared, permit.masks());
        looked.ask(&method, &mut fields);
        let put = shown.put(&mut fields);
        put.map_err(|error| self.not_reached(&format!("the credential is no header: {error}")))?;
        let used = Arc::<Used>::default();
        let over = Arc::<OnceLock<Exceeded>>::default();
        let outgoing = match (read, incoming) {
            (Some(bytes), _) => body::read(bytes),
            (None, Some(incoming)) if has_body(framing) => {
                let meter = self.gate.meter(|| used.clone());
                Passing::new(incoming, meter, over.clone()).boxed()
            }
            (None, _) => body::read(Bytes::new()),
        };
        let request = self.request(&method, &target, &fields, framing, outgoing)?;
        let mut meter = self.gate.meter(|| used);
        let (running, response) = self.send(permit, request, meter.as_mut(), &over).await?;
        self.pass(&method, response, running, meter, &looked, shown)
    }

    async fn send(
        &self,
        permit: Permit,
        request: Request<Outgoing>,
        meter: Option<&mut Meter>,
        over: &OnceLock<Exceeded>,
    ) -> Result<(Running, Response<Incoming>), Refusal> {
        let limit = meter.as_ref().and_then(|meter| meter.time_left());
        let mut upstream = self.upstream.lock().await;
        let (running, sent) = upstream.send(&*self.shared.resource, permit, request, limit).await;
        let exceeded = match sent {
            Ok(response) => return Ok((running, response)),
            Err(Failed::Late) => meter.and_then(Meter::out_of_time),
            Err(Failed::Broken(_)) if over.get().is_some() => over.get().copied(),
            Err(Failed::Broken(error)) => {
                running.finish(Outcome { error: Some("no answer".into()), ..Outcome::default() });
                return Err(self.not_reached(&error.to_string()));
            }
        };
        let error = Some("no answer".into());
        running.finish(Outcome { error, budget: exceeded, ..Outcome::default() });
        Err(match exceeded {
            Some(exceeded) => Refusal::denied(&self.gate.ended_at(exceeded)),
            None => Refusal::no_answer("the resource did not answer in time"),
        })
    }

    fn pass(
        self: Arc<Self>,
        method: &Method,
        response: Response<Incoming>,
        running: Running,
        meter: Option<Meter>,
        looked: &Looked<'_>,
        shown: Arc<Shown>,
    ) -> Result<Response<Answer>, Refusal> {
        let (parts, incoming) = response.into_parts();
        let status = parts.status;
        let error = (status.as_u16() >= 400).then(|| status.as_u16().to_string());
        let outcome = Outcome { status: Some(status.as_u16()), error, ..Outcome::default() };
        let head = match looked.head(method, &parts, &shown) {
            Ok(head) => head,
            Err(why) => {
                running.finish(Outcome { error: Some("refused".into()), ..outcome });
                return Err(Refusal::unreadable(&why));
            }
        };
        let length = match head.body {
            Passes::Nothing => Some(0),
            Passes::Length(length) => Some(length),
            Passes::Open => None,
        };
        let body = if length == Some(0) {
            running.finish(outcome);
            Answer::Own(None)
        } else {
            let cut = Box::pin(self.cut(meter.as_ref().and_then(Meter::time_left)));
            Answer::Passed(Box::new(Passed {
                incoming,
                length,
                shown,
                held: Vec::new(),
                masker: head.masker,
                meter,
                cut,
                running: Some(running),
                outcome,
                done: false,
            }))
        };
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        for (name, value) in head.fields {
            answer.headers_mut().append(name, value);
        }
        Ok(answer)
    }

    /// Waits until nothing more of an answer may pass, and says why.
    async fn cut(self: Arc<Self>, time: Option<Duration>) -> &'static str {
        match select(pin!(after(time)), pin!(self.gate.ended())).await {
            Either::Left(_) => TIME,
            Either::Right(_) => "session over",
        }
    }

    /// The request as it is sent: written anew from what was judged.
    fn request(
        &self,
        method: &Method,
        target: &Target,
        fields: &[Field],
        framing: Body,
        body: Outgoing,
    ) -> Result<Request<Outgoing>, Refusal> {
        let unfit = || Refusal::no_answer("the request cannot be written anew");
        let mut request = Request::new(body);
        *request.method_mut() = method.as_str().parse().map_err(|_| unfit())?;
        *request.uri_mut() = target.forwarded().parse().map_err(|_| unfit())?;
        // A parser that reads it otherwise would send something else than was judged.
        if request.uri().path_and_query().map(|it| it.as_str()) != Some(&target.forwarded()) {
            return Err(unfit());
        }
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&self.shared.host).map_err(|_| unfit())?);
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| unfit())?;
            headers.append(name, HeaderValue::from_bytes(&field.value).map_err(|_| unfit())?);
        }
        if let Body::Length(length) = framing {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(request)
    }

    /// The resource gave no answer; why is for the log.
    fn not_reached(&self, error: &str) -> Refusal {
        let resource = &self.shared.resource.spec().name;
        tracing::warn!(%resource, error, "a request was not answered");
        Refusal::no_answer(&format!(
            "resource `{resource}` cannot be reached; the log of guard says why"
        ))
    }

    /// Records that a head was refused, and says so.
    pub(super) async fn bad_head(&self, why: String) -> Refusal {
        let operation = operation::unread("request", "", &why);
        let denial = self.gate.refuse(&operation, DenialCode::Protocol, why, PLAINER).await;
        self.shared.resource.refused(&denial);
        Refusal::unsound(&denial)
    }
}

/// Waits for so long; for ever without a limit.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}

const fn has_body(framing: Body) -> bool {
    match framing {
        Body::None | Body::Length(0) => false,
        Body::Length(_) | Body::Chunked | Body::UntilClose => true,
    }
}
