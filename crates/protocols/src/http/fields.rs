//! What a policy masks of one request, or of its answer.

use std::sync::Arc;

use bytes::Bytes;
use guard_core::{Detectors, FieldMask, MaskedField, Masking, Side, http::JsonPath};
use hyper::header::{HeaderValue, SET_COOKIE};

use super::{
    head::Field,
    mask::{
        EventsMasker, FormMasker, Hider, JsonMasker, JsonMasks, Kind, LinesMasker, Looker, Looks,
        NameMasks, set_cookie,
    },
    rewrite::{Masker, Rewriter},
};
use crate::{Resource, mask::MASKED};

/// Masked fields, ready to be looked up.
pub(super) struct FieldMasks {
    json: Option<Arc<JsonMasks>>,
    form: Option<Arc<NameMasks>>,
    headers: NameMasks,
    cookies: NameMasks,
}

impl FieldMasks {
    /// Those of a plan that are about one side.
    pub(super) fn of(plan: &[FieldMask], side: Side) -> Self {
        let own: Vec<&FieldMask> = plan.iter().filter(|it| it.side == side).collect();
        let json: Vec<(&JsonPath, Masking)> = own
            .iter()
            .filter_map(|it| match &it.field {
                MaskedField::Json(path) => Some((path, it.mask)),
                MaskedField::Form(_) | MaskedField::Header(_) | MaskedField::Cookie(_) => None,
            })
            .collect();
        let form = NameMasks::new(own.iter().filter_map(|it| match &it.field {
            MaskedField::Form(name) => Some((name, it.mask)),
            MaskedField::Json(_) | MaskedField::Header(_) | MaskedField::Cookie(_) => None,
        }));
        let headers = NameMasks::new(own.iter().filter_map(|it| match &it.field {
            MaskedField::Header(name) => Some((name, it.mask)),
            MaskedField::Json(_) | MaskedField::Form(_) | MaskedField::Cookie(_) => None,
        }));
        let cookies = NameMasks::new(own.iter().filter_map(|it| match &it.field {
            MaskedField::Cookie(name) => Some((name, it.mask)),
            MaskedField::Json(_) | MaskedField::Form(_) | MaskedField::Header(_) => None,
        }));
        Self {
            json: (!json.is_empty()).then(|| Arc::new(JsonMasks::new(json))),
            form: (!form.is_empty()).then(|| Arc::new(form)),
            headers,
            cookies,
        }
    }

    /// Whether anything is masked.
    pub(super) fn hides(&self) -> bool {
        self.hides_body() || !self.headers.is_empty() || !self.cookies.is_empty()
    }

    /// Whether a body has to be looked into.
    pub(super) const fn hides_body(&self) -> bool {
        self.json.is_some() || self.form.is_some()
    }

    /// What rewrites a body of this type.
    pub(super) fn rewriter(
        &self,
        content_type: &[u8],
        detectors: Detectors,
        resource: &dyn Resource,
    ) -> Result<Rewriter, String> {
        let mut masker = None;
        if self.hides_body() {
            masker = Some(self.masker(content_type, detectors, resource)?);
        }
        if detectors.is_empty() {
            return Ok(Rewriter::new(masker, None));
        }
        let looker = match Looks::of(content_type) {
            Looks::Kind(Kind::Json | Kind::Lines | Kind::Events) => Some(Looker::json(detectors)),
            Looks::Kind(Kind::Form) => {
                let none = || form(&Arc::default(), detectors, resource);
                masker = Some(masker.unwrap_or_else(none));
                None
            }
            Looks::Text => Some(Looker::text(detectors)),
            Looks::Nothing => None,
            Looks::Unreadable => {
                let shown = content_type.escape_ascii();
                return Err(format!("detectors cannot look into `{shown}`"));
            }
        };
        Ok(Rewriter::new(masker, looker))
    }

