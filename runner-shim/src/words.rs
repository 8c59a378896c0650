//! Lines on standard error, for the person who reads the job's log.

use std::io::Write as _;

/// One line, prefixed `guard: `.
pub(crate) fn say(line: &str) {
    // Nobody may be listening any more; that is no reason to stop.
    drop(std::io::stderr().lock().write_all(shown(line).as_bytes()));
}

/// Names and texts of others are in a line: control characters, which a terminal or a platform's log
/// would obey, are shown as what they are, and so are those that turn the direction of a text.
fn shown(line: &str) -> String {
    let mut text = String::with_capacity(line.len() + 8);
    text.push_str("guard: ");
    for character in line.chars() {
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turns {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text.push('\n');
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_whatever_a_job_puts_into_it() {
        for (line, expected) in [
            ("blocked DROP on `public.users`", "guard: blocked DROP on `public.users`\n"),
            ("a\n::add-mask::x", "guard: a\\n::add-mask::x\n"),
            ("\u{1b}[2Jgone", "guard: \\u{1b}[2Jgone\n"),
            ("a\u{202e}b", "guard: a\\u{202e}b\n"),
            ("straße", "guard: straße\n"),
        ] {
            assert_eq!(shown(line), expected);
        }
    }
}
