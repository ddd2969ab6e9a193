//! Who may have which requests: what services claim on exposures, checked against
//! what the operator allows. Otherwise whoever may register could take over `/`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::guards;
use super::versions::Split;
use crate::model::filters::Clients;
use crate::model::network::is_below;
use crate::model::route::MAX_BYTES;
use crate::model::route::extras::Admitted;
use crate::model::route::is_host;
use crate::model::{
    Action, Code, Criterion, Effective, EffectiveRoute, Expose, Exposure, Extras, GrpcMethod, Issue, Matcher,
    Paths, Place, Protocol, RouteRule, Service, Target,
};

/// One service's wish for some requests on one exposure.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// Where.
    pub exposure: Arc<str>,
    /// Virtual host: a host, `*.example.com` or `*`; lower case.
    pub host: String,
    /// Which requests of the host.
    pub matcher: Matcher,
    /// What else must hold, sorted.
    pub criteria: Vec<Criterion>,
    /// As it is declared; whether it counts is decided with the other claims of the host.
    pub priority: i32,
    /// The cluster that gets them.
    pub cluster: Arc<str>,
    /// What becomes of them.
    pub action: Action,
    /// The version of the service that alone is to have them.
    pub version: Option<Arc<str>>,
    /// How they are shared out among the versions of the service.
    pub split: Option<Arc<Split>>,
    /// Whose host it is: of equal claims the nearest is kept.
    pub relation: Relation,
    /// Claimed by a policy document.
    pub documented: bool,
    /// Made of what is declared for this other program: it also stands on each narrower host, and its priority counts.
    pub imported: Option<&'static str>,
    /// Claimed on a wider host; requests of this one do not fall through to it.
    pub wider: bool,
    /// Of a service without instances, whose routes are kept: [`Service::kept`].
    pub kept: Option<Duration>,
}

impl Claim {
    /// The services that what is claimed is sent to.
    pub fn services(&self) -> impl Iterator<Item = Arc<str>> {
        let extras = self.action.extras.as_deref();
        let own = match extras.map(|extras| &extras.target) {
            None | Some(Target::Itself | Target::Version(_)) => Some(self.cluster.clone()),
            Some(Target::Split(_) | Target::Redirect(_) | Target::Respond(_)) => None,
        };
        let others = extras.into_iter().flat_map(Extras::services).map(Arc::from);
        own.into_iter().chain(others)
    }

    /// How its requests are shared out among versions, where they go to the service itself.
    #[must_use]
    pub fn shared_out(&self) -> Option<&Arc<Split>> {
        let extras = self.action.extras.as_deref();
        let itself = extras.is_none_or(|extras| matches!(extras.target, Target::Itself | Target::Version(_)));
        self.split
            .as_ref()
            .filter(|_| itself && !self.matcher.is_of_connections())
    }

    /// Which requests, as they are declared: `path=/orders header=x-canary:1`.
    #[must_use]
    pub fn requests(&self) -> String {
        let criteria = self.criteria.iter().map(|criterion| {
            let (name, value) = criterion.word();
            format!(" {name}={value}")
        });
        criteria.fold(self.matcher.describe(), |text, word| text + &word)
    }

    /// The clusters that what is claimed is sent to.
    #[must_use]
    pub fn clusters(&self) -> Vec<Arc<str>> {
        match self.shared_out() {
            None => self.services().collect(),
            Some(split) => {
                let others = self.services().filter(|service| *service != self.cluster);
                split.clusters().chain(others).collect()
            }
        }
    }
}

/// How a host is related to the service that claims it. Otherwise whoever registers a name that
/// sorts earlier could take over the host of a service by naming it, or by its name in capitals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// The operator gives these requests to this service by its name (`exposures.NAME.owners`).
    Given,
    /// The operator gives the host to services of this name.
    Own,
    /// The same, but for the case of letters.
    Namesake,
    /// It is claimed by name only.
    Other,
}

/// What a service claims, and what of its wishes was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Allowed.
    pub claims: Vec<Claim>,
    /// Refused, with the reason.
    pub issues: Vec<Issue>,
}

impl Claimed {
    /// A policy document of a name that nobody registers takes nothing from a service with instances.
    pub(super) fn is_documents_alone(&mut self) {
        for claim in &mut self.claims {
            (claim.documented, claim.kept) = (false, Some(Duration::ZERO));
        }
    }
}

