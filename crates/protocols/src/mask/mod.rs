//! What a mask makes of one value, whatever protocol it comes in.
//!
//! Texts, ids and numbers are hidden here and in one way, so that what is equal stays equal across the protocols of a
//! session. How values travel, and where in an answer they stand, is each protocol's own.

mod hash;
mod key;
mod numbers;
mod partial;
mod permute;
mod shape;

pub use hash::MASKED_ADDRESS;
pub(crate) use hash::{hash_integer, hash_text, hash_uuid, hash_uuid_text};
pub(crate) use key::{MaskKey, MaskKeys};
pub(crate) use numbers::{shape_decimal, shape_integer};
pub(crate) use partial::partial;
pub(crate) use permute::{Purpose, Room, permute};
pub(crate) use shape::shape_text;

/// Stands for a value that was redacted, where a text may stand.
pub(crate) const MASKED: &str = "[masked]";

/// Longest value that is read whole to be masked, in bytes. A longer one is redacted whatever its mask,
/// so that memory stays bounded; hashes and last characters of such values have no use.
pub(crate) const MAX_VALUE: usize = 64 << 10;
