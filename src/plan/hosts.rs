//! Who has which requests, host by host: what changes on one host never makes another one be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::claims::{Claim, Relation};
use super::owners::{Contest, decide};
use crate::model::network::is_below;
use crate::model::{Code, Holders, Issue, Place as Connections, Seniority};

/// All hosts of all exposures.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exposures: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Host>>,
    /// Claims that lost, of all hosts.
    contested: usize,
}

#[derive(Debug, Default)]
struct Host {
    /// Who claims something of it, in the order of names; mostly one.
    services: Vec<Arc<str>>,
    holders: Holders,
    contested: Vec<Issue>,
}

/// Hosts to be looked at: exposure and host.
pub(super) type Touched = BTreeSet<(Arc<str>, Arc<str>)>;

/// What came of a look at a host.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Those that count, in the order in which they are to be tried.
    pub(super) claims: Vec<Claim>,
    /// Who has what is not what it was.
    pub(super) holders_changed: bool,
    /// Who lost is not who it was.
    pub(super) issues_changed: bool,
}

impl Hosts {
    /// Who had what before the bridge began; each of these hosts is to be looked at.
    pub(super) fn remember(&mut self, remembered: BTreeMap<Arc<str>, Holders>) {
        for (exposure, holders) in remembered {
            let hosts = self.exposures.entry(exposure).or_default();
            for (requests, holder) in holders {
                let host = hosts.entry(requests.host.as_str().into()).or_default();
                host.holders.insert(requests, holder);
            }
        }
    }

    /// Who has what, by exposure.
    pub(super) fn holders(&self) -> BTreeMap<Arc<str>, Holders> {
        let of = |hosts: &BTreeMap<Arc<str>, Host>| -> Holders {
            hosts.values().flat_map(|host| host.holders.clone()).collect()
        };
        let all = self.exposures.iter();
        all.map(|(exposure, hosts)| (exposure.clone(), of(hosts)))
            .collect()
    }

    /// All of them.
    pub(super) fn all(&self) -> Touched {
        let pairs = |(exposure, hosts): (&Arc<str>, &BTreeMap<Arc<str>, Host>)| -> Vec<_> {
            hosts
                .keys()
                .map(|host| (exposure.clone(), host.clone()))
                .collect()
        };
        self.exposures.iter().flat_map(pairs).collect()
    }

    /// How many claims lost against others.
    pub(super) const fn contested(&self) -> usize {
        self.contested
    }

    /// The sentences about claims of this service.
    pub(super) fn issues_of<'a>(
        &'a self,
        claims: &'a [Claim],
        service: &'a str,
    ) -> impl Iterator<Item = &'a Issue> {
        let places: BTreeSet<Place<'_>> = claims.iter().map(|c| (&*c.exposure, &*c.host)).collect();
        let hosts = places
            .into_iter()
            .filter_map(|(exposure, host)| self.exposures.get(exposure)?.get(host));
        let contested = hosts.flat_map(|host| &host.contested);
        contested.filter(move |issue| issue.entry == service)
    }

    /// The sentences about claims on this host, and on patterns that hold it, of all exposures.
    pub(super) fn issues_on<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Issue> {
        let hosts = self.exposures.values().flatten();
        let fits = hosts
            .filter(move |(host, _)| ***host == *name || (host.starts_with('*') && is_below(host, name)));
        fits.flat_map(|(_, host)| &host.contested)
    }

    /// A sentence for each of these.
    pub(super) fn issues(&self) -> impl Iterator<Item = &Issue> {
        let hosts = self.exposures.values().flat_map(BTreeMap::values);
        hosts.flat_map(|host| &host.contested)
    }

    /// A service claims this and no longer that. The hosts of which something changes.
    pub(super) fn replace(
        &mut self,
        service: &Arc<str>,
        before: &[Claim],
        after: &[Claim],
        touched: &mut Touched,
    ) {
        let (before, after) = (by_host(before), by_host(after));
        let mut spread: BTreeSet<Place<'_>> = BTreeSet::new();
        for (place, claims) in &before {
            let now = after.get(place);
            if now != Some(claims) {
                touched.insert(named(*place));
                spread.extend(Some(*place).filter(|place| place.1.starts_with('*')));
            }
            if now.is_none()
                && let Some(host) = self
                    .exposures
                    .get_mut(place.0)
                    .and_then(|hosts| hosts.get_mut(place.1))
            {
                host.services.retain(|claimant| claimant != service);
            }
        }
        for place in after.keys().filter(|place| !before.contains_key(*place)) {
            spread.extend(Some(*place).filter(|place| place.1.starts_with('*')));
            let (exposure, host) = named(*place);
            touched.insert((exposure.clone(), host.clone()));
            let hosts = self.exposures.entry(exposure).or_default();
            let services = &mut hosts.entry(host).or_default().services;
            if let Err(at) = services.binary_search(service) {
                services.reserve_exact(usize::from(services.is_empty()));
                services.insert(at, service.clone());
            }
        }
        // What is imported stands on each narrower host, too.
        for place in spread {
            let mut claims = [&before, &after]
                .into_iter()
                .filter_map(|all| all.get(&place))
                .flatten();
            if claims.any(|claim| claim.imported.is_some()) {
                let hosts = self.exposures.get(place.0).into_iter().flat_map(BTreeMap::keys);
                let narrower = hosts.filter(|host| ***host != *place.1 && is_below(place.1, host));
                touched.extend(narrower.map(|host| (Arc::from(place.0), host.clone())));
            }
        }
    }

    /// The names of TLS that stand for one of these hosts: who may have them depends on who has requests there.
    pub(super) fn names_of(&self, touched: &Touched) -> Touched {
        let mut names = Touched::new();
        for (exposure, host) in touched {
            let Some(hosts) = self.exposures.get(exposure) else {
                continue;
            };
            // Mostly there are none, and a plan may touch thousands of hosts.
            let first = Connections::Name(String::new()).host();
            let any = hosts
                .range::<str, _>((Bound::Included(&*first), Bound::Unbounded))
                .next();
            if !any.is_some_and(|(name, _)| name.starts_with(&*first)) {
                continue;
            }
            let wider = host.match_indices('.').map(|(at, _)| format!("*{}", &host[at..]));
            for name in wider.chain([host.to_string(), "*".to_owned()]) {
                let place = Connections::Name(name).host();
                if let Some((place, _)) = hosts.get_key_value(&*place) {
                    names.insert((exposure.clone(), place.clone()));
                }
            }
        }
        names
    }

    /// Decides who has the requests of a host. `claims` gives those of a service, on all hosts.
    pub(super) fn decide<'a>(
        &mut self,
        (exposure, name): (&Arc<str>, &Arc<str>),
        claims: impl Fn(&Arc<str>) -> &'a [Claim],
        now: Duration,
        seniority: &dyn Fn(&str) -> Seniority,
    ) -> Outcome {
        let Some(hosts) = self.exposures.get_mut(exposure) else {
            return Outcome::default();
        };
        let wider = wider(hosts, (exposure, name), &claims);
        let served = served(hosts, name);
        let Some(host) = hosts.get_mut(name) else {
            return Outcome::default();
        };
        let here = |claim: &&Claim| claim.exposure == *exposure && *claim.host == **name;
        let own = host.services.iter().flat_map(|s| claims(s).iter().filter(here));
        let mut wanted: Vec<&Claim> = own.collect();
        if !wanted.is_empty() {
            wanted.extend(&wider);
        }
        // A chain for a name takes all connections for it, before any request is seen.
        let has_it = |claim: &Claim| {
            host.holders
                .values()
                .any(|holder| holder.service == claim.cluster)
        };
        let mut barred = Vec::new();
        wanted.retain(|claim| {
            let other = served.iter().find(|service| **service != claim.cluster);
            let other = other.filter(|_| claim.relation != Relation::Given && !has_it(claim));
            barred.extend(other.map(|other| barred_by(claim, other)));
            other.is_none()
        });
        let contest = Contest {
            holders: &host.holders,
            now,
            seniority,
        };
        let mut decided = decide(&wanted, &contest);
        decided.issues.extend(barred);
        let outcome = Outcome {
            claims: decided.claims.into_iter().cloned().collect(),
            holders_changed: host.holders != decided.holders,
            issues_changed: host.contested != decided.issues,
        };
        self.contested = self.contested + decided.issues.len() - host.contested.len();
        host.holders = decided.holders;
        host.contested = decided.issues;
        if host.services.is_empty() {
            hosts.remove(name);
        }
        outcome
    }
}

