//! Somebody else's text in a message. Pure.

/// At most 60 characters of somebody's text, for a message.
#[must_use]
pub fn clip(text: &str) -> String {
    let clean: String = text
        .chars()
        .take(60)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(60).is_some() {
        format!("{clean}…")
    } else {
        clean
    }
}
