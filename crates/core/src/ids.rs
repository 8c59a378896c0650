//! Identifiers and names, each its own type so that one cannot stand in for another.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// Wraps a UUID, version 7 by convention, that the caller made.
            pub const fn from_uuid(id: uuid::Uuid) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id!(
    /// One session: a run's grants, bound to a key that only the shim holds.
    SessionId
);
uuid_id!(
    /// One credential taken for one session.
    LeaseId
);
uuid_id!(
    /// One request that people decide on.
    ApprovalId
);
uuid_id!(
    /// One attempt to go past the resources.
    EgressId
);

/// A name that is not usable where it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a name: use 1 to 63 of a-z, 0-9, `-` and `_`, starting with a letter")]
pub struct InvalidName {
    /// What was given.
    pub name: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[a-z][a-z0-9_-]{0,62}$"))]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and wraps a name: 1 to 63 of `a-z 0-9 - _`, starting with a letter.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                let mut bytes = name.bytes();
                let starts = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
                let goes_on =
                    bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
                if starts && goes_on && name.len() <= 63 {
                    Ok(Self(name.into()))
                } else {
                    Err(InvalidName { name: name.chars().take(80).collect() })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(&name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`{}`", self.0)
            }
        }
    };
}

name!(
    /// A resource: a thing behind guard.
    ResourceName
);
name!(
    /// A policy.
    PolicyName
);
name!(
    /// What a job calls one of its commands under guard.
    StepName
);
name!(
    /// A rule inside a policy or a trust rule. The rule `default-deny` is guard's own.
    RuleId
);

impl RuleId {
    /// The rule that blocks what no rule of a policy matched.
    pub fn default_deny() -> Self {
        Self("default-deny".into())
    }

    /// The rule that stands for the `masks` section of a policy.
    pub fn masks() -> Self {
        Self("masks".into())
    }

    /// The rule that stands for the `budgets` section of a policy.
    pub fn budgets() -> Self {
        Self("budgets".into())
    }

    /// The rule that stands for the `lock` section of a policy.
    pub fn lock() -> Self {
        Self("lock".into())
    }

    /// The rule that blocks what guard itself refuses whatever a policy says, such as a
    /// message that is too large to be understood.
    pub fn built_in() -> Self {
        Self("built-in".into())
    }
}

/// A SHA-256 digest, written in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{64}$"))]
pub struct Digest([u8; 32]);

impl Digest {
    /// All zero: stands before the first entry of a chain.
    pub const ZERO: Self = Self([0; 32]);

    /// [`Digest::ZERO`], for what is left out of a document.
    pub const fn zero() -> Self {
        Self::ZERO
    }

    /// The digest of some bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Wraps 32 bytes that are a SHA-256 digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

/// The text of a [`Digest`]. On the stack: a record has some of these in every line.
struct Digits([u8; 64]);

impl Digits {
    fn of(digest: &Digest) -> Self {
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(digest.0) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        Self(digits)
    }

    fn as_str(&self) -> &str {
        // INVARIANT: hexadecimal digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Digits::of(self).as_str())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Digits::of(self).as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ERROR: &str = "a SHA-256 digest is 64 lower-case hexadecimal digits";
        let mut bytes = [0_u8; 32];
        if text.len() != 64
            || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Err(ERROR);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| ERROR)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ERROR)?;
        }
        Ok(Self(bytes))
    }
}
