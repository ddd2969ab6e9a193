//! What fabio's commands add, as services: one for all routes that lead to the same servers. Pure.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::commands::{self, Add, Order};
use super::obeyed::Commands;
use super::place::{Place, obey, server};
use super::route::add;
use super::share::shares;
use super::tag::Tag;
use crate::config::FabioImport;
use crate::import::entry::{Entry, Own};
use crate::import::gathered::{self, Gathered};
use crate::import::url;
use crate::model::declaration::Declared;
use crate::model::service::{Registered, address, assemble, check_name};
use crate::model::{Code, Health, Instance, Issue, ServiceRecord};
use crate::text::clip;

/// Services by their names, what is wrong with lines, and what commands say of the tags of others.
pub(in crate::import) type Read = (BTreeMap<Arc<str>, ServiceRecord>, Vec<Issue>, Commands);

/// The servers of one service in the table, and the lines that add them.
#[derive(Default)]
struct Targets<'a> {
    lines: Vec<(&'a str, &'a Add)>,
    places: Vec<Place<'a>>,
    /// The same server with the same share, tags and options stands on a route once.
    known: BTreeSet<Known<'a>>,
}

/// The route, target, share, tags and options of a line.
type Known<'a> = (String, &'a str, u64, &'a [String], Vec<(&'a String, &'a String)>);

/// A server on one route.
#[derive(Clone, Copy)]
struct Target<'t, 'a> {
    line: &'a str,
    add: &'a Add,
    place: &'t Place<'a>,
}

/// What all routes of one service here have in common: address, scheme and share of each server.
type Servers<'a> = BTreeMap<SocketAddr, (&'a str, u64)>;

/// Reads all keys below the root, which are given without it.
pub(in crate::import) fn read<'a>(
    settings: &FabioImport,
    root: &str,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Read {
    let (commands, wrong) = commands::read(pairs);
    let issue = |(line, why): (String, String)| {
        Issue::warning(root, format!("line `{line}`: {why}")).of_kind(Code::ImportNotUnderstood)
    };
    let mut issues: Vec<Issue> = wrong.into_iter().map(issue).collect();
    let mut table: BTreeMap<&str, Targets<'_>> = BTreeMap::new();
    let mut own = BTreeSet::new();
    for (n, command) in commands.iter().enumerate() {
        match (&command.order, command.order.service()) {
            (Order::Add(add), _) => {
                table.entry(&add.service).or_default().insert(&command.line, add);
            }
            (order, Some(service)) => {
                let places = table.get_mut(service).map(|targets| &mut targets.places[..]);
                own.extend(places.is_some_and(|places| obey(order, places)).then_some(n));
            }
            (order, None) => {
                for targets in table.values_mut() {
                    own.extend(obey(order, &mut targets.places).then_some(n));
                }
            }
        }
    }
    let mut services: BTreeMap<Arc<str>, ServiceRecord> = BTreeMap::new();
    for (service, targets) in &table {
        let mut groups: Vec<_> = grouped(targets).into_iter().collect();
        groups.sort_by_key(|(servers, sources)| (servers.is_empty(), sources.keys().next().copied()));
        for (servers, sources) in groups {
            let first = sources.keys().next().copied().unwrap_or_default();
            let mut name = format!("{service}.fabio");
            let mut number = gathered::number(first);
            while services.contains_key(&*name) {
                name = format!("{service}.fabio-{number}");
                number += 1;
            }
            if let Err(why) = check_name(&name) {
                issues.push(Issue::rejected(root, format!("`{}`: {why}", clip(service))));
                continue;
            }
            let record = record(settings, root, &name, &servers, &sources);
            services.insert(name.into(), record);
        }
    }
    let commands = Commands::new(root, commands, own);
    (services, issues, commands)
}

impl<'a> Targets<'a> {
    fn insert(&mut self, line: &'a str, add: &'a Add) {
        let source = tag(add).source();
        let options = add.options.iter().collect();
        let key = (
            source.clone(),
            &*add.target,
            add.share.to_bits(),
            &*add.tags,
            options,
        );
        if !self.known.insert(key) {
            return;
        }
        self.lines.push((line, add));
        self.places.push(Place {
            source: Cow::Owned(source),
            server: server(&add.target),
            tags: &add.tags,
            share: add.share,
            counts: true,
            gone: false,
        });
    }

