//! Values that the session's policies have detectors for: addresses, numbers of cards and accounts, social security numbers. What a resource
//! gives is hidden before the command has it; the command may have such values from elsewhere.

use guard_core::{Detector, Detectors};
use guard_engine::{MASKED_ADDRESS, places};

/// So much is waited for of what may be one. The longest is an address (RFC 5321, section 4.5.3.1): 64 bytes, an `@` and 255.
const LONGEST: usize = 384;

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(in crate::command::run) struct Values(Detectors);

impl Values {
    /// Those of these that are data: for secrets guard looks anyway.
    pub(in crate::command::run) fn new(detect: &[Detector]) -> Self {
        let is_data = |it: &&Detector| match it {
            Detector::Email | Detector::Card | Detector::Iban | Detector::Ssn => true,
            Detector::PrivateKey | Detector::CloudKey | Detector::Jwt => false,
        };
        Self(detect.iter().filter(is_data).copied().collect())
    }

    /// Where values are, but for addresses that masks made.
    pub(super) fn found(self, text: &[u8]) -> Vec<(usize, usize)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let mut places = places(self.0, text);
        places.retain(|(start, end)| {
            text.get(*start..*end).is_some_and(|value| !value.ends_with(MASKED_ADDRESS))
        });
        places
    }

    /// Where a value may have begun that goes on behind the end of the text; the text's length if none has.
    pub(super) fn unfinished(self, text: &[u8]) -> usize {
        let mut from = text.len();
        if self.0.is_empty() {
            return from;
        }
        let least = from.saturating_sub(LONGEST);
        while from > least {
            let place = |at: usize| text.get(at).copied().unwrap_or_default();
            let is_of_one = match place(from - 1) {
                b' ' => {
                    is_of_group(place(from.wrapping_sub(2)))
                        && (from == text.len() || is_of_group(place(from)))
                }
                byte => is_of_value(byte),
            };
            if !is_of_one {
                break;
            }
            from -= 1;
        }
        from
    }
}

/// Whether a byte can be within a value.
const fn is_of_value(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'@' | 0x80..)
}

/// Whether a byte can stand beside the blank between two groups of a number.
const fn is_of_group(byte: u8) -> bool {
    byte.is_ascii_digit() || byte.is_ascii_uppercase()
}
