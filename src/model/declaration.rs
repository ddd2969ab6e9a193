//! The keys a server declares: one flat table of strings, the same in Consul
//! Meta (`xds-KEY`), Consul tags (`xds.KEY=value`) and etcd JSON (`"KEY"`).
//!
//! A bad value costs its own key only: the key is noted as a slip, an [`Issue`] names it, and
//! the instance stays. What takes its place is decided by [`super::last_good`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::instance::{MAX_WEIGHT, Protocol};
use super::issue::Issue;
use super::key::{Key, nearest, prefixed};
use super::network::OnAllUnhealthy;
use super::route::{RouteRule, clip, parse_duration};

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
    /// Instance keys that are there and cannot be read.
    pub slips: BTreeSet<Key>,
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
    /// `route` (1), `route-2`, … by their number.
    #[serde(with = "super::numbered")]
    pub routes: BTreeMap<u32, RouteRule>,
    /// `all-unhealthy`
    pub all_unhealthy: Option<OnAllUnhealthy>,
    /// `timeout`: of each route that says none; zero: none.
    pub timeout: Option<Duration>,
    /// `stream-idle-timeout`: of each route that says none; zero: never.
    pub stream_idle_timeout: Option<Duration>,
    /// `idle-timeout`: of connections from Envoy to its servers; zero: never.
    pub idle_timeout: Option<Duration>,
    /// Policy keys that are there and cannot be read.
    #[serde(skip)]
    pub slips: BTreeSet<Key>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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

impl State {
    /// The declared word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Drain => "drain",
            Self::Off => "off",
        }
    }
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

const KNOWN: &str = "version, weight, zone, state, protocol, expose, route, all-unhealthy, timeout, \
                     stream-idle-timeout, idle-timeout, share, needs";
/// What becomes of a key whose value cannot be read.
fn slip(key: Key) -> String {
    let default = match key {
        Key::Version => "has no version",
        Key::Weight => "has the registry's own weight",
        Key::Zone => "has the registry's own zone",
        Key::State => "is up",
        Key::Protocol => "declares no protocol",
        Key::Expose => "does not say where the service is exposed",
        Key::AllUnhealthy => "takes the operator's rule",
        Key::Timeout => "has routes without a timeout, unless they say one",
        Key::StreamIdleTimeout => "has routes with the operator's stream idle timeout, unless they say one",
        Key::IdleTimeout => "takes the operator's `clusters.idle_timeout`",
        Key::Route(_) => "does not declare this route",
    };
    format!("not used: the last good value stays in force; a new instance {default}")
}

/// Reads a table of keys (already without their prefix). `entry` is the
/// registry's name of it and stands in each issue.
pub fn parse<'a>(
    entry: &str,
    spelling: Spelling,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    issues: &mut Vec<Issue>,
) -> Declared {
    let mut declared = Declared::default();
    let mut misspelt = BTreeSet::new();
    for (name, value) in pairs {
        let mut warn = |reason: String| {
            let prefix = spelling.prefix();
            issues.push(Issue::warning(entry, format!("{prefix}{}: {reason}", clip(name))));
        };
        let Some(key) = Key::parse(name) else {
            warn(match nearest(name).or_else(|| prefixed(name)) {
                Some(key) => {
                    misspelt.insert(key);
                    format!(
                        "unknown key; did you mean `{}{key}`? It is {}",
                        spelling.prefix(),
                        slip(key)
                    )
                }
                None if matches!(name, "share" | "needs") => {
                    "reserved, has no effect in this version".to_owned()
                }
                None => format!("not a key of ours, ignored (known: {KNOWN}, route-2, …)"),
            });
            continue;
        };
        match read_one(&mut declared, key, value.trim()) {
            Ok(warnings) => warnings.into_iter().for_each(warn),
            Err(reason) => {
                declared.slip(key);
                warn(format!("{reason}; {}", slip(key)));
            }
        }
    }
    for key in misspelt {
        if !declared.says(key) {
            declared.slip(key);
        }
    }
    declared
}

/// Looks for keys of ours among those of others (Consul's Meta, tags without their value) that are spelt nearly
/// right: `xds_expose`, the tag `xds-expose=edge`. Such a key is a slip, as a misspelt name is.
pub fn near_misses<'a>(
    entry: &str,
    spelling: Spelling,
    others: impl IntoIterator<Item = &'a str>,
    declared: &mut Declared,
    issues: &mut Vec<Issue>,
) {
    for other in others {
        let Some(key) = prefixed(other) else { continue };
        let (what, value) = match spelling {
            Spelling::Tag => ("tag ", "=VALUE"),
            Spelling::Plain | Spelling::Meta => ("", ""),
        };
        let prefix = spelling.prefix();
        let reason = format!(
            "{what}`{}` is not a key of ours; did you mean `{prefix}{key}{value}`? It is {}",
            clip(other),
            slip(key)
        );
        issues.push(Issue::warning(entry, reason));
        if !declared.says(key) {
            declared.slip(key);
        }
    }
}

