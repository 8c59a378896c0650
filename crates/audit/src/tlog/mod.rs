//! The transparency log: one Merkle tree over the seals of all sessions and the changes of the sealing key.
//!
//! A seal vouches for one record. The log vouches that no record disappeared: each seal is a leaf of a tree that only
//! grows (RFC 9162), its root is signed as a checkpoint (<https://c2sp.org/tlog-checkpoint>), and whoever kept an older
//! checkpoint can ask for a proof that the newer tree holds all of it. Pure: hashes and texts in, hashes and texts out.

mod bundle;
mod checkpoint;
mod consistency;
mod leaf;
mod note;
mod proof;
mod tree;

pub use bundle::{
    Bundle, BundleError, Followed, Kept, LogProblem, Logged, follow_keys, verify_bundle,
    verify_kept,
};
pub use checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint, fuzz_checkpoint};
pub use consistency::{Consistency, fuzz_consistency};
pub use leaf::{Leaf, fuzz_leaf};
pub use note::{MAX_NOTE, Note, NoteError, fuzz_note, key_hash, verifier_key};
pub use proof::{KeyLeaf, MAX_PROOF, Proof, ProofError, fuzz_proof};
pub use tree::{
    Node, Nodes, Span, append, consistency_spans, empty_root, inclusion_spans, leaf_hash,
    node_hash, root_span, verify_consistency, verify_inclusion,
};

/// Reads whatever is given as each of the texts of a log. Must not panic.
pub fn fuzz_tlog(data: &[u8]) {
    fuzz_note(data);
    fuzz_checkpoint(data);
    fuzz_consistency(data);
    fuzz_leaf(data);
    fuzz_proof(data);
}

#[cfg(test)]
mod tests;
