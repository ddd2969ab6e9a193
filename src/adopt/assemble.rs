//! What was read of a file, put together: who declares which route, what the operator defines, and what stays. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::Value;

use super::action::Owner;
use super::around::{deadlines, others};
use super::at::At;
use super::listeners::{Listener, Manager, listener};
use super::order::{priorities, unreached};
use super::report::{Item, Report, Rest};
use super::routes::{Host, Moved};
use super::table::toml_key;
use super::upstream::{Place, Upstreams};
use super::words::MAX_HOSTS;
use super::{Adopted, Chain, Exposed, Identity, Layout, Listeners, Options, Plan, Served, Source};
use crate::model::{Matcher, RouteRule};

/// Routes by who declares them.
pub(super) type Declared = BTreeMap<String, Vec<Route>>;

/// A route with where it stands.
pub(super) struct Route {
    pub(super) rule: RouteRule,
    pub(super) exposures: BTreeSet<String>,
    /// Where it stands in the file.
    pub(super) at: Vec<String>,
}

pub(super) fn assemble(file: Value, options: &Options) -> Adopted {
    let root = At::root(&file);
    let resources = root.get("static_resources");
    let clusters = resources.as_ref().map_or_else(Vec::new, |at| at.list("clusters"));
    let in_file = resources
        .as_ref()
        .map_or_else(Vec::new, |at| at.list("listeners"));
    let upstreams = Upstreams::read(&clusters, &options.known, &deadlines(&in_file));
    let listeners: Vec<Listener> = in_file
        .iter()
        .enumerate()
        .map(|(n, at)| listener(at, n, &upstreams))
        .collect();
    let mut work = Work {
        upstreams: &upstreams,
        declared: Declared::new(),
        exposures: BTreeMap::new(),
        served: BTreeMap::new(),
        tls: BTreeMap::new(),
        report: Report::default(),
        places: BTreeMap::new(),
    };
    let mut layouts = Vec::new();
    let mut shared: Vec<(String, String)> = Vec::new();
    for listener in &listeners {
        layouts.push(work.listener(listener, options.listeners, &mut shared));
    }
    let moved = work.clusters(&file, &layouts);
    let registered = upstreams
        .all
        .iter()
        .filter(|(_, upstream)| upstream.place == Place::Registry);
    let plan = Plan {
        registered: registered
            .map(|(name, u)| (name.clone(), u.service.clone()))
            .collect(),
        moved: moved.clone(),
        listeners: layouts,
    };
    let (documents, externals) = work.documents(&moved);
    work.routes(&listeners);
    work.report.others = others(&file);
    let Work {
        exposures,
        served,
        tls,
        mut report,
        ..
    } = work;
    report.changes.sort();
    report.changes.dedup();
    Adopted {
        file,
        documents,
        externals,
        exposures,
        listeners: served,
        tls,
        report,
        plan,
    }
}

pub(super) struct Work<'a> {
    pub(super) upstreams: &'a Upstreams,
    pub(super) declared: Declared,
    exposures: BTreeMap<String, Exposed>,
    served: BTreeMap<String, Served>,
    tls: BTreeMap<String, Identity>,
    report: Report,
    /// Where a route of the file went, by its place.
    pub(super) places: BTreeMap<String, String>,
}

