//! Forms (`application/x-www-form-urlencoded`, <https://url.spec.whatwg.org/#urlencoded-parsing>) while they come in.
//!
//! Names go on as they are; of a masked field the value is held, up to [`MAX_VALUE`], and written anew; of others, too, where detectors look,
//! and a longer one is redacted. Some servers end a field at `;`
//! as well: what is a masked field to one reader or the other is masked.

use std::{borrow::Cow, sync::Arc};

use guard_core::{Detector, Detectors, Masking};

use super::{MAX_KEY, MAX_VALUE, look::with_keys_of_accounts, names::NameMasks, value::Hider};
use crate::detect::{Found, hide};

/// Rewrites one form.
pub struct FormMasker {
    masks: Arc<NameMasks>,
    hider: Hider,
    at: At,
    /// The beginning of the name.
    name: Vec<u8>,
    /// What is held of a masked value, and whether there was more.
    held: Vec<u8>,
    too_long: bool,
    masked: u64,
    detectors: Detectors,
    found: Found,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Name,
    Value,
    Masked(Masking),
    /// In a value in which detectors look.
    Looked,
}

impl FormMasker {
    /// With the session's key and a lasting one, if the resource has one.
    pub fn new(masks: Arc<NameMasks>, run: &[u8], lasting: Option<&[u8]>) -> Self {
        Self {
            masks,
            hider: Hider::new(run, lasting),
            at: At::Name,
            name: Vec::new(),
            held: Vec::new(),
            too_long: false,
            masked: 0,
            detectors: Detectors::default(),
            found: Found::default(),
        }
    }

    /// The same, which looks for values in all other fields.
    #[must_use]
    pub fn detecting(mut self, detectors: Detectors) -> Self {
        self.detectors = with_keys_of_accounts(detectors);
        self
    }

    /// Takes the next bytes, and appends what may go on.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let end = match self.at {
                At::Name => memchr::memchr3(b'=', b'&', b';', rest),
                At::Value | At::Looked => memchr::memchr2(b'&', b';', rest),
                At::Masked(_) => memchr::memchr(b'&', rest),
            };
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            match self.at {
                At::Name => {
                    let room = MAX_KEY.saturating_sub(self.name.len());
                    self.name.extend_from_slice(part.get(..room).unwrap_or(part));
                    out.extend_from_slice(part);
                }
                At::Value => out.extend_from_slice(part),
                At::Masked(_) | At::Looked => {
                    self.too_long |= self.held.len() + part.len() > MAX_VALUE;
                    if !self.too_long {
                        self.held.extend_from_slice(part);
                    }
                }
            }
            let Some((border, after)) = after.split_first() else { return };
            self.border(*border, out);
            out.push(*border);
            rest = after;
        }
    }

    /// Says that there is no more.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.end_value(out);
        self.at = At::Name;
    }

    /// How many values were hidden.
    pub const fn masked(&self) -> u64 {
        self.masked
    }

    /// How often each detector found something.
    pub fn found(&self) -> impl Iterator<Item = (Detector, u64)> {
        Detector::ALL.into_iter().zip(self.found).filter(|(_, count)| *count > 0)
    }

    fn border(&mut self, border: u8, out: &mut Vec<u8>) {
        if border == b'=' && self.at == At::Name {
            let name = decoded(&self.name);
            let masking = self.masks.of_form(&String::from_utf8_lossy(&name));
            let open = if self.detectors.is_empty() { At::Value } else { At::Looked };
            self.at = masking.map_or(open, At::Masked);
            return;
        }
        self.end_value(out);
        self.name.clear();
        self.at = At::Name;
    }

    fn end_value(&mut self, out: &mut Vec<u8>) {
        match self.at {
            At::Name | At::Value => return,
            At::Masked(masking) => {
                let text = decoded(&self.held);
                let hidden = self.hider.text(masking, (!self.too_long).then_some(&text));
                write(&hidden.unwrap_or_default(), out);
                self.masked += 1;
            }
            At::Looked if self.too_long => {
                write(b"[masked]", out);
                self.masked += 1;
            }
            At::Looked => {
                let mut text = decoded(&self.held);
                if hide(self.detectors, &mut text, false, &mut self.found) {
                    write(&text, out);
                } else {
                    out.extend_from_slice(&self.held);
                }
            }
        }
        self.held.clear();
        self.too_long = false;
    }
}

