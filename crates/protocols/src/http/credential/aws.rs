//! AWS Signature Version 4, made anew: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>.
//!
//! What a client signed was another request (to guard's address, with other headers) by another key. Its signature is taken out, wherever it
//! is, and the request that is sent is signed with the session's key. Who signed with guard's placeholder has no key of its own.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use guard_core::{AWS_PLACEHOLDER, AwsService, Secret};
use hyper::{
    Request,
    header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{AUTHORIZATION, own::same_parameter};
use crate::{
    Credential,
    http::{
        head::{Field, canonical},
        target::Target,
    },
};

/// What S3 is told of a body.
const CONTENT_SHA256: &str = "x-amz-content-sha256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const UNSIGNED_CHUNKS: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// Headers of a signature, or of a session in the place of one.
const HEADERS: [&str; 5] = [
    AUTHORIZATION,
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-s3session-token",
    "x-amz-region-set",
];
/// Parameters of a request that was signed beforehand, of Versions 4 and 2.
const PARAMETERS: [&str; 13] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Region-Set",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
    "X-Amz-S3session-Token",
    "AWSAccessKeyId",
    "Signature",
    "SignatureMethod",
    "SignatureVersion",
];

/// All but unreserved characters and the slash between segments.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// What a body is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Nothing,
    /// Its digest.
    Digest(String),
    /// In chunks with a checksum behind them, none of which is signed.
    UnsignedChunks,
}

/// Signs requests.
pub(super) struct Signer {
    key: Credentials,
    service: AwsService,
    tls: bool,
}

impl Signer {
    /// `None`: the credential is no temporary key.
    pub(super) fn new(credential: &Credential, service: &AwsService, tls: bool) -> Option<Self> {
        let Credential { username, password, session_token } = credential;
        let token = session_token.as_ref()?.expose().to_owned();
        let key = Credentials::new(username, password.expose(), Some(token), None, "lease");
        Some(Self { key, service: service.clone(), tls })
    }

    /// Signs a request that is ready to be sent, and gives the signature.
    pub(super) fn sign<B>(
        &self,
        request: &mut Request<B>,
        body: Option<&[u8]>,
        now: SystemTime,
    ) -> Result<Secret, String> {
        let is_s3 = is_s3(&self.service);
        let mut settings = SigningSettings::default();
        if is_s3 {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        if !is_s3 {
            request.headers_mut().remove(CONTENT_SHA256);
        }
        let said = match request.headers().get(CONTENT_SHA256) {
            Some(value) if is_s3 => said([value.as_bytes()].into_iter())?,
            Some(_) | None => Said::Nothing,
        };
        let signable = match (said, body) {
            (Said::UnsignedChunks, _) => SignableBody::StreamingUnsignedPayloadTrailer,
            (_, Some(body)) => SignableBody::Bytes(body),
            (Said::Digest(digest), None) => SignableBody::Precomputed(digest),
            (Said::Nothing, None) if is_s3 && self.tls => SignableBody::UnsignedPayload,
            (Said::Nothing, None) => return Err("its body is not known".into()),
        };
        let url = self.url(request)?;
        let signed: Vec<(String, String)> = request
            .headers()
            .iter()
            .filter(|(name, _)| is_signed(name))
            .map(|(name, value)| {
                let value = value.to_str().map_err(|_| format!("`{name}` is not ASCII"))?;
                Ok((name.as_str().to_owned(), value.to_owned()))
            })
            .collect::<Result<_, String>>()?;
        let headers = signed.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        let signable = SignableRequest::new(request.method().as_str(), url, headers, signable)
            .map_err(|error| failed(&error))?;
        let identity = self.key.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.service.region)
            .name(&self.service.service)
            .time(now)
            .settings(settings)
            .build()
            .map_err(|error| failed(&error))?
            .into();
        let (made, signature) =
            sign(signable, &params).map_err(|error| failed(&error))?.into_parts();
        for (name, value) in made.headers() {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| failed(&error))?;
            let mut value = HeaderValue::from_str(value).map_err(|error| failed(&error))?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
        Ok(Secret::new(signature))
    }

