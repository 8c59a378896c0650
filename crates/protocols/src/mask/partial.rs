//! The mask `partial`: the end of a text stays readable.

/// How many characters at the end stay readable.
const READABLE: usize = 4;

/// Stars for all but the last four characters; separators of groups stay, so that a card number still looks
/// like one. A value of four characters or fewer is all stars. A text that is not UTF-8 is taken
/// byte by byte.
pub(crate) fn partial(value: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(value) {
        Ok(text) if !text.is_ascii() => {
            let separates = |character: &char| matches!(character, '-' | ' ');
            let mut hidden = hidden(text.chars().filter(|c| !separates(c)).count());
            let mut buffer = [0; 4];
            for character in text.chars() {
                if separates(&character) || hidden == 0 {
                    out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                } else {
                    hidden -= 1;
                    out.push(b'*');
                }
            }
        }
        Ok(_) | Err(_) => {
            let separates = |byte: u8| matches!(byte, b'-' | b' ');
            let mut hidden = hidden(value.iter().filter(|byte| !separates(**byte)).count());
            out.extend(value.iter().map(|byte| {
                if separates(*byte) || hidden == 0 {
                    return *byte;
                }
                hidden -= 1;
                b'*'
            }));
        }
    }
}

/// How many of so many characters become stars.
const fn hidden(count: usize) -> usize {
    if count > READABLE { count - READABLE } else { count }
}
