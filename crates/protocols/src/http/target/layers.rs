//! What a segment of a path must not be, however often it is decoded.

use percent_encoding::percent_decode;
use unicode_normalization::UnicodeNormalization as _;

use super::TargetError;

/// How often a segment may be encoded over itself. More has no use but to get past somebody.
const MAX_LAYERS: usize = 4;

/// Checks a segment that was decoded once, and what others would get who decode it again.
pub(super) fn check_segment(decoded: &[u8]) -> Result<(), TargetError> {
    check(decoded)?;
    let mut layer = decoded.to_vec();
    for _ in 0..MAX_LAYERS {
        if has_wide_escape(&layer) {
            return Err(TargetError::Twice);
        }
        if !has_escape(&layer) {
            return Ok(());
        }
        layer = percent_decode(&layer).collect();
        let ends = layer.iter().any(|byte| matches!(byte, b'?' | b'#'));
        if ends || check(&layer).is_err() {
            return Err(TargetError::Twice);
        }
    }
    Err(TargetError::Twice)
}

fn has_escape(text: &[u8]) -> bool {
    text.windows(3)
        .any(|window| matches!(window, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()))
}

/// `%u002e`, as some servers write what is not ASCII.
fn has_wide_escape(text: &[u8]) -> bool {
    text.windows(6).any(|window| match window {
        [b'%', b'u' | b'U', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        _ => false,
    })
}

fn check(segment: &[u8]) -> Result<(), TargetError> {
    // Before UTF-8, so that each has its own words.
    for byte in segment {
        match byte {
            0 => return Err(TargetError::Nul),
            b'/' => return Err(TargetError::EncodedSlash),
            b'\\' => return Err(TargetError::Backslash),
            b';' => return Err(TargetError::Parameter),
            _ => {}
        }
    }
    let text = std::str::from_utf8(segment).map_err(|_| TargetError::NotUtf8)?;
    if matches!(text, "." | "..") {
        return Err(TargetError::EncodedDots);
    }
    if let Some(character) = text.chars().find(|character| is_folded(*character)) {
        return Err(TargetError::Folded(character));
    }
    if text.chars().any(|character| character.is_control() || is_invisible(character)) {
        return Err(TargetError::Control);
    }
    let is_trimmed = text.starts_with(char::is_whitespace)
        || text.ends_with(|last: char| last == '.' || last.is_whitespace());
    if is_trimmed { Err(TargetError::Trimmed) } else { Ok(()) }
}

/// Whether compatibility normalisation makes ASCII of a character that is not: `／` a slash, `․` a dot, `K` a letter.
fn is_folded(character: char) -> bool {
    !character.is_ascii() && std::iter::once(character).nfkc().any(|folded| folded.is_ascii())
}

/// Characters that show nothing, which some readers drop.
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffd}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}
