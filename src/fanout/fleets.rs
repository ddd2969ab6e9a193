//! Listeners whose fleets no Envoy has ever connected from: most likely a name is misspelt in `bridge.toml`,
//! or in the bootstrap of the Envoys.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// Maximum of fleets of connected Envoys that are named.
const NAMED: usize = 10;

/// Longest name of a fleet that is remembered, bytes.
const LONGEST: usize = 128;

/// Since the bridge started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unused {
    /// Listeners for fleets that no Envoy connected from, with these fleets.
    pub listeners: Vec<(Arc<str>, Vec<Arc<str>>)>,
    /// Fleets that Envoys connected from, the first few.
    pub seen: Vec<Arc<str>>,
}

/// Fleets that connected, and listeners that no Envoy has used.
#[derive(Debug, Default)]
pub(super) struct Fleets {
    unused: watch::Sender<Unused>,
}

impl Fleets {
    /// These listeners are for these fleets only.
    pub(super) fn expect(&self, listeners: Vec<(Arc<str>, Vec<Arc<str>>)>) {
        self.unused.send_modify(|unused| unused.listeners = listeners);
    }

    /// An Envoy of this fleet has connected.
    pub(super) fn connected(&self, fleet: &str) {
        self.unused.send_if_modified(|unused| {
            let before = unused.listeners.len();
            let of_it = |fleets: &Vec<Arc<str>>| fleets.iter().any(|f| **f == *fleet);
            unused.listeners.retain(|(_, fleets)| !of_it(fleets));
            let known: BTreeSet<&str> = unused.seen.iter().map(|f| &**f).collect();
            let new = unused.seen.len() < NAMED && fleet.len() <= LONGEST && !known.contains(fleet);
            if new {
                unused.seen.push(fleet.into());
            }
            new || unused.listeners.len() != before
        });
    }

    pub(super) fn unused(&self) -> watch::Receiver<Unused> {
        self.unused.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_waits_until_an_envoy_of_one_of_its_fleets_has_come() {
        let fleets = Fleets::default();
        let unused = fleets.unused();
        let of = |names: &[&str]| names.iter().map(|n| (*n).into()).collect::<Vec<Arc<str>>>();
        fleets.expect(vec![
            ("edge".into(), of(&["egde"])),
            ("core".into(), of(&["bff", "core"])),
        ]);
        let names = || {
            let now = unused.borrow();
            let names: Vec<String> = now.listeners.iter().map(|(name, _)| name.to_string()).collect();
            (names.join(" "), now.seen.len())
        };
        assert_eq!(names(), ("edge core".to_owned(), 0));
        fleets.connected("edge");
        fleets.connected("edge");
        assert_eq!(names(), ("edge core".to_owned(), 1));
        fleets.connected("core");
        assert_eq!(names(), ("edge".to_owned(), 2));
        for n in 0..100 {
            fleets.connected(&format!("{n}"));
            fleets.connected(&"x".repeat(1000 + n));
        }
        assert_eq!(names(), ("edge".to_owned(), NAMED));
        fleets.connected("egde");
        assert_eq!(names(), (String::new(), NAMED));
    }
}
