//! The hash tree of RFC 9162 section 2.1 (the same as RFC 6962's), with SHA-256.
//!
//! What is kept of it are the hashes of its complete subtrees ([`Node`]): they never change when leaves are added. All that a
//! proof needs is the hash over some span of leaves, which is put together from a few of them. So whoever keeps nodes in a
//! database asks which ones are needed ([`Span::nodes`]), brings them, and computes.

use std::collections::BTreeMap;

use guard_core::Digest;
use sha2::{Digest as _, Sha256};

/// The longest proof: a tree of 2^64 leaves is 64 high, and a proof of consistency has one hash more.
pub(super) const MAX_HASHES: usize = 65;

/// A complete subtree: the leaves from `index * 2^level` on, 2^level of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// How high it is. 0: a leaf.
    pub level: u8,
    /// Which one of its level, from the left.
    pub index: u64,
}

/// Leaves that follow each other, of which a tree's own recursion (RFC 9162 section 2.1.1) makes one hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub start: u64,
    /// The one behind the last.
    pub end: u64,
}

/// Hashes of nodes.
pub type Nodes = BTreeMap<Node, Digest>;

/// The hash of a leaf.
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    let hash = Sha256::new().chain_update([0x00]).chain_update(leaf);
    Digest::from_bytes(hash.finalize().into())
}

/// The hash of what stands above two subtrees.
pub fn node_hash(left: Digest, right: Digest) -> Digest {
    let hash = Sha256::new().chain_update([0x01]);
    let hash = hash.chain_update(left.as_bytes()).chain_update(right.as_bytes());
    Digest::from_bytes(hash.finalize().into())
}

/// The root of a tree without leaves.
pub fn empty_root() -> Digest {
    Digest::of([])
}

/// The whole of a tree.
pub const fn root_span(size: u64) -> Span {
    Span { start: 0, end: size }
}

/// The spans whose hashes prove that a leaf is in a tree of a size (RFC 9162 section 2.1.3.1), the lowest first. `None` if the
/// tree does not have that leaf.
pub fn inclusion_spans(index: u64, size: u64) -> Option<Vec<Span>> {
    if index >= size {
        return None;
    }
    let mut spans = Vec::new();
    let mut here = root_span(size);
    while here.len() > 1 {
        let (left, right) = here.halves();
        if index < left.end {
            spans.push(right);
            here = left;
        } else {
            spans.push(left);
            here = right;
        }
    }
    spans.reverse();
    Some(spans)
}

/// The spans whose hashes prove that a tree of one size begins with the whole of a smaller one (RFC 9162 section 2.1.4.1).
/// `None` unless `0 < from <= to`.
pub fn consistency_spans(from: u64, to: u64) -> Option<Vec<Span>> {
    if from == 0 || from > to {
        return None;
    }
    let mut spans = Vec::new();
    let mut here = root_span(to);
    while here.end != from {
        let (left, right) = here.halves();
        if from <= left.end {
            spans.push(right);
            here = left;
        } else {
            spans.push(left);
            here = right;
        }
    }
    // The verifier knows the root of the old tree, if that is what is left.
    if here.start > 0 {
        spans.push(here);
    }
    spans.reverse();
    Some(spans)
}

/// Adds a leaf to a tree that has `size`: the new nodes, the leaf first. `nodes` needs those of [`root_span`]; they are
/// brought up to date. `None` if one is missing.
pub fn append(nodes: &mut Nodes, size: u64, leaf: Digest) -> Option<Vec<(Node, Digest)>> {
    let mut node = Node { level: 0, index: size };
    let mut hash = leaf;
    let mut new = vec![(node, hash)];
    while node.index % 2 == 1 {
        let left = nodes.get(&Node { index: node.index - 1, ..node })?;
        hash = node_hash(*left, hash);
        node = Node { level: node.level + 1, index: node.index / 2 };
        new.push((node, hash));
    }
    nodes.extend(new.iter().copied());
    Some(new)
}

/// Whether `proof` shows that a leaf is in the tree of `size` leaves that has this root (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(
    leaf: Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: Digest,
) -> bool {
    if index >= size {
        return false;
    }
    let (mut fn_, mut sn, mut hash) = (index, size - 1, leaf);
    for step in proof {
        if sn == 0 {
            return false;
        }
        if fn_ % 2 == 1 || fn_ == sn {
            hash = node_hash(*step, hash);
            while fn_.is_multiple_of(2) && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            hash = node_hash(hash, *step);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    sn == 0 && hash == root
}

/// Whether `proof` shows that the tree with `new_root` begins with all leaves of the one with `old_root` (RFC 9162 section
/// 2.1.4.2). Two trees of one size are consistent if they are the same, and need no proof. The empty tree is the beginning
/// of nothing here: it has nothing that could be kept.
pub fn verify_consistency(
    (from, old_root): (u64, Digest),
    (to, new_root): (u64, Digest),
    proof: &[Digest],
) -> bool {
    if from == 0 || from > to {
        return false;
    }
    if from == to {
        return proof.is_empty() && old_root == new_root;
    }
    let mut steps = proof.iter();
    let first = if from.is_power_of_two() { Some(&old_root) } else { steps.next() };
    let Some(first) = first else { return false };
    let (mut fn_, mut sn) = (from - 1, to - 1);
    while fn_ % 2 == 1 {
        fn_ >>= 1;
        sn >>= 1;
    }
    let (mut old, mut new) = (*first, *first);
    for step in steps {
        if sn == 0 {
            return false;
        }
        if fn_ % 2 == 1 || fn_ == sn {
            old = node_hash(*step, old);
            new = node_hash(*step, new);
            while fn_.is_multiple_of(2) && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            new = node_hash(new, *step);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    sn == 0 && old == old_root && new == new_root
}

impl Span {
    const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Parts at the largest power of two that is smaller than its length, which is more than one.
    fn halves(self) -> (Self, Self) {
        let middle = self.start + (1 << (self.len() - 1).ilog2());
        (Self { end: middle, ..self }, Self { start: middle, ..self })
    }

    /// The nodes that its hash is made of, from the left.
    pub fn nodes(self) -> Vec<Node> {
        let mut nodes = Vec::new();
        let mut here = self;
        while here.len() > 0 {
            if here.len().is_power_of_two() {
                let level = here.len().ilog2();
                nodes.push(Node {
                    level: u8::try_from(level).unwrap_or(u8::MAX),
                    index: here.start >> level,
                });
                break;
            }
            let (left, right) = here.halves();
            let level = left.len().ilog2();
            nodes.push(Node {
                level: u8::try_from(level).unwrap_or(u8::MAX),
                index: left.start >> level,
            });
            here = right;
        }
        nodes
    }

    /// Its hash. `None` if one of its nodes is missing.
    pub fn hash(self, nodes: &Nodes) -> Option<Digest> {
        let mut hash = None;
        for node in self.nodes().iter().rev() {
            let left = *nodes.get(node)?;
            hash = Some(hash.map_or(left, |right| node_hash(left, right)));
        }
        Some(hash.unwrap_or_else(empty_root))
    }
}
