//! The first of many names.

use std::fmt::Display;

/// `a, b and 3 more`: the first `shown` of the names; there are `all`, also where the caller does not have them all.
#[must_use]
pub fn list(names: impl IntoIterator<Item = impl Display>, shown: usize, all: usize) -> String {
    let names: Vec<String> = names
        .into_iter()
        .take(shown)
        .map(|name| name.to_string())
        .collect();
    let more = all.saturating_sub(names.len());
    let text = names.join(", ");
    match more {
        0 => text,
        more if text.is_empty() => format!("{more} more"),
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_named_and_the_rest_is_counted() {
        assert_eq!(list(["a", "b"], 2, 2), "a, b");
        assert_eq!(list(["a", "b", "c"], 2, 3), "a, b and 1 more");
        assert_eq!(list(["a", "b"], 9, 40), "a, b and 38 more");
        assert_eq!(list([] as [&str; 0], 2, 0), "");
    }
}
