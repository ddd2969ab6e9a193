//! The keys a server declares: one flat table of strings, the same in Consul
//! Meta (`xds-KEY`), Consul tags (`xds.KEY=value`) and etcd JSON (`"KEY"`).
//!
//! A bad value costs its own key only: the default is taken, an [`Issue`] says
//! so, and the instance stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::change::Issue;
use super::instance::{MAX_WEIGHT, Protocol};
use super::network::OnAllUnhealthy;
use super::route::{RouteRule, clip};

/// All that one entry declares, read. `None` means: not declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `version`
    pub version: Option<Arc<str>>,
    /// `weight`, 0..=[`MAX_WEIGHT`]; 0 means: no traffic.
    pub weight: Option<u32>,
    /// `zone`
    pub zone: Option<Arc<str>>,
    /// `state`
    pub state: Option<State>,
    /// The service policy among the keys.
    pub policy: Policy,
}

/// What a service (one version of it) wants of the network.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Policy {
    /// `protocol`
    pub protocol: Option<Protocol>,
    /// `expose`: exposures by name, comma separated; `none` = no route at all.
    pub expose: Option<Expose>,
    /// `route`, `route-2`, …, in the order of their keys.
    pub routes: Vec<RouteRule>,
    /// `all-unhealthy`
    pub all_unhealthy: Option<OnAllUnhealthy>,
}

/// `expose`, read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Expose {
    /// `none`: cluster and endpoints only.
    Nothing,
    /// Names of exposures that the operator defined.
    On(Vec<String>),
}

/// `state`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Takes traffic (the default).
    Up,
    /// No new requests; those in flight finish.
    Drain,
    /// Not in Envoy at all.
    Off,
}

/// How a key is spelt in the place it was read from, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `weight`, in etcd JSON, files and policy documents
    Plain,
    /// `xds-weight`, in Consul Meta
    Meta,
    /// `xds.weight`, in Consul tags
    Tag,
}

impl Spelling {
    /// Takes the prefix off; `None` when the key is none of ours.
    #[must_use]
    pub fn strip(self, key: &str) -> Option<&str> {
        match self {
            Self::Plain => Some(key),
            Self::Meta => key.strip_prefix("xds-"),
            Self::Tag => key.strip_prefix("xds."),
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Meta => "xds-",
            Self::Tag => "xds.",
        }
    }
}

const KNOWN: &str = "version, weight, zone, state, protocol, expose, route, all-unhealthy, share, needs";

/// Reads a table of keys (already without their prefix). `entry` is the
/// registry's name of it and stands in each issue.
pub fn parse<'a>(
    entry: &str,
    spelling: Spelling,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    issues: &mut Vec<Issue>,
) -> Declared {
    let mut declared = Declared::default();
    let mut routes: BTreeMap<u32, RouteRule> = BTreeMap::new();
    for (key, value) in pairs {
        if let Err(reason) = read_one(&mut declared, &mut routes, key, value) {
            let prefix = spelling.prefix();
            issues.push(Issue::warning(entry, format!("{prefix}{}: {reason}", clip(key))));
        }
    }
    declared.policy.routes = routes.into_values().collect();
    declared
}

fn read_one(
    declared: &mut Declared,
    routes: &mut BTreeMap<u32, RouteRule>,
    key: &str,
    value: &str,
) -> Result<(), String> {
    let value = value.trim();
    match key {
        "version" => declared.version = Some(label(value, "a commit id or release")?),
        "zone" => declared.zone = Some(label(value, "a zone name")?),
        "weight" => declared.weight = Some(weight(value)?),
        "state" => {
            declared.state = Some(match value {
                "up" => State::Up,
                "drain" => State::Drain,
                "off" => State::Off,
                _ => {
                    return Err(format!("`{}` must be up, drain or off; taken as up", clip(value)));
                }
            });
        }
        "protocol" => {
            let wrong = || {
                format!(
                    "`{}` must be http1, http2, grpc or tcp; taken as http1",
                    clip(value)
                )
            };
            declared.policy.protocol = Some(Protocol::parse(value).ok_or_else(wrong)?);
        }
        "expose" => declared.policy.expose = Some(expose(value)?),
        "all-unhealthy" => {
            let wrong = || {
                format!(
                    "`{}` must be open, closed or drop; clusters.on_all_unhealthy of bridge.toml is taken",
                    clip(value)
                )
            };
            declared.policy.all_unhealthy = Some(OnAllUnhealthy::parse(value).ok_or_else(wrong)?);
        }
        "share" | "needs" => {
            return Err(
                "is a key of the declaration language that this version does not act on yet".to_owned(),
            );
        }
        _ => {
            let number = match key.strip_prefix("route") {
                Some("") => Some(1),
                Some(rest) => rest
                    .strip_prefix('-')
                    .and_then(|n| n.parse::<u32>().ok())
                    .filter(|n| *n >= 2),
                None => None,
            };
            let Some(number) = number else {
                return Err(format!("not a key of ours, ignored (known: {KNOWN}, route-2, …)"));
            };
            if routes.len() >= MAX_ROUTES && !routes.contains_key(&number) {
                return Err(format!("more than {MAX_ROUTES} routes; this one is ignored"));
            }
            routes.insert(
                number,
                RouteRule::parse(value).map_err(|e| format!("{e}; this route is ignored"))?,
            );
        }
    }
    Ok(())
}

