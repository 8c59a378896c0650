//! Places in a request where a client can have put a credential of its own: parameters and cookies, however a server reads their names.

use super::COOKIE;
use crate::http::{head::Field, matching::plain_parameter};

/// Whether a server could take one parameter's name for another.
pub(super) fn same_parameter(one: &str, other: &str) -> bool {
    plain_parameter(one) == plain_parameter(other)
}

/// Takes the headers with cookies out. Gives the cookies of all other names, and whether there were some of this one.
pub(super) fn take_cookies(fields: &mut Vec<Field>, name: &str) -> (Vec<String>, bool) {
    let (mut others, mut had) = (Vec::new(), false);
    fields.retain(|field| {
        if field.name != COOKIE {
            return true;
        }
        let text = String::from_utf8_lossy(field.bytes());
        // A comma ends a cookie for servers that know RFC 2965.
        for cookie in text.split(';').map(str::trim).filter(|cookie| !cookie.is_empty()) {
            if cookie.split(',').any(|part| is_named(part, name)) {
                had = true;
            } else {
                others.push(cookie.to_owned());
            }
        }
        false
    });
    (others, had)
}

/// Whether a Set-Cookie is about this cookie.
pub(super) fn sets_cookie(value: &[u8], name: &str) -> bool {
    is_named(String::from_utf8_lossy(value).split(';').next().unwrap_or_default(), name)
}

fn is_named(cookie: &str, name: &str) -> bool {
    let found = cookie.split_once('=').map_or(cookie, |(found, _)| found).trim();
    let found = percent_encoding::percent_decode_str(found).decode_utf8_lossy();
    same_parameter(&found, name)
}

/// What a cookie's value is made of (RFC 6265, section 4.1.1).
pub(super) const fn is_cookie_octet(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}
