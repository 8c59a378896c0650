//! What a policy looks for in columns that nobody named.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of value that is known by its looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Detector {
    /// Addresses of e-mail.
    Email,
    /// Numbers of payment cards: an issuer's first digits, and a check digit that holds.
    Card,
    /// International bank account numbers with check digits that hold.
    Iban,
    /// United States social security numbers, with their dashes.
    Ssn,
    /// Private keys in PEM.
    PrivateKey,
    /// Access keys of clouds and code hosts, by their prefixes.
    CloudKey,
    /// JSON web tokens.
    Jwt,
}

impl Detector {
    /// All there are, in their order.
    pub const ALL: [Self; 7] = [
        Self::Email,
        Self::Card,
        Self::Iban,
        Self::Ssn,
        Self::PrivateKey,
        Self::CloudKey,
        Self::Jwt,
    ];

    /// The word used in policies, records and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::Ssn => "ssn",
            Self::PrivateKey => "private-key",
            Self::CloudKey => "cloud-key",
            Self::Jwt => "jwt",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of detectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Detectors(u8);

impl Detectors {
    /// Whether it has none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it has this one.
    pub const fn has(self, detector: Detector) -> bool {
        self.0 & detector.bit() != 0
    }

    /// Those it has, in their order.
    pub fn iter(self) -> impl Iterator<Item = Detector> {
        Detector::ALL.into_iter().filter(move |detector| self.has(*detector))
    }
}

impl FromIterator<Detector> for Detectors {
    fn from_iter<I: IntoIterator<Item = Detector>>(detectors: I) -> Self {
        Self(detectors.into_iter().fold(0, |set, detector| set | detector.bit()))
    }
}
