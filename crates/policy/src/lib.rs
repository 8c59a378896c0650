//! The two pure questions: may this run have a session ([`TrustRules::admit`]), and may this
//! session do this ([`Policy::judge`])? Both are total and have no clock of their own.
//!
//! Around them: how policies, trust rules and the cases of a policy are read, each with every problem
//! of a file reported at once.

mod cases;
mod openapi;
mod policy;
#[cfg(test)]
mod schemas;
mod trust;

pub use cases::{Case, CaseTable, CaseText, Cases};
pub use openapi::{MAX_OPENAPI, fuzz_openapi, parse as parse_openapi};
pub use policy::{
    ClientCredentials, Fingerprints, LockFile, LockText, LockedResource, LockedStatement, Policy,
    Privileges, fuzz_policy,
};
pub use trust::{
    Admission, Conditions, Explained, Gate, Outcome, Request, TrustContext, TrustIssuer,
    TrustRules, Who, fuzz_trust, one_name,
};
