//! A service's endpoints: one locality per zone and priority, health as the registry says. Withheld instances
//! that may be dead have the last priority.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, HealthStatus, Locality, SocketAddress};
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::Policy as Spilling;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::google::protobuf::UInt32Value;
use prost::Message as _;

use super::endpoint_wire::{Assignment, Endpoints};
use crate::model::{Health, Instance, OnAllUnhealthy, Service};
use crate::xds::{Draft, Kind, Reach};

/// The assignment of a service's cluster; without instances it is empty, never missing.
#[must_use]
pub fn endpoints(service: &Service, on_all_unhealthy: OnAllUnhealthy) -> Draft {
    let groups = Groups::of(service, on_all_unhealthy);
    Draft {
        kind: Kind::Endpoints,
        name: service.name.clone(),
        body: groups.encode(&service.name, groups.spilling_nothing().as_ref(), reported),
        needs: Vec::new(),
        reach: Reach::All,
        local: None,
    }
}

pub(super) fn reported(instance: &Instance) -> HealthStatus {
    match instance.health {
        Health::Healthy => HealthStatus::Healthy,
        Health::Draining => HealthStatus::Draining,
        Health::Unhealthy | Health::Off => HealthStatus::Unhealthy,
    }
}

/// Where instances stand among the others of their service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing<'a> {
    pub(super) tier: Tier,
    /// Empty where nobody asks for it.
    region: &'a str,
    zone: &'a str,
}

/// Which instances come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tier {
    /// [`Service::rank`]
    pub(super) rank: (bool, u32),
    /// How far from the client, 0: nearest, or nobody asks for it.
    pub(super) distance: u8,
}

/// The instances of a service that are sent, by where they stand.
pub(super) struct Groups<'a> {
    pub(super) localities: BTreeMap<Standing<'a>, Vec<&'a Instance>>,
    /// In their order; clients refuse an assignment whose priorities have gaps or do not begin at 0.
    pub(super) priorities: BTreeMap<Tier, u32>,
    /// Weights of localities that are not the sum of those of their healthy instances.
    pub(super) weights: BTreeMap<Standing<'a>, u32>,
    pub(super) scale: Scale,
    /// Each endpoint has its address for a host name, too.
    addressed: bool,
}

impl<'a> Groups<'a> {
    /// As they are for clients that do not say where they are.
    fn of(service: &'a Service, on_all_unhealthy: OnAllUnhealthy) -> Self {
        Self::seen_from(service, on_all_unhealthy, |_| (0, ""))
    }

    /// `place`: the distance of an instance from the client, and its region.
    pub(super) fn seen_from(
        service: &'a Service,
        on_all_unhealthy: OnAllUnhealthy,
        place: impl Fn(&'a Instance) -> (u8, &'a str),
    ) -> Self {
        let mut localities: BTreeMap<Standing<'_>, Vec<&Instance>> = BTreeMap::new();
        let dropped = service.all_unhealthy() && on_all_unhealthy == OnAllUnhealthy::Drop;
        let sent = |i: &&Instance| i.health != Health::Off && !dropped;
        let standing = |instance: &'a Instance| {
            let (distance, region) = place(instance);
            let rank = service.rank(instance);
            Standing {
                tier: Tier { rank, distance },
                region,
                zone: &instance.zone,
            }
        };
        let sent: Vec<&Instance> = service.instances.iter().filter(sent).collect();
        for neighbours in sent.chunk_by(|a, b| standing(a) == standing(b)) {
            if let Some(first) = neighbours.first() {
                localities
                    .entry(standing(first))
                    .or_default()
                    .extend_from_slice(neighbours);
            }
        }
        let used: BTreeSet<Tier> = localities.keys().map(|standing| standing.tier).collect();
        Self {
            localities,
            priorities: used.into_iter().zip(0..).collect(),
            weights: BTreeMap::new(),
            scale: Scale::of(&service.instances),
            addressed: service.addressed,
        }
    }

    pub(super) fn priority(&self, tier: Tier) -> u32 {
        self.priorities.get(&tier).copied().unwrap_or(0)
    }

    /// Encoded at once; [`assignment`] makes the messages of it.
    pub(super) fn encode(
        &self,
        name: &str,
        policy: Option<&Spilling>,
        status: impl Fn(&Instance) -> HealthStatus,
    ) -> Vec<u8> {
        let all = self.localities.values().map(Vec::len).sum();
        let mut body = Assignment::new(name, all);
        for (standing, instances) in &self.localities {
            let mut locality = Endpoints::new(&place(*standing), instances.len());
            for instance in instances {
                let (address, weight) = (instance.address, self.scale.weight(instance));
                if self.addressed {
                    locality.add_message(&lb_endpoint(address, weight, status(instance), true));
                } else {
                    locality.add(address, weight, status(instance));
                }
            }
            let weight = self.weights.get(standing).copied();
            let weight = weight.unwrap_or_else(|| self.scale.healthy(instances, &status));
            body.add(locality, weight, self.priority(standing.tier));
        }
        body.finish(policy)
    }

    /// Envoy sends a part of the requests to the next priority when less than 72 % (1 / 1.4) of the first one are
    /// healthy. Not to instances that may be dead, or of another version: while those come next, one healthy instance is
    /// enough.
    pub(super) fn spilling_nothing(&self) -> Option<Spilling> {
        let sure = self.priorities.keys().map(|tier| tier.rank);
        let sure = sure.filter(|(unsure, priority)| !unsure && *priority < Service::SPARE);
        (sure.count() == 1 && self.priorities.len() > 1).then(|| Spilling {
            overprovisioning_factor: Some(UInt32Value { value: ONE_IS_ENOUGH }),
            ..Spilling::default()
        })
    }
}

