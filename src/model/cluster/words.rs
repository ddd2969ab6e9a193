//! Values made of words, `name=value`, separated by spaces; and the numbers, times and sizes in them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::text::{clip, parse_duration, show_duration};

/// The longest time that can be declared.
const DAY: Duration = Duration::from_secs(86_400);

/// Reads words, each at most once. `take` gets the name and the value of each.
pub(super) fn read<'a>(
    words: impl IntoIterator<Item = &'a str>,
    known: &[&'static str],
    mut take: impl FnMut(&'static str, &'a str) -> Result<(), String>,
) -> Result<(), String> {
    let names = || {
        let names: Vec<String> = known.iter().map(|name| format!("{name}=")).collect();
        names.join(", ")
    };
    let mut seen = BTreeSet::new();
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            return Err(format!("`{}` is not name=value ({})", clip(word), names()));
        };
        let Some(name) = known.iter().find(|known| **known == name) else {
            return Err(format!("`{}=` is not known here ({})", clip(name), names()));
        };
        if !seen.insert(name) {
            return Err(format!("`{name}=` stands twice"));
        }
        take(name, value)?;
    }
    Ok(())
}

/// A whole number; `what` begins the message, `connections=` or nothing.
pub(crate) fn count(what: &str, text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse::<u32>().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        format!(
            "`{what}{}` must be a whole number from {least} to {most}",
            clip(text)
        )
    })
}

/// A time from `least` to a day.
pub(crate) fn at_least(what: &str, text: &str, least: Duration) -> Result<Duration, String> {
    within(what, text, least..=DAY)
}

/// A time between bounds.
pub(super) fn within(what: &str, text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let time = parse_duration(text).ok().filter(|time| range.contains(time));
    time.ok_or_else(|| {
        let (least, most) = (show_duration(*range.start()), show_duration(*range.end()));
        format!("`{what}{}` must be a duration from {least} to {most}", clip(text))
    })
}

/// A time in whole seconds, from one to `most`.
pub(super) fn seconds(what: &str, text: &str, most: u32) -> Result<u32, String> {
    let time = parse_duration(text).ok().filter(|time| time.subsec_nanos() == 0);
    let seconds = time.and_then(|time| u32::try_from(time.as_secs()).ok());
    seconds
        .filter(|seconds| (1..=most).contains(seconds))
        .ok_or_else(|| format!("`{what}{}` must be whole seconds, from 1s to {most}s", clip(text)))
}

/// A share, `20%`.
pub(super) fn percent(what: &str, text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
    number
        .filter(|number| (1..=100).contains(number))
        .ok_or_else(|| format!("`{what}{}` must be a share from 1% to 100%", clip(text)))
}

const KIB: u32 = 1 << 10;
const MIB: u32 = 1 << 20;

/// Bytes: `65535`, `64KiB`, `1MiB`.
pub(super) fn size(what: &str, text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let (number, unit) = match (text.strip_suffix("MiB"), text.strip_suffix("KiB")) {
        (Some(number), _) => (number, MIB),
        (_, Some(number)) => (number, KIB),
        (None, None) => (text, 1),
    };
    let bytes = number.parse::<u32>().ok().and_then(|n| n.checked_mul(unit));
    bytes.filter(|bytes| range.contains(bytes)).ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        format!(
            "`{what}{}` must be a size such as 64KiB or 1MiB, from {least} to {most} bytes",
            clip(text)
        )
    })
}

/// Bytes as [`size`] reads them.
pub(super) fn show_size(bytes: u32) -> String {
    match bytes {
        _ if bytes.is_multiple_of(MIB) => format!("{}MiB", bytes / MIB),
        _ if bytes.is_multiple_of(KIB) => format!("{}KiB", bytes / KIB),
        _ => bytes.to_string(),
    }
}

/// Words as they are declared.
#[derive(Default)]
pub(super) struct Shown(Vec<String>);

impl Shown {
    /// Begins with a word that has no name.
    pub(super) fn head(word: impl Into<String>) -> Self {
        Self(vec![word.into()])
    }

    /// The word `name=value`, if there is a value.
    pub(super) fn word<T>(mut self, name: &str, value: Option<T>, show: impl Fn(T) -> String) -> Self {
        self.0
            .extend(value.map(|value| format!("{name}={}", show(value))));
        self
    }

    /// A number.
    pub(super) fn count(self, name: &str, value: Option<u32>) -> Self {
        self.word(name, value, |n| n.to_string())
    }

    /// A time.
    pub(super) fn time(self, name: &str, value: Option<Duration>) -> Self {
        self.word(name, value, show_duration)
    }

    /// A share.
    pub(super) fn percent(self, name: &str, value: Option<u32>) -> Self {
        self.word(name, value, |n| format!("{n}%"))
    }

    /// All words.
    pub(super) fn text(self) -> String {
        self.0.join(" ")
    }
}