    /// The URL as it is signed. S3 decodes a path and writes it anew before it compares, other services take it as it comes.
    fn url<B>(&self, request: &Request<B>) -> Result<String, String> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let host = host.ok_or("it has no Host")?;
        let path = request.uri().path();
        let path = if is_s3(&self.service) {
            let plain =
                percent_decode_str(path).decode_utf8().map_err(|error| error.to_string())?;
            utf8_percent_encode(&plain, ESCAPED).to_string()
        } else {
            path.to_owned()
        };
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(format!("https://{host}{path}{query}"))
    }
}

/// Whether a request is signed with the placeholder that commands have, and with nothing else.
pub(super) fn is_placeholder(target: &Target, fields: &[Field]) -> bool {
    let mut signed = false;
    for field in fields.iter().filter(|field| is_one(&canonical(field.name.as_str()), &HEADERS)) {
        if canonical(field.name.as_str()) == AUTHORIZATION {
            let scope = format!("AWS4-HMAC-SHA256 Credential={AWS_PLACEHOLDER}/");
            signed = true;
            if !field.bytes().starts_with(scope.as_bytes()) {
                return false;
            }
        } else if canonical(field.name.as_str()) != "x-amz-date" {
            return false;
        }
    }
    signed && !target.parameters().any(|(name, _)| is_parameter(&name))
}

/// Takes a client's signature out. Says where there was one.
pub(super) fn take_out(target: &mut Target, fields: &mut Vec<Field>) -> Option<String> {
    let mut found = None;
    fields.retain(|field| {
        let is_own = is_one(&canonical(field.name.as_str()), &HEADERS);
        if is_own && found.is_none() {
            found = Some(format!("`{}`", field.name));
        }
        !is_own
    });
    if target.take_out(is_parameter) {
        found = found.or_else(|| Some("the signature in its query".to_owned()));
    }
    found
}

/// Whether a body's digest has to be found out before the request is sent.
pub(super) fn needs_body(
    service: &AwsService,
    tls: bool,
    fields: &[Field],
) -> Result<bool, &'static str> {
    if !is_s3(service) {
        return Ok(true);
    }
    let values = fields.iter().filter(|field| canonical(field.name.as_str()) == CONTENT_SHA256);
    match said(values.map(Field::bytes))? {
        Said::Nothing => Ok(!tls),
        Said::Digest(_) | Said::UnsignedChunks => Ok(false),
    }
}

fn said<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<Said, &'static str> {
    let Some(value) = values.next() else { return Ok(Said::Nothing) };
    if values.next().is_some() {
        return Err("`x-amz-content-sha256` is there more than once");
    }
    let text = std::str::from_utf8(value).unwrap_or_default();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Said::Digest(text.to_ascii_lowercase()));
    }
    match text {
        // Guard says the same where that is enough, and better where it is not.
        UNSIGNED => Ok(Said::Nothing),
        UNSIGNED_CHUNKS => Ok(Said::UnsignedChunks),
        _ if text.starts_with("STREAMING-") => Err(
            "its body is a stream of chunks that are signed one by one with a key that the client does not have here: have the client send unsigned chunks (`STREAMING-UNSIGNED-PAYLOAD-TRAILER`) or the digest of the whole",
        ),
        _ => Err("`x-amz-content-sha256` is no digest"),
    }
}

fn is_s3(service: &AwsService) -> bool {
    matches!(service.service.as_str(), "s3" | "s3-object-lambda" | "s3-outposts")
}

/// What AWS wants signed: the host, what is its own, and what says how to read the body.
fn is_signed(name: &HeaderName) -> bool {
    name == HOST
        || name == CONTENT_TYPE
        || name == "content-md5"
        || (name.as_str().starts_with("x-amz-") && name != CONTENT_SHA256)
}

fn is_parameter(name: &str) -> bool {
    is_one(name, &PARAMETERS)
}

fn is_one(name: &str, all: &[&str]) -> bool {
    all.iter().any(|one| same_parameter(name, one))
}
