//! Makes text that others wrote fit for a message: `pg_dump`'s stderr has names that a tenant chose, the answer of an object
//! store is whatever a server sends.

/// The most characters of such a text that a message has.
const MOST: usize = 1_000;

/// One line without anything that a terminal obeys or that turns the direction of writing; its end is cut off.
pub(crate) fn tame(text: &str) -> String {
    let mut out = String::new();
    for (length, c) in text.trim().chars().enumerate() {
        if length == MOST {
            out.push('…');
            break;
        }
        match c {
            '\n' => out.push_str("; "),
            '\t' => out.push(' '),
            c if c.is_control() || turns(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Whether a character changes how what stands around it is shown.
fn turns(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let check = |input: &str, expected: &str| assert_eq!(tame(input), expected, "{input:?}");
        check("  plain é \n", "plain é");
        check("two\nlines", "two; lines");
        check("\u{1b}[31mred\r", "\\u{1b}[31mred");
        check("a\u{202e}b\u{0}", "a\\u{202e}b\\u{0}");
        assert_eq!(tame(&"x".repeat(5_000)).chars().count(), MOST + 1);
    }

    #[test]
    fn digits_are_small_letters() {
        assert_eq!(hex(&[0, 0xab, 0x7f]), "00ab7f");
    }
}
