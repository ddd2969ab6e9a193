//! How the requests of a service are shared among its versions, and what the cluster of each is made of. Pure.
//!
//! A version with nobody who serves passes its share on, as long as another one serves: first to the stable version,
//! then to the others. So a share never ends in 503 while there is anybody to answer.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::rollouts::WHOLE;
use crate::model::route::hash::HashKey;
use crate::model::{Code, Effective, Health, Instance, Issue, Protocol, Service, Shares};

/// The most versions of one service that have a cluster, a header and a share.
pub(super) const MAX: usize = 8;

/// Weights of endpoints are this much finer than shares.
const FINE: u64 = 100;

/// How the routes of a service share its requests out among its versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Split {
    /// Each version; the stable one last, so that those who are sent elsewhere stay there while its share shrinks.
    pub parts: Vec<Part>,
    /// The header by which a request asks for a version.
    pub header: Option<Arc<str>>,
    /// What the version is chosen by.
    pub sticky: Option<HashKey>,
    /// A cluster that gets copies of requests: millionths of them.
    pub mirror: Option<(Arc<str>, u32)>,
    /// Clients are to report each error.
    pub watched: bool,
}

/// One version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// As it is declared; empty: instances that declare none.
    pub version: Arc<str>,
    /// `orders@9f31c2a`
    pub cluster: Arc<str>,
    /// Of [`WHOLE`]; those of all parts add up to it.
    pub weight: u32,
    /// A request may ask for it.
    pub forced: bool,
    /// A route may name it.
    pub routed: bool,
    /// Behind its instances stand those of the stable version, where a failed request is tried again.
    pub has_spare: bool,
}

impl Split {
    /// The parts that requests are shared out among.
    pub fn shared(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.weight > 0)
    }

    /// The parts that requests may ask for, with the header.
    pub fn forced(&self) -> impl Iterator<Item = (&Arc<str>, &Part)> {
        let header = self.header.as_ref();
        let parts = header.into_iter().flat_map(|name| {
            let forced = self.parts.iter().filter(|part| part.forced);
            forced.map(move |part| (name, part))
        });
        parts.filter(|(_, part)| !part.version.is_empty())
    }

    /// The clusters that routes name.
    pub fn clusters(&self) -> impl Iterator<Item = Arc<str>> {
        let forced = self.forced().map(|(_, part)| &part.cluster);
        let shared = self.shared().map(|part| &part.cluster);
        let mirror = self.mirror.iter().map(|(cluster, _)| cluster);
        shared.chain(forced).chain(mirror).cloned()
    }

    /// All requests are for one part, whatever they ask for.
    fn alone(&self, part: &Part) -> Self {
        Self {
            parts: vec![Part {
                weight: WHOLE,
                forced: false,
                has_spare: false,
                ..part.clone()
            }],
            header: None,
            sticky: None,
            mirror: None,
            watched: self.watched,
        }
    }

    /// Whether a failed request of some version is tried again elsewhere.
    #[must_use]
    pub fn has_spare(&self) -> bool {
        self.shared().any(|part| part.has_spare)
    }
}

/// What becomes of a service that is split by version.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// Its own cluster: each version has its share by the weights of its instances.
    pub(super) plain: Arc<Service>,
    /// How its routes share requests out; `None`: by its own cluster.
    pub(super) split: Option<Arc<Split>>,
    /// The same of routes that name a version, by that.
    pub(super) routed: BTreeMap<Arc<str>, Arc<Split>>,
    /// What the cluster of each part is made of, in their order.
    pub(super) services: Vec<Arc<Service>>,
    /// What is wrong with it.
    pub(super) issue: Option<Issue>,
}

/// The instances of one version.
#[derive(Debug)]
struct Version<'a> {
    name: &'a Arc<str>,
    instances: Vec<&'a Instance>,
    /// The weights of those that serve; where nobody of the service does, of all that are there.
    serving: u64,
    /// Only routes lead to it.
    apart: bool,
    /// What is wanted for it; `None`: nothing is said.
    wanted: Option<u32>,
    /// What it would get if it served.
    due: u32,
    /// What it gets.
    weight: u32,
}

