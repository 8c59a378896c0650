//! The head of an answer, and how its body is looked into.
//!
//! An answer can repeat the credential, and hold what masks hide. So it is asked for as it is, without any encoding, and one that cannot
//! be looked into is refused as a whole.

use std::sync::Arc;

use guard_core::{MaskPlan, http::Method};
use hyper::{
    Version,
    header::{CONTENT_LENGTH, HeaderName, HeaderValue},
    http::response::Parts,
};

use super::{
    Shared,
    answer::Masker,
    credential::Shown,
    head::{self, Body, Field},
    mask::{JsonMasker, JsonMasks, Kind},
};

/// Headers of a request that ask for parts of an answer, or for none if it is known already: masked, it is neither the one that the client has
/// nor is a part of it JSON.
const ASK_FOR_PARTS: [&str; 4] = ["range", "if-range", "if-none-match", "if-modified-since"];

/// Headers of an answer from which its text could be found out.
const TELL_OF_BODY: [&str; 6] =
    ["etag", "content-md5", "digest", "content-digest", "repr-digest", "accept-ranges"];

/// How an answer is looked into.
pub(super) struct Looked<'a> {
    shared: &'a Shared,
    masks: Option<Arc<JsonMasks>>,
}

/// The head of an answer as it goes on.
pub(super) struct Head {
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Passes,
    pub(super) masker: Option<Masker>,
}

/// How much of a body goes on.
pub(super) enum Passes {
    Nothing,
    Length(u64),
    Open,
}

impl<'a> Looked<'a> {
    pub(super) fn new(shared: &'a Shared, plan: &MaskPlan) -> Self {
        let masks = (!plan.fields.is_empty()).then(|| {
            Arc::new(JsonMasks::new(plan.fields.iter().map(|field| (&field.path, field.mask))))
        });
        Self { shared, masks }
    }

    /// Has a request ask for an answer that can be looked into.
    pub(super) fn ask(&self, method: &Method, fields: &mut Vec<Field>) {
        fields.retain(|field| {
            let name = field.name.as_str();
            let parts = self.masks.is_some()
                && matches!(method.as_str(), "GET" | "HEAD")
                && ASK_FOR_PARTS.contains(&name);
            name != "accept-encoding" && !parts
        });
        fields.push(Field { name: "accept-encoding".into(), value: b"identity".to_vec() });
    }

    /// What goes on of the head of the answer to a method.
    pub(super) fn head(&self, to: &Method, parts: &Parts, shown: &Shown) -> Result<Head, String> {
        let version = match parts.version {
            Version::HTTP_10 => head::Version::Http10,
            _ => head::Version::Http11,
        };
        let status = parts.status.as_u16();
        let headers = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let head = head::answer(to, status, version, headers).map_err(|error| error.to_string())?;
        let is_empty = matches!(head.body, Body::None | Body::Length(0));
        let value = |name: &str| head.fields.iter().find(|it| it.name == name).map(|it| &*it.value);
        let encoding = value("content-encoding");
        if !is_empty && encoding.is_some_and(|it| !it.eq_ignore_ascii_case(b"identity")) {
            let encoding = encoding.unwrap_or_default().escape_ascii().to_string();
            return Err(format!(
                "it comes with Content-Encoding `{encoding}`, and guard asked for none"
            ));
        }
        let masker = match &self.masks {
            Some(masks) if !is_empty => {
                Some(self.masker(masks, status, value("content-type").unwrap_or_default())?)
            }
            Some(_) | None => None,
        };
        let mut fields = Vec::with_capacity(head.fields.len() + 1);
        for field in &head.fields {
            if self.shared.credentials.is_given(field)
                || (self.masks.is_some() && TELL_OF_BODY.contains(&field.name.as_str()))
            {
                continue;
            }
            let hidden = shown.hidden.in_whole(&field.value);
            let unfit = |_| format!("its header `{}` cannot go on", field.name);
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| unfit(()))?;
            fields.push((name, HeaderValue::from_bytes(&hidden).map_err(|_| unfit(()))?));
        }
        // The length of what would have come.
        if to.as_str() == "HEAD"
            && self.masks.is_none()
            && let Some(length) = parts.headers.get(CONTENT_LENGTH)
        {
            fields.push((CONTENT_LENGTH, length.clone()));
        }
        let body = match head.body {
            Body::None | Body::Length(0) => Passes::Nothing,
            Body::Length(length) if masker.is_none() => Passes::Length(length),
            Body::Length(_) | Body::Chunked | Body::UntilClose => Passes::Open,
        };
        Ok(Head { fields, body, masker })
    }

    fn masker(
        &self,
        masks: &Arc<JsonMasks>,
        status: u16,
        content_type: &[u8],
    ) -> Result<Masker, String> {
        if status == 206 {
            return Err("it is a part of a text in which fields are masked".to_owned());
        }
        let Some(kind) = Kind::of(content_type) else {
            let shown = content_type.escape_ascii();
            return Err(format!(
                "fields of it are masked, and Content-Type `{shown}` is not JSON, NDJSON or events"
            ));
        };
        let resource = &self.shared.resource;
        let json = JsonMasker::new(masks.clone(), resource.mask_key(), resource.lasting_mask_key());
        Ok(Masker::new(kind, json))
    }
}