/// All that a service claims, on all exposures.
#[must_use]
pub fn claims(service: &Service, effective: &Effective, exposures: &BTreeMap<Arc<str>, Exposure>) -> Claimed {
    let mut claimed = Claimed::default();
    if service.has_grpc_route() && matches!(effective.cluster.protocol, Protocol::Http1 | Protocol::Tcp) {
        let reason = format!(
            "protocol: `{}` cannot carry its route `grpc=`; declare grpc, or leave protocol out",
            effective.cluster.protocol.as_str()
        );
        claimed
            .issues
            .push(Issue::warning(&*service.name, reason).of_kind(Code::NoEffect));
    }
    if effective.expose == Expose::Nothing {
        return claimed;
    }
    let no_http = effective.cluster.protocol == Protocol::Tcp;
    let routes = by_exposure(effective);
    for name in routes.keys().filter(|name| !exposures.contains_key(**name)) {
        let known = exposures.keys().map(|k| &**k).collect::<Vec<_>>().join(", ");
        let reason = format!("expose: `{name}` is not an exposure here (there are: {known})");
        claimed
            .issues
            .push(Issue::warning(&*service.name, reason).of_kind(Code::ExposureUnknown));
    }
    let mut room = room(&routes, exposures);
    // What protects is not left out for what does not.
    let passes: &[Option<bool>] = if room.is_some() {
        &[Some(true), Some(false)]
    } else {
        &[None]
    };
    for protects in passes {
        for (name, routes) in &routes {
            let Some(on) = exposures.get_key_value(*name) else {
                continue;
            };
            let of_pass = |route: &&&EffectiveRoute| protects.is_none_or(|is| is == route.rule.protects());
            let routes: Vec<&EffectiveRoute> = routes.iter().filter(of_pass).copied().collect();
            declared(service, effective, &routes, on, &mut claimed, &mut room);
        }
    }
    // By its own name, wherever the operator wants that; being exposed at the edge
    // does not take a service away from its callers inside.
    let mut nameless = false;
    for (name, exposure) in exposures.iter().filter(|_| !no_http) {
        let hosts: BTreeSet<String> = exposure
            .service_hosts
            .iter()
            .map(|h| h.replace("{service}", &service.name))
            .collect();
        nameless |= hosts.iter().any(|h| !is_host(h));
        for host in hosts.into_iter().filter(|h| is_host(h)) {
            let host = host.to_ascii_lowercase();
            let rule = RouteRule::all_of(&host);
            let action = &effective.by_name;
            claimed
                .claims
                .push(claim(service, name, exposure, host, &rule, action));
        }
    }
    if nameless {
        let reason = "the name is no host name (letters, digits, -, _ and dots between them): it has no route by its \
                      name, only those it declares with host=";
        claimed
            .issues
            .push(Issue::warning(&*service.name, reason).of_kind(Code::NoEffect));
    }
    claimed
        .issues
        .extend(guards::callers(service, &claimed.claims, exposures));
    claimed.claims.sort();
    claimed.claims.dedup();
    claimed
}

/// The exposures that a service names, and those that single routes of it name, each with its routes.
fn by_exposure(effective: &Effective) -> BTreeMap<&str, Vec<&EffectiveRoute>> {
    let mut all: BTreeMap<&str, Vec<&EffectiveRoute>> = BTreeMap::new();
    let of_service = match &effective.expose {
        Expose::On(names) => &names[..],
        Expose::Nothing => &[],
    };
    for name in of_service {
        all.entry(name).or_default();
    }
    for route in &effective.routes {
        let names = match &route.rule.expose[..] {
            [] => of_service,
            names => names,
        };
        for name in names {
            all.entry(name).or_default().push(route);
        }
    }
    all
}

fn declared(
    service: &Service,
    effective: &Effective,
    routes: &[&EffectiveRoute],
    (name, exposure): (&Arc<str>, &Exposure),
    claimed: &mut Claimed,
    room: &mut Option<usize>,
) {
    let no_http = effective.cluster.protocol == Protocol::Tcp;
    let counts = |route: &&&EffectiveRoute| !no_http || route.rule.matcher.is_of_connections();
    for EffectiveRoute { rule, action } in routes.iter().filter(counts) {
        let mut action = action;
        let refused;
        if let Some(other) = foreign(service, rule).filter(|_| **name != *INTERNAL) {
            // A wider route would get its requests without what it asks for.
            let protects = rule.protects();
            let end = if protects {
                "its requests get 403"
            } else {
                "this route is left out"
            };
            let reason = format!(
                "route: it sends requests to `{other}`, which need not be for callers of exposure `{name}`: that takes a \
                 policy document of `{}` with this route; {end}",
                service.name
            );
            claimed
                .issues
                .push(Issue::warning(&*service.name, reason).of_kind(Code::RouteRefused));
            if !protects {
                continue;
            }
            refused = action.refused();
            action = &refused;
        }
        match hosts_of(service, rule, exposure)
            .and_then(|hosts| allowed(service, rule, exposure).map(|()| hosts))
            .and_then(|hosts| fitting(hosts, rule, room))
        {
            Ok(hosts) => {
                claimed
                    .issues
                    .extend(guards::tokens(service, rule, name, exposure));
                claimed.claims.extend(
                    hosts
                        .into_iter()
                        .map(|host| claim(service, name, exposure, host, rule, action)),
                );
            }
            Err(why) => {
                let reason = format!("route: {why} on exposure `{name}`; this route is left out");
                claimed
                    .issues
                    .push(Issue::warning(&*service.name, reason).of_kind(Code::RouteRefused));
            }
        }
    }
}