impl Versions {
    /// `shares`: what a rollout says. `taken`: whether something else has this name. `before`: what it was until now. `None`: it is not
    /// split.
    pub(super) fn of(
        service: &Arc<Service>,
        effective: &Effective,
        shares: Option<&Shares>,
        taken: &dyn Fn(&Arc<str>) -> bool,
        before: Option<&Split>,
    ) -> Option<Self> {
        let says = |i: &Instance| i.declared_share().is_some() || i.is_apart();
        let declares = || service.instances.iter().any(says);
        let named = || {
            effective
                .routes
                .iter()
                .any(|route| route.rule.extras.version().is_some())
        };
        let is_split = effective.versions.rolled_out || shares.is_some() || declares() || named();
        if !is_split || service.instances.is_empty() {
            return None;
        }
        let all = service;
        let service = &readers(service, shares);
        let serves = |service: &Service| service.instances.iter().any(|instance| instance.health.serves());
        let unreadable = (serves(all) && !serves(service)).then(|| {
            let reason = "versions: nobody who is healthy can read the stored data, so nobody gets its requests: deploy a \
                          version that can, or say what is stored by `xds-bridge data`";
            Issue::warning(&*service.name, reason).of_kind(Code::NobodyReads)
        });
        if service.instances.is_empty() {
            return Some(Self {
                plain: service.clone(),
                split: None,
                routed: BTreeMap::new(),
                services: Vec::new(),
                issue: unreadable,
            });
        }
        let (mut versions, too_many) = versions(service, shares);
        let mut issue = unreadable.or(too_many);
        let stable = share_out(&mut versions, shares);
        let name = &service.name;
        let cluster = |version: &str| -> Arc<str> { format!("{name}@{version}").into() };
        let plain = plain(service, &versions);
        let other = versions.iter().map(|v| cluster(v.name)).find(|name| taken(name));
        if let Some(other) = &other {
            let reason = format!(
                "versions: `{other}` is a service of its own, so no version of `{name}` has a cluster: requests are shared \
                 out by the weights of instances alone, and none can ask for a version; rename `{other}`"
            );
            issue = Some(Issue::warning(&**name, reason).of_kind(Code::NameTaken));
        }
        if other.is_some() || effective.cluster.protocol == Protocol::Tcp {
            return Some(Self {
                plain,
                split: None,
                routed: BTreeMap::new(),
                services: Vec::new(),
                issue,
            });
        }
        // The stable one last; before it in the order of their names.
        versions.sort_by_key(|v| (stable.as_ref() == Some(v.name), v.name.clone()));
        let stand_in = stable.as_ref().filter(|stable| {
            let of_it = versions.iter().filter(|v| v.name == *stable);
            of_it.flat_map(|v| &v.instances).any(|i| i.health != Health::Off)
        });
        let any_serves = serves(service);
        let (mut parts, mut services) = (Vec::new(), Vec::new());
        for version in &versions {
            // Endpoints change before routes: requests that still come are tried again elsewhere, too.
            let had = |split: &Split| {
                split
                    .parts
                    .iter()
                    .any(|p| p.has_spare && p.version == *version.name)
            };
            let wanted = version.weight > 0 || before.is_some_and(had);
            let spare = stand_in.filter(|stable| *stable != version.name && wanted);
            // Nobody of it serves: who asks for it by the header is answered by others, and not by one that drains.
            // What stands apart is answered by nobody else.
            let spare = if any_serves && version.serving == 0 && !version.apart {
                spare.or_else(|| most_weight(&versions, version.name))
            } else {
                spare
            };
            let known = shares.is_none_or(|shares| shares.knows(version.name));
            let part = Part {
                version: version.name.clone(),
                cluster: cluster(version.name),
                weight: version.weight,
                forced: known && !version.apart,
                routed: known || version.apart,
                has_spare: spare.is_some(),
            };
            services.push(Arc::new(of_version(service, &part, spare)));
            parts.push(part);
        }
        let settings = &effective.versions;
        let mirrored = |(version, millionths): &(Arc<str>, u32)| {
            let part = versions.iter().find(|v| v.name == version)?;
            let part = Some(part).filter(|v| v.serving > 0 && !v.apart)?;
            Some((cluster(part.name), *millionths))
        };
        let split = Split {
            parts,
            header: settings.header.clone(),
            sticky: settings.sticky.clone(),
            mirror: shares
                .and_then(|shares| shares.mirror.as_ref())
                .and_then(mirrored),
            watched: shares.is_some_and(|shares| shares.watched),
        };
        let routed = split
            .parts
            .iter()
            .filter(|part| part.routed && !part.version.is_empty());
        let routed = routed.map(|part| (part.version.clone(), Arc::new(split.alone(part))));
        Some(Self {
            plain,
            routed: routed.collect(),
            // With nobody but those that only routes lead to there is nobody to share them.
            split: split.shared().next().is_some().then(|| Arc::new(split.clone())),
            services,
            issue,
        })
    }
}

/// Of the others that serve and get requests, the one that gets the most.
fn most_weight<'a>(versions: &[Version<'a>], besides: &str) -> Option<&'a Arc<str>> {
    let others = versions
        .iter()
        .filter(|v| v.weight > 0 && v.serving > 0 && **v.name != *besides);
    others.max_by_key(|v| (v.weight, v.serving)).map(|v| v.name)
}

