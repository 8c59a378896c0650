//! Pages of runs as HTML: what a template needs, in words. Who may see what was decided before.

mod list;
mod plot;
mod report;
mod statements;

use std::time::Duration;

use guard_audit::report::duration;
use guard_core::Timestamp;

pub(crate) use list::{RunsQuery, runs};
pub(crate) use report::{Other, RunPage, file_name, live};
pub(crate) use statements::{StatementsQuery, one_line};

/// A moment in two lengths: one to read, one to be exact.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    /// As RFC 3339.
    pub(crate) full: String,
    /// Without what the page around it says.
    pub(crate) short: String,
}

impl Moment {
    /// Day and minute.
    pub(crate) fn day(at: Timestamp) -> Self {
        Self { full: full(at), short: at.strftime("%Y-%m-%d %H:%M").to_string() }
    }

    /// The time of the day, to the second.
    fn second(at: Timestamp) -> Self {
        Self { full: full(at), short: at.strftime("%H:%M:%S").to_string() }
    }

    /// The time of the day, to the millisecond.
    fn exact(at: Timestamp) -> Self {
        Self { full: full(at), short: at.strftime("%H:%M:%S%.3f").to_string() }
    }
}

fn full(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// How long something lasted.
fn lasted(from: Timestamp, to: Timestamp) -> String {
    let took = Duration::try_from(to.duration_since(from)).unwrap_or_default();
    duration(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
}

/// The name of a branch or tag, without where git keeps it.
fn branch(git_ref: &str) -> &str {
    git_ref
        .strip_prefix("refs/heads/")
        .or_else(|| git_ref.strip_prefix("refs/tags/"))
        .or_else(|| git_ref.strip_prefix("refs/"))
        .unwrap_or(git_ref)
}

/// An address with a query, of which empty fields are left out.
pub(crate) fn address<'a>(
    path: &str,
    fields: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        if !value.is_empty() {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}
