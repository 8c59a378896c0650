//! Records in a folder, and which of them are meant.

use std::{
    fs,
    path::{Path, PathBuf},
};

use guard_audit::story::Opening;
use guard_core::Timestamp;

use super::Unusable;

/// Folders inside the folder are looked into so far: `guard-report/<session>/record.jsonl`.
const MAX_DEPTH: usize = 2;

/// Which runs are meant.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Runs {
    /// Only runs of this repository: its name, or its id at the platform
    #[arg(long, value_name = "NAME|ID")]
    repo: Option<String>,
    /// Only runs that began then or later: `30d`, `12h`, `2026-11-01`, or a moment
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only runs that began before
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only runs that were granted this resource
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// Only runs that this trust rule let in
    #[arg(long, value_name = "NAME")]
    trust_rule: Option<String>,
}

impl Runs {
    /// Those that began at this moment or later.
    pub(crate) fn since(since: Option<Timestamp>) -> Self {
        Self { since, ..Self::default() }
    }

    /// Whether a run is meant, by how it began.
    pub(crate) fn fit(&self, opening: &Opening) -> bool {
        let grants = opening.grants.iter().map(|grant| grant.grant.resource.as_str());
        self.fits(
            (&opening.identity.repository, &opening.identity.run.repository_id),
            opening.at,
            &opening.trust_rule,
            grants,
        )
    }

    /// Whether a run of this repository, by name and by id, is meant.
    pub(crate) fn fits<'a>(
        &self,
        (name, id): (&str, &str),
        opened_at: Timestamp,
        trust_rule: &str,
        mut resources: impl Iterator<Item = &'a str>,
    ) -> bool {
        self.repo.as_deref().is_none_or(|repo| repo == name || repo == id)
            && self.since.is_none_or(|since| opened_at >= since)
            && self.until.is_none_or(|until| opened_at < until)
            && self.trust_rule.as_deref().is_none_or(|rule| rule == trust_rule)
            && self.resource.as_deref().is_none_or(|wanted| resources.any(|name| name == wanted))
    }
}

/// A moment as a person says it: how long ago, a day (UTC), or the moment itself.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    let wrong = || {
        format!(
            "`{text}` is no time: use `30d`, `12h`, `90m`, `2026-11-01`, or `2026-11-01T02:00:00Z`"
        )
    };
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        let zoned = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong())?;
        return Ok(zoned.timestamp());
    }
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let hours = match unit {
        "d" => number.checked_mul(24 * 60),
        "h" => number.checked_mul(60),
        "m" => Some(number),
        _ => None,
    };
    let minutes = hours.filter(|minutes| *minutes >= 0).ok_or_else(wrong)?;
    let seconds = minutes.checked_mul(60).ok_or_else(wrong)?;
    let ago = jiff::SignedDuration::from_secs(seconds);
    Timestamp::now().checked_sub(ago).map_err(|_| wrong())
}

/// The records in a folder, in the order of their names.
pub(crate) fn records(folder: &Path) -> Result<Vec<PathBuf>, Unusable> {
    let mut files = Vec::new();
    walk(folder, MAX_DEPTH, &mut files)?;
    files.sort();
    Ok(files)
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Unusable> {
    let failed = |source| Unusable::Read { path: folder.display().to_string(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        if kind.is_dir() && depth > 0 {
            walk(&path, depth - 1, files)?;
        } else if !kind.is_dir() && is_record(&path) {
            files.push(path);
        }
    }
    Ok(())
}

/// By its name. A run's folder has statements about the record, too.
fn is_record(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".zst").unwrap_or(&name);
    name.ends_with(".jsonl") && !name.ends_with(".intoto.jsonl")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn moments_are_read_as_people_say_them() {
        let exact = "2026-11-01T00:00:00Z".parse::<Timestamp>().unwrap();
        assert_eq!(moment("2026-11-01"), Ok(exact));
        assert_eq!(moment("2026-11-01T00:00:00Z"), Ok(exact));
        let ago = |text| {
            let at = moment(text).unwrap();
            Timestamp::now().duration_since(at).as_secs()
        };
        assert_eq!(ago("30d") / 60, 30 * 24 * 60);
        assert_eq!(ago("12h") / 60, 12 * 60);
        assert_eq!(ago("0m"), 0);
        for wrong in ["", "d", "30", "-3d", "3w", "ää", "99999999999999999d", "yesterday"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_statement_about_a_record_is_no_record() {
        for (name, is) in [
            ("a/record.jsonl", true),
            ("a/0192.jsonl.zst", true),
            ("a/report.intoto.jsonl", false),
            ("a/report.json", false),
            ("a/.jsonl.partial", false),
        ] {
            assert_eq!(is_record(Path::new(name)), is, "{name}");
        }
    }
}