    fn masker(
        &self,
        content_type: &[u8],
        detectors: Detectors,
        resource: &dyn Resource,
    ) -> Result<Masker, String> {
        let (run, lasting) = (resource.mask_key(), resource.lasting_mask_key());
        let kind = Kind::of(content_type);
        let json = |masks: &Arc<JsonMasks>| {
            let masker = JsonMasker::new(masks.clone(), run, lasting);
            if detectors.is_empty() { masker } else { masker.telling() }
        };
        match (kind, &self.json, &self.form) {
            (Some(Kind::Json), Some(masks), _) => Ok(Masker::Json(json(masks))),
            (Some(Kind::Lines), Some(masks), _) => Ok(Masker::Lines(LinesMasker::new(json(masks)))),
            (Some(Kind::Events), Some(masks), _) => {
                Ok(Masker::Events(EventsMasker::new(json(masks))))
            }
            (Some(Kind::Form), _, Some(masks)) => Ok(form(masks, detectors, resource)),
            (_, json, form) => {
                let expected = match (json, form) {
                    (Some(_), Some(_)) => "JSON, NDJSON, events or a form",
                    (_, None) => "JSON, NDJSON or events",
                    (None, Some(_)) => "a form",
                };
                let shown = content_type.escape_ascii();
                Err(format!(
                    "fields of it are masked, and Content-Type `{shown}` is not {expected}"
                ))
            }
        }
    }

    /// The body of a request as it goes on, which is here as a whole; headers that tell of it do not if it is another one.
    pub(super) fn of_request(
        &self,
        fields: &mut Vec<Field>,
        body: Bytes,
        resource: &dyn Resource,
    ) -> Result<Bytes, String> {
        if !self.hides_body() || body.is_empty() {
            return Ok(body);
        }
        let value = |name: &str| fields.iter().find(|field| field.name == name);
        if value("content-encoding").is_some() {
            return Err("fields of its body are masked, and it has a Content-Encoding".to_owned());
        }
        let content_type = value("content-type").map(Field::bytes);
        let mut masker =
            self.masker(content_type.unwrap_or_default(), Detectors::default(), resource)?;
        let mut out = Vec::with_capacity(body.len());
        let done = masker.push(&body, &mut out).and_then(|()| masker.finish(&mut out));
        done.map_err(|error| error.to_string())?;
        fields.retain(|field| !tells_of_body(field.name.as_str()));
        Ok(out.into())
    }
}

/// Headers that are about the bytes of a body as they came: digests, from which a text could be found out, too.
const TELL_OF_BODY: [&str; 6] =
    ["content-md5", "digest", "content-digest", "repr-digest", "accept-ranges", "x-goog-hash"];

/// The same, of any algorithm.
const CHECKSUMS: &str = "x-amz-checksum-";

/// Whether a header is about the bytes of a body.
pub(super) fn tells_of_body(name: &str) -> bool {
    TELL_OF_BODY.contains(&name) || name.starts_with(CHECKSUMS)
}

fn form(masks: &Arc<NameMasks>, detectors: Detectors, resource: &dyn Resource) -> Masker {
    let (run, lasting) = (resource.mask_key(), resource.lasting_mask_key());
    Masker::Form(FormMasker::new(masks.clone(), run, lasting).detecting(detectors))
}

/// Masks headers of one answer.
pub(super) struct HeaderMasker<'a> {
    masks: &'a FieldMasks,
    resource: &'a dyn Resource,
    hider: Option<Hider>,
    pub(super) masked: u64,
}

impl<'a> HeaderMasker<'a> {
    pub(super) const fn new(masks: &'a FieldMasks, resource: &'a dyn Resource) -> Self {
        Self { masks, resource, hider: None, masked: 0 }
    }

    /// A header as it goes on, if it does.
    pub(super) fn masked(&mut self, mut field: Field) -> Option<Field> {
        let Self { masks, resource, hider, masked } = self;
        let new = || Hider::new(resource.mask_key(), resource.lasting_mask_key());
        let hidden = if field.name == SET_COOKIE && !masks.cookies.is_empty() {
            set_cookie(field.bytes(), &masks.cookies, hider.get_or_insert_with(new))
        } else {
            let masking = masks.headers.of(field.name.as_str());
            masking.map(|it| hider.get_or_insert_with(new).text(it, Some(field.bytes())))
        };
        if let Some(hidden) = hidden {
            *masked += 1;
            let hidden = hidden?;
            let is_plain = hidden.iter().all(|byte| matches!(byte, 0x20..=0x7e));
            let hidden = HeaderValue::try_from(hidden).ok().filter(|_| is_plain);
            field.value = hidden.unwrap_or(HeaderValue::from_static(MASKED));
        }
        Some(field)
    }
}
