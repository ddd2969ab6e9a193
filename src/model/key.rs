//! The names of the keys that a server declares, and what a misspelt one was meant to be. Pure.

use std::fmt;

/// A key of the declaration language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Key {
    /// `version`
    Version,
    /// `weight`
    Weight,
    /// `zone`
    Zone,
    /// `state`
    State,
    /// `protocol`
    Protocol,
    /// `expose`
    Expose,
    /// `all-unhealthy`
    AllUnhealthy,
    /// `timeout`
    Timeout,
    /// `stream-idle-timeout`
    StreamIdleTimeout,
    /// `idle-timeout`
    IdleTimeout,
    /// `route` (1), `route-2`, …
    Route(u32),
}

/// The keys without a number.
const NAMES: [(&str, Key); 10] = [
    ("version", Key::Version),
    ("weight", Key::Weight),
    ("zone", Key::Zone),
    ("state", Key::State),
    ("protocol", Key::Protocol),
    ("expose", Key::Expose),
    ("all-unhealthy", Key::AllUnhealthy),
    ("timeout", Key::Timeout),
    ("stream-idle-timeout", Key::StreamIdleTimeout),
    ("idle-timeout", Key::IdleTimeout),
];

impl Key {
    /// Reads a key without its prefix.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some((_, key)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Some(*key);
        }
        match name.strip_prefix("route")? {
            "" => Some(Self::Route(1)),
            rest => {
                let number = rest.strip_prefix('-')?;
                let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
                let number = number.parse::<u32>().ok().filter(|n| plain && *n >= 2)?;
                Some(Self::Route(number))
            }
        }
    }

    /// Whether it is said of the service, and not of one instance.
    #[must_use]
    pub const fn is_policy(self) -> bool {
        !matches!(self, Self::Version | Self::Weight | Self::Zone | Self::State)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Route(number) = self {
            return match number {
                1 => f.write_str("route"),
                number => write!(f, "route-{number}"),
            };
        }
        let name = NAMES.iter().find(|(_, key)| key == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// The key that an unknown one was most likely meant to be: the same but for case, `_` for `-`, or one slip
/// of a finger (two in words of six letters and more).
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
    let near = |known: &str| {
        let slips = if known.len() >= 6 { 2 } else { 1 };
        strsim::osa_distance(word, known) <= slips
    };
    if near("route") {
        return Some(Key::Route(number.unwrap_or(1)));
    }
    let found = NAMES.iter().find(|(known, _)| number.is_none() && near(known));
    found.map(|(_, key)| *key)
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
        for (name, key) in NAMES.into_iter().chain(routes) {
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
            "colour", "rate", "share", "needs", "owner", "color", "timezone", "note",
        ] {
            assert_eq!(nearest(name), None, "{name}");
        }
    }
}
