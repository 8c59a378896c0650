//! How many live pages there are: each costs a look at a record every moment.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Live pages of one person.
const MAX_OF_ONE: usize = 4;
/// Live pages of this broker.
const MAX: usize = 64;

/// The live pages of this broker, by person.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<HashMap<String, usize>>>);

/// A place among them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    streams: Streams,
    person: String,
}

impl Streams {
    /// A place for a person's live page, if there is one.
    pub(crate) fn place(&self, person: &str) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        if all >= MAX {
            return None;
        }
        let own = open.entry(person.to_owned()).or_default();
        if *own >= MAX_OF_ONE {
            return None;
        }
        *own += 1;
        Some(Place { streams: self.clone(), person: person.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.person) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.person);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_has_some_and_no_more() {
        let streams = Streams::default();
        let places: Vec<_> = (0..MAX_OF_ONE).map(|_| streams.place("ada").unwrap()).collect();
        assert!(streams.place("ada").is_none());
        let other = streams.place("bob").unwrap();
        drop(places);
        assert!(streams.place("ada").is_some());
        drop(other);
        assert!(streams.0.lock().unwrap().is_empty());
    }
}
