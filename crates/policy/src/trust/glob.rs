//! Globs of trust rules. A `*` stands for one or more characters of one segment: never for `/`, `:` or `@`.
//!
//! Ways into other brokers were patterns that reached further than their writers thought: a `*` that crossed a
//! separator, an alternation that escaped its anchors. So there is one sign, and it stays where it stands.

use std::fmt;

/// What a `*` never crosses: these separate owner, repository, kind and name in platforms' claims.
const SEPARATORS: [char; 3] = ['/', ':', '@'];

/// A pattern that a whole value must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(String);

impl Glob {
    /// Reads a pattern; the error says what to write instead.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.contains('*') {
            return Err("a glob without a `*` is a value: write the value itself");
        }
        if text.contains("**") {
            return Err("`**` is not known: a `*` stays within its segment");
        }
        if text.contains(['?', '[', ']', '{', '}', '\\']) {
            return Err(
                "in a glob only `*` has a meaning; `?`, brackets, braces and `\\` are not known",
            );
        }
        if text.chars().all(|c| c == '*' || SEPARATORS.contains(&c)) {
            return Err("this would fit any value");
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether a value fits.
    pub(super) fn fits(&self, value: &str) -> bool {
        let mut segments = value.split_inclusive(SEPARATORS);
        for pattern in self.0.split_inclusive(SEPARATORS) {
            let Some(segment) = segments.next() else { return false };
            if !fits_segment(pattern, segment) {
                return false;
            }
        }
        segments.next().is_none()
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One segment of each, with the separator that ends it.
fn fits_segment(pattern: &str, segment: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == segment };
    let Some(mut left) = segment.strip_prefix(first) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        // At least one character for each star.
        let Some(one) = left.chars().next() else { return false };
        let after = left.get(one.len_utf8()..).unwrap_or_default();
        if SEPARATORS.contains(&one) {
            return false;
        }
        if parts.peek().is_none() {
            // The end of the pattern is the end of the segment, its separator with it.
            let open = after.strip_suffix(part);
            return open.is_some_and(|open| !open.contains(SEPARATORS));
        }
        let Some(at) = after.find(part) else { return false };
        left = after.get(at + part.len()..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_star_stays_in_its_segment() {
        for (pattern, value, fits) in [
            ("refs/heads/release-*", "refs/heads/release-1", true),
            ("refs/heads/release-*", "refs/heads/release-1.2", true),
            ("refs/heads/release-*", "refs/heads/release-", false),
            ("refs/heads/release-*", "refs/heads/release-1/evil", false),
            ("refs/heads/release-*", "refs/heads/release-1:evil", false),
            ("refs/heads/release-*", "refs/heads/release-1@evil", false),
            ("refs/heads/release-*", "xrefs/heads/release-1", false),
            ("refs/heads/release-*", "refs/heads/Release-1", false),
            ("refs/heads/release-*", "refs/heads/release-1\nrefs/heads/main", false),
            ("refs/*/main", "refs/heads/main", true),
            ("refs/*/main", "refs/heads/x/main", false),
            ("refs/*/main", "refs//main", false),
            ("refs/*/main", "refs/heads/main/", false),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/shop:ref:refs/heads/main", true),
            (
                "repo:acme/*:ref:refs/heads/main",
                "repo:acme/a:ref:refs/heads/b:ref:refs/heads/main",
                false,
            ),
            ("repo:acme*", "repo:acme/shop", false),
            ("repo:acme*", "repo:acme-evil", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abbc", false),
            ("a*b*c", "a1bc", false),
            ("a*b*c", "axbxbxc", true),
            ("*-x", "1-x", true),
            ("*-x", "-x", false),
            ("ä*", "äö", true),
            ("x/*", "x/", false),
            ("x/*", "x//", false),
            ("*/x", "a/x", true),
            ("*/x", "/x", false),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().fits(value), fits, "{pattern} {value}");
        }
    }

    /// All texts of some signs up to a length.
    fn texts(signs: &[char], longest: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut last = all.clone();
        for _ in 0..longest {
            last = last
                .iter()
                .flat_map(|text| signs.iter().map(move |sign| format!("{text}{sign}")))
                .collect();
            all.extend(last.iter().cloned());
        }
        all
    }

    /// What a `*` means, as short as it can be said.
    fn means(pattern: &[char], value: &[char]) -> bool {
        match pattern {
            [] => value.is_empty(),
            ['*', rest @ ..] => {
                let one = value.iter().take_while(|c| !SEPARATORS.contains(c)).count();
                (1..=one).any(|taken| means(rest, value.get(taken..).unwrap_or_default()))
            }
            [sign, rest @ ..] => {
                value.first() == Some(sign) && means(rest, value.get(1..).unwrap_or_default())
            }
        }
    }

    #[test]
    fn every_short_glob_fits_what_it_means() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let values: Vec<_> =
            texts(&['a', 'b', '/'], 5).into_iter().map(|v| (chars(&v), v)).collect();
        let mut fitting = 0;
        for text in texts(&['a', 'b', '/', '*'], 5) {
            let Ok(glob) = Glob::parse(&text) else { continue };
            let pattern = chars(&text);
            for (letters, value) in &values {
                let fits = glob.fits(value);
                assert_eq!(fits, means(&pattern, letters), "{text} {value}");
                fitting += usize::from(fits);
            }
        }
        assert!(fitting > 1000, "{fitting}");
    }

    #[test]
    fn what_is_no_glob_or_fits_everything_is_none() {
        for text in ["main", "a**b", "*", "*/*", "*:*", "a?*", "[ab]*", "{a,b}*", r"a\*", ""] {
            assert!(Glob::parse(text).is_err(), "{text}");
        }
    }
}
