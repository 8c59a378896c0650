//! Proofs that a newer tree begins with the whole of an older one, as a text.
//!
//! ```text
//! guard-consistency/1
//! from 12
//! to 20
//! <a hash in base64 a line, in the order of RFC 9162 section 2.1.4>
//! ```

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::Digest;

use super::{
    checkpoint::{Checkpoint, hash, number},
    tree::{MAX_HASHES, verify_consistency},
};

const FIRST: &str = "guard-consistency/1";

/// A proof of consistency between two sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consistency {
    /// The older size.
    pub from: u64,
    /// The newer one.
    pub to: u64,
    /// The hashes.
    pub hashes: Vec<Digest>,
}

impl Consistency {
    /// Reads one. `None` if it has another form.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != FIRST {
            return None;
        }
        let from = number(lines.next()?.strip_prefix("from ")?)?;
        let to = number(lines.next()?.strip_prefix("to ")?)?;
        let mut hashes = Vec::new();
        for line in lines {
            if hashes.len() >= MAX_HASHES {
                return None;
            }
            hashes.push(hash(line)?);
        }
        Some(Self { from, to, hashes })
    }

    /// Whether it shows that the newer tree begins with all of the older one.
    pub fn proves(&self, older: &Checkpoint, newer: &Checkpoint) -> bool {
        older.origin == newer.origin
            && (older.size, newer.size) == (self.from, self.to)
            && verify_consistency((older.size, older.root), (newer.size, newer.root), &self.hashes)
    }
}

/// The form in which it is kept and sent.
impl std::fmt::Display for Consistency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = format!("{FIRST}\nfrom {}\nto {}\n", self.from, self.to);
        for hash in &self.hashes {
            writeln!(text, "{}", STANDARD.encode(hash.as_bytes()))?;
        }
        f.write_str(&text)
    }
}

/// Reads whatever is given as a proof of consistency. Must not panic, and what it reads it writes the same again.
#[allow(clippy::panic, reason = "a fuzz target's finding")]
pub fn fuzz_consistency(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(proof) = Consistency::parse(text) else { return };
    assert_eq!(proof.to_string(), text, "a proof of consistency has one form");
    let checkpoint = |size| Checkpoint { origin: "o".into(), size, root: Digest::ZERO };
    let _ = proof.proves(&checkpoint(proof.from), &checkpoint(proof.to));
}
