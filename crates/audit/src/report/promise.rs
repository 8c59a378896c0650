//! What an enforcement point promises, in the words that a report uses.

use guard_core::EnforceAt;
use serde::Serialize;

/// How far a promise holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// Without a condition.
    Yes,
    /// Under the condition that it names.
    Unless,
    /// It does not.
    No,
}

/// One promise and how far it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promise {
    /// What is promised.
    pub promise: &'static str,
    /// How far it holds.
    pub holds: Holds,
    /// In words.
    pub words: &'static str,
}

const CREDENTIAL: &str = "the credential is never in the job's machine";
const TOKEN: &str = "a stolen session token is useless without the session's key";
const STATEMENTS: &str = "no statement reaches the resource unjudged or unrecorded";
const END: &str = "the session ends with its run, and its live statements with it";
const RECORD: &str = "a change to any byte of a sealed record is found, offline";
const CLOSED: &str = "when the broker or the record fails, guard closes";

/// What enforcement at a place promises.
pub(super) fn promises(enforce_at: EnforceAt) -> Vec<Promise> {
    let yes = |promise| Promise { promise, holds: Holds::Yes, words: "yes" };
    let (credential, statements) = match enforce_at {
        EnforceAt::Gateway => (
            yes(CREDENTIAL),
            Promise {
                promise: STATEMENTS,
                holds: Holds::Yes,
                words: "yes, even with root in the job",
            },
        ),
        EnforceAt::Shim => (
            Promise {
                promise: CREDENTIAL,
                holds: Holds::No,
                words: "no: it was in the shim's memory, which the job's user cannot read",
            },
            Promise {
                promise: STATEMENTS,
                holds: Holds::Unless,
                words: "yes, unless the job had root",
            },
        ),
    };
    vec![credential, yes(TOKEN), statements, yes(END), yes(RECORD), yes(CLOSED)]
}
