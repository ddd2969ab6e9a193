//! How keys are spelt, and what a misspelt one was meant to be. Pure.

use std::fmt;

use crate::model::key::Key;

/// How a key is spelt in the place it was read from, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `weight`, in etcd JSON, files and policy documents
    Plain,
    /// `xds-weight`, in Consul Meta
    Meta,
    /// `xds.weight`, in Consul tags
    Tag,
    /// `weight`, in the bridge's own cache
    Saved,
}

impl Spelling {
    /// Takes the prefix off; `None` when the key is none of ours.
    #[must_use]
    pub fn strip(self, key: &str) -> Option<&str> {
        key.strip_prefix(self.prefix())
    }

    /// What stands before the name of a key.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Plain | Self::Saved => "",
            Self::Meta => "xds-",
            Self::Tag => "xds.",
        }
    }
}

impl Key {
    /// Reads a key without its prefix.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find_map(|key| key.named(name))
    }

    /// The key of this row that has a name; the first of numbered ones has no number in it.
    fn named(self, name: &str) -> Option<Self> {
        let row = self.row();
        let rest = name.strip_prefix(row.name)?;
        if rest.is_empty() {
            return Some(self);
        }
        let number = rest.strip_prefix('-').filter(|_| row.numbered)?;
        let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
        let number = number.parse::<u32>().ok().filter(|n| plain && *n >= 2)?;
        Some(self.numbered(number))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().name)?;
        match self.number() {
            1 => Ok(()),
            number => write!(f, "-{number}"),
        }
    }
}

/// The key that an unknown one was most likely meant to be: the same but for case, `_` for `-`, or one slip
/// of a finger (two in words of six letters and more, none in those of two).
#[must_use]
pub fn nearest(name: &str) -> Option<Key> {
    if name.len() > 32 {
        return None;
    }
    let plain = name.to_ascii_lowercase().replace('_', "-");
    if let Some(key) = Key::parse(&plain) {
        return Some(key);
    }
    let (word, number) = match plain.rsplit_once('-') {
        Some((word, number)) if number.parse::<u32>().is_ok_and(|n| n >= 1) => (word, number.parse().ok()),
        _ => (plain.as_str(), None),
    };
    let distance = |key: &Key| {
        let row = key.row();
        let distance = strsim::osa_distance(word, row.name);
        let slips = match row.name.len() {
            ..=2 => 0,
            3..=5 => 1,
            _ => 2,
        };
        (distance <= slips && (row.numbered || number.is_none())).then_some(distance)
    };
    let near = Key::ALL.iter().filter_map(|key| Some((distance(key)?, key)));
    near.min().map(|(_, key)| key.numbered(number.unwrap_or(1)))
}

/// The key that a text is meant to be which begins nearly as keys of ours do in registries, `xds-` or `xds.`:
/// in other letters (`XDS-`, `xsd-`) or with another sign (`xds_`, `xds:`, none). What follows must be a key, or
/// nearly one.
#[must_use]
pub fn prefixed(text: &str) -> Option<Key> {
    let (prefix, rest) = (text.get(..3)?, text.get(3..)?);
    let mut letters: Vec<u8> = prefix.bytes().map(|b| b.to_ascii_lowercase()).collect();
    letters.sort_unstable();
    if letters != *b"dsx" {
        return None;
    }
    let name = rest.trim_start_matches(['-', '_', '.', ':', '/', ' ']);
    let exact = |name: &str| Key::parse(&name.to_ascii_lowercase().replace('_', "-"));
    // Two kinds of slips at once are none of ours.
    if prefix.eq_ignore_ascii_case("xds") && name.len() < rest.len() {
        nearest(name)
    } else {
        exact(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_is_nearly_right_is_understood() {
        for (text, key) in [
            ("xds_expose", Key::Expose),
            ("xds_weight", Key::Weight),
            ("XDS-Route", Key::Route(1)),
            ("xds-version", Key::Version),
            ("xds:route-2", Key::Route(2)),
            ("xds_route_2", Key::Route(2)),
            ("xds-exopse", Key::Expose),
            ("xsd-route", Key::Route(1)),
            ("xdsRoute", Key::Route(1)),
            ("xds.all_unhealthy", Key::AllUnhealthy),
        ] {
            assert_eq!(prefixed(text), Some(key), "{text}");
        }
        for text in [
            "",
            "xd",
            "xds",
            "xds-",
            "rds-version",
            "eds_weight",
            "xds-colour",
            "xsd-exopse",
            "xdsroutes",
            "weight",
            "zxds-route",
            "äxds-route",
            "dsx",
        ] {
            assert_eq!(prefixed(text), None, "{text}");
        }
    }

    #[test]
    fn each_key_is_read_as_it_is_written() {
        let routes = [
            ("route", Key::Route(1)),
            ("route-2", Key::Route(2)),
            ("route-64", Key::Route(64)),
        ];
        let all = Key::ALL.iter().map(|key| (key.row().name, *key));
        for (name, key) in all.chain(routes) {
            assert_eq!(Key::parse(name), Some(key), "{name}");
            assert_eq!(key.to_string(), name);
        }
        for name in [
            "route-1", "route-0", "route-02", "route-+2", "route2", "Route", "", "routes",
        ] {
            assert_eq!(Key::parse(name), None, "{name}");
        }
    }

    #[test]
    fn keys_are_ordered_as_their_rows_are() {
        assert!(Key::ALL.is_sorted());
    }

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        for (name, key) in [
            ("Route", Key::Route(1)),
            ("routes", Key::Route(1)),
            ("rout", Key::Route(1)),
            ("route_2", Key::Route(2)),
            ("route-1", Key::Route(1)),
            ("EXPOSE", Key::Expose),
            ("exopse", Key::Expose),
            ("all_unhealthy", Key::AllUnhealthy),
            ("wieght", Key::Weight),
            ("protcol", Key::Protocol),
        ] {
            assert_eq!(nearest(name), Some(key), "{name}");
        }
        for name in [
            "colour", "rate", "owner", "color", "timezone", "note", "db", "lab",
        ] {
            assert_eq!(nearest(name), None, "{name}");
        }
    }
}
