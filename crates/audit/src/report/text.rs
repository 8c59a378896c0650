//! Texts of a job, which may be an attack on whoever reads the report.
//!
//! HTML escapes belong to the template. Here is what escapes do not cover: characters that a reader
//! cannot see or that turn the order of a line around, and texts without an end.

use std::borrow::Cow;

/// Shows what would not be seen: control characters (ANSI escapes among them), marks that turn the
/// direction of text (CVE-2021-42574), and characters without a width become `\u{…}`. Line feeds and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| matches!(c, '\n' | '\t') || !is_hidden(c)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if matches!(c, '\n' | '\t') || !is_hidden(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    Cow::Owned(shown)
}

/// A text for one line of a terminal: nothing in it can move the cursor, colour or hide.
pub fn printable(text: &str) -> String {
    visible(text).replace('\n', "\\n").replace('\t', " ")
}

/// The first `most` characters, and a mark if that is not all.
pub fn beginning(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
    }
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// `1234567` as `1 234 567`, with narrow blanks that do not break.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the largest unit of which there is at least one.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];
    for (unit, factor) in UNITS {
        if bytes >= factor {
            return format!("{}.{} {unit}", bytes / factor, bytes % factor * 10 / factor);
        }
    }
    format!("{bytes} B")
}

/// Microseconds as people say them.
pub fn duration(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        _ if seconds < 60 => format!("{seconds}.{} s", micros % 1_000_000 / 100_000),
        _ if seconds < 3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_shown() {
        for (text, shown) in [
            ("SELECT 1\n\tFROM t", "SELECT 1\n\tFROM t"),
            ("a\u{1b}[31mb", "a\\u{1b}[31mb"),
            ("a\rb\0", "a\\u{d}b\\u{0}"),
            ("/*\u{202e} } \u{2066}if*/", "/*\\u{202e} } \\u{2066}if*/"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
            ("Größe 漢字 🦀", "Größe 漢字 🦀"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(printable("a\nb\u{9b}31m"), "a\\nb\\u{9b}31m");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(999), "999");
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1_250, "1.2 kB"), (19_400_000, "19.4 MB")]
        {
            assert_eq!(size(bytes), text);
        }
        for (micros, text) in [
            (812, "812 µs"),
            (1_250, "1.2 ms"),
            (1_812_345, "1.8 s"),
            (125_000_000, "2 min 05 s"),
            (3_720_000_000, "1 h 02 min"),
        ] {
            assert_eq!(duration(micros), text);
        }
        assert_eq!(beginning("äöü", 2), "äö…");
        assert_eq!(beginning("äöü", 3), "äöü");
    }
}
