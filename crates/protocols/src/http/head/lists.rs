//! Headers with a meaning of their own, by their names in lower case.

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
