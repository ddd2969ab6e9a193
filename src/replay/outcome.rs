//! What a request ends with. Pure.

use envoy_types::pb::envoy::config::route::v3::Route;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use serde::Serialize;

/// What becomes of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ending {
    /// A server gets it, or an answer is given as it is declared.
    pub works: bool,
    /// In one sentence.
    pub why: String,
    /// What exactly.
    pub outcome: Outcome,
}

/// The same as data.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// No route takes it.
    #[default]
    None,
    /// It goes to one of these clusters.
    Clusters(Vec<Target>),
    /// The client is sent somewhere else.
    Redirect(String),
    /// Envoy answers with this status.
    Respond(u32),
}

/// A cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Target {
    /// Its name.
    pub cluster: String,
    /// Of all requests of the route, 0.0 to 1.0.
    pub share: f64,
    /// The client gets it.
    pub known: bool,
    /// The servers of it are found by DNS or written into it, not by the bridge.
    pub elsewhere: bool,
    /// Why it takes no request; empty: it does.
    pub fails: String,
    /// Its endpoints: those of the first priority first.
    pub endpoints: Vec<End>,
}

/// An endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct End {
    /// IP and port.
    pub address: String,
    /// `healthy`, `draining`, `unhealthy`
    pub health: &'static str,
    /// Among those of its priority.
    pub weight: u32,
    /// 0: first.
    pub priority: u32,
    /// Region, zone and sub-zone, with slashes.
    pub locality: String,
}

impl Ending {
    /// It ends without a server.
    pub(super) fn fails(why: String) -> Self {
        Self {
            why,
            ..Self::default()
        }
    }
}

impl Outcome {
    /// Where a route leads, in a few words.
    pub(super) fn of_route(route: &Route) -> String {
        match &route.action {
            Some(Action::Route(action)) => match &action.cluster_specifier {
                Some(ClusterSpecifier::Cluster(name)) => name.clone(),
                Some(ClusterSpecifier::WeightedClusters(all)) => {
                    let names: Vec<&str> = all.clusters.iter().map(|c| c.name.as_str()).collect();
                    names.join(", ")
                }
                _ => "another cluster".to_owned(),
            },
            Some(Action::Redirect(_)) => "a redirect".to_owned(),
            Some(Action::DirectResponse(answer)) => format!("the answer {}", answer.status),
            _ => String::new(),
        }
    }
}
