//! Patterns for paths, segment by segment.
//!
//! `/repos/{owner}/{repo}/releases`: a name in braces is any one segment, as `*` is; `**` is the rest, at the end only. Everything
//! else stands for itself, as text or percent-encoded. A pattern that no path could fit is refused.

use std::{fmt, str::FromStr, sync::Arc};

use percent_encoding::percent_decode_str;

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 2048;

/// A pattern that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// It does not begin at the root.
    #[error("`{0}` does not begin with `/`")]
    Root(String),
    /// It is longer than any pattern needs to be.
    #[error("a path of more than {MAX_PATTERN} bytes is too long")]
    TooLong,
    /// Two slashes follow each other.
    #[error("`{0}` has an empty segment, which no path has when guard looks at it")]
    Empty(String),
    /// It has `.` or `..`.
    #[error("`{0}` has a segment `.` or `..`, which no path has when guard looks at it")]
    Dots(String),
    /// `**` is not at the end.
    #[error("`{0}` has `**` before its end: it stands for the rest of a path")]
    Rest(String),
    /// `*` is a part of a segment.
    #[error(
        "`{0}` has a `*` beside something else: it stands for one whole segment, `**` for the rest"
    )]
    Star(String),
    /// What stands in braces is not a name, or is there twice.
    #[error(
        "`{0}` has braces that cannot be read: write `{{name}}` for one whole segment, each name once"
    )]
    Braces(String),
    /// It holds a character that no path has when guard looks at it.
    #[error("`{text}` holds `{}`, which no path has when guard looks at it", character.escape_debug())]
    Character {
        /// What was given.
        text: String,
        /// The character.
        character: char,
    },
    /// A `%` without two hex digits, or with ones that are no text.
    #[error("`{0}` has a `%` that does not stand for a character: write `%25` for itself")]
    Percent(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Segment {
    /// This text; empty is a slash at the end.
    Literal(Arc<str>),
    /// Any one, with the name that its writer gave it.
    One(Option<Arc<str>>),
    /// All that follow, or none.
    Rest,
}

/// A pattern for the path of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    text: Arc<str>,
    segments: Arc<[Segment]>,
}

impl PathPattern {
    /// Whether a path is what the pattern says. It is given by its decoded segments, without any for the root and with
    /// an empty one at the end for a slash there.
    pub fn matches(&self, path: &[String]) -> bool {
        self.fits(path, |literal, segment| literal == segment)
    }

    /// Whether a server could take a path for one that matches: many look neither at case nor at a slash at the end.
    pub fn may_match(&self, path: &[String]) -> bool {
        let same =
            |literal: &str, segment: &str| literal == segment || fold(literal).eq(fold(segment));
        let bare = match path.split_last() {
            Some((last, bare)) if last.is_empty() => bare,
            Some(_) | None => path,
        };
        self.fits(path, same) || self.fits(bare, same) || {
            let mut slashed = bare.to_vec();
            slashed.push(String::new());
            self.fits(&slashed, same)
        }
    }

    /// Whether every path that another pattern matches is what this one says.
    pub fn covers(&self, other: &Self) -> bool {
        let mut others = other.segments.iter();
        for segment in self.segments.iter() {
            let covers = match (segment, others.next()) {
                (Segment::Rest, _) => return true,
                (Segment::One(_), Some(Segment::One(_))) => true,
                (Segment::One(_), Some(Segment::Literal(other))) => !other.is_empty(),
                (Segment::Literal(own), Some(Segment::Literal(other))) => own == other,
                (Segment::One(_) | Segment::Literal(_), _) => false,
            };
            if !covers {
                return false;
            }
        }
        others.next().is_none()
    }

    fn fits(&self, path: &[String], same: impl Fn(&str, &str) -> bool) -> bool {
        let mut path = path.iter();
        for segment in self.segments.iter() {
            let fits = match (segment, path.next()) {
                (Segment::Rest, _) => return true,
                (Segment::Literal(literal), Some(found)) => same(literal, found),
                (Segment::One(_), Some(found)) => !found.is_empty(),
                (Segment::Literal(_) | Segment::One(_), None) => false,
            };
            if !fits {
                return false;
            }
        }
        path.next().is_none()
    }
}

fn fold(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for PathPattern {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        if text.len() > MAX_PATTERN {
            return Err(InvalidPath::TooLong);
        }
        let bare = text.strip_prefix('/').ok_or_else(|| InvalidPath::Root(text.to_owned()))?;
        let mut segments = Vec::new();
        let mut parts = bare.split('/').peekable();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            if part.is_empty() {
                if !is_last {
                    return Err(InvalidPath::Empty(text.to_owned()));
                }
                if segments.is_empty() {
                    break;
                }
            }
            let segment = segment(text, part)?;
            if segment == Segment::Rest && !is_last {
                return Err(InvalidPath::Rest(text.to_owned()));
            }
            if matches!(segment, Segment::One(Some(_))) && segments.contains(&segment) {
                return Err(InvalidPath::Braces(text.to_owned()));
            }
            segments.push(segment);
        }
        Ok(Self { text: text.into(), segments: segments.into() })
    }
}

