//! What a service declares without any effect: each is a sentence that names the place and the fix. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::network::is_below;
use crate::model::{Code, Expose, Exposure, Issue, Protocol, Service};

/// The slips of one service that nothing else names. A service whose routes are only kept has none.
#[must_use]
pub(super) fn slips(
    service: &Service,
    exposures: &BTreeMap<Arc<str>, Exposure>,
    secrets: &BTreeMap<Arc<str>, bool>,
) -> Vec<Issue> {
    if service.kept.is_some() {
        return Vec::new();
    }
    let all = [
        nobody(service),
        elsewhere(service, exposures),
        no_route(service, exposures),
        no_http(service),
        overridden(service),
        overruled(service),
    ];
    let issue = |reason| Issue::warning(&*service.name, reason).of_kind(Code::NoEffect);
    let misfits = service.policy.cluster.misfits(service.protocol());
    let misfits = misfits
        .into_iter()
        .map(|(key, reason)| format!("{key}: {reason}"));
    let untrusted = untrusted(service, secrets)
        .map(|reason| Issue::warning(&*service.name, reason).of_kind(Code::TlsUnknown));
    let without_effect = all.into_iter().flatten().chain(misfits).map(issue);
    without_effect.chain(untrusted).collect()
}

/// A CA that the operator does not have.
fn untrusted(service: &Service, secrets: &BTreeMap<Arc<str>, bool>) -> Option<String> {
    let name = service.policy.cluster.tls.as_ref()?.name.as_ref()?;
    (!secrets.contains_key(name)).then(|| {
        let known: Vec<&str> = secrets.keys().map(|name| &**name).collect();
        format!(
            "tls: `{name}` is no [tls.{name}] with a ca in bridge.toml (there are: {}), so all of its requests fail",
            known.join(", ")
        )
    })
}

/// A policy document of a service that nobody registers.
fn nobody(service: &Service) -> Option<String> {
    service.instances.is_empty().then(|| {
        format!(
            "policy: no instance of `{0}` is registered, so all that its policy document does is 503; register `{0}`, \
             or write the document for the name that is registered",
            service.name
        )
    })
}

/// Routes on `internal`, by the host of another exposure.
fn elsewhere(service: &Service, exposures: &BTreeMap<Arc<str>, Exposure>) -> Option<String> {
    if service.policy.expose.is_some() {
        return None;
    }
    let holds = |exposure: &Exposure, host: &str| {
        let mut patterns = exposure.hosts.iter().filter(|pattern| *pattern != "*");
        patterns.any(|pattern| is_below(pattern, host))
    };
    let of = |host: &str| {
        let mut others = exposures.iter().filter(|(name, _)| &***name != "internal");
        let listed_inside = exposures
            .get("internal")
            .is_some_and(|inside| holds(inside, host));
        others
            .find(|(_, exposure)| !listed_inside && holds(exposure, host))
            .map(|(name, _)| name.clone())
    };
    let mut hosts = service
        .policy
        .routes
        .values()
        .flat_map(|rule| rule.hosts.iter().map(String::as_str));
    let (host, exposure) = hosts.find_map(|host| Some((host, of(host)?)))?;
    Some(format!(
        "route: host `{host}` is one of exposure `{exposure}`, but without `expose` this route is not there, only on \
         `internal`; declare expose={exposure} (or internal,{exposure})"
    ))
}

/// An exposure that nothing of the service stands on.
fn no_route(service: &Service, exposures: &BTreeMap<Arc<str>, Exposure>) -> Option<String> {
    let Some(Expose::On(names)) = &service.policy.expose else {
        return None;
    };
    if !service.policy.routes.is_empty() || service.protocol() == Protocol::Tcp {
        return None;
    }
    let nothing = |name: &&String| {
        let exposure = exposures.get(name.as_str());
        exposure.is_some_and(|exposure| exposure.service_hosts.is_empty())
    };
    let name = names.iter().find(nothing)?;
    Some(format!(
        "expose: nothing of it is on exposure `{name}`, because it declares no route; declare one, such as \
         route=path=/{}",
        service.name
    ))
}

/// Routes of a service that speaks no HTTP.
fn no_http(service: &Service) -> Option<String> {
    let tcp = service.protocol() == Protocol::Tcp;
    let mut routes = service.policy.routes.values();
    let of_requests = !service.has_grpc_route() && routes.any(|route| !route.matcher.is_of_connections());
    (tcp && of_requests).then(|| {
        "protocol: `tcp` has no requests, so a `route` for these has no effect; declare http1, http2 or grpc, or a route \
         with port= or sni="
            .to_owned()
    })
}

/// Keys that instances declare, and the policy document otherwise.
fn overridden(service: &Service) -> Option<String> {
    if service.overridden.is_empty() {
        return None;
    }
    let keys: Vec<String> = service.overridden.iter().map(ToString::to_string).collect();
    Some(format!(
        "{}: declared by its instances, and without effect: the policy document says otherwise; change the document, \
         or leave the key out at the instances",
        keys.join(", ")
    ))
}

