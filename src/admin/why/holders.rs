//! Which clients do not have what is served: what a request passes, or what a service owns. In their own words.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::instances::LISTED;
use crate::admin::Admin;
use crate::fanout::Lacking;
use crate::hub::Explanation;
use crate::replay::{Outcome, Way};
use crate::text::{clip, clip_to};
use crate::xds::{Given, Kind};

/// Characters of a client's own words.
const MESSAGE: usize = 300;
/// Resources that are asked about.
const RESOURCES: usize = 200;

/// Clients without something.
#[derive(Default)]
pub(super) struct Holders(Vec<Lacking>);

impl Holders {
    /// Of what requests pass on these ways; `client`: only this one.
    pub(super) fn on(admin: &Admin, ways: &[Way], client: Option<&str>) -> Self {
        let mut passed: BTreeSet<(Kind, Arc<str>)> = BTreeSet::new();
        for way in ways {
            let listener = way.listener.strip_prefix("xds:///").unwrap_or(&way.listener);
            passed.insert((Kind::Listener, listener.into()));
            if !way.routes.is_empty() {
                passed.insert((Kind::Route, way.routes.as_str().into()));
            }
            let Outcome::Clusters(targets) = &way.ending.outcome else {
                continue;
            };
            for target in targets {
                passed.insert((Kind::Cluster, target.cluster.as_str().into()));
                if !target.elsewhere {
                    passed.insert((Kind::Endpoints, target.cluster.as_str().into()));
                }
            }
        }
        let passed: Vec<_> = passed.into_iter().take(RESOURCES).collect();
        let mut lacking = admin.fanout.lacking(&passed);
        lacking.retain(|one| client.is_none_or(|client| one.node == client));
        Self(lacking)
    }

    /// Of what a service owns, but for its endpoints, and of the listeners and routes that all services share where
    /// somebody refuses these.
    pub(super) fn of(admin: &Admin, explanation: &Explanation) -> Self {
        let own = explanation.planned.iter().flat_map(|planned| &planned.resources);
        let own = own.filter(|key| key.kind != Kind::Endpoints);
        let own: BTreeSet<(Kind, Arc<str>)> = own.map(|key| (key.kind, key.name.clone())).collect();
        let mut asked: Vec<_> = own.iter().take(RESOURCES).cloned().collect();
        if let Some(generation) = admin.fanout.current() {
            for (_, resource) in generation.all(Kind::Route).take(RESOURCES) {
                asked.push((Kind::Listener, resource.name.clone()));
                asked.push((Kind::Route, resource.name.clone()));
            }
        }
        let mut lacking = admin.fanout.lacking(&asked);
        lacking.retain(|one| one.given == Given::Refused || own.contains(&(one.kind, one.name.clone())));
        Self(lacking)
    }

    // Writing into a String does not fail.
    pub(super) fn words(&self) -> String {
        let mut text = String::new();
        for one in self.0.iter().take(LISTED) {
            let what = format!("{} `{}`", noun(one.kind), clip(&one.name));
            let node = clip(&one.node);
            let _ = match (one.given, &one.message) {
                (Given::Refused, Some(words)) => writeln!(
                    text,
                    "  ! {node} refuses {what}, and goes on with what it had: {}",
                    clip_to(words, MESSAGE)
                ),
                (Given::Refused, None) => {
                    writeln!(text, "  ! {node} refuses {what}, and goes on with what it had")
                }
                _ => writeln!(
                    text,
                    "  ! {node} has not acknowledged {what}: it goes on with what it had"
                ),
            };
        }
        if self.0.len() > LISTED {
            let _ = writeln!(text, "    and {} more", self.0.len() - LISTED);
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let one = |one: &Lacking| {
            json!({
                "client": clip(&one.node),
                "fleet": clip(&one.fleet),
                "type": one.kind.short(),
                "name": clip(&one.name),
                "state": match one.given {
                    Given::Refused => "refused",
                    Given::NotSent => "not sent",
                    _ => "behind",
                },
                "message": one.message.as_ref().map(|words| clip_to(words, MESSAGE)),
            })
        };
        json!(self.0.iter().take(LISTED).map(one).collect::<Vec<_>>())
    }
}

const fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Listener => "the listener",
        Kind::Route => "the route configuration",
        Kind::Cluster => "the cluster",
        Kind::Endpoints => "the endpoints",
        Kind::Secret => "the secret",
    }
}
