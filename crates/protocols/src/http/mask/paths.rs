//! Which values of a text are masked, found while going down.

use std::{borrow::Cow, collections::HashMap};

use guard_core::{
    Masking,
    http::{JsonPath, JsonStep},
};

/// A place in a text at which at least one pointer is.
pub(super) type Node = u32;

/// Masks of a text, ready to be looked up.
#[derive(Debug, Clone, Default)]
pub struct JsonMasks {
    places: Vec<Place>,
    /// By folded names, wherever they are.
    names: HashMap<Box<str>, Masking>,
    /// Which lengths ASCII names have, a bit a length: most names of a text are of another one.
    lengths: u64,
}

#[derive(Debug, Clone, Default)]
struct Place {
    mask: Option<Masking>,
    /// By folded names, or by what an index is as a name.
    below: HashMap<Box<str>, Node>,
    any: Option<Node>,
}

impl JsonMasks {
    /// Takes masks together. Of several for a value the stricter counts.
    pub fn new<'a>(masks: impl IntoIterator<Item = (&'a JsonPath, Masking)>) -> Self {
        let mut all = Self { places: vec![Place::default()], ..Self::default() };
        for (path, mask) in masks {
            match path {
                JsonPath::Anywhere(name) => {
                    let name = fold(name).into_owned();
                    all.lengths |= bit(name.len());
                    let entry = all.names.entry(name.into()).or_insert(mask);
                    *entry = entry.stricter(mask);
                }
                JsonPath::Pointer(steps) => {
                    let node = steps.iter().fold(0, |node, step| all.below(node, step));
                    if let Some(place) = all.places.get_mut(node as usize) {
                        place.mask = stricter(place.mask, Some(mask));
                    }
                }
            }
        }
        all
    }

    /// Whether nothing is masked.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.root().is_none() && self.places.len() <= 1
    }

    fn below(&mut self, node: Node, step: &JsonStep) -> Node {
        let next = Node::try_from(self.places.len()).unwrap_or(Node::MAX);
        let Some(place) = self.places.get_mut(node as usize) else { return node };
        let found = match step {
            JsonStep::Any => *place.any.get_or_insert(next),
            JsonStep::Key(key) => *place.below.entry(fold(key).into()).or_insert(next),
        };
        if found == next {
            self.places.push(Place::default());
        }
        found
    }

    /// The mask of the whole text.
    pub(super) fn root(&self) -> Option<Masking> {
        self.places.first().and_then(|place| place.mask)
    }

    /// Whether any pointer goes on from the whole text.
    pub(super) fn has_pointers(&self) -> bool {
        self.places.len() > 1
    }

    /// Whether names are looked up at every depth.
    pub(super) fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether a name that is looked up at every depth could be this one: few have the length of one.
    pub(super) const fn may_name(&self, key: &[u8]) -> bool {
        self.lengths & bit(key.len()) != 0 || !key.is_ascii()
    }

    /// Goes down to a member: appends where the pointers are then, and says what masks its value. `from` are the places of the
    /// object; no key is one that is longer than any that a mask has.
    pub(super) fn member(
        &self,
        key: Option<&str>,
        active: &mut Vec<Node>,
        from: std::ops::Range<usize>,
    ) -> Option<Masking> {
        let Some(key) = key else { return self.go_down(None, active, from) };
        let folded = fold(key);
        let named = self.names.get(&*folded).copied();
        stricter(named, self.go_down(Some(&folded), active, from))
    }

    /// The same for an element.
    pub(super) fn element(
        &self,
        index: u64,
        active: &mut Vec<Node>,
        from: std::ops::Range<usize>,
    ) -> Option<Masking> {
        if from.is_empty() {
            return None;
        }
        self.go_down(Some(&index.to_string()), active, from)
    }

    fn go_down(
        &self,
        folded: Option<&str>,
        active: &mut Vec<Node>,
        from: std::ops::Range<usize>,
    ) -> Option<Masking> {
        let mut mask = None;
        for at in from {
            let Some(place) = active.get(at).and_then(|node| self.places.get(*node as usize))
            else {
                continue;
            };
            let next = [folded.and_then(|key| place.below.get(key).copied()), place.any];
            for node in next.into_iter().flatten() {
                mask = stricter(mask, self.places.get(node as usize).and_then(|it| it.mask));
                active.push(node);
            }
        }
        mask
    }
}

/// Of two masks the stricter.
pub(super) fn stricter(one: Option<Masking>, other: Option<Masking>) -> Option<Masking> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.stricter(other)),
        (one, other) => one.or(other),
    }
}

const fn bit(length: usize) -> u64 {
    1 << if length < 63 { length } else { 63 }
}

/// A name without its case. Upper case comes first: so `K` (Kelvin) and `ſ` become what they look like, as Go's decoder has it.
pub(super) fn fold(name: &str) -> Cow<'_, str> {
    if !name.is_ascii() {
        let upper = name.chars().flat_map(char::to_uppercase);
        return upper.flat_map(char::to_lowercase).collect::<String>().into();
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    }
}
