//! What a service asks of the filters in front of it, and does not get: each is a sentence that names the place and the
//! fix. What is asked for and cannot be done refuses requests. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Claim;
use crate::model::policy::AllowMode;
use crate::model::{Code, Exposure, Issue, Listener, Network, RouteRule, Service, Traffic};

/// A token of an issuer that the exposure does not know.
pub(super) fn tokens(service: &Service, rule: &RouteRule, name: &str, exposure: &Exposure) -> Option<Issue> {
    let issuer = rule.extras.jwt.as_deref()?;
    let known = &exposure.filters.jwt;
    (!known.contains_key(issuer)).then(|| {
        let known: Vec<&str> = known.keys().map(|name| &**name).collect();
        let reason = format!(
            "route: `jwt={issuer}` is no [exposures.{name}.jwt.{issuer}] in bridge.toml (there are: {}), so its requests \
             on exposure `{name}` get 403",
            known.join(", ")
        );
        Issue::warning(&*service.name, reason).of_kind(Code::TokenUnknown)
    })
}

/// A listener of the operator's that brings all of its connections to a service which names its callers.
pub(super) fn passed_by(service: &Service, network: &Network) -> Option<Issue> {
    service.policy.admits_only()?;
    let passes = |(_, listener): &(&Arc<str>, &Listener)| {
        let whole =
            matches!(&listener.traffic, Traffic::Tcp { service: Some(name) } if *name == service.name);
        let exposure = network.exposures.get(&listener.exposure);
        whole && !exposure.is_some_and(|exposure| exposure.filters.any_caller)
    };
    let (name, listener) = network.listeners.iter().find(passes)?;
    let reason = format!(
        "allow: listeners.{name} brings all of its connections here, where no caller is checked; take `service` away there, \
         or set exposures.{}.any_caller = true if that is meant",
        listener.exposure
    );
    Some(Issue::warning(&*service.name, reason).of_kind(Code::CallerUnchecked))
}

/// Callers that nobody knows, and listeners that cannot know any.
pub(super) fn callers(
    service: &Service,
    claims: &[Claim],
    exposures: &BTreeMap<Arc<str>, Exposure>,
) -> Vec<Issue> {
    let Some(names) = &service.policy.allow else {
        return Vec::new();
    };
    let on: BTreeSet<&Arc<str>> = claims.iter().map(|claim| &claim.exposure).collect();
    let on: Vec<(&Arc<str>, &Exposure)> = exposures
        .iter()
        .filter(|(name, exposure)| on.contains(name) && !exposure.filters.any_caller)
        .collect();
    let outcome = match service.policy.allow_mode {
        Some(AllowMode::Log) => "would get 403 with allow-mode=enforce",
        Some(AllowMode::Enforce) | None => "get 403",
    };
    let mut reasons = Vec::new();
    if let Some((_, exposure)) = on.first() {
        let unknown = |name: &&String| exposure.filters.callers.of(name).is_empty();
        let unknown: Vec<&str> = names.iter().filter(unknown).map(String::as_str).collect();
        if !unknown.is_empty() {
            reasons.push(format!(
                "allow: nobody is known by the name {} (give it an identity in [callers] of bridge.toml): its requests \
                 {outcome}",
                unknown.join(", ")
            ));
        }
    }
    for (name, exposure) in on {
        let anonymous: Vec<&str> = exposure.filters.anonymous.iter().map(|name| &**name).collect();
        if !anonymous.is_empty() {
            reasons.push(format!(
                "allow: clients of {} show no certificate, so requests there {outcome} (set \
                 listeners.NAME.tls.client_ca, or exposures.{name}.any_caller = true)",
                anonymous.join(", ")
            ));
        }
    }
    reasons
        .into_iter()
        .map(|reason| Issue::warning(&*service.name, reason).of_kind(Code::CallerUnknown))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bind, Policy};

    #[test]
    fn a_listener_that_brings_connections_past_allow_is_named() {
        let mut listener = Listener::new(Bind::Internal, "internal".into());
        listener.traffic = Traffic::Tcp {
            service: Some("orders".into()),
        };
        let mut network = Network::default();
        network.listeners.insert("raw".into(), listener);
        let service = |allow_mode| Service {
            name: "orders".into(),
            policy: Policy {
                allow: Some(vec!["web".to_owned()]),
                allow_mode,
                ..Policy::default()
            },
            ..Service::default()
        };
        let named = |network: &Network, service: &Service| {
            let issue = passed_by(service, network);
            issue.map(|issue| issue.reason.contains("listeners.raw"))
        };
        assert_eq!(named(&network, &service(None)), Some(true));
        assert_eq!(named(&network, &service(Some(AllowMode::Log))), None);
        let other = Service {
            name: "other".into(),
            ..service(None)
        };
        assert_eq!(named(&network, &other), None);
        if let Some(inside) = network.exposures.get_mut("internal") {
            inside.filters.any_caller = true;
        }
        assert_eq!(named(&network, &service(None)), None);
    }
}
