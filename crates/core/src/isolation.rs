//! How much of the machine a run's command is kept from.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A level of isolation of the child, the weakest first: each stops what the ones before it stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Isolation {
    /// No platform's token in its environment, and no new privileges.
    Env,
    /// Landlock and seccomp besides: no way out of the machine but guard's listeners.
    Landlock,
    /// Namespaces of its own besides: a network, processes and temporary files that nobody else is in.
    Strict,
}

impl Isolation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Env, Self::Landlock, Self::Strict];

    /// The word used in files, records and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Landlock => "landlock",
            Self::Strict => "strict",
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no level of isolation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoIsolation;

impl fmt::Display for NoIsolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the levels of isolation are `strict`, `landlock` and `env`")
    }
}

impl std::error::Error for NoIsolation {}

impl FromStr for Isolation {
    type Err = NoIsolation;

    fn from_str(text: &str) -> Result<Self, NoIsolation> {
        Self::ALL.into_iter().find(|level| level.as_str() == text).ok_or(NoIsolation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_levels_are_in_order_and_each_is_read_back() {
        assert!(Isolation::Env < Isolation::Landlock && Isolation::Landlock < Isolation::Strict);
        for level in Isolation::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
        }
        assert_eq!("none".parse::<Isolation>(), Err(NoIsolation));
    }
}
