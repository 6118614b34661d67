//! Texts that others wrote, on their way to people: in conditions, Events, logs and commands. Pure.

use std::fmt::Write;

/// Where the documents are, for messages: a user who reads one has no copy of the repository.
pub const DOCS: &str = "https://github.com/edumatrixhub/tenant-schema-operator/blob/main/docs";

/// The text with control characters, and those that change the direction of writing, written out: what a tenant called a table must
/// neither move a reader's cursor nor hide what comes after. Line breaks stay.
#[must_use]
pub fn plain(text: String) -> String {
    let hides = |character: char| {
        character.is_control() && character != '\n'
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(hides) {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if hides(character) {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// Bytes as hexadecimal digits in lower case, such as those of a hash.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A number of things, such as `1 table` and `2 tables`.
#[must_use]
pub fn count(number: i64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// What is wrong with a regular expression, in one line. The lines before the last one of the error draw the place.
#[must_use]
pub fn why_no_regex(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Whether an object of Kubernetes can be called so: labels of lower-case letters, digits and hyphens, with points in between. What
/// cannot is asked of no API server, in whose address it would mean something else, and stands in no command.
#[must_use]
pub fn is_object_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_is_written_out() {
        assert_eq!(plain("one\ntwo".to_owned()), "one\ntwo");
        assert_eq!(plain("a\r\u{1b}[2Jb\u{7}\u{202e}c\0é".to_owned()), "a\\r\\u{1b}[2Jb\\u{7}\\u{202e}c\\u{0}é");
    }

    #[test]
    fn only_one_thing_is_told_in_the_singular() {
        let told = [0, 1, 2, 21].map(|number| count(number, "table"));
        assert_eq!(told, ["0 tables", "1 table", "2 tables", "21 tables"]);
    }

    #[test]
    fn a_regular_expression_is_refused_in_one_line() {
        let why = |pattern: &str| why_no_regex(&regex::Regex::new(pattern).unwrap_err());
        assert_eq!(why("([a-z"), "unclosed character class");
    }

    #[test]
    fn names_that_no_object_has_are_known() {
        for name in ["a", "team-a", "a.b-c.7", &"a".repeat(253)] {
            assert!(is_object_name(name), "{name}");
        }
        for name in [
            "",
            "..",
            "a..b",
            "-a",
            "a-",
            "A",
            "a/b",
            "?watch=true&n=1",
            "a%2fb",
            "x$(touch y)",
            "a\n",
            &"a".repeat(254),
        ] {
            assert!(!is_object_name(name), "{name}");
        }
    }
}
