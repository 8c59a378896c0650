//! Seeds of the fuzz targets, which the tests of each crate replay.

use std::{fs, path::PathBuf};

/// Feeds every file of `tests/corpora/NAME` to a fuzz function. A file that makes it panic is named.
///
/// # Panics
/// If the function does, or if there is nothing to replay.
#[allow(clippy::panic, reason = "a test's helper")]
pub fn replay(name: &str, target: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpora").join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.sort();
    assert!(!files.is_empty(), "no seeds in `{}`", folder.display());
    for file in files {
        let data = match fs::read(&file) {
            Ok(data) => data,
            Err(error) => panic!("`{}` cannot be read: {error}", file.display()),
        };
        let outcome = std::panic::catch_unwind(|| target(&data));
        assert!(outcome.is_ok(), "`{}` makes the target panic", file.display());
    }
}
