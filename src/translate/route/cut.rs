//! A route configuration as fleets with a view see it: the routes of services in the view, and of each host only these.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::host::{encode, head, refused, tail, virtual_host};
use crate::plan::Claim;
use crate::xds::{Audience, By, Draft, Local, Version, Viewer};

/// A host, encoded once.
#[derive(Debug)]
pub(super) struct Encoded {
    /// With its tag and length, as it stands in the configuration.
    pub(super) field: Box<[u8]>,
    /// The same for listeners whose filters nobody knows, where that is another.
    pub(super) closed: Option<Box<[u8]>>,
    /// No cluster twice.
    pub(super) clusters: Box<[Arc<str>]>,
    /// Where fleets have views: its claims, and who sees each.
    pub(super) parts: Box<[(Claim, Arc<Audience>)]>,
}

impl Encoded {
    pub(super) fn of(&self, closed: bool) -> &[u8] {
        let other = self.closed.as_deref().filter(|_| closed);
        other.unwrap_or(&self.field)
    }
}

/// The hosts at one moment.
#[derive(Debug)]
pub(super) struct Cut {
    name: Arc<str>,
    http3: Option<u16>,
    /// For listeners whose filters nobody knows.
    closed: bool,
    hosts: BTreeMap<Arc<str>, Arc<Encoded>>,
    inputs: Version,
    concerned: Arc<Audience>,
    /// For which anything is by their name.
    fleets: BTreeSet<Arc<str>>,
}

impl Cut {
    /// `concerned`: who sees what is not as it was.
    pub(super) fn new(
        draft: &Draft,
        (http3, closed): (Option<u16>, bool),
        hosts: BTreeMap<Arc<str>, Arc<Encoded>>,
        concerned: &[Arc<Audience>],
    ) -> Self {
        let (mut inputs, mut fleets) = (draft.body.clone(), BTreeSet::new());
        for (_, audience) in hosts.values().flat_map(|host| &host.parts) {
            for name in audience.sections.iter().chain(&audience.fleets) {
                inputs.extend_from_slice(name.as_bytes());
                inputs.push(0);
            }
            inputs.extend_from_slice(&audience.sections.len().to_le_bytes());
            fleets.extend(audience.fleets.iter().cloned());
        }
        let all = |of: fn(&Audience) -> &[Arc<str>]| -> Vec<Arc<str>> {
            concerned
                .iter()
                .flat_map(|audience| of(audience))
                .cloned()
                .collect()
        };
        Self {
            name: draft.name.clone(),
            http3,
            closed,
            inputs: Version::of(&inputs),
            concerned: Arc::new(Audience::new(all(|a| &a.sections), all(|a| &a.fleets))),
            hosts,
            fleets,
        }
    }
}

impl Local for Cut {
    fn inputs(&self) -> Version {
        self.inputs
    }

    fn by(&self) -> By {
        By::View
    }

    fn body(&self, viewer: &Viewer) -> Vec<u8> {
        let is_seen = |(_, audience): &&(Claim, Arc<Audience>)| {
            let view = viewer.view.as_ref();
            view.is_none_or(|view| audience.admits(view, &viewer.fleet))
        };
        let mut body = head(&self.name, 0);
        for (name, host) in &self.hosts {
            let seen: Vec<&Claim> = host
                .parts
                .iter()
                .filter(is_seen)
                .map(|(claim, _)| claim)
                .collect();
            if seen.len() == host.parts.len() {
                body.extend_from_slice(host.of(self.closed));
            } else if self.closed && !seen.is_empty() {
                let seen: Vec<Claim> = seen.into_iter().map(refused).collect();
                encode(&virtual_host(name, &seen), &mut body);
            } else if !seen.is_empty() {
                encode(&virtual_host(name, seen), &mut body);
            }
        }
        body.extend(tail(self.http3));
        body
    }

    fn concerns(&self) -> Option<Arc<Audience>> {
        Some(self.concerned.clone())
    }

    fn knows(&self, fleet: &str) -> bool {
        self.fleets.contains(fleet)
    }
}
