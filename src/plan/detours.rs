//! Routes by which requests would reach a service past its `allow`: what a route sends to another service is checked by
//! the filters of that route alone. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::claims::Claim;
use super::hosts::Touched;
use crate::model::{Code, Issue, Policy};

/// Services that say who may call them, and the routes that lead past that.
#[derive(Debug, Default)]
pub(super) struct Detours {
    /// Whom each of them names.
    guarded: BTreeMap<Arc<str>, BTreeSet<String>>,
    /// Which of these have changed.
    changed: BTreeSet<Arc<str>>,
    /// By exposure and host.
    issues: BTreeMap<(Arc<str>, Arc<str>), Vec<Issue>>,
}

impl Detours {
    /// What a service declares; `None`: it is gone.
    pub(super) fn note(&mut self, name: &Arc<str>, policy: Option<&Policy>) {
        let now = policy.and_then(Policy::admits_only);
        let now: Option<BTreeSet<String>> = now.map(|names| names.iter().cloned().collect());
        if self.guarded.get(name) == now.as_ref() {
            return;
        }
        self.changed.insert(name.clone());
        match now {
            Some(now) => drop(self.guarded.insert(name.clone(), now)),
            None => drop(self.guarded.remove(name)),
        }
    }

    /// Hosts whose routes are to be looked at again, of all claims.
    pub(super) fn touch<'a>(&mut self, claims: impl Iterator<Item = &'a Claim>, hosts: &mut Touched) {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return;
        }
        for claim in claims {
            let concerned =
                changed.contains(&claim.cluster) || claim.services().any(|c| changed.contains(&c));
            if concerned && claim.services().any(|target| target != claim.cluster) {
                hosts.insert((claim.exposure.clone(), claim.host.as_str().into()));
            }
        }
    }

    /// The claims of a host that count; those that lead past a check are refused. Whether what is said of it has changed.
    pub(super) fn refuse(
        &mut self,
        place: (&Arc<str>, &Arc<str>),
        checked: bool,
        mut claims: Vec<Claim>,
    ) -> (Vec<Claim>, bool) {
        let mut issues = Vec::new();
        for claim in claims.iter_mut().filter(|_| checked && !self.guarded.is_empty()) {
            let Some(target) = claim.services().find(|target| self.is_past(claim, target)) else {
                continue;
            };
            let reason = format!(
                "route: {} on host `{}` sends requests to `{target}` past its `allow`, so they get 403; declare an `allow` \
                 that names nobody else, or leave `{target}` out",
                claim.matcher.describe(),
                claim.host
            );
            issues.push(Issue::warning(&*claim.cluster, reason).of_kind(Code::TargetMissing));
            claim.action = claim.action.refused();
        }
        let place = (place.0.clone(), place.1.clone());
        let news = self.issues.get(&place).map_or(&[][..], Vec::as_slice) != issues;
        if issues.is_empty() {
            self.issues.remove(&place);
        } else {
            self.issues.insert(place, issues);
        }
        (claims, news)
    }

    /// A sentence for each route that is refused.
    pub(super) fn issues(&self) -> impl Iterator<Item = &Issue> {
        self.issues.values().flatten()
    }

    fn is_past(&self, claim: &Claim, target: &Arc<str>) -> bool {
        let Some(wanted) = self.guarded.get(target).filter(|_| *target != claim.cluster) else {
            return false;
        };
        // Whoever passes the route's own check passes that one.
        let own = self.guarded.get(&claim.cluster);
        !own.is_some_and(|own| own.is_subset(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::AllowMode;
    use crate::model::{Clusters, Effective, Exposure, Key, RouteRule, Service};
    use crate::plan::claims;

    fn claims_of(name: &str, route: &str) -> Vec<Claim> {
        let policy = Policy {
            routes: [(1, RouteRule::parse(route).unwrap())].into(),
            ..Policy::default()
        };
        let service = Service {
            name: name.into(),
            policy,
            documented: true,
            ..Service::default()
        };
        let effective = Effective::of(&service, &Clusters::DEFAULT);
        claims(
            &service,
            &effective,
            &[("internal".into(), Exposure::internal())].into(),
        )
        .claims
    }

    fn allows(names: &[&str], allow_mode: Option<AllowMode>) -> Policy {
        Policy {
            allow: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            allow_mode,
            ..Policy::default()
        }
    }

    #[test]
    fn what_leads_past_allow_is_refused_as_soon_as_it_does() {
        let mut detours = Detours::default();
        let route = "host=evil path=/adm split=admin:1 mirror=logs";
        let all = claims_of("evil", route);
        let place = (Arc::from("internal"), Arc::from("evil"));
        // How many routes of the host are refused now, and whether that is news.
        let refused = |detours: &mut Detours, checked: bool| {
            let before: Vec<Claim> = all.iter().filter(|claim| claim.host == "evil").cloned().collect();
            let (after, news) = detours.refuse((&place.0, &place.1), checked, before.clone());
            let differ = before
                .iter()
                .zip(&after)
                .filter(|(a, b)| a.action != b.action)
                .count();
            assert_eq!(detours.issues().count(), differ);
            (differ, news)
        };
        assert_eq!(refused(&mut detours, true), (0, false));
        let mut hosts = Touched::new();
        let mut note = |detours: &mut Detours, name: &str, policy: Option<&Policy>| {
            hosts.clear();
            detours.note(&name.into(), policy);
            detours.touch(all.iter(), &mut hosts);
            hosts.contains(&place)
        };
        assert!(note(&mut detours, "admin", Some(&allows(&["web", "cron"], None))));
        assert_eq!(refused(&mut detours, true), (1, true));
        assert_eq!(refused(&mut detours, true), (1, false));
        assert_eq!(
            refused(&mut detours, false),
            (0, true),
            "the operator lets any caller in there"
        );
        // The sender checks the same, or more.
        assert!(note(&mut detours, "evil", Some(&allows(&["web"], None))));
        assert_eq!(refused(&mut detours, true), (0, false));
        assert!(note(&mut detours, "evil", Some(&allows(&["web", "else"], None))));
        assert_eq!(refused(&mut detours, true), (1, true));
        assert!(note(&mut detours, "evil", None));
        assert!(note(
            &mut detours,
            "admin",
            Some(&allows(&["web"], Some(AllowMode::Log)))
        ));
        assert_eq!(refused(&mut detours, true), (0, true));
        assert!(
            note(&mut detours, "logs", Some(&allows(&["web"], None))),
            "a copy is a request"
        );
        assert_eq!(refused(&mut detours, true), (1, true));
        assert!(note(&mut detours, "logs", None));
        let slip = Policy {
            slips: [Key::Allow].into(),
            ..Policy::default()
        };
        assert!(note(&mut detours, "logs", Some(&slip)), "one that cannot be read");
        assert_eq!(refused(&mut detours, true), (1, false));
        assert!(!note(&mut detours, "stranger", Some(&allows(&["web"], None))));
        assert!(note(&mut detours, "logs", None));
        assert_eq!(refused(&mut detours, true), (0, true));
    }
}