/// Reads the value of one key; the answer is what to warn of in a value that counts all the same.
fn read_one(declared: &mut Declared, key: Key, value: &str) -> Result<Vec<String>, String> {
    let policy = &mut declared.policy;
    match key {
        Key::Version | Key::Zone if value.is_empty() => {
            return Ok(vec!["is empty: the same as not declared".to_owned()]);
        }
        Key::Version => declared.version = Some(label(value, "a commit id or release")?),
        Key::Zone => declared.zone = Some(label(value, "a zone name")?),
        Key::Weight => declared.weight = Some(weight(value)?),
        Key::State => {
            declared.state = Some(match value {
                "up" => State::Up,
                "drain" => State::Drain,
                "off" => State::Off,
                _ => return Err(format!("`{}` must be up, drain or off", clip(value))),
            });
        }
        Key::Protocol => {
            let wrong = || format!("`{}` must be http1, http2, grpc or tcp", clip(value));
            policy.protocol = Some(Protocol::parse(value).ok_or_else(wrong)?);
        }
        Key::Expose => policy.expose = Some(expose(value)?),
        Key::AllUnhealthy => {
            let wrong = || format!("`{}` must be open, closed or drop", clip(value));
            policy.all_unhealthy = Some(OnAllUnhealthy::parse(value).ok_or_else(wrong)?);
        }
        Key::Timeout => policy.timeout = Some(parse_duration(value)?),
        Key::StreamIdleTimeout => policy.stream_idle_timeout = Some(parse_duration(value)?),
        Key::IdleTimeout => policy.idle_timeout = Some(parse_duration(value)?),
        Key::Route(number) => {
            if policy.routes.len() >= MAX_ROUTES && !policy.routes.contains_key(&number) {
                return Err(format!("more than {MAX_ROUTES} routes"));
            }
            let (rule, warnings) = RouteRule::read(value)?;
            policy.routes.insert(number, rule);
            return Ok(warnings);
        }
    }
    Ok(Vec::new())
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
        .ok_or_else(|| format!("`{}` must be a whole number from 0 to {MAX_WEIGHT}", clip(value)))
}

fn label(value: &str, what: &str) -> Result<Arc<str>, String> {
    let fits = value.len() <= MAX_LABEL
        && value
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'@' && b != b'/');
    if !fits {
        return Err(format!(
            "`{}` must be {what}: at most {MAX_LABEL} visible ASCII characters, no @ or /",
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
            "`{}` must be none, or names of exposures separated by commas",
            clip(value)
        ));
    }
    Ok(Expose::On(names))
}

impl Declared {
    /// Takes what `self` does not say from `weaker` (policy document over Meta over tag over field). A slip of
    /// the stronger place stays a slip, with the weaker value until there is a last good one.
    #[must_use]
    pub fn over(mut self, weaker: Self) -> Self {
        let overruled = |key: &Key| !self.says(*key);
        let slips: Vec<Key> = weaker.slips.into_iter().filter(overruled).collect();
        self.slips.extend(slips);
        Self {
            version: self.version.or(weaker.version),
            weight: self.weight.or(weaker.weight),
            zone: self.zone.or(weaker.zone),
            state: self.state.or(weaker.state),
            slips: self.slips,
            policy: self.policy.over(&weaker.policy),
        }
    }

    /// Notes that a key is there and cannot be read.
    pub fn slip(&mut self, key: Key) {
        if key.is_policy() {
            self.policy.slips.insert(key);
        } else {
            self.slips.insert(key);
        }
    }

    /// The same for the name of a key whose value is not even text.
    pub fn slip_named(&mut self, name: &str) {
        if let Some(key) = Key::parse(name)
            .or_else(|| nearest(name))
            .filter(|key| !self.says(*key))
        {
            self.slip(key);
        }
    }

    /// Whether a key has a value.
    #[must_use]
    pub fn says(&self, key: Key) -> bool {
        match key {
            Key::Version => self.version.is_some(),
            Key::Weight => self.weight.is_some(),
            Key::Zone => self.zone.is_some(),
            Key::State => self.state.is_some(),
            _ => self.policy.says(key),
        }
    }
}

