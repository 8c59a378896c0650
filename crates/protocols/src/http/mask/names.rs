//! Masked fields by their names: of forms, headers and cookies.

use guard_core::{Masking, http::FieldName};

use super::paths::{fold, stricter};

/// Names with their masks, as servers could take them: case does not count, and in forms not what some frameworks change of a name.
#[derive(Debug, Clone, Default)]
pub struct NameMasks {
    any: Option<Masking>,
    named: Vec<(String, Masking)>,
}

impl NameMasks {
    /// Takes masks together. Of several for a name the stricter counts.
    pub fn new<'a>(masks: impl IntoIterator<Item = (&'a FieldName, Masking)>) -> Self {
        let mut all = Self::default();
        for (name, mask) in masks {
            match name.name() {
                None => all.any = stricter(all.any, Some(mask)),
                Some(name) => all.named.push((plain(name), mask)),
            }
        }
        all
    }

    /// Whether nothing is masked.
    pub fn is_empty(&self) -> bool {
        self.any.is_none() && self.named.is_empty()
    }

    /// What masks the values of a name.
    pub fn of(&self, name: &str) -> Option<Masking> {
        if self.named.is_empty() {
            return self.any;
        }
        let found = plain(name);
        let named = self.named.iter().filter(|(name, _)| *name == found);
        named.fold(self.any, |mask, (_, other)| stricter(mask, Some(*other)))
    }

    /// The strictest mask of all, for what has no name of its own.
    pub(super) fn strictest(&self) -> Option<Masking> {
        self.named.iter().fold(self.any, |mask, (_, other)| stricter(mask, Some(*other)))
    }

    /// What masks the values of a name in a form, where `email[0]` and `email[]` can be `email`, too.
    pub(super) fn of_form(&self, name: &str) -> Option<Masking> {
        let head = name.split(['[', '\0']).next().unwrap_or_default();
        stricter(self.of(name), self.of(head))
    }
}

/// A name without what some servers do not tell apart: case, white space around it, and the characters that CGI and PHP make `_` of.
fn plain(name: &str) -> String {
    let plain = |character| if matches!(character, '-' | '.' | ' ') { '_' } else { character };
    fold(name.trim()).chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use guard_core::Mask;

    use super::*;

    #[test]
    fn a_name_is_known_however_it_is_written() {
        let listed: Vec<(FieldName, Masking)> =
            [("X-Email", Mask::Redact), ("user[name]", Mask::Null)]
                .map(|(name, mask)| (name.parse().unwrap(), mask.into()))
                .into();
        let masks = NameMasks::new(listed.iter().map(|(name, mask)| (name, *mask)));
        for (name, mask, in_form) in [
            ("x-email", Some(Mask::Redact), Some(Mask::Redact)),
            ("X_EMAIL", Some(Mask::Redact), Some(Mask::Redact)),
            (" x.email ", Some(Mask::Redact), Some(Mask::Redact)),
            ("x-email[0]", None, Some(Mask::Redact)),
            ("x-email[a][]", None, Some(Mask::Redact)),
            ("User[Name]", Some(Mask::Null), Some(Mask::Null)),
            ("user[mail]", None, None),
            ("user", None, None),
            ("x-emails", None, None),
            ("", None, None),
        ] {
            assert_eq!(masks.of(name).map(|it| it.mask), mask, "{name}");
            assert_eq!(masks.of_form(name).map(|it| it.mask), in_form, "{name}");
        }
        let any: FieldName = "*".parse().unwrap();
        let all = NameMasks::new([(&any, Mask::Hash.into())]);
        assert_eq!(all.of("anything").map(|it| it.mask), Some(Mask::Hash));
    }
}
