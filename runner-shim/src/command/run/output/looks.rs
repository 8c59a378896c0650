//! Secrets that nobody told guard of and that are known by their looks: private keys in PEM, keys of clouds and code hosts, JSON
//! web tokens.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use guard_engine::secret_at;

/// How such secrets begin. What only begins so is none.
const BEGINNINGS: [&str; 13] = [
    "eyJ",
    "AKIA",
    "ASIA",
    "AIza",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "xox",
    "AccountKey=",
    "SharedAccessKey=",
];
/// How a private key begins (RFC 7468).
const PEM: &str = "-----BEGIN ";
/// The same of its last line.
const END: &[u8] = b"-----END ";
/// So much of one is waited for: what is no secret by then is let go. The rest of a token that is one is left out as it comes.
const LONGEST: usize = 16 << 10;

/// Finds these. For matches of the kind that is made without being asked for, the crate has no search with vectors.
static BEGINS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let beginnings = BEGINNINGS.iter().chain([&PEM]);
    AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(beginnings).ok()
});

/// Where secrets are, in their order, none within another. `before` is the byte in front of the text.
pub(super) fn found(text: &[u8], before: u8) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for start in candidates(text, before, 0) {
        if found.last().is_some_and(|(_, end)| start < *end) {
            continue;
        }
        if let Some(end) = secret_at(text, start) {
            found.push((start, end));
        }
    }
    found
}

/// Where the first secret may have begun that goes on behind the end of the text; the text's length if none has.
pub(super) fn unfinished(text: &[u8], before: u8) -> usize {
    let from = text.len().saturating_sub(LONGEST);
    let goes_on = |start: &usize| {
        let rest = text.get(*start..).unwrap_or_default();
        let Some(label) = rest.strip_prefix(PEM.as_bytes()) else {
            return rest.iter().all(|byte| is_of_token(*byte));
        };
        match secret_at(text, *start) {
            Some(end) => end == text.len() && !is_whole(label),
            None => label.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b' '),
        }
    };
    let begun = candidates(text, before, from).find(goes_on);
    begun.unwrap_or_else(|| half_begun(text, before))
}

fn candidates(text: &[u8], before: u8, from: usize) -> impl Iterator<Item = usize> {
    let tail = text.get(from..).unwrap_or_default();
    let found = BEGINS.iter().flat_map(move |begins| begins.find_iter(tail));
    found.map(move |found| from + found.start()).filter(move |at| begins(text, *at, before))
}

/// Whether a private key's last line is there.
fn is_whole(from_label: &[u8]) -> bool {
    let end = from_label.windows(END.len()).position(|part| part == END);
    end.is_some() && from_label.ends_with(b"-----")
}

/// Whether a byte can be within a token or a key of a cloud.
pub(super) const fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'/' | b'=')
}

/// In the middle of a word nothing begins.
fn begins(text: &[u8], at: usize, before: u8) -> bool {
    let before = at.checked_sub(1).map_or(Some(before), |at| text.get(at).copied());
    !before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Where a beginning may have begun.
fn half_begun(text: &[u8], before: u8) -> usize {
    let longest = BEGINNINGS.iter().chain([&PEM]).map(|text| text.len()).max().unwrap_or(0);
    let from = text.len().saturating_sub(longest - 1);
    let begun = (from..text.len()).find(|at| {
        let rest = text.get(*at..).unwrap_or_default();
        let is_beginning = |whole: &&str| whole.as_bytes().starts_with(rest);
        begins(text, *at, before) && BEGINNINGS.iter().chain([&PEM]).any(is_beginning)
    });
    begun.unwrap_or(text.len())
}