/// Keys that the service declares, and the operator otherwise.
fn overruled(service: &Service) -> Option<String> {
    if service.overruled.is_empty() {
        return None;
    }
    let keys: Vec<String> = service.overruled.iter().map(ToString::to_string).collect();
    Some(format!(
        "{}: declared by the service, and without effect: `[services]` in the bridge's configuration says otherwise",
        keys.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::declaration::{self, Spelling};
    use crate::model::service::{Registered, assemble};
    use crate::model::{Health, ServiceRecord};

    /// A service whose only instance and whose policy document declare these keys.
    fn said(instance: Option<&[(&str, &str)]>, document: &[(&str, &str)]) -> Vec<String> {
        let read = |keys: &[(&str, &str)]| {
            declaration::parse("x", Spelling::Plain, keys.iter().copied(), &mut Vec::new())
        };
        let registered = Registered {
            id: "1",
            address: ([10, 0, 0, 7], 80).into(),
            health: Health::Healthy,
            weight: 1,
            zone: "",
            region: "",
        };
        let record = ServiceRecord {
            instances: instance
                .map(|keys| assemble(&registered, read(keys)))
                .into_iter()
                .collect(),
            policy: (!document.is_empty()).then(|| read(document).policy),
            ..ServiceRecord::default()
        };
        let service = Service::merge(&"orders".into(), &[(0, &record)], None);
        let edge = Exposure {
            hosts: vec!["api.example.com".into(), "*.shop.example".into()],
            service_hosts: Vec::new(),
            ..Exposure::internal()
        };
        let exposures = BTreeMap::from([("internal".into(), Exposure::internal()), ("edge".into(), edge)]);
        slips(&service, &exposures, &BTreeMap::new())
            .into_iter()
            .map(|issue| issue.reason)
            .collect()
    }

    #[test]
    fn each_slip_names_its_place_and_its_fix() {
        for (instance, document, words) in [
            (
                Some(&[("route", "host=api.example.com")][..]),
                &[][..],
                [
                    "`api.example.com` is one of exposure `edge`",
                    "declare expose=edge",
                ],
            ),
            (
                Some(&[("route", "host=a.shop.example path=/x")]),
                &[],
                ["`a.shop.example`", "declare expose=edge"],
            ),
            (
                Some(&[("expose", "internal,edge")]),
                &[],
                ["on exposure `edge`", "route=path=/orders"],
            ),
            (
                Some(&[("protocol", "tcp"), ("route", "path=/x"), ("expose", "internal")]),
                &[],
                ["`tcp` has no requests", "declare http1, http2 or grpc"],
            ),
            (
                Some(&[("route-2", "path=/a"), ("protocol", "http2"), ("timeout", "1s")]),
                &[("route", "path=/b"), ("protocol", "http1"), ("timeout", "1s")],
                [
                    "protocol, route-2: declared by its instances",
                    "change the document",
                ],
            ),
            (
                Some(&[("proxy-protocol", "v2"), ("protocol", "grpc")]),
                &[],
                [
                    "proxy-protocol: gRPC's own clients refuse",
                    "declare protocol=http2",
                ],
            ),
            (
                Some(&[("health-check", "grpc")]),
                &[],
                ["health-check: `grpc` needs HTTP/2", "or declare protocol=grpc"],
            ),
            (
                Some(&[("slow-start", "30s"), ("lb", "maglev")]),
                &[],
                [
                    "slow-start: lb `maglev` has no slow start",
                    "declare lb=round_robin",
                ],
            ),
            (
                Some(&[("http2", "streams=1")]),
                &[],
                ["http2: the service speaks `http1`", "declare protocol=http2"],
            ),
            (
                Some(&[("max-requests-per-connection", "1"), ("protocol", "tcp")]),
                &[],
                [
                    "max-requests-per-connection: protocol `tcp` has no HTTP",
                    "leave it out",
                ],
            ),
            (
                None,
                &[("route", "path=/b")],
                [
                    "no instance of `orders` is registered",
                    "the name that is registered",
                ],
            ),
        ] {
            let said = said(instance, document);
            assert_eq!(said.len(), 1, "{instance:?} {document:?} → {said:?}");
            assert!(words.iter().all(|word| said[0].contains(word)), "{said:?}");
        }
    }

    #[test]
    fn what_has_an_effect_is_no_slip() {
        for (instance, document) in [
            (&[][..], &[][..]),
            (&[("route", "host=api.example.com"), ("expose", "edge")], &[]),
            (&[("route", "host=orders.internal path=/x")], &[]),
            (&[("expose", "internal")], &[]),
            (&[("expose", "none")], &[]),
            (&[("protocol", "tcp")], &[]),
            (&[("slow-start", "30s"), ("health-check", "tcp")], &[]),
            (
                &[
                    ("protocol", "grpc"),
                    ("health-check", "grpc"),
                    ("http2", "streams=1"),
                ],
                &[],
            ),
            (
                &[("route", "path=/b"), ("protocol", "grpc")],
                &[("route", "path=/b")],
            ),
            (&[("route", "path=/b")], &[("protocol", "http1")]),
        ] {
            assert_eq!(
                said(Some(instance), document),
                [""; 0],
                "{instance:?} {document:?}"
            );
        }
    }
}
