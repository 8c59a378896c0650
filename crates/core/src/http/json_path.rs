//! Where masked values are in a JSON text.
//!
//! Two forms: a JSON Pointer (RFC 6901) such as `/users/0/email`, in which `*` is every element and member; and `$..email`, every
//! member of that name wherever it is. Names are compared without case, as many a client reads them.

use std::{fmt, str::FromStr, sync::Arc};

/// Longest name of a member, in bytes.
pub const MAX_JSON_KEY: usize = 256;

/// Most steps of a pointer.
const MAX_STEPS: usize = 64;

/// A path that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJsonPath {
    /// It is in neither form.
    #[error(
        "`{0}` is no path into JSON: write a pointer as in `/users/*/email`, or `$..email` for every member of that name"
    )]
    Form(String),
    /// A `~` that stands for nothing.
    #[error("`{0}` has a `~` that stands for nothing: write `~0` for itself and `~1` for `/`")]
    Escape(String),
    /// It is too long.
    #[error("a path into JSON has at most {MAX_STEPS} steps, each of at most {MAX_JSON_KEY} bytes")]
    TooLong,
}

/// One step of a pointer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum JsonStep {
    /// The member of this name, or the element at this place.
    Key(Arc<str>),
    /// Every member or element.
    Any,
}

/// A path to values in a JSON text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum JsonPath {
    /// From the root; no step at all is the whole text.
    Pointer(Arc<[JsonStep]>),
    /// Every member of this name.
    Anywhere(Arc<str>),
}

impl FromStr for JsonPath {
    type Err = InvalidJsonPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || InvalidJsonPath::Form(text.to_owned());
        if let Some(name) = text.strip_prefix("$..") {
            let more =
                |character: char| character.is_whitespace() || ".[]*'\"()?@,:".contains(character);
            if name.is_empty() || name.contains(more) {
                return Err(form());
            }
            if name.len() > MAX_JSON_KEY {
                return Err(InvalidJsonPath::TooLong);
            }
            return Ok(Self::Anywhere(name.into()));
        }
        if text.is_empty() {
            return Ok(Self::Pointer(Arc::new([])));
        }
        let steps = text.strip_prefix('/').ok_or_else(form)?;
        let steps: Vec<JsonStep> =
            steps.split('/').map(|part| step(text, part)).collect::<Result<_, _>>()?;
        if steps.len() > MAX_STEPS {
            return Err(InvalidJsonPath::TooLong);
        }
        Ok(Self::Pointer(steps.into()))
    }
}

fn step(text: &str, part: &str) -> Result<JsonStep, InvalidJsonPath> {
    if part == "*" {
        return Ok(JsonStep::Any);
    }
    if part.len() > MAX_JSON_KEY {
        return Err(InvalidJsonPath::TooLong);
    }
    if part.split('~').skip(1).any(|after| !after.starts_with(['0', '1'])) {
        return Err(InvalidJsonPath::Escape(text.to_owned()));
    }
    Ok(JsonStep::Key(part.replace("~1", "/").replace("~0", "~").into()))
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anywhere(name) => write!(f, "$..{name}"),
            Self::Pointer(steps) => steps.iter().try_for_each(|step| match step {
                JsonStep::Any => f.write_str("/*"),
                JsonStep::Key(key) => write!(f, "/{}", key.replace('~', "~0").replace('/', "~1")),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_path_is_written_as_it_is_read() {
        for text in
            ["", "/", "/a", "/users/*/email", "/a~1b/~0/~01", "/a//b", "$..email", "$..naïve"]
        {
            assert_eq!(text.parse::<JsonPath>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_means_something_else_elsewhere_is_refused() {
        let long = format!("$..{}", "a".repeat(MAX_JSON_KEY + 1));
        let deep = "/a".repeat(MAX_STEPS + 1);
        for text in [
            "a", "$", "$.a", "$..", "$..a.b", "$..*", "$..a[0]", "$..['a']", "email", "/a~",
            "/a~2", &long, &deep,
        ] {
            assert!(text.parse::<JsonPath>().is_err(), "{text}");
        }
    }
}
