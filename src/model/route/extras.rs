//! What few routes declare: kept together, so that the many cost nothing for it. Pure.

use super::cors::Cors;
use super::hash::HashKey;
use super::headers::HeaderChange;
use super::instead::{Redirect, Respond};
use super::rewrite::Rewrite;
use super::shares::{Mirror, Part};

/// All that few routes declare.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extras {
    /// Who answers.
    pub target: Target,
    /// Another path for the server.
    pub rewrite: Option<Rewrite>,
    /// Another host for the server.
    pub host_rewrite: Option<String>,
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
}

/// Who answers the requests of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The service that declares it.
    #[default]
    Itself,
    /// These services, by their weights.
    Split(Vec<Part>),
    /// Nobody: the client is sent elsewhere.
    Redirect(Redirect),
    /// Envoy itself.
    Respond(Respond),
}

impl Extras {
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
