//! Somebody else's text in a message, a response or a log line: bounded, and on one line.

/// Characters of a text in a message about it.
const SHORT: usize = 60;

/// At most 60 characters of somebody's text.
#[must_use]
pub fn clip(text: &str) -> String {
    clip_to(text, SHORT)
}

/// At most `most` characters of somebody's text, and `…` if there were more; control characters are replaced.
#[must_use]
pub fn clip_to(text: &str, most: usize) -> String {
    let visible = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
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
        assert_eq!(clip_to("äöü", 2), "äö…");
        assert_eq!(clip(&"ü".repeat(61)).chars().count(), 61);
    }

    #[test]
    fn a_head_ends_between_characters() {
        assert_eq!((head("äö", 3), head("äö", 4), head("äö", 9)), ("ä", "äö", "äö"));
        assert_eq!((head("ä", 1), head("", 1)), ("", ""));
    }
}