fn segment(text: &str, part: &str) -> Result<Segment, InvalidPath> {
    match part {
        "*" => return Ok(Segment::One(None)),
        "**" => return Ok(Segment::Rest),
        _ => {}
    }
    if part.contains(['{', '}']) {
        let name = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let is_name = |name: &&str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let name = name.filter(is_name).ok_or_else(|| InvalidPath::Braces(text.to_owned()))?;
        return Ok(Segment::One(Some(name.into())));
    }
    if part.contains('*') {
        return Err(InvalidPath::Star(text.to_owned()));
    }
    let percent = || InvalidPath::Percent(text.to_owned());
    let whole = part
        .split('%')
        .skip(1)
        .all(|after| after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2);
    if !whole {
        return Err(percent());
    }
    let literal = percent_decode_str(part).decode_utf8().map_err(|_| percent())?;
    if matches!(&*literal, "." | "..") {
        return Err(InvalidPath::Dots(text.to_owned()));
    }
    let never = |character: char| character.is_control() || matches!(character, '/' | '\\' | ';');
    // A raw `?` or `#` would end the path; encoded, it is a part of a name.
    let ends = part.chars().find(|character| matches!(character, '?' | '#'));
    match ends.or_else(|| literal.chars().find(|character| never(*character))) {
        Some(character) => Err(InvalidPath::Character { text: text.to_owned(), character }),
        None => Ok(Segment::Literal(literal.into())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn path(text: &str) -> Vec<String> {
        let bare = text.strip_prefix('/').unwrap();
        if bare.is_empty() { Vec::new() } else { bare.split('/').map(str::to_owned).collect() }
    }

    #[test]
    fn a_pattern_fits_segment_by_segment() {
        for (pattern, text, fits, may) in [
            ("/", "/", true, true),
            ("/", "/a", false, false),
            ("/a", "/a", true, true),
            ("/a", "/a/", false, true),
            ("/a/", "/a/", true, true),
            ("/a/", "/a", false, true),
            ("/a", "/A", false, true),
            ("/a", "/ab", false, false),
            ("/a", "/a/b", false, false),
            ("/a/*", "/a/b", true, true),
            ("/a/*", "/a/", false, false),
            ("/a/*", "/a/b/", false, true),
            ("/a/*", "/a/b/c", false, false),
            ("/a/**", "/a", true, true),
            ("/a/**", "/a/", true, true),
            ("/a/**", "/a/b/c/", true, true),
            ("/a/**", "/ab", false, false),
            ("/**", "/", true, true),
            ("/**", "/x/y", true, true),
            ("/repos/{owner}/{repo}/releases", "/repos/o/r/releases", true, true),
            ("/repos/{owner}/{repo}/releases", "/repos/o/releases", false, false),
            ("/repos/{owner}/{repo}/releases", "/repos/o/r/Releases", false, true),
            ("/repos/{owner}/{repo}/releases", "/repos/o//releases", false, false),
            ("/caf%C3%A9%20bar", "/café bar", true, true),
            ("/café", "/CAFÉ", false, true),
            ("/100%25", "/100%", true, true),
            ("/a%3Fb", "/a?b", true, true),
            ("/ss", "/ſs", false, true),
            ("/k", "/\u{212a}", false, true),
        ] {
            let pattern: PathPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&path(text)), fits, "{pattern} {text}");
            assert_eq!(pattern.may_match(&path(text)), may, "{pattern} may {text}");
        }
    }

    #[test]
    fn what_could_never_match_is_refused() {
        for text in [
            "",
            "a",
            "*",
            "//",
            "/a//b",
            "/./a",
            "/a/..",
            "/%2e%2e/a",
            "/**/a",
            "/a*",
            "/a/***",
            "/{",
            "/{}",
            "/{a-b}",
            "/x{a}",
            "/{a}/{a}",
            "/a%2Fb",
            "/a\\b",
            "/a;b",
            "/a%3bc",
            "/a?b",
            "/a#b",
            "/a%",
            "/a%2",
            "/a%zz",
            "/%ff",
            "/%00",
            "/a\tb",
        ] {
            assert!(text.parse::<PathPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_is_written_as_it_is_read() {
        for text in ["/", "/a/", "/repos/{owner}/*/**"] {
            assert_eq!(text.parse::<PathPattern>().unwrap().to_string(), text);
        }
    }
}