fn write(value: &[u8], out: &mut Vec<u8>) {
    for piece in url::form_urlencoded::byte_serialize(value) {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// A name or value as it is meant.
fn decoded(text: &[u8]) -> Vec<u8> {
    let plain: Cow<'_, [u8]> = if text.contains(&b'+') {
        text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect()
    } else {
        text.into()
    };
    percent_encoding::percent_decode(&plain).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use guard_core::{Mask, http::FieldName};

    use super::*;

    fn mask(how: Mask, text: &str) -> String {
        let names: Vec<FieldName> = ["email", "user[ssn]"].map(|name| name.parse().unwrap()).into();
        let masks = Arc::new(NameMasks::new(names.iter().map(|name| (name, how.into()))));
        let run = |size: usize| {
            let mut masker = FormMasker::new(masks.clone(), &[3; 32], None);
            let mut out = Vec::new();
            text.as_bytes().chunks(size).for_each(|piece| masker.push(piece, &mut out));
            masker.finish(&mut out);
            String::from_utf8(out).unwrap()
        };
        let whole = run(text.len().max(1));
        for size in 1..=4 {
            assert_eq!(run(size), whole, "{text} by {size}");
        }
        whole
    }

    #[test]
    fn what_is_named_is_masked_and_nothing_else() {
        const M: &str = "%5Bmasked%5D";
        for (text, expected) in [
            ("", String::new()),
            ("a=1", "a=1".to_owned()),
            ("email=ann%40shop.example&a=1", format!("email={M}&a=1")),
            ("a=1&email=x", format!("a=1&email={M}")),
            ("%65mail=x", format!("%65mail={M}")),
            ("%45%4d%41il=x", format!("%45%4d%41il={M}")),
            (
                "+email+=x&email[]=y&email%5B0%5D=z",
                format!("+email+={M}&email[]={M}&email%5B0%5D={M}"),
            ),
            ("email=a&email=b", format!("email={M}&email={M}")),
            (
                "user[ssn]=1&user%5Bssn%5D=2&user[a]=3",
                format!("user[ssn]={M}&user%5Bssn%5D={M}&user[a]=3"),
            ),
            ("email==x=y", format!("email={M}")),
            ("email", "email".to_owned()),
            ("email=", format!("email={M}")),
            // Two readings of `;`: a part of the value, and its end.
            ("email=a;b=c", format!("email={M}")),
            ("a=1;email=x;y&b=2", format!("a=1;email={M}&b=2")),
            ("a;email=x", format!("a;email={M}")),
            ("&&email=x&&", format!("&&email={M}&&")),
            ("a=email=x", "a=email=x".to_owned()),
            ("a=%26email%3Dx", "a=%26email%3Dx".to_owned()),
        ] {
            assert_eq!(mask(Mask::Redact, text), expected, "{text}");
        }
        assert_eq!(mask(Mask::Null, "email=x&a=1"), "email=&a=1");
        assert_eq!(mask(Mask::Partial, "email=4111+1111+1111+1234"), "email=****+****+****+1234");
        let hashed = mask(Mask::Hash, "email=ann@shop.example&email=ann%40shop.example");
        let (one, other) = hashed.split_once('&').unwrap();
        assert!(one == other && one.ends_with("%40masked.invalid"), "{hashed}");
        assert_eq!(mask(Mask::Hash, "email=%ff"), format!("email={M}"), "no text");
        let looked = |text: &str| {
            let masks = Arc::new(NameMasks::default());
            let all = Detector::ALL.into_iter().collect();
            let mut masker = FormMasker::new(masks, &[3; 32], None).detecting(all);
            let mut out = Vec::new();
            text.as_bytes().chunks(3).for_each(|piece| masker.push(piece, &mut out));
            masker.finish(&mut out);
            (String::from_utf8(out).unwrap(), masker.found().collect::<Vec<_>>())
        };
        let (text, found) =
            looked("a=%61nn%40b.example&b=+1%zz&ann@b.example;c=4111+1111+1111+1111");
        let stars = "*".repeat(13);
        assert_eq!(text, format!("a={stars}&b=+1%zz&ann@b.example;c={}", "*".repeat(19)));
        assert_eq!(found, [(Detector::Email, 1), (Detector::Card, 1)]);
        let (text, _) = looked(&format!("a={}&b=1", "x".repeat(MAX_VALUE + 1)));
        assert_eq!(text, format!("a={M}&b=1"));
        let long = format!("email={}&a=1", "x".repeat(MAX_VALUE + 1));
        assert_eq!(mask(Mask::Hash, &long), format!("email={M}&a=1"));
        let long = format!("email[{}]=x", "x".repeat(MAX_KEY));
        assert!(mask(Mask::Redact, &long).ends_with(M));
    }
}
