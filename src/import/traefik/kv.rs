//! Traefik's layout of keys in etcd and Consul, `traefik/http/routers/R/rule`, as services with their routes. What is
//! wrong costs the router or the server that it is about; there it stops the whole provider. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::router::{Importing, Leads, Spelling};
use super::service;
use super::tags::{Router, Tags};
use crate::config::TraefikImport;
use crate::import::entry::{Entry, Options, Own};
use crate::import::gathered::Gathered;
use crate::import::url::place;
use crate::model::declaration::Declared;
use crate::model::service::{Registered, address, assemble, check_name};
use crate::model::{Code, Health, Instance, Issue, MAX_WEIGHT, ServiceRecord};
use crate::text::clip;

/// How routers and middlewares of keys are named, and who they may be of.
const KEYS: Spelling = Spelling {
    join: "/",
    providers: &["consul", "etcd"],
};

/// Services by their names, and what is wrong with keys of none of them.
pub(in crate::import) type Read = (BTreeMap<Arc<str>, ServiceRecord>, Vec<Issue>);

/// What keys are about, beside what tags are.
#[derive(Default)]
struct Keys {
    tags: Tags,
    /// `url` and `weight`, by service and number.
    servers: BTreeMap<String, BTreeMap<u32, Options>>,
    /// `name` and `weight`, by service and number.
    weighted: BTreeMap<String, BTreeMap<u32, Options>>,
    /// Services of a kind that is not imported.
    others: BTreeMap<String, String>,
}

/// Reads all keys below the root, which are given without it.
pub(in crate::import) fn read<'a>(
    settings: &TraefikImport,
    root: &str,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Read {
    let mut issues = Vec::new();
    let keys = keys(root, pairs, &mut issues);
    let mut routers: BTreeMap<&str, Vec<Served<'_>>> = BTreeMap::new();
    // A router that goes nowhere stands with the first service, to refuse what a wider one would get.
    let first = keys.servers.keys().find(|name| check_name(name).is_ok());
    for (name, router) in &keys.tags.routers {
        let (owner, split, lacking) = match (keys.served(router), first) {
            (Ok((owner, split)), _) => (owner, split, None),
            (Err(why), Some(first)) if router.rule.is_some() && router.service.is_some() => {
                (first.as_str(), None, Some(why))
            }
            // There it is left out, too.
            (Err(why), _) => {
                issues.push(
                    Issue::warning(
                        format!("{root}http/routers/{}", clip(name)),
                        format!("{why}; this router is left out"),
                    )
                    .of_kind(Code::ImportNotUnderstood),
                );
                continue;
            }
        };
        let served = (name, router, split, lacking);
        routers.entry(owner).or_default().push(served);
    }
    let mut services = BTreeMap::new();
    for (name, servers) in &keys.servers {
        let label = format!("{root}http/services/{}", clip(name));
        if let Err(why) = check_name(name) {
            issues.push(Issue::rejected(label, why));
            continue;
        }
        let routers = routers.remove(name.as_str()).unwrap_or_default();
        let record = record(settings, &keys.tags, &label, name, &routers, servers);
        services.insert(name.as_str().into(), record);
    }
    (services, issues)
}

/// A router, how its requests are split where it has several services, and why nobody can get them.
type Served<'a> = (&'a String, &'a Router, Option<String>, Option<String>);

fn keys<'a>(root: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>, issues: &mut Vec<Issue>) -> Keys {
    let mut keys = Keys::default();
    let mut lists: BTreeMap<String, BTreeMap<u32, &str>> = BTreeMap::new();
    for (key, value) in pairs {
        let path = key.to_ascii_lowercase();
        let value = value.trim();
        // A folder, as user interfaces write it.
        if path.is_empty() || path.ends_with('/') {
            continue;
        }
        let element = path
            .rsplit_once('/')
            .and_then(|(list, n)| Some((list, n.parse().ok()?)));
        match element {
            Some((list, n)) => drop(lists.entry(list.to_owned()).or_default().insert(n, value)),
            None => keys.one(root, &path, value, issues),
        }
    }
    for (list, elements) in lists {
        let all: Vec<&str> = elements.into_values().collect();
        keys.one(root, &list, &all.join(","), issues);
    }
    keys
}

impl Keys {
    fn one(&mut self, root: &str, path: &str, value: &str, issues: &mut Vec<Issue>) {
        let parts: Vec<&str> = path.split('/').collect();
        let read = match parts[..] {
            ["http", "services", name, "loadbalancer", "servers", n, option] => {
                numbered(&mut self.servers, name, n, option, value)
            }
            ["http", "services", name, "weighted", "services", n, option] => {
                numbered(&mut self.weighted, name, n, option, value)
            }
            ["http", "services", name, kind, ..] if kind != "loadbalancer" => {
                self.others.insert(name.to_owned(), kind.to_owned());
                Err(format!("`{}` is not imported; ignored", clip(kind)))
            }
            ["http", "serverstransports", ..] => {
                Err("how servers are connected to is the operator's; ignored".to_owned())
            }
            ["tcp" | "udp", ..] => {
                Err("routers of TCP and UDP are not imported from keys; ignored".to_owned())
            }
            _ => self.tags.one(&parts, value),
        };
        let Err(why) = read else { return };
        issues.push(
            Issue::warning(format!("{root}{}", clip(path)), format!("key: {why}"))
                .of_kind(Code::ImportNotUnderstood),
        );
        if let ["http", "routers", name, option, ..] = parts[..]
            && option != "tls"
        {
            // What is not known may protect it.
            let router = self.tags.routers.entry(name.to_owned()).or_default();
            router.doubtful = true;
            router
                .unusable
                .get_or_insert(format!("`{}` cannot be read", clip(option)));
        }
    }

