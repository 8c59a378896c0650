//! The tree against a naive one and the vectors of others; notes and proofs; attacks on a bundle, each of which has to be found.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

use guard_core::{Digest, EnforceAt};

use super::*;
use crate::{PublicKey, SealingKey, VerifyError, fixture};

/// The definitions of RFC 9162 section 2.1, word for word.
mod naive {
    use super::*;

    fn split(size: usize) -> usize {
        1 << (size - 1).ilog2()
    }

    pub(super) fn root(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            leaves => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                node_hash(root(left), root(right))
            }
        }
    }

    pub(super) fn inclusion(index: usize, leaves: &[Digest]) -> Vec<Digest> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        if index < left.len() {
            [inclusion(index, left), vec![root(right)]].concat()
        } else {
            [inclusion(index - left.len(), right), vec![root(left)]].concat()
        }
    }

    pub(super) fn consistency(from: usize, leaves: &[Digest], whole: bool) -> Vec<Digest> {
        if from == leaves.len() {
            return if whole { Vec::new() } else { vec![root(leaves)] };
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        if from <= left.len() {
            [consistency(from, left, whole), vec![root(right)]].concat()
        } else {
            [consistency(from - left.len(), right, false), vec![root(left)]].concat()
        }
    }
}

/// A tree as a broker keeps it.
#[derive(Default)]
struct Tree {
    nodes: Nodes,
    leaves: Vec<Digest>,
}

impl Tree {
    fn of(size: usize) -> Self {
        let mut tree = Self::default();
        for number in 0..size {
            tree.push(leaf_hash(format!("leaf {number}").as_bytes()));
        }
        tree
    }

    fn push(&mut self, leaf: Digest) {
        append(&mut self.nodes, self.leaves.len() as u64, leaf).unwrap();
        self.leaves.push(leaf);
    }

    fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    fn root(&self, size: u64) -> Digest {
        root_span(size).hash(&self.nodes).unwrap()
    }

    fn hashes(&self, spans: Option<Vec<Span>>) -> Vec<Digest> {
        spans.unwrap().into_iter().map(|span| span.hash(&self.nodes).unwrap()).collect()
    }

    fn inclusion(&self, index: u64, size: u64) -> Vec<Digest> {
        self.hashes(inclusion_spans(index, size))
    }

    fn consistency(&self, from: u64, to: u64) -> Consistency {
        Consistency { from, to, hashes: self.hashes(consistency_spans(from, to)) }
    }
}

#[test]
fn roots_are_those_that_certificate_transparency_tests_with() {
    // https://github.com/transparency-dev/merkle, the reference leaves.
    let leaves: [&[u8]; 8] = [
        &[],
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
            0x6e, 0x6f,
        ],
    ];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = Tree::default();
    for (size, expected) in roots.iter().enumerate() {
        assert_eq!(tree.root(size as u64).to_string(), *expected, "{size}");
        if let Some(leaf) = leaves.get(size) {
            tree.push(leaf_hash(leaf));
        }
    }
}

#[test]
fn every_proof_of_every_small_tree_is_the_naive_one_and_holds_for_nothing_else() {
    let tree = Tree::of(70);
    for size in 1..=tree.size() {
        let leaves = &tree.leaves[..size as usize];
        let root = tree.root(size);
        assert_eq!(root, naive::root(leaves), "{size}");
        for index in 0..size {
            let proof = tree.inclusion(index, size);
            assert_eq!(proof, naive::inclusion(index as usize, leaves), "{index} of {size}");
            let leaf = leaves[index as usize];
            assert!(verify_inclusion(leaf, index, size, &proof, root));
            assert!(!verify_inclusion(leaf, index + 1, size, &proof, root));
            assert!(!verify_inclusion(root, index, size, &proof, leaf_hash(b"x")));
            let longer = [&proof[..], &[leaf]].concat();
            assert!(!verify_inclusion(leaf, index, size, &longer, root));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(!verify_inclusion(leaf, index, size, shorter, root));
            }
        }
        for from in 1..=size {
            let proof = tree.consistency(from, size).hashes;
            assert_eq!(proof, naive::consistency(from as usize, leaves, true), "{from} to {size}");
            let (old, new) = ((from, tree.root(from)), (size, root));
            assert!(verify_consistency(old, new, &proof), "{from} to {size}");
            let other = leaf_hash(b"other");
            assert!(!verify_consistency((from, other), new, &proof));
            assert!(!verify_consistency(old, (size, other), &proof));
            for position in 0..proof.len() {
                let mut changed = proof.clone();
                changed[position] = other;
                assert!(!verify_consistency(old, new, &changed));
            }
            let longer = [&proof[..], &[other]].concat();
            assert!(!verify_consistency(old, new, &longer));
        }
    }
    assert!(inclusion_spans(3, 3).is_none() && consistency_spans(0, 3).is_none());
    assert!(consistency_spans(4, 3).is_none());
    assert!(!verify_consistency((0, empty_root()), (1, tree.root(1)), &[]));
}

