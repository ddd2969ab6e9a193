//! Durations as people write them.

use std::time::Duration;

use super::clip::clip;

/// Reads `250ms`, `2s`, `1.5s`, `3m`, `1h`; 0, or from a millisecond to a day.
///
/// # Errors
/// A sentence that says what would be right.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || {
        format!(
            "`{}` is not a duration such as 250ms, 2s or 1m (0s, or from 1ms to 24h)",
            clip(text)
        )
    };
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds = plain
        .then(|| number.parse::<f64>().ok())
        .flatten()
        .ok_or_else(bad)?
        * factor;
    // Less than a millisecond would become 0, which means "never" in many places.
    if seconds != 0.0 && !(0.001..=86_400.0).contains(&seconds) {
        return Err(bad());
    }
    // Whole milliseconds: what a person writes, and the same on each machine.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bounded just above
    Ok(Duration::from_millis((seconds * 1000.0).round() as u64))
}

/// A duration as [`parse_duration`] reads it.
#[must_use]
pub fn show_duration(time: Duration) -> String {
    if time.is_zero() {
        "0s".to_owned()
    } else {
        format!("{time:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_shown_as_it_is_read() {
        for (text, millis) in [("250ms", 250), ("1.5s", 1_500), ("60s", 60_000), ("0s", 0)] {
            let time = Duration::from_millis(millis);
            assert_eq!(
                (parse_duration(text), show_duration(time)),
                (Ok(time), text.to_owned())
            );
        }
        assert_eq!(parse_duration("1m"), parse_duration("60s"));
        assert_eq!(parse_duration("24h"), parse_duration("86400s"));
    }

    #[test]
    fn what_is_no_duration_is_quoted_in_the_error() {
        for text in ["", "2", "s", "-1s", "1e3s", "25h", "0.4ms", "1d", "1..5s", "∞s"] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(&format!("`{text}` is not a duration")), "{error}");
        }
    }
}