impl Policy {
    /// Takes what `self` does not say from `weaker`; the routes of one place are one answer.
    #[must_use]
    pub fn over(mut self, weaker: &Self) -> Self {
        let overruled = |key: &Key| match key {
            Key::Route(_) => self.routes.is_empty(),
            key => !self.says(*key),
        };
        let slips: Vec<Key> = weaker.slips.iter().copied().filter(overruled).collect();
        self.slips.extend(slips);
        Self {
            protocol: self.protocol.or(weaker.protocol),
            expose: self.expose.or_else(|| weaker.expose.clone()),
            routes: if self.routes.is_empty() {
                weaker.routes.clone()
            } else {
                self.routes
            },
            all_unhealthy: self.all_unhealthy.or(weaker.all_unhealthy),
            timeout: self.timeout.or(weaker.timeout),
            stream_idle_timeout: self.stream_idle_timeout.or(weaker.stream_idle_timeout),
            idle_timeout: self.idle_timeout.or(weaker.idle_timeout),
            slips: self.slips,
        }
    }

    /// The keys that `weaker` says in vain, since this policy says something else.
    #[must_use]
    pub fn overrides(&self, weaker: &Self) -> Vec<Key> {
        const KEYS: [Key; 6] = [
            Key::Protocol,
            Key::Expose,
            Key::AllUnhealthy,
            Key::Timeout,
            Key::StreamIdleTimeout,
            Key::IdleTimeout,
        ];
        let differs = |key: &Key| {
            let mut with = self.clone();
            self.says(*key) && with.take(*key, weaker) && with != *self
        };
        let routes = weaker.routes.iter().filter(|(_, rule)| {
            !self.routes.is_empty() && !self.routes.values().any(|stronger| stronger == *rule)
        });
        let routes = routes.map(|(number, _)| Key::Route(*number));
        if *self == Self::default() {
            return Vec::new();
        }
        KEYS.into_iter().filter(differs).chain(routes).collect()
    }

    /// Whether a key has a value; false for the keys of instances.
    #[must_use]
    pub fn says(&self, key: Key) -> bool {
        match key {
            Key::Protocol => self.protocol.is_some(),
            Key::Expose => self.expose.is_some(),
            Key::AllUnhealthy => self.all_unhealthy.is_some(),
            Key::Timeout => self.timeout.is_some(),
            Key::StreamIdleTimeout => self.stream_idle_timeout.is_some(),
            Key::IdleTimeout => self.idle_timeout.is_some(),
            Key::Route(number) => self.routes.contains_key(&number),
            Key::Version | Key::Weight | Key::Zone | Key::State => false,
        }
    }

    /// The value of one key as it is declared; `""`: there is none.
    #[must_use]
    pub fn shown(&self, key: Key) -> String {
        let time = |time: Option<Duration>| time.map(|time| format!("{time:?}"));
        let value = match key {
            Key::Protocol => self.protocol.map(|protocol| protocol.as_str().to_owned()),
            Key::Expose => self.expose.as_ref().map(|expose| match expose {
                Expose::Nothing => "none".to_owned(),
                Expose::On(names) => names.join(","),
            }),
            Key::AllUnhealthy => self.all_unhealthy.map(|rule| rule.as_str().to_owned()),
            Key::Timeout => time(self.timeout),
            Key::StreamIdleTimeout => time(self.stream_idle_timeout),
            Key::IdleTimeout => time(self.idle_timeout),
            Key::Route(number) => self.routes.get(&number).map(ToString::to_string),
            Key::Version | Key::Weight | Key::Zone | Key::State => None,
        };
        value.unwrap_or_default()
    }

    /// Takes the value of one key from another policy, where that has one. True when it had.
    pub fn take(&mut self, key: Key, from: &Self) -> bool {
        match key {
            Key::Protocol if from.protocol.is_some() => self.protocol = from.protocol,
            Key::Expose if from.expose.is_some() => self.expose.clone_from(&from.expose),
            Key::AllUnhealthy if from.all_unhealthy.is_some() => self.all_unhealthy = from.all_unhealthy,
            Key::Timeout if from.timeout.is_some() => self.timeout = from.timeout,
            Key::StreamIdleTimeout if from.stream_idle_timeout.is_some() => {
                self.stream_idle_timeout = from.stream_idle_timeout;
            }
            Key::IdleTimeout if from.idle_timeout.is_some() => self.idle_timeout = from.idle_timeout,
            Key::Route(number) => match from.routes.get(&number) {
                Some(rule) => drop(self.routes.insert(number, rule.clone())),
                None => return false,
            },
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
#[path = "declaration_tests.rs"]
mod tests;
