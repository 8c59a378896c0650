//! Lines on standard error, for the person who reads the job's log.

use std::io::Write as _;

/// One line, prefixed `guard: `. Names and texts of others are in it: control characters, which a terminal
/// or a platform's log would obey, are shown as what they are.
pub(crate) fn say(line: &str) {
    let mut text = String::with_capacity(line.len() + 8);
    text.push_str("guard: ");
    for character in line.chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text.push('\n');
    // Nobody may be listening any more; that is no reason to stop.
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
