//! `[external.NAME]`: what no registry knows, with the keys that a service would declare.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::parse;
use super::reader::Section;
use super::{Dns, Exposure, External};
use crate::model::Protocol;
use crate::model::overrides::set;
use crate::model::policy::Expose;
use crate::model::service::check_name;

pub(super) fn read(
    root: &mut Section<'_>,
    exposures: &BTreeMap<Arc<str>, Exposure>,
) -> BTreeMap<Arc<str>, External> {
    let mut externals = BTreeMap::new();
    for mut s in root.sections("external") {
        if let Err(why) = check_name(s.name()) {
            s.mistake("", why);
        }
        let given = s.has("addresses");
        let addresses = s.list("addresses", parse::host_and_port).unwrap_or_default();
        let named = addresses.iter().any(|(host, _)| host.parse::<IpAddr>().is_err());
        let dns = s.get(
            "dns",
            parse::word(&[("strict", Dns::Strict), ("logical", Dns::Logical)]),
        );
        match dns {
            Some(_) if !named => s.mistake("dns", "there is no name among the addresses"),
            Some(Dns::Logical) if addresses.len() > 1 => {
                s.mistake(
                    "dns",
                    "logical: Envoy takes one name; with several use \"strict\"",
                );
            }
            _ => {}
        }
        let policy = policy(&mut s, exposures);
        if !given && policy.routes.is_empty() {
            s.mistake(
                "addresses",
                "is missing; for example addresses = [\"maps.example.com:80\"], or a route that needs none",
            );
        }
        let mut routes = policy.routes.values();
        if policy.protocol == Some(Protocol::Tcp) && routes.any(|route| !route.matcher.is_of_connections()) {
            s.mistake("protocol", "tcp has no requests: only routes with port= or sni=");
        }
        let external = External {
            policy,
            addresses,
            dns: named.then(|| dns.unwrap_or(Dns::Strict)),
        };
        externals.insert(s.name().into(), external);
        s.finish();
    }
    externals
}

fn policy(s: &mut Section<'_>, exposures: &BTreeMap<Arc<str>, Exposure>) -> crate::model::Policy {
    let mut policy = crate::model::Policy::default();
    for (name, value) in s.left() {
        if let Err(why) = set(&mut policy, &name, &value) {
            s.mistake(&name, why);
        }
    }
    let of_routes = policy.routes.values().flat_map(|rule| &rule.expose);
    let named = match &policy.expose {
        Some(Expose::On(names)) => &names[..],
        Some(Expose::Nothing) | None => &[],
    };
    for name in named.iter().chain(of_routes) {
        if !exposures.contains_key(name.as_str()) {
            s.mistake("expose", format!("`{name}` is not an exposure"));
        }
    }
    policy
}
