//! Whether where a client is decides which instances it calls first. Pure.

use std::fmt;

use crate::text::clip;

/// What holds for clients that say where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalityRule {
    /// It makes no difference.
    #[default]
    Off,
    /// The instances of the client's zone come first, then those of its region, then all others. The next ones get a
    /// part of the requests when less than this share, in percent, of the nearer ones is healthy.
    Prefer(u32),
}

/// Envoy's own: its factor of overprovisioning is 140 %.
const USUAL: u32 = 71;

impl LocalityRule {
    /// Instances of the own zone first, and a part for the next ones when Envoy itself would give it.
    pub const PREFER: Self = Self::Prefer(USUAL);

    /// Reads the declared word.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let share = |text: &str| text.parse().ok().filter(|share| (1..=100).contains(share));
        match (text, text.strip_prefix("prefer:").map(share)) {
            ("off", _) => Ok(Self::Off),
            ("prefer", _) => Ok(Self::PREFER),
            (_, Some(Some(share))) => Ok(Self::Prefer(share)),
            _ => Err(format!(
                "`{}` must be off, prefer, or prefer:50 with a share from 1 to 100 percent",
                clip(text)
            )),
        }
    }
}

impl fmt::Display for LocalityRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Prefer(USUAL) => f.write_str("prefer"),
            Self::Prefer(share) => write!(f, "prefer:{share}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_as_it_is_shown() {
        for text in ["off", "prefer", "prefer:1", "prefer:100"] {
            assert_eq!(LocalityRule::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "on",
            "prefer:",
            "prefer:0",
            "prefer:101",
            "prefer:5%",
            "Prefer",
        ] {
            assert!(
                LocalityRule::parse(text).unwrap_err().contains("prefer:50"),
                "{text}"
            );
        }
    }
}
