//! Values that must not end up in a log by accident.

use std::fmt;

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A credential. Zeroized on drop, never printed; [`Secret::expose`] is the one way to read it.
#[derive(Clone)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, format = Password))]
pub struct Secret(secrecy::SecretString);

impl Secret {
    /// Takes ownership of a secret.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(secrecy::SecretString::from(text.into()))
    }

    /// The secret itself. Each caller is a place that a reviewer looks at.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Written out in full: the control plane's leases carry credentials over TLS.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// A value of a job, such as a statement's text: recorded, shown in reports, kept out of logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sensitive<T>(T);

impl<T> Sensitive<T> {
    /// Marks a value as one that logs must not show.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, taken out.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// The value itself.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<sensitive>")
    }
}
