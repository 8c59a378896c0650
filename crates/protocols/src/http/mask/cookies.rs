//! Cookies that an answer sets (RFC 6265, section 5.2).

use guard_core::Masking;

use super::{names::NameMasks, value::Hider};

/// What stands for a value that could not be hidden in a better way.
const REDACTED: &[u8] = b"masked";

/// Attributes that go on beside a masked value.
const ATTRIBUTES: [&[u8]; 9] = [
    b"domain",
    b"expires",
    b"httponly",
    b"max-age",
    b"partitioned",
    b"path",
    b"priority",
    b"samesite",
    b"secure",
];

/// A header Set-Cookie as it goes on, if a mask is about it; `Some(None)`: it does not.
///
/// Some readers take several cookies from one header, with commas between them. So each part that looks like a masked cookie is masked, and
/// beside one only attributes go on.
pub(in super::super) fn set_cookie(
    value: &[u8],
    masks: &NameMasks,
    hider: &mut Hider,
) -> Option<Option<Vec<u8>>> {
    let mut parts = value.split(|byte| *byte == b';');
    let first = parts.next().unwrap_or_default();
    let (name, text) = match first.iter().position(|byte| *byte == b'=') {
        Some(at) => (first.get(..at).unwrap_or_default(), first.get(at + 1..).unwrap_or_default()),
        // A cookie without a name.
        None => (&b""[..], first),
    };
    let mut mask = masks.of(&String::from_utf8_lossy(name));
    if name.is_empty() && mask.is_none() && !masks.is_empty() {
        mask = masks.strictest();
    }
    let hides_behind = || {
        let parts = value.split(|byte| matches!(byte, b';' | b',')).skip(1);
        parts
            .filter_map(|part| {
                let at = part.iter().position(|byte| *byte == b'=')?;
                masks.of(&String::from_utf8_lossy(part.get(..at)?))
            })
            .reduce(Masking::stricter)
    };
    let masking = mask.or_else(hides_behind)?;
    let Some(hidden) = hider.text(masking, Some(text.trim_ascii())) else { return Some(None) };
    let is_octet =
        |byte: &u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
    let hidden = if hidden.iter().all(is_octet) { hidden } else { REDACTED.to_vec() };
    let mut out = if name.is_empty() { hidden } else { [name, b"=", &hidden].concat() };
    for part in parts.filter(|part| is_attribute(part)) {
        out.push(b';');
        out.extend_from_slice(part);
    }
    Some(Some(out))
}

/// Whether a part is an attribute, and no other cookie is in it.
fn is_attribute(part: &[u8]) -> bool {
    let mut halves = part.splitn(2, |byte| *byte == b'=');
    let name = halves.next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    let value = halves.next().unwrap_or_default();
    ATTRIBUTES.contains(&name.as_slice()) && !value.contains(&b'=')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use guard_core::{Mask, http::FieldName};

    use super::*;

    fn masked(names: &[&str], how: Mask, value: &str) -> Option<Option<String>> {
        let names: Vec<FieldName> = names.iter().map(|name| name.parse().unwrap()).collect();
        let masks = NameMasks::new(names.iter().map(|name| (name, how.into())));
        let mut hider = Hider::new(&[3; 32], None);
        let found = set_cookie(value.as_bytes(), &masks, &mut hider)?;
        Some(found.map(|it| String::from_utf8(it).unwrap()))
    }

    #[test]
    fn values_are_masked_and_attributes_stay() {
        let sid = |value: &str| masked(&["sid"], Mask::Redact, value);
        let some = |text: &str| Some(Some(text.to_owned()));
        assert_eq!(sid("a=1; Path=/"), None);
        let date = "Expires=Wed, 21 Oct 2037 07:28:00 GMT";
        assert_eq!(
            sid(&format!("sid=s3cret; Path=/; {date}; HttpOnly")),
            some(&format!("sid=[masked]; Path=/; {date}; HttpOnly"))
        );
        assert_eq!(sid("SID=s3cret"), some("SID=[masked]"));
        assert_eq!(sid(" sid =s3cret"), some(" sid =[masked]"));
        assert_eq!(sid("sid=a=b; x=s3cret"), some("sid=[masked]"), "no attribute");
        assert_eq!(sid("sid=\"a;b\"; Secure"), some("sid=[masked]; Secure"));
        assert_eq!(sid("s3cret; Path=/"), some("[masked]; Path=/"), "without a name");
        assert_eq!(sid("=s3cret"), some("[masked]"));
        // Two cookies to some.
        for two in ["a=1, sid=s3cret; Path=/", "a=1; Path=/, sid=s3cret", "a=1;sid=s3cret"] {
            let Some(Some(found)) = sid(two) else { panic!("{two}") };
            assert!(!found.contains("s3cret"), "{found}");
        }
        assert_eq!(masked(&["*"], Mask::Redact, "a=1, b=2; Path=/"), some("a=[masked]; Path=/"));
        assert_eq!(masked(&["sid"], Mask::Null, "sid=s3cret"), Some(None));
        assert_eq!(masked(&["sid"], Mask::Partial, "sid=12345678"), some("sid=****5678"));
        assert_eq!(masked(&["sid"], Mask::Partial, "sid=a b\u{e9}cdef"), some("sid=masked"));
    }
}
