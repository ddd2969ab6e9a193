//! Tags of Traefik, `traefik.http.routers.R.rule=…`, as routers, services and middlewares. Pure.

use std::collections::BTreeMap;

use crate::import::entry::Options;
use crate::import::gathered::Gathered;

/// What the tags of one instance declare.
#[derive(Debug, Default)]
pub(super) struct Tags {
    /// `None`: not declared. An error: it is no boolean.
    pub(super) enable: Option<Result<bool, ()>>,
    pub(super) canary: bool,
    pub(super) routers: BTreeMap<String, Router>,
    pub(super) services: BTreeMap<String, Options>,
    /// By the path of an option below the name, `stripprefix.prefixes`.
    pub(super) middlewares: BTreeMap<String, Options>,
    pub(super) tcp: Tcp,
    /// There are keys of TCP or UDP, so there is no router by the name.
    pub(super) bytes: bool,
}

/// One router.
#[derive(Debug, Default)]
pub(super) struct Router {
    pub(super) rule: Option<String>,
    pub(super) priority: Option<i64>,
    pub(super) entry_points: Vec<String>,
    pub(super) middlewares: Vec<String>,
    pub(super) service: Option<String>,
    pub(super) tls: bool,
    /// Why it cannot be used at all.
    pub(super) unusable: Option<String>,
    /// It says something that may protect it and cannot be read: nobody gets its requests.
    pub(super) doubtful: bool,
}

/// Routers and services of TCP by their names, each with its options.
#[derive(Debug, Default)]
pub(super) struct Tcp {
    pub(super) routers: BTreeMap<String, Options>,
    pub(super) services: BTreeMap<String, Options>,
}

impl Tcp {
    /// Takes one option.
    ///
    /// # Errors
    /// It is of something else.
    fn one(&mut self, parts: &[&str], value: &str) -> Result<(), String> {
        let (all, name, option) = match parts {
            ["routers", name, option @ ..] if !option.is_empty() => (&mut self.routers, *name, option),
            ["services", name, "loadbalancer", option @ ..] if !option.is_empty() => {
                (&mut self.services, *name, option)
            }
            _ => return Err("of TCP only routers and services are imported; ignored".to_owned()),
        };
        let options = all.entry(name.to_owned()).or_default();
        options.insert(option.join("."), value.to_owned());
        Ok(())
    }
}

/// The options of a router; what is nearly one of them was meant to be.
const OPTIONS: [&str; 8] = [
    "rule",
    "rulesyntax",
    "priority",
    "entrypoints",
    "middlewares",
    "service",
    "tls",
    "observability",
];

impl Tags {
    pub(super) fn read(prefix: &str, tags: &[String], gathered: &mut Gathered<'_>) -> Self {
        let mut read = Self::default();
        for tag in tags {
            let Some((key, value)) = tag.split_once('=') else {
                continue;
            };
            let key = key.trim();
            let Some(path) = key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')) else {
                continue;
            };
            let path = path.to_ascii_lowercase();
            let parts: Vec<&str> = path.split('.').collect();
            if let Err(why) = read.one(&parts, value.trim()) {
                gathered.note(key, why);
            }
        }
        read
    }

    pub(super) fn one(&mut self, parts: &[&str], value: &str) -> Result<(), String> {
        match parts {
            ["enable"] => self.enable = Some(boolean(value).ok_or(())),
            ["consulcatalog", "canary"] => {
                // Whoever meant it must not get the requests of all.
                self.canary = boolean(value).unwrap_or(true);
                boolean(value).ok_or("is neither true nor false: it counts as true")?;
            }
            ["consulcatalog", "connect"] if boolean(value) == Some(false) => {}
            ["consulcatalog", "connect"] => return Err("Connect is not imported; ignored".to_owned()),
            ["http", "routers", name, option @ ..] => {
                let router = self.routers.entry((*name).to_owned()).or_default();
                if let Err(why) = router.one(option, value) {
                    return Err(if router.is_in_doubt(option) {
                        router.doubtful = true;
                        let reason = format!("`{}` cannot be read", option.join("."));
                        router.unusable.get_or_insert(reason);
                        format!("{why}; it may protect the router, whose requests are refused")
                    } else {
                        why
                    });
                }
            }
            ["http", "services", name, "loadbalancer", option @ ..] => {
                let service = self.services.entry((*name).to_owned()).or_default();
                service.insert(option.join("."), value.to_owned());
            }
            ["http", "middlewares", name, option @ ..] if !option.is_empty() => {
                let middleware = self.middlewares.entry((*name).to_owned()).or_default();
                middleware.insert(option.join("."), value.to_owned());
            }
            ["tcp", rest @ ..] => {
                self.bytes = true;
                return self.tcp.one(rest, value);
            }
            ["udp", ..] => {
                self.bytes = true;
                return Err("routers of UDP are not imported; ignored".to_owned());
            }
            ["tls", ..] => return Err("certificates are the operator's; ignored".to_owned()),
            _ => return Err("not known; ignored".to_owned()),
        }
        Ok(())
    }
}

impl Router {
    /// Whether an option that was not read may protect it: the order of routes does, and who can reach it. An unknown one
    /// is a slip of the pen where it is nearly a known one; in Traefik either costs the instance.
    fn is_in_doubt(&self, option: &[&str]) -> bool {
        match option {
            ["tls", ..] => !self.tls,
            [name, ..] => OPTIONS.iter().any(|known| strsim::osa_distance(known, name) <= 2),
            [] => false,
        }
    }

    fn one(&mut self, option: &[&str], value: &str) -> Result<(), String> {
        match option {
            ["rule"] => self.rule = Some(value.to_owned()),
            ["rulesyntax"] if value.eq_ignore_ascii_case("v3") => {}
            ["rulesyntax"] => {
                self.unusable = Some("rules of the syntax before v3 are not imported".to_owned());
            }
            ["priority"] => {
                let number = value.parse::<i64>();
                self.priority = Some(number.map_err(|_| "must be a whole number; ignored".to_owned())?);
            }
            ["entrypoints"] => self.entry_points = list(value),
            ["middlewares"] => self.middlewares = list(value),
            ["service"] => self.service = Some(value.to_owned()),
            ["tls"] => self.tls |= boolean(value).ok_or("must be true or false; ignored")?,
            ["tls", "certresolver" | "options"] | ["tls", "domains", ..] => {
                self.tls = true;
                return Err("certificates are the operator's; TLS alone is taken from it".to_owned());
            }
            ["tls", domains, ..] if domains.starts_with("domains[") => {
                self.tls = true;
                return Err("certificates are the operator's; TLS alone is taken from it".to_owned());
            }
            ["observability", ..] => {}
            _ => return Err("not known; ignored".to_owned()),
        }
        Ok(())
    }
}

/// As Go reads one.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Values between commas.
pub(super) fn list(text: &str) -> Vec<String> {
    let parts = text.split(',').map(str::trim);
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
