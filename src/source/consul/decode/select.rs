//! Which part of the catalog is served: by names, kinds, tags and Meta. Pure; entries that are not selected are skipped
//! silently.

use super::wire::Service;
use crate::config::ConsulSelection;

impl ConsulSelection {
    /// Whether services of this name are watched at all.
    pub(crate) fn names(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, name));
        (self.services.is_empty() || any(&self.services)) && !any(&self.ignore_services)
    }

    /// Whether an entry is served.
    pub(crate) fn holds(&self, entry: &Service) -> bool {
        self.kinds.iter().any(|kind| *kind == entry.kind)
            && self.tags.iter().all(|tag| entry.tags.contains(tag))
            && self
                .meta
                .iter()
                .all(|(key, value)| entry.meta.get(key) == Some(value))
    }
}

/// `*` matches any characters, also none.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(head) else {
        return false;
    };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        // The first match is the best: it leaves the most to the rest of the pattern.
        let Some(at) = left.find(part) else {
            return false;
        };
        left = &left[at + part.len()..];
    }
    left.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        for (pattern, right, wrong) in [
            ("orders", &["orders"][..], &["order", "orders2", "Orders", ""][..]),
            ("shop-*", &["shop-", "shop-a-b"], &["shop", "my-shop-a"]),
            ("*-test", &["a-test", "-test"], &["a-test2", "test"]),
            ("*", &["", "a/ü b"], &[]),
            ("a*b*c", &["abc", "aXbXbc", "abcbc"], &["ab", "acb", "abcd"]),
            ("a**a", &["aa", "aXa"], &["a"]),
            ("ü*", &["über"], &["u"]),
        ] {
            for name in right {
                assert!(fits(pattern, name), "{pattern} {name}");
            }
            for name in wrong {
                assert!(!fits(pattern, name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn what_is_ignored_is_not_named() {
        let list = |all: &[&str]| all.iter().map(|p| (*p).to_owned()).collect();
        let selection = ConsulSelection {
            services: list(&["orders", "shop-*"]),
            ignore_services: list(&["*-test"]),
            ..ConsulSelection::default()
        };
        assert!(selection.names("orders") && selection.names("shop-a"));
        assert!(!selection.names("shop-test") && !selection.names("users"));
        let all_but = ConsulSelection {
            services: Vec::new(),
            ..selection
        };
        assert!(all_but.names("users") && !all_but.names("shop-test"));
        assert!(ConsulSelection::default().names("shop-test"));
    }
}
