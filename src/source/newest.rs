//! One address, one instance: of several registrations the newest is in force. Pure.
//!
//! A server that comes back under a new id leaves the old registration behind, which is critical, or drains.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;

use crate::model::{Code, Instance, Issue};
use crate::text::clip;

/// What has an address.
pub(super) trait Place {
    /// Where it listens.
    fn address(&self) -> SocketAddr;
}

impl Place for Instance {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl<T> Place for (&Instance, T) {
    fn address(&self) -> SocketAddr {
        self.0.address
    }
}

/// One instance as it was registered.
pub(super) struct Registered<I> {
    /// What it says.
    pub(super) instance: I,
    /// When it was registered, in the registry's own count.
    pub(super) created: u64,
}

/// Those in force, in their order and with the time of their registration, and an issue for each of the others. `entry` is the registry's own
/// name of an instance.
pub(super) fn newest<I: Place>(
    all: Vec<Registered<I>>,
    entry: impl Fn(&I) -> String,
) -> (Vec<(I, u64)>, Vec<Issue>) {
    let mut places: HashMap<SocketAddr, usize> = HashMap::with_capacity(all.len());
    let mut older = Vec::new();
    for (at, one) in all.iter().enumerate() {
        match places.entry(one.instance.address()) {
            Entry::Vacant(free) => drop(free.insert(at)),
            Entry::Occupied(mut taken) => {
                let known = *taken.get();
                // Of one moment the lower id stays, so that all bridges come to the same.
                if one.created > all[known].created {
                    taken.insert(at);
                    older.push(known);
                } else {
                    older.push(at);
                }
            }
        }
    }
    if older.is_empty() {
        let all = all.into_iter().map(|one| (one.instance, one.created));
        return (all.collect(), Vec::new());
    }
    older.sort_unstable();
    let issue = |at: &usize| {
        let one = &all[*at].instance;
        let address = one.address();
        let newer = places.get(&address).map(|at| entry(&all[*at].instance));
        let newer = clip(&newer.unwrap_or_default());
        let reason =
            format!("{address} was registered again as `{newer}`, which counts; remove this registration");
        Issue::warning(entry(one), reason).of_kind(Code::RegisteredTwice)
    };
    let issues = older.iter().map(issue).collect();
    let keep = |(at, one): (usize, Registered<I>)| {
        let stays = older.binary_search(&at).is_err();
        stays.then_some((one.instance, one.created))
    };
    (all.into_iter().enumerate().filter_map(keep).collect(), issues)
}

#[cfg(test)]
mod tests {

    use super::*;

    fn registered(id: &str, port: u16, created: u64) -> Registered<Instance> {
        let instance = Instance::new(id, ([10, 0, 0, 7], port).into());
        Registered { instance, created }
    }

    #[test]
    fn the_newest_of_an_address_counts_and_the_others_are_named() {
        let all = vec![
            registered("0-old", 1, 5),
            registered("a", 2, 9),
            registered("b", 1, 7),
            registered("c", 1, 6),
            registered("d", 2, 9),
        ];
        let (kept, issues) = newest(all, |i| i.id.to_string());
        let ids: Vec<(&str, u64)> = kept.iter().map(|(i, created)| (&*i.id, *created)).collect();
        assert_eq!(ids, [("a", 9), ("b", 7)]);
        let named: Vec<String> = issues
            .iter()
            .map(|i| format!("{}: {}", i.entry, i.reason))
            .collect();
        let wanted = |id: &str, port: u16, newer: &str| {
            format!(
                "{id}: 10.0.0.7:{port} was registered again as `{newer}`, which counts; remove this registration"
            )
        };
        assert_eq!(
            named,
            [wanted("0-old", 1, "b"), wanted("c", 1, "b"), wanted("d", 2, "a")]
        );
    }
}