proptest::proptest! {
    #[test]
    fn proofs_are_the_naive_ones_for_any_size(size in 1_usize..2000, at in 0_usize..2000, from in 1_usize..2000) {
        let tree = Tree::of(size);
        let (index, from) = (at % size, 1 + from % size);
        let root = tree.root(size as u64);
        assert_eq!(root, naive::root(&tree.leaves));
        let proof = tree.inclusion(index as u64, size as u64);
        assert_eq!(proof, naive::inclusion(index, &tree.leaves));
        assert!(verify_inclusion(tree.leaves[index], index as u64, size as u64, &proof, root));
        let proof = tree.consistency(from as u64, size as u64).hashes;
        assert_eq!(proof, naive::consistency(from, &tree.leaves, true));
        let old = (from as u64, tree.root(from as u64));
        assert!(verify_consistency(old, (size as u64, root), &proof));
    }

    #[test]
    fn proofs_of_huge_trees_neither_panic_nor_hang(index: u64, size: u64, from: u64) {
        for spans in [inclusion_spans(index, size), consistency_spans(from, size)].into_iter().flatten() {
            assert!(spans.len() <= tree::MAX_HASHES);
            for span in spans {
                assert!(span.nodes().len() <= 64);
            }
        }
        let hashes = vec![Digest::ZERO; 70];
        assert!(!verify_inclusion(Digest::ZERO, index, size, &hashes, Digest::ZERO));
        assert!(!verify_consistency((from, Digest::ZERO), (size, Digest::ZERO), &hashes));
    }
}

#[test]
fn a_note_of_the_reference_implementation_is_read_and_verified() {
    // golang.org/x/mod/sumdb/note, the example of its documentation.
    let key = PublicKey::from_bytes([
        0x1a, 0x5c, 0xd9, 0x07, 0x14, 0x3c, 0x38, 0x4c, 0x41, 0xe8, 0x30, 0xc5, 0xbc, 0xe1, 0x2a,
        0xa8, 0x81, 0x7e, 0xc5, 0x64, 0x9a, 0xaa, 0xbf, 0x2c, 0x31, 0x38, 0x8b, 0x35, 0xb2, 0xd7,
        0x44, 0xd6,
    ]);
    let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert_eq!(verifier_key("PeterNeumann", &key), vkey);
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n\n\
                \u{2014} PeterNeumann \
                x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let note = Note::parse(text).unwrap();
    assert_eq!(note.to_string(), text);
    let keys = [key];
    let (found, signer) = note.verify("PeterNeumann", &keys).unwrap();
    assert!(found.ends_with("your problem is.\n") && *signer == key);
    let other = SealingKey::generate().unwrap().public();
    assert_eq!(note.verify("PeterNeumann", &[other]), Err(NoteError::UnknownKeys));
    assert_eq!(note.verify("Peter", &[key]), Err(NoteError::UnknownKeys));
    let changed = Note::parse(&text.replace("know", "now")).unwrap();
    assert!(matches!(changed.verify("PeterNeumann", &[key]), Err(NoteError::Signature(_))));
}

#[test]
fn what_is_no_note_is_no_note() {
    let key = SealingKey::generate().unwrap();
    let good = Note::sign("text\n".into(), "example.com/log", &key).to_string();
    Note::parse(&good).unwrap();
    let name = "example.com/log";
    for bad in [
        String::new(),
        "text\n".into(),
        "text\n\n".into(),
        good.trim_end().to_owned(),
        good.replace('\u{2014}', "-"),
        good.replace(name, ""),
        good.replace(name, "a+b"),
        good.replace(name, "a\u{2003}b"),
        good.replace("text", "te\txt"),
        good.replace("\n\n", "\n"),
        format!("{good}\n"),
        format!("{good}rest\n"),
        "x".repeat(MAX_NOTE + 1),
    ] {
        assert!(Note::parse(&bad).is_err(), "{bad:?}");
    }
    // As many as anybody must take, and not without an end.
    let (above, line) = good.split_once("\n\n").unwrap();
    Note::parse(&format!("{above}\n\n{}", line.repeat(16))).unwrap();
    assert!(Note::parse(&format!("{above}\n\n{}", line.repeat(65))).is_err());
    // A witness that nobody here knows signs, too.
    let witness = SealingKey::generate().unwrap();
    let other = Note::sign("text\n".into(), "witness.example", &witness).to_string();
    let both = format!("{good}{}", other.split_once("\n\n").unwrap().1);
    Note::parse(&both).unwrap().verify(name, &[key.public()]).unwrap();
}

