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
    /// A form that is encoded as a query is.
    Form,
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
            ("application", "x-www-form-urlencoded") => Some(Self::Form),
            (_, subtype) if subtype.len() > 5 && subtype.ends_with("+json") => Some(Self::Json),
            _ => None,
        }
    }
}

/// What detectors can do with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// It is a text of a kind that has values.
    Kind(Kind),
    /// It is another text.
    Text,
    /// It is no text, or in parts.
    Nothing,
    /// It is a text in characters that ASCII is no part of.
    Unreadable,
}

/// Texts that are not `text/…`.
const TEXTS: [&str; 10] = [
    "application/ecmascript",
    "application/javascript",
    "application/json-seq",
    "application/jwt",
    "application/sql",
    "application/toml",
    "application/x-javascript",
    "application/x-pem-file",
    "application/xml",
    "application/yaml",
];

/// Character sets in which ASCII is itself.
const WITH_ASCII: [&str; 14] = [
    "ascii",
    "big5",
    "cp125",
    "euc-",
    "gb18030",
    "gb2312",
    "gbk",
    "iso-8859-",
    "koi8-",
    "latin1",
    "us-ascii",
    "utf-8",
    "utf8",
    "windows-125",
];

impl Looks {
    /// What a header Content-Type says. What says nothing may be a text.
    pub fn of(content_type: &[u8]) -> Self {
        if let Some(kind) = Kind::of(content_type) {
            return Self::Kind(kind);
        }
        let text = String::from_utf8_lossy(content_type).to_ascii_lowercase();
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        let is_text = essence.is_empty()
            || essence.starts_with("text/")
            || essence.ends_with("+xml") && !essence.starts_with("image/")
            || essence.ends_with("+json")
            || essence.ends_with("json")
            || essence.ends_with("yaml")
            || TEXTS.contains(&essence)
            || essence == "application/x-www-form-urlencoded";
        if !is_text {
            return Self::Nothing;
        }
        let mut charsets = parts.filter_map(|part| {
            let (name, value) = part.split_once('=')?;
            (name.trim() == "charset").then(|| value.trim().trim_matches('"').to_owned())
        });
        let is_known = |it: String| WITH_ASCII.iter().any(|known| it.starts_with(known));
        if charsets.all(is_known) { Self::Text } else { Self::Unreadable }
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
            ("application/x-www-form-urlencoded", Some(Kind::Form)),
            ("multipart/form-data; boundary=B", None),
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

    #[test]
    fn detectors_look_into_texts() {
        for (text, looks) in [
            ("application/json", Looks::Kind(Kind::Json)),
            ("text/event-stream", Looks::Kind(Kind::Events)),
            ("application/json; charset=iso-8859-1", Looks::Text),
            ("application/json; charset=utf-16", Looks::Unreadable),
            ("text/plain; Charset=\"UTF-16LE\"", Looks::Unreadable),
            ("text/plain; charset=utf-7", Looks::Unreadable),
            ("text/html; charset=Windows-1252", Looks::Text),
            ("text/csv", Looks::Text),
            ("application/atom+xml", Looks::Text),
            ("application/x-yaml", Looks::Text),
            ("", Looks::Text),
            ("image/svg+xml", Looks::Nothing),
            ("image/png", Looks::Nothing),
            ("application/octet-stream", Looks::Nothing),
            ("application/zip", Looks::Nothing),
            ("multipart/form-data; boundary=B", Looks::Nothing),
        ] {
            assert_eq!(Looks::of(text.as_bytes()), looks, "{text}");
        }
    }
}