    /// Those that are left.
    fn iter(&self) -> impl Iterator<Item = Target<'_, 'a>> {
        let target = |((line, add), place): (&(&'a str, &'a Add), _)| Target { line, add, place };
        let all = self.lines.iter().zip(&self.places).map(target);
        all.filter(|target| !target.place.gone)
    }
}

fn tag(add: &Add) -> Tag {
    let mut options = add.options.clone();
    let scheme = add.target.split_once("://").map_or("", |(scheme, _)| scheme);
    if !matches!(scheme, "" | "http") {
        options.insert("proto".to_owned(), scheme.to_owned());
    }
    // Of a command the URL is the target.
    if let Some(redirect) = options.get_mut("redirect") {
        if !redirect.contains(',') {
            redirect.extend([",", &add.target]);
        }
        options.remove("proto");
    }
    Tag::of_command(&add.source, options)
}

/// Targets by their routes.
type Sources<'t, 'a> = BTreeMap<&'t str, Vec<Target<'t, 'a>>>;

/// Routes by what they lead to.
fn grouped<'t, 'a>(targets: &'t Targets<'a>) -> BTreeMap<Servers<'a>, Sources<'t, 'a>> {
    let mut by_source = Sources::new();
    for target in targets.iter() {
        by_source.entry(&target.place.source).or_default().push(target);
    }
    let mut groups: BTreeMap<Servers<'a>, Sources<'t, 'a>> = BTreeMap::new();
    for (source, targets) in by_source {
        let mut servers = Servers::new();
        for target in &targets {
            if let Ok((address, scheme)) = reached(target.add) {
                servers
                    .entry(address)
                    .or_insert((scheme, target.place.share.to_bits()));
            }
        }
        groups.entry(servers).or_default().insert(source, targets);
    }
    groups
}

/// Where the server of a command is, and the scheme.
fn reached(add: &Add) -> Result<(SocketAddr, &str), String> {
    if add.options.contains_key("redirect") {
        return Err("a redirect has no server".to_owned());
    }
    let (scheme, host, port) = url::place(&add.target)?;
    Ok((address(host, port.into())?, scheme))
}

fn record(
    settings: &FabioImport,
    root: &str,
    name: &str,
    servers: &Servers<'_>,
    sources: &Sources<'_, '_>,
) -> ServiceRecord {
    let entry = Entry {
        label: root,
        service: name,
        datacenter: "",
        tags: &[],
        checks: &[],
        own: Own::default(),
    };
    let mut gathered = Gathered::of("line", &entry);
    for targets in sources.values() {
        let protects = |target: &&Target<'_, '_>| tag(target.add).protects();
        let Some(target) = targets.iter().find(protects).or_else(|| targets.first()) else {
            continue;
        };
        for other in targets
            .iter()
            .filter(|other| other.add.options != target.add.options)
        {
            let why = format!("the options of a route are those of line {} here", target.line);
            gathered.note(other.line, why);
        }
        let mut lacking = None;
        for target in targets
            .iter()
            .filter(|target| !target.add.options.contains_key("redirect"))
        {
            if let Err(why) = reached(target.add) {
                if !tag(target.add).protects() {
                    gathered.note(target.line, why);
                }
                lacking = Some("no server of it can be reached");
            }
        }
        add(
            settings,
            &tag(target.add),
            &mut gathered,
            target.line,
            lacking.filter(|_| servers.is_empty()),
        );
    }
    let mut record = ServiceRecord::default();
    let all: Vec<f64> = servers
        .values()
        .map(|(_, share)| f64::from_bits(*share))
        .collect();
    let weights = if all.iter().any(|share| *share > 0.0) {
        shares(&all)
    } else {
        vec![1; all.len()]
    };
    for (address, weight) in servers.keys().zip(weights) {
        record.instances.push(instance(*address, weight));
    }
    if servers.is_empty() {
        // A service without an instance has no routes; this one gets no requests.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        record.instances.push(instance(nowhere, 0));
    }
    record.instances.sort_by(|a, b| a.id.cmp(&b.id));
    record.policy = Some(gathered.finish(&mut record.issues).declared.policy);
    record
}

fn instance(address: SocketAddr, weight: u32) -> Instance {
    let registered = Registered {
        id: &address.to_string(),
        address,
        health: Health::Healthy,
        weight,
        region: "",
        zone: "",
    };
    assemble(&registered, Declared::default())
}

#[cfg(test)]
#[path = "kv_tests.rs"]
mod tests;
