//! What a request is: its one target, its headers without a credential of the client's own, and its methods.

use bytes::Bytes;
use guard_core::{
    DenialCode, Side,
    http::{HttpRequest, Method, RequestBody},
};
use hyper::body::Incoming;

use super::{
    super::{
        body::{self, Unread},
        content::{self, Kind},
        fields::FieldMasks,
        head::{Body, Field},
        matching::{self, Form, MatchError},
        operation,
        refuse::Refusal,
        target::{Target, TargetError},
    },
    Asked, Connection, SMALLER, Understood, has_body,
};

const NOT_YOURS: &str =
    "leave it out: guard adds the resource's own. A policy can say `client_credentials: remove`";
const MASKABLE: &str =
    "send JSON, NDJSON or a form, as the mask's fields are named, in UTF-8 and without an encoding";

impl Connection {
    pub(super) async fn understand(
        &self,
        asked: Asked,
        incoming: Incoming,
    ) -> Result<Understood, Refusal> {
        let Asked { target, head } = asked;
        let credentials = &self.shared.credentials;
        let text = format!("{} {}", head.method, credentials.recorded(&target));
        let method = head.method.clone();
        let unsound = |why: String| self.unsound(method.as_str(), &text, why);
        let mut target = match self.target(&target, &head.hosts) {
            Ok(target) => target,
            Err(error) => return Err(unsound(error.to_string()).await),
        };
        let mut fields = head.fields;
        let own = credentials.take_out(&mut target, &mut fields);
        if let Some(own) = own.filter(|_| !self.gate.removes_client_credentials()) {
            let why = format!("the request brings a credential of its own in {own}");
            let operation = operation::unread(head.method.as_str(), &text, &why);
            let code = DenialCode::Protocol;
            let denial = self.gate.refuse(&operation, code, why, NOT_YOURS).await;
            self.shared.resource.refused(&denial);
            return Err(Refusal::denied(&denial));
        }
        let signed = match credentials.needs_body(&fields) {
            Ok(signed) => signed,
            Err(why) => return Err(unsound(why.to_owned()).await),
        };
        let request = match self.read(&method, &target, &fields, None) {
            Ok(request) => request,
            Err(error) => return Err(unsound(error.to_string()).await),
        };
        let content_type = fields.iter().find(|field| field.name == "content-type");
        let content_type = content_type.map(|field| field.bytes().to_vec()).unwrap_or_default();
        let mut framing = head.body;
        let (mut incoming, mut read) = (Some(incoming), None);
        let masks = self.gate.request_masks(&request);
        let looks = matching::may_override(&content_type)
            || self.gate.looks_into(&request)
            || !masks.is_empty();
        if (looks || signed)
            && has_body(framing)
            && let Some(incoming) = incoming.take()
        {
            let longest = if looks { body::MAX_WHOLE } else { body::MAX_SIGNED };
            let body = self.whole(incoming, longest, &method, &text).await?;
            let masked = FieldMasks::of(&masks, Side::Request);
            let masked = masked.of_request(&mut fields, body, &*self.shared.resource);
            let body = match masked {
                Ok(body) => body,
                Err(why) => return Err(self.not_maskable(&method, &text, why).await),
            };
            framing = Body::Length(body.len() as u64);
            read = Some(body);
        }
        let understood = match &read {
            Some(body) => {
                let form = Form { content_type: &content_type, body };
                self.read(&method, &target, &fields, Some(form))
            }
            None => Ok(request),
        };
        match understood {
            Ok(mut request) => {
                if has_body(framing) && read.is_none() {
                    request.body = RequestBody::Unread;
                } else if self.gate.looks_into(&request) {
                    let body = read.as_deref().unwrap_or_default();
                    content::look(&mut request, Kind::of(&fields), body);
                } else if has_body(framing) {
                    request.body = RequestBody::Unread;
                }
                let operation = self.shared.operations.of(request, &target);
                Ok(Understood { operation, method, target, fields, framing, read, incoming, masks })
            }
            Err(error) => Err(unsound(error.to_string()).await),
        }
    }

    /// The request as rules look at it, with its operations where the resource has a document that says which there are.
    fn read(
        &self,
        method: &Method,
        target: &Target,
        fields: &[Field],
        form: Option<Form<'_>>,
    ) -> Result<HttpRequest, MatchError> {
        let mut request = matching::request(method, target, fields, form)?;
        if let Some(api) = &self.shared.api {
            matching::name(&mut request, api);
        }
        Ok(request)
    }

    /// The one path and query that are asked for.
    fn target(&self, target: &[u8], hosts: &[Vec<u8>]) -> Result<Target, TargetError> {
        let hosts: Vec<&[u8]> = hosts.iter().map(Vec::as_slice).collect();
        self.shared.names.target(target, &hosts)
    }

    /// Records the refusal of a request in whose body fields are masked, and cannot be.
    async fn not_maskable(&self, method: &Method, text: &str, why: String) -> Refusal {
        let operation = operation::unread(method.as_str(), text, &why);
        let denial = self.gate.refuse(&operation, DenialCode::Mask, why, MASKABLE).await;
        self.shared.resource.refused(&denial);
        Refusal::denied(&denial)
    }

    pub(super) async fn whole(
        &self,
        incoming: Incoming,
        longest: usize,
        method: &Method,
        text: &str,
    ) -> Result<Bytes, Refusal> {
        match body::whole(incoming, longest, self.shared.patience.whole_body).await {
            Ok(bytes) => Ok(bytes),
            Err(Unread::Broken) => {
                Err(self.unsound(method.as_str(), text, "its body did not come".into()).await)
            }
            Err(Unread::Trailers) => {
                let why = "its body has to be looked at, and trailers stand behind it".to_owned();
                Err(self.unsound(method.as_str(), text, why).await)
            }
            Err(Unread::TooLong) => {
                let why =
                    format!("its body has to be looked at, and is longer than {longest} bytes");
                let operation = operation::unread(method.as_str(), text, &why);
                let code = DenialCode::TooLarge;
                let denial = self.gate.refuse(&operation, code, why, SMALLER).await;
                self.shared.resource.refused(&denial);
                Err(Refusal::denied(&denial))
            }
        }
    }
}