const ORIGIN: &str = "guard.example.com/v1/log";

/// A log with the record of a session among others, and a change of the key before or behind it.
struct Scene {
    keys: Vec<SealingKey>,
    tree: Tree,
    key_leaves: Vec<(u64, Leaf)>,
    record: Vec<u8>,
    index: u64,
}

impl Scene {
    /// Sealed by the key of this number; all keys are in the log at the end.
    fn new(keys: usize, sealed_by: usize) -> Self {
        let keys: Vec<_> = (0..keys).map(|_| SealingKey::generate().unwrap()).collect();
        let builder = fixture::Builder::new(fixture::short_identity(), EnforceAt::Gateway);
        let record = builder.sealed(&keys[sealed_by]);
        let mut scene =
            Self { keys, tree: Tree::default(), key_leaves: Vec::new(), record, index: 0 };
        for number in 0..scene.keys.len() {
            scene.add_key(number);
            for other in 0..3 {
                scene.tree.push(leaf_hash(format!("another {number} {other}").as_bytes()));
            }
            if number == sealed_by {
                scene.index = scene.tree.size();
                scene.tree.push(scene.leaf().hash().unwrap());
            }
        }
        scene.tree.push(leaf_hash(b"the last"));
        scene
    }

    fn add_key(&mut self, number: usize) {
        let before = number.checked_sub(1).map(|before| &self.keys[before]);
        let key = &self.keys[number];
        let at = "2026-11-21T00:00:00Z".parse().unwrap();
        let leaf = Leaf::key(ORIGIN, &key.public(), before, key, at).unwrap();
        self.key_leaves.push((self.tree.size(), leaf.clone()));
        self.tree.push(leaf.hash().unwrap());
    }

    fn leaf(&self) -> Leaf {
        let keys = self.publics();
        let verified = crate::verify(&self.record[..], &keys).unwrap();
        Leaf::seal(verified.session, verified.sealed_at, verified.seal)
    }

    fn publics(&self) -> Vec<PublicKey> {
        self.keys.iter().map(SealingKey::public).collect()
    }

    fn newest(&self) -> &SealingKey {
        self.keys.last().unwrap()
    }

    fn checkpoint(&self, size: u64) -> SignedCheckpoint {
        self.checkpoint_by(size, self.newest())
    }

    fn checkpoint_by(&self, size: u64, key: &SealingKey) -> SignedCheckpoint {
        Checkpoint { origin: ORIGIN.into(), size, root: self.tree.root(size) }.sign(key)
    }

    fn proof(&self) -> Proof {
        let size = self.tree.size();
        let keys = self.key_leaves.iter().map(|(index, leaf)| KeyLeaf {
            index: *index,
            leaf: leaf.clone(),
            proof: self.tree.inclusion(*index, size),
        });
        Proof {
            keys: keys.collect(),
            index: self.index,
            hashes: self.tree.inclusion(self.index, size),
            checkpoint: self.checkpoint(size),
        }
    }

    fn verify(&self, proof: &Proof, trusted: &[PublicKey]) -> Result<Bundle, BundleError> {
        verify_bundle(&self.record[..], proof, trusted, None)
    }
}

#[track_caller]
fn log_problem(found: Result<Bundle, BundleError>) -> LogProblem {
    match found {
        Err(BundleError::Log(problem)) => problem,
        other => panic!("should not be proven: {other:?}"),
    }
}

