//! Which texts can be masked.

/// A form of text that can be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One JSON text.
    Json,
    /// One JSON text a line.
    Lines,
    /// Events, each with a JSON text (Server-Sent Events).
    Events,
}

impl Kind {
    /// What a header Content-Type says; `None` for what cannot be masked, whatever it is.
    pub fn of(content_type: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(content_type).ok()?.to_ascii_lowercase();
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next()?;
        let is_utf8 = |parameter: &str| match parameter.split_once('=') {
            Some((name, value)) if name.trim() == "charset" => {
                matches!(value.trim().trim_matches('"'), "utf-8" | "utf8" | "us-ascii")
            }
            Some((_, _)) => true,
            None => parameter.is_empty(),
        };
        if !parts.all(is_utf8) {
            return None;
        }
        let (kind, subtype) = essence.split_once('/')?;
        match (kind, subtype) {
            ("application" | "text", "json") => Some(Self::Json),
            (
                "application",
                "x-ndjson" | "ndjson" | "jsonl" | "x-jsonl" | "jsonlines" | "x-jsonlines",
            ) => Some(Self::Lines),
            ("text", "event-stream") => Some(Self::Events),
            (_, subtype) if subtype.len() > 5 && subtype.ends_with("+json") => Some(Self::Json),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_masked_has_a_kind() {
        for (text, kind) in [
            ("application/json", Some(Kind::Json)),
            ("Application/JSON ; charset=\"UTF-8\"", Some(Kind::Json)),
            ("application/vnd.github+json; version=3", Some(Kind::Json)),
            ("application/problem+json", Some(Kind::Json)),
            ("application/x-ndjson", Some(Kind::Lines)),
            ("text/event-stream;charset=utf-8", Some(Kind::Events)),
            ("application/json; charset=utf-16", None),
            ("application/json; Charset = iso-8859-1", None),
            ("application/json; charset", None),
            ("application/json, text/html", None),
            ("application/json-seq", None),
            ("application/+json", None),
            ("application/javascript", None),
            ("multipart/mixed; boundary=B", None),
            ("application/xml", None),
            ("text/csv", None),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(Kind::of(text.as_bytes()), kind, "{text}");
        }
    }
}