    /// The service that a router stands with, and how its requests are split.
    fn served(&self, router: &Router) -> Result<(&str, Option<String>), String> {
        if router.rule.is_none() {
            return Err("it has no rule".to_owned());
        }
        let service = router.service.as_ref().ok_or("a router here needs a service")?;
        let lower = service.to_ascii_lowercase();
        let name = match lower.split_once('@') {
            None => lower.as_str(),
            Some((name, provider)) if KEYS.providers.contains(&provider) => name,
            Some(_) => return Err("a service that is declared elsewhere is not known here".to_owned()),
        };
        if let Some(kind) = self.others.get(name) {
            return Err(format!(
                "its service is of the kind `{}`, which is not imported",
                clip(kind)
            ));
        }
        if let Some((known, _)) = self.servers.get_key_value(name) {
            return Ok((known, None));
        }
        let members = self.weighted.get(name);
        let members = members.ok_or_else(|| format!("there is no service `{}` with servers", clip(name)))?;
        let mut shares = Vec::new();
        for member in members.values() {
            let of = member.get("name").map(|name| name.to_ascii_lowercase());
            let of = of.unwrap_or_default();
            let of = of.split_once('@').map_or(of.as_str(), |(name, _)| name);
            let Some((known, _)) = self.servers.get_key_value(of) else {
                return Err(format!("there is no service `{}` with servers", clip(of)));
            };
            let weight = member.get("weight").map_or("1", String::as_str);
            if weight != "0" {
                shares.push((known.as_str(), format!("{known}:{weight}")));
            }
        }
        let (owner, _) = shares.first().ok_or("its service has no members")?;
        let split: Vec<&str> = shares.iter().map(|(_, share)| share.as_str()).collect();
        Ok((owner, Some(split.join(","))))
    }
}

fn numbered(
    all: &mut BTreeMap<String, BTreeMap<u32, Options>>,
    name: &str,
    n: &str,
    option: &str,
    value: &str,
) -> Result<(), String> {
    if !["url", "weight", "name"].contains(&option) {
        return Err("not imported; ignored".to_owned());
    }
    let n = n.parse().map_err(|_| "a list has numbers; ignored".to_owned())?;
    let of_name = all.entry(name.to_owned()).or_default();
    of_name
        .entry(n)
        .or_default()
        .insert(option.to_owned(), value.to_owned());
    Ok(())
}

fn record(
    settings: &TraefikImport,
    tags: &Tags,
    label: &str,
    name: &str,
    routers: &[Served<'_>],
    servers: &BTreeMap<u32, Options>,
) -> ServiceRecord {
    let entry = Entry {
        label,
        service: name,
        datacenter: "",
        tags: &[],
        checks: &[],
        own: Own::default(),
    };
    let mut record = ServiceRecord::default();
    let mut gathered = Gathered::of("key", &entry);
    let mut import = Importing {
        settings,
        entry: &entry,
        tags,
        gathered: &mut gathered,
        spelling: &KEYS,
        canary: None,
    };
    let by_its_address = tags.services.get(name).is_some_and(service::by_its_address);
    for (name, router, split, lacking) in routers {
        let leads = Leads {
            to: split.clone().map(|split| ("split", split)),
            lacking: lacking.clone(),
            by_its_address: by_its_address && split.is_none(),
        };
        import.router(name, router, &leads);
    }
    if let Some(options) = tags.services.get(name) {
        service::read(&settings.prefix, name, options, &mut gathered);
    }
    let mut schemes = Vec::new();
    for (n, server) in servers {
        match instance(*n, server) {
            Ok((instance, scheme)) => {
                record.instances.push(instance);
                schemes.push(scheme);
            }
            Err(why) => {
                let entry = format!("{label}/loadbalancer/servers/{n}");
                record.issues.push(Issue::rejected(entry, why));
            }
        }
    }
    if let Some(first) = schemes.first()
        && let Err(why) = service::scheme(first, &mut gathered)
    {
        gathered.note("url", why);
    }
    if schemes.iter().any(|scheme| Some(scheme) != schemes.first()) {
        gathered.note(
            "url",
            "the servers of one service have different schemes: that of the first counts",
        );
    }
    record.instances.sort_by(|a, b| a.id.cmp(&b.id));
    record.policy = Some(gathered.finish(&mut record.issues).declared.policy);
    record
}

fn instance(n: u32, server: &Options) -> Result<(Instance, String), String> {
    let url = server.get("url").ok_or("it has no url")?;
    let (scheme, host, port) = place(url)?;
    let weight = match server.get("weight") {
        None => 1,
        Some(text) => {
            let weight = text.parse().ok().filter(|weight| *weight <= MAX_WEIGHT);
            weight.ok_or_else(|| format!("weight must be from 0 to {MAX_WEIGHT}"))?
        }
    };
    let registered = Registered {
        id: &format!("{n:03}"),
        address: address(host, port.into())?,
        health: Health::Healthy,
        weight,
        region: "",
        zone: "",
    };
    Ok((assemble(&registered, Declared::default()), scheme.to_owned()))
}

#[cfg(test)]
#[path = "kv_tests.rs"]
mod tests;
