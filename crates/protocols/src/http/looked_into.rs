//! The head of an answer, and how its body is looked into.
//!
//! An answer can repeat the credential, and hold what masks hide. So it is asked for as it is, without any encoding; one that comes encoded
//! is decoded and goes on as it was before, and one that cannot be looked into is refused as a whole.

use std::borrow::Cow;

use guard_core::{Detectors, Side, http::Method};
use guard_gate::Permit;
use hyper::{
    Version,
    header::{ACCEPT_ENCODING, CONTENT_LENGTH, ETAG, HeaderValue},
    http::response::Parts,
};

use super::{
    Shared,
    credential::Shown,
    decode::{Coding, Decoder, UnknownCoding},
    fields::{FieldMasks, HeaderMasker, tells_of_body},
    head::{self, Body, Field},
    keep::Keep,
    mask::Looks,
    rewrite::Rewriter,
};

/// Headers of a request that ask for parts of an answer, or for none if it is known already: masked, it is neither the one that the client has
/// nor is a part of it JSON.
const ASK_FOR_PARTS: [&str; 4] = ["range", "if-range", "if-none-match", "if-modified-since"];

/// How an answer is looked into.
pub(super) struct Looked<'a> {
    shared: &'a Shared,
    masks: FieldMasks,
    detectors: Detectors,
    /// Where its body is kept, if the policy keeps it.
    pub(super) keep: Option<Keep>,
}

/// The head of an answer as it goes on.
pub(super) struct Head {
    pub(super) fields: Vec<Field>,
    pub(super) body: Passes,
    pub(super) decoder: Option<Box<Decoder>>,
    pub(super) rewriter: Rewriter,
    /// How many headers are masked.
    pub(super) masked: u64,
}

/// How much of a body goes on.
pub(super) enum Passes {
    Nothing,
    Length(u64),
    Open,
}

impl<'a> Looked<'a> {
    pub(super) fn new(shared: &'a Shared, permit: &Permit) -> Self {
        let plan = permit.masks();
        let masks = FieldMasks::of(&plan.fields, Side::Answer);
        let keep = permit.keeping().map(Keep::new);
        Self { shared, masks, detectors: plan.detect, keep }
    }

    /// Has a request ask for an answer that can be looked into.
    pub(super) fn ask(&self, method: &Method, fields: &mut Vec<Field>) {
        fields.retain(|field| {
            let name = field.name.as_str();
            let parts = self.masks.hides_body()
                && matches!(method.as_str(), "GET" | "HEAD")
                && ASK_FOR_PARTS.contains(&name);
            !matches!(name, "accept-encoding" | "grpc-accept-encoding") && !parts
        });
        let identity = HeaderValue::from_static("identity");
        fields.push(Field { name: ACCEPT_ENCODING, value: identity });
    }