#[test]
fn a_bundle_is_verified_from_any_key_of_the_log() {
    for (keys, sealed_by) in [(1, 0), (2, 0), (2, 1), (4, 1)] {
        let scene = Scene::new(keys, sealed_by);
        let proof = Proof::parse(&scene.proof().to_string()).unwrap();
        for trusted in scene.publics() {
            let bundle = scene.verify(&proof, &[trusted]).unwrap();
            assert_eq!(bundle.log.index, scene.index);
            assert_eq!(bundle.log.keys.len(), keys);
            assert_eq!(bundle.record.key_id, scene.keys[sealed_by].public().id());
            assert_eq!(bundle.log.signed_by, scene.newest().public().id());
        }
        let stranger = SealingKey::generate().unwrap().public();
        let problem = log_problem(scene.verify(&proof, &[stranger]));
        assert_eq!(problem, LogProblem::UnknownKeys { log: ORIGIN.into() });
    }
}

#[test]
fn a_proof_without_keys_needs_those_of_the_seal_and_of_the_checkpoint() {
    let scene = Scene::new(2, 0);
    let proof = Proof { keys: Vec::new(), ..scene.proof() };
    scene.verify(&proof, &scene.publics()).unwrap();
    let problem = log_problem(scene.verify(&proof, &scene.publics()[..1]));
    assert!(matches!(problem, LogProblem::Checkpoint(NoteError::UnknownKeys)));
    let newest = scene.verify(&proof, &scene.publics()[1..]);
    assert!(matches!(newest, Err(BundleError::Record(VerifyError::Broken(_)))), "{newest:?}");
}

#[test]
fn a_change_to_any_byte_of_a_record_or_its_proof_is_found() {
    let scene = Scene::new(2, 0);
    let (text, trusted) = (scene.proof().to_string().into_bytes(), scene.publics()[0]);
    let verifies = |record: &[u8], proof: &[u8]| {
        let Ok(proof) = std::str::from_utf8(proof) else { return false };
        let Ok(proof) = Proof::parse(proof) else { return false };
        verify_bundle(record, &proof, &[trusted], None).is_ok()
    };
    assert!(verifies(&scene.record, &text));
    for position in 0..text.len() {
        for mask in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80] {
            let mut changed = text.clone();
            changed[position] ^= mask;
            assert!(!verifies(&scene.record, &changed), "byte {position} of the proof, {mask:#x}");
        }
        let mut shorter = text.clone();
        shorter.remove(position);
        assert!(!verifies(&scene.record, &shorter), "without byte {position} of the proof");
        for byte in [b'\n', b' ', b'A', b'='] {
            let mut longer = text.clone();
            longer.insert(position, byte);
            assert!(!verifies(&scene.record, &longer), "{byte} at {position} of the proof");
        }
    }
    for length in 0..text.len() {
        assert!(!verifies(&scene.record, &text[..length]), "the proof cut at {length}");
    }
    for position in 0..scene.record.len() {
        for mask in [0x01, 0x20, 0x80] {
            let mut changed = scene.record.clone();
            changed[position] ^= mask;
            assert!(!verifies(&changed, &text), "byte {position} of the record, {mask:#x}");
        }
    }
}

#[test]
fn a_change_to_any_byte_of_a_kept_checkpoint_or_of_the_consistency_is_found() {
    let scene = Scene::new(1, 0);
    let proof = scene.proof();
    let (old, size) = (3, scene.tree.size());
    let kept = scene.checkpoint(old).to_string().into_bytes();
    let consistency = scene.tree.consistency(old, size).to_string().into_bytes();
    let verifies = |kept: &[u8], consistency: &[u8]| {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).ok();
        let kept = text(kept).and_then(|text| SignedCheckpoint::parse(&text).ok());
        let consistency = text(consistency).and_then(|text| Consistency::parse(&text));
        let (Some(kept), Some(consistency)) = (kept, consistency) else { return false };
        let kept = Some((&kept, Some(&consistency)));
        verify_bundle(&scene.record[..], &proof, &scene.publics(), kept).is_ok()
    };
    assert!(verifies(&kept, &consistency));
    for (which, bytes) in [(0, &kept), (1, &consistency)] {
        for position in 0..bytes.len() {
            for mask in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80] {
                let mut changed = bytes.clone();
                changed[position] ^= mask;
                let found = match which {
                    0 => verifies(&changed, &consistency),
                    _ => verifies(&kept, &changed),
                };
                assert!(!found, "byte {position} of {which}, {mask:#x}");
            }
        }
    }
}

#[test]
fn the_proof_of_another_session_is_found() {
    let scene = Scene::new(1, 0);
    let mut proof = scene.proof();
    for index in 0..scene.tree.size() {
        proof.index = index;
        proof.hashes = scene.tree.inclusion(index, scene.tree.size());
        let found = scene.verify(&proof, &scene.publics());
        assert_eq!(found.is_ok(), index == scene.index, "{index}");
    }
}