/// The service without the instances that get nothing whatever happens: they cannot read what is stored.
fn readers(service: &Arc<Service>, shares: Option<&Shares>) -> Arc<Service> {
    let Some(stored) = shares.and_then(|shares| shares.stored) else {
        return service.clone();
    };
    if service.instances.iter().all(|instance| instance.can_read(stored)) {
        return service.clone();
    }
    let mut readers = (**service).clone();
    readers.instances.retain(|instance| instance.can_read(stored));
    Arc::new(readers)
}

/// The versions with instances, [`MAX`] at most: those with a share first, then those with the most instances.
fn versions<'a>(service: &'a Service, shares: Option<&Shares>) -> (Vec<Version<'a>>, Option<Issue>) {
    let mut all: BTreeMap<&Arc<str>, Vec<&Instance>> = BTreeMap::new();
    for instance in &service.instances {
        all.entry(&instance.version).or_default().push(instance);
    }
    let any_serves = service.instances.iter().any(|i| i.health.serves());
    let counts = |i: &&&Instance| i.health.serves() || (!any_serves && i.health != Health::Off);
    let is_apart = |instances: &[&Instance]| instances.iter().all(|i| i.is_apart());
    let version = |(name, instances): (&'a Arc<str>, Vec<&'a Instance>)| Version {
        name,
        apart: is_apart(&instances),
        serving: instances
            .iter()
            .filter(counts)
            .map(|i| u64::from(i.weight.max(1)))
            .sum(),
        wanted: match shares {
            _ if is_apart(&instances) => Some(0),
            Some(shares) => shares.weights.get(name).copied(),
            None => instances.iter().filter_map(|i| i.declared_share()).min(),
        },
        due: 0,
        weight: 0,
        instances,
    };
    let mut versions: Vec<Version<'_>> = all.into_iter().map(version).collect();
    if versions.len() <= MAX {
        return (versions, None);
    }
    let number = versions.len();
    // The stable one is never among those that are left out; who declares a share of 0 is asked for by header alone.
    let stable = stable(&versions, shares);
    versions.sort_by_key(|v| {
        let is_other = stable.as_ref() != Some(v.name);
        let share = Reverse(v.wanted.unwrap_or(0));
        let is_asked_for = v.wanted == Some(0);
        (is_other, share, is_asked_for, Reverse(v.serving), v.name.clone())
    });
    versions.truncate(MAX);
    let reason = format!(
        "versions: its instances are of {number} versions, and {MAX} at most share its requests: the others get none until \
         some of these are gone"
    );
    let issue = Issue::warning(&*service.name, reason).of_kind(Code::TooManyVersions);
    (versions, Some(issue))
}

