//! A request as it came, whichever version of HTTP its client speaks.

use super::{
    head::{RawRequest, RequestHead},
    verb::is_grpc_type,
};

/// A request whose head is sound.
pub(super) struct Asked {
    /// The target as it was sent.
    pub(super) target: Vec<u8>,
    pub(super) head: RequestHead,
}

impl Asked {
    /// Whether its client understands a status of gRPC only.
    pub(super) fn is_call(&self) -> bool {
        let mut types = self.head.fields.iter().filter(|field| field.name == "content-type");
        types.any(|field| std::str::from_utf8(field.bytes()).is_ok_and(is_grpc_type))
    }
}

impl From<RawRequest> for Asked {
    fn from(raw: RawRequest) -> Self {
        Self { target: raw.target, head: raw.head }
    }
}
