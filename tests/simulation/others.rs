//! Whether what one service declares leaves the routes of the others alone: after each publication the routes of each
//! service are compared with those before. A service of which the bridge has read nothing lately, and which shares no
//! claim with one of which it has, must have the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use xds_bridge::xds::{Generation, Kind, Version};

use crate::contents::Library;
use crate::history::SERVICES;
use crate::rules::{Broken, OTHERS};

/// How long what was read may change what is served: an instance that left lingers.
const LATELY: Duration = Duration::from_secs(12);

type Routes = BTreeMap<String, BTreeSet<String>>;

/// What a bridge served last.
#[derive(Debug, Default)]
struct Seen {
    /// Of which generation, and which route configurations it had.
    versions: BTreeMap<Arc<str>, Version>,
    routes: BTreeMap<Arc<str>, Routes>,
    /// When each service was read of last.
    touched: BTreeMap<String, Duration>,
    /// When what is served changed last.
    looked: Duration,
    life: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Others {
    /// By bridge.
    seen: BTreeMap<u8, Seen>,
    /// Who has ever claimed what.
    claims: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Others {
    /// A service claims this.
    pub(crate) fn claims(&mut self, service: &str, claim: &'static str) {
        self.claims.entry(claim).or_default().insert(service.to_owned());
    }

    /// The services themselves and whoever claims the same as one of them.
    fn concerned(&self, touched: &BTreeSet<String>) -> BTreeSet<String> {
        let mut all = touched.clone();
        for claimants in self.claims.values() {
            if claimants.iter().any(|service| touched.contains(service)) {
                all.extend(claimants.iter().cloned());
            }
        }
        all
    }

    /// A bridge has read something of these.
    pub(crate) fn touched(&mut self, bridge: u8, services: BTreeSet<String>, now: Duration) {
        let touched = &mut self.seen.entry(bridge).or_default().touched;
        touched.extend(services.into_iter().map(|service| (service, now)));
    }

    /// Looks at what a bridge serves now. `steady`: nothing but what was read changes what is served. `is_there`: a
    /// service has instances.
    pub(crate) fn look(
        &mut self,
        (bridge, life, at): (u8, u32, Duration),
        generation: &Generation,
        library: &mut Library,
        steady: bool,
        is_there: impl Fn(&str) -> bool,
    ) -> Result<(), Broken> {
        let seen = self.seen.entry(bridge).or_default();
        let now: BTreeMap<Arc<str>, Version> = generation
            .all(Kind::Route)
            .map(|(_, resource)| (resource.name.clone(), resource.version))
            .collect();
        if now == seen.versions && seen.life == life {
            return Ok(());
        }
        let since = std::mem::replace(&mut seen.looked, at).min(at.saturating_sub(LATELY));
        let mut touched: BTreeSet<String> = seen
            .touched
            .iter()
            .filter(|(_, when)| **when >= since)
            .map(|(service, _)| service.clone())
            .collect();
        touched.extend(
            SERVICES
                .iter()
                .filter(|service| !is_there(service))
                .map(ToString::to_string),
        );
        let concerned = self.concerned(&touched);
        let seen = self.seen.entry(bridge).or_default();
        let fresh = std::mem::replace(&mut seen.life, life) != life || seen.versions.is_empty();
        for (_, resource) in generation.all(Kind::Route) {
            if seen.versions.get(&resource.name) == Some(&resource.version) {
                continue;
            }
            let content = library.read(Kind::Route, resource);
            let before = seen
                .routes
                .insert(resource.name.clone(), content.of_services.clone());
            let Some(before) = before.filter(|_| steady && !fresh) else {
                continue;
            };
            let names: BTreeSet<&String> = before.keys().chain(content.of_services.keys()).collect();
            for service in names.into_iter().filter(|name| !concerned.contains(*name)) {
                let (was, is) = (before.get(service), content.of_services.get(service));
                if was != is {
                    let text = format!(
                        "bridge {bridge}, {}: {touched:?} were read, {service} had {was:?} and has {is:?}",
                        resource.name
                    );
                    return Err(Broken::new(OTHERS, text));
                }
            }
        }
        seen.versions = now;
        Ok(())
    }
}
