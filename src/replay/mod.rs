//! What becomes of a request at a client: its listeners, routes, clusters and endpoints are read as the client reads
//! them, and each route that does not take the request says why not. Pure.
//!
//! Works on the encoded resources that are served, so that it cannot disagree with them. It knows what this bridge
//! sends, not all that Envoy understands: what it cannot check says so.

mod hosts;
mod listeners;
mod matching;
mod outcome;
mod request;
mod shadow;
mod table;
mod target;
mod words;

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

pub use outcome::{End, Ending, Outcome, Target};
pub use request::Request;
pub use table::{RouteRow, shadowed, table};
pub use words::words;

/// Maximum of routes that are named as passed over; all are counted.
const TRIED: usize = 50;

/// The types of resources that a request passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Listeners.
    Listener,
    /// Route configurations.
    Route,
    /// Clusters.
    Cluster,
    /// Endpoints.
    Endpoints,
}

/// What a client gets.
pub trait Served {
    /// The names of its listeners.
    fn listeners(&self) -> Vec<Arc<str>>;
    /// The names of its route configurations.
    fn routes(&self) -> Vec<Arc<str>>;
    /// One resource, encoded. `None`: it does not get it.
    fn body(&self, kind: Kind, name: &str) -> Option<Bytes>;
}

/// The way of a request through one listener.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Way {
    /// Its name; `xds:///NAME`: what gRPC's own clients dial.
    pub listener: String,
    /// Where it listens; empty: inside of Envoy, or in a gRPC client.
    pub address: String,
    /// What does not fit between the listener and the request, or cannot be seen from here.
    pub notes: Vec<String>,
    /// What stands in front of the routes, in its order: names of HTTP filters but for the router.
    pub filters: Vec<String>,
    /// The route configuration; empty: it is written into the listener, or there is none.
    pub routes: String,
    /// The virtual host that was chosen; empty: none.
    pub host: String,
    /// Routes of it that come first and do not take the request.
    pub passed: Vec<Passed>,
    /// How many more of these there are.
    pub more: usize,
    /// The route that takes it, in the words of a declaration; empty: none.
    pub route: String,
    /// What becomes of it.
    pub ending: Ending,
}

/// A route that does not take the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Passed {
    /// In the words of a declaration.
    pub route: String,
    /// The cluster, redirect or answer behind it.
    pub to: String,
    /// What does not fit.
    pub why: String,
}

/// The way of a request through each listener that it may come to. None: there is no listener for requests.
#[must_use]
pub fn replay(request: &Request, served: &dyn Served) -> Vec<Way> {
    let names = served.listeners();
    let mut ways: Vec<(bool, Way)> = Vec::new();
    for name in names {
        let Some(body) = served.body(Kind::Listener, &name) else {
            continue;
        };
        ways.extend(listeners::through(&name, &body, request, served));
    }
    let used: Vec<&str> = ways.iter().map(|(_, way)| way.routes.as_str()).collect();
    let others: Vec<Arc<str>> = served
        .routes()
        .into_iter()
        .filter(|name| !used.contains(&&**name))
        .collect();
    for name in others {
        let way = listeners::of_envoys_file(&name, request, served);
        ways.push((false, way));
    }
    // Whoever names a port means the listener there, if there is one; behind a balancer there is none.
    if request.port.is_some() && ways.iter().any(|(there, _)| *there) {
        ways.retain(|(there, _)| *there);
    }
    ways.into_iter().map(|(_, way)| way).collect()
}
