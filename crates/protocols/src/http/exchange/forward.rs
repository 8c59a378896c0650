//! There and back: a permitted request with the credential, and what of the answer goes on.

use std::{
    pin::pin,
    sync::{Arc, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{Either, pending, select},
};
use guard_core::{Exceeded, FieldMask, Side, http::Method};
use guard_gate::{Meter, Outcome, Permit, Running, Used};
use http_body_util::BodyExt as _;
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{CONTENT_LENGTH, HOST, HeaderValue},
};
use tokio::time::sleep;

use super::{
    super::{
        answer::{Answer, Passed, TIME, Trailing},
        body::{self, Passing, Stopped},
        credential::{Shown, Unfit},
        head::{Body, Field},
        keep::Waits,
        looked_into::{Looked, Passes},
        refuse::Refusal,
        socket::{Tunnel, Wanted},
        target::Target,
        upstream::{Failed, Outgoing},
    },
    Connection, Understood, has_body,
};

impl Connection {
    pub(super) async fn forward(
        self: Arc<Self>,
        understood: Understood,
        permit: Permit,
    ) -> Result<Response<Answer>, Refusal> {
        let Understood { method, mut target, mut fields, framing, read, incoming, masks, .. } =
            understood;
        let of_request = |mask: &&FieldMask| mask.side == Side::Request;
        if !permit.masks().fields.iter().filter(of_request).eq(&masks) {
            return Err(Refusal::no_answer("the policy changed while the request was judged"));
        }
        let credential = self.shared.resource.credential().await;
        let credential = credential.map_err(|error| self.not_reached(&error.to_string()))?;
        let shared = self.shared.clone();
        let shown = shared.credentials.shown(&credential);
        let wanted = Wanted::of(&fields);
        let looked = Looked::new(&shared, &permit);
        // Neither what the client sends nor what it gets is looked into there.
        if wanted.is_some() && (looked.hides() || !masks.is_empty()) {
            return Err(Refusal::unreadable("values in it are hidden, and a WebSocket is no text"));
        }
        looked.ask(&method, &mut fields);
        let unfit = |error: Unfit| self.not_reached(&error.to_string());
        shown.put(&mut target, &mut fields).map_err(unfit)?;
        let known = match (&read, &incoming) {
            (None, Some(_)) if has_body(framing) => None,
            (read, _) => Some(read.clone().unwrap_or_default()),
        };
        let used = Arc::<Used>::default();
        let stopped = Arc::<OnceLock<Stopped>>::default();
        let outgoing = match (read, incoming) {
            (Some(bytes), _) => body::metered(bytes, self.gate.meter(|| used.clone()), &stopped),
            (None, Some(incoming)) if has_body(framing) => {
                let meter = self.gate.meter(|| used.clone());
                Passing::new(incoming, self.clone(), meter, stopped.clone()).boxed()
            }
            (None, _) => body::read(Bytes::new()),
        };
        let mut request = self.request(&method, &target, fields, framing, outgoing)?;
        let shown = shown.sign(&mut request, known.as_deref()).map_err(unfit)?;
        let mut meter = self.gate.meter(|| used);
        let (running, response) = self.send(permit, request, meter.as_mut(), &stopped).await?;
        match wanted {
            Some(wanted) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Box::pin(self.switch(&wanted, response, running, meter, shown)).await
            }
            Some(_) | None => self.pass(&method, response, running, meter, looked, shown),
        }
    }

    async fn send(
        &self,
        permit: Permit,
        request: Request<Outgoing>,
        meter: Option<&mut Meter>,
        stopped: &OnceLock<Stopped>,
    ) -> Result<(Running, Response<Incoming>), Refusal> {
        let limit = meter.as_ref().and_then(|meter| meter.time_left());
        let resource = &*self.shared.resource;
        let (running, sent) = self.upstream.send(resource, permit, request, limit).await;
        let (exceeded, refusal) = match (sent, stopped.get()) {
            (Ok(response), _) => return Ok((running, response)),
            (Err(Failed::Late), _) => match meter.and_then(Meter::out_of_time) {
                Some(exceeded) => (Some(exceeded), self.over(exceeded)),
                None => (None, Refusal::no_answer("the resource did not answer in time")),
            },
            (Err(Failed::Broken(_)), Some(Stopped::Over(exceeded))) => {
                (Some(*exceeded), self.over(*exceeded))
            }
            (Err(Failed::Broken(_)), Some(Stopped::Trailers(why))) => {
                (None, self.unsound("request", "", why.to_string()).await)
            }
            (Err(Failed::Broken(_)), Some(Stopped::Silent | Stopped::Broken)) => {
                (None, Refusal::incomplete())
            }
            (Err(Failed::Broken(error)), None) => (None, self.not_reached(&error.to_string())),
        };
        let error = Some("no answer".into());
        running.finish(Outcome { error, budget: exceeded, ..Outcome::default() });
        Err(refusal)
    }

    fn over(&self, exceeded: Exceeded) -> Refusal {
        Refusal::denied(&self.gate.ended_at(exceeded))
    }

    /// Makes a tunnel of a connection whose server agreed to it.
    async fn switch(
        &self,
        wanted: &Wanted,
        response: Response<Incoming>,
        running: Running,
        meter: Option<Meter>,
        shown: Arc<Shown>,
    ) -> Result<Response<Answer>, Refusal> {
        let answer = match wanted.answer(response.headers()) {
            Ok(answer) => answer,
            Err(why) => {
                let outcome = Outcome { status: Some(101), ..Outcome::default() };
                running.finish(Outcome { error: Some("refused".into()), ..outcome });
                return Err(Refusal::unreadable(why));
            }
        };
        let upstream = hyper::upgrade::on(response).await;
        let upstream = upstream.map_err(|error| self.not_reached(&error.to_string()))?;
        let tunnel = Tunnel { upstream, running, meter, shown };
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
        Ok(answer)
    }

    fn pass(
        self: Arc<Self>,
        method: &Method,
        response: Response<Incoming>,
        running: Running,
        meter: Option<Meter>,
        looked: Looked<'_>,
        shown: Arc<Shown>,
    ) -> Result<Response<Answer>, Refusal> {
        let (parts, incoming) = response.into_parts();
        let status = parts.status;
        let error = (status.as_u16() >= 400).then(|| status.as_u16().to_string());
        let outcome = Outcome { status: Some(status.as_u16()), error, ..Outcome::default() };
        let head = match looked.head(method, &parts, incoming.is_end_stream(), &shown) {
            Ok(head) => head,
            Err(why) => {
                running.finish(Outcome { error: Some("refused".into()), ..outcome });
                return Err(Refusal::unreadable(&why));
            }
        };
        let outcome = Outcome { masked: head.masked, ..outcome };
        let length = match head.body {
            Passes::Nothing => Some(0),
            Passes::Length(length) => Some(length),
            Passes::Open => None,
        };
        let body = if length == Some(0) {
            running.finish(outcome);
            Answer::Own(None)
        } else {
            let waits = looked.keep.is_some().then(|| self.clone().waits());
            // A server can put among them what it could put among the headers.
            let trailing = if looked.hides() { Trailing::Dropped } else { Trailing::Nothing };
            let cut = Box::pin(self.cut(meter.as_ref().and_then(Meter::time_left)));
            Answer::Passed(Box::new(Passed {
                incoming,
                length,
                shown,
                held: Vec::new(),
                trailing,
                decoder: head.decoder,
                rewriter: head.rewriter,
                keep: looked.keep,
                waits,
                meter,
                cut,
                running: Some(running),
                outcome,
                done: false,
            }))
        };
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        // hyper adds Content-Length, Transfer-Encoding or Date.
        answer.headers_mut().reserve(head.fields.len() + 2);
        for Field { name, value } in head.fields {
            answer.headers_mut().append(name, value);
        }
        Ok(answer)
    }

    /// What is recorded of an answer goes on when the record has taken it.
    fn waits(self: Arc<Self>) -> Waits {
        let recorded = move || {
            let connection = self.clone();
            async move { connection.gate.recorded().await.is_ok() }.boxed()
        };
        Waits { recorded: Box::new(recorded), waiting: None }
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
        fields: Vec<Field>,
        framing: Body,
        body: Outgoing,
    ) -> Result<Request<Outgoing>, Refusal> {
        let unfit = || Refusal::no_answer("the request cannot be written anew");
        let mut request = Request::new(body);
        *request.method_mut() = method.as_str().parse().map_err(|_| unfit())?;
        let forwarded = target.forwarded();
        *request.uri_mut() = forwarded.parse().map_err(|_| unfit())?;
        // A parser that reads it otherwise would send something else than was judged.
        if request.uri().path_and_query().map(|it| it.as_str()) != Some(&forwarded) {
            return Err(unfit());
        }
        let headers = request.headers_mut();
        // What an HTTP/1.1 request has besides: Host, Content-Length, Connection.
        headers.reserve(fields.len() + 3);
        headers.insert(HOST, self.shared.host.clone());
        for Field { name, value } in fields {
            headers.append(name, value);
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
}

/// Waits for so long; for ever without a limit.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}
