//! Methods, sets of them, and what they do.

use std::{fmt, str::FromStr, sync::Arc};

use crate::Verb;

/// Longest method: the longest that is registered has 17 letters (`UPDATEREDIRECTREF`).
const MAX_METHOD: usize = 32;

/// A method in the one spelling that counts: RFC 9110 (section 9.1) takes `get` for another one than `GET`, many servers do not,
/// so it is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(Arc<str>);

/// A method that is none, or one that could be read in two ways.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a method: write it in capital letters, as in `GET`")]
pub struct InvalidMethod(String);

impl Method {
    /// Reads a method.
    pub fn new(text: &str) -> Result<Self, InvalidMethod> {
        let inside = |byte: u8| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_';
        let is_right = (1..=MAX_METHOD).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.bytes().all(inside);
        if is_right {
            Ok(Self(text.into()))
        } else {
            Err(InvalidMethod(text.chars().take(MAX_METHOD).flat_map(char::escape_debug).collect()))
        }
    }

    /// The method as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it does to the thing that a path names, if the server keeps to RFC 9110 (section 9.3) and RFC 5789. A method that is
    /// not listed there can do whatever its server likes: it calls.
    pub fn verb(&self) -> Verb {
        match self.as_str() {
            "GET" | "HEAD" | "OPTIONS" => Verb::Read,
            "POST" => Verb::Create,
            "PUT" | "PATCH" => Verb::Update,
            "DELETE" => Verb::Delete,
            _ => Verb::Call,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Method {
    type Err = InvalidMethod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

/// The methods that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MethodSet {
    /// Every one, also those that are not known.
    Any,
    /// These, and no others.
    Listed(Arc<[Method]>),
}

impl MethodSet {
    /// Reads a list of methods; `*` is every one.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidMethod> {
        let mut listed = Vec::new();
        let mut any = false;
        for word in words {
            if word == "*" {
                any = true;
            } else {
                listed.push(Method::new(word)?);
            }
        }
        listed.sort();
        listed.dedup();
        Ok(if any { Self::Any } else { Self::Listed(listed.into()) })
    }

    /// Whether a method is one of them.
    pub fn contains(&self, method: &Method) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(listed) => listed.contains(method),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_method_has_one_spelling() {
        for text in ["GET", "M-SEARCH", "UPDATEREDIRECTREF", "X_Y"] {
            assert_eq!(Method::new(text).unwrap().as_str(), text);
        }
        let long = "A".repeat(MAX_METHOD + 1);
        for text in
            ["", "get", "Get", "GET ", " GET", "GET\r\n", "G\0T", "-GET", "GÉT", "GET1", &long]
        {
            assert!(Method::new(text).is_err(), "{text}");
        }
        assert!(!Method::new("\u{1b}[31mGET").unwrap_err().to_string().contains('\u{1b}'));
    }

    #[test]
    fn methods_have_effects() {
        for (method, verb) in [
            ("GET", Verb::Read),
            ("HEAD", Verb::Read),
            ("OPTIONS", Verb::Read),
            ("POST", Verb::Create),
            ("PUT", Verb::Update),
            ("PATCH", Verb::Update),
            ("DELETE", Verb::Delete),
            ("PURGE", Verb::Call),
            ("MOVE", Verb::Call),
        ] {
            assert_eq!(Method::new(method).unwrap().verb(), verb, "{method}");
        }
    }

    #[test]
    fn a_set_has_what_it_lists() {
        let purge = Method::new("PURGE").unwrap();
        let get = Method::new("GET").unwrap();
        let set = MethodSet::new(["GET", "HEAD", "GET"]).unwrap();
        assert!(set.contains(&get) && !set.contains(&purge));
        assert!(MethodSet::new(["*"]).unwrap().contains(&purge));
        assert!(!MethodSet::new([]).unwrap().contains(&get));
        assert!(MethodSet::new(["GET", "delete"]).is_err());
    }
}