/// Services with requests on the hosts that a name of TLS stands for.
fn served(hosts: &BTreeMap<Arc<str>, Host>, name: &str) -> BTreeSet<Arc<str>> {
    let Some(Connections::Name(name)) = Connections::of_host(name) else {
        return BTreeSet::new();
    };
    let below = |host: &str| name.starts_with('*') && is_below(&name, host);
    let found: Vec<&Host> = match hosts.get(&*name) {
        Some(host) if !name.starts_with('*') => vec![host],
        None if !name.starts_with('*') => Vec::new(),
        _ => hosts
            .iter()
            .filter(|(host, _)| Connections::of_host(host).is_none() && (***host == *name || below(host)))
            .map(|(_, host)| host)
            .collect(),
    };
    found
        .into_iter()
        .flat_map(|host| host.services.iter().cloned())
        .collect()
}

fn barred_by(claim: &Claim, other: &str) -> Issue {
    let reason = format!(
        "route: `{}` would take all connections for a host on which `{other}` has requests; this route is left out \
         ([exposures.{}.owners] in bridge.toml can give the name to `{}`)",
        claim.host, claim.exposure, claim.cluster
    );
    Issue::warning(&*claim.cluster, reason).of_kind(Code::RouteContested)
}

/// The imported claims of wider hosts that hold this one: Envoy chooses the host first, and nothing falls through.
fn wider<'a>(
    hosts: &BTreeMap<Arc<str>, Host>,
    (exposure, name): (&Arc<str>, &Arc<str>),
    claims: &impl Fn(&Arc<str>) -> &'a [Claim],
) -> Vec<Claim> {
    if Connections::of_host(name).is_some() {
        return Vec::new();
    }
    let patterns = hosts.range::<str, _>((Bound::Included("*"), Bound::Excluded("+")));
    let patterns = patterns.filter(|(pattern, _)| *pattern != name && is_below(pattern, name));
    let mut found = Vec::new();
    for (pattern, host) in patterns {
        let here = |claim: &&Claim| {
            claim.imported.is_some() && claim.exposure == *exposure && *claim.host == **pattern
        };
        let all = host.services.iter().flat_map(|s| claims(s).iter().filter(here));
        found.extend(all.map(|claim| Claim {
            host: name.to_string(),
            wider: true,
            ..claim.clone()
        }));
    }
    found
}

type Place<'a> = (&'a str, &'a str);

fn by_host(claims: &[Claim]) -> BTreeMap<Place<'_>, Vec<&Claim>> {
    let mut hosts: BTreeMap<Place<'_>, Vec<&Claim>> = BTreeMap::new();
    for claim in claims {
        hosts
            .entry((&*claim.exposure, &*claim.host))
            .or_default()
            .push(claim);
    }
    hosts
}

fn named((exposure, host): Place<'_>) -> (Arc<str>, Arc<str>) {
    (exposure.into(), host.into())
}

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;
