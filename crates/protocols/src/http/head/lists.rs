//! Headers with a meaning of their own, by their names in lower case.

use super::canonical;

/// What is meant for the next hop only (RFC 9110, section 7.6.1), and what used to be.
pub(super) const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What has no place in HTTP/2, but for `te` (RFC 9113, section 8.2.2).
pub(super) const OF_CONNECTION: [&str; 6] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// What a recipient must know before a body, besides what is in the other lists and what begins with `content-` or `if-`
/// (RFC 9110, section 6.5.1).
const BEFORE_BODY: [&str; 19] = [
    "age",
    "allow",
    "date",
    "expires",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "range",
    "retry-after",
    "set-cookie2",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "vary",
    "via",
    "warning",
    "www-authenticate",
];

/// What tells of a body, and can be known behind it only.
const BEHIND_BODY: [&str; 2] = ["content-digest", "content-md5"];

/// Headers of a request by which a server may take it for one to another path or host, or from somebody else.
pub(super) const LEADS_ASTRAY: [&str; 17] = [
    "client-ip",
    "cluster-client-ip",
    "forwarded",
    "front-end-https",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-host",
    "x-http-host-override",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-override-url",
    "x-real-ip",
    "x-rewrite-uri",
    "x-rewrite-url",
    "x-url-scheme",
];

/// Headers of an answer that send its client to another place the next time.
pub(super) const LEADS_AWAY: [&str; 2] = ["alt-svc", "clear-site-data"];

/// Headers that Connection must not name: others rely on them, or they are judged.
pub(super) const ESSENTIAL: [&str; 14] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "host",
    "location",
    "set-cookie",
    "transfer-encoding",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// Headers that say one thing, so that two of them contradict each other.
pub(super) const SINGLE: [&str; 9] = [
    "authorization",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "expect",
    "location",
    "transfer-encoding",
];

/// Whether a header tells of a proxy before (`X-Forwarded-For`, `-Host`, `-Prefix`, …).
pub(super) fn is_forwarding(name: &str) -> bool {
    name.starts_with("x-forwarded")
}

/// Whether a field may stand behind a body. Some servers put what stands there among the headers.
pub(super) fn may_trail(name: &str) -> bool {
    let name = canonical(name);
    let name = &*name;
    BEHIND_BODY.contains(&name)
        || !(listed(name) == Kept::Meaningful
            || BEFORE_BODY.contains(&name)
            || ["accept", "content-", "if-"].iter().any(|prefix| name.starts_with(prefix)))
}

/// Whether guard, or a server behind it, acts by a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Meaningful,
    Other,
}

/// Looks a canonical name up in all lists.
pub(super) fn listed(name: &str) -> Kept {
    let lists: [&[&str]; 5] = [&HOP_BY_HOP, &LEADS_ASTRAY, &LEADS_AWAY, &ESSENTIAL, &SINGLE];
    if is_forwarding(name) || lists.iter().any(|list| list.contains(&name)) {
        Kept::Meaningful
    } else {
        Kept::Other
    }
}