/// A name as bridge.toml takes it.
pub(super) fn sanitised(name: &str) -> String {
    let plain = |c: char| {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(plain).take(48).collect();
    match name.as_str() {
        "none" | "internal" | "" => format!("file-{name}"),
        _ => name,
    }
}

impl Work<'_> {
    fn free(&self, name: &str) -> String {
        let name = sanitised(name);
        let taken = |name: &String| self.exposures.contains_key(name) || self.served.contains_key(name);
        let numbered = (2..).map(|n| format!("{name}-{n}"));
        std::iter::once(name.clone())
            .chain(numbered)
            .find(|name| !taken(name))
            .unwrap_or(name)
    }

    /// Decides what becomes of a listener; `shared`: what exposures there are, by what stands on them.
    fn listener(
        &mut self,
        listener: &Listener,
        wanted: Listeners,
        shared: &mut Vec<(String, String)>,
    ) -> Layout {
        let mut item = Item {
            at: listener.at.clone(),
            name: listener.name.clone(),
            to: None,
            rests: listener.rests.clone(),
        };
        let all = |manager: &Manager| manager.moves();
        let whole = listener.rests.is_empty()
            && listener.managers.len() < 2
            && listener.managers.iter().all(all)
            && listener.connections.iter().all(|c| c.outcome.is_ok());
        let movable = listener.address.filter(|_| whole);
        if let (Some(address), Listeners::Move, []) = (movable, wanted, &listener.managers[..]) {
            return self.of_connections(listener, address, item);
        }
        let mut chains = Vec::new();
        let mut layout = None;
        for manager in &listener.managers {
            if !manager.moves_some() {
                chains.push(Chain {
                    place: manager.place,
                    routes: Source::File,
                });
                continue;
            }
            // What stands beside the requests is of one listener.
            let signature = match &listener.connections[..] {
                [] => signature(manager),
                _ => listener.at.clone(),
            };
            let known = shared.iter().find(|(other, _)| *other == signature);
            let exposure = known.map(|(_, exposure)| exposure.clone());
            let first = exposure.is_none();
            let exposure = exposure.unwrap_or_else(|| self.free(&listener.name));
            if first {
                shared.push((signature, exposure.clone()));
                let of_names = Exposed {
                    hosts: hosts_of(manager),
                    ..Exposed::default()
                };
                self.exposures.insert(exposure.clone(), of_names);
            }
            self.manager(manager, &exposure);
            let served = |address| Served {
                address,
                exposure: exposure.clone(),
                tcp: false,
                http10: manager.http10,
                upgrades: manager.upgrades.clone(),
                tls: None,
                access_log: None,
                more: manager.more.clone(),
            };
            if let (Some(address), Listeners::Move) = (movable, wanted) {
                let name = if first {
                    exposure.clone()
                } else {
                    self.free(&listener.name)
                };
                item.to = Some(format!("bridge.toml [listeners.{name}]"));
                let mut served = served(Some(address));
                served.access_log.clone_from(&manager.access_log);
                served.more.extend(listener.more.iter().cloned());
                if let Some(identity) = &listener.tls {
                    served.tls = Some(name.clone());
                    self.tls.insert(name.clone(), identity.clone());
                }
                self.served.insert(name, served);
                self.report.changes.extend(listener.changes.iter().cloned());
                let mut moved = self.connections(listener, &exposure);
                moved.push(Chain {
                    place: manager.place,
                    routes: Source::Bridge(exposure.clone()),
                });
                layout = Some(Layout::Moved(moved));
            } else if manager.moves() {
                chains.push(Chain {
                    place: manager.place,
                    routes: Source::Bridge(exposure.clone()),
                });
            } else {
                let name = self.free(&format!("{exposure}-bridge"));
                self.served.insert(name.clone(), served(None));
                let of_host = |host: &Host| host.routes.iter().map(|r| r.outcome.is_err()).collect();
                let stays = manager.hosts.iter().map(of_host).collect();
                self.report.changes.extend(listener.changes.iter().cloned());
                chains.push(Chain {
                    place: manager.place,
                    routes: Source::Both(name, stays),
                });
            }
        }
        if item.to.is_none() && item.rests.is_empty() {
            let why = if movable.is_some() {
                "--listeners keep"
            } else {
                "some of its routes stay"
            };
            item.rests.push(Rest {
                at: listener.at.clone(),
                why: why.to_owned(),
            });
        }
        self.report.listeners.push(item);
        layout.unwrap_or(Layout::Stays(chains))
    }

    /// A listener that has nothing but connections.
    fn of_connections(&mut self, listener: &Listener, address: SocketAddr, mut item: Item) -> Layout {
        let name = self.free(&listener.name);
        let of_all = Exposed {
            hosts: vec!["*".to_owned()],
            ..Exposed::default()
        };
        self.exposures.insert(name.clone(), of_all);
        let logs = listener.connections.iter().map(|c| c.access_log.clone());
        let mut served = Served {
            address: Some(address),
            exposure: name.clone(),
            tcp: true,
            http10: true,
            upgrades: Vec::new(),
            tls: None,
            access_log: logs.flatten().next(),
            more: listener.more.clone(),
        };
        if let Some(identity) = &listener.tls {
            served.tls = Some(name.clone());
            self.tls.insert(name.clone(), identity.clone());
        }
        self.served.insert(name.clone(), served);
        self.report.changes.extend(listener.changes.iter().cloned());
        item.to = Some(format!("bridge.toml [listeners.{name}]"));
        self.report.listeners.push(item);
        Layout::Moved(self.connections(listener, &name))
    }

    /// The connections of a listener that moves, to those who declare them.
    fn connections(&mut self, listener: &Listener, exposure: &str) -> Vec<Chain> {
        let mut chains = Vec::new();
        for connection in &listener.connections {
            let Ok((rules, Owner::Cluster(cluster))) = &connection.outcome else {
                continue;
            };
            let owner = self.upstreams.service(cluster).to_owned();
            for rule in rules {
                self.declare(&owner, rule.clone(), exposure, &connection.at);
            }
            self.report.changes.extend(connection.changes.iter().cloned());
            if let Some(exposed) = self.exposures.get_mut(exposure) {
                exposed.sni.extend(connection.names.iter().cloned());
            }
            chains.push(Chain {
                place: connection.place,
                routes: Source::File,
            });
        }
        chains
    }

    /// The routes of a connection manager, to those who declare them.
    fn manager(&mut self, manager: &Manager, exposure: &str) {
        for host in &manager.hosts {
            let moved = host
                .routes
                .iter()
                .filter_map(|read| Some((read, read.outcome.as_ref().ok()?)));
            let moved: Vec<(_, &Moved)> = moved.collect();
            let rules: Vec<&RouteRule> = moved.iter().map(|(_, moved)| &moved.rule).collect();
            let dead = unreached(&rules);
            let priorities = priorities(&rules);
            let earlier = |n: usize| moved.get(n).map_or("", |(read, _)| read.at.as_str());
            let whole = self.whole_host(&moved, exposure);
            for (n, (read, moved)) in moved.iter().enumerate() {
                if let Some(before) = dead[n] {
                    let why = format!("`{}` takes the same requests", earlier(before));
                    self.report.unreached.push(Rest {
                        at: read.at.clone(),
                        why,
                    });
                    self.places
                        .insert(read.at.clone(), "nowhere: no request reaches it".to_owned());
                    continue;
                }
                self.report.changes.extend(read.changes.iter().cloned());
                let owner = match &moved.owner {
                    Owner::Cluster(cluster) => self.upstreams.service(cluster).to_owned(),
                    Owner::Nobody => whole.clone(),
                };
                let mut rule = moved.rule.clone();
                rule.priority = priorities[n];
                for hosts in groups(host) {
                    let rule = RouteRule {
                        hosts,
                        ..rule.clone()
                    };
                    self.declare(&owner, rule, exposure, &read.at);
                }
            }
        }
    }

    fn declare(&mut self, owner: &str, rule: RouteRule, exposure: &str, at: &str) {
        let routes = self.declared.entry(owner.to_owned()).or_default();
        let exposures = || [exposure.to_owned()].into();
        match routes.iter_mut().find(|route| route.rule == rule) {
            Some(route) => {
                route.exposures.insert(exposure.to_owned());
                route.at.push(at.to_owned());
            }
            None => routes.push(Route {
                rule,
                exposures: exposures(),
                at: vec![at.to_owned()],
            }),
        }
    }

    /// Who declares what Envoy answers by itself: the one that has the rest of the host.
    fn whole_host(&self, moved: &[(&super::routes::Read, &Moved)], exposure: &str) -> String {
        let owner = moved.iter().rev().find_map(|(_, moved)| match &moved.owner {
            Owner::Cluster(cluster)
                if moved.rule.matcher == Matcher::Prefix("/".to_owned())
                    && moved.rule.criteria.is_empty() =>
            {
                Some(self.upstreams.service(cluster).to_owned())
            }
            _ => None,
        });
        owner.unwrap_or_else(|| format!("{exposure}-routes"))
    }

    /// Which clusters the bridge serves from now on.
    fn clusters(&mut self, file: &Value, layouts: &[Layout]) -> BTreeSet<String> {
        let named = super::bootstraps::named_by_the_rest(file, layouts);
        let mut moved = BTreeSet::new();
        for (name, upstream) in &self.upstreams.all {
            let mut rests = upstream.rests.clone();
            if let Some(at) = named.get(name) {
                rests.push(Rest {
                    at: upstream.at.clone(),
                    why: format!("{at} stays in the file and names it"),
                });
            }
            let to = match &upstream.place {
                Place::Registry => format!("the registry: `{}`", upstream.service),
                Place::Outside { .. } => format!("bridge.toml [external.{}]", toml_key(&upstream.service)),
            };
            let whole = rests.is_empty();
            if whole {
                moved.insert(name.clone());
                self.tls.extend(upstream.tls.clone());
                self.report.changes.extend(upstream.changes.iter().cloned());
            }
            self.report.clusters.push(Item {
                at: upstream.at.clone(),
                name: name.clone(),
                to: whole.then_some(to),
                rests,
            });
        }
        moved
    }

    /// What became of each route.
    fn routes(&mut self, listeners: &[Listener]) {
        for connection in listeners.iter().flat_map(|listener| &listener.connections) {
            let stays = || {
                vec![Rest {
                    at: connection.at.clone(),
                    why: "its listener stays".to_owned(),
                }]
            };
            let to = self.places.get(&connection.at).cloned();
            let rests = match &connection.outcome {
                Err(rests) => rests.clone(),
                Ok(_) if to.is_none() => stays(),
                Ok(_) => Vec::new(),
            };
            self.report.connections.push(Item {
                at: connection.at.clone(),
                name: connection.name.clone(),
                to,
                rests,
            });
        }
        for read in listeners
            .iter()
            .flat_map(|listener| &listener.managers)
            .flat_map(|manager| &manager.hosts)
            .flat_map(|host| &host.routes)
        {
            self.report.routes.push(Item {
                at: read.at.clone(),
                name: read.name.clone(),
                to: self.places.get(&read.at).cloned(),
                rests: read.outcome.as_ref().err().cloned().unwrap_or_default(),
            });
        }
    }
}

/// What makes two connection managers serve the same.
fn signature(manager: &Manager) -> String {
    let mut hosts: Vec<String> = manager
        .hosts
        .iter()
        .map(|host| {
            let routes: Vec<String> = host
                .routes
                .iter()
                .map(|read| match &read.outcome {
                    Ok(moved) => format!("{} to {:?}", moved.rule, moved.owner),
                    Err(_) => read.at.clone(), // like no other
                })
                .collect();
            format!("{} {:?} {routes:?}", host.all, host.names)
        })
        .collect();
    hosts.sort();
    hosts.join("\n")
}

fn hosts_of(manager: &Manager) -> Vec<String> {
    if manager.hosts.iter().any(|host| host.all) {
        return vec!["*".to_owned()];
    }
    let names: BTreeSet<&String> = manager.hosts.iter().flat_map(|host| &host.names).collect();
    names.into_iter().cloned().collect()
}

/// The hosts of the routes of a virtual host, by as many as one route may name.
fn groups(host: &Host) -> Vec<Vec<String>> {
    let all = host.all.then(Vec::new);
    let named = host.names.chunks(MAX_HOSTS).map(<[String]>::to_vec);
    all.into_iter().chain(named).collect()
}