/// Where requests go that the version of their turn cannot take.
fn stable(versions: &[Version<'_>], shares: Option<&Shares>) -> Option<Arc<str>> {
    if let Some(shares) = shares {
        // Whoever stands apart now takes nothing for others, whatever it was to them before.
        let is_apart = versions.iter().any(|v| v.apart && *v.name == shares.stable);
        return (!is_apart).then(|| shares.stable.clone());
    }
    let rest = versions.iter().filter(|v| v.wanted.is_none());
    let most = rest.max_by_key(|v| (v.serving, Reverse(v.name)));
    most.map(|v| v.name.clone())
}

/// Gives each version its weight, [`WHOLE`] in all. Answers which is stable.
fn share_out(versions: &mut [Version<'_>], shares: Option<&Shares>) -> Option<Arc<str>> {
    let stable = stable(versions, shares);
    let wanted = match shares {
        Some(shares) => by_rollout(versions, shares),
        None => by_declaration(versions),
    };
    for (version, due) in versions.iter_mut().zip(wanted) {
        version.due = due;
    }
    let kept = |v: &Version<'_>| if v.serving > 0 { v.due } else { 0 };
    let mut weights: Vec<u32> = versions.iter().map(kept).collect();
    let lost = WHOLE.saturating_sub(weights.iter().sum());
    if lost > 0 {
        let stands_in = |v: &Version<'_>| stable.as_ref() == Some(v.name) && v.serving > 0;
        let serving = |known: bool| -> Vec<u64> {
            let out = |v: &Version<'_>| v.apart || (known && v.wanted.is_none());
            let of = |v: &Version<'_>| if out(v) { 0 } else { v.serving };
            versions.iter().map(of).collect()
        };
        if let Some(at) = versions.iter().position(stands_in) {
            weights[at] += lost;
        } else {
            let left: Vec<u64> = weights.iter().map(|weight| u64::from(*weight)).collect();
            let nobody = versions.iter().map(|v| u64::from(!v.apart)).collect();
            let choices = [left, serving(true), serving(false), nobody];
            let first = choices
                .into_iter()
                .find(|all| all.iter().any(|weight| *weight > 0));
            weights = apportion(WHOLE, &first.unwrap_or_default());
        }
    }
    for (version, weight) in versions.iter_mut().zip(weights) {
        version.weight = weight;
    }
    stable
}

/// As a rollout says.
fn by_rollout(versions: &[Version<'_>], shares: &Shares) -> Vec<u32> {
    let total: u64 = shares.weights.values().map(|weight| u64::from(*weight)).sum();
    let part = |v: &Version<'_>| {
        let part = u64::from(v.wanted.unwrap_or(0)) * u64::from(WHOLE);
        u32::try_from(part.checked_div(total).unwrap_or(0)).unwrap_or(WHOLE)
    };
    versions.iter().map(part).collect()
}

/// By `share`; the versions that declare none have the rest, by their instances.
fn by_declaration(versions: &[Version<'_>]) -> Vec<u32> {
    let declared: Vec<u64> = versions
        .iter()
        .map(|v| u64::from(v.wanted.unwrap_or(0)))
        .collect();
    let sum = u32::try_from(declared.iter().sum::<u64>()).unwrap_or(u32::MAX);
    let others = versions.iter().any(|v| v.wanted.is_none());
    let shared = apportion(if others { sum.min(WHOLE) } else { WHOLE }, &declared);
    let rest = |v: &Version<'_>| if v.wanted.is_some() { 0 } else { v.serving };
    let mut of_rest: Vec<u64> = versions.iter().map(rest).collect();
    if of_rest.iter().all(|weight| *weight == 0) {
        of_rest = versions.iter().map(|v| u64::from(v.wanted.is_none())).collect();
    }
    let rest = apportion(WHOLE.saturating_sub(sum), &of_rest);
    shared
        .iter()
        .zip(&rest)
        .map(|(shared, rest)| shared + rest)
        .collect()
}

/// Parts of a total in the proportion of these weights, which add up to it; nothing where all weights are 0.
fn apportion(total: u32, weights: &[u64]) -> Vec<u32> {
    let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let (mut before, mut seen) = (0, 0_u128);
    let part = |weight: &u64| {
        seen += u128::from(*weight);
        let until = (seen * u128::from(total) + sum / 2).checked_div(sum).unwrap_or(0);
        let until = u32::try_from(until).unwrap_or(total);
        until - std::mem::replace(&mut before, until)
    };
    weights.iter().map(part).collect()
}

/// The service with weights of instances by which each version has its share: of those that balance in turn. A version
/// that gets nothing is left out.
fn plain(service: &Arc<Service>, versions: &[Version<'_>]) -> Arc<Service> {
    let shared: Vec<&Version<'_>> = versions.iter().filter(|v| v.weight > 0).collect();
    let left_out = |instance: &Instance| {
        let version = versions.iter().find(|v| *v.name == instance.version);
        // One that only lost its healthy instances stays, with what is under way there.
        !version.is_some_and(|v| v.weight > 0 || v.due > 0)
    };
    if shared.len() == 1 && !service.instances.iter().any(left_out) {
        return service.clone();
    }
    let mut plain = (**service).clone();
    plain.instances.retain(|instance| !left_out(instance));
    if shared.len() > 1 {
        for instance in &mut plain.instances {
            let Some(version) = shared.iter().find(|v| *v.name == instance.version) else {
                continue;
            };
            // One that does not serve counts no more than one that does: thousands of them would be more than fits.
            let serving = version.instances.iter().filter(|i| i.health.serves());
            let most = serving.map(|i| i.weight).max().unwrap_or(u32::MAX);
            let own = instance.weight.min(most).max(1);
            let weight = u64::from(own) * u64::from(version.weight) * FINE;
            let all = if instance.health.serves() {
                version.serving
            } else {
                version.serving.max(version.instances.len() as u64)
            };
            let weight = (weight / all.max(1)).clamp(1, u64::from(WHOLE) * FINE);
            instance.weight = u32::try_from(weight).unwrap_or(u32::MAX);
        }
    }
    Arc::new(plain)
}

/// The instances of a version, and behind them those of the one that stands in for it.
fn of_version(service: &Service, part: &Part, spare: Option<&Arc<str>>) -> Service {
    let is_spare = |i: &&Instance| spare == Some(&i.version);
    let of_it = |i: &&Instance| i.version == part.version || is_spare(i);
    let instances: Vec<Instance> = service.instances.iter().filter(of_it).cloned().collect();
    let behind = |i: &Instance| {
        let priority = service.behind.get(&i.address).copied().unwrap_or(0);
        let priority = if is_spare(&i) {
            priority.saturating_add(Service::SPARE)
        } else {
            priority
        };
        (priority > 0).then_some((i.address, priority))
    };
    Service {
        name: part.cluster.clone(),
        behind: instances.iter().filter_map(behind).collect(),
        unsure: service.unsure.clone(),
        addressed: service.addressed,
        instances,
        ..Service::default()
    }
}

#[cfg(test)]
#[path = "versions_tests.rs"]
mod tests;
