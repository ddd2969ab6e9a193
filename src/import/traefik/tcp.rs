//! Routers of TCP, ``traefik.tcp.routers.R.rule=HostSNI(`db.example.com`)``: connections by the name that a TLS client asks
//! for, passed on or with TLS ended by Envoy. Pure.

use std::collections::BTreeSet;

use super::router::Importing;
use super::tags::list;
use crate::import::entry::Options;
use crate::import::url::port;
use crate::model::RouteRule;
use crate::text::clip;
use crate::text::expression::Expression;

/// The most names of one router.
const MAX_NAMES: usize = 16;
/// The options of a router; what else it says may protect it.
const OPTIONS: [&str; 6] = [
    "entrypoints",
    "priority",
    "rule",
    "service",
    "tls",
    "tls.passthrough",
];

impl Importing<'_, '_, '_> {
    /// Adds the routes of connections, after those of requests: an instance has one server here.
    pub(super) fn connections(&mut self) {
        let tags = self.tags;
        for (name, options) in &tags.tcp.routers {
            let outcome = self
                .named(options)
                .and_then(|rule| self.server(options).map(|()| rule));
            match outcome {
                Ok(rule) => {
                    self.gathered.route(&format!("traefik tcp {name}"), rule);
                }
                Err(why) => {
                    let tag = format!("{}.tcp.routers.{name}", self.settings.prefix);
                    self.gathered
                        .note(&tag, format!("{why}; this router of TCP is left out"));
                }
            }
        }
    }

    /// Its names, as a route.
    fn named(&self, options: &Options) -> Result<RouteRule, String> {
        if self.canary.is_some() {
            return Err("a canary gets no connections here".to_owned());
        }
        let is_of_tls = |option: &str| option.starts_with("tls.");
        let other = options
            .keys()
            .find(|option| !OPTIONS.contains(&option.as_str()) && !is_of_tls(option));
        if let Some(other) = other {
            return Err(format!("`{}` is not imported, and may protect it", clip(other)));
        }
        let rule = options.get("rule").ok_or("it has no rule")?;
        let expression = Expression::parse(rule)?;
        let mut names = Vec::new();
        for alternative in expression.alternatives(MAX_NAMES)? {
            let name = match alternative[..] {
                [(function, false)] if function.name.eq_ignore_ascii_case("hostsni") => function
                    .arguments
                    .first()
                    .filter(|_| function.arguments.len() == 1),
                _ => None,
            };
            let name = name.ok_or("only HostSNI(`NAME`), and several with ||, are possible here")?;
            if name == "*" {
                let why = "HostSNI(`*`) is all connections of an entry point: declare xds-route=port=NUMBER for them";
                return Err(why.to_owned());
            }
            names.push(name.to_ascii_lowercase());
        }
        let is = |option: &str| options.get(option).is_some_and(|value| value == "true");
        let passed_on = is("tls.passthrough");
        let ended = is("tls") || options.keys().any(|o| is_of_tls(o) && o != "tls.passthrough");
        if !passed_on && !ended {
            return Err("without tls nobody says a name".to_owned());
        }
        let ended = if passed_on { "" } else { " terminate=true" };
        let expose = self.of_entry_points(options)?;
        RouteRule::parse(&format!("sni={} expose={expose}{ended}", names.join(",")))
    }

    fn of_entry_points(&self, options: &Options) -> Result<String, String> {
        let known = &self.settings.entry_points;
        if known.is_empty() {
            return Ok(super::router::EXPOSURE.to_owned());
        }
        let named = options
            .get("entrypoints")
            .map_or_else(Vec::new, |names| list(names));
        let all: BTreeSet<&str> = known
            .iter()
            .filter(|(name, _)| named.is_empty() || named.contains(name))
            .flat_map(|(_, exposures)| exposures.iter().map(String::as_str))
            .collect();
        if all.is_empty() {
            return Err("none of its entry points is one of entry_points in bridge.toml".to_owned());
        }
        Ok(all.into_iter().collect::<Vec<_>>().join(","))
    }

    /// Where its connections go: to the one server that the instance has here.
    fn server(&mut self, options: &Options) -> Result<(), String> {
        let services = &self.tags.tcp.services;
        let named = options.get("service").map(|name| name.to_ascii_lowercase());
        let named = named
            .as_deref()
            .map(|name| name.strip_suffix("@consulcatalog").unwrap_or(name));
        let service = match (named, services.len()) {
            (Some(name), _) => Some(
                services
                    .get(name)
                    .ok_or("its service is not declared beside it")?,
            ),
            (None, 0 | 1) => services.values().next(),
            (None, _) => return Err("there are several services, and the router names none".to_owned()),
        };
        let nothing = Options::new();
        let service = service.unwrap_or(&nothing);
        if service.keys().any(|option| option.starts_with("server.tls")) {
            return Err("TLS to its server is declared by xds-tls here".to_owned());
        }
        let own = service.get("server.port").map(|text| port(text)).transpose()?;
        if self.gathered.has_routes() && own != self.gathered.imported.port {
            return Err("another router of this instance goes to another server of it".to_owned());
        }
        self.gathered.imported.port = own;
        let tag = format!("{}.tcp.services…loadbalancer", self.settings.prefix);
        for (option, value) in service {
            match option.as_str() {
                "server.port" | "terminationdelay" => {}
                "proxyprotocol" if value == "false" => {}
                "proxyprotocol.version" if value == "1" => self.gathered.key("proxy-protocol", "v1"),
                "proxyprotocol" | "proxyprotocol.version" => self.gathered.key("proxy-protocol", "v2"),
                _ => self
                    .gathered
                    .note(&format!("{tag}.{option}"), "not imported; ignored"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