/// The instances that are not off, each with its status. One that was never set would not be equal to
/// `HEALTHY` where a client compares them, so each is.
pub(super) fn assignment(
    service: &Service,
    on_all_unhealthy: OnAllUnhealthy,
    status: impl Fn(&Instance) -> HealthStatus,
) -> ClusterLoadAssignment {
    let groups = Groups::of(service, on_all_unhealthy);
    ClusterLoadAssignment {
        cluster_name: service.name.to_string(),
        endpoints: groups
            .localities
            .iter()
            .map(|(standing, instances)| LocalityLbEndpoints {
                locality: Some(place(*standing)),
                priority: groups.priority(standing.tier),
                ..locality(instances, &groups, &status)
            })
            .collect(),
        policy: groups.spilling_nothing(),
        ..ClusterLoadAssignment::default()
    }
}

/// In percent: one healthy instance of a million.
const ONE_IS_ENOUGH: u32 = 100_000_000;

/// The resource of an assignment.
pub(super) fn draft(name: &Arc<str>, assignment: &ClusterLoadAssignment) -> Draft {
    Draft {
        kind: Kind::Endpoints,
        name: name.clone(),
        body: assignment.encode_to_vec(),
        needs: Vec::new(),
        reach: Reach::All,
        local: None,
    }
}

/// Where instances stand. Those of a source behind others have a sub-zone of their own, by the priority that
/// the source declares: gRPC's Java client keeps one entry of equal localities, whatever their priorities, and
/// would send all calls to the spare. So have those that may be dead. It does not depend on what else is there: a locality that changes its
/// name would be another one, with new connections.
fn place(Standing { tier, region, zone }: Standing<'_>) -> Locality {
    Locality {
        region: region.to_owned(),
        zone: zone.to_owned(),
        sub_zone: match tier.rank {
            (false, 0) => String::new(),
            (false, Service::SPARE) => SPARE.to_owned(),
            (true, Service::SPARE) => format!("{SPARE}-withheld"),
            (false, priority @ Service::SPARE..) => format!("{SPARE}-priority-{}", priority - Service::SPARE),
            (true, priority @ Service::SPARE..) => format!("{SPARE}-withheld-{}", priority - Service::SPARE),
            (false, priority) => format!("priority-{priority}"),
            (true, 0) => "withheld".to_owned(),
            (true, priority) => format!("withheld-{priority}"),
        },
    }
}

/// How the sub-zones begin of instances that stand behind those of another version.
const SPARE: &str = "stable";

/// A locality with one endpoint that seems healthy, and where nobody listens.
pub(super) fn placeholder() -> LocalityLbEndpoints {
    LocalityLbEndpoints {
        locality: Some(Locality::default()),
        lb_endpoints: vec![lb_endpoint(
            SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            1,
            HealthStatus::Healthy,
            false,
        )],
        load_balancing_weight: Some(UInt32Value { value: 1 }),
        ..LocalityLbEndpoints::default()
    }
}

/// Envoy refuses a whole assignment in which the weights of a locality, or of all localities, have a sum
/// beyond 32 bits: one service of ten thousands of heavy instances. Its weights are made smaller then, each
/// by the same factor.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    /// What the sum may be, after rounding up to 1.
    room: u64,
    /// What the sum is; at most `room`: nothing is scaled.
    total: u64,
}

impl Scale {
    fn of(instances: &[Instance]) -> Self {
        let total = instances.iter().map(|i| u64::from(i.weight.max(1))).sum();
        let most = u64::from(u32::MAX);
        let room = if total > most {
            most.saturating_sub(instances.len() as u64)
        } else {
            total
        };
        Self { room, total }
    }

    fn weight(self, instance: &Instance) -> u32 {
        if self.room == self.total {
            return instance.weight.max(1);
        }
        let weight = u64::from(instance.weight);
        let scaled = u128::from(weight) * u128::from(self.room) / u128::from(self.total.max(1));
        u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
    }

    /// gRPC clients silently drop a locality without a weight, and share calls out among localities by it:
    /// it is the sum over the instances that take calls, so that each gets its part wherever it stands.
    pub(super) fn healthy(self, instances: &[&Instance], status: impl Fn(&Instance) -> HealthStatus) -> u32 {
        let healthy = instances.iter().filter(|i| status(i) == HealthStatus::Healthy);
        healthy
            .fold(0_u32, |sum, i| sum.saturating_add(self.weight(i)))
            .max(1)
    }
}

fn locality(
    instances: &[&Instance],
    groups: &Groups<'_>,
    status: impl Fn(&Instance) -> HealthStatus,
) -> LocalityLbEndpoints {
    let (scale, addressed) = (groups.scale, groups.addressed);
    LocalityLbEndpoints {
        lb_endpoints: instances
            .iter()
            .map(|i| lb_endpoint(i.address, scale.weight(i), status(i), addressed))
            .collect(),
        load_balancing_weight: Some(UInt32Value {
            value: scale.healthy(instances, &status),
        }),
        ..LocalityLbEndpoints::default()
    }
}

fn lb_endpoint(address: SocketAddr, weight: u32, health: HealthStatus, addressed: bool) -> LbEndpoint {
    let hostname = if addressed {
        address.to_string()
    } else {
        String::new()
    };
    LbEndpoint {
        health_status: health as i32,
        load_balancing_weight: Some(UInt32Value { value: weight }),
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(socket(address)),
            hostname,
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    }
}

/// An address as Envoy takes it.
#[must_use]
pub fn socket(address: SocketAddr) -> Address {
    Address {
        address: Some(AddressKind::SocketAddress(SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
            ..SocketAddress::default()
        })),
    }
}

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;
