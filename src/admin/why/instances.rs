//! Why an instance gets requests, or none.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::hub::Delivered;
use crate::model::{Health, Instance, Service, State};
use crate::plan::{Explained, Split};
use crate::state::{Drain, Target};
use crate::text::clip;

/// Maximum of routes, warnings and clients that are listed.
pub(super) const LISTED: usize = 50;

/// One instance, and why it is as it is.
pub(super) struct Row<'a> {
    pub(super) instance: &'a Instance,
    pub(super) sources: Vec<&'a str>,
    pub(super) why: String,
    /// It gets requests.
    pub(super) takes: bool,
}

pub(super) fn facts(row: &Row<'_>) -> String {
    let instance = row.instance;
    let mut text = format!("{} {}", instance.id, instance.address);
    for (name, value) in [("version", &instance.version), ("zone", &instance.zone)] {
        if !value.is_empty() {
            let _ = write!(text, " {name} {value}");
        }
    }
    let _ = write!(text, " weight {} ({})", instance.weight, row.sources.join(", "));
    text
}

/// What the rows of a service have in common: looked at once.
pub(super) struct Around<'a, 'd> {
    service: &'a Service,
    split: Option<&'a Split>,
    delivered: &'a [Delivered],
    drains: &'d BTreeMap<Target, Drain>,
    /// Where each source has instances.
    sources: Vec<(&'a str, HashSet<SocketAddr>)>,
    /// Where healthy ones are, two at most.
    healthy: Vec<SocketAddr>,
    /// The rank of the first that take requests: of each version, where these have clusters of their own.
    foremost: HashMap<&'a str, (bool, u32)>,
    /// The number of the stored data, where instances that cannot read it get nothing.
    stored: Option<u32>,
}

impl<'a, 'd> Around<'a, 'd> {
    pub(super) fn of(
        service: &'a Service,
        planned: Option<&'a Explained>,
        delivered: &'a [Delivered],
        drains: &'d BTreeMap<Target, Drain>,
    ) -> Self {
        let split = planned.and_then(|planned| planned.split.as_deref());
        let sources = delivered.iter().map(|of| {
            let addresses = of.record.instances.iter().map(|i| i.address);
            (&*of.source, addresses.collect())
        });
        let healthy = || service.instances.iter().filter(|i| i.health == Health::Healthy);
        let mut foremost: HashMap<&str, (bool, u32)> = HashMap::new();
        for instance in healthy() {
            let rank = service.rank(instance);
            let group = if split.is_some() { &*instance.version } else { "" };
            let first = foremost.entry(group).or_insert(rank);
            *first = rank.min(*first);
        }
        Self {
            service,
            split,
            delivered,
            drains,
            sources: sources.collect(),
            healthy: healthy().take(2).map(|i| i.address).collect(),
            foremost,
            stored: planned.and_then(|planned| planned.stored),
        }
    }

