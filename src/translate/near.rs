//! A service's endpoints by where the client is: the instances of its zone first, then those of its region, then all
//! others. The priorities of sources, and instances that may be dead, stay what they are: near is only among equals.
//!
//! Envoy gives a part of the requests to the next priority itself, when too few instances of the nearer ones are
//! healthy. gRPC's own clients do not: they call the next priority once the one before is gone as a whole. For them the
//! shares are computed here, in the way of Envoy: priorities that have a part become one, and the weights of its
//! localities are those parts. tonic-xds knows no priorities, and gets only the first one.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::Policy as Spilling;
use envoy_types::pb::google::protobuf::UInt32Value;

use super::endpoints::{Groups, Standing, Tier, reported};
use crate::model::{Instance, LocalityRule, OnAllUnhealthy, Service};
use crate::xds::{By, Client, Local, Version, Viewer};

/// What all requests are in parts.
const ALL: u64 = 1_000_000;

/// How the assignments of one service are made.
#[derive(Debug)]
struct Near {
    service: Arc<Service>,
    on_all_unhealthy: OnAllUnhealthy,
    /// All instances count as healthy, since none is.
    all: bool,
    /// In percent, see [`LocalityRule::Prefer`].
    share: u32,
}

/// What clients get that say where they are; `None`: the same as the others.
pub(super) fn near(
    service: &Arc<Service>,
    on_all_unhealthy: OnAllUnhealthy,
    rule: LocalityRule,
    all: bool,
) -> Option<Arc<dyn Local>> {
    match rule {
        LocalityRule::Off => None,
        LocalityRule::Prefer(share) => Some(Arc::new(Near {
            service: service.clone(),
            on_all_unhealthy,
            all,
            share,
        })),
    }
}

impl Local for Near {
    fn inputs(&self) -> Version {
        let mut inputs = self.body_for(("", ""), Client::Envoy);
        inputs.extend_from_slice(&self.share.to_le_bytes());
        Version::of(&inputs)
    }

    fn by(&self) -> By {
        By::Place
    }

    fn body(&self, viewer: &Viewer) -> Vec<u8> {
        let place = viewer.place.as_deref();
        let place = place.map_or(("", ""), |place| (&*place.region, &*place.zone));
        self.body_for(place, viewer.client)
    }
}

impl Near {
    fn status(&self, instance: &Instance) -> HealthStatus {
        if self.all {
            HealthStatus::Healthy
        } else {
            reported(instance)
        }
    }

    fn body_for(&self, place: (&str, &str), client: Client) -> Vec<u8> {
        let seen = |instance: &Instance| distance(place, (&instance.region, &instance.zone));
        let mut groups = Groups::seen_from(&self.service, self.on_all_unhealthy, |i| (seen(i), &*i.region));
        let policy = if client == Client::Envoy {
            groups.spilling_nothing().or_else(|| self.spilling())
        } else {
            self.join(&mut groups);
            if client == Client::Tonic {
                let first = |tier: Tier| groups.priorities.get(&tier) == Some(&0);
                groups.localities.retain(|standing, _| first(standing.tier));
            }
            None
        };
        groups.encode(&self.service.name, policy.as_ref(), |i| self.status(i))
    }

    /// When Envoy gives the next priority a part, where that is not what it does by itself.
    fn spilling(&self) -> Option<Spilling> {
        (LocalityRule::Prefer(self.share) != LocalityRule::PREFER).then(|| Spilling {
            overprovisioning_factor: Some(UInt32Value {
                value: 10_000 / self.share.max(1),
            }),
            ..Spilling::default()
        })
    }

    /// Makes one priority of those among which Envoy would share out the requests.
    fn join(&self, groups: &mut Groups<'_>) {
        let (mut next, mut joined) = (0, Vec::new());
        let tiers: Vec<Tier> = groups.priorities.keys().copied().collect();
        for equals in tiers.chunk_by(|a, b| a.rank == b.rank) {
            let mut rest = ALL;
            let mut parts = Vec::new();
            for tier in equals {
                let part = self.healthy(groups, *tier).min(rest);
                rest -= part;
                parts.push((*tier, part));
            }
            let last = parts.iter().rposition(|(_, part)| *part > 0).unwrap_or(0);
            for (at, (tier, part)) in parts.into_iter().enumerate() {
                next += u32::from(at > last);
                groups.priorities.insert(tier, next);
                joined.extend((last > 0 && at <= last).then_some((tier, part)));
            }
            next += 1;
        }
        for (tier, part) in joined {
            self.weigh(groups, tier, part);
        }
    }

    /// How much of all requests the instances of a tier may have, by how many of them are healthy.
    fn healthy(&self, groups: &Groups<'_>, tier: Tier) -> u64 {
        let of_it = groups
            .localities
            .iter()
            .filter(|(standing, _)| standing.tier == tier);
        let (mut healthy, mut counted) = (0_u64, 0_u64);
        for instance in of_it.flat_map(|(_, instances)| instances) {
            // As with Envoy, who drains counts on neither side.
            match self.status(instance) {
                HealthStatus::Healthy => (healthy, counted) = (healthy + 1, counted + 1),
                HealthStatus::Draining => {}
                _ => counted += 1,
            }
        }
        let enough = counted * u64::from(self.share.max(1));
        (healthy * ALL * 100).checked_div(enough).unwrap_or(0).min(ALL)
    }

    /// Shares the part of a tier out among its localities.
    fn weigh(&self, groups: &mut Groups<'_>, tier: Tier, part: u64) {
        let of_it = groups
            .localities
            .iter()
            .filter(|(standing, _)| standing.tier == tier);
        let weights: Vec<(Standing<'_>, u64)> = of_it
            .map(|(standing, instances)| {
                let weight = groups.scale.healthy(instances, |i| self.status(i));
                (*standing, u64::from(weight))
            })
            .collect();
        let sum: u64 = weights.iter().map(|(_, weight)| weight).sum();
        for (standing, weight) in weights {
            let weight = (part * weight).checked_div(sum).unwrap_or(0);
            let weight = u32::try_from(weight).unwrap_or(u32::MAX).max(1);
            groups.weights.insert(standing, weight);
        }
    }
}

/// How far an instance is from a client: in its zone, in its region, elsewhere. A region that one of them does not say
/// is no difference between zones of one name.
fn distance((region, zone): (&str, &str), (its_region, its_zone): (&str, &str)) -> u8 {
    let may_be_same = region.is_empty() || its_region.is_empty() || region == its_region;
    if !zone.is_empty() && zone == its_zone && may_be_same {
        0
    } else if !region.is_empty() && region == its_region {
        1
    } else {
        2
    }
}

#[cfg(test)]
#[path = "near_tests.rs"]
mod tests;
