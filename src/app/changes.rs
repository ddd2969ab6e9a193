//! What is different between two configurations, in words, for whoever reloads: what is in force now, and what takes a
//! restart. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::reload::{Step, in_force, steps};
use crate::config::Config;
use crate::text::clip;

/// Differences that are named; the rest is counted.
const MOST: usize = 200;

/// What a reload did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What is in force at once: `listeners.edge: changed`.
    pub now: Vec<String>,
    /// Sections whose differences take effect with a restart.
    pub with_restart: Vec<String>,
}

/// What leads from the one to the other.
#[must_use]
pub(super) fn changes(old: &Config, new: &Config) -> Changes {
    let mut found = Changes::default();
    for step in steps(old, new) {
        match step {
            Step::Network => network(old, new, &mut found.now),
            Step::Rollouts => found.now.push("rollouts: changed".to_owned()),
            Step::Streams => streams(old, new, &mut found.now),
            Step::Secrets => named("tls", &old.secrets(), &new.secrets(), &mut found.now),
            Step::Add(name) => found.now.push(format!("sources.{}: added", clip(&name))),
            Step::Replace(name) => found.now.push(format!("sources.{}: changed", clip(&name))),
            Step::Remove(name) => found.now.push(format!("sources.{}: removed", clip(&name))),
            Step::Restart(section) => found.with_restart.push(section.to_owned()),
        }
    }
    if found.now.len() > MOST {
        let more = found.now.len() - MOST;
        found.now.truncate(MOST);
        found.now.push(format!("and {more} more"));
    }
    found
}

fn network(old: &Config, new: &Config, found: &mut Vec<String>) {
    named("exposures", &old.exposures, &new.exposures, found);
    named("listeners", &old.listeners, &new.listeners, found);
    named("external", &old.externals, &new.externals, found);
    named("fleets", &old.fleets, &new.fleets, found);
    for (section, differs) in [
        ("clusters", old.clusters != new.clusters),
        ("services", old.overrides != new.overrides),
        ("overlay", old.overlays != new.overlays),
        ("drain", old.drain != new.drain),
    ] {
        if differs {
            found.push(format!("{section}: changed"));
        }
    }
}

fn streams(old: &Config, new: &Config, found: &mut Vec<String>) {
    let (was, is) = (&old.xds, in_force(&old.xds, &new.xds));
    for (key, differs) in [
        ("max_streams", was.max_streams != is.max_streams),
        (
            "max_requests_per_second",
            was.max_requests_per_second != is.max_requests_per_second,
        ),
        ("max_stream_age", was.max_stream_age != is.max_stream_age),
        ("clients", was.clients != is.clients),
    ] {
        if differs {
            found.push(format!("xds.{key}: changed, for streams that begin"));
        }
    }
}

fn named<T: PartialEq>(
    section: &str,
    old: &BTreeMap<Arc<str>, T>,
    new: &BTreeMap<Arc<str>, T>,
    found: &mut Vec<String>,
) {
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    let gone = gone.map(|name| (name, "removed"));
    let others = new.iter().filter_map(|(name, is)| match old.get(name) {
        None => Some((name, "added")),
        Some(was) if was != is => Some((name, "changed")),
        Some(_) => None,
    });
    let all = others.chain(gone);
    found.extend(all.map(|(name, what)| format!("{section}.{}: {what}", clip(name))));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load_str;

    #[test]
    fn each_difference_is_named_and_what_takes_a_restart_is_apart() {
        let config = |text: &str| load_str(Path::new("bridge.toml"), text, None).unwrap();
        let base = "[sources.a]\nkind = \"file\"\npath = \"a\"\n[exposures.edge]\nhosts = [\"a.x\"]\n\
                    [exposures.old]\nhosts = [\"b.x\"]\n";
        let other = "[xds]\nmax_streams = 7\nsettle = \"7ms\"\n[log]\nfilter = \"debug\"\n[sources.b]\nkind = \"file\"\npath = \"b\"\n\
                     [exposures.edge]\nhosts = [\"c.x\"]\n[exposures.new]\nhosts = [\"b.x\"]\n[clusters]\nretries = 1\n";
        let found = changes(&config(base), &config(other));
        assert_eq!(
            found.now,
            [
                "exposures.edge: changed",
                "exposures.new: added",
                "exposures.old: removed",
                "clusters: changed",
                "xds.max_streams: changed, for streams that begin",
                "sources.b: added",
                "sources.a: removed",
            ]
        );
        assert_eq!(found.with_restart, ["xds", "log"]);
        assert_eq!(changes(&config(base), &config(base)), Changes::default());
    }
}
