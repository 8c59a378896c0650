//! Policies and cases on disk: which files there are, and which belong together.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use guard_core::{
    document::{MAX_DOCUMENT, Position, Problems},
    http::Api,
};
use guard_policy::{LockText, MAX_OPENAPI, Policy, parse_openapi};

use super::Unusable;

/// Folders are looked into so far: a policy's folder is no forest.
const MAX_DEPTH: usize = 8;

/// Ends the name of a file with cases.
const CASES: &str = ".cases.yaml";

pub(super) fn is_cases(path: &Path) -> bool {
    path.to_string_lossy().ends_with(CASES)
}

/// Reads a policy of this text, with the lock that it names beside it.
pub(super) fn policy(path: &Path, text: &str) -> Result<Policy, Problems> {
    let beside = |name: &str| {
        let path = path.with_file_name(name);
        let text = read(&path).map_err(|error| error.to_string())?;
        Ok(LockText { file: path.display().to_string(), text })
    };
    let check = guard_sql::fingerprints;
    Policy::parse_with_lock(&path.display().to_string(), text, &beside, Some(check))
}

/// The cases that belong to a policy.
pub(super) fn cases_of(policy: &Path) -> PathBuf {
    policy.with_extension("cases.yaml")
}

/// The policy that cases belong to.
pub(super) fn policy_of(cases: &Path) -> PathBuf {
    let name = cases.to_string_lossy();
    PathBuf::from(format!("{}.yaml", name.strip_suffix(CASES).unwrap_or(&name)))
}

/// The YAML files among what was given: files as they are, folders with all that is in them.
pub(super) fn find(given: &[PathBuf]) -> Result<BTreeSet<PathBuf>, Unusable> {
    let mut found = BTreeSet::new();
    for path in given {
        let metadata = fs::metadata(path)
            .map_err(|source| Unusable::Read { path: path.display().to_string(), source })?;
        if metadata.is_dir() {
            walk(path, MAX_DEPTH, &mut found)?;
        } else {
            found.insert(path.clone());
        }
    }
    Ok(found)
}

fn walk(folder: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) -> Result<(), Unusable> {
    let failed = |source| Unusable::Read { path: folder.display().to_string(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let path = entry.path();
        if kind.is_dir() && depth > 0 {
            walk(&path, depth - 1, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|end| end == "yaml") {
            found.insert(path);
        }
    }
    Ok(())
}

/// A file's text.
pub(super) fn read(path: &Path) -> Result<String, Unusable> {
    let failed = |source| Unusable::Read { path: path.display().to_string(), source };
    let mut text = String::new();
    let most = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).map_err(failed)?.take(most).read_to_string(&mut text).map_err(failed)?;
    if text.len() > MAX_DOCUMENT {
        return Err(Unusable::TooLong { path: path.display().to_string(), most: MAX_DOCUMENT });
    }
    Ok(text)
}

/// The operations of an API, if there is a document. It has what the policy names.
pub(super) fn api(path: Option<&Path>, policy: &Policy) -> Result<Option<Api>, Unusable> {
    let mut problems = Problems::new();
    let Some(path) = path else {
        for (what, _) in policy.misses(None) {
            let file = format!("policy `{}`", policy.name());
            let help = "name it by `openapi` in the cases, or by `--openapi`";
            problems.add_with_help(&file, Position::START, what, help);
        }
        return if problems.is_empty() { Ok(None) } else { Err(Unusable::Problems(problems)) };
    };
    let file = path.display().to_string();
    let failed = |source| Unusable::Read { path: file.clone(), source };
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_OPENAPI).read_to_string(&mut text))
        .map_err(failed)?;
    match parse_openapi(&text) {
        Ok(document) => {
            for (what, help) in policy.misses(Some(&document)) {
                let message = help.map_or(what.clone(), |help| format!("{what}: {help}"));
                problems.add(&file, Position::START, message);
            }
            if problems.is_empty() {
                return Ok(Some(Api::new(&document)));
            }
        }
        Err(why) => problems.add(&file, Position::START, why),
    }
    Err(Unusable::Problems(problems))
}

/// What was given, for a message.
pub(super) fn shown(given: &[PathBuf]) -> String {
    let names: Vec<_> = given.iter().map(|path| format!("`{}`", path.display())).collect();
    names.join(", ")
}
