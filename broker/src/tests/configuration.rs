//! What `guard-broker check` says: every problem, each where it is.

use std::path::Path;

use crate::config;

#[test]
fn every_mistake_is_told_at_once_and_each_with_its_place() {
    // Tests run in the package's folder.
    let problems = config::load(Path::new("src/tests/mistakes/guard.yaml")).unwrap_err();
    assert_eq!(format!("{problems}\n"), include_str!("mistakes/expected.txt"));
}

#[test]
fn the_example_is_right_but_for_what_each_site_has_of_its_own() {
    let problems =
        config::load(Path::new("../examples/nightly-backup/guard.yaml")).unwrap_err().to_string();
    assert_eq!(problems.lines().count(), 1, "{problems}");
    assert!(
        problems.contains("guard.yaml:19:13: `../examples/nightly-backup/ca.pem` cannot be read")
    );
}