    fn is_first(&self, instance: &Instance) -> bool {
        let group = if self.split.is_some() {
            &*instance.version
        } else {
            ""
        };
        let first = self.foremost.get(group);
        first.is_none_or(|first| self.service.rank(instance) <= *first)
    }
}

pub(super) fn row<'a>(around: &Around<'a, '_>, instance: &'a Instance) -> Row<'a> {
    let Around {
        service,
        split,
        delivered,
        drains,
        ..
    } = *around;
    let has = |(_, addresses): &&(&'a str, HashSet<SocketAddr>)| addresses.contains(&instance.address);
    let sources: Vec<&str> = around.sources.iter().filter(has).map(|(name, _)| *name).collect();
    let others = around.healthy.iter().any(|address| *address != instance.address);
    let withheld = delivered
        .iter()
        .any(|of| of.record.withheld.contains_key(&instance.address));
    let (takes, mut why) = match instance.health {
        Health::Healthy => {
            let first = around.is_first(instance);
            let why = if first {
                "healthy"
            } else {
                "healthy, and spare: another source has healthy instances of a higher priority"
            };
            match split {
                _ if around.stored.is_some_and(|stored| !instance.can_read(stored)) => (
                    false,
                    "healthy, but it cannot read the stored data: `xds-bridge data` says which they are"
                        .to_owned(),
                ),
                None if instance.is_apart() => (false, APART.to_owned()),
                Some(split) if first => of_version(split, instance),
                _ => (first, why.to_owned()),
            }
        }
        Health::Draining => {
            let why = draining(service, instance, drains);
            let why = if others {
                why
            } else {
                format!("{why}; nobody else is healthy, so it gets requests all the same")
            };
            (!others, why)
        }
        Health::Unhealthy => (!others, unhealthy(others)),
        Health::Off => {
            let why = match instance.own.as_ref().map(|own| &own.declared) {
                Some(keys) if keys.state == Some(State::Off) => "it declares state=off",
                Some(keys) if keys.weight == Some(0) => "it declares weight=0",
                _ => "its weight in the registry is 0, or it asks for no traffic",
            };
            (false, why.to_owned())
        }
    };
    if withheld {
        why += "; its registry no longer lists it, which is not believed yet";
    }
    if service.unsure.contains(&instance.address) {
        why += "; it may be gone, and comes last";
    }
    Row {
        instance,
        sources,
        why,
        takes,
    }
}

/// Of an instance that stands apart from the others.
const APART: &str = "healthy; only requests of routes that name its version go there (share=routes)";

/// Whether a healthy instance gets requests by the share of its version, and why.
fn of_version(split: &Split, instance: &Instance) -> (bool, String) {
    let version = &instance.version;
    let Some(part) = split.parts.iter().find(|part| part.version == *version) else {
        return (false, "healthy, but too many versions are registered".to_owned());
    };
    if part.weight > 0 {
        let (whole, rest) = (part.weight / 100, part.weight % 100);
        let share = format!("{whole}.{rest:02}");
        let share = share.trim_end_matches('0').trim_end_matches('.');
        return (
            true,
            format!("healthy; its version has {share} % of the requests"),
        );
    }
    if instance.is_apart() {
        return (false, APART.to_owned());
    }
    let forced = split.forced().find(|(_, forced)| forced.version == part.version);
    let why = match forced {
        Some((header, _)) => format!(
            "only requests with the header {header}: {} go there",
            clip(version)
        ),
        None => "another version serves".to_owned(),
    };
    (
        false,
        format!("healthy, but its version has no share of the requests: {why}"),
    )
}

fn unhealthy(others: bool) -> String {
    let checks =
        "the registry says that it is not healthy (in Consul: a check of it, or of its node, is critical)";
    if others {
        checks.to_owned()
    } else {
        format!("{checks}; nobody else is healthy, so `all-unhealthy` decides whether it gets requests")
    }
}

fn draining(service: &Service, instance: &Instance, drains: &BTreeMap<Target, Drain>) -> String {
    let by = |target: &Target| drains.get(target).map(|drain| drain.by.clone());
    let of = Target::Instance {
        service: service.name.clone(),
        id: instance.id.clone(),
    };
    let node = Target::Node(instance.node.clone());
    let zone = Target::Zone(instance.zone.clone());
    let ordered = [(of, "it"), (node, "its node"), (zone, "its zone")];
    let ordered = ordered
        .iter()
        .find_map(|(target, what)| Some((*what, by(target)?)));
    let declared = instance.own.as_ref().and_then(|own| own.declared.state);
    match (ordered, declared) {
        (Some((what, by)), _) if by.is_empty() => {
            format!("{what} is drained by command (xds-bridge undrain ends that)")
        }
        (Some((what, by)), _) => format!(
            "{what} is drained by {} (xds-bridge undrain ends that)",
            clip(&by)
        ),
        (None, Some(State::Drain)) => "it declares state=drain".to_owned(),
        _ => "draining: it left its registry a moment ago (`drain.linger`), or is in maintenance there"
            .to_owned(),
    }
}
