//! Services that keys of another program declare, beside those of the catalog. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::decode::Pairs;
use crate::config::KeysOf;
use crate::import::{Commands, Layout};
use crate::model::{Code, Issue, ServiceRecord};

/// What is known of those of one program.
#[derive(Debug)]
pub(super) struct Keys {
    layout: Layout,
    /// In which they were read last.
    epoch: u64,
    records: BTreeMap<Arc<str>, ServiceRecord>,
    /// Names that say something else since [`Self::take_changed`].
    changed: BTreeSet<Arc<str>>,
    stray: Vec<Issue>,
    /// The last keys took too much.
    full: Option<Issue>,
    weight: usize,
}

impl Keys {
    pub(super) fn new(of: &KeysOf) -> Self {
        Self {
            layout: Layout::new(of.clone()).beside_tags(),
            epoch: 0,
            records: BTreeMap::new(),
            changed: BTreeSet::new(),
            stray: Vec::new(),
            full: None,
            weight: 0,
        }
    }

    /// All keys; `None` leaves those known in force, and so does more than `most`. The names that are concerned.
    pub(super) fn read(&mut self, epoch: u64, pairs: Option<&Pairs>, most: usize) -> Vec<Arc<str>> {
        self.epoch = epoch;
        let layout = &mut self.layout;
        let Some(pairs) = pairs else {
            return Vec::new();
        };
        let weights = pairs
            .iter()
            .map(|(key, value)| layout.weight(key.as_bytes(), value));
        let weight: usize = weights.sum();
        if weight > most {
            let reason = format!(
                "the keys take {weight} bytes, and {most} are left of limits.source_memory; what is known of them \
                 stays in force"
            );
            self.full = Some(Issue::rejected("(keys)", reason).of_kind(Code::NoRoom));
            return Vec::new();
        }
        self.full = None;
        self.weight = weight;
        layout.clear();
        for (key, value) in pairs {
            layout.put(key.as_bytes(), value);
        }
        let change = layout.change(false);
        if let Some(stray) = change.stray {
            self.stray = stray;
        }
        let mut names = Vec::new();
        for (name, record) in change.services {
            match record {
                Some(record) => drop(self.records.insert(name.clone(), record)),
                None => drop(self.records.remove(&name)),
            }
            names.push(name);
        }
        self.changed.extend(names.iter().cloned());
        names
    }

    /// Whether all was read in this epoch.
    pub(super) const fn current(&self, epoch: u64) -> bool {
        self.epoch == epoch
    }

    pub(super) const fn is_of_commands(&self) -> bool {
        self.layout.is_of_commands()
    }

    /// What they say of services that have tags.
    pub(super) const fn commands(&self) -> &Arc<Commands> {
        self.layout.commands()
    }

    pub(super) const fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn stray(&self) -> impl Iterator<Item = &Issue> {
        self.full.iter().chain(&self.stray)
    }

    /// Whether a name says something else since this was asked last.
    pub(super) fn take_changed(&mut self, name: &str) -> bool {
        self.changed.remove(name)
    }

    /// What the catalog says of a service, with what keys say of it.
    pub(super) fn joined(
        &self,
        name: &str,
        catalog: Option<Arc<ServiceRecord>>,
    ) -> Option<Arc<ServiceRecord>> {
        let Some(keys) = self.records.get(name) else {
            return catalog;
        };
        let Some(mut joined) = catalog else {
            return Some(Arc::new(keys.clone()));
        };
        let record = Arc::make_mut(&mut joined);
        for instance in &keys.instances {
            if record.instances.iter().any(|i| i.address == instance.address) {
                continue;
            }
            let mut instance = instance.clone();
            instance.id = format!("(keys)/{}", instance.id).into();
            record.instances.push(instance);
        }
        record.instances.sort_by(|a, b| a.id.cmp(&b.id));
        record.policy = match (record.policy.take(), &keys.policy) {
            (Some(document), Some(keys)) => Some(document.over(keys)),
            (document, keys) => document.or_else(|| keys.clone()),
        };
        record.issues.extend_from_slice(&keys.issues);
        Some(joined)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::TraefikImport;
    use crate::model::Instance;

    fn keys(pairs: &[(&str, &str)]) -> (Keys, Vec<Arc<str>>) {
        let settings = TraefikImport {
            kv: Some("traefik/".to_owned()),
            ..TraefikImport::default()
        };
        let mut keys = Keys::new(&KeysOf::Traefik(Arc::new(settings)));
        let names = keys.read(1, Some(&pairs_of(pairs)), usize::MAX);
        (keys, names)
    }

    fn pairs_of(pairs: &[(&str, &str)]) -> Pairs {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), value.as_bytes().to_vec());
        pairs.iter().map(pair).collect()
    }

    const SERVER: (&str, &str) = (
        "traefik/http/services/s/loadbalancer/servers/0/url",
        "http://10.0.0.7:1",
    );

    #[test]
    fn what_is_gone_changes_its_name_and_nothing_else() {
        let other = (
            "traefik/http/services/t/loadbalancer/servers/0/url",
            "http://10.0.0.7:2",
        );
        let (mut keys, names) = keys(&[SERVER, other]);
        assert_eq!(names, ["s".into(), "t".into()] as [Arc<str>; 2]);
        assert!(keys.take_changed("s") && !keys.take_changed("s"));
        assert_eq!(
            keys.read(2, Some(&pairs_of(&[SERVER])), usize::MAX),
            [Arc::from("t")]
        );
        assert!(keys.joined("t", None).is_none() && keys.joined("s", None).is_some());
        assert!(keys.current(2) && !keys.current(3));
    }

    #[test]
    fn what_cannot_be_read_or_is_too_much_leaves_what_is_known() {
        let (mut keys, _) = keys(&[SERVER]);
        assert!(keys.read(2, None, usize::MAX).is_empty());
        assert!(keys.read(3, Some(&pairs_of(&[])), usize::MAX).len() == 1);
        assert!(keys.read(4, Some(&pairs_of(&[SERVER])), 10).is_empty());
        let full = |keys: &Keys| {
            let first = keys.stray().next();
            first.is_some_and(|issue| issue.reason.contains("limits.source_memory"))
        };
        assert!(full(&keys));
        assert!(keys.read(5, Some(&pairs_of(&[SERVER])), usize::MAX).len() == 1 && !full(&keys));
    }

    #[test]
    fn a_service_of_both_has_the_instances_of_both() {
        let (keys, _) = keys(&[SERVER]);
        let at = |port| SocketAddr::from(([10, 0, 0, 7], port));
        let of_catalog = |port| ServiceRecord {
            instances: vec![Instance::new("n/1", at(port))],
            ..ServiceRecord::default()
        };
        let ids = |port| {
            let joined = keys.joined("s", Some(Arc::new(of_catalog(port)))).unwrap();
            let ids = joined.instances.iter().map(|i| i.id.to_string());
            ids.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(ids(9), "(keys)/000 n/1");
        assert_eq!(ids(1), "n/1", "one address is one instance");
        assert!(keys.joined("other", None).is_none());
    }
}