/// What the routes of one service may take on all of their hosts and exposures, bytes as they are declared: each host
/// has them of its own, in the bridge and in each Envoy.
pub const MAX_ROUTE_BYTES: usize = 256 << 10;

/// The room for the routes of a service; `None`: they are so few that they fit, however long they are, and none needs to
/// be measured. Each change of an instance comes by here.
fn room(
    routes: &BTreeMap<&str, Vec<&EffectiveRoute>>,
    exposures: &BTreeMap<Arc<str>, Exposure>,
) -> Option<usize> {
    let most = |(name, routes): (&&str, &Vec<&EffectiveRoute>)| -> usize {
        let all = exposures.get(*name).map_or(0, |exposure| exposure.hosts.len());
        routes.iter().map(|route| route.rule.hosts.len().max(all)).sum()
    };
    let places: usize = routes.iter().map(most).sum();
    (places * MAX_BYTES > MAX_ROUTE_BYTES).then_some(MAX_ROUTE_BYTES)
}

/// These hosts, where there is room for the route on each of them.
fn fitting(hosts: Vec<String>, rule: &RouteRule, room: &mut Option<usize>) -> Result<Vec<String>, String> {
    let Some(room) = room else { return Ok(hosts) };
    let bytes = rule.to_string().len() * hosts.len();
    let left = room.checked_sub(bytes).ok_or(
        "there is no room for it: with all of its hosts and exposures a service has 256 KiB of routes",
    )?;
    *room = left;
    Ok(hosts)
}

/// Where each service is that says nothing, and each may call each other.
const INTERNAL: &str = "internal";

/// Another service that a declaration of instances alone sends requests to.
fn foreign<'a>(service: &Service, rule: &'a RouteRule) -> Option<&'a str> {
    let mut others = rule.extras.services().filter(|other| **other != *service.name);
    others.next().filter(|_| !service.documented)
}

fn claim(
    service: &Service,
    name: &Arc<str>,
    exposure: &Exposure,
    host: String,
    rule: &RouteRule,
    action: &Action,
) -> Claim {
    Claim {
        exposure: name.clone(),
        relation: relation_of(service, exposure, &host, &rule.matcher),
        host,
        matcher: rule.matcher.clone(),
        criteria: rule.criteria.clone(),
        priority: rule.priority,
        cluster: service.name.clone(),
        action: guarded(service, (&**name, exposure), action),
        version: action.version().map(Arc::from),
        split: None,
        documented: service.documented,
        imported: rule.imported,
        wider: false,
        kept: service.kept,
    }
}

/// What becomes of requests on this exposure: who may call is known by its callers, and a token can only be of an issuer
/// that it knows.
fn guarded(service: &Service, (name, exposure): (&str, &Exposure), action: &Action) -> Action {
    let admitted = admitted(service, exposure);
    let unknown = action.extras.as_ref().and_then(|extras| extras.jwt.as_ref());
    let unknown = unknown.filter(|name| !exposure.filters.jwt.contains_key(name.as_str()));
    if unknown.is_some() {
        return action.refused();
    }
    let mut action = action.clone();
    // Inside callers say by a header who they are, unless the exposure has lists of addresses itself.
    let by_header = exposure.filters.inner || (name == INTERNAL && !exposure.filters.knows_addresses());
    if let Some(clients) = action.extras.as_ref().and_then(|extras| extras.clients.as_ref())
        && by_header
    {
        let clients = Clients {
            connection: true,
            ..clients.clone()
        };
        let mut extras = action.extras.as_deref().cloned().unwrap_or_default();
        extras.clients = Some(clients);
        action.extras = Some(Arc::new(extras));
    }
    if admitted.is_some() {
        let mut extras = action.extras.as_deref().cloned().unwrap_or_default();
        extras.admitted = admitted;
        action.extras = Some(Arc::new(extras));
    }
    action
}