    /// What goes on of the head of the answer to a method. `ended`: there is no body.
    pub(super) fn head(
        &self,
        to: &Method,
        parts: &Parts,
        ended: bool,
        shown: &Shown,
    ) -> Result<Head, String> {
        let version = match parts.version {
            Version::HTTP_10 => head::Version::Http10,
            Version::HTTP_2 => head::Version::Http2 { ended },
            _ => head::Version::Http11,
        };
        let status = parts.status.as_u16();
        let headers = parts.headers.iter().map(Field::of);
        let head = head::answer(to, status, version, headers).map_err(|error| error.to_string())?;
        let is_empty = matches!(head.body, Body::None | Body::Length(0));
        let value = |name: &str| head.fields.iter().find(|it| it.name == name).map(Field::bytes);
        let calls = value("grpc-encoding").filter(|it| !it.eq_ignore_ascii_case(b"identity"));
        if let Some(encoding) = calls
            && !is_empty
        {
            let encoding = encoding.escape_ascii();
            return Err(format!(
                "it comes with grpc-encoding `{encoding}`, and guard asked for none"
            ));
        }
        let encoding = value("content-encoding").unwrap_or_default();
        let codings = Coding::listed(encoding);
        let decoder = match (&codings, is_empty) {
            (_, true) => None,
            (Ok(codings), false) if codings.is_empty() => None,
            (Ok(_), false) if status == 206 => {
                return Err("it is a part of an encoded text, which cannot be decoded".to_owned());
            }
            (Ok(codings), false) => Some(Box::new(Decoder::new(codings))),
            (Err(UnknownCoding), false) => {
                let encoding = encoding.escape_ascii();
                return Err(format!(
                    "it comes with Content-Encoding `{encoding}`, and guard asked for none and decodes gzip, deflate, br and zstd, two at most"
                ));
            }
        };
        // Of HEAD and 304, too: what is told of must be what would come.
        let is_decoded = codings.is_ok_and(|codings| !codings.is_empty());
        let content_type = value("content-type").unwrap_or_default();
        let is_rewritten = self.rewrites(content_type);
        let rewriter = if is_empty || !is_rewritten {
            Rewriter::default()
        } else if status == 206 {
            return Err("it is a part of a text in which values are hidden".to_owned());
        } else {
            self.masks.rewriter(content_type, self.detectors, &*self.shared.resource)?
        };
        let mut masked = HeaderMasker::new(&self.masks, &*self.shared.resource);
        let repeats = shown.hidden.may_be_in(head.fields.iter().map(Field::bytes));
        let mut fields = Vec::with_capacity(head.fields.len() + 1);
        for field in head.fields {
            if self.shared.credentials.is_given(&field)
                || !goes_on(&field, is_decoded, is_rewritten)
            {
                continue;
            }
            let Some(mut field) = masked.masked(field) else { continue };
            let weak = if is_decoded && field.name == ETAG { weak(field.bytes()) } else { None };
            let plain = weak.as_deref().unwrap_or(field.bytes());
            let hidden = if repeats { shown.hidden.in_whole(plain) } else { plain.into() };
            let changed = match hidden {
                Cow::Owned(hidden) => Some(hidden),
                Cow::Borrowed(_) => weak,
            };
            if let Some(changed) = changed {
                let unfit = |_| format!("its header `{}` cannot go on", field.name);
                field.value = HeaderValue::try_from(changed).map_err(unfit)?;
            }
            fields.push(field);
        }
        // The length of what would have come.
        if to.as_str() == "HEAD"
            && !is_rewritten
            && !is_decoded
            && let Some(length) = parts.headers.get(CONTENT_LENGTH)
        {
            fields.push(Field { name: CONTENT_LENGTH, value: length.clone() });
        }
        let body = match head.body {
            Body::None | Body::Length(0) => Passes::Nothing,
            Body::Length(length) if rewriter.is_empty() && decoder.is_none() => {
                Passes::Length(length)
            }
            Body::Length(_) | Body::Chunked | Body::UntilClose => Passes::Open,
        };
        Ok(Head { fields, body, decoder, rewriter, masked: masked.masked })
    }

    /// Whether anything of an answer may be hidden, the credential aside.
    pub(super) fn hides(&self) -> bool {
        self.masks.hides() || !self.detectors.is_empty()
    }

    /// Whether a body of this type does not go on as it is.
    fn rewrites(&self, content_type: &[u8]) -> bool {
        let looks = || {
            let in_parts = content_type.to_ascii_lowercase().starts_with(b"multipart/byteranges");
            in_parts || Looks::of(content_type) != Looks::Nothing
        };
        self.masks.hides_body() || (!self.detectors.is_empty() && looks())
    }
}

/// Whether a header goes on beside a body that is decoded, or rewritten.
fn goes_on(field: &Field, is_decoded: bool, is_rewritten: bool) -> bool {
    match field.name.as_str() {
        "content-encoding" => !is_decoded,
        "etag" => !is_rewritten,
        name => !((is_decoded || is_rewritten) && tells_of_body(name)),
    }
}

/// A validator of what is no longer the same bytes (RFC 9110, section 8.8.1), if it was one that said so.
fn weak(validator: &[u8]) -> Option<Vec<u8>> {
    validator.starts_with(b"\"").then(|| [b"W/", validator].concat())
}
