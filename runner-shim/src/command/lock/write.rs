//! A lock as YAML: the same lock, the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use guard_core::{Digest, ResourceName, RowRange, lock::LockedRequest};
use guard_policy::{LockFile, LockedStatement};
use serde::Serialize;

use super::LockError;

const HEAD: &str = "\
# Made by `guard lock learn` or `guard run --learn` from what a job did: its statements without literals, what they do, how many
# rows they are about, its requests to HTTP APIs, and where its commands went. Look at each change of it as at code: with
# `unlisted: block` in its policy nothing else goes on. Texts, effects and digests of statements belong together; make it again
# instead of changing them. Requests can be changed: `*` is any one segment of a path, `**` the rest.
";

#[derive(Serialize)]
struct Written<'a> {
    lock: &'static str,
    rows_tolerance: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    resources: BTreeMap<&'a ResourceName, WrittenResource<'a>>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    egress: &'a BTreeSet<String>,
}

#[derive(Serialize)]
struct WrittenResource<'a> {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    tables: BTreeSet<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statements: Vec<WrittenStatement<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    requests: Vec<String>,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct WrittenStatement<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    effects: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<Rows>,
    fingerprint: Digest,
    details: Digest,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Rows {
    least: u64,
    most: u64,
}

impl<'a> From<&'a LockedStatement> for WrittenStatement<'a> {
    fn from(statement: &'a LockedStatement) -> Self {
        let LockedStatement { text, fingerprint, effects, details, rows } = statement;
        let rows = rows.map(|RowRange { least, most }| Rows { least, most });
        Self { text, effects, rows, fingerprint: *fingerprint, details: *details }
    }
}

/// The text of a lock, which is read again before anybody gets it.
pub(super) fn to_yaml(lock: &LockFile) -> Result<String, LockError> {
    let resources = lock.resources.iter().filter(|(_, found)| !found.is_empty());
    let resources = resources.map(|(name, found)| {
        let mut statements: Vec<_> =
            found.statements().iter().map(WrittenStatement::from).collect();
        statements.sort();
        let requests = found.requests().map(LockedRequest::to_string).collect();
        (name, WrittenResource { tables: found.tables(), statements, requests })
    });
    let written = Written {
        lock: LockFile::FORMAT,
        rows_tolerance: lock.rows_tolerance,
        resources: resources.collect(),
        egress: &lock.egress,
    };
    let yaml =
        serde_yaml::to_string(&written).map_err(|error| LockError::Render(error.to_string()))?;
    let text = format!("{HEAD}{yaml}");
    LockFile::parse("the lock", &text, Some(guard_sql::fingerprints))
        .map_err(|problems| LockError::Render(problems.to_string()))?;
    Ok(text)
}
