//! All keys of another program below one root, and the services that they make together. A key says little by itself,
//! so that all are read again when one changes. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::traefik;
use crate::config::TraefikImport;
use crate::model::{Change, Issue, ServiceRecord};

/// The longest value that is read, bytes.
const MAX_VALUE: usize = 16 * 1024;
/// The longest key, bytes.
const MAX_KEY: usize = 1024;
/// What is named of what is wrong with keys of no service, at most.
const MAX_ISSUES: usize = 100;

/// Keys and what is made of them.
#[derive(Debug)]
pub struct Layout {
    settings: Arc<TraefikImport>,
    root: String,
    pairs: BTreeMap<String, String>,
    services: BTreeMap<Arc<str>, ServiceRecord>,
    issues: Vec<Issue>,
}

impl Layout {
    /// Knows nothing yet. `root` ends with a slash.
    #[must_use]
    pub const fn new(settings: Arc<TraefikImport>, root: String) -> Self {
        Self {
            settings,
            root,
            pairs: BTreeMap::new(),
            services: BTreeMap::new(),
            issues: Vec::new(),
        }
    }

    /// One that knows nothing yet of the same keys.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self::new(self.settings.clone(), self.root.clone())
    }

    /// What a key weighs that is known; 0: it is not.
    #[must_use]
    pub fn weight_of(&self, key: &[u8]) -> usize {
        let known = self.named(key).and_then(|name| self.pairs.get_key_value(name));
        known.map_or(0, |(key, value)| weight(key.as_bytes(), value.as_bytes()))
    }

    /// What a key would weigh.
    #[must_use]
    pub fn weight(&self, key: &[u8], value: &[u8]) -> usize {
        self.named(key).map_or(0, |name| weight(name.as_bytes(), value))
    }

    /// A key has this value now. What is too long or no text counts as empty, which no key may be, and is named.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        let Some(name) = self.named(key).map(str::to_owned) else {
            return;
        };
        let text = std::str::from_utf8(value)
            .ok()
            .filter(|_| value.len() <= MAX_VALUE);
        self.pairs.insert(name, text.unwrap_or_default().to_owned());
    }

    /// No key is known; what they said stays to be compared with.
    pub fn clear(&mut self) {
        self.pairs.clear();
    }

    /// A key is gone.
    pub fn remove(&mut self, key: &[u8]) {
        if let Some(name) = self.named(key).map(str::to_owned) {
            self.pairs.remove(&name);
        }
    }

    /// Reads all keys, and reports what differs from what they said before; `complete`: everything.
    pub fn change(&mut self, complete: bool) -> Change {
        let pairs = self
            .pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        let (services, mut issues) = traefik::keys(&self.settings, &self.root, pairs);
        if issues.len() > MAX_ISSUES {
            let more = issues.len() - MAX_ISSUES;
            issues.truncate(MAX_ISSUES);
            issues.push(Issue::warning(
                &*self.root,
                format!("{more} more keys have something wrong"),
            ));
        }
        let before = std::mem::replace(&mut self.services, services);
        let names: BTreeSet<&Arc<str>> = before.keys().chain(self.services.keys()).collect();
        let differs = |name: &&Arc<str>| complete || before.get(*name) != self.services.get(*name);
        let changed = names.into_iter().filter(differs);
        let stray = (complete || issues != self.issues).then(|| issues.clone());
        self.issues = issues;
        Change {
            services: changed
                .map(|name| (name.clone(), self.services.get(name).cloned()))
                .filter(|(_, record)| !complete || record.is_some())
                .collect(),
            complete,
            stray,
        }
    }

    fn named<'a>(&self, key: &'a [u8]) -> Option<&'a str> {
        let key = std::str::from_utf8(key).ok().filter(|key| key.len() <= MAX_KEY)?;
        key.strip_prefix(self.root.as_str())
    }
}

/// With what is made of it.
const fn weight(key: &[u8], value: &[u8]) -> usize {
    let value = if value.len() > MAX_VALUE { 0 } else { value.len() };
    4 * (key.len() + value) + 256
}