#[test]
fn a_record_that_is_sealed_again_with_other_lines_is_not_in_the_log() {
    // Whoever has the key can seal anything, but the tree has the first seal.
    let mut scene = Scene::new(1, 0);
    let proof = scene.proof();
    scene.record = fixture::backup().sealed(&scene.keys[0]);
    assert!(crate::verify(&scene.record[..], &scene.publics()).is_ok());
    let problem = log_problem(scene.verify(&proof, &scene.publics()));
    assert!(matches!(problem, LogProblem::NotIncluded { .. }));
}

#[test]
fn a_key_that_nobody_signed_or_another_key_signed_is_no_key_of_the_log() {
    for forged in ["itself", "a stranger", "the first", "no leaf"] {
        let mut scene = Scene::new(3, 0);
        let at = "2026-11-21T00:00:00Z".parse().unwrap();
        let (evil, stranger) = (SealingKey::generate().unwrap(), SealingKey::generate().unwrap());
        let index = scene.tree.size();
        let before = match forged {
            "itself" => None,
            "the first" => Some(&scene.keys[0]),
            _ => Some(&stranger),
        };
        let leaf = Leaf::key(ORIGIN, &evil.public(), before, &evil, at).unwrap();
        // The attacker can write to the log's database and signs the checkpoint with his key.
        if forged != "no leaf" {
            scene.tree.push(leaf.hash().unwrap());
            scene.key_leaves.push((index, leaf));
        }
        scene.keys.push(evil);
        let proof = scene.proof();
        let problem = log_problem(scene.verify(&proof, &scene.publics()[..1]));
        match forged {
            "no leaf" => assert!(matches!(problem, LogProblem::Checkpoint(_)), "{problem:?}"),
            _ => assert_eq!(problem, LogProblem::KeyNotSigned { index }, "{forged}"),
        }
    }
}

#[test]
fn a_key_that_was_replaced_signs_no_tree_that_has_the_newer_one() {
    let scene = Scene::new(2, 0);
    let checkpoint = scene.checkpoint_by(scene.tree.size(), &scene.keys[0]);
    let proof = Proof { checkpoint, ..scene.proof() };
    let problem = log_problem(scene.verify(&proof, &scene.publics()));
    assert!(matches!(problem, LogProblem::Checkpoint(NoteError::UnknownKeys)), "{problem:?}");
}

#[test]
fn keys_out_of_order_missing_or_not_in_the_tree_are_found() {
    let scene = Scene::new(3, 0);
    let good = scene.proof();
    let mut swapped = good.clone();
    swapped.keys.swap(0, 1);
    let mut missing = good.clone();
    missing.keys.remove(1);
    let mut elsewhere = good.clone();
    elsewhere.keys[1].index += 1;
    let mut unproven = good.clone();
    unproven.keys[1].proof[0] = Digest::ZERO;
    for proof in [swapped, missing, elsewhere, unproven] {
        log_problem(scene.verify(&proof, &scene.publics()));
    }
    scene.verify(&good, &scene.publics()).unwrap();
}

#[test]
fn a_session_that_disappeared_from_the_log_is_found_by_an_older_checkpoint() {
    let scene = Scene::new(1, 0);
    let kept = scene.checkpoint(scene.tree.size());
    // The log is made again without one leaf, with another, in another order, or cut and grown again.
    for attack in ["removed", "replaced", "reordered", "truncated"] {
        let mut leaves = scene.tree.leaves.clone();
        match attack {
            "removed" => drop(leaves.remove(2)),
            "replaced" => leaves[2] = leaf_hash(b"something else"),
            "reordered" => leaves.swap(1, 2),
            _ => leaves.truncate(leaves.len() - 1),
        }
        leaves.extend((0..5).map(|number| leaf_hash(format!("new {number}").as_bytes())));
        let mut forged = Scene::new(1, 0);
        forged.keys = vec![SealingKey::from_pem(scene.keys[0].to_pem().unwrap().expose()).unwrap()];
        forged.record = scene.record.clone();
        forged.key_leaves = scene.key_leaves.clone();
        forged.tree = Tree::default();
        for leaf in leaves {
            forged.tree.push(leaf);
        }
        let seal = scene.leaf().hash().unwrap();
        forged.index = forged.tree.leaves.iter().position(|leaf| *leaf == seal).unwrap() as u64;
        let proof = forged.proof();
        forged.verify(&proof, &forged.publics()).unwrap();
        let size = forged.tree.size();
        let (from, to) = (scene.tree.size(), size);
        let consistency = forged.tree.consistency(from, to);
        let with = |kept| verify_bundle(&forged.record[..], &proof, &forged.publics(), Some(kept));
        let found = log_problem(with((&kept, Some(&consistency))));
        assert_eq!(found, LogProblem::Inconsistent { from, to }, "{attack}");
        let found = log_problem(with((&kept, None)));
        assert_eq!(found, LogProblem::ConsistencyMissing { from, to }, "{attack}");
    }
}

