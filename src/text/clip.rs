//! Somebody else's text in a message, a response or a log line: bounded, and on one line.

/// Characters of a text in a message about it.
const SHORT: usize = 60;

/// At most 60 characters of somebody's text.
#[must_use]
pub fn clip(text: &str) -> String {
    clip_to(text, SHORT)
}

/// What a terminal obeys instead of printing it: control characters, and those that turn the direction of writing or
/// break a line.
const fn is_obeyed(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

const fn visible(c: char) -> char {
    if is_obeyed(c) {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

/// A text of several lines as it may be printed: what is in them never moves the cursor of a terminal.
#[must_use]
pub fn on_lines(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\n' { c } else { visible(c) })
        .collect()
}

/// At most `most` characters of somebody's text, and `…` if there were more; what a terminal would obey is replaced.
#[must_use]
pub fn clip_to(text: &str, most: usize) -> String {
    let mut clipped: String = text.chars().take(most).map(visible).collect();
    if text.chars().nth(most).is_some() {
        clipped.push('…');
    }
    clipped
}

/// The first bytes of a text, at most `most`, as they are and without a copy: what prints them has to escape them.
#[must_use]
pub fn head(text: &str, most: usize) -> &str {
    let end = (0..=text.len().min(most)).rfind(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_bounded_and_stays_on_one_line() {
        assert_eq!(clip("short"), "short");
        assert_eq!(clip_to("four", 4), "four");
        assert_eq!(clip_to("a\nb\u{7f}c", 9), "a\u{fffd}b\u{fffd}c");
        assert_eq!(clip_to("a\u{9b}2J\u{202e}b", 9), "a\u{fffd}2J\u{fffd}b");
        assert_eq!(on_lines("a\u{1b}[2J\r\nb\tü"), "a\u{fffd}[2J\u{fffd}\nb\u{fffd}ü");
        assert_eq!(clip_to("äöü", 2), "äö…");
        assert_eq!(clip(&"ü".repeat(61)).chars().count(), 61);
    }

    #[test]
    fn a_head_ends_between_characters() {
        assert_eq!((head("äö", 3), head("äö", 4), head("äö", 9)), ("ä", "äö", "äö"));
        assert_eq!((head("ä", 1), head("", 1)), ("", ""));
    }
}