/// The longest version or zone that is declared, bytes.
pub const MAX_LABEL: usize = 128;
/// So many routes one entry may declare: Consul Meta holds no more than 64 pairs.
pub const MAX_ROUTES: usize = 64;

fn weight(value: &str) -> Result<u32, String> {
    value
        .parse::<u32>()
        .ok()
        .filter(|w| *w <= MAX_WEIGHT)
        .ok_or_else(|| {
            format!(
                "`{}` must be a whole number from 0 to {MAX_WEIGHT}; the default is taken",
                clip(value)
            )
        })
}

fn label(value: &str, what: &str) -> Result<Arc<str>, String> {
    let fits = value.len() <= MAX_LABEL
        && value
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'@' && b != b'/');
    if !fits {
        return Err(format!(
            "`{}` must be {what}: at most {MAX_LABEL} visible ASCII characters, no @ or /; ignored",
            clip(value)
        ));
    }
    Ok(value.into())
}

fn expose(value: &str) -> Result<Expose, String> {
    if value == "none" {
        return Ok(Expose::Nothing);
    }
    let names: Vec<String> = value
        .split(',')
        .map(|n| n.trim().to_owned())
        .filter(|n| !n.is_empty())
        .collect();
    let word = |n: &String| {
        n != "none"
            && n.len() <= 64
            && n.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if names.is_empty() || names.len() > 16 || !names.iter().all(word) {
        return Err(format!(
            "`{}` must be none, or names of exposures separated by commas; ignored",
            clip(value)
        ));
    }
    Ok(Expose::On(names))
}

impl Declared {
    /// Takes what `self` does not say from `weaker` (policy document over Meta over tag over field).
    #[must_use]
    pub fn over(self, weaker: Self) -> Self {
        Self {
            version: self.version.or(weaker.version),
            weight: self.weight.or(weaker.weight),
            zone: self.zone.or(weaker.zone),
            state: self.state.or(weaker.state),
            policy: self.policy.over(&weaker.policy),
        }
    }
}

impl Policy {
    /// Takes what `self` does not say from `weaker`.
    #[must_use]
    pub fn over(self, weaker: &Self) -> Self {
        Self {
            protocol: self.protocol.or(weaker.protocol),
            expose: self.expose.or_else(|| weaker.expose.clone()),
            routes: if self.routes.is_empty() {
                weaker.routes.clone()
            } else {
                self.routes
            },
            all_unhealthy: self.all_unhealthy.or(weaker.all_unhealthy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Declared, Vec<String>) {
        let mut issues = Vec::new();
        let declared = parse("orders-7", Spelling::Meta, pairs.iter().copied(), &mut issues);
        (declared, issues.into_iter().map(|i| i.reason).collect())
    }

    #[test]
    fn good_keys_are_read_without_a_word() {
        let (declared, issues) = read(&[
            ("version", "9f31c2a"),
            ("weight", "10"),
            ("zone", "a"),
            ("state", "drain"),
            ("protocol", "grpc"),
            ("expose", "edge, internal"),
            ("all-unhealthy", "drop"),
            ("route-2", "path=/x"),
            ("route", "grpc=shop.Orders"),
        ]);
        assert!(issues.is_empty(), "{issues:?}");
        assert_eq!(declared.weight, Some(10));
        assert_eq!(declared.state, Some(State::Drain));
        assert_eq!(declared.policy.all_unhealthy, Some(OnAllUnhealthy::Drop));
        assert_eq!(
            declared.policy.expose,
            Some(Expose::On(vec!["edge".into(), "internal".into()]))
        );
        assert!(matches!(
            declared.policy.routes[0].matcher,
            crate::model::Matcher::Grpc(_)
        ));
        assert_eq!(declared.policy.routes.len(), 2);
    }

    #[test]
    fn a_bad_value_costs_its_own_key_only() {
        let (declared, issues) = read(&[
            ("weight", "-1"),
            ("version", "v1"),
            ("state", "down"),
            ("protocol", "spdy"),
            ("colour", "red"),
            ("route-1", "path=/x"),
            ("route", "path=x"),
            ("expose", ""),
            ("all-unhealthy", "panic"),
        ]);
        assert_eq!(declared.version.as_deref(), Some("v1"));
        assert_eq!(
            (declared.weight, declared.state, declared.policy.protocol),
            (None, None, None)
        );
        assert_eq!(declared.policy.all_unhealthy, None);
        assert_eq!(issues.len(), 8, "{issues:?}");
        assert!(issues.iter().all(|i| i.starts_with("xds-")), "{issues:?}");
    }

    #[test]
    fn the_stronger_place_wins_key_by_key() {
        let (meta, _) = read(&[("weight", "5")]);
        let (tag, _) = read(&[("weight", "9"), ("zone", "b"), ("route", "path=/t")]);
        let both = meta.over(tag);
        assert_eq!(
            (both.weight, both.zone.as_deref(), both.policy.routes.len()),
            (Some(5), Some("b"), 1)
        );
    }
}
