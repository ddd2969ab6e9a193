//! A route, read. Pure.

use std::time::Duration;

use super::criterion::Criterion;
use super::extras::{Extras, Target};
use super::instead::Respond;
use super::matcher::Matcher;
use super::retry::Retry;

/// A route that a service declares for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteRule {
    /// Hosts to match, each exact or `*.example.com`, without a port, sorted; none: each host of the exposure.
    pub hosts: Vec<String>,
    /// Which requests of these hosts.
    pub matcher: Matcher,
    /// What else must hold, sorted.
    pub criteria: Vec<Criterion>,
    /// On these exposures alone, whatever the service says; sorted. None: as the service says.
    pub expose: Vec<String>,
    /// The higher comes first, whatever is more specific; 0 where it is not declared.
    pub priority: i32,
    /// Response timeout; zero: none. `None`: as the service says, as for all that follow.
    pub timeout: Option<Duration>,
    /// How long nothing may pass in either direction; zero: no limit.
    pub stream_idle_timeout: Option<Duration>,
    /// How long one try may take; zero: as long as all of them.
    pub per_try_timeout: Option<Duration>,
    /// How long a request may take whatever passes; zero: no limit.
    pub max_stream_duration: Option<Duration>,
    /// What is tried again.
    pub retry: Option<Retry>,
    /// Made of what was declared for this other program: it takes requests of each host that it matches, in the order
    /// of the priorities, as there.
    pub imported: Option<&'static str>,
    /// What few routes declare.
    pub extras: Extras,
}

/// Programs whose declarations are imported.
pub const IMPORTED: [&str; 2] = ["fabio", "traefik"];

impl RouteRule {
    /// Requests of each host of the exposure, with nothing said of them but this.
    #[must_use]
    pub fn of(matcher: Matcher) -> Self {
        Self {
            hosts: Vec::new(),
            matcher,
            criteria: Vec::new(),
            expose: Vec::new(),
            priority: 0,
            timeout: None,
            stream_idle_timeout: None,
            per_try_timeout: None,
            max_stream_duration: None,
            retry: None,
            imported: None,
            extras: Extras::default(),
        }
    }

    /// All requests of a host.
    #[must_use]
    pub fn all_of(host: &str) -> Self {
        Self {
            hosts: vec![host.to_owned()],
            ..Self::of(Matcher::Prefix("/".to_owned()))
        }
    }

    /// Somebody may be refused by it: without it a wider route would let its requests pass.
    #[must_use]
    pub fn protects(&self) -> bool {
        self.extras.is_guarded() || matches!(&self.extras.target, Target::Respond(with) if with.status >= 400)
    }

    /// The same requests, which Envoy answers with this status.
    #[must_use]
    pub fn refused(self, status: u16) -> Self {
        let respond = Respond {
            status,
            body: String::new(),
        };
        Self {
            hosts: self.hosts,
            criteria: self.criteria,
            expose: self.expose,
            priority: self.priority,
            imported: self.imported,
            extras: Extras {
                target: Target::Respond(respond),
                ..Extras::default()
            },
            ..Self::of(self.matcher)
        }
    }
}
