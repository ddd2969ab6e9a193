//! What rollouts say of services: how the requests of each are shared among its versions; and what a service declares
//! about that. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::route::hash::HashKey;

/// All of a service's requests, in parts of [`Shares::weights`].
pub const WHOLE: u32 = 10_000;

/// What the instances of a version want of the requests of their service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Share {
    /// In parts of [`WHOLE`].
    Of(u32),
    /// None but those of routes that name the version: it stands apart from the others.
    Routes,
}

/// What is decided of each service that is rolled out; of the others nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollouts {
    /// By service.
    pub services: BTreeMap<Arc<str>, Shares>,
}

/// How the requests of one service are shared among its versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// By version: parts of [`WHOLE`], which they add up to. 0: only requests that ask for it by header get it. A version
    /// with instances that is not here gets no requests, not by header either, as long as another one serves.
    pub weights: BTreeMap<Arc<str>, u32>,
    /// Where requests go that the version of their turn cannot take, and where a failed one is tried again.
    pub stable: Arc<str>,
    /// Its requests also go to this version, whose answers nobody sees: millionths of them.
    pub mirror: Option<(Arc<str>, u32)>,
    /// Clients report each error while this is set: a rollout is being judged.
    pub watched: bool,
    /// The number of the stored data. Instances that cannot read it get no requests, also when nobody else serves.
    pub stored: Option<u32>,
}

impl Shares {
    /// Whether it says how much of the requests each of its versions gets.
    #[must_use]
    pub fn knows(&self, version: &str) -> bool {
        self.weights.contains_key(version)
    }
}

/// What a service declares about its versions. The values of `rollout-…` are those of a language that is read where
/// rollouts are decided; here they are only known to have its form.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RolloutKeys {
    /// `rollout`
    pub mode: Option<Mode>,
    /// `rollout-steps`: `header,mirror:10%,10,25,50,100`
    pub steps: Option<Arc<str>>,
    /// `rollout-step-time`: a duration
    pub step_time: Option<Arc<str>>,
    /// `rollout-min-requests`: a whole number
    pub min_requests: Option<Arc<str>>,
    /// `rollout-margin`: `1%`
    pub margin: Option<Arc<str>>,
    /// `rollout-deadline`: a duration
    pub deadline: Option<Arc<str>>,
    /// `rollout-no-data`: `hold`, `promote_after` or `alert`
    pub no_data: Option<Arc<str>>,
    /// `rollout-gates`: addresses and `person`, separated by commas
    pub gates: Option<Arc<str>>,
    /// `rollout-metric`: the name of a figure that servers give of themselves (ORCA)
    pub metric: Option<Arc<str>>,
    /// `version-header`
    pub header: Option<VersionHeader>,
    /// `sticky`
    pub sticky: Option<HashKey>,
}

/// `rollout`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// A new version gets its share step by step.
    Auto,
    /// Versions share the requests as their instances' weights and `share` say.
    Off,
}

impl Mode {
    /// All of its words, for messages.
    pub const WORDS: &str = "auto or off";

    /// Reads the declared word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "auto" => Self::Auto,
            "off" => Self::Off,
            _ => return None,
        })
    }

    /// The declared word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
        }
    }
}

/// `version-header`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VersionHeader {
    /// No header chooses a version.
    Off,
    /// This one does; in lower case.
    Name(Arc<str>),
}

impl VersionHeader {
    /// What chooses a version where nothing is declared.
    pub const DEFAULT: &str = "x-version";

    /// As it is declared.
    #[must_use]
    pub fn show(&self) -> String {
        match self {
            Self::Off => "off".to_owned(),
            Self::Name(name) => name.to_string(),
        }
    }
}
