//! Paths as services claim them and as operators allow them: whole segments, as `Prefix` of Kubernetes'
//! Ingress does, or characters where that is written, `/orders*`. Pure.

use super::pattern::beginning;
use crate::text::clip;

/// A set of request paths. The order puts the narrower of two that are equally long first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Paths {
    /// This one.
    Exactly(String),
    /// This one and all below it. Ends with no slash, but for the root.
    Segments(String),
    /// All that begin with these characters.
    Characters(String),
    /// Those that a regular expression fits as a whole.
    Pattern(String),
}

impl Paths {
    /// Reads `/orders`, `/orders/` (the same), `/orders*` or `/orders/*`.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let visible = text.bytes().all(|b| b.is_ascii_graphic());
        if !text.starts_with('/') || text.len() > 256 || !visible || text.contains(['?', '#']) {
            return Err(format!(
                "`{}` must start with / and hold no ?, # or space",
                clip(text)
            ));
        }
        let (path, open) = match text.strip_suffix('*') {
            Some(path) => (path, true),
            None => (text, false),
        };
        if path.contains('*') {
            return Err(format!(
                "`{}` holds a * that is not its last character: /orders* is what begins with /orders",
                clip(text)
            ));
        }
        // Envoy normalises what it receives, so nothing would ever match these.
        let inner = path.strip_suffix('/').unwrap_or(path);
        if inner
            .split('/')
            .skip(1)
            .any(|part| matches!(part, "" | "." | ".."))
        {
            return Err(format!("`{}` must hold no //, /./ or /../", clip(text)));
        }
        Ok(if open && path != "/" {
            Self::Characters(path.to_owned())
        } else {
            Self::Segments(normal(path))
        })
    }

    /// Whether every path of the other one is one of these.
    #[must_use]
    pub fn hold(&self, other: &Self) -> bool {
        if let Self::Pattern(pattern) = other {
            let begins = beginning(pattern);
            return self == other
                || (!begins.is_empty() || self.text() == "/") && self.hold(&Self::Characters(begins));
        }
        let inner = other.text();
        match self {
            Self::Exactly(path) => matches!(other, Self::Exactly(_)) && inner == path,
            Self::Segments(path) if path == "/" => true,
            Self::Segments(path) => match inner.strip_prefix(path.as_str()) {
                Some("") => !matches!(other, Self::Characters(_)),
                Some(rest) => rest.starts_with('/'),
                None => false,
            },
            Self::Characters(path) => inner.starts_with(path.as_str()),
            Self::Pattern(_) => false,
        }
    }

    /// The path or expression that is compared.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Exactly(path) | Self::Segments(path) | Self::Characters(path) | Self::Pattern(path) => path,
        }
    }

    /// How many characters of a path are certain: of several the longest is the most specific one.
    #[must_use]
    pub fn certain(&self) -> usize {
        match self {
            Self::Pattern(pattern) => beginning(pattern).len(),
            _ => self.text().len(),
        }
    }

    /// With `{service}` replaced.
    #[must_use]
    pub fn of_service(&self, name: &str) -> Self {
        let replaced = |path: &str| path.replace("{service}", name);
        match self {
            Self::Exactly(path) => Self::Exactly(replaced(path)),
            Self::Segments(path) => Self::Segments(replaced(path)),
            Self::Characters(path) => Self::Characters(replaced(path)),
            Self::Pattern(pattern) => Self::Pattern(pattern.clone()),
        }
    }
}

/// Without slashes at its end: `/archive/` also answers `/archive`.
fn normal(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Paths {
        Paths::parse(text).unwrap()
    }

    #[test]
    fn a_slash_at_the_end_says_nothing_and_a_star_means_characters() {
        for (text, wanted) in [
            ("/", Paths::Segments("/".into())),
            ("/*", Paths::Segments("/".into())),
            ("/orders", Paths::Segments("/orders".into())),
            ("/orders/", Paths::Segments("/orders".into())),
            ("/orders*", Paths::Characters("/orders".into())),
            ("/orders/*", Paths::Characters("/orders/".into())),
        ] {
            assert_eq!(paths(text), wanted, "{text}");
        }
        for text in [
            "orders", "", "*", "/a b", "/a?b", "/a*b", "/a**", "//", "/a//b", "/a//", "/../b", "/a/./",
        ] {
            assert!(Paths::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_gets_past_a_set_that_does_not_hold_it() {
        for (outer, inner, wanted) in [
            ("/", "/orders*", true),
            ("/orders", "/orders", true),
            ("/orders/", "/orders", true),
            ("/orders", "/orders/7", true),
            ("/orders", "/orders/*", true),
            ("/orders", "/orders*", false),
            ("/orders", "/orders-internal", false),
            ("/orders", "/orders-internal*", false),
            ("/orders", "/", false),
            ("/orders/7", "/orders/*", false),
            ("/orders/*", "/orders", false),
            ("/orders/*", "/orders/7", true),
            ("/orders*", "/orders-internal", true),
            ("/orders*", "/orders*", true),
            ("/orders*", "/order*", false),
        ] {
            assert_eq!(paths(outer).hold(&paths(inner)), wanted, "{inner} within {outer}");
        }
        for (outer, inner, wanted) in [
            ("/", ".*", true),
            ("/orders", "/orders/[0-9]+", true),
            ("/orders", "/orders.*", false),
            ("/orders", "/orders/a|/b", false),
            ("/orders", "(?i)/orders/.*", false),
            ("/orders*", "/orders[0-9]", true),
            ("/orders*", "/order[0-9]", false),
        ] {
            let inner = Paths::Pattern(inner.into());
            assert_eq!(paths(outer).hold(&inner), wanted, "{inner:?} within {outer}");
        }
    }
}
