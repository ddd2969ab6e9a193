//! What a request meets at other fleets: a listener that is not for the fleet of the client, or a service outside of its
//! view.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::admin::Admin;
use crate::replay::{Outcome, Way};
use crate::text::{clip, list};
use crate::xds::{Generation, Kind, Reach, Viewer};

/// Names in one sentence.
const NAMED: usize = 10;

/// Sentences about listeners for some fleets only, of these ways.
pub(super) fn of_all(admin: &Admin, generation: &Generation, ways: &[Way]) -> Vec<String> {
    let connected: BTreeSet<String> = admin.fanout.streams().into_iter().map(|s| s.fleet).collect();
    let connected: Vec<String> = connected.into_iter().map(|fleet| clip(&fleet)).collect();
    let mut said = Vec::new();
    for way in ways {
        let Some(fleets) = fleets(generation, &way.listener) else {
            continue;
        };
        let is_there = |fleet: &Arc<str>| connected.iter().any(|known| **known == **fleet);
        let mut text = format!(
            "listener {} is only for the fleets {}",
            way.listener,
            list(&*fleets, NAMED, fleets.len())
        );
        if !fleets.iter().any(is_there) {
            let others = list(&connected, NAMED, connected.len());
            let nobody = match connected.len() {
                0 => ", and no client is connected".to_owned(),
                _ => format!(", of which no client is connected (node.cluster of those that are: {others})"),
            };
            text += &nobody;
        }
        said.push(text);
    }
    said
}

/// Sentences about what this client does not get, and others do: `all` are the ways of those.
pub(super) fn of_others(generation: &Generation, viewer: &Viewer, mine: &[Way], all: &[Way]) -> Vec<String> {
    let fleet = clip(&viewer.fleet);
    let mut said = Vec::new();
    for way in all {
        let found = mine.iter().find(|own| own.listener == way.listener);
        if found.is_none()
            && let Some(fleets) = fleets(generation, &way.listener)
        {
            said.push(format!(
                "listener {} is only for the fleets {} (`listeners.{}.fleets`), and this client is of the fleet `{fleet}` \
                 (its node.cluster)",
                way.listener,
                list(&*fleets, NAMED, fleets.len()),
                way.listener,
            ));
        }
        let works = found.is_some_and(|own| own.ending.works);
        let Outcome::Clusters(targets) = &way.ending.outcome else {
            continue;
        };
        for target in targets.iter().filter(|_| !works) {
            let clusters = generation.all(Kind::Cluster);
            let mut named = clusters.filter(|(_, resource)| *resource.name == *target.cluster);
            if named.any(|(_, resource)| !resource.reach.admits(viewer)) {
                said.push(format!(
                    "`{}` is outside of what the fleet `{fleet}` sees ([fleets] in bridge.toml)",
                    target.cluster
                ));
            }
        }
    }
    said.dedup();
    said
}

/// The fleets that a listener is only for.
fn fleets(generation: &Generation, listener: &str) -> Option<Arc<[Arc<str>]>> {
    let mut named = generation
        .all(Kind::Listener)
        .filter(|(_, resource)| *resource.name == *listener);
    let (_, resource) = named.next()?;
    match &resource.reach {
        Reach::Fleets(fleets) => Some(fleets.clone()),
        _ => None,
    }
}
