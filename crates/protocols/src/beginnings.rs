//! Where one of many texts may begin, found with vectors.
//!
//! An automaton over whole texts reads a byte at a time once there are more than some sixty of them. Few bytes of each are enough to know
//! where to compare, and sixty of those at once are searched for in vectors, many bytes at a time.

use aho_corasick::{AhoCorasick, BuildError, MatchKind};

/// So many bytes of each text are searched for.
pub const BEGINNING: usize = 4;

/// So many beginnings the crate searches for with vectors at once.
const AT_ONCE: usize = 60;

/// Finds the beginnings of texts.
#[derive(Debug)]
pub struct Beginnings {
    /// `None`: they could not be made, and each place is one to look at.
    searches: Option<Vec<AhoCorasick>>,
}

impl Beginnings {
    /// Of these texts; those that are shorter than [`BEGINNING`] are not found.
    pub fn new<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut beginnings: Vec<&[u8; BEGINNING]> =
            texts.filter_map(<[u8]>::first_chunk::<BEGINNING>).collect();
        beginnings.sort_unstable();
        beginnings.dedup();
        let search = |some: &[&[u8; BEGINNING]]| {
            // With other kinds of matches the crate does not use vectors.
            AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(some)
        };
        let searches: Result<_, BuildError> = beginnings.chunks(AT_ONCE).map(search).collect();
        Self { searches: searches.ok() }
    }

    /// Where they are in a text.
    pub fn places<'a>(&'a self, text: &'a [u8]) -> Places<'a> {
        let next = self.searches.iter().flatten().map(|search| first(search, text, 0)).collect();
        Places { beginnings: self, text, next }
    }
}

/// The places in one text at which a beginning stands.
#[derive(Debug)]
pub struct Places<'a> {
    beginnings: &'a Beginnings,
    text: &'a [u8],
    /// The next that each search found.
    next: Vec<usize>,
}

impl Places<'_> {
    /// The first from here on, or the text's length. Places before are not asked for again.
    pub fn next(&mut self, from: usize) -> usize {
        let Some(searches) = &self.beginnings.searches else { return from };
        let mut nearest = self.text.len();
        for (next, search) in self.next.iter_mut().zip(searches) {
            if *next < from {
                *next = first(search, self.text, from);
            }
            nearest = nearest.min(*next);
        }
        nearest
    }
}

fn first(search: &AhoCorasick, text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    search.find(rest).map_or(text.len(), |found| from + found.start())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_place_is_found_in_order_and_no_other(
            texts in prop::collection::vec("[a-c]{3,6}", 0..200),
            text in "[a-d]{0,60}",
        ) {
            let beginnings = Beginnings::new(texts.iter().map(String::as_bytes));
            let mut places = beginnings.places(text.as_bytes());
            let (mut found, mut at) = (Vec::new(), 0);
            loop {
                let place = places.next(at);
                if place >= text.len() {
                    break;
                }
                found.push(place);
                at = place + 1;
            }
            let begin = texts.iter().filter_map(|it| it.get(..BEGINNING));
            let all: Vec<&[u8]> = begin.map(str::as_bytes).collect();
            let is_one = |(_, part): &(usize, &[u8])| all.contains(part);
            let expected = text.as_bytes().windows(BEGINNING).enumerate().filter(is_one);
            prop_assert_eq!(found, expected.map(|(at, _)| at).collect::<Vec<_>>());
        }
    }
}
