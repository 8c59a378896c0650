//! Who may import whom: the walls of ARCHITECTURE.md, checked against what Cargo says.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Finding;
use crate::shell;

/// Each crate with the crates of the workspace that it may depend on. A crate that is not here may
/// not exist: an arrow is an architectural decision.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("guard-core", &[]),
    ("guard-policy", &["guard-core"]),
    ("guard-sql", &["guard-core"]),
    ("guard-audit", &["guard-core"]),
    ("guard-gate", &["guard-core", "guard-policy", "guard-audit"]),
    ("guard-protocols", &["guard-core", "guard-gate", "guard-sql"]),
    (
        "guard-engine",
        &["guard-core", "guard-policy", "guard-audit", "guard-gate", "guard-protocols"],
    ),
    (
        "guard-runner-shim",
        &["guard-core", "guard-policy", "guard-sql", "guard-audit", "guard-engine"],
    ),
    ("guard-broker", &["guard-core", "guard-policy", "guard-sql", "guard-audit"]),
    ("guard-tests", &[]),
    // The demo and the bench start the same servers as the suites.
    ("guard-xtask", &["guard-tests"]),
    // Fuzz targets call the `fuzz_*` function beside each decoder.
    ("guard-fuzz", &["guard-core", "guard-policy", "guard-sql", "guard-audit", "guard-protocols"]),
];

/// A crate of the workspace, as `cargo metadata` shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build` or nothing.
    kind: Option<String>,
}

/// Asks Cargo for the crates of the workspace.
pub(super) fn workspace() -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let json = shell::read(shell::cargo().args([
        "metadata",
        "--no-deps",
        "--format-version=1",
        "--quiet",
    ]))?;
    let metadata: Metadata =
        serde_json::from_str(&json).context("cannot read what `cargo metadata` printed")?;
    Ok(metadata.packages)
}

/// Finds arrows that the design does not have. What a crate uses for its own tests only
/// (`dev-dependencies`) is free: it cannot reach a program.
pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let mut findings = Vec::new();
    for package in packages {
        let Some(may) = allowed.get(package.name.as_str()) else {
            findings.push(Finding::new(
                &package.name,
                "is a crate that ARCHITECTURE.md does not know; put the code into the crate whose \
                 job it is, or add the crate to ARCHITECTURE.md and to crates/xtask/src/tidy/arrows.rs, \
                 and say in the commit why",
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let ours = allowed.contains_key(dependency.name.as_str());
            let dev = dependency.kind.as_deref() == Some("dev");
            if ours && !dev && !may.contains(&dependency.name.as_str()) {
                findings.push(Finding::new(
                    &package.name,
                    format!("may not import `{}`: {}", dependency.name, why(package, dependency)),
                ));
            }
        }
    }
    findings
}

fn why(package: &Package, dependency: &Dependency) -> String {
    let wall = match (package.name.as_str(), dependency.name.as_str()) {
        ("guard-protocols", "guard-policy") => {
            "a protocol describes an `Operation` and gets a `Verdict` from the gate; if it seems to \
             need the policy, the `Operation` lacks a field"
        }
        ("guard-broker", "guard-gate" | "guard-protocols" | "guard-engine") => {
            "the control plane never sees the traffic"
        }
        ("guard-core", _) => "the vocabulary stands on its own; move what needs more out of core",
        ("guard-policy" | "guard-sql" | "guard-audit", _) => {
            "it is a pure function of its inputs; pass the value in instead"
        }
        _ => "the arrow is not in ARCHITECTURE.md; turn the dependency around or pass the value in",
    };
    wall.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        Package {
            name: name.to_owned(),
            dependencies: dependencies
                .iter()
                .map(|(name, kind)| Dependency {
                    name: (*name).to_owned(),
                    kind: kind.map(str::to_owned),
                })
                .collect(),
        }
    }

    #[test]
    fn arrows() {
        let cases = [
            (package("guard-protocols", &[("guard-gate", None), ("bytes", None)]), None),
            (package("guard-protocols", &[("guard-policy", None)]), Some("lacks a field")),
            (package("guard-protocols", &[("guard-policy", Some("dev"))]), None),
            (package("guard-broker", &[("guard-engine", None)]), Some("never sees the traffic")),
            (package("guard-broker", &[("guard-engine", Some("build"))]), Some("never sees")),
            (package("guard-core", &[("guard-audit", None)]), Some("stands on its own")),
            (package("guard-helpers", &[]), Some("does not know")),
        ];
        for (package, expected) in cases {
            let found = check(std::slice::from_ref(&package));
            match expected {
                None => assert_eq!(found, [], "{package:?}"),
                Some(part) => {
                    assert_eq!(found.len(), 1, "{package:?}");
                    assert!(found.iter().all(|f| f.says.contains(part)), "{found:?}");
                }
            }
        }
    }
}
