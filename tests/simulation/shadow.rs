//! What a bridge has read of its registry, kept beside it in a simpler way: since when which address of a service is
//! there and wants requests. It is what a removal is measured by.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use xds_bridge::registry::etcd::{Event, Kv};

#[derive(Clone, Debug)]
struct Seen {
    address: SocketAddr,
    is_up: bool,
    /// Its weight as it could be read last.
    weighs: bool,
    created: i64,
}

use crate::history::SERVICES;

/// An address of a service.
pub(crate) type Place = (String, SocketAddr);

#[derive(Debug, Default)]
pub(crate) struct Shadow {
    /// By service and id.
    seen: BTreeMap<String, BTreeMap<String, Seen>>,
    /// Since when an address wants requests, and nothing about it changed.
    up: BTreeMap<Place, Duration>,
    /// Services of which something was read since this was asked last.
    pub(crate) touched: BTreeSet<String>,
}

impl Shadow {
    pub(crate) fn apply(&mut self, events: &[Event], now: Duration) {
        for event in events {
            self.note_policy(event);
            match event {
                Event::Put(kv) => self.put(kv, now),
                Event::Delete { key, .. } => {
                    let Some((service, id)) = parts(key) else { continue };
                    if let Some(of) = self.seen.get_mut(&service) {
                        of.remove(&id);
                    }
                    self.settle(&service, None, now);
                }
            }
        }
    }

    /// A policy document concerns all of its service.
    fn note_policy(&mut self, event: &Event) {
        let (Event::Put(Kv { key, .. }) | Event::Delete { key, .. }) = event;
        let key = std::str::from_utf8(key).unwrap_or_default();
        let service = key
            .strip_prefix("/services/")
            .and_then(|key| key.strip_suffix("/policy"));
        self.touched.extend(service.map(str::to_owned));
    }

    /// Everything is read again.
    pub(crate) fn list(&mut self, keys: &[Kv], now: Duration) {
        let names: BTreeSet<(String, String)> = keys.iter().filter_map(|kv| parts(&kv.key)).collect();
        for (service, of) in &mut self.seen {
            of.retain(|id, _| names.contains(&(service.clone(), id.clone())));
        }
        let services: Vec<String> = self.seen.keys().cloned().collect();
        for service in services {
            self.settle(&service, None, now);
        }
        for kv in keys {
            self.put(kv, now);
        }
        // A policy that is gone is in no listing.
        self.touched.extend(SERVICES.iter().map(ToString::to_string));
    }

    fn put(&mut self, kv: &Kv, now: Duration) {
        let Some((service, id)) = parts(&kv.key) else {
            return;
        };
        let known = self.seen.entry(service.clone()).or_default();
        let before = known.get(&id).map(|seen| seen.address);
        if let Some((address, is_up, weighs)) = read(&kv.value) {
            let created = kv.create_revision;
            // What cannot be read leaves the last good value in force.
            let last = known.get(&id).filter(|seen| seen.created == created);
            let weighs = weighs.or(last.map(|seen| seen.weighs)).unwrap_or(true);
            known.insert(
                id,
                Seen {
                    address,
                    is_up: is_up && weighs,
                    weighs,
                    created,
                },
            );
            self.settle(&service, Some((before, address)), now);
        } else {
            // The last good one counts while the instance lives.
            if known
                .get(&id)
                .is_some_and(|seen| seen.created != kv.create_revision)
            {
                known.remove(&id);
            }
            self.settle(&service, Some((before, ([0, 0, 0, 0], 0).into())), now);
        }
    }

    /// `changed`: whose time begins again; `None`: nobody's.
    fn settle(&mut self, service: &str, changed: Option<(Option<SocketAddr>, SocketAddr)>, now: Duration) {
        self.touched.insert(service.to_owned());
        let mut newest: BTreeMap<SocketAddr, &Seen> = BTreeMap::new();
        for seen in self.seen.get(service).into_iter().flat_map(BTreeMap::values) {
            let known = newest.entry(seen.address).or_insert(seen);
            if seen.created > known.created {
                *known = seen;
            }
        }
        let wanted: BTreeSet<SocketAddr> = newest
            .iter()
            .filter(|(_, seen)| seen.is_up)
            .map(|(at, _)| *at)
            .collect();
        self.up.retain(|(of, at), _| of != service || wanted.contains(at));
        for at in wanted {
            let fresh = changed.is_some_and(|(before, after)| before == Some(at) || after == at);
            let since = self.up.entry((service.to_owned(), at)).or_insert(now);
            if fresh {
                *since = now;
            }
        }
    }

    /// Since when this address wants requests.
    pub(crate) fn up_since(&self, service: &str, address: SocketAddr) -> Option<Duration> {
        self.up.get(&(service.to_owned(), address)).copied()
    }

    /// Whether somebody is registered there, however he is.
    pub(crate) fn knows(&self, (service, address): &Place) -> bool {
        let mut of = self.seen.get(service).into_iter().flat_map(BTreeMap::values);
        of.any(|seen| seen.address == *address)
    }

    /// Who is registered there, the newest.
    pub(crate) fn id_at(&self, (service, address): &Place) -> Option<String> {
        let of = self.seen.get(service)?.iter();
        let there = of.filter(|(_, seen)| seen.address == *address);
        there
            .max_by_key(|(_, seen)| seen.created)
            .map(|(id, _)| id.clone())
    }

    /// Whether an instance of this id is registered, wherever.
    pub(crate) fn has_id(&self, service: &str, id: &str) -> bool {
        self.seen.get(service).is_some_and(|of| of.contains_key(id))
    }

    /// All that want requests.
    pub(crate) fn up(&self) -> impl Iterator<Item = &Place> {
        self.up.keys()
    }

    /// Instances that can be read, however they are.
    pub(crate) fn instances(&self) -> usize {
        self.seen.values().map(BTreeMap::len).sum()
    }

    /// Whether anybody of a service is there.
    pub(crate) fn has(&self, service: &str) -> bool {
        self.seen.get(service).is_some_and(|of| !of.is_empty())
    }
}

/// Service and id.
fn parts(key: &[u8]) -> Option<(String, String)> {
    let key = std::str::from_utf8(key).ok()?;
    let (service, rest) = key.strip_prefix("/services/")?.split_once('/')?;
    let id = rest.strip_prefix("instances/")?;
    Some((service.to_owned(), id.to_owned()))
}

/// Where it listens, whether it wants requests, and whether its weight is not 0 where that can be read; `None`: it cannot
/// be served as it is.
fn read(value: &[u8]) -> Option<(SocketAddr, bool, Option<bool>)> {
    let value: serde_json::Value = serde_json::from_slice(value).ok()?;
    let ip = value.get("address")?.as_str()?.parse().ok()?;
    let port = u16::try_from(value.get("port")?.as_u64()?)
        .ok()
        .filter(|port| *port > 0)?;
    let weighs = match value.get("weight").and_then(serde_json::Value::as_str) {
        None => Some(true),
        Some(weight) => weight.parse::<u32>().ok().map(|weight| weight > 0),
    };
    Some((SocketAddr::new(ip, port), value.get("state").is_none(), weighs))
}
