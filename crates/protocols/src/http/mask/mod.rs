//! Masks on JSON while it comes in, and on forms, headers and cookies.
//!
//! A text is rewritten chunk by chunk, wherever chunks begin and end. What is not masked goes through byte by byte, and at once;
//! what is held back is one masked string or number ([`MAX_VALUE`]; a longer one is redacted) and a member's name
//! ([`MAX_KEY`]; a longer one is nobody's).
//!
//! What a mask makes of a value: a string stays a string, a number a number, true and false become false, null stays null. The
//! elements of an array are masked one by one. An object becomes `{}`, as its names may be what is to be hidden. The mask `null` makes
//! null of everything.
//!
//! Whatever is not JSON as RFC 8259 has it, in UTF-8, is [`Malformed`]: nothing more of it may go on then.

mod cookies;
mod events;
mod form;
pub(crate) mod fuzz;
mod json;
mod kind;
mod lexer;
mod lines;
mod look;
mod names;
mod paths;
#[cfg(test)]
mod tests;
mod utf8;
mod value;

pub(super) use self::{cookies::set_cookie, value::Hider};
pub use self::{
    events::EventsMasker,
    form::FormMasker,
    json::JsonMasker,
    kind::{Kind, Looks},
    lines::LinesMasker,
    look::Looker,
    names::NameMasks,
    paths::JsonMasks,
};

pub(crate) use crate::mask::MAX_VALUE;

/// Longest name that is read, in bytes as written: every letter of the longest that a mask can have may be an escape, and in its
/// other case be several.
pub const MAX_KEY: usize = 16 * guard_core::http::MAX_JSON_KEY;

/// How deep arrays and objects may be in each other.
pub const MAX_DEPTH: usize = 128;

/// A text that cannot be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be masked, at byte {at}: {why}")]
pub struct Malformed {
    /// How many bytes came before.
    pub at: u64,
    /// What is wrong.
    pub why: &'static str,
}