fn admitted(service: &Service, exposure: &Exposure) -> Option<Admitted> {
    let policy = &service.policy;
    if exposure.filters.any_caller {
        return None;
    }
    let names = policy.admits()?.iter();
    Some(Admitted {
        identities: names.flat_map(|name| exposure.filters.callers.of(name)).collect(),
        enforced: policy.admits_only().is_some(),
    })
}

fn relation_of(service: &Service, exposure: &Exposure, host: &str, matcher: &Matcher) -> Relation {
    let given = match Place::of_host(host) {
        Some(Place::Name(name)) => exposure.gives(&name, &matcher.paths(), &service.name),
        _ => exposure.gives(host, &matcher.paths(), &service.name),
    };
    if given {
        return Relation::Given;
    }
    let own = |pattern: &String| match pattern.replace("{service}", &service.name) {
        own if own == host => Some(Relation::Own),
        own if own.eq_ignore_ascii_case(host) => Some(Relation::Namesake),
        _ => None,
    };
    let nearest = exposure.service_hosts.iter().filter_map(own).min();
    nearest.unwrap_or(Relation::Other)
}

/// The hosts a route stands under: its own, if it may claim that, or all of the exposure.
fn hosts_of(service: &Service, rule: &RouteRule, exposure: &Exposure) -> Result<Vec<String>, String> {
    let of_connections = matches!(rule.matcher, Matcher::Port(_) | Matcher::Name { .. });
    let guarded = rule.extras.is_guarded() || admitted(service, exposure).is_some_and(|who| who.enforced);
    if of_connections && guarded {
        // No filter of HTTP stands in front of them.
        return Err(
            "`allow`, `jwt=` and `rate-limit=` cannot be checked on connections without HTTP".to_owned(),
        );
    }
    let allowed = match rule.matcher {
        Matcher::Port(port) => return Ok(vec![Place::Port(port).host()]),
        Matcher::Name { .. } => &exposure.sni,
        _ if rule.hosts.is_empty() => return Ok(exposure.hosts.clone()),
        _ => &exposure.hosts,
    };
    let may = |host: &&String| {
        let known = allowed.iter().any(|pattern| pattern == *host);
        let below = allowed.iter().any(|pattern| is_below(pattern, host));
        known || (below && (!host.starts_with('*') || service.documented))
    };
    match rule.hosts.iter().find(|host| !may(host)) {
        None if matches!(rule.matcher, Matcher::Name { .. }) => {
            let names = rule.hosts.iter().cloned();
            Ok(names.map(|name| Place::Name(name).host()).collect())
        }
        None => Ok(rule.hosts.clone()),
        Some(host) if matches!(rule.matcher, Matcher::Name { .. }) => Err(format!(
            "sni `{host}` may not be claimed (there are: {})",
            exposure.sni.join(", ")
        )),
        Some(host) if host.starts_with('*') => Err(format!(
            "host `{host}` may not be claimed: Envoy would give it all requests of its hosts that routes of wider ones \
             have, so it must be one of the exposure's own, or stand in a policy document"
        )),
        Some(host) => Err(format!("host `{host}` may not be claimed")),
    }
}

fn allowed(service: &Service, rule: &RouteRule, exposure: &Exposure) -> Result<(), String> {
    match &rule.matcher {
        Matcher::Prefix(_) | Matcher::Characters(_) | Matcher::Exact(_) | Matcher::Regex(_) => {
            let wanted = rule.matcher.paths();
            let fits = |allowed: &Paths| allowed.of_service(&service.name).hold(&wanted);
            let ok = exposure.paths.iter().any(fits);
            ok.then_some(())
                .ok_or_else(|| format!("{} may not be claimed", rule.matcher.describe()))
        }
        Matcher::Grpc(GrpcMethod { service: grpc, .. }) => {
            let fits = |p: &String| match p.strip_suffix('*') {
                Some(prefix) => grpc.starts_with(prefix),
                None => p == grpc,
            };
            let ok = exposure.grpc.iter().any(fits);
            ok.then_some(())
                .ok_or_else(|| format!("gRPC service `{grpc}` may not be claimed"))
        }
        Matcher::Port(port) => {
            let ports = || {
                exposure
                    .ports
                    .iter()
                    .map(u16::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let no_listener = || {
                format!(
                    "port {port} may not be claimed: no listener with protocol = \"tcp\" has it (there are: {})",
                    ports()
                )
            };
            exposure
                .ports
                .contains(port)
                .then_some(())
                .ok_or_else(no_listener)
        }
        Matcher::Name { terminate: true } if !exposure.certified => {
            Err("terminate= needs a listener with a certificate".to_owned())
        }
        Matcher::Name { .. } => Ok(()),
    }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
