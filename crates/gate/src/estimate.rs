//! How many rows an operation is about, by the word of the server's planner.

use guard_core::Denial;

/// What is known of how many rows an operation changes or returns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Estimate {
    /// Nobody has asked. If a rule or people want to know, the answer to the operation is
    /// [`Verdict::Estimate`](crate::Verdict::Estimate).
    #[default]
    NotAsked,
    /// The planner expects so many.
    Rows(u64),
    /// There is none, for this reason: rules that bound rows do not match.
    Unknown(&'static str),
}

impl Estimate {
    /// The number, if there is one.
    pub const fn rows(&self) -> Option<u64> {
        match self {
            Self::Rows(rows) => Some(*rows),
            Self::NotAsked | Self::Unknown(_) => None,
        }
    }

    /// A denial that depends on it, with what it was.
    pub(crate) fn explains(&self, denial: &Denial) -> Denial {
        let own = match self {
            Self::Rows(1) => "the server's planner expects 1 row".to_owned(),
            Self::Rows(rows) => format!("the server's planner expects {rows} rows"),
            Self::NotAsked => {
                "the server's planner was not asked how many rows it is about".to_owned()
            }
            Self::Unknown(why) => format!("how many rows it is about is not known: {why}"),
        };
        let detail = match &denial.detail {
            Some(detail) => format!("{detail}; {own}"),
            None => own,
        };
        Denial { detail: Some(detail), ..denial.clone() }
    }
}
