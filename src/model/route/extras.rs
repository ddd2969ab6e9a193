//! What few routes declare: kept together, so that the many cost nothing for it. Pure.

use super::cors::Cors;
use super::hash::HashKey;
use super::headers::HeaderChange;
use super::instead::{Redirect, Respond};
use super::rewrite::{NewHost, Rewrite};
use super::shares::{Mirror, Part};
use crate::model::filters::{Clients, Compression, RateLimit};

/// All that few routes declare.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extras {
    /// Who answers.
    pub target: Target,
    /// Another path for the server.
    pub rewrite: Option<Rewrite>,
    /// Another host for the server.
    pub host_rewrite: Option<NewHost>,
    /// In the order in which they are declared.
    pub headers: Vec<HeaderChange>,
    /// Which pages of other origins may call it.
    pub cors: Option<Cors>,
    /// Protocols that a request may be upgraded to, whatever the listener says.
    pub upgrades: Option<Vec<String>>,
    /// Services that get a copy.
    pub mirrors: Vec<Mirror>,
    /// What a server is chosen by, where the cluster hashes; the first that a request has.
    pub hash: Vec<HashKey>,
    /// All requests of the route together, in each Envoy.
    pub rate_limit: Option<RateLimit>,
    /// Each needs a token of this issuer, beside what the exposure requires.
    pub jwt: Option<String>,
    /// How responses are compressed, whatever the exposure says; empty: they are not.
    pub compress: Option<Vec<Compression>>,
    /// By their addresses, whatever the exposure says beside that; `None`: all.
    pub clients: Option<Clients>,
    /// Who may call it; `None`: whoever gets here.
    pub admitted: Option<Admitted>,
}

/// Who may call a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Admitted {
    /// In the certificate of the caller: a URI, or `dns:` and a name; `*` stands for a part of it. None: nobody.
    pub identities: Vec<String>,
    /// Others are refused; else they are only counted.
    pub enforced: bool,
}

/// Who answers the requests of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The service that declares it.
    #[default]
    Itself,
    /// Of its instances those of this version alone.
    Version(String),
    /// These services, by their weights.
    Split(Vec<Part>),
    /// Nobody: the client is sent elsewhere.
    Redirect(Redirect),
    /// Envoy itself.
    Respond(Respond),
}

impl Extras {
    /// A filter must stand in front of it, or requests would pass that may not.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        let admitted = self.admitted.as_ref().is_some_and(|admitted| admitted.enforced);
        self.rate_limit.is_some() || self.jwt.is_some() || self.clients.is_some() || admitted
    }

    /// The version of the service that has its requests, where it is one alone.
    #[must_use]
    pub const fn version(&self) -> Option<&str> {
        match &self.target {
            Target::Version(version) => Some(version.as_str()),
            _ => None,
        }
    }

    /// The services that must be there for it, beside the one that declares it.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let split = match &self.target {
            Target::Split(parts) => &parts[..],
            _ => &[],
        };
        let split = split.iter().map(|part| part.service.as_str());
        split.chain(self.mirrors.iter().map(|mirror| mirror.service.as_str()))
    }
}