#[test]
fn two_checkpoints_of_one_size_that_differ_are_found() {
    let scene = Scene::new(1, 0);
    let proof = scene.proof();
    let size = scene.tree.size();
    let other = Checkpoint { origin: ORIGIN.into(), size, root: leaf_hash(b"fork") };
    let other = other.sign(&scene.keys[0]);
    let kept = |kept: &SignedCheckpoint| {
        verify_bundle(&scene.record[..], &proof, &scene.publics(), Some((kept, None)))
    };
    assert_eq!(log_problem(kept(&other)), LogProblem::Forked { size });
    assert_eq!(kept(&scene.checkpoint(size)).unwrap().log.kept, Some(Kept::Same));
    let foreign = Checkpoint { origin: "another/log".into(), size, root: scene.tree.root(size) };
    let found = log_problem(kept(&foreign.sign(&scene.keys[0])));
    assert!(matches!(found, LogProblem::AnotherLog { .. }));
    let stranger = SealingKey::generate().unwrap();
    let found = log_problem(kept(&scene.checkpoint_by(size, &stranger)));
    assert!(matches!(found, LogProblem::KeptSignature(NoteError::UnknownKeys)));
}

#[test]
fn a_kept_checkpoint_may_be_older_or_newer_than_the_proof() {
    let mut scene = Scene::new(2, 1);
    let proof = scene.proof();
    let size = scene.tree.size();
    let older = scene.checkpoint_by(3, &scene.keys[0]);
    let consistency = scene.tree.consistency(3, size);
    let kept = Some((&older, Some(&consistency)));
    let bundle = verify_bundle(&scene.record[..], &proof, &scene.publics()[..1], kept).unwrap();
    assert_eq!(bundle.log.kept, Some(Kept::Older { size: 3 }));
    for number in 0..9 {
        scene.tree.push(leaf_hash(format!("later {number}").as_bytes()));
    }
    let newer = scene.checkpoint(scene.tree.size());
    let consistency = scene.tree.consistency(size, scene.tree.size());
    let kept = Some((&newer, Some(&consistency)));
    let bundle = verify_bundle(&scene.record[..], &proof, &scene.publics(), kept).unwrap();
    assert_eq!(bundle.log.kept, Some(Kept::Newer { size: scene.tree.size() }));
}

#[test]
fn a_leaf_has_one_form() {
    let scene = Scene::new(1, 0);
    for leaf in [scene.leaf(), scene.key_leaves[0].1.clone()] {
        let line = leaf.line().unwrap();
        assert_eq!(Leaf::parse(&line).as_ref(), Some(&leaf));
        for other in [
            format!("{line} "),
            format!(" {line}"),
            line.replace("\":", "\": "),
            line.replace("{\"type\"", "{\"more\":1,\"type\""),
            line.replace("\"type\"", "\"typ\\u0065\""),
            line.replace("key", "other"),
            line.replace("seal", "other"),
        ] {
            assert!(other == line || Leaf::parse(&other).is_none(), "{other}");
        }
    }
    assert!(Leaf::parse(&format!("{{\"type\":\"{}\"}}", "x".repeat(5000))).is_none());
}

#[test]
fn the_seeds_of_the_fuzz_target_are_read_without_a_panic() {
    guard_tests::replay("tlog", fuzz_tlog);
    let scene = Scene::new(2, 0);
    for text in [
        scene.proof().to_string(),
        scene.checkpoint(3).to_string(),
        scene.leaf().line().unwrap(),
        scene.tree.consistency(3, 7).to_string(),
    ] {
        fuzz_tlog(text.as_bytes());
    }
    proptest::proptest!(|(bytes: Vec<u8>, at in 0_usize..400)| {
        fuzz_tlog(&bytes);
        let text = scene.proof().to_string().into_bytes();
        fuzz_tlog(&[&text[..at], &bytes[..], &text[at..]].concat());
    });
}
