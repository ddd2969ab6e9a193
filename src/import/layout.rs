//! All keys of another program below one root, and the services that they make together. A key says little by itself,
//! so that all are read again when one changes. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fabio::{self, Commands};
use super::traefik;
use crate::config::KeysOf;
use crate::model::{Change, Code, Issue, ServiceRecord};

/// The longest value of a key of Traefik that is read, bytes.
const MAX_VALUE: usize = 16 * 1024;
/// The longest list of commands: as long as a value of Consul is at most.
const MAX_COMMANDS: usize = 512 * 1024;
/// The longest key, bytes.
const MAX_KEY: usize = 1024;
/// What is named of what is wrong with keys of no service, at most.
const MAX_ISSUES: usize = 100;

/// Keys and what is made of them.
#[derive(Debug)]
pub struct Layout {
    of: KeysOf,
    /// Commands are about tags, too.
    beside_tags: bool,
    commands: Arc<Commands>,
    pairs: BTreeMap<String, String>,
    /// Lists of commands that are too long, or no text.
    unread: BTreeSet<String>,
    services: BTreeMap<Arc<str>, ServiceRecord>,
    issues: Vec<Issue>,
}

impl Layout {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(of: KeysOf) -> Self {
        Self {
            of,
            beside_tags: false,
            commands: Arc::default(),
            pairs: BTreeMap::new(),
            unread: BTreeSet::new(),
            services: BTreeMap::new(),
            issues: Vec::new(),
        }
    }

    /// One that knows nothing yet of the same keys.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self::new(self.of.clone())
    }

    /// What commands say of services that have tags is for others to do.
    #[must_use]
    pub fn beside_tags(self) -> Self {
        Self {
            beside_tags: true,
            ..self
        }
    }

    /// Whether these are commands.
    #[must_use]
    pub const fn is_of_commands(&self) -> bool {
        matches!(self.of, KeysOf::Fabio(_))
    }

    /// What the keys say of services that have tags.
    #[must_use]
    pub const fn commands(&self) -> &Arc<Commands> {
        &self.commands
    }

    /// What a key weighs that is known; 0: it is not.
    #[must_use]
    pub fn weight_of(&self, key: &[u8]) -> usize {
        let known = self.named(key).and_then(|name| self.pairs.get_key_value(name));
        known.map_or(0, |(key, value)| self.weighed(key.as_bytes(), value.as_bytes()))
    }

    /// What a key would weigh.
    #[must_use]
    pub fn weight(&self, key: &[u8], value: &[u8]) -> usize {
        self.named(key)
            .map_or(0, |name| self.weighed(name.as_bytes(), value))
    }

    /// A key has this value now. What is too long or no text counts as empty, and is named: of Traefik no key may be
    /// empty.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        let Some(name) = self.named(key).map(str::to_owned) else {
            return;
        };
        let text = std::str::from_utf8(value)
            .ok()
            .filter(|_| value.len() <= self.longest());
        if text.is_none() && self.is_of_commands() {
            self.unread.insert(name.clone());
        } else {
            self.unread.remove(&name);
        }
        self.pairs.insert(name, text.unwrap_or_default().to_owned());
    }

    /// No key is known; what they said stays to be compared with.
    pub fn clear(&mut self) {
        self.pairs.clear();
        self.unread.clear();
    }

    /// A key is gone.
    pub fn remove(&mut self, key: &[u8]) {
        if let Some(name) = self.named(key).map(str::to_owned) {
            self.pairs.remove(&name);
            self.unread.remove(&name);
        }
    }

    /// Reads all keys, and reports what differs from what they said before; `complete`: everything.
    pub fn change(&mut self, complete: bool) -> Change {
        let pairs = self
            .pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        let (services, mut issues) = match &self.of {
            KeysOf::Traefik(settings) => traefik::keys(settings, self.of.root(), pairs),
            KeysOf::Fabio(settings) => {
                let (services, mut issues, commands) = fabio::keys(settings, self.of.root(), pairs);
                if !self.beside_tags {
                    issues.extend(commands.idle([]));
                }
                self.commands = Arc::new(commands);
                let why =
                    format!("it is longer than {MAX_COMMANDS} bytes, or no text; nothing of it is read");
                let unread = self.unread.iter().map(|name| format!("{}{name}", self.of.root()));
                issues.extend(
                    unread.map(|key| Issue::rejected(key, why.clone()).of_kind(Code::ImportNotUnderstood)),
                );
                (services, issues)
            }
        };
        if issues.len() > MAX_ISSUES {
            let more = issues.len() - MAX_ISSUES;
            issues.truncate(MAX_ISSUES);
            issues.push(Issue::warning(
                self.of.root(),
                format!("{more} more keys or lines have something wrong"),
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

    /// Without the root. Of commands the root itself is a key, and so is what stands below it.
    fn named<'a>(&self, key: &'a [u8]) -> Option<&'a str> {
        let key = std::str::from_utf8(key).ok().filter(|key| key.len() <= MAX_KEY)?;
        let name = key.strip_prefix(self.of.root())?;
        match self.of {
            KeysOf::Traefik(_) => Some(name),
            KeysOf::Fabio(_) => (name.is_empty() || name.starts_with('/')).then_some(name),
        }
    }

    const fn longest(&self) -> usize {
        match self.of {
            KeysOf::Traefik(_) => MAX_VALUE,
            KeysOf::Fabio(_) => MAX_COMMANDS,
        }
    }

    /// With what is made of it.
    const fn weighed(&self, key: &[u8], value: &[u8]) -> usize {
        let value = if value.len() > self.longest() {
            0
        } else {
            value.len()
        };
        4 * (key.len() + value) + 256
    }
}
